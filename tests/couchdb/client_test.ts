import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { ClientOptions } from "../../src/couchdb/client.ts";
import { CouchError, describeError } from "../../src/errors.ts";
import { wait } from "../../src/abort.ts";
import { Secret } from "../../src/secret.ts";
import { basicAuthorization, couchOk } from "../couch_request.ts";
import { type Fault, startFakeCouchDb } from "../fakes/couchdb.ts";
import { STRANGE_IDS } from "../hard_database.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { RecordedLog } from "../fakes/log.ts";
import { ATTEMPTS, createDatabase, idsOf, impatientClient } from "./impatient_client.ts";
import { until } from "../until.ts";

async function couchError(call: () => Promise<unknown>): Promise<CouchError> {
  return await assertRejects(call, CouchError);
}

Deno.test("CouchClient speaks to an IPv6 address and below a proxy's path, with the login in a header", async () => {
  const users = [{ name: "bäckup", password: 'p:ä "😀' }];
  await using fake = await startFakeCouchDb({ hostname: "::1", basePath: "/couch", users });
  const client = impatientClient({ url: `${fake.url}/`, login: fake.login, password: fake.password });
  assertEquals(await client.serverVersion(), "3.5.0");
  const [request] = fake.requests;
  assertEquals(request?.path, "/couch/");
  assertEquals(request?.headers.get("authorization"), basicAuthorization(users[0]!.name, users[0]!.password));
  assertEquals(client.url, fake.url);
});

Deno.test("CouchClient lists databases by their decoded names and reads what one is, its security object as text", async () => {
  await using fake = await startFakeCouchDb();
  const client = impatientClient(fake);
  for (const name of ["a", "a/b", "a+b"]) {
    await createDatabase(fake, name, idsOf(3));
    await couchOk(fake, `PUT /${encodeURIComponent(name)}/_security`, '{ "10":1.0, "2":9007199254740993 }');
    await couchOk(fake, `PUT /${encodeURIComponent(name)}/_revs_limit`, "77");
    const { doc_count, q, n, partitioned, update_seq } = await client.databaseInfo(name);
    assertEquals({ doc_count, q, n, partitioned }, { doc_count: 3, q: 2, n: 1, partitioned: false });
    // Three documents, and each of two settings in each of two ranges.
    assert(update_seq.startsWith("7-"), update_seq);
    assertEquals(await client.security(name), '{ "10":1.0, "2":9007199254740993 }');
    assertEquals(await client.revsLimit(name), 77);
  }
  assertEquals((await client.listDatabases()).filter((name) => !name.startsWith("_")), ["a", "a+b", "a/b"]);
});

Deno.test("listIds() lists the first ids, however strange they are", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", STRANGE_IDS);
  const client = impatientClient(fake);
  const all = await client.listIds("a", { limit: 1000 });
  assertEquals([...all].sort(), [...STRANGE_IDS].sort());
  for (const limit of all.keys()) assertEquals(await client.listIds("a", { limit }), all.slice(0, limit));
});

/** Only what does not answer is given up soon: on a busy machine an answer may take its time. */
function patienceFor({ kind }: Fault, ms: number): Partial<ClientOptions> {
  if (kind === "stall") return { answerTimeoutMs: ms };
  return kind === "stall midway" ? { stallTimeoutMs: ms } : {};
}

Deno.test("CouchClient makes a request again after what passes, and counts it", async () => {
  const passing: Fault[] = [
    { kind: "answer", status: 500 },
    { kind: "answer", status: 503, body: "<html>proxy</html>" },
    { kind: "answer", status: 429, headers: { "retry-after": "0" } },
    { kind: "drop" },
    { kind: "cut off" },
    { kind: "truncate" },
    { kind: "stall" },
    { kind: "stall midway" },
  ];
  const meet = async (fault: Fault) => {
    await using fake = await startFakeCouchDb();
    fake.faults.add({ endpoint: "_all_dbs", times: ATTEMPTS - 1, fault });
    const client = impatientClient(fake, patienceFor(fault, 400));
    assertEquals(await client.listDatabases(), ["_replicator", "_users"], JSON.stringify(fault));
    assertEquals([fake.requests.length, client.retries], [ATTEMPTS, ATTEMPTS - 1], JSON.stringify(fault));
  };
  for (const fault of passing) await withTurnsForTime(() => meet(fault));
});

