/**
 * One `_bulk_get` request. In: a batch of ids. Out: the rows that hold documents, passed on, and what else came of it:
 * ids without a document, what is still to be asked for, and whether a row went out in part.
 */
import { CouchError } from "../errors.ts";
import { BULK_GET_SHAPE, DocumentScanner, Found, FramingError } from "../json/scan.ts";
import type { Log } from "../observe.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { type IdBatch, ListedIds } from "./ids.ts";
import { RowInHand, type RowOutput } from "./rows.ts";

const encoder = new TextEncoder();

/** What a reader needs beside the batch. */
export interface ReadOptions {
  revisions: boolean;
  attachments: boolean;
  log: Log;
  /** Is told of documents and bytes as they pass. */
  onRows?: ((step: { documents: number; bytes: number }) => void) | undefined;
}

/** One `_bulk_get` request: forwards its good rows and remembers what else came. */
export class BulkRequest {
  /** Ids whose rows held an error, or nothing. */
  readonly suspects: string[] = [];
  /** The error of the last such row. */
  rowError: { error: string; reason: string } | undefined;
  /** A row went out in part and its rest never came. */
  passedInPart = false;
  lastId: string | undefined;

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #batch: IdBatch;
  readonly #options: ReadOptions;
  /** For a batch whose ids are in hand: those without an answer. */
  readonly #unanswered: Set<string> | undefined;
  #asked = 0;
  #answered = 0;
  #listingError: unknown;

  constructor(client: CouchClient, database: string, batch: IdBatch, options: ReadOptions) {
    this.#client = client;
    this.#database = database;
    this.#batch = batch;
    this.#options = options;
    if (!(batch instanceof ListedIds)) return;
    this.#unanswered = new Set(batch.ids);
    this.#asked = this.#unanswered.size;
    this.lastId = batch.ids.at(-1);
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
  rest(): IdBatch {
    if (this.#unanswered === undefined || this.#answered === 0) return this.#batch;
    return new ListedIds(this.#batch.after, [...this.#unanswered]);
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
    if (this.#batch instanceof ListedIds) return encoder.encode(`{"docs":[${idObjects(this.#batch.ids)}]}`);
    return ReadableStream.from(this.#writeBody(call));
  }

  async *#writeBody(call: CallOptions): AsyncGenerator<Uint8Array> {
    this.#asked = 0;
    yield encoder.encode('{"docs":[');
    try {
      for await (const ids of this.#batch.pages(call)) {
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

function idObjects(ids: readonly string[]): string {
  return ids.map((id) => `{"id":${JSON.stringify(id)}}`).join(",");
}
