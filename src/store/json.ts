/**
 * Small objects that hold one JSON value: plans, reports, what was found out or is remembered. In: a store, a key and the
 * shape that is expected. Out: the value, checked. What is stored is made by jsonBytes() of src/json/indented.ts.
 */
import type * as z from "zod";
import { isNotFound } from "../errors.ts";
import type { Store } from "./store.ts";
import { readObjectText, type WholeOptions } from "./whole.ts";

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
