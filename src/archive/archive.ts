/**
 * Inspects a backup's folder: which chunks belong to the backup, whether it is complete, and which problems a listing
 * shows. Nothing is written, and no chunk is read.
 */
import { fileURLToPath } from "node:url";
import {
  type FolderState,
  momentOf,
  readCheckpoints,
  readFolder,
  readManifestOrCopy,
  readManifests,
  readNewestManifest,
  type UsableManifest,
} from "./read.ts";
import { ArchiveError } from "../errors.ts";
import {
  CHECKPOINT_NAME,
  checkpointName,
  chunkName,
  isBackupChunkName,
  isCheckpointName,
  isFilterName,
  isManifestName,
  isPinName,
  isSeenName,
  MANIFEST_NAME,
  parseChunkName,
  parseManifestName,
  parsePortChunkName,
  portChunkName,
  runOfChunkName,
} from "./layout.ts";
import { joinKey, splitKey } from "../store/key.ts";
import { decodeDatabase } from "../database_name.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import type { ChunkPlace } from "./chunk.ts";
import { explainListed, explainMisplaced } from "./damage.ts";
import type { ChunkEntry, Manifest, Origin } from "./manifest.ts";
import type { Store, StoreCallOptions, StoreEntry } from "../store/store.ts";

/** A folder of a store, or one object in it. */
export interface ArchivePlace {
  store: Store;
  /** The folder's key; empty for the bucket folder itself. */
  folder: string;
  /**
   * The name of the manifest that is meant, or of a checkpoint.
   *
   * @default the newest manifest of the folder
   */
  manifest?: string | undefined;
  /** That manifest, where it has been read. @default it is read */
  read?: UsableManifest | undefined;
  /** Only this object of the folder. */
  object?: string | undefined;
  /** What speaks against its being the newest state, sentences; absent where it was not asked for as that. */
  caveats?: readonly string[] | undefined;
}

/** Something that is not as the backup left it. */
export interface ChunkProblem {
  /** The object's name within the folder. */
  chunk: string;
  /** What is wrong with it, a sentence. */
  problem: string;
  /** Present where it is not there, and that is all. */
  is_missing?: true;
}

/**
 * How much is known of an archive: `complete` has a manifest; `unfinished` has a checkpoint only; `unlisted` has
 * neither, like those of the reference script; `foreign` is a single file.
 */
export type ArchiveKind = "complete" | "unfinished" | "unlisted" | "foreign";

/** A chunk that an archive consists of. */
export interface ArchiveChunk {
  name: string;
  /** Its line in the manifest or checkpoint. */
  entry: ChunkEntry | undefined;
  /** The parent backup that it belongs to; undefined if it is the archive's own. */
  parent?: ParentPlace | undefined;
}

/** Where a parent of an incremental backup lies. */
export interface ParentPlace {
  store: Store;
  /** The key of its folder. */
  folder: string;
  /** The path of its manifest, below the config's prefix. */
  path: string;
}

/** A backup as it lies in its folder. */
export interface Archive {
  kind: ArchiveKind;
  place: ArchivePlace;
  /** For messages and reports. */
  url: string;
  /** The decoded name of the database it was made of. */
  database: string | undefined;
  /** The name of its manifest or checkpoint; undefined where none could be read. */
  manifest: string | undefined;
  /** What its manifest or checkpoint says of the whole. */
  origin: Origin | undefined;
  /** Its chunks in order, without those that are missing or have the wrong size; after those of its parents. */
  chunks: ArchiveChunk[];
  /** Its parent backups, the newest first; `addParents()` finds them. */
  parents: (ParentPlace & { entries: readonly ChunkEntry[] })[];
  /** What its manifest or checkpoint names, all of it. */
  entries: readonly ChunkEntry[];
  /** How many documents it should hold; undefined where nobody has counted them. */
  documents: number | undefined;
  /** When it was complete; undefined where it is not, or nobody knows. */
  finishedAt: Date | undefined;
  /** The documents that CouchDB could not read when it was made. */
  unreadable: readonly UnreadableDocument[];
  /** Between which positions of the changes feed it was listed; null in format 1, and where it has no manifest. */
  feed: Manifest["feed"];
  /** Why it is not whole. */
  problems: ChunkProblem[];
  /** What is wrong with its manifest, and with those of its parents, where a whole copy is used in its place. */
  damagedManifests: ChunkProblem[];
  /** Objects in its folder that do not belong to it, and do no harm. */
  leftovers: ChunkProblem[];
  /** What opens it where it is sealed; `unlock()` finds them. Absent: nothing does. */
  identities?: readonly string[] | undefined;
}

/**
 * Looks into a backup's folder.
 *
 * @returns What was found; a damaged manifest is a problem of the archive and not an error.
 * @throws ArchiveError when there is nothing like a backup; StoreError when the store fails.
 */
