/**
 * Keeps garbage from piling up while V8 collects. In its marking phase V8 frees nothing, not even young objects, and it
 * hardly counts buffers. Code that reads megabytes during that time leaves megabytes of garbage: on a busy machine 40
 * MB and more in half a second. So such work rests for some milliseconds when the memory in use suddenly grows, until
 * that is collected. In: how many bytes were processed. Out: a promise to wait for.
 */
import { setImmediate as turn, setTimeout as wait } from "node:timers/promises";
import { getHeapStatistics } from "node:v8";

/** How often memory is checked. */
const LOOK_EVERY_BYTES = 1 << 18;
/** Growth up to this is no cause to rest. */
const ROOM_BYTES = 8 << 20;
const REST_MS = 5;
/** Memory that is not freed within this time is in use, not garbage. */
const LONGEST_REST_MS = 200;
/**
 * The same for chunks on their way from CouchDB, which leave little garbage and grow by what is in use: rests of 200 ms
 * cost a backup a tenth of its time, and no memory is lower for them. Where all of a database is one request, they keep
 * a million ids below 120 MB (114 and not 143 without any rest).
 */
export const LONGEST_REST_OF_CHUNK_MS = 60;
/** The largest part of the time that may be spent resting. */
const REST_SHARE = 0.15;

/** What a pace is told by; tests have their own. */
export interface PaceOptions {
  /** Bytes in use, garbage that is not collected included. @default V8's heap and what is outside of it */
  used?: () => number;
  /** @default waits */
  rest?: (ms: number) => Promise<unknown>;
  /** In milliseconds. @default the process's clock */
  now?: () => number;
}

/** Follows the memory in use. There is one heap, so one of these serves all who read. */
export class MemoryPace {
  readonly #used: () => number;
  readonly #rest: (ms: number) => Promise<unknown>;
  readonly #now: () => number;
  readonly #beganMs: number;
  /** The lowest that was seen since something was taken for being in use. */
  #floor = Infinity;
  #passed = 0;
  #restedMs = 0;
  /** While somebody rests, all do. */
  #pause: Promise<void> | undefined;

  constructor({ used = bytesInUse, rest = wait, now = () => performance.now() }: PaceOptions = {}) {
    this.#used = used;
    this.#rest = rest;
    this.#now = now;
    this.#beganMs = now();
  }

  /** Milliseconds that were rested. */
  get restedMs(): number {
    return this.#restedMs;
  }

  /**
   * Counts processed bytes.
   *
   * @param longestMs How long to rest at the most, in milliseconds.
   * @returns A promise to wait for when memory must be checked; else nothing.
   */
  after(bytes: number, longestMs: number = LONGEST_REST_MS): Promise<void> | undefined {
    if (this.#pause !== undefined) return this.#pause;
    this.#passed += bytes;
    if (this.#passed < LOOK_EVERY_BYTES) return undefined;
    this.#passed = 0;
    if (!this.#isHigh()) return undefined;
    return this.#pause = this.#whileHigh(longestMs).finally(() => this.#pause = undefined);
  }

  async #whileHigh(longestMs: number): Promise<void> {
    // Within one turn of the event loop V8 frees few of the buffers that are garbage: what decompresses a small file to
    // hundreds of megabytes never leaves its turn by itself.
    await turn();
    if (!this.#isHigh()) return;
    for (let rested = 0; rested < longestMs; rested += REST_MS) {
      if (this.#restedMs > (this.#now() - this.#beganMs) * REST_SHARE) return;
      const beganMs = this.#now();
      await this.#rest(REST_MS);
      this.#restedMs += this.#now() - beganMs;
      if (!this.#isHigh()) return;
    }
    this.#floor = this.#used() - ROOM_BYTES / 2;
  }

  #isHigh(): boolean {
    const used = this.#used();
    this.#floor = Math.min(this.#floor, used);
    return used > this.#floor + ROOM_BYTES;
  }
}

/** Everything that is read, compressed or decompressed passes by it: there is one heap. */
export const MEMORY_PACE: MemoryPace = new MemoryPace();

/** Twenty times as quick as `process.memoryUsage()`, which asks the system, too. */
function bytesInUse(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}
