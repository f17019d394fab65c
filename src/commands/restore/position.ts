/**
 * How far a restore has come while several requests are in flight: which chunks, from the first on, are wholly written.
 * In: chunks as they are read, and their batches as they are written. Out: a number from which a later call can
 * continue.
 */

/** A place in an archive's documents from which to continue. */
export interface RestorePosition {
  /**
   * So many chunks, in the order in which a restore reads them, are written; design documents come behind all of them.
   */
  chunks: number;
  /** Requests with documents that CouchDB has answered in this call, whatever it has taken of them. */
  requests: number;
  /** Documents that were gone through in this call: sent, or found to be there. */
  documents: number;
}

/** A chunk whose documents are on their way. */
export interface ChunkOnItsWay {
  batches: number;
  isRead: boolean;
}

/** Follows one restore. */
export class PositionKeeper {
  readonly #position: RestorePosition = { chunks: 0, requests: 0, documents: 0 };
  /** The chunks behind those that are written, in the order of their reading. */
  readonly #onTheirWay: ChunkOnItsWay[] = [];
  readonly #tell: (position: RestorePosition) => void;

  /** @param tell Is called at each step. */
  constructor(tell: (position: RestorePosition) => void) {
    this.#tell = tell;
  }

  /** The next chunk is read. */
  begin(): ChunkOnItsWay {
    const chunk = { batches: 0, isRead: false };
    this.#onTheirWay.push(chunk);
    return chunk;
  }

  /** All of a chunk has become batches. */
  end(chunk: ChunkOnItsWay): void {
    chunk.isRead = true;
    this.#settle();
  }

  /** A batch of a chunk is written; `isSent` where CouchDB did not have all of it already. */
  written(chunk: ChunkOnItsWay | undefined, { isSent, documents }: { isSent: boolean; documents: number }): void {
    if (isSent) this.#position.requests++;
    this.#position.documents += documents;
    if (chunk !== undefined) chunk.batches--;
    this.#settle();
  }

  #settle(): void {
    for (let first = this.#onTheirWay[0]; first?.isRead && first.batches === 0; first = this.#onTheirWay[0]) {
      this.#onTheirWay.shift();
      this.#position.chunks++;
    }
    this.#tell({ ...this.#position });
  }
}
