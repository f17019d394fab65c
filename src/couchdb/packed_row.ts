/**
 * A row of the changes feed that is kept as bytes: nearly all rows are so plain that nobody ever asks for their texts.
 * In: ids and revisions of printable ASCII, as they stand in the answer. Out: rows that lie in blocks with others. As
 * strings they would outlive V8's young generation, which copies all that does: most of the time that garbage takes
 * would be theirs.
 */
import { Buffer } from "node:buffer";
import type { ChangesRow } from "./changes_page.ts";

/** A row that somebody keeps for long keeps no more than so much in memory. */
const BLOCK_BYTES = 1 << 16;

/** A row of a document that has one leaf revision, which is not deleted, with no position after it. */
export class PackedRow implements ChangesRow {
  /** Where its texts lie. */
  readonly bytes: Buffer;
  /** Where its id begins, where that ends and the revision begins, and where this one ends. */
  readonly from: number;
  readonly middle: number;
  readonly end: number;

  constructor(bytes: Buffer, from: number, middle: number, end: number) {
    this.bytes = bytes;
    this.from = from;
    this.middle = middle;
    this.end = end;
  }

  /** The document's id, a new string each time. */
  get id(): string {
    return this.bytes.toString("latin1", this.from, this.middle);
  }

  /** Its one leaf revision, a new string each time. */
  get revs(): string[] {
    return [this.bytes.toString("latin1", this.middle, this.end)];
  }

  get deleted(): boolean {
    return false;
  }

  get position(): undefined {
    return undefined;
  }
}

/** The block in hand: it is filled by one page after the other, for those of small databases have few rows. */
let block = Buffer.allocUnsafeSlow(0);
let used = 0;

/**
 * Rows whose texts stand one after the other in `texts`, which are copied.
 *
 * @param spots Where each id ends, and each revision.
 * @param rows Takes them.
 */
export function packRows(texts: Uint8Array, spots: Int32Array, count: number, rows: ChangesRow[]): void {
  const length = spots[2 * count - 1]!;
  // What is large has a block of its own: in one with others it would leave much of that unused.
  const isShared = length < BLOCK_BYTES / 8;
  if (isShared && used + length > block.length) [block, used] = [Buffer.allocUnsafeSlow(BLOCK_BYTES), 0];
  const [bytes, first] = isShared ? [block, used] : [Buffer.allocUnsafeSlow(length), 0];
  bytes.set(texts.subarray(0, length), first);
  let from = first;
  for (let index = 0; index < count; index++) {
    const end = first + spots[2 * index + 1]!;
    rows.push(new PackedRow(bytes, from, first + spots[2 * index]!, end));
    from = end;
  }
  if (isShared) used += length;
}

/**
 * A row of texts that stand in `bytes`, which are copied.
 *
 * @returns Undefined where they are too long: those are better off as they are.
 */
export function packRow(
  bytes: Uint8Array,
  idFrom: number,
  idEnd: number,
  revFrom: number,
  revEnd: number,
): PackedRow | undefined {
  const length = idEnd - idFrom + revEnd - revFrom;
  if (length > BLOCK_BYTES / 16) return undefined;
  if (used + length > block.length) [block, used] = [Buffer.allocUnsafeSlow(BLOCK_BYTES), 0];
  const from = used;
  for (let at = idFrom; at < idEnd; at++) block[used++] = bytes[at]!;
  const middle = used;
  for (let at = revFrom; at < revEnd; at++) block[used++] = bytes[at]!;
  return new PackedRow(block, from, middle, used);
}
