/**
 * couchdb-backup as a library: everything that the command line does, without a process of its own. Nothing happens
 * when it is imported, nothing is written to the console, and the environment is an argument.
 *
 * {@linkcode openSession} opens a config and gives a method for each command. Every error that is expected is a
 * {@linkcode ProgramError}; what fails within a run is in the run's report.
 *
 * @example Back up what a config selects, compare a backup with its manifest, and restore it under another name
 * ```ts ignore
 * import { loadConfig, openSession } from "couchdb-backup";
 * import process from "node:process";
 *
 * const config = await loadConfig({ path: "config.yaml", env: process.env });
 * await using session = await openSession({ config });
 *
 * const report = await session.backup({ tasks: ["weekly"] });
 * for (const { database, status, documents, error } of report.tasks.flatMap((task) => task.databases)) {
 *   console.log(`${database}: ${status}, ${documents} documents`, error ?? "");
 * }
 *
 * const { ok, problems } = await session.verify({ database: "orders", path: "latest" });
 * if (!ok) throw new Error(`The backup is damaged: ${JSON.stringify(problems)}`);
 *
 * const restored = await session.restore({ database: "orders_copy", path: "latest/orders" });
 * console.log(`${restored.documents} documents of ${restored.path} are in "${restored.database}"`);
 * ```
 *
 * @example What a config would select, and when it runs next
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const text = `
 * database: {url: "http://[::1]:5984"}
 * task: {weekly: {cron: "Sat *-*-1..7 18:00:00 UTC", databases: ["account%2F[0-9a-f]{4}", "media"]}}
 * bucket: "file:///var/backup"
 * `;
 * const config = parseConfig(text, { file: "config.yaml", env: {} });
 * const startedAt = new Date("2026-01-03T18:00:00Z");
 * const [selection] = selectTasks(["account/00ff", "account/xyz", "media"], config.tasks, { startedAt });
 * assertEquals(selection?.databases.map(({ database }) => database), ["account/00ff", "media"]);
 *
 * const next = nextElapse(parseCalendar("Sat *-*-1..7 18:00:00"), startedAt, "UTC");
 * assertEquals(next, new Date("2026-02-07T18:00:00Z"));
 * ```
 *
 * @module
 */
import { openSession as openProgramSession } from "./src/session/open.ts";
import type { Session, SessionOptions } from "./src/session/library.ts";

/**
 * Opens a config: its store, its log, and CouchDB as soon as something needs it. Its warnings go to the log.
 *
 * @throws StoreError with code `bad_bucket` or `bad_endpoint`, or AwsError with code `no_credentials`, when the config
 * cannot name a store; ConfigError when a `ca_file` cannot be used.
 *
 * @example What lies in a repository; no CouchDB and no password of it is needed
 * ```ts
 * const text = "database: {url: 'http://[::1]:5984'}\ntask: {all: {databases: ['.*']}}\nbucket: file:///var/no/backup\n";
 * await using session = await openSession({ config: parseConfig(text, { file: "config.yaml", env: {} }) });
 * const { backups } = await session.list();
 * if (backups.length > 0) throw new Error("There should be no backup");
 * ```
 */
export function openSession(options: SessionOptions): Promise<Session> {
  return openProgramSession(options);
}

export type { Session, SessionOptions };
export type { BackupRequest, PlanRequest } from "./src/session/requests.ts";

