/**
 * Checks, during a full backup, whether the chain of incremental backups before it would have restored what CouchDB
 * has. In: the newest backup of the chain, and each row that the full one lists. Out: the documents that the chain has
 * lost. It costs a listing of what has changed since, and reads the filters in which the links recorded what they saw,
 * but no chunk. A full backup that is resumed lists again what it had listed before the interruption, as its result was
 * not stored.
 */
import { type ChainLink, followChain } from "../../archive/chain.ts";
import type { ChainLoss, Manifest } from "../../archive/manifest.ts";
import { readSeen, type SeenRow, stateKey } from "../../archive/seen_states.ts";
import type { IdFilter } from "../../couchdb/id_filter.ts";
import { listChanges } from "../../couchdb/changes.ts";
import { counted, formatCount } from "../../counts.ts";
import { ArchiveError, describeError } from "../../errors.ts";
import { FeedComparison } from "../feed_comparison.ts";
import { type DocumentCounts, purgesOf } from "./completeness.ts";
import type { Run } from "./context.ts";

/** What the backup before has, and what the database is now. */
export interface CheckedChain {
  /** Decoded. */
  database: string;
  /** The newest backup of the task. */
  previous: Manifest;
  /** The key of its folder, and its name there. */
  folder: string;
  name: string;
  counts: DocumentCounts;
  /** When the database was created, as far as CouchDB tells. */
  createdAt: string | null;
  /** Whether the sentence about what is lost must not name it. */
  isSealed: boolean;
}

/** A chain that is compared with a listing. */
export class ChainCheck {
  readonly #context: Run;
  readonly #chain: CheckedChain;
  readonly #comparison: FeedComparison;

  private constructor(context: Run, chain: CheckedChain, comparison: FeedComparison) {
    this.#context = context;
    this.#chain = chain;
    this.#comparison = comparison;
  }

  /** Undefined where nothing can be compared: the log says why. */
  static async open(context: Run, chain: CheckedChain): Promise<ChainCheck | undefined> {
    const { database, previous, counts, createdAt } = chain;
    const { properties: was, feed } = previous;
    const isOther = was.instance_start_time !== createdAt || purgesOf(was) !== purgesOf(counts.info) ||
      counts.expected < (feed?.expected ?? 0);
    const filters = isOther || !feed?.overlap
      ? "the database is not the one that it was, or the last backup does not say where its feed ended"
      : await readFilters(context, chain);
    if (typeof filters === "string") {
      context.log.debug("the chain before is not compared", { database, reason: filters });
      return undefined;
    }
    const isSeen = (row: SeenRow) => {
      const key = stateKey(row);
      return filters.some((filter) => filter.mayHave(key));
    };
    const comparison = await FeedComparison.open(context, { database, overlap: feed!.overlap!, isSeen });
    return comparison && new ChainCheck(context, chain, comparison);
  }

  /** Takes a row of the listing. */
  look(row: SeenRow): void {
    this.#comparison.look(row);
  }

  /** Lists all of the database: what it shows counts as rows of the listing do. */
  async lookAtAll(): Promise<void> {
    const { couch, log, signal, stop } = this.#context;
    for await (const { rows } of listChanges(couch, this.#chain.database, { since: "0", log, signal })) {
      for (const row of rows) this.look(row);
      stop.throwIfAborted();
    }
  }

  /** What the chain has lost, and a sentence that names it; undefined where it is nothing. */
  async result(): Promise<{ lost: ChainLoss; warning: string } | undefined> {
    const { previous, counts, isSealed } = this.#chain;
    const lost = await this.#comparison.result();
    // After a purge nobody can tell which of the missing documents were purged.
    if (lost === undefined || purgesOf(counts.info) !== purgesOf(previous.properties)) return undefined;
    this.#context.log.error("earlier backups lack documents that have not changed since", {
      documents: lost.documents,
      ids: lost.ids,
      before: previous.finished_at,
    });
    const warning = describeLost(isSealed ? { ...lost, ids: [] } : lost, previous);
    return { lost: { ...lost, up_to: previous.finished_at }, warning };
  }
}

/** The filters of all links, or why there are none. */
async function readFilters(
  { repository: { store }, log, signal }: Run,
  { previous, folder, name }: CheckedChain,
): Promise<IdFilter[] | string> {
  const own: ChainLink = { store, folder, name, path: name, manifest: previous };
  const { links, broken } = await followChain(own, { signal, isTolerant: true });
  if (broken !== undefined) return `a link of the chain is incomplete: ${broken.problem}`;
  const filters: IdFilter[] = [];
  for (const { folder, path, manifest: { chunks, feed } } of [own, ...links]) {
    const seen = feed?.seen;
    if (seen === undefined && chunks.length === 0) continue;
    if (seen === undefined) return `"${path}" has no record of what it saw`;
    try {
      filters.push(await readSeen(store, { folder, seen, signal }));
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw error;
      log.warn("filter of what a backup has seen cannot be used", { error: describeError(error) });
      return "a filter of it cannot be used";
    }
  }
  // The full backup comes first, as most documents are in it alone.
  return filters.reverse();
}

/** What a backup that is complete already has found when it was made. */
export function describeKept(lost: ChainLoss): string {
  return `The backups up to ${lost.up_to} lack ${nameLost(lost)}. This backup has them`;
}

/**
 * What a full backup has found, where the run that made it ended before it told anybody.
 *
 * @param key Its manifest's, which names the documents.
 */
export function describeUntold({ chain_lost: lost, finished_at }: Manifest, key: string): string {
  const { documents, up_to } = lost!;
  return `The backups up to ${up_to} lack ${nameLost(lost!)}, as the full backup of ${finished_at} has found: ` +
    `its run ended before it said so. That backup has ${documents === 1 ? "it" : "them"}; its manifest is "${key}"`;
}

function describeLost(lost: Omit<ChainLoss, "up_to">, { finished_at, kind }: Manifest): string {
  const which = kind === "full" ? "The backup" : "The incremental backups";
  return `${which} up to ${finished_at} ${kind === "full" ? "lacks" : "lack"} ${nameLost(lost)}. This backup has them`;
}

function nameLost({ documents, ids, at_least: isMore }: Omit<ChainLoss, "up_to">): string {
  const named = ids.map((id) => JSON.stringify(id)).join(", ");
  const more = documents > ids.length ? ` and ${formatCount(documents - ids.length)} more` : "";
  const names = ids.length === 0 ? "" : `: ${named}${more}`;
  return `${isMore ? "at least " : ""}${counted(documents, "document")} as CouchDB has had them since before${names}`;
}
