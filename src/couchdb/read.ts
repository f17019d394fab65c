/**
 * Reads the documents of one run of ids: in go ids, out comes the JSON of one chunk, `{"results":[…]}`, made of the raw
 * rows CouchDB sent. Whatever goes wrong on the way is healed here: rows with errors are asked for again one by one, a
 * request that keeps failing is halved, and the halves end up in the same chunk. Memory holds no more than one row, and a
 * row larger than a megabyte (an attachment) is passed on while it arrives.
 */
import { CouchError, isTransient } from "../errors.ts";
import { BULK_GET_SHAPE, DocumentScanner, Found, FramingError } from "../json/scan.ts";
import type { Log } from "../observe.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { compareIds, type IdRun, ListedIds } from "./ids.ts";

/** Rows up to this size are kept until they are whole, so that a broken answer costs only what is missing. */
const KEPT_ROW_BYTES = 1 << 20;
/** What is passed on is collected into pieces of this size: a compressor is slow on many small ones. */
const BLOCK_BYTES = 1 << 16;

const encoder = new TextEncoder();
const OPENING = encoder.encode('{"results":[');
const CLOSING = encoder.encode("]}");
const COMMA = encoder.encode(",");

/** What was read; complete once the reader has ended. */
export interface RunCounts {
  documents: number;
  leafRevisions: number;
  /** Documents that were listed but gone when they were asked for. */
  absent: number;
  /** The size of the JSON that was yielded. */
  bytes: number;
  /** The last id that was asked for. */
  lastId: string | undefined;
}

/** What a reader needs beside the run. */
export interface ReadOptions {
  revisions: boolean;
  attachments: boolean;
  log: Log;
  /** Is told of documents and bytes as they pass. */
  onRows?: ((step: { documents: number; bytes: number }) => void) | undefined;
}

/**
 * What was yielded so far is of no use: an answer broke within a row that had been passed on in part. Reading again
 * begins at the first byte, with smaller requests.
 */
export class RestartNeeded extends Error {
  declare readonly cause: CouchError;

  constructor(cause: CouchError) {
    super(cause.message, { cause });
    this.name = "RestartNeeded";
  }
}

/** Reads one run; `read()` may be called again after it has failed, and then asks for less at once. */
export class RunReader {
  /** What the last `read()` has yielded. */
  counts: RunCounts = emptyCounts();

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #options: ReadOptions;
  /** The run, in as many requests as it is read with from its first byte on. */
  #plan: readonly IdRun[];

  constructor(client: CouchClient, database: string, run: IdRun, options: ReadOptions) {
    this.#client = client;
    this.#database = database;
    this.#plan = [run];
    this.#options = options;
  }

