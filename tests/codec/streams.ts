/** Streams of bytes for compressors: cut into pieces, put together, or all in one buffer. */
import { Buffer } from "node:buffer";

/** The bytes in pieces of a size; the last one may be shorter. */
export async function* pieces(bytes: Uint8Array, sizeBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += sizeBytes) {
    yield await Promise.resolve(bytes.subarray(at, at + sizeBytes));
  }
}

/** The same, each piece in the buffer of the one before, which is overwritten as soon as the next one is asked for. */
export async function* inOneBuffer(bytes: Uint8Array, sizeBytes: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(sizeBytes);
  for await (const piece of pieces(bytes, sizeBytes)) {
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
    buffer.fill(0);
  }
}

/** All bytes of a stream. */
export async function join(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(Buffer.concat(await Array.fromAsync(source)));
}
