/**
 * Reads the documents of one batch of ids: in go ids, out comes the JSON of one chunk, `{"results":[…]}`, made of the raw
 * rows CouchDB sent. Whatever goes wrong on the way is healed here: rows with errors are asked for again one by one, a
 * request that keeps failing is halved, and the halves end up in the same chunk. Memory holds no more than one row, and a
 * row larger than a megabyte (an attachment) is passed on while it arrives.
 */
import { CouchError, isTransient } from "../errors.ts";
import { BulkRequest, type ReadOptions } from "./bulk_request.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { compareIds, type IdBatch, ListedIds } from "./ids.ts";
import { type BatchCounts, emptyCounts, RowOutput } from "./rows.ts";

export type { ReadOptions } from "./bulk_request.ts";

const encoder = new TextEncoder();
const OPENING = encoder.encode('{"results":[');
const CLOSING = encoder.encode("]}");

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

/** Reads one batch; `read()` may be called again after it has failed, and then asks for less at once. */
export class BatchReader {
  /** What the last `read()` has yielded. */
  counts: BatchCounts = emptyCounts();

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #options: ReadOptions;
  /** The batch, in as many requests as it is read with from its first byte on. */
  #plan: readonly IdBatch[];

  constructor(client: CouchClient, database: string, batch: IdBatch, options: ReadOptions) {
    this.#client = client;
    this.#database = database;
    this.#plan = [batch];
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
    const waiting = this.#plan.map((batch) => ({ batch, attempt: 1 }));
    output.append(OPENING);
    for (let asked = waiting.shift(); asked !== undefined; asked = waiting.shift()) {
      const request = this.#request(asked.batch);
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

  #request(batch: IdBatch): BulkRequest {
    return new BulkRequest(this.#client, this.#database, batch, this.#options);
  }

  /** The failure when it can be healed by asking again; thrown otherwise. */
  async #healable(error: unknown, request: BulkRequest, call: CallOptions): Promise<CouchError> {
    if (!(error instanceof CouchError) || !(isTransient(error) || isTooMuch(error))) throw error;
    if (!request.passedInPart) return error;
    const halves = await Promise.all(this.#plan.map((batch) => batch.split(call)));
    this.#plan = this.#plan.flatMap((batch, index) => halves[index] ?? [batch]);
    throw new RestartNeeded(error);
  }

  /** What to ask for after a failure: the same again after a pause, or its halves when the server seems to choke on it. */
  async #askForLess(
    batch: IdBatch,
    attempt: number,
    failure: CouchError,
    call: CallOptions,
  ): Promise<{ batch: IdBatch; attempt: number }[]> {
    const halves = isTooMuch(failure) || (attempt > 1 && isServersFault(failure)) ? await batch.split(call) : undefined;
    if (halves === undefined && (attempt >= this.#client.retry.attempts || !isTransient(failure))) throw failure;
    await this.#client.waitAfterFailure(failure, attempt + 1, call.signal);
    if (halves === undefined) return [{ batch, attempt: attempt + 1 }];
    this.#options.log.warn("request is halved", { database: this.#database, error: failure.message });
    return halves.map((half) => ({ batch: half, attempt: 1 }));
  }

  /**
   * Asks for a single document whose row was an error. With a node down, one missing document can turn every row of a
   * request into an error; only when it is missing alone is it gone.
   */
  async *#readAlone(id: string, output: RowOutput, call: CallOptions): AsyncGenerator<Uint8Array> {
    const batch = new ListedIds(undefined, [id]);
    for (let attempt = 1;; attempt++) {
      const request = this.#request(batch);
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
