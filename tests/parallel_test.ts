import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { allOrNone, forEachParallel, loadAhead, Slots } from "../src/parallel.ts";

const NEVER = new AbortController().signal;

async function* numbers(count: number, taken: number[] = []): AsyncGenerator<number> {
  for (let number = 0; number < count; number++) {
    taken.push(number);
    yield await Promise.resolve(number);
  }
}

/** Resolves after a moment, or rejects with the signal's reason. */
function moment(signal: AbortSignal, ms = 5): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

Deno.test("forEachParallel() works on every item, never on more than the limit, and takes none ahead", async () => {
  for (const limit of [1, 3, 50]) {
    const taken: number[] = [];
    const done: number[] = [];
    let inFlight = 0, most = 0, ahead = 0;
    await forEachParallel(() => numbers(20, taken), async (number, signal) => {
      most = Math.max(most, ++inFlight);
      ahead = Math.max(ahead, taken.length - done.length - inFlight);
      await moment(signal);
      inFlight--;
      done.push(number);
    }, { limit });
    assertEquals(done.toSorted((a, b) => a - b), [...Array(20).keys()]);
    assertEquals(most, Math.min(limit, 20));
    assertEquals(ahead, 0, "an item was taken before there was room for it");
  }
});

Deno.test("forEachParallel() takes the next item where one leaves its slot, and waits for all that goes on behind", async () => {
  for (const [limit, most] of [[1, 2], [2, 4], [4, 8], [16, 20]] as const) {
    let inSlots = 0, mostInSlots = 0, inFlight = 0, mostInFlight = 0, done = 0;
    await forEachParallel(() => numbers(60), async (_, signal, leaveSlot) => {
      mostInSlots = Math.max(mostInSlots, ++inSlots);
      mostInFlight = Math.max(mostInFlight, ++inFlight);
      await Promise.resolve();
      inSlots--;
      leaveSlot();
      // Said twice, it frees one slot.
      leaveSlot();
      await moment(signal, 1);
      inFlight--;
      done++;
    }, { limit });
    assertEquals([mostInSlots <= limit, mostInFlight, done], [true, most, 60], `limit ${limit}`);
  }
});

Deno.test("forEachParallel() throws the failure of what has left its slot, when all others have ended", async () => {
  const failure = new Error("the disk is full");
  const reasons: unknown[] = [];
  let isLeft = false;
  const thrown = await assertRejects(() =>
    forEachParallel(() => numbers(20), async (number, signal, leaveSlot) => {
      leaveSlot();
      if (number > 0) return void await moment(signal, 60_000).catch((reason) => reasons.push(reason));
      isLeft = true;
      await moment(signal);
      throw failure;
    }, { limit: 2 })
  );
  assertStrictEquals(thrown, failure);
  assertEquals([isLeft, reasons], [true, [failure, failure, failure]]);
});

Deno.test("forEachParallel() cancels the others at the first failure, and throws it when they have ended", async () => {
  const failure = new Error("the first");
  const reasons: unknown[] = [];
  const taken: number[] = [];
  const thrown = await assertRejects(() =>
    forEachParallel(() => numbers(20, taken), async (number, signal) => {
      if (number === 2) throw failure;
      try {
        await moment(signal, 60_000);
      } catch (reason) {
        await moment(new AbortController().signal);
        reasons.push(reason);
        throw new Error("a later one");
      }
    }, { limit: 4 })
  );
  assertStrictEquals(thrown, failure);
  assertEquals(reasons, Array(taken.length - 1).fill(failure), "all others were cancelled, and waited for");
  assertEquals(taken.length <= 4, true, `${taken.length} items were taken`);
});

Deno.test("forEachParallel() cancels the work when the items fail, and throws their failure", async () => {
  const failure = new Error("no more pages");
  async function* failing(): AsyncGenerator<number> {
    yield* numbers(2);
    throw failure;
  }
  let cancelled = 0;
  const thrown = await assertRejects(() =>
    forEachParallel(failing, async (_, signal) => {
      await moment(signal, 60_000).catch(() => cancelled++);
    }, { limit: 4 })
  );
  assertStrictEquals(thrown, failure);
  assertEquals(cancelled, 2);
});

