/**
 * What is known of a database before its first document is read: its properties, and what the last backup of it said.
 * In: a run and a database. Out: the beginning of its manifest, and the ids that could not be read the last time.
 */
import { Catalog, type CatalogEntry } from "../../archive/catalog.ts";
import { type DatabaseProperties, FORMAT_VERSION, type Origin } from "../../archive/manifest.ts";
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
export interface DatabaseOrigin extends OpenedDatabase {
  origin: Origin;
  /** What CouchDB did not let be read, a sentence each. */
  lacking: string[];
  /** Whether its settings are those of the last backup, and were not asked for. */
  isKept: boolean;
}

/** What is to be saved, and since when. */
export interface OriginRequest {
  task: Task;
  /** Decoded. */
  database: string;
  startedAt: Date;
}

/** What CouchDB says of a database as a whole. */
export interface OpenedDatabase {
  info: DatabaseInfo;
  /** When CouchDB was asked for it, by `performance.now()`. */
  askedAtMs: number;
}

/** What has to be asked for by requests of its own; `sealed`: what holds `security`, where that is not known. */
export type AskedSettings =
  & Pick<DatabaseProperties, "security" | "revs_limit" | "settings_read">
  & Pick<Origin, "sealed">;

/** Reads the properties of a database. @throws CouchError when the database itself cannot be read. */
export async function readOrigin(run: Run, request: OriginRequest): Promise<DatabaseOrigin> {
  if (request.task.increments !== undefined) {
    return await settleOrigin(run, request, await openDatabase(run, request.database));
  }
  const [opened, { settings, lacking }] = await allOrNone((signal) => [
    openDatabase({ ...run, signal }, request.database),
    readSettings({ ...run, signal }, request.database, { sideBySide: true }),
  ], run.signal);
  return { ...opened, origin: makeOrigin(run, request, { ...opened, settings }), lacking, isKept: false };
}

/** What CouchDB says of a database as a whole, which may have come along with others. @throws CouchError */
export async function openDatabase(
  { infos, signal }: Pick<Run, "infos" | "signal">,
  database: string,
): Promise<OpenedDatabase> {
  return await infos.first(database, { signal });
}

/**
 * The properties of a database whose position has been read: only settings that are read after it can be held against
 * it later.
 *
 * @param kept Its settings, where they need not be read.
 */
export async function settleOrigin(
  run: Run,
  request: OriginRequest,
  { info, askedAtMs }: OpenedDatabase,
  kept?: AskedSettings,
): Promise<DatabaseOrigin> {
  if (kept !== undefined) {
    const origin = makeOrigin(run, request, { info, settings: kept });
    return { info, askedAtMs, origin, lacking: [], isKept: true };
  }
  const at = run.now().toISOString();
  // One after the other: the database has room for one request now, and each in flight may be one more failed login.
  const { settings, lacking } = await readSettings(run, request.database, { sideBySide: false });
  const isWhole = lacking.length === 0 && info.update_seq !== "";
  const read = isWhole ? { settings_read: { at, update_seq: info.update_seq } } : {};
  const origin = makeOrigin(run, request, { info, settings: { ...settings, ...read } });
  return { info, askedAtMs, origin, lacking, isKept: false };
}

/** Reads what has to be asked for by requests of its own. @throws CouchError when the database cannot be read. */
async function readSettings(
  { couch, signal }: Run,
  database: string,
  { sideBySide }: { sideBySide: boolean },
): Promise<{ settings: AskedSettings; lacking: string[] }> {
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
  const readSecurity = (signal: AbortSignal) => orNull("_security", couch.security(database, { signal }));
  const readRevsLimit = (signal: AbortSignal) => orNull("_revs_limit", couch.revsLimit(database, { signal }));
  const [security, revsLimit] = sideBySide
    ? await allOrNone((signal) => [readSecurity(signal), readRevsLimit(signal)], signal)
    : [await readSecurity(signal), await readRevsLimit(signal)];
  // Properties that came along with others' say nothing of what this login may: who may read neither object may not
  // read the database, and that is told by its own answer.
  if (lacking.length === 2) await couch.databaseInfo(database, { signal });
  return { settings: { security, revs_limit: revsLimit }, lacking };
}

function makeOrigin(
  { couch, couchVersion, run }: Run,
  { task, database, startedAt }: OriginRequest,
  { info, settings: { sealed, ...settings } }: { info: DatabaseInfo; settings: AskedSettings },
): Origin {
  const { attachments, revisions, chunk = null, chunkBytes, tombstones } = task;
  const { recipients } = codecOf(task);
  const { doc_count, doc_del_count, q, n, partitioned, instance_start_time, purge_seq } = info;
  const counts = { doc_count, doc_del_count, q, n, partitioned, instance_start_time, purge_seq };
  return {
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
    properties: { ...counts, ...settings },
    kind: "full",
    parent: null,
    ...recipients === undefined ? {} : { recipients },
    ...sealed === undefined ? {} : { sealed },
  };
}

/**
 * How many entries of the catalog before a backup are looked at: an entry without a manifest is no backup, and is
 * passed over.
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
