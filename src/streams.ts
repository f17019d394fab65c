/** The door to `@std/streams`, whose JavaScript has no types. In, a stream that fits into memory; out, what it held. */
import { toArrayBuffer, toText } from "@std/streams";

/** All bytes of a stream. Rejects with the stream's own error. */
export async function readBytes(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await toArrayBuffer(stream));
}

/** All of a stream as text, read as UTF-8. Rejects with the stream's own error. */
export async function readText(stream: ReadableStream<Uint8Array>): Promise<string> {
  return await toText(stream);
}
