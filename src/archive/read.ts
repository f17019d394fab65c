/**
 * Reads what a backup's folder says of itself: which objects lie there, its manifests, its checkpoints. In: a store and
 * a folder's key. Out: checked values. Everybody who looks into a backup reads through here.
 */
import { ArchiveError, isNotFound, isOutOfReach } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import {
  CHECKPOINT_NAME,
  isCheckpointName,
  isManifestName,
  MANIFEST_NAME,
  parseCheckpointName,
  parseChunkName,
  parseManifestName,
  parsePinName,
  runOfChunkName,
  shortRun,
} from "./layout.ts";
import { asDamage } from "./damage.ts";
import type { Checkpoint, Manifest } from "./manifest.ts";
import { parseCheckpoint, parseManifest } from "./manifest_json.ts";
import { readObjectBytes } from "../store/whole.ts";

/** What the names of all manifests begin with, and those of all checkpoints. */
const MANIFESTS_PREFIX = "manifest";
const CHECKPOINTS_PREFIX = "checkpoint";
/** Chunks, checkpoints and filters stand before it in a folder, pins and manifests after it. */
export const BEFORE_PINS = "keep";

/** More than any backup has. */
const MOST_CHUNKS = 10_000_000_000;

/** A manifest as its folder's listing shows it. */
export interface ListedManifest {
  name: string;
  /** When its backup was complete, to the second. Undefined of `manifest.json`, which has to be read for that. */
  finishedAt: Date | undefined;
  /** The eight digits that stand for its run; undefined of `manifest.json`. */
  run: string | undefined;
}

/** What a manifest's name has led to. */
export interface UsableManifest {
  manifest: Manifest;
  /** What is wrong with the manifest itself, where its whole copy is used in its place. */
  damaged?: ArchiveError | undefined;
}

/** A manifest that was read, or why it cannot be used. */
export type ReadManifest =
  & { name: string }
  & (UsableManifest & { finishedAt: Date } | { error: ArchiveError; finishedAt: Date | undefined });

/** What lies in a backup's folder. */
export interface FolderState {
  /** The name of each object -> its size in bytes. */
  objects: Map<string, number>;
  /** The same of the chunks alone. */
  chunks: Map<string, number>;
  /** The eight digits in the names of chunks, empty where there are none -> the number after the highest of these. */
  nextNumbers: Map<string, number>;
  /** The number after the highest chunk present, whatever its run. */
  nextNumber: number;
  /**
   * The manifests that stand for backups, the earliest first. A `manifest.json` among them is one of format 1, or may
   * be: it has the size of none of the others, of whose newest it is a copy.
   */
  manifests: ListedManifest[];
  /** The eight digits that stand for a run -> the name of its checkpoint. */
  checkpoints: Map<string, string>;
  /** Whether there is a `manifest.json`. */
  hasManifest: boolean;
  /** Whether there is a `checkpoint.json`, that of format 1. */
  hasCheckpoint: boolean;
}

/** Looks into a backup's folder; one that does not exist is empty. */
export async function readFolder(store: Store, folder: string, options: StoreCallOptions): Promise<FolderState> {
  const state: FolderState = {
    objects: new Map(),
    chunks: new Map(),
    nextNumbers: new Map(),
    nextNumber: 0,
    manifests: [],
    checkpoints: new Map(),
    hasManifest: false,
    hasCheckpoint: false,
  };
  for await (const entry of store.list(folder, options)) {
    if (entry.kind === "object") addObject(state, entry);
  }
  state.hasManifest = state.objects.has(MANIFEST_NAME);
  state.hasCheckpoint = state.objects.has(CHECKPOINT_NAME);
  state.manifests = manifestsAmong(state.objects);
  return state;
}

/** The manifests of a folder, as in its {@linkcode FolderState}: one request, however many chunks lie there. */
export async function listManifests(
  store: Store,
  folder: string,
  options: StoreCallOptions,
): Promise<ListedManifest[]> {
  const objects = new Map<string, number>();
  for await (const entry of store.list(folder, { ...options, prefix: MANIFESTS_PREFIX })) {
    if (entry.kind === "object") objects.set(entry.name, entry.sizeBytes);
  }
  return manifestsAmong(objects);
}

/**
 * The manifests among a folder's objects, and the runs whose backups a pin speaks of.
 *
 * @param objects By name; those after {@linkcode BEFORE_PINS} suffice.
 */
export function manifestsAndPinsAmong(
  objects: ReadonlyMap<string, { sizeBytes: number }>,
): { manifests: ListedManifest[]; pins: string[] } {
  const sizes = new Map<string, number>();
  const pins: string[] = [];
  for (const [name, { sizeBytes }] of objects) {
    const run = parsePinName(name);
    if (run !== undefined) pins.push(run);
    else if (isManifestName(name)) sizes.set(name, sizeBytes);
  }
  return { manifests: manifestsAmong(sizes), pins };
}

