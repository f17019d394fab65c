/**
 * Reads a backup again and compares it with its manifest: checksums, counts, ids. What is missing, damaged or foreign
 * is named, and so is what CouchDB could not read when the backup was made. Needs no CouchDB; writes nothing.
 */
import {
  type Archive,
  type ArchiveChunk,
  type ArchivePlace,
  type ChunkProblem,
  openArchive,
  placeOfChunk,
} from "../archive/archive.ts";
import { findArchive, type PathContext } from "../archive/find.ts";
import { checkStored, inspectChunk } from "../archive/chunk.ts";
import { explainUnusable, isLost } from "../archive/damage.ts";
import type { DocumentCounts } from "../archive/documents.ts";
import { addParents, nameOfChunk } from "../archive/parents.ts";
import { findGaps, hasRange, RangeCheck } from "../archive/id_ranges.ts";
import { MANIFEST_NAME, parseChunkName } from "../archive/layout.ts";
import { type ChunkIds, RepeatCheck } from "../archive/repeats.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { isSealed, unlock, type UnlockOptions } from "../archive/unlock.ts";
import { WrongIdentityError } from "../codec/age_header.ts";
import { discreetLog } from "../observe/discreet_log.ts";
import { ArchiveError, EXIT } from "../errors.ts";
import { decodeDatabase } from "../database_name.ts";
import type { ChunkEntry } from "../archive/manifest.ts";
import type { Log, Progress } from "../observe.ts";
import { eitherSignal, loadAhead } from "../parallel.ts";

/** Chunks that are read at once. */
const CHUNKS_AT_ONCE = 4;

/** What a verification works with. */
export interface VerifyContext extends PathContext {
  /** Ends it at once, too: nothing is lost. */
  stop?: AbortSignal | undefined;
  /** Receives the progress. */
  progress: Progress;
  /** What time it is. */
  now: () => Date;
}

/** What is to be verified, and how. */
export interface VerifyRequest {
  /** The database whose backup it is, where the path does not say; encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** Compare presence and size only. @default false */
  quick?: boolean | undefined;
  /** Open and read a sealed backup, too: it is an error where nothing opens it. @default where an identity is there */
  contents?: boolean | undefined;
}

/** What `verify --json` prints. */
export interface VerifyReport {
  /** Whether the backup is as its manifest says, and holds every document that its database had. */
  ok: boolean;
  /** The database that the backup was made of. */
  database: string;
  /** The URL of what was verified. */
  path: string;
  /**
   * Its parents, which were verified with it, by the paths of their manifests, the newest first. Absent without any.
   */
  parents?: string[];
  /** Chunks that are as they must be. */
  chunks: number;
  /** In those chunks; a document that was read again counts in each chunk that holds it. */
  documents: number;
  /** In those chunks. */
  leaf_revisions: number;
  /** Those of the documents that are deleted ones. */
  deleted: number;
  /**
   * Whether ids of one chunk were looked for in others: not in format 1, with `quick`, or of more than four million.
   */
  ids_compared: boolean;
  /**
   * Whether what is sealed was opened and read; without an identity that opens it the checksums of what is stored are
   * compared, and what is counted is what the manifest says. Absent where the backup is not sealed.
   */
  contents_read?: boolean;
  /** Documents that it lacks because CouchDB could not read them when it was made. */
  unreadable: readonly UnreadableDocument[];
  /** What is not as it must be. */
  problems: ChunkProblem[];
  /** Objects beside the backup that do not belong to it and do no harm. */
  leftovers: ChunkProblem[];
  /** How long it took. */
  seconds: number;
}

/** The exit code of a finished verification: 12 when something is wrong, 3 when only CouchDB could not read all. */
export function exitCodeOfVerify(report: VerifyReport): number {
  if (report.ok) return EXIT.ok;
  return report.problems.length === 0 ? EXIT.partial : EXIT.archive;
}

/**
 * Verifies one backup.
 *
 * @throws ArchiveError when there is nothing like a backup; StoreError when the store fails; the reason of
 * `context.signal`. A damaged backup is not an error but what the report says.
 */
