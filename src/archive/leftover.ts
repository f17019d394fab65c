/**
 * What an earlier run has left in a backup's folder, for a run that resumes it. In: the folder and the new run's
 * options. Out: a complete backup, the chunks of an unfinished one and where its listing stands, or nothing. A chunk
 * that no checkpoint or manifest names does not count.
 */
import { haveSameRecipients } from "../codec/compression.ts";
import { describeError, isNotFound, isOutOfReach } from "../errors.ts";
import type { Log } from "../observe.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { sha256 } from "./checkpoint.ts";
import { explainMisplaced } from "./damage.ts";
import { CHECKPOINT_NAME, shortRun } from "./layout.ts";
import type { Checkpoint, ListingState, Manifest, Origin } from "./manifest.ts";
import { type FolderState, readCheckpoints, readManifests } from "./read.ts";
import { readObjectBytes } from "../store/whole.ts";

/** What an earlier run left for a later one: a complete backup, chunks that can be kept, or nothing. */
export type Leftover =
  | { kind: "complete"; manifest: Manifest; name: string }
  | { kind: "unfinished"; checkpoint: Checkpoint; listing: ListingState }
  | { kind: "nothing" };

/** What {@linkcode findLeftover} takes. */
export interface LeftoverOptions extends StoreCallOptions {
  state: FolderState;
  /**
   * What a checkpoint must have been made with: other options or other recipients make it useless, and so does a
   * database that was created anew since. A complete backup of another task, or sealed to others or to nobody, is left
   * alone: it is a restore point of its own.
   */
  wanted: Pick<Origin, "database" | "task" | "options" | "properties" | "recipients">;
  log: Log;
  /** Only what these runs left counts; absent: whatever is there. */
  runs?: ReadonlySet<string> | undefined;
}

/**
 * Finds out where a run can be resumed.
 *
 * A run is finished if a manifest names it. A checkpoint of another run belongs to a later run that has not finished.
 * The exception: if the checkpoint was stored before the manifest, both runs were at work at the same time, and the
 * complete backup is the later of the two. Of several checkpoints with the wanted options the one that was stored last
 * counts. One that is damaged, made with other options, of a database that was created anew since, or of another one
 * whose folder was put there, is not used, and the log says so.
 */
export async function findLeftover(store: Store, folder: string, options: LeftoverOptions): Promise<Leftover> {
  const { state, log } = options;
  const complete = await readUsableManifest(store, folder, options);
  const checkpoint = await readNewestCheckpoint(store, folder, options);
  if (complete !== undefined && (checkpoint === undefined || isOutlived(checkpoint, complete.manifest))) {
    return { kind: "complete", ...complete };
  }
  if (checkpoint === undefined) return { kind: "nothing" };
  const { listing } = checkpoint;
  if (listing === null) {
    log.warn("checkpoint is not used: it is of format 1, which does not say where its listing stands");
    return { kind: "nothing" };
  }
  const gone = checkpoint.chunks.filter((chunk) => state.chunks.get(chunk.name) !== chunk.compressed_bytes);
  if (gone.length > 0) {
    log.warn("checkpoint is not used: chunks of it are gone", { chunks: gone.length, first: gone[0]?.name });
    return { kind: "nothing" };
  }
  return { kind: "unfinished", checkpoint, listing };
}

/** The bytes of the filter that belongs to a checkpoint; undefined where they are lost. */
export async function readFilter(
  store: Store,
  folder: string,
  { filter, log, signal }: StoreCallOptions & { filter: ListingState["filter"]; log: Log },
): Promise<Uint8Array | undefined> {
  if (filter === null) {
    log.warn("checkpoint has no filter of listed ids: every document is taken for one that may be stored already");
    return undefined;
  }
  try {
    const bytes = await readObjectBytes(store, joinKey(folder, filter.name), { signal });
    if (sha256(bytes) === filter.sha256) return bytes;
    log.warn("filter of listed ids is damaged: every document is taken for one that may be stored already");
  } catch (error) {
    if (!isOutOfReach(error)) throw error;
    const problem = isNotFound(error) ? "is gone" : "cannot be read";
    log.warn(`filter of listed ids ${problem}: every document is taken for one that may be stored already`, {
      error: describeError(error),
    });
  }
  return undefined;
}

function isOutlived(checkpoint: Checkpoint, manifest: Manifest): boolean {
  return checkpoint.run === manifest.run || Date.parse(checkpoint.saved_at) < Date.parse(manifest.finished_at);
}

