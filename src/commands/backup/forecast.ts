/**
 * Estimates, for `plan`, what a run of an incremental task would have to read. In: the databases that it selects. Out:
 * numbers, from a few cheap requests for each database. Nothing is written and no chunk is read: the run itself checks
 * more.
 */
import type { Repository } from "../../archive/repository.ts";
import { KnownRows } from "../../archive/overlap.ts";
import { readPage } from "../../couchdb/changes.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { askOfEach } from "../ask_each.ts";
import { findPrevious, MOST_CHANGED, whyNotAfter } from "./increment.ts";

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

/**
 * Finds what has changed.
 *
 * @returns The numbers, and sentences that name databases of which that is unknown.
 * @throws CouchError when CouchDB answers no more.
 */
export async function forecastChanges(
  context: { couch: CouchClient; repository: Repository; signal: AbortSignal },
  task: Task,
  databases: readonly string[],
): Promise<{ forecast: ChangeForecast; warnings: string[] }> {
  const forecast: ChangeForecast = { full: 0, changed: 0, unchanged: 0, documents: 0 };
  const warnings = await askOfEach(databases, async (database, { signal }) => {
    const changed = await countChanges({ ...context, signal }, { task, database });
    forecast[changed.kind]++;
    forecast.documents += changed.documents;
  }, { unknown: "what has changed in", limit: DATABASES_AT_ONCE, signal: context.signal });
  return { forecast, warnings };
}

async function countChanges(
  { couch, repository, signal }: Parameters<typeof forecastChanges>[0],
  { task, database }: { task: Task; database: string },
): Promise<{ kind: "full" | "changed" | "unchanged"; documents: number }> {
  const [info, found] = await Promise.all([
    couch.databaseInfo(database, { signal }),
    findPrevious({ repository, signal }, { task, database }),
  ]);
  const full = { kind: "full", documents: info.doc_count } as const;
  if (typeof found === "string") return full;
  const { previous } = found;
  const question = {
    origin: { options: task, properties: info, recipients: codecOf(task).recipients },
    counts: { info, hasCopies: false },
    share: { hasPending: undefined },
  };
  if (whyNotAfter(previous, question) !== undefined) return full;
  const { overlap, expected } = previous.feed!;
  const known = new KnownRows(overlap!);
  const wanted = { since: overlap!.since, limit: known.size + FURTHER_ROWS };
  const page = await readPage(couch, database, wanted, { signal });
  const total = info.doc_count + info.doc_del_count;
  if (page.pending === undefined || total < expected!) return full;
  const changed = page.rows.filter((row) => known.look(row) !== "known").length + page.pending;
  if (page.pending === 0 && known.unseen > 0) return full;
  if (changed > total * MOST_CHANGED) return full;
  return { kind: changed === 0 ? "unchanged" : "changed", documents: changed };
}
