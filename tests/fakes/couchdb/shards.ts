/**
 * Where a database's documents are: by the hash of its id each belongs to a range, and a range has copies on several
 * nodes. A write goes to all copies that receive; by id the newest of all copies is read; listings, feeds and counts
 * read one copy of each range, whatever it has.
 */
import { crc32 } from "node:zlib";
import { Refusal } from "./answer.ts";
import type { ClusterNode } from "./cluster_node.ts";
import type { RangePosition } from "./position.ts";
import { ShardCopy, type Tree } from "./shard_copy.ts";

/** A part of the hashes and its copies. */
export interface ShardRange {
  /** Both inclusive. */
  begin: number;
  end: number;
  copies: ShardCopy[];
}

/** How a document is written. */
export interface StoreOptions {
  /** The newest state before. */
  before: Tree | undefined;
  after: Tree;
  /** Brings a copy that had another state before as far as it goes; undefined where it would refuse the write. */
  apply: (own: Tree | undefined) => Tree | undefined;
}

const HASHES = 2 ** 32;

/** The ranges of one database. */
export class Shards {
  readonly ranges: ShardRange[];
  readonly #partitioned: boolean;

  constructor({ q, n, partitioned }: { q: number; n: number; partitioned: boolean }, nodes: readonly ClusterNode[]) {
    this.#partitioned = partitioned;
    const size = Math.floor(HASHES / q);
    this.ranges = Array.from({ length: q }, (_, at) => ({
      begin: at * size,
      end: at === q - 1 ? HASHES - 1 : (at + 1) * size - 1,
      copies: Array.from({ length: n }, (_, copy) => new ShardCopy(nodes[(at + copy) % nodes.length]!)),
    }));
  }

  rangeOf(id: string): ShardRange {
    if (this.ranges.length === 1) return this.ranges[0]!;
    const hash = crc32(this.#partitioned && !id.startsWith("_") ? id.slice(0, id.indexOf(":")) : id);
    return this.ranges.find(({ end }) => hash <= end)!;
  }

  /** The newest state of a document that the copies have together. */
  tree(id: string): Tree | undefined {
    const copies = liveCopies(this.rangeOf(id));
    if (copies.length === 1) return copies[0]!.tree(id);
    return newestOf(copies.map((copy) => copy.tree(id)));
  }

  /** Writes a document to the copies that receive. Returns how many have it now. */
  store(id: string, { before, after, apply }: StoreOptions): number {
    let stored = 0;
    for (const copy of this.rangeOf(id).copies) {
      const own = copy.tree(id);
      const tree = !copy.node.receives ? undefined : isSame(own, before) ? after : apply(own);
      if (tree === undefined) {
        if (!copy.missed.has(id)) copy.missed.set(id, []);
        continue;
      }
      copy.store(id, tree);
      stored++;
    }
    return stored;
  }

  /** Takes a document's leaf revisions out of the copies that receive. Returns those that one of them had. */
  purge(id: string, names: readonly string[]): string[] {
    const removed = new Set<string>();
    for (const copy of this.rangeOf(id).copies) {
      if (copy.node.receives) purgeFrom(copy, { id, names }).forEach((name) => removed.add(name));
      else copy.missed.set(id, [...copy.missed.get(id) ?? [], ...names]);
    }
    return [...removed];
  }

  /** A change of settings: sequences move, without a row. */
  touch(): void {
    for (const { copies } of this.ranges) {
      for (const copy of copies) if (copy.node.receives) copy.sequence++;
    }
  }

  /** Internal replication to a node's copies, of at most so many documents. Returns how many are still missed. */
  catchUp(node: ClusterNode, documents: number = Infinity): number {
    let left = 0;
    for (const range of this.ranges) {
      for (const copy of range.copies.filter((copy) => copy.node === node)) {
        for (const [id, purged] of copy.missed) {
          const live = liveCopies(range);
          if (!live.some((other) => other !== copy && !other.missed.has(id))) continue;
          if (documents-- <= 0) break;
          copy.missed.delete(id);
          if (purged.length > 0) purgeFrom(copy, { id, names: purged });
          const newest = newestOf(live.map((other) => other.tree(id)));
          if (newest === undefined) continue;
          for (const other of live) if (!isSame(other.tree(id), newest)) other.store(id, newest);
        }
        left += copy.missed.size;
      }
    }
    return left;
  }

  /** Whether a copy of every range is there. */
  get isComplete(): boolean {
    return this.ranges.every(({ copies }) => copies.some(({ node }) => !node.isAway));
  }

  /** Whether a copy of the document's range is there. */
  isReachable(id: string): boolean {
    return this.rangeOf(id).copies.some(({ node }) => !node.isAway);
  }

  /** Halves a range, in all its copies. */
  split(range: ShardRange): void {
    const middle = range.begin + Math.floor((range.end - range.begin) / 2);
    const halves = [{ begin: range.begin, end: middle }, { begin: middle + 1, end: range.end }];
    const at = this.ranges.indexOf(range);
    const copies = range.copies;
    this.ranges.splice(at, 1, ...halves.map((half): ShardRange => ({ ...half, copies: [] })));
    for (const half of this.ranges.slice(at, at + 2)) {
      half.copies = copies.map((copy) => copy.part((id) => this.rangeOf(id) === half));
    }
  }
}

/** `00000000-7fffffff` */
export function nameOfRange({ begin, end }: ShardRange): string {
  return [begin, end].map((bound) => bound.toString(16).padStart(8, "0")).join("-");
}

/** A place in a copy. */
export function positionIn(range: ShardRange, copy: ShardCopy, sequence: number): RangePosition {
  return { range: nameOfRange(range), node: copy.node.name, copy: copy.name, sequence };
}

/** Which of a range's copies a listing reads. */
export type CopyChoice = (range: ShardRange) => ShardCopy;

/** The copies that can be read. @throws Refusal when there is none. */
export function liveCopies({ copies }: ShardRange): ShardCopy[] {
  const live = copies.length === 1 && !copies[0]!.node.isAway ? copies : copies.filter(({ node }) => !node.isAway);
  if (live.length === 0) throw new Refusal(500, "nodedown", "progress not possible");
  return live;
}

function purgeFrom(copy: ShardCopy, { id, names }: { id: string; names: readonly string[] }): string[] {
  const tree = copy.tree(id)?.clone();
  const removed = tree?.purge(names) ?? [];
  copy.purgeSequence++;
  if (removed.length > 0 && !tree!.isEmpty) copy.store(id, tree!);
  else copy.sequence++;
  if (tree?.isEmpty === true) copy.forget(id);
  return removed;
}

function isSame(a: Tree | undefined, b: Tree | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && a.covers(b) && b.covers(a));
}

/** A tree with the revisions of all: one of them where that has them all. */
function newestOf(trees: readonly (Tree | undefined)[]): Tree | undefined {
  let newest: Tree | undefined;
  for (const tree of trees) {
    if (tree === undefined || tree === newest || newest?.covers(tree) === true) continue;
    newest = newest === undefined || tree.covers(newest) ? tree : newest.union(tree);
  }
  return newest;
}