Deno.test("CouchClient gives up after its attempts, and says what CouchDB did", async () => {
  const cases: [fault: Fault, error: string, message: string | RegExp][] = [
    [
      { kind: "answer", status: 500, body: { error: "unknown_error", reason: "undefined" } },
      "unknown_error",
      'Cannot list the databases: CouchDB answered 500 unknown_error, "undefined"',
    ],
    [
      // What _bulk_docs answers on a full disk: a row for each document.
      { kind: "answer", status: 500, body: [{ error: "error", reason: "internal_server_error" }, { error: "error" }] },
      "error",
      'Cannot list the databases: CouchDB answered 500 error, "internal_server_error"',
    ],
    [{ kind: "answer", status: 500, body: [] }, "http_error", 'something that is not CouchDB answered 500, "[]"'],
    [
      { kind: "answer", status: 502, body: "<html><title>502 Bad\nGateway</title>" },
      "http_error",
      'something that is not CouchDB answered 502, "502 Bad Gateway"',
    ],
    [{ kind: "drop" }, "cut_off", /^Cannot list the databases: the connection broke \(.+\)$/],
    [{ kind: "cut off" }, "cut_off", /^Cannot list the databases: the connection broke \(.+\)$/],
    [{ kind: "truncate" }, "cut_off", "the connection broke (the answer is not whole JSON)"],
    [{ kind: "stall" }, "timeout", "CouchDB took too long (no answer within "],
    [
      { kind: "stall midway" },
      "timeout",
      /^Cannot list the databases: CouchDB took too long \(no byte for .* in the middle of the answer\)$/,
    ],
  ];
  for (const [fault, expected, message] of cases) {
    await using fake = await startFakeCouchDb();
    fake.faults.add({ times: Infinity, fault });
    const client = impatientClient(fake, patienceFor(fault, 50));
    const error = await couchError(() => client.listDatabases());
    assertEquals(error.facts.error, expected, JSON.stringify(fault));
    if (typeof message === "string") assertStringIncludes(error.message, message);
    else assert(message.test(error.message), error.message);
    assertEquals(fake.requests.length, ATTEMPTS);
  }
});

Deno.test("CouchClient asks once where asking again cannot help, and says what the operator can do", async () => {
  const cases: [fault: Fault, message: string, hint: string][] = [
    [
      { kind: "answer", status: 401, body: { error: "unauthorized", reason: "Name or password is incorrect." } },
      'Cannot list the documents of database "a/b": CouchDB answered 401 unauthorized, "Name or password is incorrect."',
      "Check database.login and database.password",
    ],
    [
      { kind: "answer", status: 403, body: { error: "forbidden", reason: "You are not allowed" } },
      'CouchDB answered 403 forbidden, "You are not allowed"',
      'an admin or member of database "a/b"',
    ],
    [
      {
        kind: "answer",
        status: 403,
        body: {
          error: "forbidden",
          reason: "Account is temporarily locked due to multiple authentication failures",
        },
      },
      "CouchDB answered 403 forbidden",
      "CouchDB has locked this login out at this machine's address for five minutes, as it failed five times",
    ],
    [
      { kind: "answer", status: 404, body: { error: "not_found", reason: "Database does not exist." } },
      "CouchDB answered 404 not_found",
      "does not exist, or was deleted meanwhile",
    ],
  ];
  for (const [fault, message, hint] of cases) {
    await using fake = await startFakeCouchDb();
    fake.faults.add({ times: Infinity, fault });
    const error = await couchError(() => impatientClient(fake).listIds("a/b", { limit: 1 }));
    assertStringIncludes(error.message, message);
    assertStringIncludes(error.hint ?? "", hint);
    assertEquals(error.facts.database, "a/b");
    assertEquals(fake.requests.length, 1);
  }
});

Deno.test("CouchClient points to CouchDB's own log where CouchDB itself has failed", async () => {
  await using fake = await startFakeCouchDb();
  const body = { error: "internal_error", reason: "no_such_file" };
  fake.faults.add({ times: Infinity, fault: { kind: "answer", status: 500, body } });
  const error = await couchError(() => impatientClient(fake).databaseInfo("a/b"));
  assertEquals(
    error.hint,
    "CouchDB itself failed, and its log says why: a damaged or missing data file, a full disk, too little memory, a node of its cluster that is away",
  );
});

