/**
 * Pins: a backup that somebody has pinned never expires. In: a backup's folder and the run that made it. Out: a small
 * object beside its manifest. Removing the pin overwrites that object and deletes nothing, so it does not need the
 * right to delete.
 */
import * as z from "zod";
import { isNotFound, isOutOfReach } from "../errors.ts";
import { jsonBytes } from "../json/indented.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { readObjectText } from "../store/whole.ts";
import { pinName } from "./layout.ts";

/** What a pin says. */
export interface Pin {
  /** Whether the backup is to stay. */
  kept: boolean;
  /** When that was said, in UTC. */
  at: string;
  /** Why, in somebody's own words; null where nobody said. */
  reason: string | null;
}

const pinSchema = z.object({ kept: z.boolean(), at: z.string(), reason: z.string().nullable() });

/** Says of the backup of a run whether it is to stay. @param run The eight digits that stand for it. */
export async function storePin(
  store: Store,
  { folder, run, pin, signal }: StoreCallOptions & { folder: string; run: string; pin: Pin },
): Promise<void> {
  await store.replace(joinKey(folder, pinName(run)), jsonBytes(pin), { signal });
}

/**
 * What the pin of a backup says. A pin that cannot be understood, or that the store does not give out, pins all the
 * same: somebody has put it there.
 *
 * @throws StoreError with code `not_found` where there is none.
 */
export async function readPin(
  store: Store,
  { folder, run, signal }: StoreCallOptions & { folder: string; run: string },
): Promise<Pin> {
  try {
    return pinSchema.parse(JSON.parse(await readObjectText(store, joinKey(folder, pinName(run)), { signal })));
  } catch (error) {
    if (isNotFound(error)) throw error;
    if (isOutOfReach(error)) return { kept: true, at: "", reason: "what stands in the pin cannot be read" };
    if (!(error instanceof SyntaxError) && !(error instanceof z.ZodError)) throw error;
    return { kept: true, at: "", reason: "what stands in the pin is damaged" };
  }
}
