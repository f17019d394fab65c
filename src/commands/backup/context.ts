/** What a backup works with: what it is given, and what a run adds to it. */
import type { KnownDamageOfRun } from "../../archive/known_damage.ts";
import type { Repository } from "../../archive/repository.ts";
import type { ClusterTimes, ClusterWatch } from "../../couchdb/cluster.ts";
import type { DatabaseInfos } from "../../couchdb/database_infos.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import type { Log, Progress } from "../../observe.ts";
import type { Patience } from "./completeness.ts";
import type { Rest } from "./rest.ts";

/** What a run works with. */
export interface RunContext {
  /** CouchDB. */
  couch: CouchClient;
  /** Where the backups go. */
  repository: Repository;
  /** Takes the log lines. */
  log: Log;
  /** Receives the run's progress. */
  progress: Progress;
  /** The run's id, unique. */
  run: string;
  /** What time it is. */
  now: () => Date;
  /** Ends the run at once; what is under way is dropped. */
  signal: AbortSignal;
  /** Ends the run at the next chunk: what is in flight is finished, the rest can be resumed. */
  stop: AbortSignal;
  /** Receives at once what begins; how it ends is in the report. @default none */
  monitor?: RunMonitor | undefined;
  /** How long a count that falls short may take to come right. @default {@linkcode COUNT_PATIENCE} */
  patience?: Patience | undefined;
  /** How long properties of a database with a single copy are as good as new ones. @default two seconds */
  freshMs?: number | undefined;
  /** How long waiting for a cluster's nodes may take. @default {@linkcode CLUSTER_TIMES} */
  clusterTimes?: ClusterTimes | undefined;
  /** What is owed to CouchDB by databases of other tasks. @default nothing is */
  rest?: Rest | undefined;
  /** What `verify` has found damaged, where several calls are one run. @default it is read for this call */
  damage?: KnownDamageOfRun | undefined;
}

/** An outside observer that waits for the end of what has begun. Every method returns at once and never throws. */
export interface RunMonitor {
  /** A run of these tasks begins. */
  begins(tasks: readonly string[]): void;
  /** Another machine has taken it over, and will tell how it ends. */
  isTakenOver(tasks: readonly string[]): void;
}

/** What the command line adds to the config. */
export interface BackupOptions {
  /** Resume where a run of the same date stopped. */
  resume?: boolean | undefined;
  /** Save all of each database, also where the task is incremental. */
  full?: boolean | undefined;
  /** What is selected is a part of a run of many calls, which cannot count together. @default false */
  isOneOfMany?: boolean | undefined;
  /** With `resume`: only where one of these runs stopped. */
  resumeRuns?: ReadonlySet<string> | undefined;
}

/** A run that has begun. */
export interface Run extends RunContext {
  couchVersion: string;
  /** The nodes of CouchDB's cluster. */
  cluster: ClusterWatch;
  rest: Rest;
  damage: KnownDamageOfRun;
  /** Properties of databases, asked for together. */
  infos: DatabaseInfos;
  /**
   * What every further database would be refused with as well, such as a login: they are reported as failed without being
   * tried. One for all databases: contexts are copied, this object is not.
   */
  refusal: { error: unknown };
}
