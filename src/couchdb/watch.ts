/**
 * The patience of one request. In: the caller's signal, and how long the next step may take. Out: a signal that ends the
 * request when it is silent for too long, or when the caller gives it up.
 */

/** Ends a request that is silent for too long, or that the caller gives up. */
export class Watch {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether it was the time that ended it. */
  expired = false;

  constructor(outer: AbortSignal | undefined) {
    this.signal = outer === undefined ? this.#controller.signal : AbortSignal.any([this.#controller.signal, outer]);
  }

  expectWithin(ms: number): void {
    this.rest();
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#controller.abort(new DOMException("Too long without a byte", "TimeoutError"));
    }, ms);
  }

  rest(): void {
    clearTimeout(this.#timer);
  }

  cancel(): void {
    this.#controller.abort(new DOMException("The answer is not wanted any more", "AbortError"));
  }
}
