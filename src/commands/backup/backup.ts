/**
 * The pipeline: a run processes tasks, a task its databases, in parallel as far as requests allow (room.ts); one
 * database is backed up in database.ts. In: the config's tasks. Out: a report. One database's failure is noted in the
 * report and never stops the others.
 */
import { KnownDamageOfRun } from "../../archive/known_damage.ts";
import { type DatabaseReport, isTaskSaved, type RunReport, type TaskReport } from "../../archive/report.ts";
import { requireCodec, requireSeal } from "../../codec/codec.ts";
import { formatIsoDate } from "../../dates.ts";
import { isFatalForRun } from "../../errors.ts";
import { DatabaseInfos } from "../../couchdb/database_infos.ts";
import { ClusterWatch } from "../../couchdb/cluster.ts";
import { NAMED_BY_HAND } from "../../task/select.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { isEmptyByMistake, type TaskSelection } from "../../task/selection.ts";
import type { BackupOptions, Run, RunContext } from "./context.ts";
import { DatabaseBackup } from "./database.ts";
import { IncrementShare } from "./increment.ts";
import { NotTried } from "./not_tried.ts";
import { Rest } from "./rest.ts";
import { Room } from "./room.ts";
import { batchesOf, isSmall } from "./chunk_size.ts";
import { RequestWindow } from "./window.ts";
import { type EndedTask, missUnlisted, rememberRun } from "./unlisted.ts";

/** How many requests of small databases together cost CouchDB less than one for the documents of a large one. */
const SMALL_FOR_LARGE = 4;

/** What is asked at once of a database that is opened: its security object and its `_revs_limit`. */
const OPENING_REQUESTS = 2;

/**
 * Backs up what was selected.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; a checkpoint then says how far
 * the database in hand had come.
 */
export async function backup(
  context: RunContext,
  selections: readonly TaskSelection[],
  options: BackupOptions,
): Promise<RunReport> {
  const { report, ended } = await runBackup(context, selections, options);
  await rememberRun(context, ended);
  return report;
}

/** A run that has come to its end. */
export interface EndedRun {
  report: RunReport;
  /** What `rememberRun` keeps of it. */
  ended: EndedTask[];
  /** What a database was refused, so that no further one was tried: a login, the store; undefined where none was. */
  refused?: unknown;
}

/**
 * The same for a caller that reports first, and calls `rememberRun` with what is returned after that. @throws As
 * `backup`.
 */
export async function runBackup(
  context: RunContext,
  selections: readonly TaskSelection[],
  { whenInterrupted, ...options }: BackupOptions & {
    /** Hears of the tasks that were over when the run was interrupted amid another one. @default nobody */
    whenInterrupted?: ((over: EndedRun) => Promise<void>) | undefined;
  },
): Promise<EndedRun> {
  const startedAt = context.now();
  for (const { task } of selections) {
    requireCodec(codecOf(task));
    await requireSeal(codecOf(task));
  }
  const couchVersion = await context.couch.serverVersion({ signal: context.signal });
  const cluster = new ClusterWatch(context.couch, { log: context.log, times: context.clusterTimes });
  const { rest = new Rest(), damage = new KnownDamageOfRun() } = context;
  const infos = new DatabaseInfos(context.couch, { signal: context.signal, freshMs: context.freshMs });
  const running: Run = { ...context, couchVersion, cluster, rest, damage, infos, refusal: { error: undefined } };
  const ended: EndedTask[] = [];
  try {
    for (const selection of selections) ended.push(await backupTask(running, selection, options));
  } catch (error) {
    if (ended.length > 0) await whenInterrupted?.(endedRun(running, { startedAt, ended }));
    throw error;
  }
  return endedRun(running, { startedAt, ended });
}

function endedRun(
  { run, now, refusal }: Run,
  { startedAt, ended }: { startedAt: Date; ended: EndedTask[] },
): EndedRun {
  const tasks = ended.map(({ report }) => report);
  const report = {
    ok: tasks.every(isTaskSaved),
    run,
    started_at: startedAt.toISOString(),
    finished_at: now().toISOString(),
    tasks,
  };
  return { report, ended, refused: refusal.error };
}

