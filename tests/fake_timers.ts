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
