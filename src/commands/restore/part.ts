/**
 * Restores some documents of a backup into a database that is in use: by id, or the design documents alone. In: an
 * archive and a target. Out: a report. Settings, views and all other documents are left as they are.
 */
import type { Archive } from "../../archive/archive.ts";
import { noDocuments } from "../../archive/documents.ts";
import { leafOf, walkDocuments } from "../../archive/walk.ts";
import { restoreAsNew } from "./as_new.ts";
import type { BegunRestore, RestoreRequest } from "./context.ts";
import { Delta } from "./delta.ts";
import { isDesign } from "./designs.ts";
import { reportRestore, type RestoreReport, type Written } from "./report.ts";
import type { RestoreTarget } from "./target.ts";
import { writeDocuments } from "./write_documents.ts";

/** Whether only a part of the backup is wanted. */
export function isPart({ ids, designs }: RestoreRequest): boolean {
  return ids !== undefined || designs === true;
}

/** Restores a part. @throws As a whole restore does. */
export async function restorePart(
  context: BegunRestore,
  { archive, target }: { archive: Archive; target: RestoreTarget },
  request: RestoreRequest,
): Promise<RestoreReport> {
  const { couch, database, signal } = context;
  const { ids, designs = false, asNewRevision = false, dryRun = false } = request;
  const named = ids === undefined ? undefined : new Set(ids);
  const isWanted = (id: string) => named?.has(id) === true || (designs && isDesign({ id }));
  const options = { intoExisting: true };
  await target.examine(undefined, options);
  if (target.state === "missing" && !dryRun) await target.create(archive.origin?.properties, options);
  const found = await look(archive, { isWanted, signal });
  const notFound = named === undefined ? undefined : [...named].filter((id) => !found.ids.has(id));
  const nothing = { missing: 0, views: 0, lacking: [], created: target.created };
  if (dryRun || asNewRevision) {
    const outcome = dryRun || ids === undefined
      ? undefined
      : await restoreAsNew(context, archive, { database, ids: ids.filter((id) => found.ids.has(id)) });
    const count = outcome?.written.length ?? found.counts.documents;
    const written: Written = {
      ...outcome === undefined ? found.counts : { documents: count, leafRevisions: count, deleted: 0 },
      failed: [],
      failedRevisions: 0,
      damaged: [],
      unreadable: [],
    };
    const part = { not_found: notFound ?? [], ...outcome === undefined ? {} : { refused: outcome.refused } };
    return {
      ...reportRestore(context, archive, { ...written, ...nothing, part, isDryRun: dryRun }),
      ...outcome === undefined ? {} : { written_as_new: outcome.written },
      ...dryRun ? { dry_run: true as const } : {},
    };
  }
  const delta = target.state === "filled" ? new Delta(couch, database) : undefined;
  const isNew = target.created;
  const written = await writeDocuments(context, archive, { ...request, isNew, isWanted, delta });
  const part = notFound === undefined ? {} : { not_found: notFound };
  return reportRestore(context, archive, { ...written, ...nothing, delta, part });
}

async function look(archive: Archive, options: { isWanted: (id: string) => boolean; signal: AbortSignal }) {
  const ids = new Set<string>();
  const live = new Set<string>();
  const counts = noDocuments();
  for await (const document of walkDocuments(archive, options)) {
    const id = document.id ?? "";
    ids.add(id);
    counts.leafRevisions++;
    if (!(await leafOf(document)).deleted) live.add(id);
  }
  counts.documents = ids.size;
  counts.deleted = ids.size - live.size;
  return { ids, counts };
}
