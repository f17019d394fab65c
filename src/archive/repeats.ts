/**
 * Whether a document stands in two chunks although nothing says which state counts: the higher chunk is not marked
 * `again`, so that a restore would write both. In: the ids of an archive's chunks, lowest chunk first. Out: which rows
 * of a chunk repeat lower ones. Ids are compared by hashes of 64 bits, as far as memory allows.
 */
import { IdSet } from "../id_set.ts";
import type { Archive, ArchiveChunk, ParentPlace } from "./archive.ts";
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

/** Compares the ids of an archive's chunks; what a backup has in common with its parents is no repetition. */
export class RepeatCheck {
  /** Of each backup the ids seen so far. */
  readonly #ids = new Map<ParentPlace | undefined, IdSet>();
  readonly #capacity: number;

  private constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** A check for an archive; undefined where one of its backups holds too many documents. */
  static of({ entries, parents }: Pick<Archive, "entries" | "parents">): RepeatCheck | undefined {
    const [most = 0] = [entries, ...parents.map((parent) => parent.entries)].map(countDocuments).sort((a, b) => b - a);
    return most > MOST_IDS ? undefined : new RepeatCheck(parents.length === 0 ? most : 0);
  }

  /** What gathers the ids of a chunk; several chunks may be read at once. */
  begin(entry: ChunkEntry, { parent }: Pick<ArchiveChunk, "parent">): ChunkIds {
    const ids = this.#of(parent);
    return new ChunkIds(entry, (id) => ids.hashOf(id));
  }

  /**
   * Takes the ids of the next chunk; those of parents come first.
   *
   * @returns Which of its rows, from 0, hold an id of a lower chunk or row, and should not.
   */
  take(entry: ChunkEntry, { parent }: Pick<ArchiveChunk, "parent">, rows: ChunkIds): number[] {
    const ids = this.#of(parent);
    for (const before of this.#ids.keys()) {
      if (before === parent) break;
      this.#ids.delete(before);
    }
    const repeated: number[] = [];
    let row = 0;
    for (const hash of rows.hashes()) {
      if (!ids.addHash(hash) && entry.again !== true) repeated.push(row);
      row++;
    }
    return repeated;
  }

  #of(parent: ParentPlace | undefined): IdSet {
    const ids = this.#ids.get(parent) ?? new IdSet({ capacity: this.#capacity, words: HASH_WORDS });
    this.#ids.set(parent, ids);
    return ids;
  }
}

function countDocuments(entries: readonly ChunkEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.documents, 0);
}
