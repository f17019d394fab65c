/**
 * Recognises what a file of documents is by how it begins: a chunk of this program or of the reference script, or what
 * other programs and CouchDB's own answers look like. In go the first bytes, out comes the shape the scanner reads.
 */
import { BULK_GET_SHAPE, type JsonShape } from "../json/scan.ts";

/** How the documents of a file lie in it. */
export interface ArchiveFormat {
  /** For the log: `an array of documents`. */
  name: string;
  shape: JsonShape;
  /** How many bytes come before the JSON that the shape describes. */
  skipBytes: number;
}

/** How many bytes {@linkcode recogniseFormat} wants to see; a file may be shorter. */
export const FORMAT_SAMPLE_BYTES: number = 64 * 1024;

/** The chunks of this program. */
export const CHUNK_FORMAT: ArchiveFormat = { name: "rows of _bulk_get", shape: BULK_GET_SHAPE, skipBytes: 0 };

const DOCUMENT_ARRAY: JsonShape = { array: null, element: "document", repeated: true };
const SHAPES: Record<string, { name: string; shape: JsonShape }> = {
  results: CHUNK_FORMAT,
  docs: { name: "a body of _bulk_docs", shape: { array: "docs", element: "document" } },
  rows: { name: "an answer of _all_docs", shape: { array: "rows", element: "wrapped" } },
};
const CHANGES_FORMAT: ArchiveFormat = {
  name: "an answer of _changes",
  shape: { array: "results", element: "wrapped" },
  skipBytes: 0,
};

/** Whether bytes are gzip's. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/**
 * Recognises the format of decompressed bytes; undefined when they are none of the known ones.
 *
 * @param sample The file's first {@linkcode FORMAT_SAMPLE_BYTES}.
 */
export function recogniseFormat(sample: Uint8Array): ArchiveFormat | undefined {
  const text = new TextDecoder().decode(sample);
  if (/^\s*\[/.test(text)) return { name: "arrays of documents", shape: DOCUMENT_ARRAY, skipBytes: 0 };
  // couchbackup's files begin with a line that says so, since its version 2.10.
  const header = /^\s*\{[^\n]*\n/.exec(text)?.[0];
  if (header !== undefined && isCouchbackupHeader(header)) {
    const skipBytes = new TextEncoder().encode(header).length;
    return { name: "a file of couchbackup", shape: DOCUMENT_ARRAY, skipBytes };
  }
  if (!/^\s*\{/.test(text)) return undefined;
  // The member that holds the array comes first, or behind a few plain ones such as "new_edits" and "total_rows".
  const match = /^\s*\{\s*(?:"[^"\\]*"\s*:\s*(?:[-\w.+]+|"[^"\\]*")\s*,\s*)*"(results|docs|rows)"\s*:\s*\[/.exec(text);
  if (match === null) return undefined;
  // Rows of _changes are in an array of the same name as those of _bulk_get, but begin with their position.
  if (match[1] === "results" && /^\s*\{\s*"seq"\s*:/.test(text.slice(match[0].length))) return CHANGES_FORMAT;
  const known = SHAPES[match[1]!];
  return known === undefined ? undefined : { name: known.name, shape: known.shape, skipBytes: 0 };
}

function isCouchbackupHeader(line: string): boolean {
  try {
    return /couchbackup/.test(String((JSON.parse(line) as { name?: unknown }).name));
  } catch {
    return false;
  }
}
