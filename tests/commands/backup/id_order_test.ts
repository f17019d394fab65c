/** Documents of several pages of the feed are fetched and stored in the order of their ids, and none is lost by that. */
import { assert, assertEquals } from "@std/assert";
import { wait } from "../../../src/abort.ts";
import type { Listing, ListingOptions, Work } from "../../../src/commands/backup/listing.ts";
import { IdBatch, PackedPages } from "../../../src/couchdb/batch.ts";
import type { ChangesPage } from "../../../src/couchdb/changes_page.ts";
import { InterruptedError } from "../../../src/errors.ts";
import { couchOk } from "../../couch_request.ts";
import { edit } from "../../fakes/couchdb/edits.ts";
import { startFakeCouchDb } from "../../fakes/couchdb.ts";
import { archivedStates, Backups, expectDocuments } from "./feed_setup.ts";
import { type FeedDouble, listingOf } from "./listing_setup.ts";

const PAGE = 10;

interface Feed {
  /** In the order of the feed; one may come several times. */
  ids: string[];
  /** Milliseconds that a page takes, from the second one on. */
  pageMs?: number;
}

/** A CouchDB whose positions are the numbers of rows; of five rows one has its position. */
function couchOf({ ids, pageMs }: Feed): { couch: FeedDouble; pages: number[] } {
  const pages: number[] = [];
  const couch = {
    async changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      if (first > 0 && pageMs !== undefined) await wait(pageMs);
      pages.push(first);
      const rows = ids.slice(first, first + PAGE).map((id, n) => ({
        id,
        revs: [`${first + n + 1}-a`],
        deleted: false,
        position: n % 5 === 4 ? String(first + n + 1) : undefined,
      }));
      return { rows, last_seq: String(first + rows.length), pending: ids.length - first - rows.length };
    },
  };
  return { couch, pages };
}

function open(feed: Feed, more: Partial<ListingOptions> = {}): { listing: Listing; pages: number[] } {
  const { couch, pages } = couchOf(feed);
  const listing = listingOf(couch, {
    chunk: () => 8,
    positionsEvery: 5,
    reach: () => 40,
    expected: feed.ids.length,
    ...more,
  });
  return { listing, pages };
}

function randomIds(count: number): string[] {
  return Array.from({ length: count }, () => crypto.randomUUID());
}

const NEVER = new AbortController().signal;

/** Fetches what the listing gives, each batch in a moment in which the feed can go on. */
async function fetchAll(listing: Listing, store: (work: Work) => void, { closes = true } = {}): Promise<void> {
  do {
    for (const works of [listing.batches(NEVER), listing.repeated()]) {
      for await (const work of works) {
        await wait(5);
        store(work);
      }
    }
  } while (!listing.ended);
  if (closes) listing.close();
}

function isSorted(ids: readonly string[]): boolean {
  return ids.every((id, n) => n === 0 || ids[n - 1]! <= id);
}

Deno.test("Listing hands out what several pages have in the order of ids, in batches that are alike, and all of it once", async () => {
  const ids = randomIds(115);
  const { listing } = open({ ids });
  const batches: string[][] = [];
  await fetchAll(listing, (work) => {
    batches.push([...work.batch.ids()]);
    work.settled();
  });
  assertEquals(batches.flat().toSorted(), ids.toSorted());
  const runs = batches.flat().reduce((sum, id, n, all) => n > 0 && all[n - 1]! > id ? sum + 1 : sum, 1);
  assert(runs < 25, `in order but for ${runs} places`);
  assert(batches.some((batch) => batch.length === 8 && isSorted(batch)));
  assert(batches.every(({ length }) => length <= 8), "never more than were asked for");
  assertEquals([listing.ids, listing.settled.position, listing.settled.ids], [115, "115", 115]);
});

