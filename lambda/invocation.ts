/**
 * One invocation of the Lambda function, and a method for each event that is answered here: a tick, what the state
 * machine asks for, a task, an expiry, a restore in one call. In: an event and the program's session. Out: the answer, or
 * an error that becomes the execution's cause. All of the work is done by the same commands as anywhere else; here are
 * only the ways to them.
 */
import process from "node:process";
import { compactInstant } from "../src/archive/layout.ts";
import { isSaved, isTaskSaved, type RunReport } from "../src/archive/report.ts";
import { generationOutcomeName, REPORT_NAME } from "../src/archive/run_folder.ts";
import { executionName, type RunningExecution, runningExecutions, startExecution } from "../src/aws/step_functions.ts";
import { counted } from "../src/counts.ts";
import { EXIT, InterruptedError, ProgramError, UsageError } from "../src/errors.ts";
import type { Log } from "../src/observe.ts";
import { openProgressLines } from "../src/observe/progress.ts";
import { backupBatch, inBatches } from "../src/schedule/batch_round.ts";
import { runScheduled, type ScheduledReport, type ScheduledTask } from "../src/schedule/due.ts";
import { overdueDays } from "../src/schedule/overdue.ts";
import { readElapse } from "../src/schedule/elapse.ts";
import { backupRound } from "../src/schedule/round.ts";
import { mustHaveCome, planRun, type RoundsOptions, runAtOnce, summariseRun } from "../src/schedule/rounds.ts";
import type { RunOfElapse } from "../src/schedule/run_in_rounds.ts";
import type { ProgramSession } from "../src/session/session.ts";
import { parseS3Url } from "../src/store/s3/endpoint.ts";
import { pickTasks } from "../src/task/selection.ts";
import { latestElapse } from "../src/task/times.ts";
import type {
  BackupBatchResult,
  BackupResult,
  ExpireResult,
  PlanResult,
  RestoreSummaryResult,
  SummariseResult,
  TickResult,
} from "./answers.ts";
import type {
  BackupBatchEvent,
  BackupEvent,
  ExpireEvent,
  PlanEvent,
  RestoreEvent,
  RunEvent,
  SummariseEvent,
  TickEvent,
} from "./events.ts";
import { logInFields } from "./field_words.ts";
import { restoreAtOnce } from "./restore.ts";
import type { Invocation } from "./runtime.ts";
import { startDue } from "./start_due.ts";

/** Not everything that an event asked for is saved. */
export class NotSavedError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** Something that has expired could not be deleted. */
export class NotExpiredError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** What a tick has found; with an error where something is not saved. */
interface TickFindings extends Pick<TickResult, "started" | "failed" | "waiting"> {
  error?: NotSavedError | undefined;
}

/** How many names of failed databases a message has; the report has them all. */
const NAMES_IN_MESSAGE = 10;

/** One invocation: the program's session, in the surroundings of the invocation, and the time it has. */
export class ProgramInvocation {
  readonly #session: ProgramSession;
  readonly #host: string;
  readonly #invocation: Invocation;

  constructor(program: ProgramSession, { host, invocation }: { host: string; invocation: Invocation }) {
    this.#host = host;
    this.#invocation = invocation;
    const { requestId: run, stop, signal } = invocation;
    const log = logInFields(program.surroundings.log.with({ request: run }));
    // With it the password is read each time: it may have been changed since the process began.
    this.#session = program.with({ log, progress: openProgressLines({ log }), run, stop, signal });
  }

  get log(): Log {
    return this.#session.surroundings.log;
  }

  /** The program, for this invocation. */
  get session(): ProgramSession {
    return this.#session;
  }

  /** Lets go of what must not go on in the next invocation. */
  close(): void {
    this.#session.surroundings.progress.runFinished();
  }

