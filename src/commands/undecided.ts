/**
 * Backups of which a proof has found out nothing, as the store or CouchDB failed: that is no fault of theirs, and must
 * not be told as one. In: what looking at a backup has met. Out: a list of those, and whether it is of any use to look
 * at others.
 */
import {
  AwsError,
  CouchError,
  describeDiscreetly,
  describeError,
  exitCodeOf,
  hintOf,
  isFatalForRun,
  isOutOfReach,
  isTransient,
  StoreError,
} from "../errors.ts";
import type { Log } from "../observe.ts";

/** After so many in a row that could not be read, each with all patience, the store is taken for unreachable. */
const MOST_IN_A_ROW = 16;

/** A backup that is looked at. */
export interface ProvedBackup {
  /** The decoded name. */
  database: string;
  /** The URL of its manifest. */
  path: string;
  /** When it was complete, in UTC. */
  finished_at: string;
}

/** A backup of which nothing was found out. */
export interface UndecidedBackup extends ProvedBackup {
  /** Why. */
  error: string;
  /** What can be done about it, where that is known. */
  hint?: string;
  /** 11 where the store failed, 10 where CouchDB did. */
  exit_code: number;
  /** False where it was not even tried, as it would have failed like one before. */
  tried: boolean;
}

/** The backups of one run of which nothing was found out. */
export class Undecided {
  /** In the order in which they were met. */
  readonly backups: UndecidedBackup[] = [];
  readonly #log: Log;
  readonly #mostInARow: number;
  #inARow = 0;
  /** What every further one would meet. */
  #end: unknown;

  /** @param options.mostInARow After so many passing failures in a row nothing more is tried. */
  constructor({ log, mostInARow = MOST_IN_A_ROW }: { log: Log; mostInARow?: number }) {
    this.#log = log;
    this.#mostInARow = mostInARow;
  }

  /** Whether every further backup would fail as one has: it is only noted. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** One was looked at: the store and CouchDB answer. */
  noteDecided(): void {
    this.#inARow = 0;
  }

  /** Notes one that is not tried. */
  noteUntried(backup: ProvedBackup): void {
    this.#note(backup, this.#end, { tried: false });
  }

  /** Takes an error that says nothing about the backup itself. False where it does, so that the backup is at fault. */
  take(backup: ProvedBackup, error: unknown): boolean {
    const isUndecided = isOfSurroundings(error);
    this.#inARow = isUndecided && isTransient(error) ? this.#inARow + 1 : 0;
    if (!isUndecided) return false;
    if (isFatalForRun(error) || isAway(error) || this.#inARow >= this.#mostInARow) this.#end ??= error;
    this.#note(backup, error, { tried: true });
    return true;
  }

  /** The log's last word on them, where there are any: each one that was tried has a line of its own. */
  tell(): void {
    const untried = this.backups.filter(({ tried }) => !tried).length;
    if (untried > 0) {
      this.#log.error("backups were not looked at", { backups: untried, error: describeDiscreetly(this.#end) });
    }
  }

  #note(backup: ProvedBackup, error: unknown, { tried }: { tried: boolean }): void {
    const hint = hintOf(error);
    const why = describeError(error);
    this.backups.push({
      ...backup,
      error: tried ? why : `Not tried, as it would fail like one before: ${why}`,
      ...hint === undefined ? {} : { hint },
      exit_code: exitCodeOf(error),
      tried,
    });
    const { database, path } = backup;
    // The backup may be sealed, and the error name a document.
    const told = describeDiscreetly(error);
    if (tried) this.#log.error("backup could not be looked at", { database, path, error: told, hint });
  }
}

/** Whether the store or CouchDB failed, and not one object that is gone or out of reach. */
function isOfSurroundings(error: unknown): boolean {
  if (error instanceof CouchError) return isFatalForRun(error) || isTransient(error) || isNoAnswer(error);
  return (error instanceof StoreError || error instanceof AwsError) && !isOutOfReach(error);
}

/** Whether CouchDB, or what stands before it, has failed or wants no such request of this login: whatever is in it. */
function isNoAnswer({ facts: { status = 0, error } }: CouchError): boolean {
  return status >= 500 || status === 403 || status === 407 || error === "not_couchdb" || error === "redirect";
}

/** Whether CouchDB does not answer, after all patience: no other backup fares better. */
function isAway(error: unknown): boolean {
  return error instanceof CouchError && error.facts.error === "unreachable";
}
