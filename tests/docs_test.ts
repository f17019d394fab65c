/**
 * What the documentation shows holds: command lines and configs are read by the program, samples are what it prints.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { explainFailure } from "../scripts/compile.ts";
import { main } from "../src/cli/cli.ts";
import { flagsOf, parseCall } from "../src/cli/command.ts";
import { loadCommands } from "../src/cli/commands.ts";
import { describeBackups } from "../src/cli/list.ts";
import type { ListedBackup } from "../src/commands/list.ts";
import { parseConfig } from "../src/config/config.ts";
import { KNOWN_KEYS } from "../src/config/keys.ts";
import { SECTIONS } from "../src/config/schema.ts";
import { parseYaml } from "../src/config/yaml.ts";
import type { LogFields } from "../src/observe.ts";
import type { LogLevel } from "../src/observe/log.ts";
import { formatForTerminal } from "../src/observe/terminal_line.ts";
import { explainMisses } from "../src/task/closest_misses.ts";
import { CalendarError, parseCalendar } from "../src/calendar/calendar.ts";
import { ConfigError } from "../src/errors.ts";
import { couchOk } from "./couch_request.ts";
import { createDatabase, idsOf } from "./couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "./fakes/couchdb.ts";
import { readLogfmt } from "./fakes/logfmt.ts";
import { FakeLoki } from "./fakes/loki.ts";
import { outputTo } from "./fakes/output.ts";
import { QuietShell } from "./fakes/quiet_shell.ts";
import { FakeTerminal } from "./fakes/terminal.ts";
import { shellWords } from "./shell_words.ts";
import { walk } from "./source_files.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const README = { path: "README.md", text: await Deno.readTextFile(`${ROOT}README.md`) };
const PAGES = [README, ...await walk(["docs", ".github"], ".md")];

/** What has been done so far, told by the last test. */
const tally = { linesRead: 0, configsRead: 0, commandsRun: 0, outputsCompared: 0 };

const COMMANDS = new Map((await loadCommands()).map(({ command }) => [command.name, command]));

/** The blocks of a page in one language; `""` for those that name none. */
function blocksOf(text: string, language: string): string[] {
  const blocks = [...text.matchAll(/^ *```(.*)\n([\s\S]*?)^ *```$/gm)];
  return blocks.filter(([, found]) => found === language).map(([, , block = ""]) => block);
}

function pageOf(path: string): string {
  const page = PAGES.find((page) => page.path === path);
  assert(page !== undefined, path);
  return page.text;
}

/** The blocks that a test compares with the program. */
const sampled = new Set<string>();

/** The block of a page that begins so; a test compares it with what the program prints. */
function sampleOf(path: string, beginning: string): string {
  const block = blocksOf(pageOf(path), "").find((block) => block.startsWith(beginning));
  assert(block !== undefined, `${path} shows nothing that begins with ${beginning}`);
  sampled.add(block);
  return block;
}

