import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { main } from "../../src/cli/cli.ts";
import type { Shell } from "../../src/cli/shell.ts";
import { VERSION } from "../../src/version.ts";
import { edit } from "../fakes/couchdb/edits.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { CouchDesk, layDesk } from "../fakes/couch_desk.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { outputTo } from "../fakes/output.ts";
import { filesOf, readBackup } from "../read_archive.ts";
import { shellWords } from "../shell_words.ts";
import { until } from "../until.ts";

type Signal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** A process made by the test. */
class TestShell implements Shell {
  out = "";
  err = "";
  journal = false;
  readonly stdout = outputTo((text) => this.out += text);
  readonly stderr = outputTo((text) => this.err += text);
  #listeners = new Set<(signal: Signal) => void>();

  readStandardInput?: () => Promise<string>;
  readonly env: Record<string, string>;

  constructor(env: Record<string, string> = {}) {
    this.env = env;
  }

  onSignal(listener: (signal: Signal) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  send(signal: Signal): void {
    for (const listener of this.#listeners) listener(signal);
  }

  get isListening(): boolean {
    return this.#listeners.size > 0;
  }

  exit(code: number): never {
    throw new ExitedWith(code);
  }
}

class ExitedWith extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** A double of CouchDB with three databases, a folder for a config and a bucket in it. */
class Desk extends CouchDesk {
  static async make(password = "secret"): Promise<Desk> {
    return new Desk(await layDesk(["a", "a/b", "media"], { users: [{ name: "admin", password }] }));
  }

  /** Writes a config; the parts replace what it says of CouchDB, of tasks and of the bucket. */
  async config(part: { database?: string; task?: string; bucket?: string } = {}): Promise<string> {
    const path = `${this.folder}/config.yaml`;
    const database = part.database ?? `{url: "${this.fake.url}", login: admin, password: secret}`;
    const task = part.task ?? `{weekly: {databases: [a, "a/b"], chunk: 5, timezone: UTC}}`;
    const bucket = part.bucket ?? pathToFileURL(`${this.folder}/bucket`).href;
    await Deno.writeTextFile(
      path,
      `database: ${database}\ntask: ${task}\nbucket: "${bucket}"\nprefix: backup\nsuffix: couchdb\n`,
    );
    return path;
  }

  /** Where a database's backup of a day lies. */
  backupOf(encoded: string, date = "2026/10/22"): string {
    return `${this.folder}/bucket/backup/${date}/couchdb/${encoded}`;
  }
}

/** Runs the program. `json` is what it printed, if that was JSON. */
async function run(args: string[], shell = new TestShell()) {
  const code = await main(args, shell);
  assertEquals(shell.isListening, false, "no listener for signals may stay");
  // deno-lint-ignore no-explicit-any -- tests look into results of every shape
  const json: any = shell.out.startsWith("{") ? JSON.parse(shell.out) : undefined;
  return { code, out: shell.out, err: shell.err, json };
}

const DATE = ["--date", "2026-10-22"];

Deno.test("main() backs up what a config selects, says 0, and prints the result on stdout and the log on stderr", async () => {
  await using desk = await Desk.make();
  const { code, json, out, err } = await run(["backup", await desk.config(), "--json", ...DATE]);
  assertEquals(code, 0, err);
  assertEquals(out.split("\n").length, 2, "one line");
  const { run: id, started_at, finished_at, tasks, ...rest } = json;
  assertEquals(rest, { ok: true });
  assert(/^[0-9a-f-]{36}$/.test(id) && started_at <= finished_at);
  const [{ databases: _, ...task }] = tasks;
  assertEquals([tasks.length, task], [1, { task: "weekly", date: "2026-10-22" }]);
  assertEquals(tasks[0].databases.map(({ database }: { database: string }) => database), ["a", "a/b"]);
  for (const one of tasks[0].databases) {
    const { manifest } = await readBackup(desk.backupOf(encodeURIComponent(one.database)));
    assertEquals(manifest.run, id);
    const { seconds, ...facts } = one;
    assert(typeof seconds === "number");
    assertEquals(facts, {
      database: one.database,
      status: "complete",
      path: pathToFileURL(desk.backupOf(encodeURIComponent(one.database))).href,
      kind: "full",
      backed_up_at: manifest.finished_at,
      ...manifest.totals,
    });
  }
  assertStringIncludes(err, `database is backed up documents=12`);
  assertStringIncludes(err, `run=${id}`);
});

Deno.test("main() saves what has changed of an incremental task, and all of it with --full; list tells one from the other", async () => {
  await using desk = await Desk.make();
  const task = "{weekly: {databases: [a, media], incremental: true, chunk: 5, timezone: UTC}}";
  const path = await desk.config({ task });
  // deno-lint-ignore no-explicit-any -- a report as it was printed
  const kinds = ({ json }: { json: any }) =>
    json.tasks[0].databases.map((one: { kind: string; unchanged?: true }) => one.unchanged ? "unchanged" : one.kind);
  assertEquals(kinds(await run(["backup", path, "--json", "--date", "2026-10-22"])), ["full", "full"]);
  edit(desk.fake.databases.get("a")!, { _id: "another" });
  const planned = await run(["plan", path]);
  assertStringIncludes(
    planned.out,
    "would read 1 document: of 0 databases all, of 1 database the changes, of 1 database",
  );
  assertEquals(kinds(await run(["backup", path, "--json", "--date", "2026-10-23"])), ["incremental", "unchanged"]);
  assertEquals(kinds(await run(["backup", path, "--json", "--date", "2026-10-24", "--full"])), ["full", "full"]);
  const { json: list } = await run(["list", "backups", "--config", path, "--json", "--database", "a"]);
  assertEquals(list.backups.map(({ kind }: { kind: string }) => kind), ["full", "incremental", "full"]);
  const { out } = await run(["list", "backups", "--config", path]);
  assertStringIncludes(out, "incremental");
  assertEquals((await run(["verify", "a", "2026-10-23", "--config", path])).code, 0);
  assertEquals((await run(["restore", "new", "2026-10-23/a", "--config", path])).code, 0);
  assertEquals(desk.fake.databases.get("new")!.listing(desk.fake.node).ids.length, 13);
});

Deno.test("main() takes the config from $COUCHDB_BACKUP_CONFIG, as a path and as text", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  for (const value of [path, await Deno.readTextFile(path)]) {
    const shell = new TestShell({ COUCHDB_BACKUP_CONFIG: value });
    const { code, json, err } = await run(["backup", "--json", "--database", "media"], shell);
    assertEquals([code, json?.tasks[0].databases[0].database], [0, "media"], err);
  }
});

Deno.test("main() dates a backup by the task's zone when no date is given", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: `{t: {databases: [a], timezone: "Pacific/Kiritimati"}}` });
  const before = Date.now();
  const { json } = await run(["backup", path, "--json"]);
  const days = [before, Date.now()].map((ms) => new Date(ms + 14 * 3_600_000).toISOString().slice(0, 10));
  assert(days.includes(json.tasks[0].date), `${json.tasks[0].date} is none of ${days}`);
  assert((await filesOf(desk.backupOf("a", json.tasks[0].date.replaceAll("-", "/")))).includes("manifest.json"));
});