Deno.test("Listing: in whatever order batches are stored, all documents before the position from which a later run resumes are, and no others count as stored", async () => {
  for (let round = 0; round < 40; round++) {
    const ids = randomIds(100);
    // Some were changed meanwhile.
    for (const at of [33, 57, 58, 90]) ids[at] = ids[at - 30 + round % 7]!;
    const { listing } = open({ ids }, {
      chunk: () => [5, 10, 3, 1 + Math.floor(Math.random() * 9)][round % 4]!,
      reach: () => round < 20 ? 40 : 0,
    });
    const stored = new Map<string, number>();
    const rowsOf = new Map<number, number[]>();
    const inHand: Work[] = [];
    const store = () => {
      const [work] = inHand.splice(Math.floor(Math.random() * inHand.length), 1);
      rowsOf.set(work!.index, [...work!.batch.ids()].map((id) => ids.indexOf(id)));
      for (const page of work!.batch.pages()) {
        for (const { id, revs } of page) stored.set(id, Math.max(stored.get(id) ?? 0, Number.parseInt(revs[0]!)));
      }
      work!.settled();
      const position = Number(listing.settled.position);
      for (const [n, id] of ids.slice(0, position).entries()) {
        const isLater = ids.lastIndexOf(id, position - 1) > n;
        assert(isLater || (stored.get(id) ?? 0) >= n + 1, `${position} is settled, and row ${n} is not stored`);
      }
      assert(listing.settled.ids <= stored.size);
      // What a later run keeps it must not list again.
      for (const [index, rows] of rowsOf) {
        if (index <= listing.settled.throughBatch) assert(Math.max(...rows) < position, `batch ${index} is kept`);
      }
    };
    do {
      for (const works of [() => listing.batches(NEVER), () => listing.repeated()]) {
        for await (const work of works()) {
          await wait(1);
          inHand.push(work);
          if (inHand.length === 4) store();
        }
        while (inHand.length > 0) store();
      }
    } while (!listing.ended);
    assertEquals(listing.settled.position, "100");
    assertEquals(stored.size, new Set(ids).size);
    listing.close();
  }
});

Deno.test("Listing all once more counts, and finds what was lacking, but a later run still begins where the first listing ended", async () => {
  const ids = randomIds(40);
  const { listing } = open({ ids });
  const fetched: { id: string; again: boolean }[] = [];
  const store = ({ batch, again, settled }: Work) => {
    fetched.push(...[...batch.ids()].map((id) => ({ id, again })));
    settled();
  };
  await fetchAll(listing, store, { closes: false });
  assertEquals([fetched.length, listing.until, listing.settled.position], [40, "40", "40"]);
  // Another copy has one that the first listing lacked, and behind its end five are changed.
  ids[7] = "late";
  ids.push(...ids.slice(10, 15));
  fetched.length = 0;
  listing.recount(41);
  await fetchAll(listing, (work) => {
    store(work);
    assertEquals(listing.settled.position, "40");
  }, { closes: false });
  assertEquals([fetched.map(({ id }) => id), listing.recounted?.ids, listing.ids], [["late"], 40, 41]);
  assertEquals([listing.until, listing.settled.position], ["40", "40"]);
  // What was changed is listed from there, and stored once more.
  listing.open(listing.until);
  fetched.length = 0;
  await fetchAll(listing, store);
  assertEquals(fetched, ids.slice(10, 15).map((id) => ({ id, again: true })));
  assertEquals([listing.until, listing.settled.position], ["45", "45"]);
});

Deno.test("Listing gives what has come where there is nothing else to be fetched, however far it may reach", async () => {
  const { listing, pages } = open({ ids: randomIds(60), pageMs: 20 });
  const asked: number[] = [];
  for await (const work of listing.batches(NEVER)) {
    asked.push(pages.length);
    work.settled();
  }
  // One page more is on its way.
  assert(asked[0]! <= 2 && asked[1]! <= 3, `pages before each batch: ${asked}`);
  assert(asked.length >= 6, `pages before each batch: ${asked}`);
  listing.close();
});

Deno.test("Listing takes no pages together whose ids would fill the memory", async () => {
  const { listing, pages } = open({ ids: randomIds(150).map((id) => id.padEnd(300_000, "x")) }, {
    reach: () => 1000,
  });
  let most = 0;
  let taken = 0;
  for await (const work of listing.batches(NEVER)) {
    await wait(10);
    most = Math.max(most, pages.length * PAGE - taken);
    taken += work.batch.count;
  }
  assert(most <= 60, `${most} ids of 300 KB are in memory`);
  assertEquals(taken, 150);
  listing.close();
});

for (const chunk of [8, undefined]) {
  Deno.test(`Listing counts all of a second listing, though it takes pages together (chunk ${chunk})`, async () => {
    const ids = randomIds(115);
    const { listing } = open({ ids }, { chunk: chunk === undefined ? undefined : () => chunk });
    await fetchAll(listing, (work) => work.settled(), { closes: false });
    listing.recount(ids.length);
    const again: number[] = [];
    await fetchAll(listing, (work) => {
      again.push(work.batch.count);
      work.settled();
    });
    assertEquals([listing.recounted?.ids, again], [115, []]);
  });
}

