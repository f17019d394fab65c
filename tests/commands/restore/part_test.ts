import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Archive } from "../../../src/archive/archive.ts";
import type { BegunRestore } from "../../../src/commands/restore/context.ts";
import { exitCodeOfRestore, reportRestore } from "../../../src/commands/restore/report.ts";
import { CouchError, EXIT, UsageError } from "../../../src/errors.ts";
import { couch, couchOk } from "../../couch_request.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { type FleetSetup, setUpFleet } from "./fleet_setup.ts";

async function withBackup(): Promise<FleetSetup & { name: string; at: string }> {
  const setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  await (await setup.open()).backup();
  return Object.assign(setup, { name, at: `/${encodeURIComponent(name)}` });
}

async function edit(
  { server, at }: { server: FleetSetup["server"]; at: string },
  id: string,
  v: string,
): Promise<string> {
  const { _rev } = (await couchOk(server, `GET ${at}/${id}`)).json;
  return (await couchOk(server, `PUT ${at}/${id}`, { _rev, v })).json.rev;
}

async function remove({ server, at }: { server: FleetSetup["server"]; at: string }, id: string): Promise<void> {
  const { _rev } = (await couchOk(server, `GET ${at}/${id}`)).json;
  await couchOk(server, `DELETE ${at}/${id}?rev=${_rev}`);
}

Deno.test("restore --id says which document keeps a newer revision, and which the backup does not have", async () => {
  await using setup = await withBackup();
  await edit(setup, "d00000", "spoilt");
  const session = await setup.open();
  const request = { database: setup.name, path: "latest", ids: ["d00000", "d00002", "nobody"] };
  const report = await session.restore(request);
  assertEquals([report.ok, exitCodeOfRestore(report)], [false, EXIT.partial]);
  assertEquals([report.documents, report.present, report.not_found], [2, 2, ["nobody"]]);
  assertEquals(report.newer, { count: 1, ids: ["d00000"] });
  assertEquals((await couchOk(setup.server, `GET ${setup.at}/d00000`)).json.v, "spoilt");
});

/** What the log says last of the documents: its level, its event, and how many were not found and refused. */
function lastWord({ log }: FleetSetup): unknown[] {
  const line = log.lines.findLast(({ event }) => /^database (is|could|is not|could not) /.test(event))!;
  return [line.level, line.event, line.fields?.["notFound"], line.fields?.["refused"]];
}

Deno.test("restore --id says in the log that documents are restored where they are, and only there", async () => {
  await using setup = await withBackup();
  const restore = async (ids: string[], more: { dryRun?: boolean; asNewRevision?: boolean } = {}) => {
    await (await setup.open()).restore({ database: setup.name, path: "latest", ids, ...more });
    return lastWord(setup);
  };
  assertEquals(await restore(["d00000"]), ["info", "database is restored", undefined, undefined]);
  assertEquals(await restore(["d00000", "nobody"]), ["error", "database is not restored in full", 1, 0]);
  const before = setup.server.requestsTo("_bulk_docs").length;
  assertEquals(await restore(["d00000"], { dryRun: true }), [
    "info",
    "database could be restored",
    undefined,
    undefined,
  ]);
  assertEquals(await restore(["nobody"], { dryRun: true }), ["error", "database could not be restored in full", 1, 0]);
  assertEquals(setup.server.requestsTo("_bulk_docs").length, before);
  const body = { error: "document_too_large", reason: "d00000" };
  setup.server.faults.add({ endpoint: "_bulk_docs", times: 1, fault: { kind: "answer", status: 413, body } });
  assertEquals(await restore(["d00000"], { asNewRevision: true }), ["error", "database is not restored in full", 0, 1]);
});

Deno.test("reportRestore() does not ask of some documents what else the backup lacks", () => {
  const log = new RecordedLog();
  const begun = { log, now: () => new Date(0), database: "db", startedAt: new Date(0) } as unknown as BegunRestore;
  const lacking = [{ id: "x", error: "timeout", reason: "" }];
  const archive = { unreadable: lacking, problems: [], chunks: [], url: "file:///x", place: {} } as unknown as Archive;
  const counts = { documents: 1, leafRevisions: 1, deleted: 0, failed: [], failedRevisions: 0, damaged: [], views: 0 };
  const result = { ...counts, unreadable: [], lacking: [], missing: 0, created: false };
  const part = { not_found: [] };
  const reports = [reportRestore(begun, archive, result), reportRestore(begun, archive, { ...result, part })];
  assertEquals(reports.map(({ ok, unreadable }) => [ok, unreadable.length]), [[false, 1], [true, 0]]);
  assertEquals(log.lines.map(({ event }) => event), ["database is not restored in full", "database is restored"]);
});