Deno.test("main() backs up the previous month's databases under the date a month ago, or under the one it is given", async () => {
  await using desk = await Desk.make();
  const now = new Date();
  const month = (back: number) => {
    const first = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1));
    return first.toISOString().slice(0, 7);
  };
  for (const name of [month(0), month(1), "2025-03"]) {
    await createDatabase(desk.fake, `cdr-${name.replace("-", "")}`, []);
  }
  const task = "{monthly: {databases: ['cdr-[0-9]{6}'], backup_only_previus: true, timezone: UTC}}";
  const path = await desk.config({ task });
  const previous = await run(["backup", path, "--json"]);
  const [found] = previous.json.tasks;
  assertEquals([found.date.slice(0, 7), found.databases[0].database], [month(1), `cdr-${month(1).replace("-", "")}`]);
  const given = await run(["backup", path, "--json", "--date", "2025/03/31"]);
  assertEquals([given.json.tasks[0].date, given.json.tasks[0].databases[0].database], ["2025-03-31", "cdr-202503"]);
  const files = await filesOf(desk.backupOf("cdr-202503", "2025/03/31"));
  assertEquals(files.map((name) => name.replace(/\d{8}T\d{6}Z-[0-9a-f]{8}/, "MOMENT")), [
    "manifest-MOMENT.json",
    "manifest.json",
  ]);
});

Deno.test("main() narrows a run to tasks and databases, also in the reference script's words", async () => {
  await using desk = await Desk.make();
  const task = `{one: {databases: [a], timezone: UTC}, two: {databases: ["a/b"], timezone: UTC}}`;
  const path = await desk.config({ task });
  const cases: [args: string[], saved: string][] = [
    [[], "one: a; two: a/b"],
    [["--task", "two"], "two: a/b"],
    [["--task=two", "--task", "one"], "one: a; two: a/b"],
    [["--database", "a%2Fb"], "two: a/b"],
    [["--database", "a/b", "--database=media"], "one: media; two: a/b"],
    [["--single", "media"], "one: media"],
    [["--single", "_users", "--task", "two"], "two: _users"],
    [["--all"], "one: a, media; two: a/b"],
  ];
  for (const [args, expected] of cases) {
    const { code, json, err } = await run(["backup", path, "--json", "--dry-run", ...args]);
    assertEquals(code, 0, err);
    const { tasks } = json as { tasks: { task: string; databases: { database: string }[] }[] };
    const names = tasks.map((one) => `${one.task}: ${one.databases.map(({ database }) => database).join(", ")}`);
    assertEquals(names.join("; "), expected);
  }
});

Deno.test("main() says with --dry-run what it would do, and stores nothing", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const { code, out, err } = await run(["backup", path, "--dry-run", ...DATE]);
  assertEquals(code, 0, err);
  assertEquals(
    out,
    [
      'Task "weekly" would back up 2 databases under the date 2026-10-22',
      `  a -> ${pathToFileURL(desk.backupOf("a")).href}`,
      `  a/b -> ${pathToFileURL(desk.backupOf("a%2Fb")).href}`,
      "",
    ].join("\n"),
  );
  assertEquals(await filesOf(`${desk.folder}/bucket`), []);
  assertEquals(desk.fake.requestsTo("_bulk_get"), []);
});

