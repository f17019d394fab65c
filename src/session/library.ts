/**
 * What a program that uses the library has of a session: a method for each command, whose words and results are those
 * of the command line. mod.ts exports it; everything behind it may change from one version to the next. Types alone.
 */
import type { RunReport } from "../archive/report.ts";
import type { CheckReport } from "../commands/check.ts";
import type { StoreCheckReport } from "../commands/check_store.ts";
import type { DiffReport, DiffRequest } from "../commands/diff.ts";
import type { ExportRequest } from "../commands/export.ts";
import type { FoundDocument } from "../commands/find.ts";
import type { ShownDocument, ShowRequest } from "../commands/show.ts";
import type { Sink } from "../commands/sink.ts";
import type { ExpireRequest } from "../commands/expire/expire.ts";
import type { ExpireReport } from "../commands/expire/report.ts";
import type { KeepReport, KeepRequest } from "../commands/keep.ts";
import type { BackupList, ListedDatabase, ListRequest } from "../commands/list.ts";
import type { Plan } from "../commands/plan.ts";
import type { FleetRequest, RestoreRequest } from "../commands/restore/context.ts";
import type { FleetReport } from "../commands/restore/fleet_report.ts";
import type { RestoreReport } from "../commands/restore/report.ts";
import type { SizesReport } from "../commands/sizes.ts";
import type { TestRestoreReport, TestRestoreRequest } from "../commands/test_restore/test_restore.ts";
import type { VerifyAllReport, VerifyAllRequest } from "../commands/verify_all.ts";
import type { VerifyReport, VerifyRequest } from "../commands/verify.ts";
import type { Config } from "../config/config.ts";
import type { Log, Progress } from "../observe.ts";
import type { BackupRequest, PlanRequest } from "./requests.ts";

/** What {@linkcode openSession} takes: a config, and what is to surround its commands. */
export interface SessionOptions {
  /** The config, from {@linkcode loadConfig} or {@linkcode parseConfig}. */
  config: Config;
  /** Takes the log lines. @default Loki, where the config names it; else they go nowhere */
  log?: Log | undefined;
  /** Receives the progress of a run. @default none */
  progress?: Progress | undefined;
  /** The id of the run that the session is for. @default a random UUID */
  run?: string | undefined;
  /** Ends everything at once; what a backup has stored until then can be resumed. @default it never ends */
  signal?: AbortSignal | undefined;
  /** Ends a backup at the next chunk: what is in flight is finished. @default it never ends */
  stop?: AbortSignal | undefined;
  /** What time it is. @default the system's clock */
  now?: (() => Date) | undefined;
  /** The machine's name in log lines and figures. @default the operating system's */
  host?: string | undefined;
  /** Files with the identities of age that open sealed backups. @default what the config names */
  identityFiles?: readonly string[] | undefined;
}

/** A config, opened. Get one from {@linkcode openSession}, and close it, or declare it with `await using`. */
export interface Session extends AsyncDisposable {
  /** The config. */
  readonly config: Config;

  /**
   * Backs up, by default all that the config's tasks select, and publishes the outcome, also of a failure. The figures
   * of a run for named databases are kept apart: a part of a task must not pass for the success of the task, nor for an
   * archive that has shrunk.
   *
   * @returns What was saved and what was not; a database that fails is in the report and stops nothing.
   * @throws UsageError when `tasks` or `databases` name what is not there, or nothing; CouchError when CouchDB cannot be
   * asked; the reason of `signal` or `stop` when it was interrupted: another backup with `resume` then resumes it. The
   * outcome of the tasks that were over by then is published.
   */
  backup(request?: BackupRequest): Promise<RunReport>;

  /**
   * Brings a backup back into a database.
   *
   * @throws UsageError when the database must not be written to; ArchiveError when the backup is missing, incomplete or
   * damaged and `salvage` is not set; CouchError and StoreError; the reason of `signal` or `stop`.
   */
  restore(request: RestoreRequest): Promise<RestoreReport>;

  /**
   * Restores all databases as of a moment, several at a time. Called again after an interruption, it resumes.
   *
   * @throws UsageError before anything is written, when a target is not as it must be; ArchiveError when there is no
   * backup; CouchError and StoreError; the reason of `signal` or `stop`. What fails later is in the report.
   */
  restoreAll(request: FleetRequest): Promise<FleetReport>;

