/**
 * The ranges of ids that chunks of format 1 cover, one beside the other from the first id of the database to the last, in
 * the order of the ids' UTF-8 bytes. In: chunks' lines in a manifest. Out: ids that are not where they must be, and ranges
 * that no chunk covers. Chunks of format 2 have none.
 */
import { Buffer } from "node:buffer";
import type { ChunkEntry } from "./manifest.ts";

/** A range of ids: those behind `after` (null: from the beginning), up to and with `through`. */
export interface IdRange {
  after: string | null;
  through: string;
}

/** Whether a chunk has a range. Else it is of format 2. */
export function hasRange(entry: ChunkEntry | undefined): boolean {
  return entry?.last_id !== undefined;
}

/** Holds the ids of a chunk against the range that its line in the manifest names. */
export class RangeCheck {
  /** The first id that is not where it must be. */
  problem: string | undefined;
  readonly #range: IdRange | undefined;

  constructor(entry: ChunkEntry | undefined) {
    this.#range = entry?.last_id === undefined ? undefined : { after: entry.after_id ?? null, through: entry.last_id };
  }

  /** Takes the id of a row. */
  check(id: string | undefined): void {
    if (this.#range === undefined || this.problem !== undefined) return;
    const { after, through } = this.#range;
    const isWithin = id !== undefined && compareIds(id, through) <= 0 && (after === null || compareIds(id, after) > 0);
    if (!isWithin) {
      this.problem = `It holds document ${JSON.stringify(id)}, which is not of the range the manifest names`;
    }
  }
}

/** The ranges that the chunks of a complete backup leave out between them. */
export function findGaps(entries: readonly ChunkEntry[]): IdRange[] {
  const ranges = entries.flatMap(({ after_id: after = null, last_id: through }) =>
    through === undefined ? [] : { after, through }
  );
  ranges.sort((a, b) => compareEnds(a.after, b.after) || compareIds(a.through, b.through));
  const gaps: IdRange[] = [];
  let reached: string | null = null;
  for (const { after, through } of ranges) {
    if (after !== null && compareEnds(after, reached) > 0) gaps.push({ after: reached, through: after });
    if (compareEnds(through, reached) > 0) reached = through;
  }
  return gaps;
}

/** JavaScript's own order differs from that of the bytes beyond the basic plane. */
function compareIds(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function compareEnds(a: string | null, b: string | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  return compareIds(a, b);
}
