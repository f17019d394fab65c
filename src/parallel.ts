/**
 * Several pieces of work in flight at once, no more of them with a slot than asked for, and none left behind when one
 * fails. In: items, what to do with each, and how many at a time. Out: the results, or the first failure when all the
 * others have ended.
 */

/** How many pieces of work may be unfinished beyond the limit; never more than twice the limit in all. */
const MOST_BEYOND = 4;

/** What {@linkcode forEachParallel} takes beside the items. */
export interface ParallelOptions {
  /** How many calls of `work` may have a slot at any moment; a function is asked whenever one gets free. */
  limit: number | (() => number);
  /** Ends everything: `items` and `work` are handed a signal that is aborted with it. */
  signal?: AbortSignal | undefined;
  /** Ends the taking of further items, and `items`; what is in flight is finished first. */
  stop?: AbortSignal | undefined;
}

/**
 * Calls `work` for every item, and takes the next item only when there is a slot for it. The first failure cancels the
 * signal of all others and of `items`, and is thrown once they have ended.
 *
 * @param items Makes the items; an item may take long to come, so the making must end when its signal is aborted.
 * @param work Has a slot until it has ended, or calls `leaveSlot`: what is left of it then goes on beside the next items.
 * With and without a slot, no more than four beyond the limit are unfinished, and no more than twice the limit.
 * @throws The first error of `work` or of the items; the reason of `stop` or `signal` when they ended it.
 */
export async function forEachParallel<T>(
  items: (signal: AbortSignal) => AsyncIterable<T> | Iterable<T>,
  work: (item: T, signal: AbortSignal, leaveSlot: () => void) => Promise<void>,
  options: ParallelOptions,
): Promise<void> {
  const cancel = new AbortController();
  const signal = options.signal === undefined ? cancel.signal : AbortSignal.any([cancel.signal, options.signal]);
  // What is in flight may go on after a stop; waiting for what would come next may not.
  const itemsSignal = options.stop === undefined ? signal : AbortSignal.any([signal, options.stop]);
  const inFlight = new Set<Promise<void>>();
  let inSlots = 0;
  let wake: (() => void) | undefined;
  const limit = () => typeof options.limit === "number" ? options.limit : options.limit();
  const isFull = () => {
    const most = limit();
    return inSlots >= most || inFlight.size >= most + Math.min(most, MOST_BEYOND);
  };
  let failure: { error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    cancel.abort(error);
  };
  try {
    options.signal?.throwIfAborted();
    options.stop?.throwIfAborted();
    for await (const item of items(itemsSignal)) {
      inSlots++;
      let hasSlot = true;
      const leaveSlot = () => {
        if (hasSlot) inSlots--;
        hasSlot = false;
        wake?.();
      };
      const one: Promise<void> = work(item, signal, leaveSlot).catch(fail).finally(() => {
        inFlight.delete(one);
        leaveSlot();
      });
      inFlight.add(one);
      while (isFull()) await new Promise<void>((resolve) => wake = resolve);
      if (failure !== undefined) break;
      options.signal?.throwIfAborted();
      options.stop?.throwIfAborted();
    }
  } catch (error) {
    if (options.stop?.aborted && error === options.stop.reason) failure ??= { error };
    else fail(error);
  }
  await Promise.all(inFlight);
  if (failure !== undefined) throw failure.error;
}

/**
 * Lets a fixed number of pieces of work run at once; others wait for their turn, in the order in which they come. A piece of
 * work that itself waits for a turn may never get one.
 */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Does the work when its turn has come.
   *
   * @param signal What has fired when its turn comes is not begun; work that has begun sees to it for itself.
   * @throws What the work throws; the signal's reason where it has not begun.
   */
  async within<R>(work: () => Promise<R>, signal: AbortSignal): Promise<R> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/**
 * Yields `load(item)` for every item, in the order of the items, while the next ones are being loaded.
 *
 * @param options `limit` counts the results that are loaded or being loaded and not yet taken.
 * @throws The error of `load` when its result's turn comes. What is loaded beyond it is cancelled and waited for.
 */
export async function* loadAhead<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  load: (item: T, signal: AbortSignal) => Promise<R>,
  options: { limit: number; signal?: AbortSignal | undefined },
): AsyncGenerator<R> {
  const cancel = new AbortController();
  const signal = options.signal === undefined ? cancel.signal : AbortSignal.any([cancel.signal, options.signal]);
  const coming: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const one = load(item, signal);
      // Thrown when its turn comes, which is later than the moment at which nobody seems to care.
      one.catch(() => {});
      coming.push(one);
      if (coming.length >= options.limit) yield await coming.shift()!;
    }
    while (coming.length > 0) yield await coming.shift()!;
  } finally {
    // An exception notes where it was made, which costs more than the loading of what is small.
    if (coming.length > 0) {
      cancel.abort(new DOMException("What was loaded ahead is not wanted any more", "AbortError"));
      await Promise.allSettled(coming);
    }
  }
}

/**
 * Waits for several pieces of work that `begin` starts at once. The first failure cancels the signal of all others, and
 * is thrown once they have ended.
 *
 * @throws The first error; the reason of `signal` when that ended it.
 */
export async function allOrNone<Results extends readonly unknown[]>(
  begin: (signal: AbortSignal) => readonly [...{ [Index in keyof Results]: Promise<Results[Index]> }],
  signal: AbortSignal,
): Promise<Results> {
  const cancel = new AbortController();
  const begun = begin(AbortSignal.any([cancel.signal, signal]));
  try {
    return await Promise.all(begun) as unknown as Results;
  } catch (error) {
    cancel.abort(error);
    await Promise.allSettled(begun);
    throw error;
  }
}

/** Waits for several pieces of work that have begun, none of which is broken off. @throws the first failure, at the end */
export async function allEnded(begun: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  try {
    await Promise.all(begun);
  } catch (error) {
    await Promise.allSettled(begun);
    throw error;
  }
}

/** The signal of work that need not finish anything when it is asked to stop. */
export function eitherSignal({ signal, stop }: { signal: AbortSignal; stop?: AbortSignal | undefined }): AbortSignal {
  return stop === undefined ? signal : AbortSignal.any([signal, stop]);
}
