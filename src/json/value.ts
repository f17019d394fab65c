/**
 * Passes over one JSON value of any size without parsing it. In go its first byte and then pieces of a byte stream, cut
 * anywhere; out comes where it ends. This is where most of the bytes of a backup go through.
 */
import { concat } from "../concat.ts";
import { CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";
import { deletedBegun, IN_STRING, pass, passOn, passState, wasDeleted, windowEnd } from "./kernel.ts";

/** How a deleted revision says so, after the quote that begins the member. CouchDB writes no white space. */
const DELETED = new TextEncoder().encode('_deleted":true');

/** How a value is passed over. */
const Kind = {
  /** An object or array, at whatever depth, or a string. */
  Closed: 0,
  /** What ends with the byte that follows it. */
  Scalar: 1,
} as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** Where a value stands that is being passed over; used again for the next one. */
export class ValuePasser {
  /** Whether the value that is passed over is a deleted revision: `"_deleted":true` stands at its top. */
  isDeleted = false;

  #kind: Kind = Kind.Scalar;
  /** Where it stands; undefined before its first byte. */
  #state: number | undefined;
  /** What the last bytes had of a member that may be {@linkcode DELETED}; its rest is to come. */
  #deletedBegun: Uint8Array | undefined;

  /** Begins with the value whose first byte this is. The quote of a string is not to be passed again. */
  begin(byte: number): void {
    this.isDeleted = false;
    this.#deletedBegun = undefined;
    this.#kind = byte === QUOTE || byte === OPEN_BRACE || byte === OPEN_BRACKET ? Kind.Closed : Kind.Scalar;
    this.#state = byte === QUOTE ? IN_STRING : undefined;
  }

  /** Passes over as much of the value as there is from `at` on: its end, or -1 where the bytes end before it. */
  pass(bytes: Uint8Array, at: number): number {
    return this.#kind === Kind.Scalar ? passScalar(bytes, at) : this.#passClosed(bytes, at);
  }

  #passClosed(bytes: Uint8Array, from: number): number {
    if (this.#deletedBegun !== undefined) {
      this.#watchDeleted(concat([this.#deletedBegun, bytes.subarray(from, from + DELETED.length)]), 0);
    }
    for (let at = from; at < bytes.length; at = windowEnd()) {
      const end = this.#state === undefined ? pass(bytes, at) : passOn(bytes, at, this.#state);
      if (wasDeleted()) this.isDeleted = true;
      if (end >= 0) return end;
      this.#state = passState();
      const begun = deletedBegun();
      if (begun >= 0) this.#watchDeleted(bytes, begun);
    }
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
