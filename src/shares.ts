/**
 * Work of different weights at once: so many large pieces, or more small ones in the place of each. In: the pieces in
 * their order, and what share of the room each takes. Out: the limit for `forEachParallel`, which waits until
 * one of those in hand has ended where there is no room for the next.
 */
import type { ParallelOptions } from "./parallel.ts";

/** Room for pieces of work, which begin in the order in which they are given. */
export class Shares<T> {
  readonly #items: readonly T[];
  readonly #room: number;
  readonly #shareOf: (item: T) => number;
  #begun = 0;
  #taken = 0;

  /** @param options.room What the shares of all that are in hand are together, at the most. */
  constructor(items: readonly T[], options: { room: number; shareOf: (item: T) => number }) {
    this.#items = items;
    this.#room = options.room;
    this.#shareOf = options.shareOf;
  }

  /** For `forEachParallel` over the same items. */
  get limit(): ParallelOptions["limit"] {
    return () => this.#hasRoom() ? Infinity : 0;
  }

  #hasRoom(): boolean {
    if (this.#begun === this.#items.length) return true;
    return this.#taken + this.#shareOf(this.#items[this.#begun]!) <= this.#room;
  }

  /** Does the work on the next one. */
  async within<R>(item: T, work: () => Promise<R>): Promise<R> {
    const share = this.#shareOf(item);
    this.#begun++;
    this.#taken += share;
    try {
      return await work();
    } finally {
      this.#taken -= share;
    }
  }
}