// Seen on 3.5.0: the first of a node that is switched off, the second of one in maintenance mode.
for (const [status, reason] of [[500, "progress not possible"], [412, "node2@127.0.0.1"]] as const) {
  Deno.test(`CouchClient says that a node of the cluster is missing where CouchDB answers ${status} nodedown`, async () => {
    await using fake = await startFakeCouchDb();
    const body = { error: "nodedown", reason };
    fake.faults.add({ times: Infinity, fault: { kind: "answer", status, body } });
    const error = await couchError(() => impatientClient(fake).databaseInfo("a"));
    assertStringIncludes(error.hint ?? "", "A node of the cluster is away or in maintenance mode");
  });
}

Deno.test("CouchClient says that the URL ends with a database's name where CouchDB takes it for one", async () => {
  await using fake = await startFakeCouchDb();
  const answer: Fault = {
    kind: "answer",
    status: 404,
    body: { error: "not_found", reason: "Database does not exist." },
  };
  fake.faults.add({ times: Infinity, fault: answer });
  const client = impatientClient({ ...fake, url: `${fake.url}/orders`, login: fake.login, password: fake.password });
  for (const ask of [() => client.listDatabases(), () => client.greet()]) {
    const error = await couchError(ask);
    assertEquals(
      error.hint,
      `Check database.url: "${fake.url}/orders" must be CouchDB's own address, and not end with a database's name`,
    );
  }
});

Deno.test("CouchClient asks once where a redirect or a page for people answers, and says so", async () => {
  const page = "<!doctype html><html><head><title>Sign in - Example</title></head><body>…</body></html>";
  const html = { "content-type": "text/html; charset=utf-8" };
  const redirect = (location: string): Fault => ({ kind: "answer", status: 301, headers: { location }, body: page });
  const cases: [fault: Fault, error: string, message: string, hint: string][] = [
    [
      redirect("https://couch.example/_all_dbs"),
      "redirect",
      '" redirects to "https://couch.example/_all_dbs"',
      'Set database.url to "https://couch.example"',
    ],
    [
      redirect("https://u:p@sso.example/login?ticket=x"),
      "redirect",
      'redirects to "https://sso.example/login"',
      "without a login page in front of it",
    ],
    [redirect("/couch/_all_dbs"), "redirect", "redirects to ", '/couch", if that is CouchDB'],
    [
      { kind: "answer", status: 200, headers: html, body: page },
      "not_couchdb",
      "what answers is not CouchDB (Sign in - Example)",
      "Check database.url",
    ],
    [
      { kind: "answer", status: 200, headers: html, body: "[]" },
      "not_couchdb",
      "what answers is not CouchDB",
      "Check database.url",
    ],
    [
      { kind: "answer", status: 200, headers: { "content-type": "text/plain" }, body: "It works!" },
      "not_couchdb",
      "(It works!)",
      "Check database.url",
    ],
    [
      { kind: "answer", status: 403, headers: html, body: page },
      "http_error",
      'something that is not CouchDB answered 403, "Sign in - Example"',
      "of a proxy in front of CouchDB",
    ],
    [
      { kind: "answer", status: 413, headers: html, body: "<center><h1>413 Request Entity Too Large</h1></center>" },
      "http_error",
      '"413 Request Entity Too Large"',
      "client_max_body_size",
    ],
  ];
  for (const [fault, expected, message, hint] of cases) {
    const isHtml = fault.kind === "answer" && fault.headers?.["content-type"] !== "text/plain";
    // What else streams is judged by who reads it.
    for (const stream of isHtml ? [false, true] : [false]) {
      await using fake = await startFakeCouchDb();
      fake.faults.add({ times: Infinity, fault });
      const client = impatientClient(fake);
      const error = await couchError(() =>
        stream
          ? client.bulkGet("db", new TextEncoder().encode('{"docs":[]}'), { revisions: true, attachments: true })
          : client.listDatabases()
      );
      assertEquals([error.facts.error, fake.requests.length], [expected, 1], message);
      if (stream) continue;
      assertStringIncludes(error.message, message);
      assertStringIncludes(error.hint ?? "", hint);
    }
  }
});

Deno.test("CouchClient says at the first repetition that it asks again, and not at each one", async () => {
  await using fake = await startFakeCouchDb();
  fake.faults.add({ times: ATTEMPTS - 1, fault: { kind: "answer", status: 503 } });
  const log = new RecordedLog();
  const client = impatientClient(fake, { log });
  await client.listDatabases();
  fake.faults.add({ times: 1, fault: { kind: "answer", status: 503 } });
  await client.listDatabases();
  assertEquals(log.events("warn"), ["couchdb does not answer as it should: retrying"]);
  assertStringIncludes(String(log.lines.find(({ level }) => level === "warn")?.fields.error), "503");
});

