/**
 * A tick where a state machine does the work. In: the tasks. Out: an execution for an elapse that is due, claimed as a
 * server would claim it, so that servers and state machine leave each other's elapses alone; and what waits for another
 * try. One execution at a time: each keeps its task's delay and concurrency, and of two side by side neither would be
 * kept.
 */
import { isWorthRetrying } from "../src/archive/report.ts";
import { notedAsSaved } from "../src/archive/last_run.ts";
import { ifInReach, RunFolder } from "../src/archive/run_folder.ts";
import type { AwsOptions } from "../src/aws/options.ts";
import {
  executionArn,
  executionName,
  executionStatus,
  runningExecutions,
  startExecution,
} from "../src/aws/step_functions.ts";
import { describeError, hintOf } from "../src/errors.ts";
import { compactInstant } from "../src/archive/layout.ts";
import { CLAIM_TIMES } from "../src/schedule/claim.ts";
import { type ElapseState, nextGeneration, readElapse } from "../src/schedule/elapse.ts";
import { giveUpEarlier } from "../src/schedule/give_up.ts";
import { type LeaseContext, releasingOnFailure, takeLease } from "../src/schedule/lease.ts";
import { describeFailed } from "../src/schedule/retry.ts";
import type { DueTask } from "../src/schedule/run_elapse.ts";
import { runOf } from "../src/schedule/run_in_rounds.ts";
import type { Task } from "../src/task/task.ts";
import { latestElapse } from "../src/task/times.ts";

/** An elapse that is not saved. */
export interface FailedElapse {
  task: string;
  elapse: string;
  /** When it is tried again; absent where nobody tries again. */
  retry_at?: string | undefined;
}

/**
 * Without any sign for so long a server's run is dead: a tick cannot stay and watch. So is an execution that does not
 * exist so long after its claim: by then the call that was to start it is over.
 */
const DEAD_MS = 3 * CLAIM_TIMES.staleMs;

/** What a tick works with. */
export interface StartContext extends LeaseContext {
  stateMachine: string;
  aws: AwsOptions;
  /** The function's name, for claims. */
  host: string;
}

/** What a tick has started, and what not. */
export interface StartedDue {
  started: string[];
  failed: FailedElapse[];
  /** Tasks that are due, and wait for the run that is under way. */
  waiting: string[];
}

/** An elapse, and where it stands. */
interface Found {
  due: DueTask;
  state: ElapseState;
  standing: Standing;
}

/** Whether an elapse is to be started, is being run by somebody who lives, or neither. */
type Standing = "due" | "alive" | "over";

/** Starts an execution for the first elapse that is due, unless a run is under way. */
export async function startDue(context: StartContext, tasks: readonly Task[]): Promise<StartedDue> {
  const { repository, log, signal } = context;
  const all: Found[] = [];
  for (const task of tasks) {
    const elapse = latestElapse(task, context.now());
    if (elapse === undefined) continue;
    const due = { task, elapse };
    const state = await readElapse(repository.store, repository.runFolder({ task: task.name, elapse }), { signal });
    all.push({ due, state, standing: await standingOf(context, state) });
  }
  const found: StartedDue = { started: [], failed: [], waiting: [] };
  const alive = all.find(({ standing }) => standing === "alive");
  let inTheWay = alive === undefined ? undefined : nameOfRun(alive);
  for (const { due, state, standing } of all) {
    if (standing === "due") {
      inTheWay ??= (await runningExecutions(context.stateMachine, { ...context.aws, signal }))[0]?.arn;
      if (inTheWay === undefined) {
        found.started.push(...await start(context, due, state));
        // Where another tick was faster with it, that one's run is under way.
        inTheWay = executionOf(context, due, state);
        continue;
      }
      found.waiting.push(due.task.name);
      log.info("elapse waits for the run that is under way", { task: due.task.name, elapse: due.elapse, inTheWay });
    }
    found.failed.push(...await findFailed(context, due, state));
  }
  return found;
}

