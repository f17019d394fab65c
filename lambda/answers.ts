/**
 * What the Lambda function answers: the other half of its contract with the state machines in template.yaml (events.ts has
 * what it is told), and with whoever calls it. Types alone.
 */
import type { FailedElapse } from "./start_due.ts";

/** The answer to a `TickEvent` in which everything is saved, or under way. */
export interface TickResult {
  /** The tasks that were run, or the executions that were started, in this very tick. */
  started: string[];
  /** What is not saved. */
  failed: FailedElapse[];
  /** The tasks that are due and wait for the run that is under way; absent where none does. */
  waiting?: string[] | undefined;
  overdueDays: number;
}

/** The answer to a `PlanEvent`. The databases themselves lie in S3: an answer may not exceed 256 KiB. */
export interface PlanResult {
  task: string;
  elapse: string;
  /**
   * Where the list is: a JSON array of `{"database": NAME}`, or of `{"databases": [NAME, …]}` where batches were asked
   * for, by decoded names. `key` is the whole key within the bucket.
   */
  bucket: string;
  key: string;
  databases: number;
  /** For the rounds and the summary. */
  generation: number;
  /** How many databases are backed up at the same time. */
  concurrency: number;
  /** The wait after each database, in whole seconds, as the state machine's Wait takes it. */
  delay: number;
}

/** The answer to a `BackupBatchEvent`. Every field is always there. */
export interface BackupBatchResult {
  /** Whether nothing is left to do. */
  done: boolean;
  /** What the next call is given; opaque. Null when the batch is done. */
  cursor: string | null;
  status: "complete" | "failed" | "unfinished";
  /** Which databases of the batch are not saved, and why the first of them; null when all are. */
  error: string | null;
  /** Whether the task's delay is to be waited for now. */
  rest: boolean;
}

/**
 * The answer to a `BackupEvent`. Every field is always there: a path to a missing one fails the execution.
 */
export interface BackupResult {
  database: string;
  /** Whether nothing is left to do, be it that the backup is complete or that it has failed. */
  done: boolean;
  /** What the next round is given; opaque. Null when the database is done. */
  cursor: string | null;
  status: "complete" | "resumed" | "failed" | "gone" | "unfinished";
  /** Why it failed; null when it did not. */
  error: string | null;
  /** Whether it has not changed since the backup before: the state machine then does not wait after it. */
  unchanged: boolean;
}

/** The answer to a `SummariseEvent`. */
export interface SummariseResult {
  /** Whether every planned database is saved. */
  ok: boolean;
  databases: number;
  failed: number;
  /** The whole outcome in a sentence; the execution's cause when it fails. */
  message: string;
  /** The URL of the stored report; of this run's outcome, where the elapse is not over. */
  report: string;
}

/** The answer to a `RestorePlanEvent`. It holds all that there is: the function's role may write nothing. */
export interface RestorePlanResult {
  /** The moment whose backups are restored, and when the plan was made: for the rounds and the summary. */
  moment: string;
  started: string;
  databases: number;
  /** Some hundred at most. */
  stretches: { from: string; to: string }[];
  /** How many stretches are restored at the same time. */
  concurrency: number;
}

/** The answer to a `RestoreRoundEvent`. Every field is always there. */
export interface RestoreRoundResult {
  status: "finished" | "unfinished" | "refused";
  /** What the next round is given; opaque. Null when there is none. */
  cursor: string | null;
  /** Databases of the stretch that are not restored. */
  failed: number;
  /** Why the first of them is not; null where none has failed. */
  error: string | null;
}

/** The answer to a `RestoreSummaryEvent`, and to a `RestoreEvent` by itself. */
export interface RestoreSummaryResult {
  /** Whether every database is there. */
  ok: boolean;
  databases: number;
  failed: number;
  /** Databases that are left out, on purpose or for want of a backup. */
  left_out: number;
  /** To name as `path` where the same is to go on; also where `latest` was asked for. */
  moment: string;
  /** The whole outcome in a sentence; the execution's cause when it fails. */
  message: string;
}

/** The answer to an `ExpireEvent`. */
export interface ExpireResult {
  ok: true;
  /** Whether it was to be deleted in earnest. */
  confirmed: boolean;
  /** How many backups are gone, or would go. */
  expired: number;
  /** The size of their chunks. */
  expired_bytes: number;
  /** How many complete backups stay. */
  kept: number;
  leftovers: { objects: number; bytes: number };
}
