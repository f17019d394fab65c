/**
 * Runs one claimed elapse. In: a task, its elapse and a claim on it. Out: the report of all its runs so far, which is
 * stored, and whether it is retried. An interrupted earlier run of the same elapse is resumed; after a failed one
 * only what failed is tried.
 */
import { noteLossesTold, noteSaved } from "../archive/last_run.ts";
import {
  type DatabaseReport,
  foundLosses,
  isWorthRetrying,
  type RunReport,
  type TaskReport,
} from "../archive/report.ts";
import { ifInReach, RunFolder } from "../archive/run_folder.ts";
import { type EndedRun, runBackup } from "../commands/backup/backup.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { type EndedTask, rememberRun } from "../commands/backup/unlisted.ts";
import { formatIsoDate } from "../dates.ts";
import { describeError, exitCodeOf, hintOf, isFatalForRun, ProgramError } from "../errors.ts";
import { dateInPath, selectTasks } from "../task/selection.ts";
import { describerFor, type Task } from "../task/task.ts";
import { noteRefusal } from "./brake.ts";
import type { Claim } from "./claim.ts";
import { databasesToRetry, describeFailed, hintForMissing, nextTry, settle, type Settlement } from "./retry.ts";

/** A task whose latest elapse has yet to be run, or resumed. */
export interface DueTask {
  task: Task;
  elapse: Date;
}

/** What every further task of this look would meet as well, and when all of them are tried again. */
export interface Brake {
  error: unknown;
  retryAt: Date;
}

/** What has become of a claimed elapse; there is no report where another run has taken it over. */
export type ElapseRun =
  /** `unreported`: the store did not take its report, so that others take it for a run that has died. */
  | { outcome: "ran" | "resumed"; report: RunReport; unreported: true | undefined; brake: Brake | undefined }
  | { outcome: "failed"; report: RunReport; retryAt: Date; brake: Brake | undefined }
  | { outcome: "lost" };

/**
 * Runs a claimed elapse, or what an earlier run of it did not save, and ends the claim.
 *
 * @param options.brake What an earlier task of this look has met: then nothing is tried.
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; whoever holds the claim
 * releases it then.
 */
export async function runElapse(
  surroundings: RunContext,
  due: DueTask,
  { claim, brake }: { claim: Claim; brake?: Brake | undefined },
): Promise<ElapseRun> {
  const { task, elapse } = due;
  const { now, repository } = surroundings;
  const { generation } = claim;
  const log = surroundings.log.with({ task: task.name, elapse });
  const context = { ...surroundings, log, signal: AbortSignal.any([surroundings.signal, claim.lost]) };
  const folder = new RunFolder(repository, { task: task.name, elapse });
  const tried = await tryElapse(surroundings, due, { context, folder, claim, brake });
  if (tried === undefined) return { outcome: "lost" };
  const { failure } = tried;
  const earlier = withoutUnselected(tried.earlier, due);
  const ended = { report: tried.report, earlier, generation, now: now(), error: failure, retryAt: brake?.retryAt };
  const settled = settle(due, ended);
  const isReported = await endClaim(claim, settled, log);
  if (isReported) await remember(context, due, { ...tried, settled });
  if (settled.kind === "failed") {
    const { retryAt } = settled;
    await noteRefusal(folder, failure, { ...context, task, until: retryAt });
    log.error("elapse is not saved, and is tried again", { ...describeFailed(settled.report), generation, retryAt });
    return { outcome: "failed", report: settled.report, retryAt, brake: brake ?? brakeFor(failure, retryAt) };
  }
  if (!settled.report.ok) logGivenUp(log, settled.report);
  return {
    outcome: generation === 1 ? "ran" : "resumed",
    report: settled.report,
    unreported: isReported ? undefined : true,
    // The next elapse has come already, and would be refused as well.
    brake: brake ?? brakeFor(failure, nextTry(1, { now: now(), error: failure })),
  };
}

/** What has come of a try, before it is settled what that means for the elapse. */
interface TriedElapse {
  /** How this run came out. */
  report: RunReport;
  /** How those before it came out together; undefined where there were none, or nobody can tell. */
  earlier: RunReport | undefined;
  /** What failed all of it, or what a database was refused so that no further one was tried. */
  failure: unknown;
  endedTasks: EndedTask[];
}

