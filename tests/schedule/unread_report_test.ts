/** What a run has left and cannot be read, as it has too many databases for one report: no later run stops at it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { startDue } from "../../lambda/start_due.ts";
import { Repository } from "../../src/archive/repository.ts";
import { describeStatus } from "../../src/cli/status.ts";
import { StoreError } from "../../src/errors.ts";
import { amendElapses } from "../../src/schedule/amend.ts";
import { exitCodeOfScheduled, runScheduled } from "../../src/schedule/due.ts";
import { overdueDays } from "../../src/schedule/overdue.ts";
import { readReport } from "../../src/schedule/report.ts";
import { planRun, runAtOnce } from "../../src/schedule/rounds.ts";
import { exitCodeOfStatus, readStatus } from "../../src/schedule/status.ts";
import { Secret } from "../../src/secret.ts";
import { task } from "../fakes/task.ts";
import { type Machine, type ScheduledSetup, setUpScheduled, storeThatFails } from "./due_setup.ts";

const DAILY = task("daily", { databases: ["a", "b"], cron: "*-*-* 06:00:00 UTC", timezone: "UTC" });
const ELAPSE = "2026-01-03T06:00:00.000Z";
const FOLDER = "backup/_runs/couchdb/daily/20260103T060000Z";
const MESSAGE = "it has more than 128 MiB, as one of some 250,000 databases has";
const HINT = "Let several tasks share the databases";

const REPORT = /\/(report|outcome-\d+)\.json$/;

/** Databases, and machines that cannot read an object, else a report. */
async function place(unread = REPORT) {
  const setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const store = storeThatFails(setup.store, (method, key) => {
    if (method !== "read" || !unread.test(key)) return undefined;
    return new StoreError("It is too large", { code: "too_large", key });
  });
  const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
  const machine = (time: string) => setup.machine(time, { now: () => new Date(time), repository });
  return { setup, machine };
}

/** Runs the elapse where one of two databases cannot be read. */
async function failOnce(setup: ScheduledSetup, machine: Machine) {
  const rule = { endpoint: "_bulk_get", database: "b", times: 1e6, fault: { kind: "status", status: 403 } } as const;
  setup.server.faults.add(rule);
  const report = await runScheduled(machine, [DAILY]);
  setup.server.faults.clear();
  assertEquals(report.scheduled.map(({ outcome }) => outcome), ["failed"]);
}

Deno.test("runScheduled() tries an elapse again of which it cannot read what was saved, with every database", async () => {
  const { setup, machine } = await place();
  await using _ = setup;
  await failOnce(setup, machine("2026-01-03T06:00:05Z"));
  const between = machine("2026-01-03T06:00:30Z");
  const looked = await runScheduled(between, [DAILY]);
  assertEquals([looked.scheduled[0]?.outcome, looked.tasks, exitCodeOfScheduled(looked)], ["failed", [], 3]);
  const line = between.log.lines.find(({ event }) => event === "elapse is not saved");
  assertStringIncludes(String(line?.fields.error), MESSAGE);
  assertStringIncludes(String(line?.fields.hint), HINT);
  const again = machine("2026-01-03T06:05:00Z");
  const report = await runScheduled(again, [DAILY]);
  assertEquals([report.scheduled[0]?.outcome, report.ok], ["resumed", true]);
  assertEquals(report.tasks[0]?.databases.map(({ database }) => database), ["a", "b"]);
  assertEquals(again.log.events("warn")[0], "what the runs before have saved cannot be read: it counts as unknown");
  assertEquals((await setup.json(`${FOLDER}/report.json`)).ok, true);
});

