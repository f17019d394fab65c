import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { basicAuthorization, couch, couchOk } from "../couch_request.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, type FaultRule, startFakeCouchDb } from "./couchdb.ts";
import { checkBehaviour } from "./couchdb/behaviour.ts";
import { BEHAVIOURS } from "./couchdb/behaviours.ts";
import { until } from "../until.ts";

for (const version of ["3.5.0", "3.2.3"]) {
  for (const behaviour of BEHAVIOURS) {
    Deno.test(`the double of CouchDB ${version}: ${behaviour.name}`, async () => {
      await using fake = await startFakeCouchDb({ version });
      await checkBehaviour(fake, behaviour);
    });
  }
}

const BULK_GET = { docs: ["a", "b", "c"].map((id) => ({ id })) };

/** Runs a test with a double that has the database `db` with the documents `a`, `b` and `c`. */
function testWithDocuments(
  name: string,
  body: (fake: FakeCouchDb) => Promise<void>,
  options: FakeCouchDbOptions = {},
): void {
  Deno.test(`the double of CouchDB ${name}`, async () => {
    await using fake = await startFakeCouchDb(options);
    await couchOk(fake, "PUT /db");
    const docs = ["a", "b", "c"].map((id) => ({ _id: id, _rev: "1-x", text: "x".repeat(1000) }));
    await couchOk(fake, "POST /db/_bulk_docs", { new_edits: false, docs });
    fake.requests.length = 0;
    await body(fake);
  });
}

/** What `_bulk_get` of all three documents gives when `rule` holds; `error` is the name of what the client throws. */
async function bulkGetWith(
  fake: FakeCouchDb,
  rule: FaultRule,
): Promise<{ status: number; text: string; error?: string }> {
  fake.faults.add(rule);
  try {
    return await couch(fake, "POST /db/_bulk_get", BULK_GET);
  } catch (error) {
    return { status: 0, text: "", error: (error as Error).name };
  }
}

for (const hostname of ["127.0.0.1", "::1"] as const) {
  Deno.test(`startFakeCouchDb() listens on ${hostname}`, async () => {
    await using fake = await startFakeCouchDb({ hostname });
    assertEquals(new URL(fake.url).hostname, hostname === "::1" ? "[::1]" : hostname);
    assertEquals((await couchOk(fake, "GET /")).json.couchdb, "Welcome");
  });
}

Deno.test("startFakeCouchDb() stands under the base path that it is given, and nowhere else", async () => {
  await using fake = await startFakeCouchDb({ basePath: "/couch" });
  assertEquals((await couchOk(fake, "GET /_all_dbs")).json, ["_replicator", "_users"]);
  const outside = { ...fake, login: "admin", password: "secret", url: fake.url.replace("/couch", "") };
  assertEquals((await couch(outside, "GET /_all_dbs")).status, 404);
});

Deno.test("the double of CouchDB locks an account after five wrong passwords from 3.4 on", async () => {
  for (const [version, expected] of [["3.5.0", 403], ["3.4.0", 403], ["3.3.3", 200]] as const) {
    await using fake = await startFakeCouchDb({ version });
    for (let time = 0; time < 5; time++) {
      assertEquals((await couch({ ...auth(fake), password: "wrong" }, "GET /_all_dbs")).status, 401);
    }
    const { status, json } = await couch(fake, "GET /_all_dbs");
    assertEquals(status, expected, version);
    if (status === 403) {
      assertEquals(json.reason, "Account is temporarily locked due to multiple authentication failures");
    }
    assertEquals(fake.failedLogins.get("admin"), 5);
  }
});

Deno.test("the double of CouchDB forbids a database to a user and nothing else", async () => {
  const users = [
    { name: "admin", password: "secret" },
    { name: "bäckup", password: "p:ä", forbidden: ["closed"] },
  ];
  await using fake = await startFakeCouchDb({ users });
  for (const name of ["closed", "open"]) await couchOk(fake, `PUT /${name}`);
  const backup = { url: fake.url, login: "bäckup", password: "p:ä" };
  const { status, json } = await couch(backup, "GET /closed/_all_docs");
  assertEquals([status, json.error], [403, "forbidden"]);
  assertEquals((await couch(backup, "GET /open/_all_docs")).status, 200);
});

