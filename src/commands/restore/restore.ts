/**
 * Restores a database: finds the archive, checks that it is complete and that the database may be written to, creates
 * it with the properties it had, writes the documents, then the design documents, checks the count, restores the
 * security object and has the views built. In: a database's name and a path. Out: a report.
 */
import type { Archive } from "../../archive/archive.ts";
import { CopyCounts } from "../../couchdb/copy_counts.ts";
import { decodeDatabase } from "../../database_name.ts";
import { eitherSignal } from "../../parallel.ts";
import type { BegunRestore, OneOfMany, RestoreContext, RestoreRequest } from "./context.ts";
import { Delta } from "./delta.ts";
import { isPart, restorePart } from "./part.ts";
import { previewRestore } from "./preview.ts";
import { reportRestore, type RestoreReport } from "./report.ts";
import { mustBePossible } from "./request.ts";
import { isCounted, logFor, openSource } from "./source.ts";
import { RestoreTarget } from "./target.ts";
import { writeDocuments } from "./write_documents.ts";

/**
 * Restores one database.
 *
 * @throws UsageError when the database must not be written to; ArchiveError when the archive is missing, incomplete or
 * damaged and `salvage` is not set; CouchError and StoreError; the reason of `context.signal`.
 */
export async function restore(context: RestoreContext, request: RestoreRequest): Promise<RestoreReport> {
  return await restoreOneOfMany(context, request);
}

/** As {@linkcode restore}, where something is known of the database already. @throws As it does. */
export async function restoreOneOfMany(context: OneOfMany, request: RestoreRequest): Promise<RestoreReport> {
  mustBePossible(request);
  const { progress, now } = context;
  const database = decodeDatabase(request.database);
  const log = context.log.with({ database });
  progress.runStarted({ action: "restore", databases: 1 });
  let ok = false;
  try {
    const counts = context.counts ?? new CopyCounts(context.couch, { log, times: context.clusterTimes });
    const begun = { ...context, log, signal: eitherSignal(context), database, startedAt: now(), counts };
    const report = await restoreDatabase(begun, request);
    ok = report.ok;
    return report;
  } finally {
    progress.databaseFinished({ database, ok });
    progress.runFinished();
  }
}

async function restoreDatabase(begun: BegunRestore, asked: RestoreRequest): Promise<RestoreReport> {
  const archive = await openSource(begun, asked);
  const request = { ...asked, parallel: await begun.makeRoom?.(archive) ?? asked.parallel };
  const context = { ...begun, log: logFor(archive, begun.log) };
  const properties = archive.origin?.properties;
  const target = new RestoreTarget(context, context.database);
  if (isPart(request)) return await restorePart(context, { archive, target }, request);
  const options = { intoExisting: request.intoExisting ?? false, isMissing: context.isMissing };
  await target.examine(properties, options);
  if (request.dryRun) return await reportDryRun(context, archive, { ...request, target });

  await target.create(properties, { ...options, onReady: context.onReady });
  const { created } = target;
  const delta = target.state === "filled" ? new Delta(context.couch, context.database) : undefined;
  const written = await writeDocuments(context, archive, { ...request, isNew: created, delta });
  const missing = isCounted(archive) ? await target.countMissing(written) : 0;
  if (isCounted(archive) && target.info !== undefined) context.onWritten?.(target.info);
  if (properties !== undefined) await target.restoreSettings(properties);
  // A database that was created here and got no design documents has no views to build.
  const hasNone = created && written.hasDesigns === false;
  const views = request.noViews || hasNone ? 0 : await target.buildViews();
  return reportRestore(context, archive, {
    ...written,
    missing,
    created,
    views,
    lacking: target.lacking,
    delta,
  });
}

async function reportDryRun(
  context: BegunRestore,
  archive: Archive,
  { target, salvage = false }: Pick<RestoreRequest, "salvage"> & { target: RestoreTarget },
): Promise<RestoreReport> {
  const { failed, failedRevisions, unreadable, damaged, ...counts } = await previewRestore(archive, {
    signal: context.signal,
    salvage,
  });
  const { state } = target;
  const facts = { ...counts, failedRevisions, damaged: archive.problems.length + damaged.length };
  context.log.info("nothing is written: dry run", { ...facts, target: state });
  const nothing = { missing: 0, views: 0, lacking: target.lacking };
  const created = state === "missing";
  const found = { ...counts, failed, failedRevisions, unreadable, damaged };
  const report = reportRestore(context, archive, { ...found, ...nothing, created, isDryRun: true });
  return { ...report, dry_run: true };
}
