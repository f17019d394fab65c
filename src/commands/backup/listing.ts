/**
 * Keeps what there is to fetch of a database, and how far that has come. In: the changes feed, and the news that a
 * batch is stored. Out: batches, each to become a chunk, and the position from which a later run can resume: nothing
 * after it has been fetched yet.
 *
 * An id that the feed repeats, because its document was changed meanwhile or a node has come back, is fetched again
 * only when everything asked for before is stored: so a higher chunk holds the later state.
 */
import { stateKey } from "../../archive/seen_states.ts";
import type { ListingState } from "../../archive/manifest.ts";
import { FeedTail, type KnownRows, type ShardRanges } from "../../archive/overlap.ts";
import { IdBatch, type ListedDocument, PackedPages } from "../../couchdb/batch.ts";
import { type FeedPage, listChanges, PAGE_ROWS } from "../../couchdb/changes.ts";
import type { ChangesRow } from "../../couchdb/changes_page.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { IdFilter, type IdHash } from "../../couchdb/id_filter.ts";
import { sortById } from "../../couchdb/id_order.ts";
import { IdQueue } from "../../couchdb/id_queue.ts";
import { PackedRow } from "../../couchdb/packed_row.ts";
import type { Log } from "../../observe.ts";
import { countRows, PagesAhead } from "./pages_ahead.ts";

/**
 * Repeated ids are fetched when there are so many, or when the hashes of so many ids wait for them to be fetched.
 */
const MOST_REPEATED = 5000;
const MOST_UNSETTLED = 50_000;
/**
 * From this expected number of errors on, a filter may have erred: taken a new id for a known one, and counted too few.
 */
const MAYBE_ERRED = 0.01;
/** From this one on, it probably has. */
const PROBABLY_ERRED = 0.5;

/**
 * What ends requests of a listing. There is one for all: making an exception takes time, as it notes where it was made.
 */
const NOT_WANTED = new DOMException("The listing is not wanted any more", "AbortError");

/** A batch to be fetched and stored. */
export interface Work {
  batch: IdBatch;
  /** Counts the batches of a run. */
  index: number;
  /** Its documents may stand in lower chunks as well. */
  again: boolean;
  /** To be called once it is stored. */
  settled(): void;
}

/** Where the listing of an incremental backup begins. */
export interface ListedIncrement {
  /** The position after which rows are new, but for those that are known. */
  since: string;
  known: KnownRows;
  /** The first page after that position, where it has been looked at already. */
  page?: FeedPage | undefined;
  /** Documents that the backup before lacks, and that are fetched whether they have changed or not. */
  lacking: readonly ListedDocument[];
}

/** What a listing begins with. */
export interface ListingOptions {
  log: Log;
  signal: AbortSignal;
  /** Documents in a batch, from now on; undefined: all of them. */
  chunk: (() => number) | undefined;
  /** Whether the feed is to bring the documents of its first page along; of a small database it can. */
  carries?: { revisions: boolean } | undefined;
  /** The most documents between two positions from which a later run can resume. */
  positionsEvery: number | undefined;
  /** How many documents may be put into the order of their ids together, from now on. @default as many as a page has */
  reach?: (() => number) | undefined;
  /** Whether tombstones are taken that nothing of this backup has become. */
  tombstones: boolean;
  /** How many documents the database has, deleted ones too. */
  expected: number;
  /** What the last backup saw of the feed, for one that continues from there; undefined: everything is listed. */
  increment?: ListedIncrement | undefined;
  ranges: ShardRanges;
  /** Whether the end of the feed is kept in {@linkcode Listing.tail}, for a backup that builds on this one. */
  keepsEnd: boolean;
  /** Where to begin; undefined: at the beginning. */
  resumed?: { state: ListingState; filter: IdFilter | undefined } | undefined;
  /** Ids that are known to be unreadable: counted, and not fetched. */
  unreadable: ReadonlySet<string>;
  /** What notes the states that were stored, or need not be; where a later backup is to be compared with this one. */
  seen?: IdFilter | undefined;
  /** Is shown each row. */
  onRow?: ((row: ChangesRow) => void) | undefined;
  /** Is awaited before a page that may be the last one. */
  beforeLastPage: () => Promise<void>;
}

