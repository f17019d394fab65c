/**
 * What is known of a database's unfinished backup: the chunks stored so far, kept in `checkpoint.json` beside them, and
 * what an earlier run has left in the folder. A chunk that no checkpoint or manifest names does not count.
 */
import { ArchiveError, describeError } from "../errors.ts";
import { CHECKPOINT_NAME, MANIFEST_NAME, parseChunkName } from "./layout.ts";
import { joinKey } from "../store/key.ts";
import {
  type Checkpoint,
  type ChunkEntry,
  encodeJson,
  type Manifest,
  type Origin,
  parseCheckpoint,
  parseManifest,
} from "./manifest.ts";
import { readBytes } from "../streams.ts";
import type { Log } from "../observe.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";

/** A checkpoint is stored after a chunk, but not more often than this. A killed run loses no more work. */
const SAVE_INTERVAL_MS = 1000;

/** What lies in a backup's folder. */
export interface FolderState {
  /** The number behind the highest chunk present. */
  nextNumber: number;
  /** Chunk name -> size in bytes. */
  chunks: Map<string, number>;
  hasManifest: boolean;
  hasCheckpoint: boolean;
}

/** Looks into a backup's folder; one that does not exist is empty. */
export async function readFolder(store: Store, folder: string, options: StoreCallOptions): Promise<FolderState> {
  const state: FolderState = { nextNumber: 0, chunks: new Map(), hasManifest: false, hasCheckpoint: false };
  for await (const entry of store.list(folder, options)) {
    if (entry.kind !== "object") continue;
    if (entry.name === MANIFEST_NAME) state.hasManifest = true;
    if (entry.name === CHECKPOINT_NAME) state.hasCheckpoint = true;
    const number = parseChunkName(entry.name);
    if (number === undefined) continue;
    state.chunks.set(entry.name, entry.sizeBytes);
    state.nextNumber = Math.max(state.nextNumber, number + 1);
  }
  return state;
}

/** The manifest of a folder. @throws ArchiveError when it is damaged. */
export async function readManifest(store: Store, folder: string, options: StoreCallOptions): Promise<Manifest> {
  const key = joinKey(folder, MANIFEST_NAME);
  return parseManifest(await readWhole(store, key, options), key);
}

/** What an earlier run left for a later one: a complete backup, chunks that can be kept, or nothing. */
export type Leftover =
  | { kind: "complete"; manifest: Manifest }
  | { kind: "unfinished"; checkpoint: Checkpoint }
  | { kind: "nothing" };

/**
 * Finds out where a run can go on.
 *
 * A manifest that names the checkpoint's run finishes that run. A checkpoint of another run is of a later one that has
 * not finished, unless it was stored before the manifest: then it is of one that ran at the same time, and the complete
 * backup is the later of the two. What is damaged, or a checkpoint made with other options, is said so and not used.
 *
 * @param options.runs Only what these runs left counts; absent: whatever is there.
 */
export async function findLeftover(
  store: Store,
  folder: string,
  options: StoreCallOptions & {
    state: FolderState;
    wanted: Origin["options"];
    log: Log;
    runs?: ReadonlySet<string> | undefined;
  },
): Promise<Leftover> {
  const { state, wanted, log, runs } = options;
  const ofRuns = <T extends Origin>(found: T | undefined) =>
    found === undefined || runs === undefined || runs.has(found.run) ? found : undefined;
  const manifest = ofRuns(state.hasManifest ? await readUsableManifest(store, folder, options) : undefined);
  const checkpoint = ofRuns(
    state.hasCheckpoint ? await readUsableCheckpoint(store, folder, { ...options, wanted }) : undefined,
  );
  if (manifest !== undefined && (checkpoint === undefined || isOutlived(checkpoint, manifest))) {
    return { kind: "complete", manifest };
  }
  if (checkpoint === undefined) return { kind: "nothing" };
  const chunks = checkpoint.chunks.filter((chunk) => state.chunks.get(chunk.name) === chunk.compressed_bytes);
  if (chunks.length < checkpoint.chunks.length) {
    log.warn("chunks of the checkpoint are gone and are read again", {
      chunks: checkpoint.chunks.length - chunks.length,
    });
  }
  return { kind: "unfinished", checkpoint: { ...checkpoint, chunks } };
}

