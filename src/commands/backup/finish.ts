/**
 * Makes a backup complete: an entry in the catalog, then its manifest, under a name of its own, which nothing replaces.
 * In: what was stored. Out: the moment by which the backup is found again.
 */
import { Buffer } from "node:buffer";
import { isDeepStrictEqual } from "node:util";
import { Catalog } from "../../archive/catalog.ts";
import { MANIFEST_NAME, manifestName, parseChunkName, parseManifestName, shortRun } from "../../archive/layout.ts";
import {
  type ChainLoss,
  type ChunkEntry,
  type ListedFeed,
  type Manifest,
  type Origin,
  sumChunks,
} from "../../archive/manifest.ts";
import { encodeJson, parseManifest } from "../../archive/manifest_json.ts";
import { type FolderState, type ListedManifest, listManifests } from "../../archive/read.ts";
import { sealed } from "../../archive/sealed.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import type { BackupDate } from "../../dates.ts";
import { DAY_MS } from "../../dates.ts";
import { ArchiveError, StoreError } from "../../errors.ts";
import { findGoneChunk } from "../../archive/chain.ts";
import { joinKey } from "../../store/key.ts";
import { allEnded } from "../../parallel.ts";
import type { Run } from "./context.ts";
import { readObjectBytes } from "../../store/whole.ts";

/** Clocks that differ by more than this are worth a warning. */
const MOST_CLOCK_DIFFERENCE_MS = 120_000;

/** A run that took longer makes sure that its chunks are still there. */
const LONG_RUN_MS = 24 * 3_600_000;

/** What there is to finish. */
export interface FinishedBackup {
  origin: Origin;
  date: BackupDate;
  /** The folder's key. */
  folder: string;
  updateSeq: Manifest["update_seq"];
  feed: ListedFeed;
  unreadable: readonly UnreadableDocument[];
  /** What the chain before it has lost. */
  chainLost?: ChainLoss | undefined;
  /** For how many days what is stored is locked; undefined: it is not, or nobody needs to know. */
  lockDays?: number | undefined;
  chunks: readonly ChunkEntry[];
  /** What the folder had when the backup began. */
  manifests: readonly ListedManifest[];
}

/** Stores what makes the backup complete. @returns Its manifest. */
export async function finishBackup(context: Run, backup: FinishedBackup): Promise<Manifest> {
  const { repository, now, signal, log } = context;
  const { store } = repository;
  const { origin, date, folder, updateSeq, feed, lockDays } = backup;
  const finishedAt = now();
  const skewMs = store.clockSkewMs;
  // Backups are ordered by the store's clock: those of several machines have no other one in common.
  const momentAt = laterThanOwn(new Date(finishedAt.getTime() + (skewMs ?? 0)), origin.run, backup.manifests);
  if (Math.abs(skewMs ?? 0) > MOST_CLOCK_DIFFERENCE_MS) {
    log.warn("clock of this machine and clock of the store differ: backups are ordered by the store's", {
      seconds: Math.round(skewMs! / 1000),
    });
  }
  const chunks = [...backup.chunks].sort((a, b) => parseChunkName(a.name)! - parseChunkName(b.name)!);
  const totals = sumChunks(chunks);
  const manifest: Manifest = {
    ...origin,
    finished_at: finishedAt.toISOString(),
    // In the second that the name says: by that its copy is told from those of other manifests of the run.
    stored_at: skewMs === undefined ? null : momentAt.toISOString(),
    // Its first chunk was stored a moment after it began.
    ...lockDays === undefined
      ? {}
      : { locked_until: new Date(Date.parse(origin.started_at) + lockDays * DAY_MS).toISOString() },
    update_seq: updateSeq,
    feed,
    ...backup.chainLost === undefined ? {} : { chain_lost: backup.chainLost },
    unreadable: [...backup.unreadable],
    totals,
    chunks,
  };
  await requireChunks(context, { folder, manifest });
  const name = manifestName(momentAt, shortRun(origin.run));
  const key = joinKey(folder, name);
  const bytes = encodeJson(await sealed(manifest));
  const entered = new Catalog(repository).add({
    database: origin.database,
    finishedAt: momentAt,
    run: origin.run,
    date,
    task: origin.task,
    kind: origin.kind,
    documents: totals.documents,
    compressedBytes: totals.compressed_bytes,
    chunks: totals.chunks,
    unreadable: backup.unreadable.length,
    manifestKey: key,
  }, { signal });
  const created = createOnce(context, key, bytes, { after: entered });
  const isCopied = created.then(async () => isNewest(await listManifests(store, folder, { signal }), momentAt));
  const copied = store.replace(joinKey(folder, MANIFEST_NAME), bytes, { signal, isCopy: true, after: isCopied });
  // One comes after the other, where all are on their way at once: whichever fails, the others have ended.
  await allEnded([entered, created, isCopied, copied]);
  if (!await isCopied) await store.settle?.(folder);
  return manifest;
}

