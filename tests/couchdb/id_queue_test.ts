import { assertEquals } from "@std/assert";
import { IdQueue } from "../../src/couchdb/id_queue.ts";

/** Hashes of which many want the same slots, so that what is moved up matters. */
function hashOf(n: number): Uint32Array {
  return Uint32Array.of(n % 7 === 0 ? n % 5 : Math.imul(n, 2_654_435_761), n);
}

Deno.test("IdQueue has what was pushed and not shifted, and shifts it in the order in which it came", () => {
  const queue = new IdQueue();
  const expected: number[] = [];
  let next = 0;
  let state = 1;
  for (let round = 0; round < 400; round++) {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
    // More come than go for a while, so that it grows; then more go than come.
    const isGrowing = round < 250;
    for (let count = state % (isGrowing ? 40 : 10); count > 0; count--) {
      queue.push(hashOf(next));
      expected.push(next++);
    }
    for (let count = (state >>> 8) % (isGrowing ? 20 : 60); count > 0 && expected.length > 0; count--) {
      const hash = queue.shift();
      assertEquals([hash[0], hash[1]], [...hashOf(expected.shift()!)]);
    }
    assertEquals(queue.size, expected.length);
    for (let n = Math.max(0, (expected[0] ?? next) - 30); n < next + 10; n += 3) {
      assertEquals(queue.has(hashOf(n)), n >= (expected[0] ?? next) && n < next, `${n} in round ${round}`);
    }
  }
});
