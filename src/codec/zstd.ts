/**
 * Compression by zstd (RFC 8878) and its inverse, as the runtime has it: node:zlib in Deno, and in Node since 22.15. In
 * goes a stream of bytes, out comes another, piece by piece; bytes to be compressed may be written over as soon as the
 * next ones are asked for.
 */
// Not by name: where a runtime lacks them, the program would not start.
import zlib from "node:zlib";
import process from "node:process";
import { UsageError } from "../errors.ts";
import { inBlocks } from "./blocks.ts";
import { COMPRESSIONS } from "./compression.ts";
import { Steps } from "./steps.ts";
import { ZstdError, zstdParts } from "./zstd_parts.ts";

/** What is given to the compressor at once. */
const INPUT_BYTES = 1 << 17;
const OUTPUT_BYTES = 1 << 16;
/** What a part of a frame becomes, which is one block at most, must fit. */
const BLOCK_BYTES = 1 << 17;

/** What the highest level that this program writes needs, and every reader has (RFC 8878, 3.1.1.1.2). */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** What `zstd -d` reads without being asked for more. */
const FOREIGN_WINDOW_BYTES = 128 * 1024 * 1024;

/**
 * What a runtime without zstd says; undefined where it has zstd.
 *
 * @param runtime Its node:zlib.
 */
export function lacksZstd(
  { createZstdCompress, createZstdDecompress }: Partial<typeof zlib> = zlib,
): UsageError | undefined {
  if (createZstdCompress !== undefined && createZstdDecompress !== undefined) return undefined;
  return new UsageError(`Node ${process.versions.node} has no zstd`, {
    hint: "zstd needs Node 22.15 or later; the program for Deno, or as one file, has it",
  });
}

function requireZstd(): void {
  const lack = lacksZstd();
  if (lack !== undefined) throw lack;
}

/** Compresses a stream of bytes into one frame with a checksum; an error of `source` comes out as it is. */
export async function* zstd(
  source: AsyncIterable<Uint8Array>,
  level: number = COMPRESSIONS.zstd.standard,
): AsyncGenerator<Uint8Array, void, undefined> {
  requireZstd();
  const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zlib.constants;
  const params = { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: 1 };
  const compressor = new Steps(zlib.createZstdCompress({ params, chunkSize: OUTPUT_BYTES }));
  try {
    for await (const bytes of inBlocks(source, INPUT_BYTES)) yield* await compressor.step(bytes);
    yield* await compressor.end();
  } finally {
    compressor.close();
  }
}

/**
 * Decompresses all frames of a stream of bytes; an error of `source` comes out as it is.
 *
 * @param mostWindowBytes The window that a frame may need at most; it lies in memory.
 * @throws ZstdError when the bytes are not whole zstd; UsageError when the runtime has no zstd.
 */
export async function* unzstd(
  source: AsyncIterable<Uint8Array>,
  mostWindowBytes: number = WINDOW_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  requireZstd();
  let frame: Steps | undefined;
  try {
    for await (const { bytes, isEnd } of zstdParts(source, { mostWindowBytes })) {
      // Room for a block from wherever the one before ended: Deno 2.9.6 throws what is wrong with a block that it
      // writes in two steps where nobody can catch it, and stops at the end of a frame.
      frame ??= new Steps(zlib.createZstdDecompress({ chunkSize: BLOCK_BYTES + 1 }));
      try {
        yield* await frame.step(bytes);
        if (!isEnd) continue;
        yield* await frame.end();
      } catch (error) {
        throw new ZstdError(error instanceof Error ? error.message : String(error), { cause: error });
      }
      frame.close();
      frame = undefined;
    }
  } finally {
    frame?.close();
  }
}

/** The same of what other programs have written, with a larger window. */
export function unzstdForeign(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  return unzstd(source, FOREIGN_WINDOW_BYTES);
}
