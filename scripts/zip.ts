/**
 * Writes zip archives whose bytes depend on nothing but what is in them: entries in the order of their names, one fixed
 * time stamp, Unix modes. In: names, bytes and modes. Out: the archive.
 */
import { type Zippable, zipSync } from "fflate";

/** A file in an archive. */
export interface ZipEntry {
  /** The path, with slashes, relative to the archive's root. */
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** The Unix mode, such as 0o755. */
  mode: number;
}

/** Made on Unix, so that the modes count. */
const UNIX = 3;
const REGULAR_FILE = 0o100000;
/** 1 January 1980, where zip's time begins; in local time, as the archive has it. */
const TIME = new Date(1980, 0, 1);

/** The archive of `entries`. */
export function writeZip(entries: readonly ZipEntry[]): Uint8Array<ArrayBuffer> {
  const files: Zippable = {};
  for (const { name, bytes, mode } of entries.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    files[name] = [bytes, { os: UNIX, attrs: (REGULAR_FILE | mode) * 0x10000, mtime: TIME }];
  }
  return zipSync(files) as Uint8Array<ArrayBuffer>;
}
