/**
 * What an earlier run has left in a backup's folder, for one that resumes it. In: the folder and what the new run wants.
 * Out: a complete backup, the chunks of an unfinished one, or nothing. A chunk that no checkpoint or manifest names does
 * not count.
 */
import { ArchiveError, describeError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import type { Checkpoint, Manifest, Origin } from "./manifest.ts";
import { type FolderState, readCheckpoint, readManifest } from "./read.ts";

/** What an earlier run left for a later one: a complete backup, chunks that can be kept, or nothing. */
export type Leftover =
  | { kind: "complete"; manifest: Manifest }
  | { kind: "unfinished"; checkpoint: Checkpoint }
  | { kind: "nothing" };

/**
 * Finds out where a run can be resumed.
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
  try {
    const checkpoint = await readCheckpoint(store, folder, options);
    const { attachments, revisions } = checkpoint.options;
    if (attachments === options.wanted.attachments && revisions === options.wanted.revisions) return checkpoint;
    options.log.warn("checkpoint is not used: it was made with other options", { attachments, revisions });
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    options.log.warn("checkpoint is not used: it is damaged", { error: describeError(error) });
  }
  return undefined;
}
