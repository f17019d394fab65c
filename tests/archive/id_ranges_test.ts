import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { compareIds, type IdRange, uncoveredRanges } from "../../src/archive/id_ranges.ts";
import { STRANGE_IDS } from "../hard_database.ts";

/** A small deterministic generator, so that a failure can be repeated. */
function randomNumbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

/** Ids of few characters from every part of Unicode, so that many share a beginning. */
function randomIds(count: number, seed: number): string[] {
  const random = randomNumbers(seed);
  const alphabet = [
    "\0",
    "\n",
    "a",
    "b",
    "~",
    "\u007f",
    "\u0080",
    "é",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
  ];
  alphabet.push("\u{10000}", "😀", "\u{10ffff}");
  return Array.from(
    { length: count },
    () => Array.from({ length: 1 + random(4) }, () => alphabet[random(alphabet.length)]).join(""),
  );
}

Deno.test("compareIds() orders as the UTF-8 bytes do", () => {
  const ids = [...randomIds(400, 1), ...STRANGE_IDS, ""];
  for (const a of ids) {
    for (const b of ids.slice(0, 60)) {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assertEquals(Math.sign(compareIds(a, b)), expected, JSON.stringify([a, b]).slice(0, 100));
    }
  }
  assert(compareIds("\u{10000}", "\uffff") > 0 && "\u{10000}" < "\uffff", "JavaScript's own order is another one");
});

Deno.test("uncoveredRanges() gives the gaps between what is done, and the end", () => {
  const range = (after: string | undefined, through: string) => ({ after, through });
  const cases: [what: string, done: { after: string | undefined; through: string }[], gaps: IdRange[]][] = [
    ["nothing done", [], [{ after: undefined }]],
    ["the beginning", [range(undefined, "c")], [{ after: "c" }]],
    ["neighbours, out of order", [range("c", "f"), range(undefined, "c")], [{ after: "f" }]],
    ["a hole", [range(undefined, "c"), range("f", "h")], [{ after: "c", through: "f" }, { after: "h" }]],
    ["no beginning", [range("c", "f")], [{ after: undefined, through: "c" }, { after: "f" }]],
    ["one within another", [range(undefined, "k"), range("c", "d")], [{ after: "k" }]],
    ["overlapping", [range(undefined, "e"), range("c", "h"), range("k", "m")], [
      { after: "h", through: "k" },
      { after: "m" },
    ]],
    ["an empty range at the beginning", [range(undefined, "")], [{ after: "" }]],
    ["beyond the basic plane", [range(undefined, "\uffff"), range("\u{10000}", "\u{10001}")], [
      { after: "\uffff", through: "\u{10000}" },
      { after: "\u{10001}" },
    ]],
  ];
  for (const [what, done, gaps] of cases) assertEquals(uncoveredRanges(done), gaps, what);
});

Deno.test("uncoveredRanges() and what is done hold every id once, whatever is done", () => {
  const random = randomNumbers(7);
  for (let round = 0; round < 300; round++) {
    const ids = [...new Set(randomIds(30, round))].sort(compareIds);
    const done = Array.from({ length: random(5) }, () => {
      const end = random(ids.length);
      const begin = random(end + 1);
      return { after: begin === 0 ? undefined : ids[begin - 1], through: ids[end]! };
    });
    const isIn = (id: string, { after, through }: IdRange) =>
      (after === undefined || compareIds(id, after) > 0) && (through === undefined || compareIds(id, through) <= 0);
    const gaps = uncoveredRanges(done);
    for (const id of ids) {
      const times = gaps.filter((gap) => isIn(id, gap)).length;
      assertEquals(times, done.some((range) => isIn(id, range)) ? 0 : 1, `round ${round}, ${JSON.stringify(id)}`);
    }
  }
});
