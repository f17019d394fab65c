/** The man page as its readers see it. Needs mandoc and groff: scripts/ci/man.sh. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { loadCommands } from "../../src/cli/commands.ts";
import { manPage } from "../../src/cli/man_page.ts";

const COMMANDS = await loadCommands();

async function run(program: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** The page in a file. */
async function withPage(use: (file: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/couchdb-backup.1`;
    await Deno.writeTextFile(file, manPage(COMMANDS, { date: "2026-11-28" }));
    await use(file);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("mandoc and groff find nothing wrong with the man page", async () => {
  await withPage(async (file) => {
    assertEquals(await run("mandoc", "-Tlint", "-W", "warning", file), { code: 0, out: "", err: "" });
    const { code, err } = await run("groff", "-ww", "-man", "-Tutf8", file);
    assertEquals({ code, err }, { code: 0, err: "" });
  });
});

Deno.test("what is to be pasted from the man page comes out as it was written", async () => {
  await withPage(async (file) => {
    const { out } = await run("mandoc", "-Tutf8", "-Owidth=200", file);
    // Bold letters are written twice, with a backspace between.
    const plain = out.replaceAll(/.[\b]/g, "");
    for (const { command } of COMMANDS) {
      for (const { line } of command.examples) assertStringIncludes(plain, `    ${line}\n`);
    }
  });
});
