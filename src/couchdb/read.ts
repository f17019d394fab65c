/**
 * Reads the documents of one batch. In: ids. Out: the JSON of one chunk, `{"results":[…]}`, made of the raw rows that
 * CouchDB sent. Failures are handled here: rows with errors are asked for again, in the end one by one; a request that
 * keeps failing is split in half, and both halves end up in the same chunk. A document that cannot be read at all is
 * left out and named. Memory holds no more than one row, and a row larger than a megabyte (an attachment) is passed on
 * while it arrives: where its rest does not come, the chunk begins anew.
 */
import type { UnreadableDocument } from "./couchdb.ts";
import { CouchError, isTransient } from "../errors.ts";
import type { Log } from "../observe.ts";
import { IdBatch, type ListedDocument } from "./batch.ts";
import { BulkGet, type ChunkRoom, Overflow, type ReadOptions } from "./bulk_get.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { type BatchCounts, ChunkText, emptyCounts } from "./row.ts";
import { type Suspect, Suspects } from "./suspects.ts";

/** How often a single document is asked for once another one has used up all patience. */
const LONE_ATTEMPTS = 3;
/**
 * After so many documents in a row that lack a revision for good each further one is asked for once: whoever purges
 * conflicts may take thousands, and a node that lags has had a minute by then.
 */
const MOST_PATIENT_FOR_REVISIONS = 25;
/** This many unreadable documents in a row are taken for a failure of CouchDB, not of the documents. */
const MOST_UNREADABLE_IN_A_ROW = 25;
/** Where more rows than this were errors, they are asked for again many at a time before each is asked for alone. */
const FEW_SUSPECTS = 50;
/** How many are asked for at a time; of those that fail again a quarter, until that is fewer than `LEAST_AT_ONCE`. */
const SUSPECTS_AT_ONCE = 512;
const LEAST_AT_ONCE = 8;
/** How often a chunk is started again for a large row that lacks a revision; then it is taken as it is. */
const RESTARTS_FOR_REVISIONS = 2;
/** Of a chunk that is bounded by bytes so many documents are asked for at once: more cost CouchDB more for each. */
const REQUEST_DOCUMENTS = 1000;
/**
 * So often a chunk is begun again because a document that was passed on has outgrown it; then it is as large as it is.
 */
const RESTARTS_FOR_ROOM = 3;

/** How often in a row a chunk is begun again, the first time included, without a document's being left out. */
const MOST_TIMES = 8;

/**
 * What was yielded so far is of no use: an answer broke within a row that had been passed on in part. Reading again
 * begins at the first byte, with smaller requests, or without the row's document.
 */
export class RestartNeeded extends Error {
  override readonly cause: CouchError;
  /** Whether a document was left out because of which reading again would have broken again. */
  readonly leavesOut: boolean;

  constructor(cause: CouchError, { leavesOut = false }: { leavesOut?: boolean } = {}) {
    super(cause.message, { cause });
    this.name = "RestartNeeded";
    this.cause = cause;
    this.leavesOut = leavesOut;
  }
}

/**
 * What was yielded so far is of no use: a large document has to wait for the next chunk. Reading again leaves it out.
 */
export class RoomNeeded extends Error {
  constructor() {
    super("A document that was passed on while it arrived is too large for what is left of its chunk");
    this.name = "RoomNeeded";
  }
}

/** What readers of one database have met: whether it is documents that cannot be read, or CouchDB that cannot. */
export interface ReadingHealth {
  /** Documents that could not be read since one could. */
  unreadableInARow: number;
  /** Whether one has used up all patience. */
  knowsUnreadable: boolean;
  /** Documents that lacked a revision for good since one turned out not to. @default none */
  lackingInARow?: number | undefined;
}

/** One reading of the batch: the chunk that rows go into, and what every request of it is made with. */
interface Reading {
  output: ChunkText;
  call: CallOptions;
  room: ChunkRoom | undefined;
  /** What the chunk has no room for. */
  left: IdBatch[];
}

/** A part of the batch, and for which time it is asked for. */
interface Asked {
  batch: IdBatch;
  attempt: number;
}

