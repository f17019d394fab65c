/**
 * Ranges of ids, in the order of their UTF-8 bytes. An archive of format 1 says of each chunk which range it covers. In:
 * such ranges. Out: what they leave out.
 */
import { Buffer } from "node:buffer";

/** A range of ids: those behind `after` (undefined: from the beginning), up to and with `through` (undefined: to the end). */
export interface IdRange {
  after?: string | undefined;
  through?: string | undefined;
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
