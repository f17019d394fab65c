/** The door to `@std/bytes`, whose JavaScript has no types. In, pieces of bytes; out, one. */
import { concat as concatBytes } from "@std/bytes";

/** The pieces in a row, as a copy: what is held of them is free again. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatBytes(pieces);
}
