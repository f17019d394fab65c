/**
 * What CouchDB gives a database that is created, so that a restore of many need not ask each of them for it. In: what
 * was read of a database that was just made. Out: what the next ones have, as long as nobody but the restore changes
 * them.
 *
 * Each node goes by its own config (`default_security`), so that one database says something about the next one only
 * where there is a single node.
 */
import type { CouchClient } from "../../couchdb/client.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { CallOptions } from "../../couchdb/connection.ts";
import { CouchError } from "../../errors.ts";

/** The settings that a restore gives back. */
export interface RestoredSettings {
  revsLimit: number;
  /** As CouchDB sends it. */
  security: string;
}

/** The settings of new databases, as far as they are known. One for each run: a config may change. */
export class FreshSettings {
  /** Undefined until they are known, and where they cannot be. */
  known: RestoredSettings | undefined;

  #nodes: Promise<number | undefined> | undefined;

  /** Takes what was read of a database that was just made and that nobody else has changed. */
  async learn(settings: RestoredSettings, couch: CouchClient, options: CallOptions): Promise<void> {
    if (this.known !== undefined) return;
    this.#nodes ??= countNodes(couch, options);
    if (await this.#nodes === 1) this.known = settings;
  }
}

/** Undefined where CouchDB does not tell: before 2.0, and to whom it is forbidden. */
async function countNodes(couch: CouchClient, options: CallOptions): Promise<number | undefined> {
  try {
    return (await couch.membership(options)).cluster.length;
  } catch (error) {
    if (error instanceof CouchError) return undefined;
    throw error;
  }
}

/**
 * Whether a database that was just made was changed by nothing but documents, each of them once: every other change
 * moves its position, too, that of `_security` and that of `_revs_limit` as well (1.x to 3.5).
 */
export function hasOnlyDocuments({ update_seq: position, doc_count, doc_del_count }: DatabaseInfo): boolean {
  const [, changes] = /^(\d+)(?:-|$)/.exec(position) ?? [];
  return Number(changes) === doc_count + doc_del_count;
}
