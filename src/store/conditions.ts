/**
 * Whether a store keeps existing objects when it is told to (`If-None-Match: *`). Google's interoperable API and others
 * ignore the header and overwrite (docs/stores.md); others check and then write, without a lock. In: a store and
 * a folder of it. Out: whether it holds, found out by attempts to create one small object, first one after the other
 * and once several at a time, and noted beside it.
 */
import * as z from "zod";
import { DAY_MS } from "../dates.ts";
import { describeError, isOutOfReach } from "../errors.ts";
import { type Log, SILENT_LOG } from "../observe.ts";
import { jsonBytes } from "../json/indented.ts";
import { joinKey } from "./key.ts";
import type { Conditions, Store, StoreCallOptions } from "./store.ts";
import { readObjectText } from "./whole.ts";

/** The object that is created twice; it stays. */
const CONDITIONS_PROBE_NAME = "conditions-probe.json";
/**
 * The objects that several writers create at one moment; they stay. One race in a store is enough, but where its
 * outcome is not known, in a copy of the bucket or while another run is at it, there is a second and a third place.
 */
export const CONDITIONS_RACE_NAMES: readonly string[] = [
  "conditions-race.json",
  "conditions-race-2.json",
  "conditions-race-3.json",
];
/** What was found. */
const CONDITIONS_NAME = "conditions.json";

/** What was found holds as long: a server behind the same address may be replaced or reconfigured. */
export const CONDITIONS_MAX_AGE_MS: number = 7 * DAY_MS;

/** Raised when the attempt itself changes, so that what an older program found is not relied on. */
const VERSION = 1;

const foundSchema = z.object({
  version: z.literal(VERSION),
  conditions: z.enum(["held", "ignored"]),
  /** Where it was found: a copy of the folder in another store says nothing about that one. */
  url: z.string(),
  server: z.string(),
  tried_at: z.iso.datetime(),
  /** Several writers had one key. That is proof, and stays where one attempt after the other finds nothing. */
  race: z.literal("lost").optional(),
});

type Found = z.infer<typeof foundSchema>;

/** Until when a store that is held open, by a service that stays, knows what was found. */
const knownUntil = new WeakMap<Store, number>();

/** What {@linkcode findConditions} takes. */
export interface FindConditionsOptions extends StoreCallOptions {
  /** Gets a warning if the store ignores conditions. @default none */
  log?: Log | undefined;
  /** @default the machine's clock */
  now?: (() => Date) | undefined;
  /** Tries even where the answer is remembered. @default false */
  fresh?: boolean | undefined;
}

/**
 * Whether `store` holds conditions, and tells it so ({@linkcode Store.conditions}). Whoever relies on them asks before
 * it begins: the first time and once a week that costs some small requests, else one, and none where the store knows
 * already.
 *
 * @param folder Where the attempt and what it found are kept, such as `backup/_store`; the same one for all machines.
 * @throws StoreError when nothing can be written there.
 */
export async function findConditions(
  store: Store,
  folder: string,
  options: FindConditionsOptions = {},
): Promise<Conditions> {
  const { log = SILENT_LOG, now = () => new Date(), fresh = false, signal } = options;
  const isKnown = now().getTime() < (knownUntil.get(store) ?? Infinity);
  if (store.conditions !== undefined && isKnown && !fresh) return store.conditions;
  const key = joinKey(folder, CONDITIONS_NAME);
  const before = await remembered(store, key, { fresh, signal });
  const ageMs = before === undefined ? Infinity : now().getTime() - Date.parse(before.tried_at);
  const isRecent = !fresh && ageMs >= 0 && ageMs < CONDITIONS_MAX_AGE_MS;
  let hasLost = before?.race === "lost";
  let conditions: Conditions = hasLost ? "ignored" : before?.conditions ?? "ignored";
  if (!isRecent && !hasLost) {
    conditions = await store.tryConditions(joinKey(folder, CONDITIONS_PROBE_NAME), { signal });
    store.conditions = conditions;
    const places = CONDITIONS_RACE_NAMES.slice(0, before === undefined ? undefined : 1)
      .map((name) => joinKey(folder, name));
    hasLost = conditions === "held" && await losesRace(store, places, signal);
    if (hasLost) conditions = "ignored";
  }
  store.conditions = conditions;
  knownUntil.set(store, now().getTime() + CONDITIONS_MAX_AGE_MS);
  if (!isRecent) {
    try {
      await remember(store, key, { conditions, hasLost, now: now(), signal });
    } catch (error) {
      signal?.throwIfAborted();
      log.warn("how the store treats conditions could not be noted", { error: describeError(error) });
    }
  }
  if (conditions === "ignored") {
    log.warn(
      "store overwrites what exists: each run names its chunks differently, and only one machine may run a schedule",
      {
        store: store.url,
      },
    );
  }
  return conditions;
}

/**
 * Notes that several writers had one key at one moment, whoever found it: from now on this store is one that
 * overwrites.
 *
 * @throws StoreError when it cannot be noted.
 */
export async function noteLostRace(
  store: Store,
  folder: string,
  { now, signal }: { now: () => Date; signal?: AbortSignal | undefined },
): Promise<void> {
  store.conditions = "ignored";
  await remember(store, joinKey(folder, CONDITIONS_NAME), {
    conditions: "ignored",
    hasLost: true,
    now: now(),
    signal,
  });
}

/** Whether several writers of a key at one moment are told that it is theirs; false where none of the keys is free. */
async function losesRace(store: Store, keys: readonly string[], signal: AbortSignal | undefined): Promise<boolean> {
  if (store.countWinners === undefined) return false;
  for (const key of keys) {
    if (await store.stat(key, { signal }) === undefined) return await store.countWinners(key, { signal }) > 1;
  }
  return false;
}

async function remember(
  store: Store,
  key: string,
  { conditions, hasLost, now, signal }: {
    conditions: Conditions;
    hasLost: boolean;
    now: Date;
    signal: AbortSignal | undefined;
  },
): Promise<void> {
  const found: Found = {
    version: VERSION,
    conditions,
    url: store.url,
    server: store.server,
    tried_at: now.toISOString(),
    ...(hasLost ? { race: "lost" } : {}),
  };
  await store.replace(key, jsonBytes(found), { signal });
}

/** What was found in this very store; undefined where it has to be tried. */
async function remembered(
  store: Store,
  key: string,
  { fresh, signal }: { fresh: boolean; signal: AbortSignal | undefined },
): Promise<Found | undefined> {
  let text: string;
  try {
    text = await readObjectText(store, key, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    // The attempt itself reports what is wrong.
    if (fresh || isOutOfReach(error)) return undefined; // What lies in an archive tier is overwritten below.
    throw error;
  }
  let found: Found;
  try {
    found = foundSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // Another version's, or not whole.
  }
  return found.url === store.url && found.server === store.server ? found : undefined;
}
