/**
 * The state of each task: what was saved last, what is not saved, what runs, what comes next. In: a repository, the
 * config's tasks and an instant. Out: a report for people and monitoring. Nothing is written, and CouchDB is not asked.
 */
import { type Proofs, readProofs } from "../archive/proof.ts";
import { listRuns, type ReportedRun } from "../archive/moment.ts";
import { isSaved, isTaskSaved, type RunReport, type TaskReport } from "../archive/report.ts";
import type { Repository } from "../archive/repository.ts";
import { ifInReach, RunFolder } from "../archive/run_folder.ts";
import { notedAsSaved } from "../archive/last_run.ts";
import { isOfFuture } from "../dates.ts";
import { describeError, EXIT, type StoreError } from "../errors.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { latestElapse, nextElapses } from "../task/times.ts";
import { type ElapseState, readElapse } from "./elapse.ts";
import { describeFailed, isElapseOf } from "./retry.ts";

/** A run that gives no sign of life for so long has died; whoever looks next goes on. */
const DEAD_AFTER_MS = 10 * 60_000;
/** How long an elapse may wait to be noticed: a timer looks every five minutes, a Lambda every fifteen. */
const LATE_AFTER_MS = 30 * 60_000;
/** How many runs are searched for the last one that saved everything. */
const MOST_RUNS = 60;

/** How a task stands: `due` has not begun and need not have yet, `died` gave no sign of life for ten minutes. */
export type TaskState = "saved" | "running" | "due" | "failed" | "interrupted" | "died" | "late" | "never";

/** How one task stands. */
export interface TaskStatus {
  task: string;
  state: TaskState;
  /** Whether all is well. */
  ok: boolean;
  /** When the last run that saved everything was over, in UTC, of those the one that began last; null where none did. */
  last_complete_at: string | null;
  /** How long ago that was. */
  age_seconds: number | null;
  /** How many later runs may have saved everything: their reports cannot be read. Absent where there are none. */
  unread_reports?: number;
  /** The latest elapse of its schedule, in UTC; null where it has none. */
  elapse: string | null;
  /** The next one. */
  next: string | null;
  /** Databases of the run that counts; null where it has not told. */
  databases: number | null;
  /** Those that are not saved, by decoded names, with the causes. */
  failed: { database: string; error: string }[];
  /** Why the task as a whole failed, or why the report of the run that counts cannot be read; null where neither is so. */
  error: string | null;
  /** When what failed is retried, in UTC; null if it is not retried automatically. */
  retry_at: string | null;
  /** How many runs the elapse took; 1 where it went well at once. */
  generations: number;
  /** The task's last run, where it was begun by hand, did not save everything, and nothing above tells of it. */
  last_by_hand?: FailedByHand;
}

/** A run by hand that did not save everything. */
export interface FailedByHand {
  /** When it began, in UTC. */
  at: string;
  /** How many databases it did not save. */
  failed: number;
  /** How many databases it was for; 0 where it could not find out. */
  databases: number;
  /** The first cause. */
  error: string;
}

/** What `status --json` prints. */
export interface StatusReport {
  /** Whether all is well. */
  ok: boolean;
  tasks: TaskStatus[];
  /** When the backups were last proved, and how that came out; null where they never were. */
  proofs: Proofs;
}

/** 0 if all is well, else 3. */
export function exitCodeOfStatus({ ok }: StatusReport): number {
  return ok ? EXIT.ok : EXIT.partial;
}

/** What {@linkcode readStatus} works with. */
export interface StatusContext extends StoreCallOptions {
  repository: Repository;
  now: () => Date;
}

/** Finds out how the tasks stand. @throws StoreError when the store fails. */
export async function readStatus(context: StatusContext, tasks: readonly Task[]): Promise<StatusReport> {
  const statuses: TaskStatus[] = [];
  for (const task of tasks) statuses.push(await statusOf(context, task));
  const proofs = await readProofs(context.repository, { signal: context.signal });
  const isProved = Object.values(proofs).every((proof) => proof?.ok !== false);
  return { ok: isProved && statuses.every(({ ok }) => ok), tasks: statuses, proofs };
}

