/**
 * The clock of an S3 server, by the `Date` of its answers: signatures go by it where this machine's is wrong. In: answers.
 * Out: how far it is ahead.
 */
import type { S3Answer } from "./request.ts";

/** A clock that is so far away is none. */
const FARTHEST_CLOCK_MS = 100 * 366 * 24 * 3_600_000;
/** S3 takes signatures that are so old, or so much of the future. */
const MOST_SKEW_MS = 15 * 60_000;
/** What S3 says to other requests than HEAD then. */
const CLOCK_IS_WRONG = "<Error><Code>RequestTimeTooSkewed</Code></Error>";

/** What is known of one server's clock. */
export class ServerClock {
  /** How far it is ahead of this machine's, by the last answer; undefined before the first one. */
  skewMs: number | undefined;
  /** By how much the moment of a signature differs from this machine's: nothing, until the server has refused that. */
  signAheadMs = 0;

  /** Takes the `Date` of an answer. */
  note(date: string | null): void {
    // A Date has whole seconds and was written before it came: what is left of a second says nothing.
    const aheadMs = Date.parse(date ?? "") + 500 - Date.now();
    if (isSkew(aheadMs)) this.skewMs = Math.abs(aheadMs) <= 1000 ? 0 : aheadMs;
  }

  /** A wrong clock makes every signature wrong; the next attempt goes by the server's. */
  adopt(date: string | null): void {
    const aheadMs = Date.parse(date ?? "") - Date.now();
    if (isSkew(aheadMs)) this.signAheadMs = aheadMs;
  }
}

/** An answer, with S3's error in it where S3 has refused a signature of another time without a word, as HEAD makes it. */
export function withClockError(answer: S3Answer, signedAheadMs: number): S3Answer {
  const aheadMs = Date.parse(answer.headers.get("date") ?? "") - Date.now();
  const isWrong = answer.status === 403 && answer.body === "" && Math.abs(aheadMs - signedAheadMs) > MOST_SKEW_MS;
  return isWrong ? { ...answer, body: CLOCK_IS_WRONG } : answer;
}

/** Whether it is how far a clock is ahead; an instant that no clock shows would make an instant of none. */
function isSkew(ms: number): boolean {
  return Math.abs(ms) < FARTHEST_CLOCK_MS;
}
