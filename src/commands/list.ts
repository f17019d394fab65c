/**
 * What there is: the databases of CouchDB, and the backups in the store. Backups are found by listing folders, never by
 * scanning objects, so that it does not matter how many chunks a bucket holds.
 */
import { listDays } from "../archive/find.ts";
import { isBackupEntry } from "../archive/archive.ts";
import { readCheckpoint, readManifest } from "../archive/read.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { formatDate } from "../dates.ts";
import { ArchiveError, describeError, isNotFound } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { sumChunks } from "../archive/manifest.ts";
import { loadAhead } from "../parallel.ts";
import type { Repository } from "../archive/repository.ts";
import type { Store } from "../store/store.ts";

/** Folders that are looked at at once. */
const FOLDERS_AT_ONCE = 16;

/** One database of CouchDB. */
export interface ListedDatabase {
  /** The decoded name. */
  database: string;
  /** The name as in a URL and in the archive. */
  encoded: string;
}

/** One backup in the store. */
export interface ListedBackup {
  /** The decoded name. */
  database: string;
  /** The date in the path, `2026-01-03`. */
  date: string;
  /** The task that made it; null where nothing says. */
  task: string | null;
  /** The URL of its folder. */
  path: string;
  /** Whether it has a manifest that can be read. */
  complete: boolean;
  /** Documents; null where nobody has counted them. For a backup that has not finished: what it has so far. */
  documents: number | null;
  /** The size of its chunks in the store, likewise. */
  compressed_bytes: number | null;
  /** When it was complete, in UTC; null when it is not. */
  finished_at: string | null;
  /** Why it is not complete. */
  problem?: string;
}

/**
 * Lists the databases of CouchDB, system databases among them.
 *
 * @throws CouchError when CouchDB cannot be asked; the reason of `context.signal`.
 */
export async function listDatabases(
  { couch, signal }: { couch: CouchClient; signal: AbortSignal },
): Promise<{ databases: ListedDatabase[] }> {
  const names = await couch.listDatabases({ signal });
  return { databases: names.map((database) => ({ database, encoded: encodeDatabase(database) })) };
}

/**
 * Lists the backups below the config's prefix and suffix, the newest date first, then by database.
 *
 * @param options `database`: only backups of this one, encoded or not.
 * @throws StoreError when the store fails; the reason of `context.signal`. A damaged backup is listed with its problem.
 */
export async function listBackups(
  context: { repository: Repository; signal: AbortSignal },
  options: { database?: string | undefined } = {},
): Promise<{ backups: ListedBackup[] }> {
  const { repository, signal } = context;
  const database = options.database === undefined ? undefined : decodeDatabase(options.database);
  const found = loadAhead(
    findFolders(context, database),
    (folder, signal) => describeFolder(repository.store, folder, signal),
    { limit: FOLDERS_AT_ONCE, signal },
  );
  const backups: ListedBackup[] = [];
  for await (const backup of found) if (backup !== undefined) backups.push(backup);
  // Keys are ordered by the encoded names, in which "a/b" comes before "a".
  backups.sort((a, b) => a.date === b.date ? (a.database < b.database ? -1 : 1) : a.date < b.date ? 1 : -1);
  return { backups };
}

interface DatabaseFolder {
  database: string;
  date: string;
  folder: string;
}

/** The folders that may be backups, day by day. */
async function* findFolders(
  { repository, signal }: { repository: Repository; signal: AbortSignal },
  database: string | undefined,
): AsyncGenerator<DatabaseFolder> {
  const { store, suffix } = repository;
  const listDay = async (day: { date: string; folder: string }, signal: AbortSignal): Promise<DatabaseFolder[]> => {
    const below = joinKey(day.folder, suffix);
    if (database !== undefined) {
      return [{ database, date: day.date, folder: joinKey(below, encodeDatabase(database)) }];
    }
    const folders: DatabaseFolder[] = [];
    for await (const { kind, name } of store.list(below, { signal })) {
      if (kind === "folder") {
        folders.push({ database: decodeDatabase(name), date: day.date, folder: joinKey(below, name) });
      }
    }
    return folders;
  };
  const days = (async function* () {
    for await (const { date, folder } of listDays(repository, { signal })) {
      yield { date: formatDate(date).replaceAll("/", "-"), folder };
    }
  })();
  for await (const folders of loadAhead(days, listDay, { limit: FOLDERS_AT_ONCE, signal })) yield* folders;
}

/** What a folder says of its backup; undefined when it holds none. */
async function describeFolder(
  store: Store,
  { database, date, folder }: DatabaseFolder,
  signal: AbortSignal,
): Promise<ListedBackup | undefined> {
  const backup: ListedBackup = {
    database,
    date,
    task: null,
    path: store.locate(folder),
    complete: false,
    documents: null,
    compressed_bytes: null,
    finished_at: null,
  };
  try {
    const { task, totals, finished_at } = await readManifest(store, folder, { signal });
    const { documents, compressed_bytes } = totals;
    return { ...backup, task, complete: true, documents, compressed_bytes, finished_at };
  } catch (error) {
    if (error instanceof ArchiveError) return { ...backup, problem: describeError(error) };
    if (!isNotFound(error)) throw error;
  }
  try {
    const { task, chunks } = await readCheckpoint(store, folder, { signal });
    const { documents, compressed_bytes } = sumChunks(chunks);
    return { ...backup, task, documents, compressed_bytes, problem: "It has not finished" };
  } catch (error) {
    if (error instanceof ArchiveError) return { ...backup, problem: describeError(error) };
    if (!isNotFound(error)) throw error;
  }
  for await (const entry of store.list(folder, { signal })) {
    if (isBackupEntry(entry)) return { ...backup, problem: "It has no manifest" };
  }
  return undefined;
}
