/**
 * The runs that have made scratch databases, by their short ids: `_store/<suffix>/scratch-runs.json`. It is written
 * before a run makes the first one, so that a database in which a killed run could not even leave its note is known all
 * the same. In: a run. Out: those of the last month, and when they began.
 */
import * as z from "zod";
import { isNotFound } from "../errors.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { readObjectText } from "../store/whole.ts";
import type { Repository } from "./repository.ts";

const NAME = "scratch-runs.json";
const MOST_BYTES = 1 << 20;
/** Who tests no oftener than that knows what the run before has left. */
const KEPT_MS = 62 * 86_400_000;
const MOST_KEPT = 1000;

const runsSchema = z.object({
  runs: z.array(z.object({ run: z.string().regex(/^[0-9a-f]{8}$/), at: z.iso.datetime() })),
});

/** By its short id, when each run began. What is not as it should be counts for none. */
export async function readScratchRuns(repository: Repository, options: StoreCallOptions): Promise<Map<string, Date>> {
  const key = keyOf(repository);
  let text: string;
  try {
    text = await readObjectText(repository.store, key, { ...options, mostBytes: MOST_BYTES });
  } catch (error) {
    if (isNotFound(error)) return new Map();
    throw error;
  }
  try {
    return new Map(runsSchema.parse(JSON.parse(text)).runs.map(({ run, at }) => [run, new Date(at)]));
  } catch {
    return new Map();
  }
}

/** Notes a run, beside those that are known. */
export async function storeScratchRun(
  repository: Repository,
  { run, at, known }: { run: string; at: Date; known: ReadonlyMap<string, Date> },
  options: StoreCallOptions,
): Promise<void> {
  const recent = [...known].filter(([, begun]) => at.getTime() - begun.getTime() < KEPT_MS).slice(1 - MOST_KEPT);
  const runs = [...recent, [run, at] as const].map(([run, at]) => ({ run, at: at.toISOString() }));
  const text = JSON.stringify({ runs }, undefined, 2) + "\n";
  await repository.store.replace(keyOf(repository), new TextEncoder().encode(text), options);
}

function keyOf({ storeFolder, suffix }: Repository): string {
  return joinKey(storeFolder, suffix, NAME);
}
