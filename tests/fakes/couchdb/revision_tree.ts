/**
 * The revisions of one document: a tree in which an edit adds a leaf and replication merges whole histories. Knows
 * leaves, winner and ancestry; what a revision holds is the caller's.
 * A revision is known by generation and hash alone. CouchDB can also keep the same one on two branches, which needs
 * two different histories for one revision and does not happen outside hand-made data.
 */

/** A revision's history, newest first, as in `_revisions`. */
export interface History {
  start: number;
  ids: string[];
}

/** A node of the tree. */
export interface Revision<Content> {
  generation: number;
  hash: string;
  parent: Revision<Content> | undefined;
  /** Undefined for ancestors that are known by name only. */
  content: Content | undefined;
}

const HEX_HASH = /^[0-9a-f]{32}$/;

/** `3-abc`. */
export function revisionName({ generation, hash }: { generation: number; hash: string }): string {
  return `${generation}-${hash}`;
}

/**
 * Compares two revisions as CouchDB does: by generation, then by hash, of which 32 hexadecimal digits count as bytes.
 */
export function compareRevisions(
  a: { generation: number; hash: string },
  b: { generation: number; hash: string },
): number {
  if (a.generation !== b.generation) return a.generation - b.generation;
  // Digits sort as their bytes do, so only a mixed pair needs the bytes.
  const mixed = HEX_HASH.test(a.hash) !== HEX_HASH.test(b.hash);
  const [left, right] = mixed ? [bytesOfHash(a.hash), bytesOfHash(b.hash)] : [a.hash, b.hash];
  return left < right ? -1 : left > right ? 1 : 0;
}

function bytesOfHash(hash: string): string {
  if (!HEX_HASH.test(hash)) return hash;
  return hash.replaceAll(/../g, (digits) => String.fromCharCode(parseInt(digits, 16)));
}

/** The revisions of one document. */
export class RevisionTree<Content extends { deleted: boolean }> {
  #revisions = new Map<string, Revision<Content>>();

  get isEmpty(): boolean {
    return this.#revisions.size === 0;
  }

  get(name: string): Revision<Content> | undefined {
    return this.#revisions.get(name);
  }

  /**
   * Merges a history whose newest revision holds `content`, and forgets ancestors beyond `revsLimit`. A revision that
   * is known already keeps its content; an ancestor known by name only gets it.
   */
  merge(history: History, options: { content: Content; revsLimit: number }): void {
    let child: Revision<Content> | undefined;
    for (let depth = 0; depth < history.ids.length; depth++) {
      const name = nameAt(history, depth);
      let revision = this.#revisions.get(name);
      if (revision === undefined) {
        const hash = history.ids[depth]!;
        revision = { generation: history.start - depth, hash, parent: undefined, content: undefined };
        this.#revisions.set(name, revision);
      }
      // A history that was cut short once grows its older part when a longer one arrives.
      if (child !== undefined) child.parent ??= revision;
      child = revision;
    }
    this.#revisions.get(nameAt(history, 0))!.content ??= options.content;
    this.#forgetBeyond(options.revsLimit);
  }

  /** Another tree with the same revisions, which can be changed without changing this one. */
  clone(): RevisionTree<Content> {
    const copy = new RevisionTree<Content>();
    const copies = new Map<Revision<Content>, Revision<Content>>();
    for (const [name, revision] of this.#revisions) {
      const cloned = { ...revision };
      copies.set(revision, cloned);
      copy.#revisions.set(name, cloned);
    }
    for (const cloned of copies.values()) {
      if (cloned.parent !== undefined) cloned.parent = copies.get(cloned.parent);
    }
    return copy;
  }

  /** Whether all leaves of `other` are known here. */
  covers(other: RevisionTree<Content>): boolean {
    return other.#leafNodes().every((leaf) => this.#revisions.has(revisionName(leaf)));
  }

  /** A tree with the revisions of both. */
  union(other: RevisionTree<Content>): RevisionTree<Content> {
    const both = this.clone();
    for (const leaf of other.#leafNodes()) {
      both.merge(historyOf(leaf), { content: leaf.content!, revsLimit: Infinity });
    }
    return both;
  }

