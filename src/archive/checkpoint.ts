/**
 * Writes how far a database's backup has come: the chunks stored so far, in `checkpoint.json` beside them. In: chunks as
 * they are stored, in whatever order. Out: an object from which a later run can resume.
 */
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { CHECKPOINT_NAME } from "./layout.ts";
import { type Checkpoint, type ChunkEntry, encodeJson, type Origin } from "./manifest.ts";

/** A checkpoint is stored after a chunk, but not more often than this. A killed run loses no more work. */
const SAVE_INTERVAL_MS = 1000;

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
