/**
 * Opens the archive that a restore reads from, before the first document is written: it is found, logged, and refused
 * unless it is complete. In: a path and a database's name. Out: an archive that may be restored.
 */
import { counted } from "../../counts.ts";
import { type Archive, type ArchiveChunk, openArchive, placeOfChunk } from "../../archive/archive.ts";
import { CheckedChunk } from "../../archive/chunk.ts";
import { SALVAGE_HINT } from "../../archive/damage.ts";
import { isLarge } from "../../archive/documents.ts";
import { findArchive } from "../../archive/find.ts";
import { CHUNK_FORMAT } from "../../archive/formats.ts";
import { isManifestName, MANIFEST_NAME } from "../../archive/layout.ts";
import { addParents } from "../../archive/parents.ts";
import { isSealed, refusePlain, unlock } from "../../archive/unlock.ts";
import { discreetLog } from "../../observe/discreet_log.ts";
import { ArchiveError } from "../../errors.ts";
import type { Log } from "../../observe.ts";
import { joinKey } from "../../store/key.ts";
import type { BegunRestore, RestoreRequest } from "./context.ts";

/** Where a document's history stands, if it has one. */
const HISTORY_WITHIN_BYTES = 1 << 16;

/**
 * Finds the archive at `path`, unless its place is known.
 *
 * @throws ArchiveError when there is none, or when it is not whole, unless what is whole of it is wanted (`salvage`);
 * UsageError when it is sealed and nothing opens it, or is not sealed and should be.
 */
export async function openSource(
  context: BegunRestore,
  { path, salvage = false, allowPlain }: Pick<RestoreRequest, "path" | "salvage" | "allowPlain">,
): Promise<Archive> {
  const { seal } = context;
  const place = context.place ?? await findArchive(context, path, context.database);
  const archive = await openArchive(place, { signal: context.signal });
  refusePlain({ ...archive, folder: archive.place.folder }, { seal, allowPlain });
  await addParents(archive, context);
  await unlock(archive, { seal, salvage });
  announce(archive, logFor(archive, context.log));
  await refuseUnlessWhole(archive, { salvage, signal: context.signal });
  return archive;
}

/** A log that does not name what an archive has sealed. */
export function logFor(archive: Archive, log: Log): Log {
  return isSealed(archive) ? discreetLog(log) : log;
}

/** Whether a manifest or checkpoint says what each of its chunks holds. Chunks of others may hold a document twice. */
export function isCounted(archive: Archive): boolean {
  return archive.chunks.every(({ entry }) => entry !== undefined);
}

/**
 * Checks one of an archive's chunks. With `salvage` one of lines may lack some, which it names.
 *
 * @throws ArchiveError when it is damaged.
 */
export async function openChunk(
  archive: Archive,
  chunk: ArchiveChunk,
  options: { signal: AbortSignal; salvage?: boolean },
): Promise<CheckedChunk> {
  return await CheckedChunk.open(placeOfChunk(archive, chunk), options);
}

/** Says what was found, above all where it is not a backup of this program. */
function announce(
  { kind, url, origin, parents, chunks, problems, damagedManifests, unreadable, leftovers }: Archive,
  log: Log,
): void {
  const made = { run: origin?.run, task: origin?.task, startedAt: origin?.started_at };
  log.info("archive is found", { path: url, kind, chunks: chunks.length, ...made });
  if (parents.length > 0) {
    const paths = parents.map(({ path }) => path);
    log.info("backup is incremental: its parents are restored with it", { backups: paths });
  }
  if (kind === "unlisted") log.warn("archive has no manifest: nobody can say whether it is complete");
  if (kind === "foreign") log.warn("file is in no manifest: nobody can say whether it is complete");
  for (const { chunk, problem } of problems) log.error("archive is not whole", { chunk, problem });
  for (const { chunk, problem } of damagedManifests) {
    log.warn("manifest is damaged: its copy is used", { chunk, problem });
  }
  for (const { id, rev, error, reason } of unreadable) {
    log.warn("document is not in the backup: CouchDB could not read it", { id, rev, error, reason });
  }
  for (const { chunk, problem } of leftovers) log.warn("object is not restored", { chunk, problem });
}

async function refuseUnlessWhole(
  archive: Archive,
  { salvage, signal }: { salvage: boolean; signal: AbortSignal },
): Promise<void> {
  if (await looksUnfinished(archive, { salvage, signal })) {
    archive.problems.push({
      chunk: MANIFEST_NAME,
      problem: "It is missing, and the documents have histories: this looks like a backup that has not finished",
    });
  }
  const [first] = archive.problems;
  if (first === undefined || salvage) return;
  const more = archive.problems.length - 1;
  const key = joinKey(archive.place.folder, first.chunk);
  throw new ArchiveError(
    `Cannot restore "${archive.url}": "${first.chunk}" has a problem: ${first.problem}` +
      (more === 0 ? "" : ` (and ${counted(more, "more problem")})`),
    { key, expected: "a complete backup", found: first.problem },
    { hint: SALVAGE_HINT },
  );
}

/**
 * Whether chunks without a manifest seem to be an unfinished backup of this program: its documents have histories,
 * the reference script's do not.
 *
 * @throws ArchiveError when the first chunk is damaged or no archive at all.
 */
async function looksUnfinished(
  archive: Archive,
  { salvage, signal }: { salvage: boolean; signal: AbortSignal },
): Promise<boolean> {
  const [first] = archive.chunks;
  if (first === undefined || first.entry !== undefined) return false;
  try {
    const chunk = await openChunk(archive, first, { signal, salvage });
    // A file of another format is no chunk of this program: no unfinished run has left it.
    if (chunk.format !== CHUNK_FORMAT) return false;
    if (archive.kind === "foreign" || archive.problems.some(({ chunk }) => isManifestName(chunk))) return false;
    for await (const item of chunk.read({ signal })) {
      const [document] = isLarge(item) ? [] : item;
      if (document === undefined) return false;
      const beginning = new TextDecoder().decode(document.bytes.subarray(0, HISTORY_WITHIN_BYTES));
      return beginning.includes('"_revisions":{"start"');
    }
  } catch (error) {
    if (!(error instanceof ArchiveError) || !salvage) throw error;
  }
  return false;
}
