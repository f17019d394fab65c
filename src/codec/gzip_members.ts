/**
 * Decompresses gzip that other programs wrote: several members may follow each other, as `gzip >> file` and `cat` make
 * them, which a DecompressionStream takes for damage. In goes a stream of bytes, out comes another, piece by piece.
 */
import { createGunzip } from "node:zlib";
import { inBlocks } from "./blocks.ts";
import { GzipError } from "./gzip.ts";
import { Steps } from "./steps.ts";

/**
 * What is decompressed at once. Always so much, however the bytes come: what comes out of damaged ones depends on it, and
 * whoever reads a file twice has to find the same.
 */
const INPUT_BYTES = 16 * 1024;
/** And at once, where so little has just become more than {@linkcode MUCH_BYTES}: zeros grow a thousandfold. */
const CAREFUL_BYTES = 1024;
const MUCH_BYTES = 1 << 20;
/**
 * What comes out at once. Each piece is a buffer of its own, which V8 collects by how many there are rather than by how
 * large: pieces of 64 KB let a bomb take 160 MB instead of 110, for a fifth more speed.
 */
const OUTPUT_BYTES = 1 << 13;

/**
 * Decompresses all members of a stream of bytes; an error of `source` comes out as it is. What is whole of bytes that are
 * cut off comes out before the error.
 *
 * @throws GzipError when the bytes are not whole gzip, or something else follows a member.
 */
export async function* gunzipMembers(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decompressor = new Steps(createGunzip({ chunkSize: OUTPUT_BYTES }));
  /** What has come out of the last step. */
  let lately = 0;
  const outOf = async function* (step: Promise<Uint8Array[]>): AsyncGenerator<Uint8Array> {
    try {
      const pieces = await step;
      lately = pieces.reduce((sum, { length }) => sum + length, 0);
      yield* pieces;
    } catch (error) {
      yield* decompressor.taken();
      throw new GzipError(error instanceof Error ? error.message : String(error), { cause: error });
    }
  };
  try {
    for await (const block of inBlocks(source, INPUT_BYTES, { isExact: true })) {
      for (let at = 0; at < block.length;) {
        const part = block.subarray(at, at + (lately > MUCH_BYTES ? CAREFUL_BYTES : INPUT_BYTES));
        yield* outOf(decompressor.step(part));
        at += part.length;
      }
    }
    yield* outOf(decompressor.end());
  } finally {
    decompressor.close();
  }
}