Deno.test("main() says 3 when not everything is saved, and names database and cause", async () => {
  await using desk = await Desk.make();
  desk.fake.faults.add({ database: "a/b", times: Infinity, fault: { kind: "answer", status: 403 } });
  const { code, json, err } = await run(["backup", await desk.config(), "--json", ...DATE]);
  assertEquals([code, json.ok], [3, false]);
  const [saved, failed] = json.tasks[0].databases;
  assertEquals([saved.status, failed.status, failed.exit_code], ["complete", "failed", 10]);
  assertStringIncludes(failed.error, 'database "a/b": CouchDB answered 403');
  assertStringIncludes(err, 'database is not backed up error="Cannot read');

  const nothing = await run(["backup", await desk.config({ task: "{t: {databases: [b]}}" }), "--json"]);
  assertEquals([nothing.code, nothing.json.tasks[0].error], [3, 'Task "t" selects no database']);
  const dry = await run(["backup", `${desk.folder}/config.yaml`, "--json", "--dry-run"]);
  assertEquals([dry.code, dry.json.ok], [3, false]);
  const allowed = await desk.config({ task: "{t: {databases: [b], allow_empty: true}}" });
  assertEquals((await run(["backup", allowed, "--json"])).code, 0);
});

Deno.test("main() says 10 when CouchDB refuses the login, after one attempt, or is not there", async () => {
  await using desk = await Desk.make();
  const before = desk.fake.requests.length;
  const path = await desk.config({ database: `{url: "${desk.fake.url}", login: admin, password: wrong}` });
  const { code, json, err } = await run(["backup", path, "--json"]);
  assertEquals([code, json.error.exit_code, desk.fake.requests.length - before], [10, 10, 1]);
  assertStringIncludes(err, 'couchdb-backup: Cannot list the databases: CouchDB answered 401 unauthorized, "Name or');
  assertStringIncludes(err, "\n  Check database.login and database.password");
});

Deno.test("main() shows with every command, at the first repetition, that CouchDB does not answer", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const { err: quiet } = await run(["backup", path, ...DATE]);
  assert(!quiet.includes("retrying"), quiet);
  const commands = [["backup", path, ...DATE], ["plan", path], ["restore", "copy", "latest/a%2Fb", "--config", path]];
  for (const args of commands) {
    desk.fake.faults.add({ times: 1, fault: { kind: "answer", status: 503 } });
    const { code, err } = await run(args);
    assertEquals(code, 0, err);
    assertStringIncludes(err, "couchdb does not answer as it should: retrying", args[0]!);
  }
});

Deno.test("main() tells a cause once on the terminal, and Loki has it with the task", async () => {
  await using desk = await Desk.make();
  const loki = new FakeLoki();
  const database = `{url: "${desk.fake.url}", login: admin, password: wrong}`;
  const path = await desk.config({ database, bucket: `${desk.folder}/bucket"\nloki: "${loki.url}` });
  const { code, err } = await run(["backup", path]);
  assertEquals([code, err.split("Cannot list the databases").length - 1], [10, 1], err);
  assertStringIncludes(err, "task is not saved task=weekly saved=0");
  const line = loki.lines.find(({ line }) => line.includes("task is not saved"));
  assertEquals(line?.labels.task, "weekly");
  assertStringIncludes(line?.line ?? "", 'error="Cannot list the databases: CouchDB answered 401');

  const checked = await run(["check", path]);
  assertEquals([checked.code, checked.err, checked.out.split("answered 401").length - 1], [10, "", 1]);
  assert(loki.lines.some(({ line }) => line.includes('event="check fails" check=couchdb')), "Loki has it too");
  await loki.close();
});

Deno.test("main() says 11 when the store refuses everything, and what to fix", async () => {
  await using desk = await Desk.make();
  await Deno.writeTextFile(`${desk.folder}/file`, "not a folder");
  const bucket = pathToFileURL(`${desk.folder}/file`).href;
  const { code, json } = await run(["backup", await desk.config({ bucket }), "--json"]);
  assertEquals([code, json.ok], [11, false]);
  const [first, second] = json.tasks[0].databases;
  assertEquals([first.status, second.status], ["failed", "failed"]);
  assertStringIncludes(first.error, "a part of the path is not a folder");
  assertStringIncludes(first.hint, "Remove or rename the file");
});

Deno.test("main() needs no password for what needs no CouchDB, and says 2 where it is needed and cannot be read", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  await run(["backup", path, ...DATE]);
  for (
    const [password, message, hint] of [
      [
        "password_file: /nowhere/password",
        'Cannot read the password file "/nowhere/password"',
        "The file must be readable",
      ],
      ['password: "${NOWHERE}"', "uses the environment variable NOWHERE, which is not set", "Set NOWHERE where"],
    ] as const
  ) {
    const database = `{url: "http://127.0.0.1:1", login: admin, ${password}}`;
    await desk.config({ database });
    for (
      const args of [
        ["list", "--config", path],
        ["verify", "a", "2026-10-22", "--config", path],
        ["find", "a", "--id", "0", "--config", path],
        ["plan", path, "--offline"],
      ]
    ) {
      const { code, err } = await run(args);
      assertEquals(code, 0, `${args}: ${err}`);
    }
    await desk.config({ database, task: "{weekly: {databases: [a], cron: hourly}}" });
    for (
      const args of [
        ["list", "databases", "--config", path],
        ["restore", "b", "2026-10-22/a", "--config", path],
        ["plan", path],
        ["check", path],
        ["backup", path],
        ["backup", path, "--scheduled"],
        ["schedule", path],
      ]
    ) {
      const { code, err } = await run(args);
      assertEquals(code, 2, `${args}: ${err}`);
      assertStringIncludes(err, `couchdb-backup: ${path}:1:`);
      assertStringIncludes(err, message);
      assertStringIncludes(err, `\n  ${hint}`);
    }
  }
});