/** What {@linkcode BatchReader.readThrough} takes. */
export interface ReadThroughOptions extends CallOptions {
  /** Is awaited before the documents are asked for again from the first one on. */
  beforeAgain?: (() => Promise<void>) | undefined;
  /** What a log may say of a failure. @default as the client says it */
  describe?: ((error: CouchError) => string) | undefined;
}

/** Reads one batch; `read()` may be called again after it has failed, and then asks for less at once: `readThrough()` does. */
export class BatchReader {
  /** What the last `read()` has yielded. */
  counts: BatchCounts = emptyCounts();
  /** The documents that the last `read()` has left out because CouchDB cannot read them. */
  unreadable: UnreadableDocument[] = [];
  /** What the last `read()` had no room for; undefined where it has yielded all of the batch. */
  rest: IdBatch | undefined;

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #options: ReadOptions;
  readonly #log: Log;
  /** The batch, in as many requests as it is read with from its first byte on. */
  #plan: readonly IdBatch[];
  #restartsForRevisions = 0;
  #restartsForRoom = 0;
  readonly #mostBytes: number | undefined;
  /** How many documents fill the chunk, as an earlier attempt has shown. */
  #mostDocuments: number | undefined;
  readonly #health: ReadingHealth;
  /** What has been left out for good: it is not asked for again. So many of it are out of the plan. */
  readonly #leftOut: UnreadableDocument[] = [];
  #outOfPlan = 0;

  constructor(
    client: CouchClient,
    database: string,
    batch: IdBatch,
    options: ReadOptions & { log: Log; health?: ReadingHealth; mostBytes?: number | undefined },
  ) {
    this.#client = client;
    this.#database = database;
    // What a chunk has no room for is then hardly asked for.
    this.#plan = options.mostBytes === undefined ? [batch] : batch.inParts(REQUEST_DOCUMENTS);
    this.#options = options;
    this.#log = options.log;
    this.#mostBytes = options.mostBytes;
    this.#health = options.health ?? { unreadableInARow: 0, knowsUnreadable: false };
  }

