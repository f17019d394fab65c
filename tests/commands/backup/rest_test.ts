import { assert } from "@std/assert";
import { Rest } from "../../../src/commands/backup/rest.ts";

Deno.test("Rest waits a moment behind what had not changed, counted from its opening, however long the delay is", async () => {
  const rest = new Rest();
  const never = new AbortController().signal;
  const tookMs = async (openedAtMs: number) => {
    rest.isHardlyOwed(3600, openedAtMs);
    const before = performance.now();
    await rest.taken({ stop: never, signal: never });
    return performance.now() - before;
  };
  for (const [openedAgoMs, least] of [[0, 40], [60, 0]] as const) {
    const ms = await tookMs(performance.now() - openedAgoMs);
    assert(ms >= least && ms < 36_000, `${ms} ms`);
  }
});
