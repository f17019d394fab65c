import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { createHash } from "node:crypto";
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

Deno.test("a chunk that decompresses to more than its manifest says is left there", async () => {
  const bomb = gzipSync(`{"results":[${" ".repeat(50_000_000)}]}`);
  const sha256 = createHash("sha256").update(bomb).digest("hex");
  const entry = {
    name: "0000001.json.gz",
    documents: 1,
    leaf_revisions: 1,
    deleted: 0,
    absent: 0,
    bytes: 1000,
    compressed_bytes: bomb.length,
    sha256,
  };
  const place = { store: breaking(bomb), key, entry };
  let bytesSeen = 0;
  const onProgress = ({ bytes }: { bytes: number }) => void (bytesSeen += bytes);
  const read = async () => {
    for await (const _ of (await CheckedChunk.open(place)).read());
  };
  for (const attempt of [() => inspectChunk(place, { onProgress }), read]) {
    await assertRejects(
      attempt,
      ArchiveError,
      "it decompresses to more than 1,000 bytes, which is what the manifest says",
    );
  }
  assertEquals(bytesSeen < 1_000_000, true);
});
