/**
 * Writes documents with the revisions they have. In: raw documents, a list or one that streams. Out: those that CouchDB
 * refused, each with the reason. A refusal of a whole request is narrowed down to the documents that caused it, so that
 * all others are written; transient failures are retried, which is harmless for revisions that exist.
 */
import { CouchError, isMissing, isTransient } from "../errors.ts";
import { IdSet } from "../id_set.ts";
import { readTextMembers } from "../json/members.ts";
import type { Log } from "../observe.ts";
import type { CallOptions, CouchClient, WriteRow } from "./client.ts";
import { leavesOf } from "./lacking.ts";
import { awaitLateWrite, mayBeWritten, type WritePlace } from "./late_write.ts";
import { RequestBody, type Revisions, singleDocumentBody } from "./request_body.ts";

/**
 * No more refusals are kept, or a validation function that refuses everything would fill the memory; all are logged.
 */
const MOST_KEPT_FAILURES = 10_000;
/** A document that makes CouchDB answer 500 is tried this often. */
const SERVER_ERROR_ATTEMPTS = 3;
/** This many documents in a row that CouchDB answers with 500 are not the documents' fault. */
const MOST_SERVER_ERRORS = 20;

/** Where a proxy takes no large requests, they are not made smaller than this for its sake. */
const LEAST_REQUEST_BYTES = 128 << 10;

/** Errors of single documents that another attempt may not meet; all others are CouchDB's considered judgement. */
const PASSING_ROW_ERRORS = new Set([
  "internal_server_error",
  "internal_fabric_error",
  "timeout",
  "unknown_error",
  "error",
]);
/** Statuses that say something about access or the server, and nothing about the documents. */
const NOT_ABOUT_DOCUMENTS = new Set([401, 403, 404, 405, 407, 408, 425, 429]);

/** A revision that CouchDB did not take. */
export interface FailedRevision {
  /** Empty where the document has none. */
  id: string;
  /** Empty where the document has none. */
  rev: string;
  /** CouchDB's error, such as `forbidden`. */
  error: string;
  /** CouchDB's reason. */
  reason: string;
  /** Present where CouchDB has not refused it but failed at it, each time: it may take it another day. */
  server_failed?: true;
  /** What to do about it, where something can be done. */
  hint?: string;
}

/** What CouchDB did not take, in numbers. */
export interface Refusals {
  /** Leaf revisions. */
  revisions: number;
  /** Of so many documents. */
  documents: number;
  /** CouchDB's error and its reason for the first of them; null where there are none. */
  first: { error: string; reason: string } | null;
}

/** That CouchDB took everything. */
export function noRefusals(): Refusals {
  return { revisions: 0, documents: 0, first: null };
}

/** Those of one part of a database and of another one that came after it. */
export function addRefusals(some: Refusals, others: Refusals): Refusals {
  return {
    revisions: some.revisions + others.revisions,
    documents: some.documents + others.documents,
    first: some.first ?? others.first,
  };
}

/** What a writer needs beside the documents. */
export interface WriterOptions {
  log: Log;
  /** The database was created a moment ago: other nodes may not know it yet. */
  isNew: boolean;
}

interface Attempt {
  body: RequestBody;
  attempt: number;
}

/** One call to write: its options, and what CouchDB has not taken of it until now. */
interface WriteCall {
  options: CallOptions;
  refused: Refusals;
}

/** Writes to one database; several writes may be under way at once. */
export class DocumentWriter {
  /** Revisions that were not taken, the first ten thousand of them. */
  readonly failed: FailedRevision[] = [];
  /** How many were not taken. */
  failedRevisions = 0;
  /** Of how many documents they are. */
  failedDocuments = 0;
  /** How many requests were answered before all copies were written. */
  requestsWithFewerCopies = 0;

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #options: WriterOptions;
  /** Documents with which CouchDB answered 500, or the connection broke, since it last took one. */
  #serverErrors = 0;
  readonly #failedIds = new IdSet();
  readonly #place: WritePlace;
  /** What the server, or a proxy in front of it, has let through in one request, as far as that is known. */
  #mostBytes = Infinity;

  constructor(client: CouchClient, database: string, options: WriterOptions) {
    this.#client = client;
    this.#database = database;
    this.#options = options;
    this.#place = { client, database, log: options.log };
  }