/** The names of a folder's checkpoints: one request, however many chunks lie there. */
export async function listCheckpoints(store: Store, folder: string, options: StoreCallOptions): Promise<string[]> {
  const names: string[] = [];
  for await (const { kind, name } of store.list(folder, { ...options, prefix: CHECKPOINTS_PREFIX })) {
    if (kind === "object" && isCheckpointName(name)) names.push(name);
  }
  return names;
}

/**
 * The manifests among a folder's objects that stand for backups, as in its {@linkcode FolderState}.
 *
 * @param objects The name of each -> its size in bytes.
 */
export function manifestsAmong(objects: ReadonlyMap<string, number>): ListedManifest[] {
  const manifests: ListedManifest[] = [...objects.keys()].flatMap((name) => {
    const parsed = parseManifestName(name);
    return parsed === undefined ? [] : [{ name, ...parsed }];
  });
  manifests.sort((a, b) => Number(a.finishedAt) - Number(b.finishedAt));
  const sizeBytes = objects.get(MANIFEST_NAME);
  if (sizeBytes !== undefined && !manifests.some(({ name }) => objects.get(name) === sizeBytes)) {
    manifests.unshift({ name: MANIFEST_NAME, finishedAt: undefined, run: undefined });
  }
  return manifests;
}

function addObject(state: FolderState, { name, sizeBytes }: { name: string; sizeBytes: number }): void {
  state.objects.set(name, sizeBytes);
  const number = parseChunkName(name);
  if (number !== undefined) {
    const run = runOfChunkName(name) ?? "";
    state.chunks.set(name, sizeBytes);
    // Somebody else's object must not use up the digits that a chunk's name has.
    if (number > MOST_CHUNKS) return;
    state.nextNumbers.set(run, Math.max(state.nextNumbers.get(run) ?? 0, number + 1));
    state.nextNumber = Math.max(state.nextNumber, number + 1);
  }
  const checkpoint = parseCheckpointName(name);
  if (checkpoint !== undefined) state.checkpoints.set(checkpoint, name);
}

/**
 * A manifest of a folder, or its copy where it is damaged.
 *
 * @param options `name`: which one; the newest where absent.
 * @throws ArchiveError when it is damaged; StoreError with code `not_found` when there is none.
 */
export async function readManifest(
  store: Store,
  folder: string,
  { name, ...options }: StoreCallOptions & { name?: string | undefined },
): Promise<Manifest> {
  if (name === undefined) {
    const newest = await readNewestManifest(store, folder, options);
    if (newest !== undefined && "error" in newest) throw newest.error;
    if (newest !== undefined) return newest.manifest;
  }
  return (await readManifestOrCopy(store, folder, { ...options, name: name ?? MANIFEST_NAME })).manifest;
}

/**
 * The manifest of that name; where it is damaged `manifest.json`, if that is a whole copy of it.
 *
 * @throws ArchiveError when neither can be used; StoreError with code `not_found` when there is none of that name.
 */
export async function readManifestOrCopy(
  store: Store,
  folder: string,
  { name, ...options }: StoreCallOptions & { name: string },
): Promise<UsableManifest> {
  const read = async (name: string) => {
    const key = joinKey(folder, name);
    return parseManifest(await readObjectBytes(store, key, options), key);
  };
  try {
    return { manifest: await read(name) };
  } catch (error) {
    const dated = parseManifestName(name);
    if (!(error instanceof ArchiveError) || dated === undefined) throw error;
    const manifest = await read(MANIFEST_NAME).catch((failure) => {
      if (failure instanceof ArchiveError || isOutOfReach(failure)) throw error;
      throw failure;
    });
    // One run may have saved the database for two tasks: then the moment tells whose copy it is.
    const moment = new Date(manifest.stored_at ?? manifest.finished_at).getTime();
    const isCopy = shortRun(manifest.run) === dated.run &&
      Math.floor(moment / 1000) === dated.finishedAt.getTime() / 1000;
    if (!isCopy) throw error;
    return { manifest, damaged: error };
  }
}

/**
 * The newest manifest of a folder, or why it cannot be used; undefined where there is none.
 *
 * @param options `state`: the folder's, where it has been looked into.
 */
