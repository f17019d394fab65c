/**
 * Stores documents of one database, chunk by chunk, until nothing is missing: what the feed lists is read in batches, as
 * many at a time as the database's place among the others allows. In: what is to be listed, and what an earlier run has
 * left. Out: the chunks, and a checkpoint that says how far they go whenever the run ends.
 */
import { CheckpointWriter } from "../../archive/checkpoint.ts";
import { shortRun } from "../../archive/layout.ts";
import { type Leftover, readFilter } from "../../archive/leftover.ts";
import { type ChunkEntry, type Origin, sumChunks } from "../../archive/manifest.ts";
import type { FolderState } from "../../archive/read.ts";
import { seenFilter } from "../../archive/seen_states.ts";
import type { ChangesRow } from "../../couchdb/changes_page.ts";
import { IdFilter } from "../../couchdb/id_filter.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { describeError } from "../../errors.ts";
import { forEachParallel } from "../../parallel.ts";
import type { Task } from "../../task/task.ts";
import { batchesOf, ChunkSize, isSmall } from "./chunk_size.ts";
import { ChunkWriter } from "./chunks.ts";
import { Completeness, type DocumentCounts, type ListedDatabase, purgesOf } from "./completeness.ts";
import type { Run } from "./context.ts";
import { type ListedIncrement, Listing, type Work } from "./listing.ts";
import type { DatabaseOrigin } from "./origin.ts";
import type { Outcome } from "./outcome.ts";
import { MOST_REACH, Reach } from "./reach.ts";
import type { Place } from "./room.ts";
import { findUnreadable } from "./sealed_ids.ts";
import { Turns } from "./turns.ts";
import type { RequestWindow } from "./window.ts";

/** How long the last checkpoint of an interrupted run may take. */
const LAST_SAVE_TIMEOUT_MS = 3000;

/** A chunk of more bytes keeps its slot until it is stored: until then an S3 store may have it in memory. */
const MOST_BYTES_BEHIND = 2 << 20;

/** The filter of an increment has room for this many more ids than its first page has announced. */
const FURTHER_IDS = 10_000;

/** What an earlier run left, to be resumed. */
export type Unfinished = Extract<Leftover, { kind: "unfinished" }>;

/** A database as it was found, and the folder that it goes to. */
export interface DocumentSource extends DatabaseOrigin {
  counts: DocumentCounts;
  /** The folder, as it was when this backup began. */
  state: FolderState;
  leftover: Unfinished | undefined;
}

/** What is to be stored. */
export interface WantedDocuments {
  origin: Origin;
  /** Documents that could not be read before, and cannot be read now. */
  unreadable: readonly UnreadableDocument[];
  /** Only what has changed. @default all */
  increment?: ListedIncrement | undefined;
  /** What the backups before have, where only what has changed is listed. */
  before?: ListedDatabase["before"];
  /** Is shown each row of the listing. */
  onRow?: ((row: ChangesRow) => void) | undefined;
}

/** What was stored. */
export interface StoredDocuments {
  listing: Listing;
  /** The chunks, and the documents that could not be read. */
  done: CheckpointWriter;
  origin: Origin;
  /** The states of documents that were seen; undefined where no increment will ask for them, or nobody knows all. */
  seen: IdFilter | undefined;
}

/** What it works with. */
export interface DocumentStorageOptions {
  task: Task;
  /** The decoded name. */
  database: string;
  /** The folder's key. */
  folder: string;
  /** How many requests it may make beside the other databases. */
  place: Place;
  /** Adapts to how its requests for documents end. */
  window: RequestWindow;
  /** Learns what is stored, as it is. */
  outcome: Outcome;
  /** The command that resumes this backup. */
  resume: string;
}

/** Stores documents of one database. */
export class DocumentStorage {
  readonly #context: Run;
  readonly #options: DocumentStorageOptions;

