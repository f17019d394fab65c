/**
 * What a database holds by the word of all its copies. `GET /{db}` counts one copy of each range, and one whose node
 * was away may lack what the others have: on three nodes, one of which was just back, a finished database was counted
 * as empty (3.5.0). In: what was counted, and whether that is enough. Out: the most that is counted, and why there may
 * be more.
 */
import { wait } from "../abort.ts";
import type { Log } from "../observe.ts";
import type { CouchClient } from "./client.ts";
import { CLUSTER_TIMES, type ClusterTimes, ClusterWatch } from "./cluster.ts";
import type { CallOptions } from "./connection.ts";
import type { DatabaseInfo } from "./info.ts";

/** More questions than these at once tell nothing more. */
const MOST_QUESTIONS = 48;

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
