/**
 * A double of a cluster: several servers, each with a port, that share databases of which each node has copies of its
 * own. Tests take nodes away, bring them back with old copies, and say when these catch up; what a node that is just
 * back lists is what cost real backups their documents.
 */
import { FakeCouchDb, type FakeCouchDbOptions } from "./couchdb.ts";
import { ClusterNode } from "./couchdb/cluster_node.ts";
import type { Database } from "./couchdb/database.ts";
import { SERVER_DEFAULTS, ServerState } from "./couchdb/server_state.ts";

/** How a cluster is started. */
export interface FakeClusterOptions extends Omit<FakeCouchDbOptions, "hostname" | "basePath"> {
  /** @default 3 */
  nodes?: number;
  /** The copies of each range. @default 3 */
  n?: number;
}

/** When a node that is back gets what it has missed; never by default, but for `catchUp()`. */
export interface BringBackOptions {
  /** With so many more requests to any node. */
  catchUpAfterRequests?: number;
  /** So many documents of each database with each request to any node. */
  documentsARequest?: number;
  /** After so much time. */
  catchUpAfterMs?: number;
}

/** Starts a cluster. Stop it, or hold it with `await using`. */
export async function startFakeCluster(
  { nodes = 3, n = 3, ...options }: FakeClusterOptions = {},
): Promise<FakeCluster> {
  const cluster = new FakeCluster({ ...options, n }, nodes);
  await Promise.all(cluster.nodes.map((node) => node.listen()));
  return cluster;
}

/** A running cluster. Nodes are numbered from 0. */
export class FakeCluster implements AsyncDisposable {
  /** Each is a server with requests and faults of its own. */
  readonly nodes: readonly FakeCouchDb[];
  readonly #state: ServerState;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #catchingUp: { node: number; requests: number; documents: number }[] = [];

  /** Use {@linkcode startFakeCluster}. */
  constructor(options: FakeCouchDbOptions, count: number) {
    const nodes = Array.from({ length: count }, (_, at) => new ClusterNode(`node${at + 1}@127.0.0.1`));
    this.#state = new ServerState({ ...SERVER_DEFAULTS, ...options }, nodes);
    this.nodes = nodes.map((node) => new FakeCouchDb(options, { state: this.#state, node }));
    for (const server of this.nodes) server.onRequest(() => this.#requestCame());
  }

  /** The databases as they are, by decoded name. */
  get databases(): ReadonlyMap<string, Database> {
    return this.#state.databases;
  }

  /** Switches a node off: connections to it break, and nothing that is written reaches it. */
  takeAway(node: number): void {
    this.#node(node).isAway = true;
    this.nodes[node]!.closeConnections();
  }

  /** Switches it on again: with new writes from now on, and without those that it has missed. */
  bringBack(node: number, options: BringBackOptions = {}): void {
    Object.assign(this.#node(node), { isAway: false, lags: false, startedAtMs: Date.now() });
    this.#catchUpLater(node, options);
  }

  #catchUpLater(node: number, options: BringBackOptions): void {
    const { catchUpAfterRequests: requests, documentsARequest: documents, catchUpAfterMs: ms } = options;
    if (requests !== undefined || documents !== undefined) {
      this.#catchingUp.push({ node, requests: requests ?? 0, documents: documents ?? Infinity });
    }
    if (ms === undefined) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.catchUp(node);
    }, ms);
    this.#timers.add(timer);
  }

  /** From now on nothing that is written reaches a node, which goes on answering with what it has. */
  lag(node: number): void {
    this.#node(node).lags = true;
  }

  /**
   * What was written did not reach a node because the network between it and the others was broken, or because it hung:
   * now it is connected again, without a start, and gets what it has missed as one that is brought back does.
   */
  reconnect(node: number, options: BringBackOptions = {}): void {
    const one = this.#node(node);
    one.lags = false;
    for (const { node: other } of this.nodes) {
      if (other === one) continue;
      for (const event of ["nodedown", "nodeup"] as const) {
        one.note(other, event);
        other.note(one, event);
      }
    }
    this.#catchUpLater(node, options);
  }

  /**
   * Which copies `_all_docs` and a feed from its beginning read: those of the node that is asked, as at first; `"any"`
   * as on real clusters, where two readings of three are of the node's own copies, for each range by itself; or those
   * of one node, whichever is asked. A feed from a position reads the copies that it names.
   */
  readFrom(copies: "own" | "any" | number): void {
    this.#state.reading = typeof copies === "number" ? this.#node(copies) : copies;
  }

  /** Which copies `GET /{db}` and `_dbs_info` count: any, as at first, or those of one node, which answer first. */
  countFrom(copies: "any" | number): void {
    this.#state.counting = copies === "any" ? undefined : this.#node(copies);
  }

  /**
   * Internal replication to a node, which does not lag any more: of all that it has missed, or of at most so many
   * documents of each database. Returns how many are still missed.
   */
  catchUp(node: number, documents: number = Infinity): number {
    const target = this.#node(node);
    if (documents === Infinity) target.lags = false;
    return this.databases.values().reduce((left, { shards }) => left + shards.catchUp(target, documents), 0);
  }

  /** How many documents' newest states a node has missed. */
  missing(node: number): number {
    const copies = [...this.databases.values()].flatMap((database) => database.copies({ node: this.#node(node) }));
    return copies.reduce((sum, { missed }) => sum + missed.size, 0);
  }

  /** Since when a node says that it has been up. */
  setUptime(node: number, seconds: number): void {
    this.#node(node).startedAtMs = Date.now() - seconds * 1000;
  }

  /**
   * What a node says of its `internal_replication_jobs`, one answer after the other; the last one stays. It is 0
   * unless set: real nodes said so for their first seconds of lag.
   */
  setJobs(node: number, ...jobs: number[]): void {
    this.#node(node).jobs = jobs;
  }

  /** @throws Error as `FakeCouchDb.stop()` does. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #node(node: number): ClusterNode {
    const found = this.nodes[node]?.node;
    if (found === undefined) throw new RangeError(`There is no node ${node}, the first is 0`);
    return found;
  }

  #requestCame(): void {
    this.#catchingUp = this.#catchingUp.filter((entry) => {
      if (entry.requests-- > 0) return true;
      return this.catchUp(entry.node, entry.documents) > 0;
    });
  }
}
