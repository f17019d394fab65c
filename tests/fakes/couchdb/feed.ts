/**
 * One reading of a database's feed: one copy of each range, from the place that a position names in it, the ranges
 * interleaved by chance. Every range is in the order of its copy's changes; the whole is in no order.
 */
import type { ClusterNode } from "./cluster_node.ts";
import { formatPosition, type RangePosition } from "./position.ts";
import type { FeedEntry, ShardCopy } from "./shard_copy.ts";
import { liveCopies, nameOfRange, type ShardRange, type Shards } from "./shards.ts";

/** How a feed is read. */
export interface FeedOptions {
  since: readonly RangePosition[];
  /** Through which node. */
  coordinator: ClusterNode;
  random: () => number;
}

/** The most rows that come of one range before another one has its turn. */
const MAX_BURST = 20;

/** One range that is read. */
interface Worker {
  range: ShardRange;
  copy: ShardCopy;
  /** How far it has been read. */
  sequence: number;
  rows: Iterator<FeedEntry>;
}

/** A feed that is being read. */
export class Feed {
  readonly #workers: Worker[];
  readonly #random: () => number;
  /** Those that may have rows left. */
  #busy: Worker[];
  #turn: { worker: Worker; left: number } | undefined;

  constructor(shards: Shards, { since, coordinator, random }: FeedOptions) {
    this.#random = random;
    this.#workers = shards.ranges.map((range) => {
      const { copy, sequence } = placeIn(range, since, coordinator);
      return { range, copy, sequence, rows: copy.since(sequence) };
    });
    this.#busy = [...this.#workers];
  }

  /** The next row, undefined at the end. */
  next(): FeedEntry | undefined {
    while (this.#busy.length > 0) {
      this.#turn ??= {
        worker: this.#busy[Math.floor(this.#random() * this.#busy.length)]!,
        left: 1 + Math.floor(this.#random() * MAX_BURST),
      };
      const { worker } = this.#turn;
      if (--this.#turn.left === 0) this.#turn = undefined;
      const { value, done } = worker.rows.next();
      if (done !== true) {
        worker.sequence = value.sequence;
        return value;
      }
      this.#busy = this.#busy.filter((other) => other !== worker);
      this.#turn = undefined;
    }
    return undefined;
  }

  /** Where it is. */
  get position(): string {
    return formatPosition(this.#workers.map(({ range, copy, sequence }) => ({
      range: nameOfRange(range),
      node: copy.node.name,
      copy: copy.name,
      sequence,
    })));
  }

  /** How many rows these copies have behind where it is. */
  get pending(): number {
    return this.#workers.reduce((sum, { copy, sequence }) => sum + copy.countSince(sequence), 0);
  }
}

/**
 * The copy that a position names goes on to be read, through whichever node, as long as its node is there. Another one
 * begins at its start: CouchDB can often find a later place that is safe, and repeats fewer rows.
 */
function placeIn(
  range: ShardRange,
  since: readonly RangePosition[],
  coordinator: ClusterNode,
): { copy: ShardCopy; sequence: number } {
  const copies = liveCopies(range);
  for (const { copy: name, sequence } of since) {
    const copy = copies.find((copy) => copy.knows(name));
    if (copy !== undefined) return { copy, sequence };
  }
  const named = since.find((position) => position.range === nameOfRange(range))?.node;
  const copy = copies.find(({ node }) => node.name === named) ?? copies.find(({ node }) => node === coordinator) ??
    copies[0]!;
  return { copy, sequence: 0 };
}
