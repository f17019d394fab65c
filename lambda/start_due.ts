/**
 * A tick where a state machine does the work. In: the tasks. Out: an execution for each elapse that is due, claimed as a
 * server would claim it, so that servers and state machine leave each other's elapses alone; and what waits for another try.
 */
import { isWorthRetrying } from "../src/archive/report.ts";
import { RunFolder } from "../src/archive/run_folder.ts";
import type { AwsOptions } from "../src/aws/options.ts";
import { executionArn, executionName, executionStatus, startExecution } from "../src/aws/step_functions.ts";
import { describeError } from "../src/errors.ts";
import { compactInstant } from "../src/archive/layout.ts";
import { CLAIM_TIMES } from "../src/schedule/claim.ts";
import { type ElapseState, readElapse } from "../src/schedule/elapse.ts";
import { giveUpEarlier } from "../src/schedule/give_up.ts";
import { type LeaseContext, nextGeneration, releaseLease, takeLease } from "../src/schedule/lease.ts";
import { describeFailed } from "../src/schedule/retry.ts";
import { runOf } from "../src/schedule/rounds.ts";
import type { DueTask } from "../src/schedule/run_elapse.ts";
import type { Task } from "../src/task/task.ts";
import { latestElapse } from "../src/task/times.ts";

/** An elapse that is not saved. */
export interface FailedElapse {
  task: string;
  elapse: string;
  /** When it is tried again; absent where nobody tries again. */
  retry_at?: string | undefined;
}

/** Without any sign for so long a server's run is dead: a tick cannot stay and watch. */
const DEAD_MS = 3 * CLAIM_TIMES.staleMs;

/** What a tick works with. */
export interface StartContext extends LeaseContext {
  stateMachine: string;
  aws: AwsOptions;
  /** The function's name, for claims. */
  host: string;
}

/** Starts an execution for each elapse that is due. */
export async function startDue(
  context: StartContext,
  tasks: readonly Task[],
): Promise<{ started: string[]; failed: FailedElapse[] }> {
  const started: string[] = [];
  const failed: FailedElapse[] = [];
  for (const task of tasks) {
    const elapse = latestElapse(task, context.now());
    if (elapse === undefined) continue;
    const { repository, signal } = context;
    const due = { task, elapse };
    const state = await readElapse(repository.store, repository.runFolder({ task: task.name, elapse }), { signal });
    if (await isDue(context, state)) started.push(...await start(context, due, state));
    else failed.push(...await findFailed(context, due, state));
  }
  return { started, failed };
}

async function isDue(context: StartContext, state: ElapseState): Promise<boolean> {
  const { now } = context;
  if (state.kind === "free" || state.kind === "stopped") return true;
  if (state.kind === "failed") return state.retryAt <= now();
  return state.kind === "running" && await isDead(context, state);
}

/** Whether a run has ended without a word: Step Functions tells, or it has not given any for long. */
async function isDead(
  { now, log, aws, signal }: StartContext,
  { holder, lastSign }: ElapseState & { kind: "running" },
): Promise<boolean> {
  const isSilent = now().getTime() - lastSign.getTime() > DEAD_MS;
  if (holder?.execution === undefined) return isSilent;
  try {
    const status = await executionStatus(holder.execution, { ...aws, signal });
    if (status === "RUNNING" || status === "PENDING_REDRIVE") return false;
    // One that succeeded has stored its report, or is about to.
    if (status === "SUCCEEDED") return isSilent;
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
  const name = executionName(task.name, compactInstant(elapse), ...generation > 1 ? [String(generation)] : []);
  const run = runOf(due);
  const execution = executionArn(stateMachine, name);
  const holder = { run, host, pid: 0, started_at: now().toISOString(), execution };
  if (await takeLease(context, { ...due, run }, { state, holder }) === undefined) return [];
  if (generation === 1) await giveUpEarlier(context, due);
  const input = { task: task.name, elapse: elapse.toISOString(), only: "all", generation };
  try {
    const { arn, isNew } = await startExecution(stateMachine, { name, input }, { ...aws, signal });
    if (isNew) return [arn];
    log.warn("execution exists already, and is not started again", { execution: arn });
    return [];
  } catch (error) {
    await releaseLease(context, { ...due, run, generation });
    throw error;
  }
}

async function findFailed(
  { repository, log, signal }: StartContext,
  { task, elapse }: DueTask,
  state: ElapseState,
): Promise<FailedElapse[]> {
  if (state.kind !== "failed" && state.kind !== "finished") return [];
  const folder = new RunFolder(repository, { task: task.name, elapse });
  const report = state.kind === "finished"
    ? await folder.readReport({ signal })
    : (await folder.readNewestGeneration({ signal }))?.report;
  if (state.kind === "finished" && !report?.tasks.some(isWorthRetrying)) return [];
  const retryAt = state.kind === "failed" ? state.retryAt : undefined;
  const facts = report === undefined ? {} : describeFailed(report);
  log.error("elapse is not saved", { task: task.name, elapse, ...facts, retryAt });
  const again = retryAt === undefined ? {} : { retry_at: retryAt.toISOString() };
  return [{ task: task.name, elapse: elapse.toISOString(), ...again }];
}