export async function verify(context: VerifyContext, request: VerifyRequest): Promise<VerifyReport> {
  const { progress } = context;
  progress.runStarted({ action: "verify", databases: 1 });
  try {
    const all = { ...context, signal: eitherSignal(context) };
    const place = await findArchive(all, request.path, decodeDatabase(request.database));
    const { report, tell } = await verifyUntold(all, place, request);
    tell();
    return report;
  } finally {
    progress.runFinished();
  }
}

/** What of a backup that was found is to be verified. */
export interface UntoldRequest extends Omit<VerifyRequest, "path"> {
  /**
   * Of which backups each chunk has been read before, and nothing was wrong: by the paths of their manifests where they
   * are parents, undefined for the backup itself. Of these presence and size alone are compared. @default none
   */
  isProved?: ((parent: string | undefined) => boolean) | undefined;
}

/**
 * The same for a caller that looks at many backups, and decides itself what is to be said of each.
 *
 * @returns `tell`: says in the log what was found. `damage`: the problems but for that none of the identities opens it.
 * `damagedParents`: the paths of those that it builds on, and of which bytes are damaged.
 */
export async function verifyUntold(
  context: VerifyContext,
  place: ArchivePlace,
  request: UntoldRequest,
): Promise<{ report: VerifyReport; damage: ChunkProblem[]; damagedParents: ReadonlySet<string>; tell: () => void }> {
  const { progress, signal, now } = context;
  const startedAt = now();
  const archive = await openArchive(place, { signal });
  await addParents(archive, context);
  const unopened = await unlockIfPossible(archive, { seal: context.seal, isOptional: request.contents !== true });
  const isLocked = isSealed(archive) && (unopened !== undefined || (archive.identities ?? []).length === 0);
  const database = archive.database ?? decodeDatabase(request.database);
  const ownLog = context.log.with({ database });
  const log = isSealed(archive) ? discreetLog(ownLog) : ownLog;
  progress.databaseStarted({ database, documents: archive.documents });
  const report: VerifyReport = {
    ok: false,
    database,
    path: archive.url,
    ...archive.parents.length === 0 ? {} : { parents: archive.parents.map(({ path }) => path) },
    chunks: 0,
    documents: 0,
    leaf_revisions: 0,
    deleted: 0,
    ids_compared: false,
    ...isSealed(archive) ? { contents_read: !isLocked && request.quick !== true } : {},
    unreadable: archive.unreadable,
    problems: [...archive.problems, ...manifestProblems(archive)],
    leftovers: archive.leftovers,
    seconds: 0,
  };
  const damagedParents = new Set<string>();
  const onDamaged = ({ parent }: ArchiveChunk) => void (parent !== undefined && damagedParents.add(parent.path));
  try {
    const isSpared = ({ parent }: ArchiveChunk) => request.quick === true || request.isProved?.(parent?.path) === true;
    await verifyChunks(archive, report, {
      ...context,
      log,
      quick: request.quick === true,
      isSpared,
      isLocked,
      onDamaged,
    });
    if (unopened !== undefined) {
      const compared = request.quick === true ? "sizes" : "checksums";
      const rest = report.problems.length === 0 ? `; its chunks have the ${compared} that they must have` : "";
      report.problems.push({ chunk: archive.manifest ?? MANIFEST_NAME, problem: `${unopened}${rest}` });
    }
    report.ok = report.problems.length + report.unreadable.length === 0;
  } finally {
    progress.databaseFinished({ database, ok: report.ok });
  }
  report.seconds = (now().getTime() - startedAt.getTime()) / 1000;
  const damage = unopened === undefined ? report.problems : report.problems.slice(0, -1);
  return { report, damage, damagedParents, tell: () => logReport(report, { log, finishedAt: archive.finishedAt }) };
}

/**
 * Unlocks an archive, where one of the identities opens it: of any other the checksums are compared all the same.
 *
 * @returns Why none does, a sentence; undefined where one does, or there is none.
 * @throws As {@linkcode unlock} does, for what is not the identities' fault.
 */
