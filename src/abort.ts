/**
 * Waiting that ends as soon as a signal fires, whatever the one that is waited for does. In: a time, a promise or a
 * stream, and a signal. Out: the same, or the signal's reason, thrown at once.
 */
import { setTimeout as setTimeoutPromise } from "node:timers/promises";

/**
 * The pieces of `body` until it ends or `signal` fires. Whoever stops early makes the producer stop, too.
 *
 * @throws the signal's reason, without waiting for a producer that may never answer.
 */
export async function* untilAborted(
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = body[Symbol.asyncIterator]();
  // One listener and a promise per piece: racing every piece against one promise that lives as long as the body would
  // keep a reaction for each of them.
  let rejectPiece: ((reason: unknown) => void) | undefined;
  const onAbort = () => rejectPiece?.(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let exhausted = false;
  try {
    while (true) {
      signal?.throwIfAborted(); // It may have fired while the reader was busy with the last piece.
      const piece = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        rejectPiece = reject;
        iterator.next().then(resolve, (error) => {
          exhausted = true;
          reject(error);
        });
      });
      if (piece.done === true) {
        exhausted = true;
        return;
      }
      yield piece.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    // Not awaited: a generator that is waiting inside next() answers return() only after it. What return() throws says
    // less than the failure that led here; for-await drops it, too.
    if (!exhausted) iterator.return?.()?.then(undefined, () => undefined);
  }
}

/** The outcome of `promise`, unless `signal` fires first. @throws the signal's reason */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  if (signal.aborted) {
    promise.catch(() => {}); // Nobody waits for it any more; that it fails as well must not end the process.
    throw signal.reason;
  }
  return await new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** Waits for one promise after the other, each until it settles or a signal fires: one listener for all of them. */
export class AbortableWaits {
  readonly #signal: AbortSignal;
  #reject: ((reason: unknown) => void) | undefined;
  readonly #onAbort = () => this.#reject?.(this.#signal.reason);

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** The outcome of `promise`, unless the signal fires first. One at a time. @throws the signal's reason */
  for<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // Also where nobody waits for it any more: that it fails as well must not end the process.
      promise.then(resolve, reject);
      if (this.#signal.aborted) reject(this.#signal.reason);
      else this.#reject = reject;
    });
  }

  /** Nothing is waited for any more. */
  end(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

/** Whether a signal has fired because it was given a time (`AbortSignal.timeout()`), and not because somebody wants to stop. */
export function isOutOfTime(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && signal.reason instanceof DOMException && signal.reason.name === "TimeoutError";
}

/**
 * Waits for `ms` milliseconds. The timer keeps the process alive: a wait is part of the work.
 *
 * @throws the signal's reason as soon as it fires.
 */
export async function wait(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await setTimeoutPromise(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted(); // Rather than with an AbortError that has the reason for its cause.
    throw error;
  }
}

/**
 * A signal that fires `graceMs` milliseconds after `signal`, for what should rather be finished than broken off; those
 * in which the process was stopped do not count.
 */
export function withGrace(signal: AbortSignal | undefined, graceMs: number): { signal: AbortSignal; dispose(): void } {
  const late = new AbortController();
  let grace: ReturnType<typeof timeoutAwake> | undefined;
  const onAbort = () => {
    grace = timeoutAwake(graceMs);
    grace.signal.addEventListener("abort", () => late.abort(signal?.reason), { once: true });
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  return {
    signal: late.signal,
    dispose() {
      signal?.removeEventListener("abort", onAbort);
      grace?.dispose();
    },
  };
}

/** A time is counted in so many pieces: a process that was stopped misses one of them, however long that was. */
const PIECES = 10;

/**
 * A signal that fires after `ms` milliseconds in which the process ran. Those in which it was stopped, or its machine
 * asleep, do not count: what it waits for had no chance to come.
 */
export function timeoutAwake(ms: number): { signal: AbortSignal; dispose(): void } {
  const late = new AbortController();
  let left = PIECES;
  const timer = setInterval(() => {
    if (--left > 0) return;
    clearInterval(timer);
    late.abort(new DOMException("Signal timed out.", "TimeoutError"));
  }, ms / PIECES);
  return { signal: late.signal, dispose: () => clearInterval(timer) };
}
