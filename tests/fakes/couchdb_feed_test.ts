import { assertEquals, assertGreater, assertNotEquals, assertRejects } from "@std/assert";
import { couch, couchOk } from "../couch_request.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, startFakeCouchDb } from "./couchdb.ts";
import type { Database } from "./couchdb/database.ts";
import { edit, fill } from "./couchdb/edits.ts";
import { forbidden, unreadable } from "./couchdb/faults.ts";

interface Place {
  fake: FakeCouchDb;
  database: Database;
  ids: string[];
}

/** Runs a test with a double that has the database `db` with twenty documents. */
function testFeed(name: string, body: (place: Place) => Promise<void>, options: FakeCouchDbOptions = {}): void {
  Deno.test(`the feed of the double of CouchDB ${name}`, async () => {
    await using fake = await startFakeCouchDb(options);
    await couchOk(fake, "PUT /db");
    const database = fake.databases.get("db")!;
    await body({ fake, database, ids: fill(database, 20) });
  });
}

interface Page {
  ids: string[];
  since: string;
  pending: number;
}

async function page(fake: FakeCouchDb, since = "0", limit = 1000): Promise<Page> {
  const { json } = await couchOk(fake, `GET /db/_changes?style=all_docs&limit=${limit}&since=${since}`);
  const ids = json.results.map(({ id }: { id: string }) => id).sort();
  return { ids, since: json.last_seq, pending: json.pending };
}

testFeed("comes again from the start where a file was made anew", async ({ fake, database, ids }) => {
  const { since } = await page(fake);
  database.rewind({ range: 0 });
  const again = await page(fake, since);
  assertEquals(again.ids, ids.filter((id) => database.shards.rangeOf(id) === database.shards.ranges[0]));
  database.rewind();
  assertEquals((await page(fake, since)).ids, ids);
});

testFeed("goes on over a split, and only the number before the dash jumps", async ({ fake, database, ids }) => {
  const half = await page(fake, "0", 10);
  const end = await page(fake, half.since);
  database.splitRange(1);
  database.splitRange(0);
  const rest = await page(fake, half.since);
  assertEquals([...half.ids, ...rest.ids].sort(), ids);
  const still = await page(fake, end.since);
  assertEquals([still.ids, still.pending], [[], 0]);
  assertGreater(parseInt(still.since), parseInt(end.since));
  edit(database, { _id: "d0000003", changed: true });
  assertEquals((await page(fake, end.since)).ids, ["d0000003"]);
  assertEquals(Object.keys((await couchOk(fake, "GET /db/_shards")).json.shards).length, 4);
});

testFeed("hides what is written behind a file that was set back", async ({ fake, database }) => {
  const setBack = database.snapshot();
  fill(database, 10, { from: 20 });
  const { since } = await page(fake);
  setBack();
  assertEquals((await couchOk(fake, "GET /db")).json.doc_count, 20);
  fill(database, 8, { from: 40 });
  const behind = await page(fake, since);
  assertEquals([behind.ids, behind.pending, behind.since], [[], 0, since]);
  assertEquals((await page(fake)).ids.length, 28);
  fill(database, 30, { from: 100 });
  assertEquals((await page(fake, since)).ids.length, 28);
}, { q: 1 });

testFeed("comes whole from a database that was made anew, which has another time of creation", async ({ fake }) => {
  const { since } = await page(fake);
  const created = async () => (await couchOk(fake, "GET /db")).json.instance_start_time;
  const before = await created();
  await couchOk(fake, "DELETE /db");
  await couchOk(fake, "PUT /db");
  assertNotEquals(await created(), before);
  fill(fake.databases.get("db")!, 3);
  assertEquals((await page(fake, since)).ids.length, 3);
});

testFeed("never ends while something writes between its pages", async ({ fake, database }) => {
  let written = 0;
  fake.onRequest(({ endpoint }) => {
    if (endpoint === "_changes") written += fill(database, 5, { from: 100 + written }).length;
  });
  let last: Page = { ids: [], since: "0", pending: 0 };
  const left = [];
  for (let time = 0; time < 4; time++) {
    last = await page(fake, last.since, 5);
    left.push(last.pending);
  }
  assertEquals(left, [20, 20, 20, 20]);
  assertEquals((await page(fake, last.since)).pending, 0);
});

