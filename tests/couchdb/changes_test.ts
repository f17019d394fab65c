/** Lists a database's feed where pages are hard to get: too large to be read at once, or from a server that comes and goes. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { listChanges } from "../../src/couchdb/changes.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { CouchError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { withTurnsForTime } from "../fake_timers.ts";
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

/** A fetch that counts the answers that are taken by one call of the runtime. */
function countingWholes(): { wholes: () => number; fetch: typeof fetch } {
  let count = 0;
  const counting: typeof fetch = async (...args) => {
    const response = await fetch(...args);
    const arrayBuffer = response.arrayBuffer.bind(response);
    return Object.defineProperty(response, "arrayBuffer", { value: () => (count++, arrayBuffer()) });
  };
  return { wholes: () => count, fetch: counting };
}

Deno.test("listChanges() takes a page at once behind a short one, and those behind a failure piece by piece", async () => {
  const faults = [
    undefined,
    { kind: "cut off", afterBytes: 3000 },
    { kind: "truncate", afterBytes: 3000 },
    { kind: "stall midway", afterBytes: 3000 },
    { kind: "stall" },
    { kind: "drop" },
    UNAVAILABLE,
  ] as const;
  const listBehind = async (fault: typeof faults[number]) => {
    const { fake, database } = await start();
    await using _ = fake;
    fill(database, 1000);
    if (fault !== undefined) fake.faults.add({ endpoint: "_changes", skip: 3, times: 1, fault });
    const { wholes, fetch } = countingWholes();
    // The time for the first byte is not that for the rest.
    const answerTimeoutMs = fault?.kind === "stall midway" ? 30_000 : 300;
    const client = impatientClient(fake, { fetch, answerTimeoutMs, stallTimeoutMs: 300 });
    const startedMs = performance.now();
    const ids: string[] = [];
    for await (const { rows } of listChanges(client, "db", { since: "0", log: new RecordedLog(), pageRows: 100 })) {
      ids.push(...rows.map(({ id }) => id));
    }
    assertEquals([ids.length, new Set(ids).size], [1000, 1000], fault?.kind);
    assert(performance.now() - startedMs < 20_000, fault?.kind);
    assertEquals(fake.requestsTo("_changes").length, fault === undefined ? 10 : 11, fault?.kind);
    // The first page is no short one yet; the fourth one fails, some of them before there is an answer to be taken.
    const answered = fault !== undefined && ["cut off", "truncate", "stall midway"].includes(fault.kind);
    assertEquals(wholes(), fault === undefined ? 9 : answered ? 3 : 2, fault?.kind);
  };
  for (const fault of faults) await withTurnsForTime(() => listBehind(fault));
});

Deno.test("listChanges() takes no page at once behind a long one, and asks no second time where the login is refused", async () => {
  const { fake, database } = await start();
  await using _ = fake;
  const long = "x".repeat(300);
  edit(database, ...Array.from({ length: 300 }, (_, number) => ({ _id: `${number}${long}` })));
  const list = async (client: CouchClient) => {
    let count = 0;
    const options = { since: "0", log: new RecordedLog(), pageRows: 100 };
    for await (const { rows } of listChanges(client, "db", options)) count += rows.length;
    return count;
  };
  const { wholes, fetch } = countingWholes();
  assertEquals([await list(impatientClient(fake, { fetch })), wholes()], [300, 0]);
  fill(fake.databases.get("db")!, 500);
  const before = fake.requestsTo("_changes").length;
  fake.faults.add({ endpoint: "_changes", skip: 5, times: Infinity, fault: { kind: "answer", status: 401 } });
  await assertRejects(() => list(impatientClient(fake)), CouchError, "401");
  assertEquals(fake.requestsTo("_changes").length, before + 6);
});

Deno.test("listChanges() gives up a page that is taken at once and grows without end, and reads it piece by piece", async () => {
  const row = (number: number) => `{"seq":null,"id":"d${number}","changes":[{"rev":"1-a"}]}`;
  const page = (from: number, pending: number) =>
    `{"results":[${Array.from({ length: 10 }, (_, at) => row(from + at))}],"last_seq":"${
      from + 9
    }","pending":${pending}}`;
  let floods = 0;
  let sentBytes = 0;
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const since = Number(new URL(request.url).searchParams.get("since"));
    const headers = { "content-type": "application/json" };
    if (since === 0 || floods++ > 0) return new Response(page(since + 1, since === 0 ? 10 : 0), { headers });
    const body = new ReadableStream({
      pull(to) {
        // Far more than may be taken, but not without end: a test that fails is to fail soon.
        if (sentBytes > 1 << 30) return to.close();
        to.enqueue(new Uint8Array(1 << 20).fill(0x20));
        sentBytes += 1 << 20;
      },
    });
    return new Response(body, { headers });
  });
  const client = new CouchClient({ url: `http://127.0.0.1:${server.addr.port}`, log: new RecordedLog() });
  const ids: string[] = [];
  for await (const { rows } of listChanges(client, "db", { since: "0", log: new RecordedLog(), pageRows: 10 })) {
    ids.push(...rows.map(({ id }) => id));
  }
  assertEquals(ids.length, 20);
  assert(sentBytes < 1 << 30, `${sentBytes} bytes were taken`);
});
