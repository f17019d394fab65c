import { assertEquals } from "@std/assert";
import { JsonCheck } from "../../src/json/check.ts";

const encoder = new TextEncoder();

function check(bytes: Uint8Array, size: number): boolean {
  const checked = new JsonCheck();
  for (let at = 0; at < bytes.length; at += size) checked.push(bytes.subarray(at, at + size));
  return checked.finish();
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const WHOLE = ' {"a":[1,-0.5e+10,{"b":null,"c":{}},[],true],"ä\\u00e4\\n":"\\"\\\\😀","d":false}\n';

Deno.test("JsonCheck agrees with JSON.parse on every beginning of a text, and on every text with one byte changed", () => {
  const texts = new Set<string>([
    WHOLE,
    "7",
    '"a"',
    "[]",
    "{}",
    " [ ] ",
    "-0",
    "nul",
    "01",
    "1.",
    "--1",
    "[1,]",
    '{"a":1,}',
  ]);
  for (let at = 0; at < WHOLE.length; at++) {
    texts.add(WHOLE.slice(0, at));
    for (const char of '{}[]",:1e-.\\nt \n\tu') texts.add(WHOLE.slice(0, at) + char + WHOLE.slice(at + 1));
    texts.add(WHOLE.slice(0, at) + WHOLE.slice(at + 1));
  }
  for (const text of texts) {
    // Half a surrogate pair cannot be written as UTF-8.
    if (!text.isWellFormed()) continue;
    for (const size of [1, 3, 1000]) assertEquals(check(encoder.encode(text), size), isJson(text), text);
  }
});

Deno.test("JsonCheck refuses what is no UTF-8, wherever it is cut", () => {
  for (const bad of [[0x22, 0xff, 0x22], [0x22, 0xc3, 0x22], [0x22, 0xe2, 0x82], [0x22, 0xed, 0xa0, 0x80, 0x22]]) {
    for (const size of [1, 2, 10]) assertEquals(check(Uint8Array.from(bad), size), false, String(bad));
  }
});
