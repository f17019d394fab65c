/**
 * Compression and its inverse. In goes a stream of bytes, out comes another, piece by piece; bytes to be compressed may
 * be written over as soon as the next ones are asked for.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { constants, crc32, deflateRaw, deflateRawSync, type ZlibOptions } from "node:zlib";
import { promisify } from "node:util";
import { inBlocks } from "./blocks.ts";
import { COMPRESSIONS } from "./compression.ts";
import { CodecError } from "./error.ts";

/**
 * What is compressed in one call, at least: a stream object costs more for each piece than the call, and its buffers
 * are garbage that V8 collects late. Each block begins without a memory of the last one: 0.6 % larger (64 KB: 2.5 %).
 */
const BLOCK_BYTES = 1 << 18;
/** Documents shrink to less than a quarter. */
const SHRUNK_TO = 1 / 4;
/** What a block needs beside that, so that a small one is one piece of output. */
const OUTPUT_BYTES_MORE = 1024;
/** zlib keeps so many bytes before the end of its window (`MIN_LOOKAHEAD`). */
const LOOKAHEAD_BYTES = 262;
const MOST_WINDOW_BITS = 15;

/** A member without name and time, written on an unknown system (RFC 1952). */
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);
/** The last block of deflate, without content: those before it do not say that they are the last. */
const LAST_BLOCK = Uint8Array.of(3, 0);

/** What is decompressed at once. Documents shrink to a tenth, zeros to a thousandth: so large can what comes out be. */
const GUNZIP_BYTES = 16 * 1024;
/** And at once, where so little has just become more than {@linkcode MUCH_BYTES}: somebody means it. */
const CAREFUL_BYTES = 1024;
const MUCH_BYTES = 1 << 20;

type Deflate = (bytes: Uint8Array, options: ZlibOptions) => Uint8Array | Promise<Uint8Array>;

/**
 * Node compresses in a thread of its own. Deno does it on this one either way, and what is then awaited is a stream
 * object for each block, whose calls and garbage cost CPU time.
 */
const deflate: Deflate = process.versions.deno === undefined
  ? promisify<Uint8Array, ZlibOptions, Uint8Array>(deflateRaw)
  : deflateRawSync;

/**
 * Compresses a stream of bytes into one gzip member; an error of `source` comes out as it is. Large pieces are
 * compressed as they are, small ones are put together before.
 */
export async function* gzip(
  source: AsyncIterable<Uint8Array>,
  level: number = COMPRESSIONS.gzip.standard,
): AsyncGenerator<Uint8Array> {
  let crc = 0;
  let sizeBytes = 0;
  /** What has yet to go out: a call of the store costs more than a copy. */
  let ready: Uint8Array = HEADER;
  for await (const block of inBlocks(source, BLOCK_BYTES)) {
    crc = crc32(block, crc);
    sizeBytes += block.length;
    // Ends at a whole byte, so that the next block may follow.
    const options = { ...roomFor(block.length), level, finishFlush: constants.Z_SYNC_FLUSH };
    const compressed = await deflate(block, options);
    if (ready !== HEADER) yield ready;
    ready = ready === HEADER ? Buffer.concat([HEADER, compressed]) : compressed;
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(sizeBytes % 2 ** 32, 4);
  yield Buffer.concat([ready, LAST_BLOCK, trailer]);
}

/**
 * Memory for the compression of a block, cleared for each: the smallest window that reaches back to its beginning, which
 * changes nothing of what comes out, and a buffer for that.
 */
function roomFor(sizeBytes: number): Pick<ZlibOptions, "windowBits" | "chunkSize"> {
  const windowBits = Math.min(MOST_WINDOW_BITS, Math.max(9, Math.ceil(Math.log2(sizeBytes + LOOKAHEAD_BYTES))));
  return { windowBits, chunkSize: Math.min(BLOCK_BYTES, sizeBytes) * SHRUNK_TO + OUTPUT_BYTES_MORE | 0 };
}

/** The bytes are not gzip, end early, or fail their checksum. */
export class GzipError extends CodecError {
  override readonly name: string = "GzipError";
}

/**
 * Decompresses a stream of bytes; an error of `source` comes out as it is.
 *
 * @throws GzipError when the bytes are not whole gzip.
 */
export async function* gunzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const transform = new DecompressionStream("gzip") as ReadableWritablePair<Uint8Array, Uint8Array>;
  let failure: { error: unknown } | undefined;
  /** What has come out since the last bytes went in. */
  let lately = 0;
  const sizeOfNext = () => {
    const size = lately > MUCH_BYTES ? CAREFUL_BYTES : GUNZIP_BYTES;
    lately = 0;
    return size;
  };
  const watched = (async function* () {
    try {
      yield* cut(source, sizeOfNext);
    } catch (error) {
      failure = { error };
      throw error;
    }
  })();
  try {
    for await (const bytes of ReadableStream.from(watched).pipeThrough(transform)) {
      lately += bytes.length;
      yield bytes;
    }
  } catch (error) {
    // A DecompressionStream says with a TypeError what is wrong with the bytes, and so is any mistake of ours called:
    // only what is thrown here and not by the source is about the bytes.
    if (failure !== undefined) throw failure.error;
    throw new GzipError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

async function* cut(source: AsyncIterable<Uint8Array>, sizeOfNext: () => number): AsyncGenerator<Uint8Array> {
  for await (const bytes of source) {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + sizeOfNext());
      yield part;
      at += part.length;
    }
  }
}
