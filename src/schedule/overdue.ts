/**
 * How late backups are. In: the config's tasks and an instant. Out: the age of the oldest elapse, among the latest of each
 * task, whose run is not complete. An alarm on that number works for any schedule, the yearly one too.
 */
import type { Task } from "../task/task.ts";
import type { Repository } from "../archive/repository.ts";
import { RunFolder } from "../archive/run_folder.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { latestElapse } from "../task/times.ts";

const DAY_MS = 24 * 3600 * 1000;

/** Days since the latest elapse of the most overdue task, 0 when the latest run of each task has saved everything. */
export async function overdueDays(
  context: { repository: Repository; now: () => Date } & StoreCallOptions,
  tasks: readonly Task[],
): Promise<number> {
  let longestMs = 0;
  for (const task of tasks) {
    const elapse = latestElapse(task, context.now());
    if (elapse === undefined) continue;
    const report = await new RunFolder(context.repository, { task: task.name, elapse }).readReport(context);
    if (report?.ok !== true) longestMs = Math.max(longestMs, context.now().getTime() - elapse.getTime());
  }
  return Math.round(longestMs / DAY_MS * 100) / 100;
}