Deno.test("main() explains what is wrong with a command line, with exit code 2", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const cases: [args: string[], message: string, hint: string][] = [
    [["bakup"], 'There is no command "bakup"', 'Did you mean "backup"?'],
    [["frobnicate"], 'There is no command "frobnicate"', '  "couchdb-backup help" lists all of them'],
    [["backup", path, "--resum"], '"backup" has no flag "--resum"', "Did you mean --resume?"],
    [["backup", path, "-x"], '"backup" has no flag "-x"', "--help"],
    [["backup", path, "again"], '"backup" does not take "again"', "Usage: couchdb-backup backup [<config>]"],
    [["backup", path, "--date"], "--date needs a value: --date D", ""],
    [["backup", path, "--date", "2026-02-30"], '--date "2026-02-30" is not a day of the calendar', "2026-10-22"],
    [["backup", path, "--task", "daily"], 'The config has no task "daily"', 'Its tasks are "weekly"'],
    [["backup", path, "--all", "--database", "a"], "--all and --database exclude each other", ""],
    [["backup", path, "--scheduled", "--full"], "--scheduled and --full exclude each other", "full_every"],
    [["backup", path, "--single", "medai"], 'CouchDB has no database "medai"', 'Did you mean "media"?'],
    [
      ["backup", path, "--log-format", "xml"],
      '--log-format cannot be "xml"',
      "Allowed are auto, terminal, plain, json, journald",
    ],
    [["backup", `${desk.folder}/missing.yaml`], "missing.yaml: Cannot read the config", "Name a readable file"],
    [["backup", "orders"], "orders: Cannot read the config", "--database orders names a database"],
    [["list", "backups", "orders"], "orders: Cannot read the config", "--database orders names a database"],
    [["list", "orders", "--config", path], '"list" cannot list "orders"', '--database orders" lists the backups'],
    [["list", "database", "--config", path], '"list" cannot list "database"', 'Did you mean "databases"?'],
    [["restore", "orders", "--config", path], "which backup of", "orders latest, which takes the newest\n"],
    [
      ["restore", "2026-11-25T18:05Z", "--config", path],
      'which database "2026-11-25T18:05Z" is restored into',
      "--all 2026-11-25T18:05Z restores all of them; the name of one stands before",
    ],
    [
      ["restore", "latest/orders", "--config", path],
      'which database "latest/orders" is restored into',
      " orders latest\n",
    ],
  ];
  for (const [args, message, hint] of cases) {
    const { code, out, err } = await run(args);
    assertEquals([code, out], [2, ""], message);
    assert(err.startsWith("couchdb-backup: "), err);
    assertStringIncludes(err, message);
    assertStringIncludes(err, hint);
    const { json } = await run([...args, "--json"]);
    assertEquals([json?.ok, json?.error.exit_code], [false, 2], message);
    assertStringIncludes(json.error.message, message);
  }
});

Deno.test("main() says where and what a config is wrong, with exit code 2", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], chunks: 5}}" });
  const { code, err } = await run(["backup", path]);
  assertEquals(code, 2);
  assertStringIncludes(err, `${path}:2:`);
  assertStringIncludes(err, 'Key "task.weekly.chunks" is unknown; did you mean "chunk"?');
});

Deno.test("main() prints its help and version on stdout, and its usage on stderr when it is called with nothing", async () => {
  for (const args of [["help"], ["--help"], ["-h"]]) {
    const { code, out, err } = await run(args);
    assertEquals([code, err], [0, ""]);
    assertStringIncludes(out, "  backup        back up the databases a config selects");
  }
  const { code, out } = await run(["backup", "--help"]);
  assertEquals(code, 0);
  for (const text of ["couchdb-backup backup [<config>] [options]", "--database NAME", "--resume", "--json"]) {
    assertStringIncludes(out, text);
  }
  for (const args of [["help", "backup"], ["help", "--json", "backup"]]) assertEquals((await run(args)).out, out);
  const unknown = await run(["help", "bakcup"]);
  assertEquals(unknown.code, 2);
  assertStringIncludes(unknown.err, 'There is no command "bakcup"\n  Did you mean "backup"?');
  assertEquals((await run(["--version"])).out, `couchdb-backup ${VERSION}\n`);
  const bare = await run([]);
  assertEquals([bare.code, bare.out], [2, ""]);
  assertStringIncludes(bare.err, "Usage: couchdb-backup <command>");
});

Deno.test("main() writes log lines as it is told: few, all, as JSON, and for the journal", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a, nothing]}}" });
  const lines = async (...args: string[]) => (await run(["backup", path, ...args])).err.trimEnd().split("\n");
  assertEquals((await lines("--quiet")).map((line) => line.split(/ +/)[1]), ["warn"]);
  const all = await lines("--verbose");
  assert(all.filter((line) => line.includes("couchdb request method=")).length >= 6, all.join("\n"));
  for (const line of await lines("--log-format", "json")) assertEquals(typeof JSON.parse(line).event, "string");
  for (const line of await lines("--log-format", "journald")) assert(/^<[3-7]>/.test(line), line);
});

