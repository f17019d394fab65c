/**
 * The report of a finished run: the object that `backup --json` prints, that is stored beside the claim, and
 * that metrics and the closing summary are made from. Fields may be added, never renamed. Pure.
 */
import { DAY_MS } from "../dates.ts";
import { EXIT } from "../errors.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import type { BackupKind, Totals } from "./manifest.ts";

/**
 * How one database fared: `complete` and `resumed` are saved, but for what `unreadable` names; `gone` was deleted in
 * CouchDB between the listing and its turn, which is no failure.
 */
export type DatabaseStatus = "complete" | "resumed" | "failed" | "gone";

/** One database in a report. For a failed one the counts say what was stored before it failed. */
export interface DatabaseReport extends Totals {
  /** The decoded name. */
  database: string;
  /** How it fared. */
  status: DatabaseStatus;
  /** The URL of the backup's folder. */
  path: string;
  /** How long it took. */
  seconds: number;
  /** How the backup stands to others of its database; absent where there is none. */
  kind?: BackupKind;
  /** Nothing has changed since the backup before, on which this one stands. Absent where something has. */
  unchanged?: true;
  /** Why an incremental task has saved all of the database. Absent where it has not. */
  full_because?: string;
  /** When it was complete, UTC, by the clock of this machine. */
  backed_up_at?: string;
  /** The documents that CouchDB could not read: all else of the database is saved. Absent where there is none. */
  unreadable?: UnreadableDocument[];
  /**
   * Where the backup is sealed `unreadable` has `sealed:` and a hash in place of each id, and this is what names them:
   * an age file in base64, within it the JSON object `{"unreadable":[…],"lost":[…]}`, of which the latter is what
   * `chain_lost` names elsewhere. Absent where there is nothing to name, and where nothing is sealed.
   */
  sealed?: string;
  /** What is saved and yet needs a look, a sentence each. Absent where there is none. */
  warnings?: string[];
  /** How many documents the backup before it has, where this one has less than half of them. */
  shrunk_from?: number;
  /**
   * What the incremental backups before have lost, found by this full one: documents that they do not have as CouchDB
   * has had them since before. Absent where there is none.
   */
  chain_lost?: {
    /** How many documents. */
    documents: number;
    /** There may be more: no more than ten thousand are looked at. */
    at_least?: true | undefined;
    /** The ids of the first twenty. */
    ids: string[];
    /** The run that has found it, where that is an earlier one than the report's. */
    found_by?: string | undefined;
  };
  /** The cause, for a failed database. */
  error?: string;
  /** What to do about it, where something can be done. */
  hint?: string;
  /** The exit code that belongs to the cause, for a failed database. */
  exit_code?: number;
}

/** Dates of paths and moments differ by less than this, in whatever zone the date is. */
const ZONES_DIFFER_MS = 2 * DAY_MS;

/**
 * Whether a run of a task that did not select a database would have selected it if it was there. With
 * `backup_only_previous` a run is dated a month back, and tells nothing of the databases of other months: those of
 * earlier ones are as a rule still in CouchDB.
 */
export function tellsOf({ date }: Pick<TaskReport, "date">, { at, database }: { at: Date; database: string }): boolean {
  const month = /-(\d{6})$/.exec(database)?.[1];
  if (month === undefined) return true;
  const isDatedBack = at.getTime() - Date.parse(date) > ZONES_DIFFER_MS;
  return !isDatedBack || date.replaceAll("-", "").startsWith(month);
}

/** Whether all of a database is saved, or there is nothing left of it to be saved. */
export function isSaved({ status, unreadable }: Pick<DatabaseReport, "status" | "unreadable">): boolean {
  return status !== "failed" && (unreadable ?? []).length === 0;
}

/** One task in a report. */
export interface TaskReport {
  /** The task's name in the config. */
  task: string;
  /** The date in the path, `2026-01-03`. */
  date: string;
  /** The databases that it selected, in the order in which they were backed up. */
  databases: DatabaseReport[];
  /** Why the task as a whole failed, such as a list of databases that could not be read. */
  error?: string;
  /** What to do about it, where something can be done. */
  hint?: string;
  /** The exit code that belongs to the cause. */
  exit_code?: number;
  /** What needs a look beside the databases' own warnings, a sentence each. Absent where there is none. */
  warnings?: string[];
  /**
   * Databases that the last run of the task had and that CouchDB does not list any more. Absent where there is none.
   */
  unlisted?: string[];
  /** How many runs it took, those that died among them. Absent where it was one. */
  generations?: number;
  /** When what failed is tried again, in UTC. Absent where nothing failed, or nobody tries again. */
  retry_at?: string;
  /** The next elapse, which came before all was saved: this one is not retried any more; in UTC. */
  given_up?: string;
}

