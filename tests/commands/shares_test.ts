import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { setImmediate as turn } from "node:timers/promises";
import { forEachParallel } from "../../src/parallel.ts";
import { type Place, Shares } from "../../src/commands/shares.ts";
import { seededRandom } from "../fakes/couchdb/random.ts";

const NEVER = { signal: new AbortController().signal };

/** Work that has begun, until it is told to end. */
interface Held {
  place: Place;
  end: () => void;
  fail: (error: unknown) => void;
  ended: Promise<void>;
}

/** Begins the next one. */
function begin<T>(shares: Shares<T>, item: T): Held {
  const { promise, resolve: end, reject: fail } = Promise.withResolvers<void>();
  let place: Place | undefined;
  const ended = shares.within(item, (given) => {
    place = given;
    return promise;
  });
  return { place: place!, end, fail, ended };
}

/** A claim, and whether it has been granted by now. */
function claim({ place }: Held, share: number, options: { signal: AbortSignal } = NEVER) {
  let isDone = false;
  const promise = place.claim(share, options).then(() => void (isDone = true));
  const isGranted = async () => {
    await turn();
    return isDone;
  };
  return { promise, isGranted };
}

/** Shares of numbers that stand for what they take where they begin. */
function sharesOf(sizes: readonly number[], room: number) {
  const shares = new Shares(sizes, { room, shareOf: (size) => size });
  return { shares, limit: shares.limit as () => number };
}

Deno.test("Shares lets as much begin as there is room for, in the order of the items", async () => {
  const sizes = [1, 1, 4, 1, 1, 1, 1, 4, 4, 1];
  const { shares } = sharesOf(sizes, 4);
  const [begun, together]: [number[], number[]] = [[], []];
  let inHand = 0;
  const work = async (size: number) => {
    begun.push(size);
    inHand += size;
    // All that begins with it has begun.
    await new Promise((resolve) => setTimeout(resolve, 1));
    together.push(inHand);
    inHand -= size;
  };
  await forEachParallel(() => sizes, (size) => shares.within(size, () => work(size)), { limit: shares.limit });
  assertEquals(begun, sizes);
  assertEquals(Math.max(...together), 4, "all of the room, and no more");
});

Deno.test("Shares gives room back where work fails", async () => {
  const { shares, limit } = sharesOf([1, 2], 2);
  await shares.within(1, () => Promise.reject(new Error("no"))).catch(() => {});
  assertEquals(limit(), Infinity);
});

Deno.test("Shares lets what takes more than the room begin where it is alone", async () => {
  const sizes = [1, 9, 1];
  const { shares } = sharesOf(sizes, 4);
  const taken: number[] = [];
  const work = (size: number) =>
    shares.within(size, async ({ share }) => {
      taken.push(share);
      await turn();
    });
  await forEachParallel(() => sizes, work, { limit: shares.limit });
  assertEquals(taken, [1, 4, 1]);
});

Deno.test("Shares grants a larger share at once where there is room, and no claim where it has as much", async () => {
  const { shares, limit } = sharesOf([1, 1, 1], 5);
  const [one, other] = [begin(shares, 1), begin(shares, 1)];
  await one.place.claim(4, NEVER);
  assertEquals([one.place.share, other.place.share, limit()], [4, 1, 0]);
  // Who waits for one must not wait behind another.
  const waiting = claim(other, 4);
  await one.place.claim(4, NEVER);
  await one.place.claim(2, NEVER);
  assertEquals([one.place.share, await waiting.isGranted()], [4, false]);
  one.end();
  await waiting.promise;
  assertEquals([other.place.share, limit()], [4, Infinity]);
});

Deno.test("Shares grants larger shares in the order of the claims, and holds back what is to begin meanwhile", async () => {
  const { shares, limit } = sharesOf([1, 1, 1, 1, 1], 4);
  const [a, b, c, d] = [1, 1, 1, 1].map((size) => begin(shares, size)) as [Held, Held, Held, Held];
  const [large, small] = [claim(a, 4), claim(b, 2)];
  assertEquals([a.place.share, b.place.share], [0, 0], "what waits holds nothing that another waits for");
  assertEquals(await small.isGranted(), false, "the first would wait for ever if others overtook it");
  assertEquals(limit(), 0, "there is room for one, but two wait");
  c.end();
  await c.ended;
  assertEquals([await large.isGranted(), limit()], [false, 0]);
  d.end();
  await large.promise;
  assertEquals([a.place.share, await small.isGranted()], [4, false]);
  a.end();
  await small.promise;
  assertEquals([b.place.share, limit()], [2, Infinity]);
});

Deno.test("Shares has the next one wait where others claim what was left when the limit was asked", async () => {
  const { shares, limit } = sharesOf([1, 1, 1, 1], 4);
  const [a, b] = [begin(shares, 1), begin(shares, 1)];
  assertEquals(limit(), Infinity);
  await a.place.claim(3, NEVER);
  let begun = 0;
  const cancel = new AbortController();
  const work = () => Promise.resolve(void begun++);
  const [late, aborted] = [shares.within(1, work), shares.within(1, work, cancel)];
  cancel.abort(new Error("enough"));
  await assertRejects(() => aborted, Error, "enough");
  assertEquals([begun, a.place.share + b.place.share], [0, 4]);
  b.end();
  await late;
  assertEquals(begun, 1);
});

