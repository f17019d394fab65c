/**
 * The revision of a document that begins as CouchDB begins all of them, `{"_id":"…","_rev":"…"`, read where it stands.
 * In: a document's bytes. Out: its revision, or nothing where it begins otherwise or has an escape there: then it has
 * to be looked for. Who compares a million documents spends most of the time on taking members apart.
 */
import { BACKSLASH, QUOTE } from "./bytes.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const BEFORE_ID = encoder.encode('{"_id":"');
const BEFORE_REVISION = encoder.encode(',"_rev":"');

/** The text of `_rev`, where the bytes begin as usual. */
export function readUsualRevision(bytes: Uint8Array): string | undefined {
  if (!standsAt(bytes, 0, BEFORE_ID)) return undefined;
  const idEnd = endOfPlain(bytes, BEFORE_ID.length);
  if (idEnd < 0 || !standsAt(bytes, idEnd + 1, BEFORE_REVISION)) return undefined;
  const from = idEnd + 1 + BEFORE_REVISION.length;
  const end = endOfPlain(bytes, from);
  return end < 0 ? undefined : decoder.decode(bytes.subarray(from, end));
}

function standsAt(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  for (let index = 0; index < text.length; index++) if (bytes[at + index] !== text[index]) return false;
  return true;
}

/** The quote that ends a string without escapes; -1 where it has some, or does not end. */
function endOfPlain(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === QUOTE) return at;
    if (byte === BACKSLASH || byte < 0x20) return -1;
  }
  return -1;
}
