import { assertEquals } from "@std/assert";
import type { DatabaseReport, RunReport, TaskReport } from "../../src/archive/report.ts";
import { storeManualRun } from "../../src/archive/manual_run.ts";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { describeStatus } from "../../src/cli/status.ts";
import { storeFailure } from "../../src/schedule/claim.ts";
import { exitCodeOfStatus, readStatus } from "../../src/schedule/status.ts";
import type { Task } from "../../src/task/task.ts";
import { joinKey } from "../../src/store/key.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { task } from "../fakes/task.ts";

const DAILY = task("daily", { cron: "*-*-* 06:00:00 UTC" });
const HAND = task("by-hand");
const TODAY = new Date("2026-11-25T06:00:00Z");
const YESTERDAY = new Date("2026-11-24T06:00:00Z");
const NOON = new Date("2026-11-25T12:00:00Z");

function database(name: string, part: Partial<DatabaseReport> = {}): DatabaseReport {
  const totals = { documents: 1, leaf_revisions: 1, deleted: 0, absent: 0, chunks: 1, bytes: 9, compressed_bytes: 9 };
  return { database: name, status: "complete", path: `file:///b/${name}`, seconds: 1, ...totals, ...part };
}

function report(at: string, part: Partial<TaskReport> = {}): RunReport {
  const only: TaskReport = { task: "daily", date: at.slice(0, 10), databases: [database("a"), database("b")], ...part };
  const ok = only.error === undefined && only.databases.every(({ status }) => status !== "failed");
  return { ok, run: crypto.randomUUID(), started_at: at, finished_at: at, tasks: [only] };
}

const FAILED = [database("a"), database("b", { status: "failed", error: "CouchDB answered 500", exit_code: 10 })];

async function claim(setup: TestRepository, elapse: Date, heartbeat?: Record<string, unknown>): Promise<void> {
  const { key } = new RunFolder(setup.repository, { task: "daily", elapse });
  const holder = { run: "r", host: "h", pid: 1, started_at: elapse.toISOString() };
  await setup.write(key, "claim.json", JSON.stringify(holder));
  if (heartbeat !== undefined) await setup.write(key, "heartbeat.json", JSON.stringify({ beat: 3, ...heartbeat }));
}

async function finish(setup: TestRepository, elapse: Date, of: RunReport): Promise<void> {
  await claim(setup, elapse);
  await new RunFolder(setup.repository, { task: "daily", elapse }).storeReport(of, {});
}

async function status(setup: TestRepository, now: Date, tasks: readonly Task[] = [DAILY]) {
  const { repository, signal } = setup;
  const found = await readStatus({ repository, now: () => now, signal }, tasks);
  return {
    code: exitCodeOfStatus(found),
    text: describeStatus(found),
    ...found.tasks[0]!,
  };
}

Deno.test("readStatus() says never where nothing was ever saved, and due while the latest elapse need not have begun", async () => {
  await using setup = await TestRepository.open();
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code], ["never", 3]);
  assertEquals(found.text, "daily  NEVER SAVED  nothing was ever saved in full, next 2026-11-26T06:00:00Z\n");
  assertEquals((await status(setup, new Date("2026-11-25T06:05:00Z"))).state, "due");
});

Deno.test("readStatus() says saved, since when, and when the task is next due", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, TODAY, report("2026-11-25T06:10:00Z"));
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code, found.age_seconds], ["saved", 0, 6 * 3600 - 600]);
  assertEquals(found.text, "daily  saved  last complete 2026-11-25T06:10:00Z (5h50m ago), next 2026-11-26T06:00:00Z\n");
});

