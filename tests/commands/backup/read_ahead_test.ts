/** Pages of the feed that are read ahead: when the listing has ended, what a failure leaves, and how large batches are. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { wait } from "../../../src/abort.ts";
import { Listing, type ListingOptions } from "../../../src/commands/backup/listing.ts";
import type { ChangesPage } from "../../../src/couchdb/changes_page.ts";
import type { CouchClient } from "../../../src/couchdb/client.ts";
import { CouchError } from "../../../src/errors.ts";
import { RecordedLog } from "../../fakes/log.ts";

const PAGE = 10;
const NEVER = new AbortController().signal;

/** A CouchDB of so many documents, whose positions are the numbers of rows; it fails where a page begins behind one. */
function couchOf(count: number, { failsAt = Infinity }: { failsAt?: number } = {}): CouchClient {
  return {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      if (first >= failsAt) return Promise.reject(new CouchError("Cannot list", { error: "forbidden", status: 403 }));
      const rows = Array.from({ length: Math.min(PAGE, count - first) }, (_, n) => ({
        id: `${(first + n) * 7919 % count}`.padStart(4, "0"),
        revs: ["1-a"],
        deleted: false,
        position: String(first + n + 1),
      }));
      return Promise.resolve({
        rows,
        last_seq: String(first + rows.length),
        pending: count - first - rows.length,
      });
    },
  } as unknown as CouchClient;
}

function open(couch: CouchClient, more: Partial<ListingOptions> = {}): Listing {
  return new Listing(couch, "db", {
    log: new RecordedLog(),
    signal: NEVER,
    chunk: () => 8,
    positionsEvery: 8,
    reach: () => 40,
    tombstones: false,
    expected: 2000,
    ranges: { q: 1, partitioned: false },
    keepsEnd: false,
    unreadable: new Set(),
    beforeLastPage: () => Promise.resolve(),
    ...more,
  });
}

Deno.test("Listing has not ended while documents that were listed wait for a batch, though the feed has", async () => {
  for (let count = 50; count <= 130; count += PAGE) {
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
  const asListed = Array.from({ length: 200 }, (_, n) => `${n * 7919 % 200}`.padStart(4, "0"));
  const before = asListed.filter((id, n) => n === 0 || asListed[n - 1]! > id).length;
  assert(begins < before / 2, `${begins} times from the beginning, and ${before} in the order of the feed`);
  listing.close();
});

Deno.test("Listing whose batches become larger while pages wait for room takes them all the same", async () => {
  let size = 4;
  const listing = open(couchOf(100), { reach: () => 15, chunk: () => size });
  const counts: number[] = [];
  for await (const work of listing.batches(NEVER)) {
    // Of the first page six are left: the second one has come, and there is no room for the third.
    await wait(5);
    size = 45;
    counts.push(work.batch.count);
    work.settled();
  }
  assertEquals(counts[0], 4);
  assertEquals(counts.reduce((sum, count) => sum + count, 0), 100);
  listing.close();
});
