/**
 * Where two sets of states differ, told by sums alone: documents fall into groups by their ids, and of each group the
 * hashes of its states are added up, 128 bits wide, for one side, and subtracted for the other. A group in which
 * nothing is left has the same states on both sides: the hashes are keyed with a secret of the process, so that nobody
 * can choose states that cancel each other. In: ids and states. Out: which groups differ. Two bytes a document, and no
 * id is kept.
 */
import { IdHasher } from "../id_set.ts";

/** Documents of a group, about: of a document that has changed so many are looked at one by one. */
const GROUP_DOCUMENTS = 8;
const LEAST_GROUPS = 1 << 10;
/** 16 MB of sums; with more than eight million documents the groups become larger. */
const MOST_GROUPS = 1 << 20;
/** Where nobody knows how many documents there are. */
const USUAL_GROUPS = 1 << 17;

const WORDS = 4;
const WORD = 0x1_0000_0000;

/** The sums of one comparison. */
export class StateSums {
  readonly #hasher = new IdHasher();
  readonly #sums: Uint32Array;
  readonly #mask: number;
  #added = 0;
  readonly #seed = crypto.getRandomValues(new Uint32Array(1))[0]!;

  /** @param documents How many there are on a side, about. */
  constructor(documents: number | undefined) {
    let groups = documents === undefined ? USUAL_GROUPS : LEAST_GROUPS;
    while (documents !== undefined && groups < MOST_GROUPS && groups * GROUP_DOCUMENTS < documents) groups *= 2;
    this.#sums = new Uint32Array(groups * WORDS);
    this.#mask = groups - 1;
  }

  /** How many groups differ. */
  get differing(): number {
    let count = 0;
    for (let at = 0; at < this.#sums.length; at += WORDS) if (this.#isLeft(at)) count++;
    return count;
  }

  /** How many documents of the one side are in groups that differ, about. */
  get documents(): number {
    return Math.ceil(this.#added * this.differing * WORDS / this.#sums.length);
  }

  /** A state of the one side. */
  add(id: string, state: string): void {
    this.#added++;
    this.#hasher.update(state);
    const at = this.#groupOf(id);
    for (let word = 0, carried = 0; word < WORDS; word++) {
      const sum = this.#sums[at + word]! + this.#hasher.hash[word]! + carried;
      this.#sums[at + word] = sum;
      carried = sum >= WORD ? 1 : 0;
    }
  }

  /** A state of the other side. */
  subtract(id: string, state: string): void {
    this.#hasher.update(state);
    const at = this.#groupOf(id);
    for (let word = 0, borrowed = 0; word < WORDS; word++) {
      const difference = this.#sums[at + word]! - this.#hasher.hash[word]! - borrowed;
      this.#sums[at + word] = difference;
      borrowed = difference < 0 ? 1 : 0;
    }
  }

  /** Whether something is left in the group of an id. */
  differs(id: string): boolean {
    return this.#isLeft(this.#groupOf(id));
  }

  #isLeft(at: number): boolean {
    const sums = this.#sums;
    return (sums[at]! | sums[at + 1]! | sums[at + 2]! | sums[at + 3]!) !== 0;
  }

  /**
   * Both sides must find an id in the same group; that the groups are of like size is all that is asked of this hash.
   */
  #groupOf(id: string): number {
    let hash = this.#seed;
    for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    return ((hash ^ (hash >>> 13)) & this.#mask) * WORDS;
  }
}
