import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { pathToFileURL } from "node:url";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { ArchiveError, ConfigError, CouchError, StoreError, UsageError } from "../../src/errors.ts";
import { openSession } from "../../src/session/open.ts";
import { CouchDesk, layDesk } from "../fakes/couch_desk.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { FakeMonitor } from "../fakes/monitor.ts";

/** Databases `a` and `a/b` of twelve documents, and a folder with a bucket in it. */
class Place extends CouchDesk {
  static async make(): Promise<Place> {
    return new Place(await layDesk(["a", "a/b"]));
  }

  config(part: { password?: string; more?: string } = {}): Config {
    const { url, login, password } = this.fake;
    const text = `database: {url: "${url}", login: "${login}", ${part.password ?? `password: "${password}"`}}
task: {weekly: {cron: "Sat 18:00", databases: [a, "a/b"], timezone: UTC}, other: {databases: [a]}}
bucket: "${pathToFileURL(`${this.folder}/bucket`).href}"
${part.more ?? ""}
`;
    return parseConfig(text, { file: `${this.folder}/config.yaml`, env: {} });
  }
}

const NOWHERE = "password_file: /nowhere/password";

Deno.test("openSession() gives every command: what backup saves is listed, verified and restored", async () => {
  await using place = await Place.make();
  await using session = await openSession({ config: place.config(), run: "run 1" });
  const date = { year: 2026, month: 10, day: 22 };

  const [selection, ...others] = await session.select({ tasks: ["weekly"] });
  assertEquals([selection?.databases.map(({ database }) => database), others], [["a", "a/b"], []]);
  const report = await session.backup({ tasks: ["weekly"], date });
  assertEquals([report.ok, report.run, report.tasks.map(({ task }) => task)], [true, "run 1", ["weekly"]]);
  assertEquals(report.tasks[0]?.databases.map(({ documents }) => documents), [12, 12]);

  const { backups } = await session.list({ database: "a%2Fb" });
  assertEquals(backups.map(({ database, date, complete }) => [database, date, complete]), [[
    "a/b",
    "2026-10-22",
    true,
  ]]);
  const verified = await session.verify({ database: "a/b", path: "2026-10-22" });
  assertEquals([verified.ok, verified.documents], [true, 12]);
  const restored = await session.restore({ database: "copy", path: "2026-10-22/a" });
  assertEquals([restored.ok, restored.documents], [true, 12]);

  const { databases } = await session.listDatabases();
  assertEquals(databases.map(({ encoded }) => encoded), ["_replicator", "_users", "a", "a%2Fb", "copy"]);
  const { tasks } = await session.plan({ from: new Date("2026-01-01T00:00:00Z"), count: 1 });
  assertEquals(tasks.map(({ next, databases }) => [next, databases.length]), [[["2026-01-03T18:00:00.000Z"], 2], [
    [],
    1,
  ]]);
  const { ok, checks } = await session.check();
  assert(ok, JSON.stringify(checks));
});

Deno.test("openSession() narrows a backup to tasks, or to databases whatever the tasks select", async () => {
  await using place = await Place.make();
  await using session = await openSession({ config: place.config() });
  const namesOf = async (request: Parameters<typeof session.select>[0]) =>
    (await session.select(request)).flatMap(({ task, databases }) => databases.map((one) => [task.name, one.database]));
  assertEquals(await namesOf({ tasks: ["other"] }), [["other", "a"]]);
  assertEquals(await namesOf({ databases: ["a%2Fb"] }), [["weekly", "a/b"]]);
  assertEquals(await namesOf({ databases: "all" }), [["weekly", "a"], ["weekly", "a/b"]]);
  await assertRejects(() => session.backup({ tasks: ["daily"] }), UsageError, 'The config has no task "daily"');
  await assertRejects(() => session.backup({ databases: ["b"] }), UsageError, 'CouchDB has no database "b"');
});

Deno.test("ProgramSession.backup() publishes the run's figures, and others where databases were named", async () => {
  await using place = await Place.make();
  const path = `${place.folder}/couchdb.prom`;
  const config = place.config({ more: `prometheus: {textfile: "${path}"}` });
  await using session = await openSession({ config, host: "here" });
  await session.backup({ databases: ["a"] });
  assert(!(await Deno.readTextFile(path)).includes("couchdb_backup_last_run"));
  await session.backup({ tasks: ["other"] });
  assertStringIncludes(await Deno.readTextFile(path), 'task="other"');
});