export async function openArchive(place: ArchivePlace, options: StoreCallOptions): Promise<Archive> {
  const { store, folder } = place;
  const state = await readFolder(store, folder, options);
  const archive: Archive = {
    kind: "unlisted",
    place,
    url: folder === "" && place.object === undefined ? store.url : store.locate(joinKey(folder, place.object ?? "")),
    database: decodeDatabase(splitKey(folder).name) || undefined,
    manifest: undefined,
    origin: undefined,
    chunks: [],
    parents: [],
    entries: [],
    documents: undefined,
    finishedAt: undefined,
    unreadable: [],
    feed: null,
    problems: [],
    damagedManifests: [],
    leftovers: [],
  };
  const opened: OpenFolder = { archive, state, options };
  if (place.object === undefined) await readOrigin(opened);
  else await readOriginOf(place.object, opened);
  if (place.object !== undefined) return narrowTo(place.object, archive, state.objects);
  if (archive.origin === undefined) await listChunks(opened);
  else await compareWithListing(opened);
  if (state.objects.size === 0 || (archive.kind === "unlisted" && isEmpty(archive))) throw nothingThere(archive);
  return archive;
}

/** Where one of an archive's chunks is read. */
export function placeOfChunk(archive: Archive, { name, entry, parent }: ArchiveChunk): ChunkPlace {
  const { store, folder } = parent ?? archive.place;
  return { store, key: joinKey(folder, name), entry, identities: archive.identities };
}

/** What the steps of opening an archive work on. */
interface OpenFolder {
  archive: Archive;
  state: FolderState;
  options: StoreCallOptions;
}

function isEmpty({ chunks, problems }: Archive): boolean {
  return chunks.length + problems.length === 0;
}

/** Reads the manifest that is meant, or where there is none (or a damaged one) the checkpoint of its run. */
async function readOrigin(folder: OpenFolder): Promise<void> {
  const { archive, state, options } = folder;
  const { store, folder: key, manifest: wanted } = archive.place;
  if (wanted !== undefined && isCheckpointName(wanted)) {
    await takeNewestCheckpoint([wanted], folder);
    if (archive.kind === "unlisted") throw nothingThere(archive);
    return;
  }
  const found = wanted === undefined
    ? await readNewestManifest(store, key, { ...options, state })
    : await readNamedManifest(wanted, folder);
  if (found === undefined) return await takeNewestCheckpoint(checkpointsOf(state), folder);
  if ("manifest" in found) return takeManifest(archive, found);
  archive.problems.push({ chunk: found.name, problem: found.error.message });
  // Checkpoints of other runs belong to other backups.
  const run = parseManifestName(found.name)?.run;
  const own = run === undefined ? CHECKPOINT_NAME : checkpointName(run);
  await takeNewestCheckpoint(checkpointsOf(state).filter((name) => name === own), folder);
}

/** @throws StoreError with code `not_found` when the folder does not have it. */
async function readNamedManifest(
  name: string,
  { archive, state, options }: OpenFolder,
): Promise<{ name: string } & (UsableManifest | { error: ArchiveError })> {
  const { store, folder, read } = archive.place;
  // What was read before counts only while the manifest is there: its backup may have been deleted since.
  if (read !== undefined && state.objects.has(name)) return { name, ...read };
  try {
    return { name, ...await readManifestOrCopy(store, folder, { ...options, name }) };
  } catch (error) {
    if (error instanceof ArchiveError) return { name, error };
    throw error;
  }
}

function checkpointsOf({ checkpoints, hasCheckpoint }: FolderState): string[] {
  return [...(hasCheckpoint ? [CHECKPOINT_NAME] : []), ...checkpoints.values()];
}

/** Takes the checkpoint that was stored last. */
async function takeNewestCheckpoint(names: readonly string[], { archive, options }: OpenFolder): Promise<void> {
  const { store, folder } = archive.place;
  const read = await readCheckpoints(store, folder, { ...options, names });
  if (read.length > 0) archive.kind = "unfinished";
  const damaged = read.flatMap((one) => "error" in one ? [{ chunk: one.name, problem: one.error.message }] : []);
  const [newest] = read.flatMap((one) => "error" in one ? [] : [one])
    .sort((a, b) => Date.parse(b.checkpoint.saved_at) - Date.parse(a.checkpoint.saved_at));
  if (newest === undefined) return void archive.problems.push(...damaged);
  archive.leftovers.push(...damaged);
  takeOrigin(archive, { ...newest.checkpoint, name: newest.name, documents: undefined });
  archive.problems.push({
    chunk: MANIFEST_NAME,
    problem: "It is missing: the backup has not finished; the checkpoint has what is done so far",
    is_missing: true,
  });
}

