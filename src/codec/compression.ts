/**
 * What chunks may be compressed with and sealed to: the names in config and objects, and the levels that there are. Pure.
 */

/** A way to compress. */
export type Compression = "gzip" | "zstd";

/** How chunks are written. */
export interface Codec {
  /** What compresses them. */
  compression: Compression;
  /** How hard it tries. @default the way's standard */
  level?: number | undefined;
  /** To whom they are sealed, public keys of age. Absent: to nobody, so that whoever holds the bucket reads them. */
  recipients?: readonly string[] | undefined;
}

/** What stands behind the end of a chunk's name where it is sealed. */
export const SEALED_EXTENSION = "age";

/** Whether an object is sealed, by its name. */
export function isSealedName(name: string): boolean {
  return name.endsWith(`.${SEALED_EXTENSION}`);
}

/** Whether what is sealed to some can be opened by just the same as what is sealed to others. */
export function haveSameRecipients(
  some: readonly string[] | undefined,
  others: readonly string[] | undefined,
): boolean {
  const [a, b] = [some, others].map((recipients) => [...new Set(recipients)].sort().join(" "));
  return a === b;
}

/** What is known of a way to compress. */
export interface CompressionFacts {
  /** What stands at the end of a chunk's name. */
  extension: string;
  /** The highest level; 1 is the lowest. */
  most: number;
  /** The level where nobody says. */
  standard: number;
}

/** Every way, by its name in the config. */
export const COMPRESSIONS: Readonly<Record<Compression, CompressionFacts>> = {
  // Three times as fast as zlib's usual level 6 for archives 7 % larger; at 6 it would take longer than CouchDB does.
  gzip: { extension: "gz", most: 9, standard: 4 },
  // Above 19 a reader would need a window of more than the 8 MiB that every reader has.
  zstd: { extension: "zst", most: 19, standard: 1 },
};

/** What chunks are written with where nobody says. */
export const STANDARD_CODEC: Codec = { compression: "gzip" };
