/**
 * Decompresses gzip that other programs wrote: several members may follow each other, as `gzip >> file` and `cat` make
 * them, which a DecompressionStream takes for damage. In goes a stream of bytes, out comes another, piece by piece.
 */
import { createGunzip } from "node:zlib";
import { GzipError } from "./gzip.ts";

/** What is decompressed at once: zeros grow a thousandfold. */
const INPUT_BYTES = 16 * 1024;
/**
 * What comes out at once. Each piece is a buffer of its own, which V8 collects by how many there are rather than by how
 * large: pieces of 64 KB let a bomb take 160 MB instead of 110, for a fifth more speed.
 */
const OUTPUT_BYTES = 1 << 13;

/**
 * Decompresses all members of a stream of bytes; an error of `source` comes out as it is.
 *
 * @throws GzipError when the bytes are not whole gzip, or something else follows a member.
 */
export async function* gunzipMembers(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decompressor = createGunzip({ chunkSize: OUTPUT_BYTES });
  let failure: { error: unknown } | undefined;
  const feeding = (async () => {
    try {
      for await (const bytes of source) {
        for (let at = 0; at < bytes.length; at += INPUT_BYTES) {
          await new Promise<void>((resolve, reject) => {
            decompressor.write(bytes.subarray(at, at + INPUT_BYTES), (error) => error ? reject(error) : resolve());
          });
        }
      }
      decompressor.end();
    } catch (error) {
      // The decompressor's own error has come first, where it is to blame.
      if (!decompressor.destroyed) failure = { error };
      decompressor.destroy(error instanceof Error ? error : undefined);
    }
  })();
  try {
    for await (const bytes of decompressor) yield bytes as Uint8Array;
  } catch (error) {
    if (failure !== undefined) throw failure.error;
    throw new GzipError(error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    decompressor.destroy();
  }
  await feeding;
}
