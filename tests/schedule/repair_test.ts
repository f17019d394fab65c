/** What becomes of an elapse that is not saved at once, on a clock that a test moves: no real minute passes. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Repository } from "../../src/archive/repository.ts";
import { exitCodeOfReport } from "../../src/archive/report.ts";
import { backup } from "../../src/commands/backup/backup.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { InterruptedError, StoreError } from "../../src/errors.ts";
import { formatMetrics } from "../../src/observe/metrics.ts";
import { amendElapses } from "../../src/schedule/amend.ts";
import { exitCodeOfScheduled, runScheduled, type ScheduledReport } from "../../src/schedule/due.ts";
import { readElapse } from "../../src/schedule/elapse.ts";
import { followSchedule } from "../../src/schedule/resident.ts";
import { runAtOnce } from "../../src/schedule/rounds.ts";
import { Secret } from "../../src/secret.ts";
import type { Task } from "../../src/task/task.ts";
import { selectTasks } from "../../src/task/selection.ts";
import { couchOk } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import { type Machine, QUICK_TIMES, type ScheduledSetup, setUpScheduled, storeThatFails } from "./due_setup.ts";

const DAILY = task("daily", { databases: ["a", "b"], cron: "*-*-* 06:00:00 UTC", timezone: "UTC", chunk: 2 });
const ELAPSE = "2026-01-03T06:00:00.000Z";
const FOLDER = "backup/_runs/couchdb/daily/20260103T060000Z";
const MINUTE_MS = 60_000;

/** A clock that stands still until it is moved. */
class Clock {
  ms: number = Date.parse(ELAPSE);
  readonly now = (): Date => new Date(this.ms);

  /** The time of day: `06:01`. */
  get time(): string {
    return this.now().toISOString().slice(11, 16);
  }
}

/** From now on nothing answers at CouchDB's address until `untilMs`. */
function takeAway({ server }: ScheduledSetup, clock: Clock, untilMs: number): void {
  server.faults.add({ where: () => clock.ms < untilMs, times: 1e6, fault: { kind: "drop" } });
}

/** From now on a database cannot be read. */
function breakDatabase({ server }: ScheduledSetup, database: string): void {
  const fault = { kind: "answer", status: 403, body: { error: "forbidden" } } as const;
  server.faults.add({ database, endpoint: "_bulk_get", times: 1e6, fault });
}

function outcomes(report: ScheduledReport): string[] {
  return report.scheduled.map(({ task, outcome }) => `${task} ${outcome}`);
}

function requestsFor({ server }: ScheduledSetup, database: string): number {
  return server.requestsTo("_bulk_get", database).length;
}

/** What the metrics of a report say of a task's success. */
function success(report: ScheduledReport): string | undefined {
  return /couchdb_backup_last_run_success\{task="daily"\} (\d)/.exec(formatMetrics(report))?.[1];
}

for (
  const [awayMs, looks] of [
    [20_000, ["06:00", "06:01"]],
    [5 * MINUTE_MS, ["06:00", "06:01", "06:03", "06:08"]],
    [90 * MINUTE_MS, ["06:00", "06:01", "06:03", "06:08", "06:18", "06:38", "07:18", "08:18"]],
  ] as const
) {
  Deno.test(`runScheduled() saves an elapse without a hand when CouchDB is away for ${awayMs / 1000} s`, async () => {
    await using setup = await setUpScheduled("file://", { a: 5, b: 3 });
    const clock = new Clock();
    takeAway(setup, clock, clock.ms + awayMs);
    const end = new AbortController();
    const seen: { time: string; code: number; outcome: string; success: string | undefined }[] = [];
    const watched: [code: number, outcome: string | undefined][] = [];
    await followSchedule({
      tasks: [DAILY],
      log: new RecordedLog(),
      end: end.signal,
      now: clock.now,
      sleep: (ms) => Promise.resolve(void (clock.ms += ms)),
      runDue: async () => {
        const report = await runScheduled(setup.machine(`at ${clock.time}`, clock), [DAILY]);
        const [only] = report.scheduled;
        seen.push({
          time: clock.time,
          code: exitCodeOfScheduled(report),
          outcome: only!.outcome,
          success: success(report),
        });
        // Another machine that looks meanwhile says the same, and leaves it alone.
        const other = await runScheduled(setup.machine("other", clock), [DAILY]);
        watched.push([exitCodeOfScheduled(other), other.scheduled[0]?.outcome]);
        assertEquals(other.tasks, []);
        if (report.ok) end.abort();
        const retryAt = only?.retry_at === undefined ? undefined : new Date(only.retry_at);
        return { isUnsettled: false, retryAt };
      },
    });
    assertEquals(seen.map(({ time }) => time), [...looks]);
    const last = seen.pop()!;
    for (const look of seen) assertEquals([look.code, look.outcome, look.success], [10, "failed", "0"]);
    assertEquals([last.code, last.outcome, last.success], [0, "resumed", "1"]);
    assertEquals(watched.pop(), [0, "done"]);
    for (const look of watched) assertEquals(look, [10, "failed"]);
    const report = await setup.json(`${FOLDER}/report.json`);
    assertEquals([report.ok, report.started_at, report.tasks[0].generations], [true, ELAPSE, looks.length]);
    assertEquals(report.tasks[0].databases.map((one: { documents: number }) => one.documents), [5, 3]);
    const failed = await setup.json(`${FOLDER}/outcome-1.json`);
    assertStringIncludes(failed.tasks[0].error, "Cannot list the databases");
    assertEquals(failed.tasks[0].exit_code, 10);
  });
}

