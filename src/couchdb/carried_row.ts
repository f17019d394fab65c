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
import { type ChangesPage, type DocumentSpot, parseChangesPage, readUsualPage } from "./changes_page.ts";
import { PackedRow } from "./packed_row.ts";

const encoder = new TextEncoder();
/** What a document begins with: its id and its revision stand between. */
const [BEFORE_ID, BEFORE_REVISION, BEHIND_REVISION] = ['{"_id":"', '","_rev":"', '"'].map((text) =>
  encoder.encode(text)
) as [Uint8Array, Uint8Array, Uint8Array];
/** What `_bulk_get` has around id, document and hash of a row, without and with a history. */
const [ROW, DOCS, BEFORE_HASH, BEHIND_HASH, BEHIND_DOCUMENT] = [
  '{"id":"',
  '","docs":[{"ok":',
  ',"_revisions":{"start":1,"ids":["',
  '"]}',
  "}}]}",
].map((text) => encoder.encode(text)) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
/** How many bytes of a row are neither id nor document nor hash. */
const FRAME_BYTES = [ROW, DOCS, BEFORE_HASH, BEHIND_HASH, BEHIND_DOCUMENT].reduce((sum, { length }) => sum + length, 0);
/** A revision that is the first of its document. */
const FIRST_GENERATION = encoder.encode("1-");
const ATTACHMENTS = '"_attachments":';

/** A row that has brought its document along. */
export class CarriedRow extends PackedRow {
  #answer: Uint8Array | undefined;

  /** @param answer The row that `_bulk_get` would answer. */
  constructor({ bytes, from, middle, end }: PackedRow, answer: Uint8Array) {
    super(bytes, from, middle, end);
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
  const spots: DocumentSpot[] = [];
  const page = readUsualPage(bytes, spots);
  if (page === undefined) return parseChangesPage(bytes, database);
  // A text, as Deno looks through a buffer byte by byte in JavaScript.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  const hasAttachments = text.includes(ATTACHMENTS);
  for (const spot of spots) {
    const { index, documentFrom, documentEnd } = spot;
    const row = page.rows[index];
    if (!(row instanceof PackedRow) || !isWhole(bytes, spot, revisions)) continue;
    // Wherever it stands: one that has the word deeper down is asked for in vain, and no harm is done.
    if (hasAttachments && text.slice(documentFrom, documentEnd).includes(ATTACHMENTS)) continue;
    page.rows[index] = new CarriedRow(row, answerOf(bytes, spot, revisions));
  }
  return page;
}

/** Whether the document is the revision that the row lists, and this one has no history but itself. */
function isWhole(bytes: Uint8Array, spot: DocumentSpot, revisions: boolean): boolean {
  const { idFrom, idEnd, revFrom, revEnd, documentFrom } = spot;
  if (revisions && !standsAt(bytes, revFrom, FIRST_GENERATION)) return false;
  const behindId = documentFrom + BEFORE_ID.length + idEnd - idFrom;
  const behindRevision = behindId + BEFORE_REVISION.length + revEnd - revFrom;
  return standsAt(bytes, documentFrom, BEFORE_ID) &&
    isRepeatedAt(bytes, documentFrom + BEFORE_ID.length, idFrom, idEnd) &&
    standsAt(bytes, behindId, BEFORE_REVISION) &&
    isRepeatedAt(bytes, behindId + BEFORE_REVISION.length, revFrom, revEnd) &&
    standsAt(bytes, behindRevision, BEHIND_REVISION);
}

/** `{"id":…,"docs":[{"ok":…}]}`, with `_revisions` where `_bulk_get` puts them: after the document's own members. */
function answerOf(bytes: Uint8Array, spot: DocumentSpot, revisions: boolean): Uint8Array {
  const { idFrom, idEnd, revFrom, revEnd, documentFrom, documentEnd } = spot;
  const answer = new Uint8Array(FRAME_BYTES + idEnd - idFrom + documentEnd - documentFrom + revEnd - revFrom);
  let at = 0;
  const append = (part: Uint8Array) => {
    answer.set(part, at);
    at += part.length;
  };
  append(ROW);
  append(bytes.subarray(idFrom, idEnd));
  append(DOCS);
  append(bytes.subarray(documentFrom, documentEnd - 1));
  if (revisions) {
    append(BEFORE_HASH);
    append(bytes.subarray(revFrom + FIRST_GENERATION.length, revEnd));
    append(BEHIND_HASH);
  }
  append(BEHIND_DOCUMENT);
  return answer.subarray(0, at);
}

function standsAt(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let index = 0; index < expected.length; index++) if (bytes[at + index] !== expected[index]) return false;
  return true;
}

/** Whether what lies between `from` and `end` stands at `at` once more. */
function isRepeatedAt(bytes: Uint8Array, at: number, from: number, end: number): boolean {
  for (let index = from; index < end; index++) if (bytes[at + index - from] !== bytes[index]) return false;
  return true;
}
