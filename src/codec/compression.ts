/**
 * The ways to compress a chunk, with their levels and the endings of their objects' names. Pure.
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

/** The ending of an encrypted chunk's name. */
export const SEALED_EXTENSION = "age";

/** Whether an object's name says that it is encrypted. */
export function isSealedName(name: string): boolean {
  return name.endsWith(`.${SEALED_EXTENSION}`);
}

/** Whether two lists name the same recipients, in whatever order. */
export function haveSameRecipients(
  some: readonly string[] | undefined,
  others: readonly string[] | undefined,
): boolean {
  const [a, b] = [some, others].map((recipients) => [...new Set(recipients)].sort().join(" "));
  return a === b;
}

/** The facts about a way to compress. */
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
  // Above 19 a reader needs a window of more than 8 MiB, and not every reader has that.
  zstd: { extension: "zst", most: 19, standard: 1 },
};

/** How chunks are written if the config does not say. */
export const STANDARD_CODEC: Codec = { compression: "gzip" };
