/**
 * What a repository held at a moment: of each database the newest backup that was complete then, and which databases
 * the last runs before it had selected. In: a repository and a moment, or none for now. Out: what a whole cluster is
 * brought back from.
 */
import { decodeDatabase } from "../database_name.ts";
import { ArchiveError, describeError, isOutOfReach, type StoreError } from "../errors.ts";
import type { Log, LogFields } from "../observe.ts";
import { loadAhead } from "../parallel.ts";
import type { JsonOptions } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { heldDatabases } from "./held_databases.ts";
import { parseRunFolderName } from "./layout.ts";
import type { Repository } from "./repository.ts";
import { listManualRuns, readManualRun } from "./manual_run.ts";
import type { RunReport, TaskReport } from "./report.ts";
import { findRestorePoint, type RestorePoint } from "./restore_point.ts";
import { RunFolder } from "./run_folder.ts";

/** Databases that are looked for at once. */
const DATABASES_AT_ONCE = 16;
/** How many runs of a task before the moment are searched for one that tells what it selected. */
const MOST_RUNS = 30;

/** What is looked for. */
export interface MomentSearch extends StoreCallOptions {
  /** The newest that was complete then. @default the newest of all */
  notAfter?: Date | undefined;
  log: Log;
  /** @default the clock of this machine */
  now?: (() => Date) | undefined;
  /** Which databases, by their decoded names. @default all */
  isWanted?: ((database: string) => boolean) | undefined;
  /**
   * Receives the databases whose newest backup the store does not give out, as from an archive tier: an older one must
   * not stand for it unnoticed. @default the error is thrown
   */
  onOutOfReach?: ((database: string, error: StoreError) => void) | undefined;
}

/** A database and its newest backup at the moment. */
export interface BackupOfMoment {
  /** Decoded. */
  database: string;
  point: RestorePoint;
}

/**
 * The newest complete backup of each database at a moment, in the order of their names. A database that has none is
 * told in the log at debug level: it may have come later.
 */
export async function* backupsOfMoment(repository: Repository, search: MomentSearch): AsyncGenerator<BackupOfMoment> {
  const { isWanted = () => true, onOutOfReach, log, signal } = search;
  const names = [...await heldDatabases(repository, { signal })].filter(isWanted).sort();
  const find = async (database: string, signal: AbortSignal): Promise<BackupOfMoment | undefined> => {
    try {
      return { database, point: await findRestorePoint(repository, database, { ...search, isNameSure: true, signal }) };
    } catch (error) {
      if (onOutOfReach !== undefined && isOutOfReach(error)) onOutOfReach(database, error);
      else if (!(error instanceof ArchiveError)) throw error;
      else log.debug("database has no complete backup of that moment", { database });
      return undefined;
    }
  };
  for await (const found of loadAhead(names, find, { limit: DATABASES_AT_ONCE, signal })) {
    if (found !== undefined) yield found;
  }
}

/** What the last run of a task before a moment was to save. */
export interface LastSelection {
  task: string;
  /** When its schedule fired, or it was begun by hand. */
  at: Date;
  /** When it really began: later, where the run before it took long. */
  begunAt: Date;
  /** The date in its paths, `2026-01-03`. */
  date: string;
  /** The databases as they came out, by decoded names. */
  databases: ReadonlyMap<string, TaskReport["databases"][number]["status"]>;
  /** When a complete backup was there of those that were saved, by decoded names. */
  savedAt: ReadonlyMap<string, Date>;
}

/** Which of a task's runs is looked for. */
export interface SelectionSearch extends StoreCallOptions {
  /** The last one that had begun by then. @default the last of all */
  notAfter?: Date | undefined;
  log: Log;
}

/** Of each task that has left a report, the last run that had begun at a moment. */
export async function lastSelections(repository: Repository, search: SelectionSearch): Promise<LastSelection[]> {
  const found: LastSelection[] = [];
  for await (const task of tasksWithRuns(repository, search)) {
    const last = await lastSelection(repository, task, search);
    if (last !== undefined) found.push(last);
  }
  return found;
}

