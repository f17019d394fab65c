/**
 * From an archive to a database: all documents, or some of them, the design documents last. In: both. Out: what was
 * written.
 */
import { commandLine } from "../../command_line.ts";
import { joinKey } from "../../store/key.ts";
import { explainUnusable } from "../../archive/damage.ts";
import type { Archive } from "../../archive/archive.ts";
import { DocumentWriter } from "../../couchdb/write.ts";
import type { BegunRestore, RestoreRequest } from "./context.ts";
import { DocumentRestore, type DocumentRestoreOptions } from "./documents.ts";
import type { Written } from "./report.ts";

/** Requests in flight, unless set otherwise. */
const DEFAULT_PARALLEL = 4;

/** Writes an archive's documents, or some of them. */
export async function writeDocuments(
  context: BegunRestore,
  archive: Archive,
  { isNew, salvage = false, parallel = DEFAULT_PARALLEL, isWanted, delta }:
    & Pick<RestoreRequest, "salvage" | "parallel">
    & { isNew: boolean }
    & Pick<DocumentRestoreOptions, "isWanted" | "delta">,
): Promise<Written> {
  const { couch, database, log, progress, beginning, onPosition, onReady } = context;
  const writer = new DocumentWriter(couch, database, { log, isNew });
  const options = { salvage, parallel, isWanted, delta, beginning, onPosition };
  const documents = new DocumentRestore(archive, { ...context, writer }, options);
  progress.databaseStarted({ database, documents: archive.documents });
  try {
    await documents.restoreDocuments();
    await documents.restoreDesigns();
  } catch (error) {
    // A damaged archive stays damaged: repeating the command would end at the same place.
    const isDamaged = explainUnusable(error) !== undefined;
    const words = [database, pathOf(archive), "--into-existing", ...salvage || isDamaged ? ["--salvage"] : []];
    const what = isDamaged ? "restores what is intact" : "completes it";
    const hint = `${commandLine("restore", words)} ${what}; or delete the database`;
    // A caller that has marked the database goes on with it, or drops it, by itself: it needs no hint.
    log.warn("restore ends early: the database holds a part of the archive", onReady === undefined ? { hint } : {});
    throw error;
  } finally {
    const { requestsWithFewerCopies: requests } = writer;
    if (requests > 0) log.warn("CouchDB has not written all copies yet: a node is away", { requests });
  }
  return documents.finish();
}

/** The path that leads to this very archive, whatever else is in its folder or becomes complete later. */
function pathOf({ url, manifest, place: { store, folder, object } }: Archive): string {
  const name = object ?? manifest;
  return name === undefined ? url : store.locate(joinKey(folder, name));
}
