/**
 * What a session is made of, and what surrounds each of its commands: the log, the progress, the clock and the signals.
 * Types alone; openSession() makes the parts from a config, and session.ts works with them.
 */
import type { Repository } from "../archive/repository.ts";
import type { RunReport } from "../archive/report.ts";
import type { Config } from "../config/config.ts";
import type { CouchOptions } from "../couchdb/couchdb.ts";
import type { Log, Progress } from "../observe.ts";
import type { Certificates } from "./certificates.ts";

/** What surrounds a command: who hears of it, what time it is, and how it is stopped. */
export interface Surroundings {
  /** Takes the log lines. */
  log: Log;
  /** Receives the progress. */
  progress: Progress;
  /** The run's id, unique: it stands in manifests and reports. */
  run: string;
  /** What time it is. */
  now: () => Date;
  /** Ends everything at once; what a backup has stored until then can be resumed. */
  signal: AbortSignal;
  /** Ends a backup at the next chunk, what is in flight is finished; ends anything else at once. */
  stop: AbortSignal;
}

/** Tells somebody over HTTP of runs, in the background. Nothing throws or rejects. */
export interface RunNotifier {
  /** A run of these tasks begins. */
  start(tasks: readonly string[], teller: { log: Log; run: string }): void;
  /** Another machine has the run of these tasks now. */
  leave(tasks: readonly string[], teller: { log: Log; run: string }): void;
  /** A run is over; `isPart`: it was for databases that were named; `isInterrupted`: other tasks of it are not over. */
  end(report: RunReport, options: { log: Log; run: string; isPart: boolean; isInterrupted: boolean }): void;
  /** Waits until all is delivered or given up, some seconds at most. */
  settled(): Promise<void>;
}

/** What a session is made of; {@linkcode openSession} makes it from a config. */
export interface SessionParts extends Surroundings {
  /** The config, read and checked. */
  config: Config;
  /** Where its backups lie. */
  repository: Repository;
  /** The machine's name in the figures of a run; undefined: the operating system's. */
  host: string | undefined;
  /** The authorities that the config names, for the connections to its servers. */
  certificates: Certificates;
  /** Files with the identities that open sealed backups. @default what the config names */
  identityFiles?: readonly string[] | undefined;
  /** What CouchDB is asked with. @default what the config says, whose password is read when CouchDB is first needed */
  login?: CouchOptions | undefined;
  /** Delivers the queued log lines, and counts lost ones. */
  flush: () => Promise<{ lostLines: number }>;
  /** Notifies a monitor of runs; undefined if the config names none. */
  notifier: RunNotifier | undefined;
  /** Closes what was opened. */
  close: () => Promise<void>;
}
