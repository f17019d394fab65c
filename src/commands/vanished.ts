/**
 * Decides whether a backup was deleted by `expire` while a command looked at the backups, or is damaged. In: backups
 * with which something was found to be wrong. Out: those that `expire` has deleted do not count, and the log says so;
 * the others are faults.
 *
 * A backup that `expire` has deleted has no manifest, no `manifest.json` that is its copy, and no entry in the catalog:
 * `expire` deletes them in this order. And there is another backup of the database that is at least as new, because
 * `expire` always keeps the newest. So it is a fault if only the manifest is lost, or if every backup of a database is.
 */
import { Catalog } from "../archive/catalog.ts";
import { MANIFEST_NAME, shortRun } from "../archive/layout.ts";
import { readManifest } from "../archive/read.ts";
import type { Repository } from "../archive/repository.ts";
import { findRestorePoint } from "../archive/restore_point.ts";
import { wait } from "../abort.ts";
import { ArchiveError, isNotFound, isOutOfReach, UsageError } from "../errors.ts";
import { type Log, SILENT_LOG } from "../observe.ts";
import { forEachParallel } from "../parallel.ts";
import { splitKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";

/** How long to wait before looking again: after the manifest `expire` takes a moment to delete the rest of a backup. */
const LOOK_AGAIN_MS = 3000;
/** Backups that are judged at once. */
const AT_ONCE = 16;

/** A backup at which something was found to be wrong. */
export interface SuspectBackup {
  /** The decoded name. */
  database: string;
  /** The key of its manifest. */
  key: string;
  /** The eight digits that stand for its run. */
  run: string;
  finishedAt: Date;
}

/** What is done when it is known what a suspect is. */
interface Verdict {
  /** Notes it as a fault; with what the store has failed with where it could not be judged. */
  noteFault: (failure?: unknown) => void;
  /** Notes that it has expired. @default the log says so, and nothing else is done */
  noteExpired?: (() => void) | undefined;
}

interface Suspect extends Verdict {
  backup: SuspectBackup;
}

/** The backups of one run whose manifests have vanished. */
export class Vanished {
  readonly #repository: Repository;
  readonly #log: Log;
  readonly #lookAgainMs: number;
  readonly #suspects: Suspect[] = [];

  /** @param options.lookAgainMs After how long one of which something is there still is looked at once more. */
  constructor(
    { repository, log, lookAgainMs = LOOK_AGAIN_MS }: {
      repository: Repository;
      log: Log;
      lookAgainMs?: number | undefined;
    },
  ) {
    this.#repository = repository;
    this.#log = log;
    this.#lookAgainMs = lookAgainMs;
  }

  /**
   * Takes a backup at which something is wrong: one whose manifest is there is noted as a fault at once, and one whose
   * manifest is gone is judged in the end.
   */
  async take(backup: SuspectBackup, verdict: Verdict, { signal }: StoreCallOptions): Promise<void> {
    try {
      if (await this.#repository.store.stat(backup.key, { signal }) === undefined) {
        return void this.#suspects.push({ backup, ...verdict });
      }
    } catch (failure) {
      signal?.throwIfAborted();
      return verdict.noteFault(failure);
    }
    verdict.noteFault();
  }

  /** Judges those that were taken. @returns How many have expired. */
  async settle({ signal }: StoreCallOptions): Promise<number> {
    const rest = await this.#judge(this.#suspects, { signal });
    if (rest.length === 0) return this.#suspects.length;
    // A running expire may be between the manifest and what it deletes after it.
    await wait(this.#lookAgainMs, signal);
    const faulty = await this.#judge(rest, { signal });
    for (const { noteFault, failure } of faulty) noteFault(failure);
    return this.#suspects.length - faulty.length;
  }

  /** @returns Those that have not expired, or of which the store does not tell. */
  async #judge(
    suspects: readonly Suspect[],
    { signal }: StoreCallOptions,
  ): Promise<(Suspect & { failure?: unknown })[]> {
    const rest: (Suspect & { failure?: unknown })[] = [];
    const judge = async (one: Suspect, signal: AbortSignal) => {
      try {
        if (!await hasExpired(this.#repository, one.backup, { signal })) return void rest.push(one);
      } catch (failure) {
        signal.throwIfAborted();
        return void rest.push({ ...one, failure });
      }
      const { database, key, finishedAt } = one.backup;
      const path = this.#repository.locate(key);
      this.#log.info("backup has expired meanwhile: it is not counted", {
        database,
        path,
        finishedAt: finishedAt.toISOString(),
      });
      one.noteExpired?.();
    };
    await forEachParallel(() => suspects, judge, { limit: AT_ONCE, signal });
    return rest;
  }
}

/** Whether nothing is left of a backup, and one that is at least as new is there. */
async function hasExpired(
  repository: Repository,
  backup: SuspectBackup,
  { signal }: StoreCallOptions,
): Promise<boolean> {
  const { database, key, run, finishedAt } = backup;
  if (await repository.store.stat(key, { signal }) !== undefined) return false;
  if (await hasCopy(repository, backup, { signal })) return false;
  const entries = await new Catalog(repository).keys(database, { signal });
  if (entries.some((entry) => entry.manifestKey === key && entry.run === run)) return false;
  try {
    const newest = await findRestorePoint(repository, database, { log: SILENT_LOG, isNameSure: true, signal });
    return newest.finishedAt >= finishedAt;
  } catch (error) {
    if (error instanceof ArchiveError || error instanceof UsageError) return false;
    throw error;
  }
}

/** Whether the folder's `manifest.json` is, or may be, the copy of its manifest. */
async function hasCopy(
  { store }: Repository,
  { key, run }: SuspectBackup,
  { signal }: StoreCallOptions,
): Promise<boolean> {
  const { folder, name } = splitKey(key);
  if (name === MANIFEST_NAME) return false;
  try {
    return shortRun((await readManifest(store, folder, { name: MANIFEST_NAME, signal })).run) === run;
  } catch (error) {
    if (isNotFound(error)) return false;
    if (error instanceof ArchiveError || isOutOfReach(error)) return true;
    throw error;
  }
}
