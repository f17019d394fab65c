/**
 * The backups of the last days: the calendar of each database, sizes, durations, and the state of each task.
 * In: a repository, the config's tasks and how many days. Out: facts that are small enough for ten thousand
 * databases and a year, for the page that `report` makes and for `report --json`. Nothing is written, and CouchDB is
 * not asked.
 */
import { DAY_MS } from "../dates.ts";
import { Catalog, type CatalogEntry } from "../archive/catalog.ts";
import { type DatabaseEntries, listEntries } from "../archive/folders.ts";
import { takeInventory } from "../archive/inventory.ts";
import { listRuns, type ReportedRun } from "../archive/moment.ts";
import { isSaved, isTaskSaved, type RunReport } from "../archive/report.ts";
import type { Repository } from "../archive/repository.ts";
import { ifInReach } from "../archive/run_folder.ts";
import { describeError, hintOf } from "../errors.ts";
import type { Log } from "../observe.ts";
import {
  CalendarStrip,
  type DayCode,
  type ReportData,
  type ReportedDatabase,
  type ReportedTask,
} from "../observe/report_data.ts";
import { loadAhead } from "../parallel.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { nextElapses } from "../task/times.ts";
import { isBegunByHand, readHolder } from "./elapse.ts";
import { isElapseOf } from "./retry.ts";
import { readStatus } from "./status.ts";

/** Databases that are looked at at once: whether the newest backup is there, and the entry of a task with a long name. */
const DATABASES_AT_ONCE = 16;
/** Runs whose reports are read at once. */
const RUNS_AT_ONCE = 8;
/** Databases in these together, or in one: a report of 31,000 is 12 MB, and eight of them took 100 MB more than one. */
const REPORTED_AT_ONCE = 10_000;

/** What {@linkcode readReport} works with. */
export interface ReportContext extends StoreCallOptions {
  repository: Repository;
  now: () => Date;
  /** Is told of what is not shown. */
  log?: Log | undefined;
}

/** A task's runs, and which days and databases they did not save. */
interface TaskRuns {
  runs: ReportedTask["runs"];
  /** How many have left a report that cannot be read: a lifecycle rule may have moved it to an archive tier. */
  unread: number;
  /** By the decoded name, the days on which the database was not saved. */
  failed: Map<string, Set<number>>;
  /** The period's days on which it elapsed and nobody ran it. */
  late: number[];
}

/**
 * Gathers what a report shows. Backups of which the catalog does not know are not in it: `list --rebuild` enters them.
 *
 * @param options `days`: how many, today among them; days are those of UTC.
 * @throws StoreError when the store fails.
 */
export async function readReport(
  context: ReportContext,
  tasks: readonly Task[],
  { days }: { days: number },
): Promise<ReportData> {
  const { repository, now, signal } = context;
  const at = now();
  const today = Math.floor(at.getTime() / DAY_MS);
  const period: Period = { at, first: today - days + 1, days };
  const status = await readStatus({ repository, now: () => at, signal }, tasks);
  const runsOf = new Map<string, TaskRuns>();
  const sizes = new Map(status.tasks.map((one) => [one.task, one.databases]));
  for (const task of tasks) {
    const limit = runsAtOnce(sizes.get(task.name));
    runsOf.set(task.name, await readRuns(context, task, { period, limit }));
  }
  const byDay = { complete: zeros(days), unchanged: zeros(days), failed: zeros(days), bytes: zeros(days) };
  const catalog = new Catalog(repository);
  const look = async ({ database, entries: names }: DatabaseEntries, signal: AbortSignal) => {
    const entries = await Array.fromAsync(catalog.entriesAmong(names, database, { signal }));
    return { database, isKnown: entries.length > 0, entries: await onlyBackups(repository, entries, { signal }) };
  };
  const databases: ReportedDatabase[] = [];
  const seen = new Set<string>();
  for await (
    const { database, isKnown, entries } of loadAhead(listEntries(repository, { signal }), look, {
      limit: DATABASES_AT_ONCE,
      signal,
    })
  ) {
    if (!isKnown) continue;
    seen.add(database);
    databases.push(describe(database, entries, { period, runsOf, byDay }));
  }
  // A database that was never saved has no entry in the catalog, and must not be missing from the report.
  const never = new Set(
    [...runsOf.values()].flatMap(({ failed }) => [...failed.keys()]).filter((name) => !seen.has(name)),
  );
  for (const database of never) databases.push(describe(database, [], { period, runsOf, byDay }));
  databases.sort((a, b) => a.database < b.database ? -1 : 1);
  return {
    made_at: at.toISOString(),
    from: dayText(period.first),
    to: dayText(today),
    ok: status.ok,
    tasks: status.tasks.map((one) => {
      const { runs = [], unread = 0 } = runsOf.get(one.task) ?? {};
      return { ...one, runs, runs_unread: unread };
    }),
    proofs: status.proofs,
    by_day: byDay,
    databases,
  };
}