testWithDocuments("streams _bulk_get before 3.3, with leaves in the order of their age", async (fake) => {
  await couchOk(fake, "POST /db/_bulk_docs", { new_edits: false, docs: [{ _id: "a", _rev: "2-x" }] });
  const reply = await couch(fake, "POST /db/_bulk_get", BULK_GET);
  assertEquals(reply.headers.get("content-length"), null);
  assertEquals(reply.json.results[0].docs.map(({ ok }: { ok: { _rev: string } }) => ok._rev), ["1-x", "2-x"]);
}, { version: "3.2.3" });

testWithDocuments("compresses answers when told to, for those who accept it", async (fake) => {
  const plain = (await couch(fake, "POST /db/_bulk_get", BULK_GET, { "accept-encoding": "identity" })).text;
  const packed = await couch(fake, "POST /db/_bulk_get", BULK_GET, { "accept-encoding": "gzip" });
  assertEquals(packed.text, plain);
  const [first, second] = fake.requests;
  assertEquals(first!.responseBytes, plain.length);
  assertLess(second!.responseBytes, plain.length);
}, { gzipAnswers: true });

testWithDocuments("keeps a record of each request", async (fake) => {
  await couch(fake, "POST /db/_bulk_get?revs=true", BULK_GET);
  await couch(fake, "GET /db/a%2Fb");
  await couch(fake, "GET /_all_dbs");
  await couch(fake, "POST /db/_bulk_docs", { docs: [{ _id: "n" }, {}] });
  assertEquals(
    fake.requests.map(({ method, endpoint, database, ids, status }) => ({ method, endpoint, database, ids, status })),
    [
      { method: "POST", endpoint: "_bulk_get", database: "db", ids: ["a", "b", "c"], status: 200 },
      { method: "GET", endpoint: "document", database: "db", ids: ["a/b"], status: 404 },
      { method: "GET", endpoint: "_all_dbs", database: undefined, ids: [], status: 200 },
      { method: "POST", endpoint: "_bulk_docs", database: "db", ids: ["n"], status: 201 },
    ],
  );
  const [first] = fake.requestsTo("_bulk_get", "db");
  assertEquals([first!.path, first!.query.get("revs")], ["/db/_bulk_get?revs=true", "true"]);
  assertEquals(first!.requestBytes, JSON.stringify(BULK_GET).length);
  assertEquals(first!.headers.get("authorization"), basicAuthorization("admin", "secret"));
  assertEquals([first!.inFlight, first!.outcome, first!.fault], [1, "answered", undefined]);
});

testWithDocuments("counts the calls of a view", async (fake) => {
  await couchOk(fake, "PUT /db/_design/d", { views: { "v w": { map: "function () {}" } } });
  for (let time = 0; time < 2; time++) await couchOk(fake, "GET /db/_design/d/_view/v%20w?limit=0");
  assertEquals([...fake.viewCalls], [["db/_design/d/_view/v w", 2]]);
});

testWithDocuments("answers a fault instead of working, so often as the rule says", async (fake) => {
  const fault = { kind: "answer", status: 429, headers: { "retry-after": "3" }, body: { error: "slow" } } as const;
  fake.faults.add({ endpoint: "_bulk_get", skip: 1, times: 2, fault });
  const replies = [];
  for (let time = 0; time < 4; time++) replies.push(await couch(fake, "POST /db/_bulk_get", BULK_GET));
  assertEquals(replies.map(({ status }) => status), [200, 429, 429, 200]);
  assertEquals([replies[1]!.headers.get("retry-after"), replies[1]!.json], ["3", { error: "slow" }]);
  assertEquals(fake.requests.map(({ fault }) => fault), [undefined, "answer", "answer", undefined]);
});

testWithDocuments("meets faults only where every field of the rule fits", async (fake) => {
  const fault = { kind: "answer", status: 500 } as const;
  fake.faults.add({ method: "POST", database: "db", endpoint: "_bulk_get", id: "b", times: Infinity, fault });
  const status = async (request: string, body?: unknown) => (await couch(fake, request, body)).status;
  assertEquals(await status("POST /db/_bulk_get", BULK_GET), 500);
  assertEquals(await status("POST /db/_bulk_get", { docs: [{ id: "a" }] }), 200);
  assertEquals(await status("GET /db/b"), 200);
  fake.faults.add({ where: ({ path }) => path.endsWith("/c"), fault });
  assertEquals(await status("GET /db/c"), 500);
  fake.faults.clear();
  assertEquals(await status("POST /db/_bulk_get", BULK_GET), 200);
});

