/**
 * How documents come into a database: edits and replicated revisions with CouchDB's refusals, one row for each.
 * Knows nothing of HTTP.
 */
import { Refusal, type RefusedRows } from "./answer.ts";
import type { ClusterNode } from "./cluster_node.ts";
import { checkDesignDocument, objectionTo, validatorSource } from "./design_document.ts";
import {
  type Attachment,
  checkPartition,
  type Content,
  type IncomingDocument,
  newHash,
  renderDocument,
} from "./document.ts";
import type { Member } from "./json_text.ts";
import { type History, historyOf, type Revision, revisionName, RevisionTree } from "./revision_tree.ts";
import type { Tree } from "./shard_copy.ts";
import type { Shards } from "./shards.ts";

/** A document that comes to be written: it has an id, from its text, its URL or made up. */
export type NamedDocument = IncomingDocument & { id: string };

/** What became of one document. `revision` is where it is or would have been. */
export interface WriteRow {
  id: string;
  revision: string | undefined;
  refusal: Refusal | undefined;
  /** Whether as many copies have it as CouchDB wants before it answers 201. */
  isQuorum: boolean;
}

/** How a batch is written. */
export interface WriteOptions {
  newEdits: boolean;
  user: string;
  refusedRows: RefusedRows;
}

/** A local document, which has a counter instead of a history. */
export interface LocalDocument {
  revision: number;
  body: Member[];
  /** Nodes that have got it: it is written to the copies that receive, and never brought to others. */
  holders: ReadonlySet<ClusterNode>;
}

/** What of its database a writer works with. */
export interface WriterContext {
  readonly name: string;
  readonly shards: Shards;
  readonly partitioned: boolean;
  /** How many copies are a majority. */
  readonly quorum: number;
  readonly revsLimit: number;
  readonly security: string;
  readonly localDocuments: Map<string, LocalDocument>;
}

const CONFLICT = new Refusal(409, "conflict", "Document update conflict.");

/** For a document of whose range no copy can be written. */
export const UNREACHABLE: Refusal = new Refusal(500, "error", "internal_server_error");

/** Writes into one database. */
export class DocumentWriter {
  readonly #database: WriterContext;
  readonly #designIds = new Set<string>();
  #validators: string[] | undefined;

  constructor(database: WriterContext) {
    this.#database = database;
  }

  /** Reads the validation functions anew before the next batch. */
  forgetValidators(): void {
    this.#validators = undefined;
  }

  /**
   * Writes a batch and says what became of each document.
   * @throws Refusal when one document makes CouchDB refuse the whole batch; nothing is written then.
   */
  write(documents: NamedDocument[], options: WriteOptions): WriteRow[] {
    for (const document of documents) {
      if (this.#database.partitioned) checkPartition(document.id);
      if (!options.newEdits && document.history === undefined) {
        const reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        throw new Refusal(400, "bad_request", reason);
      }
    }
    const contents = documents.map((document) => this.#contentOf(document, options.newEdits));
    // What this batch does to design documents only holds for the next one.
    const validators = this.#validators ??= this.#readValidators();
    const rows = documents.map((document, index) =>
      this.#writeOne(document, { ...options, content: contents[index]!, validators })
    );
    for (const { id } of documents) {
      if (!id.startsWith("_design/")) continue;
      this.#designIds.add(id);
      this.#validators = undefined;
    }
    return rows;
  }

  #writeOne(
    document: NamedDocument,
    { content, validators, ...options }: WriteOptions & { content: Content; validators: readonly string[] },
  ): WriteRow {
    const { id } = document;
    if (id.startsWith("_local/")) return this.#writeLocal(document, options);
    const { shards, revsLimit, quorum } = this.#database;
    if (!shards.isReachable(id)) return { id, revision: undefined, refusal: UNREACHABLE, isQuorum: true };
    const before = shards.tree(id);
    const history = options.newEdits ? this.#editHistory(document, content) : document.history!;
    const revision = history === undefined
      ? undefined
      : revisionName({ generation: history.start, hash: history.ids[0]! });
    const refused = (refusal: Refusal): WriteRow => ({ id, revision, refusal, isQuorum: true });
    const planned = options.refusedRows.get(id);
    if (planned !== undefined) return refused(new Refusal(500, planned.error, planned.reason));
    if (history === undefined) return refused(CONFLICT);
    if (before?.has(history) === true) return { id, revision, refusal: undefined, isQuorum: true };
    const tree = before ?? new RevisionTree<Content>();
    const refusal = this.#objection(document, { history, content, tree, validators, user: options.user });
    if (refusal !== undefined) return refused(refusal);
    const merged = (own: Tree | undefined) => {
      const changed = own?.clone() ?? new RevisionTree<Content>();
      changed.merge(history, { content, revsLimit });
      return changed;
    };
    // An edit of a state that a copy has not got is a conflict there; it gets the result later, from the others.
    const apply = (own: Tree | undefined) => options.newEdits ? undefined : merged(own);
    const stored = shards.store(id, { before, after: merged(before), apply });
    if (stored === 0) return refused(UNREACHABLE);
    // Replicated revisions are answered 201 however few copies have them (3.5.0).
    return { id, revision, refusal: undefined, isQuorum: !options.newEdits || stored >= quorum };
  }

  /** The history of the revision that an edit makes, undefined when it is in conflict with what is there. */
  #editHistory(document: NamedDocument, content: Content): History | undefined {
    const tree = this.#database.shards.tree(document.id);
    // Of a document that is deleted nothing but a beginning is taken, and put onto the mark (3.5.0).
    const isGone = tree?.winner()?.content?.deleted === true;
    if (isGone && (document.deleted || document.history !== undefined)) return undefined;
    let parent: Revision<Content> | undefined;
    if (document.history !== undefined) {
      const [hash] = document.history.ids;
      parent = tree?.get(revisionName({ generation: document.history.start, hash: hash! }));
      if (parent === undefined || !tree!.isLeaf(parent)) return undefined;
    } else {
      const winner = tree?.winner();
      if (winner !== undefined && !winner.content!.deleted) return undefined;
      parent = winner;
    }
    const ancestors = parent === undefined ? { start: 0, ids: [] } : historyOf(parent);
    const generation = ancestors.start + 1;
    for (const attachment of content.attachments) if (attachment.revpos === 0) attachment.revpos = generation;
    const hash = newHash({ ...document, history: parent === undefined ? undefined : ancestors }, content);
    return { start: generation, ids: [hash, ...ancestors.ids] };
  }