  /**
   * Reads a backup again and compares it with its manifest. Needs no CouchDB.
   *
   * @returns What was found; a damaged backup is not an error.
   * @throws ArchiveError when there is nothing like a backup; StoreError when the store fails; the reason of `signal`
   * or `stop`.
   */
  verify(request: VerifyRequest): Promise<VerifyReport>;

  /**
   * Verifies the backups of the whole repository, or today's part of them. Needs no CouchDB. The outcome is kept and
   * published, unless only some databases were asked for or the contents were not read.
   *
   * @throws UsageError, StoreError; what is wrong with a backup is in the report.
   */
  verifyAll(request?: VerifyAllRequest): Promise<VerifyAllReport>;

  /**
   * Restores backups into scratch databases, compares what came back, and drops these. The outcome is kept and
   * published, unless only some databases were asked for.
   *
   * @throws UsageError; ArchiveError when there is no backup; CouchError when nothing can be written at all;
   * StoreError; the reason of `signal` or `stop`. What is wrong with one backup is in the report.
   */
  testRestore(request?: TestRestoreRequest): Promise<TestRestoreReport>;

  /**
   * Lists the backups in the store, those first that were complete last. Needs no CouchDB.
   *
   * @throws StoreError when the store fails.
   */
  list(request?: ListRequest): Promise<BackupList>;

  /**
   * Lists the databases of CouchDB, or those that a pattern matches.
   *
   * @throws CouchError when CouchDB cannot be asked.
   */
  listDatabases(request?: Pick<ListRequest, "match">): Promise<{ databases: ListedDatabase[] }>;

  /** Adds up what backups take up in the store. Needs no CouchDB. @throws StoreError when the store fails. */
  sizes(request?: { database?: string | undefined }): Promise<SizesReport>;

  /**
   * Writes one document of a backup to `sink`. Needs no CouchDB.
   *
   * @throws ArchiveError when the backup does not have it.
   */
  show(request: ShowRequest, sink: Sink): Promise<ShownDocument>;

  /**
   * Writes the documents of a backup to `sink`, one a line. Needs no CouchDB.
   *
   * @throws ArchiveError when it is not whole.
   */
  export(request: ExportRequest, sink: Sink): Promise<{ database: string; path: string; revisions: number }>;

  /** The revisions of a document over all backups. Needs no CouchDB. @throws ArchiveError when there is no backup. */
  find(request: { database: string; id: string }): Promise<FoundDocument>;

  /**
   * What changed between two backups, or since one. CouchDB is asked only where `to` or `from` is `live`.
   *
   * @throws ArchiveError when a backup is not whole; CouchError and StoreError.
   */
  diff(request: DiffRequest): Promise<DiffReport>;

  /**
   * Deletes the backups that no rule of their task keeps, or says which it would. Needs no CouchDB, and with `confirm`
   * the right to delete.
   *
   * @throws UsageError when no task has a retention; StoreError when the store cannot be read.
   */
  expire(request?: ExpireRequest): Promise<ExpireReport>;

  /**
   * Pins a complete backup, so that it never expires, or takes the pin off.
   *
   * @throws ArchiveError when there is no complete backup; StoreError when the pin cannot be stored.
   */
  keep(request: KeepRequest): Promise<KeepReport>;

  /**
   * Says what each task selects and why, and when it runs next. Needs no CouchDB with `offline`.
   *
   * @throws CouchError when CouchDB cannot be asked.
   */
  plan(request?: PlanRequest): Promise<Plan>;

  /** Tries all that a backup needs. Four small objects are written, always the same. @throws The reason of `signal`. */
  check(): Promise<CheckReport>;

  /**
   * Asks the store, property by property, for what backups rely on. Some small objects and some MiB are written, always
   * under the same names. Needs no CouchDB.
   *
   * @returns What was found; a store in which nothing can be kept is not an error.
   * @throws The reason of `signal` or `stop`.
   */
  checkStore(): Promise<StoreCheckReport>;

  /**
   * Notifies the monitor of an interrupted run, if there was one, and flushes the session's own log. A command still
   * running must be stopped by the signals.
   */
  close(): Promise<void>;
}