for (const kind of ["drop", "lose answer"] as const) {
  const work = kind === "drop" ? "without the work" : "with the work done";
  testWithDocuments(`closes a connection without an answer, ${work}, where the client notices`, async (fake) => {
    fake.faults.add({ endpoint: "_bulk_docs", times: 2, fault: { kind } });
    for (let time = 0; time < 2; time++) {
      await assertRejects(() => couch(fake, "POST /db/_bulk_docs", { docs: [{ _id: "n" }] }), TypeError);
      const last = fake.requests.at(-1)!;
      assertEquals([last.fault, last.status, last.outcome], [kind, 0, "broken off"]);
      assertEquals((await couch(fake, "GET /db/n")).status, kind === "drop" ? 404 : 200);
    }
    assertEquals(fake.requestsTo("_bulk_docs").length, 2);
    assertEquals((await couch(fake, "POST /db/_bulk_docs", { docs: [] })).status, 201);
  });
}

for (const version of ["3.5.0", "3.1.0"]) {
  testWithDocuments(`cuts an answer off in ${version}, and the client can tell`, async (fake) => {
    for (const afterBytes of [0, 1, 1500]) {
      const endpoint = "_bulk_get";
      const { error } = await bulkGetWith(fake, { endpoint, fault: { kind: "cut off", afterBytes } });
      assertEquals(error, "TypeError");
      assertEquals([fake.requests.at(-1)!.status, fake.requests.at(-1)!.responseBytes], [200, afterBytes]);
      assertEquals(fake.requests.at(-1)!.outcome, "broken off");
    }
    await bulkGetWith(fake, { endpoint: "_bulk_get", fault: { kind: "cut off" } });
    const half = fake.requests.at(-1)!.responseBytes;
    const whole = await couch(fake, "POST /db/_bulk_get", BULK_GET);
    assertEquals(half, Math.floor(whole.text.length / 2));
  }, { version });

  testWithDocuments(`truncates an answer in ${version}, and only its text can tell`, async (fake) => {
    const rule = { endpoint: "_bulk_get", fault: { kind: "truncate", afterBytes: 1500 } } as const;
    const reply = await bulkGetWith(fake, rule);
    assertEquals([reply.status, reply.text.length], [200, 1500]);
    assertEquals(fake.requests.at(-1)!.outcome, "answered");
  }, { version });

  testWithDocuments(`drips an answer in ${version}`, async (fake) => {
    const begun = performance.now();
    const reply = await bulkGetWith(fake, { fault: { kind: "drip", bytes: 1000, everyMs: 20 } });
    assertEquals(JSON.parse(reply.text).results.length, 3);
    assertLess(60, performance.now() - begun);
  }, { version });

  testWithDocuments(`stalls midway in ${version}, for a while or until the client gives up`, async (fake) => {
    const endpoint = "_bulk_get";
    const begun = performance.now();
    const late = await bulkGetWith(fake, { endpoint, fault: { kind: "stall midway", ms: 100 } });
    assertEquals(JSON.parse(late.text).results.length, 3);
    assertLess(95, performance.now() - begun);
    fake.faults.add({ endpoint, fault: { kind: "stall midway", afterBytes: 500 } });
    const leave = new AbortController();
    const response = await fetch(`${fake.url}/db/_bulk_get`, {
      method: "POST",
      headers: { authorization: basicAuthorization("admin", "secret"), "content-type": "application/json" },
      body: JSON.stringify(BULK_GET),
      signal: leave.signal,
    });
    assertEquals(response.status, 200);
    const never = assertRejects(() => response.text(), Error, "it takes too long");
    const stalled = fake.requests.at(-1)!;
    await until(() => stalled.responseBytes === 500, "what comes of the answer");
    leave.abort(new Error("it takes too long"));
    await never;
    await until(() => stalled.outcome !== "under way", "the end of the stalled request");
    assertEquals([stalled.responseBytes, stalled.outcome], [500, "broken off"]);
    await couchOk(fake, "GET /");
    assertEquals(fake.requests.at(-1)!.inFlight, 1, "nobody waits for the one that has left");
  }, { version });
}

