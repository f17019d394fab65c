/**
 * Claims decide who runs what. An elapse of a task belongs to the run that has created its claim object: of several
 * machines that try only one can. Where the store overwrites objects, it is the one whose claim is still there later.
 * In: an elapse's folder and the claiming run. Out: a claim, which sends heartbeats until it is finished, released or
 * lost. The objects in the folder are described in elapse.ts.
 */
import { describeError, InterruptedError, StoreError } from "../errors.ts";
import { generationOutcomeName, REPORT_NAME } from "../archive/run_folder.ts";
import { jsonBytes } from "../json/indented.ts";
import { joinKey } from "../store/key.ts";
import type { Log } from "../observe.ts";
import type { RunReport } from "../archive/report.ts";
import { timeoutAwake, wait, withGrace } from "../abort.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import {
  CLAIM,
  type GenerationPlace,
  HEARTBEAT,
  type Holder,
  isTakenOver,
  type Liveliness,
  nameOf,
  readEarlierRuns,
  readHolder,
} from "./elapse.ts";

/** How a run shows that it lives, and how its death is told. */
export interface ClaimTimes {
  /** Between two heartbeats. */
  heartbeatMs: number;
  /** A run whose last sign of life is older than this may be dead. */
  staleMs: number;
  /** It is dead when it gives no further sign for this long while it is watched. */
  watchMs: number;
  /**
   * Where the store does not hold conditions: how long a claim lies before its run looks whether it is still its own.
   */
  settleMs: number;
}

/**
 * What every machine of a bucket goes by.
 *
 * The age of a sign of life is the difference of two clocks, the store's and that of whoever asks. If the latter is
 * fast, a living run looks dead; so it is watched for two and a half heartbeats before it is called so. If it is slow,
 * a dead run is found out later by as much. Neither can make two runs resume one elapse.
 *
 * A store that does not hold conditions lets the later of two claims win, and both runs read that one when both are
 * written: so each waits for longer than a request takes. A machine that is held up between its look and its write for
 * longer than that wins as well; the other one finds out with its next heartbeat and stops. That is why on such a store
 * only one machine should run a schedule.
 */
export const CLAIM_TIMES: ClaimTimes = { heartbeatMs: 60_000, staleMs: 300_000, watchMs: 150_000, settleMs: 15_000 };

/** How long an interrupted run may take to say that it has ended. */
const RELEASE_TIMEOUT_MS = 1500;

/**
 * How long a heartbeat that is under way is waited for when it is to be the last: one that is dropped may reach the
 * store after the last words, and overwrite them.
 */
const LAST_BEAT_MS = 500;

/** What a claim is made with. */
export interface ClaimContext extends StoreCallOptions {
  store: Store;
  log: Log;
  now: () => Date;
  times: ClaimTimes;
}

/**
 * Claims the elapse of `folder` for `holder`, as `generation`: 1 where it is free, one more than that of the run that
 * does not go on.
 *
 * @returns undefined when somebody else was faster.
 */
export async function claimElapse(
  folder: string,
  claim: { holder: Holder; generation: number },
  context: ClaimContext,
): Promise<Claim | undefined> {
  const { store, times, signal } = context;
  const { holder, generation } = claim;
  const { settleMs } = times;
  // Read before the claim is made: a failure after that would leave a claim that nobody holds.
  const earlierRuns = await readEarlierRuns(store, { folder, generation }, { signal });
  if (!await createClaim(store, { folder, generation }, { holder, settleMs, signal })) return undefined;
  return new Claim(folder, { ...claim, earlierRuns }, context);
}

