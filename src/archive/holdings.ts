/**
 * All that a repository holds of a database, by its folders alone, for `expire`. In: a repository. Out:
 * for each database its complete backups, what they consist of and need, and what else lies beside them. The
 * catalog is not used: what is missing in it would be taken for not needed.
 */
import { type BackupDate, formatDate, parseDate } from "../dates.ts";
import { ArchiveError, isNotFound } from "../errors.ts";
import { loadAhead } from "../parallel.ts";
import { joinKey, keyBelow, splitKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { RetentionHold, RetentionPoint } from "../task/retention.ts";
import { Catalog, type CatalogKey } from "./catalog.ts";
import { asDamage, explainMisplaced } from "./damage.ts";
import { type DatedFolder, isOwnFolder, listDatabases, listDays } from "./days.ts";
import { KnownDamage } from "./known_damage.ts";
import { MANIFEST_NAME, manifestName, pinName, shortRun } from "./layout.ts";
import type { Manifest } from "./manifest.ts";
import { readPin } from "./pin.ts";
import { manifestsAmong, readManifest, readManifests } from "./read.ts";
import type { Repository } from "./repository.ts";

/** Folders that are looked into at once, of one database or of several. */
const FOLDERS_AT_ONCE = 16;

/** An object as its folder's listing shows it. */
export interface HeldObject {
  sizeBytes: number;
  modified: Date;
  /** It is what a writer is writing, or was when it was killed. */
  isUnfinished?: true | undefined;
}

/** A complete backup as it lies in its folder. */
export interface HeldBackup extends RetentionPoint {
  /** The key of the folder that it lies in. */
  folder: string;
  /** The eight digits that stand for its run. */
  run: string;
  /** The names of its chunks, and the size that its manifest says each has. */
  chunks: ReadonlyMap<string, number>;
  /** The object of the filter of what it has seen, where it has one: nothing is restored by it. */
  seen: readonly string[];
  /** The size of its chunks. */
  compressedBytes: number;
  /** Documents in it. */
  documents: number;
  /** Whether the folder's `manifest.json` is a copy of its manifest. */
  hasCopy: boolean;
}

/** The folder of a database's backups of one date. */
export interface HeldFolder {
  /** Its key. */
  folder: string;
  /** All objects in it, by name, with those that are unfinished. */
  objects: ReadonlyMap<string, HeldObject>;
  backups: HeldBackup[];
  /** Manifests that cannot be used: nobody can tell what they need. */
  damaged: ArchiveError[];
}

/** All that is held of a database. */
export interface DatabaseHoldings {
  /** Decoded. */
  database: string;
  /** The latest date first. */
  folders: HeldFolder[];
  /** The catalog's entries of its backups, where they were asked for. */
  entries: CatalogKey[];
  /** When the first of its folders was looked into, by `performance.now()`: that is done ahead of their use. */
  readAtMs: number;
}

/**
 * What is held of each database, in the order of their names.
 *
 * @param options `database`: of this one alone, decoded. `withEntries`: with what the catalog has of it. `damage`: which
 * backups are known to be damaged.
 */
export async function* readHoldings(
  repository: Repository,
  { database, withEntries = false, damage = new KnownDamage(), signal }: StoreCallOptions & {
    database?: string | undefined;
    withEntries?: boolean;
    damage?: KnownDamage | undefined;
  },
): AsyncGenerator<DatabaseHoldings> {
  const dates = await datesByDatabase(repository, { database, signal });
  const catalog = new Catalog(repository);
  const look = async (place: Place, signal: AbortSignal) => {
    const atMs = performance.now();
    const [found, entries] = await Promise.all([
      lookInto(repository, { ...place, signal }),
      place.isLast && withEntries ? Array.fromAsync(catalog.keys(place.database, { signal })) : [],
    ]);
    return { ...place, found, entries, atMs };
  };
  let folders: HeldFolder[] = [];
  let readAtMs = Infinity;
  const looks = loadAhead(placesOf(dates), look, { limit: FOLDERS_AT_ONCE, signal });
  for await (const { database, isLast, found, entries, atMs } of looks) {
    readAtMs = Math.min(readAtMs, atMs);
    if (found.objects.size > 0) folders.push(found);
    if (!isLast) continue;
    const backups = folders.flatMap(({ backups }) => backups);
    judge(backups, folders);
    noteDamaged(backups, ({ key }) => damage.markOf(keyBelow(repository.prefix, key)) !== undefined);
    yield { database, folders, entries, readAtMs };
    [folders, readAtMs] = [[], Infinity];
  }
}

/** A folder that is to be looked into, and whether it is the last one of its database. */
interface Place {
  database: string;
  date: string;
  isLast: boolean;
}

function* placesOf(dates: ReadonlyMap<string, readonly string[]>): Generator<Place> {
  for (const database of [...dates.keys()].sort()) {
    const all = dates.get(database)!;
    for (const [index, date] of all.entries()) yield { database, date, isLast: index === all.length - 1 };
  }
}

/**
 * The dates, `2026/01/03`, on which each database has a folder. What lies in a folder of another spelling is no backup
 * that is found by its database, and must neither be counted as one nor make another one count twice.
 */
async function datesByDatabase(
  repository: Repository,
  { database, signal }: StoreCallOptions & { database: string | undefined },
): Promise<Map<string, string[]>> {
  const listDay = async (day: DatedFolder, signal: AbortSignal) => {
    const date = formatDate(day.date);
    // For one database each day's folder is looked into, and not listed: it may hold thousands of other databases.
    if (database !== undefined) return { date, names: [database] };
    const found = await Array.fromAsync(listDatabases(repository, day, { signal }));
    return { date, names: found.filter((one) => isOwnFolder(repository, one)).map((one) => one.database) };
  };
  const found = new Map<string, string[]>();
  const days = listDays(repository, { signal });
  for await (const { date, names } of loadAhead(days, listDay, { limit: FOLDERS_AT_ONCE, signal })) {
    for (const name of names) {
      const dates = found.get(name);
      if (dates === undefined) found.set(name, [date]);
      else dates.push(date);
    }
  }
  return found;
}

async function lookInto(
  repository: Repository,
  { database, date, signal }: StoreCallOptions & { database: string; date: string },
): Promise<HeldFolder> {
  const { store } = repository;
  const folder = repository.backupFolder({ database, date: parseDate(date) as BackupDate });
  const objects = new Map<string, HeldObject>();
  for await (const entry of store.list(folder, { unfinished: true, signal })) {
    if (entry.kind === "object") objects.set(entry.name, entry);
  }
  const sizes = new Map([...objects].map(([name, { sizeBytes }]) => [name, sizeBytes]));
  const manifests = manifestsAmong(sizes);
  const read = await readManifests(store, folder, { state: { manifests }, isTolerant: true, signal });
  const copied = sizes.has(MANIFEST_NAME) && manifests.some(({ run }) => run !== undefined)
    ? await runOfCopy(repository, { folder, signal })
    : undefined;
  const damaged = read.flatMap((one) => "error" in one ? [one.error] : []);
  // Whose copy it is shows when the store gives it out again. Until then it must stay: it may be all that is left.
  if (copied instanceof ArchiveError && damaged.length === 0) damaged.push(copied);
  const backups: HeldBackup[] = [];
  for (const found of read) {
    if ("error" in found) continue;
    const key = joinKey(folder, found.name);
    // Where folders were swapped, it must neither count as a backup of this database, nor be deleted as one.
    if (found.manifest.database !== database) {
      damaged.push(misplaced(key, { database: found.manifest.database, folderIsOf: database }));
      continue;
    }
    const run = shortRun(found.manifest.run);
    const holds = objects.has(pinName(run)) ? await readHolds(repository, { folder, run, signal }) : [];
    backups.push({
      ...describe(found.manifest, { folder, run, holds, prefix: repository.prefix }),
      key,
      finishedAt: found.finishedAt,
      hasCopy: found.name !== MANIFEST_NAME && copied === found.manifest.run,
    });
  }
  return { folder, objects, backups, damaged };
}

function misplaced(key: string, names: { database: string; folderIsOf: string }): ArchiveError {
  const problem = `Cannot use manifest "${key}": ${explainMisplaced(names)}`;
  return new ArchiveError(problem, { key, expected: names.folderIsOf, found: names.database });
}

function describe(
  { task, parent, chunks, totals, feed }: Manifest,
  { prefix, ...place }: { folder: string; run: string; holds: readonly RetentionHold[]; prefix: string },
): Omit<HeldBackup, "key" | "finishedAt" | "hasCopy"> {
  return {
    ...place,
    task,
    // Named by its manifest and not by its run: a run that finds a link gone makes two backups of the database.
    parent: parent === null ? undefined : joinKey(prefix, parent.path),
    isWhole: true,
    chunks: new Map(chunks.map(({ name, compressed_bytes }) => [name, compressed_bytes])),
    seen: feed?.seen?.object ? [feed.seen.object.name] : [],
    compressedBytes: totals.compressed_bytes,
    documents: totals.documents,
  };
}

/** Whose copy `manifest.json` is; undefined where it is damaged or gone, an error where the store does not give it out. */
async function runOfCopy(
  { store }: Repository,
  { folder, signal }: StoreCallOptions & { folder: string },
): Promise<string | ArchiveError | undefined> {
  try {
    return (await readManifest(store, folder, { name: MANIFEST_NAME, signal })).run;
  } catch (error) {
    if (isNotFound(error) || error instanceof ArchiveError) return undefined;
    return asDamage(error, joinKey(folder, MANIFEST_NAME));
  }
}

/**
 * What holds a backup whatever the rules say, by a pin that is there.
 *
 * @throws StoreError with code `not_found` where there is none.
 */
export async function readHolds(
  { store }: Repository,
  place: StoreCallOptions & { folder: string; run: string },
): Promise<RetentionHold[]> {
  const { kept, reason } = await readPin(store, place);
  return kept ? [{ protection: "pinned", reason: reason === null ? "pinned" : `pinned: ${reason}` }] : [];
}

/** Finds out which backups are whole: all their own chunks are there, and a parent that is whole itself. */
function judge(backups: readonly HeldBackup[], folders: readonly HeldFolder[]): void {
  const objectsOf = new Map(folders.map(({ folder, objects }) => [folder, objects]));
  const byKey = new Map(backups.map((backup) => [backup.key, backup]));
  for (const backup of backups) backup.parent = keyOfParent(backup, byKey);
  const lacking = new Set<string>();
  for (const backup of backups) {
    const objects = objectsOf.get(backup.folder);
    const isComplete = [...backup.chunks].every(([name, sizeBytes]) => objects?.get(name)?.sizeBytes === sizeBytes);
    if (!isComplete || (backup.parent !== undefined && !byKey.has(backup.parent))) lacking.add(backup.key);
  }
  for (const backup of backups) {
    if (linksOf(backup, byKey).some(({ key }) => lacking.has(key))) backup.isWhole = false;
  }
}

/** Marks what is known to be damaged, and what builds on that. */
function noteDamaged(backups: readonly HeldBackup[], isMarked: (backup: HeldBackup) => boolean): void {
  const marked = new Set(backups.filter(isMarked));
  if (marked.size === 0) return;
  const byKey = new Map(backups.map((backup) => [backup.key, backup]));
  for (const backup of backups) backup.isDamaged = linksOf(backup, byKey).some((link) => marked.has(link));
}

/** A backup and all that it builds on, as far as it is there. */
function linksOf(backup: HeldBackup, byKey: ReadonlyMap<string, HeldBackup>): HeldBackup[] {
  const links = new Set<HeldBackup>();
  for (let link: HeldBackup | undefined = backup; link !== undefined && !links.has(link);) {
    links.add(link);
    link = link.parent === undefined ? undefined : byKey.get(link.parent);
  }
  return [...links];
}

/** The key of what a backup builds on: of the copy, where that is all that is left of its parent's manifest. */
function keyOfParent({ parent }: HeldBackup, byKey: ReadonlyMap<string, HeldBackup>): string | undefined {
  if (parent === undefined || byKey.has(parent)) return parent;
  const { folder, name } = splitKey(parent);
  const key = joinKey(folder, MANIFEST_NAME);
  const copied = byKey.get(key);
  return copied !== undefined && manifestName(copied.finishedAt, copied.run) === name ? key : parent;
}
