/**
 * Remembers ids in little memory: a Bloom filter. In: ids. Out: of an id, `surely new` or `maybe known`, and how many
 * different ones there were. It may take a new id for a known one (about once in ten million), never the other way
 * round.
 *
 * @see https://doi.org/10.1145/362686.362692 for the idea, and https://doi.org/10.1002/rsa.20208 for two hashes making
 * many
 */

/** 40 bits for each id expected. */
const BITS_PER_ID = 40;
/** A filter's size at most: beyond it, it errs more often. */
export const MOST_BYTES: number = 32 << 20;
const LEAST_BYTES = 1 << 10;
/** One that is folded has no fewer. */
const LEAST_FOLDED_BITS = 256;
/** How many bits stand for an id. More would err less often and cost more time. */
const HASHES = 10;

/** Two words of 32 bits that stand for an id. */
export type IdHash = Uint32Array;

/** A filter as it is stored. */
export interface StoredFilter {
  bytes: Uint8Array;
  salt: number;
  hashes: number;
  /** How many different ids it holds. */
  ids: number;
}

/** The ids seen so far, or most probably so. */
export class IdFilter {
  /** How many ids were new when they were added. */
  ids = 0;
  /** How many of the ids taken for known ones are to be expected to have been new. */
  expectedErrors = 0;

  readonly salt: number;
  readonly hashes: number;
  readonly #words: Uint32Array;
  readonly #bits: number;
  /** Bits that are set. */
  #set = 0;

  private constructor(words: Uint32Array, { salt, hashes }: { salt: number; hashes: number }) {
    this.#words = words;
    this.#bits = words.length * 32;
    this.salt = salt;
    this.hashes = hashes;
  }

  /** An empty filter for about this many ids. @param salt Prevents ids from being chosen so that they look known. */
  static forIds(count: number, salt: number = crypto.getRandomValues(new Uint32Array(1))[0]!): IdFilter {
    const bytes = Math.min(MOST_BYTES, Math.max(LEAST_BYTES, Math.ceil(count * BITS_PER_ID / 8)));
    const words = Math.ceil(bytes / 4);
    // Odd: of a power of two only the low bits of both hashes count, which two of a hundred ids have in common once in
    // two thousand databases.
    return new IdFilter(new Uint32Array(words % 2 === 0 ? words - 1 : words), { salt, hashes: HASHES });
  }

  /**
   * An empty filter that can be made smaller when it is known how many it holds: its size is a power of two.
   *
   * @param count About how many there will be, with so many bits for each at least.
   */
  static foldable(count: number, bitsPerId: number): IdFilter {
    const bits = Math.min(MOST_BYTES * 8, Math.max(LEAST_FOLDED_BITS, count * bitsPerId));
    const salt = crypto.getRandomValues(new Uint32Array(1))[0]!;
    return new IdFilter(new Uint32Array(2 ** Math.ceil(Math.log2(bits / 32))), { salt, hashes: HASHES });
  }

