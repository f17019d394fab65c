/**
 * How far a restore has come while several requests are in flight: which chunks, from the first on, are wholly written,
 * and what is lacking of these, as a later call does not send them again. In: chunks as they are read, and their batches
 * as they are written. Out: a place from which a later call can continue.
 */
import { addRefusals, noRefusals, type Refusals } from "../../couchdb/write.ts";

/** Chunks that were left out are noted up to so many; no place behind more of them is one to continue from. */
const MOST_LEFT_OUT = 5000;

/** A place in an archive's documents from which to continue. */
export interface RestorePosition {
  /**
   * So many chunks, in the order in which a restore reads them, are written, in this call and in those that it goes on
   * from; design documents come behind all of them.
   */
  chunks: number;
  /** So many there were to be read: where there are others by then, a later call begins anew. 0 where that is unknown. */
  chunksInAll: number;
  /** Which of these chunks, counted from 0, were damaged and left out: none of them, or not all, is written. */
  leftOut: readonly number[];
  /** What CouchDB did not take of the others. */
  refused: Refusals;
  /** Requests with documents that CouchDB has answered in this call, whatever it has taken of them. */
  requests: number;
  /** Documents that were gone through in this call: sent, or found to be there. */
  documents: number;
}

/** Where a call begins. */
export type RestoreBeginning = Pick<RestorePosition, "chunks" | "chunksInAll" | "leftOut" | "refused">;

/** The place before the first chunk. */
export function firstPosition(): RestorePosition {
  return { chunks: 0, chunksInAll: 0, leftOut: [], refused: noRefusals(), requests: 0, documents: 0 };
}

/** A chunk whose documents are on their way. */
export interface ChunkOnItsWay {
  batches: number;
  isRead: boolean;
  isLeftOut: boolean;
  refused: Refusals;
}

/** Follows one restore. */
export class PositionKeeper {
  readonly #position: RestorePosition;
  /** Chunks that were read and written in this call, from the first on, or passed over. */
  #settled = 0;
  /** The chunks behind those. */
  readonly #onTheirWay: ChunkOnItsWay[] = [];
  readonly #tell: (position: RestorePosition) => void;

  /**
   * @param tell Is called at each step.
   * @param beginning Where the call before has ended.
   */
  constructor(tell: (position: RestorePosition) => void, beginning: RestoreBeginning = firstPosition()) {
    this.#tell = tell;
    this.#position = { ...firstPosition(), ...beginning };
  }

  /** The next chunk is read. */
  begin(): ChunkOnItsWay {
    const chunk = { batches: 0, isRead: false, isLeftOut: false, refused: noRefusals() };
    this.#onTheirWay.push(chunk);
    return chunk;
  }

  /** All of a chunk has become batches, or what could be read of it. */
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
      if (!this.#pass(first)) break;
      this.#onTheirWay.shift();
    }
    this.#tell({ ...this.#position });
  }

  /** Goes behind a chunk. False where there is no place to continue from. */
  #pass({ isLeftOut, refused }: ChunkOnItsWay): boolean {
    const position = this.#position;
    const others = position.leftOut.filter((number) => number !== this.#settled);
    if (isLeftOut && others.length >= MOST_LEFT_OUT) return false;
    if (isLeftOut || others.length < position.leftOut.length) {
      position.leftOut = isLeftOut ? [...others, this.#settled] : others;
    }
    // What was refused of one that is left out is sent once more.
    if (!isLeftOut && refused.revisions > 0) position.refused = addRefusals(position.refused, refused);
    this.#settled++;
    position.chunks = Math.max(position.chunks, this.#settled);
    return true;
  }
}
