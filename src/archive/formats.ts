/**
 * Recognises what a file of documents is by how it begins: a chunk of this program or of the reference script, or what
 * other programs and CouchDB's own answers look like. In go the first bytes, out comes the shape the scanner reads.
 */
import type { AttachmentForm } from "./attachment_forms.ts";
import { beginningOfObject, type BegunMember, skipSpace } from "../json/beginning.ts";
import { BULK_GET_SHAPE, type JsonShape } from "../json/scan.ts";

/** What is special about a file of which each line is a JSON text of its own. */
export interface LineRules {
  /** Whether it is of lines at all; else that shows where the first one ends: a JSON text may go on over many. */
  isCertain: boolean;
  /** What a line without documents begins with, after its brace. */
  withoutDocuments?: readonly string[];
  /** What the last line begins with, after its brace, where the file is whole. */
  lastLine?: string;
  /** The end of a line whose writing was stopped: what it was to hold comes again after it. */
  resumeMarker?: string;
  /** Of a document in several lines the last one counts. */
  isHistory?: boolean;
}

/** How the documents of a file lie in it. */
export interface ArchiveFormat {
  /** For the log: `an array of documents`. */
  name: string;
  shape: JsonShape;
  /** How many bytes come before the JSON that the shape describes. */
  skipBytes: number;
  /** Set where each line is, or may be, a JSON text of its own. */
  lines?: LineRules;
  /** Set where attachments are written in another form than CouchDB's. */
  attachments?: AttachmentForm;
}

/** A file that holds no documents in a format that is read: nothing of it can be restored. */
export class FormatError extends Error {
  override readonly name: string = "FormatError";
  /** What the operator can do, as a sentence without a full stop. */
  readonly hint: string;

  constructor(message: string, hint: string = FORMATS_HINT) {
    super(message);
    this.hint = hint;
  }
}

/** Which formats are read, for whoever brings another one. */
const FORMATS_HINT: string =
  "Supported formats, plain, gzip or zstd: chunks of this program and of the reference script, " +
  "files of couchbackup and pouchdb-dump, documents as a JSON array or one a line, and CouchDB's answers with documents " +
  "(_bulk_get, _find, open_revs; _all_docs, views and _changes with include_docs=true)";

/** How many bytes {@linkcode recogniseFormat} wants to see; a file may be shorter. */
export const FORMAT_SAMPLE_BYTES: number = 64 * 1024;

/** The chunks of this program. */
export const CHUNK_FORMAT: ArchiveFormat = { name: "rows of _bulk_get", shape: BULK_GET_SHAPE, skipBytes: 0 };

/** couchbackup (2.10 and later) writes it first when it goes on with a file, after what was cut off. */
const RESUME_MARKER = '{"marker":"@cloudant/couchbackup:resume"}';
const WITH_MARKER = { withoutDocuments: ['"marker"'], resumeMarker: RESUME_MARKER };

const ARRAY_OF_DOCUMENTS: JsonShape = { array: null, element: "document", repeated: true };
/** What a JSON text of one document, one row or one change is; more may follow. */
const BARE: { array: null; bare: true; repeated: true } = { array: null, bare: true, repeated: true };

/** A format of which nothing comes before the JSON. */
function fromStart(name: string, shape: JsonShape, lines?: LineRules): ArchiveFormat {
  return { name, shape, skipBytes: 0, ...(lines === undefined ? {} : { lines }) };
}

const BULK_DOCS = fromStart("a body of _bulk_docs", { array: "docs", element: "document" });
const ALL_DOCS = fromStart("an answer of _all_docs", { array: "rows", element: "wrapped" });
const QUERIES = fromStart("an answer of _all_docs/queries", { array: "results", nested: "rows", element: "wrapped" });
const CHANGES = fromStart("an answer of _changes", { array: "results", element: "wrapped" });
const OPEN_REVS = fromStart("an answer of open_revs", { array: null, element: "wrapped", member: "ok" });
const ROW_ARRAY = fromStart("an array of rows", { array: null, element: "wrapped" });
const BULK_GET_ARRAY = fromStart("an array of rows of _bulk_get", { array: null, element: "row" });
// couchbackup's files had no first line to be known by before its version 2.10.
const DOCUMENT_ARRAYS = fromStart("arrays of documents", ARRAY_OF_DOCUMENTS, { isCertain: false, ...WITH_MARKER });

const MAYBE_LINES: LineRules = { isCertain: false };
const DOCUMENT_LINES = fromStart("documents one after the other", { ...BARE, element: "document" }, MAYBE_LINES);
const ROW_LINES = fromStart("rows one after the other", { ...BARE, element: "wrapped" }, MAYBE_LINES);
const BULK_GET_LINES = fromStart("rows of _bulk_get one after the other", { ...BARE, element: "row" }, MAYBE_LINES);
const CHANGES_LINES = fromStart("a continuous feed of _changes", { ...BARE, element: "wrapped" }, {
  isCertain: false,
  withoutDocuments: ['"last_seq"'],
  isHistory: true,
});

