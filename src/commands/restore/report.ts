/**
 * What a restore says of itself at its end: in goes what its steps have come to, out come a report and its exit code.
 */
import type { Archive, ChunkProblem } from "../../archive/archive.ts";
import { isCounted } from "./source.ts";
import type { FailedRevision } from "../../couchdb/write.ts";
import { EXIT } from "../../errors.ts";
import type { DocumentCounts } from "../../archive/documents.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import type { LackingSetting } from "./target.ts";
import type { NewRevision, RefusedDocument } from "./as_new.ts";
import type { BegunRestore } from "./context.ts";
import type { Delta, NewerDocuments } from "./delta.ts";

/** What `restore --json` prints. */
export interface RestoreReport {
  /** Whether all of the archive is in the database now. */
  ok: boolean;
  /** The decoded name of the database that was written to. */
  database: string;
  /** The URL of what was restored. */
  path: string;
  /** When the backup was complete, in UTC; null where that is unknown. */
  finished_at: string | null;
  /** Whether all chunks were compared with the checksums of a manifest. */
  verified: boolean;
  /** Documents of which every revision of the archive was written. */
  documents: number;
  /** Leaf revisions that were written. */
  leaf_revisions: number;
  /** Those of the documents that are deleted ones: the marks of their deletion are back. */
  deleted: number;
  /** Documents that the backup lacks because CouchDB could not read them when it was made. */
  unreadable: readonly UnreadableDocument[];
  /** Settings that the database did not get back. */
  lacking: readonly LackingSetting[];
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
  /** Revisions that the database had already, so that they were not sent; absent where it was empty. */
  present?: number;
  /** Documents of which the database shows a revision that the backup does not have; absent where it was empty. */
  newer?: NewerDocuments;
  /** Documents that were asked for by id and that the backup does not have; absent where none was asked for. */
  not_found?: string[];
  /** Documents that were written as new revisions; absent where that was not asked for. */
  written_as_new?: NewRevision[];
  /** Documents that could not be; absent where that was not asked for. */
  refused?: RefusedDocument[];
  /**
   * Later runs that did not save the database: what was restored is older than they would be; absent where there are
   * none.
   */
  warnings?: string[];
}

/** What is in the database because of a restore, and what is not. */
export interface Written extends DocumentCounts {
  failed: FailedRevision[];
  failedRevisions: number;
  /** What the archive's rows say of documents that CouchDB could not read. */
  unreadable: readonly UnreadableDocument[];
  /** Chunks that were left out. */
  damaged: readonly ChunkProblem[];
  /** Whether design documents were among them; absent where nobody has looked. */
  hasDesigns?: boolean;
}

/**
 * The exit code of a finished restore: 12 when the archive is not whole, 3 when CouchDB did not take all of it, or
 * could not read all of the database when the backup was made.
 */
export function exitCodeOfRestore(report: RestoreReport): number {
  if (report.damaged.length > 0) return EXIT.archive;
  return report.ok ? EXIT.ok : EXIT.partial;
}

/** Puts the report together, and notes in the log whether the database is restored. */
export function reportRestore(
  { log, now, database, startedAt }: BegunRestore,
  archive: Archive,
  result: Written & Pick<RestoreReport, "missing" | "created" | "views" | "lacking"> & {
    delta?: Delta | undefined;
    isDryRun?: boolean;
    /** Of some documents alone: those of them that are not there. What else the backup lacks is not the question. */
    part?: Pick<RestoreReport, "not_found" | "refused"> | undefined;
  },
): RestoreReport {
  const { failed, failedRevisions, missing, created, lacking, part, isDryRun = false } = result;
  const unreadable = part === undefined ? [...archive.unreadable, ...result.unreadable] : [];
  const damaged = [...archive.problems, ...result.damaged];
  const isRefused = lacking.some(({ in_backup }) => in_backup);
  const [notFound, refused] = [part?.not_found?.length ?? 0, part?.refused?.length ?? 0];
  const report: RestoreReport = {
    ok: failedRevisions + damaged.length + missing + unreadable.length + notFound + refused === 0 && !isRefused,
    database,
    path: archive.url,
    finished_at: archive.finishedAt?.toISOString() ?? null,
    verified: isCounted(archive),
    documents: result.documents,
    leaf_revisions: result.leafRevisions,
    deleted: result.deleted,
    unreadable,
    lacking,
    failed,
    failed_revisions: failedRevisions,
    damaged,
    missing,
    created,
    views: result.views,
    seconds: (now().getTime() - startedAt.getTime()) / 1000,
    ...archive.place.caveats?.length ? { warnings: [...archive.place.caveats] } : {},
    ...result.delta === undefined ? {} : { present: result.delta.present, newer: result.delta.newer },
    ...part,
  };
  const { ok, documents, leaf_revisions: leafRevisions, deleted, views, seconds } = report;
  const facts = { documents, leafRevisions, deleted, views, durationMs: Math.round(seconds * 1000) };
  if (ok) log.info(isDryRun ? "database could be restored" : "database is restored", facts);
  else {
    const event = isDryRun ? "database could not be restored in full" : "database is not restored in full";
    const lacks = { failedRevisions, damaged: damaged.length, unreadable: unreadable.length, missing };
    log.error(event, { ...facts, ...lacks, ...part === undefined ? {} : { notFound, refused } });
  }
  return report;
}
