import { mock } from "node:test";

/** Runs `test` with setTimeout and setInterval in its hands: no time passes but what `pass` lets pass, all at once. */
export async function withFakeTimers(test: (pass: (ms: number) => void) => Promise<void> | void): Promise<void> {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  try {
    await test((ms) => mock.timers.tick(ms));
  } finally {
    mock.timers.reset();
  }
}

/**
 * Runs `test` with a clock and timers, those of AbortSignal.timeout() too, that count turns of the event loop, none as more
 * than two milliseconds: where a machine has no time for the process, that is one turn, and nothing is late by it.
 * Those of node:timers/promises, by which the program's own wait() waits, go on in real time.
 */
export async function withTurnsForTime<T>(test: () => Promise<T>): Promise<T> {
  const { setTimeout: realTimeout, setInterval, clearTimeout, clearInterval } = globalThis;
  const [{ timeout }, { now }, { now: dateNow }] = [AbortSignal, performance, Date];
  const timers = new Map<unknown, { atMs: number; everyMs: number | undefined; run: () => void }>();
  let [nowMs, realMs, lastId] = [now.call(performance), now.call(performance), 2 ** 40];
  const epochMs = dateNow() - nowMs;
  const start = (isRepeated: boolean) => (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const everyMs = isRepeated ? Math.max(1, ms) : undefined;
    timers.set(++lastId, { atMs: nowMs + ms, everyMs, run: () => run(...args) });
    return lastId;
  };
  const stop = (clear: typeof clearTimeout) => (id?: number) => void (timers.delete(id) || clear(id));
  const hasEnded = Promise.withResolvers<void>();
  let isOver = false;
  const turn = () => {
    if (isOver) return hasEnded.resolve();
    const lastMs = realMs;
    realMs = now.call(performance);
    nowMs += Math.min(2, realMs - lastMs);
    realTimeout(turn, 1);
    const due = [...timers].filter(([, { atMs }]) => atMs <= nowMs).sort(([, a], [, b]) => a.atMs - b.atMs);
    for (const [id, timer] of due) {
      if (!timers.has(id)) continue;
      if (timer.everyMs === undefined) timers.delete(id);
      else timer.atMs += timer.everyMs;
      timer.run();
    }
  };
  Object.assign(globalThis, {
    setTimeout: start(false),
    setInterval: start(true),
    clearTimeout: stop(clearTimeout),
    clearInterval: stop(clearInterval),
  });
  AbortSignal.timeout = (ms) => {
    const late = new AbortController();
    globalThis.setTimeout(() => late.abort(new DOMException("Signal timed out.", "TimeoutError")), ms);
    return late.signal;
  };
  performance.now = () => nowMs;
  Date.now = () => Math.floor(epochMs + nowMs);
  turn();
  try {
    return await test();
  } finally {
    isOver = true;
    await hasEnded.promise;
    Object.assign(globalThis, { setTimeout: realTimeout, setInterval, clearTimeout, clearInterval });
    Object.assign(AbortSignal, { timeout });
    performance.now = now;
    Date.now = dateNow;
  }
}
