/**
 * Decides what happens to an elapse after one of its runs has ended. In: the outcomes of that run and of those before,
 * and the time. Out: that the elapse is over, or when it is retried. Pure.
 */
import { commandLine } from "../command_line.ts";
import {
  isTaskSaved,
  isWorthRetrying,
  mergeTaskReports,
  type RunReport,
  type TaskReport,
  withFinder,
} from "../archive/report.ts";
import { isFatalForRun } from "../errors.ts";
import type { Task } from "../task/task.ts";
import { latestElapse } from "../task/times.ts";

/** How long is waited after the first run, the second and so on, before the next try; after all others the last. */
export const RETRY_PAUSES_MINUTES: readonly number[] = [1, 2, 5, 10, 20, 40, 60];

/**
 * No try comes sooner after a refused login, or a store that refuses: CouchDB 3.4 and later lock a login out at
 * an address for five minutes after five failures within that time, and other programs of this machine may use it, too.
 */
export const REFUSED_PAUSE_MINUTES = 5;

const MINUTE_MS = 60_000;

/** When to try again after the run of a generation has ended at `now`. */
export function nextTry(generation: number, { now, error }: { now: Date; error?: unknown }): Date {
  const index = Math.min(Math.max(generation, 1), RETRY_PAUSES_MINUTES.length) - 1;
  const pause = Math.max(RETRY_PAUSES_MINUTES[index]!, isFatalForRun(error) ? REFUSED_PAUSE_MINUTES : 0);
  return new Date(now.getTime() + pause * MINUTE_MS);
}

/** Whether a task's schedule elapses at an instant; a run at another instant is manual and not retried. */
export function isElapseOf(task: Task, instant: Date): boolean {
  return latestElapse(task, instant)?.getTime() === instant.getTime();
}

/** What {@linkcode settle} goes by. */
export interface EndedRun {
  /** How the run came out by itself. */
  report: RunReport;
  /** How those before it came out together; undefined where none had come to an end. */
  earlier: RunReport | undefined;
  /** Undefined where the elapse is over already, and its report is amended. */
  generation: number | undefined;
  now: Date;
  /** What failed all of it, where that is so. */
  error?: unknown;
  /** When to try again, where that is settled already. */
  retryAt?: Date | undefined;
}

/** What becomes of the elapse. `report` is how all its runs came out together. */
export type Settlement = { kind: "over"; report: RunReport } | { kind: "failed"; report: RunReport; retryAt: Date };

/** Decides whether an elapse is over: all is saved, or the next one has come, or nobody would look after it. */
export function settle({ task, elapse }: { task: Task; elapse: Date }, ended: EndedRun): Settlement {
  const { generation, now, error } = ended;
  const earlier = ended.earlier === undefined ? undefined : withFinder(ended.earlier, ended.report);
  const before = earlier?.tasks.find((one) => one.task === task.name);
  const merged = markedWith(
    mergeTaskReports(before, ended.report.tasks[0]!),
    generation ?? (before?.generations ?? 1) + 1,
  );
  const next = latestElapse(task, now);
  const isPassed = next !== undefined && next > elapse;
  const ofTask = (one: TaskReport): RunReport => ({
    ...ended.report,
    started_at: earlier?.started_at ?? ended.report.started_at,
    ok: isTaskSaved(one),
    tasks: [one],
  });
  const isOver = generation === undefined || !isWorthRetrying(merged) || !isElapseOf(task, elapse);
  if (isOver) return { kind: "over", report: ofTask(merged) };
  if (isPassed) return { kind: "over", report: ofTask({ ...merged, given_up: next.toISOString() }) };
  const retryAt = ended.retryAt ?? nextTry(generation, { now, error });
  return { kind: "failed", report: ofTask({ ...merged, retry_at: retryAt.toISOString() }), retryAt };
}

/** The report of an elapse that is not tried any more because `next` has come. */
export function givenUp(report: RunReport, next: Date): RunReport {
  const tasks = report.tasks.map(({ retry_at: _, ...task }) => ({ ...task, given_up: next.toISOString() }));
  return { ...report, ok: false, tasks };
}

function markedWith(report: TaskReport, generations: number): TaskReport {
  const { retry_at: _retried, given_up: _given, generations: _before, ...rest } = report;
  return generations > 1 ? { ...rest, generations } : rest;
}

/** The databases that a run after `earlier` is to try again; undefined: all, as nobody knows which there are. */
export function databasesToRetry(earlier: TaskReport | undefined): string[] | undefined {
  const failed = earlier?.databases.filter(({ status }) => status === "failed").map(({ database }) => database) ?? [];
  return failed.length === 0 ? undefined : failed;
}

/** What of a task failed, in a few words for a log line. */
export function describeFailed(report: RunReport): { failed: number; of: number; first: string | undefined } {
  const databases = report.tasks.flatMap((task) => task.databases);
  const failed = databases.filter(({ status }) => status === "failed");
  const first = report.tasks.find(({ error }) => error !== undefined)?.error ??
    (failed[0] === undefined ? undefined : `${failed[0].database}: ${failed[0].error}`);
  return { failed: failed.length, of: databases.length, first };
}

/** What brings in by hand what an elapse that is over lacks. */
export function hintForMissing({ tasks: [task] }: RunReport): string | undefined {
  if (task === undefined) return undefined;
  const words = ["--task", task.task, "--date", task.date, "--resume"];
  return `${commandLine("backup", words)} saves what is missing`;
}