/** The tasks that have a folder of runs, each once: somebody else's folder may have any name, and other spellings. */
export async function* tasksWithRuns(
  repository: Repository,
  { signal }: StoreCallOptions,
): AsyncGenerator<string> {
  const { store, runsFolder } = repository;
  for await (const { kind, name } of store.list(runsFolder, { signal })) {
    // Tasks are written as databases are.
    const task = decodeDatabase(name);
    if (kind === "folder" && joinKey(runsFolder, name) === repository.taskFolder(task)) yield task;
  }
}

async function lastSelection(
  repository: Repository,
  task: string,
  { notAfter, log, signal }: SelectionSearch,
): Promise<LastSelection | undefined> {
  const runs = (await listRuns(repository, task, { signal })).filter(({ at }) =>
    notAfter === undefined || at <= notAfter
  );
  for (const { at, read } of runs.slice(0, MOST_RUNS)) {
    let report: RunReport | undefined;
    let problem: LogFields | undefined;
    const onUnusable = (key: string) => problem ??= { problem: "it is damaged, or of a later version", key };
    try {
      report = await read({ onUnusable });
    } catch (error) {
      if (!isOutOfReach(error)) throw error;
      problem = { error: describeError(error), hint: error.hint };
    }
    // Where the report cannot be used, that of a generation may have been read in its place.
    if (report === undefined && problem !== undefined) {
      log.warn("report of a run cannot be used: an earlier one, if there is one, says which databases there were", {
        task,
        at: at.toISOString(),
        ...problem,
      });
    }
    const begunAt = new Date(report?.started_at ?? at);
    // A run that began after the moment does not count: what it found to be gone may still have been there.
    if (notAfter !== undefined && begunAt > notAfter) continue;
    const { databases = [], date = "" } = report?.tasks.find((one) => one.task === task) ?? {};
    // A run that could not list the databases tells nothing of them, nor does one whose report cannot be read.
    if (databases.length === 0) continue;
    const savedAt = databases.flatMap(({ database, backed_up_at: moment }) =>
      moment === undefined ? [] : [[database, new Date(moment)] as const]
    );
    return {
      task,
      at,
      begunAt,
      date,
      databases: new Map(databases.map(({ database, status }) => [database, status])),
      savedAt: new Map(savedAt),
    };
  }
  return undefined;
}

/** A run that may have left a report. */
export interface ReportedRun {
  /** When its schedule fired, or it was begun by hand. */
  at: Date;
  /** Whether somebody began it by hand, with the command; one that a Lambda was asked for has a folder as elapses have. */
  isByHand: boolean;
  /** What it came to, as far as it has come to an end. */
  read: (options?: JsonOptions) => Promise<RunReport | undefined>;
}

/** The runs of a task, by schedule and by hand, the latest first. */
export async function listRuns(
  repository: Repository,
  task: string,
  options: StoreCallOptions,
): Promise<ReportedRun[]> {
  const runs: ReportedRun[] = [];
  for await (const { kind, name } of repository.store.list(repository.taskFolder(task), options)) {
    const at = kind === "folder" ? parseRunFolderName(name) : undefined;
    if (at === undefined) continue;
    const folder = new RunFolder(repository, { task, elapse: at });
    const read = async (more?: JsonOptions) => {
      const all = { ...options, ...more };
      return await folder.readReport(all) ?? (await folder.readNewestGeneration(all))?.report;
    };
    runs.push({ at, isByHand: false, read });
  }
  for (const run of await listManualRuns(repository, task, options)) {
    runs.push({ at: run.at, isByHand: true, read: (more) => readManualRun(repository, run, { ...options, ...more }) });
  }
  return runs.sort((a, b) => b.at.getTime() - a.at.getTime());
}
