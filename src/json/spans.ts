/**
 * Where the members of a JSON object stand in its bytes, so that one can be taken out or put in without touching the
 * others. In: the bytes of a whole object. Out: the place of each member at its top, or the bytes with another
 * revision.
 */
import { concat } from "../concat.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";

/** A member at the top of an object: its name, and where it begins (the quote of the name) and ends. */
export interface MemberSpan {
  name: string;
  from: number;
  /** Where its value begins. */
  valueFrom: number;
  /** After its value. */
  to: number;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * The members at the top of an object, in their order.
 *
 * @throws SyntaxError when the bytes are no whole object.
 */
export function memberSpans(bytes: Uint8Array): MemberSpan[] {
  const spans: MemberSpan[] = [];
  let at = skipBlanks(bytes, 0);
  if (bytes[at] !== OPEN_BRACE) throw new SyntaxError("It is no object");
  at = skipBlanks(bytes, at + 1);
  while (bytes[at] !== CLOSE_BRACE) {
    const from = at;
    const nameEnd = endOfValue(bytes, at);
    const name = JSON.parse(decoder.decode(bytes.subarray(from, nameEnd)));
    const colon = skipBlanks(bytes, nameEnd);
    if (typeof name !== "string" || bytes[colon] !== COLON) throw new SyntaxError(`No member at byte ${from}`);
    const valueFrom = skipBlanks(bytes, colon + 1);
    const to = endOfValue(bytes, valueFrom);
    spans.push({ name, from, valueFrom, to });
    at = skipBlanks(bytes, to);
    if (bytes[at] === CLOSE_BRACE) break;
    if (bytes[at] !== COMMA) throw new SyntaxError(`No end of a member at byte ${at}`);
    at = skipBlanks(bytes, at + 1);
    if (bytes[at] === CLOSE_BRACE) throw new SyntaxError(`No member at byte ${at}`);
  }
  if (bytes.subarray(at + 1).some((byte) => byte > 0x20)) throw new SyntaxError("It goes on past its end");
  return spans;
}

/**
 * A document with another revision to be written onto, and without its history; all else is as it was, byte for byte.
 *
 * @param rev Undefined: none, for a document that CouchDB has not.
 * @throws SyntaxError when the bytes are no whole object.
 */
export function withRevision(bytes: Uint8Array, rev: string | undefined): Uint8Array {
  const kept = memberSpans(bytes).filter(({ name }) => name !== "_rev" && name !== "_revisions");
  const members = kept.map(({ from, to }) => bytes.subarray(from, to));
  if (rev !== undefined) members.splice(1, 0, encoder.encode(`"_rev":${JSON.stringify(rev)}`));
  const separated = members.flatMap((member, index) => index === 0 ? [member] : [encoder.encode(","), member]);
  return concat([encoder.encode("{"), ...separated, encoder.encode("}")]);
}

function skipBlanks(bytes: Uint8Array, at: number): number {
  while (at < bytes.length && bytes[at]! <= 0x20) at++;
  if (at >= bytes.length) throw new SyntaxError("It ends too early");
  return at;
}

/** After the value that begins at `at`. */
function endOfValue(bytes: Uint8Array, at: number): number {
  if (bytes[at] === QUOTE) return endOfString(bytes, at);
  if (bytes[at] !== OPEN_BRACE && bytes[at] !== OPEN_BRACKET) {
    let end = at;
    while (end < bytes.length && !ENDS_SCALAR.has(bytes[end]!) && bytes[end]! > 0x20) end++;
    if (end === at) throw new SyntaxError(`No value at byte ${at}`);
    return end;
  }
  for (let depth = 0, end = at; end < bytes.length; end++) {
    const byte = bytes[end]!;
    if (byte === QUOTE) end = endOfString(bytes, end) - 1;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) return end + 1;
  }
  throw new SyntaxError("It ends too early");
}

const ENDS_SCALAR = new Set([COMMA, CLOSE_BRACE, CLOSE_BRACKET]);

function endOfString(bytes: Uint8Array, at: number): number {
  for (let end = at + 1; end < bytes.length; end++) {
    if (bytes[end] === BACKSLASH) end++;
    else if (bytes[end] === QUOTE) return end + 1;
  }
  throw new SyntaxError("It ends too early");
}
