/**
 * The end of an invocation, told in three steps. Lambda ends one at its deadline without any signal, so the time is
 * measured here. In: the deadline, and how long before it the work is asked to stop. Out: two signals and a promise.
 */
import { InterruptedError } from "../src/errors.ts";

/** The parts of the margin that are left when the work is ended, and when the answer is sent in any case. */
const SIGNAL_SHARE = 1 / 3;
const ANSWER_SHARE = 1 / 12;

/** What {@linkcode Deadline.passed} settles to. */
export const DEADLINE_PASSED: unique symbol = Symbol("deadline passed");

/** The time of one invocation. */
export class Deadline {
  readonly stop: AbortSignal;
  readonly signal: AbortSignal;
  /** Settles when a handler that heeds `signal` would long have stopped, and an answer can only just be sent. */
  readonly passed: Promise<typeof DEADLINE_PASSED>;
  readonly #timers: ReturnType<typeof setTimeout>[] = [];

  constructor(deadlineMs: number, wantedMarginMs: number) {
    const nowMs = Date.now();
    // With a short timeout a fixed margin would leave no time to work.
    const marginMs = Math.min(wantedMarginMs, Math.max(0, deadlineMs - nowMs) / 4);
    const [stop, signal] = [new AbortController(), new AbortController()];
    const { promise, resolve } = Promise.withResolvers<typeof DEADLINE_PASSED>();
    this.stop = stop.signal;
    this.signal = signal.signal;
    this.passed = promise;
    if (deadlineMs === Infinity) return;
    const at = (timeMs: number, action: () => void) => this.#timers.push(setTimeout(action, timeMs - nowMs));
    at(deadlineMs - marginMs, () => stop.abort(timeIsOver()));
    at(deadlineMs - marginMs * SIGNAL_SHARE, () => signal.abort(timeIsOver()));
    at(deadlineMs - marginMs * ANSWER_SHARE, () => resolve(DEADLINE_PASSED));
  }

  clear(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

function timeIsOver(): InterruptedError {
  return new InterruptedError("The time of this Lambda invocation is nearly over");
}
