/**
 * couchdb-backup: the library's API, and the program when this file is run.
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
import { fstatSync } from "node:fs";
import process from "node:process";
import { main } from "./src/cli/cli.ts";
import type { Output, Shell } from "./src/cli/shell.ts";
import { isJournal } from "./src/observe/log.ts";

export { backup } from "./src/commands/backup/backup.ts";
export type { BackupOptions, RunContext } from "./src/commands/backup/context.ts";
export { type Calendar, formatCalendar, nextElapse, parseCalendar, previousElapse } from "./src/calendar/calendar.ts";
export { type Config, loadConfig, parseConfig } from "./src/config/config.ts";
export type { Task } from "./src/task/task.ts";
export { CouchClient } from "./src/couchdb/client.ts";
export {
  ArchiveError,
  AwsError,
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
export type { RestoreRequest } from "./src/commands/restore/context.ts";
export type { RestoreReport } from "./src/commands/restore/report.ts";
export { restore } from "./src/commands/restore/restore.ts";
export { Secret } from "./src/secret.ts";
export { openStore } from "./src/store/open.ts";
export type { Store, StoreOptions } from "./src/store/store.ts";
export { selectTasks, type TaskSelection } from "./src/task/selection.ts";
export { verify, type VerifyReport, type VerifyRequest } from "./src/commands/verify.ts";

if (import.meta.main) {
  const api = process.env.AWS_LAMBDA_RUNTIME_API;
  if (api !== undefined) {
    const { startLambda } = await import("./lambda/start.ts");
    const write = (line: string) => void process.stdout.write(`${line}\n`);
    // Exited with rather than set: a handler that does not stop must not go on in a process that has given up on it.
    process.exit(await startLambda({ api, env: process.env, write }));
  }
  const shell = processShell();
  // Set rather than exited with: output that is still on its way into a pipe must not be cut off.
  process.exitCode = await main(process.argv.slice(2), shell);
}

function processShell(): Shell {
  return {
    env: process.env,
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    journal: process.env.JOURNAL_STREAM !== undefined && isJournal(process.env.JOURNAL_STREAM, fstatSync(2)),
    onSignal(listener) {
      process.on("SIGINT", listener);
      process.on("SIGTERM", listener);
      process.on("SIGHUP", listener);
      return () => {
        process.off("SIGINT", listener);
        process.off("SIGTERM", listener);
        process.off("SIGHUP", listener);
      };
    },
    exit: (code) => process.exit(code),
  };
}

function output(stream: typeof process.stdout | typeof process.stderr): Output {
  return {
    write: (text) => void stream.write(text),
    isTerminal: stream.isTTY === true,
    columns: () => stream.columns || 80,
  };
}
