/**
 * The documents that become one chunk: ids, and the revisions that the feed listed of each. A small batch has them in
 * hand; one that is a whole database keeps them packed, page by page: 22 bytes a document where ids are random, else fewer.
 */
import { concat } from "../concat.ts";
import { release } from "./release.ts";
import { BACKSLASH, CLOSE_BRACKET, COMMA, OPEN_BRACKET, QUOTE } from "../json/bytes.ts";
import { CarriedRow } from "./carried_row.ts";
import { shrink, unshrink } from "./kept_text.ts";
import { PackedRow, packRow } from "./packed_row.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const BEFORE_ID = encoder.encode(',{"id":"');
const BEHIND_ID = encoder.encode('"}');
const DASH = "-".charCodeAt(0);
/** The bracket before the first revision. */
const OPENING_BYTES = 1;

/** A packed page has so many documents at most. */
const PACKED_DOCUMENTS = 1000;
/** The most memory that packed pages allocate at once. */
const MOST_SLAB_BYTES = 1 << 20;
/** How many digits of a packed revision's hash are kept: enough to tell it from the document's others. */
const KEPT_HASH_DIGITS = 8;

/** A document as the feed listed it: a row of the feed is one. */
export interface ListedDocument {
  id: string;
  /** Its leaf revisions, or their beginnings: `12-0123abcd`. Empty where they were not listed. */
  revs: readonly string[];
}

/** A page of documents, packed: they become objects again only when answers are compared with them. */
interface PackedPage {
  /** Compressed: what {@linkcode encodeIds} makes of them, and as JSON their revisions. */
  bytes: Uint8Array;
  /** How much of it the ids are, before it is compressed. */
  idBytes: number;
  count: number;
}

type Page = readonly ListedDocument[] | PackedPage;

/** Documents on their way into one batch, packed page by page as they come. */
export class PackedPages {
  /** How many documents there are. */
  count = 0;
  readonly pages: PackedPage[] = [];

  #bytes = 0;
  #slab: Uint8Array = new Uint8Array(0);
  #used = 0;

  /** Takes documents, as pages that are not too large to be unpacked. */
  add(documents: readonly ListedDocument[]): void {
    for (let from = 0; from < documents.length; from += PACKED_DOCUMENTS) {
      const page = pack(documents.slice(from, from + PACKED_DOCUMENTS));
      this.pages.push({ ...page, bytes: this.#keep(page.bytes) });
    }
    this.count += documents.length;
  }

  /**
   * Keeps bytes beside those of other pages. Each by itself they would lie among all that comes and goes meanwhile, whose
   * room nothing larger could use again.
   */
  #keep(bytes: Uint8Array): Uint8Array {
    if (this.#used + bytes.length > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(bytes.length, Math.min(this.#bytes, MOST_SLAB_BYTES)));
      this.#used = 0;
    }
    const kept = this.#slab.subarray(this.#used, this.#used + bytes.length);
    kept.set(bytes);
    this.#used += kept.length;
    this.#bytes += kept.length;
    release(bytes);
    return kept;
  }
}

/** Documents that are asked for together. */
export class IdBatch {
  /** How many there are. */
  readonly count: number;
  readonly #pages: readonly Page[];

  private constructor(pages: readonly Page[], count: number) {
    this.#pages = pages;
    this.count = count;
  }

  /** A batch of documents in hand. */
  static of(documents: readonly ListedDocument[]): IdBatch {
    return new IdBatch([documents], documents.length);
  }

  /** Packed pages as one batch. */
  static packed({ pages, count }: PackedPages): IdBatch {
    return new IdBatch([...pages], count);
  }