  constructor(context: Run, options: DocumentStorageOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Stores the documents that are to be stored, until nothing is missing. @throws What ends that before. */
  async store(source: DocumentSource, wanted: WantedDocuments): Promise<StoredDocuments> {
    const { info, counts, state, leftover } = source;
    const { unreadable, increment, before } = wanted;
    const { repository: { store }, log, signal } = this.#context;
    const { task, database, folder, place, outcome, resume } = this.#options;
    const kept = leftover?.checkpoint.chunks ?? [];
    if (leftover !== undefined) outcome.status = "resumed";
    place.needs(increment?.page?.pending === 0 ? 1 : batchesOf(task, info));
    // Not after the last page: the count would then include documents that this backup need not have.
    if (counts.hasCopies && increment?.page?.pending !== 0) await counts.look({ signal });
    const origin = originOf(wanted.origin, source);
    const size = new ChunkSize(task, info);
    const reach = new Reach();
    const { listing, seen } = await this.#list(source, wanted, { size, reach });
    const done = await this.#openCheckpoint(source, { origin, unreadable, listing });
    outcome.stored = done;
    // Without a checkpoint of its own, a run that is killed here would seem to have left the older complete backup.
    if (state.manifests.length > 0) await done.save({ signal });

    const writer = new ChunkWriter(this.#context, {
      database,
      task,
      folder,
      ...chunkNames(state, { run: shortRun(origin.run), kept, isShared: store.conditions === "ignored" }),
    });
    const turns = new Turns(place, this.#context);
    const completeness = new Completeness(this.#context, {
      database,
      listing,
      counts,
      mostLive: () => mostLive(done),
      resume,
      purges: purgesOf(leftover?.checkpoint.properties ?? info),
      before,
      turns,
    });
    try {
      if (leftover === undefined && increment === undefined) {
        await completeness.awaitFirstPage();
        // After waiting for nodes a large database has claimed only one request.
        place.needs(batchesOf(task, counts.info));
      }
      const storing = { listing, writer, done, size, reach };
      await this.#storeListed(storing);
      // Rows that only a second listing finds need requests again, which other databases may be using by now.
      await completeness.await(() => this.#storeListed(storing, { found: () => batchesOf(task, counts.info) }));
      if (completeness.miscount !== undefined) outcome.warn(completeness.miscount);
      // Two more questions follow: where the feed ends, and what the chain before has lost.
      if (task.increments !== undefined) await place.back();
    } catch (error) {
      await done.saveRest({ signal: AbortSignal.timeout(LAST_SAVE_TIMEOUT_MS) }).catch((lost) =>
        log.warn("checkpoint could not be stored", { error: describeError(lost) })
      );
      throw error;
    } finally {
      listing.close();
    }
    return { listing, done, origin, seen };
  }

  /** A checkpoint of what an earlier run has left, to which chunks are added as they are stored. */
  async #openCheckpoint(
    source: DocumentSource,
    { origin, unreadable, listing }: Pick<WantedDocuments, "origin" | "unreadable"> & { listing: Listing },
  ): Promise<CheckpointWriter> {
    const { counts, leftover } = source;
    const { repository: { store }, now } = this.#context;
    const { database, folder } = this.#options;
    return new CheckpointWriter(store, folder, {
      origin,
      startSeq: startSeqOf(source),
      kept: leftover?.checkpoint.chunks ?? [],
      now,
      keptUnreadable: [
        ...unreadable,
        ...leftover === undefined ? [] : await findUnreadable(this.#context, database, leftover.checkpoint),
      ],
      keptFilter: leftover?.listing.filter?.name,
      settled: () => listing.settled,
      hold: () => listing.hold(),
      expected: () => counts.expected,
    });
  }

  /** Begins to list what is to be stored, or continues where an earlier run stopped. */
  async #list(
    { info, counts, leftover }: DocumentSource,
    { unreadable, increment, onRow }: WantedDocuments,
    { size, reach }: { size: ChunkSize; reach: Reach },
  ): Promise<Pick<StoredDocuments, "listing" | "seen">> {
    const { couch, log, signal, stop } = this.#context;
    const { task, database } = this.#options;
    const hasIncrements = task.increments !== undefined;
    // Room for the ids that are to be listed. An increment has few, however large the database is.
    const expected = increment?.page === undefined
      ? counts.expected
      : Math.min(counts.expected, increment.page.rows.length + (increment.page.pending ?? 0) + FURTHER_IDS);
    const resumed = await this.#resumedListing(leftover);
    // Where a resumed run has lost its filter, what it had seen before is unknown.
    const newlySeen = () => resumed === undefined ? seenFilter(expected) : resumed.seen;
    const seen = hasIncrements ? newlySeen() : undefined;
    const listing = new Listing(couch, database, {
      log,
      signal: AbortSignal.any([signal, stop]),
      chunk: size.isBounded ? () => size.documents : undefined,
      positionsEvery: size.positionsEvery,
      // A single request for all documents cannot be resumed in its middle, so all of them may be sorted.
      reach: () => size.isBounded ? reach.documents : MOST_REACH,
      // Only with a single copy: with several, a read by quorum may return a later state than the feed.
      carries: leftover === undefined && increment === undefined && info.n === 1 && isSmall(info)
        ? { revisions: task.revisions }
        : undefined,
      tombstones: task.tombstones,
      expected,
      seen,
      onRow,
      unreadable: new Set(unreadable.flatMap(({ id, rev }) => rev === undefined ? id : [])),
      ranges: info,
      keepsEnd: hasIncrements,
      increment,
      resumed,
      beforeLastPage: () => counts.lookBeforePage({ signal }),
    });
    return { listing, seen };
  }

