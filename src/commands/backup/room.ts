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
  /** How many it needs from now on; none: only writing is left. Of one that is done that changes nothing. */
  needs(requests: number): void;
  /** It is done. */
  leave(): void;
}

/** What a room is like. */
export interface RoomOptions {
  /** Whether a database may begin before the one before it is done. */
  isShared: boolean;
  /** How many requests there may be where all are of small databases. @default as many as of others */
  small?: (() => number) | undefined;
}

/** A database in the room. */
interface Taken {
  /** How many requests it needs. */
  needs: number;
  /** What each of them counts. */
  weight: () => number;
}

/** Room for a number of requests. */
export class Room {
  readonly #limit: () => number;
  readonly #isShared: boolean;
  readonly #small: () => number;
  /** In the order of their beginnings. */
  readonly #taken: Set<Taken> = new Set();
  #wake: (() => void) | undefined;

  /**
   * @param requests How many there may be, now where it is a function.
   */
  constructor(requests: number | (() => number), { isShared, small }: RoomOptions) {
    this.#limit = typeof requests === "number" ? () => requests : requests;
    this.#isShared = isShared;
    this.#small = small ?? this.#limit;
  }

  get #requests(): number {
    return this.#limit();
  }

  /**
   * Waits until there is room for one more database.
   *
   * @param needs What it needs, as far as that is known: where it is not, no other begins until it is.
   * @param options.isSmall Whether its requests are those of a small database.
   */
  async enter(needs?: number, { isSmall = false }: { isSmall?: boolean } = {}): Promise<Place> {
    const weight = isSmall ? () => this.#requests / Math.max(this.#small(), this.#requests) : () => 1;
    const one: Taken = { needs: 0, weight };
    while (!this.#hasPlace(weight()) || !this.#hasRoom((needs ?? 1) * weight())) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const rest = () => Math.floor(this.#rest(one) / weight());
    let hasLeft = false;
    const set = (requests: number) => {
      // What of it is still under way when it has failed takes no room for ever.
      if (hasLeft) return;
      one.needs = Math.max(0, requests);
      this.#taken.add(one);
      this.#wake?.();
    };
    set(needs ?? this.#requests);
    return {
      get limit() {
        // One that is under way is not stopped by those before it that need more than they said.
        return Math.max(1, rest());
      },
      needs: set,
      leave: () => {
        hasLeft = true;
        this.#taken.delete(one);
        this.#wake?.();
      },
    };
  }

  #hasPlace(weight: number): boolean {
    if (!this.#isShared) return this.#taken.size === 0;
    const places = [...this.#taken].reduce((sum, one) => sum + one.weight(), 0);
    return places + weight <= DATABASES_A_REQUEST * this.#requests;
  }

  #hasRoom(requests: number): boolean {
    return this.#rest(undefined) >= Math.min(requests, this.#requests);
  }

  /** What those before a place leave; before one that is to come: all of them. */
  #rest(place: Taken | undefined): number {
    let rest = this.#requests;
    for (const one of this.#taken) {
      if (one === place) break;
      rest -= Math.min(one.needs * one.weight(), this.#requests);
    }
    return rest;
  }
}
