import { assertEquals } from "@std/assert";
import { nearest } from "../src/nearest.ts";

const CASES: [word: string, known: string[], expected: string | undefined][] = [
  ["pasword", ["login", "password", "password_file"], "password"],
  ["Chunk", ["chunk"], "chunk"],
  ["sse", ["sso", "sss"], "sso"],
  ["frobnicate", ["login", "password"], undefined],
  ["medai", ["a", "media", "media_old"], "media"],
  ["ab", ["cd", "abcd"], undefined],
  ["x", ["y"], "y"],
  ["x", [], undefined],
  ["ulr", ["url", "labels"], "url"],
  ["lits", ["lint", "list"], "list"],
  ["abc", ["cab"], undefined],
];

for (const [word, known, expected] of CASES) {
  Deno.test(`nearest() finds ${expected ?? "nothing"} for ${word} among ${known.join(", ") || "no words"}`, () => {
    assertEquals(nearest(word, known), expected);
  });
}
