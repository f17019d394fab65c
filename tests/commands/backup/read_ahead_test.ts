/** Pages of the feed that are read ahead: when the listing has ended, what a failure leaves, and how large batches are. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { wait } from "../../../src/abort.ts";
import type { Listing, ListingOptions } from "../../../src/commands/backup/listing.ts";
import type { ChangesPage, ChangesRow } from "../../../src/couchdb/changes_page.ts";
import { CouchError } from "../../../src/errors.ts";
import { type FeedDouble, listingOf } from "./listing_setup.ts";

const PAGE = 10;
const NEVER = new AbortController().signal;

function idOf(n: number, count: number): string {
  return `${n * 7919 % count}`.padStart(5, "0");
}

/** Rows of a feed of `count` documents; of so many rows one has its number as position. */
function rowsOf(first: number, most: number, count: number, positionsEvery = 1): ChangesRow[] {
  return Array.from({ length: Math.min(most, count - first) }, (_, n) => ({
    id: idOf(first + n, count),
    revs: ["1-a"],
    deleted: false,
    position: (n + 1) % positionsEvery === 0 ? String(first + n + 1) : undefined,
  }));
}

/** A CouchDB of so many documents; it fails where a page begins behind one. */
function couchOf(
  count: number,
  { failsAt = Infinity, positionsEvery, onPage }: {
    failsAt?: number;
    positionsEvery?: number;
    onPage?: (rows: number) => void;
  } = {},
): FeedDouble {
  return {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      if (first >= failsAt) return Promise.reject(new CouchError("Cannot list", { error: "forbidden", status: 403 }));
      const rows = rowsOf(first, PAGE, count, positionsEvery);
      onPage?.(rows.length);
      return Promise.resolve({
        rows,
        last_seq: String(first + rows.length),
        pending: count - first - rows.length,
      });
    },
  };
}

function open(couch: FeedDouble, more: Partial<ListingOptions> = {}): Listing {
  return listingOf(couch, { chunk: () => 8, positionsEvery: 8, reach: () => 40, ...more });
}

Deno.test("Listing has not ended while documents that were listed wait for a batch, though the feed has", async () => {
  for (let count = 20; count <= 130; count += PAGE) {
    const listing = open(couchOf(count));
    const left: number[] = [];
    let given = 0;
    for await (const work of listing.batches(NEVER)) {
      // The pages behind it come meanwhile, and the end.
      await wait(5);
      given += work.batch.count;
      if (listing.ended) left.push(count - given);
      work.settled();
    }
    assertEquals(given, count);
    assert(left.every((documents) => documents === 0), `it has ended with so many documents to be fetched: ${left}`);
    assertEquals(listing.ended, true);
    listing.close();
  }
});

for (const chunk of [8, undefined]) {
  Deno.test(`Listing whose feed fails gives all that was listed before, and then says why (chunk ${chunk})`, async () => {
    const listing = open(couchOf(100, { failsAt: 60 }), { chunk: chunk === undefined ? undefined : () => chunk });
    let given = 0;
    const failure = await assertRejects(async () => {
      for await (const work of listing.batches(NEVER)) {
        await wait(5);
        given += work.batch.count;
        work.settled();
      }
    }, CouchError);
    assertEquals(failure.facts.status, 403);
    assertEquals(listing.ended, false);
    // What was not enough for a batch is left.
    if (chunk !== undefined) assert(given > 60 - chunk, `${given} documents were given`);
    assertEquals(listing.settled.ids, given);
    listing.close();
  });
}

Deno.test("Listing makes batches as large as they are to be, however few documents it may take together", async () => {
  for (const reach of [0, 15, 25, 40]) {
    const listing = open(couchOf(900), { chunk: () => 45, reach: () => reach });
    const counts: number[] = [];
    for await (const work of listing.batches(NEVER)) {
      await wait(5);
      counts.push(work.batch.count);
      work.settled();
    }
    assertEquals(counts.reduce((sum, count) => sum + count, 0), 900);
    assert(counts.length <= 25, `reach ${reach}: ${counts}`);
    listing.close();
  }
});

Deno.test("Listing takes pages together where it may reach little farther than one, too", async () => {
  const listing = open(couchOf(200), { reach: () => 15, chunk: () => 5 });
  const ids: string[] = [];
  for await (const work of listing.batches(NEVER)) {
    await wait(5);
    ids.push(...work.batch.ids());
    work.settled();
  }
  assertEquals([ids.length, listing.settled.position], [200, "200"]);
  const begins = ids.filter((id, n) => n === 0 || ids[n - 1]! > id).length;
  const asListed = Array.from({ length: 200 }, (_, n) => idOf(n, 200));
  const before = asListed.filter((id, n) => n === 0 || asListed[n - 1]! > id).length;
  assert(begins < before / 2, `${begins} times from the beginning, and ${before} in the order of the feed`);
  listing.close();
});

