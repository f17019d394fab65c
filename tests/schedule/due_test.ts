import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { checkpointName, shortRun } from "../../src/archive/layout.ts";
import { Repository } from "../../src/archive/repository.ts";
import { Rest } from "../../src/commands/backup/rest.ts";
import { InterruptedError, StoreError } from "../../src/errors.ts";
import { exitCodeOfReport } from "../../src/archive/report.ts";
import { CLAIM_TIMES } from "../../src/schedule/claim.ts";
import { findDue, runScheduled, type ScheduledReport } from "../../src/schedule/due.ts";
import { task } from "../fakes/task.ts";
import { readElapse } from "../../src/schedule/elapse.ts";
import { type Machine, QUICK_TIMES, type ScheduledSetup, setUpScheduled, STORES, storeThatFails } from "./due_setup.ts";
import { wait } from "../../src/abort.ts";
import { until } from "../until.ts";

/** One request at a time, so that one database is whole before the next begins. */
const YEARLY = task("yearly", { databases: ["a", "b"], cron: "*-01-01 UTC", timezone: "UTC", chunk: 2, parallel: 1 });
/** The elapse was long before any test runs, so that none ends in another one than it began in. */
const YEAR = new Date().getUTCFullYear();
const FOLDER = `backup/_runs/couchdb/yearly/${YEAR}0101T000000Z`;

/** The outcomes in short: `yearly ran`. */
function outcomes(report: ScheduledReport): string[] {
  return report.scheduled.map(({ task, outcome }) => `${task} ${outcome}`);
}

/** The manifest of a database in the archive of the elapse. */
async function manifestOf(setup: ScheduledSetup, database: string, date = `${YEAR}/01/01`) {
  return await setup.json(`backup/${date}/couchdb/${database}/manifest.json`);
}

