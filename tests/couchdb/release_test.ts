import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { release } from "../../src/couchdb/release.ts";

Deno.test("release() empties a large buffer, and all that is cut from it", () => {
  const bytes = new Uint8Array(100_000);
  const part = bytes.subarray(10, 20);
  release(part);
  assertEquals(bytes.length, 0);
});

Deno.test("release() leaves alone what may lie in the pool of small buffers", () => {
  const [first, second] = [Buffer.from("first"), Buffer.from("second")];
  release(first);
  assertEquals([`${first}`, `${second}`], ["first", "second"]);
});
