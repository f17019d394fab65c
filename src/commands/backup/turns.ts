/**
 * Lets one database wait for CouchDB's nodes while other databases ask CouchDB. In: its place among them, and how long
 * to wait. Out: the wait, and then its turn for a request; and how much time it has lost by waiting for its turn. Not
 * for the waits between two attempts of one request: then CouchDB is to be spared, and not asked by others instead.
 */
import { orAborted, wait } from "../../abort.ts";
import type { Place } from "./room.ts";

/** What turns are made of. */
type TurnsPlace = Pick<Place, "idle" | "back" | "closed">;

/** The turns of one database. */
export class Turns {
  readonly #place: TurnsPlace;
  readonly #ends: { signal: AbortSignal; stop: AbortSignal };
  #lostMs = 0;

  /** @param ends What ends its pauses: `stop` too, as nothing of it is in flight meanwhile. */
  constructor(place: TurnsPlace, ends: { signal: AbortSignal; stop: AbortSignal }) {
    this.#place = place;
    this.#ends = ends;
  }

  /**
   * How long it has waited for its turn so far. This does not count as patience with CouchDB: several looks are needed,
   * as each may be answered from other copies, and in a busy task patience would otherwise end after the first one.
   */
  get lostMs(): number {
    return this.#lostMs;
  }

  /** Claims a request where it has none. @throws As `Place.claim` */
  async take(): Promise<void> {
    const sinceMs = performance.now();
    await this.#place.back();
    this.#lostMs += performance.now() - sinceMs;
  }

  /**
   * Waits, and then for its turn.
   *
   * @param signal Ends it beside the others.
   * @throws The reason of one of the signals; as `Place.claim`
   */
  async pause(ms: number, signal?: AbortSignal): Promise<void> {
    const { signal: end, stop } = this.#ends;
    const ends = AbortSignal.any([end, stop, this.#place.closed, ...signal === undefined ? [] : [signal]]);
    this.#place.idle();
    await wait(ms, ends);
    // A claim that is left behind may still be admitted: it is given up when the database is done, in a moment.
    await orAborted(this.take(), ends);
  }
}