  /**
   * Writes documents.
   *
   * @returns What CouchDB did not take of them.
   * @throws CouchError when CouchDB cannot be written to, for longer than the retry policy's patience.
   */
  async write(body: RequestBody, options: CallOptions = {}): Promise<Refusals> {
    const call = { options, refused: noRefusals() };
    const waiting: Attempt[] = [{ body, attempt: 1 }];
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (next.body.documentBytes > this.#mostBytes && next.body.count > 1) {
        waiting.unshift(...halves(next.body));
        continue;
      }
      const startedMs = performance.now();
      try {
        const { rows, copies } = await this.#client.bulkDocs(this.#database, next.body.json(), options);
        this.#serverErrors = 0;
        if (copies === "fewer") this.requestsWithFewerCopies++;
        const again = this.#settle(rows, next, call);
        if (again !== undefined) {
          await this.#client.waitAfterFailure(again.error, again.attempt, options);
          waiting.unshift(again);
        }
      } catch (error) {
        const body = await this.#lackingBehind(error, next.body, { startedMs, ...options });
        if (body.count > 0) waiting.unshift(...await this.#afterRefusal(error, { ...next, body }, call));
      }
    }
    return call.refused;
  }

  /** What of a body is lacking behind an attempt that failed; the body itself where that is all of it. */
  async #lackingBehind(
    error: unknown,
    body: RequestBody,
    { startedMs, ...options }: CallOptions & { startedMs: number },
  ): Promise<RequestBody> {
    const leaves = leavesOf(body);
    if (!mayBeWritten(error) || leaves.length === 0) return body;
    const tookMs = performance.now() - startedMs;
    const lacks = await awaitLateWrite(this.#place, leaves, { error, tookMs, ...options });
    if (lacks === undefined || leaves.every(lacks)) return body;
    return new RequestBody("kept", body.documents().filter((_, index) => lacks(leaves[index]!)));
  }

  /**
   * Writes one document that is too large to be held.
   *
   * @param open Yields the document's JSON from its beginning; called again when the request has to be repeated.
   * @param identity What is known of it, for the report.
   * @returns What CouchDB did not take of it.
   * @throws CouchError as {@linkcode write} does; what `open` throws.
   */
  async writeStream(
    open: () => AsyncIterable<Uint8Array>,
    identity: { id: string | undefined; rev: string | undefined; revisions: Revisions },
    options: CallOptions = {},
  ): Promise<Refusals> {
    const call = { options, refused: noRefusals() };
    for (let attempt = 1;; attempt++) {
      // When the document's own source fails, fetch would only say that the body broke.
      let sourceFailure: { error: unknown } | undefined;
      const startedMs = performance.now();
      const source = notingFailure(open(), (error) => sourceFailure = { error });
      try {
        const body = ReadableStream.from(singleDocumentBody(source, identity.revisions));
        const { rows, copies } = await this.#client.bulkDocs(this.#database, body, options);
        this.#serverErrors = 0;
        if (copies === "fewer") this.requestsWithFewerCopies++;
        const [row] = rows.filter(({ error }) => error !== undefined);
        if (row === undefined) return call.refused;
        const error = this.#rowError(row);
        if (!PASSING_ROW_ERRORS.has(row.error!) || attempt >= this.#client.retry.attempts) {
          this.#fail(row.id, row, error, call);
          return call.refused;
        }
        await this.#client.waitAfterFailure(error, attempt + 1, options);
      } catch (error) {
        if (sourceFailure !== undefined) throw sourceFailure.error;
        if (!(error instanceof CouchError)) throw error;
        if (await this.#isThere(error, identity, { startedMs, ...options })) return call.refused;
        if (this.#isLastAttempt(error, attempt)) {
          if (!isRefusal(error)) await this.#blameDocument(error, options);
          const { error: name, reason } = error.facts;
          this.#fail(identity.id ?? "", { rev: identity.rev, error: name, reason }, error, call);
          return call.refused;
        }
        await this.#client.waitAfterFailure(error, attempt + 1, options);
      }
    }
  }

  /** Whether CouchDB has a document although the attempt to write it failed. */
  async #isThere(
    error: CouchError,
    { id, rev, revisions }: { id: string | undefined; rev: string | undefined; revisions: Revisions },
    { startedMs, ...options }: CallOptions & { startedMs: number },
  ): Promise<boolean> {
    if (!mayBeWritten(error) || id === undefined || rev === undefined || revisions === "new") return false;
    const tookMs = performance.now() - startedMs;
    const lacks = await awaitLateWrite(this.#place, [{ id, rev }], { error, tookMs, ...options });
    return lacks?.({ id, rev }) === false;
  }

  /** Notes a document that is not even sent. */
  refuse({ id, rev = "", error, reason }: { id: string; rev?: string; error: string; reason: string }): void {
    this.#fail(id, { rev, error, reason }, this.#rowError({ id, error, reason }));
  }

  /** Notes the rows of an answer. @returns What should be asked for again. */
  #settle(
    rows: readonly WriteRow[],
    { body, attempt }: Attempt,
    call: WriteCall,
  ): Attempt & { error: CouchError } | undefined {
    const refused = rows.filter((row) => row.error !== undefined);
    if (refused.length === 0) return undefined;
    const mayAskAgain = attempt < this.#client.retry.attempts;
    const keyOf = (id: string | undefined, rev: string | undefined = "") => JSON.stringify([id, rev]);
    const told = refused.filter((row) => mayAskAgain && PASSING_ROW_ERRORS.has(row.error!));
    const documents = told.length === 0 ? [] : body.documents().map((document) => {
      const { _id, _rev } = readTextMembers(document.bytes, ["_id", "_rev"]);
      // A row may name the id alone.
      return { document, keys: [keyOf(_id, _rev), keyOf(_id)] };
    });
    const sent = new Set(documents.flatMap(({ keys }) => keys));
    // What speaks of no document that was sent cannot be asked for again, and is not forgotten for that.
    const passing = new Set(told.filter(({ id, rev }) => sent.has(keyOf(id, rev))));
    for (const row of refused) if (!passing.has(row)) this.#fail(row.id, row, this.#rowError(row), call);
    const [first] = passing;
    if (first === undefined) return undefined;
    const wanted = new Set([...passing].map(({ id, rev }) => keyOf(id, rev)));
    const again = documents.flatMap(({ document, keys }) => keys.some((key) => wanted.has(key)) ? document : []);
    return { body: new RequestBody(body.revisions, again), attempt: attempt + 1, error: this.#rowError(first) };
  }

  /** What to do after a request that failed as a whole: the same again, its halves, or nothing but to report it. */
  async #afterRefusal(error: unknown, failed: Attempt, call: WriteCall): Promise<Attempt[]> {
    const { body, attempt } = failed;
    if (!(error instanceof CouchError)) throw error;
    const isMany = body.count > 1;
    if (isRefusal(error) || (isMany && attempt > 1 && (isServersFault(error) || isTooMuch(error)))) {
      if (isMany) return this.#inHalves(body, error);
      this.#failWhole(body, error, call);
      return [];
    }
    if (!this.#isLastAttempt(error, attempt)) {
      await this.#client.waitAfterFailure(error, attempt + 1, call.options);
      return [{ body, attempt: attempt + 1 }];
    }
    if (isMany) throw error;
    await this.#blameDocument(error, call.options);
    this.#failWhole(body, error, call);
    return [];
  }

  #inHalves(body: RequestBody, error: CouchError): Attempt[] {
    this.#options.log.debug("request is split in half", { documents: body.count, error: this.#client.tell(error) });
    if (isTooMuch(error) || error.facts.status === 413) {
      this.#mostBytes = Math.max(LEAST_REQUEST_BYTES, Math.min(this.#mostBytes, body.documentBytes / 2));
    }
    return halves(body);
  }

  /**
   * Takes a single document for the cause of a failure that does not pass.
   *
   * @throws The failure where CouchDB itself is to blame: it is away, or has failed at one document after the other.
   */
  async #blameDocument(error: CouchError, call: CallOptions): Promise<void> {
    if (!isServersFault(error)) {
      if (!isTooMuch(error)) throw error;
      await this.#client.databaseInfo(this.#database, call);
    }
    if (++this.#serverErrors > MOST_SERVER_ERRORS) throw error;
  }

  #isLastAttempt(error: CouchError, attempt: number): boolean {
    // Where one document has used up all patience, the next ones need not.
    const isKnown = isServersFault(error) || (isTooMuch(error) && this.#serverErrors > 0);
    if (isKnown && attempt >= SERVER_ERROR_ATTEMPTS) return true;
    const isUnknownYet = this.#options.isNew && isMissing(error);
    return attempt >= this.#client.retry.attempts || !(isTransient(error) || isUnknownYet);
  }

  #rowError({ id, error = "unknown", reason = "" }: WriteRow): CouchError {
    const message =
      `Cannot write document "${id}" to database "${this.#database}": CouchDB answered ${error}, "${reason}"`;
    const discreet = `Cannot write a document to database "${this.#database}": CouchDB answered ${error}`;
    return new CouchError(message, { error, reason, database: this.#database }, { discreet });
  }

  #failWhole(body: RequestBody, error: CouchError, call: WriteCall): void {
    const [document] = body.documents();
    const { _id = document?.id ?? "", _rev } = document === undefined
      ? {}
      : readTextMembers(document.bytes, ["_id", "_rev"]);
    this.#fail(_id, { rev: _rev, error: error.facts.error, reason: error.facts.reason }, error, call);
  }

  #fail(
    id: string,
    { rev = "", error = "unknown", reason = "" }: Pick<WriteRow, "rev" | "error" | "reason">,
    cause: CouchError,
    call?: WriteCall,
  ): void {
    const hint = hintFor(cause);
    const documents = id === "" || this.#failedIds.add(id) ? 1 : 0;
    this.failedRevisions++;
    this.failedDocuments += documents;
    if (call !== undefined) {
      call.refused = addRefusals(call.refused, { revisions: 1, documents, first: { error, reason } });
    }
    this.#options.log.error("document is not written", { id, rev, error, reason, hint });
    if (this.failed.length >= MOST_KEPT_FAILURES) return;
    this.failed.push({
      id,
      rev,
      error,
      reason,
      ...isServerFailure(cause) ? { server_failed: true } : {},
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

async function* notingFailure(
  source: AsyncIterable<Uint8Array>,
  note: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (error) {
    note(error);
    throw error;
  }
}

function halves(body: RequestBody): Attempt[] {
  const documents = body.documents();
  const middle = Math.ceil(documents.length / 2);
  return [documents.slice(0, middle), documents.slice(middle)].map((half) => ({
    body: new RequestBody(body.revisions, half),
    attempt: 1,
  }));
}

/** CouchDB has read the request and wants none of it: one of its documents is to blame. */
export function isRefusal(error: unknown): error is CouchError {
  if (!(error instanceof CouchError)) return false;
  const { status = 0 } = error.facts;
  return status >= 400 && status < 500 && !NOT_ABOUT_DOCUMENTS.has(status);
}

/** CouchDB failed; some documents cause that, such as one with an invalid digest. */
function isServersFault(error: unknown): error is CouchError {
  return error instanceof CouchError && error.facts.status === 500;
}

/** Whether what was not written says nothing of the document: CouchDB, or what stands before it, has failed. */
function isServerFailure(error: CouchError): boolean {
  const { status, error: name } = error.facts;
  return isTransient(error) || (status === undefined && PASSING_ROW_ERRORS.has(name));
}

/**
 * The request may be more than the server, or a proxy in front of it, takes, or finishes in time: some answer by a
 * reset.
 */
function isTooMuch({ facts: { error, status } }: CouchError): boolean {
  return error === "timeout" || error === "cut_off" || status === 504;
}

/** What an operator can do about a document that CouchDB does not take. */
function hintFor({ facts: { status, error } }: CouchError): string | undefined {
  switch (error) {
    case "document_too_large":
      return "Raise max_document_size in the section [couchdb] of CouchDB's configuration, and restore again with --into-existing";
    case "attachment_too_large":
      return "Raise max_attachment_size in the section [couchdb] of CouchDB's configuration, and restore again with --into-existing";
    case "too_large":
      return "Raise max_http_request_size in the section [chttpd] of CouchDB's configuration, and restore again with --into-existing";
    case "missing_stub":
      return "The archive has an attachment's description without its content: it was made without attachments";
    case "forbidden":
    case "unauthorized":
      return "A validate_doc_update function of the database refuses it: change or delete that design document first";
    case "compilation_error":
      return "CouchDB cannot compile this design document: correct it, and write it by hand";
    case "conflict":
      return "The database has a document of this id already, and the archive has no revision of it that could stand beside";
    case "cut_off":
      return "A proxy in front of CouchDB breaks requests of this size: raise what it lets through, and restore again with --into-existing";
  }
  if (status === 411) {
    return "The proxy in front of CouchDB wants each request's length, which a document of this size is sent without: restore past it";
  }
  return status === 413
    ? "Raise the size that the proxy in front of CouchDB lets through, and restore again with --into-existing"
    : undefined;
}
