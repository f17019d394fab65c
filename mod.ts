/**
 * couchdb-backup as a library.
 *
 * The library is what the commands are made of. A caller brings its own `CouchClient`, `Store`, log and signals.
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
export { backup } from "./src/commands/backup/backup.ts";
export type { BackupOptions, RunContext } from "./src/commands/backup/context.ts";
export { type Calendar, formatCalendar, nextElapse, parseCalendar, previousElapse } from "./src/calendar/calendar.ts";
export { type Config, loadConfig, parseConfig } from "./src/config/config.ts";
export type { Task } from "./src/task/task.ts";
export { CouchClient } from "./src/couchdb/client.ts";
export {
  ArchiveError,
  ConfigError,
  CouchError,
  exitCodeOf,
  InterruptedError,
  ProgramError,
  StoreError,
  UsageError,
} from "./src/errors.ts";
export { listBackups, listDatabases } from "./src/commands/list.ts";
export { type Manifest, parseManifest } from "./src/archive/manifest.ts";
export { type Log, type Progress, SILENT_LOG, SILENT_PROGRESS } from "./src/observe.ts";
export type { DatabaseReport, RunReport, TaskReport } from "./src/archive/report.ts";
export { restore, type RestoreReport, type RestoreRequest } from "./src/commands/restore/restore.ts";
export { Secret } from "./src/secret.ts";
export { openStore } from "./src/store/open.ts";
export type { Store, StoreOptions } from "./src/store/store.ts";
export { selectTasks, type TaskSelection } from "./src/task/selection.ts";
export { verify, type VerifyReport, type VerifyRequest } from "./src/commands/verify.ts";
