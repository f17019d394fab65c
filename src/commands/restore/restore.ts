/**
 * The mirror of backup, step for step: find the archive, make sure that it is whole and that its database may be written
 * to, create it with the properties it had, write the documents, then the design documents, check, give it its security
 * object back and have its views built. In go a database's name and a path, out comes a report.
 */
import { type Archive, type ChunkProblem, openArchive } from "../../archive/archive.ts";
import { findArchive, type PathContext } from "../../archive/find.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { DocumentWriter, type FailedRevision } from "../../couchdb/write.ts";
import { isLarge } from "../../archive/document_reader.ts";
import { inspectChunk, SALVAGE_HINT } from "../../archive/chunk.ts";
import { ArchiveError, EXIT } from "../../errors.ts";
import { MANIFEST_NAME } from "../../archive/layout.ts";
import { joinKey } from "../../store/key.ts";
import { decodeDatabase } from "../../database_name.ts";
import type { Progress } from "../../observe.ts";
import { eitherSignal } from "../../parallel.ts";
import { DocumentRestore, openChunk } from "./documents.ts";
import { RestoreTarget } from "./target.ts";

/** Requests in flight where nobody says how many. */
const DEFAULT_PARALLEL = 4;
/** Where a document's history stands, if it has one. */
const HISTORY_WITHIN_BYTES = 1 << 16;

/** What a restore works with. */
export interface RestoreContext extends PathContext {
  /** Ends it at once, too: what is written needs no finishing, and writing it again is harmless. */
  stop?: AbortSignal | undefined;
  /** CouchDB. */
  couch: CouchClient;
  /** Is told how it comes along. */
  progress: Progress;
  /** What time it is. */
  now: () => Date;
}

/** What is to be restored, and how. */
export interface RestoreRequest {
  /** The database to write to; encoded (`a%2Fb`) or not. */
  database: string;
  /** `latest`, a date, a URL, a local folder or file, or a key below the bucket folder. */
  path: string;
  /** Write into a database that holds documents. @default false */
  intoExisting?: boolean | undefined;
  /** Restore what is whole of an archive that is not. @default false */
  salvage?: boolean | undefined;
  /** Write nothing, and report what would be written. @default false */
  dryRun?: boolean | undefined;
  /** Leave the views unbuilt. @default false */
  noViews?: boolean | undefined;
  /** Requests in flight. @default 4 */
  parallel?: number | undefined;
}

/** What `restore --json` prints. */
export interface RestoreReport {
  /** Whether all of the archive is in the database now. */
  ok: boolean;
  /** The decoded name of the database that was written to. */
  database: string;
  /** The URL of what was restored. */
  path: string;
  /** Whether all chunks were compared with the checksums of a manifest. */
  verified: boolean;
  /** Documents of which every revision of the archive was written. */
  documents: number;
  /** Leaf revisions that were written. */
  leaf_revisions: number;
  /** Revisions that CouchDB did not take, the first ten thousand of them; the log has all. */
  failed: FailedRevision[];
  /** How many revisions CouchDB did not take. */
  failed_revisions: number;
  /** What of the archive is missing or damaged, and was left out with `--salvage`. */
  damaged: ChunkProblem[];
  /** Documents that CouchDB took and does not count. */
  missing: number;
  /** Whether the database was created. */
  created: boolean;
  /** Views that are built. */
  views: number;
  /** How long it took. */
  seconds: number;
  /** Present when nothing was written. */
  dry_run?: true;
}

/** The exit code of a finished restore: 12 when the archive is not whole, 3 when CouchDB did not take all of it. */
export function exitCodeOfRestore(report: RestoreReport): number {
  if (report.damaged.length > 0) return EXIT.archive;
  return report.ok ? EXIT.ok : EXIT.partial;
}

/**
 * Restores one database.
 *
 * @throws UsageError when the database must not be written to; ArchiveError when the archive is missing, incomplete or
 * damaged and `salvage` is not set; CouchError and StoreError; the reason of `context.signal`.
 */
export async function restore(context: RestoreContext, request: RestoreRequest): Promise<RestoreReport> {
  const { progress } = context;
  const database = decodeDatabase(request.database);
  const log = context.log.with({ database });
  progress.runStarted({ action: "restore", databases: 1 });
  let ok = false;
  try {
    const surroundings = { ...context, log, signal: eitherSignal(context) };
    const report = await new DatabaseRestore(surroundings, { ...request, database }).run();
    ok = report.ok;
    return report;
  } finally {
    progress.databaseFinished({ database, ok });
    progress.runFinished();
  }
}

/** One restore of one database. */
class DatabaseRestore {
  readonly #context: RestoreContext;
  readonly #request: RestoreRequest;
  readonly #startedAt: Date;
  readonly #target: RestoreTarget;

  constructor(context: RestoreContext, request: RestoreRequest) {
    this.#context = context;
    this.#request = request;
    this.#startedAt = context.now();
    this.#target = new RestoreTarget(context, request.database);
  }