export async function readNewestManifest(
  store: Store,
  folder: string,
  { state, ...options }: StoreCallOptions & { state?: Pick<FolderState, "manifests"> | undefined },
): Promise<ReadManifest | undefined> {
  const manifests = state?.manifests ?? await listManifests(store, folder, options);
  // A manifest.json beside others has to be read to learn whose it is, and when that was complete.
  const [first] = manifests;
  const asked = first?.name === MANIFEST_NAME && manifests.length > 1
    ? [first, manifests.at(-1)!]
    : manifests.slice(-1);
  return (await readListed(store, folder, asked, options)).at(-1);
}

/** Whether one object that the store does not give out, as from an archive tier, counts as damaged. @default false */
interface Tolerance {
  isTolerant?: boolean | undefined;
}

/**
 * All manifests of a folder that stand for backups, the earliest first. Those that cannot be used are told with the
 * reason; those that vanish meanwhile are left out.
 *
 * @param options `state`: the folder's, where it has been looked into. `isTolerant`: for commands that look at many
 * backups. One that wants the newest must get the store's error, and not an older backup.
 */
export async function readManifests(
  store: Store,
  folder: string,
  { state, ...options }: StoreCallOptions & Tolerance & { state?: Pick<FolderState, "manifests"> | undefined },
): Promise<ReadManifest[]> {
  const manifests = state?.manifests ?? await listManifests(store, folder, options);
  return await readListed(store, folder, manifests, options);
}

async function readListed(
  store: Store,
  folder: string,
  listed: readonly ListedManifest[],
  options: StoreCallOptions & Tolerance,
): Promise<ReadManifest[]> {
  const found = (await Promise.all(listed.map((one) => readOne(store, folder, one, options))))
    .flatMap((one) => one ?? []);
  const runs = new Set(listed.flatMap(({ run }) => run ?? []));
  const isMixed = runs.size > 0;
  return found
    // Beside other manifests a manifest.json counts only where it is of a run that none of them is of, or may be: one
    // that the store does not give out must not be taken for a copy.
    .filter((one) =>
      one.name !== MANIFEST_NAME || !isMixed ||
      ("manifest" in one ? !runs.has(shortRun(one.manifest.run)) : isOutOfReach(one.error.cause))
    )
    .sort((a, b) => Number(a.finishedAt ?? 0) - Number(b.finishedAt ?? 0));
}

async function readOne(
  store: Store,
  folder: string,
  { name, finishedAt }: ListedManifest,
  { isTolerant = false, ...options }: StoreCallOptions & Tolerance,
): Promise<ReadManifest | undefined> {
  try {
    const found = await readManifestOrCopy(store, folder, { ...options, name });
    return { name, ...found, finishedAt: momentOf(name, found.manifest) };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    if (!isTolerant && !(error instanceof ArchiveError)) throw error;
    return { name, error: asDamage(error, joinKey(folder, name)), finishedAt };
  }
}

/**
 * When a backup was complete, by the store's clock where it tells one: what its manifest's name says, and to the
 * millisecond what agrees with that in the manifest.
 *
 * @param name The manifest's, without its folder.
 */
export function momentOf(name: string, { stored_at, finished_at }: Pick<Manifest, "stored_at" | "finished_at">): Date {
  const exact = new Date(stored_at ?? finished_at);
  const { finishedAt } = parseManifestName(name) ?? {};
  if (finishedAt === undefined) return exact;
  return Math.floor(exact.getTime() / 1000) === finishedAt.getTime() / 1000 ? exact : finishedAt;
}

/**
 * A checkpoint of a folder.
 *
 * @param options `name`: which one. @default that of format 1, `checkpoint.json`
 * @throws ArchiveError when it is damaged; StoreError with code `not_found` when there is none.
 */
export async function readCheckpoint(
  store: Store,
  folder: string,
  { name = CHECKPOINT_NAME, ...options }: StoreCallOptions & { name?: string | undefined },
): Promise<Checkpoint> {
  const key = joinKey(folder, name);
  return parseCheckpoint(await readObjectBytes(store, key, options), key);
}

/** A checkpoint that was read, or why it cannot be used. */
export type ReadCheckpoint = { name: string } & ({ checkpoint: Checkpoint } | { error: ArchiveError });

/**
 * Some checkpoints of a folder, in the order of `names`. Those that vanish meanwhile are left out; one that the store
 * does not give out counts as damaged.
 */
export async function readCheckpoints(
  store: Store,
  folder: string,
  { names, ...options }: StoreCallOptions & { names: readonly string[] },
): Promise<ReadCheckpoint[]> {
  const found: ReadCheckpoint[] = [];
  for (const name of names) {
    try {
      found.push({ name, checkpoint: await readCheckpoint(store, folder, { ...options, name }) });
    } catch (error) {
      if (!isNotFound(error)) found.push({ name, error: asDamage(error, joinKey(folder, name)) });
    }
  }
  return found;
}
