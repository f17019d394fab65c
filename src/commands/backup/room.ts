/**
 * Shares the allowed number of requests among a task's databases. In: how many requests there may be in all, and what
 * each database needs at the moment. Out: when the next database may begin, and the limit of each. Databases that began
 * earlier come first; the next one begins as soon as those before it leave requests unused, for example while the last
 * chunk and the manifest of one are being stored.
 */

/** So many databases are begun and not finished, for each request: one that needs no request is being written. */
const DATABASES_A_REQUEST = 2;

/** A database's share of the requests, and what it reports back. */
export interface Place {
  /** How many requests it may have in flight now. */
  readonly limit: number;
  /** How many it needs from now on; none: only writing is left. */
  needs(requests: number): void;
  /** It is done. */
  leave(): void;
}

/** Room for a number of requests. */
export class Room {
  readonly #limit: () => number;
  readonly #isShared: boolean;
  /** What each database needs, in the order of their beginnings. */
  readonly #needs: Map<object, number> = new Map();
  #wake: (() => void) | undefined;

  /**
   * @param requests How many there may be, now where it is a function.
   * @param options.isShared Whether a database may begin before the one before it is done.
   */
  constructor(requests: number | (() => number), { isShared }: { isShared: boolean }) {
    this.#limit = typeof requests === "number" ? () => requests : requests;
    this.#isShared = isShared;
  }

  get #requests(): number {
    return this.#limit();
  }

  get #mostPlaces(): number {
    return this.#isShared ? DATABASES_A_REQUEST * this.#requests : 1;
  }

  /**
   * Waits until there is room for one more database.
   *
   * @param needs What it needs, as far as that is known: where it is not, no other begins until it is.
   */
  async enter(needs?: number): Promise<Place> {
    const hasRoom = () => this.#rest(undefined) >= Math.min(needs ?? 1, this.#requests);
    while (this.#needs.size >= this.#mostPlaces || !hasRoom()) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const key = {};
    const rest = (place: object) => this.#rest(place);
    const set = (requests: number) => {
      this.#needs.set(key, Math.max(0, requests));
      this.#wake?.();
    };
    set(needs ?? this.#requests);
    return {
      get limit() {
        // One that is under way is not stopped by those before it that need more than they said.
        return Math.max(1, rest(key));
      },
      needs: set,
      leave: () => {
        this.#needs.delete(key);
        this.#wake?.();
      },
    };
  }

  /** What those before a place leave; before one that is to come: all of them. */
  #rest(place: object | undefined): number {
    let rest = this.#requests;
    for (const [key, needs] of this.#needs) {
      if (key === place) break;
      rest -= Math.min(needs, this.#requests);
    }
    return rest;
  }
}
