/**
 * Remembers ids of documents by the million: of each its hash alone, in one typed array. In: ids. Out: whether an id
 * was there before. The hash is keyed with a secret of the process, so that nobody can choose ids that are taken for
 * others.
 *
 * @see https://www.aumasson.jp/siphash/siphash.pdf: SipHash, here with one round for each block and three at the end
 */

/** How full the table may become: 128 bits at two thirds are 24 bytes for an id. */
const LOAD = 2 / 3;
const LEAST_SLOTS = 16;
/** Rounds after the last block, for each half of the hash. */
const LAST_ROUNDS = 3;

/** How wide the hashes are that stand for ids, in words of 32 bits. */
export type HashWords = 2 | 4;

/** Turns ids into hashes of 64 or 128 bits. */
export class IdHasher {
  /** The hash of the last id, in its first words. */
  readonly hash: Uint32Array = new Uint32Array(4);
  readonly #key: Uint32Array;

  /** @param key 128 bits. @default random ones */
  constructor(key: Uint32Array = crypto.getRandomValues(new Uint32Array(4))) {
    this.#key = key;
  }

  /** Puts the hash of an id, as UTF-16 in little-endian order, into {@linkcode hash}. */
  update(id: string): void {
    const key = this.#key;
    let v0l = key[0]! ^ 0x70736575;
    let v0h = key[1]! ^ 0x736f6d65;
    let v1l = key[2]! ^ 0x6e646f6d ^ 0xee;
    let v1h = key[3]! ^ 0x646f7261;
    let v2l = key[0]! ^ 0x6e657261;
    let v2h = key[1]! ^ 0x6c796765;
    let v3l = key[2]! ^ 0x79746573;
    let v3h = key[3]! ^ 0x74656462;
    const { length } = id;
    // Four units are a block; the last one has the units that are left and the length.
    const blocks = (length >>> 2) + 1;
    for (let step = 0, at = 0; step < blocks + 2 * LAST_ROUNDS; step++) {
      let ml = 0;
      let mh = 0;
      if (step < blocks) {
        if (at < length) ml = id.charCodeAt(at++);
        if (at < length) ml |= id.charCodeAt(at++) << 16;
        if (at < length) mh = id.charCodeAt(at++);
        if (step === blocks - 1) mh = (mh & 0xffff) | ((2 * length) << 24);
        else if (at < length) mh |= id.charCodeAt(at++) << 16;
        v3l ^= ml;
        v3h ^= mh;
      } else if (step === blocks) {
        v2l ^= 0xee;
      } else if (step === blocks + LAST_ROUNDS) {
        this.hash[0] = v0l ^ v1l ^ v2l ^ v3l;
        this.hash[1] = v0h ^ v1h ^ v2h ^ v3h;
        v1l ^= 0xdd;
      }
      let other = 0;
      // v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32)
      v0l = (v0l + v1l) | 0;
      v0h = (v0h + v1h + carry(v0l, v1l)) | 0;
      other = (v1h << 13) | (v1l >>> 19);
      v1l = ((v1l << 13) | (v1h >>> 19)) ^ v0l;
      v1h = other ^ v0h;
      other = v0l;
      v0l = v0h;
      v0h = other;
      // v2 += v3, v3 = rotl(v3, 16) ^ v2
      v2l = (v2l + v3l) | 0;
      v2h = (v2h + v3h + carry(v2l, v3l)) | 0;
      other = (v3h << 16) | (v3l >>> 16);
      v3l = ((v3l << 16) | (v3h >>> 16)) ^ v2l;
      v3h = other ^ v2h;
      // v0 += v3, v3 = rotl(v3, 21) ^ v0
      v0l = (v0l + v3l) | 0;
      v0h = (v0h + v3h + carry(v0l, v3l)) | 0;
      other = (v3h << 21) | (v3l >>> 11);
      v3l = ((v3l << 21) | (v3h >>> 11)) ^ v0l;
      v3h = other ^ v0h;
      // v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32)
      v2l = (v2l + v1l) | 0;
      v2h = (v2h + v1h + carry(v2l, v1l)) | 0;
      other = (v1h << 17) | (v1l >>> 15);
      v1l = ((v1l << 17) | (v1h >>> 15)) ^ v2l;
      v1h = other ^ v2h;
      other = v2l;
      v2l = v2h;
      v2h = other;
      if (step < blocks) {
        v0l ^= ml;
        v0h ^= mh;
      }
    }
    this.hash[2] = v0l ^ v1l ^ v2l ^ v3l;
    this.hash[3] = v0h ^ v1h ^ v2h ^ v3h;
  }
}

/** What a sum of two words carries over, told by the sum and one of them. */
function carry(sum: number, summand: number): number {
  return (sum >>> 0) < (summand >>> 0) ? 1 : 0;
}