/** The command lines of this program in a page: those of its blocks, and what stands between backticks. */
function commandsOf({ text }: { text: string }): { line: string; isMentioned: boolean }[] {
  const blocks = ["sh", "", "ini"].flatMap((language) => blocksOf(text, language));
  const shown = blocks.flatMap((block) => block.split("\n")).flatMap((line) =>
    /^ *(?:\$ )?(couchdb-backup [a-z].*)$/.exec(line)?.[1] ?? []
  );
  const prose = text.replaceAll(/^ *```.*\n[\s\S]*?^ *```$/gm, "");
  const first = new RegExp(
    `^(?:couchdb-backup )?((?:${[...COMMANDS.keys()].join("|")}) .+|(?<=couchdb-backup )[a-z]+)$`,
  );
  const mentioned = [...prose.matchAll(/`([^`]+)`/g)].flatMap(([, code = ""]) => {
    const command = first.exec(code.replaceAll(/\s+/g, " "))?.[1];
    return command === undefined ? [] : `couchdb-backup ${command}`;
  });
  return [
    ...shown.map((line) => ({ line, isMentioned: false })),
    ...mentioned.map((line) => ({ line, isMentioned: true })),
  ];
}

Deno.test("every command line in README.md and docs/ is one that the program takes", async () => {
  let shown = 0;
  for (const page of PAGES) {
    for (const { line, isMentioned } of commandsOf(page)) {
      // What stands for something else: <config>, NAME, D, the … of a long value, alternatives.
      const plain = line.replaceAll(/<[a-z]+>/g, "x").replaceAll("=…", "=x").replaceAll(/\\\|\w+/g, "").replaceAll(
        / [>|].*$/g,
        "",
      );
      if (/[…[\]]/.test(plain)) continue;
      for (const [, name = "", ...words] of await shellWords(plain)) {
        if (name === "help" || name === "version" || name.startsWith("--")) continue;
        const command = COMMANDS.get(name);
        assert(command !== undefined, `${page.path}: there is no command in ${line}`);
        try {
          parseCall(command, words, new QuietShell());
        } catch (error) {
          // Prose may speak of a command without all its words.
          const isShort = isMentioned && error instanceof Error && error.message.endsWith("is missing an argument");
          if (!isShort) throw new Error(`${page.path}: ${line}`, { cause: error });
        }
        shown++;
      }
    }
  }
  assert(shown > 30, `${shown} commands are found`);
  tally.linesRead = shown;
});

Deno.test("README.md's table of commands has every command", () => {
  const rows = README.text.split("\n").filter((line) => line.startsWith("| `"));
  const listed = new Set(
    rows.flatMap((row) => [...row.split(" | ")[0]!.matchAll(/`([a-z-]+)/g)].map(([, name]) => name)),
  );
  assertEquals([...COMMANDS.keys()].filter((name) => !listed.has(name)), []);
});

Deno.test("every flag that README.md and docs/ mention is one of some command", () => {
  const flags = [...COMMANDS.values()].flatMap(flagsOf);
  const known = new Set(flags.flatMap(({ name, aliases = [] }) => [name, ...aliases]));
  // Of Deno, of the build, of others.
  const others = new Set(["v8-flags", "target", "strict", "attachments", "only", "write", "pinned", "mode", "log"]);
  for (const name of ["buffer-size", "parallelism", "runtime", "maintainer"]) others.add(name);
  for (const { path, text } of PAGES) {
    // Which speak of V8 and of the bench.
    if (path.endsWith("performance.md") || path.endsWith("optimizing.md")) continue;
    for (const [code, name = ""] of text.matchAll(/`--([a-z][a-z0-9-]*)[^`]*`/g)) {
      assert(known.has(name) || others.has(name) || name.startsWith("allow-"), `${path} shows ${code}`);
    }
  }
});

Deno.test("every config in README.md and docs/ is one that the program reads", () => {
  let shown = 0;
  const rest: Record<string, string> = {
    database: "database: {url: 'http://couch:5984'}\n",
    task: "task: {all: {databases: ['.*']}}\n",
    // S3, where every key has an effect.
    bucket: "bucket: s3://backups/couchdb\n",
  };
  for (const { path, text } of PAGES) {
    for (const block of blocksOf(text, "yaml")) {
      const written = parseYaml(block) as Record<string, unknown>;
      // What only shows how a schedule is written needs no databases.
      const tasks = Object.values(written.task ?? {});
      const isExample = tasks.length > 0 && tasks.every((task) => !("databases" in task));
      const whole = isExample ? block.replace(/^( +)(cron:)/gm, "$1databases: [x]\n$1$2") : block;
      const lacking = Object.keys(rest).filter((key) => !(key in written)).map((key) => rest[key]);
      const names = [...block.matchAll(/\$\{(\w+)\}/g)].map(([, name = ""]) => [name, "value"]);
      parseConfig(whole + lacking.join(""), { file: path, env: Object.fromEntries(names) });
      assert(Object.keys(written).every((key) => SECTIONS[""]!.includes(key)), path);
      shown++;
    }
  }
  assert(shown >= 6, `${shown} configs are found`);
  tally.configsRead = shown;
});

/** A double with databases, a folder, and a config in it that saves them. */
async function withPlace(
  databases: readonly string[],
  use: (place: { fake: FakeCouchDb; folder: string; config: (more?: string) => Promise<string> }) => Promise<void>,
): Promise<void> {
  await using fake = await startFakeCouchDb();
  for (const name of databases) await createDatabase(fake, name, idsOf(3));
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-docs-" });
  const config = async (more = "") => {
    const path = `${folder}/cfg.yaml`;
    await Deno.writeTextFile(
      path,
      `database: {url: "${fake.url}", login: ${fake.login}, password: ${fake.password}}
task: {weekly: {cron: "Sat 18:00", databases: [${databases.join(", ")}], timezone: UTC}}
bucket: "${pathToFileURL(`${folder}/bucket`).href}"
suffix: couchdb
${more}`,
      { mode: 0o644 },
    );
    return path;
  };
  try {
    await use({ fake, folder, config });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run(args: readonly string[], env: Record<string, string> = {}) {
  const shell = new QuietShell(env);
  const code = await main(args, shell);
  tally.commandsRun++;
  return { code, out: shell.out, err: shell.err };
}

/** Compares what a page shows with what the program prints. */
function assertShown(shown: string | readonly string[], printed: string | readonly string[], message?: string): void {
  tally.outputsCompared++;
  assertEquals(printed, shown, message);
}

const COUCHBACKUP_FILE = `${ROOT}tests/fixtures/foreign/couchbackup-2.11.12.txt`;

for (const path of ["README.md", "docs/npm.md", "docs/restore.md", "docs/migration.md"]) {
  Deno.test(`the commands of ${path} do what it says, one after the other`, async () => {
    await withPlace(["orders", "media"], async ({ fake, config }) => {
      const cfg = await config();
      if (path === "docs/restore.md") assertEquals((await run(["backup", cfg])).code, 0);
      const block = blocksOf(pageOf(path), "sh").find((block) => /^couchdb-backup .*restore/m.test(block));
      assert(block !== undefined);
      const lines = block.split("\n").filter((line) => line.startsWith("couchdb-backup "));
      assert(lines.length >= 3);
      for (const line of lines) {
        const [[, ...words] = []] = await shellWords(line);
        const args = words.map((word) => word === "cfg.yaml" ? cfg : word === "./orders.txt" ? COUCHBACKUP_FILE : word);
        // The backup that the page speaks of is of that day.
        if (args[0] === "backup") args.push("--date", "2026-10-22");
        if (args[0] === "restore" && args[1] === "orders") await couchOk(fake, "DELETE /orders");
        const { code, err } = await run(args);
        assertEquals(code, 0, `${line}: ${err}`);
      }
    });
  });
}

/** What a person sees of a command on a terminal of 80 columns, bars and all. */
async function runOnTerminal(args: readonly string[], env: Record<string, string>) {
  const shell = new QuietShell(env);
  // Wide enough that nothing wraps: what is measured is what `columns` says.
  const terminal = new FakeTerminal(1000);
  const output = { ...outputTo((text) => terminal.write(text)), isTerminal: true };
  tally.commandsRun++;
  const code = await main(args, {
    ...shell,
    onSignal: () => () => {},
    exit: shell.exit,
    stdout: output,
    stderr: output,
  });
  return { code, text: terminal.text() };
}

Deno.test("README.md shows what backup, list and restore print on a terminal, with the config that stands above", async () => {
  const sample = sampleOf("README.md", "$ couchdb-backup backup");
  const [config = ""] = blocksOf(README.text, "yaml");
  assert(config.split("\n").length <= 7, "six lines");
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-docs-" });
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "media", idsOf(3));
  await createDatabase(fake, "orders", idsOf(1200));
  try {
    const cfg = `${folder}/cfg.yaml`;
    const text = config.replace("http://127.0.0.1:5984", fake.url).replace('"/backups"', `"${folder}/backups"`)
      .replace('"admin"', `"${fake.login}"`);
    assert(text.includes(fake.url) && text.includes(folder) && text.includes(fake.login), text);
    await Deno.writeTextFile(cfg, text);
    const env = { COUCHDB_PASSWORD: fake.password, XDG_STATE_HOME: folder, NO_COLOR: "1" };
    // Times, sizes and dates are as they come; counts of documents are the sample's.
    const plain = (text: string) =>
      text.replaceAll(cfg, "cfg.yaml").replaceAll(folder, "").replaceAll(fake.url, "http://127.0.0.1:5984").replaceAll(
        /\b\d{4}-\d\d-\d\dT[\d:.]+Z/g,
        "INSTANT",
      )
        .replaceAll(/\b\d{4}[-/]\d\d[-/]\d\d\b/g, "DATE")
        .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "RUN")
        .replaceAll(/ +[\d.]+ [kMG]?B\b/g, " SIZE").replaceAll(/ +\d+\.\d+s/g, " SECONDS").replaceAll(/ {2,}/g, "  ");
    let printed = "";
    for (const [, line = ""] of sample.matchAll(/^\$ (.*)$/gm)) {
      const [[, ...words] = []] = await shellWords(line);
      const { code, text } = await runOnTerminal(words.map((word) => word === "cfg.yaml" ? cfg : word), env);
      assertEquals(code, 0, text);
      printed += `$ ${line}\n${text}\n`;
    }
    // Where a line is broken depends on the folder's path.
    const joined = (text: string) =>
      text.replaceAll(/^(?:Restored|Task|\d+ added,) .*(?:\n {2}\S.*)*/gm, (lines) => lines.replaceAll("\n ", ""));
    // Databases are saved side by side: which of them is done first is chance.
    const sorted = (text: string) => text.replace(/(?:^✓ .*\n)+/m, (lines) => lines.split("\n").sort().join("\n"));
    assertShown(sorted(plain(joined(sample.replaceAll(/\n\n\$/g, "\n$")))), sorted(plain(joined(printed))), printed);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("README.md's first screen has the two commands of a machine with Node and npm alone", async () => {
  const version = (await Deno.readTextFile(`${ROOT}.dvmrc`)).trim();
  const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const screen = README.text.split("\n").slice(0, 35).join("\n");
  for (const task of ["demo", "test"]) {
    assert(task in tasks, `deno.json has no task ${task}`);
    assert(screen.includes(`npx --yes deno@${version} task ${task} `), `task ${task} is not on the first screen`);
  }
});

Deno.test("README.md's table has every command, and its index every page", () => {
  const rows = [...README.text.matchAll(/^\| `([a-z-]+)/gm)].map(([, name]) => name);
  for (const name of COMMANDS.keys()) assert(rows.includes(name), `no row of ${name}`);
  for (const { path } of PAGES) {
    if (path !== "README.md") assert(README.text.includes(`](${path})`), `no link to ${path}`);
  }
});

Deno.test("every link of README.md and docs/ to a file of this project leads somewhere", async () => {
  const textOf = new Map(PAGES.map(({ path, text }) => [path, text]));
  // As GitHub makes anchors of headings.
  const anchorsOf = (text: string) =>
    new Set(
      [...text.matchAll(/^#{1,6} (.*)$/gm)].map(([, title = ""]) =>
        title.toLowerCase().replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll(/[^\p{L}\p{N} _-]/gu, "")
          .replaceAll(" ", "-")
      ),
    );
  let links = 0;
  for (const { path, text } of PAGES) {
    for (const [shown, target = "", anchor] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)) {
      const file = target === "" ? path : relative(ROOT, join(ROOT, dirname(path), target));
      await Deno.stat(join(ROOT, file));
      const page = textOf.get(file);
      if (anchor !== undefined && page !== undefined) assert(anchorsOf(page).has(anchor), `${path}: ${shown}`);
      links++;
    }
  }
  assert(links > 100, `${links} links`);
});

Deno.test("what a package's config, units and messages call documentation is where a package puts it", async () => {
  const files = [...await walk(["scripts/packaging"], ".yaml"), ...await walk(["scripts", "src"], ".ts")];
  let paths = 0;
  for (const { path, text } of files) {
    for (const [, file = ""] of text.matchAll(/\/usr\/share\/doc\/couchdb-backup\/([\w./-]*\w)/g)) {
      await Deno.stat(ROOT + file).catch(() => {
        throw new Error(`${path}: there is no ${file}`);
      });
      paths++;
    }
  }
  assert(paths >= 2, `${paths} paths`);
});

Deno.test("docs/README.ru.md has README.md's commands, outputs and configs, in their order, and all of its pages' names", () => {
  const russian = pageOf("docs/README.ru.md");
  // Comments are in the reader's language.
  const blocksIn = (text: string) =>
    [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].map(([, language, block = ""]) =>
      `${language}\n${block.replaceAll(/ +# .*$/gm, "")}`
    );
  assertEquals(blocksIn(russian), blocksIn(README.text));
  const commandsIn = (text: string) => [...text.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, usage]) => usage);
  assertEquals(commandsIn(russian), commandsIn(README.text));
  const flagsIn = (text: string) => [...text.matchAll(/`(--[a-z-]+)/g)].map(([, flag]) => flag);
  assertEquals(new Set(flagsIn(russian)), new Set(flagsIn(README.text)));
  const pagesIn = (text: string) =>
    new Set([...text.matchAll(/\]\((?:docs\/)?([a-z-]+\.md)\)/g)].map(([, name]) => name));
  assertEquals(pagesIn(russian), pagesIn(README.text));
  // What prose says of is there, too: sections, what lists have, keys of the config.
  const countsIn = (text: string) => [/^## /gm, /^- /gm, /^\| /gm].map((one) => [...text.matchAll(one)].length);
  assertEquals(countsIn(russian), countsIn(README.text));
  const keysIn = (text: string) =>
    new Set([...text.matchAll(/`([a-z_]+)/g)].map(([, word = ""]) => word).filter((word) => KNOWN_KEYS.has(word)));
  assertEquals(keysIn(russian), keysIn(README.text));
});

Deno.test("docs/migration.md restores a folder of the reference script as it says", async () => {
  const blocks = blocksOf(pageOf("docs/migration.md"), "sh");
  const line = blocks.flatMap((block) => block.split("\n")).find((line) => line.includes("./2026/10/22/"));
  assert(line !== undefined);
  await withPlace(["media"], async ({ fake, folder, config }) => {
    const [[, ...words] = []] = await shellWords(line);
    const cfg = await config();
    const args = words.map((word) => word === "cfg.yaml" ? cfg : word.startsWith("./") ? join(folder, word) : word);
    const below = args.find((word) => word.startsWith(folder) && word !== cfg)!;
    await Deno.mkdir(below, { recursive: true });
    const answer = await couchOk(
      fake,
      "POST /media/_bulk_get?include_docs=true&attachments=true",
      '{"docs":[{"id":"d00001"}]}',
    );
    const chunk = new Blob([JSON.stringify(answer.json)]).stream().pipeThrough(new CompressionStream("gzip"));
    await Deno.writeFile(join(below, "0000000.json.gz"), chunk);
    const { code, err } = await run(args);
    assertEquals(code, 0, err);
    const [, database = ""] = args;
    assertEquals((await couchOk(fake, `GET /${database}/d00001`)).json._id, "d00001");
  });
});

Deno.test("docs/migration.md finds what the reference script has left in a bucket by its date, as it says", async () => {
  const page = pageOf("docs/migration.md");
  const yaml = blocksOf(page, "yaml").find((block) => block.includes("suffix:"))!;
  const [listing, restoring, ...loop] = blocksOf(page, "sh").find((block) => block.includes(" old.yaml"))!
    .split(/\n(?! )/);
  await withPlace(["media"], async ({ fake, folder }) => {
    const cfg = join(folder, "old.yaml");
    const bucket = join(folder, "script");
    await Deno.writeTextFile(
      cfg,
      yaml.replace("http://127.0.0.1:5984", fake.url).replace(
        /"admin", password: "[^"]*"/,
        () => `"${fake.login}", password: "${fake.password}"`,
      ).replace(/^bucket: .*$/m, () => `bucket: "${bucket}"`),
    );
    const answer = await couchOk(
      fake,
      "POST /media/_bulk_get?include_docs=true&attachments=true",
      '{"docs":[{"id":"d00001"}]}',
    );
    for (const database of ["orders", "account%2Fab"]) {
      const below = join(bucket, "ippbx/2026/10/22/couchdb/db1.example.com", database);
      await Deno.mkdir(below, { recursive: true });
      const chunk = new Blob([JSON.stringify(answer.json)]).stream().pipeThrough(new CompressionStream("gzip"));
      await Deno.writeFile(join(below, "0000000.json.gz"), chunk);
    }
    const give = async (line: string) => {
      const [[, ...words] = []] = await shellWords(line.replace(/ +#.*/, ""));
      const result = await run(words.map((word) => word === "old.yaml" ? cfg : word));
      assertEquals(result.code, 0, `${line}: ${result.err}`);
      return result;
    };
    assertMatch((await give(listing!)).out, /2026-10-22 INCOMPLETE .* account\/ab[^]* orders /);
    await give(restoring!);
    // The loop, without jq and a shell.
    const [, list = "", date] = /^(couchdb-backup list .*) \| jq .*\.date == "(.*?)"/.exec(loop[0]!)!;
    const { backups }: { backups: { date: string; database: string }[] } = JSON.parse((await give(list)).out);
    const names = backups.filter((backup) => backup.date === date).map(({ database }) => database);
    assertEquals(names, ["account/ab", "orders"]);
    const [, restore = ""] = /do (couchdb-backup restore .*?) \|\|/.exec(loop[0]!)!;
    for (const name of names) await give(restore.replace("$db", name));
    for (const name of ["orders_old", ...names]) {
      const path = `GET /${encodeURIComponent(name)}/d00001`;
      assertEquals((await couchOk(fake, path)).json._id, "d00001");
    }
  });
});

Deno.test("docs/troubleshooting.md has messages that the program has", async () => {
  const page = pageOf("docs/troubleshooting.md");
  let source = "";
  for (const { text } of await walk(["src"], ".ts")) source += text;
  const messages = [...page.matchAll(/^### `(.*)`$/gm)].map(([, message = ""]) => message);
  assert(messages.length >= 12);
  for (const message of messages) {
    for (const part of message.split(/…|"[^"]*"/)) {
      const words = part.replace(/^[ :]+|[ :]+$/g, "");
      assert(source.includes(words), `no message has "${words}"`);
    }
  }
});

Deno.test("docs/check.md shows what check prints", async () => {
  const sample = sampleOf("docs/check.md", "$ couchdb-backup check");
  const loki = new FakeLoki();
  loki.always = { status: 401 };
  const gateway = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response());
  await withPlace(["media", "orders"], async ({ fake, folder, config }) => {
    await couchOk(fake, "PUT /media/picture", { _attachments: { a: { data: btoa("a") } } });
    const more = `loki: "${loki.url}"\nprometheus: "http://127.0.0.1:${gateway.addr.port}"\n`;
    const cfg = await config(more);
    const { code, out } = await run(["check", cfg, "--quiet"], { XDG_STATE_HOME: folder });
    assertEquals(code, 3);
    // Addresses, paths, counts and sizes differ; the words do not.
    const plain = (text: string) =>
      text.split("\n").map((line) =>
        line.replaceAll(/\S*cfg\.yaml\S*|"(?:[a-z]+:|\/|127|loki|push)[^"]*"/g, "X").replaceAll(/https?:\S+/g, "X")
          .replaceAll(/\d+(\.\d+)? [kMGT]?B\b/g, "N B").replaceAll(/401 .*/g, "401 …")
          .replaceAll(/(one of|"weekly") \d+/g, "$1 N").replaceAll(/\d+ (databases without a backup)/g, "N $1")
      );
    assertShown(plain(sample.split("\n").slice(1).join("\n")), plain(out));
  });
  await gateway.shutdown();
  await loki.close();
});

Deno.test("docs/monitoring.md shows a line of the log, and finds a run in Loki by what its lines have", async () => {
  const loki = new FakeLoki();
  await withPlace(["media"], async ({ config }) => {
    const { err, code } = await run(["backup", await config(`loki: "${loki.url}"\n`)]);
    assertEquals(code, 0, err);
    const sample = sampleOf("docs/monitoring.md", "2026-");
    const shapeOf = (line: string) => line.replaceAll(/\b(\w+)=("[^"]*"|\S*)/g, "$1=").replace(/^\S+/, "");
    const [event = ""] = /database is backed up/.exec(sample) ?? [];
    const line = err.split("\n").find((line) => line.includes(event));
    assertShown(shapeOf(sample.trim()), shapeOf(line ?? ""));
    assertMatch(sample, /^2026-01-03T18:00:01\.123Z info {2}/);

    // {label="value", …} | logfmt | field="value"
    const query = sampleOf("docs/monitoring.md", "{app=");
    const [, selector = "", field = "", value = ""] = /^\{(.*)\} \| logfmt \| (\w+)="(.*)"\n$/.exec(query) ?? [];
    const labels = Object.fromEntries([...selector.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, text]) => [name, text]));
    assertEquals(labels, { app: "couchdb-backup", task: "weekly" });
    const found = loki.lines.filter((line) =>
      Object.entries(labels).every(([name, text]) => line.labels[name] === text)
    );
    assert(found.length > 0);
    for (const { line } of found) {
      assertMatch(readLogfmt(line)[field] ?? "", /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    }
    assertMatch(value, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assert(sample.includes(`run=${value}`), "the same run in both samples");
  });
  await loki.close();
});

Deno.test("docs/restore.md shows the table that list prints", () => {
  const sample = sampleOf("docs/restore.md", "COMPLETE AT");
  const rowOf = (finished_at: string, part: Partial<ListedBackup>): ListedBackup => ({
    database: "orders",
    date: "2026-11-25",
    task: "weekly",
    path: "s3://data.example.com/…/2026/11/25/couchdb/orders",
    restore_path: `${finished_at}/orders`,
    manifest: "manifest.json",
    complete: true,
    kind: "full",
    run: null,
    documents: 0,
    compressed_bytes: 0,
    unreadable: 0,
    kept: false,
    kept_because: null,
    found_damaged_at: null,
    finished_at,
    age_seconds: 6_949,
    ...part,
  });
  const backups = [
    rowOf("2026-11-25T18:04:11Z", {}),
    rowOf("2026-11-25T10:00:02Z", { documents: 500, compressed_bytes: 310_456, age_seconds: 35_998 }),
  ];
  assertShown(sample, describeBackups({ backups }));
});

Deno.test("docs/configuration.md and docs/schedules.md show mistakes as they are told", () => {
  const sample = sampleOf("docs/configuration.md", "cfg.yaml:");
  const lines = [
    "database:",
    "  url: http://h",
    "  pasword: x",
    "bucket: /b",
    "task:",
    ...Array(11).fill(""),
    "  monthly:",
  ];
  const text = [...lines, "    chunk: many", "    databases: [a]", ""].join("\n");
  let message = "";
  try {
    parseConfig(text, { file: "cfg.yaml", env: {} });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    message = error.message;
  }
  assertShown(sample, `${message}\n`);

  const schedule = sampleOf("docs/schedules.md", "Cannot read schedule");
  try {
    parseCalendar("Sat *-*-1..7 25:00");
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    assertShown(schedule, `${error.message}\n`);
  }
});

Deno.test("docs/configuration.md says of a pattern that matches nothing what plan and backup say", () => {
  const digits = (index: number) => String(index).padStart(28, "0");
  const names = [
    "account/ab/cd/0123456789abcdef0123456789ab",
    ...Array.from({ length: 199 }, (_, index) => `account/ff/ff/${digits(index)}`),
    ...Array.from({ length: 14 }, (_, index) => `media-${index}`),
  ];
  const sample = sampleOf("docs/configuration.md", 'pattern "account');
  const { sentence } = explainMisses("account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}", names);
  assertShown(sample.trim().replaceAll("\n", " "), sentence);
});

Deno.test("docs/monitoring.md shows the lines that a person at a terminal sees", () => {
  const lines: [LogLevel, string, LogFields][] = [
    ["info", "database is backed up", {
      database: "account/ab/cd/0123456789abcdef0123456789ab/0123456789abcdef0123456789ab",
      documents: 1234,
      compressedBytes: 45_026,
      durationMs: 340,
    }],
    ["info", "database is backed up", { database: "media", documents: 0, kind: "unchanged", durationMs: 100 }],
    ["warn", "couchdb does not answer as it should: retrying", { attempt: 2, waitMs: 334, error: "Cannot" }],
    ["error", "database is not backed up", { database: "system_config", error: "Cannot read x" }],
  ];
  const printed = lines.map(([level, event, fields]) =>
    formatForTerminal({ timeMs: 0, level, event, fields }, { columns: () => 80, color: false })
  ).join("\n");
  const sample = sampleOf("docs/monitoring.md", "✓ ");
  // How long a name may be, and where a cause stands, is not what the page is about.
  const plain = (text: string) =>
    text.replaceAll(/account\S*/g, "NAME").replaceAll(/ {2,}/g, "  ").replaceAll(
      /:\s+Cannot.*$|: …$|: Cannot.*$/gm,
      ": …",
    );
  assertShown(plain(sample.trim()), plain(printed));
});

Deno.test("docs/retention.md shows what expire closes with", async () => {
  await withPlace(["media"], async ({ config }) => {
    const cfg = await config();
    const text = (await Deno.readTextFile(cfg)).replace("timezone: UTC", "timezone: UTC, retention: {keep_last: 1}");
    await Deno.writeTextFile(cfg, text);
    for (let times = 0; times < 3; times++) {
      const { code, err } = await run(["backup", cfg]);
      assertEquals(code, 0, err);
    }
    const { code, out } = await run(["expire", cfg]);
    assertEquals(code, 0);
    assertShown(sampleOf("docs/retention.md", "Would delete"), out.slice(out.indexOf("Would delete")));
  });
});

Deno.test("docs/build.md shows what compile says where Deno's runtime cannot be fetched", () => {
  const target = "x86_64-unknown-linux-gnu";
  const said = `error: Writing deno compile executable

Caused by:
    0: Downloading https://dl.deno.land/release/v2.9.6/denort-${target}.zip
    1: error sending request for url (https://dl.deno.land/release/v2.9.6/denort-${target}.zip): dns error`;
  const message = explainFailure(said, { target, denortBin: undefined });
  assertShown(sampleOf("docs/build.md", "Cannot compile").trim(), message.split("\n")[0]!);
});

/** Blocks that show no output of the program: layouts, grammars, shapes, and commands alone. */
const NO_OUTPUTS: readonly RegExp[] = [
  /^<bucket folder>/,
  /^\d+-[0-9a-f]{8}-\d{8}-/,
  /^\{"results"/,
  /^\$ scripts\/glibc_check\.sh/,
  /^backup {4}\{ok/,
  /^mod\.ts /,
  /^ground </,
  /^Plan ->/,
  /^\[days of the week\]/,
  /^couchdb-backup [^\n]*\n$/,
  /^\[Service\]/,
];
/** Pages whose commands and outputs other tests run, one after the other: tests/bringing_back_test.ts, keys_test.ts. */
const RUN_ELSEWHERE: readonly string[] = ["docs/disaster.md", "docs/keys.md"];

Deno.test("every output that README.md and docs/ show is compared with what the program prints", () => {
  for (const { path, text } of PAGES) {
    if (RUN_ELSEWHERE.includes(path) || path === "docs/README.ru.md") continue;
    for (const block of blocksOf(text, "")) {
      const isSession = path === "docs/restore.md" && block.startsWith("$ couchdb-backup ");
      if (isSession || NO_OUTPUTS.some((one) => one.test(block))) continue;
      assert(sampled.has(block), `${path}: no test compares\n${block}`);
    }
  }
});

Deno.test("what the docs show is read and run by these tests, and nobody has taken them away", async () => {
  const { linesRead, configsRead, commandsRun, outputsCompared } = tally;
  const examples = [...COMMANDS.values()].reduce((sum, { examples }) => sum + examples.length, 0);
  const told =
    `README and docs: ${linesRead} command lines and ${configsRead} configs are read, ${commandsRun} commands ` +
    `run, ${outputsCompared} outputs compared; ${examples} examples of docs/commands.md run in tests/cli/help_test.ts`;
  await Deno.stdout.write(new TextEncoder().encode(`${told}\n`));
  assert(linesRead >= 200 && configsRead >= 14 && commandsRun >= 25 && outputsCompared >= 10, told);
  assert(examples >= 40, told);
});
