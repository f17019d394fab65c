/**
 * Has the views of a restored database built, so that the first user does not wait for them. In: a database. Out: how
 * many views are built; what takes too long is left to CouchDB.
 */
import { crc32 } from "node:zlib";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import { CouchError, describeError } from "../../errors.ts";
import { allOrNone } from "../../parallel.ts";
import type { TargetContext } from "./target.ts";

/** How long the index of one view may take before the next one is asked for; CouchDB goes on building it. */
const VIEW_TIMEOUT_MS = 300_000;

/** Has every view built by asking it for no rows. @returns How many views are built. */
export async function buildViews(
  { couch, log, signal }: TargetContext,
  { database, info: { partitioned, q } }: { database: string; info: Pick<DatabaseInfo, "partitioned" | "q"> },
): Promise<number> {
  let built = 0;
  for (const design of await couch.designDocuments(database, { signal })) {
    const isPartitioned = partitioned && design.options?.partitioned !== false;
    const partitions = isPartitioned ? partitionOfEachRange(q ?? 1) : [undefined];
    for (const [name, view] of Object.entries(design.views ?? {})) {
      if (view?.map === undefined) continue; // "lib" is code that views share.
      const startedAt = performance.now();
      const build = async (partition: string | undefined, signal: AbortSignal) => {
        const timeoutMs = VIEW_TIMEOUT_MS;
        await couch.buildView(database, { design: design._id, name, partition }, { signal, timeoutMs });
      };
      try {
        await allOrNone((signal) => partitions.map((partition) => build(partition, signal)), signal);
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

/**
 * Names of partitions, one in each of `q` ranges. A question for a partition has the index of its range built and no
 * other, whether the partition holds documents or not; a range is found by the CRC-32 of the partition's name.
 */
function partitionOfEachRange(q: number): string[] {
  const found = new Map<number, string>();
  for (let at = 0; found.size < q; at++) {
    const name = String(at);
    const range = Math.floor(crc32(name) / 2 ** 32 * q);
    if (!found.has(range)) found.set(range, name);
  }
  return [...found.values()];
}