/**
 * A set of ids. With hashes of 128 bits two ids are never taken for one; with 64, once in a million sets of five
 * million.
 */
export class IdSet {
  /** How many ids it holds. */
  size = 0;

  readonly #words: HashWords;
  readonly #hasher = new IdHasher();
  /** Slot after slot; one whose words are all zero is free. */
  #table: Uint32Array;
  #slots: number;
  /** A bit for each slot; none as long as nothing is marked. */
  #marks: Uint8Array | undefined;
  #marked = 0;

  /**
   * @param options.capacity How many ids to make room for; with more it grows. @default 0
   * @param options.words How wide the hash is that stands for an id. @default 4, which is 128 bits
   */
  constructor({ capacity = 0, words = 4 }: { capacity?: number; words?: HashWords } = {}) {
    this.#words = words;
    this.#slots = Math.max(LEAST_SLOTS, Math.ceil(capacity / LOAD));
    this.#table = new Uint32Array(this.#slots * words);
  }

  /** Whether the id was added. */
  has(id: string): boolean {
    this.#hasher.update(id);
    return this.#find(this.#hasher.hash) < 0;
  }

  /** How many ids are marked. */
  get marked(): number {
    return this.#marked;
  }

  /** Marks an id, if it was added; when one is marked none can be added any more. @returns Whether it was added. */
  mark(id: string): boolean {
    this.#hasher.update(id);
    const found = this.#find(this.#hasher.hash);
    if (found >= 0) return false;
    this.#marks ??= new Uint8Array(Math.ceil(this.#slots / 8));
    const slot = ~found / this.#words;
    const bit = 1 << (slot & 7);
    if ((this.#marks[slot >> 3]! & bit) === 0) this.#marked++;
    this.#marks[slot >> 3]! |= bit;
    return true;
  }

  /** Whether an id was marked. */
  isMarked(id: string): boolean {
    this.#hasher.update(id);
    const found = this.#find(this.#hasher.hash);
    if (found >= 0 || this.#marks === undefined) return false;
    const slot = ~found / this.#words;
    return (this.#marks[slot >> 3]! & (1 << (slot & 7))) !== 0;
  }

  /** Adds an id. @returns Whether it was not there. */
  add(id: string): boolean {
    this.#hasher.update(id);
    return this.addHash(this.#hasher.hash);
  }

  /** The hash that stands for an id in this set, for {@linkcode addHash}; valid until the next call. */
  hashOf(id: string): Uint32Array {
    this.#hasher.update(id);
    return this.#hasher.hash.subarray(0, this.#words);
  }

  /** Adds an id by its hash. @returns Whether it was not there. */
  addHash(hash: Uint32Array): boolean {
    const free = this.#find(hash);
    if (free < 0) return false;
    if (this.#marks !== undefined) throw new Error("Ids cannot be added to a set that has marks");
    this.#put(hash, free);
    if (++this.size > this.#slots * LOAD) this.#grow();
    return true;
  }

  /**
   * Where the hash belongs, in words; where it is there, the complement of its place. A hash of nothing but zeros
   * counts as one with a 1 in it.
   */
  #find(hash: Uint32Array): number {
    const words = this.#words;
    const table = this.#table;
    const first = firstWord(hash, words);
    // The upper bits of a product spread over any number of slots.
    let slot = Math.floor(hash[1]! * this.#slots / 0x1_0000_0000);
    for (;; slot = slot + 1 === this.#slots ? 0 : slot + 1) {
      const at = slot * words;
      let isFree = table[at] === 0;
      let isSame = table[at] === first;
      for (let word = 1; word < words; word++) {
        isFree &&= table[at + word] === 0;
        isSame &&= table[at + word] === hash[word];
      }
      if (isSame) return ~at;
      if (isFree) return at;
    }
  }

  #put(hash: Uint32Array, at: number): void {
    this.#table[at] = firstWord(hash, this.#words);
    for (let word = 1; word < this.#words; word++) this.#table[at + word] = hash[word]!;
  }

  #grow(): void {
    const { length } = this.#table;
    const old = this.#table;
    this.#slots *= 2;
    this.#table = new Uint32Array(this.#slots * this.#words);
    for (let at = 0; at < length; at += this.#words) {
      const hash = old.subarray(at, at + this.#words);
      if (hash.some((word) => word !== 0)) this.#put(hash, this.#find(hash));
    }
  }
}

/** No hash is all zeros, which is how a free slot looks. */
function firstWord(hash: Uint32Array, words: number): number {
  for (let word = 0; word < words; word++) if (hash[word] !== 0) return hash[0]!;
  return 1;
}
