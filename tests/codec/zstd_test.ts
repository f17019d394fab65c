import { assert, assertEquals, assertGreater, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import zlib from "node:zlib";
import { lacksZstd, unzstd, unzstdForeign, zstd } from "../../src/codec/zstd.ts";
import { ZstdError } from "../../src/codec/zstd_parts.ts";
import { inOneBuffer, join, pieces } from "./streams.ts";

const text = new TextEncoder().encode("a document with 😀 and 9007199254740993. ".repeat(20_000));
/** Bytes that nothing compresses. */
const noise = Uint8Array.from({ length: 300_000 }, (_, at) => Math.imul(at + 1, 2654435761) >>> 13);

Deno.test("zstd() gives one frame that any zstd understands, however the bytes are cut", async () => {
  for (const bytes of [text, noise, new Uint8Array(0)]) {
    for (const sizeBytes of [1 << 20, 65536, 1000]) {
      const compressed = await join(zstd(pieces(bytes, sizeBytes)));
      assertEquals(new Uint8Array(zlib.zstdDecompressSync(compressed)), bytes, `pieces of ${sizeBytes} bytes`);
      assertEquals(await join(unzstd(pieces(compressed, 333))), bytes);
    }
  }
});

Deno.test("zstd() has a checksum, and levels make a difference", async () => {
  const compressed = await join(zstd(pieces(text, 65536)));
  assertEquals(compressed[4]! & 4, 4);
  const sizes = await Promise.all([1, 19].map(async (level) => (await join(zstd(pieces(noise, 5000), level))).length));
  assert(sizes[0] !== sizes[1], `${sizes}`);
});

Deno.test("zstd() has used the bytes when it asks for the next ones", async () => {
  for (const sizeBytes of [300_000, 1 << 17, 1000]) {
    assertEquals(await join(unzstd(zstd(inOneBuffer(text, sizeBytes)))), text, `pieces of ${sizeBytes} bytes`);
  }
});

Deno.test("unzstd() refuses a frame that is cut off at any byte, of which the runtime says nothing", async () => {
  const short = text.subarray(0, 3000);
  const compressed = await join(zstd(pieces(short, 5000)));
  for (let size = 0; size < compressed.length; size++) {
    await assertRejects(() => join(unzstd(pieces(compressed.subarray(0, size), 7))), ZstdError);
  }
  // As the runtimes' own decompressor has it; where Deno mends that, this says so.
  const large = await join(zstd(pieces(text, 65536)));
  await assertRejects(() => join(unzstd(pieces(large.subarray(0, -1), 65536))), ZstdError, "ends before its end");
});

Deno.test("unzstd() finds each bit that flips, or gives back what there was", async () => {
  const bytes = Buffer.concat([text.subarray(0, 200_000), noise.subarray(0, 5000)]);
  const compressed = await join(zstd(pieces(bytes, 65536)));
  let found = 0;
  for (let at = 0; at < compressed.length; at += at < 300 ? 1 : 97) {
    const flipped = Uint8Array.from(compressed);
    flipped[at]! ^= 1 << at % 8;
    try {
      assertEquals(await join(unzstd(pieces(flipped, 4096))), new Uint8Array(bytes), `byte ${at}`);
    } catch (error) {
      assertInstanceOf(error, ZstdError, `byte ${at}: ${error}`);
      found++;
    }
  }
  assertGreater(found, 250);
});

Deno.test("unzstd() reads frames that follow each other, and passes over those that are to be passed over", async () => {
  const [one, two] = await Promise.all([text, noise].map((bytes) => join(zstd(pieces(bytes, 65536)))));
  const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5);
  const all = Buffer.concat([skippable, one!, skippable, two!]);
  const expected = new Uint8Array(Buffer.concat([text, noise]));
  for (const sizeBytes of [all.length, 4096, 3]) {
    assertEquals(await join(unzstd(pieces(all, sizeBytes))), expected, `pieces of ${sizeBytes} bytes`);
  }
  await assertRejects(() => join(unzstd(pieces(Buffer.concat([one!, Buffer.from("hello")]), 4096))), ZstdError);
  await assertRejects(() => join(unzstd(pieces(skippable.subarray(0, 10), 4096))), ZstdError);
});

