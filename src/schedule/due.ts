/**
 * When tasks run, and on which machine: what is due is run once, on however many machines (`backup --scheduled`). In go the
 * config's tasks; for each, the latest elapse that nobody has run yet is claimed in the store and run. What was missed is
 * caught up once, and a run that died is resumed. Out comes a report of the runs and of the elapses that were left alone.
 */
import type { RunReport } from "../archive/report.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { wait } from "../abort.ts";
import { findConditions } from "../store/conditions.ts";
import type { Task } from "../task/task.ts";
import { latestElapse } from "../task/times.ts";
import { CLAIM_TIMES, claimElapse, type ClaimTimes } from "./claim.ts";
import { type ElapseState, readElapse } from "./elapse.ts";
import { type DueTask, reportFailure, runElapse } from "./run_elapse.ts";

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
  /** Its run had died or been interrupted; it was resumed and is over. */
  | "resumed"
  /** Its run is over already, well or not. */
  | "done"
  /** It is held by another run. */
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
  /** Which run holds it. */
  by?: { run: string; host: string; pid: number } | undefined;
}

/** A report with what was not due. `tasks` are those that ran, or could not. */
export interface ScheduledReport extends RunReport {
  scheduled: ScheduledTask[];
}

/**
 * Claims and runs what is due of `tasks`, one after the other.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; the elapse it held is then free
 * for the next run to resume.
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

  /** Resumes the elapses whose runs gave no sign of life while the other tasks ran, and a little longer. */
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
        log.warn("its run has died and is resumed", { task: task.name, elapse, ...namesOf(state) });
        await this.#claim({ task, elapse }, state);
      });
    }
  }

  /** Claims and runs an elapse unless it is over; one that another run holds is left to `whenRunning`. */
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
      this.reports.push(reportFailure(this.#context, due, { error }));
    }
  }

  async #claim(due: DueTask, state: ElapseState): Promise<void> {
    const { run, host, pid, now, repository: { store, storeFolder }, log, signal } = this.#context;
    await findConditions(store, storeFolder, { log, now, signal });
    const holder = { run, host, pid, started_at: now().toISOString() };
    const generation = "generation" in state ? state.generation + 1 : 1;
    const context = { store, log, now, signal, times: this.#times };
    const claim = await claimElapse(this.#folderOf(due), { holder, generation }, context);
    if (claim !== undefined) {
      const ended = await runElapse(this.#context, due, claim);
      if (ended.outcome !== "lost") this.reports.push(ended.report);
      return this.#note(due, ended.outcome);
    }
    const taken = await readElapse(store, this.#folderOf(due), { signal });
    this.#leave(due, taken);
  }

  /** Notes an elapse that is held by another run. */
  #leave(due: DueTask, state: ElapseState): void {
    const { log } = this.#context;
    if (state.kind === "finished") return this.#note(due, "done");
    log.info("elapse is held by another run", { task: due.task.name, elapse: due.elapse, ...namesOf(state) });
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
