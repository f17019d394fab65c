/** Tasks of a config, invented for the tests of what is done with tasks. */
import { parseCalendar } from "../../src/calendar/calendar.ts";
import type { Task } from "../../src/task/task.ts";
import { testParallel } from "../test_parallel.ts";

/** A task with the config's defaults, unless `part` says otherwise. */
export function task(name: string, part: Partial<Task> = {}): Task {
  return {
    name,
    databases: [".*"],
    exclude: [],
    delaySeconds: 0,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    tombstones: false,
    parallel: testParallel(4),
    allowEmpty: false,
    calendar: part.cron === undefined ? undefined : parseCalendar(part.cron),
    ...part,
  };
}
