import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { assertEquals, assertLess } from "@std/assert";
import { shrink, unshrink } from "../../src/couchdb/kept_text.ts";

const encoder = new TextEncoder();

function randomIds(count: number): string[] {
  return Array.from({ length: count }, () => randomBytes(16).toString("hex"));
}

for (const withZstd of [undefined, true, false]) {
  Deno.test(`What is kept comes back as it was (zstd: ${withZstd ?? "where there is one"})`, () => {
    for (const bytes of [new Uint8Array(0), encoder.encode("a\0é\n"), crypto.getRandomValues(new Uint8Array(65_536))]) {
      assertEquals(new Uint8Array(unshrink(shrink(bytes, withZstd), withZstd)), bytes);
    }
  });

  Deno.test(`Random ids are kept in little more than their digits hold (zstd: ${withZstd ?? "where there is one"})`, () => {
    const text = encoder.encode(randomIds(5000).map((id) => `,{"id":"${id}"}`).join(""));
    const kept = shrink(text, withZstd);
    assertLess(kept.length / 5000, 16 * 1.2);
    // Nor is there a larger buffer behind it.
    assertEquals(kept.buffer.byteLength, kept.length);
  });
}

Deno.test("What is kept comes back as it was, whatever size it was compressed to", () => {
  // Around what node:zlib takes for one piece of what comes out.
  const bytes = randomBytes(16_500);
  for (let length = 16_300; length <= bytes.length; length++) {
    const given = bytes.subarray(0, length);
    assertEquals(Buffer.compare(unshrink(shrink(given)), given), 0, `${length} bytes`);
  }
});
