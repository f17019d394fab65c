/**
 * The metrics of proofs: that backups were read again (`verify --all`), or restored for a test (`test-restore`). In:
 * how such a run came out. Out: the names, helps and values of its samples, each with the label `proof`. Pure.
 */
import type { Proof } from "../archive/proof.ts";

/** A metric of proofs. */
export interface ProofFamily {
  name: string;
  help: string;
  /** Undefined where there is nothing to say: then the series is left out. */
  value(proof: Proof): number | undefined;
}

/** The time of success, which outlives a run that failed. */
export const LAST_PROOF = "couchdb_backup_proof_last_success_timestamp_seconds";

/** All of them, in the order in which they are written. */
export const PROOF_FAMILIES: readonly ProofFamily[] = [
  {
    name: "couchdb_backup_proof_last_run_timestamp_seconds",
    help: "When backups were last proved, by reading (verify) or restoring (test_restore) them, since 1970.",
    value: ({ at }) => Date.parse(at) / 1000,
  },
  {
    name: LAST_PROOF,
    help: "When backups were last proved and nothing was wrong, since 1970.",
    value: ({ last_ok_at }) => last_ok_at === null ? undefined : Date.parse(last_ok_at) / 1000,
  },
  {
    name: "couchdb_backup_proof_success",
    help: "Whether the last proof found nothing wrong (1) or something (0).",
    value: ({ ok }) => ok ? 1 : 0,
  },
  {
    name: "couchdb_backup_proof_backups",
    help: "Backups that the last proof looked at.",
    value: ({ backups }) => backups,
  },
  {
    name: "couchdb_backup_proof_faulty_backups",
    help: "Backups that the last proof found something wrong with.",
    value: ({ faulty }) => faulty,
  },
  {
    name: "couchdb_backup_proof_undecided_backups",
    help: "Backups that the last proof could not look at, as the store or CouchDB failed.",
    value: ({ undecided = 0 }) => undecided,
  },
  {
    name: "couchdb_backup_proof_duration_seconds",
    help: "How long the last proof took.",
    value: ({ seconds }) => seconds,
  },
];
