import { assertEquals } from "@std/assert";
import { forEachParallel } from "../src/parallel.ts";
import { Shares } from "../src/shares.ts";

Deno.test("Shares lets as much begin as there is room for, in the order of the items", async () => {
  const sizes = [1, 1, 4, 1, 1, 1, 1, 4, 4, 1];
  const shares = new Shares(sizes, { room: 4, shareOf: (size) => size });
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
  const shares = new Shares([1, 2], { room: 2, shareOf: (size) => size });
  const limit = shares.limit as () => number;
  await shares.within(1, () => Promise.reject(new Error("no"))).catch(() => {});
  assertEquals(limit(), Infinity);
});
