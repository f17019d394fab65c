/**
 * The time-out of one request. In: the caller's signal, and how long the next step may take. Out: a signal that ends
 * the request when it is silent for too long, or when the caller cancels it. An answer comes in thousands of pieces, so
 * a piece only moves the time by which the next one is expected, and a single timer looks at it when it fires.
 */

/** Ends a request that is silent for too long, or that the caller gives up. */
export class Watch {
  readonly #controller = new AbortController();
  /** Ends the request. */
  readonly signal: AbortSignal = this.#controller.signal;
  readonly #outer: AbortSignal | undefined;
  readonly #onAbort = () => this.#abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires. */
  #firesAtMs = 0;
  /** By when something must have come. */
  #deadlineMs = Infinity;
  #ended = false;
  /** Whether it was the time that ended it. */
  expired = false;

  /** @param outer The caller's; not by `AbortSignal.any`, of which a run's signal remembers each. */
  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    if (outer?.aborted) this.#onAbort();
    else outer?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Something must arrive within this many milliseconds, unless the request has ended. */
  expectWithin(ms: number): void {
    if (this.#ended) return;
    this.#deadlineMs = performance.now() + ms;
    if (this.#timer === undefined || this.#firesAtMs > this.#deadlineMs) this.#startTimer(ms);
  }

  /** Nothing is expected for now. */
  rest(): void {
    this.#deadlineMs = Infinity;
  }

  /**
   * Nothing is expected any more; a timer that runs would keep the process alive. So would one that is started later:
   * pieces of a body that streams may be on their way when the request is given up.
   */
  end(): void {
    this.#ended = true;
    this.rest();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }

  cancel(): void {
    this.#abort(new DOMException("The answer is not wanted any more", "AbortError"));
  }

  #abort(reason: unknown): void {
    this.end();
    this.#controller.abort(reason);
  }

  #startTimer(ms: number): void {
    clearTimeout(this.#timer);
    this.#firesAtMs = performance.now() + ms;
    this.#timer = setTimeout(() => this.#look(), ms);
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#deadlineMs === Infinity) return;
    const leftMs = this.#deadlineMs - performance.now();
    // A timer fires up to a millisecond early.
    if (leftMs >= 1) return this.#startTimer(leftMs);
    this.expired = true;
    this.#abort(new DOMException("Too long without a byte", "TimeoutError"));
  }
}
