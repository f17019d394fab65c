import { randomBytes } from "node:crypto";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { CouchError, EXIT } from "../../../src/errors.ts";
import { exitCodeOfRestore, type RestoreReport } from "../../../src/commands/restore/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { couchOk } from "../../couch_request.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { gzipText, QUICK_RETRY, type RestoreSetup, setUpRestore } from "./setup.ts";

/** Puts texts of documents into the store as one file, and restores it into the database "new". */
async function restoreDocuments(setup: RestoreSetup, documents: string[]): Promise<RestoreReport> {
  await Deno.writeFile(join(setup.root, "documents.json.gz"), await gzipText(`{"docs":[${documents.join(",")}]}`));
  return await restore(setup.context, { database: "new", path: "documents.json.gz", intoExisting: true });
}

function documentsNamed(count: number): string[] {
  return Array.from(
    { length: count },
    (_, number) => `{"_id":"doc-${number}","_rev":"1-a${number}","number":${number}.0}`,
  );
}

const STUB = '{"_id":"stub","_rev":"1-a","_attachments":{"f":{"stub":true,"revpos":1,"content_type":"a/b","length":3,' +
  '"digest":"md5-rL0Y20zC+Fzt72VPzMSk2A=="}}}';

Deno.test("restore() writes all of a batch but a document of 9 MB, one that is forbidden and a stub, and names these", async () => {
  await using setup = await setUpRestore();
  const { server } = setup;
  await couchOk(server, "PUT /new");
  await couchOk(server, "PUT /new/_design/rules", {
    validate_doc_update: "function (newDoc) { if (newDoc.refuse) throw({forbidden: 'Refused by the rules'}); }",
  });
  const documents = documentsNamed(200);
  documents.splice(20, 0, `{"_id":"large","_rev":"1-a","text":"${"x".repeat(9_000_000)}"}`);
  documents.splice(90, 0, '{"_id":"refused","_rev":"2-b","refuse":true}');
  documents.splice(150, 0, STUB);
  const report = await restoreDocuments(setup, documents);

  const failed = report.failed.toSorted((a, b) => a.id < b.id ? -1 : 1);
  assertEquals(failed.map(({ id, rev, error }) => [id, rev, error]), [
    ["large", "1-a", "document_too_large"],
    ["refused", "2-b", "forbidden"],
    ["stub", "1-a", "missing_stub"],
  ]);
  assertStringIncludes(failed[0]!.hint!, "max_document_size in the section [couchdb]");
  assertEquals(failed[1]!.reason, "Refused by the rules");
  assertEquals([report.ok, report.documents, report.leaf_revisions], [false, 200, 200]);
  assertEquals(exitCodeOfRestore(report), EXIT.partial);
  assertEquals((await couchOk(server, "GET /new")).json.doc_count, 201);
});

Deno.test("restore() finds every document that CouchDB refuses, wherever they stand in a batch", async () => {
  await using setup = await setUpRestore();
  const documents = documentsNamed(300);
  const culprits = [0, 1, 2, 77, 149, 150, 298, 299];
  for (const number of culprits) documents[number] = `{"_id":"doc-${number}","_rev":"none"}`;
  const report = await restoreDocuments(setup, documents);
  const numbers = report.failed.map(({ id }) => Number(id.slice("doc-".length))).sort((a, b) => a - b);
  assertEquals(numbers, culprits);
  assertEquals(report.failed[0]!.reason, "Invalid rev format");
  assertEquals((await couchOk(setup.server, "GET /new")).json.doc_count, 300 - culprits.length);
});

Deno.test("restore() names the setting behind each kind of 413", async () => {
  const cases: [unknown, string][] = [
    [{ error: "document_too_large", reason: "doc-0" }, "max_document_size in the section [couchdb]"],
    [{ error: "attachment_too_large", reason: "f" }, "max_attachment_size in the section [couchdb]"],
    [
      { error: "too_large", reason: "the request entity is too large" },
      "max_http_request_size in the section [chttpd]",
    ],
    ["<html>Request Entity Too Large</html>", "the proxy in front of CouchDB"],
  ];
  for (const [body, setting] of cases) {
    await using setup = await setUpRestore();
    setup.server.faults.add({ endpoint: "_bulk_docs", times: 9, fault: { kind: "answer", status: 413, body } });
    const { failed } = await restoreDocuments(setup, documentsNamed(1));
    assertEquals(failed.map(({ id }) => id), ["doc-0"]);
    assertStringIncludes(failed[0]!.hint!, setting);
  }
});

