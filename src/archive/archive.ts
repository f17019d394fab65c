/**
 * What lies in a backup's folder: which chunks belong to the backup, whether it is complete, and what is wrong with it as
 * far as a listing shows. Nothing is written here, and no chunk is read.
 */
import { readCheckpoint, readFolder, readManifest } from "./read.ts";
import { ArchiveError } from "../errors.ts";
import { CHECKPOINT_NAME, chunkName, MANIFEST_NAME, parseChunkName } from "./layout.ts";
import { joinKey } from "../store/key.ts";
import { decodeDatabase } from "../database_name.ts";
import type { ChunkEntry, Origin } from "./manifest.ts";
import type { Store, StoreCallOptions, StoreEntry } from "../store/store.ts";

/** A folder of a store, or one object in it. */
export interface ArchivePlace {
  store: Store;
  /** The folder's key; empty for the bucket folder itself. */
  folder: string;
  /** Only this object of the folder. */
  object?: string | undefined;
}

/** Something that is not as the backup left it. */
export interface ChunkProblem {
  /** The object's name within the folder. */
  chunk: string;
  /** What is wrong with it, a sentence. */
  problem: string;
}

/**
 * How much is known of an archive: `complete` has a manifest; `unfinished` has a checkpoint only; `unlisted` has neither,
 * like those of the reference script; `foreign` is a single file.
 */
export type ArchiveKind = "complete" | "unfinished" | "unlisted" | "foreign";

/** A chunk that an archive consists of. */
export interface ArchiveChunk {
  name: string;
  /** Its line in the manifest or checkpoint. */
  entry: ChunkEntry | undefined;
}

/** A backup as it lies in its folder. */
export interface Archive {
  kind: ArchiveKind;
  place: ArchivePlace;
  /** For messages and reports. */
  url: string;
  /** The decoded name of the database it was made of. */
  database: string | undefined;
  /** What its manifest or checkpoint says of the whole. */
  origin: Origin | undefined;
  /** Its chunks in order, without those that are missing or have the wrong size. */
  chunks: ArchiveChunk[];
  /** What its manifest or checkpoint names, all of it. */
  entries: readonly ChunkEntry[];
  /** How many documents it should hold; undefined where nobody has counted them. */
  documents: number | undefined;
  /** Why it is not whole. */
  problems: ChunkProblem[];
  /** Objects in its folder that do not belong to it, and do no harm. */
  leftovers: ChunkProblem[];
}

/**
 * Looks into a backup's folder.
 *
 * @returns What was found; a damaged manifest is a problem of the archive and not an error.
 * @throws ArchiveError when there is nothing like a backup; StoreError when the store fails.
 */
export async function openArchive(place: ArchivePlace, options: StoreCallOptions): Promise<Archive> {
  const { store, folder } = place;
  const { objects } = await readFolder(store, folder, options);
  const archive: Archive = {
    kind: "unlisted",
    place,
    url: folder === "" && place.object === undefined ? store.url : store.locate(joinKey(folder, place.object ?? "")),
    database: decodeDatabase(folder.slice(folder.lastIndexOf("/") + 1)) || undefined,
    origin: undefined,
    chunks: [],
    entries: [],
    documents: undefined,
    problems: [],
    leftovers: [],
  };
  await readOrigin(archive, objects, options);
  if (archive.origin === undefined) listChunks(archive, objects);
  else if (place.object === undefined) compareWithListing(archive, objects);
  if (place.object !== undefined) return narrowTo(place.object, archive, objects);
  if (objects.size === 0 || (archive.kind === "unlisted" && archive.chunks.length + archive.problems.length === 0)) {
    throw nothingThere(archive);
  }
  return archive;
}

/** Reads the manifest, or where there is none (or a damaged one) the checkpoint. */
async function readOrigin(
  archive: Archive,
  objects: ReadonlyMap<string, number>,
  options: StoreCallOptions,
): Promise<void> {
  const { store, folder } = archive.place;
  if (objects.has(MANIFEST_NAME)) {
    try {
      const manifest = await readManifest(store, folder, options);
      archive.kind = "complete";
      return takeOrigin(archive, { ...manifest, documents: manifest.totals.documents });
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      archive.problems.push({ chunk: MANIFEST_NAME, problem: error.message });
    }
  }
  if (!objects.has(CHECKPOINT_NAME)) return;
  archive.kind = "unfinished";
  try {
    takeOrigin(archive, { ...await readCheckpoint(store, folder, options), documents: undefined });
    archive.problems.push({
      chunk: MANIFEST_NAME,
      problem: "It is missing: the backup has not finished, and the checkpoint says how far it came",
    });
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    archive.problems.push({ chunk: CHECKPOINT_NAME, problem: error.message });
  }
}

