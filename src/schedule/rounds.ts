/**
 * A run cut into rounds, for callers whose calls may not take long, such as the state machine of
 * a Lambda does: a plan, then rounds of each database until it is done, then a summary. In: a task's elapse, and which
 * step is wanted. Out: the step's result, to be passed to the next one; everything else lies in the run's folder.
 */
import { counted } from "../counts.ts";
import { backup } from "../commands/backup/backup.ts";
import type { BackupOptions, RunContext } from "../commands/backup/context.ts";
import { describerFor, type Task } from "../task/task.ts";
import { type BackupDate, formatDate } from "../dates.ts";
import { missUnlisted } from "../commands/backup/unlisted.ts";
import { describeError, exitCodeOf, hintOf, isFatalForRun, isNotFound, isTransient, UsageError } from "../errors.ts";
import { storeLastRun } from "../archive/last_run.ts";
import { checkpointName, runFolder, shortRun } from "../archive/layout.ts";
import { readCheckpoint } from "../archive/read.ts";
import { sumChunks } from "../archive/manifest.ts";
import { forEachParallel } from "../parallel.ts";
import {
  type DatabaseReport,
  isTaskSaved,
  isWorthRetrying,
  type RunReport,
  type TaskReport,
} from "../archive/report.ts";
import { type PlanScope, RunFolder, type Stop } from "../archive/run_folder.ts";
import { RoundsBrake } from "./brake.ts";
import { readEarlierRuns } from "./elapse.ts";
import { failLease, isLeaseLost, joinOrTake, releaseLease, renewLease, renewLeaseForRound } from "./lease.ts";
import { databasesToRetry, describeFailed, settle, type Settlement } from "./retry.ts";
import { noteElapseSaved, reportFailure, withoutUnselected } from "./run_elapse.ts";
import { dateInPath, isEmptyByMistake, selectTasks, type TaskSelection } from "../task/selection.ts";

/** What every call works with; the run's id follows from task and elapse. */
export type RoundsContext = Omit<RunContext, "run">;

/** What needs no CouchDB works with. */
export type SummaryContext = Omit<RoundsContext, "couch">;

/** The run that a call is part of. */
export interface RunOfElapse {
  task: Task;
  /** When the schedule fired; it fixes the run's folder, its id and the date in the paths. */
  elapse: Date;
  scope: PlanScope;
  /**
   * Which run of the elapse it is, from 1. Undefined: the plan finds out; a round or a summary of such a run neither
   * shows that it lives nor ends the elapse, and amends what is stored.
   */
  generation?: number | undefined;
}

