/**
 * Whether all nodes of a cluster are up to date. A node that has just come back answers with what it had when it went
 * away, and no count shows what it lacks; until it has caught up, what was listed through it may be incomplete. In: the
 * nodes' own state. Out: settled, or why not. A node that stays away is not a lag: nobody reads its copies, and what was
 * written to them others have as well, unless most copies of a range are on nodes that are away.
 */
import { CouchError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { orAborted, wait } from "../abort.ts";
import type { CallOptions, CouchClient, NodeState } from "./client.ts";

/** How long waiting for a cluster may take. */
export interface ClusterTimes {
  /** A node back for less than this may not have told yet how much it has to catch up. */
  freshMs: number;
  /** Between two looks. */
  betweenLooksMs: number;
  /** In all. */
  patienceMs: number;
}

/** How a cluster is waited for. */
export interface ClusterWait extends CallOptions {
  /** Waits between two looks; may take longer. @default the time alone */
  pause?: ((ms: number) => Promise<void>) | undefined;
  /** How long such waits have taken beside what they were to take, so far: that is no patience. @default 0 */
  lostMs?: (() => number) | undefined;
}

/** In earnest. `internal_replication_jobs` was seen to read 0 for the first four seconds of a lag. */
export const CLUSTER_TIMES: ClusterTimes = { freshMs: 60_000, betweenLooksMs: 5_000, patienceMs: 300_000 };

/** Looks at the nodes of one cluster, once for all databases of a run. */
export class ClusterWatch {
  /** Since when the cluster has been settled without a break, by `performance.now()`; undefined while it is not. */
  #settledSinceMs: number | undefined;
  /** When the node came back that has been back for the shortest time, by the same clock. */
  #lastReturnMs = -Infinity;

  readonly #couch: CouchClient;
  readonly #log: Log;
  readonly #times: ClusterTimes;
  #connected: ReadonlySet<string> | undefined;
  /** The nodes of the cluster that were away at the last look. */
  #away: ReadonlySet<string> = new Set();
  /** Since when more than one has been, by the same clock. */
  #severalAwaySinceMs = Infinity;
  readonly #returnedAtMs = new Map<string, number>();
  /** When the last look began that has come to its end. */
  #lookedAtMs = -Infinity;
  /** The look that is under way: what it fails with, undefined where it does not. */
  #looking: Promise<unknown> | undefined;
  /** Why it was not settled at the last look. */
  #reason: string | undefined;
  #isBlind = false;

  constructor(couch: CouchClient, { log, times = CLUSTER_TIMES }: { log: Log; times?: ClusterTimes | undefined }) {
    this.#couch = couch;
    this.#log = log;
    this.#times = times;
  }

  /**
   * Looks, unless somebody has just looked; who comes while somebody looks waits for what that one sees.
   *
   * @returns Why the cluster is not settled; undefined when it is.
   */
  async look(options: CallOptions): Promise<string | undefined> {
    while (this.#looking !== undefined) {
      const failure = await orAborted(this.#looking, options.signal);
      // What the signal of whoever looks has ended is looked for again.
      if (failure instanceof CouchError) throw failure;
    }
    if (this.#isBlind || performance.now() - this.#lookedAtMs < this.#times.betweenLooksMs) return this.#reason;
    const startedAtMs = performance.now();
    const looking = this.#lookNow(options);
    this.#looking = looking.then(() => undefined, (error: unknown) => error);
    try {
      await looking;
      this.#lookedAtMs = startedAtMs;
    } finally {
      this.#looking = undefined;
    }
    return this.#reason;
  }

  /**
   * Looks on behalf of a database: also at whether most copies of one of its ranges are on nodes that are away. What
   * was acknowledged by these alone nobody shows: so it is to the one node that a broken network has cut off.
   *
   * @returns As {@linkcode ClusterWatch.look}.
   */
  async lookFor(database: string, options: CallOptions): Promise<string | undefined> {
    return await this.look(options) ?? await this.#findOutOfReach(database, options);
  }

  async #findOutOfReach(database: string, options: CallOptions): Promise<string | undefined> {
    // With one node away, most copies of a range are only where it has a single one: that is an error of every request.
    if (this.#away.size < 2) return undefined;
    for (const [range, nodes] of await this.#couch.shards(database, options)) {
      const away = nodes.filter((node) => this.#away.has(node));
      if (away.length <= nodes.length / 2) continue;
      return `${away.length} of ${nodes.length} copies of range ${range} are on nodes that are away: ${
        away.join(", ")
      }`;
    }
    return undefined;
  }

  async #lookNow(options: CallOptions): Promise<void> {
    try {
      this.#reason = await this.#findReason(options);
    } catch (error) {
      if (!(error instanceof CouchError) || !isRefusal(error)) throw error;
      this.#isBlind = true;
      this.#reason = undefined;
      this.#log.warn("cannot tell whether a cluster node lags: its state may not be read", {
        error: error.message,
        hint: "Give the login the _admin role",
      });
    }
    if (this.#reason !== undefined) this.#settledSinceMs = undefined;
    else this.#settledSinceMs ??= performance.now();
  }

  /**
   * Whether, as far as the last look tells, a node was not up to date at some moment since then, by
   * `performance.now()`.
   */
  wasUnsettledSince(momentMs: number): boolean {
    if (this.#isBlind) return false;
    return this.#settledSinceMs === undefined || this.#settledSinceMs > momentMs + this.#times.betweenLooksMs ||
      this.#lastReturnMs > momentMs;
  }

  /**
   * Waits until the cluster is settled for a database. Nodes that are away are waited for once, not for each database.
   *
   * @returns Why it is still not, when patience has ended.
   */
  async untilSettled(
    database: string,
    { pause, lostMs = () => 0, ...options }: ClusterWait,
  ): Promise<string | undefined> {
    const until = performance.now() - lostMs() + this.#times.patienceMs;
    for (let looks = 0;; looks++) {
      const lag = await this.look(options);
      const reason = lag ?? await this.#findOutOfReach(database, options);
      // Twice: jobs appear some seconds after a node has.
      if (
        reason === undefined && (looks === 0 || performance.now() - this.#settledSinceMs! >= this.#times.betweenLooksMs)
      ) {
        return undefined;
      }
      if (performance.now() - lostMs() >= until) return reason;
      if (lag === undefined && performance.now() - this.#severalAwaySinceMs >= this.#times.patienceMs) return reason;
      if (looks === 0) this.#log.warn("waiting for the cluster's nodes to catch up", { reason });
      await (pause?.(this.#times.betweenLooksMs) ?? wait(this.#times.betweenLooksMs, options.signal));
    }
  }

  async #findReason(options: CallOptions): Promise<string | undefined> {
    const { cluster, connected } = await this.#couch.membership(options);
    const now = performance.now();
    const present = new Set(cluster.filter((node) => connected.includes(node)));
    for (const node of present) {
      if (this.#connected !== undefined && !this.#connected.has(node)) this.#returnedAtMs.set(node, now);
    }
    this.#connected = present;
    this.#away = new Set(cluster.filter((node) => !present.has(node)));
    this.#severalAwaySinceMs = this.#away.size < 2 ? Infinity : Math.min(this.#severalAwaySinceMs, now);
    const states = await Promise.all(
      [...present].map(async (node) => [node, await this.#stateOf(node, options)] as const),
    );
    for (const [node, state] of states) {
      if (state === undefined) continue;
      // One that has too much to do to say how much that is does not say either that it is up to date.
      if (state instanceof CouchError) return `node ${node} does not tell its state: ${this.#couch.tell(state)}`;
      const { uptimeSeconds, connectedSeconds = Infinity, replicationJobs } = state;
      const backMs = Math.min(uptimeSeconds * 1000, now - (this.#returnedAtMs.get(node) ?? -Infinity));
      const connectedMs = connectedSeconds * 1000;
      this.#lastReturnMs = Math.max(this.#lastReturnMs, now - Math.min(backMs, connectedMs));
      if (replicationJobs > 0) return `node ${node} has ${replicationJobs} internal replication jobs left`;
      const isFresh = (ms: number) => ms < this.#times.freshMs;
      if (isFresh(backMs)) return `node ${node} has been back for ${Math.round(backMs / 1000)} s`;
      if (isFresh(connectedMs)) {
        return `node ${node} was cut off from another one until ${Math.round(connectedSeconds)} s ago`;
      }
    }
    return undefined;
  }

  /** Undefined for a node that went away between the two questions; an error for one that is there and does not tell. */
  async #stateOf(node: string, options: CallOptions): Promise<NodeState | CouchError | undefined> {
    try {
      return await this.#couch.nodeState(node, { ...options, attempts: 2 });
    } catch (error) {
      if (!(error instanceof CouchError) || isRefusal(error)) throw error;
      return error.facts.error === "nodedown" ? undefined : error;
    }
  }
}

function isRefusal({ facts: { status } }: CouchError): boolean {
  return status === 401 || status === 403 || status === 404 || status === 405;
}