async function backupTask(context: Run, selection: TaskSelection, options: BackupOptions): Promise<EndedTask> {
  const { task, databases } = selection;
  const ofTask: Run = { ...context, log: context.log.with({ task: task.name }) };
  const report = beginReport(ofTask, selection);
  const startedAt = context.now();
  await missUnlisted(context, selection, report);
  context.progress.runStarted({ action: "backup", databases: databases.length });
  report.databases = await backupDatabases(ofTask, selection, options);
  context.progress.runFinished();
  return { selection, report, startedAt };
}

/** The report of a task of which nothing is backed up yet. */
function beginReport({ log }: Run, selection: TaskSelection): TaskReport {
  const { task, date, warnings } = selection;
  const report: TaskReport = { task: task.name, date: formatIsoDate(date), databases: [] };
  for (const warning of warnings) log.warn("selection", { warning });
  if (isEmptyByMistake(selection)) {
    report.error = `Task "${task.name}" selects no database`;
    log.error("task selects no database", {
      hint: "Correct its patterns, or set allow_empty: true if that is expected",
    });
  }
  return report;
}

/**
 * Backs up the databases of a task, as many at a time as its requests allow.
 *
 * @throws The reason of an interruption, once all that was in hand has ended.
 */
async function backupDatabases(
  context: Run,
  { task, date, databases }: TaskSelection,
  options: BackupOptions,
): Promise<DatabaseReport[]> {
  const share = options.isOneOfMany === true
    ? IncrementShare.ofOne(`${context.run} ${databases[0]?.database}`)
    : new IncrementShare(databases.length);
  const window = new RequestWindow(task.parallel, { failures: () => context.couch.retries });
  const room = new Room(() => window.limit, {
    isShared: task.delaySeconds === 0,
    small: () => Math.min(task.parallel, SMALL_FOR_LARGE * window.limit),
    signal: context.signal,
  });
  // With a delay between databases each is asked for when its turn comes: what is known of it would be old by then.
  if (task.delaySeconds === 0) context.infos.expect(databases.map(({ database }) => database));
  const reports: DatabaseReport[] = [];
  const inHand: Promise<void>[] = [];
  let interruption: { reason: unknown } | undefined;
  for (const [index, { database, pattern }] of databases.entries()) {
    const { needs, isSmall } = openingNeeds(context, task, database);
    const place = await room.enter(needs, { isSmall });
    try {
      if (interruption === undefined && context.refusal.error === undefined) await context.rest.taken(context);
    } catch (reason) {
      interruption ??= { reason };
    }
    if (interruption !== undefined) {
      // The databases in hand still need room when they are back from the store.
      place.leave();
      break;
    }
    const one = new DatabaseBackup({ ...context, log: context.log.with({ database }) }, {
      task,
      database,
      date,
      isListed: pattern !== NAMED_BY_HAND,
      share,
      place,
      window,
    });
    const saved = saveOne(context, one, { task, options, room }).then(
      (done) => void (reports[index] = done),
      (reason) => void (interruption ??= { reason }),
    );
    inHand.push(saved.finally(() => place.leave()));
  }
  await Promise.all(inHand);
  if (interruption !== undefined) throw interruption.reason;
  return reports;
}

/**
 * How many requests a database needs until it says so itself: all of them, so that no other one begins, unless its size
 * has come along with those of others, and it is small.
 */
function openingNeeds(
  { infos }: Run,
  task: Task,
  database: string,
): { needs: number | undefined; isSmall: boolean } {
  const info = infos.early(database);
  if (info === undefined || batchesOf(task, info) > 1) return { needs: undefined, isSmall: false };
  return { needs: OPENING_REQUESTS, isSmall: isSmall(info) };
}

/** Backs up one database, unless it would only fail like another. @throws The reason of an interruption. */
async function saveOne(
  context: Run,
  one: DatabaseBackup,
  { task: { delaySeconds }, options, room }: { task: Task; options: BackupOptions; room: Room },
): Promise<DatabaseReport> {
  const { refusal } = context;
  if (refusal.error !== undefined) return await one.notTried(refusal.error);
  const openedAtMs = performance.now();
  try {
    return await one.run(options);
  } finally {
    if (one.isUnchanged) context.rest.isHardlyOwed(delaySeconds, openedAtMs);
    else context.rest.isOwed(delaySeconds);
    if (one.error !== undefined && isFatalForRun(one.error)) {
      refusal.error ??= one.error;
      room.close(new NotTried(refusal.error));
    }
  }
}