  /**
   * Reads the batch as often as it takes. Each time `use` gets the chunk's JSON from its first byte on; where it has to
   * throw that away, the pieces throw, and `use` has to throw the same.
   *
   * @returns What `use` has made of it in the end.
   * @throws CouchError as `read()` does; what `use` throws.
   */
  async readThrough<T>(
    use: (pieces: AsyncIterable<Uint8Array>) => Promise<T>,
    { beforeAgain, describe = (error) => this.#client.tell(error), ...call }: ReadThroughOptions = {},
  ): Promise<T> {
    for (let times = 1;; times++) {
      try {
        return await use(this.read(call));
      } catch (error) {
        if (error instanceof RoomNeeded) {
          // No failure: it ends by itself.
          times--;
          continue;
        }
        if (!(error instanceof RestartNeeded)) throw error;
        const { cause, leavesOut } = error;
        // Another request has failed, or the run is ended: nobody would wait for it.
        if (call.signal?.aborted === true) throw cause;
        if (!leavesOut && times >= MOST_TIMES) throw cause;
        this.#log.warn("chunk is restarted", { database: this.#database, attempt: times, error: describe(cause) });
        if (leavesOut) times = 0;
        await beforeAgain?.();
      }
    }
  }

  /**
   * Yields the chunk's JSON in pieces, each valid until the next one is asked for. With `mostBytes` it ends before the
   * document that would make it larger, unless that is its first one; what is left is in `rest`.
   *
   * @throws CouchError when CouchDB refuses, or fails for longer than the retry policy's patience.
   * @throws RestartNeeded, RoomNeeded when what was yielded must be thrown away; `read()` can then be called again.
   */
  async *read(call: CallOptions = {}): AsyncGenerator<Uint8Array> {
    this.counts = emptyCounts();
    this.unreadable = [...this.#leftOut];
    this.rest = undefined;
    this.#planWithoutLeftOut();
    const output = new ChunkText(this.counts);
    const room = this.#room();
    const left: IdBatch[] = [];
    const reading = { output, call, room, left };
    // No variable keeps them any longer: they may be a million.
    const lone = yield* this.#readAgain(yield* this.#readPlan(reading), reading);
    let settled = 0;
    for (const suspect of lone.all()) {
      const { document, isOut } = suspect;
      try {
        // Where the chunk is full, the document is asked for with the rest; a row that went out is settled here.
        const hasRoom = (left.length === 0 || isOut === true) && (yield* this.#readAlone(suspect, reading));
        if (!hasRoom) left.push(IdBatch.of([document]));
      } catch (error) {
        if (!(error instanceof Overflow)) throw error;
        throw this.#roomNeeded([...left, IdBatch.of(documentsOf(lone, settled))]);
      }
      settled++;
    }
    this.rest = IdBatch.join(left);
    yield* output.end();
  }

  /** Asks for what is planned. @returns What has to be asked for again. */
  async *#readPlan({ output, call, room, left }: Reading): AsyncGenerator<Uint8Array, Suspects> {
    const suspects = new Suspects();
    const waiting: Asked[] = this.#plan.map((batch) => ({ batch, attempt: 1 }));
    /** What is read from then on shows only which other documents break: of many each would cost a restart. */
    let restart: RestartNeeded | undefined;
    for (let asked = waiting.shift(); asked !== undefined; asked = waiting.shift()) {
      if (left.length > 0 || (room?.documents !== undefined && room.documents === this.counts.documents)) {
        left.push(asked.batch);
        continue;
      }
      const request = this.#request(asked.batch, { suspects });
      const { documents } = this.counts;
      try {
        for await (const bytes of request.forward(output, call, room)) if (restart === undefined) yield bytes;
        this.#health.unreadableInARow = 0;
        if (request.isCut) left.push(request.rest());
      } catch (error) {
        if (error instanceof Overflow) {
          throw this.#roomNeeded([request.rest(), ...waiting.map(({ batch }) => batch)]);
        }
        const failure = healable(error);
        const rest = request.rest();
        if (request.passedInPart) {
          if (this.counts.documents > documents) this.#health.unreadableInARow = 0;
          const needed = await this.#restart(request, failure, call);
          // Where there is a bound, little has been read, and what has room is not known any more.
          if (!needed.leavesOut || room !== undefined) throw restart ?? needed;
          restart ??= needed;
          if (rest.count > 0) waiting.unshift({ batch: rest, attempt: 1 });
        } else if (rest.count === 1 && isOfDocument(failure)) {
          suspects.addBatch(rest);
        } else {
          waiting.unshift(...await this.#askForLess({ batch: rest, attempt: asked.attempt }, failure, call));
        }
      }
    }
    if (restart !== undefined) throw restart;
    return suspects;
  }

  #room(): ChunkRoom | undefined {
    if (this.#mostBytes === undefined) return undefined;
    const isFirm = this.#restartsForRoom < RESTARTS_FOR_ROOM;
    return { bytes: this.#mostBytes, documents: this.#mostDocuments, isFirm };
  }

  /** What was read fits without these batches, and is asked for without them. */
  #roomNeeded(batches: readonly IdBatch[]): RoomNeeded {
    this.#restartsForRoom++;
    this.#mostDocuments = this.counts.documents;
    const rest = IdBatch.join(batches)!;
    this.#plan = [...this.#plan.flatMap((batch) => batch.without(rest) ?? []), rest];
    return new RoomNeeded();
  }

  #request(batch: IdBatch, options: Pick<ReadOptions, "isFinal" | "onRows"> & { suspects?: Suspects } = {}): BulkGet {
    const { suspects, ...others } = options;
    return new BulkGet(this.#client, this.#database, batch, { ...this.#options, ...others }, suspects);
  }

  /**
   * What follows where a row broke that had been passed on in part. Its document is asked for alone, with all patience:
   * where CouchDB cannot read it, reading again leaves it out, and where it can, begins with it, so that nothing else is
   * lost if it breaks once more, and goes on with smaller requests.
   */
  async #restart(request: BulkGet, failure: CouchError, call: CallOptions): Promise<RestartNeeded> {
    const { broken } = request;
    if (broken === undefined) {
      this.#plan = halvesOf(this.#plan);
      return new RestartNeeded(failure);
    }
    // Not the row itself, which would keep all that lies beside it in memory.
    const document = { id: broken.id, revs: broken.revs };
    if (!await this.#comes(document, failure, call)) return new RestartNeeded(failure, { leavesOut: true });
    const alone = IdBatch.of([document]);
    this.#plan = [alone, ...halvesOf(this.#plan.flatMap((batch) => batch.without(alone) ?? []))];
    return new RestartNeeded(failure);
  }

  /** Whether a document comes when it is asked for alone. What comes is thrown away. */
  async #comes(document: ListedDocument, failure: CouchError, call: CallOptions): Promise<boolean> {
    let wasWell = false;
    for (let attempt = 1;; attempt++) {
      await this.#client.waitAfterFailure(failure, attempt + 1, call);
      const request = this.#request(IdBatch.of([document]), { onRows: undefined });
      const nowhere = new ChunkText(emptyCounts());
      try {
        await passOver(request.forward(nowhere, call));
        // A row that is an error is met again, and settled, by who reads it.
        return true;
      } catch (error) {
        failure = healable(error);
      }
      if (attempt >= this.#patience && isOfDocument(failure)) {
        if (!wasWell && mayBeOfServer(failure, request)) {
          wasWell = await this.#isWell(call);
          continue;
        }
        await this.#leaveOut(document.id, request.passedInPart ? brokeBehind(failure, nowhere.counts) : failure, call);
        return false;
      }
      if (attempt >= this.#client.retry.attempts) throw failure;
    }
  }

  /** How often a single document is asked for until it is left out. */
  get #patience(): number {
    return this.#health.knowsUnreadable ? LONE_ATTEMPTS : this.#client.retry.attempts;
  }

  /**
   * The same of a document whose answer lacks a revision that the feed has listed: where one has used up all patience,
   * the others of a purge would each take as long.
   */
  get #patienceForRevisions(): number {
    const { lackingInARow = 0 } = this.#health;
    if (lackingInARow === 0) return this.#patience;
    return lackingInARow < MOST_PATIENT_FOR_REVISIONS ? LONE_ATTEMPTS : 1;
  }

  #planWithoutLeftOut(): void {
    const ids = this.#leftOut.slice(this.#outOfPlan).map(({ id }) => ({ id, revs: [] }));
    if (ids.length === 0) return;
    const leftOut = IdBatch.of(ids);
    this.#plan = this.#plan.flatMap((batch) => batch.without(leftOut) ?? []);
    this.#outOfPlan = this.#leftOut.length;
  }

