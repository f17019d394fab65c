/**
 * A run cut into rounds, for somebody who calls again and again because no call may take long, as the state machine of
 * a Lambda does: a plan, then rounds of each database until it is done, then a summary. In: a task's elapse, and which
 * step is asked for. Out: what the step found, to be handed to the next one; all else lies in the run's folder.
 */
import { backup } from "../commands/backup/backup.ts";
import type { BackupOptions, RunContext } from "../commands/backup/context.ts";
import type { Task } from "../task/task.ts";
import { type BackupDate, formatDate } from "../dates.ts";
import { describeError, exitCodeOf, hintOf, isNotFound, isTransient, UsageError } from "../errors.ts";
import { runFolder } from "../archive/layout.ts";
import { readCheckpoint } from "../archive/read.ts";
import { sumChunks } from "../archive/manifest.ts";
import { forEachParallel } from "../parallel.ts";
import type { DatabaseReport, RunReport } from "../archive/report.ts";
import { type PlanScope, RunFolder } from "../archive/run_folder.ts";
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
}

/** How far a round has brought a database. */
export interface Round {
  /** `unfinished`: there was no time for more, and the next round goes on. */
  status: DatabaseReport["status"] | "unfinished";
  /** For the next round; null when there need be none. */
  cursor: string | null;
  /** Why the database has failed; null when it has not. */
  error: string | null;
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
 * Finds out what there is to do, and stores it in the run's folder.
 *
 * @returns What is to be backed up, and the key of the stored plan.
 * @throws UsageError when the task selects nothing and may not, or when the failed databases are asked for of a run that
 * has no report.
 */
export async function planRun(
  context: RoundsContext,
  run: RunOfElapse,
): Promise<{ databases: string[]; key: string }> {
  const selection = selectFor(run, await context.couch.listDatabases(context));
  for (const warning of selection.warnings) context.log.warn("selection", { warning });
  if (isEmptyByMistake(selection)) {
    throw new UsageError(`Task "${run.task.name}" selects no database`, {
      hint: "Correct its patterns, or set allow_empty: true if that is expected",
    });
  }
  const folder = folderOf(context, run);
  const selected = selection.databases.map(({ database }) => database);
  const databases = run.scope === "all" ? selected : await keepFailed(selected, folder, context);
  return { databases, key: await folder.storePlan(run.scope, databases, context) };
}

async function keepFailed(databases: string[], folder: RunFolder, context: RoundsContext): Promise<string[]> {
  const report = await folder.readReport(context);
  if (report === undefined) {
    throw new UsageError("Cannot tell which databases failed: the run has no report", {
      hint: "Run all databases; those that are complete are passed over",
    });
  }
  const reports = report.tasks.flatMap((task) => task.databases);
  const failed = new Set(reports.filter(({ status }) => status === "failed").map(({ database }) => database));
  return databases.filter((database) => failed.has(database));
}

/**
 * Backs up one database, as far as `context.stop` lets it.
 *
 * @param round `cursor` is what the round before returned, null for the first.
 * @throws What may heal by itself: the same round can be tried again.
 */
export async function backupRound(
  context: RoundsContext,
  run: RunOfElapse,
  { database, cursor }: { database: string; cursor: string | null },
): Promise<Round> {
  const selection = selectFor(run, [database]);
  if (selection.databases.length === 0) {
    throw new UsageError(`Task "${run.task.name}" does not select the database "${database}"`);
  }
  const address = { context, date: selection.date, database };
  const startedAt = context.now();
  let outcome: DatabaseReport;
  try {
    // The task's other patterns match nothing here; that is no cause for a warning.
    const selections = [{ ...selection, warnings: [] }];
    const report = await backup({ ...context, run: runOf(run) }, selections, resuming(run));
    outcome = report.tasks[0]!.databases[0]!;
  } catch (error) {
    const isInterrupted = context.stop.aborted || context.signal.aborted;
    const chunks = isInterrupted ? await countChunks(address, runOf(run)) : 0;
    if (chunks > Number(cursor ?? 0)) return { status: "unfinished", cursor: String(chunks), error: null };
    if (!isInterrupted && isTransient(error)) throw error;
    const seconds = (context.now().getTime() - startedAt.getTime()) / 1000;
    outcome = { ...failure(address, isInterrupted ? noProgress(run.task) : error), seconds };
    context.log.error("database is not backed up", { database, error: outcome.error, hint: outcome.hint });
  }
  await folderOf(context, run).storeOutcome(outcome, { signal: AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS) });
  return { status: outcome.status, cursor: null, error: outcome.error ?? null };
}