/** Creates the claim object alone. Returns false when somebody else was faster, or has overwritten it. */
export async function createClaim(
  store: Store,
  { folder, generation }: GenerationPlace,
  { holder, settleMs, signal }: { holder: Holder; settleMs: number } & StoreCallOptions,
): Promise<boolean> {
  const key = joinKey(folder, nameOf(CLAIM, generation));
  try {
    await store.create([key], new Blob([jsonBytes(holder)]).stream(), { signal });
  } catch (error) {
    if (error instanceof StoreError && error.facts.code === "exists") return false;
    throw error;
  }
  if (store.conditions !== "ignored") return true;
  await wait(settleMs, signal);
  return await isClaimOf(holder, { folder, generation }, { store, signal });
}

/**
 * Whether a claim is that of a run, and has not been overwritten by another one's.
 *
 * @throws StoreError with code `not_found` where there is none: a store that shows late what it has stored does not
 * prove that another run has the elapse.
 */
async function isClaimOf(
  holder: Holder,
  place: GenerationPlace,
  { store, signal }: { store: Store } & StoreCallOptions,
): Promise<boolean> {
  const found = await readHolder(store, place, { signal });
  if (found !== undefined) return found.run === holder.run;
  const key = joinKey(place.folder, nameOf(CLAIM, place.generation));
  if (await store.stat(key, { signal }) !== undefined) return false;
  throw new StoreError(`The claim "${key}" is not there any more`, { code: "not_found", key });
}

/** A sign of life, or the last words, of a generation's run. */
export interface Sign {
  run: string;
  /** Differs from that of the sign before. */
  beat: number;
  state: Liveliness;
  at: Date;
  /** Of a run that has failed: when somebody is to try again. */
  retryAt?: Date | undefined;
  /** Of a run that works in rounds: until then no further sign is to be expected. */
  aliveUntil?: Date | undefined;
}

/** Puts a sign in the place of the one before. */
export async function storeSign(
  store: Store,
  { folder, generation }: GenerationPlace,
  { run, beat, state, at, retryAt, aliveUntil, signal }: Sign & StoreCallOptions,
): Promise<void> {
  const heartbeat = { run, beat, state, at, retry_at: retryAt, alive_until: aliveUntil };
  await store.replace(joinKey(folder, nameOf(HEARTBEAT, generation)), jsonBytes(heartbeat), { signal });
}

/** Stores how all generations came out together, and then says when to try again. */
export async function storeFailure(
  store: Store,
  place: GenerationPlace,
  { report, ...sign }: Omit<Sign, "state"> & { report: RunReport } & StoreCallOptions,
): Promise<void> {
  const { signal } = sign;
  // First the outcome, by which a retry knows what has failed, and then the sign that allows the retry.
  await store.replace(joinKey(place.folder, generationOutcomeName(place.generation)), jsonBytes(report), { signal });
  await storeSign(store, place, { ...sign, state: "failed" });
}

/**
 * An elapse that is ours. It shows that its run lives until it is finished, failed, released or lost. Whoever holds it
 * disposes of it in a `finally`: the heartbeats of a claim that nobody ends go on for ever, so that everybody believes
 * that its run lives, and the process does not end.
 */
export class Claim implements AsyncDisposable {
  /** Which run of the elapse this is, from 1. */
  readonly generation: number;
  /** The runs that had the elapse before. */
  readonly earlierRuns: ReadonlySet<string>;

  readonly #folder: string;
  readonly #context: ClaimContext;
  readonly #holder: Holder;
  readonly #lost = new AbortController();
  readonly #ended = new AbortController();
  readonly #beating: Promise<void>;
  #beats = 0;

  /** Use {@linkcode claimElapse}. */
  constructor(
    folder: string,
    claim: { holder: Holder; generation: number; earlierRuns: ReadonlySet<string> },
    context: ClaimContext,
  ) {
    this.#folder = folder;
    this.#context = context;
    this.#holder = claim.holder;
    this.generation = claim.generation;
    this.earlierRuns = claim.earlierRuns;
    this.#beating = this.#beat();
  }