for (const kind of ["file://", "s3://"] as const) {
  Deno.test(`runScheduled() has one of several machines try again, and only what failed (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, { a: 5, b: 3 });
    const clock = new Clock();
    breakDatabase(setup, "b");
    const first = await runScheduled(setup.machine("first", clock), [DAILY]);
    assertEquals([outcomes(first), exitCodeOfScheduled(first)], [["daily failed"], 3]);
    const requests = requestsFor(setup, "a");
    setup.server.faults.clear();
    clock.ms += MINUTE_MS - 1;
    assertEquals(outcomes(await runScheduled(setup.machine("early", clock), [DAILY])), ["daily failed"]);
    clock.ms += 1;
    const machines = ["m1", "m2", "m3"].map((name) => setup.machine(name, clock));
    const reports = await Promise.all(machines.map((machine) => runScheduled(machine, [DAILY])));
    const heirs = reports.filter((report) => report.tasks.length > 0);
    assertEquals(heirs.map(outcomes), [["daily resumed"]]);
    const others = new Set(reports.filter((report) => report.tasks.length === 0).flatMap(outcomes));
    for (const other of others) assert(["daily running", "daily done"].includes(other), other);
    assertEquals(requestsFor(setup, "a"), requests, "what was saved was read again");
    const report = await setup.json(`${FOLDER}/report.json`);
    assertEquals([report.ok, report.run, report.tasks[0].generations], [true, heirs[0]!.run, 2]);
    assertEquals(report.tasks, JSON.parse(JSON.stringify(heirs[0]!.tasks)));
    assertEquals(report.tasks[0].databases.map((one: { documents: number }) => one.documents), [5, 3]);
    const names = (await setup.namesIn(FOLDER)).filter((name) => !name.startsWith("heartbeat"));
    assertEquals(names.toSorted(), ["claim-2.json", "claim.json", "outcome-1.json", "report.json"]);
  });
}

/** Runs until it asks for a chunk, and ends it like a killed process: no word of it gets out. */
async function runUntilKilled(setup: ScheduledSetup, machine: Machine, tasks: readonly Task[]): Promise<void> {
  const reached = Promise.withResolvers<void>();
  setup.server.faults.add({ endpoint: "_bulk_get", skip: 1, fault: { kind: "run", run: () => reached.resolve() } });
  let dead = false;
  const { store } = setup;
  const mute = new Proxy(store, {
    get(_, key: keyof typeof store) {
      if (dead && (key === "create" || key === "replace")) return () => Promise.reject(new Error("killed"));
      const member = store[key];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
  const repository = new Repository(mute, machine.repository);
  const ended = assertRejects(() => runScheduled({ ...machine, repository }, tasks), InterruptedError);
  await reached.promise;
  dead = true;
  machine.kill.abort(new InterruptedError("killed"));
  await ended;
}

Deno.test("runScheduled() goes on with a try that was killed, once its claim has gone stale", async () => {
  await using setup = await setUpScheduled("file://", { a: 5, b: 6 });
  // Signs of life are dated by the store, whose clock is the real one.
  const yearly = task("yearly", { databases: ["a", "b"], cron: "*-01-01 UTC", timezone: "UTC", chunk: 2 });
  let aheadMs = 0;
  const ahead = { now: () => new Date(Date.now() + aheadMs) };
  const folder = `backup/_runs/couchdb/yearly/${new Date().getUTCFullYear()}0101T000000Z`;
  breakDatabase(setup, "b");
  assertEquals(outcomes(await runScheduled(setup.machine("first", ahead), [yearly])), ["yearly failed"]);
  setup.server.faults.clear();
  const requests = requestsFor(setup, "a");
  aheadMs += MINUTE_MS;
  await runUntilKilled(setup, setup.machine("dead", ahead), [yearly]);
  const names = await setup.namesIn(folder);
  assert(names.includes("claim-2.json") && !names.includes("outcome-2.json"), names.join(" "));
  aheadMs += QUICK_TIMES.staleMs;
  const report = await runScheduled(setup.machine("heir", ahead), [yearly]);
  assertEquals([outcomes(report), report.ok, report.tasks[0]!.generations], [["yearly resumed"], true, 3]);
  assertEquals(report.tasks[0]!.databases.map(({ documents }) => documents), [5, 6]);
  assertEquals(requestsFor(setup, "a"), requests, "what was saved was read again");
});

Deno.test("runScheduled() tries a refused login once in a look, for all tasks, and not before five minutes", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  const clock = new Clock();
  const tasks = [DAILY, task("second", { ...DAILY, name: "second" }), task("third", { ...DAILY, name: "third" })];
  const { url, login } = setup.server;
  const mistaken = () => {
    const log = new RecordedLog();
    return new CouchClient({
      url,
      login,
      password: new Secret("wrong"),
      log,
      retry: { attempts: 2, firstWaitMs: 5, longestWaitMs: 20 },
    });
  };
  const look = async (couch?: CouchClient) => {
    const before = setup.server.requests.length;
    const machine = setup.machine(`at ${clock.time}`, clock);
    const report = await runScheduled(couch === undefined ? machine : { ...machine, couch }, tasks);
    return { report, requests: setup.server.requests.length - before };
  };
  const first = await look(mistaken());
  assertEquals([first.requests, exitCodeOfScheduled(first.report)], [1, 10]);
  assertEquals(outcomes(first.report), ["daily failed", "second failed", "third failed"]);
  const again = "2026-01-03T06:05:00.000Z";
  assertEquals(first.report.scheduled.map(({ retry_at }) => retry_at), [again, again, again]);
  assertStringIncludes(first.report.tasks[1]!.error!, "Not tried, as it would fail like the one before");
  const stop = await setup.json(`${FOLDER}/stop.json`);
  assertEquals([stop.until, stop.exit_code], [again, 10]);

  clock.ms += 4 * MINUTE_MS;
  const early = await look(mistaken());
  assertEquals([early.requests, exitCodeOfScheduled(early.report)], [0, 10]);
  clock.ms += MINUTE_MS;
  assertEquals((await look(mistaken())).requests, 1);
  clock.ms += 5 * MINUTE_MS;
  const last = await look();
  assertEquals(outcomes(last.report), ["daily resumed", "second resumed", "third resumed"]);
  assertEquals([last.report.ok, exitCodeOfScheduled(last.report)], [true, 0]);
});

Deno.test("runScheduled() gives an elapse up when the next one comes, and says so in its report", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  await runScheduled(setup.machine("first", clock), [DAILY]);
  setup.server.faults.clear();
  clock.ms = Date.parse("2026-01-04T06:00:00Z");
  const machine = setup.machine("next", clock);
  assertEquals(outcomes(await runScheduled(machine, [DAILY])), ["daily ran"]);
  const report = await setup.json(`${FOLDER}/report.json`);
  assertEquals([report.ok, report.tasks[0].given_up, report.tasks[0].retry_at], [
    false,
    "2026-01-04T06:00:00.000Z",
    undefined,
  ]);
  assertEquals(exitCodeOfReport(report), 3);
  assertEquals(machine.log.events("error"), ["elapse is given up: the next one has come"]);
  const { hint } = machine.log.lines.find(({ level }) => level === "error")!.fields;
  assertMatch(String(hint), /^couchdb-backup backup --task \w+ --date 2026-01-03 --resume saves what is missing$/);
  assertEquals((await setup.json("backup/_runs/couchdb/daily/20260104T060000Z/report.json")).ok, true);
});

/** Runs the task half a minute later, as a person has a Lambda do it. Returns the run's folder. */
async function runOnLambda(setup: ScheduledSetup, clock: Clock): Promise<string> {
  clock.ms += MINUTE_MS / 2;
  const machine = setup.machine("by hand", clock);
  await runAtOnce(machine, { task: DAILY, elapse: clock.now(), scope: "all" });
  assertEquals(machine.log.events("error").filter((event) => event.includes("given up")), []);
  return machine.repository.runFolder({ task: DAILY.name, elapse: clock.now() });
}

Deno.test("runScheduled() tries an elapse again, and gives it up when the next one comes, however often the task was run by hand meanwhile", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  await runScheduled(setup.machine("first", clock), [DAILY]);
  for (let times = 0; times < 5; times++) await runOnLambda(setup, clock);
  const again = await runScheduled(setup.machine("second", clock), [DAILY]);
  assertEquals([outcomes(again), again.tasks[0]?.generations], [["daily failed"], 2]);
  for (let times = 0; times < 5; times++) await runOnLambda(setup, clock);
  setup.server.faults.clear();
  clock.ms = Date.parse("2026-01-04T06:00:00Z");
  assertEquals(outcomes(await runScheduled(setup.machine("next", clock), [DAILY])), ["daily ran"]);
  assertEquals((await setup.json(`${FOLDER}/report.json`)).tasks[0].given_up, "2026-01-04T06:00:00.000Z");
});

Deno.test("runScheduled() gives up a run under way that fails after the next elapse has come", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  setup.server.faults.add({
    endpoint: "_bulk_get",
    database: "a",
    fault: { kind: "run", run: () => void (clock.ms += 25 * 60 * MINUTE_MS) },
  });
  const report = await runScheduled(setup.machine("slow", clock), [DAILY]);
  assertEquals([outcomes(report), exitCodeOfScheduled(report)], [["daily ran"], 3]);
  assertEquals((await setup.json(`${FOLDER}/report.json`)).tasks[0].given_up, "2026-01-04T06:00:00.000Z");
});

Deno.test("runScheduled() takes a database that failed and is deleted meanwhile for gone, and is done", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  await runScheduled(setup.machine("first", clock), [DAILY]);
  setup.server.faults.clear();
  await couchOk(setup.server, "DELETE /b");
  clock.ms += MINUTE_MS;
  const report = await runScheduled(setup.machine("second", clock), [DAILY]);
  assertEquals([outcomes(report), report.ok, success(report)], [["daily resumed"], true, "1"]);
  assertEquals(report.tasks[0]!.databases.map(({ status }) => status), ["complete", "gone"]);
});

/** Runs `databases`, or all, as `backup --resume --date 2026-01-03` does. */
async function repairByHand(setup: ScheduledSetup, clock: Clock, databases?: string[]): Promise<Machine> {
  const machine = setup.machine("by hand", clock);
  const names = await machine.couch.listDatabases(machine);
  const startedAt = new Date(ELAPSE);
  const selections = selectTasks(names, [DAILY], { startedAt, only: databases });
  const report = await backup(machine, selections, { resume: true });
  await amendElapses(machine, { tasks: [DAILY], report, isPart: databases !== undefined });
  return machine;
}

Deno.test("amendElapses() ends an elapse that a run by hand has repaired", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  await runScheduled(setup.machine("first", clock), [DAILY]);
  setup.server.faults.clear();
  await repairByHand(setup, clock, ["b"]);
  const report = await setup.json(`${FOLDER}/report.json`);
  assertEquals([report.ok, report.tasks[0].generations, report.tasks[0].databases.length], [true, 2, 2]);
  assertEquals(outcomes(await runScheduled(setup.machine("later", clock), [DAILY])), ["daily done"]);
});

Deno.test("amendElapses() ends the elapse of a day on which the task was run by hand, too, and amends that run where the elapse is saved", async () => {
  for (const isSaved of [false, true]) {
    await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
    const clock = new Clock();
    if (!isSaved) breakDatabase(setup, "b");
    await runScheduled(setup.machine("first", clock), [DAILY]);
    if (isSaved) breakDatabase(setup, "b");
    const byHand = await runOnLambda(setup, clock);
    assertEquals((await setup.json(`${byHand}/report.json`)).ok, false);
    setup.server.faults.clear();
    await repairByHand(setup, clock);
    assertEquals((await setup.json(`${FOLDER}/report.json`)).ok, true);
    assertEquals((await setup.json(`${byHand}/report.json`)).ok, isSaved);
    assertEquals(outcomes(await runScheduled(setup.machine("later", clock), [DAILY])), ["daily done"]);
  }
});

Deno.test("amendElapses() does not take a part for the whole of a task whose databases are not known", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  takeAway(setup, clock, clock.ms + 1);
  await runScheduled(setup.machine("first", clock), [DAILY]);
  clock.ms += 2;
  await repairByHand(setup, clock, ["a"]);
  const later = await runScheduled(setup.machine("later", clock), [DAILY]);
  assertEquals([outcomes(later), exitCodeOfScheduled(later)], [["daily failed"], 3]);
  clock.ms += 10 * MINUTE_MS;
  const report = await runScheduled(setup.machine("last", clock), [DAILY]);
  assertEquals([outcomes(report), report.ok], [["daily resumed"], true]);
  assertEquals(report.tasks[0]!.databases.map(({ database }) => database), ["a", "b"]);
});

Deno.test("amendElapses() leaves no claim behind where it cannot go on, or cannot store what it has found", async () => {
  for (const at of ["outcome-1.json", "report.json"]) {
    await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
    const clock = new Clock();
    breakDatabase(setup, "b");
    await runScheduled(setup.machine("first", clock), [DAILY]);
    setup.server.faults.clear();
    const machine = setup.machine("by hand", clock);
    const selections = selectTasks(["a", "b"], [DAILY], { startedAt: new Date(ELAPSE) });
    const report = await backup(machine, selections, { resume: true });
    const store = storeThatFails(setup.store, (method, key) => {
      const isIt = key.endsWith(at) && method === (at === "report.json" ? "replace" : "read");
      return isIt ? new StoreError("No", { code: "EIO", key }) : undefined;
    });
    const context = { ...machine, repository: new Repository(store, machine.repository) };
    assertEquals(await amendElapses(context, { tasks: [DAILY], report, isPart: false }), []);
    assertEquals(machine.log.events("warn"), ["report of the elapse is not amended"]);
    // Either it is free, or nobody says any more that it is not; a heartbeat that went on would fail this test.
    assertEquals((await readElapse(setup.store, FOLDER, {})).kind, at === "report.json" ? "running" : "stopped");
  }
});

Deno.test("amendElapses() amends the report of an elapse that was given up, and never makes it worse", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  breakDatabase(setup, "b");
  await runScheduled(setup.machine("first", clock), [DAILY]);
  clock.ms = Date.parse("2026-01-04T06:00:00Z");
  await runScheduled(setup.machine("next", clock), [DAILY]);
  setup.server.faults.clear();
  breakDatabase(setup, "a");
  await repairByHand(setup, clock);
  const report = await setup.json(`${FOLDER}/report.json`);
  assertEquals([report.ok, report.tasks[0].given_up], [true, undefined]);
});

Deno.test("runScheduled() names a database of the last run that is not listed any more, once", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const clock = new Clock();
  const next = () => void (clock.ms += 24 * 60 * MINUTE_MS);
  assertEquals((await runScheduled(setup.machine("first", clock), [DAILY])).tasks[0]!.warnings, undefined);
  await couchOk(setup.server, "DELETE /b");
  next();
  const machine = setup.machine("second", clock);
  const [report] = (await runScheduled(machine, [DAILY])).tasks;
  assertEquals(report!.unlisted, ["b"]);
  assertStringIncludes(report!.warnings![0]!, 'CouchDB does not list "b" any more');
  assertEquals(machine.log.events("warn"), ["selection", "databases of the last run are not listed any more"]);
  assertStringIncludes(
    formatMetrics({ ok: true, run: "r", started_at: "", finished_at: "", tasks: [report!] }),
    'couchdb_backup_unlisted_databases{task="daily"} 1',
  );
  next();
  assertEquals((await runScheduled(setup.machine("third", clock), [DAILY])).tasks[0]!.unlisted, undefined);
  // A run of a part says nothing about the others.
  await repairByHand(setup, clock, ["a"]);
  const last = await setup.json("backup/_runs/couchdb/daily/last.json");
  assertEquals([last.run, last.databases], ["third", ["a"]]);
});
