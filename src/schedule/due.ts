/**
 * `backup --scheduled`: what is due, once, on however many machines. In go the config's tasks; for each, the latest elapse
 * that nobody has run yet is claimed in the store and run. What was missed is made up for once, and a run that died is
 * gone on with. Out comes a report of the runs and of the elapses that were left alone.
 */
import { backup } from "../commands/backup/backup.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { type Claim, CLAIM_TIMES, claimElapse, type ClaimTimes, type ElapseState, readElapse } from "./claim.ts";
import type { Task } from "../task/task.ts";
import { formatDate } from "../dates.ts";
import { describeError, exitCodeOf, hintOf, ProgramError } from "../errors.ts";
import type { RunReport, TaskReport } from "../archive/report.ts";
import { wait } from "../abort.ts";
import { dateInPath, selectTasks } from "../task/selection.ts";
import { findConditions } from "../store/conditions.ts";
import { latestElapse } from "../task/times.ts";

/** What a scheduled run works with. */
export interface ScheduledContext extends RunContext {
  /** The machine and process that a claim names. */
  host: string;
  pid: number;
  /** @default {@linkcode CLAIM_TIMES} */
  times?: ClaimTimes | undefined;
}

/** What became of the latest elapse of a task. */
export type ElapseOutcome =
  /** It was due and its run is over; the task's report says how it went. */
  | "ran"
  /** Its run had died or been interrupted; it was gone on with and is over. */
  | "resumed"
  /** Its run is over already, well or not. */
  | "done"
  /** Another run has it in hand. */
  | "running"
  /** Another run took it over, because this one gave no sign of life for too long. */
  | "lost"
  /** Nobody can tell, as the store did not let it be claimed; it is still due. */
  | "unclaimed";

/** The latest elapse of a task. */
export interface ScheduledTask {
  task: string;
  /** Such as `2026-01-03T18:00:00.000Z`. */
  elapse: string;
  outcome: ElapseOutcome;
  /** Which run has it in hand. */
  by?: { run: string; host: string; pid: number } | undefined;
}

/** A report with what was not due. `tasks` are those that ran, or could not. */
export interface ScheduledReport extends RunReport {
  scheduled: ScheduledTask[];
}

/** A task whose latest elapse has yet to be run, or gone on with. */
export interface DueTask {
  task: Task;
  elapse: Date;
}

/**
 * Claims and runs what is due of `tasks`, one after the other.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; the elapse in hand is then free
 * for the next run to go on with.
 */
export async function runScheduled(context: ScheduledContext, tasks: readonly Task[]): Promise<ScheduledReport> {
  const startedAt = context.now();
  const run = new ScheduledRun(context);
  for (const task of tasks) await run.attempt(task);
  await run.attemptSuspects();
  return {
    ok: run.reports.every((report) => report.ok),
    run: context.run,
    started_at: startedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks: run.reports.flatMap((report) => report.tasks),
    scheduled: run.scheduled,
  };
}

/** The tasks that `runScheduled` would run now, without those whose run may have died. Nothing is claimed. */
export async function findDue(
  context: Pick<ScheduledContext, "repository" | "now" | "signal">,
  tasks: readonly Task[],
): Promise<DueTask[]> {
  const due: DueTask[] = [];
  for (const task of tasks) {
    const elapse = latestElapse(task, context.now());
    if (elapse === undefined) continue;
    const state = await readElapse(
      context.repository.store,
      context.repository.runFolder({ task: task.name, elapse }),
      context,
    );
    if (state.kind === "free" || state.kind === "stopped") due.push({ task, elapse });
  }
  return due;
}

/** An elapse whose run may have died, and since when it is watched. */
interface Suspect extends DueTask {
  sign: string;
  watchedSinceMs: number;
}

class ScheduledRun {
  readonly reports: RunReport[] = [];
  readonly scheduled: ScheduledTask[] = [];

  readonly #context: ScheduledContext;
  readonly #times: ClaimTimes;
  readonly #suspects: Suspect[] = [];

  constructor(context: ScheduledContext) {
    this.#context = context;
    this.#times = context.times ?? CLAIM_TIMES;
  }

