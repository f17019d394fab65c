/** Lists a database's feed where pages are hard to get: too large to be read at once, or from a server that comes and goes. */
import { assertEquals, assertRejects } from "@std/assert";
import { listChanges } from "../../src/couchdb/changes.ts";
import { CouchError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { ATTEMPTS, impatientClient } from "./impatient_client.ts";

async function start() {
  const fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const list = async () => {
    const ids = new Set<string>();
    const { signal } = new AbortController();
    for await (
      const { rows } of listChanges(impatientClient(fake), "db", { since: "0", log: new RecordedLog(), signal })
    ) {
      for (const { id } of rows) ids.add(id);
    }
    return ids.size;
  };
  return { fake, database: fake.databases.get("db")!, list };
}

const UNAVAILABLE = {
  kind: "answer",
  status: 503,
  body: '{"error":"service_unavailable","reason":"restarting"}',
} as const;

Deno.test("listChanges() lists ids so long that a page of the usual size is more than is read at once", async () => {
  const { fake, database, list } = await start();
  await using _ = fake;
  const long = "x".repeat(7000);
  edit(database, ...Array.from({ length: 5100 }, (_, number) => ({ _id: `${number}${long}` })));
  assertEquals(await list(), 5100);
});

Deno.test("listChanges() has the whole patience of the retry policy with pages that have become small", async () => {
  for (const kind of ["answer", "drop"] as const) {
    const { fake, database, list } = await start();
    await using _ = fake;
    fill(database, 200);
    fake.front.gatewayTimeoutAboveLimit = 50;
    // The second small page: the first one is got.
    fake.faults.add({
      endpoint: "_changes",
      where: ({ query }) => query.get("limit") === "50",
      skip: 1,
      times: ATTEMPTS - 1,
      fault: kind === "answer" ? UNAVAILABLE : { kind: "drop" },
    });
    assertEquals(await list(), 200, kind);
    fake.faults.add({ endpoint: "_changes", times: Infinity, fault: UNAVAILABLE });
    await assertRejects(list, CouchError, "503");
  }
});

Deno.test("listChanges() asks for pages of the usual size again where CouchDB was away for a while", async () => {
  const { fake, database, list } = await start();
  await using _ = fake;
  fill(database, 200);
  fake.faults.add({ endpoint: "_changes", times: ATTEMPTS, fault: UNAVAILABLE });
  assertEquals(await list(), 200);
  assertEquals(new Set(fake.requestsTo("_changes").map(({ query }) => query.get("limit"))), new Set(["5000"]));
});

Deno.test("listChanges() goes on with one answer for all rows as long as each brings some before it breaks", async () => {
  const { fake, database } = await start();
  await using _ = fake;
  fill(database, 60_000);
  const isStream = ({ query }: { query: URLSearchParams }) => query.get("limit") === null;
  let written = 0;
  fake.onRequest((request) => {
    if (request.endpoint === "_changes" && !isStream(request)) {
      fill(database, 2, { from: 2 * written++, prefix: "new" });
    }
  });
  const breaks = (afterBytes: number) =>
    fake.faults.add({ endpoint: "_changes", where: isStream, times: 8, fault: { kind: "cut off", afterBytes } });
  const list = async () => {
    const ids = new Set<string>();
    const options = { since: "0", log: new RecordedLog(), pageRows: 1, positionsEvery: 500 };
    for await (const { rows } of listChanges(impatientClient(fake), "db", options)) {
      for (const { id } of rows) ids.add(id);
    }
    return ids.size;
  };
  breaks(1 << 20);
  assertEquals(await list(), 60_000 + 2 * written);
  assertEquals(fake.requestsTo("_changes").filter(isStream).length, 9);
  breaks(1000);
  await assertRejects(list, CouchError);
});