Deno.test("forEachParallel() does not wait for the next item when work has failed", async () => {
  const failure = new Error("forbidden");
  let itemsEnded = false;
  async function* slow(signal: AbortSignal): AsyncGenerator<number> {
    try {
      yield 1;
      await moment(signal, 60_000);
    } finally {
      itemsEnded = true;
    }
  }
  const thrown = await assertRejects(() =>
    forEachParallel(slow, async () => {
      await Promise.resolve();
      throw failure;
    }, { limit: 4 })
  );
  assertStrictEquals(thrown, failure);
  assertEquals(itemsEnded, true);
});

Deno.test("forEachParallel() takes items in hand as it takes those that come, and none behind a failure", async () => {
  const taken: number[] = [];
  const take = async (item: number) => {
    taken.push(item);
    await Promise.resolve();
    if (item === 3) throw new Error("three");
  };
  await forEachParallel(() => [1, 2], take, { limit: 2 });
  assertEquals(taken, [1, 2]);
  await assertRejects(() => forEachParallel(() => new Set([3, 4, 5]), take, { limit: 1 }), Error, "three");
  assertEquals(taken, [1, 2, 3]);
});

Deno.test("forEachParallel() ends everything with the signal's reason", async () => {
  const reason = new Error("now");
  const controller = new AbortController();
  let begun = 0;
  const thrown = await assertRejects(() =>
    forEachParallel(() => numbers(20), async (_, signal) => {
      if (++begun === 3) controller.abort(reason);
      await moment(signal, 60_000);
    }, { limit: 3, signal: controller.signal })
  );
  assertStrictEquals(thrown, reason);
  assertEquals(begun, 3);
});

Deno.test("forEachParallel() finishes what is in flight when it is to stop, and takes no more", async () => {
  const reason = new Error("soon");
  const controller = new AbortController();
  const done: number[] = [];
  const thrown = await assertRejects(() =>
    forEachParallel(() => numbers(20), async (number, signal) => {
      if (number === 2) controller.abort(reason);
      await moment(signal);
      done.push(number);
    }, { limit: 3, stop: controller.signal })
  );
  assertStrictEquals(thrown, reason);
  assertEquals(done.toSorted(), [0, 1, 2]);
});

Deno.test("forEachParallel() does not wait for the next item when it is to stop", async () => {
  const reason = new Error("soon");
  const controller = new AbortController();
  const done: number[] = [];
  async function* slow(signal: AbortSignal): AsyncGenerator<number> {
    yield 1;
    await moment(signal, 60_000);
  }
  const thrown = await assertRejects(() =>
    forEachParallel(slow, async (number, signal) => {
      controller.abort(reason);
      await moment(signal);
      done.push(number);
    }, { limit: 3, stop: controller.signal })
  );
  assertStrictEquals(thrown, reason);
  assertEquals(done, [1]);
});

Deno.test("forEachParallel() begins nothing when it is to stop before the first item", async () => {
  const reason = new Error("at once");
  let begun = 0;
  const work = () => Promise.resolve(void begun++);
  for (const options of [{ stop: AbortSignal.abort(reason) }, { signal: AbortSignal.abort(reason) }]) {
    const run = () => forEachParallel(() => numbers(3), work, { limit: 2, ...options });
    assertStrictEquals(await assertRejects(run), reason);
  }
  assertEquals(begun, 0);
});

Deno.test("allOrNone() gives all results in order, and the first failure once the others are cancelled", async () => {
  const results = await allOrNone((signal) => [moment(signal, 10).then(() => 1), Promise.resolve("two")], NEVER);
  assertEquals(results, [1, "two"]);

  const failure = new Error("the first");
  let ended = false;
  const thrown = await assertRejects(() =>
    allOrNone((signal) => [
      moment(signal, 60_000).finally(() => ended = true),
      Promise.reject(failure),
    ], NEVER)
  );
  assertStrictEquals(thrown, failure);
  assertEquals(ended, true);

  const reason = new Error("now");
  const aborted = AbortSignal.abort(reason);
  assertStrictEquals(await assertRejects(() => allOrNone((signal) => [moment(signal)], aborted)), reason);
});

