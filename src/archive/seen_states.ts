/**
 * Remembers which states of documents a backup has seen: the id and the leaf revisions of each row of the feed, in a
 * Bloom filter of some three bytes for each. In: rows. Out: whether the backup has seen the state of a later row:
 * surely not, or most probably.
 *
 * A full backup that follows a chain of increments asks the filters of all links of that chain. A document that has not
 * changed since, and is in none of the filters, was lost by the chain. This takes no reading of chunks, and no further
 * request for documents.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { ArchiveError, isNotFound, isOutOfReach } from "../errors.ts";
import { IdFilter, MOST_BYTES } from "../couchdb/id_filter.ts";
import { joinKey, splitKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { readObjectBytes } from "../store/whole.ts";
import { seenName } from "./layout.ts";
import type { SeenStates } from "./manifest.ts";

/**
 * The least number of bits for each state; there are twice as many at most. One of two thousand states that were never
 * seen is then taken for a seen one.
 */
const BITS_PER_STATE = 16;
/** Filters up to this size stand in the manifest, which has to be read anyway; larger ones are objects of their own. */
const MOST_INLINE_BYTES = 4 << 10;
/** How many digits of a revision's hash count: a batch that is a whole database keeps no more of them. */
const REVISION_DIGITS = 8;
/** A run that makes several backups of a database in one folder numbers their filters; this is the highest number. */
const MOST_OBJECTS = 1000;

/** A row of the feed, as far as it matters here. */
export interface SeenRow {
  id: string;
  /** All leaf revisions, deleted ones too, or their beginnings. */
  revs: readonly string[];
}

/** What stands for a state; copies may name the leaf revisions in different orders. */
export function stateKey({ id, revs }: SeenRow): string {
  const beginnings = revs.map((rev) => rev.slice(0, rev.indexOf("-") + 1 + REVISION_DIGITS));
  return `${id}\0${beginnings.length === 1 ? beginnings[0] : beginnings.sort().join()}`;
}

/** An empty filter for about `count` states. */
export function seenFilter(count: number): IdFilter {
  return IdFilter.foldable(count, BITS_PER_STATE);
}

/** Stores a filter, or puts it into what the manifest has of it. @param run The eight digits that stand for the run. */
export async function storeSeen(
  store: Store,
  { folder, run, filter, signal }: StoreCallOptions & { folder: string; run: string; filter: IdFilter },
): Promise<SeenStates> {
  const folded = filter.folded(BITS_PER_STATE);
  const { salt, hashes, ids: states } = folded;
  const { bytes } = folded;
  if (bytes.length <= MOST_INLINE_BYTES) {
    return { states, salt, hashes, bits: Buffer.from(bytes).toString("base64url"), object: null };
  }
  const keys = function* () {
    for (let number = 0; number < MOST_OBJECTS; number++) yield joinKey(folder, seenName(run, number));
  };
  const body = async function* () {
    yield bytes;
  };
  const { key, sha256 } = await store.create(keys(), body(), { signal });
  const { name } = splitKey(key);
  return { states, salt, hashes, bits: null, object: { name, bytes: bytes.length, sha256 } };
}

/**
 * A backup's filter.
 *
 * @throws ArchiveError where it is damaged, gone, or the store does not give it out, as where a lifecycle rule has
 * moved it to an archive tier; StoreError where the store itself fails.
 */
export async function readSeen(
  store: Store,
  { folder, seen, signal }: StoreCallOptions & { folder: string; seen: SeenStates },
): Promise<IdFilter> {
  const { states: ids, salt, hashes, bits, object } = seen;
  const key = joinKey(folder, object?.name ?? "");
  const bytes = object === null
    ? new Uint8Array(Buffer.from(bits ?? "", "base64url"))
    : await readFilterObject(store, key, { signal });
  const found = createHash("sha256").update(bytes).digest("hex");
  // What a resumed run has stored before November 2026 has another filter in front of this one.
  const isFilter = bytes.length >= 4 && (bytes.length & (bytes.length - 1)) === 0;
  if (isFilter && (object === null || found === object.sha256)) return IdFilter.from({ bytes, salt, hashes, ids });
  throw new ArchiveError(`Cannot use "${key}", the filter of what a backup has seen: it is damaged`, {
    key,
    expected: object?.sha256 ?? "a power of two of bytes",
    found,
  });
}

async function readFilterObject(store: Store, key: string, options: StoreCallOptions): Promise<Uint8Array> {
  try {
    return await readObjectBytes(store, key, { ...options, mostBytes: MOST_BYTES });
  } catch (error) {
    if (!isOutOfReach(error)) throw error;
    const problem = isNotFound(error) ? "it is gone" : "the store does not give it out";
    throw new ArchiveError(`Cannot use "${key}", the filter of what a backup has seen: ${problem}`, { key }, {
      cause: error,
    });
  }
}
