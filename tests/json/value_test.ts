import { assertEquals } from "@std/assert";
import { OPEN_BRACE, QUOTE } from "../../src/json/bytes.ts";
import { ValuePasser } from "../../src/json/value.ts";

const VALUES = [
  '""',
  '"a"',
  String.raw`"a\"b\\"`,
  String.raw`"${"long ".repeat(8)}\\\"${"end".repeat(9)}\\"`,
  "{}",
  "[]",
  String.raw`{"a":"}","b":[{"c":"\\\"]"}],"d":-1.0e+5}`,
  "9007199254740993",
  "null",
];

Deno.test("ValuePasser finds the end of a value, wherever its bytes are cut, and may be used again", () => {
  const passer = new ValuePasser();
  for (const value of VALUES) {
    const bytes = new TextEncoder().encode(`${value},"next"`);
    const start = value.startsWith('"') ? 1 : 0;
    for (let cut = start; cut <= bytes.length; cut++) {
      passer.begin(bytes[0]!);
      let end = passer.pass(bytes.subarray(0, cut), start);
      if (end < 0) end = cut + passer.pass(bytes.subarray(cut), 0);
      assertEquals(end, value.length, `${value} cut at ${cut}`);
    }
  }
});

Deno.test("ValuePasser.pass() is -1 as long as a value has no end", () => {
  for (const value of ['"a', String.raw`"a\"`, '{"a":{}', "[1,2", "12"]) {
    const bytes = new TextEncoder().encode(value);
    const passer = new ValuePasser();
    passer.begin(bytes[0]!);
    assertEquals(passer.pass(bytes, value.startsWith('"') ? 1 : 0), -1, value);
  }
});

Deno.test("ValuePasser.begin() forgets the value before, one that was left within a member too", () => {
  const encoder = new TextEncoder();
  const passer = new ValuePasser();
  for (const left of ['{"_deleted":true', '{"']) {
    passer.begin(OPEN_BRACE);
    assertEquals(passer.pass(encoder.encode(left), 0), -1);
    passer.begin(QUOTE);
    assertEquals(passer.pass(encoder.encode('_deleted":true}'), 0), 9, left);
    assertEquals(passer.isDeleted, false, left);
  }
});
