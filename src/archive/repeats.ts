/**
 * Whether a document stands in two chunks although nothing says which state counts: the higher chunk is not marked
 * `again`, so that a restore would write both. In: the ids of an archive's chunks, lowest chunk first. Out: which rows of
 * a chunk repeat lower ones. Ids are compared by hashes of 64 bits, as far as memory allows.
 */
import { IdSet } from "../id_set.ts";
import type { ChunkEntry } from "./manifest.ts";

/** Beyond so many documents ids are not compared: these take some 80 MB. */
const MOST_IDS = 4_000_000;
const HASH_WORDS = 2;

/** The ids of one chunk, as hashes, while it is being read. */
export class ChunkIds {
  readonly #hashOf: (id: string) => Uint32Array;
  readonly #hashes: Uint32Array;
  #rows = 0;

  constructor(entry: ChunkEntry, hashOf: (id: string) => Uint32Array) {
    this.#hashes = new Uint32Array(entry.documents * HASH_WORDS);
    this.#hashOf = hashOf;
  }

  /** Takes the id of the next row. More rows than the chunk should have are another problem. */
  add(id: string | undefined): void {
    const at = this.#rows++ * HASH_WORDS;
    if (at < this.#hashes.length) this.#hashes.set(this.#hashOf(id ?? ""), at);
  }

  /** The hash of each row's id, in order. */
  *hashes(): Generator<Uint32Array> {
    const rows = Math.min(this.#rows, this.#hashes.length / HASH_WORDS);
    for (let row = 0; row < rows; row++) yield this.#hashes.subarray(row * HASH_WORDS, (row + 1) * HASH_WORDS);
  }
}

/** Compares the ids of one archive's chunks. */
export class RepeatCheck {
  readonly #ids: IdSet;

  private constructor(capacity: number) {
    this.#ids = new IdSet({ capacity, words: HASH_WORDS });
  }

  /** A check for these chunks; undefined where they hold too many documents. */
  static of(entries: readonly ChunkEntry[]): RepeatCheck | undefined {
    const documents = entries.reduce((sum, entry) => sum + entry.documents, 0);
    return documents > MOST_IDS ? undefined : new RepeatCheck(documents);
  }

  /** What gathers the ids of a chunk; several chunks may be read at once. */
  begin(entry: ChunkEntry): ChunkIds {
    return new ChunkIds(entry, (id) => this.#ids.hashOf(id));
  }

  /**
   * Takes the ids of the next chunk.
   *
   * @returns Which of its rows, from 0, hold an id of a lower chunk or row, and should not.
   */
  take(entry: ChunkEntry, ids: ChunkIds): number[] {
    const repeated: number[] = [];
    let row = 0;
    for (const hash of ids.hashes()) {
      if (!this.#ids.addHash(hash) && entry.again !== true) repeated.push(row);
      row++;
    }
    return repeated;
  }
}