/** Rows up to a position, whose documents are not all stored yet. */
interface Stretch {
  /** How many new ids there are in it. */
  idCount: number;
  position: string | undefined;
  /** How many documents there were to be fetched in all up to its end, but for repeated ones. */
  documents: number;
  /** Whether documents of it were listed before. */
  hasRepeated: boolean;
  /** The last batch that has documents of it; undefined while some of them have no batch yet. */
  lastBatch: number | undefined;
  /** Whether that batch is the last: only there can a later run resume without reading documents twice. */
  isAligned: boolean;
}

/** One database's listing. Use it again and again until `ended`: `batches()`, then `repeated()`. */
export class Listing {
  /** How many different ids have been listed, deleted ones and those taken over from an earlier run too. */
  ids = 0;
  /** After everything that has been listed. */
  until: string;
  /**
   * How many different ids the last {@linkcode Listing.recount} has found, how many of them live, or live at least
   * once while it was under way, and what it shows as deleted, where these were asked for; undefined where there was
   * none. Of a database of many millions the filter may have taken so many more for known ones.
   */
  recounted: {
    ids: number;
    live: number | undefined;
    deleted: readonly ListedDocument[] | undefined;
    allowance: number;
  } | undefined;
  /** The end of the feed, where it is kept. */
  readonly tail: FeedTail;
  /** Whether CouchDB says how many rows follow. */
  hasPending = true;

  /** Where everything begins that is to be listed. */
  readonly #since: string;
  readonly #couch: CouchClient;
  readonly #database: string;
  readonly #options: ListingOptions;
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;
  /** The ids of settled pages; of all pages where {@linkcode Listing.#awaitsOneBatch}. */
  readonly #filter: IdFilter;
  /** Whether ids of an earlier run's chunks may be unknown: then every chunk may repeat them. */
  readonly #isForgetful: boolean;
  /** The ids of pages that are not settled, as they came. */
  readonly #unsettled = new IdQueue();
  /**
   * Whether one batch is to hold all of a database and is not stored yet: until then nothing is settled, and the filter
   * serves. Hashes of all ids would take more memory.
   */
  #awaitsOneBatch: boolean;
  /** While one batch is awaited: the ids of what was settled before, by an earlier run or by the batch before. */
  #settledBefore: IdFilter | undefined;
  readonly #stretches: Stretch[] = [];
  /** How many documents there were to be fetched so far, and how many of them have a batch; repeated ones apart. */
  #documents = 0;
  #batched = 0;
  readonly #repeated = new Map<string, ListedDocument>();
  #waiting: ListedDocument[] = [];
  #feed: AsyncGenerator<FeedPage> | undefined;
  /** The ids of a second listing, while it is under way. */
  #recount: { all: IdFilter; live: IdFilter | undefined; deleted: ListedDocument[] | undefined } | undefined;
  /** A page that has been looked at and not been used yet. */
  #held: FeedPage | undefined;
  readonly #ahead: PagesAhead;
  /** Pages that have come and are not taken yet: what is left of those before them goes first. */
  #inHand: readonly FeedPage[] = [];
  #nextBatch = 0;
  #stored = new Set<number>();
  #storedThrough = -1;
  #lastSettledBatch = -1;
  #settledIds = 0;
  #position: string;
  /** How many callers of `hold` have not ended it. */
  #holds = 0;

