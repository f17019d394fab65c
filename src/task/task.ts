/**
 * What a task means: which databases it backs up, when it is due, and how. The config makes it; everything above runs
 * it.
 */
import type { Calendar } from "../calendar/calendar.ts";
import { type Codec, STANDARD_CODEC } from "../codec/compression.ts";
import { describeDiscreetly, describeError } from "../errors.ts";
import type { RetentionRules } from "./retention.ts";

/** When a task whose backups are incremental makes a full one all the same. */
export interface IncrementPolicy {
  /** A chain has at most so many backups with content after its full one. */
  most: number;
  /** A full backup is the beginning of a chain for so many days; absent: for as long as it lasts. */
  fullEveryDays?: number | undefined;
  /** For so many days what is stored is locked; absent: it is not. */
  lockDays?: number | undefined;
}

/**
 * How many days the locks of what an incremental backup relies on must still last: else all is saved again, and locked
 * anew. So long each restore point is safe. Undefined where nothing is locked.
 */
export function leastLockDays({ lockDays, fullEveryDays }: IncrementPolicy): number | undefined {
  // Literally as long as a backup's own lock would make each one full.
  return lockDays === undefined ? undefined : lockDays - Math.min(fullEveryDays ?? lockDays / 2, lockDays);
}

/** A named entry below `task`. */
export interface Task {
  /** The entry's key. */
  name: string;
  /** systemd's OnCalendar expression, as it was written. */
  cron?: string | undefined;
  /** The same expression, read. A task without one is never due by itself. */
  calendar?: Calendar | undefined;
  /** An IANA name. */
  timezone?: string | undefined;
  /** What the environment variable TZ says; it counts where neither the schedule nor `timezone` names a zone. */
  tz?: string | undefined;
  /** Patterns of the databases to back up. */
  databases: string[];
  /** Patterns of databases that are left out although one of `databases` matches. */
  exclude: string[];
  /** The wait between two databases. */
  delaySeconds: number;
  /** How many documents a request may fetch; absent: all of the database. */
  chunk?: number | undefined;
  /** How many bytes of documents a chunk may have, before compression; absent: any number. */
  chunkBytes?: number | undefined;
  /** Only databases whose names end in `-YYYYMM` of the month before the run. */
  backupOnlyPrevious: boolean;
  /** Whether attachments are saved. */
  attachments: boolean;
  /** Whether histories (`_revisions`) are saved. */
  revisions: boolean;
  /** Whether documents that were deleted long ago are saved as tombstones, so that replicas learn of the deletion. */
  tombstones: boolean;
  /** How long only what has changed since the last backup is saved; absent: every backup is full. */
  increments?: IncrementPolicy | undefined;
  /** How its chunks are written; absent: gzip. */
  codec?: Codec | undefined;
  /** Requests for documents in flight for the task. */
  parallel: number;
  /** How many databases a state machine backs up at the same time; absent: one. */
  concurrency?: number | undefined;
  /** Whether a run that selects no database is a success. */
  allowEmpty: boolean;
  /** Which of its complete backups `expire` lets stay; absent: all. */
  retention?: RetentionRules | undefined;
}

/** How a task's chunks are written. */
export function codecOf({ codec = STANDARD_CODEC }: Task): Codec {
  return codec;
}

/** Whether a task's backups are sealed. */
export function isSealing(task: Task): boolean {
  return codecOf(task).recipients !== undefined;
}

/**
 * How an error of a task's run is told to the log, to reports and to other runs: of what is sealed it names nothing.
 */
export function describerFor(task: Task): (error: unknown) => string {
  return isSealing(task) ? describeDiscreetly : describeError;
}
