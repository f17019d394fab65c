/**
 * Reads a backup again and compares it with its manifest: checksums, counts, ids. What is missing, damaged or foreign is
 * named. Needs no CouchDB; writes nothing.
 */
import { type Archive, type ArchiveChunk, type ChunkProblem, openArchive } from "../archive/archive.ts";
import { findArchive, type PathContext } from "../archive/find.ts";
import { inspectChunk } from "../archive/chunk.ts";
import { compareIds, uncoveredRanges } from "../couchdb/ids.ts";
import { ArchiveError, EXIT } from "../errors.ts";
import { MANIFEST_NAME } from "../archive/layout.ts";
import { joinKey } from "../store/key.ts";
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
  /** Is told how it comes along. */
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
}

/** What `verify --json` prints. */
export interface VerifyReport {
  /** Whether the backup is complete and as its manifest says. */
  ok: boolean;
  /** The database that the backup was made of. */
  database: string;
  /** The URL of what was verified. */
  path: string;
  /** Chunks that are as they must be. */
  chunks: number;
  /** In those chunks. */
  documents: number;
  /** In those chunks. */
  leaf_revisions: number;
  /** What is not as it must be. */
  problems: ChunkProblem[];
  /** Objects beside the backup that do not belong to it and do no harm. */
  leftovers: ChunkProblem[];
  /** How long it took. */
  seconds: number;
}

/** The exit code of a finished verification. */
export function exitCodeOfVerify(report: VerifyReport): number {
  return report.ok ? EXIT.ok : EXIT.archive;
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
    return await verifyArchive({ ...context, signal: eitherSignal(context) }, request);
  } finally {
    progress.runFinished();
  }
}

async function verifyArchive(context: VerifyContext, request: VerifyRequest): Promise<VerifyReport> {
  const { progress, signal, now } = context;
  const startedAt = now();
  const place = await findArchive(context, request.path, decodeDatabase(request.database));
  const archive = await openArchive(place, { signal });
  const database = archive.database ?? decodeDatabase(request.database);
  const log = context.log.with({ database });
  progress.databaseStarted({ database, documents: archive.documents });
  const report: VerifyReport = {
    ok: false,
    database,
    path: archive.url,
    chunks: 0,
    documents: 0,
    leaf_revisions: 0,
    problems: [...archive.problems],
    leftovers: archive.leftovers,
    seconds: 0,
  };
  if (archive.kind === "unlisted") {
    const problem = "It is missing: without it nobody can tell whether all of the backup is there";
    report.problems.push({ chunk: MANIFEST_NAME, problem });
  }
  report.problems.push(...findGaps(archive));
  try {
    await verifyChunks(archive, report, { ...context, log, quick: request.quick === true });
    report.ok = report.problems.length === 0;
  } finally {
    progress.databaseFinished({ database, ok: report.ok });
  }
  report.seconds = (now().getTime() - startedAt.getTime()) / 1000;
  logReport(report, log);
  return report;
}

function logReport(report: VerifyReport, log: Log): void {
  for (const { chunk, problem } of report.problems) log.error("archive is not as it must be", { chunk, problem });
  for (const { chunk, problem } of report.leftovers) {
    log.warn("object does not belong to the backup", { chunk, problem });
  }
  const { path, chunks, documents, leaf_revisions: leafRevisions, seconds } = report;
  const facts = { path, chunks, documents, leafRevisions, durationMs: Math.round(seconds * 1000) };
  if (report.ok) log.info("backup is verified", facts);
  else log.error("backup is not whole", { ...facts, problems: report.problems.length });
}

async function verifyChunks(
  archive: Archive,
  report: VerifyReport,
  { log, progress, signal, quick }: { log: Log; progress: Progress; signal: AbortSignal; quick: boolean },
): Promise<void> {
  type Found = ChunkProblem | { documents: number; leafRevisions: number };
  const verifyOne = async (chunk: ArchiveChunk, signal: AbortSignal): Promise<Found> => {
    const { name, entry } = chunk;
    if (quick && entry !== undefined) return { documents: entry.documents, leafRevisions: entry.leaf_revisions };
    const { store, folder } = archive.place;
    const range = new IdRange(entry);
    try {
      const contents = await inspectChunk({ store, key: joinKey(folder, name), entry }, {
        signal,
        onRow: (id) => range.check(id),
        onProgress: (step) => progress.advanced(step),
      });
      log.debug("chunk is read", { chunk: name, documents: contents.documents, bytes: contents.bytes });
      return range.problem === undefined ? contents : { chunk: name, problem: range.problem };
    } catch (error) {
      if (error instanceof ArchiveError) return { chunk: name, problem: error.message };
      throw error;
    }
  };
  for await (const found of loadAhead(archive.chunks, verifyOne, { limit: CHUNKS_AT_ONCE, signal })) {
    if ("problem" in found) {
      report.problems.push(found);
      continue;
    }
    report.chunks++;
    report.documents += found.documents;
    report.leaf_revisions += found.leafRevisions;
  }
}

/** Holds the ids of a chunk against the range that its line in the manifest names. */
class IdRange {
  /** The first id that is not where it must be. */
  problem: string | undefined;
  readonly #after: string | undefined;
  readonly #through: string | undefined;

  constructor(entry: ChunkEntry | undefined) {
    this.#after = entry?.after_id ?? undefined;
    this.#through = entry?.last_id;
  }

  check(id: string | undefined): void {
    if (this.#through === undefined || this.problem !== undefined) return;
    const isWithin = id !== undefined && compareIds(id, this.#through) <= 0 &&
      (this.#after === undefined || compareIds(id, this.#after) > 0);
    if (!isWithin) {
      this.problem = `It holds document ${JSON.stringify(id)}, which is not of the range the manifest names`;
    }
  }
}

/** Ranges of ids that no chunk of a complete backup covers. */
function findGaps({ kind, entries, place }: Archive): ChunkProblem[] {
  if (kind !== "complete" || place.object !== undefined) return [];
  const gaps = uncoveredRanges(
    entries.map(({ after_id, last_id }) => ({ after: after_id ?? undefined, through: last_id })),
  );
  // The last gap is what comes behind all ids.
  return gaps.slice(0, -1).map(({ after, through }) => ({
    chunk: MANIFEST_NAME,
    problem: `No chunk covers the ids behind ${JSON.stringify(after ?? null)} up to ${JSON.stringify(through)}`,
  }));
}
