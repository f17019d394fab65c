/**
 * One copy of one shard range: documents in the order of their last change, as CouchDB keeps them in a file of its
 * own. Revision trees are never changed once they are stored, so the copies of a range share them.
 */
import type { ClusterNode } from "./cluster_node.ts";
import type { Content } from "./document.ts";
import type { Revision, RevisionTree } from "./revision_tree.ts";

/** One document's revisions. */
export type Tree = RevisionTree<Content>;

/** A document at its place in the feed. */
export interface FeedEntry {
  id: string;
  tree: Tree;
  sequence: number;
  /** False once the document has been changed again or is gone. */
  isNewest: boolean;
}

/** What a copy was at some moment. */
export interface CopySnapshot {
  entries: { id: string; tree: Tree; sequence: number }[];
  sequence: number;
  purgeSequence: number;
}

let copiesMade = 0;

/** A copy. */
export class ShardCopy {
  /** What positions know it by: CouchDB's uuid of the file. */
  name: string = newName();
  /** Of the files that it is made from: positions in those are good here. */
  formerNames: readonly string[] = [];
  sequence = 0;
  purgeSequence = 0;
  liveCount = 0;
  /** Moves with the set of live documents. */
  generation = 0;
  /** What was written while it did not receive, by id, with the revisions that were purged. */
  readonly missed: Map<string, string[]> = new Map<string, string[]>();
  #entries = new Map<string, FeedEntry>();
  /** In the order of their sequences; those that are not the newest of their document are thrown out now and then. */
  #log: FeedEntry[] = [];

  readonly node: ClusterNode;

  constructor(node: ClusterNode) {
    this.node = node;
  }

  get deletedCount(): number {
    return this.#entries.size - this.liveCount;
  }

  tree(id: string): Tree | undefined {
    return this.#entries.get(id)?.tree;
  }

  /** The winning revision, undefined when there is none or it is deleted. */
  liveWinner(id: string): Revision<Content> | undefined {
    const winner = this.tree(id)?.winner();
    return winner === undefined || winner.content!.deleted ? undefined : winner;
  }

  /** The ids of live documents, in no order to rely on. */
  liveIds(): string[] {
    const live: string[] = [];
    for (const [id, { tree }] of this.#entries) if (!tree.winner()!.content!.deleted) live.push(id);
    return live;
  }

  /** Puts a document at the newest place of the feed. */
  store(id: string, tree: Tree): void {
    this.#place({ id, tree, sequence: ++this.sequence });
  }

  /** Lets a document vanish, without a row in the feed. */
  forget(id: string): void {
    this.#supersede(id);
    this.#entries.delete(id);
  }

  /** Whether a position in the file of that name says something about this copy. */
  knows(name: string): boolean {
    return this.name === name || this.formerNames.includes(name);
  }

  /** How many rows its feed has behind `sequence`. */
  countSince(sequence: number): number {
    if (sequence === 0) return this.#entries.size;
    let count = 0;
    for (let at = this.#indexBehind(sequence); at < this.#log.length; at++) if (this.#log[at]!.isNewest) count++;
    return count;
  }

  /** The rows of its feed behind `sequence`. */
  *since(sequence: number): Generator<FeedEntry> {
    const log = this.#log;
    for (let at = this.#indexBehind(sequence); at < log.length; at++) if (log[at]!.isNewest) yield log[at]!;
  }

  /** What is here now, to be set back to. */
  snapshot(): CopySnapshot {
    const entries = [...this.since(0)].map(({ id, tree, sequence }) => ({ id, tree, sequence }));
    return { entries, sequence: this.sequence, purgeSequence: this.purgeSequence };
  }

  /** Becomes what it was, as a file of which an old state is put in place: its name stays, its sequence goes back. */
  setBack({ entries, sequence, purgeSequence }: CopySnapshot): void {
    this.#entries.clear();
    this.#log = [];
    this.liveCount = 0;
    for (const entry of entries) this.#place(entry);
    this.sequence = sequence;
    this.purgeSequence = purgeSequence;
  }

  /** The file is made anew with the same documents: no position in it is known any more. */
  rename(): void {
    this.name = newName();
    this.formerNames = [];
  }

  /** The part of it for which `belongs` holds, as a split makes it: sequences stay what they are. */
  part(belongs: (id: string) => boolean): ShardCopy {
    const part = new ShardCopy(this.node);
    const { entries, ...rest } = this.snapshot();
    part.setBack({ ...rest, entries: entries.filter(({ id }) => belongs(id)) });
    part.formerNames = [this.name, ...this.formerNames];
    for (const [id, purged] of this.missed) if (belongs(id)) part.missed.set(id, purged);
    return part;
  }

  #place(placed: { id: string; tree: Tree; sequence: number }): void {
    this.#supersede(placed.id);
    const entry = { ...placed, isNewest: true };
    this.#entries.set(placed.id, entry);
    this.#log.push(entry);
    if (!placed.tree.winner()!.content!.deleted) this.liveCount++;
    this.generation++;
    if (this.#log.length > 2 * this.#entries.size + 100) this.#log = this.#log.filter(({ isNewest }) => isNewest);
  }

  #supersede(id: string): void {
    const before = this.#entries.get(id);
    if (before === undefined) return;
    before.isNewest = false;
    if (!before.tree.winner()!.content!.deleted) this.liveCount--;
    this.generation++;
  }

  #indexBehind(sequence: number): number {
    let [low, high] = [0, this.#log.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#log[middle]!.sequence <= sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Eight hexadecimal digits, as in CouchDB's positions. */
function newName(): string {
  return (Math.imul(++copiesMade, 0x9e3779b1) >>> 0).toString(16).padStart(8, "0");
}
