/**
 * What is known of a database before its first document is read: its properties, and what the last backup of it said.
 * In: a run and a database. Out: the beginning of its manifest, and the ids that could not be read the last time.
 */
import { Catalog, type CatalogEntry } from "../../archive/catalog.ts";
import { FORMAT_VERSION, type Origin } from "../../archive/manifest.ts";
import { readManifest } from "../../archive/read.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { ArchiveError, CouchError, describeError, isOutOfReach } from "../../errors.ts";
import { allOrNone } from "../../parallel.ts";
import { splitKey } from "../../store/key.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { PROGRAM_NAME, VERSION } from "../../version.ts";
import type { Run } from "./context.ts";
import { findUnreadable } from "./sealed_ids.ts";

/** What {@linkcode readOrigin} finds. */
export interface DatabaseOrigin {
  origin: Origin;
  info: DatabaseInfo;
  /** When CouchDB was asked for it, by `performance.now()`. */
  askedAtMs: number;
  /** What CouchDB did not let be read, a sentence each. */
  lacking: string[];
}

/** Reads the properties of a database. @throws CouchError when the database itself cannot be read. */
export async function readOrigin(
  { couch, couchVersion, infos, run, signal }: Run,
  { task, database, startedAt }: { task: Task; database: string; startedAt: Date },
): Promise<DatabaseOrigin> {
  const lacking: string[] = [];
  const orNull = async <T>(what: string, reading: Promise<T>): Promise<T | null> => {
    try {
      return await reading;
    } catch (error) {
      if (!(error instanceof CouchError) || error.facts.status !== 403) throw error;
      lacking.push(`${what} is not saved: ${describeError(error)}`);
      return null;
    }
  };
  const [{ info, askedAtMs }, security, revsLimit] = await allOrNone((signal) => [
    infos.first(database, { signal }),
    orNull("_security", couch.security(database, { signal })),
    orNull("_revs_limit", couch.revsLimit(database, { signal })),
  ], signal);
  // Properties that came along with others' say nothing of what this login may: who may read neither object may not
  // read the database, and that is told by its own answer.
  if (lacking.length === 2) await couch.databaseInfo(database, { signal });
  const { attachments, revisions, chunk = null, chunkBytes, tombstones } = task;
  const { recipients } = codecOf(task);
  const { doc_count, doc_del_count, q, n, partitioned, instance_start_time, purge_seq } = info;
  const counts = { doc_count, doc_del_count, q, n, partitioned, instance_start_time, purge_seq };
  const origin: Origin = {
    format: FORMAT_VERSION,
    program: { name: PROGRAM_NAME, version: VERSION },
    run,
    task: task.name,
    database,
    started_at: startedAt.toISOString(),
    couchdb: { url: couch.url, version: couchVersion },
    options: {
      attachments,
      revisions,
      chunk,
      ...chunkBytes === undefined ? {} : { chunk_bytes: chunkBytes },
      tombstones,
    },
    properties: { ...counts, revs_limit: revsLimit, security },
    kind: "full",
    parent: null,
    ...recipients === undefined ? {} : { recipients },
  };
  return { origin, info, askedAtMs, lacking };
}

/**
 * So many entries of the catalog before a backup are looked at: what lacks its manifest is none, and is passed over.
 */
const MOST_ENTRIES = 4;

/** What there was before a backup. */
export interface PreviousBackup {
  /**
   * The last ones, the newest first, as far as the catalog knows: whether their manifests are there nobody has seen.
   */
  entries: readonly CatalogEntry[];
  /** What the newest could not read. */
  unreadable: readonly UnreadableDocument[];
}

/** The last entries of a database in the catalog, the newest first, without those of a run; it costs one listing. */
export async function lastEntries(
  { repository, signal }: Pick<Run, "repository" | "signal">,
  database: string,
  { notAfter, notOf }: { notAfter?: Date; notOf?: string } = {},
): Promise<CatalogEntry[]> {
  const found: CatalogEntry[] = [];
  for await (const entry of new Catalog(repository).entries(database, { notAfter, signal })) {
    if (entry.run !== notOf) found.push(entry);
    if (found.length === MOST_ENTRIES) break;
  }
  return found;
}

/** The newest complete backups of a database, as far as the catalog knows, and what the last could not read. */
export async function readPrevious(run: Run, database: string): Promise<PreviousBackup | undefined> {
  const { repository, log, signal } = run;
  const entries = await lastEntries(run, database);
  const [entry] = entries;
  if (entry === undefined) return undefined;
  if (entry.unreadable === 0) return { entries, unreadable: [] };
  const { folder, name } = splitKey(entry.manifestKey);
  try {
    const manifest = await readManifest(repository.store, folder, { name, signal });
    return { entries, unreadable: await findUnreadable(run, database, manifest) };
  } catch (error) {
    if (!isOutOfReach(error) && !(error instanceof ArchiveError)) throw error;
    log.warn("manifest of the last backup cannot be read", { error: describeError(error) });
    return { entries, unreadable: [] };
  }
}
