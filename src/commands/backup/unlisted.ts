/**
 * A database of the task's last run that CouchDB does not list any more: deleted, or kept by a node that is away. In: a
 * run's selection of a whole task. Out: a warning in its report; and what this run had, for the next one.
 */
import { describeUnlisted, findUnlisted, storeLastRun } from "../../archive/last_run.ts";
import { isWorthRetrying, type TaskReport } from "../../archive/report.ts";
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
    log.warn("what the last run had is not known", { error: describeError(error) });
    return;
  }
  if (unlisted.length === 0) return;
  report.unlisted = unlisted;
  report.warnings = [describeUnlisted(unlisted)];
  log.warn("databases of the last run are not listed any more", { databases: unlisted });
}

/** Keeps what this run had; not where only a part of a task was run. */
export async function rememberRun(
  { repository, run, log, signal, now }: Pick<Run, "repository" | "run" | "log" | "signal" | "now">,
  { task, databases, listed }: Pick<TaskSelection, "task" | "databases" | "listed">,
  { report, startedAt }: { report: TaskReport; startedAt: Date },
): Promise<void> {
  // A task that selects nothing by mistake has an error: what it had before is what is missed the next time.
  if (listed === undefined || report.error !== undefined) return;
  try {
    await storeLastRun(repository, task.name, {
      run,
      finished_at: now().toISOString(),
      databases: databases.map(({ database }) => database),
      saved_until: isWorthRetrying(report) ? undefined : startedAt.toISOString(),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    log.warn("what this run had is not remembered", { error: describeError(error) });
  }
}
