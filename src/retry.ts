/**
 * Retries: how long to wait before the same request is made again. In: the attempt and the server's Retry-After. Out:
 * milliseconds. Whether to retry at all is decided by `isTransient()` in errors.ts; the waiting is done by abort.ts, and
 * the log line about it by retry_notice.ts. Pure.
 */

/** How often and how slowly something is tried. */
export interface RetryPolicy {
  /** How many times at most, the first included. */
  attempts: number;
  /** The wait before the second attempt, in milliseconds; it doubles from attempt to attempt. */
  firstWaitMs: number;
  /** No wait is longer, unless the server asks for it. */
  longestWaitMs: number;
}

/**
 * About half a minute in all: a restart of CouchDB or a throttled bucket is survived, a dead server is not waited for.
 */
export const DEFAULT_RETRY: RetryPolicy = { attempts: 7, firstWaitMs: 400, longestWaitMs: 10_000 };

/** A server that asks for a longer pause is asked again after this one: it must not be able to stop a backup for a day. */
export const LONGEST_RETRY_AFTER_MS = 120_000;

/**
 * The wait before attempt `attempt` (2 is the first repetition), in milliseconds. Half of it is fixed and half is left
 * to `random` (0 to 1), so that requests that failed together do not come back together. `retryAfterMs` can only make
 * it longer: a date in the past, from a server whose clock is behind, must not use up all attempts within a moment.
 */
export function waitBeforeAttempt(
  attempt: number,
  options: { policy: RetryPolicy; random: number; retryAfterMs?: number | undefined },
): number {
  const { policy, random, retryAfterMs } = options;
  const full = Math.min(policy.longestWaitMs, policy.firstWaitMs * 2 ** (attempt - 2));
  const asked = Math.min(retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS);
  return Math.max(full / 2 + (full / 2) * random, asked);
}

/**
 * The value of a `Retry-After` header in milliseconds: seconds or an HTTP date; undefined when it is neither.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 */
export function parseRetryAfter(header: string | null, now: Date): number | undefined {
  if (header === null) return undefined;
  if (/^\d+(\.\d+)?$/.test(header.trim())) return Number(header) * 1000;
  // A date begins with the day's name. Date.parse() alone would take "-1" for a month of 2001.
  const waitMs = /^\s*[a-z]/i.test(header) ? Date.parse(header) - now.getTime() : NaN;
  return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs);
}