/** Looks for the backup that one object belongs to: in the newest manifest that names it, else in a checkpoint. */
async function readOriginOf(object: string, { archive, state, options }: OpenFolder): Promise<void> {
  if (parseChunkName(object) === undefined) return;
  const { store, folder } = archive.place;
  for (const found of (await readManifests(store, folder, { ...options, state, isTolerant: true })).reverse()) {
    if ("error" in found) archive.problems.push({ chunk: found.name, problem: found.error.message });
    else if (found.manifest.chunks.some(({ name }) => name === object)) return takeManifest(archive, found);
  }
  for (const found of await readCheckpoints(store, folder, { ...options, names: checkpointsOf(state) })) {
    if ("error" in found || !found.checkpoint.chunks.some(({ name }) => name === object)) continue;
    archive.kind = "unfinished";
    return takeOrigin(archive, { ...found.checkpoint, name: found.name, documents: undefined });
  }
}

function takeManifest(archive: Archive, { name, manifest, damaged }: { name: string } & UsableManifest): void {
  archive.kind = "complete";
  if (damaged !== undefined) {
    archive.damagedManifests.push(copyIsUsed(name, damaged.message));
  }
  archive.feed = manifest.feed;
  archive.finishedAt = momentOf(name, manifest);
  takeOrigin(archive, { ...manifest, name, documents: manifest.totals.documents });
}

/** What is said of a manifest that cannot be used, and of which there is a whole copy. `problem`: a sentence. */
export function copyIsUsed(chunk: string, problem: string): ChunkProblem {
  return { chunk, problem: `${problem}; its copy ${MANIFEST_NAME} is whole and is used` };
}

/**
 * The decoded name of the database whose backups belong into a folder; undefined where the folder is not that of a day,
 * as a copy has any name.
 */
function databaseOfFolder({ store, folder: key }: ArchivePlace, database: string): string | undefined {
  // Where a local folder is opened by its path the store is that folder, or the one above it.
  const url = key === "" ? store.url : store.locate(key);
  const folder = url.startsWith("file:") ? fileURLToPath(url) : url;
  const name = /(?:^|\/)\d{4}\/\d\d\/\d\d\/(?:.*\/)?([^/]+)$/.exec(folder)?.[1];
  if (name === undefined) return undefined;
  // Slashes in names were not always encoded.
  return folder.endsWith(`/${database}`) ? database : decodeDatabase(name);
}

function takeOrigin(
  archive: Archive,
  { name, chunks, documents, unreadable, ...origin }: Origin & {
    name: string;
    chunks: readonly ChunkEntry[];
    documents: number | undefined;
    unreadable: readonly UnreadableDocument[];
  },
): void {
  const folderIsOf = databaseOfFolder(archive.place, origin.database);
  if (folderIsOf !== undefined && folderIsOf !== origin.database) {
    archive.problems.push({ chunk: name, problem: explainMisplaced({ database: origin.database, folderIsOf }) });
  }
  archive.manifest = name;
  archive.origin = origin;
  archive.database = origin.database;
  archive.documents = documents;
  archive.unreadable = unreadable;
  archive.entries = chunks;
  archive.chunks = chunks.map((entry) => ({ name: entry.name, entry }))
    .sort((a, b) => parseChunkName(a.name)! - parseChunkName(b.name)!);
}

/**
 * Without a list of its chunks an archive consists of what lies there and belongs to no other backup, if the numbers
 * have no gap.
 */
async function listChunks(folder: OpenFolder): Promise<void> {
  const { archive, state } = folder;
  const others = await namedByOthers(folder);
  const [damaged] = archive.problems;
  const run = damaged === undefined ? undefined : parseManifestName(damaged.chunk)?.run;
  // The chunks of a damaged manifest's run carry its name, unless it was the first in the folder.
  const isOfRun = run !== undefined && state.nextNumbers.has(run);
  for (const prefix of isOfRun ? [run] : [...state.nextNumbers.keys()].sort()) {
    const digits = prefix === "" ? undefined : prefix;
    const found = chunksOf(state, prefix);
    noteGaps(archive, found.map(({ number }) => number), (number) => chunkName(number, { run: digits }));
    // One by one, here and below: there may be more than a call takes arguments.
    for (const { name } of found) if (!others.has(name)) archive.chunks.push({ name, entry: undefined });
  }
  if (state.chunks.size === 0 && archive.problems.length === 0) listPortChunks(folder);
}

