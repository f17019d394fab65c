/**
 * What a whole restore notes in each database that it writes to, so that the same command can go on after a kill: a local
 * document, which is neither replicated nor backed up. In: a database. Out: which backup is being restored into it, and
 * whether that is done.
 */
import type { CouchClient } from "./client.ts";
import type { CallOptions } from "./connection.ts";

/** Its id, behind `_local/`. */
const NOTE_ID = "couchdb-backup-restore";

/** What the note says. */
export interface RestoreNote {
  /** The run that made the backup. */
  run: string;
  /** The decoded name of the database that the backup is of. */
  database: string;
  /** Whether all of it is there. */
  done: boolean;
  /** When that was noted, in UTC. */
  at: string;
  /** How many documents the database has by it at least; absent where that is not known. */
  documents?: number | undefined;
}

/** What is noted in a database; undefined where nothing is, or nothing that can be understood. */
export async function readRestoreNote(
  couch: CouchClient,
  database: string,
  options: CallOptions,
): Promise<RestoreNote | undefined> {
  const found = await couch.localDocument(database, NOTE_ID, options) as Partial<RestoreNote> | null | undefined;
  const { run, database: source, done, at, documents } = found ?? {};
  if (typeof run !== "string" || typeof source !== "string") return undefined;
  const counted = typeof documents === "number" ? documents : undefined;
  return { run, database: source, done: done === true, at: String(at), documents: counted };
}

/**
 * Notes in a database what is being restored into it.
 *
 * @param options `known`: the note's revision as `storeRestoreNote` has returned it, null where there is none yet.
 */
export async function storeRestoreNote(
  couch: CouchClient,
  database: string,
  note: RestoreNote,
  options: CallOptions & { known?: string | null | undefined },
): Promise<string | undefined> {
  return await couch.putLocalDocument(database, NOTE_ID, { ...note }, options);
}