Deno.test("Listing in one batch has it in the order of ids as far as it reaches", async () => {
  const ids = randomIds(115);
  const { listing } = open({ ids }, { chunk: undefined });
  const works: Work[] = [];
  for await (const work of listing.batches(NEVER)) works.push(work);
  const [work] = works;
  assertEquals(works.length, 1);
  const pages = [...work!.batch.pages()].map((page) => page.map(({ id }) => id));
  assertEquals(pages.map((page) => [page.length, isSorted(page)]), [[40, true], [40, true], [35, true]]);
  assertEquals(pages.flat().toSorted(), ids.toSorted());
  listing.close();
});

Deno.test("PackedPages has all of what is added at once, in pages that are not too large to be unpacked", () => {
  const packed = new PackedPages();
  const ids = randomIds(12_001);
  packed.add([]);
  packed.add(ids.map((id) => ({ id, revs: ["1-a"] })));
  const batch = IdBatch.packed(packed);
  const pages = [...batch.pages()].map((page) => page.map(({ id }) => id));
  assertEquals(pages.map(({ length }) => length), [...Array.from({ length: 12 }, () => 1000), 1]);
  assertEquals([batch.count, pages.flat()], [12_001, ids]);
});

Deno.test("Listing that is closed while pages are on their way ends", async () => {
  const { listing } = open({ ids: randomIds(100), pageMs: 5 });
  for await (const work of listing.batches(NEVER)) {
    work.settled();
    await wait(7);
    break;
  }
  listing.close();
  await wait(20);
  assertEquals(listing.settled.position, "5");
});

Deno.test("backup() that is stopped among documents in the order of ids has all of them when it is resumed, changed ones too", async () => {
  const fake = await startFakeCouchDb();
  await using _ = fake;
  await couchOk(fake, "PUT /db");
  const database = fake.databases.get("db")!;
  const ids = randomIds(24_000);
  edit(database, ...ids.map((_id) => ({ _id })));
  for (const count of [4, 9, 15, 21]) {
    await using backups = new Backups();
    const first = fake.requestsTo("_bulk_get").length;
    const stop = new AbortController();
    let changed: string[] = [];
    fake.onRequest(({ endpoint }) => {
      if (endpoint !== "_bulk_get" || stop.signal.aborted) return;
      const asked = fake.requestsTo("_bulk_get").slice(first);
      if (asked.length < count) return;
      // Of documents that are stored, and of the others.
      changed = [asked[0]!.ids[0]!, asked[count - 2]!.ids[1]!, ids[20_000]!, ids[23_999]!];
      for (const _id of changed) edit(database, { _id, _deleted: false, later: count });
      stop.abort(new InterruptedError("stopped"));
    });
    const task = { chunk: 1000, parallel: 2 };
    await backups.run(fake, { task, context: { stop: stop.signal } }).catch(() => {});
    assert(stop.signal.aborted);
    const report = await backups.run(fake, { task, resume: true });
    assertEquals(report.status, "resumed", report.error);
    const archived = await backups.read();
    expectDocuments(archived, ids);
    const states = archivedStates(archived);
    assertEquals(states.size, ids.length);
    for (const id of changed) {
      const texts = [...archived.leafRevisions.get(id)!.values()];
      assert(texts.some((text) => text.includes(`"later":${count}`)), `${id} is stored as it was before`);
    }
  }
  assert(fake.requestsTo("_bulk_get").some((request) => request.ids.length > 500 && isSorted(request.ids)));
});

Deno.test("backup() by one request asks for all documents, in the order of ids from the second page on", async () => {
  const fake = await startFakeCouchDb();
  await using _ = fake;
  await couchOk(fake, "PUT /db");
  const ids = randomIds(15_000);
  edit(fake.databases.get("db")!, ...ids.map((_id) => ({ _id })));
  await using backups = new Backups();
  const report = await backups.run(fake, { task: { chunk: undefined } });
  assertEquals(report.status, "complete", report.error);
  expectDocuments(await backups.read(), ids);
  const [request, ...others] = fake.requestsTo("_bulk_get");
  assertEquals([request!.ids.length, others.length], [15_000, 0]);
  assert(isSorted(request!.ids.slice(5000)));
});