Deno.test("readStatus() names the databases that are not saved, and when they are tried again", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, YESTERDAY, report("2026-11-24T06:10:00Z"));
  await claim(setup, TODAY);
  const place = { folder: setup.repository.runFolder({ task: "daily", elapse: TODAY }), generation: 1 };
  await storeFailure(setup.store, place, {
    run: "r",
    beat: 3,
    at: new Date("2026-11-25T06:10:00Z"),
    retryAt: new Date("2026-11-25T12:30:00Z"),
    report: report("2026-11-25T06:10:00Z", { databases: FAILED }),
  });
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code, found.failed], ["failed", 3, [{
    database: "b",
    error: "CouchDB answered 500",
  }]]);
  assertEquals(
    found.text,
    `daily  FAILED  last complete 2026-11-24T06:10:00Z (1d05h ago), retried at 2026-11-25T12:30:00Z, next 2026-11-26T06:00:00Z
  1 of 2 databases are not saved:
    b: CouchDB answered 500
`,
  );
});

Deno.test("readStatus() says why where the whole task failed", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, TODAY, report("2026-11-25T06:10:00Z", { databases: [], error: "Cannot list the databases" }));
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code, found.error], ["failed", 3, "Cannot list the databases"]);
});

Deno.test("readStatus() says due for half an hour behind an elapse that nobody runs, and then late", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, YESTERDAY, report("2026-11-24T06:10:00Z"));
  assertEquals((await status(setup, new Date("2026-11-25T06:29:00Z"))).state, "due");
  assertEquals((await status(setup, new Date("2026-11-25T06:31:00Z"))).state, "late");
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code], ["late", 3]);
  assertEquals(
    found.text,
    "daily  LATE  last complete 2026-11-24T06:10:00Z (1d05h ago), was due 2026-11-25T06:00:00Z, next 2026-11-26T06:00:00Z\n",
  );
});

Deno.test("readStatus() tells a run that goes on from one that has died, and from one that was interrupted", async () => {
  await using setup = await TestRepository.open();
  const now = new Date(Date.now() + 1000);
  const soon = task("daily", { cron: "*-*-* *:00:00 UTC" });
  const elapse = new Date(now);
  elapse.setUTCMinutes(0, 0, 0);
  await claim(setup, elapse, { state: "running" });
  assertEquals((await status(setup, now, [soon])).state, "running");
  const yearly = task("daily", { cron: `${elapse.toISOString().slice(0, 13).replace("T", " ")}:00:00 UTC` });
  const died = await status(setup, new Date(now.getTime() + 11 * 60_000), [yearly]);
  assertEquals([died.state, died.code], ["died", 3]);
  await claim(setup, elapse, { state: "stopped" });
  assertEquals((await status(setup, now, [soon])).state, "interrupted");
});

Deno.test("readStatus() says saved where another try, or a run by hand, has saved what had failed", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, TODAY, report("2026-11-25T07:10:00Z", { generations: 3 }));
  const found = await status(setup, NOON);
  assertEquals([found.state, found.generations], ["saved", 3]);
  assertEquals(found.text.includes("took 3 runs"), true);

  await finish(setup, new Date("2026-11-26T06:00:00Z"), report("2026-11-26T06:10:00Z", { databases: FAILED }));
  const later = new Date("2026-11-26T12:00:00Z");
  assertEquals((await status(setup, later)).state, "failed");
  await storeManualRun(setup.repository, report("2026-11-26T09:00:00Z"), {});
  const byHand = await status(setup, later);
  assertEquals([byHand.state, byHand.databases, byHand.failed, byHand.error], ["saved", 2, [], null]);
  assertEquals(
    byHand.text,
    "daily  saved  last complete 2026-11-26T09:00:00Z (3h00m ago), next 2026-11-27T06:00:00Z\n",
  );
});

Deno.test("readStatus() says late at once where the elapse before was missed as well", async () => {
  await using setup = await TestRepository.open();
  const hourly = task("daily", { cron: "*-*-* *:00:00 UTC" });
  const often = task("daily", { cron: "*-*-* *:00/15:00 UTC" });
  await finish(setup, TODAY, report("2026-11-25T06:10:00Z"));
  // The latest elapse need not have begun yet; the one before it has.
  for (const [now, state] of [["07:10", "due"], ["07:40", "late"], ["08:10", "late"], ["11:05", "late"]] as const) {
    const found = await status(setup, new Date(`2026-11-25T${now}:00Z`), [hourly]);
    assertEquals([now, found.state, found.ok], [now, state, state === "due"]);
  }
  for (const [now, state] of [["06:20", "due"], ["06:44", "due"], ["06:46", "late"], ["07:01", "late"]] as const) {
    assertEquals([now, (await status(setup, new Date(`2026-11-25T${now}:00Z`), [often])).state], [now, state]);
  }
  // What has failed, or runs, was not missed.
  await claim(setup, new Date("2026-11-25T08:00:00Z"), { state: "failed", retry_at: "2026-11-25T08:30:00.000Z" });
  assertEquals((await status(setup, new Date("2026-11-25T09:10:00Z"), [hourly])).state, "due");
});

