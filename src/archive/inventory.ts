/**
 * All backups of a repository, folder by folder. In: a repository, or one database of it. Out: what lies in each
 * folder, as the catalog would say it.
 *
 * Folders are the truth: a backup is there when its manifest is. What the manifest says is taken from the catalog,
 * whose names carry it, and read where the catalog does not know it: so a folder costs no more than its part of a
 * listing, and the reading of pins and of manifests that are not in the catalog or are called `manifest.json`.
 */
import { type ArchiveError, isNotFound } from "../errors.ts";
import { loadAhead } from "../parallel.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { Catalog, type CatalogEntry, entryOfManifest } from "./catalog.ts";
import { type DatabaseFolder, isOwnFolder } from "./days.ts";
import { type DatabaseFolders, listByDatabase, type ListedFolder } from "./folders.ts";
import { type Pin, readPin } from "./pin.ts";
import { BEFORE_PINS, manifestsAndPinsAmong, readManifests } from "./read.ts";
import type { Repository } from "./repository.ts";

/** Databases whose folders are looked into at once. */
const DATABASES_AT_ONCE = 4;
/** Folders of one of them. */
const FOLDERS_AT_ONCE = 16;

/** What lies in a folder. */
export interface FolderInventory extends DatabaseFolder {
  /** The complete backups, the earliest first. */
  backups: CatalogEntry[];
  /** Those of them that the catalog could know and does not. */
  uncatalogued: CatalogEntry[];
  /** The manifests that cannot be used. */
  damaged: ArchiveError[];
  /** The eight digits that stand for a run -> the pin that lets its backup stay. */
  pins: ReadonlyMap<string, Pin>;
}

/**
 * What there is: database after database, and of each the newest date first.
 *
 * @param options `database`: only backups of this one, decoded; `isWanted`: only those of which it says so. A folder
 * that was expected and is not there has nothing.
 */
export async function* takeInventory(
  repository: Repository,
  { database, isWanted = () => true, signal }: StoreCallOptions & {
    database?: string | undefined;
    isWanted?: ((database: string) => boolean) | undefined;
  },
): AsyncGenerator<FolderInventory> {
  const look = async ({ database, folders, entries }: DatabaseFolders, signal: AbortSignal) => {
    const known = new Map<string, CatalogEntry>();
    for await (const entry of new Catalog(repository).entriesAmong(entries, database, { signal })) {
      known.set(identify(entry), entry);
    }
    const lookIntoOne = (folder: ListedFolder, signal: AbortSignal) => lookInto(repository, folder, { known, signal });
    return await Array.fromAsync(loadAhead(folders, lookIntoOne, { limit: FOLDERS_AT_ONCE, signal }));
  };
  const all = onlyWanted(listByDatabase(repository, { database, after: BEFORE_PINS, signal }), isWanted);
  for await (const found of loadAhead(all, look, { limit: DATABASES_AT_ONCE, signal })) yield* found;
}

/**
 * The catalog's entries by the key of the manifest and the run, as a `manifest.json` may have become that of another.
 */
type Known = ReadonlyMap<string, CatalogEntry>;

const identify = ({ manifestKey, run }: { manifestKey: string; run: string }) => `${run} ${manifestKey}`;

async function* onlyWanted(
  all: AsyncIterable<DatabaseFolders>,
  isWanted: (database: string) => boolean,
): AsyncGenerator<DatabaseFolders> {
  for await (const one of all) if (isWanted(one.database)) yield one;
}

async function lookInto(
  repository: Repository,
  { objects, ...place }: ListedFolder,
  { known, signal }: StoreCallOptions & { known: Known },
): Promise<FolderInventory> {
  const { store } = repository;
  const { folder } = place;
  const { manifests: listed, pins } = manifestsAndPinsAmong(objects);
  // A manifest.json among others is read with all of them, to see whether it is a copy of one of them.
  const isMixed = listed.some(({ run }) => run === undefined);
  const catalogued = isMixed
    ? []
    : listed.flatMap(({ name, run = "" }) => known.get(identify({ manifestKey: joinKey(folder, name), run })) ?? []);
  const keys = new Set(catalogued.map(({ manifestKey }) => manifestKey));
  const manifests = listed.filter(({ name }) => !keys.has(joinKey(folder, name)));
  const read = await readManifests(store, folder, { state: { manifests }, isTolerant: true, signal });
  const fresh = read.flatMap((one) => "manifest" in one ? [entryOfManifest({ ...place, ...one })] : []);
  return {
    ...place,
    backups: [...catalogued, ...fresh].sort((a, b) => a.finishedAt.getTime() - b.finishedAt.getTime()),
    // An entry does not name a folder, so it cannot lead to a backup in a folder of another spelling.
    uncatalogued: isOwnFolder(repository, place) ? fresh.filter((entry) => !known.has(identify(entry))) : [],
    damaged: read.flatMap((one) => "error" in one ? [one.error] : []),
    pins: await readPins(store, folder, { runs: pins, signal }),
  };
}

/** The pins that say that a backup is to stay; where one was taken off, its object says so. */
async function readPins(
  store: Store,
  folder: string,
  { runs, signal }: StoreCallOptions & { runs: readonly string[] },
): Promise<Map<string, Pin>> {
  const pins = new Map<string, Pin>();
  for (const run of runs) {
    try {
      const pin = await readPin(store, { folder, run, signal });
      if (pin.kept) pins.set(run, pin);
    } catch (error) {
      if (!isNotFound(error)) throw error; // Expired since it was listed.
    }
  }
  return pins;
}
