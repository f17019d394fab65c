/**
 * Several databases in one item of a state machine's Map, so that 1,000 small ones need not 1,000 calls. In: the
 * names, and the cursor of the calls before. Out: the cursor of this one. Each database has an outcome of its own,
 * whatever happens to the others; a call that dies counts against the database in hand, not against those after it, nor
 * against those before it, which are done.
 */
import * as z from "zod";
import { KnownDamageOfRun } from "../archive/known_damage.ts";
import type { DatabaseReport } from "../archive/report.ts";
import { counted } from "../counts.ts";
import { UsageError } from "../errors.ts";
import { claimedAt } from "./elapse.ts";
import { backupRound, failDatabase } from "./round.ts";
import { folderOf, type RoundsContext, type RunOfElapse } from "./run_in_rounds.ts";

/** More would gain nothing, and an execution of Step Functions has 25,000 events at most. */
const MOST_IN_A_BATCH = 50;
/** How many batches there are for each one that runs at a time: with many, the last ones end at nearly the same time. */
const BATCHES_EACH = 10;
/** Names in the sentence about what is not saved; the report has all. */
const MOST_NAMED = 5;

/** Puts databases into batches. @param concurrency How many batches are gone through at the same time. */
export function inBatches(databases: readonly string[], concurrency: number): string[][] {
  const size = Math.min(MOST_IN_A_BATCH, Math.max(1, Math.ceil(databases.length / (concurrency * BATCHES_EACH))));
  const batches: string[][] = [];
  for (let from = 0; from < databases.length; from += size) batches.push(databases.slice(from, from + size));
  return batches;
}

/** What a call is told of its batch. */
export interface BatchStep {
  databases: readonly string[];
  /** What the call before returned, null for the first. */
  cursor: string | null;
  /**
   * How many calls with this cursor, each tried several times, have died: with 1 the first database that they have not
   * done is taken alone, with 2 it is given up, for it is the one that they died of.
   */
  broken: number;
  /** What the last one died of; empty where none has. */
  why: string;
}

/** How far a call has brought a batch. */
export interface BatchRound {
  /** Whether nothing is left to do. */
  done: boolean;
  /** For the next call; null when there need be none. */
  cursor: string | null;
  /** `failed`: a database of it is not saved. */
  status: "complete" | "failed" | "unfinished";
  /** Which databases are not saved, and why the first of them; null where all are, or there is more to do. */
  error: string | null;
  /** Whether the task's delay is to be waited for now: the database that was done last had to be read. */
  rest: boolean;
}

/** Where a batch stands, as its cursor has it. */
interface Place {
  /** How many databases are done. */
  at: number;
  /** How many chunks the one in hand has; null where it has not begun. */
  chunks: string | null;
  failed: { count: number; names: string[]; first: string };
}

const placeSchema: z.ZodType<Place> = z.object({
  at: z.int().min(0),
  chunks: z.string().nullable(),
  failed: z.object({ count: z.int().min(0), names: z.array(z.string()), first: z.string() }),
});

/**
 * Backs up the databases of a batch one after the other, as far as `context.stop` lets it.
 *
 * @throws What may heal by itself, where nothing was done before it: the same call can be made again.
 */
