/**
 * The time-out of one request. In: the caller's signal, and how long the next step may take. Out: a signal that ends
 * the request when it is silent for too long, or when the caller cancels it. An answer comes in thousands of pieces, so
 * a piece only moves the time by which the next one is expected, and a single timer looks at it when it fires.
 */

/** Ends a request that is silent for too long, or that the caller gives up. */
export class Watch {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires. */
  #firesAtMs = 0;
  /** By when something must have come. */
  #deadlineMs = Infinity;
  /** Whether it was the time that ended it. */
  expired = false;

  constructor(outer: AbortSignal | undefined) {
    this.signal = outer === undefined ? this.#controller.signal : AbortSignal.any([this.#controller.signal, outer]);
  }

  /** Something must arrive within this many milliseconds. */
  expectWithin(ms: number): void {
    this.#deadlineMs = performance.now() + ms;
    if (this.#timer === undefined || this.#firesAtMs > this.#deadlineMs) this.#startTimer(ms);
  }

  /** Nothing is expected for now. */
  rest(): void {
    this.#deadlineMs = Infinity;
  }

  /** Nothing is expected any more; a timer that runs would keep the process alive. */
  end(): void {
    this.rest();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  cancel(): void {
    this.end();
    this.#controller.abort(new DOMException("The answer is not wanted any more", "AbortError"));
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
    this.#controller.abort(new DOMException("Too long without a byte", "TimeoutError"));
  }
}
