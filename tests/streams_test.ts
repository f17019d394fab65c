import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { readBytes, readText } from "../src/streams.ts";

const WHOLE = new TextEncoder().encode("a 🐦 ä");

/** The bytes one by one, so that every letter is cut. */
function bytewise(): ReadableStream<Uint8Array> {
  return ReadableStream.from(Array.from(WHOLE, (byte) => Uint8Array.of(byte)));
}

/** A stream that fails after its first bytes. */
function failing(error: Error): ReadableStream<Uint8Array> {
  return ReadableStream.from((async function* () {
    yield await Promise.resolve(WHOLE);
    throw error;
  })());
}

Deno.test("readBytes() and readText() read a stream to its end, wherever it is cut", async () => {
  assertEquals(await readBytes(bytewise()), WHOLE);
  assertEquals(await readText(bytewise()), "a 🐦 ä");
  assertEquals(await readBytes(ReadableStream.from([])), new Uint8Array(0));
  assertEquals(await readText(ReadableStream.from([])), "");
});

Deno.test("readBytes() and readText() reject with the stream's own error", async () => {
  const error = new RangeError("Cut off");
  assertStrictEquals(await assertRejects(() => readBytes(failing(error))), error);
  assertStrictEquals(await assertRejects(() => readText(failing(error))), error);
});
