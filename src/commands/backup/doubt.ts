/** Ends a backup that cannot be trusted: a full one is made instead. In: the reason. Out: an error. */
import { EXIT, ProgramError } from "../../errors.ts";

/**
 * What was begun is of no use, an increment as a rule; a full backup is made in its place. Where that cannot be trusted
 * either, it has failed.
 */
export class FullNeeded extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
  /** Why, a clause: `documents were purged`. */
  readonly reason: string;

  constructor(reason: string) {
    super(`A full backup is needed: ${reason}`);
    this.reason = reason;
  }
}

/** Documents were purged: whatever the chain has of them would come back. */
export const PURGED = "documents were purged since the last backup";
/** Rows of the feed that the last backup has seen are not there any more. */
export const SET_BACK = "the database was reset: documents that the last backup saw are no longer listed";
/** There are more documents than the last backup has counted and the feed has shown since. */
export const MISCOUNTED = "the last backup has counted fewer documents than there were, or the feed does not show all";
/** What was listed before is of a database that is gone. */
export const MADE_ANEW = "the database was deleted and created again while it was saved";