/** Who does the work, and who hears how it came out. */
export interface RoundsOptions {
  /** The machine that a claim names. @default "rounds" */
  host?: string | undefined;
  /**
   * Is given the report of a run that is over, or failed as a whole; `started_at` is that of this run, not of the
   * first.
   */
  publish?: ((report: RunReport) => Promise<void>) | undefined;
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

/** How far a round has brought a database. */
export interface Round {
  /** `unfinished`: there was no time for more, and the next round goes on. */
  status: DatabaseReport["status"] | "unfinished";
  /** For the next round; null when there need be none. */
  cursor: string | null;
  /** Why the database has failed; null when it has not. */
  error: string | null;
  /** Whether the database has not changed since the backup before, so that nobody needs to wait behind it. */
  unchanged: boolean;
}

const CALLS_AT_ONCE = 16;
/** For what is left to do once the call's own signals are aborted. */
const LAST_WORDS_TIMEOUT_MS = 5_000;

/** The id of the run of an elapse, the same in every call: by it a round knows what an earlier one has left. */
export function runOf({ task, elapse }: Pick<RunOfElapse, "task" | "elapse">): string {
  return runFolder({ prefix: "", suffix: "", task: task.name, elapse }).split("/").slice(-2).join("/");
}

/** The folder of the run of an elapse. */
export function folderOf(
  context: Pick<RoundsContext, "repository">,
  { task, elapse }: Pick<RunOfElapse, "task" | "elapse">,
): RunFolder {
  return new RunFolder(context.repository, { task: task.name, elapse });
}

/**
 * Finds out what there is to do, and stores it in the run's folder: all that the task selects, or what earlier runs of
 * the elapse did not save. An elapse that nobody has claimed yet is claimed.
 *
 * @throws UsageError when the task selects nothing and may not, when the failed databases are asked for of a run that
 * has no report, or when another machine's run has the elapse.
 */
export async function planRun(
  context: RoundsContext,
  run: RunOfElapse,
  options: RoundsOptions = {},
): Promise<PlannedRun> {
  const folder = folderOf(context, run);
  const earlier = await readEarlier(folder, context);
  if (run.scope === "failed" && earlier === undefined) {
    throw new UsageError("The databases that failed are unknown: the run has no report", {
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
        await publish?.(report);
      }
    } catch (failure) {
      context.log.warn("elapse could not be told that its run has failed", { error: describeError(failure) });
    }
    throw error;
  }
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
  if (settled.kind === "failed" && isFatalForRun(error)) {
    await folder.storeStop(stopFor(error, { ...run, until: settled.retryAt }, context), context);
  }
  await endRun(context, run, settled);
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
  return await folder.readReport(context) ?? (await folder.readNewestGeneration(context))?.report;
}

async function selectAll(context: RoundsContext, run: RunOfElapse): Promise<string[]> {
  const listed = await context.couch.listDatabases(context);
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
  const { repository, signal } = context;
  await storeLastRun(repository, run.task.name, { run: runOf(run), finished_at: finishedAt, databases, signal });
  return databases;
}

function selectedNames({ databases }: TaskSelection): string[] {
  return databases.map(({ database }) => database);
}

/**
 * Backs up one database, as far as `context.stop` lets it.
 *
 * @param round `cursor` is what the round before returned, null for the first. `hasWholeCall`: false where others have
 * had a part of the call's time, so that it proves nothing when no chunk comes of it.
 * @throws What may heal by itself: the same round can be tried again.
 */
export async function backupRound(
  context: RoundsContext,
  run: RunOfElapse,
  { database, cursor, hasWholeCall = true }: { database: string; cursor: string | null; hasWholeCall?: boolean },
): Promise<Round> {
  const selection = selectFor(run, [database]);
  if (selection.databases.length === 0) {
    throw new UsageError(`Task "${run.task.name}" does not select the database "${database}"`);
  }
  const { generation } = run;
  const lease = generation === undefined ? undefined : { ...run, run: runOf(run), generation };
  const bookkeeping = { ...context, signal: AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS) };
  if (lease !== undefined) {
    if (await isLeaseLost(bookkeeping, lease)) {
      return { status: "failed", cursor: null, error: "Another run has taken the elapse over", unchanged: false };
    }
    await renewLeaseForRound(bookkeeping, lease);
  }
  const address = { context, task: run.task, date: selection.date, database };
  const startedAt = context.now();
  const brake = new RoundsBrake(folderOf(context, run), run.task, context.now);
  const refused = await brake.read();
  if (refused !== undefined) {
    const outcome = { ...failure(address, undefined), seconds: 0, error: refused.why, exit_code: refused.exit_code };
    return await endRound(context, run, outcome);
  }
  let outcome: DatabaseReport;
  try {
    // The task's other patterns match nothing here; that is no cause for a warning.
    const selections = [{ ...selection, warnings: [], listed: undefined }];
    const options = { ...await resuming(context, run), isOneOfMany: true };
    const report = await backup({ ...context, run: runOf(run) }, selections, options);
    outcome = report.tasks[0]!.databases[0]!;
  } catch (error) {
    const isInterrupted = context.stop.aborted || context.signal.aborted;
    const chunks = isInterrupted ? await countChunks(address, runOf(run)) : 0;
    if (chunks > Number(cursor ?? 0)) {
      return { status: "unfinished", cursor: String(chunks), error: null, unchanged: false };
    }
    if (isInterrupted && !hasWholeCall) {
      return { status: "unfinished", cursor: String(chunks), error: null, unchanged: false };
    }
    // A CouchDB that is silent uses up the time of the call: that is what there is to tell, not how large a chunk is.
    const { trouble } = context.couch;
    const met = isInterrupted ? trouble?.error : error;
    if (isTransient(met) && !await brake.pull(met, trouble?.forMs)) throw met;
    if (isFatalForRun(met)) await brake.pull(met);
    const seconds = (context.now().getTime() - startedAt.getTime()) / 1000;
    outcome = { ...failure(address, met ?? noProgress(run.task)), seconds };
    context.log.error("database is not backed up", { database, error: outcome.error, hint: outcome.hint });
  }
  if (outcome.status !== "failed") await brake.release();
  return await endRound(context, run, outcome);
}

/** Notes that a database is not saved, where no round of it could say so. */
export async function failDatabase(
  context: RoundsContext,
  run: RunOfElapse,
  { database, why }: { database: string; why: string },
): Promise<void> {
  const address = { context, task: run.task, date: dateInPath(run.task, run.elapse), database };
  const outcome: DatabaseReport = { ...failure(address, new UsageError(why)), seconds: 0 };
  context.log.error("database is not backed up", { database, error: outcome.error });
  await endRound(context, run, outcome);
}

