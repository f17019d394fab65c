/**
 * The rows of `_bulk_get` on their way into a chunk: the one that is arriving, kept until it is whole or passed on when
 * it grows too large to be kept, and the chunk's JSON that whole rows are put together to.
 */
import { Buffer } from "node:buffer";
import { FramingError, type RowError } from "../json/scan.ts";
import type { ListedDocument } from "./batch.ts";
import { PackedRow } from "./packed_row.ts";

/** Rows up to this size are kept until they are whole, so that a broken answer costs only what is missing. */
const KEPT_ROW_BYTES = 1 << 20;
/** What is passed on is collected into pieces of this size: a compressor is slow on many small ones. */
const BLOCK_BYTES = 1 << 18;
/** The first revision of a row, where CouchDB writes it. */
const FIRST_LEAF = /^\{"id":"(?:[^"\\]|\\.)*","docs":\[\{"ok":\{"_id":"(?:[^"\\]|\\.)*","_rev":"([^"]+)"/;
/** How far into a row it is looked for: the id comes twice before it, and may have thousands of characters. */
const BEGINNING_BYTES = 1 << 16;

/** What stands in JSON as it is, and what may be escaped in several ways, or is half of a letter. */
const PLAIN = /^[ !#-[\]-~]*$/;
const UNSURE = /[\p{Control}\p{Surrogate}\u2028\u2029]/u;
/** More of a revision is not looked for, as it may lie in two pieces of a row that is passed on. */
const NEEDLE_LETTERS = 60;

const NONE: readonly string[] = [];

const encoder = new TextEncoder();
const OPENING = encoder.encode('{"results":[');
const CLOSING = encoder.encode("]}");
const COMMA = encoder.encode(",");
const ID_MEMBER = encoder.encode('{"_id":"');
const REVISION_MEMBER = encoder.encode('","_rev":"');

/** What was read; complete once the reader has ended. */
export interface BatchCounts {
  documents: number;
  leafRevisions: number;
  /** Documents of which every leaf revision is deleted. */
  deleted: number;
  /** Documents that were listed but gone when they were asked for. */
  absent: number;
  /** The size of the JSON that was yielded. */
  bytes: number;
}

/** Counts of nothing. */
export function emptyCounts(): BatchCounts {
  return { documents: 0, leafRevisions: 0, deleted: 0, absent: 0, bytes: 0 };
}

/** The row that is arriving. */
export class RowInHand {
  /** Leaf revisions so far, and those of them that are not deleted. */
  revisions = 0;
  live = 0;
  error: RowError | undefined;
  /** Its beginning went out before its end was there. */
  passedInPart = false;

  readonly #output: ChunkText;
  readonly #isFinal: boolean;
  readonly #revisionNeedle: (rev: string) => string;
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  /** Where the row's part of `#bytes` begins; -1 between rows. */
  #from = -1;
  /** Where in `#bytes` the row's first leaf revision begins; -1 where it is not in them. */
  #leafFrom = -1;
  /**
   * The whole rows of `#bytes` that have yet to go out, in a row with a comma between them; -1 where there are none.
   */
  #wholeFrom = -1;
  #wholeEnd = -1;
  /** Of a row passed on in part: the revisions that are looked for in it, and the end of what was looked through. */
  #unseen: readonly string[] = [];
  #overlap = "";
  /** Of a row passed on in part: its first leaf revision. */
  #firstLeaf: string | undefined;

  /**
   * @param options.revisions Whether rows have histories, in which a listed revision may stand that is no leaf any
   * more.
   * @param options.isFinal Whether rows go out whatever they lack. @default false
   */
  constructor(output: ChunkText, { revisions, isFinal = false }: { revisions: boolean; isFinal?: boolean }) {
    this.#output = output;
    this.#isFinal = isFinal;
    this.#revisionNeedle = revisions ? (rev) => needleOf(rev.slice(rev.indexOf("-") + 1)) : needleOf;
  }

  /** Takes the next bytes of the answer. */
  arrive(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#leafFrom = -1;
    if (this.#from >= 0) this.#from = 0;
  }

  /** A row begins. */
  begin(from: number): void {
    this.#from = from;
    this.#leafFrom = -1;
    this.revisions = 0;
    this.live = 0;
    this.error = undefined;
  }

  /** A leaf revision begins. */
  beginRevision(from: number): void {
    if (this.revisions === 0) this.#leafFrom = from;
  }

  /** A leaf revision ends. */
  addRevision(isDeleted: boolean): void {
    this.revisions++;
    if (!isDeleted) this.live++;
  }

  /**
   * The row ends before `end`, and goes out whole unless a revision is missing in it that the feed has listed; where it
   * is final, even then.
   *
   * @param idBytes Of how many bytes its id consists; 0 where that is not known.
   * @returns The listed revisions that it lacks, neither as leaves nor in a history: an old copy has answered.
   */
  finish(end: number, document: ListedDocument, idBytes = 0): readonly string[] {
    const missing = this.#isPlain(document, idBytes) ? NONE : this.#findMissing(end, document);
    if (missing.length > 0 && !this.passedInPart && !this.#isFinal) {
      this.drop();
      return missing;
    }
    const isBegun = this.#kept.length > 0;
    if (this.passedInPart) this.#output.append(this.#bytes.subarray(this.#from, end));
    else if (isBegun) this.#passOn();
    else if (this.#wholeFrom >= 0 && this.#from !== this.#wholeEnd + COMMA.length) this.passWhole();
    if (!this.passedInPart) {
      // Rows go out many at a time, with the commas that CouchDB has put between them.
      if (this.#wholeFrom < 0) {
        if (!isBegun) this.#output.beginRow();
        this.#wholeFrom = this.#from;
      }
      this.#wholeEnd = end;
    }
    this.#output.counts.documents++;
    this.#output.counts.leafRevisions += this.revisions;
    if (this.live === 0) this.#output.counts.deleted++;
    this.passedInPart = false;
    this.#from = -1;
    return missing;
  }

  /**
   * How large the chunk's text is once this row is in it, as far as the row has come, and the text is closed.
   *
   * @param end Where the row ends in the bytes in hand, or these end.
   */
  sizeWith(end: number): number {
    const whole = this.#wholeFrom < 0 ? 0 : this.#wholeEnd - this.#wholeFrom;
    const comma = !this.passedInPart && this.#output.hasRows ? COMMA.length : 0;
    return this.#output.counts.bytes + whole + comma + this.#keptBytes + end - this.#from + CLOSING.length;
  }

  /** Whether a row has begun and not ended. */
  get isArriving(): boolean {
    return this.#from >= 0;
  }

  /** Whole rows that have not gone out yet go out. */
  passWhole(): void {
    if (this.#wholeFrom < 0) return;
    this.#output.append(this.#bytes.subarray(this.#wholeFrom, this.#wholeEnd));
    this.#wholeFrom = -1;
  }

  /** The row ends and must not go out. */
  drop(): void {
    if (this.passedInPart) throw new FramingError("an error follows a document in the same row", this.#from);
    this.#kept.length = 0;
    this.#keptBytes = 0;
    this.#from = -1;
  }

  /** The bytes in hand are about to go: keeps or passes on what belongs to the row. */
  keepRest(listed: () => ListedDocument | undefined): void {
    this.passWhole();
    if (this.#from < 0) return;
    const rest = this.#bytes.subarray(this.#from);
    if (this.passedInPart) {
      this.#lookThrough(rest);
      return this.#output.append(rest);
    }
    this.#kept.push(rest.slice());
    this.#keptBytes += rest.length;
    if (this.#keptBytes <= KEPT_ROW_BYTES) return;
    this.#unseen = listed()?.revs ?? [];
    this.#overlap = "";
    this.#firstLeaf = FIRST_LEAF.exec(beginningOf(this.#kept))?.[1];
    for (const bytes of this.#kept) this.#lookThrough(bytes);
    this.#passOn();
    this.passedInPart = true;
  }

  #passOn(): void {
    this.#output.beginRow();
    for (const bytes of this.#kept) this.#output.append(bytes);
    this.#kept.length = 0;
    this.#keptBytes = 0;
  }

  /** Whether the row has the one revision that is listed, where CouchDB writes it: nearly always it is so. */
  #isPlain(document: ListedDocument, idBytes: number): boolean {
    if (this.passedInPart) return false;
    const packed = document instanceof PackedRow ? document : undefined;
    const revs = packed === undefined ? document.revs : undefined;
    if (revs?.length === 0) return true;
    if (idBytes === 0 || this.#leafFrom < 0 || (revs !== undefined && revs.length > 1)) return false;
    const member = this.#leafFrom + ID_MEMBER.length + idBytes;
    if (!this.#standsAt(this.#leafFrom, ID_MEMBER) || !this.#standsAt(member, REVISION_MEMBER)) return false;
    const from = member + REVISION_MEMBER.length;
    if (packed !== undefined) {
      const { bytes, middle, end } = packed;
      for (let index = middle; index < end; index++) {
        if (this.#bytes[from + index - middle] !== bytes[index]) return false;
      }
      return true;
    }
    const rev = revs![0]!;
    for (let index = 0; index < rev.length; index++) {
      if (this.#bytes[from + index] !== rev.charCodeAt(index)) return false;
    }
    return true;
  }

  #standsAt(at: number, bytes: Uint8Array): boolean {
    for (let index = 0; index < bytes.length; index++) if (this.#bytes[at + index] !== bytes[index]) return false;
    return true;
  }

  #findMissing(end: number, document: ListedDocument): readonly string[] {
    const rest = this.#bytes.subarray(this.#from, end);
    return this.passedInPart ? this.#missingInPassed(rest, document) : this.#missingIn(rest, document);
  }

  #missingIn(rest: Uint8Array, { revs }: ListedDocument): string[] {
    const text = latin1(this.#kept.length === 0 ? rest : Buffer.concat([...this.#kept, rest]));
    const missing = revs.filter((rev) => !text.includes(this.#revisionNeedle(rev)));
    return missing.length === 0 ? missing : notOutlived(missing, leavesOf(text), revs);
  }

  #missingInPassed(rest: Uint8Array, { revs }: ListedDocument): readonly string[] {
    this.#lookThrough(rest);
    return this.#firstLeaf === undefined ? this.#unseen : notOutlived(this.#unseen, [this.#firstLeaf], revs);
  }

  #lookThrough(bytes: Uint8Array): void {
    if (this.#unseen.length === 0) return;
    const text = this.#overlap + latin1(bytes);
    this.#unseen = this.#unseen.filter((rev) => !text.includes(this.#revisionNeedle(rev)));
    this.#overlap = text.slice(-64);
  }
}

/**
 * Of the missing revisions those that nothing in the answer can have come from. A document that was changed since it
 * was listed has a leaf of a later generation that was not listed, and where histories are not read, or are cut at
 * `_revs_limit`, nothing else tells that from an old copy. The feed lists it once more: whatever this answer lacks is
 * read then.
 */
function notOutlived(missing: readonly string[], leaves: readonly string[], listed: readonly string[]): string[] {
  const newest = Math.max(
    ...leaves.filter((leaf) => !listed.some((rev) => leaf.startsWith(rev))).map(generationOf),
  );
  return missing.filter((rev) => generationOf(rev) >= newest);
}

function generationOf(rev: string): number {
  return Number.parseInt(rev, 10);
}

/**
 * How a text begins as CouchDB writes it, read as latin1, with the quotation mark before it: revisions that a client has
 * made up may have any letters. What CouchDB may escape in another way is left off.
 */
function needleOf(text: string): string {
  if (PLAIN.test(text)) return `"${text.slice(0, NEEDLE_LETTERS)}`;
  const [sure = ""] = text.split(UNSURE, 1);
  const escaped = sure.replaceAll(/["\\]/g, "\\$&");
  return `"${latin1(encoder.encode(escaped)).slice(0, NEEDLE_LETTERS)}`;
}

/** The leaf revisions of a row, whose text is latin1. @throws FramingError when it is framed as a row and no JSON. */
function leavesOf(row: string): string[] {
  let docs: unknown;
  try {
    ({ docs } = JSON.parse(row) as { docs?: unknown });
  } catch {
    throw new FramingError("a row is not JSON", 0);
  }
  const revs = Array.isArray(docs) ? docs.map((one: { ok?: { _rev?: unknown } } | null) => one?.ok?._rev) : [];
  return revs.filter((rev) => typeof rev === "string").map((rev) => Buffer.from(rev, "latin1").toString());
}

/** How a row begins, however few bytes its first pieces had. */
function beginningOf(pieces: readonly Uint8Array[]): string {
  let text = "";
  for (const bytes of pieces) {
    if (text.length >= BEGINNING_BYTES) break;
    text += latin1(bytes.subarray(0, BEGINNING_BYTES - text.length));
  }
  return text;
}

/** Bytes as text of as many units: what is ASCII can be looked for in it, at the speed of a native search. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/**
 * Blocks that have been passed on, to be filled again: as garbage they would be collected late, and fill the memory.
 */
const spareBlocks: Uint8Array<ArrayBuffer>[] = [];
const MOST_SPARE_BLOCKS = 8;

function takeBlock(): Uint8Array<ArrayBuffer> {
  return spareBlocks.pop() ?? new Uint8Array(BLOCK_BYTES);
}

/** A chunk's JSON, `{"results":[…]}`, in blocks of a size that a compressor likes. */
export class ChunkText {
  readonly counts: BatchCounts;
  readonly #ready: Uint8Array<ArrayBuffer>[] = [];
  #block = takeBlock();
  #used = 0;
  #rows = 0;

  constructor(counts: BatchCounts) {
    this.counts = counts;
    this.append(OPENING);
  }

  /** Whether a row has begun. */
  get hasRows(): boolean {
    return this.#rows > 0;
  }

  /** A row begins. */
  beginRow(): void {
    if (this.#rows++ > 0) this.append(COMMA);
  }

  /** Takes bytes of a row. */
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
      if (spareBlocks.length < MOST_SPARE_BLOCKS) spareBlocks.push(new Uint8Array(block.buffer));
    }
  }

  /** Closes the JSON and yields all that is left. */
  end(): Generator<Uint8Array> {
    this.append(CLOSING);
    this.#ready.push(this.#block.subarray(0, this.#used));
    this.#used = 0;
    return this.blocks();
  }

  #closeBlock(): void {
    this.#ready.push(this.#block.subarray(0, this.#used));
    this.#block = takeBlock();
    this.#used = 0;
  }
}
