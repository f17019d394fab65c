/**
 * Groups documents into requests. In: documents, one by one. Out: batches bounded by number and size, each of documents
 * that are written in the same way.
 */
import type { RawDocument } from "../../archive/documents.ts";
import { RequestBody, type Revisions } from "../../couchdb/request_body.ts";

/** Half as many documents of one KB take CouchDB some hundredths longer, half as many again are no faster. */
const BATCH_DOCUMENTS = 1000;
/** A batch is closed when it is that large; with one document of the largest held size it has three times as much. */
export const BATCH_BYTES: number = 2 << 20;

const NONE: readonly Batch[] = [];

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

  /**
   * Takes a document. No generator: each document would make one, and promises where it is iterated by an async one.
   *
   * @returns The batches that are full with it, or that it does not belong to: of most documents none.
   */
  add(document: RawDocument): readonly Batch[] {
    const { id } = document;
    const revisions = document.hasRevision ? "kept" : "new";
    const others = this.#batch === undefined || this.#batch.body.revisions === revisions ? NONE : this.close();
    this.#batch ??= { body: this.#emptyBody(revisions), documents: 0 };
    const { body } = this.#batch;
    body.add(document);
    if (id === undefined || id !== this.#lastId) this.#batch.documents++;
    this.#lastId = id;
    const isFull = body.count >= BATCH_DOCUMENTS || body.documentBytes >= BATCH_BYTES;
    return isFull ? [...others, ...this.close()] : others;
  }

  /** What is left: one batch or none. */
  close(): readonly Batch[] {
    const batch = this.#batch;
    this.#batch = undefined;
    return batch === undefined ? NONE : [batch];
  }

  #emptyBody(revisions: Revisions): RequestBody {
    const body = this.#free.pop();
    if (body === undefined) return new RequestBody(revisions);
    body.clear(revisions);
    return body;
  }
}
