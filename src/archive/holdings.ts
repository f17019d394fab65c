/**
 * All that a repository holds of a database, by its folders alone, for `expire`. In: a repository. Out:
 * for each database its complete backups, what they consist of and need, and what else lies beside them. Each manifest
 * is read, and the catalog is not used: what is missing in it would be taken for not needed.
 */
import { ArchiveError } from "../errors.ts";
import { loadAhead } from "../parallel.ts";
import { joinKey, keyBelow, splitKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { RetentionHold, RetentionPoint } from "../task/retention.ts";
import { Catalog, type CatalogKey } from "./catalog.ts";
import { explainMisplaced } from "./damage.ts";
import { isOwnFolder } from "./days.ts";
import { listByDatabase, type ListedFolder, type ListedObject } from "./folders.ts";
import { KnownDamage } from "./known_damage.ts";
import { MANIFEST_NAME, manifestName, pinName, shortRun } from "./layout.ts";
import type { Manifest } from "./manifest.ts";
import { readPin } from "./pin.ts";
import { manifestsAmong, readManifests } from "./read.ts";
import type { Repository } from "./repository.ts";

/** Folders that are looked into at once, of one database or of several. */
const FOLDERS_AT_ONCE = 16;

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
}

/** The folder of a database's backups of one date. */
export interface HeldFolder {
  /** Its key. */
  folder: string;
  /** All objects in it, by name, with those that are unfinished. */
  objects: ReadonlyMap<string, ListedObject>;
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
  /** The catalog's entries of its backups. */
  entries: CatalogKey[];
  /** When the first of its folders was listed, by `performance.now()`: that is done ahead of their use. */
  listedAtMs: number;
}

/**
 * What is held of each database, in the store's order of their names.
 *
 * @param options `database`: of this one alone, decoded. `damage`: which backups are known to be damaged.
 */
export async function* readHoldings(
  repository: Repository,
  { database, damage = new KnownDamage(), signal }: StoreCallOptions & {
    database?: string | undefined;
    damage?: KnownDamage | undefined;
  },
): AsyncGenerator<DatabaseHoldings> {
  const catalog = new Catalog(repository);
  const look = async (place: Place, signal: AbortSignal) => ({
    ...place,
    found: await lookInto(repository, place.folder, { signal }),
  });
  let folders: HeldFolder[] = [];
  const looks = loadAhead(placesOf(repository, { database, signal }), look, { limit: FOLDERS_AT_ONCE, signal });
  for await (const { found, last } of looks) {
    if (found.objects.size > 0) folders.push(found);
    if (last === undefined) continue;
    const backups = folders.flatMap(({ backups }) => backups);
    judge(backups, folders);
    noteDamaged(backups, ({ key }) => damage.markOf(keyBelow(repository.prefix, key)) !== undefined);
    const { database, entries, listedAtMs } = last;
    yield { database, folders, entries: catalog.keysAmong(entries, database), listedAtMs };
    folders = [];
  }
}

/** A folder that is to be looked into; the last one of its database with what else is known of that. */
interface Place {
  folder: ListedFolder;
  last?: { database: string; entries: string[]; listedAtMs: number };
}

/**
 * What lies in a folder of another spelling is no backup that is found by its database, and must neither be counted as
 * one nor make another one count twice.
 */
async function* placesOf(
  repository: Repository,
  search: StoreCallOptions & { database: string | undefined },
): AsyncGenerator<Place> {
  for await (const { folders, ...last } of listByDatabase(repository, search)) {
    const own = folders.filter((folder) => isOwnFolder(repository, folder));
    for (const [index, folder] of own.entries()) yield index < own.length - 1 ? { folder } : { folder, last };
  }
}

async function lookInto(
  repository: Repository,
  { database, folder, objects }: ListedFolder,
  { signal }: StoreCallOptions,
): Promise<HeldFolder> {
  const { store } = repository;
  const manifests = manifestsAmong(new Map([...objects].map(([name, { sizeBytes }]) => [name, sizeBytes])));
  const read = await readManifests(store, folder, { state: { manifests }, isTolerant: true, signal });
  const damaged = read.flatMap((one) => "error" in one ? [one.error] : []);
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
    const { finishedAt } = found;
    backups.push({ ...describe(found.manifest, { folder, run, holds, prefix: repository.prefix }), key, finishedAt });
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
): Omit<HeldBackup, "key" | "finishedAt"> {
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