async function standingOf(context: StartContext, state: ElapseState): Promise<Standing> {
  if (state.kind === "free" || state.kind === "stopped") return "due";
  if (state.kind === "failed") return state.retryAt <= context.now() ? "due" : "over";
  if (state.kind === "finished") return "over";
  return await isDead(context, state) ? "due" : "alive";
}

function nameOfRun({ due, state }: Found): string {
  const holder = "holder" in state ? state.holder : undefined;
  return holder?.execution ?? `${due.task.name}${holder === undefined ? "" : ` on ${holder.host}`}`;
}

function executionOf({ stateMachine }: StartContext, { task, elapse }: DueTask, state: ElapseState): string {
  const generation = nextGeneration(state);
  const more = generation > 1 ? [String(generation)] : [];
  return executionArn(stateMachine, executionName(task.name, compactInstant(elapse), ...more));
}

/** Whether a run has ended without a word: Step Functions tells, or it has not given any for long. */
async function isDead(
  { now, log, aws, signal }: StartContext,
  { holder, lastSign }: ElapseState & { kind: "running" },
): Promise<boolean> {
  const isSilent = now().getTime() - lastSign.getTime() > DEAD_MS;
  const isOld = holder !== undefined && now().getTime() - Date.parse(holder.started_at) > DEAD_MS;
  if (holder?.execution === undefined) return isSilent;
  try {
    const status = await executionStatus(holder.execution, { ...aws, signal });
    if (status === "RUNNING" || status === "PENDING_REDRIVE") return false;
    // One that succeeded has stored its report, or is about to.
    if (status === "SUCCEEDED") return isSilent;
    // Its tick has claimed the elapse, and may be about to start it.
    if (status === undefined && !isOld && !isSilent) return false;
    log.warn("execution has ended without a report: the elapse is tried again", {
      execution: holder.execution,
      status,
    });
    return true;
  } catch (error) {
    log.warn("nobody can tell how the execution stands", { error: describeError(error) });
    return isSilent;
  }
}

async function start(context: StartContext, due: DueTask, state: ElapseState): Promise<string[]> {
  const { stateMachine, aws, host, log, now, signal } = context;
  const { task, elapse } = due;
  const generation = nextGeneration(state);
  const execution = executionOf(context, due, state);
  const name = execution.split(":").at(-1)!;
  const run = runOf(due);
  const holder = { run, host, pid: 0, started_at: now().toISOString(), execution };
  if (await takeLease(context, { ...due, run }, { state, holder }) === undefined) return [];
  return await releasingOnFailure(context, { ...due, run, generation }, async () => {
    if (generation === 1) await giveUpEarlier(context, due);
    const input = { task: task.name, elapse: elapse.toISOString(), only: "all", generation };
    const { arn, isNew } = await startExecution(stateMachine, { name, input }, { ...aws, signal });
    if (isNew) return [arn];
    log.warn("execution exists already, and is not started again", { execution: arn });
    return [];
  });
}

async function findFailed(
  { repository, log, signal }: StartContext,
  { task, elapse }: DueTask,
  state: ElapseState,
): Promise<FailedElapse[]> {
  if (state.kind !== "failed" && state.kind !== "finished") return [];
  const folder = new RunFolder(repository, { task: task.name, elapse });
  const reading = state.kind === "finished"
    ? folder.readReport({ signal })
    : folder.readNewestGeneration({ signal }).then((outcome) => outcome?.report);
  const { found: report, problem } = await ifInReach(reading);
  const isSaved = problem === undefined
    ? !report?.tasks.some(isWorthRetrying)
    : await notedAsSaved(repository, task.name, { at: elapse, signal }) !== undefined;
  if (state.kind === "finished" && isSaved) return [];
  const retryAt = state.kind === "failed" ? state.retryAt : undefined;
  const unread = problem === undefined ? {} : { error: describeError(problem), hint: hintOf(problem) };
  const facts = report === undefined ? unread : describeFailed(report);
  log.error("elapse is not saved", { task: task.name, elapse, ...facts, retryAt });
  const again = retryAt === undefined ? {} : { retry_at: retryAt.toISOString() };
  return [{ task: task.name, elapse: elapse.toISOString(), ...again }];
}
