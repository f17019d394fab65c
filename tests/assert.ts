/**
 * The door to `@std/assert`, whose JavaScript on npm has no types: deno.json maps the name here. The types are those
 * that JSR's `@std/assert` has, for what the tests use.
 */
import * as std from "deno-std/assert";

/** A class of errors; its constructor may take anything. */
// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

// deno-lint-ignore no-explicit-any
type AnyClass = abstract new (...args: any[]) => any;

type Comparison = <T>(actual: T, expected: T, msg?: string) => void;
type TextMatch = (actual: string, expected: RegExp, msg?: string) => void;

export const assert: (expr: unknown, msg?: string) => asserts expr = std.assert;
export const assertEquals: Comparison = std.assertEquals;
export const assertNotEquals: Comparison = std.assertNotEquals;
export const assertStrictEquals: <T>(actual: unknown, expected: T, msg?: string) => asserts actual is T =
  std.assertStrictEquals;
export const assertGreater: Comparison = std.assertGreater;
export const assertGreaterOrEqual: Comparison = std.assertGreaterOrEqual;
export const assertLess: Comparison = std.assertLess;
export const assertLessOrEqual: Comparison = std.assertLessOrEqual;
export const assertStringIncludes: (actual: string, expected: string, msg?: string) => void = std.assertStringIncludes;
export const assertMatch: TextMatch = std.assertMatch;
export const assertNotMatch: TextMatch = std.assertNotMatch;
export const assertInstanceOf: <T extends AnyClass>(
  actual: unknown,
  expectedType: T,
  msg?: string,
) => asserts actual is InstanceType<T> = std.assertInstanceOf;

/** Returns what was thrown. */
export const assertThrows: {
  (fn: () => unknown, msg?: string): unknown;
  <E extends Error>(fn: () => unknown, ErrorClass: ErrorClass<E>, msgIncludes?: string, msg?: string): E;
} = std.assertThrows;

/** Resolves to what the promise was rejected with. */
export const assertRejects: {
  (fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
  <E extends Error>(
    fn: () => PromiseLike<unknown>,
    ErrorClass: ErrorClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
} = std.assertRejects;
