/**
 * Writes zip archives whose bytes depend on nothing but what is in them: entries in the order of their names, one fixed
 * time stamp, Unix modes. In: names, bytes and modes. Out: the archive. For packages well below zip's 4 GB.
 *
 * @see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 */
import { crc32 } from "node:zlib";
import { concat } from "../src/concat.ts";
import { readBytes } from "../src/streams.ts";

/** A file in an archive. */
export interface ZipEntry {
  /** The path, with slashes, relative to the archive's root. */
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** The Unix mode, such as 0o755. */
  mode: number;
}

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_OF_CENTRAL = 0x06054b50;
/** What an extractor has to know: version 2.0, for deflate. */
const NEEDED_VERSION = 20;
/** Made on Unix (3), so that the modes count. */
const MADE_BY_UNIX = (3 << 8) | NEEDED_VERSION;
const UTF8_NAMES = 1 << 11;
const DEFLATED = 8;
const REGULAR_FILE = 0o100000;
/** 1 January 1980, where zip's time begins. */
const TIME = 0;
const DATE = (1 << 5) | 1;

/** The archive of `entries`. */
export async function writeZip(entries: readonly ZipEntry[]): Promise<Uint8Array<ArrayBuffer>> {
  const files: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, bytes, mode } of entries.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    const encoded = new TextEncoder().encode(name);
    const deflated = await deflate(bytes);
    // The fields that both headers share, from the needed version to the length of the (absent) extra field.
    const shared = fields(
      [2, NEEDED_VERSION],
      [2, UTF8_NAMES],
      [2, DEFLATED],
      [2, TIME],
      [2, DATE],
      [4, crc32(bytes)],
      [4, deflated.length],
      [4, bytes.length],
      [2, encoded.length],
      [2, 0],
    );
    const attributes = fields([2, 0], [2, 0], [2, 0], [4, (REGULAR_FILE | mode) * 0x10000], [4, offset]);
    const file = concat([fields([4, LOCAL_HEADER]), shared, encoded, deflated]);
    files.push(file);
    directory.push(fields([4, CENTRAL_HEADER], [2, MADE_BY_UNIX]), shared, attributes, encoded);
    offset += file.length;
  }
  const directoryBytes = directory.reduce((sum, part) => sum + part.length, 0);
  const { length } = entries;
  const end = fields([4, END_OF_CENTRAL], [2, 0], [2, 0], [2, length], [2, length], [4, directoryBytes], [4, offset], [
    2,
    0,
  ]);
  return concat([...files, ...directory, end]);
}

async function deflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const deflated = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return await readBytes(deflated);
}

/** Little-endian unsigned numbers, each given as its size in bytes and its value. */
function fields(...parts: [size: 2 | 4, value: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(parts.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of parts) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}