/**
 * Backs up what there is to back up. Undefined where another run has taken the elapse over.
 *
 * @param options.context Is ended with the claim as well; `surroundings` are not.
 * @throws The reason of an interruption.
 */
async function tryElapse(
  surroundings: RunContext,
  due: DueTask,
  { context, folder, claim, brake }: {
    context: RunContext;
    folder: RunFolder;
    claim: Claim;
    brake: Brake | undefined;
  },
): Promise<TriedElapse | undefined> {
  const { task } = due;
  const { stop, signal, monitor } = surroundings;
  const { log } = context;
  const { generation } = claim;
  const startedAt = context.now();
  let earlier: RunReport | undefined;
  try {
    earlier = generation === 1 ? undefined : await readEarlier(folder, context);
    if (brake !== undefined) throw brake.error;
    monitor?.begins([task.name]);
    log.info(generation === 1 ? "elapse is claimed" : "elapse is resumed", { generation });
    const { report, ended, refused } = await runDatabases(context, due, { earlier, claim });
    return { report, earlier, failure: refused, endedTasks: ended };
  } catch (error) {
    if (stop.aborted || signal.aborted) throw signal.aborted ? signal.reason : stop.reason;
    if (claim.lost.aborted) {
      monitor?.isTakenOver([task.name]);
      log.warn("elapse is lost", { error: describeError(claim.lost.reason) });
      return undefined;
    }
    const told = describerFor(task)(error);
    const message = brake === undefined ? told : `Not tried, as it would fail like the one before: ${told}`;
    const report = reportFailure(surroundings, due, { error, message, startedAt });
    return { report, earlier, failure: error, endedTasks: [] };
  }
}

/** Says what has become of the elapse, which ends the claim. False where the store does not take it. */
async function endClaim(claim: Claim, settled: Settlement, log: RunContext["log"]): Promise<boolean> {
  try {
    if (settled.kind === "over") await claim.finish(settled.report);
    else await claim.fail(settled.report, settled.retryAt);
    return true;
  } catch (error) {
    // The backups are there all the same. Whoever takes the elapse over finds them complete and reports again.
    log.error("report could not be stored", { error: describeError(error) });
    return false;
  }
}

/** Notes what later runs go by. This one is reported: it counts even where there is no time for that any more. */
async function remember(
  context: RunContext,
  due: DueTask,
  { report, endedTasks, settled }: Pick<TriedElapse, "report" | "endedTasks"> & { settled: Settlement },
): Promise<void> {
  try {
    await rememberRun(context, endedTasks);
    await noteTold(context, due.task, report);
    if (settled.report.tasks.every((one) => !isWorthRetrying(one))) await noteElapseSaved(context, due, settled.report);
  } catch (error) {
    if (!context.signal.aborted) throw error;
    context.log.warn("what the run has saved is not noted for the next one", { error: describeError(error) });
  }
}

function brakeFor(error: unknown, retryAt: Date): Brake | undefined {
  return isFatalForRun(error) ? { error, retryAt } : undefined;
}

/** How the runs before came out together; undefined where nobody can tell: then every database is run. */
async function readEarlier(folder: RunFolder, { log, signal }: RunContext): Promise<RunReport | undefined> {
  const { found, problem } = await ifInReach(folder.readNewestGeneration({ signal }));
  if (problem !== undefined) logUnread(log, problem);
  return found?.report;
}

/** Says that nobody can tell what earlier runs of an elapse have come to. */
export function logUnread(log: RunContext["log"], problem: unknown): void {
  const facts = { error: describeError(problem), hint: hintOf(problem) };
  log.warn("what the runs before have saved cannot be read: it counts as unknown", facts);
}

