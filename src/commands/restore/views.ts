/**
 * Has the views of a restored database built, so that the first user does not wait for them. In: a database. Out: how
 * many views are built; what takes too long is left to CouchDB.
 */
import { crc32 } from "node:zlib";
import { CouchError, describeError } from "../../errors.ts";
import type { TargetContext } from "./target.ts";

/** How long the index of one view may take before the next one is asked for; CouchDB goes on building it. */
const VIEW_TIMEOUT_MS = 300_000;

/** A database as it was asked for its views. */
export interface BuiltDatabase {
  /** Decoded. */
  name: string;
  partitioned: boolean;
  /** Its shards; null where CouchDB does not say. */
  q: number | null;
}

/** Has every view built by asking it for no rows. @returns How many views are built. */
export async function buildViews(
  { couch, log, signal }: TargetContext,
  { name: database, partitioned, q }: BuiltDatabase,
): Promise<number> {
  let built = 0;
  for (const design of await couch.designDocuments(database, { signal })) {
    for (const [name, view] of Object.entries(design.views ?? {})) {
      if (view?.map === undefined) continue; // "lib" is code that views share.
      const startedAt = performance.now();
      const isPartitioned = partitioned && design.options?.partitioned !== false;
      try {
        for (const partition of isPartitioned ? partitionsOfAllShards(q ?? 1) : [undefined]) {
          await couch.buildView(database, { design: design._id, name, partition }, {
            signal,
            timeoutMs: VIEW_TIMEOUT_MS,
          });
        }
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
 * Names of partitions, one in each shard: CouchDB answers for one partition at a time, and builds the index of its shard
 * alone. No document need be in it.
 */
function partitionsOfAllShards(q: number): string[] {
  const names = new Map<number, string>();
  for (let number = 0; names.size < q; number++) {
    const name = String(number);
    const shard = Math.floor(crc32(name) / 2 ** 32 * q);
    if (!names.has(shard)) names.set(shard, name);
  }
  return [...names.values()];
}
