/**
 * What is seen of a run from outside: where log lines go and who is told of its progress. The pipeline knows only these
 * two interfaces; consoles, journald, Loki and progress bars stand behind them.
 */

/** The facts of a log line. Counts and sizes carry their unit in the name: `sizeBytes`, `durationMs`. */
export type LogFields = Record<string, unknown>;

/**
 * Takes log lines: an event in a few constant words, and its facts as fields. info is what an operator wants to read in
 * the morning, debug is a line for each request. Never a secret, never a document's content.
 */
export interface Log {
  /** What helps to find a fault. */
  debug(event: string, fields?: LogFields): void;
  /** What an operator wants to read in the morning. */
  info(event: string, fields?: LogFields): void;
  /** What is probably not meant, and stops nothing. */
  warn(event: string, fields?: LogFields): void;
  /** What is not done. */
  error(event: string, fields?: LogFields): void;
  /** The same log with fields that stand on every line. */
  with(fields: LogFields): Log;
}

/** A log that keeps nothing, for callers of the library that want none. */
export const SILENT_LOG: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => SILENT_LOG,
};

/** Receives the progress of a run. Every method returns at once and never throws. */
export interface Progress {
  /** A run over `databases` databases begins (backup: those of a task; restore and verify: one). */
  runStarted(run: { action: "backup" | "restore" | "verify"; databases: number }): void;
  /** A database is in hand; `documents` is what CouchDB or the manifest says of it, undefined where nobody knows. */
  databaseStarted(database: { database: string; documents: number | undefined }): void;
  /**
   * More of a database in hand is done: documents and uncompressed bytes since the last call. Without its name it is
   * that of the database that has been in hand for the longest time.
   */
  advanced(step: { database?: string | undefined; documents: number; bytes: number }): void;
  /** A database in hand is done, or has failed. */
  databaseFinished(database: { database: string; ok: boolean }): void;
  /** The run is over; what is drawn on a terminal is cleaned up. */
  runFinished(): void;
}

/** A progress that shows nothing. */
export const SILENT_PROGRESS: Progress = {
  runStarted() {},
  databaseStarted() {},
  advanced() {},
  databaseFinished() {},
  runFinished() {},
};

/** The progress of one database among several that are in hand at once, of a run that somebody else begins and ends. */
export function withinRun(whole: Progress): Progress {
  return {
    runStarted() {},
    databaseStarted() {},
    advanced: (step) => whole.advanced(step),
    databaseFinished: (database) => whole.databaseFinished(database),
    runFinished() {},
  };
}