/**
 * Copies the newest manifest of a folder to `manifest.json` where the run that stored it has ended before it came to
 * that.
 *
 * @param name The newest manifest's; what it said when it was read.
 */
export async function finishCopy(
  { repository: { store }, signal }: Pick<Run, "repository" | "signal">,
  { folder, name, manifest, state }: { folder: string; name: string; manifest: Manifest; state: FolderState },
): Promise<void> {
  const dated = parseManifestName(name);
  if (dated === undefined || !isNewest(state.manifests, dated.finishedAt)) return;
  const isOnlyOne = state.manifests.length === 1;
  if (isOnlyOne && state.objects.get(MANIFEST_NAME) === state.objects.get(name)) return;
  const read = async (name: string) => await readObjectBytes(store, joinKey(folder, name), { signal });
  const bytes = await read(name);
  try {
    if (!isDeepStrictEqual(parseManifest(bytes, joinKey(folder, name)), manifest)) return;
  } catch (error) {
    // Where the manifest is damaged, its copy is what is left of it.
    if (error instanceof ArchiveError) return;
    throw error;
  }
  const copy = state.hasManifest ? await read(MANIFEST_NAME) : undefined;
  if (copy === undefined || !Buffer.from(bytes).equals(copy)) {
    await store.replace(joinKey(folder, MANIFEST_NAME), bytes, { signal });
  }
}

/**
 * Whether none is later. A `manifest.json` among them has no moment: it is of format 1, its only one, which must stay.
 */
function isNewest(manifests: readonly ListedManifest[], moment: Date): boolean {
  return manifests.every(({ finishedAt }) => finishedAt !== undefined && finishedAt <= moment);
}

/**
 * A run that took long, or whose machine was suspended, looks whether its chunks are still there: what deletes
 * left-overs may have taken them for some.
 */
async function requireChunks(
  { repository: { store }, signal }: Run,
  { folder, manifest }: { folder: string; manifest: Manifest },
): Promise<void> {
  if (Date.parse(manifest.finished_at) - Date.parse(manifest.started_at) < LONG_RUN_MS) return;
  const gone = await findGoneChunk({ store, folder, manifest }, { signal });
  if (gone === undefined) return;
  const key = joinKey(folder, gone);
  throw new StoreError(
    `Cannot complete the backup of "${manifest.database}": chunk "${key}" is gone since it was stored`,
    {
      code: "gone",
      key,
    },
    { hint: "Check what else deletes in the store, such as a lifecycle rule; the next run makes a full backup" },
  );
}

/**
 * The moment of the backup, which its manifest's name has to the second: later than that of what this run has made of
 * the database already. Two tasks may save a small one within a second, and either backup is a restore point.
 */
function laterThanOwn(storedAt: Date, run: string, manifests: readonly ListedManifest[]): Date {
  const own = manifests.flatMap((one) => one.run === shortRun(run) ? one.finishedAt ?? [] : []);
  const nextMs = Math.max(...own.map((finishedAt) => finishedAt.getTime())) + 1000;
  return nextMs > storedAt.getTime() ? new Date(nextMs) : storedAt;
}

/**
 * Its name has the moment and the run: what lies there already is this very manifest, stored by an answer that was
 * lost.
 *
 * @throws StoreError where it is another one.
 */
async function createOnce(
  { repository: { store }, signal }: Run,
  key: string,
  bytes: Uint8Array,
  { after }: { after: Promise<unknown> },
): Promise<void> {
  try {
    await store.create(
      [key],
      (async function* () {
        yield bytes;
      })(),
      { signal, kind: "manifest", isFollowed: true, after },
    );
  } catch (error) {
    if (!(error instanceof StoreError) || error.facts.code !== "exists") throw error;
    if (!Buffer.from(bytes).equals(await readObjectBytes(store, key, { signal }))) throw error;
  }
}