Deno.test("main() ends with lines that have a priority where they go to the journal, a stop's below those of an error", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], chunk: 2, parallel: 1}}" });
  const err = async (args: string[], journal: boolean) => {
    const shell = new TestShell();
    shell.journal = journal;
    return (await run(args, shell)).err.trimEnd().split("\n");
  };
  const wrong = ["backup", `${desk.folder}/none.yaml`];
  const [message, hint, ...more] = await err(wrong, true);
  assertMatch(message!, /^<3>couchdb-backup: .*Cannot read the config/);
  assertMatch(hint!, /^<3> {2}Name a readable file/);
  assertEquals(more, []);
  assertMatch((await err(["backup", "--nonsense"], true))[0]!, /^<3>couchdb-backup: /);
  assertMatch((await err([...wrong, "--log-format", "journald"], false))[0]!, /^<3>/);
  assertMatch((await err([...wrong, "--log-format", "plain"], true))[0]!, /^couchdb-backup: /);
  assertMatch((await err(wrong, false))[0]!, /^couchdb-backup: /);

  const shell = new TestShell();
  shell.journal = true;
  desk.fake.faults.add({ endpoint: "_bulk_get", skip: 2, fault: { kind: "run", run: () => shell.send("SIGTERM") } });
  const stopped = await run(["backup", path], shell);
  assertEquals(stopped.code, 130);
  assertMatch(stopped.err, /\n<4>couchdb-backup: Interrupted by SIGTERM\n<4> {2}What is done so far is kept/);
});

Deno.test("main() names the file that systemd has made a copy of in the commands of its messages", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], chunk: 2, parallel: 1}}" });
  const shell = new TestShell({ COUCHDB_BACKUP_CONFIG_SOURCE: "/etc/my config.yaml" });
  desk.fake.faults.add({ endpoint: "_bulk_get", skip: 2, fault: { kind: "run", run: () => shell.send("SIGTERM") } });
  const { code, err } = await run(["backup", path], shell);
  assertEquals(code, 130);
  assertStringIncludes(err, "couchdb-backup backup --config '/etc/my config.yaml' --date ");
});

Deno.test("main() ends with 130 when it is interrupted, and goes on with --resume", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], chunk: 2, parallel: 1}}" });
  const shell = new TestShell();
  const run1 = () => shell.send("SIGTERM");
  desk.fake.faults.add({ endpoint: "_bulk_get", skip: 2, fault: { kind: "run", run: run1 } });
  const { code, json, err } = await run(["backup", path, "--json", ...DATE], shell);
  assertEquals([code, json.error.exit_code], [130, 130]);
  assertStringIncludes(err, "stopping: chunks in flight are finished first signal=SIGTERM");
  const [, hint = ""] =
    /^couchdb-backup: Interrupted by SIGTERM\n {2}What is done so far is kept. Resume with: (.*)$/m.exec(err) ?? [];
  const before = desk.fake.requestsTo("_bulk_get").length;
  const [words = []] = await shellWords(hint);
  assertEquals(words, ["couchdb-backup", "backup", "--config", path, ...DATE, "--resume"]);
  const resumed = await run([...words.slice(1), "--json"]);
  assertEquals([resumed.code, resumed.json.tasks[0].databases[0].status], [0, "resumed"]);
  assertEquals(desk.fake.requestsTo("_bulk_get").length - before, 3);
  await readBackup(desk.backupOf("a"));
});

Deno.test("main() drops what is in flight a moment after it was interrupted, and exits at once the second time", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  desk.fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "stall" } });
  const shell = new TestShell();
  let exited: unknown;
  const running = run(["backup", path], shell);
  await until(() => desk.fake.requestsTo("_bulk_get").length > 0, "a chunk in flight");
  const started = performance.now();
  shell.send("SIGHUP");
  shell.send("SIGINT");
  try {
    shell.send("SIGINT");
  } catch (error) {
    exited = error;
  }
  const { code, err } = await running;
  assertEquals(code, 130);
  assert(performance.now() - started < 5000);
  assertStringIncludes(err, "Interrupted by SIGINT");
  assert(exited instanceof ExitedWith && exited.code === 130);
});

Deno.test("main() says after an interruption how each task goes on, on another day too, and how a restore does", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({
    task:
      `{weekly: {databases: [a], timezone: UTC}, "it's": {databases: [a], backup_only_previous: true, timezone: UTC}}`,
  });
  const interrupted = async (args: string[], endpoint: string) => {
    const shell = new TestShell();
    desk.fake.faults.add({ endpoint, times: 9, fault: { kind: "run", run: () => shell.send("SIGINT") } });
    const { code, err } = await run(args, shell).catch((error) => ({ code: String(error), err: shell.err }));
    desk.fake.faults.clear();
    assertEquals(code, 130, err);
    const hint = err.split("Resume with: ").at(-1)!.trim();
    return (await shellWords(hint)).map((words) => words.slice(1));
  };
  const day = () => new Date().toISOString().slice(0, 10);
  const firstDay = day();
  // Midnight may pass meanwhile.
  const isToday = (word: string) => word === firstDay || word === day();
  const dated = (words: readonly string[] = []) => words.map((word) => isToday(word) ? "today" : word);
  const [weekly, monthly] = await interrupted(["backup", path], "_all_dbs");
  const expected = ["backup", "--config", path, "--task", "weekly", "--date", "today", "--resume"];
  assertEquals(dated(weekly), expected);
  assertEquals([monthly?.[4], monthly?.at(-1)], ["it's", "--resume"]);
  assert(dated(monthly)[6] !== "today", "the month before");
  const single = await interrupted(["backup", path, "--single", "a/b", "--task", "weekly"], "_all_dbs");
  assertEquals(single.map(dated), [[...expected.slice(0, 5), "--database", "a/b", "--date", "today", "--resume"]]);
  // What was not begun yet is to be saved in full by the resumed run, too.
  const full = await interrupted(["backup", path, "--full", "--task", "weekly"], "_all_dbs");
  assertEquals(full.map(dated), [[...expected, "--full"]]);

  await run(["backup", path, "--task", "weekly"]);
  const [again = []] = await interrupted(["restore", "copy", "latest/a", path, "--no-views"], "_bulk_docs");
  assertEquals([again.slice(0, 4), again.slice(5)], [["restore", "--config", path, "copy"], [
    "--into-existing",
    "--no-views",
  ]]);
  assertMatch(again[4] ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\/a$/);
  assertEquals((await run([...again, "--json"])).json.documents, 12);

  // What fails by itself is completed in the same way, from the very backup.
  desk.fake.faults.add({
    endpoint: "_bulk_docs",
    times: 99,
    fault: { kind: "answer", status: 401, body: { error: "x" } },
  });
  const { err } = await run(["restore", "copy2", "latest/a", path, "--log-format", "json"]);
  desk.fake.faults.clear();
  const line = JSON.parse(err.split("\n").find((line) => line.includes("restore ends early")) ?? "{}");
  const [completing = []] = await shellWords(line.hint.split(" completes it")[0]);
  assertMatch(completing[5] ?? "", /^file:.*manifest-\d{8}T\d{6}Z-\w{8}\.json$/);
  assertEquals((await run([...completing.slice(1), "--json"])).json?.documents, 12);
});

