/**
 * Compares what a backup has brought back with the changes feed of the database that it was made of. In: the archive,
 * and each of its documents as they are read. Out: the documents that the backup, or a link of its chain, has lost:
 * those that it has not as CouchDB has had them since before it was made.
 */
import type { Archive } from "../../archive/archive.ts";
import { stateKey } from "../../archive/seen_states.ts";
import { counted } from "../../counts.ts";
import { listChanges } from "../../couchdb/changes.ts";
import { IdFilter } from "../../couchdb/id_filter.ts";
import { isMissing } from "../../errors.ts";
import { type ComparisonContext, FeedComparison, type LostDocuments } from "../feed_comparison.ts";

/** Of two thousand documents that were lost less than one is not noticed. */
const BITS_PER_KEY = 16;

/** The documents of one archive, and what they are compared with. */
export class FeedCheck {
  readonly #context: ComparisonContext;
  readonly #archive: Archive;
  /** Ids, and states: an id alone tells that a tombstone is not one that no backup needs. */
  readonly #held: IdFilter;

  constructor(context: ComparisonContext, archive: Archive) {
    this.#context = context;
    this.#archive = archive;
    this.#held = IdFilter.foldable(2 * (archive.documents ?? 0), BITS_PER_KEY);
  }

  /** Takes a document of the archive. */
  add(id: string, revs: readonly string[]): void {
    this.#held.add(id);
    this.#held.add(stateKey({ id, revs }));
  }

  /** What the backup has lost; undefined where it is nothing, or where there is nothing to compare it with. */
  async result(): Promise<LostDocuments | undefined> {
    const { couch, log, signal } = this.#context;
    const { database, feed, origin, unreadable } = this.#archive;
    const overlap = feed?.overlap;
    if (!overlap || origin === undefined || database === undefined) return undefined;
    if (!await this.#isSame()) {
      log.debug("backup is not compared with the changes feed: the database is not there, or not the one that it was", {
        database,
      });
      return undefined;
    }
    const unknown = new Set(unreadable.map(({ id }) => id));
    const comparison = await FeedComparison.open(this.#context, {
      database,
      overlap,
      isSeen: (row) => unknown.has(row.id) || this.#held.mayHave(stateKey(row)),
    });
    if (comparison === undefined) return undefined;
    for await (const { rows } of listChanges(couch, database, { since: "0", log, signal })) {
      // A tombstone of a document that was deleted before the full backup began is in none.
      for (const row of rows) if (!row.deleted || this.#held.mayHave(row.id)) comparison.look(row);
    }
    // After a purge meanwhile nobody can tell which of the missing documents were purged.
    return await this.#isSame() ? await comparison.result() : undefined;
  }

  /** Whether CouchDB has the very database that the backup was made of, and nothing was purged since. */
  async #isSame(): Promise<boolean> {
    const { database, origin } = this.#archive;
    const { instance_start_time: createdAt, purge_seq: purges } = origin!.properties;
    try {
      const { instance_start_time, purge_seq } = await this.#context.couch.databaseInfo(database!, {
        signal: this.#context.signal,
      });
      const numberOf = (text: string | null) => text === null ? undefined : Number.parseInt(text, 10);
      return createdAt !== null && createdAt === instance_start_time && numberOf(purges) === numberOf(purge_seq);
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }
}

/** Lost documents as a sentence. */
export function describeLost({ documents, ids, at_least: isMore }: LostDocuments): string {
  const named = ids.map((id) => JSON.stringify(id)).join(", ");
  const more = documents > ids.length ? ` and ${documents - ids.length} more` : "";
  const many = `${isMore ? "at least " : ""}${counted(documents, "document")}`;
  return `it lacks ${many} as CouchDB has had them since before it was made: ${named}${more}`;
}