Deno.test("runScheduled(), status, overdueDays() and a tick go by what is noted where the report of an elapse cannot be read", async () => {
  for (const isSaved of [true, false]) {
    const { setup, machine } = await place();
    await using _ = setup;
    if (isSaved) await runScheduled(machine("2026-01-03T06:00:05Z"), [DAILY]);
    else {
      await failOnce(setup, machine("2026-01-03T06:00:05Z"));
      const report = { ok: false, run: "r", started_at: ELAPSE, finished_at: ELAPSE, tasks: [] };
      await setup.store.replace(`${FOLDER}/report.json`, new TextEncoder().encode(JSON.stringify(report)));
    }
    const later = machine("2026-01-03T18:00:00Z");
    const { scheduled } = await runScheduled(later, [DAILY]);
    assertEquals(scheduled.map(({ outcome, exit_code }) => [outcome, exit_code]), [
      isSaved ? ["done", undefined] : ["failed", 3],
    ]);
    assertStringIncludes(String(later.log.lines.find(({ fields }) => fields.error)?.fields.error), MESSAGE);
    const status = await readStatus(later, [DAILY]);
    const [found] = status.tasks;
    assertEquals([found?.state, exitCodeOfStatus(status)], isSaved ? ["saved", 0] : ["failed", 3]);
    assertEquals(found?.last_complete_at, isSaved ? "2026-01-03T06:00:05.000Z" : null);
    assertStringIncludes(found?.error ?? "", MESSAGE);
    assertStringIncludes(found?.error ?? "", HINT);
    assertEquals(await overdueDays(later, [DAILY]), isSaved ? 0 : 0.5);
    const aws = { accessKeyId: "key", secretAccessKey: new Secret("secret") };
    const tick = await startDue({ ...later, stateMachine: "arn", aws, host: "function" }, [DAILY]);
    assertEquals(tick, { started: [], failed: isSaved ? [] : [{ task: "daily", elapse: ELAPSE }], waiting: [] });
    const { tasks } = await readReport(later, [DAILY], { days: 3 });
    assertEquals(tasks[0]?.runs, []);
    assertEquals(later.log.events("warn").at(-1), "report of a run cannot be read, and is not shown");
  }
});

Deno.test("status says of a run that saved all and whose report cannot be read no later moment than it began, where others have failed since", async () => {
  const { setup, machine } = await place();
  await using _ = setup;
  await runScheduled(machine("2026-01-03T06:00:05Z"), [DAILY]);
  await failOnce(setup, machine("2026-01-04T06:00:05Z"));
  const [found] = (await readStatus(machine("2026-01-04T18:00:00Z"), [DAILY])).tasks;
  assertEquals([found?.state, found?.last_complete_at, found?.age_seconds], ["failed", ELAPSE, 36 * 3600]);
});

Deno.test("status says that it is unknown what was saved where neither reports nor last.json can be read", async () => {
  const { setup, machine } = await place(/\/(report|outcome-\d+|last)\.json$/);
  await using _ = setup;
  const at = (time: string) => setup.machine(time, { now: () => new Date(time) });
  await runScheduled(at("2026-01-03T06:00:05Z"), [DAILY]);
  const status = await readStatus(machine("2026-01-03T18:00:00Z"), [DAILY]);
  const [found] = status.tasks;
  assertEquals([found?.last_complete_at, found?.unread_reports], [null, 1]);
  assertStringIncludes(
    describeStatus(status),
    "unknown what was saved in full, 1 run is unknown, as no report can be read",
  );
  const readable = await readStatus(at("2026-01-03T18:00:00Z"), [DAILY]);
  assertEquals(readable.tasks[0]?.unread_reports, undefined);
});

Deno.test("a run goes on where last.json is in an archive tier, as that of a monthly task is, and puts its own in its place", async () => {
  for (const isInRounds of [false, true]) {
    await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
    const at = (time: string) => setup.machine(time, { now: () => new Date(time) });
    await runScheduled(at("2026-01-03T06:00:05Z"), [DAILY]);
    let isArchived = true;
    const store = storeThatFails(setup.store, (method, key) => {
      if (!/\/last\.json$/.test(key)) return undefined;
      if (method === "replace") isArchived = false;
      return method === "read" && isArchived
        ? new StoreError("It is archived", { code: "InvalidObjectState", key })
        : undefined;
    });
    const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
    const later = { ...at("2026-01-04T06:00:05Z"), repository };
    assertEquals(await overdueDays(later, [DAILY]), 0);
    if (isInRounds) await runAtOnce(later, { task: DAILY, elapse: new Date("2026-01-04T06:00:00Z"), scope: "all" });
    else await runScheduled(later, [DAILY]);
    assertEquals((await setup.json("backup/_runs/couchdb/daily/last.json")).saved_until.slice(0, 10), "2026-01-04");
  }
});

