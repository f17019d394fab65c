/** One node of the cluster that the double plays: whether it is there, how well it keeps up, what it says of itself. */

const DAY_MS = 24 * 60 * 60 * 1000;

/** A node. A double of a single server has one. */
export class ClusterNode {
  /** Switched off or not to be reached: it answers nothing, and nothing that is written reaches its copies. */
  isAway = false;
  /** It answers, and nothing that is written reaches its copies. */
  lags = false;
  /** When it was started, in milliseconds since 1970. A node that has been up for long unless a test says otherwise. */
  startedAtMs: number = Date.now() - DAY_MS;
  /** What it says of its `internal_replication_jobs`, one answer after the other; the last one stays. */
  jobs: number[] = [0];
  /** Of each other node when it came and went: a time, `nodeup` or `nodedown`, and why it went. */
  readonly events: Record<string, string[][]> = {};

  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Notes that it does not reach another node any more, or does so again. */
  note(other: ClusterNode, event: "nodeup" | "nodedown"): void {
    const at = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    (this.events[other.name] ??= []).push(event === "nodeup" ? [at, event] : [at, event, "net_tick_timeout"]);
  }

  /** Whether what is written reaches it. */
  get receives(): boolean {
    return !this.isAway && !this.lags;
  }

  /** `GET /_node/{name}/_system`, without the many figures that nobody asks for. */
  system(): Record<string, unknown> {
    const jobs = this.jobs.length > 1 ? this.jobs.shift()! : this.jobs[0] ?? 0;
    return {
      uptime: Math.floor((Date.now() - this.startedAtMs) / 1000),
      memory: { other: 10615737, atom: 631001, processes: 10664112, binary: 133768, code: 13647630, ets: 1202328 },
      run_queue: 0,
      process_count: 371,
      process_limit: 262144,
      internal_replication_jobs: jobs,
      distribution: {},
      distribution_events: this.events,
    };
  }
}