Deno.test("readStatus() says late where the task was run by hand since, and nothing was saved by that", async () => {
  const hourly = task("daily", { cron: "*-*-* *:00:00 UTC" });
  const failed = report("2026-11-25T07:30:20Z", { databases: FAILED });
  for (const where of ["a Lambda", "a command line"]) {
    await using setup = await TestRepository.open();
    await finish(setup, TODAY, report("2026-11-25T06:10:00Z"));
    if (where === "a Lambda") await finish(setup, new Date("2026-11-25T07:30:20Z"), failed);
    else await storeManualRun(setup.repository, failed, {});
    assertEquals((await status(setup, new Date("2026-11-25T08:10:00Z"), [hourly])).state, "late", where);
  }
});

Deno.test("readStatus() has a task without a schedule stand as its last run by hand left it", async () => {
  await using setup = await TestRepository.open();
  assertEquals((await status(setup, NOON, [HAND])).state, "never");
  const byHand = (at: string, part: Partial<TaskReport> = {}) =>
    storeManualRun(setup.repository, report(at, { task: "by-hand", ...part }), {});
  await byHand("2026-11-20T09:00:00Z");
  assertEquals((await status(setup, NOON, [HAND])).state, "saved");
  await byHand("2026-11-21T09:00:00Z", { databases: FAILED });
  const found = await status(setup, NOON, [HAND]);
  assertEquals([found.state, found.last_complete_at, found.next], ["failed", "2026-11-20T09:00:00.000Z", null]);
});

Deno.test("readStatus() names the last run by hand where that did not save everything, and goes by the others", async () => {
  await using setup = await TestRepository.open();
  const byHand = (at: string, part: Partial<TaskReport>) => storeManualRun(setup.repository, report(at, part), {});
  await byHand("2026-11-25T09:00:00Z", { error: "Cannot list the databases", databases: [] });
  const never = await status(setup, NOON);
  const failure = { at: "2026-11-25T09:00:00.000Z", failed: 0, databases: 0, error: "Cannot list the databases" };
  assertEquals([never.state, never.last_by_hand, never.code], ["late", failure, 3]);
  await finish(setup, TODAY, report("2026-11-25T06:00:00Z"));
  await byHand("2026-11-25T10:00:00Z", { databases: FAILED });
  const found = await status(setup, NOON);
  assertEquals([found.state, found.code], ["saved", 0]);
  assertEquals(found.last_by_hand, {
    at: "2026-11-25T10:00:00.000Z",
    failed: 1,
    databases: 2,
    error: "b: CouchDB answered 500",
  });
  assertEquals(
    found.text.split("\n")[1],
    "  the run by hand of 2026-11-25T10:00:00Z did not save 1 of 2 databases: b: CouchDB answered 500",
  );
  assertEquals(
    never.text.split("\n")[1],
    "  the run by hand of 2026-11-25T09:00:00Z saved nothing: Cannot list the databases",
  );
  const unreadable = [{ id: "x", error: "internal_error", reason: "badmatch" }];
  await byHand("2026-11-25T10:30:00Z", { databases: [database("a", { unreadable })] });
  assertEquals(
    (await status(setup, NOON)).text.split("\n")[1],
    "  the run by hand of 2026-11-25T10:30:00Z did not save everything: some documents could not be read",
  );
  await byHand("2026-11-25T11:00:00Z", {});
  assertEquals((await status(setup, NOON)).last_by_hand, undefined);
});

