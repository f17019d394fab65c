/**
 * Several writers of one key at one moment. A server that looks whether a key is free and then writes, without a lock,
 * holds conditions as long as nobody is quick. In: a store and a free key. Out: how many were told that the key is
 * theirs.
 */
import { isTransient, StoreError } from "../errors.ts";
import type { Store } from "./store.ts";

/** Writers of one race. */
export const RACERS = 8;

const BODY = new TextEncoder().encode('{"about":"whether several writers can have one key"}\n');

/**
 * How many of {@linkcode RACERS} writers at one moment have created `key`. More than one is proof that the store does
 * not hold conditions; one proves nothing, and none means that the key was taken. A writer that is put off until its
 * patience is at an end has not won: Cloudflare's R2 and Google's store take a write a second of one key, and answer
 * 429 to more.
 *
 * @throws StoreError for a failure that does not pass by itself; not for a key that is taken.
 */
export async function countWinners(
  store: Store,
  key: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<number> {
  const race = async () => {
    try {
      return await isCreated(store, key, { signal });
    } catch (error) {
      signal?.throwIfAborted();
      if (!isTransient(error)) throw error;
      return false;
    }
  };
  const created = await Promise.all(Array.from({ length: RACERS }, race));
  return created.filter((isMine) => isMine).length;
}

/** Whether a small object is created; false where its key is taken. */
export async function isCreated(
  store: Store,
  key: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<boolean> {
  try {
    await store.create([key], ReadableStream.from([BODY]), { signal });
    return true;
  } catch (error) {
    if (error instanceof StoreError && error.facts.code === "exists") return false;
    throw error;
  }
}
