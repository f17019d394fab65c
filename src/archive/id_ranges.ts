/**
 * The ranges of ids that chunks of format 1 cover, one beside the other from the first id of the database to the last,
 * in the order of the ids' UTF-8 bytes. In: chunks' lines in a manifest. Out: ids that are not where they must be, and
 * ranges that no chunk covers. Chunks of format 2 have none.
 */
import { Buffer } from "node:buffer";
import type { ChunkEntry } from "./manifest.ts";

/**
 * A range of ids: those after `after` (undefined: from the beginning), up to and with `through` (undefined: to the
 * end).
 */
export interface IdRange {
  after?: string | undefined;
  through?: string | undefined;
}

/** Whether a chunk has a range. Else it is of format 2. */
export function hasRange(entry: ChunkEntry): boolean {
  return entry.last_id !== undefined;
}

/** Holds the ids of a chunk against the range that its line in the manifest names. */
export class RangeCheck {
  /** The first id that is not where it must be. */
  problem: string | undefined;
  readonly #range: IdRange | undefined;

  constructor(entry: ChunkEntry | undefined) {
    this.#range = entry === undefined || !hasRange(entry) ? undefined : rangeOf(entry);
  }

  /** Takes the id of a row. */
  check(id: string | undefined): void {
    if (this.#range === undefined || this.problem !== undefined) return;
    const { after, through = "" } = this.#range;
    const isBehind = after === undefined || (id !== undefined && compareIds(id, after) > 0);
    if (id === undefined || !isBehind || compareIds(id, through) > 0) {
      this.problem = `It holds document ${JSON.stringify(id)}, which is not of the range the manifest names`;
    }
  }
}

/** The ranges that the chunks of a complete backup leave out between them. */
export function findGaps(entries: readonly ChunkEntry[]): IdRange[] {
  // The last gap is what comes after all ids.
  return uncoveredRanges(entries.filter(hasRange).map(rangeOf)).slice(0, -1);
}

function rangeOf({ after_id: after, last_id: through = "" }: ChunkEntry) {
  return { after: after ?? undefined, through };
}

/**
 * What a set of done ranges leaves undone.
 *
 * @param done Ranges with both ends (`after` undefined: from the beginning), in any order; they may overlap.
 * @returns The gaps between them, in order, and what comes after the last one.
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