Deno.test("openSession() lists, verifies and plans times without CouchDB, and without its password", async () => {
  await using place = await Place.make();
  const saved = await openSession({ config: place.config() });
  await saved.backup({ date: { year: 2026, month: 1, day: 3 } });
  const asked = place.fake.requests.length;

  await using session = await openSession({ config: place.config({ password: NOWHERE }) });
  const listed = (await session.list()).backups.map(({ database, task }) => `${task}: ${database}`);
  assertEquals(listed.sort(), ["other: a", "weekly: a", "weekly: a/b"], "each task's is a restore point");
  assertEquals((await session.verify({ database: "a", path: "latest" })).ok, true);
  const { tasks, unselected } = await session.plan({ offline: true });
  assertEquals([tasks.map(({ next }) => next.length), unselected], [[3, 0], undefined]);
  assertEquals(place.fake.requests.length, asked);

  for (const command of ["backup", "select", "plan", "check", "listDatabases", "connect"] as const) {
    await assertRejects(() => session[command](), ConfigError, 'Cannot read the password file "/nowhere/password"');
  }
  const request = { database: "copy", path: "latest" };
  await assertRejects(() => session.restore(request), ConfigError, "Cannot read the password file");
});

Deno.test("openSession() reads the password again when it could not be read", async () => {
  await using place = await Place.make();
  await using session = await openSession({ config: place.config({ password: "password_file: pw" }) });
  await assertRejects(() => session.connect(), ConfigError);
  await Deno.writeTextFile(`${place.folder}/pw`, `${place.fake.password}\n`);
  assertEquals((await session.listDatabases()).databases.length, 4);
  assertEquals(await session.connect(), await session.connect());
});

Deno.test("ProgramSession.with() has surroundings of its own, and reads the password again", async () => {
  await using place = await Place.make();
  await Deno.writeTextFile(`${place.folder}/pw`, place.fake.password);
  const log = new RecordedLog();
  await using session = await openSession({ config: place.config({ password: "password_file: pw" }), log, run: "one" });
  assertEquals((await session.listDatabases()).databases.length, 4);
  await Deno.writeTextFile(`${place.folder}/pw`, "wrong");

  const stopped = AbortSignal.abort(new Error("told to stop"));
  const other = session.with({ run: "two", log: log.with({ request: 2 }), signal: stopped });
  const { run, now, signal } = other.surroundings;
  assertEquals([run, now, signal], ["two", session.surroundings.now, stopped]);
  assertEquals([other.config, other.repository], [session.config, session.repository]);
  await assertRejects(() => other.list(), Error, "told to stop");
  await assertRejects(() => session.with({}).listDatabases(), CouchError, "401");
  assertEquals((await session.listDatabases()).databases.length, 4);
});

Deno.test("openSession() pushes its lines to the config's Loki, and delivers them when it is closed", async () => {
  await using place = await Place.make();
  const loki = new FakeLoki();
  const session = await openSession({
    config: place.config({ more: `loki: "${loki.url}"\ntoken: x\nsecret: y` }),
    host: "h",
  });
  await session.close();
  assertEquals(loki.lines.map(({ labels }) => [labels.app, labels.host]), [
    ["couchdb-backup", "h"],
    ["couchdb-backup", "h"],
  ]);
  assertStringIncludes(loki.lines[0]?.line ?? "", 'Key \\"token\\" has no effect on a file:// bucket');
  await loki.close();
});

Deno.test("openSession() closes its own log where the store cannot be opened, so that Loki hears of what was logged", async () => {
  await using place = await Place.make();
  const loki = new FakeLoki();
  const config = place.config({ more: `loki: "${loki.url}"\ntoken: x\nsecret: y` });
  await assertRejects(() => openSession({ config: { ...config, bucket: { bucket: "ftp://a/b" } } }), StoreError);
  assertEquals(loki.lines.length, 2);
  await loki.close();
});

Deno.test("openSession() leaves a log that it was given open", async () => {
  await using place = await Place.make();
  const log = new RecordedLog();
  const session = await openSession({ config: place.config({ more: "token: x\nsecret: y" }), log });
  await session.close();
  assertEquals(log.events("warn"), ["config", "config"]);
});

