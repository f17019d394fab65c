/**
 * Gives up elapses that are not saved when the next one comes, as the next one saves everything. In: a task
 * and its new elapse. Out: a report for each earlier elapse that was not finished, which says so.
 */
import type { RunReport } from "../archive/report.ts";
import type { Repository } from "../archive/repository.ts";
import { ifInReach, RunFolder } from "../archive/run_folder.ts";
import { formatIsoDate } from "../dates.ts";
import { describeError, EXIT } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { dateInPath } from "../task/selection.ts";
import { type ElapseState, listElapses, readElapse } from "./elapse.ts";
import { describeFailed, givenUp, hintForMissing, isElapseOf } from "./retry.ts";
import type { DueTask } from "./run_elapse.ts";

/**
 * How many earlier elapses of today's schedule are looked into, and how many earlier runs of any schedule, as the task
 * may have had another one. Elapses further back were given up when these began.
 */
const MOST_LOOKED_INTO = 4;

/**
 * Gives up the unfinished elapses before one that has just been claimed. Does nothing if the claimed moment is no
 * elapse of the schedule but that of a run by hand. A failure of this is a warning.
 */
export async function giveUpEarlier(
  context: { repository: Repository; log: Log; now: () => Date } & StoreCallOptions,
  next: DueTask,
): Promise<void> {
  const { repository, log, signal } = context;
  const { task } = next;
  if (!isElapseOf(task, next.elapse)) return;
  try {
    const all = await Array.fromAsync(listElapses(context, task));
    const before = all.filter((instant) => instant < next.elapse).sort((a, b) => b.getTime() - a.getTime());
    // Elapses of the schedule, found however many runs by hand there were in between.
    const elapses: Date[] = [];
    // One by one: a frequent schedule has left tens of thousands.
    for (const instant of before) {
      if (elapses.length >= MOST_LOOKED_INTO) break;
      if (isElapseOf(task, instant)) elapses.push(instant);
    }
    for (const elapse of new Set([...before.slice(0, MOST_LOOKED_INTO), ...elapses])) {
      const key = repository.runFolder({ task: task.name, elapse });
      const state = await readElapse(repository.store, key, { signal });
      if (state.kind !== "failed" && state.kind !== "stopped") continue;
      const folder = new RunFolder(repository, { task: task.name, elapse });
      const { found: outcome, problem } = await ifInReach(folder.readNewestGeneration({ signal }));
      const unknown = withoutOutcome({ task, elapse }, state, { ...context, problem });
      const report = givenUp(outcome?.report ?? unknown, next.elapse);
      await folder.storeReport(report, { signal });
      const facts = { ...describeFailed(report), next: next.elapse, hint: hintForMissing(report) };
      log.error("elapse is given up: the next one has come", { task: task.name, elapse, ...facts });
    }
  } catch (error) {
    signal?.throwIfAborted();
    log.warn("elapses before this one could not be looked into", { task: task.name, error: describeError(error) });
  }
}

/** The report of an elapse of which no run ever came to an end, or none whose outcome can be read. */
function withoutOutcome(
  { task, elapse }: DueTask,
  state: ElapseState & { kind: "failed" | "stopped" },
  { now, problem }: { now: () => Date; problem: unknown },
): RunReport {
  const [error, exit_code] = problem === undefined
    ? ["Its run was interrupted and not resumed", EXIT.interrupted] as const
    : [describeError(problem), EXIT.partial] as const;
  const date = formatIsoDate(dateInPath(task, elapse));
  return {
    ok: false,
    run: state.holder?.run ?? "unknown",
    started_at: state.holder?.started_at ?? elapse.toISOString(),
    finished_at: now().toISOString(),
    tasks: [{
      task: task.name,
      date,
      databases: [],
      error,
      exit_code,
    }],
  };
}
