/**
 * What a database holds by the word of all its copies. `GET /{db}` counts one copy of each range, and one whose node
 * was away may lack what the others have: on three nodes, one of which was just back, a finished database was counted
 * as empty (3.5.0). In: what was counted, and whether that is enough. Out: the most that is counted, and why there may
 * be more.
 */
import { wait } from "../abort.ts";
import type { Log } from "../observe.ts";
import { CouchError } from "../errors.ts";
import { forEachParallel } from "../parallel.ts";
import type { CopyInfo, CouchClient } from "./client.ts";
import { CLUSTER_TIMES, type ClusterTimes, ClusterWatch } from "./cluster.ts";
import type { CallOptions } from "./connection.ts";
import type { DatabaseInfo } from "./info.ts";

/** More questions than these at once tell nothing more. */
const MOST_QUESTIONS = 48;
/** Copies that are asked at once: a database may have hundreds. */
const COPIES_AT_ONCE = 16;

/** What is counted of a database. */
export interface CopyCount {
  /** What CouchDB says of it where it counts the most documents, deleted ones too. */
  info: DatabaseInfo;
  /** Why there may be more, as a phrase: a node is not up to date. Undefined where every copy had its say. */
  lag: string | undefined;
}

/** How often a database is asked for so that each copy of each range may answer; 1 where each has a single one. */
export function questionsFor({ n, q }: Pick<DatabaseInfo, "n" | "q">): number {
  return n === null || n === 1 ? 1 : Math.min(n * (q ?? 1), MOST_QUESTIONS);
}

/** What all copies of a database hold together, each range by that of its copies which has the most. */
export interface CopiesSum {
  /** Deleted ones too. */
  documents: number;
  live: number;
}

/**
 * Asks each copy of each range by itself. `GET /{db}` takes the first answer for each range, nearly always that of the
 * node that was asked: where its copy was new and still empty, none of 300 documents was counted (3.5.0).
 *
 * @returns Undefined where the copies cannot be asked: the names of their files are unknown (before 3.3), the login may
 * not, no copy of a range answers, or ranges overlap, as they do while one is split.
 */
export async function sumCopies(
  couch: Pick<CouchClient, "shards" | "copyInfo">,
  database: string,
  { createdAt, signal }: CallOptions & { createdAt: string | null },
): Promise<CopiesSum | undefined> {
  if (createdAt === null) return undefined;
  try {
    const shards = await couch.shards(database, { signal });
    if (!areWhole([...shards.keys()])) return undefined;
    const ofRanges = [...shards].map(([range, nodes]) => ({ range, nodes, copies: new Array<CopyInfo>() }));
    const places = ofRanges.flatMap(({ range, nodes, copies }) => nodes.map((node) => ({ range, node, copies })));
    const ask = async ({ range, node, copies }: typeof places[number], signal: AbortSignal) => {
      const copy = await unlessFailed(couch.copyInfo(node, { database, range, createdAt }, { signal }));
      if (copy !== undefined) copies.push(copy);
    };
    await forEachParallel(() => places, ask, { limit: COPIES_AT_ONCE, signal });
    if (ofRanges.some(({ copies }) => copies.length === 0)) return undefined;
    // A copy that does not know of a purge yet counts what is gone.
    const latest = ofRanges.map(({ copies }) => {
      const most = Math.max(...copies.map(({ purges }) => purges));
      return copies.filter(({ purges }) => purges === most);
    });
    const sum = (count: (copy: CopyInfo) => number) =>
      latest.reduce((all, copies) => all + Math.max(...copies.map(count)), 0);
    return { documents: sum(({ live, deleted }) => live + deleted), live: sum(({ live }) => live) };
  } catch (error) {
    if (error instanceof CouchError && isRefused(error)) return undefined;
    throw error;
  }
}

/** Undefined where a copy does not answer: its node is away, or hangs, or has yet to make its file. */
async function unlessFailed(asked: Promise<CopyInfo>): Promise<CopyInfo | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof CouchError) || isRefused(error)) throw error;
    return undefined;
  }
}

function isRefused({ facts: { status } }: CouchError): boolean {
  return status === 401 || status === 403 || status === 405;
}

/** Whether ranges, such as `00000000-7fffffff`, follow one another from the first to the last. */
function areWhole(ranges: readonly string[]): boolean {
  let next = 0;
  for (const range of ranges.toSorted()) {
    const [from = NaN, to = NaN] = range.split("-").map((text) => Number.parseInt(text, 16));
    if (from !== next) return false;
    next = to + 1;
  }
  return next === 2 ** 32;
}

/** Counts databases of one CouchDB. Its nodes are waited for once, however many databases are counted. */
export class CopyCounts {
  readonly #couch: CouchClient;
  readonly #log: Log;
  readonly #times: ClusterTimes;
  readonly #nodes: ClusterWatch;
  /** Since when the nodes have been waited for, by `performance.now()`. */
  #waitingSinceMs: number | undefined;

  constructor(couch: CouchClient, { log, times = CLUSTER_TIMES }: { log: Log; times?: ClusterTimes | undefined }) {
    this.#couch = couch;
    this.#log = log;
    this.#times = times;
    this.#nodes = new ClusterWatch(couch, { log, times });
  }

  /**
   * Counts until it is enough, or until every node is up to date and there is no more; for some minutes at the most.
   *
   * @param first What CouchDB has just said of the database.
   * @throws CouchError; the reason of the signal.
   */
  async most(
    database: string,
    { first, isEnough }: { first: DatabaseInfo; isEnough: (info: DatabaseInfo) => boolean },
    options: CallOptions,
  ): Promise<CopyCount> {
    const questions = questionsFor(first);
    let info = first;
    if (questions === 1) return { info, lag: undefined };
    while (!isEnough(info)) {
      // Before the counts: a node that was up to date then has counted what it should.
      const lag = await this.#nodes.look(options);
      const ask = () => this.#couch.databaseInfo(database, options);
      info = largestOf([info, ...await Promise.all(Array.from({ length: questions }, ask))]);
      if (isEnough(info)) break;
      if (lag === undefined) {
        this.#waitingSinceMs = undefined;
        break;
      }
      const now = performance.now();
      if (this.#waitingSinceMs === undefined) {
        this.#log.warn("waiting for the cluster's nodes: one may lack documents that others have", { database, lag });
      }
      this.#waitingSinceMs ??= now;
      if (now - this.#waitingSinceMs >= this.#times.patienceMs) return { info, lag };
      await wait(this.#times.betweenLooksMs, options.signal);
    }
    return { info, lag: undefined };
  }
}

function largestOf(infos: readonly [DatabaseInfo, ...DatabaseInfo[]]): DatabaseInfo {
  const sum = ({ doc_count, doc_del_count }: DatabaseInfo) => doc_count + doc_del_count;
  return infos.reduce((a, b) => sum(b) > sum(a) ? b : a);
}
