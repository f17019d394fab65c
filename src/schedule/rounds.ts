/**
 * A run cut into rounds, for callers whose calls may not take long, such as the state machine of a Lambda does: a plan,
 * then rounds of each database until it is done (round.ts), then a summary. In: a task's elapse, and which step is
 * wanted. Out: the step's result, to be passed to the next one; everything else lies in the run's folder.
 */
import { storeLastRun } from "../archive/last_run.ts";
import {
  type DatabaseReport,
  isTaskSaved,
  isWorthRetrying,
  type RunReport,
  type TaskReport,
} from "../archive/report.ts";
import { ifInReach, type RunFolder } from "../archive/run_folder.ts";
import { backup } from "../commands/backup/backup.ts";
import { missUnlisted } from "../commands/backup/unlisted.ts";
import { formatIsoDate } from "../dates.ts";
import { describeError, UsageError } from "../errors.ts";
import { forEachParallel } from "../parallel.ts";
import { dateInPath, isEmptyByMistake, type TaskSelection } from "../task/selection.ts";
import { noteRefusal } from "./brake.ts";
import { failLease, isLeaseLost, joinOrTake, releaseLease, renewLease } from "./lease.ts";
import { databasesToRetry, describeFailed, settle, type Settlement } from "./retry.ts";
import { logUnread, noteElapseSaved, noteTold, reportFailure, withoutUnselected } from "./run_elapse.ts";
import {
  failure,
  folderOf,
  LAST_WORDS_TIMEOUT_MS,
  resuming,
  type RoundsContext,
  runOf,
  type RunOfElapse,
  selectFor,
  type SummaryContext,
} from "./run_in_rounds.ts";

/** Who does the work, and who hears how it came out. */
export interface RoundsOptions {
  /** The machine that a claim names. @default "rounds" */
  host?: string | undefined;
  /**
   * Is given the report of a run that is over, or failed as a whole; `started_at` is that of this run, not of the
   * first, and `scheduled` names the elapse, where a schedule began it.
   */
  publish?: ((report: RunReport & { scheduled?: { task: string; elapse: string }[] }) => Promise<void>) | undefined;
  /** Of a plan: how its databases are put into batches, which are stored beside it. @default not at all */
  inBatches?: ((databases: readonly string[]) => string[][]) | undefined;
  /** Of a summary: why the databases were not gone through to the end, where that is so. */
  brokenOff?: string | undefined;
}

/** What a plan has found. */
export interface PlannedRun {
  databases: string[];
  /** The key of the stored plan. */
  key: string;
  /** Which run of the elapse it is; undefined where the elapse is over, and its report is amended. */
  generation: number | undefined;
  /** The key of the same in batches, where they were asked for. */
  batchesKey?: string | undefined;
}

const CALLS_AT_ONCE = 16;
/** How far the clock of who names an elapse may be ahead. */
const CLOCK_TOLERANCE_MS = 5 * 60_000;

/**
 * Makes sure that an elapse has come. A run of one that is still to come would be taken for that one's: when it comes,
 * nothing is saved any more, and what was saved lies in the folder of a day that is yet to be.
 *
 * @throws UsageError where it has not.
 */
export function mustHaveCome({ task, elapse }: Pick<RunOfElapse, "task" | "elapse">, now: Date): void {
  if (elapse.getTime() <= now.getTime() + CLOCK_TOLERANCE_MS) return;
  throw new UsageError(`Cannot run task "${task.name}" for ${elapse.toISOString()}: that is still to come`, {
    hint: "Leave elapse out to run the task now",
  });
}

/**
 * Finds out what there is to do, and stores it in the run's folder: all that the task selects, or what earlier runs of
 * the elapse did not save. An elapse that nobody has claimed yet is claimed.
 *
 * @throws UsageError when the elapse is still to come, when the task selects nothing and may not, when the failed
 * databases are asked for of a run that has no report, or when another machine's run has the elapse.
 */
export async function planRun(
  context: RoundsContext,
  run: RunOfElapse,
  options: RoundsOptions = {},
): Promise<PlannedRun> {
  mustHaveCome(run, context.now());
  const folder = folderOf(context, run);
  const earlier = await readEarlier(folder, context);
  if (run.scope === "failed" && earlier === undefined) {
    throw new UsageError("The databases that failed are unknown: the run has no report that can be read", {
      hint: "Run all databases; complete ones are skipped",
    });
  }
  const generation = await enter(context, run, options.host ?? "rounds");
  context.monitor?.begins([run.task.name]);
  return await withinRun(context, { ...run, generation }, options, async () => {
    const isRetry = run.scope === "failed" || (generation ?? 1) > 1;
    const known = isRetry ? databasesToRetry(earlier?.tasks[0]) : undefined;
    const isAll = known === undefined && (run.scope === "all" || earlier?.tasks[0]?.error !== undefined);
    const databases = isAll ? await selectAll(context, run) : selectedNames(selectFor(run, known ?? []));
    await liftStop(folder, context);
    const name = { scope: run.scope, generation: generation ?? 1 };
    const key = await folder.storePlan(name, databases, context);
    if (options.inBatches === undefined) return { databases, key, generation };
    const batchesKey = await folder.storeBatches(name, options.inBatches(databases), context);
    return { databases, key, generation, batchesKey };
  });
}

