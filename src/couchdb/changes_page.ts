/**
 * What the changes feed answers, checked: less than what was asked for is an error and never the end of the list. In:
 * JSON as it came. Out: rows and positions. A page as CouchDB writes it is read without being parsed: of a large
 * database that would be half of all that becomes garbage.
 */
import { Buffer } from "node:buffer";
import { CouchError } from "../errors.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, QUOTE } from "../json/bytes.ts";
import { feed, forget, passFeedRows } from "../json/kernel.ts";
import { ValuePasser } from "../json/value.ts";
import { strangeAnswer } from "./answers.ts";
import { packRow, packRows } from "./packed_row.ts";

/** A row of the changes feed: a document that has been written, with all its leaf revisions. */
export interface ChangesRow {
  /** The document's id. */
  id: string;
  /** Its leaf revisions, deleted ones too, the winner first. */
  revs: string[];
  /** Whether the winner is deleted. */
  deleted: boolean;
  /** The position after the row; undefined where it was not asked for. */
  position: string | undefined;
}

/** A page of the changes feed. */
export interface ChangesPage {
  /** In the order of the feed, which is partial. */
  rows: ChangesRow[];
  /** The position after the page. */
  last_seq: string;
  /** How many rows follow; undefined where CouchDB does not say (1.x, and servers like it). */
  pending: number | undefined;
  /** How many bytes the answer had; undefined where that is not said. */
  bytes?: number | undefined;
}

/** Where the parts of a row that has brought a document lie in the page. Texts without their quotes. */
export interface DocumentSpot {
  /** The row's place among the others. */
  index: number;
  idFrom: number;
  idEnd: number;
  revFrom: number;
  revEnd: number;
  /** Its object, braces and all. */
  documentFrom: number;
  documentEnd: number;
}

/**
 * A page of the feed from its bytes, checked as in {@linkcode readChangesPage}.
 *
 * @throws SyntaxError when they are no JSON.
 */
export function parseChangesPage(bytes: Uint8Array, database: string): ChangesPage {
  return readUsualPage(bytes) ?? readChangesPage(JSON.parse(new TextDecoder().decode(bytes)), database);
}

/**
 * A page as CouchDB 2 and 3 write it, with plain ids; undefined for any other, which may be as good.
 *
 * @param documents Takes where the documents are that rows have brought: of those that have one leaf revision, which is
 * not deleted, and no position.
 */
export function readUsualPage(bytes: Uint8Array, documents?: DocumentSpot[]): ChangesPage | undefined {
  return usualPage.read(bytes, documents);
}

const [RESULTS, SEQ, NULL, ID, CHANGES, REV, DELETED, DOCUMENT] = [
  '{"results":[',
  '{"seq":',
  "null",
  ',"id":"',
  '"changes":[',
  '{"rev":"',
  '"deleted":true',
  '"doc":',
].map((text) => new TextEncoder().encode(text)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
];

const NOTHING = Buffer.alloc(0);

/** Reads a page as CouchDB writes it; of anything else it says that it is something else. */
class PageReader {
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** Where the text passed last begins and ends. */
  #textFrom = 0;
  #textEnd = 0;
  /** Takes the places of documents; undefined: a row with a document is not of the usual form. */
  #documents: DocumentSpot[] | undefined;
  readonly #passer = new ValuePasser();