function isOutlived(checkpoint: Checkpoint, manifest: Manifest): boolean {
  return checkpoint.run === manifest.run || Date.parse(checkpoint.saved_at) < Date.parse(manifest.finished_at);
}

async function readUsableManifest(
  store: Store,
  folder: string,
  options: StoreCallOptions & { log: Log },
): Promise<Manifest | undefined> {
  try {
    return await readManifest(store, folder, options);
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    options.log.warn("manifest is not used: it is damaged", { error: describeError(error) });
    return undefined;
  }
}

async function readUsableCheckpoint(
  store: Store,
  folder: string,
  options: StoreCallOptions & { wanted: Origin["options"]; log: Log },
): Promise<Checkpoint | undefined> {
  const key = joinKey(folder, CHECKPOINT_NAME);
  try {
    const checkpoint = parseCheckpoint(await readWhole(store, key, options), key);
    const { attachments, revisions } = checkpoint.options;
    if (attachments === options.wanted.attachments && revisions === options.wanted.revisions) return checkpoint;
    options.log.warn("checkpoint is not used: it was made with other options", { attachments, revisions });
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    options.log.warn("checkpoint is not used: it is damaged", { error: describeError(error) });
  }
  return undefined;
}

async function readWhole(store: Store, key: string, options: StoreCallOptions): Promise<Uint8Array> {
  return await readBytes(await store.read(key, options));
}

/** Keeps a database's checkpoint up to date while chunks come in, in whatever order. */
export class CheckpointWriter {
  readonly chunks: ChunkEntry[];

  readonly #store: Store;
  readonly #key: string;
  readonly #origin: Origin;
  readonly #startSeq: string;
  readonly #now: () => Date;
  #savedAtMs: number;
  #savedChunks: number;
  #saving: Promise<void> | undefined;

  constructor(
    store: Store,
    folder: string,
    state: { origin: Origin; startSeq: string; chunks: readonly ChunkEntry[]; now: () => Date },
  ) {
    this.#store = store;
    this.#key = joinKey(folder, CHECKPOINT_NAME);
    this.#origin = state.origin;
    this.#startSeq = state.startSeq;
    this.#now = state.now;
    this.chunks = [...state.chunks];
    this.#savedChunks = this.chunks.length;
    this.#savedAtMs = state.now().getTime();
  }

  /** Notes a stored chunk, and stores the checkpoint when it is due. A database done within a second needs none. */
  async add(entry: ChunkEntry, options: StoreCallOptions): Promise<void> {
    this.chunks.push(entry);
    if (this.#saving !== undefined || this.#now().getTime() - this.#savedAtMs < SAVE_INTERVAL_MS) return;
    await this.save(options);
  }

  /** Stores the checkpoint as it is now. */
  async save(options: StoreCallOptions): Promise<void> {
    await this.#saving;
    this.#saving = this.#write(options);
    try {
      await this.#saving;
    } finally {
      this.#saving = undefined;
    }
  }

  /** Stores the checkpoint if chunks came in since it was stored last. */
  async saveRest(options: StoreCallOptions): Promise<void> {
    await this.#saving;
    if (this.chunks.length > this.#savedChunks) await this.save(options);
  }

  async #write(options: StoreCallOptions): Promise<void> {
    const chunks = [...this.chunks];
    const saved: Checkpoint = {
      ...this.#origin,
      saved_at: this.#now().toISOString(),
      update_seq: { start: this.#startSeq },
      chunks,
    };
    await this.#store.replace(this.#key, encodeJson(saved), options);
    this.#savedAtMs = this.#now().getTime();
    this.#savedChunks = chunks.length;
  }
}
