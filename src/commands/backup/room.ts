/**
 * Shares the allowed number of requests among a task's databases. In: how many requests there may be in all, and what
 * each database needs at the moment. Out: when the next database may begin, and the limit of each. Databases that began
 * earlier come first; the next one begins as soon as those before it leave requests unused, for example while the last
 * chunk and the manifest of one are being stored. Small databases wait for the store more than for CouchDB: while one
 * waits ("is away") it needs no request, and it has to claim one when it is back. The same is true of a database of any
 * size that waits for a cluster's nodes.
 */
import { orAborted } from "../../abort.ts";

/** How many databases may be under way for each request: while one is being written, it needs no request. */
const DATABASES_A_REQUEST = 2;
/** The same for small ones: each waits for six answers of a store in turn, which may be some 40 ms away. */
const SMALL_A_REQUEST = 8;
/** How many small ones may be under way in all. */
const MOST_SMALL = 32;

/** A database's share of the requests, and what it reports back. */
export interface Place {
  /** Whether it was known to be small when it began. */
  readonly isSmall: boolean;
  /** How many requests it may have in flight now. */
  readonly limit: number;
  /** Fires where no claim is admitted any more. */
  readonly closed: AbortSignal;
  /** How many it needs from now on; none: only writing is left. Of one that is done that changes nothing. */
  needs(requests: number): void;
  /** It waits for the store, and will need one request when it is back. A large one keeps the room for that. */
  away(): void;
  /**
   * It waits for CouchDB's own nodes, for minutes maybe. When it is back, it needs one request and has to claim it. In
   * the meantime small databases may use all of its room, as they are done soon. Large ones keep one request free for
   * it; for all small ones that wait like this they keep one together. A large one that comes back gets what the
   * databases that began in the meantime leave.
   */
  idle(): void;
  /**
   * The same as `needs`; one that has needed none waits until there is room for it.
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
  /** Whether it waits for the store or for nodes, and comes back. */
  isAway: boolean;
  /** Whether it has waited for nodes. Those before a large one leave it a request; small ones take turns. */
  isLate: boolean;
  /** What each of them counts. */
  weight: () => number;
  /** Its claim, until it is admitted. */
  claim?: PromiseWithResolvers<void> | undefined;
}

/** How requests are counted. */
interface Counting {
  /** Whether for a small database. */
  isSmall: boolean;
  /** Whether more than one request counts of small ones that take turns, where they make more now. @default true */
  withTurns?: boolean | undefined;
}

/** Room for a number of requests. */
export class Room {
  readonly #limit: () => number;
  readonly #isShared: boolean;
  readonly #small: () => number;
  readonly #signal: AbortSignal;
  /** In the order of their beginnings. */
  readonly #taken: Set<Taken> = new Set();
  readonly #closed = new AbortController();
  #wake: (() => void) | undefined;

  /** @param limit How many requests there may be now. */
  constructor(limit: () => number, { isShared, small, signal }: RoomOptions) {
    this.#limit = limit;
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
    const one: Taken = { isSmall, needs: 0, isAway: false, isLate: false, weight };
    while (
      this.#isClaimed || !this.#hasPlace(isSmall) || !this.#hasRoom((needs ?? 1) * weight(), { isSmall })
    ) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    let hasLeft = false;
    const set = (requests: number, isAway = false) => {
      // Where it has failed, work of it that is still under way must not take up room again.
      if (hasLeft) return;
      // Other databases may have begun because it needed less: it moves behind them, and takes what they leave.
      if (one.isLate && !isSmall && requests > one.needs) this.#taken.delete(one);
      one.needs = Math.max(0, requests);
      one.isAway = isAway;
      this.#taken.add(one);
      this.#change();
    };
    const claim = async (requests: number) => {
      this.#signal.throwIfAborted();
      if (!hasLeft && one.needs === 0 && !this.#hasRoomAgain(one)) {
        one.claim ??= Promise.withResolvers();
        // Counted as away, so that large databases leave it a request even where it had said that it needs none.
        one.isAway = true;
        await orAborted(one.claim.promise, this.#signal);
      }
      // Where it has failed, work of it that is still under way makes no more requests.
      if (hasLeft) throw new Error("The database is done");
      set(requests);
    };
    set(needs ?? this.#requests);
    const limitOf = () => this.#limitOf(one);
    return {
      isSmall,
      get limit() {
        return limitOf();
      },
      closed: this.#signal,
      needs: (requests) => set(requests),
      away: () => isSmall ? set(0, true) : set(1),
      idle: () => {
        one.isLate = true;
        set(0, true);
      },
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

  /** Whether anybody waits to come back. */
  get #isClaimed(): boolean {
    return this.#taken.values().some(({ claim }) => claim !== undefined);
  }

  /** Those that are back come before those that are to begin. */
  #change(): void {
    for (const one of this.#taken) {
      if (one.claim === undefined || !this.#hasRoomAgain(one)) continue;
      const { claim } = one;
      // One request for now; `claim` then sets what it needs.
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
   * Whether one that has needed none may make a request: where those that make any leave room for it, and a large one
   * also where small ones that are away will need theirs. Beside large ones alone it goes on in any case: they leave it
   * a request, and where fewer are allowed meanwhile none is to be held up until their end.
   */
  #hasRoomAgain(one: Taken): boolean {
    const others = [...this.#taken].filter((other) => other !== one);
    const small = this.#needsOf(others.filter(({ isSmall }) => isSmall), one);
    if (small === 0) return true;
    let rest = this.#requests - one.weight() - small;
    for (const other of others) {
      // Its requests in flight may be from before small databases took turns.
      if (!other.isSmall) rest -= Math.min(other.needs, this.#limitOf(other, { withTurns: false }));
    }
    // Fractions of a request do not add up to the whole.
    return rest > -1e-9;
  }

  /** One that is under way is not stopped by those before it that need more than they said. */
  #limitOf(one: Taken, { withTurns }: { withTurns?: boolean } = {}): number {
    const { isSmall } = one;
    return Math.max(1, Math.floor(this.#rest(one, { isSmall, withTurns }) / one.weight()));
  }

  /**
   * What those before a place leave, and what large ones leave that were away for so long that they have come after it;
   * before one that is to come: all of them.
   */
  #rest(place: Taken | undefined, counting: Counting): number {
    const all = [...this.#taken];
    const at = place === undefined || !this.#taken.has(place) ? all.length : all.indexOf(place);
    const behind = counting.isSmall ? 0 : all.slice(at + 1).filter((one) => one.isLate && !one.isSmall).length;
    return this.#requests - this.#needsOf(all.slice(0, at), counting) - behind;
  }

  /**
   * How many requests some need, as another one counts them. One that is away is counted by small ones as none, for
   * they are done soon; by large ones as one, as these would have to make room when it comes back. But small ones that
   * have waited for nodes take turns, at one request: where a cluster lags they may be many, and large ones would not
   * begin.
   */
  #needsOf(some: readonly Taken[], { isSmall, withTurns = true }: Counting): number {
    let needs = 0;
    let turns = 0;
    let least = 0;
    for (const one of some) {
      const own = Math.min(one.needs * one.weight(), this.#requests);
      if (isSmall) needs += own;
      else if (one.isLate && one.isSmall) {
        if (withTurns) turns += own;
        if (one.isAway || own > 0) least = one.weight();
      } else needs += one.isAway ? one.weight() : own;
    }
    return needs + Math.max(turns, least);
  }
}
