/**
 * The state of an elapse of a task, by the objects in its folder. In: a store and the folder. Out: whether it is free,
 * running, stopped, failed or finished, and who holds it. Nothing is written here.
 *
 * The folder holds `claim.json`, a `heartbeat.json` that its run replaces every minute, and at the end `report.json`.
 * If a run died or did not save everything, `claim-2.json` hands the elapse to another one (the next generation), with
 * a heartbeat of its own; and so on. What did not save everything leaves `outcome-<generation>.json` in place of the
 * report, and its last heartbeat says when to try again. Nothing is deleted.
 */
import * as z from "zod";
import { parseRunFolderName } from "../archive/layout.ts";
import type { Repository } from "../archive/repository.ts";
import { ifInReach, REPORT_NAME } from "../archive/run_folder.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";

/** A run that has an elapse, as its claim says. */
export interface Holder {
  run: string;
  host: string;
  pid: number;
  started_at: string;
  /** The ARN of the state machine's execution that does the work, where one does. */
  execution?: string | undefined;
}

/** Whether a run goes on, as its heartbeat says. */
export type Liveliness = "running" | "stopped" | "failed";

/** One generation of an elapse, from 1. */
export interface GenerationPlace {
  /** The elapse's folder. */
  folder: string;
  generation: number;
}

/** What a claim object holds. */
const holderSchema: z.ZodType<Holder> = z.object({
  run: z.string(),
  host: z.string(),
  pid: z.number(),
  started_at: z.string(),
  execution: z.string().optional(),
});
const heartbeatSchema = z.object({
  /** Counts the heartbeats: S3 tells the time of an object in whole seconds only. */
  beat: z.number(),
  state: z.enum(["running", "stopped", "failed"]),
  /** When somebody is to try again. */
  retry_at: z.iso.datetime().optional(),
  /** Until then no further sign is to be expected of a run that works in rounds. */
  alive_until: z.iso.datetime().optional(),
});

/** Where an elapse stands. */
export type ElapseState =
  /** Nobody has it. */
  | { kind: "free" }
  /** Its run is over, well or not. */
  | { kind: "finished" }
  /** Its run was interrupted and waits for somebody to go on. */
  | { kind: "stopped"; generation: number; holder: Holder | undefined }
  /** Its run is over, has not saved everything, and waits for somebody to try again. */
  | { kind: "failed"; generation: number; holder: Holder | undefined; retryAt: Date }
  /** Its run is under way, or has died. */
  | {
    kind: "running";
    generation: number;
    holder: Holder | undefined;
    /** Changes with every sign of life. */
    sign: string;
    lastSign: Date;
  };

/** What the objects of an elapse's folder are called, with {@linkcode nameOf} or as they are. */
export const CLAIM = "claim";
export const HEARTBEAT = "heartbeat";
/** How many earlier runs are searched for what they have left, besides the first. */
const MOST_EARLIER_RUNS = 30;
/** What nameOf() writes, and nothing that only resembles it. */
const GENERATION_NAME = /^(claim|heartbeat)(?:-([2-9]|[1-9]\d{1,8}))?\.json$/;

/** The first generation's objects have no number, as most elapses know no other. */
export function nameOf(what: string, generation: number): string {
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
  // A claim may be cut off, where its machine died while writing it, or out of reach: then its holder is unknown.
  const { found: holder } = await ifInReach(readHolder(store, { folder, generation }, options));
  const claimed = modified.get(nameOf(CLAIM, generation))!;
  const beaten = modified.get(nameOf(HEARTBEAT, generation));
  const heartbeat = beaten === undefined ? undefined : await readHeartbeat(store, { folder, generation }, options);
  if (heartbeat?.state === "stopped") return { kind: "stopped", generation, holder };
  const lastSign = beaten ?? claimed;
  if (heartbeat?.state === "failed") {
    return { kind: "failed", generation, holder, retryAt: new Date(heartbeat.retry_at ?? lastSign) };
  }
  const sign = `${generation} ${heartbeat?.beat ?? 0}`;
  const aliveUntil = new Date(heartbeat?.alive_until ?? 0);
  return { kind: "running", generation, holder, sign, lastSign: aliveUntil > lastSign ? aliveUntil : lastSign };
}

/** The last sign of a generation; undefined where it is damaged or out of reach, so that its moment alone tells. */
async function readHeartbeat(
  store: Store,
  { folder, generation }: GenerationPlace,
  options: StoreCallOptions,
): Promise<z.infer<typeof heartbeatSchema> | undefined> {
  const key = joinKey(folder, nameOf(HEARTBEAT, generation));
  return (await ifInReach(readJson(store, key, { ...options, schema: heartbeatSchema }))).found;
}

/** The generation that is next where an elapse stands so. */
export function nextGeneration(state: ElapseState): number {
  return "generation" in state ? state.generation + 1 : 1;
}

/** The instants of which a task has a run's folder, in no order: elapses, and whenever it was run at another moment. */
export async function* listElapses(
  { repository, signal }: { repository: Repository } & StoreCallOptions,
  task: Task,
): AsyncGenerator<Date> {
  for await (const { kind, name } of repository.store.list(repository.taskFolder(task.name), { signal })) {
    const instant = kind === "folder" ? parseRunFolderName(name) : undefined;
    if (instant !== undefined) yield instant;
  }
}

/** The ids of the runs that had an elapse before a generation of it. */
export async function readEarlierRuns(
  store: Store,
  { folder, generation }: GenerationPlace,
  options: StoreCallOptions,
): Promise<Set<string>> {
  const runs = new Set<string>();
  // The first run had every database, those before this one what failed; a month of tries has hundreds of them.
  const first = Math.max(2, generation - MOST_EARLIER_RUNS);
  const earlierOnes = generation < 2 ? [] : [1, ...Array.from({ length: generation - first }, (_, n) => first + n)];
  for (const earlier of earlierOnes) {
    const { found: before } = await ifInReach(readHolder(store, { folder, generation: earlier }, options));
    if (before !== undefined) runs.add(before.run);
  }
  return runs;
}

/** Whose a generation is; undefined where there is no claim to it, or none that can be read. */
export async function readHolder(
  store: Store,
  { folder, generation }: GenerationPlace,
  options: StoreCallOptions,
): Promise<Holder | undefined> {
  return await readJson(store, joinKey(folder, nameOf(CLAIM, generation)), { ...options, schema: holderSchema });
}

/**
 * Whether a person had a run begun that has a folder of its own, as those of a Lambda have: its plan has claimed it,
 * and neither a server's process nor a tick, which names the execution that it starts.
 */
export function isBegunByHand({ pid, execution }: Holder): boolean {
  return pid === 0 && execution === undefined;
}

/** When a generation was claimed, by the store's clock; undefined where there is no claim to it. */
export async function claimedAt(
  store: Store,
  { folder, generation }: GenerationPlace,
  options: StoreCallOptions,
): Promise<Date | undefined> {
  return (await store.stat(joinKey(folder, nameOf(CLAIM, generation)), options))?.modified;
}

/** Whether another run has the elapse by now. */
export async function isTakenOver(
  store: Store,
  { folder, generation }: GenerationPlace,
  options: StoreCallOptions,
): Promise<boolean> {
  return await store.stat(joinKey(folder, nameOf(CLAIM, generation + 1)), options) !== undefined;
}
