/** What `expire --json` prints: what went, or would go, and why; what stays is counted, by what keeps it. */
import type { Protection } from "../../task/retention.ts";

/** What keeps a backup: something of its own, a damaged manifest of its database, or that it could not be deleted. */
export type KeptBy = Protection | "damaged" | "not_deleted";

/** A complete backup, and what becomes of it. */
export interface ExpiredBackup {
  /** The decoded name. */
  database: string;
  /** The task that made it. */
  task: string;
  /** The URL of its folder, which may hold others. */
  path: string;
  /** When it was complete, in UTC. */
  finished_at: string;
  /** Documents in it. */
  documents: number;
  /** The size of its chunks in the store. */
  compressed_bytes: number;
  /** Why it goes, or stays. */
  reasons: string[];
}

/** Something that could not be done. */
export interface ExpireProblem {
  /** The decoded name; null where it is about no database. */
  database: string | null;
  /** What went wrong. */
  problem: string;
}

/** How it came out. */
export interface ExpireReport {
  /** Whether all that should go is gone, or would have gone. */
  ok: boolean;
  /** Whether it was to be deleted in earnest; else nothing was. */
  confirmed: boolean;
  /** The backups that are gone, or would go. */
  expired: ExpiredBackup[];
  /** The size of their chunks, where no backup that stays needs them. */
  expired_bytes: number;
  /** How many complete backups stay. */
  kept: number;
  /** How many of them each thing keeps; one that several keep counts for each. What keeps none is absent. */
  kept_by: Partial<Record<KeptBy, number>>;
  /** Those, with the reasons; absent where they were not asked for. */
  kept_backups?: ExpiredBackup[];
  /** Objects that no backup needs: of runs that were broken off, or of backups that are gone. */
  leftovers: { objects: number; bytes: number };
  /** Folders of old runs: claims, plans, reports. */
  runs: number;
  /** What could not be done, or must not be. */
  problems: ExpireProblem[];
  /** How long it took. */
  seconds: number;
}
