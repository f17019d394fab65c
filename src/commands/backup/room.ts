/**
 * Shares the allowed number of requests among a task's databases. In: how many requests there may be in all, and what
 * each database needs at the moment. Out: when the next database may begin, and the limit of each. Databases that began
 * earlier come first; the next one begins as soon as those before it leave requests unused, for example while the last
 * chunk and the manifest of one are being stored. Small ones wait for the store more than for CouchDB: one that is away
 * needs no request, and has to claim one when it is back.
 */
import { orAborted } from "../../abort.ts";

/** So many databases are begun and not finished, for each request: one that needs no request is being written. */
const DATABASES_A_REQUEST = 2;
/** The same of small ones: six answers of a store come one after the other, and each may be some 40 ms away. */
const SMALL_A_REQUEST = 8;
/** And in all. */
const MOST_SMALL = 32;

/** A database's share of the requests, and what it reports back. */
export interface Place {
  /** Whether it was known to be small when it began. */
  readonly isSmall: boolean;
  /** How many requests it may have in flight now. */
  readonly limit: number;
  /** How many it needs from now on; none: only writing is left. Of one that is done that changes nothing. */
  needs(requests: number): void;
  /** It waits for the store, and will need one request when it is back. A large one keeps the room for that. */
  away(): void;
  /**
   * The same as `needs`; a small one that has needed none waits until there is room for it.
   *
   * @throws The reason of the room's signal; what the room was closed with; an error where the database is done.
   */
  claim(requests: number): Promise<void>;
  /** Claims a request where it is away. @throws As `claim` */
  back(): Promise<void>;
  /** It is done. */
  leave(): void;
}

/** What a room is like. */
export interface RoomOptions {
  /** Whether a database may begin before the one before it is done. */
  isShared: boolean;
  /** How many requests there may be where all are of small databases. @default as many as of others */
  small?: (() => number) | undefined;
  /** Ends the waiting of those that are back. @default nothing does */
  signal?: AbortSignal | undefined;
}

/** A database in the room. */
interface Taken {
  isSmall: boolean;
  /** How many requests it needs. */
  needs: number;
  /** Whether it waits for the store, and comes back. */
  isAway: boolean;
  /** What each of them counts. */
  weight: () => number;
  /** Its claim, until it is admitted. */
  claim?: PromiseWithResolvers<void> | undefined;
}

/** Room for a number of requests. */
export class Room {
  readonly #limit: () => number;
  readonly #isShared: boolean;
  readonly #small: () => number;
  readonly #signal: AbortSignal | undefined;
  /** In the order of their beginnings. */
  readonly #taken: Set<Taken> = new Set();
  readonly #closed = new AbortController();
  #wake: (() => void) | undefined;

  /**
   * @param requests How many there may be, now where it is a function.
   */
  constructor(requests: number | (() => number), { isShared, small, signal }: RoomOptions) {
    this.#limit = typeof requests === "number" ? () => requests : requests;
    this.#isShared = isShared;
    this.#small = small ?? this.#limit;
    this.#signal = signal === undefined ? this.#closed.signal : AbortSignal.any([signal, this.#closed.signal]);
  }

  get #requests(): number {
    return this.#limit();
  }

  /** Nobody that comes back makes a request any more. @param reason What their claims are refused with. */
  close(reason: unknown): void {
    this.#closed.abort(reason);
  }

  /**
   * Waits until there is room for one more database.
   *
   * @param needs What it needs, as far as that is known: where it is not, no other begins until it is.
   * @param options.isSmall Whether its requests are those of a small database.
   */
  async enter(needs?: number, { isSmall = false }: { isSmall?: boolean } = {}): Promise<Place> {
    const weight = isSmall ? () => this.#requests / Math.max(this.#small(), this.#requests) : () => 1;
    const one: Taken = { isSmall, needs: 0, isAway: false, weight };
    while (!this.#hasPlace(isSmall) || !this.#hasRoom((needs ?? 1) * weight(), { isSmall })) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const rest = () => Math.floor(this.#rest(one, { isSmall }) / weight());
    let hasLeft = false;
    const set = (requests: number, isAway = false) => {
      // What of it is still under way when it has failed takes no room for ever.
      if (hasLeft) return;
      one.needs = Math.max(0, requests);
      one.isAway = isAway;
      this.#taken.add(one);
      this.#change();
    };
    const claim = async (requests: number) => {
      this.#signal?.throwIfAborted();
      if (isSmall && !hasLeft && one.needs === 0 && !this.#hasRoomAgain(one)) {
        one.claim ??= Promise.withResolvers();
        await orAborted(one.claim.promise, this.#signal);
      }
      // What of it is still under way when it has failed asks nothing more.
      if (hasLeft) throw new Error("The database is done");
      set(requests);
    };
    set(needs ?? this.#requests);
    return {
      isSmall,
      get limit() {
        // One that is under way is not stopped by those before it that need more than they said.
        return Math.max(1, rest());
      },
      needs: (requests) => set(requests),
      away: () => isSmall ? set(0, true) : set(1),
      claim,
      back: async () => {
        if (one.isAway) await claim(1);
      },
      leave: () => {
        hasLeft = true;
        this.#taken.delete(one);
        one.claim?.resolve();
        this.#change();
      },
    };
  }

  /** Those that are back come before those that are to begin. */
  #change(): void {
    for (const one of this.#taken) {
      if (one.claim === undefined || !this.#hasRoomAgain(one)) continue;
      const { claim } = one;
      // What it needs it says in a moment.
      Object.assign(one, { needs: 1, isAway: false, claim: undefined });
      claim.resolve();
    }
    this.#wake?.();
  }

  #hasPlace(isSmall: boolean): boolean {
    if (!this.#isShared) return this.#taken.size === 0;
    const alike = [...this.#taken].filter((one) => one.isSmall === isSmall).length;
    const mostSmall = Math.min(MOST_SMALL, SMALL_A_REQUEST * Math.max(this.#small(), this.#requests));
    return alike < (isSmall ? mostSmall : DATABASES_A_REQUEST * this.#requests);
  }

  #hasRoom(requests: number, { isSmall }: Pick<Taken, "isSmall">): boolean {
    return this.#rest(undefined, { isSmall }) >= Math.min(requests, this.#requests);
  }

  /**
   * Whether a small one that has needed none may make a request: where all others leave room for it; and where no other
   * small one makes any, as no large one is to hold it up until its own end.
   */
  #hasRoomAgain(one: Taken): boolean {
    let rest = this.#requests - one.weight();
    let isOnly = true;
    for (const other of this.#taken) {
      if (other === one) continue;
      rest -= Math.min(other.needs * other.weight(), this.#requests);
      if (other.isSmall && other.needs > 0) isOnly = false;
    }
    // Fractions of a request do not add up to the whole.
    return isOnly || rest > -1e-9;
  }

  /**
   * What those before a place leave; before one that is to come: all of them. One that is away is counted by small ones
   * as none, for they are done soon; by others as one, as these would have to make room when it comes back.
   */
  #rest(place: Taken | undefined, { isSmall }: Pick<Taken, "isSmall">): number {
    let rest = this.#requests;
    for (const one of this.#taken) {
      if (one === place) break;
      const needs = one.isAway && !isSmall ? 1 : one.needs;
      rest -= Math.min(needs * one.weight(), this.#requests);
    }
    return rest;
  }
}
