import { assertEquals, assertRejects } from "@std/assert";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { CouchError } from "../../src/errors.ts";
import { type FakeCouchDb, type Fault, startFakeCouchDb } from "../fakes/couchdb.ts";
import { createDatabase, impatientClient } from "./impatient_client.ts";

async function withFault(
  rule: { method?: string; endpoint: string; times?: number; fault: Fault },
  test: (client: CouchClient, fake: FakeCouchDb) => Promise<void>,
): Promise<void> {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "db", ["a"]);
  fake.faults.add({ database: "db", ...rule });
  await test(impatientClient(fake), fake);
}

Deno.test("a client does not take a login page, or an answer without ok, for the success of a change", async () => {
  const changes: [string, (client: CouchClient) => Promise<unknown>][] = [
    ["_security", (client) => client.setSecurity("db", "{}")],
    ["_revs_limit", (client) => client.setRevsLimit("db", 5)],
  ];
  for (const [endpoint, change] of changes) {
    for (const [body, error] of [['{"login":"please"}', "strange_answer"], ["<html></html>", "not_couchdb"]] as const) {
      const fault: Fault = { kind: "answer", status: 200, body };
      await withFault({ method: "PUT", endpoint, times: Infinity, fault }, async (client) => {
        assertEquals((await assertRejects(() => change(client), CouchError)).facts.error, error);
      });
    }
  }
});

Deno.test("CouchClient.revsLimit() does not take the beginning of a number for all of it", async () => {
  await withFault({ endpoint: "_revs_limit", fault: { kind: "truncate" } }, async (client) => {
    assertEquals(await client.revsLimit("db"), 1000);
  });
  // A server that never ends the line means what it says twice.
  const fault: Fault = { kind: "answer", status: 200, body: "50" };
  await withFault({ endpoint: "_revs_limit", times: Infinity, fault }, async (client) => {
    assertEquals(await client.revsLimit("db"), 50);
  });
});

/** A refusal in a proxy's words. */
const page = (status: number): Fault => ({
  kind: "answer",
  status,
  headers: { "content-type": "text/html" },
  body: `<html><body><h1>${status} No</h1></body></html>`,
});

Deno.test("CouchClient asks once more where a proxy refuses a setting, which is done without where CouchDB does", async () => {
  const calls: [string, (client: CouchClient) => Promise<unknown>][] = [
    ["_security", (client) => client.security("db")],
    ["_security", (client) => client.setSecurity("db", "{}")],
    ["_revs_limit", (client) => client.revsLimit("db")],
    ["_revs_limit", (client) => client.setRevsLimit("db", 5)],
  ];
  for (const [endpoint, call] of calls) {
    for (const status of [403, 404]) {
      await withFault({ endpoint, fault: page(status) }, async (client, fake) => {
        await call(client);
        assertEquals(fake.requestsTo(endpoint).length, 2);
      });
      await withFault({ endpoint, times: 99, fault: page(status) }, async (client, fake) => {
        assertEquals((await assertRejects(() => call(client), CouchError)).facts.error, "http_error");
        assertEquals(fake.requestsTo(endpoint).length, 3);
      });
    }
    const fault: Fault = { kind: "answer", status: 403, body: { error: "forbidden", reason: "No" } };
    await withFault({ endpoint, fault }, async (client, fake) => {
      assertEquals((await assertRejects(() => call(client), CouchError)).facts.error, "forbidden");
      assertEquals(fake.requestsTo(endpoint).length, 1);
    });
  }
});

Deno.test("CouchClient believes no proxy's 404 that something is missing or gone", async () => {
  const calls: [string, (client: CouchClient) => Promise<unknown>][] = [
    ["document", (client) => client.localDocument("db", "note")],
    ["database", (client) => client.dropDatabase("db", () => true)],
  ];
  for (const [endpoint, call] of calls) {
    await withFault({ endpoint, times: 9, fault: page(404) }, async (client) => {
      assertEquals((await assertRejects(() => call(client), CouchError)).facts.error, "http_error");
    });
  }
});

Deno.test("CouchClient asks again where the answer that something is missing is cut off", async () => {
  for (const fault of [{ kind: "truncate" }, { kind: "cut off", afterBytes: 5 }] as const) {
    await withFault({ endpoint: "document", fault }, async (client, fake) => {
      assertEquals(await client.localDocument("db", "note"), undefined);
      assertEquals(fake.requestsTo("document").length, 3, "once more, and of each copy");
    });
  }
});
