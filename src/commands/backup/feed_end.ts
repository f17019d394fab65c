/**
 * Where the next backup of a database is to begin. In: a listing that has ended. Out: a position a few rows before its
 * end, with hashes of these rows, as near to the end as CouchDB tells.
 */
import type { ListedFeed } from "../../archive/manifest.ts";
import { FeedTail, makeOverlap, type OverlapRow, type ShardRanges } from "../../archive/overlap.ts";
import { readPage } from "../../couchdb/changes.ts";
import type { DocumentCounts } from "./completeness.ts";
import type { Run } from "./context.ts";
import type { Listing } from "./listing.ts";

/** With this many times the rows that are needed, a request that finds a nearer position pays off. */
const WORTH_A_REQUEST = 4;
/** In that request, one row of this many has its position. */
const POSITIONS_EVERY = 8;
/** More rows than were listed: what has been changed since. */
const FURTHER_ROWS = 1000;

/** What the manifest says of the end of the feed. */
export async function readFeedEnd(
  { couch, signal }: Run,
  { database, listing, counts: { expected }, ranges }: {
    database: string;
    listing: Listing;
    counts: DocumentCounts;
    ranges: ShardRanges;
  },
): Promise<Pick<ListedFeed, "expected" | "overlap">> {
  const end = listing.hasPending ? listing.tail.rows : undefined;
  if (end === undefined) return { expected, overlap: null };
  const { since, rows } = end;
  if (rows.length <= WORTH_A_REQUEST * listing.tail.least) return { expected, overlap: makeOverlap(end) };
  const page = await readPage(couch, database, {
    since,
    limit: rows.length + FURTHER_ROWS,
    positionsEvery: POSITIONS_EVERY,
  }, { signal });
  const tail = new FeedTail({ ranges, since, isWhole: false });
  tail.add(page.rows, page.last_seq);
  const nearer = page.pending === 0 ? tail.rows : undefined;
  if (nearer === undefined) return { expected, overlap: makeOverlap(end) };
  // A document that was changed meanwhile is in no chunk yet: its row must stay unknown, and after the position.
  const listed = new Map(rows.map((row) => [row.id, keyOf(row)]));
  const isListed = (row: OverlapRow) => listed.get(row.id) === keyOf(row);
  const known = nearer.rows.filter(isListed);
  const isBehind = page.rows.slice(0, -nearer.rows.length || undefined).every(isListed);
  return { expected, overlap: makeOverlap(isBehind && known.length >= tail.least ? { ...nearer, rows: known } : end) };
}

function keyOf({ revs }: OverlapRow): string {
  return [...revs].sort().join();
}
