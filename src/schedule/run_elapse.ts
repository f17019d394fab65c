/**
 * One elapse, claimed and run. In: a task, its elapse and a claim on it. Out: the run's report, which is stored where the
 * elapse ends; where an earlier run of the same elapse stopped, it is resumed.
 */
import type { RunReport, TaskReport } from "../archive/report.ts";
import { backup } from "../commands/backup/backup.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { formatDate } from "../dates.ts";
import { describeError, exitCodeOf, hintOf, ProgramError } from "../errors.ts";
import { dateInPath, selectTasks } from "../task/selection.ts";
import type { Task } from "../task/task.ts";
import type { Claim } from "./claim.ts";

/** A task whose latest elapse has yet to be run, or resumed. */
export interface DueTask {
  task: Task;
  elapse: Date;
}

/** What has become of a claimed elapse; there is no report where another run has taken it over. */
export type ElapseRun = { outcome: "ran" | "resumed"; report: RunReport } | { outcome: "lost" };

/**
 * Runs a claimed elapse to its end, and ends the claim.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; the claim is released then.
 */
export async function runElapse(surroundings: RunContext, due: DueTask, claim: Claim): Promise<ElapseRun> {
  const { task, elapse } = due;
  const { stop, signal, now } = surroundings;
  const startedAt = now();
  const isResumed = claim.earlierRuns.size > 0;
  const log = surroundings.log.with({ task: task.name, elapse });
  log.info(isResumed ? "elapse is resumed" : "elapse is claimed");
  const context = { ...surroundings, log, signal: AbortSignal.any([signal, claim.lost]) };
  let report: RunReport;
  try {
    const names = await context.couch.listDatabases(context);
    const selections = selectTasks(names, [task], { startedAt: elapse });
    report = await backup(context, selections, { resume: isResumed, resumeRuns: claim.earlierRuns });
  } catch (error) {
    if (stop.aborted || signal.aborted) {
      await claim.release();
      throw signal.aborted ? signal.reason : stop.reason;
    }
    if (claim.lost.aborted) {
      log.warn("elapse is lost", { error: describeError(claim.lost.reason) });
      return { outcome: "lost" };
    }
    report = reportFailure(surroundings, due, { error, startedAt });
  }
  if (!report.ok) {
    const date = report.tasks[0]?.date;
    const hint = `backup --task "${task.name}" --date ${date} --resume saves what is missing`;
    log.warn("elapse is over without everything saved, and is not run again by itself", { hint });
  }
  try {
    await claim.finish(report);
  } catch (error) {
    // The backups are there all the same. Whoever takes the elapse over finds them complete and reports again.
    log.error("report could not be stored", { error: describeError(error) });
  }
  return { outcome: isResumed ? "resumed" : "ran", report };
}

/** The report of a run that could not even begin its task, which the log is told of. */
export function reportFailure(
  { log, run, now }: RunContext,
  { task, elapse }: DueTask,
  { error, startedAt = now() }: { error: unknown; startedAt?: Date },
): RunReport {
  const hint = hintOf(error);
  const stack = error instanceof ProgramError || !(error instanceof Error) ? undefined : error.stack;
  log.error("task is not run", { task: task.name, elapse, error: describeError(error), hint, stack });
  const failed: TaskReport = {
    task: task.name,
    date: formatDate(dateInPath(task, elapse)).replaceAll("/", "-"),
    databases: [],
    error: describeError(error),
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
