/**
 * A manual repair: `backup --resume` of a task and a date whose elapse was not saved. In: the report of that run. Out:
 * the elapse's amended report; if all is saved now, the elapse is over and is not retried.
 */
import { isWorthRetrying, type RunReport, type TaskReport } from "../archive/report.ts";
import { RunFolder } from "../archive/run_folder.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { formatIsoDate } from "../dates.ts";
import { describeError, hintOf } from "../errors.ts";
import { dateInPath } from "../task/selection.ts";
import type { Task } from "../task/task.ts";
import { type Claim, CLAIM_TIMES, claimElapse } from "./claim.ts";
import { listElapses, nextGeneration, readElapse } from "./elapse.ts";
import { isElapseOf, settle } from "./retry.ts";
import { type DueTask, noteElapseSaved } from "./run_elapse.ts";

/** What an amendment works with. */
export type AmendContext = Pick<RunContext, "repository" | "log" | "run" | "now" | "signal"> & {
  host: string;
  pid: number;
};

/** What was run by hand. */
export interface RunByHand {
  tasks: readonly Task[];
  report: RunReport;
  /** Whether only databases that were named were run: then a list that could not be read stands as it was. */
  isPart: boolean;
}

/**
 * Amends the reports of the elapses that a run by hand has repaired. A failure of this is a warning.
 *
 * @returns The amended reports; their `started_at` is that of the run by hand.
 */
export async function amendElapses(context: AmendContext, byHand: RunByHand): Promise<RunReport[]> {
  const amended: RunReport[] = [];
  for (const part of byHand.report.tasks) {
    const task = byHand.tasks.find(({ name }) => name === part.task);
    if (task === undefined) continue;
    try {
      const elapse = await findRun(context, task, part.date);
      const report = elapse === undefined ? undefined : await amend(context, { task, elapse }, { ...byHand, part });
      if (report !== undefined) amended.push({ ...report, started_at: byHand.report.started_at });
    } catch (error) {
      context.signal.throwIfAborted();
      const facts = { task: part.task, error: describeError(error), hint: hintOf(error) };
      context.log.warn("report of the elapse is not amended", facts);
    }
  }
  return amended;
}

/**
 * The run of a task under a date that is amended: that of the latest elapse, as that one is retried until it is saved;
 * where it is saved the latest one, by hand or not. Undefined where none was ever run.
 */
async function findRun(context: AmendContext, task: Task, date: string): Promise<Date | undefined> {
  let latest: Date | undefined;
  let elapse: Date | undefined;
  for await (const instant of listElapses(context, task)) {
    if (formatIsoDate(dateInPath(task, instant)) !== date) continue;
    if (latest === undefined || instant > latest) latest = instant;
    if (isElapseOf(task, instant) && (elapse === undefined || instant > elapse)) elapse = instant;
  }
  if (elapse === undefined || elapse === latest) return latest;
  const report = await new RunFolder(context.repository, { task: task.name, elapse }).readReport(context);
  return report === undefined || report.tasks.some(isWorthRetrying) ? elapse : latest;
}

async function amend(
  context: AmendContext,
  due: DueTask,
  { report, part, isPart }: RunByHand & { part: TaskReport },
): Promise<RunReport | undefined> {
  const { repository, log, run, host, pid, now, signal } = context;
  const { task, elapse } = due;
  const folder = new RunFolder(repository, { task: task.name, elapse });
  const state = await readElapse(repository.store, folder.key, { signal });
  if (state.kind === "free") return undefined;
  const claim = state.kind === "stopped" || state.kind === "failed"
    ? await claimElapse(folder.key, {
      holder: { run, host, pid, started_at: report.started_at },
      generation: nextGeneration(state),
    }, { store: repository.store, log, now, signal, times: CLAIM_TIMES })
    : undefined;
  if (claim === undefined && state.kind !== "finished") {
    log.info("report of the elapse is not amended: a run of it is under way", { task: task.name, elapse });
    return undefined;
  }
  try {
    return await amendReport(context, due, { report, part, isPart, folder, claim });
  } finally {
    await claim?.[Symbol.asyncDispose]();
  }
}

async function amendReport(
  context: AmendContext,
  due: DueTask,
  { report, part, isPart, folder, claim }: Pick<RunByHand, "report" | "isPart"> & {
    part: TaskReport;
    folder: RunFolder;
    claim: Claim | undefined;
  },
): Promise<RunReport | undefined> {
  const { log, now, signal } = context;
  const { task, elapse } = due;
  const earlier = await folder.readReport({ signal }) ?? (await folder.readNewestGeneration({ signal }))?.report;
  if (claim !== undefined && earlier === undefined && isPart) {
    // What the interrupted run had still to save is not known: only a run of all databases can end its elapse.
    return undefined;
  }
  const ofTask = { ...report, tasks: [withError(part, { earlier, isPart })] };
  const settled = settle(due, { report: ofTask, earlier, generation: claim?.generation, now: now() });
  if (claim === undefined) await folder.storeReport(settled.report, { signal });
  else if (settled.kind === "over") await claim.finish(settled.report);
  else await claim.fail(settled.report, settled.retryAt);
  log.info("report of the elapse is amended", { task: task.name, elapse });
  if (!settled.report.tasks.some(isWorthRetrying)) await noteElapseSaved(context, due, settled.report);
  return settled.report;
}

/** A part of a task says nothing about a list of its databases that could not be read. */
function withError(
  part: TaskReport,
  { earlier, isPart }: { earlier: RunReport | undefined; isPart: boolean },
): TaskReport {
  const [before] = earlier?.tasks ?? [];
  if (!isPart || before?.error === undefined) return part;
  const { error, hint, exit_code } = before;
  return { ...part, error, ...hint === undefined ? {} : { hint }, ...exit_code === undefined ? {} : { exit_code } };
}