Deno.test("Shares lets the next one wait no longer where the signal of the one before it is aborted", async () => {
  const { shares, limit } = sharesOf([2, 1, 1, 1], 4);
  const [first, a, b] = [begin(shares, 2), begin(shares, 1), begin(shares, 1)];
  const cancel = new AbortController();
  const reason = new Error("enough");
  const [given, behind] = [claim(a, 4, cancel), claim(b, 2)];
  assertEquals(await behind.isGranted(), false);
  cancel.abort(reason);
  assertStrictEquals(await assertRejects(() => given.promise), reason);
  await behind.promise;
  assertEquals([a.place.share, b.place.share, limit()], [0, 2, 0]);
  a.end();
  first.end();
  await Promise.all([a.ended, first.ended]);
  assertEquals(limit(), Infinity, "it has given back nothing twice");
  assertEquals(a.place.share, 0);
  // A signal that was aborted before changes nothing.
  assertStrictEquals(await assertRejects(() => b.place.claim(4, cancel)), reason);
  assertEquals(b.place.share, 2);
});

Deno.test("Shares grants a claim where work before it fails, and none to work that has ended", async () => {
  const { shares, limit } = sharesOf([2, 1, 1, 1], 4);
  const [first, a, b] = [begin(shares, 2), begin(shares, 1), begin(shares, 1)];
  const [left, waiting] = [claim(a, 4), claim(b, 3)];
  a.fail(new Error("something else"));
  await assertRejects(() => a.ended, Error, "something else");
  first.fail(new Error("no"));
  await assertRejects(() => first.ended, Error, "no");
  await waiting.promise;
  assertEquals([await left.isGranted(), b.place.share, limit()], [false, 3, Infinity]);
});

/** A piece of work as chance has it. */
function randomItem(below: (end: number) => number, room: number) {
  return {
    first: 1 + below(room + 2),
    claims: Array.from({ length: below(3) }, () => 1 + below(room + 2)),
    turns: below(4),
    outcome: ["done", "done", "done", "fails", "is aborted"][below(5)]!,
  };
}

Deno.test("Shares never gives more than the room, whatever is claimed, fails or is aborted, and all end", async () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const below = (end: number) => Math.floor(random() * end);
    const room = 1 + below(16);
    const items = Array.from({ length: 1 + below(40) }, () => randomItem(below, room));
    const shares = new Shares(items, { room, shareOf: ({ first }) => first });
    const inHand = new Map<Place, AbortSignal>();
    /** How many began while one waited. */
    const overtaken = new Map<Place, number>();
    const begun: typeof items = [];
    const [claimed, granted]: [Place[], Place[]] = [[], []];
    const claimAll = async (
      { claims, turns, outcome }: typeof items[number],
      place: Place,
      cancel: AbortController,
    ) => {
      for (const share of claims) {
        for (let left = turns; left > 0; left--) await turn();
        if (outcome === "is aborted") setImmediate(() => cancel.abort(new Error(outcome)));
        const given = place.claim(share, cancel);
        if (place.share === 0) claimed.push(place);
        const isWaiting = place.share === 0;
        await given;
        if (isWaiting) granted.push(place);
        // One that was let in before may wait before it.
        assert((overtaken.get(place) ?? 0) <= 1, `seed ${seed}: others begin while one waits`);
        overtaken.delete(place);
        assert(place.share >= Math.min(share, room), `seed ${seed}: it has ${place.share} of ${share}`);
      }
    };
    const work = async (item: typeof items[number], place: Place) => {
      for (const [other, { aborted }] of inHand) {
        if (other.share === 0 && !aborted) overtaken.set(other, (overtaken.get(other) ?? 0) + 1);
      }
      begun.push(item);
      const cancel = new AbortController();
      assert(place.share >= Math.min(item.first, room), `seed ${seed}: it begins with ${place.share}`);
      inHand.set(place, cancel.signal);
      const taken = [...inHand.keys()].reduce((sum, { share }) => sum + share, 0);
      assert(taken <= room, `seed ${seed}: ${taken} of ${room} are taken`);
      try {
        await claimAll(item, place, cancel);
        const taken = [...inHand.keys()].reduce((sum, { share }) => sum + share, 0);
        assert(taken <= room, `seed ${seed}: ${taken} of ${room} are taken behind a claim`);
        await turn();
        if (item.outcome === "fails") throw new Error(item.outcome);
      } catch (error) {
        if (error !== cancel.signal.reason && (error as Error).message !== "fails") throw error;
      } finally {
        inHand.delete(place);
      }
    };
    // Where some wait for ever there is nothing left to do, and the test ends as one that has not come to its end.
    await forEachParallel(
      () => items,
      (item) => shares.within(item, (place) => work(item, place)),
      { limit: shares.limit },
    );
    assertEquals(begun, items, `seed ${seed}`);
    assertEquals(granted, claimed.filter((place) => granted.includes(place)), `seed ${seed}: in another order`);
  }
});
