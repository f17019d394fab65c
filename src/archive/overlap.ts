/**
 * The end of a database's changes feed, as one backup has seen it and the next one sees it again. In: rows as they are
 * listed. Out: a position shortly before the end, with hashes of the rows after it; and of rows that are listed from
 * there whether they are known, and whether all that were known are still there.
 */
import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import type { FeedOverlap } from "./manifest.ts";

/** A row of the feed, as far as it matters here. */
export interface OverlapRow {
  id: string;
  /** All leaf revisions, deleted ones too. */
  revs: readonly string[];
  /** The position after it; undefined where it was not asked for. */
  position?: string | undefined;
}

/** How many rows are kept for each shard range. */
const ROWS_A_RANGE = 16;
/**
 * A range's last row is the first that a file lacks which was set back; so one of each is wanted, however unevenly they
 * come. It is not waited for beyond so many rows: a range may have none.
 */
const MOST_ROWS = 1000;
/** Of this many characters of a SHA-256 in base64url half stand for the id: 66 bits each. */
const HALF = 11;

/** How a database is cut into ranges. */
export interface ShardRanges {
  /** How many there are; null where CouchDB does not say. */
  q: number | null;
  partitioned: boolean;
}

interface Page {
  /** The position before its first row; undefined within an answer without a limit. */
  since: string | undefined;
  rows: readonly OverlapRow[];
}

/** Follows a listing, and keeps the rows at its end. */
export class FeedTail {
  /** How many rows are enough. */
  readonly least: number;
  readonly #q: number;
  readonly #isPartitioned: boolean;
  readonly #isWhole: boolean;
  readonly #pages: Page[] = [];
  /** After the last page. */
  #position: string | undefined;

  /**
   * @param options `since`: where the listing begins. `isWhole`: nothing lies before that which matters, so that few
   * rows are enough.
   */
  constructor(
    { ranges: { q, partitioned }, since, isWhole }: { ranges: ShardRanges; since: string; isWhole: boolean },
  ) {
    this.#q = q ?? 1;
    this.#isPartitioned = partitioned;
    this.least = ROWS_A_RANGE * this.#q;
    this.#position = since;
    this.#isWhole = isWhole;
  }

  /** Takes the next rows, and the position after them. */
  add(rows: readonly OverlapRow[], position: string | undefined): void {
    this.#pages.push({ since: this.#position, rows });
    this.#position = position;
    for (;;) {
      const [, ...others] = this.#pages;
      const behind = others.reduce((sum, { rows }) => sum + rows.length, 0) - firstPosition(others);
      if (others.length === 0 || behind < Math.max(MOST_ROWS, this.least)) break;
      this.#pages.shift();
    }
  }

  /**
   * The last position that has enough rows after it, one of each range among them if that takes no thousand; and these
   * rows. Undefined where there are too few to tell anything.
   */
  get rows(): { since: string; rows: OverlapRow[] } | undefined {
    const ranges = new Set<number>();
    const behind: OverlapRow[] = [];
    let found: { since: string; count: number } | undefined;
    const isEnough = () => behind.length >= this.least && (ranges.size >= this.#q || behind.length >= MOST_ROWS);
    search: for (const { since, rows } of this.#pages.toReversed()) {
      for (let at = rows.length - 1; at >= 0; at--) {
        const row = rows[at]!;
        if (row.position !== undefined) found = { since: row.position, count: behind.length };
        if (row.position !== undefined && isEnough()) break search;
        behind.push(row);
        ranges.add(this.#rangeOf(row.id));
      }
      if (since !== undefined) found = { since, count: behind.length };
      if (since !== undefined && isEnough()) break;
    }
    if (found === undefined) {
      return this.#isWhole && this.#position !== undefined ? { since: this.#position, rows: [] } : undefined;
    }
    // Where pages were dropped there are enough; else few rows are all that there are.
    if (found.count < this.least && !this.#isWhole) return undefined;
    return { since: found.since, rows: behind.slice(0, found.count).reverse() };
  }

  /** Where CouchDB's hash of an id, or of its partition, falls among ranges of one size. */
  #rangeOf(id: string): number {
    const hashed = this.#isPartitioned && !id.startsWith("_design/") ? id.slice(0, Math.max(id.indexOf(":"), 0)) : id;
    return Math.floor(crc32(hashed) / 2 ** 32 * this.#q);
  }
}

/** How many rows of some pages lie before the first position that is known. */
function firstPosition(pages: readonly Page[]): number {
  let before = 0;
  for (const { since, rows } of pages) {
    if (since !== undefined) return before;
    const at = rows.findIndex(({ position }) => position !== undefined);
    if (at >= 0) return before + at + 1;
    before += rows.length;
  }
  return before;
}

/** What the manifest keeps of the rows after a position. Of an id that comes twice the last row counts. */
export function makeOverlap({ since, rows }: { since: string; rows: readonly OverlapRow[] }): FeedOverlap {
  const salt = randomBytes(12).toString("base64url");
  const last = new Map(rows.map((row) => [row.id, row]));
  return { since, salt, hashes: [...last.values()].map((row) => hashId(row.id, salt) + hashRow(row, salt)) };
}

/** What a row is to one who knows the end of the feed: `known` as it is, `changed` since, or `unknown`. */
export type RowNews = "known" | "changed" | "unknown";

/** The rows that a backup has seen at its end. */
export class KnownRows {
  readonly #salt: string;
  /** Of each id its row. */
  readonly #rows: ReadonlyMap<string, string>;
  readonly #unseen: Set<string>;

  constructor({ salt, hashes }: FeedOverlap) {
    this.#salt = salt;
    this.#rows = new Map(hashes.map((hash) => [hash.slice(0, HALF), hash.slice(HALF)]));
    this.#unseen = new Set(this.#rows.keys());
  }

  /** How many there are. */
  get size(): number {
    return this.#rows.size;
  }

  /** How many ids have not been looked at: a feed that was listed to its end from that position has them all. */
  get unseen(): number {
    return this.#unseen.size;
  }

  /** What is new about a row. */
  look(row: OverlapRow): RowNews {
    const id = hashId(row.id, this.#salt);
    const known = this.#rows.get(id);
    if (known === undefined) return "unknown";
    this.#unseen.delete(id);
    return known === hashRow(row, this.#salt) ? "known" : "changed";
  }
}

function hashId(id: string, salt: string): string {
  return createHash("sha256").update(`${salt}\0${id}`).digest("base64url").slice(0, HALF);
}

/** Copies may name the leaf revisions in different orders. */
function hashRow({ id, revs }: OverlapRow, salt: string): string {
  const text = `${salt}\0${id}\0${[...revs].sort().join(",")}`;
  return createHash("sha256").update(text).digest("base64url").slice(0, HALF);
}
