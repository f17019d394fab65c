import { assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { decode, encode, isGzip, requireCodec } from "../../src/codec/codec.ts";
import { type Compression, COMPRESSIONS } from "../../src/codec/compression.ts";
import { CodecError } from "../../src/codec/error.ts";
import { join, pieces } from "./streams.ts";

const text = new TextEncoder().encode('{"results":[]}'.repeat(9));

Deno.test("isGzip() knows gzip's first two bytes", () => {
  assertEquals([[0x1f, 0x8b, 8], [0x1f], [0x7b, 0x22], []].map((bytes) => isGzip(Uint8Array.from(bytes))), [
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("decode() recognises by its first bytes what encode() has written in each way, at each level", async () => {
  for (const [compression, { most }] of Object.entries(COMPRESSIONS) as [Compression, { most: number }][]) {
    requireCodec({ compression });
    for (const level of [undefined, 1, most]) {
      const encoded = await join(encode(pieces(text, 10), { compression, level }));
      for (const isForeign of [false, true]) {
        for (const sizeBytes of [1, 3, 1000]) {
          assertEquals(await join(decode(pieces(encoded, sizeBytes), { isForeign })), text, `${compression} ${level}`);
        }
      }
      await assertRejects(() => join(decode(pieces(encoded.subarray(0, -3), 5), { isForeign: false })), CodecError);
    }
  }
});

Deno.test("decode() passes on what is not compressed, and reads what other programs put together", async () => {
  for (const plain of [text, new Uint8Array(0), Uint8Array.of(0x28), Uint8Array.of(0x28, 0xb5, 0x2f)]) {
    assertEquals(await join(decode(pieces(plain, 2), { isForeign: true })), plain);
  }
  for (const compress of [gzipSync, zstdCompressSync]) {
    const two = Buffer.concat([compress(text), compress(text)]);
    assertEquals(await join(decode(pieces(two, 7), { isForeign: true })), new Uint8Array(Buffer.concat([text, text])));
  }
});