Deno.test("readStatus() takes a report that is not whole for none", async () => {
  await using setup = await TestRepository.open();
  await storeManualRun(setup.repository, report("2026-11-21T09:00:00Z", { task: "by-hand" }), {});
  const folder = joinKey(setup.repository.taskFolder("by-hand"), "by-hand");
  await setup.write(folder, "20261122T090000Z-0a0a0a0a.json", "{");
  assertEquals((await status(setup, NOON, [HAND])).state, "interrupted");
});

Deno.test("readStatus() does not take a run of the future, by a wrong clock, for one that has saved anything since", async () => {
  await using setup = await TestRepository.open();
  await finish(setup, YESTERDAY, report("2026-11-24T06:10:00.000Z"));
  const future = report("2028-01-02T06:10:00.000Z");
  await finish(setup, new Date("2028-01-02T06:00:00Z"), future);
  await storeManualRun(setup.repository, future, {});
  const found = await status(setup, NOON);
  assertEquals([found.state, found.last_complete_at, found.code], ["late", "2026-11-24T06:10:00.000Z", 3]);
});

Deno.test("readStatus() does not take what an earlier run saved for the elapse that came while it ran", async () => {
  await using setup = await TestRepository.open();
  const { repository, store } = setup;
  await finish(setup, YESTERDAY, { ...report("2026-11-24T06:00:01Z"), finished_at: "2026-11-25T06:40:00.000Z" });
  // One by hand that began before the elapse is no later one either.
  await storeManualRun(repository, { ...report("2026-11-25T05:59:59Z"), finished_at: "2026-11-25T06:45:00.000Z" }, {});
  const found = async () => {
    const { state, code, failed, retry_at, last_complete_at } = await status(setup, NOON);
    assertEquals(last_complete_at, "2026-11-25T06:45:00.000Z");
    return [state, code, failed.length, retry_at];
  };
  assertEquals(await found(), ["late", 3, 0, null]);
  await claim(setup, TODAY, { state: "stopped" });
  assertEquals(await found(), ["interrupted", 3, 0, null]);
  const failed = report("2026-11-25T06:50:00Z", { databases: FAILED });
  const retryAt = "2026-11-25T12:30:00.000Z";
  await storeFailure(store, { folder: repository.runFolder({ task: "daily", elapse: TODAY }), generation: 1 }, {
    run: "r",
    beat: 3,
    at: new Date("2026-11-25T06:50:00Z"),
    retryAt: new Date(retryAt),
    report: failed,
  });
  assertEquals(await found(), ["failed", 3, 1, retryAt]);
  await new RunFolder(repository, { task: "daily", elapse: TODAY }).storeReport(failed, {});
  assertEquals(await found(), ["failed", 3, 1, null]);
  // What began with the elapse is as new as it was to be.
  await storeManualRun(repository, report("2026-11-25T06:00:00.400Z"), {});
  assertEquals((await status(setup, NOON)).state, "saved");
});

Deno.test("readStatus() says late where an elapse came during the run before, and nobody ran it", async () => {
  await using setup = await TestRepository.open();
  const hourly = task("daily", { cron: "*-*-* *:00:00 UTC" });
  await finish(setup, TODAY, { ...report("2026-11-25T06:00:01Z"), finished_at: "2026-11-25T07:20:00.000Z" });
  assertEquals((await status(setup, new Date("2026-11-25T07:25:00Z"), [hourly])).state, "due");
  // The elapse of 8:00 need not have begun, that of 7:00 must have.
  const found = await status(setup, new Date("2026-11-25T08:10:00Z"), [hourly]);
  assertEquals([found.state, found.code], ["late", 3]);
});

Deno.test("readStatus() knows the run of an elapse between two seconds by its second", async () => {
  await using setup = await TestRepository.open();
  const once = task("daily", { cron: "2026-11-25 06:00:02.5 UTC" });
  const elapse = new Date("2026-11-25T06:00:02.500Z");
  await finish(setup, elapse, report("2026-11-25T06:10:00Z"));
  assertEquals((await status(setup, NOON, [once])).state, "saved");
  await claim(setup, elapse, { state: "stopped" });
  assertEquals((await status(setup, NOON, [once])).state, "saved");
});
