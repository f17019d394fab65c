/** What `restore --all` says of itself: each database, what was left out and why. */
import { EXIT } from "../../errors.ts";
import { exitCodeOfRestore, type RestoreReport } from "./report.ts";

/** One database of a whole restore. */
export interface FleetDatabase {
  /** The decoded name of the database that the backup is of. */
  source: string;
  /** The decoded name of the database that was written to. */
  database: string;
  /** When its backup was complete, in UTC. */
  finished_at: string;
  /** Whether all of it is there now: by this restore, or by one before that was broken off (`already`). */
  status: "restored" | "already" | "incomplete" | "failed";
  /** Present where it was restored before and has fewer documents now: it was emptied again. */
  fewer?: FewerDocuments;
  /** Present where it was restored before, at this moment (UTC), and was written to since: it is left as it is. */
  written_since?: string;
  /** What the restore came to; absent where it failed as a whole, or was not needed. */
  report?: RestoreReport;
  /** Why it failed. */
  error?: string;
  /** What to do about it. */
  hint?: string;
  /** The exit code that belongs to the cause. */
  exit_code?: number;
}

/** How a database that was restored before has fewer documents now. */
export interface FewerDocuments {
  /** Documents that it had by that restore, at least. */
  restored: number;
  /** When that was done, in UTC. */
  restored_at: string;
  /** Documents that it has now. */
  there: number;
}

/** A database that is not restored, on purpose or for want of a backup. */
export interface LeftOut {
  /** The decoded name. */
  database: string;
  /** Why, as a phrase. */
  reason: string;
  /** Whether it is one that somebody would miss: it was to be saved, and there is no backup. */
  is_missing: boolean;
}

/** What `restore --all --json` prints. */
export interface FleetReport {
  /** Whether everything that was asked for is there now. */
  ok: boolean;
  /** The moment that was asked for, in UTC; null for the newest of all. */
  moment: string | null;
  /** In the order of their names. */
  databases: FleetDatabase[];
  /** In the order of their names. */
  left_out: LeftOut[];
  /** Documents that were written. */
  documents: number;
  /** How long it took. */
  seconds: number;
  /** Present when nothing was written. */
  dry_run?: true;
}

/** Whether all of a database is there. */
export function isThere({ status, fewer }: FleetDatabase): boolean {
  return status === "restored" || (status === "already" && fewer === undefined);
}

/**
 * The exit code: 3 when something is not there, or the code of all failures where they have one in common and nothing
 * is.
 */
export function exitCodeOfFleet({ ok, databases }: FleetReport): number {
  if (ok) return EXIT.ok;
  const codes = new Set(
    databases.map(({ exit_code, report }) => exit_code ?? (report === undefined ? EXIT.ok : exitCodeOfRestore(report))),
  );
  const [only = EXIT.partial] = codes;
  return codes.size === 1 && only !== EXIT.ok ? only : EXIT.partial;
}