Deno.test("restore() reports a document with which CouchDB answers 500, and writes the others", async () => {
  await using setup = await setUpRestore();
  setup.server.faults.add({
    endpoint: "_bulk_docs",
    id: "doc-33",
    times: 99,
    fault: { kind: "answer", status: 500, body: { error: "unknown_error", reason: "function_clause" } },
  });
  const report = await restoreDocuments(setup, documentsNamed(100));
  assertEquals(report.failed.map(({ id, rev, reason }) => [id, rev, reason]), [["doc-33", "1-a33", "function_clause"]]);
  assertEquals((await couchOk(setup.server, "GET /new")).json.doc_count, 99);
});

Deno.test("restore() ends when CouchDB answers 500 to everything, rather than to blame the documents", async () => {
  await using setup = await setUpRestore();
  setup.server.faults.add({ endpoint: "_bulk_docs", times: 1e9, fault: { kind: "answer", status: 500 } });
  await assertRejects(() => restoreDocuments(setup, documentsNamed(100)), CouchError, "500");
});

const PASSING: Parameters<RestoreSetup["server"]["faults"]["add"]>[0]["fault"][] = [
  { kind: "answer", status: 429, headers: { "retry-after": "0" } },
  { kind: "answer", status: 408 },
  { kind: "answer", status: 503 },
  { kind: "answer", status: 500 },
  { kind: "drop" },
  { kind: "lose answer" },
  { kind: "cut off" },
  { kind: "truncate" },
  { kind: "error rows", error: "internal_server_error" },
];
for (const fault of PASSING) {
  const what = "status" in fault ? `a ${fault.status}` : `"${fault.kind}"`;
  Deno.test(`restore() heals ${what} by asking again, and blames no document for it`, async () => {
    for (const count of [1, 50]) {
      await using setup = await setUpRestore();
      setup.server.faults.add({ endpoint: "_bulk_docs", times: 2, fault });
      const report = await restoreDocuments(setup, documentsNamed(count));
      assertEquals([report.ok, report.failed, report.documents], [true, [], count]);
      assertEquals((await couchOk(setup.server, "GET /new")).json.doc_count, count);
    }
  });
}

Deno.test("restore() writes in smaller requests where a proxy resets large ones, and names a document that is too large", async () => {
  await using setup = await setUpRestore();
  const { server, log } = setup;
  server.front.resetsAboveBytes = 1 << 20;
  // Text that no compression makes small enough.
  const noise = randomBytes(900_000).toString("base64");
  const documents = Array.from({ length: 800 }, (_, number) => {
    return `{"_id":"doc-${number}","_rev":"1-a${number}","text":"${noise.slice(number * 10, number * 10 + 10_000)}"}`;
  });
  documents.splice(300, 0, `{"_id":"large","_rev":"1-a","text":"${noise.slice(0, 1_100_000)}"}`);
  const report = await restoreDocuments(setup, documents);
  assertEquals(report.failed.map(({ id, rev, error }) => [id, rev, error]), [["large", "1-a", "cut_off"]]);
  assertStringIncludes(report.failed[0]!.hint!, "A proxy in front of CouchDB");
  assertEquals((await couchOk(server, "GET /new")).json.doc_count, 800);
  // What the proxy lets through is learnt once, not for each request anew.
  const halved = log.lines.filter(({ event }) => event === "request is split in half").length;
  assertEquals(halved < 16, true, `${halved} requests were halved`);
});

Deno.test("restore() ends when every request breaks, rather than to blame the documents", async () => {
  await using setup = await setUpRestore();
  setup.server.faults.add({ endpoint: "_bulk_docs", times: 1e9, fault: { kind: "drop" } });
  await assertRejects(() => restoreDocuments(setup, documentsNamed(100)), CouchError, "the connection broke");
});

Deno.test("restore() asks again for the rows alone that fail for the moment, and reports them when that goes on", async () => {
  await using setup = await setUpRestore();
  const { server } = setup;
  server.faults.add({
    endpoint: "_bulk_docs",
    times: 99,
    fault: { kind: "error rows", ids: ["doc-7"], error: "internal_server_error", reason: "no quorum" },
  });
  const report = await restoreDocuments(setup, documentsNamed(20));
  assertEquals(report.failed.map(({ id, rev, reason }) => [id, rev, reason]), [["doc-7", "1-a7", "no quorum"]]);
  const asked = server.requestsTo("_bulk_docs").map(({ ids }) => ids.length);
  assertEquals(asked, [20, ...Array.from({ length: QUICK_RETRY.attempts - 1 }, () => 1)]);
});