Deno.test("Slots lets so many pieces of work begin, the others in their order, and gives on the slot of one that fails", async () => {
  const slots = new Slots(2);
  const begun: number[] = [];
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<number>());
  const all = ends.map(({ promise }, number) =>
    slots.within(() => {
      begun.push(number);
      return promise;
    }, NEVER)
  );
  await moment(NEVER);
  assertEquals(begun, [0, 1]);
  const failure = new Error("forbidden");
  ends[1]!.reject(failure);
  assertStrictEquals(await assertRejects(() => all[1]!), failure);
  await moment(NEVER);
  assertEquals(begun, [0, 1, 2]);
  for (const [number, { resolve }] of ends.entries()) resolve(number);
  assertEquals(await Promise.all(all.toSpliced(1, 1)), [0, 2, 3, 4]);
  assertEquals(begun, [0, 1, 2, 3, 4]);
  assertEquals(await slots.within(() => Promise.resolve("later"), NEVER), "later");
});

Deno.test("Slots begins nothing whose signal has fired meanwhile, and goes on with the next", async () => {
  const slots = new Slots(1);
  const stop = new AbortController();
  const first = Promise.withResolvers<void>();
  const begun: string[] = [];
  const begin = (name: string, signal: AbortSignal) =>
    slots.within(() => Promise.resolve(void begun.push(name)), signal);
  const holding = slots.within(() => first.promise, NEVER);
  const refused = assertRejects(() => begin("stopped", stop.signal), Error, "stopped by hand");
  const next = begin("next", NEVER);
  stop.abort(new Error("stopped by hand"));
  first.resolve();
  await Promise.all([holding, refused, next]);
  assertEquals(begun, ["next"]);
});

Deno.test("loadAhead() yields results in the items' order and loads no more ahead than the limit", async () => {
  for (const limit of [1, 3, 50]) {
    let loading = 0;
    let most = 0;
    const load = async (item: number, signal: AbortSignal) => {
      most = Math.max(most, ++loading);
      await moment(signal, item % 3 === 0 ? 8 : 1);
      return item * 10;
    };
    const found: number[] = [];
    for await (const result of loadAhead(numbers(9), load, { limit })) {
      found.push(result);
      loading--;
    }
    assertEquals(found, [0, 10, 20, 30, 40, 50, 60, 70, 80]);
    assertEquals(most, Math.min(limit, 9));
  }
});

Deno.test("loadAhead() throws an item's error in its turn, and cancels and awaits what is loaded beyond it", async () => {
  const failure = new Error("damaged");
  const ended: number[] = [];
  const load = async (item: number, signal: AbortSignal) => {
    if (item === 1) throw failure;
    try {
      await moment(signal, item === 0 ? 1 : 10_000);
      return item;
    } finally {
      ended.push(item);
    }
  };
  const found: number[] = [];
  const read = async () => {
    for await (const result of loadAhead([0, 1, 2, 3], load, { limit: 4 })) found.push(result);
  };
  assertStrictEquals(await assertRejects(read), failure);
  assertEquals([found, ended.sort()], [[0], [0, 2, 3]]);
});

Deno.test("loadAhead() cancels what is loaded ahead when the reader leaves early", async () => {
  let cancelled = 0;
  const load = (item: number, signal: AbortSignal) => {
    signal.addEventListener("abort", () => cancelled++, { once: true });
    return item === 0 ? Promise.resolve(item) : moment(signal, 10_000).then(() => item);
  };
  for await (const _result of loadAhead([0, 1, 2], load, { limit: 3 })) break;
  assertEquals(cancelled, 3);
});
