/**
 * The documents that become one chunk: ids, and the revisions that the feed listed of each. A small batch has them in hand;
 * one that is a whole database keeps them packed, page by page, so that memory stays some ten bytes a document.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";

/** Of a packed revision's hash this much is kept: enough to tell it from the others of its document. */
const KEPT_HASH_DIGITS = 8;

/** A document as the feed listed it: a row of the feed is one. */
export interface ListedDocument {
  id: string;
  /** Its leaf revisions, or their beginnings: `12-0123abcd`. Empty where nobody has listed them. */
  revs: readonly string[];
}

type Page = readonly ListedDocument[] | Uint8Array;

/** Documents on their way into one batch, packed page by page as they come. */
export class PackedPages {
  /** How many documents there are. */
  count = 0;
  readonly pages: Uint8Array[] = [];

  /** Takes a page of documents. */
  add(documents: readonly ListedDocument[]): void {
    this.pages.push(pack(documents));
    this.count += documents.length;
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

  /** The ids of its documents. */
  *ids(): Generator<string> {
    for (const page of this.pages()) for (const { id } of page) yield id;
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
    const documents = [...this.pages()].flatMap((page) => page.filter(({ id }) => !ids.has(id)));
    return documents.length === 0 ? undefined : IdBatch.of(documents);
  }

  /** Several batches as one; undefined where they have no document. */
  static join(batches: readonly IdBatch[]): IdBatch | undefined {
    const count = batches.reduce((sum, batch) => sum + batch.count, 0);
    return count === 0 ? undefined : new IdBatch(batches.flatMap((batch) => batch.#pages), count);
  }

  /** What is behind the first `pages` pages, with `documents` in front of it. */
  behind(pages: number, documents: readonly ListedDocument[]): IdBatch {
    return countPages([documents, ...this.#pages.slice(pages)]);
  }

  static countPages(pages: readonly Page[]): IdBatch {
    return new IdBatch(pages, pages.reduce((sum, page) => sum + unpack(page).length, 0));
  }
}

const countPages = IdBatch.countPages;

function pack(documents: readonly ListedDocument[]): Uint8Array {
  return deflateRawSync(JSON.stringify(documents.map(({ id, revs }) => [id, ...revs.map(beginningOf)])), { level: 1 });
}

function beginningOf(rev: string): string {
  return rev.slice(0, rev.indexOf("-") + 1 + KEPT_HASH_DIGITS);
}

function unpack(page: Page): readonly ListedDocument[] {
  if (!(page instanceof Uint8Array)) return page;
  const rows = JSON.parse(new TextDecoder().decode(inflateRawSync(page))) as [string, ...string[]][];
  return rows.map(([id, ...revs]) => ({ id, revs }));
}

/** An id as it stands in an answer; to compare it where it stands costs less than to read it. */
export interface AnsweredId {
  readonly id: string | undefined;
  idIs(text: string): boolean;
}

/** What is still to come of a batch that has been asked for, in whatever order it comes. */
export class Expected {
  readonly #batch: IdBatch;
  readonly #pages: Iterator<readonly ListedDocument[]>;
  /** The page in hand, and how much of it has come. */
  #page: readonly ListedDocument[] = [];
  #at = 0;
  /** What was looked behind, as answers did not come in the order of the request. */
  readonly #waiting = new Map<string, ListedDocument>();
  #unpacked = 0;

  constructor(batch: IdBatch) {
    this.#batch = batch;
    this.#pages = batch.pages();
  }

  /** The document of that id, which is then no longer expected; undefined when it is not, or no longer. */
  take(answered: AnsweredId): ListedDocument | undefined {
    const next = this.#next();
    if (next !== undefined && answered.idIs(next.id)) {
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
