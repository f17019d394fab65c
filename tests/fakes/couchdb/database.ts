/**
 * One database: settings, local documents, and documents in the copies of its shard ranges. Says what its copies hold
 * together and what a listing through one node sees of it; knows nothing of HTTP.
 */
import type { ClusterNode } from "./cluster_node.ts";
import type { Content } from "./document.ts";
import {
  DocumentWriter,
  type LocalDocument,
  type NamedDocument,
  textOf,
  type WriteOptions,
  type WriteRow,
} from "./document_writer.ts";
import { chooseCopies, drawCopies, type Reading } from "./copy_choice.ts";
import { formatPosition } from "./position.ts";
import type { Revision } from "./revision_tree.ts";
import type { ShardCopy, Tree } from "./shard_copy.ts";
import { type CopyChoice, positionIn, Shards } from "./shards.ts";

/** What is fixed when a database is created. */
export interface DatabaseProperties {
  name: string;
  q: number;
  n: number;
  partitioned: boolean;
  /** In seconds since 1970. */
  createdAt: number;
}

/** What a server gives to its databases. */
export interface DatabaseSurroundings {
  nodes: readonly ClusterNode[];
  random: () => number;
  /** What listings read. */
  readonly reading: Reading;
  /** Whose copies are counted; undefined for any. */
  readonly counting: ClusterNode | undefined;
}

/** What `GET /{db}` tells of the documents. */
export interface DatabaseCounts {
  live: number;
  deleted: number;
  updateSeq: string;
  purgeSeq: string;
}

/** Live documents, design documents among them. */
export interface Listing {
  /** In the order of their bytes. */
  ids: readonly string[];
  /** Undefined when there is none or it is deleted. */
  winner(id: string): Revision<Content> | undefined;
}

/** Which copies a test means: by default all. */
export interface CopySelection {
  node?: ClusterNode;
  /** The number of a range, from 0. */
  range?: number;
}

/** One database. */
export class Database {
  revsLimit = 1000;
  /** The text of the security object. */
  security = '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}';
  readonly localDocuments: Map<string, LocalDocument> = new Map();
  readonly properties: DatabaseProperties;
  readonly shards: Shards;
  readonly #writer: DocumentWriter;
  readonly #surroundings: DatabaseSurroundings;
  #listed: { key: string; ids: readonly string[] } | undefined;

  constructor(properties: DatabaseProperties, surroundings: DatabaseSurroundings) {
    this.properties = properties;
    this.#surroundings = surroundings;
    this.shards = new Shards(properties, surroundings.nodes);
    this.#writer = new DocumentWriter(this);
  }

  get name(): string {
    return this.properties.name;
  }

  get partitioned(): boolean {
    return this.properties.partitioned;
  }

  /** How many copies are a majority. */
  get quorum(): number {
    return Math.floor(this.properties.n / 2) + 1;
  }

  /** Counts and positions, of one copy of each range that chance picks, unless a test does: on a cluster they differ from call to call. */
  counts(): DatabaseCounts {
    const choose = drawCopies(this.#surroundings);
    const drawn = this.shards.ranges.map((range) => ({ range, copy: choose(range) }));
    const sum = (count: (copy: ShardCopy) => number) => drawn.reduce((total, { copy }) => total + count(copy), 0);
    return {
      live: sum((copy) => copy.liveCount),
      deleted: sum((copy) => copy.deletedCount),
      updateSeq: formatPosition(drawn.map(({ range, copy }) => positionIn(range, copy, copy.sequence))),
      purgeSeq: formatPosition(drawn.map(({ range, copy }) => positionIn(range, copy, copy.purgeSequence))),
    };
  }

  /** Where the feed ends: of one copy of each range that chance picks. */
  get updateSeq(): string {
    return this.counts().updateSeq;
  }

  /** Which copies a listing through a node reads. */
  copyChoice(coordinator: ClusterNode): CopyChoice {
    return chooseCopies(coordinator, this.#surroundings);
  }

  /** The documents as one listing through a node sees them. */
  listing(coordinator: ClusterNode): Listing {
    const choose = this.copyChoice(coordinator);
    const chosen = new Map(this.shards.ranges.map((range) => [range, choose(range)]));
    const copies = [...chosen.values()];
    const key = copies.map(({ name, generation }) => `${name}/${generation}`).join(" ");
    if (this.#listed?.key !== key) {
      this.#listed = { key, ids: copies.flatMap((copy) => copy.liveIds()).sort(compareIds) };
    }
    return { ids: this.#listed.ids, winner: (id) => chosen.get(this.shards.rangeOf(id))!.liveWinner(id) };
  }

  /** The revisions of a document, of all its copies together. */
  tree(id: string): Tree | undefined {
    return this.shards.tree(id);
  }

  /** The text of the winning revision, undefined when there is none or it is deleted. */
  winnerText(id: string): string | undefined {
    const winner = this.tree(id)?.winner();
    return winner === undefined || winner.content!.deleted ? undefined : textOf(id, winner);
  }

  /**
   * Writes a batch and says what became of each document.
   * @throws Refusal when one document makes CouchDB refuse the whole batch; nothing is written then.
   */
  write(documents: NamedDocument[], options: WriteOptions): WriteRow[] {
    return this.#writer.write(documents, options);
  }

  /** Removes leaf revisions, and documents that have none left. Returns what was removed, by id. */
  purge(revisions: Record<string, string[]>): Record<string, string[]> {
    this.#writer.forgetValidators();
    return Object.fromEntries(Object.entries(revisions).map(([id, names]) => [id, this.shards.purge(id, names)]));
  }

  /** The copies that a test means. */
  copies({ node, range }: CopySelection = {}): ShardCopy[] {
    const ranges = range === undefined ? this.shards.ranges : [this.shards.ranges[range]!];
    return ranges.flatMap(({ copies }) => copies).filter((copy) => node === undefined || copy.node === node);
  }

  /**
   * Remembers what copies are now. The function that it returns puts that back in their place, as a virtual machine's
   * snapshot does: what was written meanwhile is gone from them, and what is written next gets sequences that positions
   * from before lie beyond, so that a feed from those does not show it.
   */
  snapshot(selection?: CopySelection): () => void {
    const taken = this.copies(selection).map((copy) => ({ copy, snapshot: copy.snapshot() }));
    return () => {
      for (const { copy, snapshot } of taken) copy.setBack(snapshot);
      this.#writer.forgetValidators();
    };
  }

  /**
   * Makes the files of copies anew: no position in them is known any more, and their rows come again from the start.
   */
  rewind(selection?: CopySelection): void {
    for (const copy of this.copies(selection)) copy.rename();
  }

  /** Halves a range: the number before a position's dash jumps, positions from before stay good. */
  splitRange(range = 0): void {
    this.shards.split(this.shards.ranges[range]!);
  }
}

/** Compares ids as their UTF-8 bytes do. UTF-16 puts the surrogates of emoji below U+E000 to U+FFFF. */
export function compareIds(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  const rank = (unit: number) => Number.isNaN(unit) ? -1 : unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}