/**
 * Recognises the format of decompressed bytes; undefined when they are none of the known ones.
 *
 * @param sample The file's first {@linkcode FORMAT_SAMPLE_BYTES}.
 */
export function recogniseFormat(sample: Uint8Array): ArchiveFormat | undefined {
  // A byte order mark, which other systems' editors put in front, is no part of JSON.
  const markBytes = sample[0] === 0xef && sample[1] === 0xbb && sample[2] === 0xbf ? 3 : 0;
  const text = new TextDecoder().decode(sample);
  const start = skipSpace(text, 0);
  const format = text[start] === "[" ? formatOfArray(text, start) : formatOfObject(text, start);
  if (format === undefined || markBytes === 0) return format;
  return { ...format, skipBytes: format.skipBytes + markBytes };
}

function formatOfArray(text: string, start: number): ArchiveFormat {
  const { members } = beginningOfObject(text, skipSpace(text, start + 1));
  const names = namesOf(members);
  if (names.has("_id")) return DOCUMENT_ARRAYS;
  const [first] = members;
  if (first?.name === "ok" || (first?.name === "missing" && names.size === 1)) return OPEN_REVS;
  const format = formatOfRow(text, members);
  if (format === undefined) return DOCUMENT_ARRAYS;
  return format === BULK_GET_LINES ? BULK_GET_ARRAY : ROW_ARRAY;
}

function formatOfObject(text: string, start: number): ArchiveFormat | undefined {
  const { members, end } = beginningOfObject(text, start);
  const header = headerOf(text, { members, start, end });
  if (header !== undefined) return header;
  if (namesOf(members).has("_id")) return DOCUMENT_LINES;
  const row = formatOfRow(text, members);
  if (row !== undefined) return row;
  for (const { name, valueAt } of members) {
    if (text[valueAt] !== "[") continue;
    if (name === "docs") return BULK_DOCS;
    if (name === "rows") return ALL_DOCS;
    if (name === "results") return formatOfResults(text, valueAt);
  }
  return undefined;
}

/** Rows of `_changes`, and answers to several queries, are in an array of the same name as those of `_bulk_get`. */
function formatOfResults(text: string, arrayAt: number): ArchiveFormat {
  const { members } = beginningOfObject(text, skipSpace(text, arrayAt + 1));
  const names = namesOf(members);
  if (members[0]?.name === "seq" || names.has("changes")) return CHANGES;
  return names.has("rows") && !names.has("docs") ? QUERIES : CHUNK_FORMAT;
}

/** What a row is that stands for itself, or in an array that does; undefined for what is none. */
function formatOfRow(text: string, members: readonly BegunMember[]): ArchiveFormat | undefined {
  const names = namesOf(members);
  if (names.has("seq") && names.has("id")) return CHANGES_LINES;
  if (!names.has("id") && !names.has("key")) return undefined;
  if (members.some(({ name, valueAt }) => name === "docs" && text[valueAt] === "[")) return BULK_GET_LINES;
  return names.has("doc") || names.has("value") ? ROW_LINES : undefined;
}

/** The files whose first line says what they are. */
function headerOf(
  text: string,
  { members, start, end }: { members: readonly BegunMember[]; start: number; end: number | undefined },
): ArchiveFormat | undefined {
  if (end === undefined) return undefined;
  const names = namesOf(members);
  // A header that nothing follows, not even the end of its line, was cut off.
  const lineEnd = text.indexOf("\n", end);
  const skipBytes = new TextEncoder().encode(text.slice(0, lineEnd < 0 ? end : lineEnd + 1)).length +
    (lineEnd < 0 ? 1 : 0);
  if (names.has("version") && names.has("db_info")) {
    return {
      name: "a file of pouchdb-dump",
      shape: { array: "docs", element: "document" },
      skipBytes,
      // After each batch it says how far it has come, and of an empty database, too.
      lines: { isCertain: true, withoutDocuments: ['"seq"'], lastLine: '"seq"' },
      attachments: "Buffer",
    };
  }
  if (text.slice(start, end) === RESUME_MARKER) {
    // Resumed into a file of its own: what was written before lies in another one.
    const lines = { isCertain: true, ...WITH_MARKER };
    return {
      name: "the rest of a file of couchbackup",
      shape: ARRAY_OF_DOCUMENTS,
      skipBytes: 0,
      lines,
      attachments: "contentType",
    };
  }
  const { name, mode } = names.has("name") ? parseHeader(text.slice(start, end)) : {};
  if (!/couchbackup/.test(String(name))) return undefined;
  return {
    name: "a file of couchbackup",
    shape: ARRAY_OF_DOCUMENTS,
    skipBytes,
    // In its other mode, `shallow`, nothing can be resumed.
    lines: { isCertain: true, ...(mode === "shallow" ? { withoutDocuments: ['"marker"'] } : WITH_MARKER) },
    attachments: "contentType",
  };
}

function parseHeader(text: string): { name?: unknown; mode?: unknown } {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // Not JSON: some other file's beginning.
  }
}

function namesOf(members: readonly BegunMember[]): Set<string> {
  return new Set(members.map(({ name }) => name));
}