async function unlockIfPossible(archive: Archive, options: UnlockOptions): Promise<string | undefined> {
  try {
    await unlock(archive, options);
    return undefined;
  } catch (error) {
    if (!(error instanceof ArchiveError) || !(error.cause instanceof WrongIdentityError)) throw error;
    return error.message;
  }
}

function logReport(report: VerifyReport, { log, finishedAt }: { log: Log; finishedAt: Date | undefined }): void {
  for (const { chunk, problem } of report.problems) log.error("archive is not as it must be", { chunk, problem });
  for (const { chunk, problem } of report.leftovers) {
    log.warn("object does not belong to the backup", { chunk, problem });
  }
  for (const { id, rev, error, reason } of report.unreadable) {
    log.warn("document is not in the backup: CouchDB could not read it", { id, rev, error, reason });
  }
  const { path, chunks, documents, leaf_revisions: leafRevisions, deleted, unreadable, seconds } = report;
  const durationMs = Math.round(seconds * 1000);
  const facts = { path, finishedAt: finishedAt?.toISOString(), chunks, documents, leafRevisions, deleted, durationMs };
  if (report.ok) log.info("backup is verified", facts);
  else if (report.problems.length === 0) {
    log.warn("backup is verified, and lacks what CouchDB could not read", { ...facts, unreadable: unreadable.length });
  } else log.error("backup is not whole", { ...facts, problems: report.problems.length });
}

/** What is wrong with the manifest itself, whatever its chunks hold. */
function manifestProblems(
  { kind, manifest: name = MANIFEST_NAME, entries, origin, feed, place, damagedManifests }: Archive,
): ChunkProblem[] {
  if (kind === "unlisted") {
    const problem = "It is missing: without it nobody can say whether the backup is complete";
    return [{ chunk: MANIFEST_NAME, problem, is_missing: true }];
  }
  if (kind !== "complete" || place.object !== undefined) return [];
  const problems = findGaps(entries).map(({ after, through }) => {
    const from = after === undefined ? "" : `after ${JSON.stringify(after)} `;
    return `No chunk covers the ids ${from}up to ${JSON.stringify(through)}`;
  });
  if (origin !== undefined && origin.format >= 2 && feed === null) {
    problems.push("It has no positions of the changes feed: the moment of its documents is unknown");
  }
  const isLater = (entry: ChunkEntry) => entry.again === true;
  for (const { name } of entries.filter(isLater)) {
    const rival = entries.find((other) => other.name !== name && parseChunkName(other.name) === parseChunkName(name));
    if (rival === undefined) continue;
    problems.push(`"${name}" and "${rival.name}" have the same number: their order is unknown`);
  }
  return [damagedManifests, problems.map((problem) => ({ chunk: name, problem }))].flat();
}

/** What reading a chunk has come to. */
interface VerifiedChunk {
  chunk: ArchiveChunk;
  counts: DocumentCounts;
  /** What its rows say of documents that are not there: the reference script stores whatever CouchDB answers. */
  unreadable?: readonly UnreadableDocument[] | undefined;
  /** Its ids, where they are compared with those of other chunks. */
  ids?: ChunkIds | undefined;
}

