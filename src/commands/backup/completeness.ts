/**
 * Checks whether a database's listing is complete. In: what CouchDB counts, and what was listed. Out: the numbers, and
 * where they differ, why the backup cannot be called complete. Each range of a clustered database is read from one
 * copy, which may be another one for each request; so the counts are read several times, and the largest one is used.
 */
import { counted, formatCount } from "../../counts.ts";
import type { KnownRows } from "../../archive/overlap.ts";
import type { DatabaseInfos } from "../../couchdb/database_infos.ts";
import type { ListedDocument } from "../../couchdb/batch.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { questionsFor, sumCopies } from "../../couchdb/copy_counts.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import { EXIT, ProgramError } from "../../errors.ts";
import { eitherSignal } from "../../parallel.ts";
import type { Run } from "./context.ts";
import { FullNeeded, MADE_ANEW, MISCOUNTED, PURGED, SET_BACK } from "./doubt.ts";
import type { Listing } from "./listing.ts";
import type { Turns } from "./turns.ts";

/** Ids of an increment that may come after those that it has listed. */
const FURTHER_IDS = 10_000;
/** So many deleted documents are asked for one by one, to show that CouchDB counts wrongly; so many in one request. */
const MOST_DELETED = 100_000;
const DELETED_AT_ONCE = 1000;

/** So often all is listed again because a node was not up to date: each time the cluster had settled before. */
const MOST_SETTLINGS = 10;

/** How long what falls short may take to come right. */
export interface Patience {
  /** In all. */
  patienceMs: number;
  /** The first wait; each further one is longer by half. */
  firstWaitMs: number;
}

/** In earnest: a node that comes back has caught up with most things by then. */
export const COUNT_PATIENCE: Patience = { patienceMs: 180_000, firstWaitMs: 2_000 };

/** What is said of a cluster where nobody knows whether all is shown that it has; the reason follows. */
export const UNSETTLED = "not all nodes of the cluster are up to date";
export const UNSETTLED_HINT =
  "A node of the cluster may lag; start those that are away, and take those that are gone for good out of the cluster";

/** CouchDB shows less of a database than it says there is. What was stored so far can be resumed. */
export class IncompleteError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** What CouchDB counts of one database. */
export class DocumentCounts {
  /** The most documents that it has counted so far, deleted ones too. Only a purge makes it fall. */
  expected: number;
  /** The most live documents at the last look. */
  live: number;
  /** What the last look showed beside the numbers. */
  info: DatabaseInfo;

  readonly #couch: CouchClient;
  readonly #infos: DatabaseInfos;
  readonly #database: string;
  readonly #questions: number;
  /** When it was created; null where nobody knows. */
  readonly #createdAt: string | null;
  #lookedAtMs: number;

  /** @param first What a first look has shown, and when it was, by `performance.now()`. */
  constructor(
    { couch, infos }: Pick<Run, "couch" | "infos">,
    database: string,
    { info, askedAtMs }: { info: DatabaseInfo; askedAtMs: number },
  ) {
    this.#couch = couch;
    this.#infos = infos;
    this.#database = database;
    this.#lookedAtMs = askedAtMs;
    this.info = info;
    this.live = info.doc_count;
    this.expected = info.doc_count + info.doc_del_count;
    // In CouchDB 1.x, which has no ranges, this is the time at which the server was started.
    this.#createdAt = info.q === null ? null : info.instance_start_time;
    this.#questions = questionsFor(info);
  }

  /** Whether each range has several copies, which may differ. */
  get hasCopies(): boolean {
    return this.#questions > 1;
  }

  /**
   * The same before a page of the feed that may be the last. A single copy shows in the page what it has just counted.
   */
  async lookBeforePage(options: { signal: AbortSignal }): Promise<void> {
    if (!this.isFresh) await this.look(options);
  }

  /** Whether a single copy has been asked a moment ago. Of several copies others may be asked the next time. */
  get isFresh(): boolean {
    return !this.hasCopies && this.#infos.isFresh(this.#lookedAtMs);
  }

  /**
   * Takes it that there are as many documents as were listed: some may have been made between the last look and the
   * page, and where the next backup did not know of them it would wait for rows that it has.
   */
  noteListed(ids: number): void {
    this.expected = Math.max(this.expected, ids);
  }

