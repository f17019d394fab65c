/**
 * How many databases a whole restore has in hand at once. In: what is restored, in its order. Out: whether the next one
 * may begin, and how many requests each makes at a time. What is in flight at CouchDB is bounded, and what is held in
 * memory: a large database makes four requests at a time, a small one a single one, so that four small ones count as a
 * large one. How large a chain of increments is shows when the manifests of its parents are read.
 */
import type { Archive } from "../../archive/archive.ts";
import { type Manifest, sumChunks, type Totals } from "../../archive/manifest.ts";
import { type Place, Shares } from "../shares.ts";
import type { Target } from "./fleet_targets.ts";

/** Large databases at the same time, unless set otherwise. */
const LARGE_AT_ONCE = 4;
/** What each of these has: a share for a request, as many as a restore makes at a time by itself. */
const LARGE_SHARE = 4;
const SMALL_SHARE = 1;
/** What is below that takes next to no memory, in however many chunks it lies. */
const SMALL_BYTES = 256 << 10;
const SMALL_REVISIONS = 500;

/**
 * Room for the databases of one whole restore.
 *
 * @param options.atOnce How many databases, whatever they are. @default 4 large ones, or 16 small ones
 */
export function fleetRoom(targets: readonly Target[], { atOnce }: { atOnce: number | undefined }): Shares<Target> {
  const shareOf = ({ point }: Target) => mayBeSmall(point.manifest) ? SMALL_SHARE : LARGE_SHARE;
  return new Shares(targets, {
    room: (atOnce ?? LARGE_AT_ONCE) * LARGE_SHARE,
    shareOf: atOnce === undefined ? shareOf : () => LARGE_SHARE,
  });
}

/**
 * Waits until there is room for an archive, where it has turned out to be larger than its manifest alone said.
 *
 * @param archive With its parents.
 * @returns How many requests it may make at a time; undefined where that is as many as any other restore.
 * @throws The reason of the signal.
 */
export async function claimRoom(
  place: Place,
  { chunks }: Pick<Archive, "chunks">,
  options: { signal: AbortSignal },
): Promise<number | undefined> {
  const entries = chunks.flatMap(({ entry }) => entry ?? []);
  const isKnown = entries.length === chunks.length;
  if (!isKnown || !isSmall(sumChunks(entries))) await place.claim(LARGE_SHARE, options);
  return place.share < LARGE_SHARE ? place.share : undefined;
}

/**
 * Whether the manifest alone leaves it open that all of a backup is small. With its parents it has every document that
 * was there then, and maybe more: so the long manifests of large databases are not read side by side with fifteen others.
 */
function mayBeSmall({ parent, totals, properties }: Manifest): boolean {
  return isSmall(totals) && (parent === null || properties.doc_count <= SMALL_REVISIONS);
}

function isSmall({ bytes, leaf_revisions: revisions }: Totals): boolean {
  return bytes <= SMALL_BYTES && revisions <= SMALL_REVISIONS;
}
