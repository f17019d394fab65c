import { assertEquals, assertStrictEquals } from "@std/assert";
import { Watch } from "../../src/couchdb/watch.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("Watch ends a request when nothing has come within the time, and not while pieces come or nothing is expected", async () => {
  const watch = new Watch(undefined);
  for (let piece = 0; piece < 8; piece++) {
    watch.expectWithin(500);
    await pause(5);
  }
  watch.rest();
  const began = performance.now();
  watch.expectWithin(60);
  await new Promise((resolve) => watch.signal.addEventListener("abort", resolve));
  assertEquals([watch.expired, (watch.signal.reason as Error).name], [true, "TimeoutError"]);
  const waitedMs = performance.now() - began;
  assertEquals(waitedMs >= 59, true, `it waited ${waitedMs} ms`);
});

Deno.test("Watch gives each piece all of its time, though its timer was started for one before", async () => {
  const watch = new Watch(undefined);
  watch.expectWithin(40);
  watch.rest();
  await pause(80);
  assertEquals(watch.expired, false, "nothing was expected");
  watch.expectWithin(40);
  watch.expectWithin(60_000);
  await pause(80);
  assertEquals(watch.expired, false, "there was time");
  watch.end();
});

// What is left would keep the process, and Deno's sanitizer of tests says so where it is asked for.
Deno.test(
  "Watch leaves no timer behind its end, nor behind a request that is given up",
  { sanitizeOps: true },
  async () => {
    const ended = new Watch(undefined);
    ended.expectWithin(60_000);
    ended.end();
    const cancelled = new Watch(undefined);
    cancelled.expectWithin(60_000);
    cancelled.cancel();
    assertEquals([cancelled.signal.aborted, cancelled.expired], [true, false]);
    const outer = new AbortController();
    const given = new Watch(outer.signal);
    given.expectWithin(60_000);
    outer.abort(new Error("enough"));
    assertEquals([given.signal.aborted, given.expired], [true, false]);
    given.end();
    for (const watch of [ended, cancelled, given]) watch.expectWithin(60_000);
    await pause(1);
  },
);

Deno.test("Watch gives the caller's reason, also where the caller had given up before", () => {
  const reason = new Error("enough");
  const outer = new AbortController();
  const watch = new Watch(outer.signal);
  outer.abort(reason);
  for (const { signal } of [watch, new Watch(AbortSignal.abort(reason))]) assertStrictEquals(signal.reason, reason);
});

for (
  const [how, end] of [
    ["its end", (watch: Watch) => watch.end()],
    ["its being cancelled", (watch: Watch) => watch.cancel()],
    ["its time", (watch: Watch) => (watch.expectWithin(1), pause(20))],
  ] as const
) {
  Deno.test(`Watch leaves nothing with the caller's signal behind ${how}: that of a run outlives a million requests`, async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal), remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    const watch = new Watch(signal);
    assertEquals(listeners, 1);
    await end(watch);
    assertEquals(listeners, 0);
  });
}
