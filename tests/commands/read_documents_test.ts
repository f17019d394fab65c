import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readDocuments } from "../../src/commands/read_documents.ts";
import { CouchError } from "../../src/errors.ts";
import { ATTEMPTS, createDatabase, impatientClient } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";

Deno.test("readDocuments() asks again for an answer that is none, and fails with CouchDB's error where it stays so", async () => {
  const bodies = ["", "<html>", "[]", { error: "timeout" }, { results: {} }, { results: [{ docs: [{ ok: {} }] }] }];
  for (const times of [1, Infinity]) {
    for (const body of bodies) {
      await using fake = await startFakeCouchDb();
      await createDatabase(fake, "a", ["x"]);
      fake.faults.add({ endpoint: "_bulk_get", times, fault: { kind: "answer", status: 200, body } });
      const reading = readDocuments<string[]>(["x"], {
        couch: impatientClient(fake),
        database: "a",
        revisions: true,
        attachments: true,
        begin: () => [],
        add: (found, { id }) => Promise.resolve(found.push(id ?? "")),
        signal: new AbortController().signal,
      });
      if (times === 1) assertEquals(await reading, ["x"], JSON.stringify(body));
      else {
        const error = await assertRejects(() => reading, CouchError, undefined, JSON.stringify(body));
        assertStringIncludes(error.message, "CouchDB's answer is broken");
        assertEquals(fake.requestsTo("_bulk_get").length, ATTEMPTS);
      }
    }
  }
});