  /** The page; undefined where it is not of the usual form. */
  read(bytes: Uint8Array, documents: DocumentSpot[] | undefined): ChangesPage | undefined {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = 0;
    this.#documents = documents;
    try {
      return this.#readPage();
    } finally {
      forget(this.#bytes);
      this.#bytes = NOTHING;
      this.#documents = undefined;
    }
  }

  #readPage(): ChangesPage | undefined {
    if (!this.#passes(RESULTS)) return undefined;
    const rows: ChangesRow[] = [];
    this.#passLineEnd();
    if (this.#bytes[this.#at] !== CLOSE_BRACKET) {
      do {
        this.#passLineEnd();
        if (this.#takePlainRows(rows)) continue;
        const row = this.#readRow(rows.length);
        if (row === undefined) return undefined;
        rows.push(row);
      } while (this.#passesByte(COMMA));
    }
    this.#passLineEnd();
    if (!this.#passesByte(CLOSE_BRACKET) || !this.#passesByte(COMMA)) return undefined;
    const { last_seq, pending } = JSON.parse(`{${this.#bytes.toString("utf8", this.#at)}`);
    if (last_seq === undefined || last_seq === null) return undefined;
    const isCount = Number.isSafeInteger(pending) && pending >= 0;
    if (!isCount && pending !== undefined && pending !== null) return undefined;
    return { rows, last_seq: positionText(last_seq), pending: isCount ? pending : undefined };
  }

  /** Takes rows that are as most are. @returns Whether there were some. */
  #takePlainRows(rows: ChangesRow[]): boolean {
    if (this.#at >= this.#bytes.length) return false;
    const count = passFeedRows(this.#bytes, this.#at);
    if (count === 0) return false;
    packRows(feed.texts, feed.spots, count, rows);
    this.#at = feed.end;
    return true;
  }

  #readRow(index: number): ChangesRow | undefined {
    if (!this.#passes(SEQ)) return undefined;
    let position: string | undefined;
    if (!this.#passes(NULL)) {
      if (!this.#passesByte(QUOTE)) return undefined;
      if (!this.#passesText()) return undefined;
      position = this.#text(this.#textFrom, this.#textEnd);
    }
    if (!this.#passes(ID)) return undefined;
    if (!this.#passesText()) return undefined;
    const idFrom = this.#textFrom, idEnd = this.#textEnd;
    if (!this.#passesByte(COMMA) || !this.#passes(CHANGES)) return undefined;
    if (!this.#passes(REV) || !this.#passesText() || !this.#passesByte(CLOSE_BRACE)) return undefined;
    const revFrom = this.#textFrom, revEnd = this.#textEnd;
    let others: string[] | undefined;
    while (this.#passesByte(COMMA)) {
      if (!this.#passes(REV) || !this.#passesText() || !this.#passesByte(CLOSE_BRACE)) return undefined;
      (others ??= []).push(this.#text(this.#textFrom, this.#textEnd));
    }
    if (!this.#passesByte(CLOSE_BRACKET)) return undefined;
    let hasMore = this.#passesByte(COMMA);
    const deleted = hasMore && this.#passes(DELETED);
    if (deleted) hasMore = this.#passesByte(COMMA);
    const documentFrom = this.#at + DOCUMENT.length;
    if (hasMore && !this.#passesDocument()) return undefined;
    const documentEnd = this.#at;
    if (!this.#passesByte(CLOSE_BRACE)) return undefined;
    if (others === undefined && !deleted && position === undefined) {
      if (hasMore) this.#documents!.push({ index, idFrom, idEnd, revFrom, revEnd, documentFrom, documentEnd });
      const packed = packRow(this.#bytes, idFrom, idEnd, revFrom, revEnd);
      if (packed !== undefined) return packed;
    }
    const rev = this.#text(revFrom, revEnd);
    // Nearly always there is one: an array that is pushed to would have room for seventeen.
    const revs = others === undefined ? [rev] : [rev, ...others];
    return { id: this.#text(idFrom, idEnd), revs, deleted, position };
  }

  /** Whether there is a document, and documents are expected; if so, it passes over its member. */
  #passesDocument(): boolean {
    if (this.#documents === undefined || !this.#passes(DOCUMENT) || this.#bytes[this.#at] !== OPEN_BRACE) return false;
    this.#passer.begin(OPEN_BRACE);
    const end = this.#passer.pass(this.#bytes, this.#at);
    if (end < 0) return false;
    this.#at = end;
    return true;
  }

  #text(from: number, end: number): string {
    return this.#bytes.toString("latin1", from, end);
  }

  /** Whether there is plain text up to the next quote; if so, it passes over both. */
  #passesText(): boolean {
    const bytes = this.#bytes;
    const from = this.#at;
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) {
        this.#textFrom = from;
        this.#textEnd = at;
        this.#at = at + 1;
        return true;
      }
      if (byte < 0x20 || byte > 0x7e || byte === BACKSLASH) return false;
    }
    return false;
  }

  #passes(expected: Uint8Array): boolean {
    for (let index = 0; index < expected.length; index++) {
      if (this.#bytes[this.#at + index] !== expected[index]) return false;
    }
    this.#at += expected.length;
    return true;
  }

  #passesByte(byte: number): boolean {
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #passLineEnd(): void {
    while (this.#bytes[this.#at] === 0x0a || this.#bytes[this.#at] === 0x0d) this.#at++;
  }
}

/**
 * One for all pages: V8 forgets how objects of a kind look as soon as there is none of them, and with it all that it
 * has compiled for them. Between two pages there would be none.
 */
const usualPage = new PageReader();

/** A page of the feed, checked: less than a page is an error and never the end of the list. */
export function readChangesPage(answer: unknown, database: string): ChangesPage {
  const { results, last_seq, pending } = (answer ?? {}) as { results?: unknown; last_seq?: unknown; pending?: unknown };
  if (!Array.isArray(results) || last_seq === undefined || last_seq === null) {
    const lacking = Array.isArray(results) ? "last_seq" : "results";
    throw new CouchError(
      `Cannot list the documents of database "${database}": the changes feed has no "${lacking}"`,
      { error: "cut_off", reason: `no ${lacking}`, database },
    );
  }
  return {
    rows: results.map((row) => readChangesRow(row, database)),
    last_seq: positionText(last_seq),
    pending: readPending(pending, database),
  };
}

/** How many rows follow; undefined where that is not said. @throws CouchError when it is no count. */
export function readPending(pending: unknown, database: string): number | undefined {
  if (pending === undefined || pending === null) return undefined;
  if (typeof pending === "number" && Number.isSafeInteger(pending) && pending >= 0) return pending;
  throw strangeAnswer(
    { action: `list the documents of database "${database}"`, database },
    'has no whole number of at least 0 in "pending"',
  );
}

/** A row of the feed. @throws CouchError when it is none. */
export function readChangesRow(row: unknown, database: string): ChangesRow {
  const { id, changes, deleted, seq } = (row ?? {}) as {
    id?: unknown;
    changes?: unknown;
    deleted?: unknown;
    seq?: unknown;
  };
  if (typeof id === "string" && Array.isArray(changes) && changes.every(hasRev)) {
    const revs = changes.map(({ rev }) => rev);
    const position = seq === undefined || seq === null ? undefined : positionText(seq);
    return { id, revs, deleted: deleted === true, position };
  }
  throw new CouchError(
    `Cannot list the documents of database "${database}": a row of the changes feed has no id or no revisions`,
    { error: "cut_off", reason: "a row without id or changes", database },
  );
}

function hasRev(change: unknown): change is { rev: string } {
  return typeof (change as { rev?: unknown } | null)?.rev === "string";
}

/** A position as text: a number before CouchDB 2.0, an array in BigCouch. */
export function positionText(position: unknown): string {
  return typeof position === "string" ? position : JSON.stringify(position);
}