testWithDocuments("stalls before it works, and lets itself be stopped meanwhile", async (fake) => {
  const begun = performance.now();
  const late = await bulkGetWith(fake, { endpoint: "_bulk_get", fault: { kind: "stall", ms: 100 } });
  assertEquals(late.status, 200);
  assertLess(95, performance.now() - begun);
  fake.faults.add({ endpoint: "_all_docs", fault: { kind: "stall" } });
  const never = assertRejects(() => couch(fake, "GET /db/_all_docs"), TypeError);
  await until(() => fake.requestsTo("_all_docs").length > 0, "a request");
  await fake.stop();
  await never;
});

testWithDocuments("counts the requests that it is busy with", async (fake) => {
  const run = () => until(() => fake.requestsTo("_bulk_get").length === 3, "all three");
  fake.faults.add({ endpoint: "_bulk_get", times: 3, fault: { kind: "run", run } });
  await Promise.all([1, 2, 3].map(() => couch(fake, "POST /db/_bulk_get", BULK_GET)));
  assertEquals(fake.requests.map(({ inFlight }) => inFlight), [1, 2, 3]);
});

testWithDocuments("answers another status for work that is done", async (fake) => {
  fake.faults.add({ endpoint: "_bulk_docs", fault: { kind: "status", status: 202 } });
  assertEquals((await couch(fake, "POST /db/_bulk_docs", { docs: [{ _id: "n" }] })).status, 202);
  assertEquals((await couch(fake, "GET /db/n")).status, 200);
});

testWithDocuments("answers error rows of _bulk_get for some ids, or for all", async (fake) => {
  const error = { error: "not_found", reason: "missing" };
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows", ids: ["b"], ...error } });
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows" } });
  const rows = async () => {
    const { json, status } = await couch(fake, "POST /db/_bulk_get", BULK_GET);
    assertEquals(status, 200);
    return json.results.map(({ docs }: { docs: { error?: unknown }[] }) => docs[0]!.error);
  };
  assertEquals(await rows(), [undefined, { id: "b", rev: "undefined", ...error }, undefined]);
  const internal = (id: string) => ({ id, rev: "undefined", error: "internal_fabric_error", reason: "timeout" });
  assertEquals(await rows(), [internal("a"), internal("b"), internal("c")]);
  assertEquals(await rows(), [undefined, undefined, undefined]);
});

testWithDocuments("answers error rows of _bulk_docs and does not write those documents", async (fake) => {
  const fault = { kind: "error rows", ids: ["n"], error: "forbidden", reason: "no" } as const;
  fake.faults.add({ endpoint: "_bulk_docs", fault });
  const docs = [{ _id: "n", _rev: "1-n" }, { _id: "m", _rev: "1-m" }];
  const { json } = await couch(fake, "POST /db/_bulk_docs", { new_edits: false, docs });
  assertEquals(json, [{ id: "n", rev: "1-n", error: "forbidden", reason: "no" }]);
  assertEquals([(await couch(fake, "GET /db/n")).status, (await couch(fake, "GET /db/m")).status], [404, 200]);
});

testWithDocuments("does something first when a rule says so", async (fake) => {
  const purge = async () => void await couchOk(fake, "POST /db/_purge", { b: ["1-x"] });
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "run", run: purge } });
  const { json } = await couch(fake, "POST /db/_bulk_get", BULK_GET);
  assertEquals(json.results[1].docs[0].error.error, "not_found");
});

testWithDocuments("refuses where CouchDB would answer multipart", async (fake) => {
  const { status } = await couch(fake, "GET /db/a?open_revs=all", undefined, { accept: "*/*" });
  assertEquals(status, 406);
});

Deno.test("FakeCouchDb.stop() fails when the double itself has failed", async () => {
  const fake = await startFakeCouchDb();
  const run = () => Promise.reject(new Error("a mistake in a test"));
  fake.faults.add({ fault: { kind: "run", run } });
  await assertRejects(() => couch(fake, "GET /"), TypeError);
  await assertRejects(() => fake.stop(), Error, "failed to answer");
});

function auth({ url, login, password }: FakeCouchDb): { url: string; login: string; password: string } {
  return { url, login, password };
}
