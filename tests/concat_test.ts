import { assertEquals } from "@std/assert";
import { concat } from "../src/concat.ts";

Deno.test("concat() joins pieces into a copy, whatever they are views of", () => {
  const source = Uint8Array.of(1, 2, 3, 4);
  const joined = concat([source.subarray(1, 3), new Uint8Array(0), Uint8Array.of(9)]);
  source.fill(0);
  assertEquals([joined, joined.buffer.byteLength], [Uint8Array.of(2, 3, 9), 3]);
  assertEquals(concat([]), new Uint8Array(0));
});