async function endRound(context: RoundsContext, run: RunOfElapse, outcome: DatabaseReport): Promise<Round> {
  await folderOf(context, run).storeOutcome(outcome, { signal: AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS) });
  const { status, error = null, unchanged = false } = outcome;
  return { status, cursor: null, error, unchanged };
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
    await forEachParallel(() => each(outcomes), store, { limit: CALLS_AT_ONCE, signal: context.signal });
  }
  return await summariseRun(context, entered, options);
}

/** Only what runs of this elapse have left counts: another one's backup of the same day is another one's. */
async function resuming(context: RoundsContext, run: RunOfElapse): Promise<BackupOptions> {
  const { repository, signal } = context;
  const folder = repository.runFolder({ task: run.task.name, elapse: run.elapse });
  const earlier = await readEarlierRuns(repository.store, { folder, generation: run.generation ?? 1 }, { signal });
  return { resume: true, resumeRuns: earlier.add(runOf(run)) };
}

/** How many chunks the run has stored of a database. The call's own time is over by now. */
async function countChunks({ context, date, database }: BackupOf, run: string): Promise<number> {
  const { repository } = context;
  const signal = AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS);
  try {
    const folder = repository.backupFolder({ date, database });
    const name = checkpointName(shortRun(run));
    const checkpoint = await readCheckpoint(repository.store, folder, { name, signal });
    return checkpoint.run === run ? checkpoint.chunks.length : 0;
  } catch (error) {
    if (isNotFound(error)) return 0;
    throw error;
  }
}

function noProgress({ chunk, chunkBytes }: Task): UsageError {
  const bounds = [
    ...chunk === undefined ? [] : [counted(chunk, "document")],
    ...chunkBytes === undefined ? [] : [counted(chunkBytes, "byte")],
  ];
  const size = bounds.length === 0 ? "all documents in one request" : `at most ${bounds.join(" and ")} a request`;
  const lower = chunkBytes === undefined
    ? `Set the task's chunk${chunk === undefined ? " or chunk_bytes" : " lower, or chunk_bytes"}`
    : `Set the task's chunk_bytes${chunk === undefined ? "" : " or chunk"} lower`;
  return new UsageError(`Cannot finish a single chunk within the time of one call, with ${size}`, {
    hint: `${lower}, or give the function more memory`,
  });
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
  await forEachParallel(() => each(databases), readOutcome, { limit: CALLS_AT_ONCE, signal: context.signal });
  const ofTask: TaskReport = {
    task: task.name,
    date: formatDate(date).replaceAll("/", "-"),
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
  await publish?.({ ...settled.report, started_at: report.started_at });
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

async function* each<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}

function noEnd(why: string | undefined): UsageError {
  const reason = why === undefined ? "" : `: ${why}`;
  return new UsageError(`None of its rounds finished${reason}`, { hint: "See the history of the execution" });
}

function selectFor({ task, elapse }: RunOfElapse, names: readonly string[]): TaskSelection {
  return selectTasks(names, [task], { startedAt: elapse })[0]!;
}

/** Says that what was refused, or was not there, is so no more. */
async function liftStop(folder: RunFolder, context: SummaryContext): Promise<void> {
  const stop = await folder.readStop(context);
  const now = context.now().toISOString();
  if (stop !== undefined && stop.until > now) await folder.storeStop({ ...stop, until: now }, context);
}

function stopFor(
  error: unknown,
  { task, until }: Pick<RunOfElapse, "task"> & { until: Date },
  { now }: SummaryContext,
): Stop {
  const since = now().toISOString();
  return { until: until.toISOString(), why: describerFor(task)(error), exit_code: exitCodeOf(error), since };
}

/** Where a database's backup goes. */
interface BackupOf {
  context: SummaryContext;
  task: Task;
  date: BackupDate;
  database: string;
}

/** The report of a database of which nothing is saved, for all that is known. */
function failure({ context, task, date, database }: BackupOf, error: unknown): Omit<DatabaseReport, "seconds"> {
  const hint = hintOf(error);
  return {
    database,
    status: "failed",
    ...sumChunks([]),
    path: context.repository.locate(context.repository.backupFolder({ date, database })),
    error: describerFor(task)(error),
    ...hint === undefined ? {} : { hint },
    exit_code: exitCodeOf(error),
  };
}