Deno.test("CouchClient sends a wrong password once", async () => {
  await using fake = await startFakeCouchDb();
  const client = impatientClient({ ...serverOf(fake), password: "wrong" });
  assertEquals((await couchError(() => client.serverVersion())).facts.status, 401);
  assertEquals([...fake.failedLogins], [["admin", 1]]);
});

Deno.test("CouchClient leaves a server alone for as long as its 429 asks", async () => {
  await using fake = await startFakeCouchDb();
  fake.faults.add({ fault: { kind: "answer", status: 429, headers: { "retry-after": "0.3" } } });
  const started = performance.now();
  await impatientClient(fake).serverVersion();
  const tookMs = performance.now() - started;
  assert(tookMs >= 300, `${tookMs} ms`);
});

Deno.test("CouchClient says of a server that is not there that it cannot be reached", async () => {
  const fake = await startFakeCouchDb();
  const server = serverOf(fake);
  await fake.stop();
  const log = impatientClient(server);
  const error = await couchError(() => log.serverVersion());
  assertEquals([error.facts.error, log.retries], ["unreachable", ATTEMPTS - 1]);
  assertEquals(error.hint, `Check that CouchDB runs and that "${server.url}" is reachable from this machine`);
  const noHost = impatientClient({ ...server, url: "http://no-such-host.invalid:5984" });
  assertEquals((await couchError(() => noHost.serverVersion())).facts.error, "unreachable");
});

Deno.test("CouchClient refuses a server that answers without a version", async () => {
  await using fake = await startFakeCouchDb();
  fake.faults.add({ fault: { kind: "answer", status: 200, body: { message: "hello" } } });
  const error = await couchError(() => impatientClient(fake).serverVersion());
  assertEquals(error.message, `Cannot use "${fake.url}": it does not answer like a CouchDB`);
});

Deno.test("CouchClient does not quote ids in the error of a broken connection", async () => {
  await using fake = await startFakeCouchDb();
  fake.faults.add({ times: Infinity, fault: { kind: "drop" } });
  const error = await couchError(() => impatientClient(fake).changes("a", { since: "private".repeat(500), limit: 1 }));
  const told = describeError(error);
  assert(!told.includes("private"), told.slice(0, 500));
  assert(told.length < 300, `${told.length} characters`);
});

Deno.test("CouchClient understands a proxy that compresses answers", async () => {
  await using fake = await startFakeCouchDb({ gzipAnswers: true });
  await createDatabase(fake, "a", idsOf(50));
  assertEquals(await impatientClient(fake).listIds("a", { limit: 100 }), idsOf(50));
});

Deno.test("CouchClient ends with the caller's reason at once: before an answer, amid it, and between attempts", async () => {
  const cases: [fault: Fault, firstWaitMs: number][] = [
    [{ kind: "stall" }, 1],
    [{ kind: "stall midway" }, 1],
    [{ kind: "answer", status: 500 }, 60_000],
  ];
  for (const [fault, firstWaitMs] of cases) {
    await using fake = await startFakeCouchDb();
    fake.faults.add({ fault });
    const client = impatientClient(fake, { retry: { attempts: 3, firstWaitMs, longestWaitMs: 60_000 } });
    const reason = new Error("not any more");
    const controller = new AbortController();
    const isMet = () => {
      const [request] = fake.requests;
      if (request === undefined || fault.kind === "stall") return request !== undefined;
      return fault.kind === "answer" ? request.outcome === "answered" : request.responseBytes > 0;
    };
    const ended = assertRejects(() => client.listDatabases({ signal: controller.signal }));
    await until(isMet, "the fault");
    const started = performance.now();
    controller.abort(reason);
    assertEquals(await ended, reason);
    assert(performance.now() - started < 5000);
    assertEquals(fake.requests.length, 1);
  }
});