Deno.test("unzstd() reads frames without a checksum, and with their size", async () => {
  for (const bytes of [text, noise.subarray(0, 100), noise.subarray(0, 1000), new Uint8Array(0)]) {
    assertEquals(await join(unzstd(pieces(zlib.zstdCompressSync(bytes), 4096))), bytes);
  }
});

Deno.test("unzstd() refuses a window that would fill the memory, a dictionary, and what zstd does not know", async () => {
  const params = { [zlib.constants.ZSTD_c_windowLog]: 27, [zlib.constants.ZSTD_c_contentSizeFlag]: 0 };
  const compressor = zlib.createZstdCompress({ params });
  const large: Uint8Array[] = [];
  compressor.on("data", (bytes) => large.push(bytes));
  compressor.end(text);
  await new Promise((resolve) => compressor.on("end", resolve));
  const bytes = Buffer.concat(large);
  await assertRejects(() => join(unzstd(pieces(bytes, 4096))), ZstdError, "window of 134,217,728 bytes");
  assertEquals(await join(unzstdForeign(pieces(bytes, 4096))), text);
  const header = (...rest: number[]) => Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...rest, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  await assertRejects(() => join(unzstdForeign(pieces(header(0, 0xff), 4096))), ZstdError, "window");
  await assertRejects(() => join(unzstd(pieces(header(0x21, 7), 4096))), ZstdError, "dictionary");
  await assertRejects(() => join(unzstd(pieces(header(0x28, 7), 4096))), ZstdError, "later kind");
  await assertRejects(() => join(unzstd(pieces(header(0x20, 1, 7, 0, 0), 4096))), ZstdError, "does not know");
});

Deno.test("zstd() and unzstd() hand on the very error of their source, and end it when the reader leaves early", async () => {
  const compressed = await join(zstd(pieces(noise, 5000)));
  for (const failure of [new TypeError("undefined is not a function"), new Error("S3 is gone")]) {
    const failing = (bytes: Uint8Array) =>
      (async function* () {
        yield* pieces(bytes, 5000);
        throw failure;
      })();
    assertStrictEquals(await assertRejects(() => join(zstd(failing(noise)))), failure);
    assertStrictEquals(await assertRejects(() => join(unzstd(failing(compressed.subarray(0, 200_000))))), failure);
  }
  for (const read of [zstd, unzstd]) {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const watched = (async function* () {
      try {
        yield* pieces(read === zstd ? noise : compressed, 5000);
      } finally {
        resolve();
      }
    })();
    for await (const bytes of read(watched)) if (bytes.length > 0) break;
    await ended;
  }
});

Deno.test("unzstd() ends its source where the bytes are damaged", async () => {
  const compressed = await join(zstd(pieces(noise, 5000)));
  compressed[compressed.length - 1]! ^= 1;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const watched = (async function* () {
    try {
      yield* pieces(Buffer.concat([compressed, compressed]), 5000);
    } finally {
      resolve();
    }
  })();
  await assertRejects(() => join(unzstd(watched)), ZstdError);
  await ended;
});

Deno.test("unzstd() gives large pieces back in small ones, so that zeros in large numbers do not fill the memory", async () => {
  const compressed = await join(zstd(pieces(new Uint8Array(200 << 20), 1 << 20)));
  const sizes: number[] = [];
  for await (const bytes of unzstd(pieces(compressed, compressed.length))) sizes.push(bytes.length);
  assertEquals(sizes.reduce((sum, size) => sum + size, 0), 200 << 20);
  assertGreater(1 << 20, Math.max(...sizes));
});

Deno.test("lacksZstd() is one sentence where the runtime has none", () => {
  assertEquals(lacksZstd(), undefined);
  const { message, hint = "" } = lacksZstd({})!;
  assert(/^Node \d+\.\d+\.\d+ has no zstd$/.test(message), message);
  assert(hint.includes("Node 22.15"), hint);
});
