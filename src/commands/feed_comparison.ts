/**
 * Compares what a backup accounts for with what the changes feed says. In: where the backup's feed ended, which states
 * of documents it accounts for, and the feed's rows. Out: the documents that it lacks as they are, although they have
 * not been changed since it was made.
 *
 * What was changed since, or is changed meanwhile, says nothing: it stands in the feed after the backup's end. Nor
 * does what one copy of a cluster says alone: before a document is named it is read by quorum. Memory holds a filter of
 * the ids that were changed, and no more than ten thousand documents.
 */
import { type FeedOverlap, MOST_LOST_NAMED } from "../archive/manifest.ts";
import { KnownRows } from "../archive/overlap.ts";
import type { SeenRow } from "../archive/seen_states.ts";
import { revisionOf } from "../archive/walk.ts";
import { listChanges } from "../couchdb/changes.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { IdFilter } from "../couchdb/id_filter.ts";
import type { Log } from "../observe.ts";
import { readDocuments } from "./read_documents.ts";

/**
 * How many missing documents are kept to be looked at once more; further ones are only counted, and the result says so.
 */
const MOST_SUSPECTS = 10_000;
const DOCUMENTS_AT_ONCE = 100;

/** What is compared. */
export interface ComparedBackup {
  /** Decoded. */
  database: string;
  /** The end of the backup's feed. */
  overlap: FeedOverlap;
  /** Whether the backup accounts for a document as this row shows it. */
  isSeen: (row: SeenRow) => boolean;
}

/** Where CouchDB is asked. */
export interface ComparisonContext {
  couch: CouchClient;
  log: Log;
  signal: AbortSignal;
}

/** Documents that a backup lacks, or has in another state than they were in. */
export interface LostDocuments {
  /** How many there are. */
  documents: number;
  /** The ids of the first twenty. */
  ids: string[];
  /** There may be more: not all that it may lack were looked at. */
  at_least?: true;
}

/** One comparison: show it each row of the feed, then ask for the result. */
export class FeedComparison {
  readonly #context: ComparisonContext;
  readonly #backup: ComparedBackup;
  readonly #changed: IdFilter;
  readonly #suspects = new Map<string, SeenRow>();
  #further = 0;

  private constructor(context: ComparisonContext, backup: ComparedBackup, changed: IdFilter) {
    this.#context = context;
    this.#backup = backup;
    this.#changed = changed;
  }

  /**
   * Lists what was changed since the backup. Undefined where the database was reset: then its feed tells nothing.
   */
  static async open(context: ComparisonContext, backup: ComparedBackup): Promise<FeedComparison | undefined> {
    const known = new KnownRows(backup.overlap);
    let changed: IdFilter | undefined;
    for await (const { rows, pending } of rowsSince(context, backup)) {
      changed ??= IdFilter.forIds(rows.length + (pending ?? 0));
      for (const row of rows) if (known.look(row) !== "known") changed.add(row.id);
    }
    return known.unseen > 0 ? undefined : new FeedComparison(context, backup, changed ?? IdFilter.forIds(0));
  }

  /** Takes a row of the feed. Of a document that is listed again the last row counts. */
  look(row: SeenRow): void {
    if (this.#backup.isSeen(row) || this.#changed.mayHave(row.id)) {
      if (this.#suspects.size > 0) this.#suspects.delete(row.id);
    } else if (this.#suspects.size < MOST_SUSPECTS || this.#suspects.has(row.id)) this.#suspects.set(row.id, row);
    else this.#further++;
  }

  /** What the backup lacks; undefined where it is nothing. */
  async result(): Promise<LostDocuments | undefined> {
    if (this.#further > 0) {
      this.#context.log.warn("not all documents that the backups before may lack were looked at", {
        lookedAt: this.#suspects.size,
        further: this.#further,
      });
    }
    if (this.#suspects.size === 0) return undefined;
    const lost = new Set<string>();
    // Where there are many, most were changed while the feed was listed, and need not be read.
    if (this.#suspects.size > DOCUMENTS_AT_ONCE) await this.#dropChanged(this.#suspects);
    const ids = [...this.#suspects.keys()];
    for (let from = 0; from < ids.length; from += DOCUMENTS_AT_ONCE) {
      const asked = ids.slice(from, from + DOCUMENTS_AT_ONCE);
      for (const row of await this.#readLeaves(asked)) if (!this.#backup.isSeen(row)) lost.add(row.id);
    }
    // After the reading: a document that was changed before it was read is in the feed by now.
    if (lost.size > 0) await this.#dropChanged(lost);
    if (lost.size === 0) return undefined;
    const named = [...lost].sort();
    const most = this.#further > 0 ? { at_least: true } as const : {};
    return { documents: lost.size, ids: named.slice(0, MOST_LOST_NAMED), ...most };
  }

  /** Takes out what was changed since the backup was made. */
  async #dropChanged(ids: { delete(id: string): boolean }): Promise<void> {
    const known = new KnownRows(this.#backup.overlap);
    for await (const { rows } of rowsSince(this.#context, this.#backup)) {
      for (const row of rows) if (known.look(row) !== "known") ids.delete(row.id);
    }
  }

  /** The leaf revisions of documents, by quorum; what is gone or cannot be read is not among them. */
  async #readLeaves(ids: readonly string[]): Promise<SeenRow[]> {
    const { couch, signal } = this.#context;
    const leaves = await readDocuments<Map<string, string[]>>(ids, {
      couch,
      database: this.#backup.database,
      revisions: false,
      attachments: false,
      begin: () => new Map(),
      async add(found, document) {
        if ("stream" in document) { for await (const _ of document.stream); }
        const { id = "" } = document;
        const rev = revisionOf(document);
        if (rev !== undefined) found.set(id, [...found.get(id) ?? [], rev]);
      },
      signal,
    });
    return [...leaves].map(([id, revs]) => ({ id, revs }));
  }
}

function rowsSince({ couch, log, signal }: ComparisonContext, { database, overlap: { since } }: ComparedBackup) {
  return listChanges(couch, database, { since, log, signal });
}
