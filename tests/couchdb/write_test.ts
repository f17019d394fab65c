/** Writes documents to a CouchDB whose answers are odd. */
import { assertEquals } from "@std/assert";
import { RequestBody } from "../../src/couchdb/request_body.ts";
import { DocumentWriter } from "../../src/couchdb/write.ts";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
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
