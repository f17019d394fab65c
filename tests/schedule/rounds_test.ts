import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import { backup } from "../../src/commands/backup/backup.ts";
import { CouchError, InterruptedError, StoreError, UsageError } from "../../src/errors.ts";
import { encodeDatabase } from "../../src/database_name.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { backupRound } from "../../src/schedule/round.ts";
import { planRun, summariseRun } from "../../src/schedule/rounds.ts";
import { folderOf, type RoundsContext, runOf, type RunOfElapse } from "../../src/schedule/run_in_rounds.ts";
import { createClaim } from "../../src/schedule/claim.ts";
import { runScheduled } from "../../src/schedule/due.ts";
import { readElapse } from "../../src/schedule/elapse.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { selectTasks } from "../../src/task/selection.ts";
import { createDatabase, idsOf, impatientClient } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { couchOk } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import { until } from "../until.ts";
import { manifestOf, readBackup } from "../read_archive.ts";
import { storeThatFails } from "./due_setup.ts";

const NEVER = new AbortController().signal;
const ELAPSE = new Date("2026-01-03T18:00:00Z");
const RUN_FOLDER = "backup/_runs/couchdb/weekly/20260103T180000Z";

/** A double of CouchDB with the databases `a`, `a/b` and `large`, and an empty folder to back them up into. */
class Place implements AsyncDisposable {
  readonly log = new RecordedLog();

  readonly fake: FakeCouchDb;
  readonly root: string;
  readonly store: Store;

  private constructor(fake: FakeCouchDb, root: string, store: Store) {
    this.fake = fake;
    this.root = root;
    this.store = store;
  }

