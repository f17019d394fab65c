/**
 * One database: documents by id with their revision trees, local documents, settings. Takes incoming documents and
 * gives rows as CouchDB's; knows nothing of HTTP.
 */
import { createHash } from "node:crypto";
import { Refusal, type RefusedRows } from "./answer.ts";
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

/** What is fixed when a database is created. */
export interface DatabaseProperties {
  name: string;
  q: number;
  n: number;
  partitioned: boolean;
}

/** A document that comes to be written: it has an id, from its text, its URL or made up. */
export type NamedDocument = IncomingDocument & { id: string };

/** What became of one document. `revision` is where it is or would have been. */
export interface WriteRow {
  id: string;
  revision: string | undefined;
  refusal: Refusal | undefined;
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
}

/** One document's revisions. */
export type Tree = RevisionTree<Content>;

const CONFLICT = new Refusal(409, "conflict", "Document update conflict.");

/** One database. */
export class Database {
  revsLimit = 1000;
  /** The text of the security object. */
  security = '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}';
  readonly localDocuments: Map<string, LocalDocument> = new Map();
  readonly createdAt: number = Math.floor(Date.now() / 1000);
  #trees = new Map<string, Tree>();
  #sequence = 0;
  #liveIds: string[] | undefined;
  #validators: string[] | undefined;

  readonly properties: DatabaseProperties;

  constructor(properties: DatabaseProperties) {
    this.properties = properties;
  }

  get name(): string {
    return this.properties.name;
  }

  /** Opaque, as CouchDB's: a number, a dash and something that is not to be understood. */
  get updateSeq(): string {
    const opaque = createHash("sha256").update(`${this.name}/${this.#sequence}`).digest("base64url");
    return `${this.#sequence}-g1AAAAB${opaque}`;
  }

  /** The ids of live documents, design documents among them, in the order of their bytes. */
  get liveIds(): readonly string[] {
    this.#liveIds ??= [...this.#trees].filter(([, tree]) => !tree.winner()!.content!.deleted).map(([id]) => id)
      .sort(compareIds);
    return this.#liveIds;
  }

  /** How many documents have a deleted winner. */
  get deletedCount(): number {
    return this.#trees.size - this.liveIds.length;
  }

  tree(id: string): Tree | undefined {
    return this.#trees.get(id);
  }

  /** The winning revision, undefined when there is none or it is deleted. */
  liveWinner(id: string): Revision<Content> | undefined {
    const winner = this.#trees.get(id)?.winner();
    return winner === undefined || winner.content!.deleted ? undefined : winner;
  }

  /** The text of {@linkcode liveWinner}. */
  winnerText(id: string): string | undefined {
    const winner = this.liveWinner(id);
    return winner === undefined ? undefined : textOf(id, winner);
  }

  /**
   * Writes a batch and says what became of each document.
   * @throws Refusal when one document makes CouchDB refuse the whole batch; nothing is written then.
   */
  write(documents: NamedDocument[], options: WriteOptions): WriteRow[] {
    for (const document of documents) {
      if (this.properties.partitioned) checkPartition(document.id);
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
    if (documents.some(({ id }) => id.startsWith("_design/"))) this.#validators = undefined;
    return rows;
  }

  /** Removes leaf revisions, and documents that have none left. Returns what was removed, by id. */
  purge(revisions: Record<string, string[]>): Record<string, string[]> {
    const purged: Record<string, string[]> = {};
    for (const [id, names] of Object.entries(revisions)) {
      const tree = this.#trees.get(id);
      purged[id] = tree?.purge(names) ?? [];
      if (tree?.isEmpty) this.#trees.delete(id);
    }
    this.#validators = undefined;
    this.#changed();
    return purged;
  }

  #writeOne(
    document: NamedDocument,
    { content, validators, ...options }: WriteOptions & { content: Content; validators: readonly string[] },
  ): WriteRow {
    const { id } = document;
    if (id.startsWith("_local/")) return this.#writeLocal(document, options);
    const history = options.newEdits ? this.#editHistory(document, content) : document.history!;
    const revision = history === undefined
      ? undefined
      : revisionName({ generation: history.start, hash: history.ids[0]! });
    const planned = options.refusedRows.get(id);
    if (planned !== undefined) {
      return { id, revision, refusal: new Refusal(500, planned.error, planned.reason) };
    }
    if (history === undefined) return { id, revision, refusal: CONFLICT };
    const tree: Tree = this.#trees.get(id) ?? new RevisionTree<Content>();
    if (tree.has(history)) return { id, revision, refusal: undefined };
    const refusal = this.#objection(document, { history, content, tree, validators, user: options.user });
    if (refusal !== undefined) return { id, revision, refusal };
    tree.merge(history, { content, revsLimit: this.revsLimit });
    this.#trees.set(id, tree);
    this.#changed();
    return { id, revision, refusal: undefined };
  }

  /** The history of the revision that an edit makes, undefined when it is in conflict with what is there. */
  #editHistory(document: NamedDocument, content: Content): History | undefined {
    const tree = this.#trees.get(document.id);
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
    const before = this.localDocuments.get(document.id);
    const given = Number(document.history?.ids[0] ?? 0);
    const revision = (newEdits ? before?.revision ?? 0 : given) + 1;
    if (document.deleted) this.localDocuments.delete(document.id);
    else this.localDocuments.set(document.id, { revision, body: document.body });
    return { id: document.id, revision: `0-${revision}`, refusal: undefined };
  }

  /** What the document will hold: its stubs replaced by what the revision before it has. */
  #contentOf(document: NamedDocument, newEdits: boolean): Content {
    const tree = this.#trees.get(document.id);
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
    const text = renderDocument(document.id, { history, content }, { revs: true });
    if (document.id.startsWith("_design/")) {
      try {
        if (!document.deleted) checkDesignDocument(text);
        return undefined;
      } catch (error) {
        if (error instanceof Refusal) return error;
        throw error;
      }
    }
    if (validators.length === 0) return undefined;
    const before = tree.nearestAncestor(history);
    const oldText = before === undefined ? undefined : textOf(document.id, before);
    const context = { database: this.name, user, security: this.security };
    return objectionTo(text, { oldText, sources: validators, context });
  }

  #readValidators(): string[] {
    const texts = this.liveIds.filter((id) => id.startsWith("_design/")).map((id) => this.winnerText(id)!);
    return texts.map(validatorSource).filter((source) => source !== undefined);
  }

  #changed(): void {
    this.#sequence++;
    this.#liveIds = undefined;
  }
}

/** The text of a stored revision without its history, attachments as stubs. */
function textOf(id: string, revision: Revision<Content>): string {
  return renderDocument(id, { history: historyOf(revision), content: revision.content! });
}

/** Compares ids as their UTF-8 bytes do. UTF-16 puts the surrogates of emoji below U+E000 to U+FFFF. */
export function compareIds(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  const rank = (unit: number) => Number.isNaN(unit) ? -1 : unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}