async function statusOf(context: StatusContext, task: Task): Promise<TaskStatus> {
  const { repository, now, signal } = context;
  const at = now();
  // A run that a wrong clock has dated in the future would count as the last one until that date.
  const runs = (await listRuns(repository, task.name, { signal })).filter((run) => !isOfFuture(run.at, at));
  const { complete, unread } = await findComplete(context, runs, task.name);
  const elapse = latestElapse(task, at);
  const [next] = nextElapses(task, { after: at, count: 1 });
  const found = elapse === undefined
    ? await judgeByHand(runs, task.name, complete)
    : await judgeElapse(context, { task, elapse, at, runs, complete });
  const byHand = TELLS_NO_RUN.has(found.state) ? await failedByHand(runs[0], task.name) : undefined;
  return {
    task: task.name,
    ok: OK_STATES.has(found.state),
    last_complete_at: complete?.finishedAt.toISOString() ?? null,
    age_seconds: complete === undefined
      ? null
      : Math.max(0, Math.round((at.getTime() - complete.finishedAt.getTime()) / 1000)),
    ...unread > 0 && { unread_reports: unread },
    elapse: elapse?.toISOString() ?? null,
    next: next?.toISOString() ?? null,
    ...describe(found.report),
    ...found.problem === undefined ? {} : { error: describeProblem(found.problem) },
    state: found.state,
    retry_at: found.retryAt?.toISOString() ?? null,
    ...byHand === undefined ? {} : { last_by_hand: byHand },
  };
}

/** The states in which the last run is not the one that the status tells of. */
const TELLS_NO_RUN: ReadonlySet<TaskState> = new Set(["saved", "due", "late", "never"]);

/** What the last run of a task has failed with, if it was begun by hand. */
async function failedByHand(last: ReportedRun | undefined, task: string): Promise<FailedByHand | undefined> {
  if (last === undefined || !last.isByHand) return undefined;
  const { found } = await ifInReach(last.read());
  const part = partOf(found, task);
  if (found === undefined || part === undefined || isTaskSaved(part)) return undefined;
  const { failed, of, first } = describeFailed({ ...found, tasks: [part] });
  return { at: last.at.toISOString(), failed, databases: of, error: first ?? "some documents could not be read" };
}

const OK_STATES: ReadonlySet<TaskState> = new Set(["saved", "running", "due"]);

/** What was found out, and the task's part of the report that says so. */
interface Judgement {
  state: TaskState;
  report: TaskReport | undefined;
  /** Why it cannot be read. */
  problem?: StoreError | undefined;
  retryAt?: Date | undefined;
}

/** The last run that saved everything, and the task's part of its report. */
interface CompleteRun {
  /** When its schedule fired, or it was begun by hand: what it has saved is at least as new as that. */
  at: Date;
  /** When it was over, which may be after the next elapse. */
  finishedAt: Date;
  /** Undefined where it cannot be read, and another note says that all is saved. */
  report: TaskReport | undefined;
}

/** What an elapse is judged by. */
interface Evidence {
  elapse: Date;
  at: Date;
  /** The latest first. */
  runs: readonly ReportedRun[];
  complete: CompleteRun | undefined;
}

/** A task without a schedule stands as its last run by hand has left it. */
async function judgeByHand(
  runs: readonly ReportedRun[],
  task: string,
  complete: CompleteRun | undefined,
): Promise<Judgement> {
  const [last] = runs;
  if (last === undefined) return { state: "never", report: undefined };
  const { found, problem } = await ifInReach(last.read());
  if (problem !== undefined) {
    return { state: complete?.at === last.at ? "saved" : "failed", report: undefined, problem };
  }
  const report = partOf(found, task);
  if (report === undefined) return { state: "interrupted", report };
  return { state: isTaskSaved(report) ? "saved" : "failed", report };
}

async function judgeElapse(
  { repository, signal }: StatusContext,
  { task, ...evidence }: Evidence & { task: Task },
): Promise<Judgement> {
  const { elapse, at, complete } = evidence;
  const folder = new RunFolder(repository, { task: task.name, elapse });
  const state = await readElapse(repository.store, folder.key, { signal });
  const read = async () =>
    await folder.readReport({ signal }) ?? (await folder.readNewestGeneration({ signal }))?.report;
  const { found, problem } = await ifInReach(read());
  const report = partOf(found, task.name);
  const overdue = latestElapse(task, new Date(at.getTime() - LATE_AFTER_MS));
  const judgement = judge(state, { ...evidence, task, report, overdue });
  // Another run has saved what this elapse had not: that run's report counts.
  const isSavedByAnother = judgement.state === "saved" && (report === undefined || !isTaskSaved(report));
  if (isSavedByAnother && complete?.report !== undefined) return { report: complete.report, ...judgement };
  return { report: isSavedByAnother ? undefined : report, problem, ...judgement };
}

