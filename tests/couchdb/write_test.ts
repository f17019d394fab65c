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
  for (const fault of [{ kind: "answer", status: 500 }, { kind: "drop" }] as const) {
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

/** The leaf revisions of one document, as bodies have them. */
function leavesOfOne(count: number): { id: string; bytes: Uint8Array }[] {
  return Array.from({ length: count }, (_, number) => {
    const json = JSON.stringify({ _id: "many", _rev: `1-${number}`, _revisions: { start: 1, ids: [`${number}`] } });
    return { id: "many", bytes: new TextEncoder().encode(json) };
  });
}

/** As CouchDB answers in the name of each document where it has taken a minute (3.5.0). */
const TOOK_TOO_LONG = {
  kind: "answer",
  status: 500,
  body: [{ error: "error", reason: "internal_server_error" }],
} as const;

/** Lets the first request fail after a while, and carries out what it asked for later still. */
function writeLate(fake: FakeCouchDb, { isLost = false }: { isLost?: boolean } = {}): { written: () => Promise<void> } {
  fake.faults.add({ endpoint: "_bulk_docs", fault: TOOK_TOO_LONG });
  const late = Promise.withResolvers<void>();
  let isFirst = true;
  fake.onRequest(async ({ endpoint }) => {
    if (endpoint !== "_bulk_docs" || !isFirst) return;
    isFirst = false;
    if (isLost) late.resolve();
    else {
      const docs = leavesOfOne(9).map(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)));
      const write = () => couchOk(fake, "POST /db/_bulk_docs", { new_edits: false, docs }).then(() => late.resolve());
      setTimeout(write, 300);
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
  });
  return { written: () => late.promise };
}

Deno.test("DocumentWriter.write() does not send again what CouchDB writes behind its own answer that it took too long", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const { written } = writeLate(fake);
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  assertEquals((await writer.write(new RequestBody("kept", leavesOfOne(9)))).revisions, 0);
  await written();
  // One of the writer's, and that which stands for CouchDB going on.
  assertEquals([fake.requestsTo("_bulk_docs").length, writer.failedRevisions], [2, 0]);
});

Deno.test("DocumentWriter.writeStream() does not name as refused what CouchDB writes behind its answer", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const { written } = writeLate(fake);
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  const [leaf] = leavesOfOne(1) as [{ id: string; bytes: Uint8Array }];
  const open = () => ReadableStream.from([leaf.bytes]);
  await writer.writeStream(open, { id: "many", rev: "1-0", revisions: "kept" });
  await written();
  assertEquals([fake.requestsTo("_bulk_docs").length, writer.failedRevisions], [2, 0]);
});

Deno.test("DocumentWriter.write() sends again what CouchDB has given up, and only what it lacks", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const docs = leavesOfOne(4).map(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)));
  await couchOk(fake, "POST /db/_bulk_docs", { new_edits: false, docs });
  writeLate(fake, { isLost: true });
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  assertEquals((await writer.write(new RequestBody("kept", leavesOfOne(9)))).revisions, 0);
  assertEquals(fake.requestsTo("_bulk_docs").map(({ ids }) => ids?.length), [4, 9, 5]);
});

Deno.test("DocumentWriter.write() sends all again where CouchDB does not say what it lacks", async () => {
  await using fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  writeLate(fake, { isLost: true });
  fake.faults.add({ endpoint: "_revs_diff", times: 9, fault: { kind: "answer", status: 500 } });
  const writer = new DocumentWriter(impatientClient(fake), "db", { log: new RecordedLog(), isNew: false });
  assertEquals((await writer.write(new RequestBody("kept", leavesOfOne(9)))).revisions, 0);
  assertEquals(fake.requestsTo("_bulk_docs").map(({ ids }) => ids?.length), [9, 9]);
});