/** A whole run. */
export interface RunReport {
  /** Whether everything that was asked for is saved. */
  ok: boolean;
  /** The run's id, unique: it stands on log lines and in manifests. */
  run: string;
  /** When it began, in UTC: `2026-01-03T18:00:01.312Z`. */
  started_at: string;
  /** When it was over, in UTC. */
  finished_at: string;
  /** The tasks that were run, in the config's order. */
  tasks: TaskReport[];
}

/** Whether a task has saved everything that it was to save. */
export function isTaskSaved({ error, databases }: TaskReport): boolean {
  return error === undefined && databases.every(isSaved);
}

/** Whether another try may save more of a task: not where all that is missing are documents that cannot be read. */
export function isWorthRetrying({ error, databases }: TaskReport): boolean {
  return error !== undefined || databases.some(({ status }) => status === "failed");
}

/**
 * What is known of a task after a later run for the same date: each database as it came out last, but what was saved
 * stays saved. Where the later run could not list the databases, those of the earlier one stand as they were.
 */
export function mergeTaskReports(earlier: TaskReport | undefined, later: TaskReport): TaskReport {
  if (earlier === undefined) return later;
  const known = new Map(earlier.databases.map((one) => [one.database, one]));
  for (const one of later.databases) {
    const before = known.get(one.database);
    // The later run found the backup complete: the run that made it has more to say of it.
    const isFound = before?.backed_up_at !== undefined && before.backed_up_at === one.backed_up_at && isSaved(before);
    if (before === undefined || (isSaved(one) && !isFound) || !isSaved(before)) known.set(one.database, one);
  }
  const merged: TaskReport = { ...later, databases: [...known.values()] };
  if (later.warnings === undefined && earlier.warnings !== undefined) merged.warnings = earlier.warnings;
  if (later.unlisted === undefined && earlier.unlisted !== undefined) merged.unlisted = earlier.unlisted;
  return merged;
}

/** Whether a run has found that backups of before lack something. */
export function hasFoundLoss({ tasks }: Pick<RunReport, "tasks">): boolean {
  return tasks.some(({ databases }) => databases.some(({ chain_lost }) => chain_lost !== undefined));
}

/** The runs that have found what a report says that backups of before lack, each once. */
export function foundLosses({ run, tasks }: Pick<RunReport, "run" | "tasks">): string[] {
  const found = tasks.flatMap(({ databases }) => databases.flatMap(({ chain_lost }) => chain_lost ?? []));
  return [...new Set(found.map(({ found_by }) => found_by ?? run))];
}

/** A report whose databases are to stand in that of a later run: what was found that a chain has lost names its run. */
export function withFinder(report: RunReport, { run }: { run: string }): RunReport {
  if (report.run === run) return report;
  const named = (one: DatabaseReport): DatabaseReport =>
    one.chain_lost === undefined ? one : { ...one, chain_lost: { found_by: report.run, ...one.chain_lost } };
  return { ...report, tasks: report.tasks.map((task) => ({ ...task, databases: task.databases.map(named) })) };
}

/**
 * The exit code of a finished run: 0 when everything is saved, 3 when something is not, or was not when it was said to
 * be. When nothing is saved at all, and all for the same reason, the code names it: 10 CouchDB, 11 the store.
 */
export function exitCodeOfReport(report: RunReport): number {
  if (report.ok) return hasFoundLoss(report) ? EXIT.partial : EXIT.ok;
  const codes = new Set(report.tasks.flatMap((task) => {
    const parts = task.exit_code === undefined ? task.databases : [task, ...task.databases];
    return parts.map((part) => part.exit_code ?? EXIT.ok);
  }));
  const [only] = codes;
  return codes.size === 1 && (only === EXIT.couchdb || only === EXIT.store) ? only : EXIT.partial;
}
