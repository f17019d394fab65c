/**
 * Collects the documents whose rows were not good, until they are asked for again. In: one document at a time. Out: all
 * of them, in parts. If CouchDB runs out of time in a large request, every document that it did not reach has an error
 * and comes here. There may be very many: so of most of them only what is needed to ask again is kept, and packed.
 */
import type { RowError } from "../json/scan.ts";
import { IdBatch, type ListedDocument, PackedPages } from "./batch.ts";

/** A document whose row was not good, and why. */
export interface Suspect {
  document: ListedDocument;
  /**
   * The error in its row; absent where the row had no document at all, or where the document is asked for once more.
   */
  error?: RowError | undefined;
  /** The listed revisions that its row lacked. */
  missing?: readonly string[] | undefined;
  /** Whether its row was sent on all the same, because it was too large to be kept. */
  isOut?: boolean | undefined;
}

/** How many are kept unpacked, besides all that were sent or that lacked a revision. */
const MOST_WHOLE = 1000;
/** How many of the others are packed together. */
const PACKED_DOCUMENTS = 512;

/** A collection of them. */
export class Suspects {
  /** How many there are. */
  count = 0;
  readonly #whole: Suspect[] = [];
  /** Documents after those, that are not packed yet. */
  #loose: ListedDocument[] = [];
  readonly #packed = new PackedPages();

  /** Adds one. */
  add(suspect: Suspect): void {
    this.count++;
    // Not the row itself, which would keep all that lies beside it in memory.
    const { id, revs } = suspect.document;
    const document = { id, revs };
    // That a row was an error is found out again; what a row lacked may not be.
    const isWhole = this.count <= MOST_WHOLE || suspect.isOut === true || suspect.missing !== undefined;
    if (isWhole) return void this.#whole.push({ ...suspect, document });
    this.#loose.push(document);
    if (this.#loose.length < PACKED_DOCUMENTS) return;
    this.#packed.add(this.#loose);
    this.#loose = [];
  }

  /** Adds all documents of a batch, of whose rows nothing is known. */
  addBatch(batch: IdBatch): void {
    for (const page of batch.pages()) for (const document of page) this.add({ document });
  }

  /** All of them; none may be added meanwhile. */
  *all(): Generator<Suspect> {
    for (const part of this.parts(MOST_WHOLE)) yield* part;
  }

  /** All of them, in parts of `most` documents at most; none may be added meanwhile. */
  *parts(most: number): Generator<readonly Suspect[]> {
    yield* partsOf(this.#whole, most);
    for (const page of IdBatch.packed(this.#packed).pages()) yield* partsOf(page.map(suspectOf), most);
    yield* partsOf(this.#loose.map(suspectOf), most);
  }
}

function suspectOf(document: ListedDocument): Suspect {
  return { document };
}

function* partsOf(suspects: readonly Suspect[], most: number): Generator<readonly Suspect[]> {
  for (let from = 0; from < suspects.length; from += most) yield suspects.slice(from, from + most);
}