  /** Its documents, page by page; a page is unpacked when it is asked for. */
  *pages(): Generator<readonly ListedDocument[]> {
    for (const page of this.#pages) yield unpack(page);
  }

  /** The documents' rows as `_bulk_get` would answer them, where the feed has brought all of them along. */
  get carried(): readonly CarriedRow[] | undefined {
    const rows: CarriedRow[] = [];
    for (const page of this.#pages) {
      if (isPacked(page)) return undefined;
      for (const document of page) {
        if (!(document instanceof CarriedRow) || !document.hasAnswer) return undefined;
        rows.push(document);
      }
    }
    return rows.length === 0 ? undefined : rows;
  }

  /** The ids of its documents. */
  *ids(): Generator<string> {
    for (const page of this.pages()) for (const { id } of page) yield id;
  }

  /** How many bytes {@linkcode IdBatch.encodedIds} yields; undefined where that is not known. */
  get encodedBytes(): number | undefined {
    let bytes = 0;
    for (const page of this.#pages) {
      if (!isPacked(page)) return undefined;
      bytes += page.idBytes;
    }
    return bytes;
  }

  /** As JSON `,{"id":…}` for each document, page by page; what is packed becomes no objects for it. */
  *encodedIds(): Generator<Uint8Array> {
    for (const page of this.#pages) {
      if (isPacked(page)) yield unshrink(page.bytes).subarray(0, page.idBytes);
      else yield encodeIds(page);
    }
  }

  /** The batch in two halves, or undefined when it has no more than one document. */
  split(): [IdBatch, IdBatch] | undefined {
    const [first] = this.#pages;
    if (first === undefined || this.count < 2) return undefined;
    if (this.#pages.length === 1) {
      const documents = unpack(first);
      const middle = Math.ceil(documents.length / 2);
      return [IdBatch.of(documents.slice(0, middle)), IdBatch.of(documents.slice(middle))];
    }
    const middle = Math.ceil(this.#pages.length / 2);
    return [countPages(this.#pages.slice(0, middle)), countPages(this.#pages.slice(middle))];
  }

  /** The batch but for the documents of `others`; undefined where none is left. */
  without(others: IdBatch): IdBatch | undefined {
    const ids = new Set(others.ids());
    const pages = this.#pages.flatMap((page) => {
      const documents = unpack(page);
      const left = documents.filter(({ id }) => !ids.has(id));
      // What is packed stays so: it may be a million documents, most of them in pages that have none of the others.
      if (left.length === documents.length) return [page];
      return left.length === 0 ? [] : [isPacked(page) ? pack(left) : left];
    });
    return IdBatch.join([countPages(pages)]);
  }

  /** The batch in parts of this many documents. */
  inParts(documents: number): IdBatch[] {
    const all = [...this.pages()].flat();
    const parts: IdBatch[] = [];
    for (let from = 0; from < all.length; from += documents) parts.push(IdBatch.of(all.slice(from, from + documents)));
    return parts;
  }

  /** Several batches as one; undefined where they have no document. */
  static join(batches: readonly IdBatch[]): IdBatch | undefined {
    const count = batches.reduce((sum, batch) => sum + batch.count, 0);
    return count === 0 ? undefined : new IdBatch(batches.flatMap((batch) => batch.#pages), count);
  }

  /** What is after the first `pages` pages, with `documents` before it. */
  behind(pages: number, documents: readonly ListedDocument[]): IdBatch {
    return countPages([documents, ...this.#pages.slice(pages)]);
  }

  static countPages(pages: readonly Page[]): IdBatch {
    return new IdBatch(pages, pages.reduce((sum, page) => sum + countOf(page), 0));
  }
}

const countPages = IdBatch.countPages;

function pack(documents: readonly ListedDocument[]): PackedPage {
  const ids = encodeIds(documents);
  const revisions = encodePlainRevisions(documents) ?? encodeRevisions(documents);
  const all = concat([ids, revisions]);
  const page = { bytes: shrink(all), idBytes: ids.length, count: documents.length };
  for (const bytes of [ids, revisions, all]) release(bytes);
  return page;
}

/** The beginnings of revisions as JSON: of a document that has one, a text. */
function encodeRevisions(documents: readonly ListedDocument[]): Uint8Array {
  const revisions = documents.map(({ revs }) => revs.length === 1 ? beginningOf(revs[0]!) : revs.map(beginningOf));
  return encoder.encode(JSON.stringify(revisions));
}

/** The same of rows that are bytes, without a text between; undefined where one is another. */
function encodePlainRevisions(documents: readonly ListedDocument[]): Uint8Array | undefined {
  let most = OPENING_BYTES;
  for (const document of documents) {
    if (!(document instanceof PackedRow)) return undefined;
    most += document.end - document.middle + '"",'.length;
  }
  const bytes = new Uint8Array(most);
  bytes[0] = OPEN_BRACKET;
  let at = OPENING_BYTES;
  for (const { bytes: packed, middle, end } of documents as readonly PackedRow[]) {
    if (at > OPENING_BYTES) bytes[at++] = COMMA;
    bytes[at++] = QUOTE;
    let dash = middle;
    while (dash < end && packed[dash] !== DASH) dash++;
    const hash = dash === end ? middle : dash + 1;
    const kept = Math.min(end, hash + KEPT_HASH_DIGITS);
    for (let index = middle; index < kept; index++) bytes[at++] = packed[index]!;
    bytes[at++] = QUOTE;
  }
  bytes[at++] = CLOSE_BRACKET;
  return bytes.subarray(0, at);
}

function beginningOf(rev: string): string {
  return rev.slice(0, rev.indexOf("-") + 1 + KEPT_HASH_DIGITS);
}

function isPacked(page: Page): page is PackedPage {
  return "bytes" in page;
}

function countOf(page: Page): number {
  return isPacked(page) ? page.count : page.length;
}

function unpack(page: Page): readonly ListedDocument[] {
  if (!isPacked(page)) return page;
  const bytes = unshrink(page.bytes);
  const documents = unpackPlain(bytes, page) ?? unpackAny(bytes, page);
  release(bytes);
  return documents;
}

/** A page of documents that have plain ids and one revision each; undefined where one is another. */
function unpackPlain(bytes: Uint8Array, { idBytes, count }: PackedPage): readonly ListedDocument[] | undefined {
  const rows: PackedRow[] = [];
  let [id, rev] = [0, idBytes + OPENING_BYTES];
  for (; rows.length < count; id += BEHIND_ID.length) {
    if (bytes[rev] !== QUOTE) return undefined;
    const idFrom = id + BEFORE_ID.length;
    const idEnd = plainEnd(bytes, idFrom);
    const revEnd = plainEnd(bytes, rev + 1);
    const row = bytes[idEnd] === QUOTE && bytes[revEnd] === QUOTE
      ? packRow(bytes, idFrom, idEnd, rev + 1, revEnd)
      : undefined;
    if (row === undefined) return undefined;
    rows.push(row);
    // After the quote a comma.
    [id, rev] = [idEnd, revEnd + 2];
  }
  return rows;
}

/** Where what is plain ends. */
function plainEnd(bytes: Uint8Array, from: number): number {
  for (let at = from;; at++) {
    const byte = bytes[at]!;
    if (!isPlain(byte)) return at;
  }
}

function unpackAny(bytes: Uint8Array, { idBytes }: PackedPage): readonly ListedDocument[] {
  const rows = JSON.parse(`[${decoder.decode(bytes.subarray(1, idBytes))}]`) as { id: string }[];
  const revisions = JSON.parse(decoder.decode(bytes.subarray(idBytes))) as (string | string[])[];
  return rows.map(({ id }, index) => {
    const revs = revisions[index]!;
    return { id, revs: typeof revs === "string" ? [revs] : revs };
  });
}

/** `,{"id":…}` for each document. */
function encodeIds(documents: readonly ListedDocument[]): Uint8Array {
  return encodePlainIds(documents) ??
    encoder.encode(documents.map(({ id }) => `,{"id":${JSON.stringify(id)}}`).join(""));
}

/** The same for ids of plain ASCII, byte by byte and without a text between; undefined where one is another. */
function encodePlainIds(documents: readonly ListedDocument[]): Uint8Array | undefined {
  const frameBytes = BEFORE_ID.length + BEHIND_ID.length;
  const bytes = new Uint8Array(documents.reduce((sum, document) => sum + frameBytes + idLength(document), 0));
  let at = 0;
  for (const document of documents) {
    bytes.set(BEFORE_ID, at);
    at += BEFORE_ID.length;
    if (document instanceof PackedRow) {
      const { bytes: packed, from, middle } = document;
      for (let index = from; index < middle; index++) bytes[at++] = packed[index]!;
    } else {
      const { id } = document;
      for (let index = 0; index < id.length; index++) {
        const unit = id.charCodeAt(index);
        if (!isPlain(unit)) return undefined;
        bytes[at++] = unit;
      }
    }
    bytes.set(BEHIND_ID, at);
    at += BEHIND_ID.length;
  }
  return bytes;
}

/** Whether a unit stands in JSON as it is, in one byte. Of what is beyond the end of bytes it is not. */
function isPlain(unit: number): boolean {
  return unit >= 0x20 && unit <= 0x7e && unit !== QUOTE && unit !== BACKSLASH;
}

function idLength(document: ListedDocument): number {
  return document instanceof PackedRow ? document.middle - document.from : document.id.length;
}

/** An id as it stands in an answer; to compare it where it stands costs less than to read it. */
export interface AnsweredId {
  readonly id: string | undefined;
  idIs(text: string): boolean;
  idIsPlain(bytes: Uint8Array, begin: number, end: number): boolean;
}

function isIdOf(document: ListedDocument, answered: AnsweredId): boolean {
  if (document instanceof PackedRow) return answered.idIsPlain(document.bytes, document.from, document.middle);
  return answered.idIs(document.id);
}

/** What is still to come of a batch that has been asked for, in whatever order it comes. */
export class Expected {
  readonly #batch: IdBatch;
  readonly #pages: Iterator<readonly ListedDocument[]>;
  /** The page in hand, and how much of it has come. */
  #page: readonly ListedDocument[] = [];
  #at = 0;
  /** What was passed while looking for another one: answers need not come in the order of the request. */
  readonly #waiting = new Map<string, ListedDocument>();
  #unpacked = 0;

  constructor(batch: IdBatch) {
    this.#batch = batch;
    this.#pages = batch.pages();
  }

  /** The document of that id, which is then no longer expected; undefined when it is not, or no longer. */
  take(answered: AnsweredId): ListedDocument | undefined {
    const next = this.#next();
    if (next !== undefined && isIdOf(next, answered)) {
      this.#at++;
      return next;
    }
    const { id } = answered;
    const found = id === undefined ? undefined : this.peek(id);
    if (found !== undefined) this.#waiting.delete(found.id);
    return found;
  }

  /** The document of that id, which stays expected. */
  peek(id: string): ListedDocument | undefined {
    for (;;) {
      const found = this.#waiting.get(id);
      if (found !== undefined || this.#next() === undefined) return found;
      for (; this.#at < this.#page.length; this.#at++) {
        const document = this.#page[this.#at]!;
        this.#waiting.set(document.id, document);
      }
    }
  }

  /** All that is still expected. */
  rest(): IdBatch {
    return this.#batch.behind(this.#unpacked, [...this.#waiting.values(), ...this.#page.slice(this.#at)]);
  }

  /** What comes next in the order of the request, which answers keep. Pages are unpacked as they are needed. */
  #next(): ListedDocument | undefined {
    while (this.#at >= this.#page.length) {
      const { value, done } = this.#pages.next();
      if (done === true) return undefined;
      this.#unpacked++;
      this.#page = value;
      this.#at = 0;
    }
    return this.#page[this.#at];
  }
}
