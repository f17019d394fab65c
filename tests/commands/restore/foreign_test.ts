import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { ArchiveError, EXIT } from "../../../src/errors.ts";
import { exitCodeOfRestore } from "../../../src/commands/restore/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { couchOk } from "../../couch_request.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { gzipText, type RestoreSetup, setUpRestore } from "./setup.ts";

/** Writes a file into the store's folder, compressed when its name says so. */
async function put({ root }: RestoreSetup, name: string, text: string): Promise<void> {
  const path = join(root, name);
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeFile(path, name.endsWith(".gz") ? await gzipText(text) : new TextEncoder().encode(text));
}

/** The reference script's folder: `_bulk_get` without histories, in parts, as CouchDB answered. */
async function putReferenceArchive(setup: RestoreSetup, database: string, folder: string, partSize: number) {
  const path = `/${encodeURIComponent(database)}`;
  const { json } = await couchOk(setup.server, `GET ${path}/_all_docs?descending=true`);
  const ids = (json.rows as { id: string }[]).map(({ id }) => id);
  for (let number = 0; number * partSize < ids.length; number++) {
    const docs = ids.slice(number * partSize, (number + 1) * partSize).map((id) => ({ id }));
    const { text } = await couchOk(setup.server, `POST ${path}/_bulk_get?include_docs=true&attachments=true`, { docs });
    await put(setup, `${folder}/${String(number).padStart(7, "0")}.json.gz`, text);
  }
  return ids;
}

Deno.test("restore() of the reference script's archive keeps revisions, winners, conflicts and attachments", async () => {
  await using setup = await setUpRestore();
  const { server, context, log } = setup;
  await seedHardDatabase(server, "a/b", { documents: 60 });
  const folder = "sub/2026/10/22/couchdb/host/a%2Fb";
  await putReferenceArchive(setup, "a/b", folder, 20);
  const report = await restore(context, { database: "new", path: folder });
  assertEquals([report.ok, report.verified, report.failed], [true, false, []]);
  assertEquals(
    log.events("warn").includes("archive has no manifest: nobody can tell whether all of it is there"),
    true,
  );

  const { _revisions, leaves, winners } = {
    _revisions: /,"_revisions":\{"start":\d+,"ids":\[[^\]]*\]\}/,
    leaves: async (name: string) => await readAllLeafRevisions(server, name),
    winners: async (name: string) => (await couchOk(server, `GET /${encodeURIComponent(name)}/_all_docs`)).json.rows,
  };
  // The script does not save histories, so the documents are equal but for them.
  const [before, after] = [await leaves("a/b"), await leaves("new")];
  for (const all of [before, after]) {
    for (const texts of all.values()) for (const [rev, text] of texts) texts.set(rev, text.replace(_revisions, ""));
  }
  assertEquals(compareLeafRevisions(before, after), []);
  assertEquals(await winners("new"), await winners("a/b"));
});

Deno.test("restore() of the reference script's archive writes what was there when a document had vanished", async () => {
  await using setup = await setUpRestore();
  const gone = '{"id":"b","docs":[{"error":{"id":"b","rev":"undefined","error":"not_found","reason":"missing"}}]}';
  const failed = '{"id":"c","docs":[{"error":{"id":"c","rev":"undefined","error":"internal_error","reason":"x"}}]}';
  const there = '{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}}]}';
  await put(setup, "day/db/0000000.json.gz", `{"results":[${there},${gone},${failed}]}`);
  const report = await restore(setup.context, { database: "new", path: "day/db" });
  assertEquals([report.ok, report.documents], [true, 1]);
  const said = setup.log.lines.filter(({ fields }) => fields.lost === 1 || fields.absent === 1).map(({ level }) =>
    level
  );
  assertEquals(said, ["warn", "info"]);
});

