/**
 * Finds databases of the task's last run that CouchDB no longer lists: deleted, or on a node that is away. In: a run's
 * selection of a whole task. Out: a warning in its report; and, once that is reported, the databases of this run, noted
 * for the next one.
 */
import { describeUnlisted, findUnlisted, storeLastRun } from "../../archive/last_run.ts";
import { foundLosses, isWorthRetrying, type TaskReport } from "../../archive/report.ts";
import { describeError } from "../../errors.ts";
import type { TaskSelection } from "../../task/selection.ts";
import type { Run } from "./context.ts";

/** Warns of databases that the last run had and that are not there any more; not where only a part of a task is run. */
export async function missUnlisted(
  { repository, log, signal }: Pick<Run, "repository" | "log" | "signal">,
  { task, listed }: Pick<TaskSelection, "task" | "listed">,
  report: Pick<TaskReport, "warnings" | "unlisted">,
): Promise<void> {
  if (listed === undefined) return;
  let unlisted: string[];
  try {
    unlisted = await findUnlisted(repository, task.name, { listed, signal });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    log.warn("the databases of the last run are unknown", { error: describeError(error) });
    return;
  }
  if (unlisted.length === 0) return;
  report.unlisted = unlisted;
  report.warnings = [describeUnlisted(unlisted)];
  log.warn("databases of the last run are not listed any more", { databases: unlisted });
}

/** A task that a run has come to the end of. */
export interface EndedTask {
  selection: TaskSelection;
  report: TaskReport;
  startedAt: Date;
}

/**
 * Keeps what a run had; not where only a part of a task was run. It is called when the report has been told: of a run
 * that is killed before, the next one must miss the same databases again.
 */
export async function rememberRun(
  context: Pick<Run, "repository" | "run" | "log" | "signal" | "now">,
  ended: readonly EndedTask[],
): Promise<void> {
  for (const task of ended) await rememberTask(context, task);
}

async function rememberTask(
  { repository, run, log, signal, now }: Pick<Run, "repository" | "run" | "log" | "signal" | "now">,
  { selection: { task, databases, listed }, report, startedAt }: EndedTask,
): Promise<void> {
  // A task that selects nothing by mistake has an error: what it had before is what is missed the next time.
  if (listed === undefined || report.error !== undefined) return;
  try {
    await storeLastRun(repository, task.name, {
      run,
      finished_at: now().toISOString(),
      databases: databases.map(({ database }) => database),
      saved_until: isWorthRetrying(report) ? undefined : startedAt.toISOString(),
      losses_told: foundLosses({ run, tasks: [report] }),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    log.warn("the databases of this run could not be noted", { error: describeError(error) });
  }
}
