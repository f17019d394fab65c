import { assertEquals } from "@std/assert";
import type { Listing } from "../../../src/commands/backup/listing.ts";
import type { ChangesPage } from "../../../src/couchdb/changes_page.ts";
import { IdFilter } from "../../../src/couchdb/id_filter.ts";
import { listingOf } from "./listing_setup.ts";

/** A listing of forty documents in pages of ten, each page a batch. */
function openListing(chunk: number | undefined): Listing {
  const couch = {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      const rows = Array.from({ length: 10 }, (_, n) => ({
        id: `document ${first + n}`,
        revs: ["1-a"],
        deleted: false,
        position: n === 9 ? String(first + 10) : undefined,
      }));
      return Promise.resolve({ rows, last_seq: String(first + 10), pending: 30 - first });
    },
  };
  return listingOf(couch, {
    chunk: chunk === undefined ? undefined : () => chunk,
    positionsEvery: chunk,
    expected: 40,
  });
}

for (const chunk of [10, undefined]) {
  const what = chunk === undefined ? "one batch" : "batches";
  Deno.test(`Listing in ${what}: what is settled stays as it is while it is held, its filter too, and goes on behind that`, async () => {
    const listing = openListing(chunk);
    const release = [listing.hold(), listing.hold()];
    const { position, ids, throughBatch, filter } = listing.settled;
    const bytes = filter()!.bytes.slice();
    for await (const work of listing.batches(new AbortController().signal)) {
      listing.noteStored(work);
      work.settled();
    }
    release[0]!();
    const held = listing.settled;
    assertEquals([held.position, held.ids, held.throughBatch], [position, ids, throughBatch]);
    assertEquals(held.filter()!.bytes, bytes);
    release[1]!();
    assertEquals([listing.settled.position, listing.settled.ids], ["40", 40]);
    for (let n = 0; n < 40; n++) assertEquals(listing.settled.filter()!.mayHave(`document ${n}`), true);
    listing.close();
  });
}

Deno.test("Listing in one batch has nothing settled, and no id known, for a run that resumes before it is stored", async () => {
  const listing = openListing(undefined);
  const works = [];
  for await (const work of listing.batches(new AbortController().signal)) works.push(work);
  assertEquals(works.map(({ batch }) => batch.count), [40]);
  const { position, ids, filter } = listing.settled;
  assertEquals([position, ids], ["0", 0]);
  for (let n = 0; n < 40; n++) assertEquals(filter()!.mayHave(`document ${n}`), false);
  listing.close();
});

Deno.test("Listing in one batch holds all of a database, though a document of it is listed twice", async () => {
  const changed = { id: "document 3", revs: ["2-a"] };
  const couch = {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      const rows = Array.from({ length: 5000 }, (_, n) => ({
        ...first + n === 7000 ? changed : { id: `document ${first + n}`, revs: ["1-a"] },
        deleted: false,
        position: undefined,
      }));
      return Promise.resolve({ rows, last_seq: String(first + 5000), pending: 115_000 - first });
    },
  };
  const listing = listingOf(couch, { expected: 120_000 });
  const counts = [];
  for await (const { batch, settled } of listing.batches(new AbortController().signal)) {
    counts.push(batch.count);
    settled();
  }
  assertEquals(counts, [119_999]);
  assertEquals(listing.settled.ids, 0);
  for await (const { batch, settled } of listing.repeated()) {
    assertEquals([...batch.pages()].flat(), [changed]);
    settled();
  }
  assertEquals([listing.settled.ids, listing.settled.position, listing.ended], [119_999, "120000", true]);
  listing.close();
});

Deno.test("Listing in one batch that goes on behind an earlier run's chunks is one batch, too, and has settled what they hold", async () => {
  const couch = {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      const rows = Array.from({ length: 5000 }, (_, n) => ({
        id: first + n === 7000 ? "document 3" : `document ${first + n}`,
        revs: ["2-a"],
        deleted: false,
        position: undefined,
      }));
      return Promise.resolve({ rows, last_seq: String(first + 5000), pending: 115_000 - first });
    },
  };
  const filter = IdFilter.forIds(120_000);
  for (let n = 0; n < 5000; n++) filter.add(`document ${n}`);
  const state = { position: "5000", ids: 5000, expected: 120_000, filter: null };
  const listing = listingOf(couch, { expected: 120_000, resumed: { state, filter } });
  const works = [];
  for await (const work of listing.batches(new AbortController().signal)) works.push(work);
  assertEquals(works.map(({ batch }) => batch.count), [114_999]);
  const { position, ids, filter: settled } = listing.settled;
  assertEquals([position, ids], ["5000", 5000]);
  const known = [0, 4999, 5000, 119_999].map((n) => settled()!.mayHave(`document ${n}`));
  assertEquals(known, [true, true, false, false]);
  for (const work of works) work.settled();
  for await (const { batch, again, settled } of listing.repeated()) {
    assertEquals([[...batch.ids()], again], [["document 3"], true]);
    settled();
  }
  assertEquals([listing.settled.ids, listing.settled.position, listing.ended], [119_999, "120000", true]);
  assertEquals([0, 119_999].map((n) => listing.settled.filter()!.mayHave(`document ${n}`)), [true, true]);
  listing.close();
});

