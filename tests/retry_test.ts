import { assert, assertEquals } from "@std/assert";
import { DEFAULT_RETRY, parseRetryAfter, waitBeforeAttempt } from "../src/retry.ts";

const policy = { attempts: 9, firstWaitMs: 400, longestWaitMs: 10_000 };

Deno.test("waitBeforeAttempt() doubles up to the longest wait and leaves half of it to chance", () => {
  const cases: [attempt: number, random: number, waitMs: number][] = [
    [2, 0, 200],
    [2, 1, 400],
    [3, 0, 400],
    [3, 0.5, 600],
    [6, 1, 6400],
    [7, 1, 10_000],
    [7, 0, 5000],
    [60, 1, 10_000],
  ];
  for (const [attempt, random, expected] of cases) {
    assertEquals(waitBeforeAttempt(attempt, { policy, random }), expected, `attempt ${attempt}, ${random}`);
  }
});

Deno.test("waitBeforeAttempt() obeys Retry-After up to two minutes, and never waits less than it would without", () => {
  const cases: [retryAfterMs: number, waitMs: number][] = [
    [3000, 3000],
    [60_000, 60_000],
    [3_600_000, 120_000],
    [0, 400],
    [399, 400],
  ];
  for (const [retryAfterMs, expected] of cases) {
    assertEquals(waitBeforeAttempt(2, { policy, random: 1, retryAfterMs }), expected, `${retryAfterMs}`);
  }
});

Deno.test("DEFAULT_RETRY survives a restart of half a minute at most and at least ten seconds", () => {
  const total = (random: number) => {
    let sumMs = 0;
    for (let attempt = 2; attempt <= DEFAULT_RETRY.attempts; attempt++) {
      sumMs += waitBeforeAttempt(attempt, { policy: DEFAULT_RETRY, random });
    }
    return sumMs;
  };
  assert(total(0) >= 10_000 && total(1) <= 30_000, `${total(0)} to ${total(1)} ms`);
});

Deno.test("parseRetryAfter() reads seconds and HTTP dates, and nothing else", () => {
  const now = new Date("2026-01-03T18:00:00Z");
  const cases: [header: string | null, ms: number | undefined][] = [
    ["0", 0],
    ["3", 3000],
    [" 1.5 ", 1500],
    ["Sat, 03 Jan 2026 18:00:07 GMT", 7000],
    ["Sat, 03 Jan 2026 17:00:00 GMT", 0],
    ["soon", undefined],
    ["-1", undefined],
    ["", undefined],
    [null, undefined],
  ];
  for (const [header, expected] of cases) assertEquals(parseRetryAfter(header, now), expected, String(header));
});