function takeOrigin(
  archive: Archive,
  { chunks, documents, ...origin }: Origin & { chunks: readonly ChunkEntry[]; documents: number | undefined },
): void {
  archive.origin = origin;
  archive.database = origin.database;
  archive.documents = documents;
  archive.entries = chunks;
  archive.chunks = chunks.map((entry) => ({ name: entry.name, entry }))
    .sort((a, b) => parseChunkName(a.name)! - parseChunkName(b.name)!);
}

/** Without a list of its chunks an archive consists of what lies there, if the numbers have no gap. */
function listChunks(archive: Archive, objects: ReadonlyMap<string, number>): void {
  const numbers = [...objects.keys()].flatMap((name) => parseChunkName(name) ?? []).sort((a, b) => a - b);
  for (const [index, number] of numbers.entries()) {
    archive.chunks.push({ name: chunkName(number), entry: undefined });
    const previous = index === 0 ? -1 : numbers[index - 1]!;
    if (number === previous + 1) continue;
    const missing = number - previous - 1;
    const problem = missing === 1 ? "It is missing" : `It and the ${missing - 1} behind it are missing`;
    archive.problems.push({ chunk: chunkName(previous + 1), problem });
  }
}

/** Compares presence and size of what the manifest or checkpoint names, and finds what it does not name. */
function compareWithListing(archive: Archive, objects: ReadonlyMap<string, number>): void {
  const named = new Set([MANIFEST_NAME, CHECKPOINT_NAME]);
  archive.chunks = archive.chunks.filter(({ name, entry }) => {
    named.add(name);
    const sizeBytes = objects.get(name);
    if (sizeBytes === undefined) archive.problems.push({ chunk: name, problem: "It is missing" });
    else if (sizeBytes !== entry?.compressed_bytes) {
      const problem = `It has ${sizeBytes} bytes, the manifest says ${entry?.compressed_bytes}`;
      archive.problems.push({ chunk: name, problem });
    } else return true;
    return false;
  });
  for (const name of objects.keys()) {
    if (named.has(name)) continue;
    const problem = parseChunkName(name) === undefined
      ? "It is no part of a backup"
      : "It is left over from another run: the manifest does not name it";
    archive.leftovers.push({ chunk: name, problem });
  }
}

/** The archive with one of its objects only. */
function narrowTo(object: string, archive: Archive, objects: ReadonlyMap<string, number>): Archive {
  if (!objects.has(object)) throw nothingThere(archive);
  const known = archive.chunks.find(({ name }) => name === object);
  const chunks = [known ?? { name: object, entry: undefined }];
  if (known?.entry === undefined) {
    const isChunk = parseChunkName(object) !== undefined;
    const origin = isChunk ? archive.origin : undefined;
    const database = isChunk ? archive.database : undefined;
    return { ...archive, kind: "foreign", chunks, origin, database, documents: undefined, problems: [], leftovers: [] };
  }
  const sizeBytes = objects.get(object);
  const problems = sizeBytes === known.entry.compressed_bytes ? [] : [{
    chunk: object,
    problem: `It has ${sizeBytes} bytes, the manifest says ${known.entry.compressed_bytes}`,
  }];
  return { ...archive, chunks, documents: known.entry.documents, problems, leftovers: [] };
}

function nothingThere(archive: Archive): ArchiveError {
  const { url } = archive;
  return new ArchiveError(
    `There is no backup at "${url}"`,
    { key: url, expected: "a manifest or chunks", found: "neither" },
    { hint: '"couchdb-backup list backups" shows the backups there are' },
  );
}

/** Whether entries of a folder look like those of a backup of one database. */
export function isBackupEntry(entry: StoreEntry): boolean {
  return entry.kind === "object" &&
    (entry.name === MANIFEST_NAME || entry.name === CHECKPOINT_NAME || parseChunkName(entry.name) !== undefined);
}
