/**
 * What the Lambda function does with an event (events.ts has their shapes): a tick runs what is due, by itself or by
 * starting the state machine; the state machine asks for a plan, for rounds of a database, for a summary; a person asks for
 * a task. All of the work is done by the same commands as anywhere else. Here are only the ways to them.
 */
import process from "node:process";
import { type Config, type Environment, loadConfig } from "../src/config/config.ts";
import type { Task } from "../src/task/task.ts";
import { CouchClient } from "../src/couchdb/client.ts";
import { describeError, EXIT, hintOf, InterruptedError, ProgramError, UsageError } from "../src/errors.ts";
import { runFolder } from "../src/archive/layout.ts";
import { openLog } from "../src/observe/log.ts";
import { openLoki } from "../src/observe/loki.ts";
import type { Log, Progress } from "../src/observe.ts";
import { openProgressLines } from "../src/observe/progress.ts";
import { overdueDays } from "../src/schedule/overdue.ts";
import { withPassword } from "../src/session/password.ts";
import { publishMetrics } from "../src/session/publish.ts";
import type { RunReport } from "../src/archive/report.ts";
import {
  backupRound,
  planRun,
  type RoundsContext,
  runAtOnce,
  type RunOfElapse,
  summariseRun,
} from "../src/schedule/rounds.ts";
import { findDue, runScheduled } from "../src/schedule/due.ts";
import { Repository } from "../src/archive/repository.ts";
import { openStore } from "../src/store/open.ts";
import { parseS3Url } from "../src/store/s3/endpoint.ts";
import { executionName, startExecution } from "../src/aws/step_functions.ts";
import { PROGRAM_NAME } from "../src/version.ts";
import {
  type BackupEvent,
  type BackupResult,
  parseEvent,
  type PlanEvent,
  type PlanResult,
  type RunEvent,
  type SummariseEvent,
  type SummariseResult,
  type TickEvent,
} from "./events.ts";
import type { Handler, Invocation } from "./runtime.ts";

/** Not everything that an event asked for is saved. */
export class NotSavedError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** How many names of failed databases a message has; the report has them all. */
const NAMES_IN_MESSAGE = 10;

/** What a process keeps from one invocation to the next. */
interface Program {
  config: Config;
  repository: Repository;
  log: Log;
  flush: () => Promise<{ lostLines: number }>;
  /** What the program runs on, for claims, labels and metrics: the sandbox's own name is another one each time. */
  host: string;
}

/**
 * Reads the config and opens what does not change: the store and the log.
 *
 * @param options.write Takes a line of the log.
 * @returns The handler, and what sends the log lines that wait.
 * @throws ConfigError, AwsError or StoreError when the config cannot be used.
 */
export async function openHandler(options: {
  env: Environment;
  write: (line: string) => void;
}): Promise<{ handler: Handler; flush: () => Promise<void> }> {
  const { env, write } = options;
  const host = env.AWS_LAMBDA_FUNCTION_NAME ?? "lambda";
  const config = withInstance(await loadConfig({ env }), host);
  const { loki } = config;
  const labels = { app: PROGRAM_NAME, host, ...loki?.labels };
  const sinks = loki === undefined ? [] : [openLoki({ ...loki, labels })];
  // As JSON: template.yaml's metric filter looks into the lines.
  const { log, flush } = openLog({ level: "info", format: "json", write, sinks });
  for (const warning of config.warnings) log.warn("config", { warning });
  const program: Program = {
    config,
    repository: new Repository(await openStore(config.bucket, { log }), config),
    log,
    flush,
    host,
  };
  return {
    handler: async (invocation) => await answer(program, invocation),
    flush: async () => void await flush(),
  };
}

function withInstance(config: Config, host: string): Config {
  const { prometheus } = config;
  if (prometheus === undefined) return config;
  return { ...config, prometheus: { ...prometheus, instance: prometheus.instance ?? host } };
}

