/**
 * The pause after each database, as the `delay` of its task says, whichever task the next database belongs to. In: the
 * end of each database. Out: a wait before the next. Callers that run several tasks in turn pass the same one to all of
 * them.
 */
import { wait } from "../../abort.ts";

/** With a delay no more than twenty databases a second are opened, however many of them have not changed. */
const LEAST_BETWEEN_MS = 50;

/** What is owed to CouchDB before the next database. */
export class Rest {
  #untilMs = 0;

  /** A database was read: the whole delay is owed. */
  isOwed(delaySeconds: number): void {
    this.#untilMs = Math.max(this.#untilMs, performance.now() + delaySeconds * 1000);
  }

  /** A database had not changed, and was opened at a moment of `performance.now()`: next to nothing is owed. */
  isHardlyOwed(delaySeconds: number, openedAtMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, openedAtMs + Math.min(delaySeconds * 1000, LEAST_BETWEEN_MS));
  }

  /** Waits for as long as is owed. @throws the reason of one of the signals */
  async taken({ stop, signal }: { stop: AbortSignal; signal: AbortSignal }): Promise<void> {
    stop.throwIfAborted();
    const ms = this.#untilMs - performance.now();
    if (ms > 0) await wait(ms, AbortSignal.any([stop, signal]));
  }
}
