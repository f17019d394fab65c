import { assertEquals, assertThrows } from "@std/assert";
import { IdHasher, IdSet } from "../src/id_set.ts";

/** Bytes, two and two, as the text whose UTF-16 they are. */
function textOf(bytes: Uint8Array): string {
  return String.fromCharCode(...new Uint16Array(bytes.buffer));
}

Deno.test("IdHasher is SipHash-1-3 of 128 bits", () => {
  // From `openssl mac -macopt hexkey:000102…0e0f -macopt size:16 -macopt c-rounds:1 -macopt d-rounds:3 SIPHASH`,
  // openssl 3.0, of the bytes 0, 1, 2, … as many as the first number says.
  const cases: [number, string][] = [
    [0, "e77ebcb22788a5befd62db6add303001"],
    [2, "75787f090569839b855bc9548c6aea95"],
    [4, "0c784e71ac2b285a9f8e92e78fbf2c25"],
    [14, "87e76268dbc9227226b0ca665f64e378"],
    [64, "1253def24b4aa5364ec8a759ba6a66c2"],
  ];
  const hasher = new IdHasher(new Uint32Array(Uint8Array.from({ length: 16 }, (_, byte) => byte).buffer));
  for (const [length, hash] of cases) {
    hasher.update(textOf(Uint8Array.from({ length }, (_, byte) => byte)));
    assertEquals(new Uint8Array(hasher.hash.buffer).toHex(), hash, `${length} bytes`);
  }
});

Deno.test("IdSet knows what was added and nothing else, with and without room made for it", () => {
  for (const words of [2, 4] as const) {
    for (const capacity of [0, 1, 5000, 20_000]) {
      const set = new IdSet({ capacity, words });
      const ids = Array.from({ length: 10_000 }, (_, number) => `order-${number}`);
      ids.push("", "\u0000", "é", "\ud800", "x".repeat(10_000), "x".repeat(10_001));
      for (const id of ids) {
        assertEquals([set.has(id), set.add(id), set.add(id), set.has(id)], [false, true, false, true]);
      }
      assertEquals(set.size, ids.length);
      for (const id of ids) assertEquals([set.has(id), set.has(`${id}!`)], [true, false]);
    }
  }
});

Deno.test("IdSet takes hashes as it makes them, one of nothing but zeros too", () => {
  const set = new IdSet({ words: 2 });
  const zeros = new Uint32Array(2);
  assertEquals([set.addHash(zeros), set.addHash(zeros), set.size], [true, false, 1]);
  assertEquals(set.addHash(set.hashOf("a").slice()), true);
  assertEquals([set.has("a"), set.size], [true, 2]);
});

Deno.test("IdSet marks what was added, and takes no more ids then", () => {
  for (const capacity of [0, 5000]) {
    const set = new IdSet({ capacity });
    const ids = Array.from({ length: 3000 }, (_, number) => `order-${number}`);
    for (const id of ids) set.add(id);
    assertEquals([set.marked, set.isMarked("order-0")], [0, false]);
    for (const id of ids.slice(0, 1000)) assertEquals([set.mark(id), set.mark(id)], [true, true]);
    assertEquals([set.mark("other"), set.isMarked("other"), set.marked], [false, false, 1000]);
    for (const [at, id] of ids.entries()) assertEquals([set.isMarked(id), set.has(id)], [at < 1000, true]);
    assertThrows(() => set.add("other"), Error, "marks");
    assertEquals(set.add("order-1"), false);
  }
});
