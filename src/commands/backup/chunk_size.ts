/**
 * Estimates how many documents to request at a time, so that a chunk stays within the bytes that a task allows and
 * rarely has to be cut. In: the task, the database's size according to CouchDB, and the sizes of the chunks so far.
 * Out: a number of documents. The exact bound of a chunk does not depend on this estimate.
 */
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { Task } from "../../task/task.ts";

/** Where a task limits bytes only: more documents are no faster, and the ids of this many take little memory. */
const MOST_DOCUMENTS = 10_000;
/** The most documents of the first chunks where CouchDB does not say how large a database is. */
const FIRST_DOCUMENTS = 100;
/** A batch is to have such a part of the bytes: documents differ, and what is too much has to be asked for again. */
const AIM = 15 / 16;
/** Between two positions of the feed there is such a part of a batch, so that each can end at one. */
const POSITIONS_A_BATCH = 4;
/** The distance costs CouchDB nothing from here on. */
const MOST_BETWEEN_POSITIONS = 500;
/** Of what was seen before, this much counts beside what is new. */
const MEMORY = 1 / 2;

/**
 * A database is small up to so many documents: what it costs is its requests. The feed brings its documents along, which
 * saves one; where documents are many that gains nothing.
 */
const SMALL_DOCUMENTS = 100;
/** And up to this size of them, as CouchDB counts it: uncompressed. */
const SMALL_BYTES = 256 * 1024;

/** How many documents the next batch of a database may have. */
export class ChunkSize {
  readonly #most: number | undefined;
  readonly #mostBytes: number | undefined;
  #documents = 0;
  #bytes = 0;

  constructor(
    { chunk, chunkBytes }: Pick<Task, "chunk" | "chunkBytes">,
    { doc_count, doc_del_count, external_bytes }: Pick<DatabaseInfo, "doc_count" | "doc_del_count" | "external_bytes">,
  ) {
    this.#most = chunk ?? (chunkBytes === undefined ? undefined : MOST_DOCUMENTS);
    this.#mostBytes = chunkBytes;
    const documents = doc_count + doc_del_count;
    // A first guess, soon outweighed: `external_bytes` counts no histories, and does count old bodies.
    if (documents > 0 && external_bytes > 0) this.note({ documents: 1, bytes: external_bytes / documents });
  }

  /** Whether there is a bound at all; else a database is one request. */
  get isBounded(): boolean {
    return this.#most !== undefined;
  }

  /** How many documents there may be. */
  get documents(): number {
    const most = this.#most ?? Infinity;
    if (this.#mostBytes === undefined) return most;
    if (this.#documents === 0) return Math.min(most, FIRST_DOCUMENTS);
    return Math.max(1, Math.min(most, Math.floor(this.#mostBytes * AIM * this.#documents / this.#bytes)));
  }

  /** How many documents there may be between two positions of the feed; undefined: as many as a page has. */
  get positionsEvery(): number | undefined {
    const { documents } = this;
    if (this.#mostBytes === undefined || documents === this.#most) return this.#most;
    return Math.max(1, Math.min(Math.floor(documents / POSITIONS_A_BATCH), MOST_BETWEEN_POSITIONS));
  }

  /** Notes how large documents were. */
  note({ documents, bytes }: { documents: number; bytes: number }): void {
    if (documents === 0) return;
    this.#documents = this.#documents * MEMORY + documents;
    this.#bytes = this.#bytes * MEMORY + bytes;
  }
}

/** How many requests for documents a database is likely to give. */
export function batchesOf(
  task: Pick<Task, "chunk" | "chunkBytes" | "tombstones">,
  info: Pick<DatabaseInfo, "doc_count" | "doc_del_count" | "external_bytes">,
): number {
  const size = new ChunkSize(task, info);
  const documents = info.doc_count + (task.tombstones ? info.doc_del_count : 0);
  return size.isBounded ? Math.max(1, Math.ceil(documents / size.documents)) : 1;
}

/** Whether a database is small; not where CouchDB does not say what its documents have. */
export function isSmall(
  { doc_count, doc_del_count, external_bytes }: Pick<DatabaseInfo, "doc_count" | "doc_del_count" | "external_bytes">,
): boolean {
  return doc_count + doc_del_count <= SMALL_DOCUMENTS && external_bytes > 0 && external_bytes <= SMALL_BYTES;
}