  async #resumedListing(leftover: Unfinished | undefined) {
    if (leftover === undefined) return undefined;
    const { repository: { store }, log, signal } = this.#context;
    const { listing: state } = leftover;
    const bytes = await readFilter(store, this.#options.folder, { filter: state.filter, log, signal });
    if (bytes === undefined) return { state, filter: undefined, seen: undefined };
    const { seen, ...own } = state.filter!;
    const cut = bytes.length - (seen?.bytes ?? 0);
    return {
      state,
      filter: IdFilter.from({ ...own, bytes: bytes.subarray(0, cut), ids: state.ids }),
      seen: seen && IdFilter.from({ ...seen, ids: seen.states, bytes: bytes.subarray(cut) }),
    };
  }

  /**
   * Stores what the listing has to give: first what is new, then what was listed again, until nothing is left.
   *
   * @param options.found How many requests it needs as soon as there is anything. @default as many as it has said
   */
  async #storeListed(
    { listing, writer, done, size, reach }: {
      listing: Listing;
      writer: ChunkWriter;
      done: CheckpointWriter;
      size: ChunkSize;
      reach: Reach;
    },
    { found }: { found?: () => number } = {},
  ): Promise<void> {
    const { signal: runSignal, stop } = this.#context;
    const { place, window } = this.#options;
    const limit = () => place.limit;
    let inFlight = 0;
    const storeOne = async (work: Work, signal: AbortSignal, leaveSlot: () => void) => {
      if (inFlight++ === 0 && found !== undefined) place.needs(found());
      reach.begin();
      // Documents that came along with the feed took no request of their own to measure.
      const ends = work.batch.carried === undefined ? window.begin() : undefined;
      let hasSlot = true;
      const leave = () => {
        if (hasSlot) inFlight--;
        hasSlot = false;
        if (listing.ended && inFlight === 0) place.away();
        else if (listing.ended) place.needs(inFlight);
        else if (inFlight === 0 && found !== undefined) place.needs(1);
        leaveSlot();
      };
      const onRead = ({ bytes, documents }: Pick<ChunkEntry, "bytes" | "documents">) => {
        if (ends === undefined) window.pass();
        else ends(bytes);
        size.note({ bytes, documents });
        // Syncing a disk or sending to a store takes time in which CouchDB should already have the next request.
        if (bytes <= MOST_BYTES_BEHIND) leave();
      };
      const stored = await writer.store(work, { signal, onRead, beforeAgain: () => place.back() });
      leave();
      reach.note(sumChunks(stored.map(({ entry }) => entry)).documents);
      // All chunks of a batch are noted at once: a later run takes either all of them or none.
      for (const [index, { entry, unreadable }] of stored.entries()) {
        done.add(work.index, entry, { ids: index === 0 ? work.batch.ids() : [], unreadable });
      }
      listing.noteStored(work);
      work.settled();
      await done.saveWhenDue({ signal: runSignal });
    };
    const parallel = { limit, signal: runSignal, stop };
    do {
      await forEachParallel((signal) => listing.batches(signal), storeOne, parallel);
      await forEachParallel(() => listing.repeated(), storeOne, parallel);
    } while (!listing.ended);
  }
}

/**
 * What the manifest begins with. A resumed backup is as old as its first chunk, and knows of no later purge; of the
 * copies of a database the one counts that has seen the most.
 */
export function originOf(origin: Origin, { counts, leftover }: Pick<DocumentSource, "counts" | "leftover">): Origin {
  const { started_at, properties: { purge_seq } } = leftover?.checkpoint ??
    { ...origin, properties: { purge_seq: counts.info.purge_seq } };
  return { ...origin, started_at, properties: { ...origin.properties, purge_seq } };
}

/** Where the feed stood when the backup began. */
export function startSeqOf({ info, leftover }: Pick<DocumentSource, "info" | "leftover">): string {
  return leftover?.checkpoint.update_seq.start ?? info.update_seq;
}

function mostLive({ chunks, unreadable }: CheckpointWriter): number {
  const { documents, deleted } = sumChunks(chunks);
  return documents - deleted + unreadable.length;
}

/**
 * How chunks are called: with the run's digits where the folder has chunks of others, or may get some at any moment.
 */
function chunkNames(
  state: FolderState,
  { run, kept, isShared }: { run: string; kept: readonly ChunkEntry[]; isShared: boolean },
): { prefix: string | undefined; nextNumber: number } {
  // Within a backup the chunk with the higher number is the later one, whatever its prefix.
  if (kept.length > 0) return { prefix: run, nextNumber: state.nextNumber };
  const isEmpty = state.chunks.size === 0;
  return isEmpty && !isShared
    ? { prefix: undefined, nextNumber: 0 }
    : { prefix: run, nextNumber: state.nextNumbers.get(run) ?? 0 };
}
