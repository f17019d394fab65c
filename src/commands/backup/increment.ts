/**
 * Decides whether the next backup of a database can build on the last one. In: what CouchDB says of the database now,
 * and the newest backup of the same task. Out: that nothing has changed; or the position to continue from; or why a
 * full backup is needed, which is made whenever anything is in doubt.
 */
import { counted } from "../../counts.ts";
import { createHash } from "node:crypto";
import { type ChainLink, findGoneChunk, followChain, parentLinkOf } from "../../archive/chain.ts";
import { Catalog } from "../../archive/catalog.ts";
import type { KnownDamage } from "../../archive/known_damage.ts";
import { shortRun } from "../../archive/layout.ts";
import type { DatabaseProperties, Manifest, Origin, ParentLink } from "../../archive/manifest.ts";
import { parseManifest } from "../../archive/manifest_json.ts";
import { KnownRows } from "../../archive/overlap.ts";
import { haveSameRecipients } from "../../codec/compression.ts";
import type { ListedDocument } from "../../couchdb/batch.ts";
import { type FeedPage, readPage } from "../../couchdb/changes.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { DAY_MS } from "../../dates.ts";
import { ArchiveError, isNotFound, isOutOfReach } from "../../errors.ts";
import type { Log } from "../../observe.ts";
import { allOrNone, eitherSignal, loadAhead } from "../../parallel.ts";
import { joinKey, splitKey } from "../../store/key.ts";
import { readObjectBytes } from "../../store/whole.ts";
import { type IncrementPolicy, leastLockDays, type Task } from "../../task/task.ts";
import {
  type DocumentCounts,
  IncompleteError,
  isPurgedSince,
  purgesOf,
  UNSETTLED,
  UNSETTLED_HINT,
} from "./completeness.ts";
import { ChunkSize } from "./chunk_size.ts";
import type { Run } from "./context.ts";
import { PURGED, SET_BACK } from "./doubt.ts";
import type { Turns } from "./turns.ts";

/** Where so much of a database has changed, a full backup costs little more, and its restore less. */
const MOST_CHANGED = 1 / 3;
/** How many databases of a task may be saved again for that in one run: a node that was rebuilt repeats rows of all. */
const MOST_FOR_CHANGES = 1 / 10;
/**
 * By how much `full_every` ends early. A database's turn does not come at the same second of each run: one that came two
 * seconds sooner than the last time would otherwise wait for its full backup until the next run.
 */
const MOST_EARLY_DAYS = 1 / 24;
const EARLY_PART = 1 / 100;
/** Rows of the first page beside those that are known. */
const PAGE_ROWS = 5000;
/** Of these rows one has its position, or of a chunk's where that is smaller: there a run can be resumed. */
const POSITIONS_EVERY = 500;
/** An unsettled cluster is asked again so often. */
const LOOKS = 5;
/** Of a database that may be unchanged so many copies are asked for their counts, not all of each range. */
const FEW_QUESTIONS = 3;
const LINKS_AT_ONCE = 8;

/** What an increment builds on. */
export interface IncrementBase {
  /** The newest backup of the task; its parent is the newest one with content. */
  previous: Manifest;
  parent: ParentLink;
  /** The parent and its parents, the newest first. */
  links: readonly ChainLink[];
  since: string;
  known: KnownRows;
  /** How many documents there were, deleted ones too, when the backup before ended. */
  documents: number;
}

/** How a database is to be saved. */
export type IncrementPlan =
  /** `reason`: a clause; undefined where the task is not incremental. */
  | { kind: "full"; reason?: string | undefined }
  | { kind: "unchanged"; base: IncrementBase; until: string }
  | { kind: "incremental"; base: IncrementBase; page: FeedPage | undefined };

/** What of one run all databases of a task share. */
export class IncrementShare {
  /** Whether CouchDB says how many changes follow; undefined before it was asked. */
  hasPending: boolean | undefined;
  #hasSaid = false;
  #fulls = 0;
  readonly #most: number;

