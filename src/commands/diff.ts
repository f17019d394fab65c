/**
 * What has changed between two backups of a database, or between a backup and the living database. In: two of these. Out:
 * the ids of documents that were added, changed and deleted from the first to the second.
 *
 * Of each id a hash of 128 bits is kept, and one of its id with all of its leaf revisions: 48 bytes a document, however long
 * the ids are. Who was deleted is told by reading the first one again, and only where somebody was.
 */
import type { Archive } from "../archive/archive.ts";
import type { PathContext } from "../archive/find.ts";
import { isDeleted, revisionOf, walkDocuments } from "../archive/walk.ts";
import { listChanges } from "../couchdb/changes.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { decodeDatabase } from "../database_name.ts";
import { IdSet } from "../id_set.ts";
import type { Log } from "../observe.ts";
import { openWhole } from "./document.ts";

/** The word that stands for the living database in place of a path. */
export const LIVE = "live";
/** So many ids of each kind are named; all are counted. */
const MOST_NAMED = 100_000;

/** What is to be compared. */
export interface DiffRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** The earlier one: a path as for restore. */
  from: string;
  /** The later one: a path, or `live`. */
  to: string;
}

/** Documents of one kind. */
export interface DiffIds {
  /** How many. */
  count: number;
  /** The first hundred thousand. */
  ids: string[];
}

/** What `diff --json` prints. */
export interface DiffReport {
  /** Whether there is no difference. */
  equal: boolean;
  /** The decoded name. */
  database: string;
  /** The URL of the first one. */
  from: string;
  /** When the first one was complete, in UTC; null for the living database. Several backups may lie in one folder. */
  from_finished_at: string | null;
  /** The URL of the second one. */
  to: string;
  /** When the second one was complete; null for the living database. */
  to_finished_at: string | null;
  /** Documents that only the second one has. */
  added: DiffIds;
  /** Documents that both have, with other leaf revisions. */
  changed: DiffIds;
  /** Documents that only the first one has. */
  deleted: DiffIds;
}

/** What it works with; CouchDB is asked for only where the living database is compared. */
export interface DiffContext extends PathContext {
  connect: () => Promise<CouchClient>;
}

/** A document as one side has it. */
interface State {
  id: string;
  /** Its leaf revisions in an order of their own. */
  leaves: string;
  isDeleted: boolean;
}

/** One side, to be read once or twice. */
interface Side {
  url: string;
  finishedAt: string | null;
  states: () => AsyncGenerator<State>;
}

/**
 * Compares two states of a database by the leaf revisions of each document.
 *
 * @throws ArchiveError when a backup is missing or not whole; StoreError and CouchError.
 */
export async function diffBackups(context: DiffContext, request: DiffRequest): Promise<DiffReport> {
  const from = await openSide(context, request, request.from);
  const to = await openSide(context, request, request.to);
  const before = { ids: new IdSet(), states: new IdSet() };
  for await (const { id, leaves, isDeleted } of from.states()) {
    if (isDeleted) continue;
    before.ids.add(id);
    before.states.add(`${id}\0${leaves}`);
  }
  const [added, changed, deleted] = [newIds(), newIds(), newIds()];
  const after = new IdSet();
  let found = 0;
  for await (const { id, leaves, isDeleted } of to.states()) {
    // A feed may tell of a document twice.
    if (isDeleted || !after.add(id)) continue;
    if (!before.ids.has(id)) note(added, id);
    else {
      found++;
      if (!before.states.has(`${id}\0${leaves}`)) note(changed, id);
    }
  }
  if (found < before.ids.size) {
    for await (const { id, isDeleted } of from.states()) if (!isDeleted && !after.has(id)) note(deleted, id);
  }
  const equal = added.count + changed.count + deleted.count === 0;
  return {
    equal,
    database: decodeDatabase(request.database),
    from: from.url,
    from_finished_at: from.finishedAt,
    to: to.url,
    to_finished_at: to.finishedAt,
    added,
    changed,
    deleted,
  };
}

function newIds(): DiffIds {
  return { count: 0, ids: [] };
}

function note(kind: DiffIds, id: string): void {
  kind.count++;
  if (kind.ids.length < MOST_NAMED) kind.ids.push(id);
}

async function openSide(context: DiffContext, { database }: DiffRequest, path: string): Promise<Side> {
  const { log, signal } = context;
  if (path !== LIVE) {
    const archive = await openWhole(context, { database, path });
    const finishedAt = archive.finishedAt?.toISOString() ?? null;
    return { url: archive.url, finishedAt, states: () => statesOfArchive(archive, signal) };
  }
  const couch = await context.connect();
  const name = decodeDatabase(database);
  return {
    url: `${couch.url}/${name}`,
    finishedAt: null,
    states: () => statesOfDatabase(couch, name, { log, signal }),
  };
}

async function* statesOfArchive(archive: Archive, signal: AbortSignal): AsyncGenerator<State> {
  let id: string | undefined;
  let revs: string[] = [];
  let isLive = false;
  const state = (id: string): State => ({ id, leaves: joinLeaves(revs), isDeleted: !isLive });
  for await (const document of walkDocuments(archive, { signal })) {
    if (id !== undefined && document.id !== id) {
      yield state(id);
      [revs, isLive] = [[], false];
    }
    id = document.id ?? "";
    revs.push(revisionOf(document) ?? "");
    isLive ||= !isDeleted(document);
  }
  if (id !== undefined) yield state(id);
}

async function* statesOfDatabase(
  couch: CouchClient,
  database: string,
  { log, signal }: { log: Log; signal: AbortSignal },
): AsyncGenerator<State> {
  for await (const { rows } of listChanges(couch, database, { since: "0", log, signal })) {
    for (const { id, revs, deleted } of rows) yield { id, leaves: joinLeaves(revs), isDeleted: deleted };
  }
}

function joinLeaves(revs: readonly string[]): string {
  return revs.length === 1 ? revs[0]! : revs.toSorted().join(" ");
}
