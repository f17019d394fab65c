import { assert, assertEquals, assertRejects } from "@std/assert";
import { AbortableWaits, orAborted, timeoutAwake, untilAborted, wait, withGrace } from "../src/abort.ts";
import { patternBytes, pieces } from "./store/store_contract.ts";
import { withFakeTimers } from "./fake_timers.ts";

const never = new Promise<never>(() => {});

Deno.test("untilAborted() hands on every piece, and the producer's failure", async () => {
  const body = patternBytes(100);
  const seen: number[] = [];
  for await (const bytes of untilAborted(pieces(body, 7), new AbortController().signal)) seen.push(...bytes);
  assertEquals(seen, [...body]);
  const failing = async function* () {
    yield await Promise.resolve(body);
    throw new RangeError("broken");
  };
  await assertRejects(() => Array.fromAsync(untilAborted(failing(), undefined)), RangeError, "broken");
});

Deno.test("untilAborted() throws the reason when the signal fires while its reader is busy and the producer then silent", async () => {
  const controller = new AbortController();
  const silent = async function* () {
    yield await Promise.resolve(new Uint8Array(1));
    await never;
  };
  await assertRejects(
    async () => {
      for await (const bytes of untilAborted(silent(), controller.signal)) {
        controller.abort(new Error(`after ${bytes.length}`));
      }
    },
    Error,
    "after 1",
  );
});

Deno.test("untilAborted() ends the producer when its reader leaves", async () => {
  let ended = false;
  const endless = async function* () {
    try {
      while (true) yield await Promise.resolve(new Uint8Array(1));
    } finally {
      ended = true;
    }
  };
  for await (const bytes of untilAborted(endless(), undefined)) if (bytes.length === 1) break;
  await Promise.resolve();
  assert(ended);
});

Deno.test("untilAborted() keeps no listener on the signal", async () => {
  const controller = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = controller.signal;
  controller.signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(controller.signal, given);
  };
  controller.signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(controller.signal, given);
  };
  await Array.fromAsync(untilAborted(pieces(patternBytes(100), 1), controller.signal));
  await orAborted(Promise.resolve(1), controller.signal);
  await wait(1, controller.signal);
  withGrace(controller.signal, 1).dispose();
  assertEquals(listeners, 0);
});

Deno.test("wait() takes its time, and ends with the signal's reason as soon as that is aborted", async () => {
  const started = performance.now();
  await wait(20); // In real time: that it passes is the point.
  assert(performance.now() - started >= 19);

  const reason = new Error("enough");
  const already = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => wait(60_000, already)), reason);
  const controller = new AbortController();
  const waiting = assertRejects(() => wait(60_000, controller.signal));
  controller.abort(reason);
  assertEquals(await waiting, reason);
});

Deno.test("orAborted() and wait() throw the reason as soon as the signal fires", async () => {
  const waits = [(signal: AbortSignal) => orAborted(never, signal), (signal: AbortSignal) => wait(60_000, signal)];
  for (const waitFor of waits) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 5);
    await assertRejects(() => waitFor(controller.signal), Error, "enough");
    await assertRejects(() => waitFor(controller.signal), Error, "enough");
  }
  assertEquals(await orAborted(Promise.resolve(7), undefined), 7);
  // What fails when nobody waits for it any more ends no process.
  await assertRejects(
    () => orAborted(Promise.reject(new Error("late")), AbortSignal.abort(new Error("enough"))),
    Error,
    "enough",
  );
});

Deno.test("AbortableWaits wait for one promise after the other until the signal fires, with one listener", async () => {
  const controller = new AbortController();
  const waits = new AbortableWaits(controller.signal);
  assertEquals(await waits.for(Promise.resolve(7)), 7);
  await assertRejects(() => waits.for(Promise.reject(new RangeError("broken"))), RangeError, "broken");
  assertEquals(await waits.for(Promise.resolve(8)), 8);
  setTimeout(() => controller.abort(new Error("enough")), 5);
  await assertRejects(() => waits.for(never), Error, "enough");
  await assertRejects(() => waits.for(never), Error, "enough");
  // What fails when nobody waits for it any more ends no process.
  await assertRejects(() => waits.for(Promise.reject(new Error("late"))), Error);
});

Deno.test("AbortableWaits keep no listener on the signal", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, given);
  };
  signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(signal, given);
  };
  const waits = new AbortableWaits(signal);
  for (let n = 0; n < 3; n++) await waits.for(Promise.resolve(n));
  assertEquals(listeners, 1);
  waits.end();
  assertEquals(listeners, 0);
});

Deno.test("withGrace() fires later than its signal, with the same reason, and not at all when it is disposed of", async () => {
  await withFakeTimers((pass) => {
    const controller = new AbortController();
    const [kept, disposed] = [withGrace(controller.signal, 20), withGrace(controller.signal, 20)];
    controller.abort(new Error("enough"));
    disposed.dispose();
    pass(19);
    assertEquals(kept.signal.aborted, false);
    pass(1000);
    assertEquals([kept.signal.reason?.message, disposed.signal.aborted], ["enough", false]);
  });
});

Deno.test("timeoutAwake() fires in its time, and does not count that in which the process was stopped", async () => {
  const [short, long] = [timeoutAwake(20), timeoutAwake(600_000)];
  await assertRejects(() => orAborted(never, short.signal), DOMException, "timed out");
  long.dispose();
  const stopped = timeoutAwake(2000);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2100);
  await wait(1);
  assertEquals(stopped.signal.aborted, false);
  stopped.dispose();
});