  static async make(): Promise<Place> {
    const fake = await startFakeCouchDb();
    for (const name of ["a", "a/b"]) await createDatabase(fake, name, idsOf(3));
    await createDatabase(fake, "large", idsOf(20));
    const root = await Deno.makeTempDir();
    return new Place(fake, root, await openStore({ bucket: pathToFileURL(root).href }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await Deno.remove(this.root, { recursive: true });
  }

  context(part: Partial<RoundsContext> = {}): RoundsContext {
    return {
      couch: impatientClient(this.fake),
      repository: new Repository(this.store, { prefix: "backup", suffix: "couchdb" }),
      log: this.log,
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      signal: NEVER,
      stop: NEVER,
      ...part,
    };
  }

  folder(database: string): string {
    return `${this.root}/backup/2026/01/03/couchdb/${encodeDatabase(database)}`;
  }

  async readJson(name: string): Promise<unknown> {
    return JSON.parse(await Deno.readTextFile(`${this.root}/${RUN_FOLDER}/${name}`));
  }

  /** A round that is asked to stop at its `requests`-th request for documents. */
  async shortRound(run: RunOfElapse, { cursor, requests }: { cursor: string | null; requests: number }) {
    const stop = new AbortController();
    const reason = new InterruptedError("The time is nearly over");
    const fault = { kind: "run", run: () => stop.abort(reason) } as const;
    this.fake.faults.add({ endpoint: "_bulk_get", skip: requests - 1, fault });
    return await backupRound(this.context({ stop: stop.signal }), run, { database: "large", cursor });
  }
}

function runFor(part: Parameters<typeof task>[1] = {}, scope: RunOfElapse["scope"] = "all"): RunOfElapse {
  return { task: task("weekly", { databases: ["a(/b)?", "large"], timezone: "UTC", ...part }), elapse: ELAPSE, scope };
}

Deno.test("runOf() names a run by task and elapse, and nothing else", () => {
  assertEquals(runOf(runFor()), "weekly/20260103T180000Z");
  assertEquals(runOf({ task: task("a b"), elapse: ELAPSE }), "a%20b/20260103T180000Z");
});

Deno.test("planRun() stores what the task selects", async () => {
  await using place = await Place.make();
  const plan = await planRun(place.context(), runFor());
  assertEquals(plan, { databases: ["a", "a/b", "large"], key: `${RUN_FOLDER}/plan.json`, generation: 1 });
  assertEquals(await place.readJson("plan.json"), [{ database: "a" }, { database: "a/b" }, { database: "large" }]);
});

Deno.test("planRun() refuses a task that selects nothing by mistake, and warns of a pattern that does", async () => {
  await using place = await Place.make();
  const mistaken = runFor({ databases: ["b"] });
  await assertRejects(() => planRun(place.context(), mistaken), UsageError, 'Task "weekly" selects no database');
  assertEquals(place.log.events("warn"), ["selection"]);
  assertEquals((await planRun(place.context(), runFor({ databases: ["b"], allowEmpty: true }))).databases, []);
});

Deno.test("backupRound() completes a database, and stores how it came out", async () => {
  await using place = await Place.make();
  const run = runFor();
  const round = await backupRound(place.context(), run, { database: "a/b", cursor: null });
  assertEquals(round, { status: "complete", cursor: null, error: null, unchanged: false });
  assertEquals((await manifestOf(place.folder("a/b")))?.run, "weekly/20260103T180000Z");
  const outcome = await place.readJson("databases/a%2Fb.json") as { status: string; documents: number; path: string };
  assertEquals([outcome.status, outcome.documents], ["complete", 3]);
  assertEquals(outcome.path, pathToFileURL(place.folder("a/b")).href);
  assertEquals(place.log.events("warn"), []);
});

Deno.test("backupRound() goes on where the round before was stopped, until the database is done", async () => {
  await using place = await Place.make();
  const run = runFor({ chunk: 2, parallel: 1 });
  const first = await place.shortRound(run, { cursor: null, requests: 3 });
  assertEquals(first, { status: "unfinished", cursor: "3", error: null, unchanged: false });
  const second = await place.shortRound(run, { cursor: first.cursor, requests: 4 });
  assertEquals(second, { status: "unfinished", cursor: "7", error: null, unchanged: false });
  assertEquals(await folderOf(place.context(), run).readOutcome("large", {}), undefined);
  const third = await backupRound(place.context(), run, { database: "large", cursor: second.cursor });
  assertEquals(third, { status: "resumed", cursor: null, error: null, unchanged: false });
  const { leafRevisions } = await readBackup(place.folder("large"));
  assertEquals(leafRevisions.size, 20);
  const asked = place.fake.requestsTo("_bulk_get").flatMap(({ ids }) => ids);
  assertEquals(asked.toSorted(), idsOf(20), "a document was asked for twice");
});

Deno.test("backupRound() done again after it was done changes nothing", async () => {
  await using place = await Place.make();
  const run = runFor();
  await backupRound(place.context(), run, { database: "a", cursor: null });
  const before = await manifestOf(place.folder("a"));
  const again = await backupRound(place.context(), run, { database: "a", cursor: null });
  assertEquals([again.cursor, again.error, await manifestOf(place.folder("a"))], [null, null, before]);
});

Deno.test("backupRound() does not take another run's backup of that day for its own", async () => {
  await using place = await Place.make();
  const selections = selectTasks(["a"], [runFor().task], { startedAt: ELAPSE });
  await backup({ ...place.context(), run: "by hand" }, selections, {});
  assertEquals((await manifestOf(place.folder("a")))?.run, "by hand");
  await backupRound(place.context(), runFor(), { database: "a", cursor: null });
  assertEquals((await manifestOf(place.folder("a")))?.run, "weekly/20260103T180000Z");
});

Deno.test("backupRound() fails a database of which a round finishes no chunk, rather than begin for ever", async () => {
  await using place = await Place.make();
  const stop = AbortSignal.abort(new InterruptedError("The time is over"));
  const context = place.context({ stop, signal: stop });
  const round = await backupRound(context, runFor({ chunk: 5000 }), { database: "large", cursor: null });
  assertEquals([round.status, round.cursor], ["failed", null]);
  assertStringIncludes(
    round.error!,
    "Cannot finish a single chunk within the time of one call, with at most 5,000 documents",
  );
  const outcome = await place.readJson("databases/large.json") as { hint: string; exit_code: number };
  assertStringIncludes(outcome.hint, "chunk lower, or chunk_bytes");
  assertEquals(place.log.events("error"), ["database is not backed up"]);

  const run = runFor({ chunk: 2, parallel: 1 });
  const earlier = { ...run, elapse: new Date("2026-01-03T17:00:00Z") };
  assertEquals((await place.shortRound(earlier, { cursor: null, requests: 4 })).cursor, "4");
  const none = await backupRound(place.context({ stop, signal: stop }), run, { database: "large", cursor: null });
  assertEquals(none.status, "failed", "another run's chunks are no progress");
  const { cursor } = await place.shortRound(run, { cursor: null, requests: 2 });
  const stuck = await backupRound(place.context({ stop, signal: stop }), run, { database: "large", cursor });
  assertEquals(stuck.status, "failed");
});

Deno.test("backupRound() that finishes no chunk names the bounds that the task has, and those that it could have", async () => {
  const cases = [
    [{ chunk: undefined }, "all documents in one request", "Set the task's chunk or chunk_bytes, or give"],
    [{ chunk: 5 }, "at most 5 documents a request", "Set the task's chunk lower, or chunk_bytes, or give"],
    [
      { chunk: undefined, chunkBytes: 65536 },
      "at most 65,536 bytes a request",
      "Set the task's chunk_bytes lower, or give",
    ],
    [
      { chunk: 5, chunkBytes: 65536 },
      "at most 5 documents and 65,536 bytes a request",
      "Set the task's chunk_bytes or chunk lower, or give",
    ],
  ] as const;
  for (const [bounds, size, hint] of cases) {
    await using place = await Place.make();
    const stop = AbortSignal.abort(new InterruptedError("The time is over"));
    const { error } = await backupRound(place.context({ stop, signal: stop }), runFor(bounds), {
      database: "large",
      cursor: null,
    });
    assertEquals(error, `Cannot finish a single chunk within the time of one call, with ${size}`);
    const outcome = await place.readJson("databases/large.json") as { hint: string };
    assertStringIncludes(outcome.hint, hint);
  }
});

Deno.test("backupRound() throws what may heal, and reports what does not", async () => {
  await using place = await Place.make();
  const run = runFor();
  place.fake.faults.add({ endpoint: "/", times: 100, fault: { kind: "status", status: 503 } });
  await assertRejects(() => backupRound(place.context(), run, { database: "a", cursor: null }), CouchError);
  place.fake.faults.clear();
  assertEquals(await folderOf(place.context(), run).readOutcome("a", {}), undefined);

  const gone = await backupRound(place.context(), runFor({ databases: ["gone"] }), { database: "gone", cursor: null });
  assertEquals([gone.status, gone.cursor, gone.error], ["gone", null, null]);
  const other = () => backupRound(place.context(), run, { database: "other", cursor: null });
  await assertRejects(other, UsageError, 'Task "weekly" does not select the database "other"');
});

Deno.test("summariseRun() reports every planned database, those without an outcome as failed", async () => {
  await using place = await Place.make();
  const run = runFor();
  await planRun(place.context(), run);
  for (const database of ["a", "large"]) await backupRound(place.context(), run, { database, cursor: null });
  const report = await summariseRun(place.context(), run);
  assertEquals([report.ok, report.run, report.tasks[0]?.date], [false, "weekly/20260103T180000Z", "2026-01-03"]);
  assertEquals(report.tasks[0]!.databases.map(({ database, status }) => [database, status]), [
    ["a", "complete"],
    ["a/b", "failed"],
    ["large", "complete"],
  ]);
  assertStringIncludes(report.tasks[0]!.databases[1]!.error!, "None of its rounds finished");
  assert(report.started_at <= report.finished_at);
  assertEquals(await place.readJson("report.json"), JSON.parse(JSON.stringify(report)));
});

Deno.test("summariseRun() after a run for the failed databases reports all of them again", async () => {
  await using place = await Place.make();
  const all = runFor();
  await planRun(place.context(), all);
  await backupRound(place.context(), all, { database: "a", cursor: null });
  const first: RunReport = await summariseRun(place.context(), all);
  assertEquals(first.ok, false);

  const failed = runFor({}, "failed");
  const plan = await planRun(place.context(), failed);
  assertEquals(plan, { databases: ["a/b", "large"], key: `${RUN_FOLDER}/plan-failed.json`, generation: undefined });
  for (const database of plan.databases) await backupRound(place.context(), failed, { database, cursor: null });
  const second = await summariseRun(place.context(), failed);
  assertEquals([second.ok, second.started_at], [true, first.started_at]);
  assertEquals(second.tasks[0]!.databases.map(({ database, status }) => [database, status]), [
    ["a", "complete"],
    ["a/b", "complete"],
    ["large", "complete"],
  ]);
  assertEquals((await planRun(place.context(), failed)).databases, []);
});

Deno.test("planRun() cannot tell which databases failed in a run that has no report", async () => {
  await using place = await Place.make();
  await assertRejects(() => planRun(place.context(), runFor({}, "failed")), UsageError, "the run has no report");
  await Deno.mkdir(`${place.root}/${RUN_FOLDER}`, { recursive: true });
  await Deno.writeTextFile(`${place.root}/${RUN_FOLDER}/report.json`, '{"ok":');
  await assertRejects(() => planRun(place.context(), runFor({}, "failed")), UsageError, "the run has no report");
});

/** A clock that a test moves. */
function clockAt(text: string) {
  const clock = { ms: Date.parse(text), now: () => new Date(clock.ms) };
  return clock;
}

/** A weekly elapse on the day of {@linkcode ELAPSE}, whose schedule has it. */
function scheduledRun(): RunOfElapse {
  return runFor({ cron: "Sat 18:00 UTC" });
}

Deno.test("backupRound() waits for a CouchDB that is away only as long as one database's repetitions take", async () => {
  await using place = await Place.make();
  const clock = clockAt("2026-01-03T18:00:00Z");
  const context = place.context({ now: clock.now });
  const run = { ...scheduledRun(), generation: (await planRun(context, scheduledRun())).generation };
  place.fake.faults.add({ times: 1e6, fault: { kind: "drop" } });
  for (const afterMs of [0, 30_000, 90_000]) {
    clock.ms += afterMs;
    await assertRejects(() => backupRound(context, run, { database: "a", cursor: null }), CouchError);
  }
  clock.ms += 90_000;
  const asked = () => place.fake.requests.length;
  const before = asked();
  const given = await backupRound(context, run, { database: "a/b", cursor: null });
  assertEquals(given.status, "failed");
  const tried = asked();
  assert(tried > before);
  for (const database of ["large", "a"]) {
    const round = await backupRound(context, run, { database, cursor: null });
    assertStringIncludes(round.error!, "Not tried, as it would fail like the one before");
  }
  assertEquals(asked(), tried);
  place.fake.faults.clear();
  clock.ms += 5 * 60_000;
  assertEquals((await backupRound(context, run, { database: "large", cursor: null })).status, "complete");
  // It was away; it is no more.
  place.fake.faults.add({ times: 1e6, fault: { kind: "drop" } });
  await assertRejects(() => backupRound(context, run, { database: "a", cursor: null }), CouchError);
  place.fake.faults.clear();
  const report = await summariseRun(context, run);
  const statuses = report.tasks[0]!.databases.map(({ database, status }) => [database, status]);
  assertEquals(statuses, [["a", "failed"], ["a/b", "failed"], ["large", "complete"]]);
  assertEquals(report.tasks[0]!.retry_at, new Date(clock.ms + 60_000).toISOString());
});

Deno.test("backupRound() names a CouchDB that is silent, and lets no other round wait for it", async () => {
  await using place = await Place.make();
  const clock = clockAt("2026-01-03T18:00:00Z");
  const context = place.context({ now: clock.now });
  const run = { ...scheduledRun(), generation: (await planRun(context, scheduledRun())).generation };
  // The listing still answers; documents do not.
  place.fake.faults.add({ endpoint: "_bulk_get", times: 1e6, fault: { kind: "stall", ms: 60_000 } });
  /** A round whose time is over when it has met the silence, with as much patience as it takes. */
  const silentRound = async (database: string) => {
    const stop = new AbortController();
    const asked = place.fake.requestsTo("_bulk_get").length;
    const isOver = until(() => place.fake.requestsTo("_bulk_get").length >= asked + 3, "requests that are made again")
      .then(() => stop.abort(new InterruptedError("The time is over")));
    const couch = impatientClient(place.fake, {
      bulkTimeoutMs: 50,
      retry: { attempts: 1000, firstWaitMs: 1, longestWaitMs: 4 },
    });
    try {
      return await backupRound({ ...context, couch, stop: stop.signal, signal: stop.signal }, run, {
        database,
        cursor: null,
      });
    } finally {
      await isOver;
    }
  };
  await assertRejects(() => silentRound("a"), CouchError, "no answer within");
  clock.ms += 200_000;
  const given = await silentRound("a");
  assertEquals(given.status, "failed");
  assertStringIncludes(given.error!, "no answer within");
  const asked = place.fake.requests.length;
  const other = await backupRound(context, run, { database: "large", cursor: null });
  assertStringIncludes(other.error!, "Not tried, as it would fail like the one before");
  assertStringIncludes(other.error!, "no answer within");
  assertEquals(place.fake.requests.length, asked);
  place.fake.faults.clear();
  clock.ms += 5 * 60_000;
  assertEquals((await backupRound(context, run, { database: "large", cursor: null })).status, "complete");
});

Deno.test("planRun() and servers leave each other's elapses alone", async () => {
  await using place = await Place.make();
  const clock = clockAt("2026-01-03T18:00:05Z");
  const run = scheduledRun();
  const context = place.context({ now: clock.now });
  const { generation } = await planRun(context, run, { host: "function" });
  const server = { ...context, run: "server", host: "server", pid: 1 };
  const report = await runScheduled(server, [run.task]);
  assertEquals(report.scheduled.map(({ outcome, by }) => [outcome, by?.host]), [["running", "function"]]);
  // Nobody but the execution itself goes on with it, be it by hand.
  assertEquals((await planRun(context, run)).generation, generation);

  await using other = await Place.make();
  const folder = other.context().repository.runFolder({ task: "weekly", elapse: ELAPSE });
  const holder = { run: "of a server", host: "server", pid: 1, started_at: ELAPSE.toISOString() };
  await createClaim(other.store, { folder, generation: 1 }, { holder, settleMs: 0 });
  const refused = () => planRun(other.context({ now: clock.now }), run);
  await assertRejects(refused, UsageError, 'is held by another run "of a server" on server');
  assertEquals(
    (await runScheduled({ ...other.context({ now: clock.now }), run: "s2", host: "s2", pid: 2 }, [run.task]))
      .scheduled[0]?.outcome,
    "running",
  );
});

Deno.test("backupRound() stops when another run has taken the elapse over", async () => {
  await using place = await Place.make();
  const run = scheduledRun();
  const { generation } = await planRun(place.context(), run);
  const folder = place.context().repository.runFolder({ task: "weekly", elapse: ELAPSE });
  const holder = { run: "heir", host: "server", pid: 1, started_at: ELAPSE.toISOString() };
  await createClaim(place.store, { folder, generation: 2 }, { holder, settleMs: 0 });
  const requests = place.fake.requests.length;
  const round = await backupRound(place.context(), { ...run, generation }, { database: "a", cursor: null });
  assertEquals([round.status, round.error], ["failed", "Another run has taken the elapse over"]);
  assertEquals(place.fake.requests.length, requests);
  await summariseRun(place.context(), { ...run, generation });
  await assertRejects(() => place.readJson("report.json"), Deno.errors.NotFound);
});

Deno.test("summariseRun() publishes of which elapse a claimed run was, and of none where it only repairs", async () => {
  await using place = await Place.make();
  const run = scheduledRun();
  const context = place.context({ now: clockAt("2026-01-03T18:00:05Z").now });
  const { generation } = await planRun(context, run);
  const published: unknown[] = [];
  const publish = ({ scheduled }: { scheduled?: unknown }) => Promise.resolve(void published.push(scheduled));
  await summariseRun(context, { ...run, generation }, { publish });
  await summariseRun(context, run, { publish });
  assertEquals(published, [[{ task: "weekly", elapse: "2026-01-03T18:00:00.000Z" }], undefined]);
});

Deno.test("planRun() that is refused tells the elapse and the monitors, whatever of it cannot be stored", async () => {
  for (const [keys, kind] of [[/stop\.json$/, "failed"], [/outcome-1\.json$/, "running"], [/./, "running"]] as const) {
    await using place = await Place.make();
    place.fake.faults.add({ endpoint: "_all_dbs", fault: { kind: "status", status: 401 } });
    const run = scheduledRun();
    let isLeased = false;
    const store = storeThatFails(place.store, (method, key) => {
      if (method === "replace" && isLeased && keys.test(key)) return new StoreError("No", { code: "ENOSPC", key });
      if (key.endsWith("heartbeat.json")) isLeased = true;
      return undefined;
    });
    const published: RunReport[] = [];
    const publish = (report: RunReport) => Promise.resolve(void published.push(report));
    const { now } = clockAt("2026-01-03T18:00:05Z");
    const context = place.context({ now, repository: new Repository(store, place.context().repository) });
    await assertRejects(() => planRun(context, run, { publish }), CouchError, "401");
    assertEquals((await readElapse(place.store, RUN_FOLDER, {})).kind, kind, String(keys));
    assertEquals(published.map(({ ok }) => ok), [false], String(keys));
    const stop = await folderOf(place.context(), run).readStop({});
    assertEquals(stop?.until, keys.test("stop.json") ? undefined : "2026-01-03T18:05:05.000Z", String(keys));
  }
});

Deno.test("planRun() that is interrupted before it has planned anything leaves the elapse to the next one", async () => {
  await using place = await Place.make();
  const death = new AbortController();
  const store = storeThatFails(place.store, (method, key) => {
    if (method !== "list" || !key.endsWith("couchdb/weekly")) return undefined;
    death.abort(new InterruptedError("The time is over"));
    return death.signal.reason;
  });
  const { now } = clockAt("2026-01-03T18:00:05Z");
  const repository = new Repository(store, place.context().repository);
  const context = place.context({ now, repository, signal: death.signal });
  await assertRejects(() => planRun(context, scheduledRun()), InterruptedError);
  assertEquals((await readElapse(place.store, RUN_FOLDER, {})).kind, "stopped");
  assertEquals((await planRun(place.context({ now }), scheduledRun())).generation, 2);
});

Deno.test("summariseRun() tells of a database that the last run had and that is not listed any more", async () => {
  await using place = await Place.make();
  const earlier = { ...scheduledRun(), elapse: new Date("2025-12-27T18:00:00Z") };
  await planRun(place.context(), earlier);
  await couchOk(place.fake, "DELETE /a%2Fb");
  const run = scheduledRun();
  const { databases, generation } = await planRun(place.context(), run);
  assertEquals(databases, ["a", "large"]);
  for (const database of databases) await backupRound(place.context(), run, { database, cursor: null });
  const report = await summariseRun(place.context(), { ...run, generation });
  assertEquals([report.ok, report.tasks[0]!.unlisted], [true, ["a/b"]]);
  assertStringIncludes(report.tasks[0]!.warnings![0]!, "does not list");
});

Deno.test("backupRound() goes on with an increment in as many rounds as it takes, and says what has not changed", async () => {
  await using place = await Place.make();
  const later = (day: number, part: Parameters<typeof runFor>[0] = {}): RunOfElapse => ({
    ...runFor({ chunk: 10, parallel: 1, increments: { most: 14 }, ...part }),
    elapse: new Date(`2026-01-0${day}T18:00:00Z`),
  });
  const first = { database: "large", cursor: null };
  const database = place.fake.databases.get("large")!;
  const changed = fill(database, 300).slice(0, 60);
  assertEquals((await backupRound(place.context(), later(3), first)).status, "complete");
  edit(database, ...changed.map((_id) => ({ _id, changed: true })));
  const begun = await place.shortRound(later(4), { cursor: null, requests: 2 });
  assertEquals([begun.status, begun.unchanged], ["unfinished", false]);
  const done = await backupRound(place.context(), later(4), { database: "large", cursor: begun.cursor });
  assertEquals(done, { status: "resumed", cursor: null, error: null, unchanged: false });
  const outcome = JSON.parse(
    await Deno.readTextFile(`${place.root}/backup/_runs/couchdb/weekly/20260104T180000Z/databases/large.json`),
  );
  assertEquals([outcome.kind, outcome.documents], ["incremental", changed.length]);
  const round = await backupRound(place.context(), later(5), first);
  assertEquals(round, { status: "complete", cursor: null, error: null, unchanged: true });
  // The same round again, as its answer was lost.
  assertEquals(await backupRound(place.context(), later(5), first), round);
});