async function verifyChunks(
  archive: Archive,
  report: VerifyReport,
  context: {
    log: Log;
    progress: Progress;
    signal: AbortSignal;
    quick: boolean;
    /** Which chunks are not read. */
    isSpared: (chunk: ArchiveChunk) => boolean;
    isLocked: boolean;
    onDamaged: (chunk: ArchiveChunk) => void;
  },
): Promise<void> {
  const { quick, isSpared, isLocked, signal, onDamaged } = context;
  // The chunks of format 1 have ranges, which cannot overlap unnoticed.
  const isOfRanges = archive.entries.some(hasRange);
  // Compared within each backup alone: its parents hold earlier states of the same documents.
  const isUnread = quick || isLocked || isOfRanges || archive.kind !== "complete";
  const repeats = isUnread ? undefined : RepeatCheck.of(archive);
  report.ids_compared = repeats !== undefined;
  if (repeats === undefined && !isUnread) {
    context.log.info("ids are not compared: there are too many documents", { documents: archive.documents });
  }
  const verifyOne = async (chunk: ArchiveChunk, signal: AbortSignal): Promise<ChunkProblem | VerifiedChunk> => {
    const { entry } = chunk;
    if (isSpared(chunk) && entry !== undefined) {
      return { chunk, counts: { ...entry, leafRevisions: entry.leaf_revisions } };
    }
    try {
      if (isLocked && entry !== undefined) return await checkSealed(archive, chunk, { ...context, signal });
      return await readChunk(archive, chunk, { ...context, signal, repeats });
    } catch (error) {
      const problem = explainUnusable(error);
      if (problem === undefined) throw error;
      onDamaged(chunk);
      return { chunk: nameOfChunk(chunk), problem, ...isLost(error) ? { is_missing: true } : {} };
    }
  };
  for await (const found of loadAhead(archive.chunks, verifyOne, { limit: CHUNKS_AT_ONCE, signal })) {
    const problem = "problem" in found ? found : await findRepeats(archive, found, { repeats, signal });
    if (problem !== undefined) report.problems.push(problem);
    if ("problem" in found || problem !== undefined) continue;
    const { counts, unreadable = [] } = found;
    report.unreadable = [...report.unreadable, ...unreadable];
    report.chunks++;
    report.documents += counts.documents;
    report.leaf_revisions += counts.leafRevisions;
    report.deleted += counts.deleted;
  }
}

/** What can be known of a chunk that nobody here can open. @throws ArchiveError when it has changed. */
async function checkSealed(
  archive: Archive,
  chunk: ArchiveChunk,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<VerifiedChunk> {
  const { documents, leaf_revisions: leafRevisions, deleted, bytes } = chunk.entry!;
  await checkStored(placeOfChunk(archive, chunk), { signal });
  progress.advanced({ documents, bytes });
  return { chunk, counts: { documents, leafRevisions, deleted } };
}

/** @throws ArchiveError when the chunk is not what its line in the manifest says. */
async function readChunk(
  archive: Archive,
  chunk: ArchiveChunk,
  { log, progress, signal, repeats }: {
    log: Log;
    progress: Progress;
    signal: AbortSignal;
    repeats: RepeatCheck | undefined;
  },
): Promise<ChunkProblem | VerifiedChunk> {
  const { entry } = chunk;
  const name = nameOfChunk(chunk);
  const range = new RangeCheck(entry);
  const ids = entry === undefined ? undefined : repeats?.begin(entry, chunk);
  const contents = await inspectChunk(placeOfChunk(archive, chunk), {
    signal,
    onRow: (id) => {
      range.check(id);
      ids?.add(id);
    },
    onProgress: (step) => progress.advanced(step),
  });
  log.debug("chunk is read", { chunk: name, documents: contents.documents, bytes: contents.bytes });
  if (range.problem !== undefined) return { chunk: name, problem: range.problem };
  return { chunk, counts: contents, unreadable: contents.unreadable, ids };
}

/** Whether a chunk holds documents that a lower one holds too, and does not say that its are later. */
async function findRepeats(
  archive: Archive,
  { chunk, ids }: VerifiedChunk,
  { repeats, signal }: { repeats: RepeatCheck | undefined; signal: AbortSignal },
): Promise<ChunkProblem | undefined> {
  const { entry } = chunk;
  if (entry === undefined || ids === undefined || repeats === undefined) return undefined;
  const [first, ...others] = repeats.take(entry, chunk, ids);
  if (first === undefined) return undefined;
  let row = 0;
  let repeated: string | undefined;
  const onRow = (id: string | undefined) => void (row++ === first && (repeated = id));
  await inspectChunk(placeOfChunk(archive, chunk), { signal, onRow });
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  const which = isSealed(archive)
    ? `a document, that of its row ${first + 1},`
    : `document ${JSON.stringify(repeated)}`;
  const problem = `It holds ${which}${more}, which a lower chunk or row also has, ` +
    'but it is not marked "again"';
  return { chunk: nameOfChunk(chunk), problem };
}
