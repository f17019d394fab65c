import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { ArchiveError, EXIT } from "../../../src/errors.ts";
import { exitCodeOfRestore } from "../../../src/commands/restore/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { couchOk } from "../../couch_request.ts";
import { A, B, FOREIGN_FILES, HEADER, MARKER, REFUSED_FILES } from "../../foreign_files.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { type RestoreSetup, setUpRestore } from "./setup.ts";

/** Writes a file into the store's folder, compressed when its name says so. */
async function put({ root }: RestoreSetup, name: string, content: string | Uint8Array): Promise<void> {
  const path = join(root, name);
  await Deno.mkdir(dirname(path), { recursive: true });
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await Deno.writeFile(path, name.endsWith(".gz") ? gzipSync(bytes) : bytes);
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
    log.events("warn").includes("archive has no manifest: nobody can say whether it is complete"),
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

Deno.test("restore() of the reference script's archive writes what is there, and names what CouchDB could not read", async () => {
  await using setup = await setUpRestore();
  const gone = '{"id":"b","docs":[{"error":{"id":"b","rev":"undefined","error":"not_found","reason":"missing"}}]}';
  const failed = '{"id":"c","docs":[{"error":{"id":"c","rev":"undefined","error":"internal_error","reason":"x"}}]}';
  const there = '{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}}]}';
  await put(setup, "day/db/0000000.json.gz", `{"results":[${there},${gone},${failed}]}`);
  const report = await restore(setup.context, { database: "new", path: "day/db" });
  assertEquals([report.ok, report.documents], [false, 1]);
  assertEquals(report.unreadable, [{ id: "c", error: "internal_error", reason: "x" }]);
  assertEquals(exitCodeOfRestore(report), EXIT.partial);
  const said = setup.log.lines.filter(({ fields }) => fields.lost === 1 || fields.absent === 1).map(({ level }) =>
    level
  );
  assertEquals(said, ["error", "info"]);
  const { unreadable } = await restore(setup.context, { database: "other", path: "day/db", dryRun: true });
  assertEquals(unreadable, report.unreadable);
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

for (const { what, text, format } of FOREIGN_FILES) {
  for (const name of ["file.json", "file.txt.gz"]) {
    Deno.test(`restore() reads ${what} from ${name}`, async () => {
      await using setup = await setUpRestore();
      await put(setup, name, text);
      const expected = [true, false, 2, 2];
      for (const dryRun of [true, false]) {
        const report = await restore(setup.context, { database: "new", path: name, dryRun });
        assertEquals([report.ok, report.verified, report.documents, report.leaf_revisions], expected);
      }
      assertEquals(setup.log.lines.filter(({ fields }) => fields.format === format).length, 1);
      const leaves = await readAllLeafRevisions(setup.server, "new");
      assertEquals([...leaves].map(([id, texts]) => [id, ...texts.keys()]), [["a", "2-b"], ["b ä", "1-c"]]);
      const text_ = leaves.get("a")!.get("2-b")!;
      assertStringIncludes(text_, '"n":9007199254740993,"10":1.0,"2":2');
      const part = await restore(setup.context, { database: "part", path: name, ids: ["b ä"] });
      assertEquals([part.ok, part.documents, part.leaf_revisions], [true, 1, 1]);
      assertEquals([...(await readAllLeafRevisions(setup.server, "part")).keys()], ["b ä"]);
    });
  }
}

Deno.test("restore() with dryRun names the documents that CouchDB refuses, small ones and those too large to be parsed", async () => {
  await using setup = await setUpRestore();
  const documents = [10, 300_000].flatMap((size) => [
    `{"_id":"whole ${size}","_rev":"1-a","n":10,"x":"${"0".repeat(size)}"}`,
    `{"_id":"broken ${size}","_rev":"1-a","n":01,"x":"${"0".repeat(size)}"}`,
  ]);
  await put(setup, "file.json", `[ ${documents.join(" , ")} ]`);
  const seen = [];
  for (const dryRun of [true, false]) {
    const report = await restore(setup.context, { database: "new", path: "file.json", dryRun });
    seen.push([report.documents, report.failed.map(({ id, reason }) => [id, reason])]);
  }
  const refused = ["broken 10", "broken 300000"].map((id) => [id, "invalid UTF-8 JSON"]);
  assertEquals(seen, [[2, refused], [2, refused]]);
});

Deno.test("restore() reads the Rust port's folders, in the order of their numbers, and names a gap", async () => {
  await using setup = await setUpRestore();
  const folder = "backup/ippbx/2026/10/22/couchdb/account/ab";
  const ids = Array.from({ length: 12 }, (_, number) => `d${number}`);
  for (const [number, id] of ids.entries()) {
    await put(setup, `${folder}/${String(number).padStart(3, "0")}.json.gz`, `[{"_id":"${id}","_rev":"1-a"},${A}]`);
  }
  for (const [database, path] of [["account/ab", "2026-10-22"], ["new", folder], ["other", join(setup.root, folder)]]) {
    const report = await restore(setup.context, { database: database!, path: path! });
    assertEquals([report.ok, report.leaf_revisions], [true, 24], path);
    const leaves = await readAllLeafRevisions(setup.server, database!);
    assertEquals([...leaves.keys()].sort(), ["a", ...ids].sort());
  }
  await Deno.remove(join(setup.root, folder, "003.json.gz"));
  const run = (salvage: boolean) => restore(setup.context, { database: "third", path: folder, salvage });
  await assertRejects(() => run(false), ArchiveError, "003.json.gz");
  const report = await run(true);
  const missing = { chunk: "003.json.gz", problem: "It is missing", is_missing: true };
  assertEquals([report.leaf_revisions, report.damaged], [22, [missing]]);
  assertEquals(exitCodeOfRestore(report), EXIT.archive);
});

Deno.test("restore() reads the Rust port's documents with histories: that is no backup that has not finished", async () => {
  await using setup = await setUpRestore();
  await put(setup, "day/db/000.json.gz", `[${A}]`);
  assertEquals((await restore(setup.context, { database: "new", path: "day/db" })).ok, true);
});

Deno.test("restore() gives a document without a revision its first one", async () => {
  await using setup = await setUpRestore();
  await put(setup, "file.json", `[${A},{"_id":"b","n":1.0}]`);
  assertEquals((await restore(setup.context, { database: "new", path: "file.json" })).documents, 2);
  const [[rev, b] = ["", ""]] = [...(await readAllLeafRevisions(setup.server, "new")).get("b")!];
  assertEquals([rev.startsWith("1-"), b.includes('"n":1.0')], [true, true]);
});

const HELLO = '"digest":"md5-XUFAKrxLKna5cZ2REBfFkg==","revpos":1,"data":"aGVsbG8="';

Deno.test("restore() gives couchbackup's attachments back with their types and digests, in large documents too", async () => {
  await using setup = await setUpRestore();
  const large = btoa("x".repeat(4_500_000));
  const withTypes = (id: string, more = "") =>
    `{"_id":"${id}","_rev":"1-a","contentType":"a","_attachments":{"f.txt":{"contentType":"text/plain",${HELLO}},` +
    `"g":{"contentType":"image/png","revpos":1,"data":"${more}"}}}`;
  const text = `${HEADER.replace("false", "true")}\n[${withTypes("a")},${withTypes("b", large)}]\n`;
  // CouchDB's own word for it: the digest of text is that of its compressed form.
  await couchOk(setup.server, "PUT /source");
  const docs = [withTypes("a"), withTypes("b", large)].map((document) =>
    document.replaceAll(/"contentType":"(text|image)/g, '"content_type":"$1')
  );
  await couchOk(setup.server, "POST /source/_bulk_docs", `{"new_edits":false,"docs":[${docs}]}`);
  for (const name of ["file.json", "file.json.gz"]) {
    const database = name.replaceAll(".", "-");
    await put(setup, name, text);
    const report = await restore(setup.context, { database, path: name });
    assertEquals([report.ok, report.documents], [true, 2]);
    for (const id of ["a", "b"]) {
      const { json, text } = await couchOk(setup.server, `GET /${database}/${id}`);
      const { json: expected } = await couchOk(setup.server, `GET /source/${id}`);
      assertEquals(json._attachments["f.txt"].content_type, "text/plain");
      assertEquals(json._attachments, expected._attachments);
      // What the document itself calls so stays.
      assertStringIncludes(text, '"contentType":"a"');
    }
  }
  // Of no other format is anything renamed: CouchDB gets what was written.
  await put(setup, "array.json", `[${withTypes("a")}]`);
  await restore(setup.context, { database: "array", path: "array.json" });
  const { json } = await couchOk(setup.server, "GET /array/a");
  assertEquals(json._attachments["f.txt"].content_type, "application/octet-stream");
});

Deno.test("restore() takes couchbackup's first line alone for an empty database", async () => {
  await using setup = await setUpRestore();
  for (const [name, text] of Object.entries({ a: `${HEADER}\n`, b: `${HEADER}\n[]\n`, c: `${HEADER}\n${MARKER}\n` })) {
    await put(setup, `${name}.json`, text);
    const report = await restore(setup.context, { database: name, path: `${name}.json` });
    assertEquals([report.ok, report.documents, exitCodeOfRestore(report)], [true, 0, EXIT.ok]);
    assertEquals(setup.server.databases.has(name), true);
  }
});

Deno.test("restore() with salvage writes every whole line of a broken file, names the others and ends with 12", async () => {
  await using setup = await setUpRestore();
  await put(setup, "file.json", `${HEADER}\n[${A}]\n[{"_id":"x","t\n[${B}]\n`);
  const run = (more: { salvage?: boolean; dryRun?: boolean }) =>
    restore(setup.context, { database: "new", path: "file.json", ...more });
  for (const dryRun of [true, false]) {
    const error = await assertRejects(() => run({ dryRun }), ArchiveError, "Line 3 cannot be read");
    assertStringIncludes(error.hint ?? "", "--salvage");
  }
  assertEquals(setup.server.databases.has("new"), false);
  for (const dryRun of [true, false]) {
    const report = await run({ salvage: true, dryRun });
    assertEquals([report.documents, report.damaged.map(({ chunk }) => chunk)], [2, ["file.json"]]);
    assertStringIncludes(report.damaged[0]!.problem, "Line 3");
    assertEquals(exitCodeOfRestore(report), EXIT.archive);
  }
  assertEquals([...(await readAllLeafRevisions(setup.server, "new")).keys()], ["a", "b ä"]);
});

Deno.test("restore() says which documents without a revision are there already", async () => {
  await using setup = await setUpRestore();
  await put(setup, "file.json", `[${A},{"_id":"b"}]`);
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

Deno.test("restore() with dryRun looks into large documents, too", async () => {
  await using setup = await setUpRestore();
  const text = "x".repeat(4_500_000);
  const rows = ["[1,,2]", "[1,2]"].map((list, at) => `{"_id":"d${at}","_rev":"1-a","text":"${text}","list":${list}}`);
  await put(setup, "file.json", `[${rows.join(",")}]`);
  for (const dryRun of [true, false]) {
    const report = await restore(setup.context, { database: "new", path: "file.json", dryRun });
    assertEquals([report.documents, report.failed.map(({ id }) => id)], [1, ["d0"]], `dry run: ${dryRun}`);
    assertEquals(exitCodeOfRestore(report), EXIT.partial);
  }
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

for (const [what, file, message, hint = "Supported formats"] of REFUSED_FILES) {
  Deno.test(`restore() refuses ${what}, says what it seems to be, and has no useless hint`, async () => {
    await using setup = await setUpRestore();
    await put(setup, "file", file);
    await put(setup, "file.gz", file);
    for (const path of ["file", "file.gz"]) {
      for (const dryRun of [true, false]) {
        const run = () => restore(setup.context, { database: "new", path, dryRun });
        const error = await assertRejects(run, ArchiveError, message);
        assertEquals(error.exitCode, EXIT.archive);
        assertStringIncludes(error.message, `"${path}"`);
        assertStringIncludes(error.hint ?? "", hint);
        assertEquals(error.hint?.includes("--salvage"), false, error.hint);
      }
    }
    assertEquals(setup.server.databases.has("new"), false);
  });
}

Deno.test("restore() never writes what has no id of its own, and names it by the id of its row", async () => {
  await using setup = await setUpRestore();
  await put(setup, "file.json", `{"rows":[{"id":"a","doc":${A}},{"id":"b","doc":{"n":1}}]}`);
  for (const dryRun of [true, false]) {
    const report = await restore(setup.context, { database: "new", path: "file.json", dryRun });
    assertEquals([report.documents, report.failed.map(({ id, reason }) => [id, reason])], [
      1,
      [["b", 'Document has no "_id"']],
    ]);
    assertEquals(exitCodeOfRestore(report), EXIT.partial);
  }
  assertEquals([...(await readAllLeafRevisions(setup.server, "new")).keys()], ["a"]);
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