  /**
   * What to ask for after a failure: the same again after a pause, or its halves when the server seems to choke on it.
   */
  async #askForLess({ batch, attempt }: Asked, failure: CouchError, call: CallOptions): Promise<Asked[]> {
    const halves = isTooMuch(failure) || (attempt > 1 && isOfDocument(failure)) ? batch.split() : undefined;
    if (halves === undefined && (attempt >= this.#client.retry.attempts || !isTransient(failure))) throw failure;
    await this.#client.waitAfterFailure(failure, attempt + 1, call);
    if (halves === undefined) return [{ batch, attempt: attempt + 1 }];
    this.#log.warn("request is split in half", { database: this.#database, error: this.#client.tell(failure) });
    return halves.map((half) => ({ batch: half, attempt: 1 }));
  }

  /**
   * Asks again for documents whose rows were errors, where they are many: a CouchDB that has too much to do answers a
   * large request with errors for all that it did not get to, and one by one they would take hours.
   *
   * @returns Those whose rows are still not good, or for which the chunk has no room.
   */
  async *#readAgain(suspects: Suspects, reading: Reading): AsyncGenerator<Uint8Array, Suspects> {
    for (let size = SUSPECTS_AT_ONCE; size >= LEAST_AT_ONCE && suspects.count > FEW_SUSPECTS; size /= 4) {
      const still = new Suspects();
      /** Requests in a row that brought nothing: more of them would bring nothing either. */
      let fruitless = 0;
      let passed = 0;
      for (const part of suspects.parts(size)) {
        passed += part.length;
        if (fruitless >= MOST_UNREADABLE_IN_A_ROW || reading.left.length > 0) {
          for (const suspect of part) still.add(suspect);
          continue;
        }
        const { documents } = this.counts;
        const asked: ListedDocument[] = [];
        for (const suspect of part) {
          // What has gone out already must not go out again.
          if (suspect.isOut === true) still.add(suspect);
          else asked.push(suspect.document);
        }
        const behind = () => documentsOf(suspects, passed);
        if (asked.length > 0) yield* this.#readPart(IdBatch.of(asked), { still, behind }, reading);
        fruitless = this.counts.documents > documents ? 0 : fruitless + 1;
      }
      suspects = still;
    }
    return suspects;
  }