  /**
   * Yields the chunk's JSON in pieces, each valid until the next one is asked for.
   *
   * @throws CouchError when CouchDB refuses, or fails for longer than the retry policy's patience.
   * @throws RestartNeeded when what was yielded must be thrown away; `read()` can then be called again.
   */
  async *read(call: CallOptions = {}): AsyncGenerator<Uint8Array> {
    this.counts = emptyCounts();
    const output = new RowOutput(this.counts);
    const suspects: string[] = [];
    const waiting = this.#plan.map((run) => ({ run, attempt: 1 }));
    output.append(OPENING);
    for (let asked = waiting.shift(); asked !== undefined; asked = waiting.shift()) {
      const request = this.#request(asked.run);
      try {
        yield* request.forward(output, call);
      } catch (error) {
        const failure = await this.#healable(error, request, call);
        waiting.unshift(...await this.#askForLess(request.rest(), asked.attempt, failure, call));
      }
      for (const id of request.suspects) suspects.push(id);
      this.counts.lastId = laterId(this.counts.lastId, request.lastId);
    }
    for (const id of suspects) yield* this.#readAlone(id, output, call);
    output.append(CLOSING);
    yield* output.flush();
  }

  #request(run: IdRun): BulkRequest {
    return new BulkRequest(this.#client, this.#database, run, this.#options);
  }

  /** The failure when it can be healed by asking again; thrown otherwise. */
  async #healable(error: unknown, request: BulkRequest, call: CallOptions): Promise<CouchError> {
    if (!(error instanceof CouchError) || !(isTransient(error) || isTooMuch(error))) throw error;
    if (!request.passedInPart) return error;
    const halves = await Promise.all(this.#plan.map((run) => run.split(call)));
    this.#plan = this.#plan.flatMap((run, index) => halves[index] ?? [run]);
    throw new RestartNeeded(error);
  }

  /** What to ask for after a failure: the same again after a pause, or its halves when the server seems to choke on it. */
  async #askForLess(
    run: IdRun,
    attempt: number,
    failure: CouchError,
    call: CallOptions,
  ): Promise<{ run: IdRun; attempt: number }[]> {
    const halves = isTooMuch(failure) || (attempt > 1 && isServersFault(failure)) ? await run.split(call) : undefined;
    if (halves === undefined && (attempt >= this.#client.retry.attempts || !isTransient(failure))) throw failure;
    await this.#client.waitAfterFailure(failure, attempt + 1, call.signal);
    if (halves === undefined) return [{ run, attempt: attempt + 1 }];
    this.#options.log.warn("request is halved", { database: this.#database, error: failure.message });
    return halves.map((half) => ({ run: half, attempt: 1 }));
  }

  /**
   * Asks for a single document whose row was an error. With a node down, one missing document can turn every row of a
   * request into an error; only when it is missing alone is it gone.
   */
  async *#readAlone(id: string, output: RowOutput, call: CallOptions): AsyncGenerator<Uint8Array> {
    const run = new ListedIds(undefined, [id]);
    for (let attempt = 1;; attempt++) {
      const request = this.#request(run);
      let failure: CouchError;
      try {
        yield* request.forward(output, call);
        if (request.suspects.length === 0) return;
        if (request.rowError?.error === "not_found") {
          this.counts.absent++;
          return;
        }
        const { error = "no_revision", reason = "" } = request.rowError ?? {};
        failure = new CouchError(
          `Cannot read document "${id}" of database "${this.#database}": CouchDB answered ${error}, "${reason}"`,
          { error, reason, database: this.#database },
        );
      } catch (error) {
        failure = await this.#healable(error, request, call);
      }
      if (attempt >= this.#client.retry.attempts) throw failure;
      await this.#client.waitAfterFailure(failure, attempt + 1, call.signal);
    }
  }
}

/** One `_bulk_get` request: forwards its good rows and remembers what else came. */
class BulkRequest {
  /** Ids whose rows held an error, or nothing. */
  readonly suspects: string[] = [];
  /** The error of the last such row. */
  rowError: { error: string; reason: string } | undefined;
  /** A row went out in part and its rest never came. */
  passedInPart = false;
  lastId: string | undefined;

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #run: IdRun;
  readonly #options: ReadOptions;
  /** For a run whose ids are in hand: those without an answer. */
  readonly #unanswered: Set<string> | undefined;
  #asked = 0;
  #answered = 0;
  #listingError: unknown;

  constructor(client: CouchClient, database: string, run: IdRun, options: ReadOptions) {
    this.#client = client;
    this.#database = database;
    this.#run = run;
    this.#options = options;
    if (!(run instanceof ListedIds)) return;
    this.#unanswered = new Set(run.ids);
    this.#asked = this.#unanswered.size;
    this.lastId = run.ids.at(-1);
  }

  /** Asks CouchDB and yields the rows that hold documents. */
  async *forward(output: RowOutput, call: CallOptions): AsyncGenerator<Uint8Array> {
    const { revisions, attachments, onRows } = this.#options;
    const scanner = new DocumentScanner(BULK_GET_SHAPE);
    const row = new RowInHand(output);
    try {
      const answer = await this.#client.bulkGet(this.#database, this.#body(call), { ...call, revisions, attachments });
      for await (const bytes of answer) {
        const before = { documents: this.#answered, bytes: output.counts.bytes };
        scanner.push(bytes);
        row.arrive(bytes);
        for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
          if (found === Found.ElementStart) row.begin(scanner.position);
          else if (found === Found.DocumentEnd) row.revisions++;
          else if (found === Found.Error) row.error = scanner.error;
          else if (found === Found.ElementEnd) this.#settle(scanner.id, row, scanner.position);
        }
        row.keepRest();
        onRows?.({ documents: this.#answered - before.documents, bytes: output.counts.bytes - before.bytes });
        yield* output.blocks();
      }
      scanner.finish();
      if (this.#answered !== this.#asked) {
        throw this.#brokenAnswer(`it has ${this.#answered} of ${this.#asked} documents`);
      }
    } catch (error) {
      this.passedInPart = row.passedInPart || (this.#unanswered === undefined && this.#answered > 0);
      if (this.#listingError !== undefined) throw this.#listingError;
      throw error instanceof FramingError ? this.#brokenAnswer(error.message) : error;
    }
  }

  /** What is still to be asked for. */
  rest(): IdRun {
    if (this.#unanswered === undefined || this.#answered === 0) return this.#run;
    return new ListedIds(this.#run.after, [...this.#unanswered]);
  }

  #settle(id: string | undefined, row: RowInHand, end: number): void {
    if (id === undefined) throw this.#brokenAnswer("a row has no id");
    if (this.#unanswered?.delete(id) === false) throw this.#brokenAnswer(`it has document "${id}" twice or unasked`);
    this.#answered++;
    if (row.error === undefined && row.revisions > 0) return row.finish(end);
    this.suspects.push(id);
    this.rowError = row.error;
    row.drop();
  }

  #brokenAnswer(reason: string): CouchError {
    return new CouchError(
      `Cannot read documents of database "${this.#database}": CouchDB's answer is broken (${reason})`,
      { error: "cut_off", reason, database: this.#database },
    );
  }

  /** `{"docs":[{"id":…},…]}`: in one piece when the ids are in hand, else written while they are listed. */
  #body(call: CallOptions): Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> {
    if (this.#run instanceof ListedIds) return encoder.encode(`{"docs":[${idObjects(this.#run.ids)}]}`);
    return ReadableStream.from(this.#writeBody(call));
  }

  async *#writeBody(call: CallOptions): AsyncGenerator<Uint8Array> {
    this.#asked = 0;
    yield encoder.encode('{"docs":[');
    try {
      for await (const ids of this.#run.pages(call)) {
        yield encoder.encode((this.#asked > 0 ? "," : "") + idObjects(ids));
        this.#asked += ids.length;
        this.lastId = ids.at(-1);
      }
    } catch (error) {
      // fetch would report a broken request body; what CouchDB said of the listing is the cause.
      this.#listingError = error;
      throw error;
    }
    yield encoder.encode("]}");
  }
}

/** The row that is arriving: kept until it is whole, or passed on when it grows too large to be kept. */
class RowInHand {
  revisions = 0;
  error: { error: string; reason: string } | undefined;
  /** Its beginning went out before its end was there. */
  passedInPart = false;

  readonly #output: RowOutput;
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  /** Where the row's part of `#bytes` begins; -1 between rows. */
  #from = -1;

  constructor(output: RowOutput) {
    this.#output = output;
  }

  arrive(bytes: Uint8Array): void {
    this.#bytes = bytes;
    if (this.#from >= 0) this.#from = 0;
  }

  begin(from: number): void {
    this.#from = from;
    this.revisions = 0;
    this.error = undefined;
  }

  /** The row ends before `end` and goes out whole. */
  finish(end: number): void {
    if (!this.passedInPart) this.#passOn();
    this.#output.append(this.#bytes.subarray(this.#from, end));
    this.#output.counts.documents++;
    this.#output.counts.leafRevisions += this.revisions;
    this.passedInPart = false;
    this.#from = -1;
  }

  /** The row ends and must not go out. */
  drop(): void {
    if (this.passedInPart) throw new FramingError("an error follows a document in the same row", this.#from);
    this.#kept.length = 0;
    this.#keptBytes = 0;
    this.#from = -1;
  }

  /** The bytes in hand are about to go: keeps or passes on what belongs to the row. */
  keepRest(): void {
    if (this.#from < 0) return;
    const rest = this.#bytes.subarray(this.#from);
    if (this.passedInPart) return this.#output.append(rest);
    // The bytes in hand will be written over.
    this.#kept.push(rest.slice());
    this.#keptBytes += rest.length;
    if (this.#keptBytes <= KEPT_ROW_BYTES) return;
    this.#passOn();
    this.passedInPart = true;
  }

  #passOn(): void {
    this.#output.beginRow();
    for (const bytes of this.#kept) this.#output.append(bytes);
    this.#kept.length = 0;
    this.#keptBytes = 0;
  }
}

/** Puts rows together to the chunk's JSON, in blocks of a size that a compressor likes. */
class RowOutput {
  readonly counts: RunCounts;
  readonly #ready: Uint8Array<ArrayBuffer>[] = [];
  /** Blocks that have been passed on, to be filled again. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #rows = 0;

  constructor(counts: RunCounts) {
    this.counts = counts;
  }

  beginRow(): void {
    if (this.#rows++ > 0) this.append(COMMA);
  }

  append(bytes: Uint8Array): void {
    this.counts.bytes += bytes.length;
    for (let from = 0; from < bytes.length;) {
      const part = bytes.subarray(from, from + BLOCK_BYTES - this.#used);
      this.#block.set(part, this.#used);
      this.#used += part.length;
      from += part.length;
      if (this.#used === BLOCK_BYTES) this.#closeBlock();
    }
  }

  /** Yields the blocks that are full; each is used again once the next one is asked for. */
  *blocks(): Generator<Uint8Array> {
    for (let block = this.#ready.shift(); block !== undefined; block = this.#ready.shift()) {
      yield block;
      this.#spare.push(new Uint8Array(block.buffer));
    }
  }

  /** The same with all that is left. */
  flush(): Generator<Uint8Array> {
    this.#closeBlock();
    return this.blocks();
  }

  #closeBlock(): void {
    if (this.#used === 0) return;
    this.#ready.push(this.#block.subarray(0, this.#used));
    this.#block = this.#spare.pop() ?? new Uint8Array(BLOCK_BYTES);
    this.#used = 0;
  }
}

function emptyCounts(): RunCounts {
  return { documents: 0, leafRevisions: 0, absent: 0, bytes: 0, lastId: undefined };
}

function idObjects(ids: readonly string[]): string {
  return ids.map((id) => `{"id":${JSON.stringify(id)}}`).join(",");
}

function laterId(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareIds(a, b) >= 0 ? a : b;
}

/** The request itself is more than the server takes or finishes in time: a smaller one may pass. */
function isTooMuch(error: CouchError): boolean {
  return error.facts.error === "timeout" || error.facts.status === 413;
}

/** The server failed at the request, rather than being away or asking for a pause. */
function isServersFault(error: CouchError): boolean {
  return error.facts.error !== "unreachable" && error.facts.status !== 429;
}
