/** A clock that a test moves on. */

/** Runs `body` with a `performance.now()` that is ahead by as many milliseconds as it has passed to `pass`. */
export async function withClock(body: (pass: (ms: number) => void) => Promise<void>): Promise<void> {
  const { now } = performance;
  let aheadMs = 0;
  performance.now = () => now.call(performance) + aheadMs;
  try {
    await body((ms) => aheadMs += ms);
  } finally {
    performance.now = now;
  }
}