export async function backupBatch(
  alone: RoundsContext,
  run: RunOfElapse,
  step: BatchStep,
): Promise<BatchRound> {
  const context: RoundsContext = { ...alone, damage: new KnownDamageOfRun() };
  const { databases, broken, why } = step;
  const place = readPlace(step);
  if (broken > 0 && await passOverDone(context, run, { place, databases })) return result(place, step, { rest: true });
  if (broken > 1 && place.at < databases.length) {
    await failDatabase(context, run, { database: databases[place.at]!, why: why || "Its calls died" });
    noteFailure(place, databases[place.at]!, why || "its calls died");
    return result(place, step, { rest: false });
  }
  for (let isFirst = true; place.at < databases.length; isFirst = false) {
    if (!isFirst && context.stop.aborted) break;
    const database = databases[place.at]!;
    let round: { status: string; cursor: string | null; error: string | null; unchanged: boolean };
    try {
      round = await backupRound(context, run, { database, cursor: place.chunks, hasWholeCall: isFirst });
    } catch (error) {
      if (error instanceof UsageError) {
        await failDatabase(context, run, { database, why: error.message });
        noteFailure(place, database, error.message);
        continue;
      }
      // What this call has done is kept: it ends here, and the next one begins with the database that failed.
      if (isFirst) throw error;
      break;
    }
    if (round.status === "unfinished") {
      place.chunks = round.cursor;
      break;
    }
    if (round.status === "failed") noteFailure(place, database, round.error ?? "");
    else [place.at, place.chunks] = [place.at + 1, null];
    if (run.task.delaySeconds > 0 && !round.unchanged) return result(place, step, { rest: true });
    if (broken > 0) break;
  }
  return result(place, step, { rest: false });
}

/**
 * Passes over what the calls that have died had done by then, as they could not hand back how far they had come.
 *
 * @returns Whether the task's delay is to be waited for after it.
 */
async function passOverDone(
  context: RoundsContext,
  run: RunOfElapse,
  { place, databases }: { place: Place; databases: readonly string[] },
): Promise<boolean> {
  let hasRead = false;
  while (place.at < databases.length) {
    const database = databases[place.at]!;
    const outcome = await readOutcomeOf(context, run, database);
    if (outcome === undefined) break;
    if (outcome.status === "failed") noteFailure(place, database, outcome.error ?? "");
    else [place.at, place.chunks] = [place.at + 1, null];
    hasRead ||= outcome.unchanged !== true;
  }
  return hasRead && run.task.delaySeconds > 0;
}

/** How a database came out in a run; what an earlier run of the elapse did not save is yet to be tried by this one. */
async function readOutcomeOf(
  context: RoundsContext,
  run: RunOfElapse,
  database: string,
): Promise<DatabaseReport | undefined> {
  const { generation } = run;
  const folder = folderOf(context, run);
  const outcome = await folder.readOutcome(database, context);
  if (outcome?.status !== "failed" || generation === 1) return outcome;
  if (generation === undefined) return undefined;
  const claimed = await claimedAt(context.repository.store, { folder: folder.key, generation }, context);
  const stored = await folder.outcomeStoredAt(database, context);
  return claimed !== undefined && stored !== undefined && stored > claimed ? outcome : undefined;
}

function noteFailure(place: Place, database: string, why: string): void {
  const { failed } = place;
  if (failed.count++ === 0) failed.first = why;
  if (failed.names.length < MOST_NAMED) failed.names.push(database);
  [place.at, place.chunks] = [place.at + 1, null];
}

function result(place: Place, { databases }: BatchStep, { rest }: { rest: boolean }): BatchRound {
  const { at, failed: { count, names, first } } = place;
  if (at < databases.length) {
    return { done: false, cursor: JSON.stringify(place), status: "unfinished", error: null, rest };
  }
  if (count === 0) return { done: true, cursor: null, status: "complete", error: null, rest };
  const named = names.map((name) => `"${name}"`).join(", ");
  const more = count > names.length ? ` and ${count - names.length} more` : "";
  const of = databases.length === 1
    ? ""
    : `${count} of ${counted(databases.length, "database")} not saved, ${named}${more}: `;
  return { done: true, cursor: null, status: "failed", error: of + first, rest };
}

/** @throws UsageError for a cursor that no call has returned. */
function readPlace({ cursor, databases }: BatchStep): Place {
  if (cursor === null) return { at: 0, chunks: null, failed: { count: 0, names: [], first: "" } };
  let value: unknown;
  try {
    value = JSON.parse(cursor);
  } catch {
    // Told below.
  }
  const { data } = placeSchema.safeParse(value);
  if (data === undefined || data.at >= databases.length) {
    throw new UsageError(`Cannot continue the batch: no call has returned the cursor ${JSON.stringify(cursor)}`);
  }
  return data;
}