Deno.test("main() completes the hints of errors with the config of the call", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const { err, code } = await run(["restore", "copy", "latest/a", path]);
  assertEquals(code, 12);
  const [, command = ""] = /"(couchdb-backup list .*)" shows/.exec(err) ?? [];
  const [words = []] = await shellWords(command);
  assertEquals(words, ["couchdb-backup", "list", "--config", path, "backups"]);
  const { out } = await run(words.slice(1));
  assertMatch(
    out,
    /^There are no backups\n {2}Looked for in "file:.*" as .*YYYY\/MM\/DD.*: correct bucket, prefix or suffix/,
  );
});

Deno.test("main() says how a restore or a verification is written that lacks something, as a command to paste", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const hinted = async (...args: string[]) => {
    const { code, err } = await run(args);
    assertEquals(code, 2, err);
    const [, command = ""] = /(couchdb-backup (?:restore|verify) [^,\n]*?)(?:,| verifies| restores|\n)/.exec(err) ?? [];
    const [words = []] = await shellWords(command);
    assertEquals(words.slice(2, 4), ["--config", path], err);
    return [words[1], ...words.slice(4)];
  };
  assertEquals(await hinted("restore", "it's", "--config", path), ["restore", "it's", "latest"]);
  const asNew = ["restore", "it's", "latest", "--as-new-revision"];
  assertEquals(await hinted(...asNew, path), [...asNew.slice(0, 3), "--id", "ID", "--as-new-revision"]);
  const one = ["restore", "--all", "latest", "--match", "a b"];
  assertEquals(await hinted("restore", "--all", "a b", "latest", path), one);
  assertEquals(await hinted("restore", "--all", "latest", "a b", path), one);
  assertEquals(await hinted("verify", "--all", "a b", path), ["verify", "--all", "--match", "a b"]);
});

Deno.test("main() says of unkeep that it cannot unpin what is no complete backup", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  await run(["backup", path, "--task", "weekly", ...DATE]);
  const chunk = `${desk.backupOf("a")}/0000000.json.gz`;
  for (const [command, what] of [["keep", "pin"], ["unkeep", "unpin"]] as const) {
    const { code, err } = await run([command, "a", chunk, path]);
    assertEquals([code, err.includes(`Cannot ${what} "${chunk}": there is no complete backup`)], [12, true], err);
  }
  // The path of a manifest is that of its backup; the folder's URL is then the store's own.
  for (const command of ["keep", "unkeep"]) {
    const { code, json, err } = await run([command, "a", `${desk.backupOf("a")}/manifest.json`, path, "--json"]);
    assertEquals([code, json?.path], [0, pathToFileURL(desk.backupOf("a")).href], err);
  }
});

Deno.test("main() verifies a folder without a config only where there is none, not where it cannot be read", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  await run(["backup", path, "--task", "weekly", ...DATE]);
  const verify = async (config: string) => {
    return await run(["verify", "a", desk.backupOf("a")], new TestShell({ COUCHDB_BACKUP_CONFIG: config }));
  };
  assertEquals((await verify(path)).code, 0);
  assertEquals((await verify(`${desk.folder}/none.yaml`)).code, 0);
  const unreadable = await verify(desk.folder);
  assertEquals(unreadable.code, 2);
  assertStringIncludes(unreadable.err, "Cannot read the config");
});

Deno.test("main() says of systemd --output what keeps it from writing the units, and leaves nothing half written", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], cron: weekly}}" });
  const none = await run(["systemd", path, "--output", `${desk.folder}/none`]);
  assertEquals(none.code, 1);
  assertMatch(
    none.err,
    /^couchdb-backup: Cannot write ".*\/none\/couchdb-backup@.service": .*\n {2}Its folder must exist/,
  );
  const units = `${desk.folder}/units`;
  await Deno.mkdir(units);
  // As systemctl mask leaves a unit: what is written must not vanish through the link.
  await Deno.symlink("/dev/null", `${units}/couchdb-backup@.service`);
  assertEquals((await run(["systemd", path, "--output", units])).code, 0);
  const names = (await Array.fromAsync(Deno.readDir(units))).map(({ name }) => name).toSorted();
  assertEquals(names, ["couchdb-backup-failed@.service", "couchdb-backup@.service", "couchdb-backup@weekly.timer"]);
  for (const name of names) {
    const { isFile, mode } = await Deno.lstat(`${units}/${name}`);
    assertEquals([isFile, mode! & 0o777], [true, 0o644], name);
  }
});

