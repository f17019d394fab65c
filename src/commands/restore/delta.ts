/**
 * Restores into a database that has documents: revisions that it has are not sent, and newer ones there stay the
 * winners. In: batches to be sent. Out: what CouchDB lacks of each, and which documents show another revision than the
 * backup's.
 */
import type { CouchClient } from "../../couchdb/client.ts";
import { type BodyDocument, RequestBody } from "../../couchdb/request_body.ts";
import { CouchError } from "../../errors.ts";
import { readTextMembers } from "../../json/members.ts";

/** How many ids are named; all are counted. */
const MOST_NAMED = 1000;

/** Documents that show another revision than one of the backup's. */
export interface NewerDocuments {
  /** How many. */
  count: number;
  /** The first thousand. */
  ids: string[];
}

/** Compares what is restored with what a database has. */
export class Delta {
  /** Revisions that were there already. */
  present = 0;
  /** What shows a revision that the backup does not have. */
  readonly newer: NewerDocuments = { count: 0, ids: [] };

  /** Ids of documents of which revisions were not sent. */
  readonly #passed = new Set<string>();
  readonly #couch: CouchClient;
  readonly #database: string;

  constructor(couch: CouchClient, database: string) {
    this.#couch = couch;
    this.#database = database;
  }

  /** What of a batch the database lacks; the batch itself where it lacks all of it. */
  async lackingOf(body: RequestBody, options: { signal: AbortSignal }): Promise<RequestBody> {
    if (body.revisions === "new") return body;
    const documents = body.documents().map(withIdentity);
    const wanted: Record<string, string[]> = {};
    for (const { id, rev } of documents) (Object.hasOwn(wanted, id) ? wanted[id]! : wanted[id] = []).push(rev);
    const missing = await this.#missingOf(wanted, options);
    if (missing === undefined) return body;
    const lacking = documents.filter(({ id, rev }) => missing.get(id)?.has(rev) === true);
    this.present += documents.length - lacking.length;
    for (const { id, rev } of documents) if (missing.get(id)?.has(rev) !== true) this.#passed.add(id);
    return lacking.length === documents.length
      ? body
      : new RequestBody("kept", lacking.map(({ document }) => document));
  }

  /**
   * Undefined where CouchDB cannot compare: one id or revision of others that it does not take spoils the whole
   * request.
   */
  async #missingOf(wanted: Record<string, string[]>, options: { signal: AbortSignal }) {
    try {
      return await this.#couch.missingRevisions(this.#database, wanted, options);
    } catch (error) {
      if (error instanceof CouchError && error.facts.status === 400) return undefined;
      throw error;
    }
  }

  /** Finds the documents of a written batch whose shown revision is not one of the backup's. */
  async noteNewer(body: RequestBody, options: { signal: AbortSignal }): Promise<void> {
    if (body.revisions === "new") return;
    const leaves = new Map<string, Set<string>>();
    for (const { id, rev } of body.documents().map(withIdentity)) {
      leaves.set(id, (leaves.get(id) ?? new Set()).add(rev));
    }
    // Read before anything is awaited: batches are many at a time.
    const passed = [...leaves.keys()].filter((id) => this.#passed.delete(id));
    const shown = await this.#couch.newestRevisions(this.#database, [...leaves.keys()], options);
    const lost = passed.find((id) => !shown.has(id));
    if (lost !== undefined) {
      // Not sent, because it was said to be there.
      throw new CouchError(
        `Cannot restore into database "${this.#database}": CouchDB reports document "${lost}" as present but does not return it`,
        { error: "strange_answer", reason: "a document that is said to be there is not", database: this.#database },
        { hint: "Something between changes CouchDB's answers, or the document was purged this moment: restore again" },
      );
    }
    for (const [id, revs] of leaves) {
      const rev = shown.get(id)?.rev;
      if (rev === undefined || revs.has(rev)) continue;
      this.newer.count++;
      if (this.newer.ids.length < MOST_NAMED) this.newer.ids.push(id);
    }
  }
}

function withIdentity(document: BodyDocument): { id: string; rev: string; document: BodyDocument } {
  const { _id = "", _rev = "" } = readTextMembers(document.bytes, ["_id", "_rev"]);
  return { id: document.id ?? _id, rev: _rev, document };
}
