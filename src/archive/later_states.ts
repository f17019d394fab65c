/**
 * Decides which states of documents count. A document that was read twice in one backup is in two chunks; the chunk
 * with the higher number is marked `again` and has the later state. The older state must not be restored: without
 * histories, or beyond the revisions limit, it would come back as a conflict or as the winner. All chunks of an
 * incremental backup count as `again` chunks in relation to the backups that it builds on. In: an archive's chunks.
 * Out: the order in which to read them, and for each chunk which documents to pass over.
 */
import { IdSet } from "../id_set.ts";
import type { ArchiveChunk } from "./archive.ts";
import type { ReadChunkOptions } from "./chunk.ts";

/** The most ids for which room is made at once, whatever a manifest says; for more it is made as they come. */
const MOST_PREPARED = 4_000_000;

/** Follows the reading of one archive, chunk after chunk. */
export class LaterStates {
  /** The chunks in the order in which they have to be read, one after the other. */
  readonly chunks: readonly ArchiveChunk[];
  readonly #ids: IdSet;
  /** The backup that the lowest chunks belong to. */
  readonly #oldest: ArchiveChunk["parent"];

  /** @param chunks In ascending order, as an archive has them. */
  constructor(chunks: readonly ArchiveChunk[]) {
    this.#oldest = chunks[0]?.parent;
    const hiding = chunks.filter((chunk) => this.#hides(chunk));
    const documents = hiding.reduce((sum, { entry }) => sum + (entry?.documents ?? 0), 0);
    this.#ids = new IdSet({ capacity: Math.min(documents, MOST_PREPARED) });
    // Where no document comes twice any order is right, and CouchDB writes fastest in that of the ids.
    this.chunks = hiding.length === 0 ? chunks : chunks.toReversed();
  }

  /**
   * Whether some documents of a chunk may not count, or may keep others from counting; else its ids need not be known.
   */
  concerns(chunk: ArchiveChunk): boolean {
    return this.#hides(chunk) || this.#ids.size > 0;
  }

  /** How to read a chunk that is next: what was above it in `again` chunks, or in a later backup, is passed over. */
  readOptions(chunk: ArchiveChunk): Pick<ReadChunkOptions, "onRow" | "passOver"> {
    if (!this.concerns(chunk)) return {};
    return {
      passOver: (id) => this.#ids.has(id),
      onRow: this.#hides(chunk) ? (id) => void (id !== undefined && this.#ids.add(id)) : undefined,
    };
  }

  /**
   * Whether lower chunks may hold earlier states of its documents: it is marked so, or of a later backup than the
   * oldest.
   */
  #hides({ entry, parent }: ArchiveChunk): boolean {
    return entry?.again === true || parent !== this.#oldest;
  }
}
