import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { main } from "../../src/cli/cli.ts";
import type { Shell } from "../../src/cli/shell.ts";
import { edit } from "../fakes/couchdb/edits.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { filesOf, readBackup } from "../read_archive.ts";
import { until } from "../until.ts";

type Signal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** A process made by the test. */
class TestShell implements Shell {
  out = "";
  err = "";
  journal = false;
  readonly stdout = { write: (text: string) => void (this.out += text), isTerminal: false, columns: () => 80 };
  readonly stderr = { write: (text: string) => void (this.err += text), isTerminal: false, columns: () => 80 };
  #listeners = new Set<(signal: Signal) => void>();

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
class Desk implements AsyncDisposable {
  readonly fake: FakeCouchDb;
  readonly folder: string;

  private constructor(fake: FakeCouchDb, folder: string) {
    this.fake = fake;
    this.folder = folder;
  }

  static async make(password = "secret"): Promise<Desk> {
    const fake = await startFakeCouchDb({ users: [{ name: "admin", password }] });
    for (const name of ["a", "a/b", "media"]) await createDatabase(fake, name, idsOf(12));
    return new Desk(fake, await Deno.makeTempDir({ prefix: "couchdb-backup cli-" }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await Deno.remove(this.folder, { recursive: true });
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
  await desk.config({ database: `{url: "http://127.0.0.1:1", login: admin, password_file: /nowhere/password}` });
  for (
    const args of [
      ["list", "--config", path],
      ["verify", "a", "2026-10-22", "--config", path],
      ["plan", path, "--offline"],
    ]
  ) {
    const { code, err } = await run(args);
    assertEquals(code, 0, `${args}: ${err}`);
  }
  await desk.config({
    database: `{url: "http://127.0.0.1:1", login: admin, password_file: /nowhere/password}`,
    task: "{weekly: {databases: [a], cron: hourly}}",
  });
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
    assertStringIncludes(err, 'Cannot read the password file "/nowhere/password"');
    assertStringIncludes(err, "\n  The file must be readable by the user that runs this");
  }
});

Deno.test("main() explains what is wrong with a command line, with exit code 2", async () => {
  await using desk = await Desk.make();
  const path = await desk.config();
  const cases: [args: string[], message: string, hint: string][] = [
    [["bakup"], 'There is no command "bakup"', 'Did you mean "backup"?'],
    [["frobnicate"], 'There is no command "frobnicate"', '  "couchdb-backup help" lists them all'],
    [["backup", path, "--resum"], '"backup" has no flag "--resum"', "Did you mean --resume?"],
    [["backup", path, "-x"], '"backup" has no flag "-x"', "--help"],
    [["backup", path, "again"], '"backup" does not take "again"', "Usage: couchdb-backup backup <config>"],
    [["backup", path, "--date"], "--date needs a value: --date D", ""],
    [["backup", path, "--date", "2026-02-30"], '--date has no day "2026-02-30"', "2026-10-22"],
    [["backup", path, "--task", "daily"], 'The config has no task "daily"', 'Its tasks are "weekly"'],
    [["backup", path, "--all", "--database", "a"], "--all and --database exclude each other", ""],
    [["backup", path, "--scheduled", "--full"], "--scheduled and --full exclude each other", "full_every"],
    [["backup", path, "--single", "medai"], 'CouchDB has no database "medai"', 'Did you mean "media"?'],
    [["backup", path, "--log-format", "xml"], '--log-format has no "xml"', "auto, plain, json or journald"],
    [["backup", `${desk.folder}/missing.yaml`], "missing.yaml:1:1: Cannot read the config", "Name a readable file"],
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
    assertStringIncludes(out, "  backup       back up the databases a config selects");
  }
  const { code, out } = await run(["backup", "--help"]);
  assertEquals(code, 0);
  for (const text of ["couchdb-backup backup <config>", "--database NAME", "--resume", "--json"]) {
    assertStringIncludes(out, text);
  }
  assertEquals((await run(["--version"])).out, "couchdb-backup 0.1.0\n");
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

Deno.test("main() ends with 130 when it is interrupted, and goes on with --resume", async () => {
  await using desk = await Desk.make();
  const path = await desk.config({ task: "{weekly: {databases: [a], chunk: 2, parallel: 1}}" });
  const shell = new TestShell();
  const run1 = () => shell.send("SIGTERM");
  desk.fake.faults.add({ endpoint: "_bulk_get", skip: 2, fault: { kind: "run", run: run1 } });
  const { code, json, err } = await run(["backup", path, "--json", ...DATE], shell);
  assertEquals([code, json.error.exit_code], [130, 130]);
  assertStringIncludes(err, "stopping: chunks in flight are finished first signal=SIGTERM");
  assertStringIncludes(
    err,
    "couchdb-backup: Interrupted by SIGTERM\n  What is done so far is kept: backup goes on with --resume",
  );
  const before = desk.fake.requestsTo("_bulk_get").length;
  const resumed = await run(["backup", path, "--json", "--resume", ...DATE]);
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
