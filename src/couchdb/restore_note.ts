/**
 * What a whole restore notes in each database that it writes to, so that the same command can go on after a kill: a
 * local document, which is neither replicated nor backed up. In: a database. Out: which backup is being restored into
 * it, and whether that is done.
 */
import type { CouchClient } from "./client.ts";
import { CouchError } from "../errors.ts";
import type { CallOptions } from "./connection.ts";

/** Its id, after `_local/`. */
const NOTE_ID = "couchdb-backup-restore";

/** What the note says. */
export interface RestoreNote {
  /** Identifies this restore of this database: whoever resumes it must find the same one. */
  id: string;
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
  /**
   * What CouchDB said of the database when that was noted: the note is believed only of a database that still agrees
   * with it. Absent while it is not done, and in the notes of earlier versions.
   */
  witness?: RestoreWitness | undefined;
}

/** What a database says of itself, by which it is known again. */
export interface RestoreWitness {
  /** When it was created; null where CouchDB does not tell. */
  created: string | null;
  /** The position in its changes feed after which nothing was written. */
  position: string;
}

/** What is noted in a database; undefined where nothing is, or nothing that can be understood. */
export async function readRestoreNote(
  couch: CouchClient,
  database: string,
  options: CallOptions,
): Promise<RestoreNote | undefined> {
  const found = await couch.localDocument(database, NOTE_ID, options) as Partial<RestoreNote> | null | undefined;
  const { run, database: source, done, at, documents, id } = found ?? {};
  if (typeof run !== "string" || typeof source !== "string") return undefined;
  const counted = typeof documents === "number" ? documents : undefined;
  return {
    id: String(id),
    run,
    database: source,
    done: done === true,
    at: String(at),
    documents: counted,
    witness: readWitness(found?.witness),
  };
}

function readWitness(found: unknown): RestoreWitness | undefined {
  const { created, position } = (found ?? {}) as Partial<Record<keyof RestoreWitness, unknown>>;
  const isTold = (created === null || typeof created === "string") && typeof position === "string";
  return isTold ? { created, position } : undefined;
}

/**
 * Whether nothing was written to a database after a position. Another text of a position means nothing in a cluster,
 * so its feed is asked.
 *
 * @param known A position that CouchDB has told of it just now.
 */
export async function isUnwritten(
  couch: CouchClient,
  database: string,
  { since, known }: { since: string; known: string },
  options: CallOptions,
): Promise<boolean> {
  if (since === known) return true;
  try {
    return (await couch.changes(database, { since, limit: 1 }, options)).rows.length === 0;
  } catch (error) {
    // What is no position of this CouchDB was noted by nobody who had asked it.
    if (error instanceof CouchError && error.facts.status === 400) return false;
    throw error;
  }
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
