/**
 * What has changed between two backups of a database, or between a backup and the living database. In: two of these.
 * Out: the ids of documents that were added, changed and deleted from the first to the second.
 *
 * Memory follows what has changed, not how much there is: at first both are only summed up, in many small groups of
 * documents (src/commands/state_sums.ts). Of groups whose sums agree all documents do. Of the others each document of
 * the first one gets a hash of 128 bits, of its id with all of its leaf revisions; what of the second one has none of
 * these hashes was added or changed, and what of the first one the second has not met was changed or deleted.
 */
import type { Archive } from "../archive/archive.ts";
import type { PathContext } from "../archive/find.ts";
import { isDeleted, revisionOf, walkBlocks } from "../archive/walk.ts";
import { IdBatch, PackedPages } from "../couchdb/batch.ts";
import { listChanges } from "../couchdb/changes.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { decodeDatabase } from "../database_name.ts";
import { IdSet } from "../id_set.ts";
import type { Log } from "../observe.ts";
import { openWhole } from "./open_whole.ts";
import { StateSums } from "./state_sums.ts";

/** The word that stands for the living database in place of a path. */
const LIVE = "live";
/** How many ids of each kind are named; all are counted. */
const MOST_NAMED = 100_000;
/** How many documents of groups that differ are kept, so that they need not be read again. */
const MOST_KEPT = 50_000;
/** How many ids are packed together. */
const PAGE_IDS = 5000;

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

/**
 * Is told a document as one side has it, unless it is deleted there: its id, and its leaf revisions in an order of
 * their own.
 */
type Visit = (id: string, leaves: string) => void;

/** One side, to be read once or twice. */
interface Side {
  url: string;
  finishedAt: string | null;
  /** How many documents it has about; undefined where nobody knows. */
  documents: number | undefined;
  /** Tells of a living database's document twice where the feed does, maybe with other revisions. */
  read: (visit: Visit) => Promise<void>;
}

/**
 * Compares two states of a database by the leaf revisions of each document.
 *
 * @throws ArchiveError when a backup is missing or not whole; StoreError and CouchError.
 */
export async function diffBackups(context: DiffContext, request: DiffRequest): Promise<DiffReport> {
  if (request.from === LIVE && request.to !== LIVE) return await diffFromLive(context, request);
  const from = await openSide(context, request, request.from);
  const to = await openSide(context, request, request.to);
  const [added, changed, deleted] = [newIds(), newIds(), newIds()];
  const sums = new StateSums(from.documents);
  await from.read((id, leaves) => sums.add(id, stateOf(id, leaves)));
  await to.read((id, leaves) => sums.subtract(id, stateOf(id, leaves)));
  if (sums.differing > 0) await compareDiffering({ from, to, sums }, { added, changed, deleted });
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

/** A feed may tell of a document twice, and only the second side may: it is looked at from there. */
async function diffFromLive(context: DiffContext, { database, from, to }: DiffRequest): Promise<DiffReport> {
  const report = await diffBackups(context, { database, from: to, to: from });
  return {
    ...report,
    from: report.to,
    from_finished_at: report.to_finished_at,
    to: report.from,
    to_finished_at: report.from_finished_at,
    added: report.deleted,
    deleted: report.added,
  };
}

/** Compares the documents of the groups that differ, one by one. */
async function compareDiffering(
  { from, to, sums }: { from: Side; to: Side; sums: StateSums },
  { added, changed, deleted }: Pick<DiffReport, "added" | "changed" | "deleted">,
): Promise<void> {
  const ofDiffering = (visit: Visit): Visit => (id, leaves) => {
    if (sums.differs(id)) visit(id, leaves);
  };
  const before = new IdSet({ capacity: sums.documents });
  // If they are few, they are kept, and not read a second time.
  let kept: [id: string, leaves: string][] | undefined = [];
  await from.read(ofDiffering((id, leaves) => {
    before.add(stateOf(id, leaves));
    if (kept !== undefined && kept.push([id, leaves]) > MOST_KEPT) kept = undefined;
  }));
  const differing = new DifferingIds(sums.documents);
  await to.read(ofDiffering((id, leaves) => {
    if (!before.mark(stateOf(id, leaves))) differing.add(id);
  }));
  const settle: Visit = (id, leaves) => {
    if (!differing.markKnown(id) && !before.isMarked(stateOf(id, leaves))) note(deleted, id);
  };
  if (kept === undefined) await from.read(ofDiffering(settle));
  else for (const [id, leaves] of kept) settle(id, leaves);
  for (const id of differing.ids()) note(differing.isKnown(id) ? changed : added, id);
}

/** The ids of documents, in the order in which they were added: many of them in little room. */
class DifferingIds {
  readonly #added: IdSet;
  readonly #packed = new PackedPages();
  #page: { id: string; revs: [] }[] = [];

  /** @param capacity How many there may be at most, about. */
  constructor(capacity: number) {
    this.#added = new IdSet({ capacity });
  }

  /** Adds an id, if it was not added before. */
  add(id: string): void {
    if (!this.#added.add(id)) return;
    this.#page.push({ id, revs: [] });
    if (this.#page.length >= PAGE_IDS) this.#pack();
  }

  /** Notes that the other side has an id, too. @returns Whether it was added; none can be added after that. */
  markKnown(id: string): boolean {
    return this.#added.mark(id);
  }

  isKnown(id: string): boolean {
    return this.#added.isMarked(id);
  }

  ids(): Generator<string> {
    this.#pack();
    return IdBatch.packed(this.#packed).ids();
  }

  #pack(): void {
    this.#packed.add(this.#page);
    this.#page = [];
  }
}

function stateOf(id: string, leaves: string): string {
  return `${id}\0${leaves}`;
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
    return {
      url: archive.url,
      finishedAt,
      documents: archive.documents,
      read: (visit) => readArchive(archive, visit, { signal }),
    };
  }
  const couch = await context.connect();
  const name = decodeDatabase(database);
  return {
    url: `${couch.url}/${name}`,
    finishedAt: null,
    documents: undefined,
    read: (visit) => readDatabase(couch, name, visit, { log, signal }),
  };
}

async function readArchive(archive: Archive, visit: Visit, { signal }: { signal: AbortSignal }): Promise<void> {
  let id: string | undefined;
  let revs: string[] = [];
  let isLive = false;
  for await (const block of walkBlocks(archive, { signal })) {
    for (const document of block) {
      const { id: next = "" } = document;
      if (next !== id) {
        if (id !== undefined && isLive) visit(id, joinLeaves(revs));
        [id, revs, isLive] = [next, [], false];
      }
      revs.push(revisionOf(document) ?? "");
      // Not awaited for each of a million small ones.
      isLive ||= !("bytes" in document ? isDeleted(document) : await document.isDeleted());
    }
  }
  if (id !== undefined && isLive) visit(id, joinLeaves(revs));
}

async function readDatabase(
  couch: CouchClient,
  database: string,
  visit: Visit,
  { log, signal }: { log: Log; signal: AbortSignal },
): Promise<void> {
  for await (const { rows } of listChanges(couch, database, { since: "0", log, signal })) {
    for (const { id, revs, deleted } of rows) if (!deleted) visit(id, joinLeaves(revs));
  }
}

function joinLeaves(revs: readonly string[]): string {
  return revs.length === 1 ? revs[0]! : revs.toSorted().join(" ");
}
