/**
 * How far a restore has come while several requests are in flight: which chunks, from the first on, are wholly written,
 * and what is lacking of these, as a later call does not send them again. In: chunks as they are read, and their batches
 * as they are written. Out: a place from which a later call can continue.
 */
import { addRefusals, noRefusals, type Refusals } from "../../couchdb/write.ts";

/** Of so many chunks that were left out the numbers are kept: a cursor has to fit into 256 KiB. Others are counted. */
const MOST_LEFT_OUT = 5000;

/** A place in an archive's documents from which to continue. */
export interface RestorePosition {
  /**
   * How many chunks are written, in the order in which a restore reads them, by this call and the calls before it;
   * design documents come after all of them.
   */
  chunks: number;
  /** How many there were to be read: where a later call finds another number, it begins anew. 0 where that is unknown. */
  chunksInAll: number;
  /** Which of these chunks, counted from 0, were damaged and left out: none of them, or not all, is written. */
  leftOut: readonly number[];
  /** How many more were left out, whose numbers are not kept: no later call tries these again. */
  leftOutMore: number;
  /** What CouchDB did not take of the others. */
  refused: Refusals;
  /** Requests with documents that CouchDB has answered in this call, whatever it has taken of them. */
  requests: number;
  /** Documents that were gone through in this call: sent, or found to be there. */
  documents: number;
}

/** Where a call begins. */
export type RestoreBeginning = Pick<RestorePosition, "chunks" | "chunksInAll" | "leftOut" | "leftOutMore" | "refused">;

/** The place before the first chunk. */
export function firstPosition(): RestorePosition {
  return { ...firstBeginning(), requests: 0, documents: 0 };
}

/** The same for a call that nothing was before. */
export function firstBeginning(): RestoreBeginning {
  return { chunks: 0, chunksInAll: 0, leftOut: [], leftOutMore: 0, refused: noRefusals() };
}

/** Where the next call begins, when one has come to a position. */
export function beginningOf(
  { chunks, chunksInAll, leftOut, leftOutMore, refused }: RestoreBeginning,
): RestoreBeginning {
  return { chunks, chunksInAll, leftOut, leftOutMore, refused };
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
  readonly #beginning: RestoreBeginning;
  /** The numbers of the position's `leftOut`. */
  readonly #leftOut: Set<number>;
  /** Chunks that a call before has gone past and noted no number of, and that are damaged in this call. */
  #damagedAgain = 0;
  /** Chunks that were read and written in this call, from the first on, or passed over. */
  #settled = 0;
  /** The chunks after those. */
  readonly #onTheirWay: ChunkOnItsWay[] = [];
  readonly #tell: (position: RestorePosition) => void;

  /**
   * @param tell Is called at each step.
   * @param beginning Where the call before has ended.
   */
  constructor(tell: (position: RestorePosition) => void, beginning: RestoreBeginning = firstPosition()) {
    this.#tell = tell;
    this.#beginning = beginning;
    this.#leftOut = new Set(beginning.leftOut);
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

  /**
   * Of the chunks without a number that were left out before so many are no longer found damaged: what is in them is not
   * written, and nobody else tells. Known when all chunks are read.
   */
  get untold(): number {
    return Math.max(0, this.#beginning.leftOutMore - this.#damagedAgain);
  }

  #settle(): void {
    for (let first = this.#onTheirWay[0]; first?.isRead && first.batches === 0; first = this.#onTheirWay[0]) {
      this.#onTheirWay.shift();
      this.#pass(first);
    }
    this.#tell({ ...this.#position });
  }

  /** Goes past a chunk. */
  #pass(chunk: ChunkOnItsWay): void {
    const number = this.#settled++;
    if (number >= this.#beginning.chunks || this.#leftOut.has(number)) this.#note(number, chunk);
    // An earlier call has gone past it: it is written, or was left out without its number being kept.
    else if (chunk.isLeftOut) this.#damagedAgain++;
    this.#position.chunks = Math.max(this.#position.chunks, this.#settled);
  }

  /** Notes what is lacking of a chunk that was sent in this call, or was to be. */
  #note(number: number, { isLeftOut, refused }: ChunkOnItsWay): void {
    const position = this.#position;
    if (!isLeftOut) {
      // What was refused of a chunk that is left out is not counted, as a later call sends it again.
      if (refused.revisions > 0) position.refused = addRefusals(position.refused, refused);
      if (this.#leftOut.delete(number)) position.leftOut = [...this.#leftOut];
    } else if (this.#leftOut.has(number)) return;
    else if (this.#leftOut.size >= MOST_LEFT_OUT) position.leftOutMore++;
    else position.leftOut = [...this.#leftOut.add(number)];
  }
}