  /**
   * Aborted when another run has taken the elapse over: this one was suspended, or cut off from the store, too long.
   */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Stores the run's report and thereby ends the elapse; not where another run has taken it over, whose report counts.
   *
   * @throws What the store throws. The claim has ended all the same, without a word: others find out as of a run that
   * died.
   */
  async finish(report: RunReport): Promise<void> {
    await this.#end("report is not stored: another run has taken the elapse over", async ({ store, signal }) => {
      await store.replace(joinKey(this.#folder, REPORT_NAME), jsonBytes(report), { signal });
    });
  }

  /**
   * Says that not everything is saved, and when to try again; `report` is how all generations came out together. Not
   * where another run has taken the elapse over.
   *
   * @throws As `finish` does.
   */
  async fail(report: RunReport, retryAt: Date): Promise<void> {
    await this.#end("outcome is not stored: another run has taken the elapse over", async ({ store, now, signal }) => {
      const sign = { run: this.#holder.run, beat: ++this.#beats, at: now(), retryAt };
      await storeFailure(store, this.#place, { ...sign, report, signal });
    });
  }

  /** Releases what was neither finished nor failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended.signal.aborted) await this.release();
  }

  /** Ends the heartbeats, and then says how the run came out, unless another run has the elapse by now. */
  async #end(whenTakenOver: string, tell: (context: ClaimContext) => Promise<void>): Promise<void> {
    await this.#stopBeating();
    const { log, signal } = this.#context;
    try {
      if (await this.#isTakenOver({ signal })) log.warn(whenTakenOver);
      else await tell(this.#context);
    } catch (error) {
      if (signal?.aborted) await this.release();
      throw error;
    }
  }

  /**
   * Says that the run was interrupted, so that the next one need not wait to find out; not where another one has it.
   */
  async release(): Promise<void> {
    await this.#stopBeating();
    // The run that has taken over writes the heartbeat by now, where the store overwrites claims.
    if (this.#lost.signal.aborted) return;
    try {
      await this.#show("stopped", AbortSignal.timeout(RELEASE_TIMEOUT_MS));
    } catch (error) {
      this.#context.log.warn("claim could not be released", { error: describeError(error) });
    }
  }

  async #beat(): Promise<void> {
    const ended = this.#ended.signal;
    const { heartbeatMs } = this.#context.times;
    while (!ended.aborted) {
      try {
        await wait(heartbeatMs, ended);
        if (!await this.#beatOnce()) return;
      } catch (error) {
        if (!ended.aborted) this.#context.log.warn("heartbeat could not be stored", { error: describeError(error) });
      }
    }
  }

  /** @returns Whether the elapse is still ours. */
  async #beatOnce(): Promise<boolean> {
    // Time in which the process is stopped does not count: answers that came meanwhile are there when it goes on.
    const deadline = timeoutAwake(this.#context.times.heartbeatMs);
    const ended = withGrace(this.#ended.signal, LAST_BEAT_MS);
    try {
      const signal = AbortSignal.any([ended.signal, deadline.signal]);
      if (!await this.#isTakenOver({ signal })) {
        await this.#show("running", signal);
        return true;
      }
      this.#lost.abort(new InterruptedError("Another run has taken over: this one sent no heartbeat for too long"));
      return false;
    } finally {
      deadline.dispose();
      ended.dispose();
    }
  }

  async #stopBeating(): Promise<void> {
    this.#ended.abort();
    await this.#beating;
  }

  get #place(): GenerationPlace {
    return { folder: this.#folder, generation: this.generation };
  }

  async #isTakenOver(options: StoreCallOptions): Promise<boolean> {
    const { store } = this.#context;
    if (await isTakenOver(store, this.#place, options)) return true;
    if (store.conditions !== "ignored") return false;
    return !await isClaimOf(this.#holder, this.#place, { store, ...options });
  }

  async #show(state: Liveliness, signal: AbortSignal): Promise<void> {
    const { store, now } = this.#context;
    const sign = { run: this.#holder.run, beat: ++this.#beats, state, at: now() };
    await storeSign(store, this.#place, { ...sign, signal });
  }
}
