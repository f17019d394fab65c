/**
 * Whether a database's listing shows all there is. In: what CouchDB counts, and what was listed. Out: the numbers, and where
 * they differ, why the backup cannot be called complete. Each range of a clustered database is read from one copy, drawn
 * anew for each request; so the counts are asked for several times, and the largest one counts.
 */
import type { CouchClient, DatabaseInfo } from "../../couchdb/client.ts";
import { EXIT, ProgramError } from "../../errors.ts";

/** More questions than these at once tell nothing more. */
const MOST_QUESTIONS = 48;

/** How long what falls short may take to come right. */
export interface Patience {
  /** In all. */
  patienceMs: number;
  /** The first wait; each further one is longer by half. */
  firstWaitMs: number;
}

/** In earnest: a node that comes back has caught up with most things by then. */
export const COUNT_PATIENCE: Patience = { patienceMs: 180_000, firstWaitMs: 2_000 };

/** CouchDB shows less of a database than it says there is. What was stored so far can be resumed. */
export class IncompleteError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** What CouchDB counts of one database. */
export class DocumentCounts {
  /** The most documents that it has counted so far, deleted ones too. Only a purge makes it fall. */
  expected: number;
  /** The most live documents at the last look. */
  live: number;
  /** What the last look showed beside the numbers. */
  info: DatabaseInfo;

  readonly #couch: CouchClient;
  readonly #database: string;
  readonly #questions: number;

  /** @param info What a first look has shown. */
  constructor(couch: CouchClient, database: string, info: DatabaseInfo) {
    this.#couch = couch;
    this.#database = database;
    this.info = info;
    this.live = info.doc_count;
    this.expected = info.doc_count + info.doc_del_count;
    const { n, q } = info;
    this.#questions = n === null || n === 1 ? 1 : Math.min(n * (q ?? 1), MOST_QUESTIONS);
  }

  /** Whether each range has several copies, which may differ. */
  get hasCopies(): boolean {
    return this.#questions > 1;
  }

  /** Asks CouchDB. */
  async look({ signal }: { signal: AbortSignal }): Promise<void> {
    const purges = purgesOf(this.info);
    const ask = () => this.#couch.databaseInfo(this.#database, { signal });
    const infos = await Promise.all(Array.from({ length: this.#questions }, ask));
    const latest = infos.reduce((a, b) => (purgesOf(b) ?? 0) > (purgesOf(a) ?? 0) ? b : a);
    const total = Math.max(...infos.map(({ doc_count, doc_del_count }) => doc_count + doc_del_count));
    const isPurged = purgesOf(latest) !== purges;
    this.info = latest;
    this.live = Math.max(...infos.map(({ doc_count }) => doc_count));
    this.expected = isPurged ? total : Math.max(this.expected, total);
  }
}

/** How many purges a database has seen; its text differs between copies, the number before the dash does not. */
export function purgesOf({ purge_seq }: Pick<DatabaseInfo, "purge_seq">): number | undefined {
  return purge_seq === null ? undefined : Number.parseInt(purge_seq, 10);
}
