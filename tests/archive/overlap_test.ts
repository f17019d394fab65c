import { assert, assertEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import { FeedTail, KnownRows, makeOverlap, type OverlapRow } from "../../src/archive/overlap.ts";

const ONE = { q: 1, partitioned: false };

/** What version 0.2.0 has stored of the rows at the end of a feed. */
const STORED = {
  since: "7-x",
  salt: "wn4QorWGpvFSwvNC",
  hashes: ["pxmZmhr-9sXSmvksPROUl5", "dfD6Oon5oRdApdzwNy3A57"],
};

/** Rows `from` to `to`, of which each `every`-th has its position. */
function rows(from: number, to: number, every = 10): OverlapRow[] {
  return Array.from({ length: to - from }, (_, at) => {
    const number = from + at;
    return {
      id: `d${number}`,
      revs: [`1-${number}`],
      position: (number + 1) % every === 0 ? `${number + 1}` : undefined,
    };
  });
}

Deno.test("FeedTail gives the last position with enough rows behind it, and all of a small database", () => {
  const tail = new FeedTail({ ranges: ONE, since: "0", isWhole: true });
  assertEquals(tail.rows, { since: "0", rows: [] });
  tail.add(rows(0, 5), "5");
  assertEquals([tail.rows?.since, tail.rows?.rows.length], ["0", 5]);
  tail.add(rows(5, 95), "95");
  assertEquals([tail.rows?.since, tail.rows?.rows.length], ["70", 25]);
  assertEquals(tail.rows?.rows.map(({ id }) => id), rows(70, 95).map(({ id }) => id));
  tail.add([], "95");
  assertEquals([tail.rows?.since, tail.rows?.rows.length], ["70", 25]);
});

Deno.test("FeedTail knows nothing where a listing that was resumed has too few rows", () => {
  const tail = new FeedTail({ ranges: ONE, since: "100", isWhole: false });
  tail.add(rows(100, 115), "115");
  assertEquals(tail.rows, undefined);
  tail.add(rows(115, 116), "116");
  assertEquals([tail.rows?.since, tail.rows?.rows.length], ["100", 16]);
  // There are to be sixteen for each range; CouchDB 1.x has none.
  for (const [q, least] of [[2, 32], [8, 128], [null, 16]] as const) {
    for (const count of [least - 1, least]) {
      const tail = new FeedTail({ ranges: { q, partitioned: false }, since: "100", isWhole: false });
      tail.add(rows(100, 100 + count), `${100 + count}`);
      assertEquals(tail.rows?.rows.length, count < least ? undefined : least, `${q} ranges`);
    }
  }
});

Deno.test("FeedTail keeps a row of each range, and no more than it has to", () => {
  const ranges = { q: 4, partitioned: false };
  const rangeOf = ({ id }: OverlapRow) => Math.floor(crc32(id) / 2 ** 32 * 4);
  const all = rows(0, 30_000);
  // What CouchDB sends last is of one range; the last row of the others lies 600 rows before the end.
  const last = all.filter((row) => rangeOf(row) === 2).slice(0, 600);
  const others = all.filter((row) => !last.includes(row));
  const tail = new FeedTail({ ranges, since: "0", isWhole: true });
  const listed = [...others, ...last].map((row, at) => ({ ...row, position: at % 10 === 9 ? `${at + 1}` : undefined }));
  for (let at = 0; at < listed.length; at += 5000) {
    tail.add(listed.slice(at, at + 5000), `${Math.min(at + 5000, listed.length)}`);
  }
  const found = tail.rows!;
  assertEquals(new Set(found.rows.map(rangeOf)).size, 4);
  assert(found.rows.length < 700, `${found.rows.length} rows`);
  assertEquals(found.rows.map(({ id }) => id), listed.slice(Number(found.since)).map(({ id }) => id));
});

Deno.test("FeedTail goes by the positions within an answer without a limit", () => {
  const tail = new FeedTail({ ranges: ONE, since: "0", isWhole: true });
  tail.add(rows(0, 4000, 1000), undefined);
  tail.add(rows(4000, 8000, 1000), undefined);
  tail.add(rows(8000, 8500, 1000), "8500");
  assertEquals([tail.rows?.since, tail.rows?.rows.length], ["8000", 500]);
});

Deno.test("FeedTail keeps a row of each range of a partitioned database, where all of a partition is in one range", () => {
  const ranges = { q: 2, partitioned: true };
  const listed = (ids: string[]) =>
    ids.map((id, at) => ({ id, revs: ["1-a"], position: at % 10 === 9 ? `${at + 1}` : undefined }));
  const many = (partition: string, count: number) => Array.from({ length: count }, (_, n) => `${partition}:${n}`);
  const tailOf = (ids: string[]) => {
    const tail = new FeedTail({ ranges, since: "0", isWhole: true });
    tail.add(listed(ids), `${ids.length}`);
    return tail.rows!.rows.map(({ id }) => id);
  };
  // Two partitions that CouchDB keeps in different ranges: the last row of the one lies 600 rows before the end.
  const found = tailOf([...many("a", 300), ...many("b", 600)]);
  assert(found.includes("a:299") && found.length <= 610, `${found.length} rows`);
  // A design document belongs to no partition: its whole id says in which range it is, here in that of "a".
  const short = tailOf([...many("a", 300), ...many("b", 300), "_design/b", ...many("b", 100)]);
  assert(short.includes("_design/b") && short.length <= 110, `${short.length} rows`);
});

Deno.test("FeedTail gives the same rows in whatever pieces they come, though it keeps only the last of them", () => {
  let state = 5;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  for (let round = 0; round < 100; round++) {
    const ranges = { q: [1, 2, 8, 80][random(4)]!, partitioned: false };
    const all = rows(0, random(6000), 1 + random([10, 700, 3000][random(3)]!));
    // Those of one range may come last, however many there are.
    if (random(2) === 0) {
      const places = all.map(({ position }) => position);
      all.sort((a, b) => crc32(a.id) - crc32(b.id)).forEach((row, at) => row.position = places[at]);
    }
    const isWhole = random(2) === 0;
    const [inPieces, atOnce] = [0, 1].map(() => new FeedTail({ ranges, since: "0", isWhole })) as [FeedTail, FeedTail];
    const longest = 1 + random(1500);
    const isPage = random(2) === 0;
    for (let from = 0, end = 0; from < all.length; from = end) {
      end = from + 1 + random(longest);
      // A page has a position behind it, and a piece of one answer without a limit only those of its rows.
      const position = isPage || end >= all.length ? `behind ${end}` : undefined;
      inPieces.add(all.slice(from, end).map((row) => ({ ...row })), position);
      const last = all[Math.min(end, all.length) - 1]!;
      last.position = position ?? last.position;
    }
    if (all.length > 0) atOnce.add(all, all.at(-1)!.position);
    const [found, expected] = [inPieces.rows, atOnce.rows];
    const what = `round ${round}: ${JSON.stringify({ ranges, isWhole, isPage, longest, rows: all.length })}`;
    assertEquals([found?.since, found?.rows.length], [expected?.since, expected?.rows.length], what);
    assertEquals(found?.rows[0]?.id, expected?.rows[0]?.id, what);
  }
});

Deno.test("KnownRows knows the rows of a manifest that an earlier version has stored", () => {
  const known = new KnownRows(STORED);
  assertEquals(known.look({ id: "документ 1", revs: ["2-b", "1-c"] }), "known");
  assertEquals(known.look({ id: "plain", revs: ["1-967a00dff5e02add41819138abb3284d"] }), "known");
  assertEquals([known.size, known.unseen], [2, 0]);
});

Deno.test("KnownRows tells what is known from what was changed, in whatever order revisions come, and what is missing", () => {
  const listed = [{ id: "a", revs: ["2-b", "2-a"] }, { id: "b", revs: ["1-b"] }, { id: "c", revs: ["1-c"] }];
  // An id that came twice counts as it came last.
  const overlap = makeOverlap({ since: "7", rows: [{ id: "c", revs: ["0-x"] }, ...listed] });
  assertEquals([overlap.since, overlap.hashes.length], ["7", 3]);
  const known = new KnownRows(overlap);
  assertEquals([known.size, known.unseen], [3, 3]);
  assertEquals(known.look({ id: "a", revs: ["2-a", "2-b"] }), "known");
  assertEquals(known.look({ id: "b", revs: ["2-b"] }), "changed");
  assertEquals(known.look({ id: "d", revs: ["1-d"] }), "unknown");
  assertEquals(known.unseen, 1);
  assertEquals(known.look({ id: "c", revs: ["1-c"] }), "known");
  assertEquals(known.unseen, 0);
  const other = makeOverlap({ since: "7", rows: listed });
  assert(other.hashes.every((hash) => !overlap.hashes.includes(hash)), "each manifest has a salt of its own");
});