Deno.test("CouchClient asks for nothing again once it is to stop, but for what cleans up", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "db", idsOf(1));
  const reason = new Error("enough");
  const stop = new AbortController();
  const retry = { attempts: ATTEMPTS, firstWaitMs: 20_000, longestWaitMs: 20_000 };
  const client = impatientClient(fake, { retry, stop: stop.signal });
  // Amid the wait, and before it.
  for (const isBefore of [false, true]) {
    fake.faults.add({ endpoint: "_changes", times: 9, fault: { kind: "answer", status: 502, body: "x" } });
    const asked = fake.requestsTo("_changes").length;
    const call = client.changes("db", { since: "0", limit: 9 }, {});
    if (!isBefore) until(() => client.retries > 0, "it waits").then(() => stop.abort(reason));
    assertEquals(await assertRejects(() => call), reason);
    assertEquals(fake.requestsTo("_changes").length, asked + 1);
    fake.faults.clear();
  }
  // What goes well at once goes on: chunks in flight are finished.
  assertEquals((await client.changes("db", { since: "0", limit: 9 }, {})).rows.length, 1);
  const patient = impatientClient(fake, { stop: stop.signal });
  fake.faults.add({ fault: { kind: "answer", status: 502, body: "x" } });
  const failure = new CouchError("It failed", { error: "timeout" });
  assertEquals(await assertRejects(() => patient.waitAfterFailure(failure, 2)), reason);
  await patient.waitAfterFailure(failure, 2, { outlivesStop: true });
  await patient.dropDatabase("db", () => true, { outlivesStop: true });
  assertEquals(fake.databases.has("db"), false);
});

Deno.test("bulkGet() is not made again, and ends its request when the reader leaves early", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", idsOf(10));
  const client = impatientClient(fake);
  const body = new TextEncoder().encode(JSON.stringify({ docs: idsOf(10).map((id) => ({ id })) }));
  const read = () => client.bulkGet("a", body, { revisions: true, attachments: false });
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "answer", status: 500 } });
  await couchError(read);
  assertEquals(fake.requestsTo("_bulk_get").length, 1);

  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "drip", bytes: 1, everyMs: 5 } });
  for await (const bytes of await read()) if (bytes.length > 0) break;
  const [, left] = fake.requestsTo("_bulk_get");
  assertEquals([left?.query.get("revs"), left?.query.get("attachments")], ["true", "false"]);
  await until(() => left?.outcome !== "under way", "the end of the request");
  assertEquals(left?.outcome, "broken off");
});

Deno.test("CouchClient logs every request with debug, and never the login or the password", async () => {
  await using fake = await startFakeCouchDb({ users: [{ name: "admin", password: "hunter2/ä" }] });
  const log = new RecordedLog();
  const client = impatientClient(fake, { log, password: new Secret("hunter2/ä") });
  await client.serverVersion();
  fake.faults.add({ fault: { kind: "answer", status: 500 } });
  await client.listDatabases();
  assertEquals(log.events("debug"), [
    "couchdb request",
    "couchdb request",
    "couchdb request is repeated",
    "couchdb request",
  ]);
  const text = JSON.stringify(log.lines);
  for (const secret of ["hunter2", btoa("admin:hunter2").slice(0, 12)]) assert(!text.includes(secret), text);
});

function serverOf({ url, login, password }: { url: string; login: string; password: string }) {
  return { url, login, password };
}

Deno.test("createDatabase() makes a database as it was, and says when there is one", async () => {
  await using fake = await startFakeCouchDb();
  const client = impatientClient(fake);
  assertEquals(await client.createDatabase("a/b", { q: 3, n: 1, partitioned: true }), true);
  assertEquals(await client.createDatabase("a/b", { q: 5, n: 1, partitioned: false }), false);
  const { q, partitioned } = await client.databaseInfo("a/b");
  assertEquals([q, partitioned], [3, true]);
  assertEquals(await client.createDatabase("plain", { q: null, n: null, partitioned: false }), true);
  const error = await couchError(() => client.createDatabase("Bad", { q: null, n: null, partitioned: false }));
  assertStringIncludes(error.message, 'Cannot create database "Bad": CouchDB answered 400 illegal_database_name');
});

Deno.test("bulkDocs() gives the rows CouchDB answers, asks once, and tells when copies are missing", async () => {
  await using fake = await startFakeCouchDb();
  const client = impatientClient(fake);
  await createDatabase(fake, "a", []);
  const body = new TextEncoder().encode('{"new_edits":false,"docs":[{"_id":"a","_rev":"1-a"}]}');
  assertEquals(await client.bulkDocs("a", body), { rows: [], copies: "all" });
  fake.faults.add({ endpoint: "_bulk_docs", fault: { kind: "error rows", error: "forbidden", reason: "no" } });
  fake.faults.add({ endpoint: "_bulk_docs", fault: { kind: "status", status: 202 } });
  fake.faults.add({ endpoint: "_bulk_docs", times: 9, fault: { kind: "answer", status: 503 } });
  const { rows: [row] } = await client.bulkDocs("a", body);
  assertEquals([row?.id, row?.rev, row?.error, row?.reason], ["a", "1-a", "forbidden", "no"]);
  assertEquals((await client.bulkDocs("a", body)).copies, "fewer");
  const before = fake.requests.length;
  assertEquals((await couchError(() => client.bulkDocs("a", body))).facts.status, 503);
  assertEquals(fake.requests.length, before + 1);
});