Deno.test("main() has systemd hand over each file that the config names beside itself, and refuses what it cannot", async () => {
  await using desk = await Desk.make();
  const path = `${desk.folder}/config.yaml`;
  const units = async (
    { database = "", more = "", keep = "" }: { database?: string; more?: string; keep?: string },
    args: string[] = [],
  ) => {
    const text = `database: {url: "https://couchdb.example.com:6984"${database}}
task: {weekly: {cron: weekly, databases: [a]${keep}}}
bucket: "s3://data.example.com/folder"
${more}`;
    await Deno.writeTextFile(path, text);
    const { code, out, err } = await run(["systemd", path, ...args]);
    const loaded = out.split("\n").filter((line) => line.startsWith("LoadCredential="));
    return { code, out, err, loaded: loaded.map((line) => line.slice(15).replace(`${desk.folder}/`, "")) };
  };
  const database = ", login: a, password_file: pw, ca_file: ./ca.pem";
  const more = `ca_file: s3.pem
endpoint: "https://s3.example.com"
loki: {url: "https://loki.example.com", ca_file: ca.pem}
prometheus: {pushgateway: "https://push.example.com", ca_file: push.pem}
notify: {url: "https://hc.example.com/a", ca_file: "\${CREDENTIALS_DIRECTORY}/hc.pem"}
identity_file: keys/backup.key
`;
  const both = await units({ database, more });
  assertEquals([both.code, both.err], [0, ""]);
  const named = ["pw:pw", "ca.pem:ca.pem", "s3.pem:s3.pem", "push.pem:push.pem", "hc.pem:hc.pem"];
  assertEquals(both.loaded, ["config.yaml:config.yaml", ...named]);

  // A service that stays reads in place what lies beside its config; the one that deletes does not.
  const keep = ", retention: {keep_last: 3}";
  const resident = await units({ database, more, keep }, ["--resident"]);
  const ofOthers = ["s3.pem:s3.pem", "ca.pem:ca.pem", "push.pem:push.pem", "hc.pem:hc.pem"];
  assertEquals(resident.loaded, ["hc.pem:hc.pem", "config.yaml:config.yaml", ...ofOthers]);

  const refused: [part: Parameters<typeof units>[0], says: string][] = [
    [{ database: ", ca_file: tls/ca.pem" }, 'database.ca_file "tls/ca.pem": a credential has a name, and no folder'],
    [
      { database: ", login: a, password_file: ../pw" },
      'database.password_file "../pw": a credential has a name, and no folder',
    ],
    [
      { more: 'loki: {url: "https://l.example.com", ca_file: config.yaml}\n' },
      'loki.ca_file "config.yaml": the config',
    ],
    [{ more: 'ca_file: "a:b.pem"\nendpoint: "https://s3.example.com"\n' }, 'ca_file "a:b.pem": the name of a'],
    [{ more: "prometheus: couchdb.prom\n" }, 'cannot write prometheus.textfile "couchdb.prom"'],
  ];
  for (const [part, says] of refused) {
    const { code, err } = await units(part);
    assertEquals(code, 2, err);
    assertStringIncludes(err, says);
    assertStringIncludes(err, "Write an absolute path");
    assertEquals((await units(part, ["--resident"])).code, 0);
  }
  assertEquals(
    (await units({ more: "ca_file: tls/ca.pem\nendpoint: https://s3.example.com\n", keep }, ["--resident"])).code,
    2,
  );
  const absolute = await units({ database: ", login: a, password_file: /run/pw, ca_file: /etc/ssl/tls/ca.pem" });
  assertEquals([absolute.code, absolute.loaded], [0, ["config.yaml:config.yaml"]]);
  const written = await units({ more: "prometheus: couchdb.prom\n" }, ["--resident"]);
  assertStringIncludes(written.out, `\nReadWritePaths="-${desk.folder}"\n`);
});

Deno.test("main() takes the config of every command as its last argument, by --config, and from standard input", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a, media], cron: yearly, timezone: UTC}}" });
  await run(["backup", path, "--task", "weekly"]);
  const text = await Deno.readTextFile(path);
  const calls = [
    ["backup", "--dry-run"],
    ["check"],
    ["list"],
    ["list", "backups"],
    ["list", "databases"],
    ["plan", "--offline"],
    ["restore", "copy", "latest/a", "--dry-run"],
    ["verify", "a", "latest"],
  ];
  for (const call of calls) {
    for (const config of [[path], ["--config", path], [`--config=${path}`], ["-"], ["--config", "-"]]) {
      const shell = new TestShell();
      shell.readStandardInput = () => Promise.resolve(text);
      const { code, err } = await run([...call, ...config], shell);
      assertEquals(code, 0, `${call} ${config}: ${err}`);
    }
    const twice = await run([...call, path, "--config", path]);
    assertEquals(twice.code, 2);
    assertStringIncludes(twice.err, "is given two configs");
  }
  const unit = await run(["systemd", "--config", path]);
  assertEquals([unit.code, unit.out], [0, (await run(["systemd", path])).out]);
  const shell = new TestShell();
  shell.readStandardInput = () => Promise.resolve(text);
  assertStringIncludes((await run(["systemd", "-"], shell)).err, "comes from standard input");
  assertStringIncludes((await run(["list", "database"])).err, '"list" cannot list "database"');
  assertStringIncludes((await run(["check", "-"])).err, "-: Cannot read the config");
});

