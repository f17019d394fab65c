/** A backup with far fewer documents than the one before it: saved, and yet perhaps the trace of a mistake. */
import { counted } from "../../counts.ts";
import type { CatalogEntry } from "../../archive/catalog.ts";
import type { Manifest } from "../../archive/manifest.ts";
import { readManifest } from "../../archive/read.ts";
import { ArchiveError, isOutOfReach } from "../../errors.ts";
import { splitKey } from "../../store/key.ts";
import type { Run } from "./context.ts";

/** Below this part of the documents of the last backup, something has probably gone wrong. */
const LEAST_PART = 1 / 2;

/**
 * Says so where a database has shrunk.
 *
 * @param entries What the catalog has of the time before, the newest first. One whose run was killed before it stored
 * its manifest is no backup: what it has found nobody was told.
 * @returns A sentence and how many documents there were; undefined where it has not.
 */
export async function warnOfShrinking(
  context: Pick<Run, "log" | "repository" | "signal">,
  entries: readonly CatalogEntry[],
  { totals }: Manifest,
): Promise<{ warning: string; before: number } | undefined> {
  const hasShrunk = (before: number) => totals.documents < before * LEAST_PART;
  if (entries.every(({ kind, documents }) => kind === "full" && !hasShrunk(documents))) return undefined;
  let before: number | undefined;
  let previous: CatalogEntry | undefined;
  for (previous of entries) {
    before = await countBefore(context, previous);
    if (before !== undefined) break;
  }
  if (previous === undefined || before === undefined || !hasShrunk(before)) return undefined;
  const { log, repository } = context;
  const path = repository.locate(previous.manifestKey);
  log.warn("database has shrunk: the backup before it has more than twice as many documents", {
    documents: totals.documents,
    before,
    beforeAt: previous.finishedAt.toISOString(),
    path,
  });
  const warning =
    `It has ${
      counted(totals.documents, "document")
    }, the backup of ${previous.finishedAt.toISOString()} has ${before}: ` +
    `was something deleted by mistake? That backup stays, at ${path}`;
  return { warning, before };
}

/** How many documents the backup before has, its parents with it; undefined where there is none. */
async function countBefore(
  { repository: { store }, signal }: Pick<Run, "repository" | "signal">,
  { kind, documents, manifestKey }: CatalogEntry,
): Promise<number | undefined> {
  // An entry whose run ended before it stored its manifest is no backup.
  if (kind === "full") return await store.stat(manifestKey, { signal }) === undefined ? undefined : documents;
  const { folder, name } = splitKey(manifestKey);
  try {
    return (await readManifest(store, folder, { name, signal })).properties.doc_count;
  } catch (error) {
    if (isOutOfReach(error) || error instanceof ArchiveError) return undefined;
    throw error;
  }
}