async function answer(program: Program, invocation: Invocation): Promise<unknown> {
  const call = new InvocationOf(program, invocation);
  try {
    const event = parseEvent(invocation.event);
    switch (event.kind) {
      case "tick":
        return await call.tick(event);
      case "plan":
        return await call.plan(event);
      case "backup":
        return await call.backup(event);
      case "summarise":
        return await call.summarise(event);
      case "run":
        return await call.run(event);
    }
  } catch (error) {
    call.log.error("invocation failed", { error: describeError(error), hint: hintOf(error) });
    throw error;
  } finally {
    call.close();
  }
}

/** One invocation: the program, and the time it has. */
class InvocationOf {
  readonly log: Log;
  readonly #progress: Progress;
  readonly #program: Program;
  readonly #invocation: Invocation;

  constructor(program: Program, invocation: Invocation) {
    this.#program = program;
    this.#invocation = invocation;
    this.log = program.log.with({ request: invocation.requestId });
    this.#progress = openProgressLines({ log: this.log });
  }

  /** Lets go of what must not go on in the next invocation. */
  close(): void {
    this.#progress.runFinished();
  }

  /** Runs, or starts the state machine for, whatever is due at the event's time. */
  async tick({ time }: TickEvent): Promise<unknown> {
    const { config } = this.#program;
    // Schedules are evaluated against the event's time, not the clock: a tick that comes late means what it says.
    const arrivedMs = performance.now();
    const now = () => new Date(time.getTime() + performance.now() - arrivedMs);
    const started = config.stateMachine === undefined
      ? await this.#runDue(now)
      : await this.#startDue(config.stateMachine, now);
    const overdue = await overdueDays({ ...this.#place(), now }, config.tasks);
    this.log.info("schedules checked", { started, overdueDays: overdue });
    return { started, overdueDays: overdue };
  }

  async #startDue(stateMachine: string, now: () => Date): Promise<string[]> {
    const { config } = this.#program;
    const started: string[] = [];
    for (const { task, elapse } of await findDue({ ...this.#place(), now }, config.tasks)) {
      const input = { task: task.name, elapse: elapse.toISOString() };
      const name = executionName(task.name, stampOf(elapse));
      started.push(await startExecution(stateMachine, { name, input }, { ...config.aws, ...this.#place() }));
    }
    return started;
  }

  async #runDue(now: () => Date): Promise<string[]> {
    const { config, host } = this.#program;
    const run = this.#invocation.requestId;
    const context = { ...await this.#context(), now, run, host, pid: process.pid };
    const report = await this.#inTime("What was due", () => runScheduled(context, config.tasks), {
      hint: "The next tick goes on. With UseStateMachine=true a task may take as long as it needs",
    });
    if (report.tasks.length > 0) await this.#publish(report, context.couch);
    if (!report.ok) throw notSaved(report);
    return report.scheduled.filter(({ outcome }) => outcome === "ran" || outcome === "resumed").map(({ task }) => task);
  }

  async plan(event: PlanEvent): Promise<PlanResult> {
    const run = this.#runOf(event);
    const { databases, key } = await planRun(await this.#context(), run);
    const { bucket, folder: wholeKey } = parseS3Url(this.#program.repository.locate(key));
    return {
      task: event.task,
      elapse: event.elapse.toISOString(),
      bucket,
      key: wholeKey,
      databases: databases.length,
      concurrency: run.task.concurrency ?? 1,
      delay: Math.ceil(run.task.delaySeconds),
    };
  }

  async backup(event: BackupEvent): Promise<BackupResult> {
    const { database } = event;
    const round = await backupRound(await this.#context(), this.#runOf({ ...event, only: "all" }), event);
    return { database, done: round.status !== "unfinished", ...round };
  }

  async summarise(event: SummariseEvent): Promise<SummariseResult> {
    const context = await this.#context();
    const run = this.#runOf(event);
    const report = await summariseRun(context, run);
    await this.#publish(report, context.couch);
    return this.#summaryOf(report, run);
  }

  /** Runs a task because a person wants it. */
  async run(event: RunEvent): Promise<unknown> {
    const { config } = this.#program;
    const elapse = event.elapse ?? new Date(Math.floor(Date.now() / 1000) * 1000);
    const run = this.#runOf({ ...event, elapse });
    if (config.stateMachine !== undefined) {
      // Resuming a run is another execution than the run itself, whose name is used up.
      const more = event.elapse === undefined ? [] : [event.only, this.#invocation.requestId.slice(0, 8)];
      const name = executionName(event.task, stampOf(elapse), ...more);
      const input = { task: event.task, elapse: elapse.toISOString(), only: event.only };
      const options = { ...config.aws, ...this.#place() };
      return { execution: await startExecution(config.stateMachine, { name, input }, options) };
    }
    const context = await this.#context();
    const again = JSON.stringify({ task: event.task, elapse: elapse.toISOString(), only: event.only });
    const report = await this.#inTime(`Task "${event.task}"`, () => runAtOnce(context, run), {
      hint: `Send ${again} to go on. With UseStateMachine=true a task may take as long as it needs`,
    });
    await this.#publish(report, context.couch);
    if (!report.ok) throw notSaved(report);
    return this.#summaryOf(report, run);
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

  #runOf({ task: name, elapse, only }: { task: string; elapse: Date; only: RunOfElapse["scope"] }): RunOfElapse {
    return { task: this.#taskNamed(name), elapse, scope: only };
  }

  #taskNamed(name: string): Task {
    const { tasks } = this.#program.config;
    const task = tasks.find((one) => one.name === name);
    if (task !== undefined) return task;
    const known = tasks.map((one) => `"${one.name}"`).join(", ");
    throw new UsageError(`The config has no task "${name}"`, { hint: `Its tasks are ${known}` });
  }

  /** What is needed to look into the store. */
  #place() {
    const { repository } = this.#program;
    const { signal } = this.#invocation;
    return { repository, signal };
  }

  /** What is needed to back up. The password is read each time: it may have been changed since the process began. */
  async #context(): Promise<RoundsContext> {
    const { config } = this.#program;
    const { stop, signal } = this.#invocation;
    const { log } = this;
    const couch = new CouchClient({ ...await withPassword(config, { signal }), log });
    return { ...this.#place(), couch, log, progress: this.#progress, now: () => new Date(), stop, signal };
  }

  async #publish(report: RunReport, couch: CouchClient): Promise<void> {
    const { config, flush } = this.#program;
    const { lostLines } = await flush();
    const counted = { lostLogLines: lostLines, retries: couch.retries };
    for (const warning of await publishMetrics(config, report, counted)) this.log.warn("metrics", { warning });
  }

  #summaryOf(report: RunReport, { task, elapse }: RunOfElapse): SummariseResult {
    const databases = report.tasks.flatMap((one) => one.databases);
    const failed = databases.filter(({ status }) => status === "failed").length;
    const { repository } = this.#program;
    const folder = repository.runFolder({ task: task.name, elapse });
    return {
      ok: report.ok,
      databases: databases.length,
      failed,
      message: describeOutcome(report),
      report: this.#program.repository.locate(`${folder}/report.json`),
    };
  }
}

/** How an elapse stands in a run's folder and an execution's name: `20260103T180000Z`. */
function stampOf(elapse: Date): string {
  return runFolder({ prefix: "", suffix: "", task: "task", elapse }).split("/").at(-1)!;
}

function notSaved(report: RunReport): NotSavedError {
  return new NotSavedError(describeOutcome(report), { hint: "report.json in the run's folder has the causes" });
}

/** A run's outcome in a sentence, with the names of what failed. */
function describeOutcome(report: RunReport): string {
  const broken = report.tasks.flatMap(({ task, error }) => error === undefined ? [] : [`task "${task}": ${error}`]);
  const databases = report.tasks.flatMap((task) => task.databases);
  const failed = databases.filter(({ status }) => status === "failed").map(({ database }) => database);
  if (broken.length + failed.length === 0) return `${databases.length} databases are saved`;
  const shown = failed.slice(0, NAMES_IN_MESSAGE).join(", ");
  const more = failed.length > NAMES_IN_MESSAGE ? ` and ${failed.length - NAMES_IN_MESSAGE} more` : "";
  const lost = failed.length === 0
    ? []
    : [`${failed.length} of ${databases.length} databases are not saved: ${shown}${more}`];
  return [...broken, ...lost].join("; ");
}
