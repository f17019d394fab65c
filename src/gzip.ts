/** Compression and its inverse, piece by piece. */

/** Compresses a stream of bytes; an error of `source` comes out as it is. */
export function gzip(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return transformed(source, new CompressionStream("gzip"));
}

/** Decompresses a stream of bytes. @throws TypeError when they are not gzip, or end early. */
export function gunzip(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return transformed(source, new DecompressionStream("gzip"));
}

function transformed(
  source: AsyncIterable<Uint8Array>,
  transform: CompressionStream | DecompressionStream,
): AsyncIterable<Uint8Array> {
  return ReadableStream.from(source).pipeThrough(transform as ReadableWritablePair<Uint8Array, Uint8Array>);
}
