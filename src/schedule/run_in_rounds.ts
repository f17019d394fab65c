/**
 * A run that is cut into rounds: whose it is, where it keeps what one round passes on to the next, and what it may resume.
 * In: a task and its elapse. Out: the run's id, its folder, and its selection.
 */
import { withGrace } from "../abort.ts";
import { runFolder } from "../archive/layout.ts";
import { sumChunks } from "../archive/manifest.ts";
import type { DatabaseReport } from "../archive/report.ts";
import { type PlanScope, RunFolder } from "../archive/run_folder.ts";
import type { BackupOptions, RunContext } from "../commands/backup/context.ts";
import type { BackupDate } from "../dates.ts";
import { exitCodeOf, hintOf } from "../errors.ts";
import { selectTasks, type TaskSelection } from "../task/selection.ts";
import { describerFor, type Task } from "../task/task.ts";
import { readEarlierRuns } from "./elapse.ts";

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

/** For what is left to do once the call's own signals are aborted. */
export const LAST_WORDS_TIMEOUT_MS: number = 5_000;

/**
 * Does what is short and is to be done whenever a call is at its end, a small object read or stored: as long as the call
 * has time a store that is busy is waited for, and a little longer.
 */
export async function withLastWords<T>(
  { signal }: { signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = withGrace(signal, LAST_WORDS_TIMEOUT_MS);
  try {
    return await work(late.signal);
  } finally {
    late.dispose();
  }
}

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

export function selectFor({ task, elapse }: RunOfElapse, names: readonly string[]): TaskSelection {
  return selectTasks(names, [task], { startedAt: elapse })[0]!;
}

/** Only what runs of this elapse have left counts: another one's backup of the same day is another one's. */
export async function resuming(context: RoundsContext, run: RunOfElapse): Promise<BackupOptions> {
  const { repository, signal } = context;
  const folder = repository.runFolder({ task: run.task.name, elapse: run.elapse });
  const earlier = await readEarlierRuns(repository.store, { folder, generation: run.generation ?? 1 }, { signal });
  return { resume: true, resumeRuns: earlier.add(runOf(run)) };
}

/** Where a database's backup goes. */
export interface BackupOf {
  context: SummaryContext;
  task: Task;
  date: BackupDate;
  database: string;
}

/** The report of a database of which nothing is saved, for all that is known. */
export function failure({ context, task, date, database }: BackupOf, error: unknown): Omit<DatabaseReport, "seconds"> {
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
