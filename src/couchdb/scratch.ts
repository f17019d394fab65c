/**
 * Databases that this program creates to check what it restores, and drops again. In: a run and a number. Out: a name
 * that nobody else uses, and a local document in the database that says whose it is and that its owner is still
 * running.
 *
 * Nothing else is ever dropped. A database is dropped only if its name and its note both say that it is one of these,
 * or if it is empty and its name is that of a run that was noted elsewhere before it made any.
 */
import { describeError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { CouchClient } from "./client.ts";
import { CopyCounts } from "./copy_counts.ts";
import type { DatabaseInfo } from "./info.ts";
import type { CallOptions } from "./connection.ts";
import { isScratchName, runOfScratchName } from "./scratch_name.ts";

/** Its id, after `_local/`. */
const NOTE_ID = "couchdb-backup-scratch";
const MADE_BY = "couchdb-backup test-restore";

/** How often a note is renewed. */
const RENEW_MS = 5 * 60_000;
/** A note that was not renewed for this long belongs to a run that was killed. */
export const ABANDONED_AFTER_MS: number = 60 * 60_000;
/** What is dropped at the end is dropped even where the run was interrupted, but not for ever. */
const DROP_TIMEOUT_MS = 60_000;
/**
 * Only server admins read a database that is about to get somebody's documents: before 3.0 a new one is open to all.
 */
const CLOSED = '{"admins":{"names":[],"roles":["_admin"]},"members":{"names":[],"roles":["_admin"]}}';

/** What the note says. */
interface ScratchNote {
  made_by: typeof MADE_BY;
  /** The database's own name: a note that was copied elsewhere is none. */
  name: string;
  /** The database of which the backup is. */
  source: string;
  /** When its maker was last alive, in UTC. */
  at: string;
}

/** A scratch database of another run, which may be alive. */
export interface KeptScratch {
  database: string;
  /** From when on it is taken for one that a killed run has left, unless its maker renews its note; in UTC. */
  until: string;
}

/** What scratch databases are made with. */
export interface ScratchContext {
  couch: CouchClient;
  log: Log;
  now: () => Date;
}

/** A scratch database, while it is in use. */
export class ScratchDatabase {
  readonly name: string;
  readonly #context: ScratchContext;
  readonly #source: string;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(context: ScratchContext, { name, source }: { name: string; source: string }) {
    this.#context = context;
    this.name = name;
    this.#source = source;
  }

  /** Marks the database, which was just created, before anything is written to it. */
  async mark(options: CallOptions): Promise<void> {
    await this.#note(options);
    await this.#context.couch.setSecurity(this.name, CLOSED, options);
    this.#timer = setInterval(() => void this.#renew(), RENEW_MS);
  }

  /** Drops it, whatever has become of it. @returns Why it is still there, undefined where it is not. */
  async drop(): Promise<string | undefined> {
    clearInterval(this.#timer);
    try {
      await this.#context.couch.dropDatabase(this.name, isScratchName, {
        signal: AbortSignal.timeout(DROP_TIMEOUT_MS),
        outlivesStop: true,
      });
      return undefined;
    } catch (error) {
      return describeError(error);
    }
  }

  async #note(options: CallOptions): Promise<void> {
    const { couch, now } = this.#context;
    const at = now().toISOString();
    const note: ScratchNote = { made_by: MADE_BY, name: this.name, source: this.#source, at };
    await couch.putLocalDocument(this.name, NOTE_ID, { ...note }, options);
  }

  async #renew(): Promise<void> {
    try {
      await this.#note({ signal: AbortSignal.timeout(RENEW_MS) });
    } catch (error) {
      // The next time is soon enough; the work itself tells when CouchDB is away.
      this.#context.log.debug("note of the scratch database is not renewed", { error: describeError(error) });
    }
  }
}

/**
 * Drops the scratch databases of runs that were killed.
 *
 * @param options `knownRuns`: when runs began that have made some, by their short ids. Such a run may have been killed
 * before it could leave its note: then there is nothing in the database.
 * @returns The names of those that were dropped; and of those whose maker may be alive, with when they may be dropped.
 */
export async function dropAbandoned(
  context: ScratchContext,
  { knownRuns, ...options }: CallOptions & { knownRuns: ReadonlyMap<string, Date> },
): Promise<{ dropped: string[]; kept: KeptScratch[] }> {
  const { couch, log, now } = context;
  const counts = new CopyCounts(couch, { log });
  const dropped: string[] = [];
  const kept: KeptScratch[] = [];
  for (const name of (await couch.listDatabases(options)).filter(isScratchName)) {
    const at = await readNote(couch, name, options) ??
      await begunWithoutNote({ couch, counts }, name, { ...options, knownRuns });
    if (at === undefined) {
      log.warn("database has the name of a scratch database but no note: it is kept", { database: name });
      continue;
    }
    if (now().getTime() - at.getTime() < ABANDONED_AFTER_MS) {
      const until = new Date(at.getTime() + ABANDONED_AFTER_MS).toISOString();
      kept.push({ database: name, until });
      log.info("scratch database of another run stays: that may be alive", { database: name, until });
      continue;
    }
    await couch.dropDatabase(name, isScratchName, options);
    dropped.push(name);
    log.info("scratch database of a run that was killed is dropped", { database: name, at });
  }
  return { dropped, kept };
}

/**
 * When the run began that has made an empty database, undefined where it is none of a known run, or holds something.
 */
async function begunWithoutNote(
  { couch, counts }: { couch: CouchClient; counts: CopyCounts },
  name: string,
  { knownRuns, ...options }: CallOptions & { knownRuns: ReadonlyMap<string, Date> },
): Promise<Date | undefined> {
  const run = runOfScratchName(name) ?? "";
  const at = knownRuns.get(run);
  const first = at === undefined ? undefined : (await couch.manyDatabaseInfos([name], options)).get(name);
  if (first === undefined) return undefined;
  const isFilled = ({ doc_count, doc_del_count }: DatabaseInfo) => doc_count + doc_del_count > 0;
  const { info, lag } = await counts.most(name, { first, isEnough: isFilled }, options);
  if (isFilled(info) || lag !== undefined) return undefined;
  // A note of somebody else says that it is none of ours.
  return await couch.localDocument(name, NOTE_ID, options) === undefined ? at : undefined;
}

/** When the maker of a scratch database was last alive; undefined where nothing says that it is one. */
async function readNote(couch: CouchClient, name: string, options: CallOptions): Promise<Date | undefined> {
  const note = await couch.localDocument(name, NOTE_ID, options) as Partial<ScratchNote> | null | undefined;
  if (note?.made_by !== MADE_BY || note.name !== name || typeof note.at !== "string") return undefined;
  const at = new Date(note.at);
  return Number.isNaN(at.getTime()) ? undefined : at;
}
