/**
 * Asks CouchDB a question about each of many databases, for commands that look ahead. In: names, and what to ask. Out:
 * a few sentences about what could not be found out. A database for which CouchDB does not answer is named. Where it no
 * longer answers for any, the asking ends: thirty thousand times the patience of one request would be days.
 */
import { counted } from "../counts.ts";
import type { CallOptions } from "../couchdb/client.ts";
import { CouchError, describeError, isFatalForRun, isMissing, isTransient } from "../errors.ts";
import { forEachParallel } from "../parallel.ts";

/** How many databases are named one by one. */
const MOST_TOLD = 5;
/** After so many requests in a row that found no CouchDB, each with all patience, no further database is asked about. */
const MOST_IN_VAIN = 10;

/**
 * Asks about each database, several at a time. One that has been deleted meanwhile is passed over.
 *
 * @param options `unknown`: what is not known then, such as `the size of`.
 * @returns Warnings, each a sentence without a capital and a full stop.
 * @throws CouchError when CouchDB refuses the login, or answers no more.
 */
export async function askOfEach(
  databases: readonly string[],
  ask: (database: string, options: CallOptions & { signal: AbortSignal }) => Promise<void>,
  { unknown, limit, signal }: { unknown: string; limit: number; signal?: AbortSignal | undefined },
): Promise<string[]> {
  const told: string[] = [];
  let untold = 0;
  let inVain = 0;
  const look = async (database: string, signal: AbortSignal) => {
    try {
      await ask(database, { signal });
      inVain = 0;
    } catch (error) {
      if (!(error instanceof CouchError) || isFatalForRun(error)) throw error;
      inVain = isTransient(error) ? inVain + 1 : 0;
      if (inVain >= MOST_IN_VAIN) throw error;
      if (isMissing(error)) return;
      if (told.length < MOST_TOLD) told.push(`${unknown} database "${database}" is not known: ${describeError(error)}`);
      else untold++;
    }
  };
  await forEachParallel(() => databases, look, { limit, signal });
  return untold === 0 ? told : [...told, `nor is ${unknown} ${counted(untold, "other database")}`];
}