Deno.test("openSession() refuses a config whose bucket is no store", async () => {
  await using place = await Place.make();
  const config = place.config();
  const bucket = { ...config.bucket, bucket: "ftp://a/b" };
  await assertRejects(() => openSession({ config: { ...config, bucket } }), StoreError, "Cannot open the bucket");
});

Deno.test("ProgramSession.publish() tells the elapse behind that of the run as the next, though it came while the run went", async () => {
  await using place = await Place.make();
  const file = `${place.folder}/couchdb.prom`;
  const config = place.config({ more: `prometheus: "${file}"` });
  const now = () => new Date("2031-01-11T18:20:00Z");
  await using session = await openSession({ config, log: new RecordedLog(), now });
  const next = async () =>
    /next_elapse_timestamp_seconds\{task="weekly"\} (\d+)/.exec(await Deno.readTextFile(file))?.[1];
  const report = {
    ok: true,
    run: "r",
    started_at: "2031-01-04T18:00:01.000Z",
    finished_at: "2031-01-11T18:20:00.000Z",
    tasks: [{ task: "weekly", date: "2031-01-04", databases: [] }],
  };
  await session.publish({ ...report, scheduled: [{ task: "weekly", elapse: "2031-01-04T18:00:00.000Z" }] });
  assertEquals(await next(), `${Date.UTC(2031, 0, 11, 18) / 1000}`);
  await session.publish(report);
  assertEquals(await next(), `${Date.UTC(2031, 0, 18, 18) / 1000}`);
});

Deno.test("ProgramSession.backup() tells the end of a run that could not begin: a figure, a line, and the error", async () => {
  await using place = await Place.make();
  const file = `${place.folder}/couchdb.prom`;
  const log = new RecordedLog();
  const config = place.config({ more: `prometheus: "${file}"` });
  const now = () => new Date("2031-01-01T12:00:00Z");
  await using session = await openSession({ config, log, now });
  await session.backup({ tasks: ["weekly"] });
  assertEquals(log.events("info").filter((event) => event === "task is saved").length, 1);
  const nextElapse = Date.UTC(2031, 0, 4, 18) / 1000;
  const metric = `couchdb_backup_next_elapse_timestamp_seconds{task="weekly"} ${nextElapse}\n`;
  assertStringIncludes(await Deno.readTextFile(file), metric);
  place.fake.faults.add({ times: 1e6, fault: { kind: "answer", status: 401, body: { error: "unauthorized" } } });
  await assertRejects(() => session.backup({ tasks: ["weekly"] }), CouchError);
  assertEquals(log.events("error").filter((event) => event === "task is not saved").length, 1);
  const whole = await Deno.readTextFile(file);
  assertStringIncludes(whole, 'couchdb_backup_last_run_success{task="weekly"} 0');
  assertStringIncludes(whole, 'couchdb_backup_failures{task="weekly",cause="task"} 1');
  assertStringIncludes(whole, 'couchdb_backup_last_success_timestamp_seconds{task="weekly"}');
  assert(!whole.includes("partial"));

  // So do runs of a part, which pass for nothing else.
  await assertRejects(() => session.backup({ tasks: ["weekly"], databases: ["a"] }), CouchError);
  const part = 'couchdb_backup_last_partial_run_success{task="weekly"}';
  assertStringIncludes(await Deno.readTextFile(file), `${part} 0`);
  place.fake.faults.clear();
  await session.backup({ tasks: ["weekly"], databases: "all" });
  const both = await Deno.readTextFile(file);
  assertStringIncludes(both, `${part} 1`);
  assertStringIncludes(both, 'couchdb_backup_last_run_success{task="weekly"} 0');
  // A mistyped name is no run.
  const before = log.events("error").length;
  await assertRejects(() => session.backup({ databases: ["nothing"] }), UsageError);
  assertEquals(log.events("error").length, before);
});