Deno.test("status and a report go on where the claims of runs are in an archive tier", async () => {
  await using setup = await setUpScheduled("file://", { a: 2, b: 2 });
  const at = (time: string) => setup.machine(time, { now: () => new Date(time) });
  await failOnce(setup, at("2026-01-03T06:00:05Z"));
  const byHand = { task: DAILY, elapse: new Date("2026-01-03T09:00:00Z"), scope: "all" } as const;
  assertEquals((await runAtOnce(at("2026-01-03T09:00:00Z"), byHand)).ok, true);
  const store = storeThatFails(setup.store, (method, key) => {
    if (method !== "read" || !/\/(claim|heartbeat)(-\d+)?\.json$/.test(key)) return undefined;
    return new StoreError("It is archived", { code: "InvalidObjectState", key });
  });
  const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
  const later = { ...at("2026-01-03T18:00:00Z"), repository };
  const { tasks } = await readReport(later, [DAILY], { days: 3 });
  assertEquals(tasks[0]?.runs.map(({ at, ok }) => [at.slice(0, 13), ok]), [
    ["2026-01-03T09", true],
    ["2026-01-03T06", false],
  ]);
  assertEquals((await readStatus(later, [DAILY])).tasks[0]?.last_complete_at, "2026-01-03T09:00:00.000Z");
});

Deno.test("runScheduled() gives up an elapse of which it cannot read what was saved, and says so", async () => {
  const { setup, machine } = await place();
  await using _ = setup;
  await failOnce(setup, machine("2026-01-03T06:00:05Z"));
  const next = await runScheduled(machine("2026-01-04T06:00:05Z"), [DAILY]);
  assertEquals(next.scheduled[0]?.outcome, "ran");
  const [given] = (await setup.json(`${FOLDER}/report.json`)).tasks;
  assertEquals([given.given_up, given.exit_code], ["2026-01-04T06:00:00.000Z", 3]);
  assertStringIncludes(given.error, MESSAGE);
});

Deno.test("planRun() plans every database of an elapse of which it cannot read what was saved", async () => {
  const { setup, machine } = await place();
  await using _ = setup;
  await failOnce(setup, machine("2026-01-03T06:00:05Z"));
  const run = { task: DAILY, elapse: new Date(ELAPSE), scope: "all" } as const;
  assertEquals((await planRun(machine("2026-01-03T06:05:00Z"), run)).databases, ["a", "b"]);
  assertEquals((await runAtOnce(machine("2026-01-03T06:06:00Z"), { ...run, generation: 2 })).ok, true);
});

Deno.test("amendElapses() leaves a report as it is that it cannot read, and says why", async () => {
  const { setup, machine } = await place();
  await using _ = setup;
  await runScheduled(machine("2026-01-03T06:00:05Z"), [DAILY]);
  const before = await setup.json(`${FOLDER}/report.json`);
  const byHand = machine("2026-01-03T07:00:00Z");
  assertEquals(await amendElapses(byHand, { tasks: [DAILY], report: before, isPart: false }), []);
  assertStringIncludes(String(byHand.log.lines.at(-1)?.fields.hint), HINT);
  assertEquals(await setup.json(`${FOLDER}/report.json`), before);
});

Deno.test("planRun(), runAtOnce() and overdueDays() go on where they cannot read what the last run of a task had", async () => {
  const { setup, machine } = await place(/\/last\.json$/);
  await using _ = setup;
  await runScheduled(machine("2026-01-03T06:00:05Z"), [DAILY]);
  const run = { task: DAILY, elapse: new Date("2026-01-04T06:00:00.000Z"), scope: "all" } as const;
  assertEquals(await overdueDays(machine("2026-01-04T12:00:00Z"), [DAILY]), 0.25);
  assertEquals((await planRun(machine("2026-01-04T12:00:00Z"), run)).databases, ["a", "b"]);
  assertEquals((await runAtOnce(machine("2026-01-04T12:01:00Z"), run)).ok, true);
  assertEquals(await overdueDays(machine("2026-01-04T12:02:00Z"), [DAILY]), 0);
});
