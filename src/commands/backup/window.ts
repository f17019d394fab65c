/**
 * How many requests are in flight at a time: as many as a task allows (`parallel`), or fewer where CouchDB, or a proxy
 * in front of it, cannot handle so many. In: how the last requests ended. Out: how many there may be from now on. It
 * begins with what nearly every CouchDB can handle, grows by one while that brings more bytes a second, and halves
 * where requests are refused for now (429, 503) or break.
 */

/** The number to begin with, where a task allows more. */
const FIRST = 4;
/** One more request is worth it where it brings this many times the bytes a second. */
const WORTH = 1.03;
/** Requests wait for each other if they take this many times as long as the quickest, and bring no more bytes. */
const SLOW = 4;
/** How many rounds pass after a step that brought nothing, or was too much, before the next one. */
const REST_ROUNDS = 12;

/** A window, and what led to it. */
export interface Window {
  /** How many requests there may be. */
  limit: number;
  /** The same in the round before. */
  before: number;
  /** Bytes a second of the round before; undefined at the beginning. */
  rate: number | undefined;
  /** The least milliseconds that a megabyte took in any round. */
  quickest: number;
  /** Rounds that pass before it grows. */
  rest: number;
}

/** What a round of requests was like: as many as the window has. */
export interface Round {
  /** Requests that had to be made again. */
  failures: number;
  bytes: number;
  /** From the first to the last. */
  elapsedMs: number;
  /** Of all requests together, each from its beginning to its end. */
  requestMs: number;
}

/** The window of a task that allows `most`. */
export function firstWindow(most: number): Window {
  const limit = Math.min(FIRST, most);
  return { limit, before: limit, rate: undefined, quickest: Infinity, rest: 0 };
}

/** The window after a round. */
export function nextWindow(window: Window, { failures, bytes, elapsedMs, requestMs }: Round, most: number): Window {
  const { limit, before, rate: last } = window;
  const rate = bytes / Math.max(elapsedMs, 1) * 1000;
  const msOfMegabyte = requestMs / Math.max(bytes, 1) * 1e6;
  const quickest = Math.min(window.quickest, msOfMegabyte);
  const rest = Math.max(0, window.rest - 1);
  const next = (to: number, pause: number): Window => ({
    limit: Math.max(1, Math.min(to, most)),
    before: limit,
    rate,
    quickest,
    rest: pause,
  });
  if (failures > 0) return next(Math.floor(limit / 2), REST_ROUNDS);
  if (last !== undefined && limit > before && rate < WORTH * last) return next(before, REST_ROUNDS);
  // It never goes below what nearly every CouchDB can handle: the machine may only be busy with something else.
  const isSlow = limit > FIRST && last !== undefined && msOfMegabyte > SLOW * quickest && rate < last;
  if (isSlow) return next(limit - 1, REST_ROUNDS);
  return rest === 0 ? next(limit + 1, 0) : next(limit, rest);
}

/** The window after a round of which only is known that nothing was refused: it grows up to where it began. */
function recoveredWindow(window: Window, most: number): Window {
  const rest = Math.max(0, window.rest - 1);
  const limit = rest === 0 ? Math.max(window.limit, Math.min(window.limit + 1, FIRST, most)) : window.limit;
  return { ...window, limit, before: limit, rest };
}

/** Keeps the window of one task. */
export class RequestWindow {
  readonly #most: number;
  readonly #now: () => number;
  readonly #failuresSoFar: () => number;
  #window: Window;
  #done = 0;
  #bytes = 0;
  #requestMs = 0;
  #failures: number;
  /** Requests that went well and are not measured. */
  #passed = 0;
  #startedMs: number | undefined;

  /** @param options.failures How many requests were made again so far. `now` tells milliseconds. */
  constructor(most: number, { failures, now = () => performance.now() }: {
    failures: () => number;
    now?: (() => number) | undefined;
  }) {
    this.#most = most;
    this.#now = now;
    this.#failuresSoFar = failures;
    this.#failures = failures();
    this.#window = firstWindow(most);
  }

  /** How many requests there may be now. */
  get limit(): number {
    // A refusal ends the round at once.
    if (this.#failuresSoFar() > this.#failures) this.#end();
    return this.#window.limit;
  }

  /** Notes the beginning of a request for documents. @returns What is to be called with its bytes at its end. */
  begin(): (bytes: number) => void {
    const beganMs = this.#now();
    this.#startedMs ??= beganMs;
    return (bytes) => {
      this.#done++;
      this.#bytes += bytes;
      this.#requestMs += this.#now() - beganMs;
      // A round is twice as many, as its first ones were begun in the round before it, with that one's limit.
      if (this.#done >= 2 * this.#window.limit) this.#end();
    };
  }

  /**
   * Notes that a request has gone well that is none for documents. Where there are no others, what refusals have made
   * small would else stay so.
   */
  pass(): void {
    if (this.#failuresSoFar() > this.#failures) return this.#end();
    if (++this.#passed < 2 * this.#window.limit) return;
    this.#passed = 0;
    this.#window = recoveredWindow(this.#window, this.#most);
  }

  #end(): void {
    const failures = this.#failuresSoFar();
    const nowMs = this.#now();
    const round = {
      failures: failures - this.#failures,
      bytes: this.#bytes,
      elapsedMs: nowMs - (this.#startedMs ?? nowMs),
      requestMs: this.#requestMs,
    };
    this.#window = nextWindow(this.#window, round, this.#most);
    this.#failures = failures;
    this.#done =
      this.#bytes =
      this.#requestMs =
      this.#passed =
        0;
    this.#startedMs = nowMs;
  }
}