  constructor(couch: CouchClient, database: string, options: ListingOptions) {
    this.#couch = couch;
    this.#database = database;
    this.#options = options;
    const { resumed, expected, increment, ranges } = options;
    this.#filter = resumed?.filter ?? IdFilter.forIds(expected);
    this.#ahead = new PagesAhead({
      next: () => this.#nextPage(),
      hasNext: () => this.#feed !== undefined,
      chunk: options.chunk,
      reach: options.reach ?? (() => 0),
      untaken: () => this.#waiting.length + countRows(this.#inHand),
    });
    this.#isForgetful = resumed !== undefined && resumed.filter === undefined;
    this.ids = this.#settledIds = resumed?.state.ids ?? 0;
    this.#awaitsOneBatch = options.chunk === undefined;
    if (this.#awaitsOneBatch && this.#settledIds > 0) this.#settledBefore = resumed?.filter?.copy();
    this.#signal = AbortSignal.any([this.#ending.signal, options.signal]);
    this.#since = increment?.since ?? "0";
    this.#position = this.until = resumed?.state.position ?? this.#since;
    this.tail = new FeedTail({ ranges, since: this.until, isWhole: this.until === this.#since });
    if (increment !== undefined) this.#takeLacking(increment.lacking);
    const page = resumed === undefined ? increment?.page : undefined;
    this.#held = page;
    if (page === undefined || page.pending !== 0) this.open(page?.position ?? this.until);
  }

  /** Whether the feed is at its end, and nothing is left to be fetched. */
  get ended(): boolean {
    const isListed = !this.#hasPages && this.#inHand.length === 0;
    return isListed && this.#waiting.length === 0 && this.#repeated.size === 0;
  }

  /**
   * Whether the number of ids can be relied on. It cannot if a filter was lost, as some may then be counted twice, or
   * if the filter had to take many more ids than expected, as then too few are counted.
   */
  get isCounted(): boolean {
    return !this.#isForgetful && this.#filter.expectedErrors < PROBABLY_ERRED;
  }

  /** Whether there may be more ids than are counted: a database of half a million has a filter that may have erred. */
  get mayBeMore(): boolean {
    return this.#filter.expectedErrors >= MAYBE_ERRED;
  }

  /** The last batch whose chunk belongs to `position`, and what a later run needs to continue after it. */
  get settled(): {
    position: string;
    ids: number;
    /** Not a copy; undefined where it lacks ids of an earlier run, which a later one must know. */
    filter: () => IdFilter | undefined;
    throughBatch: number;
    seen: IdFilter | undefined;
  } {
    return {
      seen: this.#options.seen,
      position: this.#position,
      ids: this.#settledIds,
      filter: () => {
        if (this.#isForgetful) return undefined;
        return this.#awaitsOneBatch ? this.#settledBefore ?? this.#filter.emptyLike() : this.#filter;
      },
      throughBatch: this.#lastSettledBatch,
    };
  }

  /** Keeps `settled` as it is, its filter too, while it is being stored. @returns What ends that. */
  hold(): () => void {
    this.#holds++;
    return () => {
      this.#holds--;
      this.#settle();
    };
  }

  /** Lists from a position on. */
  open(since: string): void {
    const { log, beforeLastPage, carries } = this.#options;
    // A run that is resumed reads again what lies between two positions: so each chunk should end at one.
    const positionsEvery = Math.min(this.#options.positionsEvery ?? PAGE_ROWS, PAGE_ROWS);
    this.#feed = listChanges(this.#couch, this.#database, {
      since,
      positionsEvery,
      // CouchDB counts the rows between positions from the page's end: with one row less, each stands after a whole
      // chunk.
      pageRows: Math.floor(PAGE_ROWS / positionsEvery) * positionsEvery - 1 || 1,
      log,
      signal: this.#signal,
      carries: this.#recount === undefined ? carries : undefined,
      beforePage: async (pending) => {
        if (pending === undefined || pending <= PAGE_ROWS) await beforeLastPage();
      },
    });
  }

  /**
   * Looks at the first page. Where it is not accepted, as it shows less than there is, it is asked for again.
   *
   * @param accept Takes the number of rows that the page has and announces; undefined where CouchDB announces none. May
   * wait.
   */
  async begin(accept: (announced: number | undefined) => Promise<boolean>): Promise<void> {
    for (;;) {
      const { value: page, done } = await this.#feed!.next();
      if (done === true) return;
      this.#held = page;
      if (await accept(page.pending === undefined ? undefined : page.rows.length + page.pending)) return;
      this.#feed!.return(undefined).catch(() => {});
      this.open(this.#position);
    }
  }

  /** Ends what is under way. */
  close(): void {
    this.#ending.abort(NOT_WANTED);
    // A generator that waits within next() answers only after it.
    this.#feed?.return(undefined).catch(() => {});
    this.#feed = undefined;
    this.#ahead.close();
  }

  /** The batches of ids that are new, as far as they can be listed before repeated ones have to be fetched. */
  async *batches(signal: AbortSignal): AsyncGenerator<Work> {
    const { chunk } = this.#options;
    const packed = new PackedPages();
    while (this.#hasPages && !this.#mustFetchRepeated()) {
      const pages = await this.#nextPages(signal);
      if (pages.length === 0) break;
      const isSorted = pages.length > 1 && (chunk === undefined || countRows(pages) >= chunk() / 2);
      // A single page is kept as it is: it takes little, and its rows may have brought their documents along.
      if (chunk === undefined) packed.add(this.#waiting.splice(0));
      else if (isSorted) yield* this.#cutAll(chunk);
      if (isSorted) this.#takeTogether(pages);
      else for (const page of pages) this.#take(page);
      this.#inHand = [];
      if (chunk !== undefined) yield* isSorted ? this.#cutAll(chunk) : this.#cut(chunk);
      this.#assign();
    }
    if (packed.count > 0) {
      packed.add(this.#waiting.splice(0));
      yield this.#work(IdBatch.packed(packed));
    }
    if (chunk !== undefined) yield* this.#cut(chunk);
    if (this.#waiting.length > 0) yield this.#work(IdBatch.of(this.#waiting.splice(0)));
    this.#assign();
  }

  get #hasPages(): boolean {
    return this.#feed !== undefined || this.#held !== undefined || this.#ahead.hasPages;
  }

  /** The pages that are to be taken together; none at the end. */
  async #nextPages(signal: AbortSignal): Promise<readonly FeedPage[]> {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) return this.#inHand = [held];
    // What a second listing has counted is known when its last page has come.
    return this.#inHand = await this.#ahead.take({ signal, isSingle: this.#recount !== undefined });
  }

  async #nextPage(): Promise<FeedPage | undefined> {
    const { value, done } = await this.#feed!.next();
    if (done !== true) return value;
    this.#feed = undefined;
    if (this.#recount === undefined) return;
    const { all: { ids, expectedErrors }, live, deleted } = this.#recount;
    this.recounted = {
      ids,
      live: live?.ids,
      deleted,
      allowance: expectedErrors < MAYBE_ERRED ? 0 : expectedErrors + 6 * Math.sqrt(expectedErrors),
    };
    this.#recount = undefined;
  }

  /** What waits, in batches of `chunk` or, to end them at a position, somewhat fewer; what is left waits on. */
  *#cut(size: () => number): Generator<Work> {
    for (let chunk = size(); this.#waiting.length >= chunk; chunk = size()) {
      const batched = this.#batched;
      const atPosition = this.#stretches.findLast(({ documents }) => documents <= batched + chunk)?.documents ?? 0;
      yield this.#workOf(atPosition - batched >= chunk / 2 ? atPosition - batched : chunk);
    }
  }

  /** All that waits, in batches of `size` or somewhat fewer. */
  *#cutAll(size: () => number): Generator<Work> {
    for (let left = this.#waiting.length; left > 0; left = this.#waiting.length) {
      yield this.#workOf(Math.ceil(left / Math.ceil(left / size())));
    }
  }

  /** The first of what waits, which makes room for what is to come. */
  #workOf(count: number): Work {
    const documents = this.#waiting.splice(0, count);
    this.#ahead.noteRoom();
    return this.#work(IdBatch.of(documents));
  }

  /** The batches of ids that were listed again. Everything from `batches()` must be stored. */
  async *repeated(): AsyncGenerator<Work> {
    const documents = [...this.#repeated.values()];
    this.#repeated.clear();
    for (const stretch of this.#stretches) stretch.hasRepeated = false;
    const size = this.#options.chunk?.() ?? MOST_REPEATED;
    for (let from = 0; from < documents.length; from += size) {
      yield this.#work(IdBatch.of(documents.slice(from, from + size)), { isRepeated: true });
    }
    this.#assign();
  }

  /** Notes what a batch that is stored has listed. What was changed between the two is listed again. */
  noteStored({ batch }: Work): void {
    const { seen } = this.#options;
    if (seen === undefined) return;
    for (const page of batch.pages()) for (const row of page) seen.add(stateKey(row));
  }

  /**
   * Lists everything once more from the beginning, to count it. Ids that are not known yet are new, all others pass.
   *
   * @param options.withLive Whether those that live are to be counted, too, by a filter of their own.
   * @param options.withDeleted Whether those that are deleted are to be kept: some 100 bytes each.
   */
  recount(
    expected: number,
    { withLive = false, withDeleted = false }: { withLive?: boolean; withDeleted?: boolean } = {},
  ): void {
    const all = IdFilter.forIds(expected);
    this.#recount = { all, live: withLive ? all.emptyLike() : undefined, deleted: withDeleted ? [] : undefined };
    this.open(this.#since);
  }

  /** Has documents fetched that were passed over as deleted, and are not. */
  takeAgain(documents: readonly ListedDocument[]): void {
    this.#takeLacking(documents);
  }

  #mustFetchRepeated(): boolean {
    if (this.#repeated.size === 0) return false;
    return this.#repeated.size >= MOST_REPEATED || this.#unsettled.size >= MOST_UNSETTLED;
  }

  /** The hash of a row's id; valid until the next one. */
  #hash(row: ChangesRow): IdHash {
    if (row instanceof PackedRow) return this.#filter.hashAscii(row.bytes, row.from, row.middle);
    return this.#filter.hash(row.id);
  }

  #knows(hash: IdHash): boolean {
    return this.#unsettled.has(hash) || this.#filter.mayHaveHash(hash);
  }

  /** Notes an id of rows that are not settled. */
  #note(stretch: Stretch, hash: IdHash): void {
    stretch.idCount++;
    if (this.#awaitsOneBatch) this.#filter.addHash(hash);
    else this.#unsettled.push(hash);
  }

  #take({ rows, position, pending }: FeedPage): void {
    const { tombstones, unreadable, increment, keepsEnd, seen, onRow } = this.#options;
    if (this.#recount === undefined && keepsEnd) this.tail.add(rows, position);
    // An answer without a limit says only in its last piece how many rows follow.
    if (position !== undefined) this.hasPending = pending !== undefined;
    let stretch = this.#beginStretch();
    // In nearly every database all documents can be read: then ids need not be decoded.
    const isUnreadable = (row: ChangesRow) => unreadable.size > 0 && unreadable.has(row.id);
    for (const row of rows) {
      onRow?.(row);
      // The backup before has this very state.
      const isOld = increment !== undefined && increment.known.look(row) === "known";
      if (!isOld) this.#recount?.all.add(row.id);
      if (!isOld && !row.deleted) this.#recount?.live?.add(row.id);
      if (row.deleted) this.#recount?.deleted?.push({ id: row.id, revs: row.revs });
      const hash = this.#hash(row);
      if (isOld) {
        // Only its position counts.
      } else if (!this.#knows(hash)) {
        this.ids++;
        this.#note(stretch, hash);
        // No chunk holds the document that became this tombstone, so without it nothing comes back to life.
        const isPassedOver = row.deleted && !tombstones && !this.#isForgetful && increment === undefined;
        if (!isPassedOver && !isUnreadable(row)) {
          this.#waiting.push(row);
          this.#documents++;
        } else seen?.add(stateKey(row));
      } else if (this.#recount === undefined && !isUnreadable(row)) {
        const { id, revs } = row;
        // Not the row itself, which would keep all that lies beside it in memory.
        this.#repeated.set(id, { id, revs });
        stretch.hasRepeated = true;
      }
      // Positions of a second listing do not count: documents before them need not have been fetched.
      if (row.position === undefined || this.#recount !== undefined) continue;
      [stretch.position, stretch.documents] = [row.position, this.#documents];
      stretch = this.#beginStretch();
    }
    stretch.documents = this.#documents;
    if (this.#recount !== undefined) return;
    stretch.position = position;
    this.until = position ?? rows.findLast((row) => row.position !== undefined)?.position ?? this.until;
  }

  /** Takes pages whose documents are then sorted by id: so there is a position only after all of them. */
  #takeTogether(pages: readonly FeedPage[]): void {
    const first = this.#stretches.length;
    for (const page of pages) this.#take(page);
    sortById(this.#waiting);
    const stretches = this.#stretches.splice(first);
    this.#stretches.push({
      ...stretches.at(-1)!,
      idCount: stretches.reduce((sum, { idCount }) => sum + idCount, 0),
      position: stretches.findLast(({ position }) => position !== undefined)?.position,
      hasRepeated: stretches.some(({ hasRepeated }) => hasRepeated),
    });
  }

  /** What is fetched whatever the feed says. A resumed run may have it already. */
  #takeLacking(documents: readonly ListedDocument[]): void {
    const stretch = this.#beginStretch();
    for (const document of documents) {
      const hash = this.#filter.hash(document.id);
      if (this.#knows(hash)) this.#repeated.set(document.id, document);
      else {
        this.#note(stretch, hash);
        this.#waiting.push(document);
        this.#documents++;
      }
    }
    stretch.documents = this.#documents;
  }

  #beginStretch(): Stretch {
    const stretch: Stretch = {
      idCount: 0,
      position: undefined,
      documents: Infinity,
      hasRepeated: false,
      lastBatch: undefined,
      isAligned: false,
    };
    this.#stretches.push(stretch);
    return stretch;
  }

  #work(batch: IdBatch, { isRepeated = false } = {}): Work {
    const index = this.#nextBatch++;
    if (!isRepeated) {
      this.#batched += batch.count;
      this.#assign(index);
    }
    return {
      batch,
      index,
      again: isRepeated || this.#isForgetful,
      settled: () => {
        this.#stored.add(index);
        while (this.#stored.delete(this.#storedThrough + 1)) this.#storedThrough++;
        this.#settle();
      },
    };
  }

  /** Finds out which stretches have no document left without a batch. */
  #assign(lastBatch = this.#nextBatch - 1): void {
    for (const stretch of this.#stretches) {
      if (stretch.hasRepeated || stretch.documents > this.#batched) break;
      if (stretch.lastBatch !== undefined) continue;
      stretch.lastBatch = lastBatch;
      stretch.isAligned = stretch.documents === this.#batched;
    }
    this.#settle();
  }

  #settle(): void {
    if (this.#holds > 0) return;
    let settled = 0;
    for (const [index, { lastBatch, isAligned }] of this.#stretches.entries()) {
      if (lastBatch === undefined || lastBatch > this.#storedThrough) break;
      if (isAligned) settled = index + 1;
    }
    // The filter has the ids of all stretches, and cannot tell which id is of which. Where no batch is stored yet, the
    // first pages may have had nothing but tombstones, and the batch is still to come.
    if (this.#awaitsOneBatch && (settled < this.#stretches.length || this.#storedThrough < 0)) return;
    for (const { idCount, position, lastBatch } of this.#stretches.splice(0, settled)) {
      for (let index = 0; !this.#awaitsOneBatch && index < idCount; index++) {
        this.#filter.addHash(this.#unsettled.shift());
      }
      this.#settledIds += idCount;
      this.#position = position ?? this.#position;
      this.#lastSettledBatch = lastBatch!;
    }
    if (!this.#awaitsOneBatch) return;
    // Where more ids were repeated than can be kept, a batch ends before the feed does, and another one is awaited.
    this.#awaitsOneBatch = this.#hasPages;
    if (!this.#awaitsOneBatch) this.#settledBefore = undefined;
    else if (settled > 0) this.#settledBefore = this.#filter.copy();
  }
}
