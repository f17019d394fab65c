/**
 * Groups documents into requests. In: documents, one by one. Out: batches bounded by number and size, each of documents
 * that are written in the same way.
 */
import type { RawDocument } from "../../archive/documents.ts";
import { RequestBody, type Revisions } from "../../couchdb/request_body.ts";

/** A request with more one-KB documents is no faster. */
const BATCH_DOCUMENTS = 500;
/** A batch is closed when it is that large; with one document of the largest held size it has three times as much. */
const BATCH_BYTES = 2 << 20;

/** Documents of one request. */
export interface Batch {
  body: RequestBody;
  /** Documents, not counting further revisions of the same one. */
  documents: number;
}

/** Puts documents together to requests. */
export class BatchBuilder {
  readonly #free: RequestBody[];
  #batch: Batch | undefined;
  #lastId: string | undefined;

  /** @param free Bodies that can be filled again; taken from its end. */
  constructor(free: RequestBody[]) {
    this.#free = free;
  }

  /** Takes a document; yields the batch that is full with it, or that it does not belong to. */
  *add(document: RawDocument): Generator<Batch> {
    const { id } = document;
    const revisions = document.hasRevision ? "kept" : "new";
    if (this.#batch !== undefined && this.#batch.body.revisions !== revisions) yield* this.close();
    this.#batch ??= { body: this.#emptyBody(revisions), documents: 0 };
    const { body } = this.#batch;
    body.add(document);
    if (id === undefined || id !== this.#lastId) this.#batch.documents++;
    this.#lastId = id;
    if (body.count >= BATCH_DOCUMENTS || body.documentBytes >= BATCH_BYTES) yield* this.close();
  }

  /** Yields what is left. */
  *close(): Generator<Batch> {
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch !== undefined) yield batch;
  }

  #emptyBody(revisions: Revisions): RequestBody {
    const body = this.#free.pop();
    if (body === undefined) return new RequestBody(revisions);
    body.clear(revisions);
    return body;
  }
}
