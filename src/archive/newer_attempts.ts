/**
 * Finds out whether the newest backup of a database is older than the last attempt to make one: later runs did not save
 * the database, or the backup that they reported cannot be found. In: a repository and the backup that was found. Out:
 * a sentence for each task whose last run tells of such an attempt.
 */
import { isOfFuture } from "../dates.ts";
import { describeError, StoreError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { listRuns, tasksWithRuns } from "./moment.ts";
import { type DatabaseReport, type RunReport, tellsOf } from "./report.ts";
import type { Repository } from "./repository.ts";
import type { RestorePoint } from "./restore_point.ts";

/** How many runs of a task are searched for one that tells of the database. */
const MOST_RUNS = 30;
/** How far apart the clocks of machines that run tasks may be. */
export const CLOCKS_DIFFER_MS: number = 10 * 60_000;

/** What attempts are looked for with. */
export interface AttemptSearch extends StoreCallOptions {
  /** Decoded. */
  database: string;
  /** The backup that was found. */
  point: RestorePoint;
  /** Only runs that had begun at this moment. @default all */
  notAfter?: Date | undefined;
  log: Log;
  now: Date;
}

/** A run of a task, and its report where it has left one. */
interface FoundRun {
  /** When its schedule fired, or it was begun by hand. */
  at: Date;
  run: RunReport | undefined;
}

/**
 * For each task whose last run after a backup did not save the database: a sentence that says what came of that run.
 * This costs a listing of each task's runs, and reading the report of the last one. Where the runs cannot be read, the
 * log says so.
 */
export async function newerAttempts(repository: Repository, search: AttemptSearch): Promise<string[]> {
  const { log, signal } = search;
  const found: string[] = [];
  try {
    for await (const task of tasksWithRuns(repository, { signal })) {
      const sentence = await newerAttempt(repository, task, search);
      if (sentence !== undefined) found.push(sentence);
    }
  } catch (error) {
    // A login that may not read the runs may restore all the same.
    if (signal?.aborted === true || !(error instanceof StoreError)) throw error;
    log.warn("whether a later run has failed is not known", { error: describeError(error), hint: error.hint });
  }
  return found;
}

/** What a run tells of the database. */
type Told =
  /** That it is not in a backup of this run: a sentence. */
  | { kind: "missed"; sentence: string }
  /** That the backup that was found is the one that is to be had. */
  | { kind: "saved" }
  /** That the task does not save it. */
  | { kind: "unwanted" }
  /** Nothing, and why that is. */
  | { kind: "nothing"; sentence?: string | undefined };

/**
 * The sentence about one task. Of its runs, the newest first, the first one that tells of the database decides; what
 * those before it say that saved nothing at all counts only where the task is to save the database.
 */
async function newerAttempt(
  repository: Repository,
  task: string,
  search: AttemptSearch,
): Promise<string | undefined> {
  const { point, notAfter, now, signal } = search;
  const isWanted = (at: Date) => !isOfFuture(at, now) && (notAfter === undefined || at <= notAfter);
  const runs = (await listRuns(repository, task, { signal })).filter(({ at }) => isWanted(at));
  let failure: string | undefined;
  for (const { at, read } of runs.slice(0, MOST_RUNS)) {
    const found = { at, run: await read() };
    if (notAfter !== undefined && begunAt(found) > notAfter) continue;
    if (!isLater(found, point) && failure === undefined) return undefined;
    const told = tellOf(found, task, search);
    if (told.kind === "saved") return failure;
    if (told.kind === "unwanted") return undefined;
    const { sentence } = told;
    const ending = `The backup of ${toSecond(point.finishedAt)} is taken`;
    const whole = sentence && `The run of the task "${task}" of ${toSecond(at)} ${sentence}. ${ending}`;
    if (told.kind === "missed") return whole;
    failure ??= whole;
  }
  return task === point.manifest.task ? failure : undefined;
}

/** What a run of the task tells of the database; its sentences go on from "The run of …". */
function tellOf({ at, run }: FoundRun, task: string, { database, point }: AttemptSearch): Told {
  const isNewer = isLater({ at, run }, point);
  const isOwn = task === point.manifest.task;
  const report = run?.tasks.find((one) => one.task === task);
  const outcome = report?.databases.find((one) => one.database === database);
  if (outcome !== undefined) {
    // Runs and the manifest of their task go by the same clock; that of the store may differ.
    const own = new Date(point.manifest.finished_at);
    const sentence = isNewer ? describeOutcome(outcome, { database, own, isOwn }) : undefined;
    return sentence === undefined ? { kind: "saved" } : { kind: "missed", sentence };
  }
  if (report !== undefined && report.databases.length > 0 && tellsOf(report, { at, database })) {
    if (!isOwn) return { kind: "unwanted" };
    return isNewer ? { kind: "missed", sentence: `did not have "${database}" any more` } : { kind: "saved" };
  }
  if (report?.error !== undefined) return { kind: "nothing", sentence: `saved nothing: ${report.error}` };
  if (report !== undefined || !isNewer) return { kind: "nothing" };
  return { kind: "nothing", sentence: "has left no report: it is under way, or ended by force" };
}

/**
 * Whether a run came after a backup. A run can be later than its elapse: where an earlier run was still at work, it began
 * when that one ended, or beside it. So it may have tried the database after the backup was made.
 */
function isLater({ at, run }: FoundRun, { manifest }: RestorePoint): boolean {
  const own = new Date(manifest.finished_at);
  if (at > own || begunAt({ at, run }) > own) return true;
  // The backup's own run began before it; without a report a run may have tried it at any time.
  return at > new Date(manifest.started_at) && (run === undefined || new Date(run.finished_at) > own);
}

function begunAt({ at, run }: FoundRun): Date {
  return new Date(run?.started_at ?? at);
}

function describeOutcome(
  { status, error, backed_up_at: savedAt }: DatabaseReport,
  { database, own, isOwn }: { database: string; own: Date; isOwn: boolean },
): string | undefined {
  if (status === "failed") return `did not save "${database}": ${error ?? "it does not say why"}`;
  if (status === "gone") return `found that "${database}" was deleted`;
  if (savedAt === undefined) return undefined;
  const saved = new Date(savedAt);
  if (own.getTime() + (isOwn ? 0 : CLOCKS_DIFFER_MS) >= saved.getTime()) return undefined;
  return `reported a backup of "${database}" of ${
    toSecond(saved)
  } that is damaged or not found ("couchdb-backup list ` +
    `--rebuild" finds what the index lacks)`;
}

function toSecond(moment: Date): string {
  return moment.toISOString().replace(/\.\d+Z$/, "Z");
}
