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
