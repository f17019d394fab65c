/**
 * One reading of a database's feed: one copy of each range, from the place that a position names in it, the ranges
 * interleaved by chance. Every range is in the order of its copy's changes; the whole is in no order.
 */
import { formatPosition, type RangePosition } from "./position.ts";
import type { FeedEntry, ShardCopy } from "./shard_copy.ts";
import { type CopyChoice, liveCopies, nameOfRange, type ShardRange, type Shards } from "./shards.ts";

/** How a feed is read. */
export interface FeedOptions {
  since: readonly RangePosition[];
  /** For ranges of which `since` names no copy that is there. */
  choose: CopyChoice;
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

  constructor(shards: Shards, { since, choose, random }: FeedOptions) {
    this.#random = random;
    this.#workers = shards.ranges.map((range) => {
      const { copy, sequence } = placeIn(range, since, choose);
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
 * is read from its start: all of the range comes again (3.5.0, a node killed in the middle of paging).
 */
function placeIn(
  range: ShardRange,
  since: readonly RangePosition[],
  choose: CopyChoice,
): { copy: ShardCopy; sequence: number } {
  const copies = liveCopies(range);
  for (const { copy: name, sequence } of since) {
    const copy = copies.find((copy) => copy.knows(name));
    if (copy !== undefined) return { copy, sequence };
  }
  const named = since.find((position) => position.range === nameOfRange(range))?.node;
  return { copy: copies.find(({ node }) => node.name === named) ?? choose(range), sequence: 0 };
}
