/**
 * When tasks run, and on which machine: what is due is run once, also with several machines (`backup --scheduled`). In:
 * the config's tasks; for each, the latest elapse that is not saved yet is claimed in the store and run. Missed elapses
 * are caught up on once, a run that died is resumed, and a failed one is retried until it is saved or the next elapse
 * comes. Out: a report of the runs and of the elapses that were left alone.
 */
import { exitCodeOfReport, isTaskSaved, type RunReport } from "../archive/report.ts";
import { notedAsSaved } from "../archive/last_run.ts";
import { ifInReach, RunFolder } from "../archive/run_folder.ts";
import type { RunContext } from "../commands/backup/context.ts";
import { Rest } from "../commands/backup/rest.ts";
import { wait } from "../abort.ts";
import { findConditions } from "../store/conditions.ts";
import type { Task } from "../task/task.ts";
import { latestElapse } from "../task/times.ts";
import { describeError, EXIT, hintOf } from "../errors.ts";
import { type Claim, CLAIM_TIMES, claimElapse, type ClaimTimes } from "./claim.ts";
import { type ElapseState, nextGeneration, readElapse } from "./elapse.ts";
import { giveUpEarlier } from "./give_up.ts";
import { describeFailed, hintForMissing, REFUSED_PAUSE_MINUTES } from "./retry.ts";
import { type Brake, type DueTask, reportFailure, runElapse } from "./run_elapse.ts";

/**
 * With what, and when, the service was last refused. Without it each of the tasks that are due minutes after each other
 * would try the refused password again, and CouchDB would lock the login out at this address.
 */
export interface KeptRefusal {
  last: { error: unknown; at: Date } | undefined;
}

/** What a scheduled run works with. */
export interface ScheduledContext extends RunContext {
  /** What looks before this one have met, and this one meets. @default none was before it, and none comes after it */
  refusal?: KeptRefusal | undefined;
  /**
   * Hears of the tasks that are over where the run is interrupted amid another one: nobody runs them again, who would
   * tell of them. The program is about to end. @default nobody
   */
  whenInterrupted?: ((report: ScheduledReport) => Promise<void>) | undefined;
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
  /** Its run had died, been interrupted or not saved everything; it was resumed and is over. */
  | "resumed"
  /**
   * Not everything is saved, whether it was tried in this very run or before; `retry_at` says when it is tried again.
   */
  | "failed"
  /** Its run is over already, and has saved everything. */
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
  /** Which run holds it, or has failed. */
  by?: { run: string; host: string; pid: number } | undefined;
  /** When it is tried again, in UTC; absent where nobody tries again. */
  retry_at?: string | undefined;
  /** The exit code that belongs to what an earlier run has not saved. */
  exit_code?: number | undefined;
  /** Its run is over, and the store did not take its report: it is taken for one that has died, and taken over. */
  unreported?: true | undefined;
}

/** A report with what was not due. `tasks` are those that ran, or could not. */
export interface ScheduledReport extends RunReport {
  scheduled: ScheduledTask[];
}

/**
 * Claims and runs what is due of `tasks`, one after the other.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; the elapse it held is then
 * free for the next run to resume.
 */
export async function runScheduled(context: ScheduledContext, tasks: readonly Task[]): Promise<ScheduledReport> {
  const startedAt = context.now();
  const run = new ScheduledRun(context);
  try {
    for (const task of tasks) await run.attempt(task);
    await run.attemptSuspects();
  } catch (error) {
    if (run.reports.length > 0) await context.whenInterrupted?.(reportOf(run, context, startedAt));
    throw error;
  }
  return reportOf(run, context, startedAt);
}

function reportOf(run: ScheduledRun, context: ScheduledContext, startedAt: Date): ScheduledReport {
  return {
    ok: run.reports.every((report) => report.ok) && run.scheduled.every(({ outcome }) => outcome !== "failed"),
    run: context.run,
    started_at: startedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks: run.reports.flatMap((report) => report.tasks),
    scheduled: run.scheduled,
  };
}

