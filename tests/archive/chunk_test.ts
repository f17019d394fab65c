import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { gzipSync } from "node:zlib";
import { CheckedChunk, inspectChunk } from "../../src/archive/chunk.ts";
import { ArchiveError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";

const key = "2026/01/03/a/0000001.json.gz";
const whole = gzipSync(`{"results":[\n{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0"}}]}\n]}`);

/** A store whose only object breaks off with `failure` after `bytes`. */
function breaking(bytes: Uint8Array, failure?: Error): Store {
  const read = () =>
    Promise.resolve(ReadableStream.from((function* () {
      yield bytes;
      if (failure !== undefined) throw failure;
    })()));
  return { read } as unknown as Store;
}

Deno.test("inspectChunk() and CheckedChunk say damaged of bytes alone, never of a mistake in the program", async () => {
  const mistake = new TypeError("undefined is not a function");
  const begun = whole.subarray(0, 30);
  for (const read of [inspectChunk, CheckedChunk.open]) {
    assertStrictEquals(
      await assertRejects(() => read({ store: breaking(begun, mistake), key, entry: undefined })),
      mistake,
    );
    const place = { store: breaking(begun), key, entry: undefined };
    const error = await assertRejects(() => read(place), ArchiveError, `Chunk "${key}" is damaged: `);
    assertEquals(error.facts.key, key);
  }
});
