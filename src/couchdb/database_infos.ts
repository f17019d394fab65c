/**
 * The properties of many databases by few requests (`_dbs_info`). In: the names of databases, as they are wanted, and
 * which come next. Out: what `GET /{db}` says of each. Whoever asks while an answer is on its way is asked for together
 * with the others that do; and those that come next are asked for along with them, as many as are wanted soon. Where
 * CouchDB does not take the request, from this login or at all, each database is asked for by itself.
 */
import { orAborted } from "../abort.ts";
import { CouchError } from "../errors.ts";
import { type CallOptions, type CouchClient, MOST_NAMES } from "./client.ts";
import type { DatabaseInfo } from "./info.ts";

/** Databases that come next are asked for along with others: so many at most, and at first. */
const MOST_AHEAD = 32;
const FIRST_AHEAD = 4;
/** What was asked for ahead is as good as an answer of now for so long. */
const FRESH_MS = 2000;

/** What CouchDB has refused to answer for this login, or does not know: it is not asked again. */
const REFUSED = new Set([400, 403, 404, 405, 501]);

/** What is asked with. */
export interface DatabaseInfosOptions {
  /** Ends all requests. */
  signal: AbortSignal;
  /** How long an answer is as good as one of now. @default two seconds */
  freshMs?: number | undefined;
  /** Milliseconds. @default the runtime's clock */
  now?: (() => number) | undefined;
}

interface Waiting {
  resolve: (info: DatabaseInfo | undefined) => void;
  reject: (error: unknown) => void;
}

/** Asks for databases together. */
export class DatabaseInfos {
  readonly #couch: CouchClient;
  readonly #signal: AbortSignal;
  readonly #now: () => number;
  readonly #freshMs: number;
  #isRefused = false;
  #isAsking = false;
  readonly #waiting = new Map<string, Waiting[]>();
  /** Whether one of them is at its beginning, so that others come next. */
  #withNext = false;
  /** The names that are wanted one after the other, their places among them, and the first that was not asked for. */
  #names: readonly string[] = [];
  #places: ReadonlyMap<string, number> = new Map();
  #at = 0;
  /** How many of them are asked for at a time; more while they are wanted in time. */
  #ahead = FIRST_AHEAD;
  /** What came along. */
  readonly #early = new Map<string, { info: DatabaseInfo; askedAtMs: number }>();

  constructor(couch: CouchClient, { signal, freshMs = FRESH_MS, now = () => performance.now() }: DatabaseInfosOptions) {
    this.#couch = couch;
    this.#signal = signal;
    this.#freshMs = freshMs;
    this.#now = now;
  }

  /** Whether what CouchDB was asked for then is as good as an answer of now. */
  isFresh(askedAtMs: number): boolean {
    return this.#now() - askedAtMs <= this.#freshMs;
  }

  /** Says which databases are wanted one after the other. */
  expect(databases: readonly string[]): void {
    this.#names = databases;
    this.#places = new Map(databases.map((name, index) => [name, index]));
    this.#at = 0;
    this.#early.clear();
    this.#ahead = FIRST_AHEAD;
  }

  /**
   * The properties of a database as they were a moment ago.
   *
   * @returns Them, and when CouchDB was asked for them.
   * @throws CouchError
   */
  async first(database: string, options: CallOptions = {}): Promise<{ info: DatabaseInfo; askedAtMs: number }> {
    this.#at = Math.max(this.#at, (this.#places.get(database) ?? -1) + 1);
    const early = this.#early.get(database);
    if (early !== undefined) {
      this.#early.delete(database);
      if (this.isFresh(early.askedAtMs)) return early;
      // Large databases: what comes after them is asked for in vain.
      this.#early.clear();
      this.#ahead = 0;
    }
    const askedAtMs = this.#now();
    return { info: await this.#ask(database, options, { withNext: true }), askedAtMs };
  }

  /** What has come along with others of a database that is wanted next; undefined where nothing has. */
  early(database: string): DatabaseInfo | undefined {
    const early = this.#early.get(database);
    return early !== undefined && this.isFresh(early.askedAtMs) ? early.info : undefined;
  }

  /** The properties of a database as they are now. @throws CouchError */
  async now(database: string, options: CallOptions = {}): Promise<DatabaseInfo> {
    return await this.#ask(database, options, { withNext: false });
  }

  async #ask(database: string, options: CallOptions, { withNext }: { withNext: boolean }): Promise<DatabaseInfo> {
    if (this.#isRefused) return await this.#couch.databaseInfo(database, options);
    this.#withNext ||= withNext;
    const answer = new Promise<DatabaseInfo | undefined>((resolve, reject) => {
      const waiting = this.#waiting.get(database) ?? [];
      waiting.push({ resolve, reject });
      this.#waiting.set(database, waiting);
    });
    // An abort of whoever asks ends its wait alone.
    answer.catch(() => {});
    this.#begin();
    // What lacks there is told best by the database itself.
    return await orAborted(answer, options.signal) ?? await this.#couch.databaseInfo(database, options);
  }

  #begin(): void {
    if (this.#isAsking || this.#waiting.size === 0) return;
    this.#isAsking = true;
    // After what is about to ask, too.
    queueMicrotask(() =>
      void this.#request().finally(() => {
        this.#isAsking = false;
        this.#begin();
      })
    );
  }

  /** One request for those that wait, and for what comes next. Never throws. */
  async #request(): Promise<void> {
    const wanted = new Map([...this.#waiting].slice(0, MOST_NAMES));
    for (const name of wanted.keys()) this.#waiting.delete(name);
    const ahead = this.#withNext ? this.#takeNext(MOST_NAMES - wanted.size, wanted) : [];
    this.#withNext = false;
    const tell = (infoOf: (name: string) => DatabaseInfo | undefined) => {
      for (const [name, waiting] of wanted) for (const { resolve } of waiting) resolve(infoOf(name));
    };
    // A single one is asked for in the plain way, which every login may.
    if (wanted.size + ahead.length === 1) return tell(() => undefined);
    const askedAtMs = this.#now();
    try {
      const infos = await this.#couch.databaseInfos([...wanted.keys(), ...ahead], { signal: this.#signal });
      for (const name of ahead) {
        const info = infos.get(name);
        if (info !== undefined) this.#early.set(name, { info, askedAtMs });
      }
      tell((name) => infos.get(name));
    } catch (error) {
      if (this.#signal.aborted || !(error instanceof CouchError) || error.facts.status === 401) {
        for (const waiting of wanted.values()) for (const { reject } of waiting) reject(error);
        return;
      }
      this.#isRefused ||= REFUSED.has(error.facts.status ?? 0);
      // One database may be the reason: each tells its own, with patience.
      tell(() => undefined);
    }
  }

  #takeNext(most: number, wanted: ReadonlyMap<string, unknown>): string[] {
    const names: string[] = [];
    // What comes along is used up soon: then more of it comes the next time.
    if (this.#early.size === 0) this.#ahead = Math.min(Math.max(1, 2 * this.#ahead), MOST_AHEAD);
    while (this.#at < this.#names.length && names.length < Math.min(most, this.#ahead)) {
      const name = this.#names[this.#at++]!;
      if (!wanted.has(name)) names.push(name);
    }
    return names;
  }
}
