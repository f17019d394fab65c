/** What the commands say of themselves: complete, in lines that fit, and examples that do what they say. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { type Command, flagsOf, parseCall } from "../../src/cli/command.ts";
import { COMMANDS as ENTRIES, loadCommands } from "../../src/cli/commands.ts";
import { commandsPage } from "../../src/cli/commands_page.ts";
import { FIRST_STEPS, SMALLEST_CONFIG } from "../../src/cli/first_steps.ts";
import { exitsOf, exitsOfAll, helpText, overview } from "../../src/cli/help.ts";
import { manPage } from "../../src/cli/man_page.ts";
import { ENVIRONMENT } from "../../src/cli/surroundings.ts";
import { couchOk } from "../couch_request.ts";
import { createDatabase } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";
import { shellWords } from "../shell_words.ts";
import { walk } from "../source_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const COMMANDS = await loadCommands();

Deno.test("helpText() fits 80 and 100 columns, but for lines that are to be pasted", () => {
  for (const { summary, command } of COMMANDS) {
    for (const columns of [80, 100]) {
      const text = helpText({ summary, command }, columns);
      const long = text.split("\n").filter((line) => line.length > columns && !line.includes("couchdb-backup "));
      assertEquals(long, [], command.name);
      for (const { name } of flagsOf(command)) assertStringIncludes(text, `--${name}`);
      for (const { line } of command.examples) assertStringIncludes(text, `\n  ${line}\n`);
    }
  }
});

Deno.test("overview() has the commands, a config to begin with, the first steps, and fits 80 and 100 columns", () => {
  for (const columns of [80, 100]) {
    const text = overview(ENTRIES, columns);
    const isPasted = (line: string) => line.includes("couchdb-backup ") || SMALLEST_CONFIG.includes(line.slice(2));
    assertEquals(text.split("\n").filter((line) => line.length > columns && !isPasted(line)), []);
    for (const name of Object.keys(ENTRIES)) assertStringIncludes(text, `\n  ${name}`);
    assertStringIncludes(text, `\n${SMALLEST_CONFIG.map((line) => `  ${line}\n`).join("")}`);
    for (const { line } of FIRST_STEPS) assertStringIncludes(text, `\n  ${line}\n`);
    for (const name of ["config FILE", "json", "quiet", "verbose", "help"]) assertStringIncludes(text, `--${name}`);
    for (const { code } of exitsOfAll()) assert(new RegExp(`^  ${code} `, "m").test(text), `exit code ${code}`);
  }
});

Deno.test("the first steps of --help and the man page do what they say, one after the other", async () => {
  const man = manPage(COMMANDS, { date: "2026-11-28" }).replaceAll("\\-", "-");
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "orders", ["order:1", "order:2"]);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-steps-" });
  try {
    const config = SMALLEST_CONFIG.join("\n").replace("http://127.0.0.1:5984", fake.url)
      .replace('"/backups"', `"${folder}/backups"`).replace('"admin"', `"${fake.login}"`);
    await Deno.writeTextFile(`${folder}/cfg.yaml`, config, { mode: 0o600 });
    const env = { XDG_STATE_HOME: folder, COUCHDB_PASSWORD: fake.password };
    const said: string[] = [];
    for (const { line } of FIRST_STEPS) {
      assertStringIncludes(man, line);
      const [[, ...words] = []] = await shellWords(line);
      const shell = words[0] === "schedule" ? new EndedShell(env) : new QuietShell(env);
      const code = await main(words.map((word) => word === "cfg.yaml" ? `${folder}/cfg.yaml` : word), shell);
      // It may be ended in the middle of a run.
      if (words[0] !== "schedule" || code !== 130) assertEquals(code, 0, `${line}\n${shell.out}${shell.err}`);
      said.push(shell.out);
    }
    const names: string[] = (await couchOk(fake, "GET /_all_dbs")).json;
    assert(names.includes("orders_check"), names.join());
    assertEquals(said.filter((text) => text.startsWith("0 added, 0 changed, 0 deleted")).length, 1, said.join("\n"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("every command explains its operands, says nothing twice, and shows two to four examples", () => {
  for (const { command } of COMMANDS) {
    const { name, usage, help, operandHelp = [], examples, flags } = command;
    for (const [operand] of usage.join(" ").matchAll(/<[a-z]+>/g)) {
      const known = ["<config>", ...operandHelp.map(({ name }) => name)];
      assert(known.includes(operand), `${name} does not say what ${operand} is`);
    }
    assert(examples.length >= 2 && examples.length <= 4, name);
    assert(!/exit codes?|unless given/i.test(help.join(" ")), `${name}: that stands in exits and default`);
    for (const flag of flags) assert(!/; else /.test(flag.summary), `${name} --${flag.name}: that is its default`);
  }
});

Deno.test("man page and docs/commands.md have every command, option, exit code and example", () => {
  const page = commandsPage(COMMANDS);
  const raw = manPage(COMMANDS, { date: "2026-11-28" });
  const strayRequests = raw.split("\n").filter((line) =>
    /^'|^\.(?!(SH|SS|TH|TP|P|RS|RE|BR|br|nf|fi|nh|ad)\b|\\")/.test(line)
  );
  assertEquals(strayRequests, []);
  const roff = raw.replaceAll("\\-", "-").replaceAll("\\(aq", "'")
    .replaceAll("\\(ha", "^").replaceAll("\\(ti", "~").replaceAll("\\e", "\\").replaceAll("\\&", "");
  for (const { command } of COMMANDS) {
    for (const text of [page, roff]) {
      const from = text.search(new RegExp(`^(?:## |\\.SS )${command.name}$`, "m"));
      assert(from >= 0, command.name);
      const part = text.slice(from, text.slice(from + 4).search(/^(## |\.S[SH] )/m) + from + 4);
      for (const { name } of command.flags) assert(part.includes(`--${name}`), `${command.name} --${name}`);
      for (const { code } of exitsOf(command)) {
        assert(new RegExp(`(\\| |fB)${code}( |.fP)`).test(part), `${command.name} ${code}`);
      }
      for (const { line } of command.examples) assertStringIncludes(part, line);
    }
  }
});

Deno.test("docs/commands.md is what the commands say of themselves (deno task commands makes it)", async () => {
  assertEquals(await Deno.readTextFile(`${ROOT}docs/commands.md`), commandsPage(COMMANDS));
});

Deno.test("the config of --help and the man page is README.md's", async () => {
  assertStringIncludes(await Deno.readTextFile(`${ROOT}README.md`), `\n${SMALLEST_CONFIG.join("\n")}\n`);
});

Deno.test("every variable of the environment that the program reads is explained", async () => {
  const explained = new Set(ENVIRONMENT.flatMap(({ names }) => names));
  let read = 0;
  for (const { path, text } of await walk(["src"], ".ts")) {
    if (path.endsWith("surroundings.ts")) continue;
    for (const [, dotted, quoted] of text.matchAll(/\benv\.([A-Z][A-Z_]+[A-Z])\b|"(AWS_[A-Z0-9_]+)"/g)) {
      const name = dotted ?? quoted!;
      // Lambda sets these by itself.
      if (name.startsWith("AWS_LAMBDA_")) continue;
      assert(explained.has(name), `${path} reads ${name}`);
      read++;
    }
  }
  assert(read > 15, `${read} are found`);
});

/** A double with what the examples speak of, two backups of it, and the folders that they name. */
async function withPlace(
  use: (place: { fake: FakeCouchDb; folder: string; env: Record<string, string> }) => Promise<void>,
): Promise<void> {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "orders", Array.from({ length: 30 }, (_, number) => `order:${number}`));
  await createDatabase(fake, "media", ["picture"]);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-examples-" });
  try {
    for (const below of ["/etc/couchdb-backup", "/etc/systemd/system"]) {
      await Deno.mkdir(`${folder}${below}`, { recursive: true });
    }
    const config = `database: {url: "${fake.url}", login: ${fake.login}, password: ${fake.password}}
task: {weekly: {cron: "Sat 18:00", databases: [orders, media], timezone: UTC, retention: {keep_last: 1}}}
bucket: "${folder}/backups"
`;
    for (const path of ["/cfg.yaml", "/etc/couchdb-backup/cfg.yaml"]) {
      await Deno.writeTextFile(`${folder}${path}`, config, { mode: 0o600 });
    }
    const env = { XDG_STATE_HOME: folder };
    for (const args of [["--date", "2026-10-22"], []]) {
      assertEquals(await main(["backup", `${folder}/cfg.yaml`, ...args], new QuietShell(env)), 0);
    }
    await use({ fake, folder, env });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A process that is sent SIGTERM soon after the command listens for it. */
class EndedShell extends QuietShell {
  override onSignal(listener?: (signal: "SIGTERM") => void): () => void {
    const timer = setTimeout(() => listener?.("SIGTERM"), 50);
    return () => clearTimeout(timer);
  }
}

/** What has to be so before an example makes sense. */
const BEFORE: Readonly<Record<string, (fake: FakeCouchDb) => Promise<unknown>>> = {
  'bring back "orders", which is gone': (fake) => couchOk(fake, "DELETE /orders"),
};

async function runExample(command: Command, line: string, place: { folder: string; env: Record<string, string> }) {
  const [plain = "", target] = line.split(" > ");
  const [[, ...words] = []] = await shellWords(plain);
  const args = words.map((word) =>
    /^(cfg\.yaml|report\.html)$/.test(word)
      ? `${place.folder}/${word}`
      : /^\/(etc|backups)\//.test(word)
      ? place.folder + word
      : word
  );
  parseCall(command, args.slice(1), new QuietShell());
  const shell = command.name === "schedule" ? new EndedShell(place.env) : new QuietShell(place.env);
  const code = await main(args, shell);
  return { code, out: shell.out, err: shell.err, target };
}

for (const { command } of COMMANDS) {
  Deno.test(`the examples of ${command.name} do what they say`, async () => {
    await withPlace(async ({ fake, folder, env }) => {
      for (const { line, summary } of command.examples) {
        await BEFORE[summary]?.(fake);
        const { code, out, err, target } = await runExample(command, line, { folder, env });
        // It may be ended in the middle of a run.
        if (command.name !== "schedule" || code !== 130) assertEquals(code, 0, `${line}\n${err}`);
        if (command.name !== "schedule") assert(out !== "", `${line} prints nothing`);
        if (target !== undefined) assert(/\.(ndjson|json|fish)$|_couchdb-backup$|\/couchdb-backup$/.test(target), line);
      }
      if (command.name === "restore") {
        const names: string[] = (await couchOk(fake, "GET /_all_dbs")).json;
        assertEquals(names.filter((name) => /order/.test(name)), ["copy_of_orders", "orders", "orders_check"]);
      }
    });
  });
}