  /**
   * Asks CouchDB.
   *
   * @param options.questions How often at most; @default as often as there are copies of ranges
   * @throws FullNeeded where the database is another one by now.
   */
  async look(
    { signal, questions = this.#questions }: { signal: AbortSignal; questions?: number | undefined },
  ): Promise<void> {
    const before = this.info;
    this.#lookedAtMs = performance.now();
    // Where there is one copy, databases may be asked for together.
    const ask = () =>
      this.hasCopies
        ? this.#couch.databaseInfo(this.#database, { signal })
        : this.#infos.now(this.#database, { signal });
    // The first one alone: if the login is refused, all of them together would lock it out at once.
    const first = await ask();
    // Each copy by itself, or as many questions as there are copies, each of which may be answered by other ones.
    const sum = this.hasCopies && questions >= this.#questions
      ? await sumCopies(this.#couch, this.#database, { signal, createdAt: first.instance_start_time })
      : undefined;
    const others = sum === undefined ? Array.from({ length: Math.min(questions, this.#questions) - 1 }, ask) : [];
    const infos = [first, ...await Promise.all(others)];
    if (
      infos.some(({ instance_start_time: at }) => this.#createdAt !== null && at !== null && at !== this.#createdAt)
    ) {
      throw new FullNeeded(MADE_ANEW);
    }
    const latest = infos.reduce((a, b) => (purgesOf(b) ?? 0) > (purgesOf(a) ?? 0) ? b : a);
    const total = Math.max(
      sum?.documents ?? 0,
      ...infos.map(({ doc_count, doc_del_count }) => doc_count + doc_del_count),
    );
    const isPurged = isPurgedSince(purgesOf(before), { info: latest, hasCopies: this.hasCopies });
    // A purge that one copy has told of has happened, though copies that lag do not know of it yet.
    this.info = this.hasCopies && !isPurged ? { ...latest, purge_seq: before.purge_seq } : latest;
    this.live = Math.max(sum?.live ?? 0, ...infos.map(({ doc_count }) => doc_count));
    this.expected = isPurged ? total : Math.max(this.expected, total);
  }
}

/**
 * How many purges a database has seen, undefined where CouchDB does not tell. The text after the number differs
 * between copies; the number does where one of them lags.
 */
export function purgesOf({ purge_seq }: Pick<DatabaseInfo, "purge_seq">): number | undefined {
  return purge_seq === null ? undefined : Number.parseInt(purge_seq, 10);
}

/**
 * Whether documents were purged since there were so many purges. Of several copies one that lags may not know of a purge
 * yet: there a smaller number says nothing. A single copy with a smaller one is another database under the same name.
 */
export function isPurgedSince(
  before: number | undefined,
  { info, hasCopies }: Pick<DocumentCounts, "info" | "hasCopies">,
): boolean {
  const now = purgesOf(info);
  return hasCopies && before !== undefined && now !== undefined ? now > before : now !== before;
}

/** A listing and what it is held against. */
export interface ListedDatabase {
  /** The decoded name. */
  database: string;
  listing: Listing;
  counts: DocumentCounts;
  /** How many live documents have been read, at the most: one that was read again may be counted twice. */
  mostLive: () => number;
  /** The command that resumes the backup. */
  resume: string;
  /** How many purges there were when the listing began, maybe in an earlier run. */
  purges: number | undefined;
  /** Of an increment: what the backup before has. */
  before?: { documents: number; known: KnownRows } | undefined;
  /** Its turns to ask CouchDB anything. */
  turns: Turns;
}

/** Holds a listing against the counts until it can be called complete. */
export class Completeness {
  /** What somebody should know of CouchDB's own count of a database that is complete: it is wrong. */
  miscount: string | undefined;

  readonly #context: Run;
  readonly #database: string;
  readonly #listing: Listing;
  readonly #counts: DocumentCounts;
  readonly #mostLive: () => number;
  readonly #startedAtMs: number = performance.now();
  readonly #purges: number | undefined;
  readonly #resume: string;
  readonly #before: ListedDatabase["before"];
  readonly #turns: Turns;
  /** Whether all documents are listed, and fewer of them live than are counted: then deleted ones are looked at. */
  #lacksLive = false;

  constructor(
    context: Run,
    { database, listing, counts, mostLive, purges, resume, before, turns }: ListedDatabase,
  ) {
    this.#before = before;
    this.#turns = turns;
    this.#context = context;
    this.#database = database;
    this.#listing = listing;
    this.#counts = counts;
    this.#mostLive = mostLive;
    this.#purges = purges;
    this.#resume = resume;
  }

  /**
   * Waits, for some minutes, until the feed announces as many rows as there are documents: until then its copies lag.
   */
  async awaitFirstPage(): Promise<void> {
    const { log, signal, cluster } = this.#context;
    if (this.#counts.hasCopies) await cluster.look({ signal });
    const waits = this.#waits();
    await this.#listing.begin(async (announced) => {
      if (announced === undefined || announced >= this.#counts.expected) return true;
      const waitMs = waits.next();
      if (waitMs === undefined) return true;
      log.warn("changes feed announces too few documents: retrying", {
        announced,
        expected: this.#counts.expected,
        waitMs: Math.round(waitMs),
      });
      await this.#turns.pause(waitMs);
      await this.#counts.look({ signal });
      return false;
    });
  }

  /**
   * Waits until nothing is missing. What was written meanwhile, and what is found to be missing, is stored.
   *
   * @param storeListed Stores what the listing has to give.
   * @throws IncompleteError, with the numbers, when patience has ended; FullNeeded where an increment does not do.
   */
  async await(storeListed: () => Promise<void>): Promise<void> {
    const { log, signal, stop, cluster } = this.#context;
    const waits = this.#waits();
    if (this.#counts.hasCopies) await this.#turns.take();
    let isUnsettled = this.#counts.hasCopies &&
      (await cluster.lookFor(this.#database, { signal }) !== undefined || cluster.wasUnsettledSince(this.#startedAtMs));
    for (let settlings = 0;;) {
      if (isUnsettled) {
        if (++settlings > MOST_SETTLINGS) throw this.#incomplete("nodes of the cluster come and go");
        const lag = await cluster.untilSettled(this.#database, {
          signal: eitherSignal({ signal, stop }),
          pause: (ms) => this.#turns.pause(ms),
          lostMs: () => this.#turns.lostMs,
        });
        if (lag !== undefined) throw this.#incomplete(`${UNSETTLED}: ${lag}`);
        await this.#listAgain(storeListed);
      } else if (this.#isUncounted && this.#listing.recounted === undefined) {
        await this.#listAgain(storeListed);
      }
      const shortfall = await this.#findShortfall();
      isUnsettled = this.#counts.hasCopies && await cluster.lookFor(this.#database, { signal }) !== undefined;
      if (shortfall === undefined && !isUnsettled) {
        if ((this.#before?.known.unseen ?? 0) > 0) throw new FullNeeded(SET_BACK);
        return;
      }
      if (shortfall === undefined) continue;
      if (this.#listing.mayBeMore && this.#listing.recounted === undefined) {
        // The filter may have erred: all is listed and counted once more before anything is said to be missing.
        await this.#listAgain(storeListed);
        continue;
      }
      const waitMs = waits.next();
      // A single copy does not lag: the numbers of the backup before are wrong, and would be for every later increment.
      const isParents = this.#before !== undefined && !this.#counts.hasCopies;
      if (waitMs === undefined) throw isParents ? new FullNeeded(MISCOUNTED) : this.#incomplete(shortfall);
      log.warn("listing is incomplete: listing again", { shortfall, waitMs: Math.round(waitMs) });
      await this.#turns.pause(waitMs);
      await this.#listAgain(storeListed);
    }
  }

  /** Whether what was listed has to be counted once more: a resumed run has seen a part of it alone. */
  get #isUncounted(): boolean {
    return !this.#listing.isCounted || (this.#before?.known.unseen ?? 0) > 0;
  }

  /** Follows the feed from where it ended, then counts all of it; what is new is stored. */
  async #listAgain(storeListed: () => Promise<void>): Promise<void> {
    await this.#turns.take();
    this.#listing.open(this.#listing.until);
    await storeListed();
    const { expected } = this.#counts;
    // The second listing of an increment begins where the first one did, so it is much smaller than the database.
    await this.#turns.take();
    this.#listing.recount(
      this.#before === undefined ? expected : Math.min(expected, 2 * this.#listing.ids + FURTHER_IDS),
      {
        withLive: this.#before === undefined && (this.#hasSingleCopy || this.#looksAtDeleted),
        withDeleted: this.#before === undefined && this.#looksAtDeleted,
      },
    );
    await storeListed();
  }

  /** Why the listing cannot be all; undefined when nothing speaks against it. */
  async #findShortfall(): Promise<string | undefined> {
    const { couch, signal } = this.#context;
    // As it was before the listing's end: documents that were made since need not be listed.
    const { expected } = this.#counts;
    if (this.#counts.isFresh && this.#before === undefined && this.#isAllThere(expected)) {
      this.#counts.noteListed(this.#listing.ids);
      return undefined;
    }
    await this.#turns.take();
    await this.#counts.look({ signal });
    const isPurged = isPurgedSince(this.#purges, this.#counts);
    if (isPurged && this.#before !== undefined) throw new FullNeeded(PURGED);
    if (isPurged && this.#listing.recounted === undefined) return "documents were purged meanwhile: counting again";
    const { ids, allowance } = this.#listing.recounted ?? { ids: this.#listing.ids, allowance: 0 };
    const total = isPurged ? this.#counts.expected : expected;
    if (this.#before !== undefined) {
      const { documents } = this.#before;
      // Each document that was made since the last backup must be a row. Changed ones show in no count.
      if (documents + ids + allowance >= total) return undefined;
      return `${counted(ids, "changed document")} are listed, and ${
        formatCount(total - documents)
      } were made since the last backup`;
    }
    if (ids + allowance < total) {
      return `${formatCount(ids)} of ${counted(total, "document")} are listed, deleted ones too`;
    }
    const most = this.#mostLive();
    if (most >= this.#counts.live) return undefined;
    const { pending = 0 } = await couch.changes(this.#database, { since: this.#listing.until, limit: 0 }, { signal });
    if (most + pending >= this.#counts.live || await this.#isMiscounted(most)) return undefined;
    this.#lacksLive = true;
    const live = counted(this.#counts.live, "live document");
    return `of ${live} that CouchDB counts ${formatCount(most)} ${most === 1 ? "was" : "were"} read`;
  }

  /** Whether CouchDB says so: an early cluster does not say how many copies it has. */
  get #hasSingleCopy(): boolean {
    return this.#counts.info.n === 1;
  }

  /** Whether deleted documents are to be asked for one by one: of several copies one may show as deleted what lives. */
  get #looksAtDeleted(): boolean {
    return this.#lacksLive && this.#counts.hasCopies && this.#counts.info.doc_del_count <= MOST_DELETED;
  }

  /**
   * Whether CouchDB's count of live documents is wrong, and nothing is missing: all that the feed shows to be live when
   * all of it is listed once more has been read. So it is where a purge has taken the winning revision of a document and
   * left a deleted one: CouchDB goes on counting it as live, also after a compaction, and the sum with those that are
   * deleted is right (seen on 3.5.0). Of several copies one may show as deleted what another one has live: there each
   * that is shown so is asked for by its id, which most of the copies answer.
   */
  async #isMiscounted(read: number): Promise<boolean> {
    const { live: shown, deleted } = this.#listing.recounted ?? {};
    if (shown === undefined || read < shown) return false;
    if (!this.#hasSingleCopy && (deleted === undefined || await this.#takeThoseThatLive(deleted))) return false;
    this.#context.log.warn("live documents are counted wrongly by CouchDB", { counted: this.#counts.live, shown });
    this.miscount = `CouchDB counts ${counted(this.#counts.live, "live document")} ` +
      `and shows ${formatCount(shown)}, which are all saved: ` +
      "a purge may leave such a count behind; a replica of the database has the right one";
    return true;
  }

  /** Has those fetched that are not deleted. @returns Whether there are such, or CouchDB does not tell of each. */
  async #takeThoseThatLive(listed: readonly ListedDocument[]): Promise<boolean> {
    const { couch, signal } = this.#context;
    let isUnclear = false;
    for (let from = 0; from < listed.length; from += DELETED_AT_ONCE) {
      await this.#turns.take();
      const some = listed.slice(from, from + DELETED_AT_ONCE);
      const newest = await couch.newestRevisions(this.#database, some.map(({ id }) => id), { signal });
      const others = some.filter(({ id }) => newest.get(id)?.deleted !== true);
      this.#listing.takeAgain(others.filter(({ id }) => newest.has(id)));
      isUnclear ||= others.length > 0;
    }
    return isUnclear;
  }

  /**
   * Whether all is listed and read that a single copy has counted a moment ago: then it need not be asked once more.
   */
  #isAllThere(expected: number): boolean {
    return this.#listing.recounted === undefined && purgesOf(this.#counts.info) === this.#purges &&
      this.#listing.ids >= expected && this.#mostLive() >= this.#counts.live;
  }

  #incomplete(reason: string): IncompleteError {
    return new IncompleteError(`Cannot call the backup of database "${this.#database}" complete: ${reason}`, {
      hint: (this.#counts.hasCopies ? `${UNSETTLED_HINT}. ` : "") +
        `What is stored is kept; ${this.#resume} resumes`,
    });
  }

  /** Waits that grow, until patience ends; whoever waits for its turn loses none of it. */
  #waits(): { next(): number | undefined } {
    const { patienceMs, firstWaitMs } = this.#context.patience ?? COUNT_PATIENCE;
    const nowMs = () => performance.now() - this.#turns.lostMs;
    const endMs = nowMs() + patienceMs;
    let waitMs = firstWaitMs;
    let isFirst = true;
    return {
      next() {
        // The first wait is granted in any case: listing a large database may have used up all the time already.
        if (!isFirst && nowMs() + waitMs > endMs) return undefined;
        isFirst = false;
        const now = waitMs;
        waitMs = Math.min(waitMs * 1.5, 30_000);
        return now;
      },
    };
  }
}
