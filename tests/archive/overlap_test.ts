import { assert, assertEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import { FeedTail, KnownRows, makeOverlap, type OverlapRow } from "../../src/archive/overlap.ts";

const ONE = { q: 1, partitioned: false };

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
