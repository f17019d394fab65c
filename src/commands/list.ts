/**
 * What there is: the databases of CouchDB, and the backups in the store. Backups are found by listing folders, never by
 * scanning chunks, so that it does not matter how many a bucket holds.
 */
import { Catalog, type CatalogEntry } from "../archive/catalog.ts";
import { asDamage } from "../archive/damage.ts";
import { type DatabaseFolder, isOwnFolder } from "../archive/days.ts";
import { type FolderInventory, takeInventory } from "../archive/inventory.ts";
import { isBackupEntry } from "../archive/archive.ts";
import { type KnownDamage, readKnownDamage } from "../archive/known_damage.ts";
import { shortRun } from "../archive/layout.ts";
import { nothingHeldOf } from "../archive/held_databases.ts";
import type { Pin } from "../archive/pin.ts";
import { listCheckpoints, readCheckpoint } from "../archive/read.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { formatIsoDate, isOfFuture, parseDate } from "../dates.ts";
import { describeError, isNotFound } from "../errors.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { type BackupKind, type Checkpoint, sumChunks } from "../archive/manifest.ts";
import type { Log } from "../observe.ts";
import { formatInstant } from "../observe/figures.ts";
import { loadAhead } from "../parallel.ts";
import { joinKey, keyBelow, splitKey } from "../store/key.ts";
import type { Repository } from "../archive/repository.ts";
import { mustNameSome } from "../request.ts";
import { matcherOf } from "../task/pattern.ts";

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
  /** The URL of its folder, which may hold others. */
  path: string;
  /** What restore and verify take for exactly this one; null when it is not complete. */
  restore_path: string | null;
  /** The name of its manifest in that folder; null when it is not complete. */
  manifest: string | null;
  /** Whether it has a manifest that can be read. */
  complete: boolean;
  /** Whether it holds every document, or what has changed since another; null where nothing says. */
  kind: BackupKind | null;
  /** The eight digits that stand for its run in names; null where nothing says. */
  run: string | null;
  /** Documents; null where nobody has counted them. For a backup that has not finished: what it has so far. */
  documents: number | null;
  /** The size of its chunks in the store, likewise. */
  compressed_bytes: number | null;
  /** How many documents CouchDB could not read; null where nobody has counted them. */
  unreadable: number | null;
  /** When it was complete, in UTC, by the store's clock where that was told; null when it is not. */
  finished_at: string | null;
  /** How long ago that was; null when it is not complete. */
  age_seconds: number | null;
  /** Whether it is pinned, so that it never expires. */
  kept: boolean;
  /** Why, in the words of who has pinned it; null where nobody said. */
  kept_because: string | null;
  /**
   * When `verify --all` or `test-restore` first found it damaged, in UTC; null where neither has, or it was found sound
   * since.
   */
  found_damaged_at: string | null;
  /**
   * What keeps its manifest from being deleted, as the store says; null where nothing does. Absent unless it was asked
   * for.
   */
  hold?: string | null;
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
  { match }: Pick<ListRequest, "match"> = {},
): Promise<{ databases: ListedDatabase[] }> {
  mustNameSome(match, "match");
  const isWanted = matcherOf(match);
  const wanted = (await couch.listDatabases({ signal })).filter(isWanted);
  return { databases: wanted.map((database) => ({ database, encoded: encodeDatabase(database) })) };
}

/** What backups are listed with. */
export interface ListContext {
  /** Where the backups lie. */
  repository: Repository;
  /** Is told where the store does not say what was found damaged. */
  log: Log;
  /** Ends it; the reason is thrown. */
  signal: AbortSignal;
  /** What time it is, for the age of backups. @default the clock of this machine */
  now?: (() => Date) | undefined;
}

/** What of a repository is to be listed. */
export interface ListRequest {
  /** Only backups of this database; encoded or not. */
  database?: string | undefined;
  /** Only backups of databases of which one of these patterns matches the whole name. @default all */
  match?: readonly string[] | undefined;
  /** Only backups that were complete then or later; one that is not complete counts from its date. @default all */
  since?: Date | undefined;
  /** Only backups that were complete then or before. @default all */
  until?: Date | undefined;
  /** Make an entry in the catalog for each complete backup that has none. @default false */
  rebuild?: boolean | undefined;
  /** Ask the store, a request for each backup that is shown, until when it is locked. @default false */
  locks?: boolean | undefined;
}

