/**
 * What a caller asks of a session where the command itself has no request of its own: a backup and a plan. Types alone.
 */
import type { RunReport } from "../archive/report.ts";
import type { BackupDate } from "../dates.ts";

/** What a backup is to save, where it is not all that the config's tasks select. */
export interface BackupRequest {
  /** The names of the tasks to run. @default every task of the config */
  tasks?: readonly string[] | undefined;
  /**
   * Only these databases, whatever the tasks select, by names that are encoded (`a%2Fb`) or not; or `all` but CouchDB's
   * own. @default what the tasks select
   */
  databases?: readonly string[] | "all" | undefined;
  /** The date in the paths. @default today in each task's time zone, or a month before it where the task says so */
  date?: BackupDate | undefined;
  /** Go on where a run of the same date stopped. @default false */
  resume?: boolean | undefined;
  /** Save all of each database, also where its task is incremental. @default false */
  full?: boolean | undefined;
  /**
   * Is told the report as soon as it is stored and published. What the run had is remembered only after this has
   * finished: if the process ends before, the next run says again which databases are no longer listed.
   */
  onReport?: ((report: RunReport) => void | Promise<void>) | undefined;
}

/** What a plan is to show. */
export interface PlanRequest {
  /** Elapses after this instant are listed. @default now */
  from?: Date | undefined;
  /** How many elapses of each task. @default 3 */
  count?: number | undefined;
  /** Plan the times only, without CouchDB. @default false */
  offline?: boolean | undefined;
}
