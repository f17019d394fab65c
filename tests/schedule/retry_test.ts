import { assertEquals } from "@std/assert";
import { foundLosses } from "../../src/archive/report.ts";
import { CouchError } from "../../src/errors.ts";
import { databasesToRetry, nextTry, RETRY_PAUSES_MINUTES, settle } from "../../src/schedule/retry.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";
import { task } from "../fakes/task.ts";

const DAILY = task("daily", { cron: "*-*-* 06:00:00 UTC" });
const DUE = { task: DAILY, elapse: new Date("2026-01-03T06:00:00Z") };
const NOW = new Date("2026-01-03T06:10:00Z");
const REFUSED = new CouchError("Cannot list: 401", { status: 401, error: "unauthorized" });

const saved = databaseReport("a");
const failed = databaseReport("b", { status: "failed", error: "x", exit_code: 10 });
const ofTask = (...databases: typeof saved[]) => runReport([taskReport("daily", databases)]);
const minutes = (from: Date, to: Date) => (to.getTime() - from.getTime()) / 60_000;

Deno.test("nextTry() waits longer from run to run, up to an hour", () => {
  const pauses = [1, 2, 3, 4, 5, 6, 7, 8, 500].map((generation) => minutes(NOW, nextTry(generation, { now: NOW })));
  assertEquals(pauses, [...RETRY_PAUSES_MINUTES, 60, 60]);
  assertEquals(pauses, [1, 2, 5, 10, 20, 40, 60, 60, 60]);
});

Deno.test("nextTry() leaves CouchDB alone for five minutes behind a refused login", () => {
  const pauses = [1, 2, 3, 4].map((generation) => minutes(NOW, nextTry(generation, { now: NOW, error: REFUSED })));
  assertEquals(pauses, [5, 5, 5, 10]);
});

Deno.test("settle() says when what failed is tried again, and of what was saved before that it is saved", () => {
  const first = settle(DUE, { report: ofTask(saved, failed), earlier: undefined, generation: 1, now: NOW });
  const retryAt = new Date("2026-01-03T06:11:00Z");
  assertEquals([first.kind, "retryAt" in first && first.retryAt, first.report.ok], ["failed", retryAt, false]);
  assertEquals(first.report.tasks[0]!.retry_at, retryAt.toISOString());
  assertEquals(databasesToRetry(first.report.tasks[0]), ["b"]);

  const report = { ...ofTask(databaseReport("b")), started_at: "2026-01-03T18:30:00.000Z" };
  const second = settle(DUE, { report, earlier: first.report, generation: 2, now: NOW });
  const [merged] = second.report.tasks;
  assertEquals([second.kind, second.report.ok, merged!.generations, merged!.retry_at], ["over", true, 2, undefined]);
  assertEquals(merged!.databases.map(({ database, status }) => [database, status]), [["a", "complete"], [
    "b",
    "complete",
  ]]);
  assertEquals(second.report.started_at, first.report.started_at);
});

Deno.test("settle() names the run that has found what a chain has lost, where it is not the last one", () => {
  const lossy = (lost: { found_by?: string } = {}) =>
    databaseReport("a", { chain_lost: { documents: 3, ids: ["x", "y", "z"], ...lost } });
  for (const [lost, finder] of [[{}, "first"], [{ found_by: "killed" }, "killed"]] as const) {
    const earlier = { ...ofTask(lossy(lost), failed), run: "first" };
    const report = { ...ofTask(databaseReport("b")), run: "second" };
    const settled = settle(DUE, { report, earlier, generation: 2, now: NOW });
    assertEquals(settled.report.tasks[0]!.databases[0]!.chain_lost?.found_by, finder);
    assertEquals(foundLosses(settled.report), [finder]);
  }
  // Rounds of one run go on under its name.
  const own = settle(DUE, { report: ofTask(databaseReport("b")), earlier: ofTask(lossy()), generation: 2, now: NOW });
  assertEquals(own.report.tasks[0]!.databases[0], lossy());
});

Deno.test("settle() keeps what was saved when a later run cannot even list the databases", () => {
  const earlier = ofTask(saved, failed);
  const report = runReport([{ ...taskReport("daily", [], "CouchDB is away"), exit_code: 10 }]);
  const settled = settle(DUE, { report, earlier, generation: 2, now: NOW });
  assertEquals(settled.report.tasks[0]!.databases, [saved, failed]);
  assertEquals(databasesToRetry(settled.report.tasks[0]), ["b"]);
  const next = settle(DUE, { report: ofTask(databaseReport("b")), earlier: settled.report, generation: 3, now: NOW });
  assertEquals([next.kind, next.report.ok, next.report.tasks[0]!.error], ["over", true, undefined]);
});

Deno.test("settle() ends an elapse when the next one has come, and says so", () => {
  const now = new Date("2026-01-04T06:00:00Z");
  const settled = settle(DUE, { report: ofTask(saved, failed), earlier: undefined, generation: 9, now });
  assertEquals([settled.kind, settled.report.ok], ["over", false]);
  assertEquals(settled.report.tasks[0]!.given_up, "2026-01-04T06:00:00.000Z");
});

Deno.test("settle() ends what nobody would look after, and what no other try can save", () => {
  const byHand = { task: DAILY, elapse: new Date("2026-01-03T07:07:07Z") };
  assertEquals(settle(byHand, { report: ofTask(failed), earlier: undefined, generation: 1, now: NOW }).kind, "over");
  const unreadable = databaseReport("a", { unreadable: [{ id: "x", error: "internal_error", reason: "" }] });
  const settled = settle(DUE, { report: ofTask(unreadable), earlier: undefined, generation: 1, now: NOW });
  assertEquals([settled.kind, settled.report.ok], ["over", false]);
  const gone = databaseReport("b", { status: "gone" });
  assertEquals(settle(DUE, { report: ofTask(gone), earlier: ofTask(failed), generation: 2, now: NOW }).report.ok, true);
});
