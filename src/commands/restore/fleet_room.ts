/**
 * How many databases a whole restore has in hand at once. In: what is restored, in its order. Out: whether the next one
 * may begin. What is in flight at CouchDB is bounded, and what is held in memory: a large database makes four requests
 * at a time, a small one a single one, so that four small ones count as a large one.
 */
import type { Manifest } from "../../archive/manifest.ts";
import { Shares } from "../../shares.ts";
import type { Target } from "./fleet_targets.ts";

/** Large databases at the same time, unless set otherwise. */
const LARGE_AT_ONCE = 4;
/** So many small ones count as a large one: as many requests as one of these has in flight. */
const SMALL_FOR_LARGE = 4;
/** What is below that is one request, and takes next to no memory. */
const SMALL_BYTES = 256 << 10;
const SMALL_REVISIONS = 500;

/**
 * Room for the databases of one whole restore.
 *
 * @param options.atOnce How many databases, whatever they are. @default 4 large ones, or 16 small ones
 */
export function fleetRoom(targets: readonly Target[], { atOnce }: { atOnce: number | undefined }): Shares<Target> {
  if (atOnce !== undefined) return new Shares(targets, { room: atOnce, shareOf: () => 1 });
  return new Shares(targets, { room: LARGE_AT_ONCE * SMALL_FOR_LARGE, shareOf });
}

function shareOf({ point: { manifest } }: Target): number {
  return isSmall(manifest) ? 1 : SMALL_FOR_LARGE;
}

/** What an incremental backup builds on may be of any size. */
function isSmall({ parent, totals }: Manifest): boolean {
  const { chunks, bytes, leaf_revisions: revisions } = totals;
  return parent === null && chunks <= 1 && bytes <= SMALL_BYTES && revisions <= SMALL_REVISIONS;
}
