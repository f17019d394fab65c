/** A small file of each format that is read beside this program's own: the same two documents in each. */

/** The documents that every file holds, as they are in it. */
export const A =
  '{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"n":9007199254740993,"10":1.0,"2":2}';
export const B = '{"_id":"b ä","_rev":"1-c","text":"[{\\"_id\\":\\"c\\"}]\\\\"}';

/** The first line of couchbackup's files. */
export const HEADER = '{"name":"@cloudant/couchbackup","version":"2.11.12","mode":"full","attachments":false}';
/** What couchbackup writes where it goes on. */
export const MARKER = '{"marker":"@cloudant/couchbackup:resume"}';

const DUMP_HEADER =
  '{"version":"1.2.9","db_type":"http","start_time":"2026-11-25T18:00:00.000Z","db_info":{"doc_count":2,"update_seq":3}}';
const ROWS = `{"id":"a","key":"a","value":{"rev":"2-b"},"doc":${A}},\n{"id":"b ä","key":"b ä","value":{},"doc":${B}}`;
const CHANGES = `{"seq":1,"id":"a","changes":[{"rev":"2-b"}],"doc":${A}},\n` +
  `{"seq":2,"id":"b ä","changes":[{"rev":"1-c"}],"doc":${B}}`;
const BULK = `{"id":"a","docs":[{"ok":${A}}]},\n{"id":"b ä","docs":[{"ok":${B}}]}`;
const inLines = (rows: string) => rows.replaceAll(",\n", "\n") + "\n";

/** A file of one format. */
export interface ForeignFile {
  /** What it is, for people. */
  what: string;
  /** What the log calls it. */
  format: string;
  text: string;
  /** Each line stands for itself: whoever cuts it at the end of one leaves a whole file. */
  isOfLines: boolean;
}

/** All formats. */
export const FOREIGN_FILES: readonly ForeignFile[] = [
  file("an array of documents", "arrays of documents", `\n [${A},\n${B}]\n`),
  file("documents, a line each", "documents one after the other", `${A}\n${B}\n`, true),
  file(
    "documents one after the other, over many lines",
    "documents one after the other",
    `{\n  ${A.slice(1)}\n{\n  ${B.slice(1)}\n`,
    true,
  ),
  file("a body of _bulk_docs", "a body of _bulk_docs", `{"new_edits":false,"docs":[${A},${B}]}`),
  file("an answer of _find", "a body of _bulk_docs", `{"docs":[${A},\n${B}],\n"bookmark":"nil","warning":"\\"x\\""}\n`),
  file("an answer of _all_docs", "an answer of _all_docs", `{"total_rows":2,"offset":0,"rows":[\r\n${ROWS}\r\n]}\n`),
  file(
    "an answer of _all_docs/queries",
    "an answer of _all_docs/queries",
    `{"results":[{"total_rows":2,"rows":[\n${ROWS.replace(",\n", ']},\n{"rows":[],"offset":0},{"rows":[')}]}\n]}\n`,
  ),
  file("the rows of _all_docs", "an array of rows", `[\n${ROWS}\n]\n`),
  file("the rows of _all_docs, a line each", "rows one after the other", inLines(ROWS), true),
  file("an answer of _changes", "an answer of _changes", `{"results":[\n${CHANGES}\n],\n"last_seq":2,"pending":0}\n`),
  file("the results of _changes", "an array of rows", `[${CHANGES}]`),
  file(
    "a continuous feed of _changes",
    "a continuous feed of _changes",
    `${inLines(CHANGES)}\n{"last_seq":2,"pending":0}\n`,
    true,
  ),
  file("an answer of _bulk_get", "rows of _bulk_get", `{"results": [${BULK}]}\n`),
  file("the results of _bulk_get", "an array of rows of _bulk_get", `[${BULK}]`),
  file("the results of _bulk_get, a line each", "rows of _bulk_get one after the other", inLines(BULK), true),
  file("an answer of open_revs", "an answer of open_revs", `[{"ok":${A}},{"ok":${B}},{"missing":"1-x"}]`),
  file("a file of couchbackup", "a file of couchbackup", `${HEADER}\n[${A}]\n[]\n[${B}]\n`, true),
  file(
    "a file of couchbackup that was resumed",
    "a file of couchbackup",
    `${HEADER}\n[${A}]\n[{"_id":"x","t":"${MARKER}\n${MARKER}\n[${B}]\n`,
    true,
  ),
  file("a file of couchbackup before its version 2.10", "arrays of documents", `[${A}]\n[${B}]\n`, true),
  file(
    "a file of pouchdb-dump",
    "a file of pouchdb-dump",
    `${DUMP_HEADER}\n{"docs":[${A}]}\n{"seq":1}\n{"docs":[${B}]}\n{"seq":3}\n`,
    true,
  ),
];

