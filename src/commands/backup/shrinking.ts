/** A backup with far fewer documents than the one before it: saved, and yet perhaps the trace of a mistake. */
import { counted } from "../../counts.ts";
import type { CatalogEntry } from "../../archive/catalog.ts";
import type { Manifest } from "../../archive/manifest.ts";
import type { Run } from "./context.ts";

/** Below this part of the documents of the last backup, something has probably gone wrong. */
const LEAST_PART = 1 / 2;

/** Says so where a database has shrunk. @returns A sentence, or none. */
export async function warnOfShrinking(
  { log, repository, signal }: Pick<Run, "log" | "repository" | "signal">,
  previous: CatalogEntry | undefined,
  { totals }: Manifest,
): Promise<string[]> {
  if (previous === undefined || previous.documents === 0) return [];
  if (totals.documents >= previous.documents * LEAST_PART) return [];
  // An entry whose run ended before it stored its manifest is no backup.
  if (await repository.store.stat(previous.manifestKey, { signal }) === undefined) return [];
  const path = repository.locate(previous.manifestKey);
  log.warn("database has shrunk: the backup before it has more than twice as many documents", {
    documents: totals.documents,
    before: previous.documents,
    beforeAt: previous.finishedAt.toISOString(),
    path,
  });
  return [
    `It has ${
      counted(totals.documents, "document")
    }, the backup of ${previous.finishedAt.toISOString()} has ${previous.documents}: ` +
    `was something deleted by mistake? That backup stays, at ${path}`,
  ];
}
