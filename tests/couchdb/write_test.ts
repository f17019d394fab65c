/** Writes documents to a CouchDB whose answers are odd. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { CouchError } from "../../src/errors.ts";
import { RequestBody } from "../../src/couchdb/request_body.ts";
import { DocumentWriter } from "../../src/couchdb/write.ts";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { impatientClient } from "./impatient_client.ts";

Deno.test("DocumentWriter does not forget a refusal that speaks of no document that was sent", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const failure = { error: "internal_server_error", reason: "timeout" };
  const rows = [{ id: "a", rev: "1-aa", ...failure }, { id: "?", ...failure }];
  fake.faults.add({ endpoint: "_bulk_docs", fault: { kind: "answer", status: 201, body: rows } });
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  const bytes = (id: string) => new TextEncoder().encode(JSON.stringify({ _id: id, _rev: "1-aa" }));
  await writer.write(new RequestBody("kept", ["a", "b"].map((id) => ({ id, bytes: bytes(id) }))));
  assertEquals(fake.requestsTo("_bulk_docs").map(({ ids }) => ids), [["a", "b"], ["a"]]);
  assertEquals([writer.failedRevisions, writer.failed[0]?.id], [1, "?"]);
});

/** Writes documents as those are written that are too large to be held, one by one. */
async function stream(fake: FakeCouchDb, count: number): Promise<{ writer: DocumentWriter; error: unknown }> {
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  try {
    for (let number = 0; number < count; number++) {
      const [id, rev] = [`doc-${number}`, `1-a${number}`];
      const open = () => ReadableStream.from([new TextEncoder().encode(JSON.stringify({ _id: id, _rev: rev }))]);
      await writer.writeStream(open, { id, rev, revisions: "kept" });
    }
    return { writer, error: undefined };
  } catch (error) {
    return { writer, error };
  }
}

Deno.test("DocumentWriter.writeStream() throws when CouchDB fails at each document, rather than to blame them all", async () => {
  for (const fault of [{ kind: "answer", status: 500 }, { kind: "lose answer" }] as const) {
    await using fake = await startFakeCouchDb();
    await couchOk(fake, "PUT /db");
    fake.faults.add({ endpoint: "_bulk_docs", times: 1e9, fault });
    const { writer, error } = await stream(fake, 40);
    assertInstanceOf(error, CouchError);
    assertEquals(writer.failedDocuments, 20);
    // Where one has used up all patience, the next ones need not.
    const { length } = fake.requestsTo("_bulk_docs");
    assert(length < 80, `${length} requests`);
  }
});

Deno.test("DocumentWriter.writeStream() names the documents that CouchDB fails at, however many, as long as it takes others", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const isBad = (number: number) => number % 2 === 1;
  for (let number = 0; number < 60; number++) {
    if (!isBad(number)) continue;
    fake.faults.add({ endpoint: "_bulk_docs", id: `doc-${number}`, times: 99, fault: { kind: "answer", status: 500 } });
  }
  const { writer, error } = await stream(fake, 60);
  assertEquals(error, undefined);
  assertEquals([writer.failedDocuments, writer.failed.every(({ server_failed }) => server_failed)], [30, true]);
});