/** What there is in the store. */
export interface BackupList {
  /** The backups, those first that were complete last. */
  backups: ListedBackup[];
  /** How many entries were made in the catalog; absent where it was not asked to be made anew. */
  catalog_added?: number;
}

/**
 * Lists the backups below the config's prefix and suffix: the day on which they were complete (the date in the path
 * where they are not), the newest first; within a day by database, and then the newest first.
 *
 * @throws UsageError where one database is named and there is nothing of it, and for a pattern that is none; StoreError
 * when the store fails; the reason of `context.signal`. A damaged backup is listed with its problem.
 */
export async function listBackups(
  context: ListContext,
  options: ListRequest = {},
): Promise<BackupList> {
  const { repository, log, signal, now = () => new Date() } = context;
  const database = options.database === undefined ? undefined : decodeDatabase(options.database);
  mustNameSome(options.match, "match");
  const isWanted = matcherOf(options.match);
  const catalog = new Catalog(repository);
  const damage = await readKnownDamage(repository, { log, signal });
  const describe = async (found: FolderInventory, signal: AbortSignal) => {
    const added = options.rebuild === true ? found.uncatalogued : [];
    for (const entry of added) await catalog.add(entry, { signal });
    return { rows: await describeFolder(repository, found, { damage, signal }), added: added.length };
  };
  const inventory = takeInventory(repository, { database, isWanted, signal });
  const listedAt = now();
  const rows: (Placed & Omit<ListedBackup, "restore_path">)[] = [];
  let added = 0;
  for await (const described of loadAhead(inventory, describe, { limit: FOLDERS_AT_ONCE, signal })) {
    for (const row of described.rows) rows.push({ ...row, age_seconds: ageOf(row, listedAt) });
    added += described.added;
  }
  if (database !== undefined && rows.length === 0 && isWanted(database)) {
    throw await nothingHeldOf(repository, database, { signal });
  }
  const chosen = withPaths(rows, repository).filter((row) => isWithin(row, options)).sort(compareBackups);
  const backups = options.locks === true
    ? await withHolds(repository, chosen, signal)
    : chosen.map(({ folder: _, ...backup }) => backup);
  return options.rebuild === true ? { backups, catalog_added: added } : { backups };
}

/** The same backups, with what keeps each from being deleted; all of a backup is locked alike. */
async function withHolds(
  repository: Repository,
  backups: readonly (Placed & ListedBackup)[],
  signal: AbortSignal,
): Promise<ListedBackup[]> {
  const look = async ({ folder, ...backup }: Placed & ListedBackup, signal: AbortSignal): Promise<ListedBackup> => {
    const { manifest } = backup;
    if (manifest === null) return { ...backup, hold: null };
    const facts = await repository.store.stat(joinKey(folder, manifest), { signal });
    return { ...backup, hold: facts?.hold ?? null };
  };
  return await Array.fromAsync(loadAhead(backups, look, { limit: FOLDERS_AT_ONCE, signal }));
}

function ageOf({ finished_at }: Row, now: Date): number | null {
  if (finished_at === null || isOfFuture(new Date(finished_at), now)) return null;
  // Clocks differ: what was complete a moment ago is not of the future.
  return Math.max(0, Math.round((now.getTime() - Date.parse(finished_at)) / 1000));
}

function isWithin({ finished_at, date }: Row, { since, until }: ListRequest): boolean {
  const moment = Date.parse(finished_at ?? date);
  return moment >= (since?.getTime() ?? -Infinity) && moment <= (until?.getTime() ?? Infinity);
}

/** By day, the latest first; then by database; then the latest first, and of one moment by the date in the path. */
function compareBackups(a: ListedBackup, b: ListedBackup): number {
  const dayOf = ({ finished_at, date }: ListedBackup) => finished_at?.slice(0, 10) ?? date;
  const [left, right] = [dayOf(a), dayOf(b)];
  if (left !== right) return left < right ? 1 : -1;
  // Keys are ordered by the encoded names, in which "a/b" comes before "a".
  if (a.database !== b.database) return a.database < b.database ? -1 : 1;
  const momentOf = ({ finished_at, date }: ListedBackup) => `${finished_at ?? date} ${date}`;
  const [earlier, later] = [momentOf(a), momentOf(b)];
  return earlier === later ? 0 : earlier < later ? 1 : -1;
}

