import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { listChanges } from "../../src/couchdb/changes.ts";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { CouchError, EXIT } from "../../src/errors.ts";
import { SILENT_LOG } from "../../src/observe.ts";
import { startHostileServer } from "../hostile/server.ts";
import { impatientClient } from "./impatient_client.ts";

async function listAll(client: CouchClient): Promise<void> {
  for await (const _page of listChanges(client, "db", { since: "0", log: SILENT_LOG }));
}

const EMPTY = new TextEncoder().encode('{"docs":[]}');

Deno.test("CouchClient says of whole JSON that is not CouchDB's what is wrong with it, and does not ask again", async () => {
  const cases: [answer: unknown, call: (client: CouchClient) => Promise<unknown>, must: string][] = [
    [{ error: "no" }, (client) => client.listDatabases(), "is not a list of names"],
    [["a", 1], (client) => client.listDatabases(), "is not a list of names"],
    [null, (client) => client.databaseInfo("db"), "is not a JSON object"],
    [{ db_name: "db" }, (client) => client.databaseInfo("db"), 'has no "doc_count"'],
    [{ db_name: "a", doc_count: 1 }, (client) => client.databaseInfo("db"), "the answer is not from this database"],
    [
      { db_name: "db", doc_count: -1 },
      (client) => client.databaseInfo("db"),
      'has no whole number of at least 0 in "doc_count"',
    ],
    [
      { db_name: "db", doc_count: "x" },
      (client) => client.databaseInfo("db"),
      'has no whole number of at least 0 in "doc_count"',
    ],
    [{ userCtx: { roles: "_admin" } }, (client) => client.sessionRoles(), 'has no list of names in "roles"'],
    [{ cluster_nodes: "a" }, (client) => client.membership(), 'has no list of names in "cluster_nodes"'],
    [[], (client) => client.nodeState("a"), "is not a JSON object"],
    ["x", (client) => client.security("db"), "is not a JSON object"],
    ["1000", (client) => client.revsLimit("db"), "is no whole number of at least 1"],
    [{ ok: true }, (client) => client.listIds("db", { limit: 1 }), 'has no list of rows in "rows"'],
    [{ ok: true }, (client) => client.designDocuments("db"), 'has no list of rows in "rows"'],
    [{ ok: true }, (client) => client.bulkDocs("db", EMPTY), 'has no list of rows in "rows"'],
    [{ results: [], last_seq: "1", pending: -1 }, listAll, 'has no whole number of at least 0 in "pending"'],
    [{ results: [{ id: "a", changes: [null] }], last_seq: "1" }, listAll, "has no id or no revisions"],
  ];
  await using server = startHostileServer();
  const client = impatientClient({ url: server.url, login: "admin", password: "secret" });
  for (const [answer, call, must] of cases) {
    server.answer = () => ({ body: JSON.stringify(answer) });
    const error = await assertRejects(() => call(client), CouchError);
    assertStringIncludes(error.message, must);
    assertEquals(error.exitCode, EXIT.couchdb);
  }
});

Deno.test("CouchClient takes what older servers leave out, and views that are none", async () => {
  await using server = startHostileServer();
  const client = impatientClient({ url: server.url, login: "admin", password: "secret" });
  server.answer = () => ({ body: '{"db_name":"db","doc_count":3,"update_seq":7}' });
  const { doc_del_count, update_seq, q, n, purge_seq, external_bytes } = await client.databaseInfo("db");
  assertEquals([doc_del_count, update_seq, q, n, purge_seq, external_bytes], [0, "7", null, null, null, 0]);
  const doc = { _id: "_design/a", views: { x: { map: "f" }, y: 1 }, language: 7, options: [] };
  server.answer = () => ({ body: JSON.stringify({ rows: [{ doc }, { doc: null }, { doc: { views: 1 } }] }) });
  assertEquals(await client.designDocuments("db"), [
    { _id: "_design/a", language: undefined, options: undefined, views: { x: { map: "f" }, y: null } },
  ]);
});

Deno.test("listChanges() ends where pages bring nothing and announce more, and where the position does not move", async () => {
  await using server = startHostileServer();
  const client = impatientClient({ url: server.url, login: "admin", password: "secret" });
  let requests = 0;
  server.answer = () => {
    requests++;
    return { body: '{"results":[],"last_seq":"1-x","pending":5}' };
  };
  await listAll(client);
  assertEquals(requests < 20, true, `${requests} requests`);
  server.answer = () => ({ body: '{"results":[{"id":"a","changes":[{"rev":"1-0"}]}],"last_seq":"1-x"}' });
  await assertRejects(() => listAll(client), CouchError, 'from position "1-x" to the same position');
});
