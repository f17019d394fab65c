/**
 * Whether a store keeps what exists when it is told to (`If-None-Match: *`). Google's interoperable API and others
 * take the header and overwrite all the same (docs/stores.md). In: a store and a folder of it. Out: what holds there, found out
 * by two attempts to create one small object, and remembered beside it.
 */
import { z } from "zod";
import { describeError, isNotFound } from "../errors.ts";
import { type Log, SILENT_LOG } from "../observe.ts";
import { joinKey } from "./key.ts";
import type { Conditions, Store, StoreCallOptions } from "./store.ts";
import { readObjectText } from "./whole.ts";

/** The object that is created twice; it stays. */
export const CONDITIONS_PROBE_NAME = "conditions-probe.json";
/** What was found. */
export const CONDITIONS_NAME = "conditions.json";

/** What was found holds as long: a server behind the same address may be replaced or reconfigured. */
export const CONDITIONS_MAX_AGE_MS: number = 7 * 24 * 60 * 60 * 1000;

/** Raised when the attempt itself changes, so that what an older program found is not relied on. */
const VERSION = 1;

const foundSchema = z.object({
  version: z.literal(VERSION),
  conditions: z.enum(["held", "ignored"]),
  /** Where it was found: a copy of the folder in another store says nothing about that one. */
  url: z.string(),
  server: z.string(),
  tried_at: z.iso.datetime(),
});

/** Until when a store that is held open, by a service that stays, knows what was found. */
const knownUntil = new WeakMap<Store, number>();

/** What {@linkcode findConditions} takes. */
export interface FindConditionsOptions extends StoreCallOptions {
  /** Is warned where conditions are ignored. @default nobody */
  log?: Log | undefined;
  /** @default the machine's clock */
  now?: (() => Date) | undefined;
  /** Tries even where the answer is remembered. @default false */
  fresh?: boolean | undefined;
}

/**
 * Whether `store` holds conditions, and tells it so ({@linkcode Store.conditions}). Whoever relies on them asks before it
 * begins: the first time and once a week that costs some small requests, else one, and none where the store knows already.
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
  const known = fresh ? undefined : await remembered(store, key, { now: now(), signal });
  const conditions = known ?? await store.tryConditions(joinKey(folder, CONDITIONS_PROBE_NAME), { signal });
  store.conditions = conditions;
  knownUntil.set(store, now().getTime() + CONDITIONS_MAX_AGE_MS);
  if (known === undefined) {
    const found = { version: VERSION, conditions, url: store.url, server: store.server, tried_at: now().toISOString() };
    try {
      await store.replace(key, new TextEncoder().encode(`${JSON.stringify(found, undefined, 2)}\n`), { signal });
    } catch (error) {
      signal?.throwIfAborted();
      log.warn("what the store does with conditions is not remembered", { error: describeError(error) });
    }
  }
  if (conditions === "ignored") {
    log.warn("store overwrites what exists: chunks get names of their own, and only one machine may run a schedule", {
      store: store.url,
    });
  }
  return conditions;
}

/** What was found here and lately; undefined where it has to be tried. */
async function remembered(
  store: Store,
  key: string,
  { now, signal }: { now: Date; signal: AbortSignal | undefined },
): Promise<Conditions | undefined> {
  let text: string;
  try {
    text = await readObjectText(store, key, { signal });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  let found: z.infer<typeof foundSchema>;
  try {
    found = foundSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // Another version's, or not whole.
  }
  const ageMs = now.getTime() - Date.parse(found.tried_at);
  const isHere = found.url === store.url && found.server === store.server;
  return isHere && ageMs >= 0 && ageMs < CONDITIONS_MAX_AGE_MS ? found.conditions : undefined;
}