Deno.test("restore --id --as-new-revision puts the backup's content on top, of deleted documents too", async () => {
  await using setup = await withBackup();
  const spoilt = await edit(setup, "d00000", "spoilt");
  await remove(setup, "d00001");
  const session = await setup.open();
  const report = await session.restore({
    database: setup.name,
    path: "latest",
    ids: ["d00000", "d00001"],
    asNewRevision: true,
  });
  assertEquals([report.ok, report.refused, report.not_found], [true, [], []]);
  assertEquals(report.written_as_new!.map(({ id, onto, rev }) => [id, onto?.slice(0, 2), rev.slice(0, 2)]), [
    ["d00000", "2-", "3-"],
    ["d00001", "2-", "3-"],
  ]);
  assertEquals(report.written_as_new![0]!.onto, spoilt);
  for (const id of ["d00000", "d00001"]) {
    const { text } = await couchOk(setup.server, `GET ${setup.at}/${id}`);
    assert(text.includes(`"in":${JSON.stringify(setup.name)},"n":9007199254740993`), text);
  }
});

Deno.test("Session.restore() refuses asNewRevision without ids, and restores nothing in its place", async () => {
  await using setup = await withBackup();
  const session = await setup.open();
  for (const more of [{}, { designs: true }]) {
    const request = {
      database: "copy",
      path: `latest/${encodeURIComponent(setup.name)}`,
      asNewRevision: true,
      ...more,
    };
    const { hint } = await assertRejects(() => session.restore(request), UsageError, '"asNewRevision" goes with "ids"');
    assertEquals(hint, "Name in ids the documents to restore so");
  }
  assertEquals(setup.server.databases.has("copy"), false);
});

Deno.test("restore --as-new-revision asks once with a login that is refused, and goes on past a document that is too large", async () => {
  await using setup = await withBackup();
  const restore = async (ids: string[]) =>
    await (await setup.open()).restore({ database: setup.name, path: "latest", ids, asNewRevision: true });
  const answer = (status: number, error: string) => ({
    kind: "answer" as const,
    status,
    body: { error, reason: error },
  });
  setup.server.faults.add({ endpoint: "_bulk_docs", times: 1, fault: answer(413, "document_too_large") });
  const { refused, written_as_new: written } = await restore(["d00000", "d00001"]);
  assertEquals([refused!.map(({ id }) => id), written!.map(({ id }) => id)], [["d00000"], ["d00001"]]);
  const before = setup.server.requestsTo("_bulk_docs").length;
  setup.server.faults.add({ endpoint: "_bulk_docs", times: Infinity, fault: answer(401, "unauthorized") });
  await assertRejects(() => restore(["d00000"]), CouchError, "401");
  assertEquals(setup.server.requestsTo("_bulk_docs").length - before, 1);
});

Deno.test("restore --as-new-revision brings attachments inline, and leaves other leaf revisions alone", async () => {
  await using setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  const at = `/${encodeURIComponent(name)}`;
  const attachment = { content_type: "text/plain", data: btoa("the attachment") };
  await couchOk(setup.server, `PUT ${at}/with`, { v: "good", _attachments: { "a.txt": attachment } });
  const conflict = { _id: "with", _rev: "1-0", v: "conflict" };
  await couchOk(setup.server, `POST ${at}/_bulk_docs`, { new_edits: false, docs: [conflict] });
  await (await setup.open()).backup();
  await edit({ server: setup.server, at }, "with", "spoilt");
  const report = await (await setup.open()).restore({
    database: name,
    path: "latest",
    ids: ["with"],
    asNewRevision: true,
  });
  assertEquals(report.ok, true);
  const { json } = await couchOk(setup.server, `GET ${at}/with?conflicts=true&attachments=true`);
  assertEquals([json.v, atob(json._attachments["a.txt"].data), json._conflicts], ["good", "the attachment", ["1-0"]]);
});

Deno.test("restore --as-new-revision refuses a document that is deleted in the backup", async () => {
  await using setup = await setUpFleet(1, { tasks: `{all: {databases: ["media.*", "account.*"], tombstones: true}}` });
  const [name] = setup.names as [string];
  const at = `/${encodeURIComponent(name)}`;
  await remove({ server: setup.server, at }, "d00001");
  await (await setup.open()).backup();
  const session = await setup.open();
  const report = await session.restore({ database: name, path: "latest", ids: ["d00001"], asNewRevision: true });
  assertEquals([report.ok, exitCodeOfRestore(report), report.refused!.map(({ id }) => id)], [
    false,
    EXIT.partial,
    ["d00001"],
  ]);
});

