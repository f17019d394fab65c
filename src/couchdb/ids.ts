/**
 * Which documents one chunk is made of. In: a database, and which ranges of its ids. Out: batches of ids. They are
 * listed page by page, in the order of their UTF-8 bytes, and cut into neighbours. A batch has its ids in hand when it
 * is small, or only its two ends when it is a whole database, so that memory does not grow with the number of
 * documents.
 */
import { Buffer } from "node:buffer";
import type { CallOptions, CouchClient } from "./client.ts";

/** Ids listed per request: about half a megabyte of JSON where ids are of usual length. */
export const PAGE_IDS = 5000;

/** A range of ids: those behind `after` (undefined: from the beginning), up to and with `through` (undefined: to the end). */
export interface IdRange {
  after?: string | undefined;
  through?: string | undefined;
}

/** Neighbouring ids of one database. */
export interface IdBatch {
  /** The id before the first one of the batch; undefined at the database's beginning. */
  readonly after: string | undefined;
  /** The ids in order, page by page. Those of a listed batch are the same each time; a ranged one asks CouchDB again. */
  pages(options: CallOptions): AsyncIterable<readonly string[]>;
  /** The batch in two halves, or undefined when it has no more than one id. */
  split(options: CallOptions): Promise<[IdBatch, IdBatch] | undefined>;
}

/** A batch whose ids are in hand. */
export class ListedIds implements IdBatch {
  readonly after: string | undefined;
  readonly ids: readonly string[];

  constructor(after: string | undefined, ids: readonly string[]) {
    this.after = after;
    this.ids = ids;
  }

  async *pages(): AsyncGenerator<readonly string[]> {
    yield this.ids;
  }

  split(): Promise<[IdBatch, IdBatch] | undefined> {
    if (this.ids.length < 2) return Promise.resolve(undefined);
    const first = this.ids.slice(0, Math.ceil(this.ids.length / 2));
    const second = this.ids.slice(first.length);
    return Promise.resolve([new ListedIds(this.after, first), new ListedIds(first.at(-1), second)]);
  }
}

/** A batch of which only the ends are known. */
export class RangedIds implements IdBatch {
  readonly client: CouchClient;
  readonly database: string;
  readonly range: IdRange;

  constructor(client: CouchClient, database: string, range: IdRange) {
    this.client = client;
    this.database = database;
    this.range = range;
  }

  get after(): string | undefined {
    return this.range.after;
  }

  pages(options: CallOptions): AsyncIterable<readonly string[]> {
    return listPages(this.client, this.database, this.range, options);
  }

  async split(options: CallOptions): Promise<[IdBatch, IdBatch] | undefined> {
    const lastOfPages: string[] = [];
    let page: readonly string[] = [];
    for await (page of this.pages(options)) lastOfPages.push(page.at(-1)!);
    if (lastOfPages.length < 2) return await new ListedIds(this.after, page).split();
    const middle = lastOfPages[Math.floor(lastOfPages.length / 2) - 1]!;
    return [
      new RangedIds(this.client, this.database, { after: this.after, through: middle }),
      new RangedIds(this.client, this.database, { after: middle, through: this.range.through }),
    ];
  }
}

/** Lists the ids of a range, page by page; the next page is asked for while the caller is busy with the last one. */
export async function* listPages(
  client: CouchClient,
  database: string,
  range: IdRange,
  options: CallOptions,
): AsyncGenerator<readonly string[]> {
  const ask = (after: string | undefined) => {
    const page = client.listIds(database, { after, through: range.through, limit: PAGE_IDS }, options);
    // A page that fails while the caller is busy is reported when it is asked for, not as an unhandled rejection.
    page.catch(() => {});
    return page;
  };
  let coming: Promise<string[]> | undefined = ask(range.after);
  while (coming !== undefined) {
    const page: string[] = await coming;
    coming = page.length < PAGE_IDS ? undefined : ask(page.at(-1));
    if (page.length > 0) yield page;
  }
}

/**
 * Cuts the ids of the given ranges into batches of `chunk` ids; without `chunk` each range is one batch. A range without ids
 * gives no batch.
 */
export async function* listBatches(
  client: CouchClient,
  database: string,
  options: CallOptions & { ranges: readonly IdRange[]; chunk: number | undefined },
): AsyncGenerator<IdBatch> {
  for (const range of options.ranges) {
    if (options.chunk === undefined) {
      const [first] = await client.listIds(database, { ...range, limit: 1 }, options);
      if (first !== undefined) yield new RangedIds(client, database, range);
      continue;
    }
    let after = range.after;
    let waiting: string[] = [];
    for await (const page of listPages(client, database, range, options)) {
      waiting = waiting.concat(page);
      let taken = 0;
      for (; waiting.length - taken >= options.chunk; taken += options.chunk) {
        const ids = waiting.slice(taken, taken + options.chunk);
        yield new ListedIds(after, ids);
        after = ids.at(-1);
      }
      waiting = waiting.slice(taken);
    }
    if (waiting.length > 0) yield new ListedIds(after, waiting);
  }
}

/**
 * What a set of done ranges leaves undone.
 *
 * @param done Ranges with both ends (`after` undefined: from the beginning), in any order; they may overlap.
 * @returns The gaps between them, in order, and what comes behind the last one.
 */
export function uncoveredRanges(done: readonly { after: string | undefined; through: string }[]): IdRange[] {
  const sorted = done.toSorted((a, b) => compareEnds(a.after, b.after) || compareIds(a.through, b.through));
  const gaps: IdRange[] = [];
  let reached: string | undefined;
  for (const range of sorted) {
    if (compareEnds(range.after, reached) > 0) gaps.push({ after: reached, through: range.after });
    if (compareEnds(range.through, reached) > 0) reached = range.through;
  }
  gaps.push({ after: reached });
  return gaps;
}

/** The order of `_all_docs`: by the ids' UTF-8 bytes. JavaScript's own order differs beyond the basic plane. */
export function compareIds(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
}

function compareEnds(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? -1 : 1;
  return compareIds(a, b);
}