  /** @param databases How many databases the task has. `most`: so many may be saved again for their changes. */
  constructor(databases: number, most: number = Math.max(1, Math.floor(databases * MOST_FOR_CHANGES))) {
    this.#most = most;
  }

  /** For one database of a run whose calls know nothing of each other: chance gives each tenth one its full backup. */
  static ofOne(runAndDatabase: string): IncrementShare {
    const isChosen = createHash("sha256").update(runAndDatabase).digest().readUInt32BE() < MOST_FOR_CHANGES * 2 ** 32;
    return new IncrementShare(0, isChosen ? 1 : 0);
  }

  /** Logs why a full backup is made; a reason that holds for the whole server is logged once. */
  say(log: Log, reason: string): void {
    if (reason !== NO_PENDING) return log.info("full backup", { reason });
    if (!this.#hasSaid) log.warn("no incremental backups are possible", { reason });
    this.#hasSaid = true;
  }

  /** Whether one more database may be saved again because much of it has changed. */
  takeFull(): boolean {
    return this.#fulls++ < this.#most;
  }
}

/** What there is to decide by. */
export interface IncrementQuestion {
  task: Task;
  /** Decoded. */
  database: string;
  /** What {@linkcode findPrevious} finds; it was asked beside other things. */
  previous: ReturnType<typeof findPrevious>;
  /** What the manifest will begin with. */
  origin: Origin;
  counts: DocumentCounts;
  /** Whether all is to be saved anyway. */
  full: boolean;
  share: IncrementShare;
  /** Its turns to ask CouchDB, where a cluster's nodes are waited for. */
  turns: Turns;
  /** An unfinished incremental run went on from this one; its changes are not counted again. */
  resumed: ParentLink | undefined;
  /** Looks which of the documents that the backup before lacks can be read now. */
  findLacking: (unreadable: readonly UnreadableDocument[]) => Promise<{ lacking: readonly ListedDocument[] }>;
}

/** Decides how a database is to be saved. @throws IncompleteError where the cluster does not catch up. */
export async function planIncrement(context: Run, question: IncrementQuestion): Promise<IncrementPlan> {
  const { task, full, resumed, share } = question;
  const policy = task.increments;
  if (policy === undefined) return { kind: "full" };
  if (full) return { kind: "full", reason: "it was asked for (--full)" };
  const found = await question.previous;
  if (typeof found === "string") return { kind: "full", reason: found };
  const { previous } = found;
  const { couch, signal } = context;
  if (!previous.feed?.overlap && share.hasPending === undefined) {
    const { pending } = await couch.changes(question.database, { since: "0", limit: 0 }, { signal });
    share.hasPending = pending !== undefined;
  }
  const differs = whyNotAfter(previous, question);
  if (differs !== undefined) return { kind: "full", reason: differs };
  const { overlap } = previous.feed!;
  const known = new KnownRows(overlap!);
  const damage = context.damage.read(context.repository, context);
  // A failure is thrown where it is awaited. It is not awaited at all where the feed fails first.
  damage.catch(() => {});
  const [base, page] = await allOrNone((signal) => [
    followBase({ ...context, signal }, { ...found, known, damage }),
    // A run that has begun goes on, however much there is.
    resumed === undefined
      ? lookAtFeed({ ...context, signal }, question, { since: overlap!.since, known })
      : Promise.resolve(undefined),
  ], signal);
  if (typeof base === "string") return { kind: "full", reason: base };
  return await weighIncrement({ base, page }, { ...question, policy, now: context.now() });
}

/** Whether a backup that could build on `base` is to do so. `page`: undefined where a run that has begun goes on. */
async function weighIncrement(
  { base, page }: { base: IncrementBase; page: FeedPage | undefined },
  { policy, now, counts, share, origin, findLacking }:
    & Pick<IncrementQuestion, "counts" | "share" | "origin" | "findLacking">
    & { policy: IncrementPolicy; now: Date },
): Promise<IncrementPlan> {
  const { previous } = base;
  const isOver = whyOver(base.links, policy, now);
  if (isOver !== undefined) return { kind: "full", reason: isOver };
  if (page === undefined) return { kind: "incremental", base, page };
  if (page.pending === undefined) {
    share.hasPending = false;
    return { kind: "full", reason: NO_PENDING };
  }
  share.hasPending = true;
  if (isPurgedSince(purgesOf(previous.properties), counts)) return { kind: "full", reason: PURGED };
  if (counts.expected < base.documents) {
    return {
      kind: "full",
      reason: `it has ${counted(counts.expected, "document")}, deleted ones too, and had ${base.documents}`,
    };
  }
  const changed = page.rows.filter((row) => base.known.look(row) !== "known").length + page.pending;
  if (page.pending === 0 && base.known.unseen > 0) return { kind: "full", reason: SET_BACK };
  const { lacking } = await findLacking(previous.unreadable);
  if (changed === 0 && lacking.length === 0 && counts.expected === base.documents) {
    return { kind: "unchanged", base, until: page.position! };
  }
  if (isFullForChanges({ changed, expected: counts.expected }, { states: [previous, origin], share })) {
    return { kind: "full", reason: `${changed} of ${counted(counts.expected, "document")} have changed` };
  }
  if (base.links.length > policy.most) {
    return { kind: "full", reason: `${base.links.length - 1} incremental backups rely on the last full one` };
  }
  return { kind: "incremental", base, page };
}

/** Whether all is to be saved again as so much has changed; takes one of those of the run that may be for that. */
export function isFullForChanges(
  { changed, expected }: { changed: number; expected: number },
  { states, share }: {
    /** Of the database: as the last backup had it, and as it is. */
    states: readonly { properties: Pick<DatabaseInfo, "instance_start_time"> }[];
    share: Pick<IncrementShare, "takeFull">;
  },
): boolean {
  if (changed <= expected * MOST_CHANGED) return false;
  // Where nobody can tell whether the database was made anew, a feed that shows all of it is no proof that it was not.
  return states.some(({ properties }) => properties.instance_start_time === null) || share.takeFull();
}

/** Why the time of a chain is over, the newest link first and the full backup last; undefined where it is not. */
export function whyOver(
  links: readonly { path: string; manifest: Pick<Manifest, "started_at" | "locked_until"> }[],
  policy: IncrementPolicy,
  now: Date,
): string | undefined {
  const ageDays = (now.getTime() - Date.parse(links.at(-1)!.manifest.started_at)) / DAY_MS;
  const everyDays = policy.fullEveryDays;
  if (everyDays !== undefined && ageDays >= everyDays - Math.min(MOST_EARLY_DAYS, everyDays * EARLY_PART)) {
    return `the last full backup is ${Math.round(ageDays)} days old (full_every)`;
  }
  return findLockEnd(links, policy, now);
}

/** Why the locks of what a backup would rely on do not do; undefined where they do, or nothing is locked. */
function findLockEnd(
  links: readonly { path: string; manifest: Pick<Manifest, "locked_until"> }[],
  policy: IncrementPolicy,
  now: Date,
): string | undefined {
  const leastDays = leastLockDays(policy);
  if (leastDays === undefined) return undefined;
  for (const { path, manifest: { locked_until: until = null } } of links) {
    if (until === null) return `a backup that it would rely on was stored without a lock, "${path}" (object_lock)`;
    if (Date.parse(until) - now.getTime() < leastDays * DAY_MS) {
      return `the lock of a backup that it would rely on ends on ${until.slice(0, 10)}, "${path}" (object_lock)`;
    }
  }
  return undefined;
}

/** Why CouchDB 1.x and servers like it are saved in full. */
const NO_PENDING = "CouchDB does not say how many changes follow (before 2.0, and servers like it)";

/** The newest complete backup that the task has made of the database; or why there is none to build on. */
export async function findPrevious(
  { repository, signal }: Pick<Run, "repository" | "signal">,
  { task, database }: Pick<IncrementQuestion, "task" | "database">,
): Promise<{ previous: Manifest; folder: string; name: string; link: ParentLink } | string> {
  for await (const entry of new Catalog(repository).entries(database, { signal })) {
    if (entry.task !== task.name) continue;
    const { manifestKey: key } = entry;
    try {
      const bytes = await readObjectBytes(repository.store, key, { signal });
      const previous = parseManifest(bytes, key);
      if (previous.database !== database) {
        return `where the last backup was lies one of "${previous.database}", "${key}"`;
      }
      if (shortRun(previous.run) !== entry.run) {
        return `where the last backup was lies the manifest of another run, "${key}"`;
      }
      const link = parentLinkOf(repository, { key, run: previous.run, bytes });
      return { previous, ...splitKey(key), link };
    } catch (error) {
      if (error instanceof ArchiveError) return `the manifest of the last backup is damaged, "${key}"`;
      // An entry whose run ended before it stored its manifest is no backup.
      if (isNotFound(error)) continue;
      if (isOutOfReach(error)) return `the manifest of the last backup cannot be read, "${key}": ${error.message}`;
      throw error;
    }
  }
  return "there is no backup of this task yet";
}

/** Why an increment cannot build on a backup, according to its manifest. */
export function whyNotAfter(
  { format, feed, options, recipients, properties: was }: Manifest,
  { origin: { options: wanted, recipients: others, properties: is }, counts, share }: {
    origin: Pick<Origin, "recipients"> & {
      options: Omit<Origin["options"], "chunk">;
      properties: Pick<DatabaseInfo, "instance_start_time"> & Partial<Pick<DatabaseProperties, "revs_limit">>;
    };
    counts: Pick<DocumentCounts, "info" | "hasCopies">;
    share: Pick<IncrementShare, "hasPending">;
  },
): string | undefined {
  if (share.hasPending === false) return NO_PENDING;
  if (format < 2 || !feed?.overlap || (feed.expected ?? null) === null) {
    return "the last backup does not say where its feed ended";
  }
  const changed = (["attachments", "revisions", "tombstones"] as const).filter((name) =>
    options[name] !== wanted[name]
  );
  if (changed.length > 0) return `the last backup was made with other options: ${changed.join(", ")}`;
  // Each recipient must be able to read the whole chain, and a former recipient must not be able to read any of it.
  if (!haveSameRecipients(recipients, others)) {
    if (recipients === undefined) return "the last backup is not sealed";
    return others === undefined
      ? "the last backup is sealed, and this one is not"
      : "the last backup is sealed to others";
  }
  const [before, now] = [was.instance_start_time, is.instance_start_time];
  if (before !== null && now !== null && before !== now) return "the database was deleted and created again";
  if (isPurgedSince(purgesOf(was), counts)) return PURGED;
  return wanted.revisions ? findOtherLimit(was, is) : undefined;
}

/**
 * What is said where `_revs_limit` is another one than it was. CouchDB cuts histories to it when it reads a document,
 * not only when it writes one (seen on 3.5.0): with another limit documents that have not changed have other histories.
 * Undefined where it is the same, or one of the two is not known.
 */
export function findOtherLimit(
  { revs_limit: was }: Pick<DatabaseProperties, "revs_limit">,
  { revs_limit: is = null }: Partial<Pick<DatabaseProperties, "revs_limit">>,
): string | undefined {
  if (was === null || is === null || was === is) return undefined;
  return `its revisions limit was ${was} and is ${is}, so that all histories may be others`;
}

/** The chain that the newest backup stands on, all of it looked at; or what is wrong with it. */
async function followBase(
  { repository: { store }, signal }: Run,
  { previous, folder, name, link, known, damage }: {
    previous: Manifest;
    folder: string;
    name: string;
    link: ParentLink;
    known: KnownRows;
    damage: Promise<KnownDamage>;
  },
): Promise<IncrementBase | string> {
  const own: ChainLink = { store, folder, name, path: link.path, manifest: previous };
  const { links: parents, broken } = await followChain(own, { signal, isTolerant: true });
  if (broken !== undefined) {
    return `a backup that the last one relies on is not whole, "${broken.path}": ${broken.problem}`;
  }
  // An increment without content is left out of the chain, so that an idle database does not make it longer.
  const isEmpty = previous.kind === "incremental" && previous.chunks.length === 0;
  const links = isEmpty ? parents : [own, ...parents];
  const found = await damage;
  // One without content counts here: it may be the only one that was verified, and it fails with its parents.
  const damaged = [own, ...parents].find(({ path }) => found.markOf(path) !== undefined);
  if (damaged !== undefined) return `a backup that it would rely on was found damaged, "${damaged.path}"`;
  const look = (one: ChainLink, signal: AbortSignal) => findGoneChunk(one, { signal });
  let at = 0;
  for await (const gone of loadAhead(links, look, { limit: LINKS_AT_ONCE, signal })) {
    const { path } = links[at++]!;
    if (gone !== undefined) return `chunk "${gone}" of "${path}" is missing or has another size`;
  }
  const { overlap, expected } = previous.feed!;
  return {
    previous,
    parent: isEmpty ? previous.parent! : link,
    links,
    since: overlap!.since,
    known,
    documents: expected!,
  };
}

/** The first page after the overlap's beginning, from a cluster that has nothing to catch up with. */
async function lookAtFeed(
  { couch, cluster, signal, stop }: Run,
  { database, counts, task, turns }: IncrementQuestion,
  { since, known }: Pick<IncrementBase, "since" | "known">,
): Promise<FeedPage | undefined> {
  const until = {
    signal: eitherSignal({ signal, stop }),
    pause: (ms: number) => turns.pause(ms, signal),
    lostMs: () => turns.lostMs,
  };
  const positionsEvery = Math.min(new ChunkSize(task, counts.info).positionsEvery ?? POSITIONS_EVERY, POSITIONS_EVERY);
  // CouchDB counts from the page's end (as in listing.ts), so that each position follows a whole number of rows.
  const limit = Math.ceil((known.size + PAGE_ROWS) / positionsEvery) * positionsEvery - 1;
  for (let looks = 1;; looks++) {
    const startedAtMs = performance.now();
    const lag = counts.hasCopies && await cluster.lookFor(database, { signal }) !== undefined
      ? await cluster.untilSettled(database, until)
      : undefined;
    if (lag !== undefined || looks > LOOKS) {
      throw new IncompleteError(
        `Cannot tell what has changed in database "${database}": ` +
          (lag === undefined ? "nodes of the cluster come and go" : `${UNSETTLED}: ${lag}`),
        { hint: `${UNSETTLED_HINT}. The next run retries, or --resume resumes this one` },
      );
    }
    // Before the page, so that it counts nothing that the page cannot show. Of a single copy it was just read.
    if (counts.hasCopies) await counts.look({ signal, questions: FEW_QUESTIONS });
    const page = await readPage(couch, database, { since, limit, positionsEvery }, { signal });
    if (!counts.hasCopies) return { ...page, position: page.last_seq };
    if (await cluster.lookFor(database, { signal }) === undefined && !cluster.wasUnsettledSince(startedAtMs)) {
      return { ...page, position: page.last_seq };
    }
  }
}

/** Whether a parent is gone since it was looked at; its key where it is. */
export async function findGoneLink(
  links: readonly ChainLink[],
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  const look = ({ store, folder, name }: ChainLink, signal: AbortSignal) =>
    store.stat(joinKey(folder, name), { signal });
  let at = 0;
  for await (const found of loadAhead(links, look, { limit: LINKS_AT_ONCE, signal })) {
    const { path } = links[at++]!;
    if (found === undefined) return path;
  }
  return undefined;
}