  /** A filter as it was stored. It goes on in the same bytes, unless they do not begin at a word. */
  static from({ bytes, salt, hashes, ids }: StoredFilter): IdFilter {
    const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    const filter = new IdFilter(new Uint32Array(buffer, byteOffset, byteLength / 4), { salt, hashes });
    filter.ids = ids;
    // Each turn clears the lowest bit of a word that is set.
    for (let word of filter.#words) for (; word !== 0; word &= word - 1) filter.#set++;
    return filter;
  }

  /** An empty filter of the same size and salt. */
  emptyLike(): IdFilter {
    return new IdFilter(new Uint32Array(this.#words.length), { salt: this.salt, hashes: this.hashes });
  }

  /** A filter with the same ids, which gets none that this one gets. */
  copy(): IdFilter {
    const { salt, hashes, ids } = this;
    return IdFilter.from({ bytes: this.bytes.slice(), salt, hashes, ids });
  }

  /**
   * The smallest filter with the same ids that still has so many bits for each; of {@linkcode IdFilter.foldable} alone.
   * What was a bit of the upper half is the same bit of the lower one, as the remainder of its hash by half of the
   * size. It is in the same bytes where nothing can be folded.
   */
  folded(bitsPerId: number): IdFilter {
    let words = this.#words;
    while (words.length * 16 >= Math.max(LEAST_FOLDED_BITS, this.ids * bitsPerId)) {
      const half = words.length / 2;
      const smaller = words.slice(0, half);
      for (let index = 0; index < half; index++) smaller[index]! |= words[half + index]!;
      words = smaller;
    }
    const { salt, hashes, ids } = this;
    // What was not folded may be a part of a larger object, as a filter that a checkpoint has handed on is.
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    return IdFilter.from({ bytes, salt, hashes, ids });
  }

  /** The filter's bytes: not a copy, so that they change with it. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset, this.#words.byteLength);
  }

  /** The hash of an id, which filters made of this one have too; valid until the next id of any filter is looked at. */
  hash(id: string): IdHash {
    hash(id, this.salt);
    return pair;
  }

  /** The same of an id whose bytes are ASCII, where it stands. */
  hashAscii(bytes: Uint8Array, from: number, end: number): IdHash {
    hashAscii(bytes, from, end, this.salt);
    return pair;
  }

  /** Whether the id may have been added. */
  mayHave(id: string): boolean {
    return this.mayHaveHash(this.hash(id));
  }

  /** Whether the id of that hash may have been added. */
  mayHaveHash(of: IdHash): boolean {
    const first = of[0]!, second = of[1]!;
    const words = this.#words, bits = this.#bits;
    for (let index = 0; index < this.hashes; index++) {
      const bit = (first + Math.imul(index, second) >>> 0) % bits;
      if ((words[bit >>> 5]! & (1 << (bit & 31))) === 0) return false;
    }
    return true;
  }

  /** Adds an id. @returns Whether it is surely new. */
  add(id: string): boolean {
    return this.addHash(this.hash(id));
  }

  /** Adds the id of that hash. @returns Whether it is surely new. */
  addHash(of: IdHash): boolean {
    const first = of[0]!, second = of[1]!;
    const words = this.#words, bits = this.#bits;
    let set = 0;
    const full = power(this.#set / this.#bits, this.hashes);
    for (let index = 0; index < this.hashes; index++) {
      const bit = (first + Math.imul(index, second) >>> 0) % bits;
      const mask = 1 << (bit & 31);
      if ((words[bit >>> 5]! & mask) !== 0) continue;
      words[bit >>> 5]! |= mask;
      set++;
    }
    this.#set += set;
    if (set > 0) {
      this.ids++;
      // Those that it erred on do not come by here: for each id that is found to be new there were p / (1 - p) of them.
      this.expectedErrors += full / (1 - full);
    }
    return set > 0;
  }
}

/** A whole power. The operator is slower by far, and this is done for each id. */
function power(base: number, exponent: number): number {
  let result = 1;
  for (let square = base, rest = exponent; rest > 0; rest >>= 1, square *= square) if (rest & 1) result *= square;
  return result;
}

/** What hash() has found; in an array of its own kind, for numbers beyond 31 bits become objects elsewhere. */
const pair = new Uint32Array(2);

/**
 * Puts two 32-bit hashes of an id's UTF-16 units into `pair`; the second is odd, so that its multiples reach every bit.
 * Filters are stored with checkpoints and manifests: what an id is hashed to must never change.
 */
function hash(id: string, salt: number): void {
  let a = 0x9e3779b9 ^ salt;
  let b = 0x85ebca6b ^ Math.imul(salt, 0xc2b2ae35);
  for (let at = 0; at < id.length; at++) {
    const unit = id.charCodeAt(at);
    a = Math.imul(a ^ unit, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b ^ unit, 0x5bd1e995);
    b ^= b >>> 13;
  }
  finishHash(a, b);
}

/** The same of bytes that are ASCII, each of which is a UTF-16 unit. */
function hashAscii(bytes: Uint8Array, from: number, end: number, salt: number): void {
  let a = 0x9e3779b9 ^ salt;
  let b = 0x85ebca6b ^ Math.imul(salt, 0xc2b2ae35);
  for (let at = from; at < end; at++) {
    const unit = bytes[at]!;
    a = Math.imul(a ^ unit, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b ^ unit, 0x5bd1e995);
    b ^= b >>> 13;
  }
  finishHash(a, b);
}

function finishHash(a: number, b: number): void {
  a = Math.imul(a ^ (b >>> 16), 0x2c1b3c6d);
  a ^= a >>> 12;
  b = Math.imul(b ^ (a >>> 16), 0x297a2d39);
  b ^= b >>> 15;
  pair[0] = a;
  pair[1] = b | 1;
}
