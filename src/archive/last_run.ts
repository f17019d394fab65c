/**
 * What the last run of each task had, in `_runs/<suffix>/<task>/last.json`: it shows when CouchDB no longer lists a
 * database, since when a task is late, and which runs have told what chains have lost. In: a task. Out: the object, and
 * the databases that are missing now.
 */
import * as z from "zod";
import { jsonBytes } from "../json/indented.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { MOST_LARGE_BYTES } from "../store/whole.ts";
import type { Repository } from "./repository.ts";
import { ifInReach } from "./run_folder.ts";

const NAME = "last.json";

/** How many of the newest runs that have told of a loss are remembered. */
const MOST_TOLD = 100;

const lastRunSchema: z.ZodType<LastRun> = z.object({
  run: z.string(),
  finished_at: z.string(),
  databases: z.array(z.string()),
  saved_until: z.iso.datetime().optional(),
  losses_told: z.array(z.string()).optional(),
});

/** The last run of a task. */
export interface LastRun {
  /** Its id. */
  run: string;
  /** When it was over, in UTC; of one in rounds, when it was planned. */
  finished_at: string;
  /** What the task selected, by decoded names. */
  databases: string[];
  /** Every elapse up to this instant is saved, by this run or one before it; in UTC. Absent where none ever was. */
  saved_until?: string | undefined;
  /**
   * The runs that have found what a chain of backups had lost, and have reported it. Absent in what was stored before
   * there was this: then `run` has reported whatever it had found.
   */
  losses_told?: string[] | undefined;
}

/** What the last run of a task had; undefined where none is known. */
export async function readLastRun(
  repository: Repository,
  task: string,
  options: StoreCallOptions,
): Promise<LastRun | undefined> {
  const limits = { ...options, mostBytes: MOST_LARGE_BYTES };
  return await readJson(repository.store, keyOf(repository, task), { ...limits, schema: lastRunSchema });
}

/**
 * The same where it can be read: what is out of reach, in an archive tier or on a bad block, is as good as unknown. A run
 * that could not write over it would meet it again, and so would each one after it.
 */
export async function lastRunInReach(
  repository: Repository,
  task: string,
  options: StoreCallOptions,
): Promise<LastRun | undefined> {
  return (await ifInReach(readLastRun(repository, task, options))).found;
}

/**
 * Puts `last` in the place of what was known; an instant up to which all is saved never goes back, and what was told
 * stays told, unless what was known is out of reach.
 */
export async function storeLastRun(
  repository: Repository,
  task: string,
  last: LastRun & StoreCallOptions,
): Promise<void> {
  const { signal, ...now } = last;
  const before = await lastRunInReach(repository, task, { signal });
  const savedUntil = [before?.saved_until, now.saved_until].filter((one) => one !== undefined).sort().at(-1);
  const told = new Set([...before === undefined ? [] : toldBy(before), ...now.losses_told ?? []]);
  const body = jsonBytes({ ...now, saved_until: savedUntil, losses_told: [...told].slice(-MOST_TOLD) });
  await repository.store.replace(keyOf(repository, task), body, { signal });
}

/** Says of a task that an elapse of it is saved, however many runs that took. */
export async function noteSaved(
  repository: Repository,
  task: string,
  { elapse, run, finishedAt, databases, signal }: StoreCallOptions & {
    elapse: Date;
    run: string;
    finishedAt: string;
    databases: readonly string[];
  },
): Promise<void> {
  const before = await lastRunInReach(repository, task, { signal });
  const last = before ?? { run, finished_at: finishedAt, databases: [...databases] };
  await storeLastRun(repository, task, { ...last, saved_until: elapse.toISOString(), signal });
}

/**
 * When the task's last run was over, which may be a later one, where it is noted that an elapse, or a run that began
 * then, is saved: for where its report cannot be read. Undefined where that is not noted, or cannot be read either.
 */
export async function notedAsSaved(
  repository: Repository,
  task: string,
  { at, signal }: StoreCallOptions & { at: Date },
): Promise<Date | undefined> {
  const last = await lastRunInReach(repository, task, { signal });
  if (last?.saved_until === undefined || new Date(last.saved_until) < at) return undefined;
  const finishedAt = new Date(last.finished_at);
  // A run in rounds is noted when it is planned, so the moment may be before its end.
  return finishedAt >= at ? finishedAt : at;
}

/** Whether a run has reported what it had found that a chain has lost, as far as the last one of its task knows. */
export function hasToldLosses(last: LastRun, run: string): boolean {
  return toldBy(last).includes(run);
}

function toldBy({ losses_told: told, run }: LastRun): readonly string[] {
  return told ?? [run];
}

/** Says of some runs that what they have found that a chain has lost is reported, by `run`. */
export async function noteLossesTold(
  repository: Repository,
  task: string,
  { run, foundBy, finishedAt, databases, signal }: StoreCallOptions & {
    run: string;
    foundBy: readonly string[];
    finishedAt: string;
    databases: readonly string[];
  },
): Promise<void> {
  const before = await lastRunInReach(repository, task, { signal });
  if (before !== undefined && foundBy.every((one) => hasToldLosses(before, one))) return;
  const last = before ?? { run, finished_at: finishedAt, databases: [...databases] };
  await storeLastRun(repository, task, { ...last, losses_told: [...foundBy], signal });
}

/** The databases that the last run of a task had and that CouchDB does not list any more. */
export async function findUnlisted(
  repository: Repository,
  task: string,
  { listed, signal }: StoreCallOptions & { listed: Iterable<string> },
): Promise<string[]> {
  const known = new Set(listed);
  const last = await readLastRun(repository, task, { signal });
  return (last?.databases ?? []).filter((database) => !known.has(database));
}

/** A sentence for a report: which databases are missed. */
export function describeUnlisted(unlisted: readonly string[]): string {
  const names = unlisted.slice(0, 10).map((name) => `"${name}"`).join(", ");
  const more = unlisted.length > 10 ? ` and ${unlisted.length - 10} more` : "";
  return `CouchDB does not list ${names}${more} any more, of the last run: deleted, or is a node of the cluster away? ` +
    "Their backups stay";
}

function keyOf(repository: Repository, task: string): string {
  return joinKey(repository.taskFolder(task), NAME);
}
