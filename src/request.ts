/**
 * What a request may say beyond what its types allow. The command line has checked its flags by then; a program that
 * uses the library is told here. In: a value, and what a request calls it. Out: an error where it is none. Pure.
 */
import { UsageError } from "./errors.ts";

/**
 * Makes sure that a list which narrows something down names something, where it is given at all.
 *
 * @param key What a request calls the list.
 * @throws UsageError for an empty one: none may be meant by it, and so may all, and something may be deleted.
 */
export function mustNameSome(list: readonly string[] | undefined, key: string): void {
  if (list?.length !== 0) return;
  throw new UsageError(`"${key}" is an empty list`, { hint: `Leave ${key} out where all are meant` });
}

/**
 * Makes sure that a number of things is one, where it is given at all.
 *
 * @param key What a request calls the number.
 * @throws UsageError for another one: with none at a time nothing would ever begin, and of none all would be well.
 */
export function mustBeCount(count: number | undefined, key: string): void {
  if (count === undefined || (Number.isSafeInteger(count) && count >= 1)) return;
  throw new UsageError(`"${key}" is ${count}, and must be a whole number from 1 on`, {
    hint: `Leave ${key} out for what it is by default`,
  });
}
