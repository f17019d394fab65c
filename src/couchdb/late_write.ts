/**
 * What has become of a request to write that failed. CouchDB goes on with what it has begun when it, or a proxy before
 * it, has long answered that it took too long: a document with thousands of leaf revisions took 3.5.0 three minutes and
 * more, which it answered with 500 after one. To send the same again takes it as long once more. In: the leaf revisions
 * that were sent. Out: which of them are lacking once nothing more is to be expected.
 */
import { CouchError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { findLacking, type Lacks, type LeafIdentity } from "./lacking.ts";

/** So many times as long as it has failed after CouchDB is given to finish what it may be at. */
const PATIENCE = 4;
const LONGEST_PATIENCE_MS = 300_000;
/** Of what a request took before it failed, so much lies between two questions. */
const BETWEEN_QUESTIONS = 1 / 8;
/** Who waits for longer is told why. */
const SILENT_MS = 10_000;

/** Where it was to be written. */
export interface WritePlace {
  client: CouchClient;
  database: string;
  log: Log;
}

/** A request that failed. */
export interface FailedWrite {
  error: CouchError;
  /** How long it took to fail. */
  tookMs: number;
}

/** Whether a request may be carried out although it failed: CouchDB, or a proxy, has read it. */
export function mayBeWritten(failure: unknown): failure is CouchError {
  if (!(failure instanceof CouchError)) return false;
  const { status, error } = failure.facts;
  return status === undefined ? error === "timeout" || error === "cut_off" : status >= 500;
}

/**
 * Waits for what a failed request may still bring.
 *
 * @returns Which of its leaf revisions are lacking; undefined where CouchDB does not say: all of them may be.
 * @throws The reason of what ends the waiting.
 */
export async function awaitLateWrite(
  { client, database, log }: WritePlace,
  leaves: readonly LeafIdentity[],
  { error, tookMs, ...options }: FailedWrite & CallOptions,
): Promise<Lacks | undefined> {
  const patienceMs = Math.min(PATIENCE * tookMs, LONGEST_PATIENCE_MS);
  const startedMs = performance.now();
  let told = false;
  for (;;) {
    let lacks: Lacks | undefined;
    try {
      lacks = await findLacking(client, database, leaves, { ...options, attempts: 1 });
    } catch (failure) {
      if (!(failure instanceof CouchError)) throw failure;
    }
    const lacking = lacks === undefined ? leaves.length : leaves.filter(lacks).length;
    const waitedMs = performance.now() - startedMs;
    const fields = { ...describeLeaves(leaves), lacking };
    if (lacks === undefined || lacking === 0 || waitedMs >= patienceMs) {
      const outcome = lacking === 0 ? "couchdb has written it after all" : "couchdb has not written all of it";
      if (told) log.info(outcome, { ...fields, waitedMs: Math.round(waitedMs) });
      return lacks;
    }
    if (!told && patienceMs > SILENT_MS) {
      told = true;
      log.warn("couchdb may still write what it took too long for: waiting before it is sent again", {
        ...fields,
        longestMs: Math.round(patienceMs),
        error: client.tell(error),
      });
    }
    await client.pause(tookMs * BETWEEN_QUESTIONS, options);
  }
}

/** How many they are, and of which document where they are of one. */
function describeLeaves(leaves: readonly LeafIdentity[]): { id?: string; documents?: number; leafRevisions: number } {
  const documents = new Set(leaves.map(({ id }) => id)).size;
  return { ...documents === 1 ? { id: leaves[0]!.id } : { documents }, leafRevisions: leaves.length };
}