  /** Whether the newest revision of `history` is known with its content, so that merging it changes nothing. */
  has(history: History): boolean {
    return this.#revisions.get(nameAt(history, 0))?.content !== undefined;
  }

  /** The nearest revision of `history` that has content, its newest one left out. */
  nearestAncestor(history: History): Revision<Content> | undefined {
    for (let depth = 1; depth < history.ids.length; depth++) {
      const revision = this.#revisions.get(nameAt(history, depth));
      for (let node = revision; node !== undefined; node = node.parent) {
        if (node.content !== undefined) return node;
      }
    }
    return undefined;
  }

  /** All leaves, best first: the first is the winner. Live before deleted, then long histories, then high hashes. */
  leaves(): Revision<Content>[] {
    const leaves = this.#leafNodes();
    return leaves.sort((a, b) => {
      const live = Number(a.content!.deleted) - Number(b.content!.deleted);
      return live !== 0 ? live : compareRevisions(b, a);
    });
  }

  /**
   * All leaves in the order in which `_bulk_get` answers: the trees with the oldest or smallest root last, and
   * children in the order of their hashes. The winner can be anywhere.
   */
  leavesAsTree(): Revision<Content>[] {
    if (this.#revisions.size === 1) return [...this.#revisions.values()];
    const paths = this.#leafNodes().map((leaf) => ({ leaf, path: pathTo(leaf) }));
    paths.sort((a, b) => {
      const roots = compareRevisions(b.path[0]!, a.path[0]!);
      if (roots !== 0) return roots;
      const fork = a.path.findIndex((node, depth) => node !== b.path[depth]);
      return compareRevisions(a.path[fork]!, b.path[fork]!);
    });
    return paths.map(({ leaf }) => leaf);
  }

  /** The winning revision. */
  winner(): Revision<Content> | undefined {
    if (this.#revisions.size === 1) return this.#revisions.values().next().value;
    return this.leaves()[0];
  }

  isLeaf(revision: Revision<Content>): boolean {
    return this.#leafNodes().includes(revision);
  }

  /** The leaves that descend from `revision`, or are it. */
  leavesBelow(revision: Revision<Content>): Revision<Content>[] {
    return this.leavesAsTree().filter((leaf) => pathTo(leaf).includes(revision));
  }

  /** Removes these leaves and the ancestors that nothing else needs. Returns the names of those removed. */
  purge(names: readonly string[]): string[] {
    const removed = this.#leafNodes().filter((leaf) => names.includes(revisionName(leaf)));
    const kept = new Set(this.#leafNodes().filter((leaf) => !removed.includes(leaf)).flatMap(pathTo));
    for (const [name, revision] of this.#revisions) if (!kept.has(revision)) this.#revisions.delete(name);
    return removed.map(revisionName);
  }

  #leafNodes(): Revision<Content>[] {
    const parents = new Set<Revision<Content>>();
    for (const { parent } of this.#revisions.values()) if (parent !== undefined) parents.add(parent);
    return [...this.#revisions.values()].filter((revision) => !parents.has(revision));
  }

  #forgetBeyond(revsLimit: number): void {
    if (this.#revisions.size <= revsLimit) return;
    const kept = new Set(this.#leafNodes().flatMap((leaf) => pathTo(leaf).slice(-revsLimit)));
    for (const [name, revision] of this.#revisions) if (!kept.has(revision)) this.#revisions.delete(name);
    for (const revision of kept) {
      if (revision.parent !== undefined && !kept.has(revision.parent)) revision.parent = undefined;
    }
  }
}

/** The history of a revision, as in `_revisions`. */
export function historyOf(revision: Revision<unknown>): History {
  return { start: revision.generation, ids: pathTo(revision).reverse().map(({ hash }) => hash) };
}

/** From the root to `revision`. */
function pathTo<Content>(revision: Revision<Content>): Revision<Content>[] {
  const path: Revision<Content>[] = [];
  for (let node: Revision<Content> | undefined = revision; node !== undefined; node = node.parent) path.push(node);
  return path.reverse();
}

function nameAt({ start, ids }: History, depth: number): string {
  return `${start - depth}-${ids[depth]}`;
}
