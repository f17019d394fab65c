/**
 * Bytes that are kept in memory for a while and should take little of it. In: texts such as ids, some hundred KB at a time.
 * Out: the same, compressed, and back. No file ever has them.
 */
// Not by name: where a runtime lacks zstd, the program would not start.
import zlib from "node:zlib";
import { release } from "./release.ts";

/** Of zstd, the level that is best for ids: higher ones look for repetitions that random digits have by chance alone. */
const ZSTD_LEVEL = 1;
/** Of deflate, the lowest level that does not take such repetitions: 1 makes random ids twice as large. */
const DEFLATE_LEVEL = 6;

/** What zstd makes of bytes that it cannot compress is no more larger than this, for the sizes that are kept. */
const ROOM_BYTES = 1 << 12;

/** Node has zstd since 22.15. */
const hasZstd = "zstdCompressSync" in zlib;

/**
 * Compresses. 5000 random ids of 32 hexadecimal digits and their revisions become 22 bytes each, 24 by deflate.
 *
 * @param withZstd Whether by zstd, which takes a fifth of the time. @default where the runtime has it
 */
export function shrink(bytes: Uint8Array, withZstd: boolean = hasZstd): Uint8Array {
  if (!withZstd) return tight(zlib.deflateRawSync(bytes, { level: DEFLATE_LEVEL }));
  const params = { [zlib.constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL };
  // All that comes out goes into one piece: Deno 2.9 begins a frame without content after each that is full.
  return tight(zlib.zstdCompressSync(bytes, { params, chunkSize: bytes.length + ROOM_BYTES }));
}

/** The bytes that {@linkcode shrink} was given. */
export function unshrink(bytes: Uint8Array, withZstd: boolean = hasZstd): Uint8Array {
  return withZstd ? zlib.zstdDecompressSync(bytes) : zlib.inflateRawSync(bytes);
}

/** What was made may lie in a buffer that is much larger. */
function tight(bytes: Uint8Array): Uint8Array {
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = new Uint8Array(bytes);
  release(bytes);
  return copy;
}