Deno.test("Listing in one batch that ends early, as very many documents are listed twice, goes on with one for all the rest", async () => {
  const couch = {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      // The second page repeats the first one.
      const rows = Array.from({ length: 5000 }, (_, n) => ({
        id: `document ${first === 5000 ? n : first + n}`,
        revs: [first === 5000 ? "2-a" : "1-a"],
        deleted: false,
        position: undefined,
      }));
      return Promise.resolve({ rows, last_seq: String(first + 5000), pending: 95_000 - first });
    },
  };
  const listing = listingOf(couch, { expected: 100_000, reach: () => 0 });
  const counts = [];
  const signal = new AbortController().signal;
  while (!listing.ended) {
    for await (const { batch, settled } of listing.batches(signal)) {
      const { ids, filter } = listing.settled;
      // Whoever resumes here knows of what is settled alone.
      assertEquals([filter()!.mayHave("document 3"), filter()!.mayHave("document 99999")], [ids > 0, false]);
      counts.push(batch.count);
      settled();
    }
    for await (const { batch, settled } of listing.repeated()) {
      counts.push(batch.count);
      settled();
    }
  }
  assertEquals(counts, [5000, 5000, 90_000]);
  assertEquals([listing.settled.ids, listing.settled.position], [95_000, "100000"]);
  for (const n of [3, 99_999]) assertEquals(listing.settled.filter()!.mayHave(`document ${n}`), true);
  listing.close();
});

Deno.test("Listing in one batch has no empty part, whose half would be asked for, where the last page brings nothing new", async () => {
  const couch = {
    changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
      const first = Number(since);
      const count = first < 20 ? 10 : 0;
      const rows = Array.from({ length: count }, (_, n) => ({
        id: `document ${first + n}`,
        revs: ["1-a"],
        deleted: false,
        position: undefined,
      }));
      // As CouchDB 1.x, which does not say what follows.
      return Promise.resolve({ rows, last_seq: String(first + count), pending: undefined });
    },
  };
  const listing = listingOf(couch, { expected: 40 });
  const pages: number[][] = [];
  for await (const { batch } of listing.batches(new AbortController().signal)) {
    pages.push([...batch.pages()].map((page) => page.length));
  }
  assertEquals(pages, [[10, 10]]);
  listing.close();
});

for (const chunk of [1, undefined]) {
  const what = chunk === undefined ? "in one batch" : "in batches";
  Deno.test(`Listing ${what} of a run that is resumed without its filter hands none on: what was deleted since stays deleted`, async () => {
    const couch = {
      changes(_database: string, { since }: { since: string }): Promise<ChangesPage> {
        const isFirst = since === "40";
        const row = isFirst
          ? { id: "document 40", revs: ["1-a"], deleted: false, position: "41" }
          : { id: "document 3", revs: ["2-a"], deleted: true, position: "42" };
        return Promise.resolve({ rows: [row], last_seq: row.position, pending: 0 });
      },
    };
    const store = async (resumed: NonNullable<Parameters<typeof listingOf>[1]["resumed"]>) => {
      const listing = listingOf(couch, {
        chunk: chunk === undefined ? undefined : () => chunk,
        positionsEvery: chunk,
        expected: 42,
        resumed,
      });
      const stored = [];
      for await (const { batch, again, settled } of listing.batches(new AbortController().signal)) {
        stored.push(...[...batch.ids()].map((id) => ({ id, again })));
        settled();
      }
      listing.close();
      const { position, ids, filter } = listing.settled;
      return {
        stored,
        isCounted: listing.isCounted,
        left: { state: { ...resumed.state, position, ids }, filter: filter() },
      };
    };
    // The first forty documents are in chunks; of their ids nobody knows.
    const state = { position: "40", ids: 40, expected: 42, filter: null };
    const second = await store({ state, filter: undefined });
    assertEquals([second.stored, second.left.state.position], [[{ id: "document 40", again: true }], "41"]);
    const third = await store(second.left);
    assertEquals([third.stored, third.isCounted], [[{ id: "document 3", again: true }], false]);
  });
}
