/** Where `show` and `export` write documents: each in the bytes that CouchDB sent, on a line of its own. */
import type { WalkedDocument } from "../archive/walk.ts";

/** Takes bytes of a result, which are valid until it has; false when nobody reads any more. */
export type Sink = (bytes: Uint8Array) => Promise<boolean>;

/** Ends the line of a document. */
export const NEWLINE: Uint8Array = new Uint8Array([0x0a]);

/** Sends the bytes of a document, and a newline. @returns Whether anybody still reads. */
export async function sendDocument(document: WalkedDocument, sink: Sink): Promise<boolean> {
  if ("bytes" in document) {
    if (!await sink(onOneLine(document.bytes))) return false;
  } else {
    for await (const piece of document.stream) if (!await sink(onOneLine(piece))) return false;
  }
  return await sink(NEWLINE);
}

/** CouchDB writes no line ends; in files of others they can only stand between values, where a blank means the same. */
export function onOneLine(bytes: Uint8Array): Uint8Array {
  if (bytes.indexOf(0x0a) < 0 && bytes.indexOf(0x0d) < 0) return bytes;
  return bytes.map((byte) => byte === 0x0a || byte === 0x0d ? 0x20 : byte);
}
