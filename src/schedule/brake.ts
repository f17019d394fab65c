/**
 * Keeps ten thousand rounds from each trying a wrong password, or waiting for a CouchDB that is down. In: the error of
 * a round. Out: `stop.json` in the run's folder, which every round reads first; after its time one round tries again.
 */
import type { RunFolder, Stop } from "../archive/run_folder.ts";
import { describeError, exitCodeOf, isFatalForRun, isTransient } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { describerFor, type Task } from "../task/task.ts";
import { REFUSED_PAUSE_MINUTES } from "./retry.ts";

const PAUSE_MS = REFUSED_PAUSE_MINUTES * 60_000;
/**
 * A CouchDB that is not there may come back within the state machine's own repetitions of a round, which take as long.
 */
const PATIENCE_MS = 3 * 60_000;
/** An error that was met longer ago has nothing to do with one that is met now. */
const FORGET_MS = 60 * 60_000;
/** For storing a small object; it holds also when the round's own time is over. */
const TIMEOUT_MS = 10_000;

/**
 * Notes an error that has failed a whole run, if every round would be refused in the same way until a moment. If it
 * cannot be stored, that is only a warning. Call this after the elapse has been told how its run ended, because others
 * wait for that.
 */
export async function noteRefusal(
  folder: RunFolder,
  error: unknown,
  { task, until, now, log, signal }: { task: Task; until: Date; now: () => Date; log: Log } & StoreCallOptions,
): Promise<void> {
  if (!isFatalForRun(error)) return;
  const why = describerFor(task)(error);
  const stop = { until: until.toISOString(), why, exit_code: exitCodeOf(error), since: now().toISOString() };
  try {
    await folder.storeStop(stop, { signal });
  } catch (failure) {
    log.warn("rounds could not be told what was refused", { error: describeError(failure) });
  }
}

/** The brake of one round. */
export class RoundsBrake {
  readonly #folder: RunFolder;
  readonly #describe: (error: unknown) => string;
  readonly #now: () => Date;
  #stop: Stop | undefined;

  constructor(folder: RunFolder, task: Task, now: () => Date) {
    this.#folder = folder;
    this.#describe = describerFor(task);
    this.#now = now;
  }

  /** Why the round need not try; undefined where it is to. */
  async read(options: StoreCallOptions): Promise<{ why: string; exit_code: number } | undefined> {
    this.#stop = await this.#folder.readStop(options);
    if (this.#stop === undefined || Date.parse(this.#stop.until) <= this.#nowMs()) return undefined;
    const { why, exit_code } = this.#stop;
    return { why: `Not tried, as it would fail like the one before: ${why}`, exit_code };
  }

  /**
   * Notes an error that others would meet as well: a round throws only what is not about its database. Returns whether
   * the round is to be given up: an error that may pass is tried again first.
   *
   * @param forMs For how long the round has met it by now.
   */
  async pull(error: unknown, forMs = 0): Promise<boolean> {
    const isRefused = isFatalForRun(error);
    if (!isRefused && !isTransient(error)) return false;
    const now = this.#nowMs();
    const isKnown = this.#stop !== undefined && now - Date.parse(this.#stop.since) < FORGET_MS;
    const sinceMs = isKnown ? Date.parse(this.#stop!.since) : now - forMs;
    const isOver = isRefused || now - sinceMs >= PATIENCE_MS;
    await this.#store({
      until: new Date(isOver ? now + PAUSE_MS : now).toISOString(),
      why: this.#describe(error),
      exit_code: exitCodeOf(error),
      since: new Date(sinceMs).toISOString(),
    });
    return isOver;
  }

  /** Notes that a round went well: what was met before is over. */
  async release(): Promise<void> {
    if (this.#stop === undefined || Date.parse(this.#stop.since) === 0) return;
    await this.#store({ ...this.#stop, since: new Date(0).toISOString() });
  }

  async #store(stop: Stop): Promise<void> {
    this.#stop = stop;
    await this.#folder.storeStop(stop, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  }

  #nowMs(): number {
    return this.#now().getTime();
  }
}