/** Backs up what the task selects, or what of it failed before. */
async function runDatabases(
  context: RunContext,
  { task, elapse }: DueTask,
  { earlier, claim }: { earlier: RunReport | undefined; claim: Claim },
): Promise<EndedRun> {
  const failed = databasesToRetry(earlier?.tasks[0]);
  const names = failed ?? await context.couch.listDatabases({ signal: context.signal });
  const [selection] = selectTasks(names, [task], { startedAt: elapse });
  const options = { resume: claim.generation > 1, resumeRuns: claim.earlierRuns };
  if (failed === undefined) return await runBackup(context, [selection!], options);
  // Whether a database is gone is found out when its turn comes.
  const part = { ...selection!, warnings: [], listed: undefined };
  if (part.databases.length > 0) return await runBackup(context, [part], options);
  const at = context.now().toISOString();
  const nothing: TaskReport = { task: task.name, date: dateOf({ task, elapse }), databases: [] };
  const report = { ok: true, run: context.run, started_at: at, finished_at: at, tasks: [nothing] };
  return { report, ended: [] };
}

/** A database that failed, and that the task does not select any more, is not missed. */
export function withoutUnselected(earlier: RunReport | undefined, { task, elapse }: DueTask): RunReport | undefined {
  if (earlier === undefined) return undefined;
  const names = databasesToRetry(earlier.tasks[0]) ?? [];
  const [selection] = selectTasks(names, [task], { startedAt: elapse });
  const wanted = new Set(selection!.databases.map(({ database }) => database));
  const isWanted = ({ database, status }: DatabaseReport) => status !== "failed" || wanted.has(database);
  const tasks = earlier.tasks.map((one) => ({ ...one, databases: one.databases.filter(isWanted) }));
  return { ...earlier, tasks };
}

/** Notes that an elapse is saved, by which it is told how late a task is. */
export async function noteElapseSaved(
  { repository, log, signal }: Pick<RunContext, "repository" | "log" | "signal">,
  { task, elapse }: DueTask,
  { run, finished_at: finishedAt, tasks }: RunReport,
): Promise<void> {
  const databases = tasks.flatMap((one) => one.databases.map(({ database }) => database));
  try {
    await noteSaved(repository, task.name, { elapse, run, finishedAt, databases, signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    log.warn("it is not noted that the elapse is saved", { error: describeError(error) });
  }
}

/** Notes that what a run has found that a chain has lost is reported; one of a part of the task's databases as well. */
export async function noteTold(
  { repository, log, signal }: Pick<RunContext, "repository" | "log" | "signal">,
  { name }: Task,
  report: RunReport,
): Promise<void> {
  const foundBy = foundLosses(report);
  if (foundBy.length === 0) return;
  const { run, finished_at: finishedAt, tasks } = report;
  const databases = tasks.flatMap((one) => one.databases.map(({ database }) => database));
  try {
    await noteLossesTold(repository, name, { run, foundBy, finishedAt, databases, signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    log.warn("it is not noted that a loss is told", { error: describeError(error) });
  }
}

function logGivenUp(log: RunContext["log"], report: RunReport): void {
  const [task] = report.tasks;
  if (task?.given_up === undefined) return log.warn("elapse is over, and something could not be read", {});
  const facts = { ...describeFailed(report), next: task.given_up, hint: hintForMissing(report) };
  log.error("elapse is given up: the next one has come", facts);
}

function dateOf({ task, elapse }: DueTask): string {
  return formatIsoDate(dateInPath(task, elapse));
}

/** The report of a run that could not even begin its task, which the log is told of. */
export function reportFailure(
  { log, run, now }: Pick<RunContext, "log" | "run" | "now">,
  { task, elapse }: DueTask,
  { error, message = describerFor(task)(error), startedAt = now() }: {
    error: unknown;
    message?: string;
    startedAt?: Date;
  },
): RunReport {
  const hint = hintOf(error);
  const stack = error instanceof ProgramError || !(error instanceof Error) ? undefined : error.stack;
  log.error("task is not run", { task: task.name, elapse, error: message, hint, stack });
  const failed: TaskReport = {
    task: task.name,
    date: dateOf({ task, elapse }),
    databases: [],
    error: message,
    exit_code: exitCodeOf(error),
    ...hint === undefined ? {} : { hint },
  };
  return {
    ok: false,
    run,
    started_at: startedAt.toISOString(),
    finished_at: now().toISOString(),
    tasks: [failed],
  };
}
