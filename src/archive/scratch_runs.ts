/**
 * The runs that have made scratch databases, by their short ids: `_store/<suffix>/scratch-runs.json`. It is written
 * before a run makes the first one, so that a database in which a killed run could not even leave its note is known all
 * the same. In: a run. Out: those of the last month, and when they began.
 */
import * as z from "zod";
import { DAY_MS } from "../dates.ts";
import { jsonBytes } from "../json/indented.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";
import { ifInReach } from "./run_folder.ts";

const NAME = "scratch-runs.json";
const MOST_BYTES = 1 << 20;
/** How long a run is remembered. Where tests are further apart, what a killed one has left is not recognised. */
const KEPT_MS = 62 * DAY_MS;
const MOST_KEPT = 1000;

const runsSchema = z.object({
  runs: z.array(z.object({ run: z.string().regex(/^[0-9a-f]{8}$/), at: z.iso.datetime() })),
});

/** By its short id, when each run began. What is not as it should be, or out of reach, counts for none. */
export async function readScratchRuns(repository: Repository, options: StoreCallOptions): Promise<Map<string, Date>> {
  const limits = { ...options, mostBytes: MOST_BYTES };
  const { found: known } = await ifInReach(
    readJson(repository.store, keyOf(repository), { ...limits, schema: runsSchema }),
  );
  return new Map((known?.runs ?? []).map(({ run, at }) => [run, new Date(at)]));
}

/** Notes a run, beside those that are known. */
export async function storeScratchRun(
  repository: Repository,
  { run, at, known }: { run: string; at: Date; known: ReadonlyMap<string, Date> },
  options: StoreCallOptions,
): Promise<void> {
  const recent = [...known].filter(([, begun]) => at.getTime() - begun.getTime() < KEPT_MS).slice(1 - MOST_KEPT);
  const runs = [...recent, [run, at] as const].map(([run, at]) => ({ run, at: at.toISOString() }));
  await repository.store.replace(keyOf(repository), jsonBytes({ runs }), options);
}

function keyOf({ storeFolder, suffix }: Repository): string {
  return joinKey(storeFolder, suffix, NAME);
}
