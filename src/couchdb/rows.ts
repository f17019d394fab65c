/**
 * Puts the rows of `_bulk_get` answers together to a chunk's JSON. In: pieces of an answer, and where in them rows begin
 * and end. Out: blocks of a size that a compressor likes, and counts. A row that is small is kept until it is whole; one
 * that is larger goes out while it arrives.
 */
import { FramingError } from "../json/scan.ts";

/** Rows up to this size are kept until they are whole, so that a broken answer costs only what is missing. */
const KEPT_ROW_BYTES = 1 << 20;
/** What is passed on is collected into pieces of this size: a compressor is slow on many small ones. */
const BLOCK_BYTES = 1 << 16;

const COMMA = new TextEncoder().encode(",");

/** What was read; complete once the reader has ended. */
export interface BatchCounts {
  documents: number;
  leafRevisions: number;
  /** Documents that were listed but gone when they were asked for. */
  absent: number;
  /** The size of the JSON that was yielded. */
  bytes: number;
  /** The last id that was asked for. */
  lastId: string | undefined;
}

/** The row that is arriving: kept until it is whole, or passed on when it grows too large to be kept. */
export class RowInHand {
  revisions = 0;
  error: { error: string; reason: string } | undefined;
  /** Its beginning went out before its end was there. */
  passedInPart = false;

  readonly #output: RowOutput;
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  /** Where the row's part of `#bytes` begins; -1 between rows. */
  #from = -1;

  constructor(output: RowOutput) {
    this.#output = output;
  }

  arrive(bytes: Uint8Array): void {
    this.#bytes = bytes;
    if (this.#from >= 0) this.#from = 0;
  }

  begin(from: number): void {
    this.#from = from;
    this.revisions = 0;
    this.error = undefined;
  }

  /** The row ends before `end` and goes out whole. */
  finish(end: number): void {
    if (!this.passedInPart) this.#passOn();
    this.#output.append(this.#bytes.subarray(this.#from, end));
    this.#output.counts.documents++;
    this.#output.counts.leafRevisions += this.revisions;
    this.passedInPart = false;
    this.#from = -1;
  }

  /** The row ends and must not go out. */
  drop(): void {
    if (this.passedInPart) throw new FramingError("an error follows a document in the same row", this.#from);
    this.#kept.length = 0;
    this.#keptBytes = 0;
    this.#from = -1;
  }

  /** The bytes in hand are about to go: keeps or passes on what belongs to the row. */
  keepRest(): void {
    if (this.#from < 0) return;
    const rest = this.#bytes.subarray(this.#from);
    if (this.passedInPart) return this.#output.append(rest);
    // The bytes in hand will be written over.
    this.#kept.push(rest.slice());
    this.#keptBytes += rest.length;
    if (this.#keptBytes <= KEPT_ROW_BYTES) return;
    this.#passOn();
    this.passedInPart = true;
  }

  #passOn(): void {
    this.#output.beginRow();
    for (const bytes of this.#kept) this.#output.append(bytes);
    this.#kept.length = 0;
    this.#keptBytes = 0;
  }
}

/** Puts rows together to the chunk's JSON, in blocks of a size that a compressor likes. */
export class RowOutput {
  readonly counts: BatchCounts;
  readonly #ready: Uint8Array<ArrayBuffer>[] = [];
  /** Blocks that have been passed on, to be filled again. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #rows = 0;

  constructor(counts: BatchCounts) {
    this.counts = counts;
  }

  beginRow(): void {
    if (this.#rows++ > 0) this.append(COMMA);
  }

  append(bytes: Uint8Array): void {
    this.counts.bytes += bytes.length;
    for (let from = 0; from < bytes.length;) {
      const part = bytes.subarray(from, from + BLOCK_BYTES - this.#used);
      this.#block.set(part, this.#used);
      this.#used += part.length;
      from += part.length;
      if (this.#used === BLOCK_BYTES) this.#closeBlock();
    }
  }

  /** Yields the blocks that are full; each is used again once the next one is asked for. */
  *blocks(): Generator<Uint8Array> {
    for (let block = this.#ready.shift(); block !== undefined; block = this.#ready.shift()) {
      yield block;
      this.#spare.push(new Uint8Array(block.buffer));
    }
  }

  /** The same with all that is left. */
  flush(): Generator<Uint8Array> {
    this.#closeBlock();
    return this.blocks();
  }

  #closeBlock(): void {
    if (this.#used === 0) return;
    this.#ready.push(this.#block.subarray(0, this.#used));
    this.#block = this.#spare.pop() ?? new Uint8Array(BLOCK_BYTES);
    this.#used = 0;
  }
}

/** The counts before anything is read. */
export function emptyCounts(): BatchCounts {
  return { documents: 0, leafRevisions: 0, absent: 0, bytes: 0, lastId: undefined };
}
