import { assertEquals } from "@std/assert";
import type { ListedDocument } from "../../src/couchdb/batch.ts";
import { sortById } from "../../src/couchdb/id_order.ts";
import { packRow } from "../../src/couchdb/packed_row.ts";

const encoder = new TextEncoder();

/** A row as the feed gives it: of plain ids packed. */
function packed(id: string): ListedDocument {
  const bytes = encoder.encode(`${id}1-a`);
  return packRow(bytes, 0, bytes.length - 3, bytes.length - 3, bytes.length)!;
}

function plain(id: string): ListedDocument {
  return { id, revs: ["1-a"] };
}

function random(count: number, { prefix = "" } = {}): string[] {
  return Array.from({ length: count }, () => prefix + crypto.randomUUID());
}

function sorted(documents: ListedDocument[]): string[] {
  sortById(documents);
  return documents.map(({ id }) => id);
}

const KINDS: Record<string, string[]> = {
  "random ids": random(3000),
  "ids that begin alike": [...random(1000, { prefix: "202611-call:" }), ...random(1000, { prefix: "202611-user:" })],
  "ids of which one begins another": ["abcdefgh", "abc", "", "abcd", "abcde", "a", "abcdefg", "ab"],
  "ids behind which what follows in memory would come later": ["ab", "ab ", "ab!", "ab!!", "ab  ", "abcd", "abcd "],
  "the same id twice": ["b", "a", "b", "aaaaaaaaaaaa", "aaaaaaaaaaaa"],
  "nothing": [],
  "one": ["only"],
  "bytes up to the last of ASCII": ["~~~~~~~~", "    ", "~", "~~~~", "\u007f", "AAAA", "aaaa"],
};

for (const [kind, ids] of Object.entries(KINDS)) {
  Deno.test(`sortById() sorts ${kind} as CouchDB does, packed or not`, () => {
    const expected = ids.toSorted((a, b) => a < b ? -1 : a > b ? 1 : 0);
    assertEquals(sorted(ids.map(packed)), expected);
    assertEquals(sorted(ids.map(plain)), expected);
    assertEquals(sorted(ids.map((id, n) => n % 2 === 0 ? packed(id) : plain(id))), expected);
  });
}

Deno.test("sortById() keeps each document whatever its id is, and sorts what is no ASCII behind what is", () => {
  const ids = [
    "日本",
    "日本語",
    "a\u0000b",
    "a",
    "a\u0000",
    "é",
    "z",
    "\u{1f600}",
    "\u0000",
    "",
    "a\u0000\u0000\u0000\u0000c",
  ];
  const documents = ids.map(plain);
  const result = sorted([...documents]);
  assertEquals(result.toSorted(), ids.toSorted());
  assertEquals(result.indexOf("z") < result.indexOf("é"), true, result.join());
});

Deno.test("sortById() sorts more documents than have a number of their own, in parts", () => {
  const [even, odd] = [plain("0"), plain("1")];
  const documents = Array.from({ length: 2 ** 21 + 3 }, (_, n) => n % 2 === 0 ? even : odd);
  sortById(documents);
  assertEquals(documents.filter((document) => document === even).length, 2 ** 20 + 2);
  assertEquals(documents.slice(2 ** 20 - 1, 2 ** 20 + 1), [even, odd]);
  assertEquals(documents.slice(-3), [even, even, odd]);
});

Deno.test("sortById() takes ids as long as a hostile database has them", () => {
  const begin = "x".repeat(1 << 20);
  const documents = [plain(`${begin}b`), plain("y"), plain(`${begin}a`), plain("a")];
  assertEquals(sorted(documents), ["a", `${begin}b`, `${begin}a`, "y"], "what is alike for long stays as it is");
});
