/** Documents are sent gzipped where that pays, and as they are wherever it is refused. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CouchError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, type Fault, startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { impatientClient } from "./impatient_client.ts";

const encoder = new TextEncoder();

function bodyOf(ids: readonly string[], text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify({ docs: ids.map((_id) => ({ _id, text })) }));
}

/** How the bodies of `_bulk_docs` came. */
function encodings(fake: FakeCouchDb): (string | null)[] {
  return fake.requestsTo("_bulk_docs").map(({ headers }) => headers.get("content-encoding"));
}

async function idsIn(fake: FakeCouchDb): Promise<string[]> {
  const { rows } = JSON.parse((await couchOk(fake, "GET /a/_all_docs")).text) as { rows: { id: string }[] };
  return rows.map(({ id }) => id);
}

Deno.test("CouchClient.bulkDocs() gzips what gets smaller, and neither what is small nor what stays as large", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /a");
  const client = impatientClient(fake);
  await client.bulkDocs("a", bodyOf(["large"], "call from agent to queue ".repeat(400)));
  await client.bulkDocs("a", bodyOf(["small"], "call from agent"));
  const noise = new Uint8Array(60_000);
  crypto.getRandomValues(noise);
  const dense = btoa(String.fromCharCode(...noise));
  // After one that stays as large fifteen are not tried.
  for (let index = 0; index < 17; index++) await client.bulkDocs("a", bodyOf([`n${index}`], dense));
  await client.bulkDocs("a", bodyOf(["z"], "call ".repeat(4000)));
  assertEquals(encodings(fake), ["gzip", ...Array.from({ length: 19 }, () => null)]);
  for (let index = 0; index < 14; index++) await client.bulkDocs("a", bodyOf([`z${index}`], "call ".repeat(4000)));
  await client.bulkDocs("a", bodyOf(["zz"], "call ".repeat(4000)));
  assertEquals(encodings(fake).at(-1), "gzip");
  assertEquals((await idsIn(fake)).length, 35);
});

Deno.test("CouchClient.bulkDocs() sends as they are what a server or proxy refuses gzipped, says so once, and tries no more", async () => {
  for (const status of [400, 415]) {
    await using fake = await startFakeCouchDb();
    await couchOk(fake, "PUT /a");
    const log = new RecordedLog();
    const client = impatientClient(fake, { log });
    const fault: Fault = { kind: "answer", status, body: { error: "bad_request", reason: "invalid UTF-8 JSON" } };
    fake.faults.add({ endpoint: "_bulk_docs", fault });
    const text = "call ".repeat(4000);
    for (const id of ["x", "y", "z"]) await client.bulkDocs("a", bodyOf([id], text));
    assertEquals(encodings(fake), ["gzip", null, null, null]);
    assertEquals(await idsIn(fake), ["x", "y", "z"]);
    const warnings = log.lines.filter(({ level }) => level === "warn");
    assertEquals(warnings.map(({ event, fields }) => [event, fields["status"]]), [
      ["gzipped requests are refused: requests are sent uncompressed from now on", status],
    ]);
  }
});

Deno.test("CouchClient.bulkDocs() takes a refusal of the documents for that: nothing is said of gzip, and it goes on", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /a");
  const log = new RecordedLog();
  const client = impatientClient(fake, { log });
  const broken = encoder.encode(`{"docs":[null,"${"x".repeat(9000)}"]}`);
  const error = await assertRejects(() => client.bulkDocs("a", broken), CouchError);
  assertEquals(error.facts.status, 400);
  // Nobody knew yet whose fault it was.
  assertEquals(encodings(fake), ["gzip", null]);
  await client.bulkDocs("a", bodyOf(["x"], "call ".repeat(4000)));
  await assertRejects(() => client.bulkDocs("a", broken), CouchError);
  assertEquals(encodings(fake).slice(2), ["gzip", "gzip"]);
  assert(!log.lines.some(({ event }) => event.includes("gzip")));
});

Deno.test("CouchClient.bulkDocs() does not send again as it is what failed for another reason", async () => {
  for (const status of [401, 413, 429, 500, 503]) {
    await using fake = await startFakeCouchDb();
    await couchOk(fake, "PUT /a");
    fake.faults.add({ endpoint: "_bulk_docs", fault: { kind: "answer", status } });
    const client = impatientClient(fake);
    await assertRejects(() => client.bulkDocs("a", bodyOf(["x"], "call ".repeat(4000))), CouchError);
    assertEquals(encodings(fake), ["gzip"]);
  }
});