/** The exit code of a scheduled run: that of what it ran, and of what earlier runs have not saved. */
export function exitCodeOfScheduled(report: ScheduledReport): number {
  const codes = new Set(report.scheduled.flatMap(({ exit_code }) => exit_code ?? []));
  const ran = { ...report, ok: report.tasks.every(isTaskSaved) };
  if (codes.size === 0) return exitCodeOfReport(ran);
  if (report.tasks.length > 0) codes.add(exitCodeOfReport(ran));
  const [only = EXIT.partial] = codes;
  return codes.size === 1 ? only : EXIT.partial;
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
    const isDue = state.kind === "free" || state.kind === "stopped" ||
      (state.kind === "failed" && state.retryAt <= context.now());
    if (isDue) due.push({ task, elapse });
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
  /** What every further task would meet as well: one try in a look is enough for CouchDB's lock-out. */
  #brake: Brake | undefined;

  constructor(context: ScheduledContext) {
    // One for all tasks: CouchDB does not care which of them its databases are read for.
    this.#context = { rest: new Rest(), ...context };
    this.#times = context.times ?? CLAIM_TIMES;
    this.#brake = brakeOf(context);
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
    const { repository: { store }, now, signal, stop } = this.#context;
    try {
      const state = await readElapse(store, this.#folder(due).key, { signal });
      if (state.kind === "finished") await this.#noteFinished(due);
      else if (state.kind === "running") await whenRunning(state);
      else if (state.kind === "failed" && state.retryAt > now()) await this.#noteFailed(due, state);
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
    const { key } = this.#folder(due);
    const context = { store, log, now, signal, times: this.#times };
    const claim = await claimElapse(key, { holder, generation: nextGeneration(state) }, context);
    if (claim === undefined) return this.#leave(due, await readElapse(store, key, { signal }));
    try {
      await this.#run(due, claim);
    } finally {
      await claim[Symbol.asyncDispose]();
    }
  }

  async #run(due: DueTask, claim: Claim): Promise<void> {
    if (claim.generation === 1) await giveUpEarlier(this.#context, due);
    const ended = await runElapse(this.#context, due, { claim, brake: this.#brake });
    if (ended.outcome === "lost") return this.#note(due, "lost");
    this.reports.push(ended.report);
    this.#keep(ended.brake);
    if (ended.outcome !== "failed") return this.#note(due, ended.outcome, { unreported: ended.unreported });
    this.#note(due, "failed", { retry_at: ended.retryAt.toISOString() });
  }

  /** Notes an elapse that an earlier run has not saved, and that is not to be tried again yet. */
  async #noteFailed(due: DueTask, state: ElapseState & { kind: "failed" }): Promise<void> {
    const { log, signal } = this.#context;
    const { task, elapse } = due;
    const { retryAt } = state;
    const { found: outcome, problem } = await ifInReach(this.#folder(due).readNewestGeneration({ signal }));
    const facts = outcome === undefined ? whyUnread(problem) : describeFailed(outcome.report);
    log.error("elapse is not saved", { task: task.name, elapse, ...facts, retryAt, ...namesOf(state) });
    this.#note(due, "failed", {
      by: holderOf(state),
      retry_at: retryAt.toISOString(),
      exit_code: outcome === undefined ? EXIT.partial : exitCodeOfReport(outcome.report),
    });
  }

  /** Notes an elapse that is over; where something of it is not saved all the same, that is said. */
  async #noteFinished(due: DueTask): Promise<void> {
    const { repository, log, signal } = this.#context;
    const { task, elapse } = due;
    const { found: report, problem } = await ifInReach(this.#folder(due).readReport({ signal }));
    if (problem !== undefined) {
      const isSaved = await notedAsSaved(repository, task.name, { at: elapse, signal }) !== undefined;
      const event = isSaved ? "elapse is saved" : "elapse is over, and nobody can tell whether all of it is saved";
      log[isSaved ? "warn" : "error"](event, { task: task.name, elapse, ...whyUnread(problem) });
      return this.#note(due, isSaved ? "done" : "failed", isSaved ? {} : { exit_code: EXIT.partial });
    }
    if (report === undefined || report.ok) return this.#note(due, "done");
    const facts = { ...describeFailed(report), hint: hintForMissing(report) };
    log.error("elapse is over, and not all of it is saved", { task: task.name, elapse, ...facts });
    this.#note(due, "failed", { exit_code: exitCodeOfReport(report) });
  }

  /** Keeps what every further task of this look would meet, and for a while those of the next ones. */
  #keep(brake: Brake | undefined): void {
    const { refusal, now } = this.#context;
    if (this.#brake === undefined && brake !== undefined && refusal !== undefined) {
      refusal.last = { error: brake.error, at: now() };
    }
    this.#brake = brake;
  }

  /** Notes an elapse that is held by another run. */
  #leave(due: DueTask, state: ElapseState): void {
    const { log } = this.#context;
    if (state.kind === "finished") return this.#note(due, "done");
    log.info("elapse is held by another run", { task: due.task.name, elapse: due.elapse, ...namesOf(state) });
    this.#note(due, "running", { by: holderOf(state) });
  }

  #note(
    { task, elapse }: DueTask,
    outcome: ElapseOutcome,
    facts: Pick<ScheduledTask, "by" | "retry_at" | "exit_code" | "unreported"> = {},
  ): void {
    const known = Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
    this.scheduled.push({ task: task.name, elapse: elapse.toISOString(), outcome, ...known });
  }

  #folder({ task, elapse }: DueTask): RunFolder {
    return new RunFolder(this.#context.repository, { task: task.name, elapse });
  }
}

/** What a look before this one was refused with, and this one would be as well: it is too soon for another try. */
function brakeOf({ refusal, now }: Pick<ScheduledContext, "refusal" | "now">): Brake | undefined {
  if (refusal?.last === undefined) return undefined;
  const { error, at } = refusal.last;
  const retryAt = new Date(at.getTime() + REFUSED_PAUSE_MINUTES * 60_000);
  // Where the clock was set back since, the pause could become very long.
  return at <= now() && now() < retryAt ? { error, retryAt } : undefined;
}

/** Why what a run has come to cannot be told, for a log line. */
function whyUnread(problem: unknown): Record<string, unknown> {
  return problem === undefined ? {} : { error: describeError(problem), hint: hintOf(problem) };
}

/** Whose run it is, where its claim can be read. */
function holderOf(state: ElapseState): { run: string; host: string; pid: number } | undefined {
  const holder = "holder" in state ? state.holder : undefined;
  return holder && { run: holder.run, host: holder.host, pid: holder.pid };
}

/** The same for a log line; `run` is the field of the program's own. */
function namesOf(state: ElapseState): Record<string, unknown> {
  const holder = holderOf(state);
  return holder === undefined ? {} : { byRun: holder.run, byHost: holder.host, byPid: holder.pid };
}
