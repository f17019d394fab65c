/**
 * When a task is due: in go a task of the config and an instant, out come the elapses of its schedule before and after,
 * and the zone in which its days begin. A task without a schedule is never due by itself.
 */
import { elapses, previousElapse } from "../calendar/calendar.ts";
import { localZone } from "./local_zone.ts";
import type { Task } from "./task.ts";

/** The zone that a task's schedule is read in: the expression's own, else the task's, else the machine's. */
export function scheduleZone(task: Task): string {
  return task.calendar?.timeZone ?? task.timezone ?? localZone(task.tz);
}

/** The zone of the date in the paths: the task's, else that of its schedule. */
export function dateZone(task: Task): string {
  return task.timezone ?? scheduleZone(task);
}

/** The latest elapse at or before `at`; undefined when there was none, or the task has no schedule. */
export function latestElapse(task: Task, at: Date): Date | undefined {
  return task.calendar === undefined ? undefined : previousElapse(task.calendar, at, scheduleZone(task));
}

/** The first `count` elapses after `after`, exclusively; fewer where the schedule comes to an end. */
export function nextElapses(task: Task, { after, count }: { after: Date; count: number }): Date[] {
  return task.calendar === undefined ? [] : [...elapses(task.calendar, after, scheduleZone(task)).take(count)];
}

/** A sentence about a schedule that has no elapse after `after`; undefined where it has one, or there is none. */
export function explainEnd(task: Task, after: Date): string | undefined {
  if (task.calendar === undefined || nextElapses(task, { after, count: 1 }).length > 0) return undefined;
  const once = latestElapse(task, after) === undefined ? "" : "once its last time is saved, ";
  return `schedule "${task.cron}" never comes again after ${after.toISOString()}: ${once}nothing starts the task by itself`;
}