  /**
   * Runs, or starts the state machine for, whatever is due at the event's time.
   *
   * @throws NotSavedError as long as something is not saved.
   */
  async tick({ time }: TickEvent): Promise<TickResult> {
    const { config } = this.#session;
    // Schedules are evaluated against the event's time, not the clock: a tick that comes late means what it says.
    const arrivedMs = performance.now();
    const now = () => new Date(time.getTime() + performance.now() - arrivedMs);
    let found: TickFindings | undefined;
    let failure: unknown;
    try {
      found = config.stateMachine === undefined
        ? await this.#runDue(now)
        : await this.#startDue(config.stateMachine, now);
    } catch (error) {
      failure = error;
    }
    // Whatever happened: an alarm rests on this line.
    const overdue = await overdueDays({ ...this.#place(), now }, config.tasks);
    const { started = [], failed = [], waiting, error = failure } = found ?? {};
    const names = failed.map(({ task }) => task);
    this.log.info("schedules checked", { started, failed: names, waiting, overdueDays: overdue });
    if (error !== undefined) throw error;
    return { started, failed, ...waiting && { waiting }, overdueDays: overdue };
  }

  async #startDue(stateMachine: string, now: () => Date): Promise<TickFindings> {
    const { config } = this.#session;
    const context = { ...this.#place(), log: this.log, now, host: this.#host, stateMachine, aws: config.aws };
    const { started, failed, waiting: all } = await startDue(context, config.tasks);
    const waiting = all.length > 0 ? all : undefined;
    if (failed.length === 0) return { started, failed, waiting };
    const names = failed.map(({ task }) => `"${task}"`).join(", ");
    const error = new NotSavedError(`Not everything is saved of ${names}`, {
      hint: "It is tried again; outcome-….json in the run's folder has the causes",
    });
    return { started, failed, waiting, error };
  }

  async #runDue(now: () => Date): Promise<TickFindings> {
    const { config } = this.#session;
    const whenInterrupted = (report: ScheduledReport) => this.#session.publish(report, { isInterrupted: true });
    const context = { ...await this.#session.context(), now, host: this.#host, pid: process.pid, whenInterrupted };
    const report = await this.#inTime("What was due", () => runScheduled(context, config.tasks), {
      hint: "The next tick resumes it. With UseStateMachine=true a task may take as long as it needs",
    });
    if (report.tasks.length > 0) await this.#session.publish(report);
    const ofKind = (isOne: (one: ScheduledTask) => boolean) => report.scheduled.filter(isOne);
    const started = ofKind(({ outcome, exit_code }) =>
      outcome === "ran" || outcome === "resumed" || (outcome === "failed" && exit_code === undefined)
    );
    const failed = ofKind(({ outcome, exit_code, retry_at }) =>
      outcome === "failed" && (exit_code === undefined || retry_at !== undefined)
    );
    return {
      started: started.map(({ task }) => task),
      failed: failed.map(({ task, elapse, retry_at }) => ({ task, elapse, retry_at })),
      error: errorOfDue(report, failed),
    };
  }