Deno.test("restore() of an archive without manifest stops at a gap, and at a stored error of CouchDB, and names them", async () => {
  const whole = '{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}}]}]}';
  const cases: [Record<string, string>, string][] = [
    [{ "0000000": whole, "0000002": whole }, "0000001.json.gz"],
    [{ "0000001": whole }, "0000000.json.gz"],
    [{ "0000000": whole, "0000001": '{"error":"unauthorized","reason":"You are not authorized"}' }, "0000001.json.gz"],
    [{ "0000000": whole, "0000001": whole.slice(0, -9) }, "0000001.json.gz"],
  ];
  for (const [chunks, name] of cases) {
    await using setup = await setUpRestore();
    for (const [number, text] of Object.entries(chunks)) await put(setup, `day/db/${number}.json.gz`, text);
    const error = await assertRejects(() => restore(setup.context, { database: "new", path: "day/db" }), ArchiveError);
    assertStringIncludes(error.message, name);
    const report = await restore(setup.context, { database: "other", path: "day/db", salvage: true });
    assertEquals([report.damaged.map(({ chunk }) => chunk), report.documents > 0], [[name], true]);
    assertEquals(exitCodeOfRestore(report), EXIT.archive);
  }
});

const A = '{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"n":9007199254740993,"10":1.0,"2":2}';
const B = '{"_id":"b","n":1.0}';
const HEADER = '{"name":"@cloudant/couchbackup","version":"2.11.12","mode":"full","attachments":true}';
const FORMATS: [string, string, string][] = [
  ["a bare array", `\n [${A},\n${B}]\n`, "arrays of documents"],
  ["a body of _bulk_docs", `{"new_edits":false,"docs":[${A},${B}]}`, "a body of _bulk_docs"],
  [
    "an answer of _all_docs",
    `{"total_rows":3,"offset":0,"rows":[\r\n{"id":"a","key":"a","value":{"rev":"2-b"},"doc":${A}},\r\n` +
    `{"id":"b","key":"b","value":{},"doc":${B}},\r\n{"id":"c","key":"c","value":{"rev":"1-c","deleted":true},"doc":null}]}`,
    "an answer of _all_docs",
  ],
  ["couchbackup's file", `${HEADER}\n[${A}]\n[]\n[${B}]\n`, "a file of couchbackup"],
  ["couchbackup's older file, without a first line", `[${A}]\n[${B}]\n`, "arrays of documents"],
];
for (const [what, text, format] of FORMATS) {
  for (const name of ["file.json", "file.txt.gz"]) {
    Deno.test(`restore() reads ${what} from ${name}`, async () => {
      await using setup = await setUpRestore();
      await put(setup, name, text);
      const report = await restore(setup.context, { database: "new", path: name });
      assertEquals([report.ok, report.verified, report.documents], [true, false, 2]);
      assertEquals(setup.log.lines.filter(({ fields }) => fields.format === format).length, 1);
      const leaves = await readAllLeafRevisions(setup.server, "new");
      const [[rev, a] = ["", ""]] = [...leaves.get("a")!];
      assertEquals(rev, "2-b");
      assertStringIncludes(a, '"n":9007199254740993,"10":1.0,"2":2');
      // A document without a revision gets its first one.
      const [[newRev, b] = ["", ""]] = [...leaves.get("b")!];
      assertEquals([newRev.startsWith("1-"), b.includes('"n":1.0')], [true, true]);
    });
  }
}

Deno.test("restore() says which documents without a revision are there already", async () => {
  await using setup = await setUpRestore();
  await put(setup, "file.json", `[${A},${B}]`);
  await restore(setup.context, { database: "new", path: "file.json" });
  const report = await restore(setup.context, { database: "new", path: "file.json", intoExisting: true });
  assertEquals(report.failed.map(({ id, error }) => [id, error]), [["b", "conflict"]]);
});

Deno.test("restore() counts what CouchDB took of a chunk of rows that are no documents, and names the others", async () => {
  const rows = Array.from({ length: 150 }, (_, number) => {
    const document = number % 15 < 2 ? `{"_id":"d${number}","_rev":"1-a"}` : ["[1,,2]", "7", '{"a":}'][number % 3];
    return `{"id":"d${number}","docs":[{"ok":${document}}]}`;
  });
  await using setup = await setUpRestore();
  await put(setup, "rows.json.gz", `{"results":[${rows.join(",")}]}`);
  const bad = Array.from({ length: 150 }, (_, number) => number).filter((number) => number % 15 >= 2);
  for (const dryRun of [true, false]) {
    const report = await restore(setup.context, { database: "new", path: "rows.json.gz", dryRun });
    assertEquals([report.ok, report.documents, report.leaf_revisions], [false, 20, 20], `dry run: ${dryRun}`);
    assertEquals(report.failed_revisions, 130);
    assertEquals(report.failed.map(({ id }) => id).sort(), bad.map((number) => `d${number}`).sort());
  }
  const { json } = await couchOk(setup.server, "GET /new");
  assertEquals(json.doc_count, 20);
});

