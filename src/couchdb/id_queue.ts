/**
 * Ids in the order in which they came, of each its hash alone. In: hashes as an IdFilter makes them. Out: whether an id
 * is among them; those that came first leave first. A Set of a database's ids would be garbage as large as the ids
 * themselves.
 */
import type { IdHash } from "./id_filter.ts";

const LEAST_PLACES = 1 << 10;
const EMPTY = -1;

/** A queue that can tell what is in it. */
export class IdQueue {
  /** How many ids it has. */
  size = 0;
  /** The hashes, two words each, in a ring; there are as many places as a power of two. */
  #ring: Uint32Array = new Uint32Array(2 * LEAST_PLACES);
  #oldest = 0;
  /**
   * Where in the ring an id lies: a table with open addressing, twice as large, so that it is never more than half
   * full.
   */
  #table: Int32Array = new Int32Array(2 * LEAST_PLACES).fill(EMPTY);

  readonly #taken: Uint32Array = new Uint32Array(2);

  get #places(): number {
    return this.#ring.length / 2;
  }

  /** Whether the id of that hash is in the queue. */
  has(hash: IdHash): boolean {
    const first = hash[0]!, second = hash[1]!;
    const ring = this.#ring, table = this.#table, mask = table.length - 1;
    for (let slot = first & mask;; slot = (slot + 1) & mask) {
      const place = table[slot]!;
      if (place === EMPTY) return false;
      if (ring[2 * place] === first && ring[2 * place + 1] === second) return true;
    }
  }

  /** Adds an id that is not in the queue. */
  push(hash: IdHash): void {
    if (this.size === this.#places) this.#grow();
    const place = (this.#oldest + this.size++) & (this.#places - 1);
    this.#ring[2 * place] = hash[0]!;
    this.#ring[2 * place + 1] = hash[1]!;
    this.#enter(place);
  }

  /** Takes out the oldest id. @returns Its hash, valid until the next one is taken out. */
  shift(): IdHash {
    const place = this.#oldest;
    this.#leave(place);
    this.#oldest = (place + 1) & (this.#places - 1);
    this.size--;
    this.#taken[0] = this.#ring[2 * place]!;
    this.#taken[1] = this.#ring[2 * place + 1]!;
    return this.#taken;
  }

  #enter(place: number): void {
    const table = this.#table, mask = table.length - 1;
    let slot = this.#ring[2 * place]! & mask;
    while (table[slot] !== EMPTY) slot = (slot + 1) & mask;
    table[slot] = place;
  }

  /** Empties the slot of a place, and moves up what would no longer be found after it. */
  #leave(place: number): void {
    const ring = this.#ring, table = this.#table, mask = table.length - 1;
    let hole = ring[2 * place]! & mask;
    while (table[hole] !== place) hole = (hole + 1) & mask;
    for (let slot = (hole + 1) & mask; table[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const wanted = ring[2 * table[slot]!]! & mask;
      // It may stand in the hole unless that lies before the slot where its own search begins.
      if (((slot - wanted) & mask) < ((slot - hole) & mask)) continue;
      table[hole] = table[slot]!;
      hole = slot;
    }
    table[hole] = EMPTY;
  }

  #grow(): void {
    const ring = this.#ring, places = this.#places;
    const larger = new Uint32Array(2 * ring.length);
    for (let index = 0; index < this.size; index++) {
      const place = (this.#oldest + index) & (places - 1);
      larger[2 * index] = ring[2 * place]!;
      larger[2 * index + 1] = ring[2 * place + 1]!;
    }
    this.#ring = larger;
    this.#oldest = 0;
    this.#table = new Int32Array(larger.length).fill(EMPTY);
    for (let place = 0; place < this.size; place++) this.#enter(place);
  }
}
