/**
 * How late backups are. In: the config's tasks and an instant. Out: since when the most overdue task has not
 * been saved: its first elapse that no run has saved. An alarm on that number works for any schedule, a yearly one
 * too; counted from the latest elapse, a daily task could fail for ever without it.
 */
import { DAY_MS } from "../dates.ts";
import { lastRunInReach } from "../archive/last_run.ts";
import { isWorthRetrying } from "../archive/report.ts";
import type { Repository } from "../archive/repository.ts";
import { ifInReach, RunFolder } from "../archive/run_folder.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { latestElapse, nextElapses } from "../task/times.ts";
import { listElapses } from "./elapse.ts";
import { isElapseOf } from "./retry.ts";

interface OverdueContext extends StoreCallOptions {
  repository: Repository;
  now: () => Date;
}

/** Days since the first elapse that is not saved of the task that is late the longest; 0 when all are saved. */
export async function overdueDays(context: OverdueContext, tasks: readonly Task[]): Promise<number> {
  let longestMs = 0;
  for (const task of tasks) {
    const since = await unsavedSince(context, task);
    if (since !== undefined) longestMs = Math.max(longestMs, context.now().getTime() - since.getTime());
  }
  return Math.round(longestMs / DAY_MS * 100) / 100;
}

/** The first elapse of a task that is not saved; undefined when there is none. */
async function unsavedSince({ repository, now, signal }: OverdueContext, task: Task): Promise<Date | undefined> {
  const latest = latestElapse(task, now());
  if (latest === undefined) return undefined;
  if (await isSaved({ repository, signal }, task, latest)) return undefined;
  const saved = (await lastRunInReach(repository, task.name, { signal }))?.saved_until;
  if (saved === undefined) return await firstTried({ repository, signal }, task, latest);
  const [first] = nextElapses(task, { after: new Date(saved), count: 1 });
  return first !== undefined && first <= now() ? first : undefined;
}

/**
 * The first elapse that is not saved of a task of which nobody has noted until when it is: it was never saved, or last
 * by a version that noted nothing. Else each new elapse of a new task that fails would hide those before it.
 */
async function firstTried(place: Omit<OverdueContext, "now">, task: Task, latest: Date): Promise<Date> {
  const tried: Date[] = [];
  for await (const instant of listElapses(place, task)) {
    // A run by hand has the moment at which it began.
    if (instant < latest && isElapseOf(task, instant)) tried.push(instant);
  }
  tried.sort((a, b) => a.getTime() - b.getTime());
  // Saved ones come first: a version that saves one again notes it.
  let [known, unknown] = [0, tried.length];
  while (known < unknown) {
    const middle = (known + unknown) >> 1;
    if (await isSaved(place, task, tried[middle]!)) known = middle + 1;
    else unknown = middle;
  }
  return tried[known] ?? latest;
}

async function isSaved(
  { repository, signal }: Omit<OverdueContext, "now">,
  task: Task,
  elapse: Date,
): Promise<boolean> {
  const folder = new RunFolder(repository, { task: task.name, elapse });
  // One that cannot be read is judged by what is noted.
  const { found: report } = await ifInReach(folder.readReport({ signal }));
  return report !== undefined && (report.ok || report.tasks.length > 0) && !report.tasks.some(isWorthRetrying);
}
