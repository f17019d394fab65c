/**
 * A claim that is held by a sequence of calls: the rounds of a state machine, none of which lives as long as the run.
 * In: a run of an elapse. Out: the generation of the elapse, and how it ends. Each call notes until when the next one
 * must have come; other machines leave the elapse alone until then.
 */
import type { Repository } from "../archive/repository.ts";
import { describeError, UsageError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { findConditions } from "../store/conditions.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import { CLAIM_TIMES, createClaim, storeFailure, storeSign } from "./claim.ts";
import { type ElapseState, type Holder, isTakenOver, nextGeneration, readElapse } from "./elapse.ts";
import { giveUpEarlier } from "./give_up.ts";
import type { Settlement } from "./retry.ts";
import { LAST_WORDS_TIMEOUT_MS } from "./run_in_rounds.ts";

/**
 * How long a call may stay away, beside the task's delay: one of 15 minutes that dies at its end and is tried again,
 * and some throttling.
 */
const LEASE_MS = 40 * 60_000;

/** What a lease is held with. */
export interface LeaseContext extends StoreCallOptions {
  repository: Repository;
  log: Log;
  now: () => Date;
}

/** The run that holds it. */
export interface LeasedRun {
  task: Task;
  elapse: Date;
  /** The run's id, the same in every call. */
  run: string;
}

/** What a lease is about: a generation of an elapse. */
export interface Lease extends LeasedRun {
  generation: number;
}

/**
 * Claims the next generation of an elapse of which `state` was read.
 *
 * @returns The generation; undefined when somebody else was faster.
 */
export async function takeLease(
  context: LeaseContext,
  leased: LeasedRun,
  { state, holder }: { state: ElapseState; holder: Holder },
): Promise<number | undefined> {
  const { repository: { store }, signal } = context;
  const generation = nextGeneration(state);
  const { settleMs } = CLAIM_TIMES;
  const folder = folderOf(context, leased);
  await findConditions(store, context.repository.storeFolder, { log: context.log, signal });
  if (!await createClaim(store, { folder, generation }, { holder, settleMs, signal })) return undefined;
  await renewLease(context, { ...leased, generation });
  return generation;
}

/** Shows that the run goes on. */
export async function renewLease(context: LeaseContext, lease: Lease): Promise<void> {
  const at = context.now();
  const aliveUntil = new Date(at.getTime() + LEASE_MS + lease.task.delaySeconds * 1000);
  await sign(context, lease, { state: "running", at, aliveUntil });
}

/** How long a round's word holds for the next rounds in the same process: a small part of the lease. */
const WORD_MS = 60_000;
/** The lease that a round of this process has renewed last; there is one run at a time. */
let lastWord: { lease: string; atMs: number } | undefined;

/** The same for a round: of many small ones in a minute the first one says it for all. */
export async function renewLeaseForRound(context: LeaseContext, lease: Lease): Promise<void> {
  const name = `${context.repository.locate(folderOf(context, lease))} ${lease.generation}`;
  const sinceMs = context.now().getTime() - (lastWord?.atMs ?? 0);
  if (lastWord?.lease === name && sinceMs >= 0 && sinceMs < WORD_MS) return;
  await renewLease(context, lease);
  lastWord = { lease: name, atMs: context.now().getTime() };
}

/** Says that the run was broken off, so that the next one need not wait to find out. */
export async function releaseLease(context: LeaseContext, lease: Lease): Promise<void> {
  await sign(context, lease, { state: "stopped", at: context.now() });
}

/** Does what is first to be done with a lease that was just taken; where that fails the lease is released. */
export async function releasingOnFailure<T>(context: LeaseContext, lease: Lease, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // Even if the call's own time is over: otherwise nobody could begin before the lease has run out.
    const lastWords = { ...context, signal: AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS) };
    await releaseLease(lastWords, lease).catch((failure) => {
      context.log.warn("lease could not be released", { error: describeError(failure) });
    });
    throw error;
  }
}

/** Whether another run has the elapse by now. */
export async function isLeaseLost(context: LeaseContext, lease: Lease): Promise<boolean> {
  const { repository: { store }, signal } = context;
  return await isTakenOver(store, { folder: folderOf(context, lease), generation: lease.generation }, { signal });
}

/** Says that not everything is saved, and when to try again. */
export async function failLease(
  context: LeaseContext,
  lease: Lease,
  { report, retryAt }: Settlement & { kind: "failed" },
): Promise<void> {
  lastWord = undefined;
  const { repository: { store }, now, signal } = context;
  const place = { folder: folderOf(context, lease), generation: lease.generation };
  await storeFailure(store, place, { run: lease.run, beat: beatAt(now()), at: now(), retryAt, report, signal });
}

/**
 * The generation that a call works for which was told of none, as when a person starts the state machine by hand: the
 * one that this run holds, else the next; undefined where the elapse is over, and all that is done amends its report.
 *
 * @throws UsageError when another machine's run has it in hand.
 */
export async function joinOrTake(context: LeaseContext, leased: LeasedRun, host: string): Promise<number | undefined> {
  const { repository: { store }, now, signal } = context;
  const state = await readElapse(store, folderOf(context, leased), { signal });
  if (state.kind === "finished") return undefined;
  if (state.kind === "running") {
    if (state.holder?.run === leased.run) return state.generation;
    throw heldByAnother(leased, state.holder);
  }
  const holder = { run: leased.run, host, pid: 0, started_at: now().toISOString() };
  const generation = await takeLease(context, leased, { state, holder });
  if (generation === undefined) throw heldByAnother(leased, undefined);
  if (generation === 1) {
    await releasingOnFailure(context, { ...leased, generation }, () => giveUpEarlier(context, leased));
  }
  return generation;
}

function heldByAnother({ task, elapse }: LeasedRun, holder: Holder | undefined): UsageError {
  const whose = holder === undefined ? "" : ` "${holder.run}" on ${holder.host}`;
  return new UsageError(`The elapse of ${elapse.toISOString()} of task "${task.name}" is held by another run${whose}`, {
    hint: "Wait until it has finished or failed: what it does not save is retried",
  });
}

async function sign(
  context: LeaseContext,
  lease: Lease,
  { state, at, aliveUntil }: { state: "running" | "stopped"; at: Date; aliveUntil?: Date },
): Promise<void> {
  lastWord = undefined;
  const { repository: { store }, signal } = context;
  const place = { folder: folderOf(context, lease), generation: lease.generation };
  await storeSign(store, place, { run: lease.run, beat: beatAt(at), state, at, aliveUntil, signal });
}

/** Calls have no count in common. */
function beatAt(at: Date): number {
  return at.getTime();
}

function folderOf({ repository }: LeaseContext, { task, elapse }: LeasedRun): string {
  return repository.runFolder({ task: task.name, elapse });
}
