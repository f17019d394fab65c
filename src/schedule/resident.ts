/**
 * The resident scheduler: sleeps until a task is due and then has it run. In go the tasks and what runs the due ones;
 * it goes on until it is told to end. CouchDB and the store are asked for nothing in between.
 */
import type { Task } from "../task/task.ts";
import { UsageError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { wait } from "../abort.ts";
import { latestElapse, nextElapses } from "../task/times.ts";

/**
 * The longest sleep at a time. A timer counts the time that a machine is awake, knows nothing of clocks that are set,
 * and cannot be longer than 24 days; so the clock is read once a minute. That costs a few microseconds.
 */
const LONGEST_SLEEP_MS = 60_000;
/** When an elapse is looked at again that another run held, or that could not be claimed. */
const LOOK_AGAIN_MS = 300_000;

/** What a look has found. */
export interface Look {
  /** An elapse is held by another run, or could not be claimed. */
  isUnsettled: boolean;
  /** When what is not saved is to be tried again; undefined where all is. */
  retryAt: Date | undefined;
}

/** What {@linkcode followSchedule} takes. */
export interface FollowOptions {
  tasks: readonly Task[];
  /** Runs what is due. Returns whether something has to be looked at again before the next elapse. */
  runDue: () => Promise<Look>;
  /** Ends the waiting; a run under way is left to `runDue`. */
  end: AbortSignal;
  log: Log;
  now: () => Date;
  /** @default {@linkcode wait} */
  sleep?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
}

/** The next elapse of any of `tasks` after an instant, and whose it is. */
export function nextOfAll(tasks: readonly Task[], after: Date): { task: Task; elapse: Date } | undefined {
  return tasks.flatMap((task) => nextElapses(task, { after, count: 1 }).map((elapse) => ({ task, elapse })))
    .toSorted((a, b) => a.elapse.getTime() - b.elapse.getTime())[0];
}

/**
 * Refuses tasks of which none is or ever will be due. One whose last elapse is over may have yet to be saved.
 *
 * @param options.before The tasks that these are to replace. Where one of them is yet to come again, new ones of which
 * none is are a mistake that would end the service.
 * @throws UsageError
 */
export function checkSchedules(
  tasks: readonly Task[],
  { now, before = [] }: { now: Date; before?: readonly Task[] | undefined },
): void {
  if (nextOfAll(tasks, now) !== undefined) return;
  const hasElapsed = tasks.some((task) => latestElapse(task, now) !== undefined);
  if (hasElapsed && nextOfAll(before, now) === undefined) return;
  const what = hasElapsed ? 'Correct the dates under "cron"' : 'Give a task the key "cron"';
  throw new UsageError("No task of the config will ever be due", {
    hint: `${what}; "couchdb-backup plan" shows when it elapses`,
  });
}

/**
 * Runs what is due: at once, for what was missed, and then at each elapse and whenever something that failed is to be
 * tried again. Returns when `end` is aborted, or nothing will ever be due again.
 *
 * An elapse that passes while a run is under way is due after it. Where the clock is set forward past elapses, the
 * latest is caught up; where it is set back, what has run is not due again, as it is claimed.
 *
 * @throws What `runDue` throws.
 */
export async function followSchedule(options: FollowOptions): Promise<void> {
  const { tasks, runDue, end, log, now, sleep = wait } = options;
  while (!end.aborted) {
    const lookedAt = now();
    const { isUnsettled, retryAt } = await runDue();
    const next = nextOfAll(tasks, lookedAt);
    if (next === undefined && !isUnsettled && retryAt === undefined) return log.warn("no task will be due again");
    const again = isUnsettled ? now().getTime() + LOOK_AGAIN_MS : Infinity;
    const wakeAt = Math.min(next?.elapse.getTime() ?? Infinity, again, retryAt?.getTime() ?? Infinity);
    log.info("waiting", { task: next?.task.name, elapse: next?.elapse, retryAt, until: new Date(wakeAt) });
    while (!end.aborted) {
      const at = now().getTime();
      // A clock that was wrong when it was read last may have been years ahead.
      if (at >= wakeAt || at < lookedAt.getTime()) break;
      await sleep(Math.min(wakeAt - at, LONGEST_SLEEP_MS), end).catch((error) => {
        if (!end.aborted) throw error;
      });
    }
  }
}
