/**
 * Restores into a database that has documents: revisions that it has are not sent, and newer ones there stay the
 * winners. In: batches to be sent, and documents that stream. Out: what CouchDB lacks of each, and which documents show
 * another revision than the backup's.
 */
import type { CouchClient } from "../../couchdb/client.ts";
import { findLacking, type Lacks, type LeafIdentity, leavesOf } from "../../couchdb/lacking.ts";
import { RequestBody } from "../../couchdb/request_body.ts";
import { CouchError } from "../../errors.ts";
import { IdSet } from "../../id_set.ts";

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
  /**
   * Documents whose leaf revisions may be in several requests: of them one shows the backup's revision, and of others
   * none has yet.
   */
  readonly #sharedAsSaved = new IdSet();
  readonly #sharedNewer = new IdSet();
  readonly #couch: CouchClient;
  readonly #database: string;

  constructor(couch: CouchClient, database: string) {
    this.#couch = couch;
    this.#database = database;
  }

  /** What of a batch the database lacks; the batch itself where it lacks all of it. */
  async lackingOf(body: RequestBody, options: { signal: AbortSignal }): Promise<RequestBody> {
    if (body.revisions === "new") return body;
    const leaves = leavesOf(body);
    const lacks = await this.#compare(leaves, options);
    if (lacks === undefined || leaves.every(lacks)) return body;
    return new RequestBody("kept", body.documents().filter((_, index) => lacks(leaves[index]!)));
  }

  /** Whether the database lacks a leaf revision. */
  async lacks(leaf: LeafIdentity, options: { signal: AbortSignal }): Promise<boolean> {
    return (await this.#compare([leaf], options))?.(leaf) ?? true;
  }

  /**
   * Notes which of some leaf revisions the database has. @returns Whether it lacks one; undefined where CouchDB cannot
   * compare.
   */
  async #compare(leaves: readonly LeafIdentity[], options: { signal: AbortSignal }): Promise<Lacks | undefined> {
    const lacks = await findLacking(this.#couch, this.#database, leaves, options);
    if (lacks === undefined) return undefined;
    for (const leaf of leaves) {
      if (lacks(leaf)) continue;
      this.present++;
      this.#passed.add(leaf.id);
    }
    return lacks;
  }

  /** Finds the documents whose shown revision is not one of the backup's, among those of a request that is written. */
  async noteNewer(written: readonly LeafIdentity[], options: { signal: AbortSignal }): Promise<void> {
    const leaves = new Map<string, Set<string>>();
    for (const { id, rev } of written) leaves.set(id, (leaves.get(id) ?? new Set()).add(rev));
    const ids = [...leaves.keys()];
    if (ids.length === 0) return;
    // Taken before the first await, as other requests in flight take theirs from the same set.
    const passed = ids.filter((id) => this.#passed.delete(id));
    const shown = await this.#couch.newestRevisions(this.#database, ids, options);
    const lost = passed.find((id) => !shown.has(id));
    if (lost !== undefined) {
      // It was not sent, because CouchDB had said that it is there.
      throw new CouchError(
        `Cannot restore into database "${this.#database}": CouchDB reports document "${lost}" as present but does not return it`,
        { error: "strange_answer", reason: "a document that is said to be there is not", database: this.#database },
        { hint: "Something between changes CouchDB's answers, or the document was purged this moment: restore again" },
      );
    }
    for (const [index, [id, revs]] of [...leaves].entries()) {
      const rev = shown.get(id)?.rev;
      if (rev === undefined) continue;
      // Leaf revisions of a document follow each other: others may be in the requests before and after this one, or
      // stream by themselves.
      const isShared = index === 0 || index === ids.length - 1 || this.#isKnown(id);
      if (isShared) this.#judgeShared(id, revs.has(rev));
      else if (!revs.has(rev)) this.#addNewer(id);
    }
  }

  #isKnown(id: string): boolean {
    return this.#sharedAsSaved.has(id) || this.#sharedNewer.has(id);
  }

  /**
   * A revision of the backup that is the winner in the end is so from the moment it is written: the request that it is
   * in finds it. So a document is newer where none of its requests does.
   */
  #judgeShared(id: string, isAsSaved: boolean): void {
    if (!isAsSaved) {
      if (!this.#sharedAsSaved.has(id) && this.#sharedNewer.add(id)) this.#addNewer(id);
    } else if (this.#sharedAsSaved.add(id) && this.#sharedNewer.has(id)) {
      this.newer.count--;
      const at = this.newer.ids.indexOf(id);
      if (at >= 0) this.newer.ids.splice(at, 1);
    }
  }

  #addNewer(id: string): void {
    this.newer.count++;
    if (this.newer.ids.length < MOST_NAMED) this.newer.ids.push(id);
  }
}