function judge(
  state: ElapseState,
  { task, report, elapse, overdue, at, runs, complete }: Evidence & {
    task: Task;
    report: TaskReport | undefined;
    /** The last elapse that must have begun. */
    overdue: Date | undefined;
  },
): Pick<Judgement, "state" | "retryAt"> {
  // A complete run by hand since the elapse is as good. One that began before it is not, however late it ended.
  const isSavedSince = complete !== undefined && isSince(complete, elapse);
  switch (state.kind) {
    case "finished":
      return { state: isSavedSince || (report !== undefined && isTaskSaved(report)) ? "saved" : "failed" };
    case "failed":
      return isSavedSince ? { state: "saved" } : { state: "failed", retryAt: state.retryAt };
    case "stopped":
      return { state: isSavedSince ? "saved" : "interrupted" };
    case "running":
      return { state: at.getTime() - state.lastSign.getTime() > DEAD_AFTER_MS ? "died" : "running" };
    case "free":
      if (isSavedSince) return { state: "saved" };
      // Where elapses follow each other closely, the latest is never old enough to be late: an earlier one tells.
      if (runs.length > 0 && isMissed(task, overdue, { runs, complete })) return { state: "late" };
      if (at.getTime() - elapse.getTime() <= LATE_AFTER_MS) return { state: "due" };
      return { state: runs.length > 0 ? "late" : "never" };
  }
}

/** Whether no elapse has begun, and nothing was saved, since one; a run by hand that has failed begins none. */
function isMissed(
  task: Task,
  elapse: Date | undefined,
  { runs, complete }: Pick<Evidence, "runs" | "complete">,
): boolean {
  if (elapse === undefined || (complete !== undefined && isSince(complete, elapse))) return false;
  return !runs.some((run) => isSince(run, elapse) && isElapseOf(task, run.at));
}

/** Whether a run is that of an elapse, or began after it. Runs are named by whole seconds. */
function isSince({ at }: { at: Date }, elapse: Date): boolean {
  return at.getTime() >= elapse.getTime() - elapse.getUTCMilliseconds();
}

function describeProblem(problem: StoreError): string {
  return problem.hint === undefined ? describeError(problem) : `${describeError(problem)}. ${problem.hint}`;
}

function partOf(report: RunReport | undefined, task: string): TaskReport | undefined {
  return report?.tasks.find((one) => one.task === task);
}

function describe(
  report: TaskReport | undefined,
): Pick<TaskStatus, "databases" | "failed" | "error" | "generations"> {
  const failed = (report?.databases ?? []).filter((one) => !isSaved(one));
  return {
    databases: report === undefined ? null : report.databases.length,
    failed: failed.map(({ database, error, unreadable = [] }) => ({
      database,
      error: error ?? `CouchDB could not read ${unreadable.length} of its documents`,
    })),
    error: report?.error ?? null,
    generations: report?.generations ?? 1,
  };
}

/** The last run that saved everything, and how many after it cannot be read. */
async function findComplete(
  { repository, signal }: StatusContext,
  runs: readonly ReportedRun[],
  task: string,
): Promise<{ complete: CompleteRun | undefined; unread: number }> {
  let unread = 0;
  for (const run of runs.slice(0, MOST_RUNS)) {
    const { found: report, problem } = await ifInReach(run.read());
    const noted = problem === undefined ? undefined : await notedAsSaved(repository, task, { at: run.at, signal });
    // Its end is known only of the latest run: later ones, failed ones too, overwrite it with their own.
    if (noted !== undefined) {
      const complete = { at: run.at, finishedAt: run === runs[0] ? noted : run.at, report: undefined };
      return { complete, unread };
    }
    if (problem !== undefined) unread++;
    const part = partOf(report, task);
    if (report !== undefined && part !== undefined && isTaskSaved(part)) {
      return { complete: { at: run.at, finishedAt: new Date(report.finished_at), report: part }, unread };
    }
  }
  return { complete: undefined, unread };
}
