import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BadAnswer,
  readDatabaseInfo,
  readDatabaseNames,
  readDesignDocuments,
  readIds,
  readMembership,
  readNodeState,
  readNoRows,
  readOk,
  readRevsLimit,
  readRoles,
  readSecurity,
  readWriteRows,
} from "../../src/couchdb/answers.ts";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { CouchError } from "../../src/errors.ts";
import { type FakeCouchDb, type Fault, startFakeCouchDb } from "../fakes/couchdb.ts";
import { ATTEMPTS, createDatabase, impatientClient } from "./impatient_client.ts";

const PAGE = "<html><body>Please log in</body></html>";

Deno.test("answers that lack what was asked for are none", () => {
  const table: [read: (answer: never) => unknown, bad: unknown[]][] = [
    [readDatabaseInfo, [null, [], "x", {}, { update_seq: "1" }, { doc_count: "1", update_seq: "1" }, { doc_count: 1 }]],
    [readDatabaseNames, [null, {}, ["a", 1]]],
    [readRoles, [null, {}, { userCtx: null }, { userCtx: { roles: "x" } }]],
    [readMembership, [null, {}, { cluster_nodes: [] }, { all_nodes: [] }]],
    [readNodeState, [null, {}, { uptime: 1 }, { uptime: -1, internal_replication_jobs: 0 }]],
    [readIds, [null, {}, { rows: [{}] }, { rows: [null] }]],
    [readDesignDocuments, [null, {}, { rows: [{ id: "_design/a" }] }]],
    [readNoRows, [null, [], {}]],
    [readOk, [null, {}, { ok: false }, "ok"]],
    [readWriteRows, [null, {}, [null], [{ error: "x" }]]],
    [readSecurity, ["", PAGE, "[]", '{"admins":{}']],
    [readRevsLimit, ["", PAGE, "0\n", "-1\n", "1.5\n", "{}"]],
  ];
  for (const [read, bad] of table) {
    for (const answer of bad) assertThrows(() => read(answer as never), BadAnswer, "", `${read.name} ${answer}`);
  }
});

Deno.test("readDatabaseInfo() takes what servers before 2.0 tell", () => {
  const { doc_count, doc_del_count, q, n, purge_seq } = readDatabaseInfo({ doc_count: 3, update_seq: 7 });
  assertEquals([doc_count, doc_del_count, q, n, purge_seq], [3, 0, null, null, null]);
});

async function withFault(
  rule: { method?: string; endpoint: string; times?: number; fault: Fault },
  test: (client: CouchClient, fake: FakeCouchDb) => Promise<void>,
): Promise<void> {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "db", ["a"]);
  fake.faults.add({ database: "db", ...rule });
  await test(impatientClient(fake), fake);
}

for (const endpoint of ["_security", "_revs_limit", "database"]) {
  Deno.test(`a client asks again for ${endpoint} where a login page or half of it comes`, async () => {
    const faults: Fault[] = [{ kind: "answer", status: 200, body: PAGE }, { kind: "truncate" }];
    for (const fault of faults) {
      await withFault({ endpoint, fault }, async (client) => {
        assertEquals(await client.security("db"), '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}');
        assertEquals(await client.revsLimit("db"), 1000);
        assertEquals((await client.databaseInfo("db")).doc_count, 1);
      });
    }
  });
}

Deno.test("a client does not take a login page for the answer to a change", async () => {
  const changes: [string, (client: CouchClient) => Promise<unknown>][] = [
    ["_security", (client) => client.setSecurity("db", "{}")],
    ["_revs_limit", (client) => client.setRevsLimit("db", 5)],
  ];
  for (const [endpoint, change] of changes) {
    const fault: Fault = { kind: "answer", status: 200, body: '{"login":"please"}' };
    await withFault({ method: "PUT", endpoint, times: Infinity, fault }, async (client, fake) => {
      const error = await assertRejects(() => change(client), CouchError);
      assertEquals([error.facts.error, error.facts.reason], ["bad_answer", 'it does not say "ok"']);
      assertEquals(fake.requestsTo(endpoint).length, ATTEMPTS);
    });
    await withFault({ method: "PUT", endpoint, fault }, async (client) => void await change(client));
  }
});

Deno.test("CouchClient.revsLimit() takes a number without a line's end when it comes twice", async () => {
  const body = "50";
  await withFault(
    { endpoint: "_revs_limit", times: Infinity, fault: { kind: "answer", status: 200, body } },
    async (client) => {
      assertEquals(await client.revsLimit("db"), 50);
    },
  );
});