Deno.test("what list shows under PATH is that backup and no other for restore, of several of a day too", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: '{weekly: {databases: ["a/b"]}, other: {databases: ["a/b"]}}' });
  await run(["backup", path, ...DATE]);
  const { documents } = (await run(["verify", "a/b", "latest", path, "--json"])).json;
  await createDatabase(desk.fake, "later", idsOf(1));
  const later = await fetch(`${desk.fake.url}/a%2Fb/one%20more`, {
    method: "PUT",
    headers: { authorization: `Basic ${btoa("admin:secret")}` },
    body: "{}",
  });
  assertEquals(later.status, 201);
  await later.body?.cancel();
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // Until another second begins.
  await run(["backup", path, "--task", "weekly", ...DATE]);
  const list = await run(["list", path]);
  const [heading = "", ...lines] = list.out.trimEnd().split("\n");
  const rows = lines.slice(0, -1);
  assertMatch(lines.at(-1)!, /^3 backups of 1 database, /);
  const [from, to] = [heading.indexOf("PATH"), heading.indexOf("FOLDER")];
  const paths = rows.map((row) => row.slice(from, to).trim());
  assertEquals([paths.length, new Set(paths).size], [3, 3], list.out);
  const found: number[] = [];
  for (const [index, shown] of paths.entries()) {
    const [words = []] = await shellWords(`couchdb-backup restore copy${index} ${shown} --config '${path}' --json`);
    const { json, err } = await run(words.slice(1));
    assertEquals(json?.ok, true, err);
    found.push(json.documents);
  }
  assertEquals(found, [documents + 1, documents, documents]);
  const { json } = await run(["list", path, "--json"]);
  assertEquals(json.backups.map(({ restore_path }: { restore_path: string }) => restore_path), paths);
});

/** The forms in which a secret could show. */
function formsOf(secret: string, login: string): string[] {
  const bytes = (text: string) => String.fromCharCode(...new TextEncoder().encode(text));
  const base64 = [secret, `${login}:${secret}`].map((text) => btoa(bytes(text)).replace(/=+$/, ""));
  return [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1), ...base64];
}

async function textBelow(folder: string): Promise<string> {
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    text += name;
    text += isDirectory ? await textBelow(`${folder}/${name}`) : await Deno.readTextFile(`${folder}/${name}`);
  }
  return text;
}

Deno.test("main() never shows the password, wherever it comes from, whatever goes wrong, with every request logged", async () => {
  const secret = 'hünter "2/+%40😀';
  const inUrl = encodeURIComponent(secret);
  await using desk = await Desk.make(secret);
  const { fake, folder } = desk;
  const host = fake.url.replace("http://", "");
  await Deno.writeTextFile(`${folder}/password`, `${secret}\n`);
  const sources: [what: string, database: string, env: Record<string, string>][] = [
    ["config", `{url: "${fake.url}", login: admin, password: '${secret}'}`, {}],
    ["URL", `"{url: http://admin:${inUrl}@${host}}"`.slice(1, -1), {}],
    ["environment", `{url: "${fake.url}", login: admin, password: "\${PASSWORD}"}`, { PASSWORD: secret }],
    ["password_file", `{url: "${fake.url}", login: admin, password_file: password}`, {}],
  ];
  const troubles: [what: string, prepare: () => void, code: number][] = [
    ["nothing", () => {}, 0],
    ["refused", () => fake.faults.add({ times: Infinity, fault: { kind: "answer", status: 401 } }), 10],
    ["forbidden", () => fake.faults.add({ database: "a", times: Infinity, fault: { kind: "answer", status: 403 } }), 3],
    ["500 and cut off", () => {
      fake.faults.add({ fault: { kind: "answer", status: 500 } });
      fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "cut off" } });
    }, 0],
  ];
  for (const [what, database, env] of sources) {
    for (const [trouble, prepare, expected] of troubles) {
      const path = await desk.config({ database });
      fake.faults.clear();
      prepare();
      const before = fake.requests.length;
      const args = ["backup", path, "--verbose", "--json", ...DATE];
      const { code, out, err } = await run(args, new TestShell(env));
      assertEquals(code, expected, `${what}, ${trouble}: ${err}`);
      assert(fake.requests.length > before);
      assertStringIncludes(err, "couchdb request");
      const written = await textBelow(`${folder}/bucket`).catch(() => "");
      for (const form of formsOf(secret, "admin")) {
        for (const text of [out, err, written]) assert(!text.includes(form), `${what}, ${trouble}: ${form} in ${text}`);
      }
    }
  }
});

Deno.test("main() never shows a password that stands in a config with mistakes", async () => {
  const secret = "hunter2-in-a-broken-config";
  await using desk = await Desk.make();
  const { url } = desk.fake;
  const databases = [
    `{url: "${url}", login: admin, password: ${secret}, passwort: ${secret}}`,
    `{url: "ftp://admin:${secret}@host", login: admin}`,
    `{url: "${url}", login: admin, password: [${secret}]}`,
    `{url: "${url}", password: "${secret}}`,
    `{url: "http://admin:${secret}@host?x", login: admin}`,
  ];
  for (const database of databases) {
    const { code, out, err } = await run(["backup", await desk.config({ database }), "--verbose", "--json"]);
    assertEquals(code, 2, err);
    for (const text of [out, err]) assert(!text.includes(secret), text);
  }
});
