/**
 * Passes over one JSON value of any size without parsing it. In go its first byte and then pieces of a byte stream, cut
 * anywhere; out comes where it ends. This is where most of the bytes of a backup go through.
 */
import { concat } from "../concat.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";

/** How a deleted revision says so, behind the quote that begins the member. CouchDB writes no white space. */
const DELETED = new TextEncoder().encode('_deleted":true');
const UNDERSCORE = 0x5f;
const SMALL_D = 0x64;

/** Strings longer than this are left to the native search; for shorter ones the call costs more than the loop. */
const SHORT_STRING_BYTES = 24;

/** How a value is passed over. */
const Kind = {
  String: 0,
  /** An object or array, at whatever depth. */
  Nested: 1,
  Scalar: 2,
} as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** Where a value stands that is being passed over; used again for the next one. */
export class ValuePasser {
  /** Whether the value that is passed over is a deleted revision: `"_deleted":true` stands at its top. */
  isDeleted = false;

  #kind: Kind = Kind.Scalar;
  #depth = 0;
  #inString = false;
  /** The last byte was a backslash that escapes the next one. */
  #escaped = false;
  /** What the last bytes had of a member that may be {@linkcode DELETED}; its rest is to come. */
  #deletedBegun: Uint8Array | undefined;

  /** Begins with the value whose first byte this is. The quote of a string is not to be passed again. */
  begin(byte: number): void {
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
    this.isDeleted = false;
    this.#deletedBegun = undefined;
    if (byte === QUOTE) this.#kind = Kind.String;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#kind = Kind.Nested;
    else this.#kind = Kind.Scalar;
  }

  /** Passes over as much of the value as there is from `at` on: its end, or -1 where the bytes end before it. */
  pass(bytes: Uint8Array, at: number): number {
    switch (this.#kind) {
      case Kind.String:
        return this.#passString(bytes, at);
      case Kind.Nested:
        return this.#passNested(bytes, at);
      default:
        return passScalar(bytes, at);
    }
  }

  /** Passes over the rest of a string and its closing quote. */
  #passString(bytes: Uint8Array, from: number): number {
    const end = bytes.length;
    let at = from;
    if (at >= end) return -1;
    if (this.#escaped) at++;
    this.#escaped = false;
    for (const near = Math.min(end, at + SHORT_STRING_BYTES); at < near; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) return at + 1;
      if (byte === BACKSLASH) at++;
    }
    while (at < end) {
      const quote = bytes.indexOf(QUOTE, at);
      const stop = quote < 0 ? end : quote;
      // An odd run of backslashes before the quote escapes it; the run cannot reach back before `at`, which is
      // unescaped.
      let run = stop;
      while (run > at && bytes[run - 1] === BACKSLASH) run--;
      const odd = (stop - run) % 2 === 1;
      if (quote >= 0 && !odd) return quote + 1;
      at = quote < 0 ? end + (odd ? 1 : 0) : quote + 1;
    }
    this.#escaped = at > end;
    return -1;
  }

  /** Passes over the rest of an object or array, strings within it included. */
  #passNested(bytes: Uint8Array, from: number): number {
    const end = bytes.length;
    let at = from;
    if (this.#deletedBegun !== undefined) {
      this.#watchDeleted(concat([this.#deletedBegun, bytes.subarray(from, from + DELETED.length)]), 0);
    }
    if (this.#inString) {
      at = this.#passString(bytes, at);
      if (at < 0) return -1;
      this.#inString = false;
    }
    let depth = this.#depth;
    while (at < end) {
      const byte = bytes[at++]!;
      if (byte === QUOTE) {
        // Of all that may stand at a document's top this alone matters, and few names begin like it.
        if (depth === 1 && (at + 1 >= end || (bytes[at] === UNDERSCORE && bytes[at + 1] === SMALL_D))) {
          this.#watchDeleted(bytes, at);
        }
        at = this.#passString(bytes, at);
        if (at < 0) {
          this.#inString = true;
          break;
        }
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        depth++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        if (--depth === 0) return at;
      }
    }
    this.#depth = depth;
    return -1;
  }

  /** Looks whether `bytes` have {@linkcode DELETED} at `at`, or its beginning at their end. */
  #watchDeleted(bytes: Uint8Array, at: number): void {
    this.#deletedBegun = undefined;
    const length = Math.min(DELETED.length, bytes.length - at);
    for (let index = 0; index < length; index++) if (bytes[at + index] !== DELETED[index]) return;
    if (length === DELETED.length) this.isDeleted = true;
    else this.#deletedBegun = bytes.slice(at);
  }
}

/** Passes over the rest of a number, true, false or null; what ends it is not part of it. */
function passScalar(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= 0x20) return at;
  }
  return -1;
}