function file(what: string, format: string, text: string, isOfLines = false): ForeignFile {
  return { what, format, text, isOfLines };
}

const tar = new Uint8Array(1024);
tar.set(new TextEncoder().encode("ustar"), 257);
/** What is refused: the file, what the message says of it, and the hint. */
export const REFUSED_FILES: readonly [what: string, file: string | Uint8Array, message: string, hint?: string][] = [
  ["an empty file", "", "It is empty"],
  ["text", "hello", "no documents in a known format"],
  ["an object without documents", '{"name":"x"}', '"name"'],
  ["a JSON text", '"[]"', "no documents in a known format"],
  ["couchbackup's first line without its end", HEADER, "ends within its first line", "another copy"],
  ["bzip2", "BZh91AY&SY\0\0", "bzip2"],
  ["xz", Uint8Array.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 4]), "xz"],
  ["zip", Uint8Array.from([0x50, 0x4b, 3, 4, 20, 0]), "zip"],
  ["age as text", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3Jn\n", "age as text"],
  ["tar", tar, "tar"],
  ["a multipart answer", '--6d4b\r\nContent-Type: application/json\r\n\r\n{"_id":"a"}\r\n--6d4b--', "multipart"],
  ["CouchDB's error", '{"error":"unauthorized","reason":"You are not authorized"}', "CouchDB's error"],
  ["a view without documents", '{"rows":[{"id":"a","key":1,"value":2}]}', "no document is in its row", "include_docs"],
  ["a reduced view", '{"rows":[{"key":null,"value":7}]}', "no document is in its row", "include_docs"],
  [
    "queries without documents",
    '{"results":[{"rows":[{"id":"a","key":"a","value":{"rev":"1-a"}}]},{"rows":[]}]}',
    "no document is in its row",
    "include_docs",
  ],
  [
    "rows without documents",
    '[{"id":"a","key":"a","value":{"rev":"1-a"}}]',
    "no document is in its row",
    "include_docs",
  ],
  ["lines of rows without documents", '{"id":"a","key":"a","value":{}}\n', "no document is in its row", "include_docs"],
  ["a feed without documents", '{"seq":1,"id":"a","changes":[]}\n{"last_seq":1}\n', "no document", "include_docs"],
  [
    "rows of which one has no document",
    `{"rows":[{"id":"a","key":"a","value":{},"doc":${A}},{"id":"b","key":"b","value":{}}]}`,
    "1 of its 2 rows",
    "include_docs",
  ],
  [
    "rows of _bulk_get without documents",
    '{"results":[{"id":"a"},{"id":"b","docs":[{}]}]}',
    "no document is in its 2 rows",
  ],
  ["an answer of open_revs without what it must have", `[{"ok":${A}},{"value":1}]`, "no document"],
  ["documents without an id", `{"docs":[${A},{"name":"x"}]}`, 'number 2 has no "_id"'],
  ["an array of numbers", "[1,2]", 'number 1 has no "_id"'],
  ["ids that are no text", '{"_id":{"$oid":"5f"}}\n', 'number 1 has no "_id"'],
  ["ids alone", '["a","b"]', 'number 1 has no "_id"'],
];