  /** Runs the latest elapse of a task if it is free. One whose run may have died is left for later, and watched. */
  async attempt(task: Task): Promise<void> {
    const { now, stop } = this.#context;
    stop.throwIfAborted();
    const elapse = latestElapse(task, now());
    if (elapse === undefined) return;
    await this.#attempt({ task, elapse }, (state) => {
      if (now().getTime() - state.lastSign.getTime() < this.#times.staleMs) return this.#leave({ task, elapse }, state);
      this.#suspects.push({ task, elapse, sign: state.sign, watchedSinceMs: performance.now() });
    });
  }

  /** Goes on with the elapses whose runs gave no sign of life while the other tasks ran, and a little longer. */
  async attemptSuspects(): Promise<void> {
    const { log, stop, signal } = this.#context;
    for (const { task, elapse, sign, watchedSinceMs } of this.#suspects) {
      if (latestElapse(task, this.#context.now())?.getTime() !== elapse.getTime()) {
        await this.attempt(task);
        continue;
      }
      const watchMs = watchedSinceMs + this.#times.watchMs - performance.now();
      if (watchMs > 0) {
        log.info("watching a run that may have died", { task: task.name, elapse, watchMs: Math.round(watchMs) });
        await wait(watchMs, AbortSignal.any([stop, signal]));
      }
      await this.#attempt({ task, elapse }, async (state) => {
        if (state.sign !== sign) return this.#leave({ task, elapse }, state);
        log.warn("its run has died and is gone on with", { task: task.name, elapse, ...namesOf(state) });
        await this.#claim({ task, elapse }, state);
      });
    }
  }

  /** Claims and runs an elapse unless it is over; one in other hands is left to `whenRunning`. */
  async #attempt(
    due: DueTask,
    whenRunning: (state: ElapseState & { kind: "running" }) => Promise<void> | void,
  ): Promise<void> {
    const { repository: { store }, signal, stop } = this.#context;
    try {
      const state = await readElapse(store, this.#folderOf(due), { signal });
      if (state.kind === "finished") this.#note(due, "done");
      else if (state.kind === "running") await whenRunning(state);
      else await this.#claim(due, state);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (stop.aborted && error === stop.reason) throw error;
      this.#note(due, "unclaimed");
      this.#fail(due, error);
    }
  }

  async #claim(due: DueTask, state: ElapseState): Promise<void> {
    const { run, host, pid, now, repository: { store, storeFolder }, log, signal } = this.#context;
    await findConditions(store, storeFolder, { log, now, signal });
    const holder = { run, host, pid, started_at: now().toISOString() };
    const generation = "generation" in state ? state.generation + 1 : 1;
    const context = { store, log, now, signal, times: this.#times };
    const claim = await claimElapse(this.#folderOf(due), { holder, generation }, context);
    if (claim !== undefined) return await this.#run(due, claim);
    const taken = await readElapse(store, this.#folderOf(due), { signal });
    this.#leave(due, taken);
  }

  async #run(due: DueTask, claim: Claim): Promise<void> {
    const { task, elapse } = due;
    const { stop, signal, now } = this.#context;
    const startedAt = now();
    const isResumed = claim.earlierRuns.size > 0;
    const log = this.#context.log.with({ task: task.name, elapse });
    log.info(isResumed ? "elapse is gone on with" : "elapse is claimed");
    const context = { ...this.#context, log, signal: AbortSignal.any([signal, claim.lost]) };
    let report: RunReport;
    try {
      const names = await context.couch.listDatabases(context);
      const selections = selectTasks(names, [task], { startedAt: elapse });
      report = await backup(context, selections, { resume: isResumed, resumeRuns: claim.earlierRuns });
      this.reports.push(report);
    } catch (error) {
      if (stop.aborted || signal.aborted) {
        await claim.release();
        throw signal.aborted ? signal.reason : stop.reason;
      }
      if (claim.lost.aborted) {
        log.warn("elapse is lost", { error: describeError(claim.lost.reason) });
        return this.#note(due, "lost");
      }
      report = this.#fail(due, error, startedAt);
    }
    this.#note(due, isResumed ? "resumed" : "ran");
    if (!report.ok) {
      const date = report.tasks[0]?.date;
      const hint = `backup --task "${task.name}" --date ${date} --resume saves what is missing`;
      log.warn("elapse is over without everything saved, and is not run again by itself", { hint });
    }
    try {
      await claim.finish(report);
    } catch (error) {
      // The backups are there all the same. Whoever takes the elapse over finds them complete and reports again.
      log.error("report could not be stored", { error: describeError(error) });
    }
  }

  /** Notes a task that could not even begin. */
  #fail({ task, elapse }: DueTask, error: unknown, startedAt = this.#context.now()): RunReport {
    const hint = hintOf(error);
    const stack = error instanceof ProgramError || !(error instanceof Error) ? undefined : error.stack;
    this.#context.log.error("task is not run", { task: task.name, elapse, error: describeError(error), hint, stack });
    const failed: TaskReport = {
      task: task.name,
      date: formatDate(dateInPath(task, elapse)).replaceAll("/", "-"),
      databases: [],
      error: describeError(error),
      exit_code: exitCodeOf(error),
      ...hint === undefined ? {} : { hint },
    };
    const report = {
      ok: false,
      run: this.#context.run,
      started_at: startedAt.toISOString(),
      finished_at: this.#context.now().toISOString(),
      tasks: [failed],
    };
    this.reports.push(report);
    return report;
  }

  /** Notes an elapse that is in other hands. */
  #leave(due: DueTask, state: ElapseState): void {
    const { log } = this.#context;
    if (state.kind === "finished") return this.#note(due, "done");
    log.info("elapse is in other hands", { task: due.task.name, elapse: due.elapse, ...namesOf(state) });
    const holder = "holder" in state ? state.holder : undefined;
    this.#note(due, "running", holder && { run: holder.run, host: holder.host, pid: holder.pid });
  }

  #note({ task, elapse }: DueTask, outcome: ElapseOutcome, by?: ScheduledTask["by"]): void {
    this.scheduled.push({ task: task.name, elapse: elapse.toISOString(), outcome, ...by === undefined ? {} : { by } });
  }

  #folderOf({ task, elapse }: DueTask): string {
    return this.#context.repository.runFolder({ task: task.name, elapse });
  }
}

/** Whose run it is, for a log line; `run` is the field of the program's own. */
function namesOf(state: ElapseState): Record<string, unknown> {
  const holder = "holder" in state ? state.holder : undefined;
  return holder === undefined ? {} : { byRun: holder.run, byHost: holder.host, byPid: holder.pid };
}