testFeed("is short by a fault, with the rest on the next page or lost", async ({ fake, ids }) => {
  for (const loses of [false, true]) {
    fake.faults.add({ endpoint: "_changes", times: 2, fault: { kind: "short page", rows: 3, loses } });
    const pages: Page[] = [];
    do pages.push(await page(fake, pages.at(-1)?.since, 8)); while (pages.at(-1)!.pending > 0);
    const seen = pages.flatMap(({ ids }) => ids).sort();
    assertEquals(pages.map(({ ids }) => ids.length), loses ? [3, 3, 4] : [3, 3, 8, 6]);
    assertEquals(seen, loses ? seen.filter((id) => ids.includes(id)) : ids);
  }
  fake.faults.add({ endpoint: "_all_docs", fault: { kind: "short page", rows: 3 } });
  assertEquals((await couchOk(fake, "GET /db/_all_docs")).json.rows.length, 3);
});

testFeed("lies about what is pending by a fault", async ({ fake }) => {
  for (const pending of [0, 99, null]) {
    fake.faults.add({ endpoint: "_changes", fault: { kind: "short page", pending } });
    const { json } = await couchOk(fake, "GET /db/_changes?limit=5");
    assertEquals([json.results.length, json.pending], [5, pending]);
  }
});

testFeed("has numbers for positions and nothing pending before 2.0", async ({ fake, ids }) => {
  const first = await couchOk(fake, "GET /db/_changes?limit=8");
  assertEquals(first.json.results.map(({ seq }: { seq: number }) => seq), [1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals([first.json.last_seq, first.json.pending], [8, undefined]);
  assertEquals((await page(fake, "8")).ids, ids.slice(8));
  assertEquals((await page(fake, "20")).since as unknown, 20);
  assertEquals((await couchOk(fake, "GET /db/_changes?limit=0")).json.results.length, 1, "0 is taken for 1");
  const info = (await couchOk(fake, "GET /db")).json;
  assertEquals([info.update_seq, info.purge_seq, info.cluster, info.sizes], [20, 0, undefined, undefined]);
  for (const path of ["_membership", "_dbs_info"]) assertEquals((await couch(fake, `GET /${path}`)).status, 404);
}, { version: "1.7.2" });

testFeed("belongs to a database without a time of creation before 3.3", async ({ fake }) => {
  assertEquals((await couchOk(fake, "GET /db")).json.instance_start_time, "0");
}, { version: "3.2.3" });

testFeed("refuses what it does not have", async ({ fake }) => {
  for (const query of ["conflicts=true", "filter=_view", "descending=true", "feed=continuous"]) {
    assertEquals((await couch(fake, `GET /db/_changes?${query}`)).status, 400);
  }
});

const bulkGet = (fake: FakeCouchDb, ...ids: string[]) =>
  couch(fake, "POST /db/_bulk_get", { docs: ids.map((id) => ({ id })) });

for (const how of ["breaks off", "drops"] as const) {
  testFeed(`lists a document whose reading ${how}, alone or with others`, async ({ fake, ids }) => {
    fake.faults.add(unreadable("db", ["d0000003"], how));
    for (let time = 0; time < 2; time++) {
      await assertRejects(() => bulkGet(fake, "d0000002", "d0000003"), TypeError);
      await assertRejects(() => bulkGet(fake, "d0000003"), TypeError);
      await assertRejects(() => couch(fake, "GET /db/d0000003"), TypeError);
    }
    assertEquals((await bulkGet(fake, "d0000002")).status, 200);
    assertEquals((await page(fake)).ids, ids);
  });
}

testFeed("lists documents whose reading has an error row, or fails", async ({ fake }) => {
  fake.faults.add(unreadable("db", ["d0000004"], "fails"));
  fake.faults.add(unreadable("db", ["d0000003", "d0000005"], "error row"));
  for (let time = 0; time < 2; time++) {
    const { status, json } = await bulkGet(fake, "d0000002", "d0000003", "d0000005");
    const errors = json.results.map(({ docs }: { docs: { error?: { error: string } }[] }) => docs[0]!.error?.error);
    assertEquals([status, errors], [200, [undefined, "internal_error", "internal_error"]]);
    assertEquals((await couch(fake, "GET /db/d0000003?open_revs=all")).status, 500);
    assertEquals((await bulkGet(fake, "d0000002", "d0000004")).status, 500);
    assertEquals((await couch(fake, "GET /db/d0000004")).status, 500);
  }
});

testFeed("stands beside settings that may be forbidden", async ({ fake }) => {
  fake.faults.add(forbidden("db", "_security"));
  fake.faults.add(forbidden("db", "_revs_limit"));
  for (const path of ["_security", "_revs_limit"]) {
    const { status, json } = await couch(fake, `GET /db/${path}`);
    assertEquals([status, json.error], [403, "forbidden"]);
    assertEquals((await couch(fake, `GET /_users/${path}`)).status, 200);
  }
});