  /**
   * Finds out what an execution has to do.
   *
   * @throws UsageError when another one was started before it and is running.
   */
  async plan(event: PlanEvent): Promise<PlanResult> {
    const run = this.#runOf(event);
    if (event.execution !== undefined) await this.#mustBeAlone(event.execution);
    const concurrency = run.task.concurrency ?? 1;
    const options = event.batches ? { inBatches: (all: readonly string[]) => inBatches(all, concurrency) } : {};
    const planned = await planRun(await this.#session.context(), run, { ...this.#rounds(), ...options });
    const { databases, key, batchesKey = key, generation = 0 } = planned;
    // What is still under way when the answer is given would be frozen with the function.
    await this.#session.announced();
    const { bucket, folder: wholeKey } = parseS3Url(this.#session.repository.locate(batchesKey));
    return {
      task: event.task,
      elapse: event.elapse.toISOString(),
      bucket,
      key: wholeKey,
      databases: databases.length,
      generation,
      concurrency,
      delay: Math.ceil(run.task.delaySeconds),
    };
  }

  async backup(event: BackupEvent): Promise<BackupResult> {
    const { database } = event;
    const round = await backupRound(await this.#session.context(), this.#runOf({ ...event, only: "all" }), event);
    return { database, done: round.status !== "unfinished", ...round };
  }

  async backupBatch(event: BackupBatchEvent): Promise<BackupBatchResult> {
    return await backupBatch(await this.#session.context(), this.#runOf({ ...event, only: "all" }), event);
  }

  async summarise(event: SummariseEvent): Promise<SummariseResult> {
    const run = this.#runOf(event);
    const { Error: kind, Cause: cause = kind } = event.map ?? {};
    const brokenOff = kind === undefined || cause === kind ? cause : `${kind}: ${cause}`;
    const context = { ...this.#session.surroundings, ...this.#place() };
    const report = await summariseRun(context, run, { ...this.#rounds(), brokenOff });
    const summary = this.#summaryOf(report, run);
    // The execution's cause, where that is all that anybody reads.
    if (report.ok || brokenOff === undefined) return summary;
    return { ...summary, message: `${summary.message}; broken off: ${brokenOff}` };
  }

  /**
   * Deletes what has expired, in this invocation; the next one goes on where its time was over.
   *
   * @throws NotExpiredError when something could not be deleted.
   */
  async expire({ confirm, tasks }: ExpireEvent): Promise<ExpireResult> {
    const report = await this.#inTime("Deleting what has expired", () => this.#session.expire({ confirm, tasks }), {
      hint: "The next call goes on",
    });
    const { expired, expired_bytes, kept, leftovers, problems } = report;
    const [first] = problems;
    if (first !== undefined) {
      const more = problems.length > 1 ? ` and ${problems.length - 1} more` : "";
      throw new NotExpiredError(`Not all could be deleted: ${first.database ?? "runs"}: ${first.problem}${more}`);
    }
    // Not the backups one by one: an answer may not exceed 6 MB. The log has them.
    return { ok: true, confirmed: report.confirmed, expired: expired.length, expired_bytes, kept, leftovers };
  }

  /** Runs a task because a person wants it. */
  async run(event: RunEvent): Promise<unknown> {
    const { config } = this.#session;
    const elapse = event.elapse ?? new Date(Math.floor(this.#session.surroundings.now().getTime() / 1000) * 1000);
    const run = this.#runOf({ ...event, elapse });
    const odd = event.elapse === undefined ? undefined : await this.#explainElapse(run);
    if (config.stateMachine !== undefined) {
      mustHaveCome(run, this.#session.surroundings.now());
      await this.#mustBeAlone(undefined);
      // Resuming a run is another execution than the run itself, whose name is used up.
      const more = event.elapse === undefined ? [] : [event.only, this.#invocation.requestId.slice(0, 8)];
      const name = executionName(event.task, compactInstant(elapse), ...more);
      const input = { task: event.task, elapse: elapse.toISOString(), only: event.only };
      const options = { ...config.aws, ...this.#place() };
      const { arn } = await startExecution(config.stateMachine, { name, input }, options);
      return { execution: arn, ...odd !== undefined && { warning: odd } };
    }
    const context = await this.#session.context();
    const again = JSON.stringify({ task: event.task, elapse: elapse.toISOString(), only: event.only });
    const report = await this.#inTime(`Task "${event.task}"`, () => runAtOnce(context, run, this.#rounds()), {
      hint: `Send ${again} to go on. With UseStateMachine=true a task may take as long as it needs`,
    });
    if (!report.ok) throw notSaved(describeOutcome(report));
    const summary = this.#summaryOf(report, run);
    return odd === undefined ? summary : { ...summary, message: `${summary.message}; ${odd}` };
  }

  /**
   * Says that the schedule does not have an elapse that somebody names, as by a slip of the pen; undefined where it
   * does, or where a run of that moment is to go on.
   */
  async #explainElapse({ task, elapse }: RunOfElapse): Promise<string | undefined> {
    if (task.cron === undefined) return undefined;
    const latest = latestElapse(task, elapse);
    if (latest?.getTime() === elapse.getTime()) return undefined;
    const { store } = this.#session.repository;
    const folder = this.#session.repository.runFolder({ task: task.name, elapse });
    const state = await readElapse(store, folder, { signal: this.#session.surroundings.signal });
    if (state.kind !== "free") return undefined;
    const before = latest === undefined ? "" : ` (the one before is ${latest.toISOString()})`;
    const odd = `its schedule has no elapse at ${elapse.toISOString()}${before}, so this is a run of its own`;
    this.log.warn("elapse is none of the schedule's", { task: task.name, elapse, latest, why: odd });
    return odd;
  }

  /** Restores, in this invocation; the next one goes on where its time was over. */
  async restore(event: RestoreEvent): Promise<RestoreSummaryResult> {
    // What is complete by now is what "latest" means in this call.
    const latest = this.#session.surroundings.now();
    const again = event.path === "latest" ? ` with "path": "${latest.toISOString()}"` : "";
    return await this.#inTime("The restore", () => restoreAtOnce(this.#session, event, { latest }), {
      hint: `Send the same again${again} to go on. The state machine that restores may take as long as it needs`,
    });
  }

  /**
   * Makes sure that no execution was started before one, or is running at all where it is still to be started.
   *
   * @throws UsageError when one was.
   */
  async #mustBeAlone(execution: string | undefined): Promise<void> {
    const { config: { stateMachine, aws } } = this.#session;
    if (stateMachine === undefined) return;
    const running = await runningExecutions(stateMachine, { ...aws, ...this.#place() });
    const own = running.find(({ arn }) => arn === execution);
    const isBefore = ({ arn, startedAt }: RunningExecution) =>
      own === undefined || startedAt < own.startedAt || (+startedAt === +own.startedAt && arn < own.arn);
    const other = running.find((one) => one !== own && isBefore(one));
    if (other === undefined) return;
    throw new UsageError(
      `Cannot start: the execution "${other.arn.split(":").at(-1)}" is running, and there is one at a time`,
      {
        hint: "Start it again when that one has ended, or stop that one; two at once would keep no delay",
      },
    );
  }

  /** Does work that has to be done within this invocation, and says what it means when it is not. */
  async #inTime<T>(what: string, work: () => Promise<T>, { hint }: { hint: string }): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!this.#invocation.stop.aborted) throw error;
      throw new InterruptedError(`${what} is not finished: the function's time is over, and what is stored is kept`, {
        cause: error,
        hint,
      });
    }
  }

  #runOf(
    { task: name, elapse, only, generation = 0 }: {
      task: string;
      elapse: Date;
      only: RunOfElapse["scope"];
      generation?: number;
    },
  ): RunOfElapse {
    const [task] = pickTasks(this.#session.config.tasks, [name]);
    return { task: task!, elapse, scope: only, generation: generation === 0 ? undefined : generation };
  }

  /** Who does the work of a run, and who hears how it came out. */
  #rounds(): RoundsOptions {
    return { host: this.#host, publish: (report) => this.#session.publish(report) };
  }

  /** What is needed to look into the store. */
  #place() {
    const { repository } = this.#session;
    const { signal } = this.#invocation;
    return { repository, signal };
  }

  #summaryOf(report: RunReport, { task, elapse }: RunOfElapse): SummariseResult {
    const databases = report.tasks.flatMap((one) => one.databases);
    const failed = databases.filter((one) => !isSaved(one)).length;
    const { repository } = this.#session;
    const folder = repository.runFolder({ task: task.name, elapse });
    const [{ retry_at, generations = 1 } = {}] = report.tasks;
    const name = retry_at === undefined ? REPORT_NAME : generationOutcomeName(generations);
    return {
      ok: report.ok,
      databases: databases.length,
      failed,
      message: describeOutcome(report),
      report: this.#session.repository.locate(`${folder}/${name}`),
    };
  }
}

function notSaved(message: string): NotSavedError {
  return new NotSavedError(message, {
    hint: "report.json or the last outcome-….json in the run's folder has the causes",
  });
}

/** What a tick has not saved, and what earlier ones have not and this one did not try; undefined where that is nothing. */
function errorOfDue(report: RunReport, failed: readonly ScheduledTask[]): NotSavedError | undefined {
  const earlier = failed.filter(({ exit_code }) => exit_code !== undefined).map(({ task }) => `"${task}"`);
  const message = [
    ...report.tasks.every(isTaskSaved) ? [] : [describeOutcome(report)],
    ...earlier.length === 0 ? [] : [`An earlier run has not saved everything of ${earlier.join(", ")}`],
  ].join("; ");
  return message === "" ? undefined : notSaved(message);
}

/** A run's outcome in a sentence, with the names of what failed. */
function describeOutcome(report: RunReport): string {
  const broken = report.tasks.flatMap(({ task, error }) => error === undefined ? [] : [`task "${task}": ${error}`]);
  const databases = report.tasks.flatMap((task) => task.databases);
  const failed = databases.filter((one) => !isSaved(one)).map(({ database }) => database);
  if (broken.length + failed.length === 0) {
    return `${counted(databases.length, "database")} ${databases.length === 1 ? "is" : "are"} saved`;
  }
  const shown = failed.slice(0, NAMES_IN_MESSAGE).join(", ");
  const more = failed.length > NAMES_IN_MESSAGE ? ` and ${failed.length - NAMES_IN_MESSAGE} more` : "";
  const lost = failed.length === 0
    ? []
    : [`${failed.length} of ${counted(databases.length, "database")} are not saved: ${shown}${more}`];
  return [...broken, ...lost].join("; ");
}
