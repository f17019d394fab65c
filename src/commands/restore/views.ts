/**
 * Has the views of a restored database built, so that the first user does not wait for them. In: a database. Out: how
 * many views are built; what takes too long is left to CouchDB.
 */
import { CouchError, describeError } from "../../errors.ts";
import type { TargetContext } from "./target.ts";

/** How long the index of one view may take before the next one is asked for; CouchDB goes on building it. */
const VIEW_TIMEOUT_MS = 300_000;

/** Has every view built by asking it for no rows. @returns How many views are built. */
export async function buildViews(
  { couch, log, signal }: TargetContext,
  { database, isPartitioned }: { database: string; isPartitioned: boolean },
): Promise<number> {
  let built = 0;
  for (const design of await couch.designDocuments(database, { signal })) {
    for (const [name, view] of Object.entries(design.views ?? {})) {
      if (view?.map === undefined) continue; // "lib" is code that views share.
      const startedAt = performance.now();
      const partition = isPartitioned && design.options?.partitioned !== false ? "_" : undefined;
      try {
        await couch.buildView(database, { design: design._id, name, partition }, {
          signal,
          timeoutMs: VIEW_TIMEOUT_MS,
        });
        built++;
        const durationMs = Math.round(performance.now() - startedAt);
        log.info("view is built", { design: design._id, view: name, durationMs });
      } catch (error) {
        if (!(error instanceof CouchError)) throw error;
        log.warn("view is not built yet", { design: design._id, view: name, error: describeError(error) });
        if (error.facts.error === "timeout") break; // The views of a design document share one index.
      }
    }
  }
  return built;
}
