/**
 * Estimates, for `plan`, what a run of an incremental task would have to read. In: the databases that it selects. Out:
 * numbers, from a few cheap requests for each database. Nothing is written and no chunk is read: the run itself checks
 * more.
 */
import { Catalog } from "../../archive/catalog.ts";
import type { Manifest } from "../../archive/manifest.ts";
import { parseManifest } from "../../archive/manifest_json.ts";
import { KnownRows } from "../../archive/overlap.ts";
import type { Repository } from "../../archive/repository.ts";
import { readPage } from "../../couchdb/changes.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { ArchiveError, isNotFound, isOutOfReach } from "../../errors.ts";
import { readObjectBytes } from "../../store/whole.ts";
import { codecOf, leastLockDays, type Task } from "../../task/task.ts";
import { askOfEach } from "../ask_each.ts";
import { findPrevious, IncrementShare, isFullForChanges, whyNotAfter, whyOver } from "./increment.ts";

const DATABASES_AT_ONCE = 8;
/** Rows beside those that are known: of more their number is enough. */
const FURTHER_ROWS = 100;

/** What of a task's databases has changed since its last backups. */
export interface ChangeForecast {
  /** Databases of which all would be saved. */
  full: number;
  /** Databases of which the changes would be saved. */
  changed: number;
  /** Databases of which nothing would be read. */
  unchanged: number;
  /** How many documents would be read, deleted ones too. */
  documents: number;
}

/** What a forecast is made with. */
export interface ForecastContext {
  couch: CouchClient;
  repository: Repository;
  signal: AbortSignal;
  /** When the run begins that it is about: a full backup may be due by then. */
  at: Date;
}

/**
 * Finds what has changed.
 *
 * @returns The numbers, and sentences that name databases of which that is unknown.
 * @throws CouchError when CouchDB answers no more.
 */
export async function forecastChanges(
  context: ForecastContext,
  task: Task,
  databases: readonly string[],
): Promise<{ forecast: ChangeForecast; warnings: string[] }> {
  const forecast: ChangeForecast = { full: 0, changed: 0, unchanged: 0, documents: 0 };
  const share = new IncrementShare(databases.length);
  const warnings = await askOfEach(databases, async (database, { signal }) => {
    const changed = await countChanges({ ...context, signal }, { task, database, share });
    forecast[changed.kind]++;
    forecast.documents += changed.documents;
  }, { unknown: "what has changed in", limit: DATABASES_AT_ONCE, signal: context.signal });
  return { forecast, warnings };
}

async function countChanges(
  { couch, repository, signal, at }: ForecastContext,
  { task, database, share }: { task: Task; database: string; share: IncrementShare },
): Promise<{ kind: "full" | "changed" | "unchanged"; documents: number }> {
  const [info, found] = await Promise.all([
    couch.databaseInfo(database, { signal }),
    findPrevious({ repository, signal }, { task, database }),
  ]);
  const full = { kind: "full", documents: info.doc_count } as const;
  if (typeof found === "string") return full;
  const { previous, link } = found;
  const policy = task.increments!;
  const question = {
    origin: { options: task, properties: info, recipients: codecOf(task).recipients },
    counts: { info, hasCopies: false },
    share,
  };
  if (whyNotAfter(previous, question) !== undefined) return full;
  const isTimed = policy.fullEveryDays !== undefined || leastLockDays(policy) !== undefined;
  const chain = isTimed ? await readChain({ repository, signal }, { task, database }) : undefined;
  if (isTimed && chain === undefined) return full;
  const links = [{ path: link.path, manifest: previous }, ...chain === undefined ? [] : [chain.full]];
  if (chain !== undefined && whyOver(links, policy, at) !== undefined) return full;
  const { overlap, expected } = previous.feed!;
  const known = new KnownRows(overlap!);
  const wanted = { since: overlap!.since, limit: known.size + FURTHER_ROWS };
  const page = await readPage(couch, database, wanted, { signal });
  const total = info.doc_count + info.doc_del_count;
  if (page.pending === undefined || total < expected!) return full;
  const changed = page.rows.filter((row) => known.look(row) !== "known").length + page.pending;
  if (page.pending === 0 && known.unseen > 0) return full;
  if (isFullForChanges({ changed, expected: total }, { states: [previous, { properties: info }], share })) return full;
  if (changed === 0) return { kind: "unchanged", documents: 0 };
  const { increments } = chain ?? await readChain({ repository, signal }, { task, database }) ?? { increments: 0 };
  return increments >= policy.most ? full : { kind: "changed", documents: changed };
}

/**
 * The full backup that the task's next one would rely on, and how many increments with content lie after it, by the
 * catalog; undefined where there is none.
 */
async function readChain(
  { repository, signal }: Pick<ForecastContext, "repository" | "signal">,
  { task, database }: { task: Task; database: string },
): Promise<{ full: { path: string; manifest: Manifest }; increments: number } | undefined> {
  let increments = 0;
  for await (const entry of new Catalog(repository).entries(database, { signal })) {
    if (entry.task !== task.name) continue;
    if (entry.kind !== "full") {
      if (entry.chunks > 0) increments++;
      continue;
    }
    try {
      const { manifestKey: path } = entry;
      return {
        full: { path, manifest: parseManifest(await readObjectBytes(repository.store, path, { signal }), path) },
        increments,
      };
    } catch (error) {
      if (isNotFound(error)) continue;
      if (error instanceof ArchiveError || isOutOfReach(error)) return undefined;
      throw error;
    }
  }
  return undefined;
}
