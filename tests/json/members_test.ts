import { assertEquals } from "@std/assert";
import { readTextMembers, TextMemberScanner } from "../../src/json/members.ts";

const encoder = new TextEncoder();

const CASES: [string, { _id?: string; _rev?: string }][] = [
  ['{"_id":"a","_rev":"1-x","n":1.0}', { _id: "a", _rev: "1-x" }],
  [' {\n "_rev" : "1-x" ,\t"_id":"a" } ', { _id: "a", _rev: "1-x" }],
  ['{"_id":"q\\"\\\\\\u0000é😀 \\ud83d\\ude00","n":{"_rev":"no"}}', { _id: 'q"\\\u0000é😀 😀' }],
  ['{"_attachments":{"f":{"data":"_id"}},"l":[{"_id":"no"},"_id"],"x":"_rev","_id":"a","_rev":"2-y"}', {
    _id: "a",
    _rev: "2-y",
  }],
  ['{"_\\u0069d":"a"}', { _id: "a" }],
  ['{"_id":7,"_rev":null}', {}],
  ['{"a":true,"b":null,"c":-1.5e3,"_id":"a"}', { _id: "a" }],
  ['{"_id":"cut', {}],
  ['{"_id":"a","_re', { _id: "a" }],
  ["{}", {}],
  ['[{"_id":"a"}]', {}],
  ['"_id"', {}],
  ["7", {}],
  ["", {}],
  ['{"_id":"a"} {"_rev":"1-x"}', { _id: "a" }],
];

Deno.test("readTextMembers() finds text at the top of an object, in any order, and nothing deeper", () => {
  for (const [text, expected] of CASES) {
    assertEquals(readTextMembers(encoder.encode(text), ["_id", "_rev"]), expected, text);
  }
});

Deno.test("TextMemberScanner finds the same wherever the bytes are cut", () => {
  for (const [text, expected] of CASES) {
    const bytes = encoder.encode(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const scanner = new TextMemberScanner(["_id", "_rev"]);
      scanner.push(bytes.subarray(0, cut));
      scanner.push(bytes.subarray(cut));
      assertEquals(scanner.found, expected, `${text} cut at ${cut}`);
    }
  }
});

Deno.test("TextMemberScanner is done when all is found, or the object has ended", () => {
  const scanner = new TextMemberScanner(["_id"]);
  scanner.push(encoder.encode('{"n":1,"_id":"a"'));
  assertEquals(scanner.isDone, true);
  const without = new TextMemberScanner(["_id"]);
  without.push(encoder.encode('{"n":{"m":1}'));
  assertEquals(without.isDone, false);
  without.push(encoder.encode("}"));
  assertEquals(without.isDone, true);
});