/** The chunks of the Rust port, whose folder has none of another kind. */
function listPortChunks({ archive, state }: OpenFolder): void {
  const found = [...state.objects.keys()].flatMap((name) => {
    const number = parsePortChunkName(name);
    return number === undefined ? [] : [{ name, number }];
  }).sort((a, b) => a.number - b.number);
  noteGaps(archive, found.map(({ number }) => number), portChunkName);
  for (const { name } of found) archive.chunks.push({ name, entry: undefined });
  // Its folder may be the end of a name with slashes.
  if (found.length > 0) archive.database = undefined;
}

/** Chunks that are numbered from 0 are all there, or those that are missing are a problem. */
function noteGaps(archive: Archive, numbers: readonly number[], nameOf: (number: number) => string): void {
  let expected = 0;
  for (const number of numbers) {
    const missing = number - expected;
    const problem = missing === 1 ? "It is missing" : `It and the ${missing - 1} after it are missing`;
    if (missing > 0) archive.problems.push({ chunk: nameOf(expected), problem, is_missing: true });
    expected = number + 1;
  }
}

/** The chunks whose names have these eight digits, in the order of their numbers. */
function chunksOf(state: FolderState, prefix: string): { name: string; number: number }[] {
  return [...state.chunks.keys()].filter((name) => (runOfChunkName(name) ?? "") === prefix)
    .map((name) => ({ name, number: parseChunkName(name)! })).sort((a, b) => a.number - b.number);
}

/** The chunks that other backups of the folder name, complete ones and unfinished ones. */
async function namedByOthers(folder: OpenFolder): Promise<Set<string>> {
  const { archive, state, options } = folder;
  const { store, folder: key } = archive.place;
  const named = new Set<string>();
  const known = new Set([archive.manifest, ...archive.problems.map(({ chunk }) => chunk)]);
  for (const found of await readManifests(store, key, { ...options, state, isTolerant: true })) {
    if (known.has(found.name)) continue;
    if ("error" in found) archive.leftovers.push({ chunk: found.name, problem: found.error.message });
    else for (const { name } of found.manifest.chunks) named.add(name);
  }
  for (const found of await readCheckpoints(store, key, { ...options, names: checkpointsOf(state) })) {
    if ("checkpoint" in found) { for (const { name } of found.checkpoint.chunks) named.add(name); }
  }
  return named;
}

/** Compares presence and size of what the manifest or checkpoint names, and finds what nothing in the folder names. */
async function compareWithListing(folder: OpenFolder): Promise<void> {
  const { archive, state: { objects } } = folder;
  const named = new Set<string>();
  archive.chunks = archive.chunks.filter(({ name, entry }) => {
    named.add(name);
    const problem = explainListed(name, objects.get(name), entry!);
    if (problem !== undefined) archive.problems.push(problem);
    return problem === undefined;
  });
  const left = [...objects.keys()].filter((name) =>
    !named.has(name) && !isManifestName(name) && !isCheckpointName(name) && !isFilterName(name) && !isPinName(name) &&
    !isSeenName(name)
  );
  const isChunk = (name: string) => parseChunkName(name) !== undefined;
  const others = left.some(isChunk) ? await namedByOthers(folder) : new Set<string>();
  for (const name of left) {
    if (others.has(name)) continue;
    const problem = isChunk(name)
      ? "It is a leftover of another run: no manifest names it"
      : "It does not belong to a backup";
    archive.leftovers.push({ chunk: name, problem });
  }
}

/** The archive with one of its objects only. */
function narrowTo(object: string, archive: Archive, objects: ReadonlyMap<string, number>): Archive {
  if (!objects.has(object)) throw nothingThere(archive);
  const known = archive.chunks.find(({ name }) => name === object);
  const chunks = [known ?? { name: object, entry: undefined }];
  const nothingElse = { unreadable: [], problems: [], leftovers: [] };
  if (known?.entry === undefined) {
    const isChunk = parseChunkName(object) !== undefined;
    const origin = isChunk ? archive.origin : undefined;
    const database = isChunk ? archive.database : undefined;
    return { ...archive, kind: "foreign", chunks, origin, database, documents: undefined, ...nothingElse };
  }
  const problem = explainListed(object, objects.get(object), known.entry);
  const problems = problem === undefined ? [] : [problem];
  return { ...archive, chunks, documents: known.entry.documents, ...nothingElse, problems };
}

function nothingThere(archive: Archive): ArchiveError {
  const { url } = archive;
  return new ArchiveError(
    `There is no backup at "${url}"`,
    { key: url, expected: "a manifest or chunks", found: "neither" },
    { hint: '"couchdb-backup list backups" shows the backups there are' },
  );
}

/** Whether an entry of a folder looks like a part of a backup of one database. */
export function isBackupEntry(entry: StoreEntry): boolean {
  const { kind, name } = entry;
  return kind === "object" && (isManifestName(name) || isCheckpointName(name) || isBackupChunkName(name));
}
