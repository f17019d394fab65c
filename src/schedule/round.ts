/**
 * One round of one database, for callers whose calls may not take long. In: the run, the database, and what the round
 * before has returned. Out: how far this one has brought it, and a stored outcome where it is done or has failed.
 */
import { checkpointName, shortRun } from "../archive/layout.ts";
import { readCheckpoint } from "../archive/read.ts";
import type { DatabaseReport } from "../archive/report.ts";
import { backup } from "../commands/backup/backup.ts";
import { counted } from "../counts.ts";
import { isFatalForRun, isNotFound, isTransient, UsageError } from "../errors.ts";
import { dateInPath } from "../task/selection.ts";
import type { Task } from "../task/task.ts";
import { RoundsBrake } from "./brake.ts";
import { isLeaseLost, renewLeaseForRound } from "./lease.ts";
import {
  type BackupOf,
  failure,
  folderOf,
  resuming,
  type RoundsContext,
  runOf,
  type RunOfElapse,
  selectFor,
  withLastWords,
} from "./run_in_rounds.ts";

/** How far a round has brought a database. */
export interface Round {
  /** `unfinished`: there was no time for more, and the next round goes on. */
  status: DatabaseReport["status"] | "unfinished";
  /** For the next round; null when there need be none. */
  cursor: string | null;
  /** Why the database has failed; null when it has not. */
  error: string | null;
  /** Whether the database has not changed since the backup before, so that the next one need not wait. */
  unchanged: boolean;
}

/**
 * Backs up one database, as far as `context.stop` lets it.
 *
 * @param round `cursor` is what the round before returned, null for the first. `hasWholeCall`: false where others have
 * had a part of the call's time, so that it proves nothing when no chunk comes of it.
 * @throws What may heal by itself: the same round can be tried again.
 */
export async function backupRound(
  context: RoundsContext,
  run: RunOfElapse,
  { database, cursor, hasWholeCall = true }: { database: string; cursor: string | null; hasWholeCall?: boolean },
): Promise<Round> {
  const selection = selectFor(run, [database]);
  if (selection.databases.length === 0) {
    throw new UsageError(`Task "${run.task.name}" does not select the database "${database}"`);
  }
  const { generation } = run;
  const lease = generation === undefined ? undefined : { ...run, run: runOf(run), generation };
  if (lease !== undefined) {
    if (await withLastWords(context, (signal) => isLeaseLost({ ...context, signal }, lease))) {
      return { status: "failed", cursor: null, error: "Another run has taken the elapse over", unchanged: false };
    }
    await withLastWords(context, (signal) => renewLeaseForRound({ ...context, signal }, lease));
  }
  const address = { context, task: run.task, date: selection.date, database };
  const startedAt = context.now();
  const brake = new RoundsBrake(folderOf(context, run), run.task, context.now);
  const refused = await withLastWords(context, (signal) => brake.read({ signal }));
  if (refused !== undefined) {
    const outcome = { ...failure(address, undefined), seconds: 0, error: refused.why, exit_code: refused.exit_code };
    return await endRound(context, run, outcome);
  }
  let outcome: DatabaseReport;
  try {
    // The task's other patterns match nothing here; that is no cause for a warning.
    const selections = [{ ...selection, warnings: [], listed: undefined }];
    const options = { ...await resuming(context, run), isOneOfMany: true };
    const report = await backup({ ...context, run: runOf(run) }, selections, options);
    outcome = report.tasks[0]!.databases[0]!;
  } catch (error) {
    const isInterrupted = context.stop.aborted || context.signal.aborted;
    const chunks = isInterrupted ? await countChunks(address, runOf(run)) : 0;
    if (chunks > Number(cursor ?? 0)) {
      return { status: "unfinished", cursor: String(chunks), error: null, unchanged: false };
    }
    if (isInterrupted && !hasWholeCall) {
      return { status: "unfinished", cursor: String(chunks), error: null, unchanged: false };
    }
    // Where CouchDB was silent, that is why the time of the call was not enough, and not the size of a chunk.
    const { trouble } = context.couch;
    const met = isInterrupted ? trouble?.error : error;
    if (isTransient(met) && !await brake.pull(met, trouble?.forMs)) throw met;
    if (isFatalForRun(met)) await brake.pull(met);
    const seconds = (context.now().getTime() - startedAt.getTime()) / 1000;
    outcome = { ...failure(address, met ?? noProgress(run.task)), seconds };
    context.log.error("database is not backed up", { database, error: outcome.error, hint: outcome.hint });
  }
  if (outcome.status !== "failed") await brake.release();
  return await endRound(context, run, outcome);
}

/** Notes that a database is not saved, where no round of it could say so. */
export async function failDatabase(
  context: RoundsContext,
  run: RunOfElapse,
  { database, why }: { database: string; why: string },
): Promise<void> {
  const address = { context, task: run.task, date: dateInPath(run.task, run.elapse), database };
  const outcome: DatabaseReport = { ...failure(address, new UsageError(why)), seconds: 0 };
  context.log.error("database is not backed up", { database, error: outcome.error });
  await endRound(context, run, outcome);
}

async function endRound(context: RoundsContext, run: RunOfElapse, outcome: DatabaseReport): Promise<Round> {
  await withLastWords(context, (signal) => folderOf(context, run).storeOutcome(outcome, { signal }));
  const { status, error = null, unchanged = false } = outcome;
  return { status, cursor: null, error, unchanged };
}

/** How many chunks the run has stored of a database. The call's own time is over by now. */
async function countChunks({ context, date, database }: BackupOf, run: string): Promise<number> {
  const { repository } = context;
  try {
    const folder = repository.backupFolder({ date, database });
    const name = checkpointName(shortRun(run));
    const checkpoint = await withLastWords(
      context,
      (signal) => readCheckpoint(repository.store, folder, { name, signal }),
    );
    return checkpoint.run === run ? checkpoint.chunks.length : 0;
  } catch (error) {
    if (isNotFound(error)) return 0;
    throw error;
  }
}

function noProgress({ chunk, chunkBytes }: Task): UsageError {
  const bounds = [
    ...chunk === undefined ? [] : [counted(chunk, "document")],
    ...chunkBytes === undefined ? [] : [counted(chunkBytes, "byte")],
  ];
  const size = bounds.length === 0 ? "all documents in one request" : `at most ${bounds.join(" and ")} a request`;
  const lower = chunkBytes === undefined
    ? `Set the task's chunk${chunk === undefined ? " or chunk_bytes" : " lower, or chunk_bytes"}`
    : `Set the task's chunk_bytes${chunk === undefined ? "" : " or chunk"} lower`;
  return new UsageError(`Cannot finish a single chunk within the time of one call, with ${size}`, {
    hint: `${lower}, or give the function more memory`,
  });
}
