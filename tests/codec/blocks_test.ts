import { assertEquals } from "@std/assert";
import { inBlocks } from "../../src/codec/blocks.ts";

const SIZE = 1000;

async function* pieces(fill: number, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const size of sizes) yield await Promise.resolve(new Uint8Array(size).fill(fill));
}

Deno.test("inBlocks yields all bytes in blocks, the last one shorter, and large pieces as they are", async () => {
  for (const [sizes, blocks] of [[[10, 995, 2000], [1000, 1000, 1000, 5]], [[2500, 1], [2500, 1]], [[], []]] as const) {
    const found = await Array.fromAsync(inBlocks(pieces(7, sizes), SIZE), (bytes) => bytes.slice());
    assertEquals(found.map(({ length }) => length), [...blocks]);
    assertEquals(found.every((bytes) => bytes.every((byte) => byte === 7)), true);
  }
});

Deno.test("inBlocks cuts large pieces, too, where blocks must be exact", async () => {
  for (const [sizes, blocks] of [[[10, 995, 2000], [1000, 1000, 1000, 5]], [[2500, 1], [1000, 1000, 501]], [[], []]]) {
    const found = await Array.fromAsync(inBlocks(pieces(7, sizes!), SIZE, { isExact: true }), (bytes) => bytes.slice());
    assertEquals(found.map(({ length }) => length), blocks);
    assertEquals(found.every((bytes) => bytes.every((byte) => byte === 7)), true);
  }
});

Deno.test("inBlocks fills the block of a stream that has ended again, and never that of one under way", async () => {
  const buffers = new Set<ArrayBufferLike>();
  for (let n = 0; n < 20; n++) for await (const { buffer } of inBlocks(pieces(n, [400]), SIZE)) buffers.add(buffer);
  assertEquals(buffers.size, 1, "as garbage the blocks would be most of the memory");
  const [a, b] = [inBlocks(pieces(1, [600, 600]), SIZE), inBlocks(pieces(2, [600, 600]), SIZE)];
  const first = (await a.next()).value!;
  const second = (await b.next()).value!;
  assertEquals([first.every((byte) => byte === 1), second.every((byte) => byte === 2)], [true, true]);
  await a.return();
  const third = inBlocks(pieces(3, [600, 600]), SIZE);
  assertEquals((await third.next()).value!.every((byte) => byte === 3), true);
  assertEquals(second.every((byte) => byte === 2), true);
  await Promise.all([b.return(), third.return()]);
});