Deno.test("bulkDocs() lets a large body take its time as long as it moves, and no longer", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", []);
  const slowly = (waits: number[]) =>
    ReadableStream.from((async function* () {
      const encoder = new TextEncoder();
      yield encoder.encode('{"docs":[');
      for (const [index, ms] of waits.entries()) {
        await wait(ms); // In real time: how long a body may pause is the point.
        yield encoder.encode(`${index === 0 ? "" : ","}{"_id":"d${index}"}`);
      }
      yield encoder.encode("]}");
    })());
  const patient = impatientClient(fake, { bulkTimeoutMs: 1000 });
  assertEquals((await patient.bulkDocs("a", slowly([250, 250, 250, 250, 250]))).rows.length, 5);
  const impatient = impatientClient(fake, { bulkTimeoutMs: 150 });
  assertEquals((await couchError(() => impatient.bulkDocs("a", slowly([5, 400])))).facts.error, "timeout");
});

Deno.test("designDocuments() and buildView() find the views and have them built, whatever their names", async () => {
  await using fake = await startFakeCouchDb();
  const client = impatientClient(fake);
  await createDatabase(fake, "a/b", ["design", "z"]);
  await couchOk(fake, "PUT /a%2Fb/_design/x%2Fy", { views: { "v/w": { map: "function (doc) {}" } } });
  const [design] = await client.designDocuments("a/b");
  assertEquals([design?._id, Object.keys(design?.views ?? {})], ["_design/x/y", ["v/w"]]);
  await client.buildView("a/b", { design: "_design/x/y", name: "v/w" }, { timeoutMs: 1000 });
  assertEquals([...fake.viewCalls.values()], [1]);
  const missing = { design: "_design/x/y", name: "none" };
  assertEquals((await couchError(() => client.buildView("a/b", missing, { timeoutMs: 1000 }))).facts.status, 404);
  fake.faults.add({ fault: { kind: "stall" } });
  const stalled = () => client.buildView("a/b", { design: "_design/x/y", name: "v/w" }, { timeoutMs: 20 });
  assertEquals((await couchError(stalled)).facts.error, "timeout");
});

Deno.test("greet() tells CouchDB's version and clock, sessionRoles() what the login may", async () => {
  await using fake = await startFakeCouchDb({ version: "3.3.3" });
  const client = impatientClient(fake);
  const { version, date } = await client.greet();
  assertEquals(version, "3.3.3");
  assert(Math.abs(date!.getTime() - Date.now()) < 5000, String(date));
  assertEquals(await client.sessionRoles(), ["_admin"]);
});

Deno.test("greet() and serverVersion() refuse a server that does not call itself CouchDB, though it has a version", async () => {
  await using fake = await startFakeCouchDb();
  const body = {
    "express-pouchdb": "Welcome!",
    version: "4.2.0",
    vendor: { name: "PouchDB authors", version: "4.2.0" },
  };
  fake.faults.add({ endpoint: "/", times: 2, fault: { kind: "answer", status: 200, body } });
  const client = impatientClient(fake);
  for (const call of [() => client.greet(), () => client.serverVersion()]) {
    const error = await couchError(call);
    assertEquals(error.message, `Cannot use "${fake.url}": it does not call itself CouchDB`);
    assertEquals(error.facts.error, "not_couchdb");
  }
});

Deno.test("CouchClient says of a 401 whether the login is wrong, or right and no server admin", async () => {
  await using fake = await startFakeCouchDb();
  const cases: [reason: string, hint: string][] = [
    ["You are not a server admin.", "Set database.login to a server admin"],
    ["Name or password is incorrect.", "Check database.login and database.password"],
  ];
  for (const [reason, hint] of cases) {
    const body = { error: "unauthorized", reason };
    fake.faults.add({ endpoint: "_all_dbs", times: 1, fault: { kind: "answer", status: 401, body } });
    const error = await couchError(() => impatientClient(fake).listDatabases());
    assertStringIncludes(error.hint ?? "", hint);
  }
});