/**
 * The entries of a database, the newest first, where the newest is that of a backup; where its manifest is not there, as
 * it is lost or its run was ended right before it, what lies in the database's folders.
 */
async function onlyBackups(
  repository: Repository,
  entries: CatalogEntry[],
  { signal }: StoreCallOptions,
): Promise<CatalogEntry[]> {
  const [newest] = entries;
  if (newest === undefined) return entries;
  const { database, manifestKey } = newest;
  if (await repository.store.stat(manifestKey, { signal }) !== undefined) return entries;
  const folders = await Array.fromAsync(takeInventory(repository, { database, signal }));
  return folders.flatMap(({ backups }) => backups).sort((a, b) => b.finishedAt.getTime() - a.finishedAt.getTime());
}

interface Period {
  at: Date;
  /** Days since 1970. */
  first: number;
  days: number;
}

/** Which of the period's days an instant is in; undefined where in none. */
function dayOf({ first, days }: Period, instantMs: number): number | undefined {
  const day = Math.floor(instantMs / DAY_MS) - first;
  return day >= 0 && day < days ? day : undefined;
}

function dayText(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

/** How many runs are read at once of a task whose last one had so many databases; one where that is unknown. */
function runsAtOnce(databases: number | null | undefined): number {
  const isKnown = typeof databases === "number";
  return isKnown ? Math.min(RUNS_AT_ONCE, Math.max(1, Math.floor(REPORTED_AT_ONCE / Math.max(1, databases)))) : 1;
}

async function readRuns(
  context: ReportContext,
  task: Task,
  { period, limit }: { period: Period; limit: number },
): Promise<TaskRuns> {
  const { repository, signal } = context;
  const found: TaskRuns = { runs: [], unread: 0, failed: new Map(), late: [] };
  const all = await listRuns(repository, task.name, { signal });
  const begunMs: number[] = [];
  const shown = all.filter(({ at }) => dayOf(period, at.getTime()) !== undefined);
  const look = (run: ReportedRun, signal: AbortSignal) => readRun({ ...context, signal }, task, run);
  for await (const { run: { at }, isByHand, outcome } of loadAhead(shown, look, { limit, signal })) {
    const day = dayOf(period, at.getTime())!;
    if (!isByHand) begunMs.push(at.getTime());
    if (outcome === "unread") found.unread++;
    if (outcome === undefined || outcome === "unread") continue;
    const { ok, seconds, databases, failed } = outcome;
    found.runs.push({ at: at.toISOString(), ok, seconds, by_hand: isByHand, databases, failed: failed.length });
    for (const name of failed) {
      const days = found.failed.get(name);
      if (days === undefined) found.failed.set(name, new Set([day]));
      else days.add(day);
    }
  }
  const first = await firstOfSchedule(context, task, all);
  if (first !== undefined) found.late.push(...missedDays(task, period, { firstMs: first.at.getTime(), begunMs }));
  return found;
}

/** What is shown of a run. */
interface RunRead {
  run: ReportedRun;
  isByHand: boolean;
  /** Undefined where it has left nothing of the task, and `unread` where its report cannot be read. */
  outcome: { ok: boolean; seconds: number; databases: number; failed: string[] } | undefined | "unread";
}

/** Reads a run's report, of which no more is held than what is shown. */
async function readRun(context: ReportContext, task: Task, run: ReportedRun): Promise<RunRead> {
  const isByHand = await wasByHand(context, task, run);
  const report = await readShown(context, task, run);
  if (report === undefined || report === "unread") return { run, isByHand, outcome: report };
  const part = report.tasks.find((one) => one.task === task.name);
  if (part === undefined) return { run, isByHand, outcome: undefined };
  const failed = part.databases.filter((one) => !isSaved(one)).map(({ database }) => database);
  const seconds = (Date.parse(report.finished_at) - Date.parse(report.started_at)) / 1000;
  return { run, isByHand, outcome: { ok: isTaskSaved(part), seconds, databases: part.databases.length, failed } };
}

/** A run's report; undefined where it has left none, and `unread` where it cannot be read. */
async function readShown(
  { log }: ReportContext,
  task: Task,
  { at, read }: ReportedRun,
): Promise<RunReport | undefined | "unread"> {
  let isUnusable = false;
  const { found, problem } = await ifInReach(read({ onUnusable: () => isUnusable = true }));
  if (problem === undefined && !isUnusable) return found;
  const error = problem === undefined ? "it is damaged, or of a later version" : describeError(problem);
  log?.warn("report of a run cannot be read, and is not shown", { task: task.name, at, error, hint: hintOf(problem) });
  return "unread";
}

/** Whether a run was begun by hand: by the command, or through a Lambda, whose runs have folders as elapses have. */
async function wasByHand(
  { repository, signal }: ReportContext,
  task: Task,
  { at, isByHand }: ReportedRun,
): Promise<boolean> {
  if (isByHand || isElapseOf(task, at)) return isByHand;
  // It may be an elapse of an earlier schedule.
  const folder = repository.runFolder({ task: task.name, elapse: at });
  const { found: holder } = await ifInReach(readHolder(repository.store, { folder, generation: 1 }, { signal }));
  return holder !== undefined && isBegunByHand(holder);
}

/** The first run that nobody had begun by hand. @param all The latest first. */
async function firstOfSchedule(
  context: ReportContext,
  task: Task,
  all: readonly ReportedRun[],
): Promise<ReportedRun | undefined> {
  for (let index = all.length - 1; index >= 0; index--) {
    if (!await wasByHand(context, task, all[index]!)) return all[index];
  }
  return undefined;
}

/**
 * The days on which a task elapsed and nobody began a run, since the first that somebody has begun.
 *
 * @param begun `begunMs`: when runs of the period began.
 */
function missedDays(
  task: Task,
  period: Period,
  { firstMs, begunMs: begun }: { firstMs: number; begunMs: readonly number[] },
): number[] {
  const begunOn = new Set(begun.map((ms) => Math.floor(ms / DAY_MS)));
  const days: number[] = [];
  for (let afterMs = Math.max(period.first * DAY_MS - 1, firstMs);;) {
    const [elapse] = nextElapses(task, { after: new Date(afterMs), count: 1 });
    if (elapse === undefined || elapse > period.at) return days;
    const day = Math.floor(elapse.getTime() / DAY_MS);
    if (!begunOn.has(day)) days.push(day - period.first);
    // One elapse a day is enough: a task may elapse every minute.
    afterMs = (day + 1) * DAY_MS - 1;
  }
}

/** One database. `entries` are the newest first. */
function describe(
  database: string,
  entries: readonly CatalogEntry[],
  { period, runsOf, byDay }: { period: Period; runsOf: ReadonlyMap<string, TaskRuns>; byDay: ReportData["by_day"] },
): ReportedDatabase {
  const strip = new CalendarStrip(period.days);
  const [newest] = entries;
  if (newest !== undefined) {
    // Days before the database's first backup are not marked.
    const first = entries.at(-1)!.finishedAt.getTime();
    const { late = [] } = runsOf.get(newest.task) ?? {};
    for (const day of late) if ((period.first + day + 1) * DAY_MS > first) strip.mark(day, "l");
  }
  for (const { failed } of runsOf.values()) for (const day of failed.get(database) ?? []) strip.mark(day, "x");
  for (const entry of entries) {
    const day = dayOf(period, entry.finishedAt.getTime());
    if (day === undefined) continue;
    strip.mark(day, codeOf(entry), entry.compressedBytes);
    byDay.bytes[day]! += entry.compressedBytes;
  }
  strip.codes.forEach((code, day) => {
    if (code === "x") byDay.failed[day]!++;
    else if (code === "=") byDay.unchanged[day]!++;
    else if (code === "f" || code === "i" || code === "u") byDay.complete[day]!++;
  });
  // The entry of an increment counts only what has changed, so the full backup below it is counted.
  const full = entries.find(({ kind }) => kind === "full");
  return {
    database,
    task: newest?.task ?? null,
    last: newest?.finishedAt.toISOString() ?? null,
    age_seconds: newest === undefined
      ? null
      : Math.max(0, Math.round((period.at.getTime() - newest.finishedAt.getTime()) / 1000)),
    documents: full?.documents ?? null,
    bytes: full?.compressedBytes ?? null,
    depth: depthOf(entries),
    unreadable: newest?.unreadable ?? 0,
    backups: entries.length,
    days: strip.toString(),
    sizes: strip.sizes(),
  };
}

function codeOf({ kind, chunks, unreadable }: CatalogEntry): DayCode {
  if (unreadable > 0) return "u";
  return kind === "full" ? "f" : chunks === 0 ? "=" : "i";
}

/** How many backups with content the newest one goes on from; those of other tasks are none of its chain. */
function depthOf(entries: readonly CatalogEntry[]): number {
  const [newest] = entries;
  let depth = 0;
  for (const { kind, chunks, task } of entries) {
    if (task !== newest?.task) continue;
    if (kind === "full") return depth;
    if (chunks > 0) depth++;
  }
  return depth;
}
