/**
 * The body of one `_bulk_docs` request. In: raw documents. Out: the bytes to send. They are copied in as they come, so
 * that what they were cut from can go at once, and the memory of a body that has been sent serves the next one.
 */

const encoder = new TextEncoder();
const COMMA = encoder.encode(",");
const CLOSING = encoder.encode("]}");
const OPENINGS: Record<Revisions, Uint8Array> = {
  kept: encoder.encode('{"new_edits":false,"docs":['),
  new: encoder.encode('{"docs":['),
};

/**
 * A body doubles as it is filled, and is then used again. Beginning with what most need, a megabyte, each of many small
 * databases was a megabyte for V8, which marked the whole heap for every eighth of them: a third of all CPU time.
 */
const INITIAL_BYTES = 1 << 14;

/** How documents are written: `kept` with the revision each has, `new` as new edits, for documents that have none. */
export type Revisions = "kept" | "new";

/** A document in a body. */
export interface BodyDocument {
  /** As far as whoever added it knows. */
  id?: string | undefined;
  /** Its JSON. */
  bytes: Uint8Array;
}

/** Documents on their way to CouchDB. */
export class RequestBody {
  revisions: Revisions = "kept";
  /** How large the documents are in all. */
  documentBytes = 0;

  #bytes = new Uint8Array(INITIAL_BYTES);
  #used = 0;
  /** Where each document begins. */
  #starts: number[] = [];
  #ids: (string | undefined)[] = [];

  constructor(revisions: Revisions, documents: Iterable<BodyDocument> = []) {
    this.clear(revisions);
    for (const document of documents) this.add(document);
  }

  /** How many documents it holds. */
  get count(): number {
    return this.#starts.length;
  }

  /** Empties it, for other documents. */
  clear(revisions: Revisions): void {
    this.revisions = revisions;
    this.documentBytes = 0;
    this.#starts = [];
    this.#ids = [];
    this.#used = 0;
    this.#append(OPENINGS[revisions]);
  }

  /** Adds a document; its JSON is copied. */
  add({ id, bytes }: BodyDocument): void {
    if (this.count > 0) this.#append(COMMA);
    this.#starts.push(this.#used);
    this.#ids.push(id);
    this.#append(bytes);
    this.documentBytes += bytes.length;
  }

  /** The JSON to send. It is valid until the body is changed. */
  json(): Uint8Array<ArrayBuffer> {
    const used = this.#used;
    this.#append(CLOSING);
    this.#used = used;
    return this.#bytes.subarray(0, used + CLOSING.length);
  }

  /** The documents one by one; their bytes are views that are valid until the body is cleared. */
  documents(): BodyDocument[] {
    return this.#starts.map((start, index) => {
      const next = this.#starts[index + 1];
      const bytes = this.#bytes.subarray(start, next === undefined ? this.#used : next - COMMA.length);
      return { id: this.#ids[index], bytes };
    });
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#used + bytes.length;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#used));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#used);
    this.#used = needed;
  }
}

/** Yields the JSON of a request with a single document that streams. */
export async function* singleDocumentBody(
  document: AsyncIterable<Uint8Array>,
  revisions: Revisions,
): AsyncGenerator<Uint8Array> {
  yield OPENINGS[revisions];
  yield* document;
  yield CLOSING;
}