async function readUsableManifest(
  store: Store,
  folder: string,
  { state, wanted, log, runs, signal }: LeftoverOptions,
): Promise<{ manifest: Manifest; name: string } | undefined> {
  const counts = isOfRuns(runs);
  const manifests = state.manifests.filter(({ run }) => run === undefined || counts.shortRun(run));
  for (
    const found of (await readManifests(store, folder, { state: { manifests }, isTolerant: true, signal })).reverse()
  ) {
    if ("error" in found) log.warn("manifest is not used: it is damaged", { error: describeError(found.error) });
    else if (!counts.run(found.manifest.run) || found.manifest.task !== wanted.task) continue;
    else if (isMisplaced(found.manifest, wanted)) warnMisplaced("manifest", found.manifest, { wanted, log });
    else if (!isOfFormer(found.manifest, wanted) && isForSame(found.manifest, wanted)) {
      if (found.damaged !== undefined) {
        log.warn("manifest is damaged: its copy is used", { error: describeError(found.damaged) });
      }
      return { manifest: found.manifest, name: found.name };
    }
  }
  return undefined;
}

/** Whether something counts, by its run or by the eight digits that stand for it. */
function isOfRuns(runs: ReadonlySet<string> | undefined) {
  const short = runs === undefined ? undefined : new Set([...runs].map(shortRun));
  return { run: (run: string) => runs?.has(run) ?? true, shortRun: (digits: string) => short?.has(digits) ?? true };
}

/** Of the checkpoints that count the one that was stored last and was made with the same options. */
async function readNewestCheckpoint(
  store: Store,
  folder: string,
  { state, wanted, log, runs, signal }: LeftoverOptions,
): Promise<Checkpoint | undefined> {
  const counts = isOfRuns(runs);
  const names = [...state.checkpoints].flatMap(([run, name]) => counts.shortRun(run) ? [name] : []);
  if (state.hasCheckpoint) names.push(CHECKPOINT_NAME);
  let newest: Checkpoint | undefined;
  let newestOther: Checkpoint | undefined;
  for (const found of await readCheckpoints(store, folder, { names, signal })) {
    if ("error" in found) {
      log.warn("checkpoint is not used: it is damaged", { error: describeError(found.error) });
      continue;
    }
    const { checkpoint } = found;
    if (!counts.run(checkpoint.run)) continue;
    if (isMisplaced(checkpoint, wanted)) warnMisplaced("checkpoint", checkpoint, { wanted, log });
    else if (isOfFormer(checkpoint, wanted)) {
      log.warn("checkpoint is not used: the database was deleted and created again since", { run: checkpoint.run });
    } else if (isAsWanted(checkpoint, wanted)) newest = laterOf(newest, checkpoint);
    else newestOther = laterOf(newestOther, checkpoint);
  }
  if (newest !== undefined || newestOther === undefined) return newest;
  const { recipients, options: { attachments, revisions, tombstones } } = newestOther;
  log.warn("checkpoint is not used: it was made with other options", {
    attachments,
    revisions,
    tombstones,
    ...isForSame(newestOther, wanted) ? {} : { recipients: recipients ?? [] },
    ...hasSameLimit(newestOther, wanted) ? {} : { revsLimit: newestOther.properties.revs_limit },
  });
  return undefined;
}

/** Whether it is of another database, as where two folders were swapped: nothing of this one is in it. */
function isMisplaced({ database }: Pick<Origin, "database">, wanted: Pick<Origin, "database">): boolean {
  return database !== wanted.database;
}

function warnMisplaced(
  what: "manifest" | "checkpoint",
  { database, run }: Pick<Origin, "database" | "run">,
  { wanted, log }: { wanted: Pick<Origin, "database">; log: Log },
): void {
  const problem = explainMisplaced({ database, folderIsOf: wanted.database });
  log.warn(`${what} is not used: it is of another database`, { run, error: problem });
}

/**
 * Whether it is of a database of the same name that is gone, whose documents must not be mixed with those of this one.
 */
function isOfFormer({ properties: was }: Pick<Origin, "properties">, { properties: is }: LeftoverOptions["wanted"]) {
  if (was.instance_start_time === null || is.instance_start_time === null) return false;
  return was.instance_start_time !== is.instance_start_time;
}

function isAsWanted(checkpoint: Checkpoint, all: LeftoverOptions["wanted"]): boolean {
  const { options } = checkpoint;
  const { options: wanted } = all;
  return options.attachments === wanted.attachments && options.revisions === wanted.revisions &&
    options.tombstones === wanted.tombstones && isForSame(checkpoint, all) &&
    (!wanted.revisions || hasSameLimit(checkpoint, all));
}

/** CouchDB cuts histories to `_revs_limit` when it reads: what was read under another one has other histories. */
function hasSameLimit(
  { properties: { revs_limit: was } }: Pick<Origin, "properties">,
  { properties: { revs_limit: is } }: Pick<Origin, "properties">,
): boolean {
  return was === null || is === null || was === is;
}

/** What was begun in clear must not become a part of what is sealed, nor what others open. */
function isForSame(left: Pick<Origin, "recipients">, wanted: Pick<Origin, "recipients">): boolean {
  return haveSameRecipients(left.recipients, wanted.recipients);
}

function laterOf(a: Checkpoint | undefined, b: Checkpoint): Checkpoint {
  return a !== undefined && Date.parse(a.saved_at) >= Date.parse(b.saved_at) ? a : b;
}
