/**
 * Runs work of different sizes at once: a few large pieces, or several small ones in the place of each. In: the pieces
 * in their order, and the share of the room that each takes; a piece may find out after it has begun that it needs a
 * larger share. Out: the limit for `forEachParallel`, which waits for a running piece to end where there is no room for
 * the next.
 */
import { orAborted } from "../abort.ts";
import type { ParallelOptions } from "../parallel.ts";

/** What a piece of work that has begun has of the room. */
export interface Place {
  /** Its share; 0 while it waits for a larger one. */
  readonly share: number;
  /**
   * Takes a larger share in place of its own; returns at once if it has as much already. Where there is no room, it
   * gives its own share back, so that two never wait for each other, and gets its turn before all that have not begun.
   * One claim at a time.
   *
   * @throws The reason of the signal: the piece must end then, as it may have given its share back.
   */
  claim(share: number, options: { signal: AbortSignal }): Promise<void>;
}

/** What a piece of work that has begun has at the moment. */
interface Taken {
  share: number;
}

/** What one waits for. */
interface Claim {
  share: number;
  admit: () => void;
}

/** Room for pieces of work, which begin in the order in which they are given. */
export class Shares<T> {
  readonly #items: readonly T[];
  readonly #room: number;
  readonly #shareOf: (item: T) => number;
  #begun = 0;
  #taken = 0;
  /** In the order of their claims. */
  readonly #waiting: Map<Taken, Claim> = new Map();

  /**
   * @param options.room The most that the shares of all running pieces may be together.
   * @param options.shareOf The share that an item takes when it begins. More than the room counts as all of it.
   */
  constructor(items: readonly T[], options: { room: number; shareOf: (item: T) => number }) {
    this.#items = items;
    this.#room = options.room;
    this.#shareOf = options.shareOf;
  }

  /** For `forEachParallel` over the same items. */
  get limit(): ParallelOptions["limit"] {
    return () => this.#mayBegin() ? Infinity : 0;
  }

  #mayBegin(): boolean {
    if (this.#begun === this.#items.length) return true;
    return this.#hasRoom(this.#shareOf(this.#items[this.#begun]!));
  }

  /** Whether there is room for one that nobody waits before. */
  #hasRoom(share: number): boolean {
    return this.#waiting.size === 0 && this.#fits(share);
  }

  #fits(share: number): boolean {
    return this.#taken + Math.min(share, this.#room) <= this.#room;
  }

  /**
   * Does the work on the next one. What was left when the limit was asked may be claimed by others a moment later: then
   * it waits after them.
   *
   * @param options.signal Ends that waiting. @default nothing does
   * @throws What the work throws; the reason of the signal.
   */
  async within<R>(
    item: T,
    work: (place: Place) => Promise<R>,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<R> {
    const one: Taken = { share: 0 };
    const share = this.#shareOf(item);
    this.#begun++;
    const place: Place = {
      get share() {
        return one.share;
      },
      claim: (share, options) => this.#claim(one, share, options.signal),
    };
    try {
      if (this.#hasRoom(share)) this.#setShare(one, share);
      else await this.#claim(one, share, signal);
      return await work(place);
    } finally {
      this.#waiting.delete(one);
      this.#setShare(one, 0);
      this.#admit();
    }
  }

  async #claim(one: Taken, share: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (Math.min(share, this.#room) <= one.share) return;
    const { promise: admitted, resolve: admit } = Promise.withResolvers<void>();
    this.#setShare(one, 0);
    this.#waiting.set(one, { share, admit });
    this.#admit();
    try {
      await orAborted(admitted, signal);
    } finally {
      // Those after it may need less.
      if (this.#waiting.delete(one)) this.#admit();
    }
  }

  /** Nobody overtakes the first: small claims would keep a large one waiting for ever. */
  #admit(): void {
    for (const [one, { share, admit }] of this.#waiting) {
      if (!this.#fits(share)) return;
      this.#waiting.delete(one);
      this.#setShare(one, share);
      admit();
    }
  }

  #setShare(one: Taken, share: number): void {
    this.#taken -= one.share;
    one.share = Math.min(share, this.#room);
    this.#taken += one.share;
  }
}
