/** The log line about requests that are made again. In: waits, and why. Out: a line for the first of several. */
import type { Log } from "./observe.ts";

/** The least time between two lines about a retry: many requests in flight fail at once. */
const QUIET_AFTER_NOTICE_MS = 10_000;

/** Logs the first of several retries; otherwise a server that is down means half a minute of silence. */
export class RetryNotice {
  readonly #log: Log;
  readonly #event: string;
  /** On performance.now()'s clock. */
  #toldMs = -Infinity;

  /** @param event The line's event, such as "couchdb does not answer as it should: retrying". */
  constructor(log: Log, event: string) {
    this.#log = log;
    this.#event = event;
  }

  /** Takes note of a wait before attempt `attempt` (2 is the first repetition). */
  tell(fields: { attempt: number; waitMs: number; error: string }): void {
    const nowMs = performance.now();
    if (fields.attempt > 2 || nowMs - this.#toldMs < QUIET_AFTER_NOTICE_MS) return;
    this.#toldMs = nowMs;
    this.#log.warn(this.#event, { ...fields, waitMs: Math.round(fields.waitMs) });
  }
}
