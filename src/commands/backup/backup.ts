/**
 * The pipeline: a run goes through tasks, a task through its databases, side by side as far as they leave each other
 * requests (room.ts); what happens to one of them is in database.ts. In go the config's tasks, out comes a report; one database's failure is noted in it and never stops
 * the others.
 */
import { isTaskSaved, type RunReport, type TaskReport } from "../../archive/report.ts";
import { requireCodec } from "../../codec/codec.ts";
import { formatDate } from "../../dates.ts";
import { isFatalForRun } from "../../errors.ts";
import { ClusterWatch } from "../../couchdb/cluster.ts";
import { wait } from "../../abort.ts";
import { NAMED_BY_HAND } from "../../task/select.ts";
import { codecOf } from "../../task/task.ts";
import { isEmptyByMistake, type TaskSelection } from "../../task/selection.ts";
import type { BackupOptions, Run, RunContext } from "./context.ts";
import { DatabaseBackup } from "./database.ts";
import { IncrementShare } from "./increment.ts";
import { Room } from "./room.ts";
import { missUnlisted, rememberRun } from "./unlisted.ts";

/** With a delay no more than twenty databases a second are opened, however many of them have not changed. */
const LEAST_BETWEEN_SECONDS = 0.05;

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
  const startedAt = context.now();
  for (const { task } of selections) requireCodec(codecOf(task));
  const couchVersion = await context.couch.serverVersion(context);
  const cluster = new ClusterWatch(context.couch, { log: context.log, times: context.clusterTimes });
  const running: Run = { ...context, couchVersion, cluster, fatal: undefined };
  const tasks: TaskReport[] = [];
  for (const selection of selections) tasks.push(await backupTask(running, selection, options));
  return {
    ok: tasks.every(isTaskSaved),
    run: context.run,
    started_at: startedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks,
  };
}

async function backupTask(context: Run, selection: TaskSelection, options: BackupOptions): Promise<TaskReport> {
  const { task, date, databases } = selection;
  const log = context.log.with({ task: task.name });
  const report: TaskReport = { task: task.name, date: formatDate(date).replaceAll("/", "-"), databases: [] };
  for (const warning of selection.warnings) log.warn("selection", { warning });
  if (isEmptyByMistake(selection)) {
    report.error = `Task "${task.name}" selects no database`;
    log.error("task selects no database", {
      hint: "Correct its patterns, or set allow_empty: true if that is expected",
    });
  }
  const startedAt = context.now();
  await missUnlisted(context, selection, report);
  context.progress.runStarted({ action: "backup", databases: databases.length });
  const share = options.isOneOfMany === true
    ? IncrementShare.ofOne(`${context.run} ${databases[0]?.database}`)
    : new IncrementShare(databases.length);
  const delay = new Delay(task.delaySeconds);
  const room = new Room(task.parallel, { isShared: task.delaySeconds === 0 });
  const inHand: Promise<void>[] = [];
  let interruption: { reason: unknown } | undefined;
  for (const [index, { database, pattern }] of databases.entries()) {
    const place = await room.enter();
    if (interruption !== undefined) break;
    try {
      if (index > 0 && context.fatal === undefined) await waitBetween(delay.seconds(), context);
    } catch (reason) {
      interruption ??= { reason };
      break;
    }
    delay.opens();
    const one = new DatabaseBackup({ ...context, log: log.with({ database }) }, {
      task,
      database,
      date,
      isListed: pattern !== NAMED_BY_HAND,
      share,
      place,
    });
    inHand.push((async () => {
      try {
        report.databases[index] = context.fatal === undefined ? await one.run(options) : one.notTried(context.fatal);
        if (one.isUnchanged) delay.isNotNeeded();
        if (one.error !== undefined && isFatalForRun(one.error)) context.fatal ??= one.error;
      } catch (reason) {
        interruption ??= { reason };
      } finally {
        place.leave();
      }
    })());
  }
  await Promise.all(inHand);
  if (interruption !== undefined) throw interruption.reason;
  context.progress.runFinished();
  await rememberRun(context, selection, { report, startedAt });
  return report;
}

/** How long to wait before the next database: what the task says, but where the last one had not changed a moment. */
class Delay {
  readonly #seconds: number;
  #isNeeded = true;
  #openedAtMs = 0;

  constructor(seconds: number) {
    this.#seconds = seconds;
  }

  opens(): void {
    this.#openedAtMs = performance.now();
    this.#isNeeded = true;
  }

  isNotNeeded(): void {
    this.#isNeeded = false;
  }

  seconds(): number {
    if (this.#isNeeded) return this.#seconds;
    const rest = LEAST_BETWEEN_SECONDS - (performance.now() - this.#openedAtMs) / 1000;
    return Math.min(this.#seconds, Math.max(0, rest));
  }
}

async function waitBetween(delaySeconds: number, context: RunContext): Promise<void> {
  context.stop.throwIfAborted();
  if (delaySeconds > 0) await wait(delaySeconds * 1000, AbortSignal.any([context.stop, context.signal]));
}
