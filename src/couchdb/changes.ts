/**
 * Lists a database by its changes feed. In: a position. Out: pages of rows, each with the position after it, up to the
 * first page that says that nothing follows. `_all_docs` reads one copy of each shard range and gives no position to
 * continue from. A page cannot be asked for twice: the order is partial, and another page would come.
 */
import { Buffer } from "node:buffer";
import { CouchError, isTransient } from "../errors.ts";
import { DocumentScanner, Found, FramingError, type JsonShape } from "../json/scan.ts";
import type { Log } from "../observe.ts";
import { isTooLong, strangeAnswer } from "./answers.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { type ChangesPage, type ChangesRow, positionText, readChangesRow, readPending } from "./changes_page.ts";

/** Rows in a page: some 600 KB of JSON. Larger pages cost CouchDB no less, and a proxy's patience more. */
export const PAGE_ROWS = 5000;
/** A page that fails is requested again with fewer rows, but not fewer than this unless these are too long. */
const LEAST_PAGE_ROWS = 50;
/** Rows of one leaf revision have some 110 bytes. A page of as few is taken at once, if the one before it was as short. */
const SHORT_ROW_BYTES = 256;
/** A writer without end: so many pages in a row have not lowered what is pending by half of their rows. */
const PAGES_WITHOUT_HEADWAY = 10;
/** The rows of one answer without a limit are handed on in pieces of this size. */
const STREAM_PAGE_ROWS = 5000;
/** How often in a row an answer without a limit is asked for that brings nothing. */
const STREAM_ATTEMPTS = 7;
/** How often in all it is started again from where it broke: each time it goes up to a later state. */
const MOST_STREAMS = 100;

const FEED_SHAPE: JsonShape = { array: "results", element: "document" };

/** What a listing needs. */
export interface FeedOptions extends CallOptions {
  log: Log;
  /** @default {@linkcode PAGE_ROWS} */
  pageRows?: number | undefined;
  /** Of so many rows one has its position. @default only the last of a page */
  positionsEvery?: number | undefined;
  /**
   * Whether the first page is to bring its documents along, where the database is small enough for that, and whether
   * with their histories. @default none
   */
  carries?: { revisions: boolean } | undefined;
  /** Is awaited before each page but the first: `pending` is what the page before said. */
  beforePage?: ((pending: number | undefined) => Promise<void>) | undefined;
}

/** A page, or a piece of one answer without a limit. */
export interface FeedPage {
  rows: ChangesRow[];
  /** The position after these rows; undefined within an answer without a limit. */
  position: string | undefined;
  pending: number | undefined;
}

/**
 * The rows after `since`, page by page, to the end of the feed: the first page with nothing pending, or where CouchDB
 * does not say what is pending, the first empty one. The next page is asked for while the caller is busy with the last
 * one.
 *
 * @throws CouchError when CouchDB refuses, or fails for longer than the retry policy's patience.
 */
export async function* listChanges(
  client: CouchClient,
  database: string,
  { since, ...options }: FeedOptions & { since: string },
): AsyncGenerator<FeedPage> {
  const { log, beforePage } = options;
  const pages = new PageRequests(client, database, options);
  const headway = new Headway();
  let coming: Promise<ChangesPage> | undefined = pages.askFirst(since);
  let position = since;
  while (coming !== undefined) {
    const page: ChangesPage = await coming;
    const isEnd = page.pending === undefined ? page.rows.length === 0 : page.pending === 0;
    // Where nobody says how much follows, only the position tells that it goes on at all.
    if (!isEnd && page.pending === undefined && page.last_seq === position) {
      const action = `list the documents of database "${database}"`;
      throw strangeAnswer({ action, database }, `goes on from position "${position}" to the same position`);
    }
    position = page.last_seq;
    const isHopeless = !isEnd && headway.isLost(page);
    const next = isEnd || isHopeless ? undefined : (async () => {
      await beforePage?.(page.pending);
      return await pages.ask(position);
    })();
    // A page that fails while the caller is busy is reported when it is asked for, not as an unhandled rejection.
    next?.catch(() => {});
    coming = next;
    yield { rows: page.rows, position, pending: page.pending };
    if (isHopeless) {
      log.info("documents are written faster than they can be listed: the rest is listed in one answer", {
        pending: page.pending,
      });
      await beforePage?.(page.pending);
      yield* streamChanges(client, database, { since: position, ...options });
    }
  }
}

