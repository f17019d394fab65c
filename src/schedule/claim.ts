/**
 * Who runs what. An elapse of a task belongs to the run that has created its claim object, and of several machines that
 * try only one can; where the store overwrites what exists, to the one whose claim is still there a while later. In: a store and an elapse's folder. Out: where the elapse stands, or a claim on it.
 *
 * The folder holds `claim.json`, a `heartbeat.json` that its run replaces every minute, and at the end `report.json`. Where
 * a run died, `claim-2.json` hands the elapse to another one, with a heartbeat of its own; and so on. Nothing is deleted.
 */
import { z } from "zod";
import { describeError, InterruptedError, StoreError } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import type { Log } from "../observe.ts";
import type { RunReport } from "../archive/report.ts";
import { wait } from "../abort.ts";
import { readText } from "../store/read_whole.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";

/** How a run shows that it lives, and how its death is told. */
export interface ClaimTimes {
  /** Between two heartbeats. */
  heartbeatMs: number;
  /** A run whose last sign of life is older than this may be dead. */
  staleMs: number;
  /** It is dead when it gives no further sign for this long while it is watched. */
  watchMs: number;
  /** Where the store does not hold conditions: how long a claim lies before its run looks whether it is still its own. */
  settleMs: number;
}

/**
 * What every machine of a bucket goes by.
 *
 * The age of a sign of life is the difference of two clocks, the store's and that of whoever asks. If the latter is fast,
 * a living run looks dead; so it is watched for two and a half heartbeats before it is called so. If it is slow, a dead
 * run is found out later by as much. Neither can make two runs go on with one elapse.
 *
 * A store that does not hold conditions lets the later of two claims win, and both runs read that one when both are
 * written: so each waits for longer than a request takes. A machine that is held up between its look and its write for
 * longer than that wins as well; the other one finds out with its next heartbeat and stops. That is why on such a store
 * only one machine should run a schedule.
 */
export const CLAIM_TIMES: ClaimTimes = { heartbeatMs: 60_000, staleMs: 300_000, watchMs: 150_000, settleMs: 15_000 };

/** How long an interrupted run may take to say that it has ended. */
const RELEASE_TIMEOUT_MS = 1500;

const holderSchema = z.object({
  run: z.string(),
  host: z.string(),
  pid: z.number(),
  started_at: z.string(),
});
const heartbeatSchema = z.object({
  /** Counts the heartbeats: S3 tells the time of an object in whole seconds only. */
  beat: z.number(),
  state: z.enum(["running", "stopped"]),
});

/** A run that has an elapse, as its claim says. */
export type Holder = z.infer<typeof holderSchema>;

/** Where an elapse stands. */
export type ElapseState =
  /** Nobody has it. */
  | { kind: "free" }
  /** Its run is over, well or not. */
  | { kind: "finished" }
  /** Its run was interrupted and waits for somebody to go on. */
  | { kind: "stopped"; generation: number; holder: Holder | undefined }
  /** Its run is under way, or has died. */
  | {
    kind: "running";
    generation: number;
    holder: Holder | undefined;
    /** Changes with every sign of life. */
    sign: string;
    lastSign: Date;
  };

const CLAIM = "claim";
const HEARTBEAT = "heartbeat";
const REPORT_NAME = "report.json";
const GENERATION_NAME = /^(claim|heartbeat)(?:-(\d+))?\.json$/;

/** The first generation's objects have no number, as most elapses know no other. */
function nameOf(what: string, generation: number): string {
  return generation === 1 ? `${what}.json` : `${what}-${generation}.json`;
}

/** Finds out where the elapse of `folder` stands. */
export async function readElapse(store: Store, folder: string, options: StoreCallOptions): Promise<ElapseState> {
  let generation = 0;
  const modified = new Map<string, Date>();
  for await (const entry of store.list(folder, options)) {
    if (entry.kind !== "object") continue;
    if (entry.name === REPORT_NAME) return { kind: "finished" };
    const [, what, number = "1"] = GENERATION_NAME.exec(entry.name) ?? [];
    if (what === undefined) continue;
    modified.set(entry.name, entry.modified);
    if (what === CLAIM) generation = Math.max(generation, Number(number));
  }
  if (generation === 0) return { kind: "free" };
  const holder = await readJson(store, joinKey(folder, nameOf(CLAIM, generation)), holderSchema, options);
  const claimed = modified.get(nameOf(CLAIM, generation))!;
  const beaten = modified.get(nameOf(HEARTBEAT, generation));
  const heartbeat = beaten === undefined
    ? undefined
    : await readJson(store, joinKey(folder, nameOf(HEARTBEAT, generation)), heartbeatSchema, options);
  if (heartbeat?.state === "stopped") return { kind: "stopped", generation, holder };
  const sign = `${generation} ${heartbeat?.beat ?? 0}`;
  return { kind: "running", generation, holder, sign, lastSign: beaten ?? claimed };
}

