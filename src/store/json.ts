/**
 * Small objects that hold one JSON value: plans, reports, what was found out or is remembered. In: a value, or a store, a
 * key and the shape that is expected. Out: the bytes to be stored, or the value, checked.
 */
import type * as z from "zod";
import { isNotFound } from "../errors.ts";
import type { Store } from "./store.ts";
import { readObjectText, type WholeOptions } from "./whole.ts";

const encoder = new TextEncoder();

/** The JSON of a value, indented for the human who opens the object. */
export function jsonBytes(value: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${JSON.stringify(value, undefined, 2)}\n`);
}

/**
 * What an object holds; undefined where there is none, and where it is cut off or of another shape, as a later version's
 * may be: what it says cannot be relied on.
 *
 * @throws StoreError when the store fails, and with code `too_large`.
 */
export async function readJson<T>(
  store: Store,
  key: string,
  { schema, ...options }: WholeOptions & { schema: z.ZodType<T> },
): Promise<T | undefined> {
  let text: string;
  try {
    text = await readObjectText(store, key, options);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
