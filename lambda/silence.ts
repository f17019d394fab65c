/**
 * Which servers have left requests without an answer: all that can be said where the time of an invocation ends during
 * one. In: the fetches of a session, by the servers that they are for. Out: a clause.
 */
import type { Fetch } from "../src/trusted_fetch.ts";

/** Requests take so long also where all is well. */
const LEAST_MS = 2_000;
/** What refuses a request for now, and is asked again. */
const BUSY = new Set([429, 500, 502, 503, 504]);

/** What servers are called; others by the key of the config. */
const NAMES: Record<string, string> = { database: "CouchDB", bucket: "S3", aws: "AWS", config: "AWS" };

/** What is known of a server. */
interface Server {
  /** Requests that wait for an answer. */
  waiting: number;
  /** Since when no answer of any use has come, by the clock; undefined where none is missed. */
  sinceMs: number | undefined;
  /** What came instead. */
  said: string | undefined;
}

/** Sees requests and their answers. */
export class Silence {
  readonly #servers = new Map<string, Server>();
  readonly #nowMs: () => number;

  /** @param nowMs A clock in milliseconds. @default performance.now() */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** The same fetch, looked at. `server` is the config's word for it. */
  watch(fetch: Fetch, server: string): Fetch {
    return async (url, init) => {
      const seen = this.#serverOf(`${NAMES[server] ?? server} at ${new URL(url).host}`);
      seen.waiting++;
      seen.sinceMs ??= this.#nowMs();
      try {
        const response = await fetch(url, init);
        seen.said = BUSY.has(response.status) ? `answers ${response.status}` : undefined;
        if (seen.said === undefined) seen.sinceMs = seen.waiting > 1 ? this.#nowMs() : undefined;
        return response;
      } catch (error) {
        if (init?.signal?.aborted !== true) seen.said = "cannot be reached";
        throw error;
      } finally {
        seen.waiting--;
      }
    };
  }

  /** What is waited for now: `CouchDB at 10.0.0.6:5984 has not answered for 14 s`; undefined where nothing is. */
  describe(): string | undefined {
    const nowMs = this.#nowMs();
    const clauses = [...this.#servers].flatMap(([name, { waiting, sinceMs = nowMs, said }]) => {
      if (nowMs - sinceMs < LEAST_MS || (waiting === 0 && said === undefined)) return [];
      const seconds = Math.floor((nowMs - sinceMs) / 1000);
      return said === undefined ? `${name} has not answered for ${seconds} s` : `${name} ${said}, for ${seconds} s now`;
    });
    return clauses.length === 0 ? undefined : clauses.join(", ");
  }

  /** What was before is not held against the next invocation: the process was frozen meanwhile. */
  forget(): void {
    this.#servers.clear();
  }

  #serverOf(name: string): Server {
    const known = this.#servers.get(name) ?? { waiting: 0, sinceMs: undefined, said: undefined };
    this.#servers.set(name, known);
    return known;
  }
}
