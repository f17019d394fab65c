/**
 * Reads pages of the changes feed ahead, and hands them out in groups whose documents are put into the order of their ids
 * together. In: the next page, and how many documents may be taken together. Out: groups of at least one page. Whoever
 * has nothing else to do gets what has come; nobody waits for a group to become as large as it may be.
 */
import { orAborted } from "../../abort.ts";
import type { FeedPage } from "../../couchdb/changes.ts";
import type { ChangesRow } from "../../couchdb/changes_page.ts";
import { PackedRow } from "../../couchdb/packed_row.ts";

/** Ids and revisions of so many bytes are put into order together, however few they are. */
const MOST_TOGETHER_BYTES = 4 * 1024 * 1024;

/** Where the pages come from, and how many there may be together. */
export interface PageSource {
  /** The next page; undefined at the end. */
  next: () => Promise<FeedPage | undefined>;
  /** Whether there may be a next page. */
  hasNext: () => boolean;
  /** Documents in a batch, from now on; undefined: all of them. */
  chunk: (() => number) | undefined;
  /** How many documents may be taken together, from now on. */
  reach: () => number;
  /** How many documents of pages that were handed out have no batch yet. */
  untaken: () => number;
}

/** The pages of one feed. */
export class PagesAhead {
  readonly #source: PageSource;
  #coming: Promise<FeedPage[]> | undefined;
  /** Whether there is nothing to be fetched before they have come. */
  #isAwaited = false;
  /** Why there are no more of them, where some had come before that. */
  #failure: { error: unknown } | undefined;
  #makeRoom: () => void = () => {};

  constructor(source: PageSource) {
    this.#source = source;
  }

  /** Whether pages have been asked for that nobody has taken. */
  get hasPages(): boolean {
    return this.#coming !== undefined;
  }

  /**
   * The pages that are to be taken together; none at the end. Those after them are asked for meanwhile.
   *
   * @param options.isSingle One page, and none ahead: where each has to be taken before the next one comes.
   */
  async take({ signal, isSingle }: { signal: AbortSignal; isSingle: boolean }): Promise<readonly FeedPage[]> {
    const { chunk, hasNext } = this.#source;
    this.#isAwaited = true;
    this.noteRoom();
    const pages = await orAborted(this.#coming ?? this.#read({ isSingle }), signal);
    this.#isAwaited = false;
    // Where one batch is to hold all documents, no document is fetched before the last page: nothing to read ahead of.
    this.#coming = !isSingle && chunk !== undefined && hasNext() ? this.#read() : undefined;
    // A failure while the caller is busy is thrown when the caller asks for these pages.
    this.#coming?.catch(() => {});
    return pages;
  }

  /** Documents have left what waits: more may come. */
  noteRoom(): void {
    this.#makeRoom();
  }

  /** Forgets what is on its way. */
  close(): void {
    this.#coming = undefined;
  }

  async #read({ isSingle = false } = {}): Promise<FeedPage[]> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const pages: FeedPage[] = [];
    let bytes = 0;
    try {
      do {
        const page = await this.#source.next();
        if (page === undefined) break;
        pages.push(page);
        bytes += textBytes(page.rows);
        await this.#room(pages);
      } while (!isSingle && !this.#mustGive && bytes < MOST_TOGETHER_BYTES && this.#reachesBeyond(pages));
    } catch (error) {
      if (pages.length === 0) throw error;
      // What came before it is fetched first. A feed that has failed would say from then on that it is at its end.
      this.#failure = { error };
    }
    return pages;
  }

  /** Whether somebody waits who can begin with what there is; one batch of all needs all. */
  get #mustGive(): boolean {
    return this.#isAwaited && this.#source.chunk !== undefined;
  }

  /** Pages come as those before them go: in memory there are about as many documents as can be taken together. */
  async #room(pages: readonly FeedPage[]): Promise<void> {
    while (!this.#isAwaited && this.#reachesBeyond(pages) && !this.#reachesBeyond(pages, this.#source.untaken())) {
      await new Promise<void>((resolve) => this.#makeRoom = resolve);
    }
  }

  /** Whether one more page may be taken together with these, and with so many documents beside them. */
  #reachesBeyond(pages: readonly FeedPage[], beside = 0): boolean {
    const { chunk, reach } = this.#source;
    const [size, most] = [chunk?.() ?? 0, reach()];
    const documents = countRows(pages) + beside;
    // A batch larger than the reach is filled all the same, as it is stored as a whole; but not beyond its size, which
    // would make two smaller ones of it.
    return size < most ? documents < most : documents + pages.at(-1)!.rows.length <= size;
  }
}

/** How many rows pages have. */
export function countRows(pages: readonly FeedPage[]): number {
  return pages.reduce((sum, { rows }) => sum + rows.length, 0);
}

/** How much the ids and revisions of rows are, about: in bytes where they are ASCII. */
function textBytes(rows: readonly ChangesRow[]): number {
  let bytes = 0;
  for (const row of rows) {
    if (row instanceof PackedRow) bytes += row.end - row.from;
    else bytes += row.id.length + row.revs.reduce((sum, rev) => sum + rev.length, 0);
  }
  return bytes;
}