/**
 * Does the whole run in one call: the plan, every database, the summary.
 *
 * @throws The reason of `context.stop` or `context.signal` when there was no time for all; called again for the same run
 * it goes on.
 */
export async function runAtOnce(context: RoundsContext, run: RunOfElapse): Promise<RunReport> {
  const { databases } = await planRun(context, run);
  if (databases.length > 0) {
    const selections = [{ ...selectFor(run, databases), warnings: [] }];
    const report = await backup({ ...context, run: runOf(run) }, selections, resuming(run));
    const folder = folderOf(context, run);
    const store = (outcome: DatabaseReport) => folder.storeOutcome(outcome, context);
    const outcomes = report.tasks.flatMap((task) => task.databases);
    await forEachParallel(() => each(outcomes), store, { limit: CALLS_AT_ONCE, signal: context.signal });
  }
  return await summariseRun(context, run);
}

/** Only what this very run has left counts: another one's backup of the same day is another one's. */
function resuming(run: RunOfElapse): BackupOptions {
  return { resume: true, resumeRuns: new Set([runOf(run)]) };
}

/** How many chunks the run has stored of a database. The call's own time is over by now. */
async function countChunks({ context, date, database }: BackupOf, run: string): Promise<number> {
  const { repository } = context;
  const signal = AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS);
  try {
    const folder = repository.backupFolder({ date, database });
    const checkpoint = await readCheckpoint(repository.store, folder, { signal });
    return checkpoint.run === run ? checkpoint.chunks.length : 0;
  } catch (error) {
    if (isNotFound(error)) return 0;
    throw error;
  }
}

function noProgress({ chunk }: Task): UsageError {
  const size = chunk === undefined ? "all documents in one request" : `${chunk} documents a request`;
  return new UsageError(`Cannot finish a single chunk within the time of one call, with ${size}`, {
    hint: `Set the task's chunk${chunk === undefined ? "" : " lower"}, or give the function more memory`,
  });
}

/**
 * Puts the outcomes of all planned databases together, and stores the report. A database of which no round came to an end
 * counts as failed. After a run for the failed databases the report is that of all, with theirs replaced.
 *
 * @throws StoreError with code `not_found` when there is no plan.
 */
export async function summariseRun(context: SummaryContext, run: RunOfElapse): Promise<RunReport> {
  const folder = folderOf(context, run);
  const { databases, plannedAt } = await folder.readPlan(run.scope, context);
  const date = dateInPath(run.task, run.elapse);
  const earlier = run.scope === "failed" ? await folder.readReport(context) : undefined;
  const reports = new Map<string, DatabaseReport>();
  for (const one of earlier?.tasks.flatMap((task) => task.databases) ?? []) reports.set(one.database, one);
  const readOutcome = async (database: string) => {
    const outcome = await folder.readOutcome(database, context);
    reports.set(database, outcome ?? { ...failure({ context, date, database }, noEnd()), seconds: 0 });
  };
  await forEachParallel(() => each(databases), readOutcome, { limit: CALLS_AT_ONCE, signal: context.signal });
  const all = [...reports.values()].sort((a, b) => a.database < b.database ? -1 : 1);
  const report: RunReport = {
    ok: all.every(({ status }) => status !== "failed"),
    run: runOf(run),
    started_at: earlier?.started_at ?? plannedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks: [{ task: run.task.name, date: formatDate(date).replaceAll("/", "-"), databases: all }],
  };
  await folder.storeReport(report, context);
  return report;
}

async function* each<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}

function noEnd(): UsageError {
  return new UsageError("No round of it came to an end", { hint: "The history of the execution says why" });
}

function selectFor({ task, elapse }: RunOfElapse, names: readonly string[]): TaskSelection {
  return selectTasks(names, [task], { startedAt: elapse })[0]!;
}

/** Where a database's backup goes. */
interface BackupOf {
  context: SummaryContext;
  date: BackupDate;
  database: string;
}

/** The report of a database of which nothing is saved, for all that is known. */
function failure({ context, date, database }: BackupOf, error: unknown): Omit<DatabaseReport, "seconds"> {
  const hint = hintOf(error);
  return {
    database,
    status: "failed",
    ...sumChunks([]),
    path: context.repository.locate(context.repository.backupFolder({ date, database })),
    error: describeError(error),
    ...hint === undefined ? {} : { hint },
    exit_code: exitCodeOf(error),
  };
}