Deno.test("ProgramSession.backup() notifies of start and end, of the part that was named too, and of a CouchDB that is away", async () => {
  await using place = await Place.make();
  await using monitor = new FakeMonitor();
  const config = place.config({ more: `notify: "${monitor.url("/check")}"` });
  await using session = await openSession({ config, log: new RecordedLog() });
  await session.backup({ tasks: ["other"] });
  await session.backup({ databases: ["a"] });
  assertEquals(monitor.paths, ["/check/start", "/check", "/check/log"]);
  await assertRejects(() => session.backup({ tasks: ["daily"] }), UsageError);
  assertEquals(monitor.paths.length, 3, "what never began is not told");
  place.fake.faults.add({ endpoint: "_all_dbs", times: 100, fault: { kind: "status", status: 401 } });
  await assertRejects(() => session.backup({ tasks: ["other"] }), CouchError);
  assertEquals(monitor.paths.slice(3), ["/check/start", "/check/fail"]);
  assertStringIncludes(monitor.told[4]!.body, "401");
});

Deno.test("ProgramSession reads the identities once, also for backups that are opened side by side", async () => {
  await using place = await Place.make();
  const identity = await generateIdentity();
  const file = `${place.folder}/ours.key`;
  await Deno.writeTextFile(file, `${identity}\n`);
  await Deno.chmod(file, 0o644);
  const log = new RecordedLog();
  const more = `encrypt_to: [${await identityToRecipient(identity)}]\nidentity_file: "${file}"`;
  await using session = await openSession({ config: place.config({ more }), log });
  await session.backup({ tasks: ["weekly"] });
  const reports = await Promise.all(["a", "a/b"].map((database) => session.verify({ database, path: "latest" })));
  assertEquals(reports.map(({ ok }) => ok), [true, true]);
  assertEquals(log.events("warn"), ["identity file can be read by everybody on this machine"]);
});

Deno.test("ProgramSession.backup() is not failed by a monitor that refuses, and warns of it", async () => {
  await using place = await Place.make();
  await using monitor = new FakeMonitor();
  const log = new RecordedLog();
  const config = place.config({ more: `notify: {url: "${monitor.url("/hook")}", kind: webhook}` });
  await using session = await openSession({ config, log });
  monitor.statuses = [404, 404];
  assertEquals((await session.backup({ tasks: ["other"] })).ok, true);
  assertEquals(log.events("warn"), ["notify", "notify"]);
});

Deno.test("ProgramSession refuses an empty list and numbers that are none, and says what exclude leaves", async () => {
  await using place = await Place.make();
  await using session = await openSession({ config: place.config() });
  await session.backup({ tasks: ["weekly"] });
  const calls: [string, () => Promise<unknown>][] = [
    ["tasks", () => session.expire({ tasks: [], confirm: true })],
    ["tasks", () => session.backup({ tasks: [] })],
    ["databases", () => session.backup({ databases: [] })],
    ["ids", () => session.restore({ database: "copy", path: "latest/a", ids: [] })],
    ["match", () => session.restoreAll({ path: "latest", match: [] })],
    ["match", () => session.verifyAll({ match: [] })],
    ["match", () => session.testRestore({ match: [] })],
    ["match", () => session.list({ match: [] })],
  ];
  for (const [key, call] of calls) {
    const error = await assertRejects(call, UsageError, `"${key}" is an empty list`);
    assertEquals(error.hint, `Leave ${key} out where all are meant`);
  }
  const one = { database: "copy", path: "latest/a" };
  for (const count of [0, -1, 1.5, NaN]) {
    const calls: [string, () => Promise<unknown>][] = [
      ["parallel", () => session.restore({ ...one, parallel: count })],
      ["parallel", () => session.restoreAll({ path: "latest", parallel: count })],
      ["databasesAtOnce", () => session.restoreAll({ path: "latest", databasesAtOnce: count })],
      ["sampleOf", () => session.verifyAll({ sampleOf: count })],
      ["sample", () => session.testRestore({ sample: count })],
      ["count", () => session.plan({ count, offline: true })],
    ];
    for (const [key, call] of calls) await assertRejects(call, UsageError, `"${key}" is ${count}, and must be`);
  }
  assertEquals((await session.listDatabases({ match: ["copy"] })).databases, []);
  const { message } = await assertRejects(() => session.restoreAll({ path: "latest", exclude: [".*"] }), ArchiveError);
  const left = `There is no complete backup of a database beside those that ".*" leaves out, in "`;
  assertStringIncludes(message, left);
});