/**
 * Does a part of a run that fails the whole of it where it fails.
 *
 * @throws What the work throws, when the elapse has been told of it.
 */
async function withinRun<T>(
  context: RoundsContext,
  run: RunOfElapse,
  { publish }: RoundsOptions,
  work: () => Promise<T>,
): Promise<T> {
  const startedAt = context.now();
  try {
    return await work();
  } catch (error) {
    const lastWords = { ...context, signal: AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS) };
    try {
      if (context.stop.aborted || context.signal.aborted) await release(lastWords, run);
      else {
        const report = await failRun(lastWords, run, { error, startedAt });
        await publish?.({ ...report, ...scheduledOf(run) });
      }
    } catch (failure) {
      context.log.warn("elapse could not be told that its run has failed", { error: describeError(failure) });
    }
    throw error;
  }
}

function scheduledOf({ task, elapse, generation }: RunOfElapse): { scheduled?: { task: string; elapse: string }[] } {
  return generation === undefined ? {} : { scheduled: [{ task: task.name, elapse: elapse.toISOString() }] };
}

async function release(context: SummaryContext, run: RunOfElapse): Promise<void> {
  if (run.generation !== undefined) {
    await releaseLease(context, { ...run, run: runOf(run), generation: run.generation });
  }
}

/** Notes that a run failed as a whole: the elapse has failed, and is tried again. Returns what there is to publish. */
async function failRun(
  context: SummaryContext,
  run: RunOfElapse,
  { error, startedAt }: { error: unknown; startedAt: Date },
): Promise<RunReport> {
  const report = reportFailure({ ...context, run: runOf(run) }, run, { error, startedAt });
  const folder = folderOf(context, run);
  const earlier = withoutUnselected(await readEarlier(folder, context), run);
  const settled = settle(run, { report, earlier, generation: run.generation, now: context.now(), error });
  try {
    await endRun(context, run, settled);
  } catch (failure) {
    context.log.warn("elapse could not be told that its run has failed", { error: describeError(failure) });
  }
  if (settled.kind === "failed") await noteRefusal(folder, error, { ...context, ...run, until: settled.retryAt });
  return { ...settled.report, started_at: report.started_at };
}

/** Makes sure that the elapse is this run's. */
async function enter(context: RoundsContext, run: RunOfElapse, host: string): Promise<number | undefined> {
  const leased = { ...run, run: runOf(run) };
  const { generation } = run;
  if (generation === undefined) return await joinOrTake(context, leased, host);
  if (await isLeaseLost(context, { ...leased, generation })) {
    throw new UsageError(`Run ${generation} has lost the elapse: another run has taken it over`);
  }
  await renewLease(context, { ...leased, generation });
  return generation;
}

/** How the runs of an elapse before this one came out together. */
async function readEarlier(folder: RunFolder, context: SummaryContext): Promise<RunReport | undefined> {
  const { found, problem } = await ifInReach(readStored(folder, context));
  if (problem !== undefined) logUnread(context.log, problem);
  return found;
}

async function readStored(folder: RunFolder, context: SummaryContext): Promise<RunReport | undefined> {
  return await folder.readReport(context) ?? (await folder.readNewestGeneration(context))?.report;
}

async function selectAll(context: RoundsContext, run: RunOfElapse): Promise<string[]> {
  const { couch, repository, signal } = context;
  const listed = await couch.listDatabases({ signal });
  const selection = selectFor(run, listed);
  for (const warning of selection.warnings) context.log.warn("selection", { warning });
  if (isEmptyByMistake(selection)) {
    throw new UsageError(`Task "${run.task.name}" selects no database`, {
      hint: "Correct its patterns, or set allow_empty: true if that is expected",
    });
  }
  const noticed: Pick<TaskReport, "warnings" | "unlisted"> = {};
  await missUnlisted(context, selection, noticed);
  const { warnings, unlisted } = noticed;
  if (warnings !== undefined && unlisted !== undefined) {
    await folderOf(context, run).storeWarnings({ warnings, unlisted }, context);
  }
  const databases = selectedNames(selection);
  const finishedAt = context.now().toISOString();
  await storeLastRun(repository, run.task.name, { run: runOf(run), finished_at: finishedAt, databases, signal });
  return databases;
}

function selectedNames({ databases }: TaskSelection): string[] {
  return databases.map(({ database }) => database);
}

/**
 * Does the whole run in one call: the plan, every database, the summary.
 *
 * @throws The reason of `context.stop` or `context.signal` when there was no time for all; called again for the same
 * run it goes on.
 */
