/** What is made of the commands' descriptions: `man` writes dist/couchdb-backup.1, `page` docs/commands.md. */
import { loadCommands } from "../src/cli/commands.ts";
import { commandsPage } from "../src/cli/commands_page.ts";
import { manPage } from "../src/cli/man_page.ts";
import { PROGRAM_NAME } from "../src/version.ts";
import { build, BuildError, say } from "./artifact.ts";

/**
 * Seconds since 1970 by which a build dates what it makes. @see
 * https://reproducible-builds.org/specs/source-date-epoch/
 */
function buildDate(): string {
  const seconds = Number(Deno.env.get("SOURCE_DATE_EPOCH") ?? Math.floor(Date.now() / 1000));
  if (!Number.isInteger(seconds)) throw new BuildError("SOURCE_DATE_EPOCH is no number of seconds");
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

await build(async () => {
  const [what] = Deno.args;
  const commands = await loadCommands();
  if (what !== "man" && what !== "page") throw new BuildError('Say what to make: "man" or "page"');
  const path = what === "man" ? `dist/${PROGRAM_NAME}.1` : "docs/commands.md";
  if (what === "man") await Deno.mkdir("dist", { recursive: true });
  await Deno.writeTextFile(path, what === "man" ? manPage(commands, { date: buildDate() }) : commandsPage(commands));
  say(path);
});