/** A small object of ours; undefined where it is not what it should be, as a machine that died amid writing may leave it. */
async function readJson<T>(
  store: Store,
  key: string,
  schema: z.ZodType<T>,
  options: StoreCallOptions,
): Promise<T | undefined> {
  const text = await readText(store, key, options);
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(value, undefined, 2)}\n`);
}

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
  const key = joinKey(folder, nameOf(CLAIM, generation));
  try {
    await store.create([key], new Blob([encode(holder)]).stream(), { signal });
  } catch (error) {
    if (error instanceof StoreError && error.facts.code === "exists") return undefined;
    throw error;
  }
  if (store.conditions === "ignored") {
    await wait(times.settleMs, signal);
    if (!await isClaimOf(holder, key, { store, signal })) return undefined;
  }
  const earlierRuns = new Set<string>();
  for (let earlier = 1; earlier < generation; earlier++) {
    const before = await readJson(store, joinKey(folder, nameOf(CLAIM, earlier)), holderSchema, { signal });
    if (before !== undefined) earlierRuns.add(before.run);
  }
  return new Claim(folder, { ...claim, earlierRuns }, context);
}

/** Whether a claim is that of a run, and has not been overwritten by another one's. */
async function isClaimOf(
  holder: Holder,
  key: string,
  { store, signal }: { store: Store; signal?: AbortSignal | undefined },
): Promise<boolean> {
  return (await readJson(store, key, holderSchema, { signal }))?.run === holder.run;
}

/** An elapse that is ours. It shows that its run lives until it is finished, released or lost. */
export class Claim {
  /** The runs that had the elapse before. */
  readonly earlierRuns: ReadonlySet<string>;

  readonly #folder: string;
  readonly #context: ClaimContext;
  readonly #holder: Holder;
  readonly #generation: number;
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
    this.#generation = claim.generation;
    this.earlierRuns = claim.earlierRuns;
    this.#beating = this.#beat();
  }

  /** Aborted when another run has taken the elapse over: this one was suspended, or cut off from the store, too long. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Stores the run's report and thereby ends the elapse; not where another run has taken it over, whose report counts. */
  async finish(report: RunReport): Promise<void> {
    await this.#stopBeating();
    const { store, log, signal } = this.#context;
    if (await this.#isTakenOver({ signal })) log.warn("report is not stored: another run has taken the elapse over");
    else await store.replace(joinKey(this.#folder, REPORT_NAME), encode(report), { signal });
  }

  /** Says that the run was interrupted, so that the next one need not wait to find out. */
  async release(): Promise<void> {
    await this.#stopBeating();
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
        const signal = AbortSignal.any([ended, AbortSignal.timeout(heartbeatMs)]);
        if (await this.#isTakenOver({ signal })) {
          this.#lost.abort(new InterruptedError("Another run has taken over: this one gave no sign of life"));
          return;
        }
        await this.#show("running", signal);
      } catch (error) {
        if (!ended.aborted) this.#context.log.warn("heartbeat could not be stored", { error: describeError(error) });
      }
    }
  }

  async #stopBeating(): Promise<void> {
    this.#ended.abort();
    await this.#beating;
  }

  async #isTakenOver(options: StoreCallOptions): Promise<boolean> {
    const { store } = this.#context;
    const next = joinKey(this.#folder, nameOf(CLAIM, this.#generation + 1));
    if (await store.stat(next, options) !== undefined) return true;
    if (store.conditions !== "ignored") return false;
    const own = joinKey(this.#folder, nameOf(CLAIM, this.#generation));
    return !await isClaimOf(this.#holder, own, { store, ...options });
  }

  async #show(state: z.infer<typeof heartbeatSchema>["state"], signal: AbortSignal): Promise<void> {
    const { store, now } = this.#context;
    const heartbeat = { run: this.#holder.run, beat: ++this.#beats, state, at: now().toISOString() };
    await store.replace(joinKey(this.#folder, nameOf(HEARTBEAT, this.#generation)), encode(heartbeat), { signal });
  }
}