  /** Asks for some of many suspects; what is not good again, and what CouchDB fails at, is added to `still`. */
  async *#readPart(
    batch: IdBatch,
    { still, behind }: { still: Suspects; behind: () => readonly ListedDocument[] },
    { output, call, room, left }: Reading,
  ): AsyncGenerator<Uint8Array> {
    for (let attempt = 1;; attempt++) {
      const request = this.#request(batch, { suspects: still });
      try {
        yield* request.forward(output, call, room);
        if (request.isCut) left.push(request.rest());
        return;
      } catch (error) {
        batch = request.rest();
        if (error instanceof Overflow) {
          const unsettled = [...documentsOf(still), ...behind()];
          throw this.#roomNeeded([...left, batch, ...(unsettled.length > 0 ? [IdBatch.of(unsettled)] : [])]);
        }
        const failure = healable(error);
        if (request.passedInPart) throw await this.#restart(request, failure, call);
        if (isOfDocument(failure)) {
          still.addBatch(batch);
          return await this.#client.waitAfterFailure(failure, 2, call);
        }
        if (attempt >= this.#client.retry.attempts) throw failure;
        await this.#client.waitAfterFailure(failure, attempt + 1, call);
      }
    }
  }

  /**
   * Asks for a single document whose row was not good. With a node down, one missing document can turn every row of a
   * request into an error; only when it is missing alone is it gone.
   *
   * @returns Whether the chunk had room for it.
   */
  async *#readAlone(
    { document, isOut, missing }: Suspect,
    { output, call, room }: Reading,
  ): AsyncGenerator<Uint8Array, boolean> {
    if (isOut === true) return this.#settlePassed(document, missing ?? []);
    let wasWell = false;
    let lacksRevisions = missing !== undefined;
    for (let attempt = 1;; attempt++) {
      const isLast = attempt >= (lacksRevisions ? this.#patienceForRevisions : this.#patience);
      // What the feed has listed may have been purged since: at last the row is taken as it is.
      const request = this.#request(IdBatch.of([document]), { isFinal: isLast });
      let failure: CouchError;
      try {
        yield* request.forward(output, call, room);
        if (request.isCut) return false;
        const [found] = request.suspects.all();
        if (found?.isOut === true && !isLast) return this.#settlePassed(document, found.missing ?? []);
        if (found === undefined || found.isOut === true) {
          this.#settleRead(document.id, found?.missing ?? [], { hasLacked: lacksRevisions });
          return true;
        }
        if (found.error?.error === "not_found") {
          this.counts.absent++;
          return true;
        }
        lacksRevisions = found.missing !== undefined;
        failure = this.#rowFailure(document.id, found);
      } catch (error) {
        failure = healable(error);
        lacksRevisions = false;
        if (request.passedInPart) throw await this.#restart(request, failure, call);
      }
      if (attempt >= this.#patience && isOfDocument(failure)) {
        if (!wasWell && mayBeOfServer(failure, request)) {
          wasWell = await this.#isWell(call);
          continue;
        }
        this.unreadable.push(await this.#leaveOut(document.id, failure, call));
        return true;
      }
      if (attempt >= this.#client.retry.attempts) throw failure;
      await this.#client.waitAfterFailure(failure, attempt + 1, call);
    }
  }

  /**
   * A document that was asked for alone has come, without those of its revisions that are `lacking` for good.
   *
   * @param options.hasLacked Whether it lacked some the last time.
   */
  #settleRead(id: string, lacking: readonly string[], { hasLacked }: { hasLacked: boolean }): void {
    this.#health.unreadableInARow = 0;
    if (lacking.length > 0) this.#health.lackingInARow = (this.#health.lackingInARow ?? 0) + 1;
    // Its revisions have come: whoever lagged has caught up.
    else if (hasLacked) this.#health.lackingInARow = 0;
    this.#nameMissing(id, lacking);
  }

  #rowFailure(id: string, { error, missing }: Suspect): CouchError {
    const { error: code, reason } = error ??
      (missing === undefined
        ? { error: "no_revision", reason: "its row is empty" }
        : { error: "missing_revision", reason: `the changes feed lists ${missing.join(", ")}…` });
    return new CouchError(
      `Cannot read document "${id}" of database "${this.#database}": CouchDB answered ${code}, "${reason}"`,
      { error: code, reason, database: this.#database },
      { discreet: `Cannot read a document of database "${this.#database}": CouchDB answered ${code}` },
    );
  }

  /**
   * A row that was too large to be kept lacks a revision: the chunk is started again, but not endlessly.
   *
   * @throws RestartNeeded the first times; then the row is taken as it is.
   */
  #settlePassed(document: ListedDocument, missing: readonly string[]): true {
    if (this.#restartsForRevisions++ < RESTARTS_FOR_REVISIONS) {
      throw new RestartNeeded(this.#rowFailure(document.id, { document, missing }));
    }
    this.#nameMissing(document.id, missing);
    return true;
  }

  #nameMissing(id: string, missing: readonly string[]): void {
    for (const rev of missing) {
      this.unreadable.push({ id, rev, error: "missing_revision", reason: "Listed, and in no answer" });
    }
  }

  /**
   * Waits until CouchDB answers again, after a failure that a proxy may have given in its place: only what fails once
   * more then is the document's own failure.
   */
  async #isWell(call: CallOptions): Promise<true> {
    await this.#client.databaseInfo(this.#database, call);
    return true;
  }

  /** Leaves a document out for good, if it is the document that fails and not CouchDB. */
  async #leaveOut(id: string, failure: CouchError, call: CallOptions): Promise<UnreadableDocument> {
    // Throws where CouchDB is away, refuses the login, or has lost the database.
    await this.#client.databaseInfo(this.#database, call);
    if (++this.#health.unreadableInARow > MOST_UNREADABLE_IN_A_ROW) throw failure;
    const { error, reason = "", status } = failure.facts;
    this.#health.knowsUnreadable = true;
    const unreadable = { id, error, reason: status === undefined ? reason : `${status}: ${reason}` };
    this.#leftOut.push(unreadable);
    this.#log.warn("document cannot be read and is left out", { database: this.#database, id, error: failure.message });
    return unreadable;
  }
}

