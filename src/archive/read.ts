/**
 * Reads what a backup's folder says of itself: which objects lie there, its manifest, its checkpoint. In: a store and a
 * folder's key. Out: checked values. Everybody who looks into a backup reads through here.
 */
import { joinKey } from "../store/key.ts";
import { readBytes } from "../streams.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { CHECKPOINT_NAME, MANIFEST_NAME, parseChunkName } from "./layout.ts";
import { type Checkpoint, type Manifest, parseCheckpoint, parseManifest } from "./manifest.ts";

/** What lies in a backup's folder. */
export interface FolderState {
  /** The name of each object -> its size in bytes. */
  objects: Map<string, number>;
  /** The same of the chunks alone. */
  chunks: Map<string, number>;
  /** The number behind the highest chunk present. */
  nextNumber: number;
  hasManifest: boolean;
  hasCheckpoint: boolean;
}

/** Looks into a backup's folder; one that does not exist is empty. */
export async function readFolder(store: Store, folder: string, options: StoreCallOptions): Promise<FolderState> {
  const objects = new Map<string, number>();
  const chunks = new Map<string, number>();
  let nextNumber = 0;
  for await (const entry of store.list(folder, options)) {
    if (entry.kind !== "object") continue;
    objects.set(entry.name, entry.sizeBytes);
    const number = parseChunkName(entry.name);
    if (number === undefined) continue;
    chunks.set(entry.name, entry.sizeBytes);
    nextNumber = Math.max(nextNumber, number + 1);
  }
  const [hasManifest, hasCheckpoint] = [objects.has(MANIFEST_NAME), objects.has(CHECKPOINT_NAME)];
  return { objects, chunks, nextNumber, hasManifest, hasCheckpoint };
}

/**
 * The manifest of a folder.
 *
 * @throws ArchiveError when it is damaged; StoreError with code `not_found` when there is none.
 */
export async function readManifest(store: Store, folder: string, options: StoreCallOptions): Promise<Manifest> {
  const key = joinKey(folder, MANIFEST_NAME);
  return parseManifest(await readBytes(await store.read(key, options)), key);
}

/**
 * The checkpoint of a folder.
 *
 * @throws ArchiveError when it is damaged; StoreError with code `not_found` when there is none.
 */
export async function readCheckpoint(store: Store, folder: string, options: StoreCallOptions): Promise<Checkpoint> {
  const key = joinKey(folder, CHECKPOINT_NAME);
  return parseCheckpoint(await readBytes(await store.read(key, options)), key);
}