export async function runAtOnce(
  context: RoundsContext,
  run: RunOfElapse,
  options: RoundsOptions = {},
): Promise<RunReport> {
  const { databases, generation } = await planRun(context, run, options);
  const entered = { ...run, generation };
  if (databases.length > 0) {
    const selections = [{ ...selectFor(run, databases), warnings: [], listed: undefined }];
    const report = await withinRun(context, entered, options, async () => {
      return await backup({ ...context, run: runOf(run) }, selections, await resuming(context, entered));
    });
    const folder = folderOf(context, run);
    const store = (outcome: DatabaseReport) => folder.storeOutcome(outcome, context);
    const outcomes = report.tasks.flatMap((task) => task.databases);
    await forEachParallel(() => outcomes, store, { limit: CALLS_AT_ONCE, signal: context.signal });
  }
  return await summariseRun(context, entered, options);
}

/**
 * Puts the outcomes of all planned databases together with what earlier runs of the elapse saved, and stores that: as
 * the report where the elapse is over, else as the outcome of this generation. A database of which no round came to an
 * end counts as failed.
 *
 * @throws StoreError with code `not_found` when there is no plan.
 */
export async function summariseRun(
  context: SummaryContext,
  run: RunOfElapse,
  { publish, brokenOff }: RoundsOptions = {},
): Promise<RunReport> {
  const { task, elapse, scope, generation } = run;
  if (brokenOff !== undefined) context.log.error("databases were not gone through to the end", { why: brokenOff });
  const folder = folderOf(context, run);
  const { databases, plannedAt } = await folder.readPlan({ scope, generation: generation ?? 1 }, context);
  const date = dateInPath(task, elapse);
  const reports = new Map<string, DatabaseReport>();
  const readOutcome = async (database: string) => {
    const outcome = await folder.readOutcome(database, context);
    reports.set(database, outcome ?? { ...failure({ context, task, date, database }, noEnd(brokenOff)), seconds: 0 });
  };
  await forEachParallel(() => databases, readOutcome, { limit: CALLS_AT_ONCE, signal: context.signal });
  const ofTask: TaskReport = {
    task: task.name,
    date: formatIsoDate(date),
    databases: [...reports.values()],
    ...await folder.readWarnings(context),
  };
  const report: RunReport = {
    ok: isTaskSaved(ofTask),
    run: runOf(run),
    started_at: plannedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks: [ofTask],
  };
  const earlier = withoutUnselected(await readEarlier(folder, context), run);
  const now = context.now();
  const settled = settle(run, {
    report,
    earlier,
    generation: generation ?? 1,
    now,
    retryAt: await stopEnds(folder, context),
  });
  for (const one of settled.report.tasks) one.databases.sort((a, b) => a.database < b.database ? -1 : 1);
  await endRun(context, run, settled);
  await publish?.({ ...settled.report, started_at: report.started_at, ...scheduledOf(run) });
  await noteTold(context, task, settled.report);
  return settled.report;
}

/** Stores what has become of the elapse; not where another run has taken it over, whose report counts. */
async function endRun(context: SummaryContext, run: RunOfElapse, settled: Settlement): Promise<void> {
  const { task, elapse, generation } = run;
  const { log } = context;
  const lease = generation === undefined ? undefined : { ...run, run: runOf(run), generation };
  if (lease !== undefined && await isLeaseLost(context, lease)) {
    return log.warn("report is not stored: another run has taken the elapse over");
  }
  const { report } = settled;
  if (lease === undefined || settled.kind === "over") await folderOf(context, run).storeReport(report, context);
  else await failLease(context, lease, settled);
  if (report.tasks.every((one) => !isWorthRetrying(one))) await noteElapseSaved(context, { task, elapse }, report);
  else {
    const retryAt = settled.kind === "failed" ? settled.retryAt : undefined;
    const event = retryAt === undefined
      ? "elapse is over, and not all of it is saved"
      : "elapse is not saved, and is tried again";
    log.error(event, { task: task.name, elapse, ...describeFailed(report), generation, retryAt });
  }
}

/** When somebody may try again where every try was refused. */
async function stopEnds(folder: RunFolder, context: SummaryContext): Promise<Date | undefined> {
  const stop = await folder.readStop(context);
  return stop !== undefined && Date.parse(stop.until) > context.now().getTime() ? new Date(stop.until) : undefined;
}

function noEnd(why: string | undefined): UsageError {
  const reason = why === undefined ? "" : `: ${why}`;
  return new UsageError(`None of its rounds finished${reason}`, { hint: "See the history of the execution" });
}

/** Says that what was refused, or was not there, is so no more. */
async function liftStop(folder: RunFolder, context: SummaryContext): Promise<void> {
  const stop = await folder.readStop(context);
  const now = context.now().toISOString();
  if (stop !== undefined && stop.until > now) await folder.storeStop({ ...stop, until: now }, context);
}
