/**
 * The doors to `@std` have types: each line below `@ts-expect-error` is one that the check must refuse, and the check
 * fails where it does not. Nothing of it runs but the tests at the end.
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "../src/cli/parse_args.ts";
import { concat } from "../src/concat.ts";
import { isYamlComplaint, parseYaml } from "../src/config/yaml.ts";
import { nearest } from "../src/nearest.ts";
import { readBytes, readText } from "../src/streams.ts";

type IsAny<T> = 0 extends 1 & T ? true : false;
type Assertions = typeof import("@std/assert");

/** Every assertion has a type of its own. */
const anyAssertion: { [Name in keyof Assertions]: IsAny<Assertions[Name]> }[keyof Assertions] = false;

export function wrongCalls(value: unknown, stream: ReadableStream<Uint8Array>): void {
  // @ts-expect-error: no function
  assertRejects(42);
  // @ts-expect-error: throws, and does not reject
  assertRejects(() => 42);
  // @ts-expect-error: no class
  assertThrows(() => {}, 42);
  // @ts-expect-error: no error
  assertThrows(() => {}, Date);
  // @ts-expect-error: can never be equal
  assertEquals(1, "1");
  // @ts-expect-error: has no member "b"
  assertEquals(new Error() as { name: string }, { name: "", b: 2 });
  // @ts-expect-error: no text
  assertStringIncludes(["text"], "text");
  // @ts-expect-error: bytes are no text
  const _joined: string = concat([]);
  // @ts-expect-error: a text is no bytes
  concat(["text"]);
  // @ts-expect-error: what YAML holds is not known
  const _yaml: string = parseYaml("text");
  // @ts-expect-error: flags may be anything
  const _flag: string = parseArgs([], { string: [], boolean: [], collect: [], alias: {}, unknown() {} }).flags.name;
  // @ts-expect-error: there may be none
  const _near: string = nearest("word", []);
  // @ts-expect-error: it takes time
  const _text: string = readText(stream);
  // @ts-expect-error: it takes time
  const _bytes: Uint8Array = readBytes(stream);
  // @ts-expect-error: nothing is known of it yet
  value.length;
  if (isYamlComplaint(value)) value.line.toFixed();
}

/** What an assertion has made sure of is known from there on. */
export function narrowings(a: string | undefined, b: unknown, c: unknown): [string, Date, "x"] {
  assert(a !== undefined);
  assertInstanceOf(b, Date);
  assertStrictEquals(c, "x" as const);
  return [a, b, c];
}

Deno.test("the tests' assertions are typed, and give what was thrown", async () => {
  assertEquals(anyAssertion, false);
  const thrown: RangeError = assertThrows(() => new Array(-1), RangeError, "length");
  const rejected: TypeError = await assertRejects(() => Promise.reject(new TypeError("No")), TypeError, "No");
  assertEquals([thrown.name, rejected.message], ["RangeError", "No"]);
  assertEquals(narrowings("a", new Date(0), "x"), ["a", new Date(0), "x"]);
});