/** The key of the folder that a backup lies in, which need not be the one that is made of its database's name. */
interface Placed {
  folder: string;
}

/** A backup but for its age, and for what others are listed beside it. */
type Row = Placed & Omit<ListedBackup, "age_seconds" | "restore_path">;

/**
 * Gives each complete backup the path that is its alone: the moment at which it was complete, in whole seconds as
 * people write it; and where two of a database were complete in one second, or it lies in a folder of another spelling,
 * where no moment finds it, the URL of its manifest.
 */
function withPaths(
  rows: readonly (Placed & Omit<ListedBackup, "restore_path">)[],
  repository: Repository,
): (Placed & ListedBackup)[] {
  const momentOf = ({ finished_at, database, date, folder }: Row) =>
    finished_at === null || !isOwnFolder(repository, { database, date: parseDate(date)!, folder })
      ? undefined
      : `${formatInstant(finished_at)}/${encodeDatabase(database)}`;
  const counts = new Map<string | undefined, number>();
  for (const row of rows) counts.set(momentOf(row), (counts.get(momentOf(row)) ?? 0) + 1);
  return rows.map((row) => {
    const moment = momentOf(row);
    const isFound = moment !== undefined && counts.get(moment) === 1;
    const restore_path = row.manifest === null ? null : isFound ? moment : `${row.path}/${row.manifest}`;
    return { ...row, restore_path };
  });
}

async function describeFolder(
  repository: Repository,
  found: FolderInventory,
  { damage, signal }: { damage: KnownDamage; signal: AbortSignal },
): Promise<Row[]> {
  const empty = emptyRow(repository, found);
  const rows = [
    ...found.backups.map((entry) => ({
      ...rowOf(empty, entry, found.pins.get(entry.run)),
      found_damaged_at: damage.markOf(keyBelow(repository.prefix, entry.manifestKey))?.foundAt.toISOString() ?? null,
    })),
    ...found.damaged.map((error) => ({ ...empty, problem: describeError(error) })),
  ];
  return rows.length > 0 ? rows : await describeUnfinished(repository, found, signal);
}

function emptyRow({ store }: Repository, { database, date, folder }: DatabaseFolder): Row {
  return {
    database,
    date: formatIsoDate(date),
    task: null,
    folder,
    path: store.locate(folder),
    manifest: null,
    complete: false,
    kind: null,
    run: null,
    documents: null,
    compressed_bytes: null,
    unreadable: null,
    finished_at: null,
    kept: false,
    kept_because: null,
    found_damaged_at: null,
  };
}

function rowOf(empty: Row, entry: CatalogEntry, pin: Pin | undefined): Row {
  const { task, kind, run, documents, unreadable } = entry;
  return {
    ...empty,
    task,
    manifest: splitKey(entry.manifestKey).name,
    complete: true,
    kind,
    run,
    documents,
    compressed_bytes: entry.compressedBytes,
    unreadable,
    finished_at: entry.finishedAt.toISOString(),
    kept: pin !== undefined,
    kept_because: pin?.reason ?? null,
  };
}

/** A folder without a manifest: a backup that has not finished, chunks alone, or nothing. */
async function describeUnfinished(repository: Repository, place: DatabaseFolder, signal: AbortSignal): Promise<Row[]> {
  const { store } = repository;
  const { folder } = place;
  const empty = emptyRow(repository, place);
  const rows: Row[] = [];
  for (const name of await listCheckpoints(store, folder, { signal })) {
    try {
      rows.push(rowOfCheckpoint(empty, await readCheckpoint(store, folder, { name, signal })));
    } catch (error) {
      if (isNotFound(error)) continue;
      rows.push({ ...empty, problem: describeError(asDamage(error, joinKey(folder, name))) });
    }
  }
  if (rows.length > 0) return rows;
  for await (const entry of store.list(folder, { signal })) {
    if (isBackupEntry(entry)) return [{ ...empty, problem: "It has no manifest" }];
  }
  return [];
}

function rowOfCheckpoint(empty: Row, { task, kind, run, chunks, unreadable }: Checkpoint): Row {
  const { documents, compressed_bytes } = sumChunks(chunks);
  return {
    ...empty,
    task,
    kind,
    run: shortRun(run),
    documents,
    compressed_bytes,
    unreadable: unreadable.length,
    problem: "It has not finished",
  };
}
