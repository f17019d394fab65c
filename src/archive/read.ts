/**
 * Reads what a backup's folder says of itself: which objects lie there, its manifests, its checkpoints. In: a store and a
 * folder's key. Out: checked values. Everybody who looks into a backup reads through here.
 */
import { ArchiveError, isNotFound } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import { readBytes } from "../store/read_whole.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import {
  CHECKPOINT_NAME,
  MANIFEST_NAME,
  parseCheckpointName,
  parseChunkName,
  parseManifestName,
  runOfChunkName,
  shortRun,
} from "./layout.ts";
import { type Checkpoint, type Manifest, parseCheckpoint, parseManifest } from "./manifest.ts";

/** A manifest as its folder's listing shows it. */
export interface ListedManifest {
  name: string;
  /** When its backup was complete, to the second. Undefined of `manifest.json`, which has to be read for that. */
  finishedAt: Date | undefined;
  /** The eight digits that stand for its run; undefined of `manifest.json`. */
  run: string | undefined;
}

/** A manifest that was read, or why it cannot be used. */
export type ReadManifest =
  & { name: string }
  & ({ manifest: Manifest; finishedAt: Date } | { error: ArchiveError; finishedAt: Date | undefined });

/** What lies in a backup's folder. */
export interface FolderState {
  /** The name of each object -> its size in bytes. */
  objects: Map<string, number>;
  /** The same of the chunks alone. */
  chunks: Map<string, number>;
  /** The eight digits in the names of chunks, empty where there are none -> the number behind the highest of these. */
  nextNumbers: Map<string, number>;
  /** The number behind the highest chunk present, whatever its run. */
  nextNumber: number;
  /**
   * The manifests that stand for backups, the earliest first. A `manifest.json` among them is one of format 1, or may be:
   * it has the size of none of the others, of whose newest it is a copy.
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
  state.manifests.sort((a, b) => Number(a.finishedAt) - Number(b.finishedAt));
  const sizeBytes = state.objects.get(MANIFEST_NAME);
  if (sizeBytes !== undefined && !state.manifests.some(({ name }) => state.objects.get(name) === sizeBytes)) {
    state.manifests.unshift({ name: MANIFEST_NAME, finishedAt: undefined, run: undefined });
  }
  return state;
}

function addObject(state: FolderState, { name, sizeBytes }: { name: string; sizeBytes: number }): void {
  state.objects.set(name, sizeBytes);
  const number = parseChunkName(name);
  if (number !== undefined) {
    const run = runOfChunkName(name) ?? "";
    state.chunks.set(name, sizeBytes);
    state.nextNumbers.set(run, Math.max(state.nextNumbers.get(run) ?? 0, number + 1));
    state.nextNumber = Math.max(state.nextNumber, number + 1);
  }
  const manifest = parseManifestName(name);
  if (manifest !== undefined) state.manifests.push({ name, ...manifest });
  const checkpoint = parseCheckpointName(name);
  if (checkpoint !== undefined) state.checkpoints.set(checkpoint, name);
}

/**
 * A manifest of a folder.
 *
 * @param options `name`: which one; the newest where absent. `state`: the folder's, where it has been looked into.
 * @throws ArchiveError when it is damaged; StoreError with code `not_found` when there is none.
 */
export async function readManifest(
  store: Store,
  folder: string,
  { name, state, ...options }: StoreCallOptions & { name?: string | undefined; state?: FolderState | undefined },
): Promise<Manifest> {
  if (name === undefined) {
    const newest = await readNewestManifest(store, folder, { ...options, state });
    if (newest !== undefined && "error" in newest) throw newest.error;
    if (newest !== undefined) return newest.manifest;
  }
  const key = joinKey(folder, name ?? MANIFEST_NAME);
  return parseManifest(await readBytes(store, key, options), key);
}

/**
 * The newest manifest of a folder, or why it cannot be used; undefined where there is none.
 *
 * @param options `state`: the folder's, where it has been looked into.
 */
export async function readNewestManifest(
  store: Store,
  folder: string,
  { state, ...options }: StoreCallOptions & { state?: FolderState | undefined },
): Promise<ReadManifest | undefined> {
  const { manifests } = state ?? await readFolder(store, folder, options);
  // A manifest.json beside others has to be read to learn whose it is, and when that was complete.
  const [first] = manifests;
  const asked = first?.name === MANIFEST_NAME && manifests.length > 1
    ? [first, manifests.at(-1)!]
    : manifests.slice(-1);
  return (await readListed(store, folder, asked, options)).at(-1);
}

/**
 * All manifests of a folder that stand for backups, the earliest first. Those that cannot be used are told with the
 * reason; those that vanish meanwhile are left out.
 *
 * @param options `state`: the folder's, where it has been looked into.
 */
export async function readManifests(
  store: Store,
  folder: string,
  { state, ...options }: StoreCallOptions & { state?: FolderState | undefined },
): Promise<ReadManifest[]> {
  const { manifests } = state ?? await readFolder(store, folder, options);
  return await readListed(store, folder, manifests, options);
}

async function readListed(
  store: Store,
  folder: string,
  listed: readonly ListedManifest[],
  options: StoreCallOptions,
): Promise<ReadManifest[]> {
  const found = (await Promise.all(listed.map((one) => readOne(store, folder, one, options))))
    .flatMap((one) => one ?? []);
  const runs = new Set(listed.flatMap(({ run }) => run ?? []));
  const isMixed = runs.size > 0;
  return found
    // Beside others a manifest.json counts only where it is of a run of its own.
    .filter((one) =>
      one.name !== MANIFEST_NAME || !isMixed || ("manifest" in one && !runs.has(shortRun(one.manifest.run)))
    )
    .sort((a, b) => Number(a.finishedAt ?? 0) - Number(b.finishedAt ?? 0));
}

async function readOne(
  store: Store,
  folder: string,
  { name, finishedAt }: ListedManifest,
  options: StoreCallOptions,
): Promise<ReadManifest | undefined> {
  try {
    const manifest = await readManifest(store, folder, { ...options, name });
    return { name, manifest, finishedAt: momentOf(name, manifest) };
  } catch (error) {
    if (error instanceof ArchiveError) return { name, error, finishedAt };
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/**
 * When a backup was complete: what its manifest's name says, which orders it among others, and to the millisecond where
 * the manifest itself agrees.
 *
 * @param name The manifest's, without its folder.
 */
export function momentOf(name: string, manifest: Pick<Manifest, "finished_at">): Date {
  const exact = new Date(manifest.finished_at);
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
  return parseCheckpoint(await readBytes(store, key, options), key);
}