/** Starts a run, and when it asks for its `requests`th chunk ends it like a killed process: no word of it gets out. */
async function runUntilKilled(
  setup: ScheduledSetup,
  machine: Machine,
  requests: number,
  isReady: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<void> {
  const reached = Promise.withResolvers<void>();
  setup.server.faults.add({
    endpoint: "_bulk_get",
    skip: requests - 1,
    fault: {
      kind: "run",
      run: async () => {
        await until(isReady, "what the run is to have stored before it is killed");
        reached.resolve();
      },
    },
  });
  let dead = false;
  const { store } = setup;
  const mute = new Proxy(store, {
    get(_, key: keyof typeof store) {
      if (dead && (key === "create" || key === "replace")) return () => Promise.reject(new Error("killed"));
      const member = store[key];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
  const ended = assertRejects(
    () => runScheduled({ ...machine, repository: new Repository(mute, machine.repository) }, [YEARLY]),
    InterruptedError,
  );
  await reached.promise;
  dead = true;
  machine.kill.abort(new InterruptedError("killed"));
  await ended;
}

for (const kind of STORES) {
  Deno.test(`runScheduled() runs an elapse once, however many machines start at the same moment (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, { a: 5, b: 3 });
    const machines = Array.from({ length: 4 }, (_, index) => setup.machine(`m${index}`));
    const reports = await Promise.all(machines.map((machine) => runScheduled(machine, [YEARLY])));
    assertEquals(reports.flatMap(outcomes).toSorted(), ["yearly ran", ...Array(3).fill("yearly running")]);
    const winner = reports.find((report) => report.tasks.length > 0)!;
    for (const report of reports) {
      const [only] = report.scheduled;
      assertEquals([only?.elapse, only?.by?.run ?? winner.run], [`${YEAR}-01-01T00:00:00.000Z`, winner.run]);
      assertEquals(exitCodeOfReport(report), 0);
    }
    assertEquals((await manifestOf(setup, "a")).run, winner.run);
    const names = await setup.namesIn(FOLDER);
    assertEquals(names.filter((name) => name !== "heartbeat.json"), ["claim.json", "report.json"]);
    assertEquals((await setup.json(`${FOLDER}/report.json`)).tasks, JSON.parse(JSON.stringify(winner.tasks)));
    assertEquals(setup.server.requestsTo("_bulk_get").length, 5);
    assertEquals(outcomes(await runScheduled(setup.machine("later"), [YEARLY])), ["yearly done"]);
  });

  Deno.test(`runScheduled() resumes the run of a machine that died, where that one stopped (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, { a: 4, b: 6 });
    // The next database begins while the manifest of the one before is on its way.
    const isSaved = async () =>
      (await setup.namesIn(`backup/${YEAR}/01/01/couchdb/a`)).some((name) => name === "manifest.json");
    await runUntilKilled(setup, setup.machine("dead"), 4, isSaved);
    // As late as it can be: how long this machine takes to come here is nothing to the clock.
    const state = await readElapse(setup.store, FOLDER, {});
    assert(state.kind === "running");
    const now = () => new Date(state.lastSign.getTime() + QUICK_TIMES.staleMs - 1);
    assertEquals(outcomes(await runScheduled(setup.machine("early", { now }), [YEARLY])), ["yearly running"]);
    // In real time: the store dates the last sign of life by its own clock.
    await wait(QUICK_TIMES.staleMs);
    const before = setup.server.requestsTo("_bulk_get").length;
    const heirs = ["h1", "h2", "h3"].map((name) => setup.machine(name));
    const reports = await Promise.all(heirs.map((heir) => runScheduled(heir, [YEARLY])));
    assertEquals(reports.flatMap(outcomes).toSorted(), ["yearly resumed", "yearly running", "yearly running"]);
    const heir = reports.find((report) => report.tasks.length > 0)!;
    assertEquals(heir.ok, true);
    const manifests = [await manifestOf(setup, "a"), await manifestOf(setup, "b")];
    assertEquals(manifests.map(({ run, totals }) => [run, totals.documents]), [["dead", 4], [heir.run, 6]]);
    // What was in the first two chunks of "a" is not read again.
    assertEquals(setup.server.requestsTo("_bulk_get").slice(before).filter(({ database }) => database === "a"), []);
    const names = await setup.namesIn(FOLDER);
    assertEquals(names.filter((name) => !name.startsWith("heartbeat")), ["claim-2.json", "claim.json", "report.json"]);
    assertEquals((await setup.json(`${FOLDER}/report.json`)).run, heir.run);
  });

  Deno.test(`runScheduled() frees the elapse when it is interrupted, and the next run need not wait (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, { a: 9, b: 2 });
    const machine = setup.machine("stopped");
    const reason = new InterruptedError("Interrupted by SIGTERM");
    setup.server.faults.add({
      endpoint: "_bulk_get",
      skip: 2,
      fault: { kind: "run", run: () => machine.interrupt.abort(reason) },
    });
    assertEquals(await assertRejects(() => runScheduled(machine, [YEARLY])), reason);
    const stored =
      (await setup.json(`backup/${YEAR}/01/01/couchdb/a/${checkpointName(shortRun("stopped"))}`)).chunks.length;
    assertGreater(stored, 0);
    const next = { ...setup.machine("next"), times: { ...CLAIM_TIMES, settleMs: QUICK_TIMES.settleMs } };
    assertEquals((await findDue(next, [YEARLY])).map(({ task }) => task.name), ["yearly"]);
    const before = setup.server.requestsTo("_bulk_get").length;
    const report = await runScheduled(next, [YEARLY]);
    assertEquals([outcomes(report), report.ok], [["yearly resumed"], true]);
    assertEquals(setup.server.requestsTo("_bulk_get").length - before, 5 - stored + 1);
    assertEquals(await findDue(next, [YEARLY]), []);
  });
}

Deno.test("runScheduled() leaves a living run alone, even to a machine whose clock is an hour fast", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  setup.server.faults.add({ endpoint: "_bulk_get", database: "b", fault: { kind: "stall", ms: 5000 } });
  // It watches for long enough that a busy machine, too, gets a sign of life written meanwhile.
  const fast = {
    ...setup.machine("fast", { now: () => new Date(Date.now() + 3_600_000) }),
    times: { ...QUICK_TIMES, watchMs: 2500 },
  };
  const living = runScheduled(setup.machine("living"), [YEARLY]);
  await until(() => setup.server.requestsTo("_bulk_get", "b").length > 0, "the second database");
  assertEquals(outcomes(await runScheduled(fast, [YEARLY])), ["yearly running"]);
  assertEquals(fast.log.events("info").includes("watching a run that may have died"), true);
  assertEquals(outcomes(await living), ["yearly ran"]);
});

Deno.test("runScheduled() gives up an elapse that another run has taken over, and goes on with the next task", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  setup.server.faults.add({ endpoint: "_bulk_get", database: "b", fault: { kind: "stall", ms: 5000 } });
  const running = runScheduled(setup.machine("suspended"), [
    YEARLY,
    task("other", { ...YEARLY, name: "other", databases: ["a"] }),
  ]);
  await until(() => setup.server.requestsTo("_bulk_get", "b").length > 0, "the second database");
  await setup.store.replace(`${FOLDER}/claim-2.json`, new TextEncoder().encode("{}"));
  const report = await running;
  assertEquals(outcomes(report), ["yearly lost", "other ran"]);
  assertEquals((await setup.namesIn(FOLDER)).includes("report.json"), false);
});

Deno.test("runScheduled() catches up on the latest of many missed elapses, under the date of that elapse", async () => {
  await using setup = await setUpScheduled("file://", { "a": 1, "cdr-202602": 1, "cdr-202603": 1 });
  const tasks = [
    task("nightly", { databases: ["a"], cron: "daily", timezone: "America/New_York" }),
    task("monthly", { databases: ["cdr-.*"], cron: "*-*~01 23:00 UTC", backupOnlyPrevious: true }),
    task("by hand", { databases: ["a"] }),
  ];
  // In New York it is still the first of the month.
  const machine = setup.machine("m", { now: () => new Date("2026-04-02T02:00:00Z") });
  const report = await runScheduled(machine, tasks);
  assertEquals(outcomes(report), ["nightly ran", "monthly ran"]);
  assertEquals(report.scheduled.map(({ elapse }) => elapse), ["2026-04-01T04:00:00.000Z", "2026-03-31T23:00:00.000Z"]);
  assertEquals(
    report.tasks.map(({ task, date, databases }) => [task, date, ...databases.map(({ database }) => database)]),
    [["nightly", "2026-04-01", "a"], ["monthly", "2026-02-28", "cdr-202602"]],
  );
  assertEquals((await manifestOf(setup, "cdr-202602", "2026/02/28")).task, "monthly");
  assertEquals(outcomes(await runScheduled(machine, tasks)), ["nightly done", "monthly done"]);
});

Deno.test("runScheduled() resumes the run of one elapse, and not with that of an earlier one on the same day", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const hourly = task("hourly", { databases: ["a", "b"], cron: "hourly UTC", parallel: 1 });
  const at = (time: string) => ({ now: () => new Date(`2026-01-03T${time}:00Z`) });
  await runScheduled(setup.machine("first", at("10:10")), [hourly]);
  const second = setup.machine("second", at("11:10"));
  const interrupt = () => second.interrupt.abort(new InterruptedError("Interrupted by SIGTERM"));
  setup.server.faults.add({ endpoint: "_bulk_get", database: "a", fault: { kind: "run", run: interrupt } });
  await assertRejects(() => runScheduled(second, [hourly]), InterruptedError);
  assertEquals((await manifestOf(setup, "b", "2026/01/03")).run, "first");
  assertEquals(outcomes(await runScheduled(setup.machine("third", at("11:20")), [hourly])), ["hourly resumed"]);
  assertEquals((await manifestOf(setup, "b", "2026/01/03")).run, "third");
});

Deno.test("runScheduled() reports a task that cannot begin, goes on with the others, and tries it again", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  setup.server.faults.add({
    endpoint: "_all_dbs",
    fault: { kind: "answer", status: 403, body: { error: "forbidden" } },
  });
  const machine = setup.machine("m");
  const tasks = [YEARLY, task("other", { ...YEARLY, name: "other" })];
  const report = await runScheduled(machine, tasks);
  assertEquals([report.ok, exitCodeOfReport(report), outcomes(report)], [false, 3, ["yearly failed", "other ran"]]);
  assertStringIncludes(report.tasks[0]?.error ?? "", "Cannot list the databases");
  assertEquals((await setup.json(`${FOLDER}/outcome-1.json`)).ok, false);
  assertEquals((await setup.namesIn(FOLDER)).includes("report.json"), false);
  assertEquals(outcomes(await runScheduled(machine, tasks)), ["yearly failed", "other done"]);
  const later = setup.machine("later", { now: () => new Date(Date.now() + 61_000) });
  assertEquals(outcomes(await runScheduled(later, tasks)), ["yearly resumed", "other done"]);
});

Deno.test("runScheduled() says of an elapse that it cannot claim that it is still due", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  const machine = setup.machine("m");
  const store = new DirectoryStore("/nowhere");
  store.list = () => {
    throw new StoreError("No", { code: "EACCES" });
  };
  const report = await runScheduled({ ...machine, repository: new Repository(store, machine.repository) }, [YEARLY]);
  assertEquals([outcomes(report), exitCodeOfReport(report)], [["yearly unclaimed"], 11]);
  assertEquals(outcomes(await runScheduled(machine, [YEARLY])), ["yearly ran"]);
});

const REFUSED = { kind: "answer", status: 401, body: { error: "unauthorized", reason: "no" } } as const;

Deno.test("runScheduled() ends its claim where it cannot be stored what was refused, or how the run came out", async () => {
  const full = (key: string) => new StoreError("No space is left", { code: "ENOSPC", key });
  // What cannot be stored, what the store then says of the elapse, and what the log says.
  const cases = [
    [/stop\.json$/, "failed", "warn", "rounds could not be told what was refused"],
    [/outcome-1\.json$/, "running", "error", "report could not be stored"],
    [/heartbeat\.json$/, "running", "error", "report could not be stored"],
    [/./, "running", "error", "report could not be stored"],
  ] as const;
  for (const [keys, kind, level, event] of cases) {
    await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
    setup.server.faults.add({ endpoint: "_all_dbs", times: Infinity, fault: REFUSED });
    const machine = setup.machine("m");
    let isClaimed = false;
    const store = storeThatFails(setup.store, (method, key) => {
      if (method === "create" && key.endsWith("claim.json")) isClaimed = true;
      return isClaimed && method === "replace" && keys.test(key) ? full(key) : undefined;
    });
    const report = await runScheduled({ ...machine, repository: new Repository(store, machine.repository) }, [YEARLY]);
    assertEquals(outcomes(report), ["yearly failed"]);
    assert(machine.log.events(level).includes(event), `${keys}: ${machine.log.events(level).join(", ")}`);
    const before = await readElapse(setup.store, FOLDER, {});
    assertEquals(before.kind, kind, String(keys));
    await wait(2.5 * QUICK_TIMES.heartbeatMs);
    assertEquals(await readElapse(setup.store, FOLDER, {}), before, `${keys}: the heartbeats have not ended`);
    setup.server.faults.clear();
    // Of a run that died others find out by themselves, and one that failed is tried again when its time is there.
    await wait(QUICK_TIMES.staleMs);
    const now = () => new Date(Date.now() + (kind === "failed" ? 301_000 : 0));
    assertEquals(outcomes(await runScheduled(setup.machine("heir", { now }), [YEARLY])), ["yearly resumed"]);
  }
});

Deno.test("runScheduled() does not call a report unstored that is stored when the run is interrupted right after it", async () => {
  await using setup = await setUpScheduled("file://", { a: 1 });
  const machine = setup.machine("m");
  const store = storeThatFails(setup.store, (method, key) => {
    if (method !== "replace" || !key.endsWith("last.json")) return undefined;
    machine.kill.abort(new InterruptedError("Interrupted by SIGTERM"));
    return machine.kill.signal.reason;
  });
  const report = await runScheduled({ ...machine, repository: new Repository(store, machine.repository) }, [YEARLY]);
  assertEquals(report.scheduled.map(({ outcome, unreported }) => [outcome, unreported]), [["ran", undefined]]);
  assertEquals(machine.log.events("error"), []);
  assertEquals((await setup.json(`${FOLDER}/report.json`)).ok, true);
});

Deno.test("runScheduled() ends its claim where the report of a run that went well cannot be stored", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  const machine = setup.machine("m");
  const store = storeThatFails(setup.store, (method, key) => {
    return method === "replace" && key.endsWith("report.json") ? new StoreError("No", { code: "EDQUOT" }) : undefined;
  });
  const report = await runScheduled({ ...machine, repository: new Repository(store, machine.repository) }, [YEARLY]);
  assertEquals([outcomes(report), machine.log.events("error")], [["yearly ran"], ["report could not be stored"]]);
  assertEquals(report.scheduled[0]!.unreported, true);
  const before = await readElapse(setup.store, FOLDER, {});
  await wait(QUICK_TIMES.staleMs);
  assertEquals(await readElapse(setup.store, FOLDER, {}), before);
  assertEquals(outcomes(await runScheduled(setup.machine("heir"), [YEARLY])), ["yearly resumed"]);
});

Deno.test("runScheduled() tries no other task where a login is refused amid a run, and this one after five minutes", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  setup.server.faults.add({ database: "b", times: Infinity, fault: REFUSED });
  const machine = setup.machine("m");
  const begun = Date.now();
  const report = await runScheduled(machine, [YEARLY, { ...YEARLY, name: "other" }]);
  assertEquals(outcomes(report), ["yearly failed", "other failed"]);
  assertEquals(report.tasks[0]!.databases.map(({ status }) => status), ["complete", "failed"]);
  assertStringIncludes(report.tasks[1]!.error!, "Not tried, as it would fail like the one before");
  for (const { retry_at } of report.scheduled) assertGreater(Date.parse(retry_at!) - begun, 299_000);
  assertEquals((await setup.namesIn(FOLDER)).includes("stop.json"), true);
});

Deno.test("runScheduled() tries no login for five minutes after one that an earlier look had refused", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  setup.server.faults.add({ endpoint: "_all_dbs", times: Infinity, fault: REFUSED });
  const refusal = { last: undefined };
  const begun = Date.now();
  const look = async (seconds: number, name: string) => {
    const now = () => new Date(begun + seconds * 1000);
    const report = await runScheduled(setup.machine(`m${seconds}`, { refusal, now }), [{ ...YEARLY, name }]);
    const [{ outcome, retry_at }] = report.scheduled as [ScheduledReport["scheduled"][0]];
    return [setup.server.requestsTo("_all_dbs").length, outcome, retry_at && (Date.parse(retry_at) - begun) / 1000];
  };
  assertEquals(await look(0, "first"), [1, "failed", 300]);
  assertEquals(await look(60, "second"), [1, "failed", 300]);
  // Further looks make it no longer.
  assertEquals(await look(299, "third"), [1, "failed", 300]);
  assertEquals(await look(-3600, "clock"), [2, "failed", -3300]);
  setup.server.faults.clear();
  assertEquals(await look(301, "fourth"), [3, "ran", undefined]);
});

Deno.test("runScheduled() keeps a refused login in mind also where the next elapse has come before it was answered", async () => {
  await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
  setup.server.faults.add({ endpoint: "_all_dbs", times: Infinity, fault: REFUSED });
  const refusal = { last: undefined };
  const tries = () => setup.server.requestsTo("_all_dbs").length;
  // Whenever a login was tried, a minute has gone by.
  const now = () => new Date(Date.parse("2026-01-01T00:00:30Z") + tries() * 60_000);
  const often = task("often", { databases: ["a"], cron: "*:*:00 UTC" });
  const first = await runScheduled(setup.machine("m1", { refusal, now }), [often, { ...often, name: "other" }]);
  assertEquals([tries(), ...outcomes(first)], [1, "often ran", "other failed"]);
  assertEquals(first.tasks[0]!.given_up, "2026-01-01T00:01:00.000Z");
  const second = await runScheduled(setup.machine("m2", { refusal, now }), [often]);
  assertEquals([tries(), ...outcomes(second)], [1, "often failed"]);
  assertStringIncludes(second.tasks[0]!.error!, "Not tried, as it would fail like the one before");
});

Deno.test("runScheduled() frees the elapse also where it is interrupted before its run begins, or when it is over", async () => {
  for (const at of ["earlier elapses", "report.json", "outcome-1.json"] as const) {
    await using setup = await setUpScheduled("file://", { a: 1, b: 1 });
    if (at === "outcome-1.json") setup.server.faults.add({ endpoint: "_all_dbs", fault: REFUSED });
    const machine = setup.machine("m");
    const store = storeThatFails(setup.store, (method, key) => {
      const isThere = at === "earlier elapses"
        ? method === "list" && key.endsWith("couchdb/yearly")
        : method === "replace" && key.endsWith(at);
      if (!isThere) return undefined;
      machine.kill.abort(new InterruptedError("killed"));
      return machine.signal.reason;
    });
    const context = { ...machine, repository: new Repository(store, machine.repository) };
    if (at === "earlier elapses") await assertRejects(() => runScheduled(context, [YEARLY]), InterruptedError);
    else await runScheduled(context, [YEARLY]);
    assertEquals((await readElapse(setup.store, FOLDER, {})).kind, "stopped", at);
    assertEquals(outcomes(await runScheduled(setup.machine("next"), [YEARLY])), ["yearly resumed"]);
  }
});

/** What a scheduled run of tasks leaves before the documents of each database, and how much of that is a rest: seconds. */
async function restsOf(
  tasks: ReturnType<typeof task>[],
  looks = 1,
): Promise<{ database: string; since: number; rested: number }[]> {
  await using setup = await setUpScheduled("file://", { a: 3, b: 3, c: 3 });
  const read: [database: string, atMs: number][] = [];
  for (const database of ["a", "b", "c"]) {
    const run = () => void read.push([database, performance.now()]);
    setup.server.faults.add({ endpoint: "_bulk_get", database, times: 9, fault: { kind: "run", run } });
  }
  const restedMs: number[] = [];
  const rest = new class extends Rest {
    override async taken(signals: Parameters<Rest["taken"]>[0]): Promise<void> {
      const beganMs = performance.now();
      await super.taken(signals);
      restedMs.push(performance.now() - beganMs);
    }
  }();
  for (let look = 0; look < looks; look++) {
    const machine = setup.machine(`run${look}`, { rest });
    await runScheduled(machine, looks === 1 ? tasks : [tasks[look]!]);
  }
  assertEquals(restedMs.length, read.length);
  return read.map(([database, atMs], index) => ({
    database,
    since: (atMs - (read[index - 1]?.[1] ?? -Infinity)) / 1000,
    rested: restedMs[index]! / 1000,
  }));
}

Deno.test("runScheduled() keeps the delay of a task before the first database of the next one, in a later look too", async () => {
  const yearly = (name: string, database: string, delaySeconds: number) =>
    task(name, { databases: [database], cron: "*-01-01 UTC", timezone: "UTC", chunk: 10, delaySeconds });
  const tasks = [yearly("first", "a", 1.5), yearly("second", "b", 0), yearly("third", "c", 1.5)];
  for (const looks of [1, 3]) {
    const [, b, c] = await restsOf(tasks, looks);
    assertEquals([b?.database, c?.database], ["b", "c"]);
    assertGreater(b!.since, 1.5, `in ${looks} looks`);
    // Behind a task without a delay there is none, however long a slow disk takes.
    assertGreater(1, c!.rested, `in ${looks} looks`);
  }
});
