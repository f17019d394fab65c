/** Compression and its inverse, piece by piece. */

/** What is decompressed at once. Documents shrink to a tenth, zeros to a thousandth: so large can what comes out be. */
const GUNZIP_BYTES = 16 * 1024;

/** Compresses a stream of bytes; an error of `source` comes out as it is. */
export function gzip(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return transformed(source, new CompressionStream("gzip"));
}

/** Decompresses a stream of bytes. @throws TypeError when they are not gzip, or end early. */
export function gunzip(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return transformed(cut(source, GUNZIP_BYTES), new DecompressionStream("gzip"));
}

async function* cut(source: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  for await (const bytes of source) {
    for (let at = 0; at < bytes.length; at += most) yield bytes.subarray(at, at + most);
  }
}

function transformed(
  source: AsyncIterable<Uint8Array>,
  transform: CompressionStream | DecompressionStream,
): AsyncIterable<Uint8Array> {
  return ReadableStream.from(source).pipeThrough(transform as ReadableWritablePair<Uint8Array, Uint8Array>);
}
