/**
 * Small objects that hold one JSON value: plans, reports, what was found out or is remembered. In: a store, a key and the
 * shape that is expected. Out: the value, checked. What is stored is made by jsonBytes() of src/json/indented.ts.
 */
import type * as z from "zod";
import { isNotFound } from "../errors.ts";
import type { Store } from "./store.ts";
import { readObjectText, type WholeOptions } from "./whole.ts";

/** What can be told of it beside its value. */
export interface JsonOptions {
  /** Is told of an object that is there, and is cut off or of another shape. */
  onUnusable?: ((key: string) => void) | undefined;
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
  { schema, onUnusable, ...options }: WholeOptions & JsonOptions & { schema: z.ZodType<T> },
): Promise<T | undefined> {
  let text: string;
  try {
    text = await readObjectText(store, key, options);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  let found: T | undefined;
  try {
    found = schema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (found === undefined) onUnusable?.(key);
  return found;
}
