/**
 * Writes how far a database's backup has come, in `checkpoint-<run>.json` beside its chunks. In: chunks as they are
 * stored, in whatever order, and how far the listing is settled. Out: an object from which a later run can resume, with
 * the filter of the ids that were listed up to there.
 */
import { createHash } from "node:crypto";
import { concat } from "../concat.ts";
import { ArchiveError, isNotFound } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { checkpointName, filterName, shortRun } from "./layout.ts";
import type { Checkpoint, ChunkEntry, Origin } from "./manifest.ts";
import { encodeCheckpoint } from "./manifest_json.ts";
import { readCheckpoint } from "./read.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { sealed } from "./sealed.ts";

/** A database that is done within this time needs no checkpoint. */
const LEAST_INTERVAL_MS = 1_000;
/** What an interruption may cost at most. */
const MOST_INTERVAL_MS = 60_000;
/** A checkpoint of so many bytes is stored every second, a larger one that much less often. */
const BYTES_A_SECOND = 200_000;
/** Storing may take such a part of the time. */
const MOST_OF_TIME = 1 / 20;

/** How far a listing is settled: what was listed up to `position` is in chunks. */
export interface SettledListing {
  position: string;
  /** How many different ids that were. */
  ids: number;
  /** Chunks of this batch and of those before it belong to it. */
  throughBatch: number;
  /** What has all of these ids; it gives nothing where nobody knows them all. */
  filter: () => { bytes: Uint8Array; salt: number; hashes: number } | undefined;
  /** The states of documents that were seen, where they are wanted. */
  seen?: { bytes: Uint8Array; salt: number; hashes: number; ids: number } | undefined;
}

/** What a checkpoint is made of beside its chunks. */
export interface CheckpointSource {
  origin: Origin;
  /** `update_seq` at the start. */
  startSeq: string;
  /** Chunks that are taken over from an earlier run. */
  kept: readonly ChunkEntry[];
  /** The documents that could not be read before: what an earlier run names, and what is not asked for again. */
  keptUnreadable?: readonly UnreadableDocument[] | undefined;
  /** The name of the filter that the stored checkpoint relies on, where there is one. */
  keptFilter?: string | undefined;
  now: () => Date;
  settled: () => SettledListing;
  /** Nothing is settled further until the function that it returns is called: the filter is stored without a copy. */
  hold: () => () => void;
  /** The most documents that CouchDB said the database had. */
  expected: () => number;
}

/** Keeps a database's checkpoint up to date. */
export class CheckpointWriter {
  readonly #store: Store;
  readonly #folder: string;
  readonly #source: CheckpointSource;
  readonly #run: string;
  readonly #stored: { batch: number; entry: ChunkEntry }[] = [];
  /** By id; `batch` is the one that it could not be read in. */
  readonly #unreadable = new Map<string, { batch: number; documents: UnreadableDocument[] }>();
  /** Which of its two names the next filter gets: the one that the stored checkpoint does not use. */
  #turn: 0 | 1;
  /** A checkpoint was sent, and whether it is stored is not known. */
  #isTurnUnknown = false;
  #nextSaveMs: number;
  #savedPosition: string | undefined;
  #saving: Promise<void> | undefined;

  constructor(store: Store, folder: string, source: CheckpointSource) {
    this.#store = store;
    this.#folder = folder;
    this.#source = source;
    this.#run = shortRun(source.origin.run);
    // A run that goes on in another process has the same id, so it may meet its own filter.
    this.#turn = source.keptFilter === filterName(this.#run, 0) ? 1 : 0;
    this.#nextSaveMs = source.now().getTime() + LEAST_INTERVAL_MS;
    for (const document of source.keptUnreadable ?? []) {
      const known = this.#unreadable.get(document.id)?.documents;
      if (known === undefined) this.#unreadable.set(document.id, { batch: -1, documents: [document] });
      // A document as a whole is noted once, and so is each revision: it may lack several.
      else if (document.rev !== undefined && known.every(({ rev }) => rev !== undefined && rev !== document.rev)) {
        known.push(document);
      }
    }
  }