Deno.test("restore --designs brings back the design documents alone", async () => {
  await using setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  const at = `/${encodeURIComponent(name)}`;
  await couchOk(setup.server, `PUT ${at}/_design/d`, { views: { v: { map: "function (doc) {}" } } });
  await (await setup.open()).backup();
  await setup.drop();
  await couchOk(setup.server, `PUT ${at}`);
  const report = await (await setup.open()).restore({ database: name, path: "latest", designs: true });
  assertEquals([report.ok, report.documents], [true, 1]);
  const { json } = await couchOk(setup.server, `GET ${at}/_all_docs`);
  assertEquals(json.rows.map(({ id }: { id: string }) => id), ["_design/d"]);
});

Deno.test("restore --id with --dry-run says what there is, and writes nothing", async () => {
  await using setup = await withBackup();
  await remove(setup, "d00000");
  const session = await setup.open();
  const report = await session.restore({ database: setup.name, path: "latest", ids: ["d00000"], dryRun: true });
  assertEquals([report.ok, report.dry_run, report.documents], [true, true, 1]);
  assertEquals((await couch(setup.server, `GET ${setup.at}/d00000`)).status, 404);
});

Deno.test("restore into a database that holds a part of the backup sends only what is missing", async () => {
  await using setup = await setUpFleet(1);
  await seedHardDatabase(setup.server, "hard", { documents: 60 });
  const before = await readAllLeafRevisions(setup.server, "hard");
  await (await setup.open()).backup();
  const session = await setup.open();
  const bytesOf = async (intoExisting: boolean) => {
    const from = setup.server.requests.length;
    const report = await session.restore({ database: "copy", path: "latest/hard", intoExisting });
    assertEquals(report.ok, true, JSON.stringify(report.failed));
    const sent = setup.server.requests.slice(from).filter(({ endpoint }) => endpoint === "_bulk_docs").length;
    return { report, sent };
  };
  const first = await bytesOf(false);
  assertEquals(first.report.present, undefined);
  const again = await bytesOf(true);
  assertEquals(again.sent, 0, "everything is there");
  assertEquals(again.report.present, first.report.leaf_revisions);
  const { json } = await couchOk(setup.server, "GET /copy/_all_docs?limit=5");
  for (const { id } of json.rows.slice(0, 2)) {
    await couchOk(setup.server, "POST /copy/_purge", {
      [id]: [...(await readAllLeafRevisions(setup.server, "copy")).get(id)!.keys()],
    });
  }
  const third = await bytesOf(true);
  assert(third.sent > 0);
  assertEquals(compareLeafRevisions(before, await readAllLeafRevisions(setup.server, "copy")), []);
});

Deno.test("restore does not take an empty answer to _revs_diff for a database that has everything", async () => {
  await using setup = await withBackup();
  await setup.drop();
  await couchOk(setup.server, `PUT ${setup.at}`);
  await couchOk(setup.server, `PUT ${setup.at}/of-others`, { v: 1 });
  setup.server.faults.add({
    endpoint: "_revs_diff",
    times: 1000,
    fault: { kind: "answer", status: 200, body: {} },
  });
  const session = await setup.open();
  const attempt = () => session.restore({ database: setup.name, path: "latest", intoExisting: true });
  await assertRejects(attempt, CouchError, "but does not return it");
  setup.server.faults.add({
    endpoint: "_all_docs",
    times: 1000,
    fault: { kind: "answer", status: 200, body: { rows: [] } },
  });
  await assertRejects(attempt, CouchError, "does not have a row for each id");
});

Deno.test("restore sends all of a batch that CouchDB cannot compare, as where a revision of others is none", async () => {
  await using setup = await withBackup();
  await setup.drop();
  await couchOk(setup.server, `PUT ${setup.at}`);
  await couchOk(setup.server, `PUT ${setup.at}/of-others`, { v: 1 });
  setup.server.faults.add({
    endpoint: "_revs_diff",
    times: 1000,
    fault: { kind: "answer", status: 400, body: { error: "bad_request", reason: "Invalid rev format" } },
  });
  const session = await setup.open();
  const report = await session.restore({ database: setup.name, path: "latest", intoExisting: true });
  assertEquals([report.ok, report.present], [true, 0]);
  assertEquals((await couchOk(setup.server, `GET ${setup.at}`)).json.doc_count, report.documents + 1);
});
