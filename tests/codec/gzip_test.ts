import { assertEquals, assertGreater, assertRejects, assertStrictEquals } from "@std/assert";
import { constants, deflateRawSync, gunzipSync } from "node:zlib";
import { gunzip, gzip, GzipError } from "../../src/codec/gzip.ts";
import { inOneBuffer, join, pieces } from "./streams.ts";

const text = new TextEncoder().encode("a document with 😀 and 9007199254740993. ".repeat(30_000));

Deno.test("gzip() gives what any gunzip understands, however the bytes are cut", async () => {
  for (const sizeBytes of [1 << 21, 1 << 20, 300_000, 1 << 18, 65536, 1000, 77]) {
    const compressed = await join(gzip(pieces(text, sizeBytes)));
    assertEquals(new Uint8Array(gunzipSync(compressed)), text, `pieces of ${sizeBytes} bytes`);
    // A second member would be refused.
    const stream = ReadableStream.from(pieces(compressed, 4096)).pipeThrough(
      new DecompressionStream("gzip") as ReadableWritablePair<Uint8Array, Uint8Array>,
    );
    assertEquals(new Uint8Array(await new Response(stream).arrayBuffer()), text, `pieces of ${sizeBytes} bytes`);
  }
  assertEquals(gunzipSync(await join(gzip(pieces(new Uint8Array(), 1)))).length, 0);
});

Deno.test("gzip() has used the bytes when it asks for the next ones", async () => {
  for (const sizeBytes of [300_000, 1 << 18, 1000]) {
    assertEquals(
      new Uint8Array(gunzipSync(await join(gzip(inOneBuffer(text, sizeBytes))))),
      text,
      `pieces of ${sizeBytes} bytes`,
    );
  }
});

Deno.test("gunzip() undoes gzip(), and refuses what is cut off or no gzip at all", async () => {
  const compressed = await join(gzip(pieces(text, 5000)));
  assertEquals(await join(gunzip(pieces(compressed, 333))), text);
  for (const bytes of [compressed.subarray(0, -1), compressed.subarray(0, 20), text]) {
    await assertRejects(() => join(gunzip(pieces(bytes, 100))), GzipError);
  }
});

Deno.test("gunzip() hands on the very error of its source, which is no damage even where it is a TypeError", async () => {
  const compressed = await join(gzip(pieces(text, 5000)));
  for (const failure of [new TypeError("undefined is not a function"), new Error("S3 is gone")]) {
    for (const sizeBytes of [0, 10, compressed.length]) {
      const source = (async function* () {
        yield* pieces(compressed.subarray(0, sizeBytes), 100);
        throw failure;
      })();
      assertStrictEquals(await assertRejects(() => join(gunzip(source))), failure, `after ${sizeBytes} bytes`);
    }
  }
});

Deno.test("gunzip() ends its source when the reader leaves early", async () => {
  const compressed = await join(gzip(pieces(new Uint8Array(1 << 20), 5000)));
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* pieces(compressed, 100);
    } finally {
      resolve();
    }
  }
  for await (const bytes of gunzip(watched())) if (bytes.length > 0) break;
  await ended;
});

Deno.test("gunzip() gives large pieces back in small ones, so that zeros in large numbers do not fill the memory", async () => {
  const compressed = await join(gzip(pieces(new Uint8Array(200 << 20), 1 << 20)));
  const sizes: number[] = [];
  for await (const bytes of gunzip(pieces(compressed, compressed.length))) sizes.push(bytes.length);
  assertEquals(sizes.reduce((sum, size) => sum + size, 0), 200 << 20);
  assertGreater(20 << 20, Math.max(...sizes));
});

Deno.test("gzip() hands on the very error of its source", async () => {
  const failure = new Error("CouchDB is gone");
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield* pieces(text, 5000);
    throw failure;
  }
  assertStrictEquals(await assertRejects(() => join(gzip(failing()))), failure);
});

Deno.test("gzip() ends its source when the reader leaves early", async () => {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (let seed = 1;; seed++) {
        // Bytes that do not compress, so that something comes out at once.
        yield await Promise.resolve(Uint8Array.from({ length: 65536 }, (_, at) => (seed = seed * 69069 + at) >>> 16));
      }
    } finally {
      resolve();
    }
  }
  for await (const bytes of gzip(endless())) if (bytes.length > 0) break;
  await ended;
});

Deno.test("gzip() takes less memory for a small block, and makes the same of it", async () => {
  // What repeats at the largest distance that there is, which the window just has to reach.
  const head = crypto.getRandomValues(new Uint8Array(40));
  for (const size of [100, 249, 250, 251, 500, 763, 2_040, 8_150, 16_122, 16_123, 16_300, 32_700, 40_000]) {
    const bytes = new Uint8Array(size);
    bytes.set(head);
    bytes.set(head, size - head.length);
    const found = await join(gzip(pieces(bytes, size), 4));
    const full = deflateRawSync(bytes, { level: 4, finishFlush: constants.Z_SYNC_FLUSH });
    assertEquals(found.subarray(10, 10 + full.length), new Uint8Array(full), `${size} bytes`);
    assertEquals(new Uint8Array(gunzipSync(found)), bytes);
  }
});
