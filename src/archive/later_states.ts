/**
 * Which states of documents count. A document that was read twice in one backup stands in two chunks, and the higher one,
 * marked `again`, has its later state: to write the older one as well is not harmless, for without histories, or beyond
 * the revisions limit, it would come back as a conflict or as the winner. In: an archive's chunks. Out: the order in which
 * to read them, and for each what to pass over.
 */
import { IdSet } from "../id_set.ts";
import type { ArchiveChunk } from "./archive.ts";
import type { ReadChunkOptions } from "./chunk.ts";

/** Room is made at once for so many ids; where there are more it is made as they come, whatever a manifest says. */
const MOST_PREPARED = 4_000_000;

/** Follows the reading of one archive, chunk after chunk. */
export class LaterStates {
  /** The chunks in the order in which they have to be read, one behind the other. */
  readonly chunks: readonly ArchiveChunk[];
  readonly #ids: IdSet;

  /** @param chunks In ascending order, as an archive has them. */
  constructor(chunks: readonly ArchiveChunk[]) {
    const again = chunks.filter(isAgain);
    const documents = again.reduce((sum, { entry }) => sum + (entry?.documents ?? 0), 0);
    this.#ids = new IdSet({ capacity: Math.min(documents, MOST_PREPARED) });
    // Where no document comes twice any order is right, and CouchDB writes fastest in that of the ids.
    this.chunks = again.length === 0 ? chunks : chunks.toReversed();
  }

  /** Whether documents of a chunk count or not as its reading shows; else all count, and nobody needs to know them. */
  concerns(chunk: ArchiveChunk): boolean {
    return isAgain(chunk) || this.#ids.size > 0;
  }

  /** How to read a chunk that is next: what was in `again` chunks above it is passed over. */
  readOptions(chunk: ArchiveChunk): Pick<ReadChunkOptions, "onRow" | "passOver"> {
    if (!this.concerns(chunk)) return {};
    return {
      passOver: (id) => this.#ids.has(id),
      onRow: isAgain(chunk) ? (id) => void (id !== undefined && this.#ids.add(id)) : undefined,
    };
  }
}

function isAgain({ entry }: ArchiveChunk): boolean {
  return entry?.again === true;
}