Deno.test("restore() ends at once where the login may not write, for CouchDB locks it out, and blames no document", async () => {
  for (const status of [401, 403, 407]) {
    for (const count of [1, 20]) {
      await using setup = await setUpRestore();
      const { server } = setup;
      server.faults.add({ endpoint: "_bulk_docs", times: 99, fault: { kind: "answer", status } });
      await assertRejects(() => restoreDocuments(setup, documentsNamed(count)), CouchError, String(status));
      assertEquals(server.requestsTo("_bulk_docs").length, 1);
    }
  }
});

Deno.test("restore() waits for nodes that do not know the new database yet", async () => {
  await using setup = await setUpRestore();
  const { server } = setup;
  const body = { error: "not_found", reason: "Database does not exist." };
  server.faults.add({ endpoint: "_bulk_docs", times: 2, fault: { kind: "answer", status: 404, body } });
  server.faults.add({ method: "GET", database: "new", skip: 1, fault: { kind: "answer", status: 404, body } });
  const report = await restoreDocuments(setup, documentsNamed(20));
  assertEquals([report.ok, report.documents], [true, 20]);
});

Deno.test("restore() says when not all copies are written", async () => {
  await using setup = await setUpRestore();
  setup.server.faults.add({ endpoint: "_bulk_docs", fault: { kind: "status", status: 202 } });
  const report = await restoreDocuments(setup, documentsNamed(20));
  assertEquals(report.ok, true);
  assertEquals(setup.log.events("warn").includes("CouchDB has not written all copies yet: a node is away"), true);
});

Deno.test("restore() lists a design document that does not compile", async () => {
  await using setup = await setUpRestore();
  const broken = '{"_id":"_design/broken","_rev":"1-a","language":"javascript","views":{"v":{"map":"function ("}}}';
  const report = await restoreDocuments(setup, [...documentsNamed(3), broken]);
  assertEquals(report.failed.map(({ id, error }) => [id, error]), [["_design/broken", "compilation_error"]]);
  assertEquals(exitCodeOfRestore(report), EXIT.partial);
});

Deno.test("restore() notices documents that CouchDB took and does not have", async () => {
  await using setup = await setUpRestore();
  const { server, context } = setup;
  await couchOk(server, "PUT /old");
  for (const document of documentsNamed(5)) {
    await couchOk(server, "POST /old/_bulk_docs", `{"new_edits":false,"docs":[${document}]}`);
  }
  const { makeArchive } = await import("../../make_archive.ts");
  const { folder } = await makeArchive({ couch: setup.couch, store: setup.store, database: "old" });
  server.faults.add({ endpoint: "_bulk_docs", fault: { kind: "answer", status: 201, body: [] } });
  const report = await restore(context, { database: "new", path: folder });
  assertEquals([report.ok, report.missing, exitCodeOfRestore(report)], [false, 5, EXIT.partial]);
  const again = await restore(context, { database: "new", path: folder, intoExisting: true });
  assertEquals([again.ok, again.missing], [true, 0]);
  const [left, right] = [await readAllLeafRevisions(server, "old"), await readAllLeafRevisions(server, "new")];
  assertEquals(compareLeafRevisions(left, right), []);
});

Deno.test("restore() notices documents that CouchDB took and does not have beside those of others, too", async () => {
  await using setup = await setUpRestore();
  const { server, context } = setup;
  for (const [name, count] of [["old", 5], ["new", 2]] as const) {
    await couchOk(server, `PUT /${name}`);
    for (const document of documentsNamed(count)) {
      await couchOk(server, `POST /${name}/_bulk_docs`, `{"new_edits":false,"docs":[${document}]}`);
    }
  }
  const { makeArchive } = await import("../../make_archive.ts");
  const { folder } = await makeArchive({ couch: setup.couch, store: setup.store, database: "old" });
  server.faults.add({ endpoint: "_bulk_docs", fault: { kind: "answer", status: 201, body: [] } });
  const into = () => restore(context, { database: "new", path: folder, intoExisting: true });
  const report = await into();
  assertEquals([report.ok, report.missing, exitCodeOfRestore(report)], [false, 3, EXIT.partial]);
  // Deleted since, it is there all the same.
  const rev = (await couchOk(server, "GET /new/" + (await couchOk(server, "GET /new/_all_docs")).json.rows[0].id)).json;
  await couchOk(server, `DELETE /new/${rev._id}?rev=${rev._rev}`);
  const again = await into();
  assertEquals([again.ok, again.missing], [true, 0]);
});