  #writeLocal(document: NamedDocument, { newEdits }: WriteOptions): WriteRow {
    const before = this.#database.localDocuments.get(document.id);
    const given = Number(document.history?.ids[0] ?? 0);
    const revision = (newEdits ? before?.revision ?? 0 : given) + 1;
    if (document.deleted) this.#database.localDocuments.delete(document.id);
    else {
      const written = this.#database.shards.rangeOf(document.id).copies.filter(({ node }) => node.receives);
      const holders = new Set([...before?.holders ?? [], ...written.map(({ node }) => node)]);
      this.#database.localDocuments.set(document.id, { revision, body: document.body, holders });
    }
    return { id: document.id, revision: `0-${revision}`, refusal: undefined, isQuorum: true };
  }

  /** What the document will hold: its stubs replaced by what the revision before it has. */
  #contentOf(document: NamedDocument, newEdits: boolean): Content {
    const { shards } = this.#database;
    const tree = shards.isReachable(document.id) ? shards.tree(document.id) : undefined;
    const attachments = document.attachments.map((attachment): Attachment => {
      // An edit's attachment belongs to the generation it makes, which is only known when its parent is.
      if (!("stub" in attachment)) return newEdits ? { ...attachment, revpos: 0 } : attachment;
      const kept = this.#contentBefore(document, { tree, newEdits })?.attachments
        .find(({ name }) => name === attachment.name);
      if (kept !== undefined) return kept;
      throw new Refusal(412, "missing_stub", `Invalid attachment stub in ${document.id} for ${attachment.name}`);
    });
    return { deleted: document.deleted, body: document.body, attachments };
  }

  #contentBefore(
    { history }: NamedDocument,
    { tree, newEdits }: { tree: Tree | undefined; newEdits: boolean },
  ): Content | undefined {
    if (tree === undefined || history === undefined) return undefined;
    const sent = tree.get(revisionName({ generation: history.start, hash: history.ids[0]! }));
    // A replicated revision that is there already will change nothing, so its own stubs are as good.
    return newEdits ? sent?.content : sent?.content ?? tree.nearestAncestor(history)?.content;
  }

  #objection(
    document: NamedDocument,
    { history, content, tree, validators, user }: {
      history: History;
      content: Content;
      tree: Tree;
      validators: readonly string[];
      user: string;
    },
  ): Refusal | undefined {
    const text = () => renderDocument(document.id, { history, content }, { revs: true });
    if (document.id.startsWith("_design/")) {
      try {
        if (!document.deleted) checkDesignDocument(text());
        return undefined;
      } catch (error) {
        if (error instanceof Refusal) return error;
        throw error;
      }
    }
    if (validators.length === 0) return undefined;
    const before = tree.nearestAncestor(history);
    const oldText = before === undefined ? undefined : textOf(document.id, before);
    const context = { database: this.#database.name, user, security: this.#database.security };
    return objectionTo(text(), { oldText, sources: validators, context });
  }

  #readValidators(): string[] {
    const texts = [...this.#designIds].sort().flatMap((id) => {
      const { shards } = this.#database;
      const winner = shards.isReachable(id) ? shards.tree(id)?.winner() : undefined;
      return winner === undefined || winner.content!.deleted ? [] : [textOf(id, winner)];
    });
    return texts.map(validatorSource).filter((source) => source !== undefined);
  }
}

/** The text of a stored revision without its history, attachments as stubs. */
export function textOf(id: string, revision: Revision<Content>): string {
  return renderDocument(id, { history: historyOf(revision), content: revision.content! });
}