/** What {@linkcode BatchReader.readThrough} takes where only what does not come is looked for. */
export async function passOver(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of pieces) { /* It is not looked at. */ }
}

/** The failure where it can be healed by asking again; thrown otherwise. */
function healable(error: unknown): CouchError {
  if (!(error instanceof CouchError) || !(isTransient(error) || isTooMuch(error))) throw error;
  return error;
}

/**
 * Whether a proxy answers so where CouchDB is away, or CouchDB where it has too much to do. One that hands connections on
 * closes them; after the first megabyte of the document that is the document's failure all the same.
 */
function mayBeOfServer({ facts: { status, error } }: CouchError, { passedInPart }: BulkGet): boolean {
  return status === 502 || status === 503 || status === 504 || (error === "cut_off" && !passedInPart);
}

function halvesOf(batches: readonly IdBatch[]): IdBatch[] {
  return batches.flatMap((batch) => batch.split() ?? [batch]);
}

/** The failure of an answer that broke within a document, with how much of it came. */
function brokeBehind(failure: CouchError, { bytes }: BatchCounts): CouchError {
  const { reason = "" } = failure.facts;
  const told = `its answer breaks off, the last time after ${(bytes / 1e6).toFixed(1)} MB: ${reason}`;
  return new CouchError(failure.message, { ...failure.facts, reason: told }, { discreet: failure.discreet });
}

/** The documents of suspects, but for the first ones. */
function documentsOf(suspects: Suspects, from = 0): ListedDocument[] {
  return [...suspects.all()].slice(from).map(({ document }) => document);
}

/**
 * The request itself is more than the server takes or finishes in time: a smaller one may pass. 411 is what some
 * proxies answer to a body that is streamed, and so has no length: the largest are, their halves sooner or later are
 * not.
 */
function isTooMuch({ facts: { error, status } }: CouchError): boolean {
  return error === "timeout" || status === 413 || status === 411;
}

/** The server failed at what it was asked for, rather than being away or asking for a pause. */
function isOfDocument(error: CouchError): boolean {
  return error.facts.error !== "unreachable" && error.facts.status !== 429 && error.facts.status !== 401;
}
