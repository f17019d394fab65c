/**
 * Rows of the changes feed that bring their document along (`include_docs`), so that a small database needs no second
 * request for its documents. In: a page of the feed with documents. Out: the page, whose rows hold, where nothing else
 * could be asked for, exactly what `_bulk_get` would answer of them.
 *
 * The feed gives the winning revision, without its history and without attachments. So a row carries its document where
 * that is all there is: one leaf revision, the first of its document, whose history is itself, and no attachment. All
 * other documents are asked for as ever.
 */
import { Buffer } from "node:buffer";
import { concat } from "../concat.ts";
import { QUOTE } from "../json/bytes.ts";
import { DocumentScanner, Found, FramingError, type JsonShape } from "../json/scan.ts";
import { type ChangesPage, type ChangesRow, parseChangesPage } from "./changes_page.ts";

const FEED_SHAPE: JsonShape = { array: "results", element: "wrapped" };

const encoder = new TextEncoder();
/** What stands before a row's document, in CouchDB 2 and 3. */
const DOC_MEMBER = encoder.encode(',"doc":');
/** How a document begins. */
const ID_MEMBER = encoder.encode('{"_id":');
const REVISION_MEMBER = encoder.encode(',"_rev":"');
/** A revision that is the first of its document. */
const FIRST_GENERATION = "1-";
const ATTACHMENTS = Buffer.from('"_attachments":');

/** A row that has brought its document along. */
export class CarriedRow implements ChangesRow {
  readonly id: string;
  readonly revs: string[];
  readonly deleted: false = false;
  readonly position: string | undefined;
  #answer: Uint8Array | undefined;

  /** @param answer The row that `_bulk_get` would answer. */
  constructor({ id, revs, position }: ChangesRow, answer: Uint8Array) {
    this.id = id;
    this.revs = revs;
    this.position = position;
    this.#answer = answer;
  }

  /** Whether the document is still in hand. */
  get hasAnswer(): boolean {
    return this.#answer !== undefined;
  }

  /** The row that `_bulk_get` would answer; only once, for whoever needs it again does so because something failed. */
  takeAnswer(): Uint8Array {
    const answer = this.#answer!;
    this.#answer = undefined;
    return answer;
  }
}

/**
 * A page of the feed with documents, checked as any page.
 *
 * @param bytes As CouchDB sent them; they are copied.
 * @param options.revisions Whether a document is wanted with its history.
 * @throws SyntaxError when they are no JSON.
 */
export function parseCarryingPage(
  bytes: Uint8Array,
  database: string,
  { revisions }: { revisions: boolean },
): ChangesPage {
  const documents = findDocuments(bytes);
  if (documents === undefined) return parseChangesPage(bytes, database);
  // Without its documents it is a page like any other.
  const page = parseChangesPage(without(bytes, documents), database);
  const rows = page.rows.map((row, index) => {
    const { from, end } = documents[index]!;
    return carry(row, bytes.subarray(from, end), revisions) ?? row;
  });
  return { ...page, rows };
}

interface Span {
  from: number;
  end: number;
}

/** Where each row's document is; undefined where one has none, or the page is not as CouchDB 2 and 3 write it. */
function findDocuments(bytes: Uint8Array): Span[] | undefined {
  const scanner = new DocumentScanner(FEED_SHAPE);
  scanner.push(bytes);
  const documents: Span[] = [];
  let rows = 0;
  let from = 0;
  try {
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      if (found === Found.ElementStart) rows++;
      else if (found === Found.DocumentStart) from = scanner.position;
      else if (found === Found.DocumentEnd) documents.push({ from, end: scanner.position });
      else if (found === Found.Error) return undefined;
      else if (found === Found.ElementEnd && documents.length !== rows) return undefined;
    }
    scanner.finish();
  } catch (error) {
    // Whoever parses it says what it is.
    if (error instanceof FramingError) return undefined;
    throw error;
  }
  return documents.every(({ from }) => standsAt(bytes, from - DOC_MEMBER.length, DOC_MEMBER)) ? documents : undefined;
}

function without(bytes: Uint8Array, documents: readonly Span[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { from, end } of documents) {
    pieces.push(bytes.subarray(at, from - DOC_MEMBER.length));
    at = end;
  }
  return concat([...pieces, bytes.subarray(at)]);
}

/** The row with its document; undefined where `_bulk_get` would say more, or something else. */
function carry(row: ChangesRow, document: Uint8Array, revisions: boolean): CarriedRow | undefined {
  const { id, revs: [rev = "", ...others], deleted } = row;
  if (deleted || others.length > 0 || (revisions && !rev.startsWith(FIRST_GENERATION))) return undefined;
  const idText = idTextOf(document);
  if (idText === undefined || JSON.parse(utf8(idText)) !== id) return undefined;
  const behindId = ID_MEMBER.length + idText.length;
  if (!standsAt(document, behindId, encoder.encode(`,"_rev":"${rev}"`))) return undefined;
  // Wherever it stands: one that has the word deeper down is asked for in vain, and no harm is done.
  if (asBuffer(document).includes(ATTACHMENTS)) return undefined;
  const history = revisions ? `,"_revisions":{"start":1,"ids":["${rev.slice(FIRST_GENERATION.length)}"]}` : "";
  return new CarriedRow(
    { id, revs: [rev], deleted, position: row.position },
    concat([
      encoder.encode('{"id":'),
      idText,
      encoder.encode(',"docs":[{"ok":'),
      document.subarray(0, -1),
      encoder.encode(`${history}}}]}`),
    ]),
  );
}

/** The id as it stands in a document that begins with it, quotes and all. */
function idTextOf(document: Uint8Array): Uint8Array | undefined {
  if (!standsAt(document, 0, ID_MEMBER)) return undefined;
  const from = ID_MEMBER.length;
  const end = asBuffer(document).indexOf(REVISION_MEMBER, from);
  if (document[from] !== QUOTE || end < from + 2 || document[end - 1] !== QUOTE) return undefined;
  return document.subarray(from, end);
}

function standsAt(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let index = 0; index < expected.length; index++) if (bytes[at + index] !== expected[index]) return false;
  return true;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function utf8(bytes: Uint8Array): string {
  return asBuffer(bytes).toString("utf8");
}
