/**
 * Compression and its inverse. In goes a stream of bytes, out comes another, piece by piece; bytes to be compressed may
 * be written over as soon as the next ones are asked for.
 */
import { createGzip } from "node:zlib";

/**
 * Three times as fast as zlib's usual level 6, which is the only one that CompressionStream knows, for archives 7 % larger
 * (107 against 40 MB/s on CouchDB's documents, one core). At 6 the compression would take longer than CouchDB does.
 */
const LEVEL = 4;
const OUTPUT_BYTES = 1 << 16;

/** What is decompressed at once. Documents shrink to a tenth, zeros to a thousandth: so large can what comes out be. */
const GUNZIP_BYTES = 16 * 1024;
/** And at once, where so little has just become more than {@linkcode MUCH_BYTES}: somebody means it. */
const CAREFUL_BYTES = 1024;
const MUCH_BYTES = 1 << 20;

/** Compresses a stream of bytes; an error of `source` comes out as it is. */
export async function* gzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const compressor = createGzip({ level: LEVEL, chunkSize: OUTPUT_BYTES });
  const feeding = feed(compressor, source);
  // Its failure is thrown below, when the reader has come so far; and not at all to a reader that leaves early.
  feeding.catch(() => {});
  try {
    for await (const bytes of compressor) yield bytes as Uint8Array;
  } catch (error) {
    // What stopped the compressor knows better why.
    await feeding;
    throw error;
  } finally {
    compressor.destroy();
  }
  await feeding;
}

/** Writes `source` into the compressor, one piece after the other has been taken. */
async function feed(compressor: ReturnType<typeof createGzip>, source: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const bytes of source) {
      await new Promise<void>((resolve, reject) => {
        compressor.write(bytes, (error) => error ? reject(error) : resolve());
      });
    }
    compressor.end();
  } catch (error) {
    compressor.destroy(error instanceof Error ? error : undefined);
    throw error;
  }
}

/** The bytes are not gzip, end early, or fail their checksum. */
export class GzipError extends Error {
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