/** Asks for pages: at once or piece by piece, and for smaller ones from the second failure on. */
class PageRequests {
  readonly #client: CouchClient;
  readonly #database: string;
  readonly #options: FeedOptions;
  #limit: number;
  /** Whether the last page was so short that the next one is taken at once. */
  #isShort = false;
  /** Whether to take one at once has failed. */
  #hasFailed = false;

  constructor(client: CouchClient, database: string, options: FeedOptions) {
    this.#client = client;
    this.#database = database;
    this.#options = options;
    this.#limit = options.pageRows ?? PAGE_ROWS;
  }

  /** The first page, with documents where it is to have some. Should that fail, any page tells why better. */
  async askFirst(since: string): Promise<ChangesPage> {
    const { signal, carries } = this.#options;
    if (carries === undefined) return await this.ask(since);
    // Of so few rows the position after the last one is enough.
    const page = { since, limit: this.#limit, positionsEvery: this.#limit + 1 };
    try {
      return await this.#client.changesWithDocuments(this.#database, page, { signal, ...carries });
    } catch (error) {
      // An address from which a login is refused too often is locked out.
      if (!(error instanceof CouchError) || error.facts.status === 401) throw error;
      // Who asks for a pause gets one, and counts as one who has refused.
      if (asksForPause(error)) await this.#client.waitAfterFailure(error, 2, { signal });
      return await this.ask(since);
    }
  }

  async ask(since: string): Promise<ChangesPage> {
    const page = (this.#isShort ? await this.#askAtOnce(since) : undefined) ?? await this.#askByPieces(since);
    this.#isShort = !this.#hasFailed && page.bytes !== undefined && page.bytes <= this.#limit * SHORT_ROW_BYTES;
    return page;
  }

  /** The page by one call; undefined where that fails: by pieces more can be told, and much is held back. */
  async #askAtOnce(since: string): Promise<ChangesPage | undefined> {
    const { signal, log, positionsEvery } = this.#options;
    try {
      const page = { since, limit: this.#limit, positionsEvery };
      return await this.#client.changes(this.#database, page, { signal, attempts: 1, isShort: true });
    } catch (error) {
      if (!(error instanceof CouchError) || (!isTooLong(error) && !isTransient(error))) throw error;
      this.#hasFailed = true;
      log.debug("pages are read piece by piece from now on", { error: this.#client.tell(error) });
      if (!isTooLong(error)) await this.#client.waitAfterFailure(error, 2, { signal });
      return undefined;
    }
  }

  async #askByPieces(since: string): Promise<ChangesPage> {
    const { signal, log, positionsEvery } = this.#options;
    for (;;) {
      // Where no smaller page is left to be tried, patience is.
      const isSmallest = this.#limit <= LEAST_PAGE_ROWS;
      try {
        return await this.#client.changes(this.#database, { since, limit: this.#limit, positionsEvery }, {
          signal,
          attempts: isSmallest ? undefined : 2,
        });
      } catch (error) {
        const isLong = isTooLong(error) && this.#limit > 1;
        if (!(error instanceof CouchError) || (!isLong && (isSmallest || !isTransient(error)))) throw error;
        // Who is away, or asks for a pause, is not helped by small pages, of which each costs a request from then on.
        if (error.facts.error === "unreachable" || asksForPause(error)) {
          return await this.#client.changes(this.#database, { since, limit: this.#limit, positionsEvery }, { signal });
        }
        this.#limit = isLong ? quarterOf(this.#limit) : Math.max(LEAST_PAGE_ROWS, quarterOf(this.#limit));
        log.warn("page is requested again with fewer rows", { limit: this.#limit, error: this.#client.tell(error) });
      }
    }
  }
}

function asksForPause({ facts: { status = 0 } }: CouchError): boolean {
  return status === 429 || status === 503;
}

/**
 * A single page of the feed; of fewer rows than were asked for where all of them are more than is read at once: ids may
 * have thousands of characters, and documents hundreds of conflicts.
 */
export async function readPage(
  client: CouchClient,
  database: string,
  page: Parameters<CouchClient["changes"]>[1],
  options: CallOptions,
): Promise<ChangesPage> {
  for (let { limit } = page;; limit = quarterOf(limit)) {
    try {
      return await client.changes(database, { ...page, limit }, options);
    } catch (error) {
      if (!isTooLong(error) || limit <= 1) throw error;
    }
  }
}

function quarterOf(rows: number): number {
  return Math.max(1, Math.floor(rows / 4));
}

/** Whether listing page by page comes to an end at all. */
class Headway {
  #lastPending: number | undefined;
  #pagesWithout = 0;

  isLost({ rows, pending }: ChangesPage): boolean {
    const before = this.#lastPending;
    this.#lastPending = pending;
    if (pending === undefined || before === undefined) return false;
    this.#pagesWithout = before - pending >= Math.max(rows.length / 2, 1) ? 0 : this.#pagesWithout + 1;
    return this.#pagesWithout >= PAGES_WITHOUT_HEADWAY;
  }
}

/**
 * One answer without a limit, up to the state at its beginning. Where it breaks, it continues from the last position.
 */
async function* streamChanges(
  client: CouchClient,
  database: string,
  { since, signal, positionsEvery }: FeedOptions & { since: string },
): AsyncGenerator<FeedPage> {
  let position = since;
  for (let attempt = 1, streams = 1;; attempt++, streams++) {
    const begunAt = position;
    try {
      const answer = await client.changesStream(database, { since: position, positionsEvery }, { signal });
      for await (const page of readStream(answer, database)) {
        position = page.position ?? page.rows.findLast((row) => row.position !== undefined)?.position ?? position;
        yield page;
      }
      return;
    } catch (error) {
      const failure = error instanceof FramingError
        ? new CouchError(
          `Cannot list the documents of database "${database}": the changes feed is broken (${error.message})`,
          { error: "cut_off", reason: error.message, database },
        )
        : error;
      if (position !== begunAt) attempt = 1;
      const isLast = attempt >= STREAM_ATTEMPTS || streams >= MOST_STREAMS;
      if (isLast || !(failure instanceof CouchError) || !isTransient(failure)) throw failure;
      await client.waitAfterFailure(failure, attempt + 1, { signal });
    }
  }
}

/** Reads `{"results":[…],"last_seq":…,"pending":…}` as it arrives. */
async function* readStream(bytes: AsyncIterable<Uint8Array>, database: string): AsyncGenerator<FeedPage> {
  const scanner = new DocumentScanner(FEED_SHAPE);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rows: ChangesRow[] = [];
  let begun: Uint8Array[] = [];
  let tail: Uint8Array[] = [];
  for await (const piece of bytes) {
    scanner.push(piece);
    let from = begun.length > 0 ? 0 : -1;
    let rest = 0;
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      if (found === Found.DocumentStart) from = scanner.position;
      if (found !== Found.DocumentEnd) continue;
      begun.push(piece.subarray(from, scanner.position));
      const row = parseText(decoder, begun.length === 1 ? begun[0]! : Buffer.concat(begun));
      [begun, tail, from, rest] = [[], [], -1, scanner.position];
      rows.push(readChangesRow(row, database));
      if (rows.length < STREAM_PAGE_ROWS) continue;
      yield { rows, position: undefined, pending: undefined };
      rows = [];
    }
    if (from >= 0) begun.push(piece.slice(from));
    else tail.push(piece.slice(rest));
  }
  scanner.finish();
  // After the last row: "],"last_seq":…}".
  const end = Buffer.concat(tail);
  const members = parseText(decoder, end.subarray(end.indexOf("]") + 1), (text) => text.replace(/^\s*,?/, "{"));
  const { last_seq, pending } = members as Record<string, unknown>;
  if (last_seq === undefined || last_seq === null) throw new FramingError("it has no last_seq", 0);
  yield { rows, position: positionText(last_seq), pending: readPending(pending, database) };
}

/** @throws FramingError when the bytes are no JSON: the frame around them says nothing of what is in them. */
function parseText(decoder: TextDecoder, bytes: Uint8Array, mend: (text: string) => string = (text) => text): unknown {
  try {
    return JSON.parse(mend(decoder.decode(bytes)));
  } catch {
    throw new FramingError("it is not whole JSON", 0);
  }
}
