/**
 * Stores batches as chunks. In: a batch of documents. Out: its line in the manifest (several where it exceeds the
 * limits of one chunk), and the documents that CouchDB could not read. What was stored of an answer that broke in the
 * middle of a large document is not part of the backup.
 */
import { chunkName } from "../../archive/layout.ts";
import type { ChunkEntry } from "../../archive/manifest.ts";
import { encode } from "../../codec/codec.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import type { IdBatch } from "../../couchdb/batch.ts";
import { BatchReader, type ReadingHealth } from "../../couchdb/read.ts";
import { describeDiscreetly, describeError, StoreError } from "../../errors.ts";
import { joinKey, splitKey } from "../../store/key.ts";
import { codecOf, isSealing, type Task } from "../../task/task.ts";
import type { Run } from "./context.ts";
import type { Work } from "./listing.ts";

/** How often a chunk is stored whose key was taken meanwhile. */
const MAX_CHUNK_ATTEMPTS = 8;

/** Where the chunks of one backup go. */
export interface ChunkPlace {
  database: string;
  task: Task;
  /** The folder's key. */
  folder: string;
  /** What stands before the numbers: the eight digits of a run where the folder has chunks of others. */
  prefix: string | undefined;
  /** The first number that is free. */
  nextNumber: number;
}

/** A chunk that is stored. */
export interface StoredChunk {
  entry: ChunkEntry;
  /** The documents that are not in it because CouchDB cannot read them. */
  unreadable: UnreadableDocument[];
}

/** Stores the chunks of one backup. */
export class ChunkWriter {
  readonly #context: Run;
  readonly #place: ChunkPlace;
  readonly #health: ReadingHealth = { unreadableInARow: 0, knowsUnreadable: false };
  #nextNumber: number;

  constructor(context: Run, place: ChunkPlace) {
    this.#context = context;
    this.#place = place;
    this.#nextNumber = place.nextNumber;
  }

  /**
   * Fetches the documents of a batch and stores them, in as many chunks as it takes.
   *
   * @param options `signal` ends the reading of documents; what is read by then is stored, unless the run itself is
   * ended: another request that has failed takes nothing away from what was read before it. `onRead` is called once,
   * when all documents are read for the first time, while the last chunk is still being stored; `beforeAgain` is awaited
   * where they have to be read once more.
   */
  async store(
    { batch, again }: Work,
    { signal, onRead, beforeAgain }: {
      signal: AbortSignal;
      onRead: (read: Pick<ChunkEntry, "bytes" | "documents">) => void;
      beforeAgain?: (() => Promise<void>) | undefined;
    },
  ): Promise<StoredChunk[]> {
    const stored: StoredChunk[] = [];
    const before = { bytes: 0, documents: 0 };
    let isRead = false;
    for (let left: IdBatch | undefined = batch; left !== undefined;) {
      const noteRead = ({ counts: { bytes, documents }, rest }: BatchReader) => {
        // A chunk whose name was taken meanwhile is read again.
        if (rest !== undefined || isRead) return;
        isRead = true;
        onRead({ bytes: before.bytes + bytes, documents: before.documents + documents });
      };
      const { rest, ...one } = await this.#storeOne({ batch: left, again }, { signal, noteRead, beforeAgain });
      before.bytes += one.entry.bytes;
      before.documents += one.entry.documents;
      stored.push(one);
      left = rest;
    }
    return stored;
  }

  /** Fetches documents, compresses and seals them, and stores them under the next free number: as many as have room. */
  async #storeOne(
    { batch, again }: Pick<Work, "batch" | "again">,
    { signal, noteRead, beforeAgain }: {
      signal: AbortSignal;
      noteRead: (reader: BatchReader) => void;
      beforeAgain?: (() => Promise<void>) | undefined;
    },
  ): Promise<StoredChunk & { rest: IdBatch | undefined }> {
    const { couch, repository: { store }, log, progress, signal: runSignal } = this.#context;
    const { database, task } = this.#place;
    const { revisions, attachments } = task;
    const onRows = (step: { documents: number; bytes: number }) => progress.advanced({ database, ...step });
    const reader = new BatchReader(couch, database, batch, {
      revisions,
      attachments,
      log,
      onRows,
      health: this.#health,
      mostBytes: task.chunkBytes,
    });
    const number = this.#nextNumber++;
    for (let attempt = 1;; attempt++) {
      try {
        const stored = await reader.readThrough(async (pieces) => {
          const body = encode(notingEnd(pieces, () => noteRead(reader)), codecOf(task));
          return await store.create(this.#freeKeys(number), body, { signal: runSignal, kind: "chunk" });
        }, { signal, beforeAgain, describe: isSealing(task) ? describeDiscreetly : undefined });
        const { counts, unreadable } = reader;
        const entry: ChunkEntry = {
          name: splitKey(stored.key).name,
          documents: counts.documents,
          leaf_revisions: counts.leafRevisions,
          deleted: counts.deleted,
          absent: counts.absent,
          bytes: counts.bytes,
          compressed_bytes: stored.sizeBytes,
          sha256: stored.sha256,
        };
        return { entry: again ? { ...entry, again } : entry, unreadable, rest: reader.rest };
      } catch (error) {
        // What was too large to be kept has to be read again where its key was taken meanwhile.
        const isTaken = error instanceof StoreError && error.facts.code === "exists";
        if (!isTaken || signal.aborted || attempt >= MAX_CHUNK_ATTEMPTS) throw error;
        const describe = isSealing(task) ? describeDiscreetly : describeError;
        log.warn("chunk is restarted", { attempt, error: describe(error) });
        await beforeAgain?.();
      }
    }
  }

  /** The key of chunk `number`, then keys that nothing else in this run uses. */
  *#freeKeys(number: number): Generator<string> {
    const { folder, prefix, task } = this.#place;
    const { compression, recipients } = codecOf(task);
    const isSealed = recipients !== undefined;
    for (;;) {
      yield joinKey(folder, chunkName(number, { run: prefix, compression, isSealed }));
      number = this.#nextNumber++;
    }
  }
}

async function* notingEnd(pieces: AsyncIterable<Uint8Array>, note: () => void): AsyncGenerator<Uint8Array> {
  yield* pieces;
  note();
}