for (const reach of [15, 25]) {
  Deno.test(`Listing whose batches become larger while pages wait for room takes them all the same (reach ${reach})`, async () => {
    let size = 4;
    const listing = open(couchOf(200), { reach: () => reach, chunk: () => size });
    const counts: number[] = [];
    for await (const work of listing.batches(NEVER)) {
      // Of the first page six are left: the next ones have come, and there is no room for more.
      await wait(5);
      size = 45;
      counts.push(work.batch.count);
      work.settled();
    }
    assertEquals(counts[0], 4);
    assertEquals(counts.reduce((sum, count) => sum + count, 0), 200);
    // Two pages are too few to be taken together.
    assertEquals(counts[1], 45);
    listing.close();
  });
}

Deno.test("Listing settles no position before what was left of the page before is stored, whatever comes into order behind it", async () => {
  // Five are left of the first page, up to its end; and as many has the first batch of the two pages behind it.
  const listing = open(couchOf(100, { positionsEvery: 5 }), { chunk: () => 6, reach: () => 20 });
  const asked = new Set<string>();
  for await (const work of listing.batches(NEVER)) {
    await wait(5);
    for (const id of work.batch.ids()) asked.add(id);
    work.settled();
    const { position } = listing.settled;
    const before = Array.from({ length: Number(position) }, (_, n) => idOf(n, 100));
    assertEquals(before.filter((id) => !asked.has(id)), [], `position ${position} is settled`);
  }
  assertEquals([asked.size, listing.settled.position], [100, "100"]);
  listing.close();
});

Deno.test("Listing makes batches alike of what it has in order, and none of its rest", async () => {
  const listing = open(couchOf(240), { chunk: () => 12 });
  const counts: number[] = [];
  for await (const work of listing.batches(NEVER)) {
    await wait(5);
    counts.push(work.batch.count);
    work.settled();
  }
  assertEquals(counts.reduce((sum, count) => sum + count, 0), 240);
  assertEquals(counts.filter((count) => count < 8), []);
  listing.close();
});

Deno.test("Listing reads no further ahead than it may reach, with what waits", async () => {
  let listed = 0;
  const couch = couchOf(300, { onPage: (rows) => listed += rows });
  const listing = open(couch);
  let [given, most] = [0, 0];
  for await (const work of listing.batches(NEVER)) {
    given += work.batch.count;
    await wait(5);
    most = Math.max(most, listed - given);
    work.settled();
  }
  assertEquals(given, 300);
  // Forty, the page that makes them so many, and the one that is asked for meanwhile.
  assert(most <= 60, `${most} rows are in memory`);
  listing.close();
});

Deno.test("Listing of one endless answer settles the last position that its pieces have, and goes on behind it", async () => {
  const count = 17_000;
  const encoder = new TextEncoder();
  const couch = {
    // Somebody writes as fast as it is listed.
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      return Promise.resolve({ rows: rowsOf(first, 1, count), last_seq: String(first + 1), pending: 5000 });
    },
    // deno-lint-ignore require-await
    async changesStream(_database: string, { since }: { since: string }) {
      const first = Number(since);
      return (async function* () {
        const rows = rowsOf(first, count - first, count).map(({ id, position }, n) =>
          JSON.stringify({ seq: n % 7 === 6 ? position : null, id, changes: [{ rev: "1-a" }] })
        );
        yield encoder.encode(`{"results":[\n${rows.join(",\n")}\n],\n"last_seq":"${count}","pending":0}\n`);
      })();
    },
  };
  const listing = open(couch, { chunk: () => 500, reach: () => 8000, expected: count });
  const ids = new Set<string>();
  const positions = new Set<string>();
  for await (const work of listing.batches(NEVER)) {
    await wait(5);
    for (const id of work.batch.ids()) ids.add(id);
    work.settled();
    const { position } = listing.settled;
    positions.add(position);
    for (let n = 0; n < Number(position); n++) assert(ids.has(idOf(n, count)), `${position} is settled without ${n}`);
  }
  assertEquals([ids.size, listing.settled.position], [count, String(count)]);
  const within = [...positions].map(Number).filter((position) => position > 10_000 && position < count);
  assert(within.length > 0, `positions: ${[...positions]}`);
  listing.close();
});

Deno.test("Listing that waits for pages ends when nobody wants them any more, however long they take", async () => {
  const never = Promise.withResolvers<ChangesPage>();
  const whole = couchOf(100);
  const couch = {
    changes: (name: string, page: Parameters<FeedDouble["changes"]>[1]) =>
      page.since === "0" ? whole.changes(name, page) : never.promise,
  };
  const listing = open(couch, { chunk: () => 5 });
  const failed = new AbortController();
  let given = 0;
  const giveUp = setTimeout(() => never.reject(new Error("it still waits for a page")), 5000);
  const read = async () => {
    for await (const work of listing.batches(failed.signal)) {
      given += work.batch.count;
      if (given === 10) setTimeout(() => failed.abort(new Error("a chunk could not be stored")), 20);
    }
  };
  await assertRejects(read, Error, "a chunk could not be stored");
  clearTimeout(giveUp);
  assertEquals(given, 10);
  listing.close();
});
