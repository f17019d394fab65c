/**
 * One restore that met a fault, held against the promises: exact, or an error; and running it again, into what is there
 * by then, is exact.
 */
import { compareLeafRevisions } from "../leaf_revisions.ts";
import type { CouchServer } from "../couch_request.ts";
import { judgeOutcome, readTruth, type Truth } from "./judge.ts";
import type { Outcome } from "./program.ts";
import type { Verdict } from "./sweep.ts";

/** What happened. */
export interface RestoreCase {
  truth: Truth;
  /** The server that was written to, without a proxy. */
  target: CouchServer;
  /** The database's name there. */
  database: string;
  first: Outcome | undefined;
  isMet: boolean;
  met?: string | undefined;
  /** Restores again, into what is there, without a fault. */
  again: () => Promise<Outcome>;
}

/** What came of it. */
export async function judgeRestore(
  { truth, target, database, first, isMet, met, again }: RestoreCase,
): Promise<Verdict> {
  const breaches = first === undefined ? [] : judgeOutcome(first);
  if (first?.exit === 0) {
    breaches.push(...(await compareTarget(target, database, truth)).map((one) => `it exits with 0: ${one}`));
  }
  const second = await again();
  breaches.push(...judgeOutcome(second).map((breach) => `again: ${breach}`));
  if (second.exit !== 0) breaches.push(`again it exits with ${second.exit}: ${second.errors.join("; ")}`);
  breaches.push(...(await compareTarget(target, database, truth)).map((one) => `after it was run again: ${one}`));
  return { result: !isMet ? "untouched" : first?.exit === 0 ? "whole" : "said", breaches, met };
}

async function compareTarget(target: CouchServer, database: string, truth: Truth): Promise<string[]> {
  try {
    const found = await readTruth(target, database);
    const differences = compareLeafRevisions(truth.leafRevisions, found.leafRevisions, 3);
    if (found.security !== truth.security) differences.push(`_security is ${found.security}`);
    if (found.revsLimit !== truth.revsLimit) differences.push(`_revs_limit is ${found.revsLimit}`);
    return differences;
  } catch (error) {
    return [`the database cannot be read: ${error}`];
  }
}
