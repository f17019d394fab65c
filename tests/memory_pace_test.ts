import { assert, assertEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import { LONGEST_REST_OF_CHUNK_MS, MemoryPace } from "../src/memory_pace.ts";

const MB = 1 << 20;

/** A heap and a clock: resting takes its time, and frees what `collects` says. */
function fakeProcess({ collects = 0, goneMs = 10_000 } = {}) {
  const state = { usedBytes: 20 * MB, nowMs: 0, rests: 0 };
  const pace = new MemoryPace({
    used: () => state.usedBytes,
    now: () => state.nowMs,
    rest: (ms) => {
      state.rests++;
      state.nowMs += ms;
      state.usedBytes -= collects;
      return Promise.resolve();
    },
  });
  state.nowMs = goneMs;
  return { state, pace };
}

Deno.test("MemoryPace looks once in 256 KB, and does not rest while little more is in use than at the lowest", async () => {
  const { state, pace } = fakeProcess();
  assertEquals(pace.after(200_000), undefined);
  assertEquals(pace.after(100_000), undefined);
  state.usedBytes += 8 * MB;
  await pace.after(MB);
  assertEquals([state.rests, pace.restedMs], [0, 0]);
});

Deno.test("MemoryPace rests until what has piled up is collected", async () => {
  const { state, pace } = fakeProcess({ collects: 4 * MB });
  await pace.after(MB);
  state.usedBytes = 50 * MB;
  await pace.after(MB);
  // 50, 46, … 26: no more than 8 above the lowest.
  assertEquals([state.usedBytes, state.rests], [26 * MB, 6]);
});

Deno.test("MemoryPace takes what does not become less for being in use, and rests for it no more", async () => {
  const { state, pace } = fakeProcess();
  await pace.after(MB);
  state.usedBytes = 50 * MB;
  await pace.after(MB);
  assertEquals(pace.restedMs, 200);
  for (let n = 0; n < 10; n++) await pace.after(MB);
  assertEquals(pace.restedMs, 200);
});

Deno.test("MemoryPace rests for chunks from CouchDB no longer than 60 ms in vain", async () => {
  const { state, pace } = fakeProcess();
  await pace.after(MB, LONGEST_REST_OF_CHUNK_MS);
  state.usedBytes = 50 * MB;
  await pace.after(MB, LONGEST_REST_OF_CHUNK_MS);
  assertEquals([LONGEST_REST_OF_CHUNK_MS, pace.restedMs], [60, 60]);
});

Deno.test("MemoryPace rests no more than a seventh of the time", async () => {
  const { state, pace } = fakeProcess({ goneMs: 0 });
  for (let n = 0; n < 100; n++) {
    state.usedBytes = n % 2 === 0 ? 20 * MB : 50 * MB;
    state.nowMs += 10;
    await pace.after(MB);
  }
  assert(pace.restedMs > 100 && pace.restedMs < state.nowMs * 0.15 + 10, `${pace.restedMs} of ${state.nowMs} ms`);
});

Deno.test("MemoryPace rests once for all who come meanwhile", async () => {
  const { state, pace } = fakeProcess({ collects: 4 * MB });
  await pace.after(MB);
  state.usedBytes = 50 * MB;
  await Promise.all([pace.after(MB), pace.after(1), pace.after(MB)]);
  assertEquals([state.usedBytes, state.rests, pace.restedMs], [26 * MB, 6, 30]);
  assertEquals(pace.after(1), undefined);
});

Deno.test("MemoryPace lets the event loop turn, in which V8 frees buffers, before it rests", async () => {
  const { state, pace } = fakeProcess();
  await pace.after(MB);
  state.usedBytes = 50 * MB;
  let turned = false;
  setImmediate(() => {
    turned = true;
    state.usedBytes = 20 * MB;
  });
  await pace.after(MB);
  assertEquals([turned, state.rests], [true, 0]);
});