  /** All chunks so far. */
  get chunks(): ChunkEntry[] {
    return [...this.#source.kept, ...this.#stored.map(({ entry }) => entry)];
  }

  /** The documents that could not be read, and have not been read since. */
  get unreadable(): UnreadableDocument[] {
    return [...this.#unreadable.values()].flatMap(({ documents }) => documents);
  }

  /**
   * Notes the stored chunk of a batch.
   *
   * @param read `ids`: of the batch's documents. `unreadable`: those of them that could not be read.
   */
  add(
    batch: number,
    entry: ChunkEntry,
    { ids = [], unreadable = [] }: { ids?: Iterable<string>; unreadable?: readonly UnreadableDocument[] } = {},
  ): void {
    this.#stored.push({ batch, entry });
    // Documents of this batch were asked for once more: what was noted of them before no longer counts.
    if (this.#unreadable.size > 0) {
      for (const id of ids) this.#unreadable.delete(id);
    }
    for (const document of unreadable) {
      const known = this.#unreadable.get(document.id);
      if (known?.batch === batch) known.documents.push(document);
      else this.#unreadable.set(document.id, { batch, documents: [document] });
    }
  }

  /** Stores the checkpoint where it is due. */
  async saveWhenDue(options: StoreCallOptions): Promise<void> {
    if (this.#saving !== undefined || this.#source.now().getTime() < this.#nextSaveMs) return;
    if (this.#source.settled().position !== this.#savedPosition) await this.save(options);
  }

  /** Stores the checkpoint as it is now. */
  async save(options: StoreCallOptions): Promise<void> {
    // A loop, as another caller that waits as well may be the next one to save.
    while (this.#saving !== undefined) await this.#saving.catch(() => {});
    const release = this.#source.hold();
    this.#saving = this.#write(options).finally(() => {
      this.#saving = undefined;
      release();
    });
    await this.#saving;
  }

  /** Stores the checkpoint if the listing is settled further than it was stored. */
  async saveRest(options: StoreCallOptions): Promise<void> {
    await this.#saving?.catch(() => {});
    if (this.#source.settled().position !== this.#savedPosition) await this.save(options);
  }

  async #write(options: StoreCallOptions): Promise<void> {
    const { origin, startSeq, kept, now, settled, expected } = this.#source;
    if (this.#isTurnUnknown) await this.#askTurn(options);
    const { position, ids, throughBatch, filter: filterOf, seen: seenFilter } = settled();
    const startedMs = now().getTime();
    const filter = filterOf();
    // The filter of a database of five million documents has 25 MB: a copy of it is made only where two become one
    // object.
    const bytes = filter !== undefined && seenFilter !== undefined
      ? concat([filter.bytes, seenFilter.bytes])
      : filter?.bytes;
    const seen = seenFilter === undefined
      ? undefined
      : { bytes: seenFilter.bytes.length, salt: seenFilter.salt, hashes: seenFilter.hashes, states: seenFilter.ids };
    const name = filterName(this.#run, this.#turn);
    const checkpoint: Checkpoint = {
      ...origin,
      saved_at: now().toISOString(),
      update_seq: { start: startSeq },
      listing: {
        position,
        ids,
        expected: expected(),
        filter: filter === undefined || bytes === undefined
          ? null
          : { name, sha256: sha256(bytes), salt: filter.salt, hashes: filter.hashes, seen },
      },
      // A resumed run asks again for what is not settled.
      unreadable: [...this.#unreadable.values()].flatMap(({ batch, documents }) =>
        batch <= throughBatch ? documents : []
      ),
      chunks: [...kept, ...this.#stored.filter(({ batch }) => batch <= throughBatch).map(({ entry }) => entry)],
    };
    const text = encodeCheckpoint(await sealed(checkpoint));
    // The filter first, under the name that the stored checkpoint does not use: so each checkpoint names a whole filter.
    if (bytes !== undefined) await this.#store.replace(joinKey(this.#folder, name), bytes, options);
    this.#isTurnUnknown = true;
    await this.#store.replace(joinKey(this.#folder, checkpointName(this.#run)), text, options);
    this.#useOther(bytes === undefined ? undefined : name);
    this.#savedPosition = position;
    const endedMs = now().getTime();
    const waitMs = Math.max(
      LEAST_INTERVAL_MS,
      (endedMs - startedMs) / MOST_OF_TIME,
      ((bytes?.length ?? 0) + text.length) / BYTES_A_SECOND * 1000,
    );
    this.#nextSaveMs = endedMs + Math.min(waitMs, MOST_INTERVAL_MS);
  }

  /** Looks which filter the stored checkpoint names, where storing one has failed and may have succeeded. */
  async #askTurn(options: StoreCallOptions): Promise<void> {
    const name = checkpointName(this.#run);
    try {
      const { listing } = await readCheckpoint(this.#store, this.#folder, { ...options, name });
      this.#useOther(listing?.filter?.name);
    } catch (error) {
      // No checkpoint is stored, or none that can be resumed from: any name will do.
      if (!isNotFound(error) && !(error instanceof ArchiveError)) throw error;
    }
  }

  /** The stored checkpoint names this filter: the next one gets the other name. */
  #useOther(name: string | undefined): void {
    this.#turn = name === filterName(this.#run, 0) ? 1 : 0;
    this.#isTurnUnknown = false;
  }
}

/** The SHA-256 of bytes, as it stands in a checkpoint. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
