import { assertEquals, assertThrows } from "@std/assert";
import { StoreError } from "../../src/errors.ts";
import { checkFolder, checkKey, compareEntries, joinKey, splitKey } from "../../src/store/key.ts";

Deno.test("checkKey() refuses what a store would lose or walk away with", () => {
  for (const key of ["a", "a/b", "account%2Fab", "...", "a/..b", ".hidden", "é", "\u{1F600}"]) {
    assertEquals(checkKey(key), key);
  }
  for (const key of ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a\0", "\ud800"]) {
    assertEquals(assertThrows(() => checkKey(key), StoreError).facts.code, "bad_key", JSON.stringify(key));
  }
});

Deno.test("checkFolder() takes the bucket folder, too", () => {
  assertEquals(checkFolder(""), "");
  assertThrows(() => checkFolder("a/.."), StoreError);
});

Deno.test("compareEntries() orders by UTF-8 bytes, folders with their slash", () => {
  const names = ["\u{1F600}", "\uff5e", "a0", "a/", "a-b", "ab", "a", "B", "Z/"];
  const entries = names.map((name) =>
    name.endsWith("/") ? { kind: "folder" as const, name: name.slice(0, -1) } : { kind: "object" as const, name }
  );
  const sorted = entries.sort(compareEntries).map((entry) => entry.kind === "folder" ? `${entry.name}/` : entry.name);
  assertEquals(sorted, ["B", "Z/", "a", "a-b", "a/", "a0", "ab", "\uff5e", "\u{1F600}"]);
});

Deno.test("joinKey() has no slash at its ends and none doubled", () => {
  const cases: [parts: string[], key: string][] = [
    [["a", "b"], "a/b"],
    [["/a/", "", "//b//c/"], "a/b/c"],
    [["", ""], ""],
    [["a%2Fb", "0000000.json.gz"], "a%2Fb/0000000.json.gz"],
  ];
  for (const [parts, key] of cases) assertEquals(joinKey(...parts), key);
});

Deno.test("splitKey() is the inverse of joinKey()", () => {
  const cases: [key: string, folder: string, name: string][] = [
    ["a/b/c", "a/b", "c"],
    ["c", "", "c"],
    ["", "", ""],
    ["a%2Fb/0000000.json.gz", "a%2Fb", "0000000.json.gz"],
  ];
  for (const [key, folder, name] of cases) {
    assertEquals(splitKey(key), { folder, name });
    assertEquals(joinKey(folder, name), key);
  }
});