  async run(): Promise<RestoreReport> {
    const { database, path, salvage = false, intoExisting = false, parallel = DEFAULT_PARALLEL } = this.#request;
    const { couch, log, progress, signal } = this.#context;
    const archive = await openArchive(await findArchive(this.#context, path, database), { signal });
    this.#announce(archive);
    await this.#refuseUnlessWhole(archive, salvage);

    const properties = archive.origin?.properties;
    await this.#target.examine(properties, { intoExisting });
    if (this.#request.dryRun) return this.#dryRun(archive);

    await this.#target.create(properties);
    const writer = new DocumentWriter(couch, database, { log, isNew: this.#target.created });
    const documents = new DocumentRestore(archive, { writer, log, progress, signal }, { salvage, parallel });
    progress.databaseStarted({ database, documents: archive.documents });
    try {
      await documents.restoreDocuments();
      await documents.restoreDesigns();
    } catch (error) {
      log.warn("restore ends early: the database holds a part of the archive", {
        hint: "Restore again with --into-existing to complete it, or delete the database",
      });
      throw error;
    }

    const counts = this.#countWritten(documents, writer);
    for (const format of documents.formats) log.info("archive is read", { format });
    // Chunks of others may hold a document twice.
    const isCounted = archive.chunks.every(({ entry }) => entry !== undefined);
    const missing = isCounted ? await this.#target.countMissing(counts.documents) : 0;
    if (properties !== undefined) await this.#target.restoreSecurity(properties.security);
    const views = this.#request.noViews ? 0 : await this.#target.buildViews();
    return this.#report(archive, { ...counts, writer, views, missing, damaged: documents.damaged });
  }

  /** Says what was found, above all where it is not a backup of this program. */
  #announce({ kind, url, origin, chunks, problems, leftovers }: Archive): void {
    const { log } = this.#context;
    const made = { run: origin?.run, task: origin?.task, startedAt: origin?.started_at };
    log.info("archive is found", { path: url, kind, chunks: chunks.length, ...made });
    if (kind === "unlisted") log.warn("archive has no manifest: nobody can tell whether all of it is there");
    if (kind === "foreign") log.warn("file is in no manifest: nobody can tell whether all of it is there");
    for (const { chunk, problem } of problems) log.error("archive is not whole", { chunk, problem });
    for (const { chunk, problem } of leftovers) log.warn("object is not restored", { chunk, problem });
  }

  /** @throws ArchiveError when the archive is not whole, unless what is whole of it is wanted. */
  async #refuseUnlessWhole(archive: Archive, salvage: boolean): Promise<void> {
    if (await this.#looksUnfinished(archive, salvage)) {
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
      `Cannot restore "${archive.url}": "${first.chunk}" is not as it must be: ${first.problem}` +
        (more === 0 ? "" : ` (and ${more} more problems)`),
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
  async #looksUnfinished(archive: Archive, salvage: boolean): Promise<boolean> {
    const [first] = archive.chunks;
    if (first === undefined || first.entry !== undefined) return false;
    try {
      const chunk = await openChunk(archive, first, this.#context);
      if (archive.kind === "foreign" || archive.problems.some(({ chunk }) => chunk === MANIFEST_NAME)) return false;
      for await (const item of chunk.read(this.#context)) {
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

  async #dryRun(archive: Archive): Promise<RestoreReport> {
    const { log, signal } = this.#context;
    const counts = { documents: 0, leafRevisions: 0 };
    for (const { name, entry } of archive.chunks) {
      const key = joinKey(archive.place.folder, name);
      const { documents, leafRevisions } = entry === undefined
        ? await inspectChunk({ store: archive.place.store, key, entry }, { signal })
        : { documents: entry.documents, leafRevisions: entry.leaf_revisions };
      counts.documents += documents;
      counts.leafRevisions += leafRevisions;
    }
    const { state } = this.#target;
    log.info("nothing is written: dry run", { ...counts, target: state, damaged: archive.problems.length });
    const report = this.#report(archive, { ...counts, views: 0, missing: 0, damaged: [], writer: undefined });
    return { ...report, created: state === "missing", dry_run: true };
  }

  /** What is in the database because of this restore. */
  #countWritten(documents: DocumentRestore, writer: DocumentWriter): { documents: number; leafRevisions: number } {
    const { failed, failedRevisions, requestsWithFewerCopies } = writer;
    if (requestsWithFewerCopies > 0) {
      this.#context.log.warn("CouchDB has not written all copies yet: a node is away", {
        requests: requestsWithFewerCopies,
      });
    }
    const failedDocuments = new Set(failed.map(({ id }) => id)).size + failedRevisions - failed.length;
    return {
      documents: Math.max(0, documents.counts.documents - failedDocuments),
      leafRevisions: documents.counts.leafRevisions - failedRevisions,
    };
  }

  #report(
    archive: Archive,
    result: {
      documents: number;
      leafRevisions: number;
      writer: DocumentWriter | undefined;
      views: number;
      missing: number;
      damaged: readonly ChunkProblem[];
    },
  ): RestoreReport {
    const { log, now } = this.#context;
    const { failed = [], failedRevisions = 0 } = result.writer ?? {};
    const damaged = [...archive.problems, ...result.damaged];
    const report: RestoreReport = {
      ok: failedRevisions === 0 && damaged.length === 0 && result.missing === 0,
      database: this.#request.database,
      path: archive.url,
      verified: archive.chunks.every(({ entry }) => entry !== undefined),
      documents: result.documents,
      leaf_revisions: result.leafRevisions,
      failed,
      failed_revisions: failedRevisions,
      damaged,
      missing: result.missing,
      created: this.#target.created,
      views: result.views,
      seconds: (now().getTime() - this.#startedAt.getTime()) / 1000,
    };
    const { ok, documents, leaf_revisions: leafRevisions, views, seconds } = report;
    const facts = { documents, leafRevisions, views, durationMs: Math.round(seconds * 1000) };
    if (ok) log.info("database is restored", facts);
    else log.error("database is not restored in full", { ...facts, failedRevisions, damaged: damaged.length });
    return report;
  }
}
