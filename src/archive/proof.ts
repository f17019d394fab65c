/**
 * When the backups of a repository were last proved, and the outcome: by `verify --all`, which reads them, and by
 * `test-restore`, which restores them. In: the outcome of such a run. Out: the same, for `status`. Beside the store's
 * other findings lies one small object for each kind: `_store/<suffix>/proof-verify.json`, `proof-test-restore.json`.
 */
import * as z from "zod";
import { jsonBytes } from "../json/indented.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";
import { ifInReach } from "./run_folder.ts";

/** Some hundred bytes are written. */
const MOST_BYTES = 1 << 16;

/** How backups are proved: their bytes are read, or they are restored and compared. */
export type ProofKind = "verify" | "test_restore";

/** How a run came out that proved backups. */
export interface Proof {
  /** When it was over, in UTC. */
  at: string;
  /** Whether nothing was wrong. What CouchDB could not read when a backup was made is not the backup's fault. */
  ok: boolean;
  /** Backups that were looked at. */
  backups: number;
  /** Those that there were to be looked at, where it was a sample of them. */
  backups_in_all: number;
  /** Those that something is wrong with. */
  faulty: number;
  /** Those of which nothing was found out, as the store or CouchDB failed. Absent in what version 0.1 has stored. */
  undecided?: number | undefined;
  /** Documents in what was read. */
  documents: number;
  /** How long it took. */
  seconds: number;
  /** When the last run was over that found nothing wrong, in UTC; null where none ever did. */
  last_ok_at: string | null;
}

/** The last proofs of a repository, null where there is none. */
export type Proofs = Record<ProofKind, Proof | null>;

const OBJECTS: Record<ProofKind, string> = { verify: "proof-verify.json", test_restore: "proof-test-restore.json" };

const proofSchema = z.object({
  at: z.iso.datetime(),
  ok: z.boolean(),
  backups: z.int().min(0),
  backups_in_all: z.int().min(0),
  faulty: z.int().min(0),
  undecided: z.int().min(0).optional(),
  documents: z.int().min(0),
  seconds: z.number().min(0),
  last_ok_at: z.iso.datetime().nullable(),
});

/** Keeps how a run came out, and when one came out well last. @throws StoreError when it cannot be stored. */
export async function storeProof(
  repository: Repository,
  kind: ProofKind,
  outcome: Omit<Proof, "last_ok_at">,
  options: StoreCallOptions,
): Promise<Proof> {
  const before = await readProof(repository, kind, options);
  const proof: Proof = { ...outcome, last_ok_at: outcome.ok ? outcome.at : before?.last_ok_at ?? null };
  await repository.store.replace(keyOf(repository, kind), jsonBytes(proof), options);
  return proof;
}

/**
 * The last proofs. One that is not what it should be, or out of reach, counts for none. @throws StoreError when the
 * store fails.
 */
export async function readProofs(repository: Repository, options: StoreCallOptions): Promise<Proofs> {
  const [verify, testRestore] = await Promise.all([
    readProof(repository, "verify", options),
    readProof(repository, "test_restore", options),
  ]);
  return { verify: verify ?? null, test_restore: testRestore ?? null };
}

async function readProof(
  repository: Repository,
  kind: ProofKind,
  options: StoreCallOptions,
): Promise<Proof | undefined> {
  const limits = { ...options, mostBytes: MOST_BYTES };
  return (await ifInReach(readJson(repository.store, keyOf(repository, kind), { ...limits, schema: proofSchema })))
    .found;
}

/** Repositories that share a prefix have proofs of their own. */
function keyOf({ storeFolder, suffix }: Repository, kind: ProofKind): string {
  return joinKey(storeFolder, suffix, OBJECTS[kind]);
}