export type { DatabaseReport, DatabaseStatus, RunReport, TaskReport } from "./src/archive/report.ts";
export type { BackupKind, Totals } from "./src/archive/manifest.ts";
export type { ChunkProblem } from "./src/archive/archive.ts";
export type { Leaf } from "./src/archive/walk.ts";
export type { Check, CheckReport } from "./src/commands/check.ts";
export type { StoreCheckReport } from "./src/commands/check_store.ts";
export type { DiffIds, DiffReport, DiffRequest } from "./src/commands/diff.ts";
export type { ExportRequest } from "./src/commands/export.ts";
export type { DocumentState, FoundDocument } from "./src/commands/find.ts";
export type { ShownDocument, ShowRequest } from "./src/commands/show.ts";
export type { Sink } from "./src/commands/sink.ts";
export type { ExpireRequest } from "./src/commands/expire/expire.ts";
export type { ExpiredBackup, ExpireProblem, ExpireReport, KeptBy } from "./src/commands/expire/report.ts";
export type { KeepReport, KeepRequest } from "./src/commands/keep.ts";
export type { BackupList, ListedBackup, ListedDatabase, ListRequest } from "./src/commands/list.ts";
export type { ChangeForecast } from "./src/commands/backup/forecast.ts";
export type { Plan, TaskPlan } from "./src/commands/plan.ts";
export type { NewRevision, RefusedDocument } from "./src/commands/restore/as_new.ts";
export type { FleetRequest, RestoreRequest } from "./src/commands/restore/context.ts";
export type { NewerDocuments } from "./src/commands/restore/delta.ts";
export type { FewerDocuments, FleetDatabase, FleetReport, LeftOut } from "./src/commands/restore/fleet_report.ts";
export type { RestoreReport } from "./src/commands/restore/report.ts";
export type { LackingSetting } from "./src/commands/restore/target.ts";
export type { Size, SizesReport, SizeWithLeftovers } from "./src/commands/sizes.ts";
export type { TestRestoreReport, TestRestoreRequest } from "./src/commands/test_restore/test_restore.ts";
export type { ProvedBackup, UndecidedBackup } from "./src/commands/undecided.ts";
export type { FaultyBackup, Sample, VerifyAllReport, VerifyAllRequest } from "./src/commands/verify_all.ts";
export type { VerifyReport, VerifyRequest } from "./src/commands/verify.ts";
export type { UnreadableDocument } from "./src/couchdb/couchdb.ts";
export type { FailedRevision } from "./src/couchdb/write.ts";
export type { StoreFinding, StoreProperty } from "./src/store/questions.ts";

export {
  type CaFiles,
  type Config,
  type ConfigSource,
  type DatabaseOptions,
  type Environment,
  loadConfig,
  type LokiOptions,
  type NamedFile,
  type NotifyAddress,
  parseConfig,
  type PasswordFile,
  type PrometheusOptions,
} from "./src/config/config.ts";
export type { Address } from "./src/config/values.ts";
export type { AwsOptions, AwsService, KeyOptions, KeySources } from "./src/aws/options.ts";
export type { ContainerAgent } from "./src/aws/container_credentials.ts";
export type { Codec, Compression } from "./src/codec/compression.ts";
export type { CouchOptions } from "./src/couchdb/couchdb.ts";
export type { ObjectLock, StoreOptions } from "./src/store/store.ts";
export type { Protection, RetentionRules, Span } from "./src/task/retention.ts";
export type { IncrementPolicy, Task } from "./src/task/task.ts";
export type { Fetch } from "./src/trusted_fetch.ts";

export type { BackupDate } from "./src/dates.ts";
export {
  type Calendar,
  type Component,
  formatCalendar,
  nextElapse,
  parseCalendar,
  previousElapse,
} from "./src/calendar/calendar.ts";
export type { ExcludedDatabase, SelectedDatabase } from "./src/task/select.ts";
export { type SelectionOptions, selectTasks, type TaskSelection } from "./src/task/selection.ts";

export { type Log, type LogFields, type Progress, SILENT_LOG, SILENT_PROGRESS } from "./src/observe.ts";
export { Secret } from "./src/secret.ts";
export {
  ArchiveError,
  type ArchiveFacts,
  AwsError,
  type AwsFacts,
  ConfigError,
  type ConfigPlace,
  CouchError,
  type CouchFacts,
  type ErrorContext,
  ProgramError,
  StoreError,
  type StoreFacts,
  UsageError,
} from "./src/errors.ts";