Deno.test("restore() finds id and revision of a large document behind its attachments", async () => {
  await using setup = await setUpRestore();
  const data = btoa("x".repeat(4_500_000));
  const large = `{"_attachments":{"f":{"content_type":"a/b","data":"${data}"}},"_id":"_design/app","_rev":"3-c"}`;
  // Not compressed, so that it comes in pieces and not at once.
  await put(setup, "file.json", `${HEADER}\n[${large}]\n[${A}]\n`);
  const report = await restore(setup.context, { database: "new", path: "file.json" });
  assertEquals([report.ok, report.documents], [true, 2]);
  const leaves = await readAllLeafRevisions(setup.server, "new");
  assertEquals([...leaves.get("_design/app")!.keys()], ["3-c"]);
  const order = setup.server.requestsTo("_bulk_docs").map(({ ids }) => ids);
  assertEquals(order, [["a"], ["_design/app"]]);
});

Deno.test("restore() refuses a file that holds no documents in any format it knows", async () => {
  for (const text of ["", "hello", '{"name":"x"}', '"[]"', `${HEADER}\n`]) {
    await using setup = await setUpRestore();
    await put(setup, "file.json", text);
    const run = () => restore(setup.context, { database: "new", path: "file.json" });
    const error = await assertRejects(run, ArchiveError);
    assertStringIncludes(error.message, "file.json");
    assertEquals(setup.server.databases.has("new"), false);
  }
});

Deno.test("restore() reads CouchDB's answers that hold documents, and refuses those that hold none", async () => {
  await using setup = await setUpRestore();
  const { server, context } = setup;
  await couchOk(server, "PUT /source");
  const docs = Array.from({ length: 26 }, (_, index) => ({ _id: `document ${index}` }));
  await couchOk(server, "POST /source/_bulk_docs", { docs });
  const { json } = await couchOk(server, "GET /source/_all_docs?include_docs=true");
  const documents = new Map((json.rows as { id: string; doc: unknown }[]).map(({ id, doc }) => [id, doc]));
  for (const [listing, member] of [["_changes", "results"], ["_all_docs", "rows"]] as const) {
    const { text: bare } = await couchOk(server, `GET /source/${listing}`);
    const bareJson = JSON.parse(bare) as Record<string, { id: string }[]>;
    await put(setup, `${listing}-bare.json`, bare);
    const error = await assertRejects(
      () => restore(context, { database: "bare", path: `${listing}-bare.json` }),
      ArchiveError,
      "no document is in its 26 rows",
    );
    assertEquals(error.exitCode, EXIT.archive);
    const whole = { ...bareJson, [member]: bareJson[member]!.map((row) => ({ ...row, doc: documents.get(row.id) })) };
    await put(setup, `${listing}.json`, JSON.stringify(whole));
    const report = await restore(context, { database: `from${listing}`, path: `${listing}.json` });
    assertEquals([report.ok, report.documents], [true, 26]);
    assertEquals(
      (await couchOk(server, `GET /from${listing}/_all_docs`)).json.rows,
      (await couchOk(server, "GET /source/_all_docs")).json.rows,
    );
  }
});

Deno.test("restore() takes answers without any row for an empty database", async () => {
  await using setup = await setUpRestore();
  for (const [name, text] of Object.entries({ changes: '{"results":[],"last_seq":0}', rows: '{"rows":[]}' })) {
    await put(setup, `${name}.json`, text);
    const report = await restore(setup.context, { database: name, path: `${name}.json` });
    assertEquals([report.ok, report.documents], [true, 0]);
  }
});
