import { assert, assertEquals } from "@std/assert";
import { cutIntoParts, partSize } from "../../src/store/parts.ts";
import { patternBytes, pieces } from "./store_contract.ts";

Deno.test("cutIntoParts() gives the same bytes back for every size and every cut", async () => {
  for (const size of [0, 1, 9, 10, 11, 19, 20, 21, 35]) {
    const body = patternBytes(size);
    for (const pieceBytes of [1, 3, 7, 10, 11, 20, 100]) {
      const seen: { number: number; bytes: number[]; last: boolean }[] = [];
      for await (const { number, bytes, last } of cutIntoParts(pieces(body, pieceBytes), 10)) {
        seen.push({ number, bytes: [...bytes], last });
      }
      const what = `${size} bytes in pieces of ${pieceBytes}`;
      assertEquals(seen.flatMap((part) => part.bytes), [...body], what);
      const count = Math.max(1, Math.ceil(size / 10));
      assertEquals(
        seen.map((part) => [part.number, part.last]),
        [...Array(count).keys()].map((index) => [index + 1, index === count - 1]),
        what,
      );
      assert(seen.slice(0, -1).every((part) => part.bytes.length === 10), what);
    }
  }
});

Deno.test("cutIntoParts() leaves a part untouched while the next is filled, and takes turns with two buffers", async () => {
  const body = patternBytes(500_000);
  const buffers = new Set<ArrayBuffer>();
  const parts = cutIntoParts(pieces(body, 7_000), 100_000);
  let previous: Uint8Array | undefined;
  let position = 0;
  for await (const part of parts) {
    if (previous !== undefined) assertEquals(previous, body.slice(position - previous.length, position));
    position += previous === undefined ? 0 : part.bytes.length;
    if (previous === undefined) position = part.bytes.length;
    previous = part.bytes;
    buffers.add(part.bytes.buffer);
  }
  assertEquals(buffers.size, 2);
});

Deno.test("cutIntoParts() keeps little memory for a little body", async () => {
  for await (const part of cutIntoParts(pieces(patternBytes(1000)), 5 * 1024 * 1024)) {
    assert(part.bytes.buffer.byteLength <= 64 * 1024, `${part.bytes.buffer.byteLength}`);
  }
});

Deno.test("partSize() lets ten thousand parts hold 4.8 TiB, and stays at the minimum up to 5 GiB", () => {
  const MIB = 1024 * 1024;
  const whole = Array.from({ length: 10_000 }, (_, index) => partSize(index + 1, 5 * MIB)).reduce(
    (sum, size) => sum + size,
    0,
  );
  assert(whole >= 4.8 * 1024 * 1024 * MIB, `${whole}`);
  assertEquals([1, 1000, 1001, 2001, 10_000].map((number) => partSize(number, 5 * MIB) / MIB), [5, 5, 10, 20, 2560]);
});
