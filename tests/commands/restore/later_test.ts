import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { exitCodeOfRestore } from "../../../src/commands/restore/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { CouchClient } from "../../../src/couchdb/client.ts";
import { EXIT } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { couchOk } from "../../couch_request.ts";
import { startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import type { Fault } from "../../fakes/couchdb/faults.ts";
import { readAllLeafRevisions } from "../../leaf_revisions.ts";
import { type ChunkRequest, revision, type Row, writeArchive, type WriteRequest } from "../../write_archive.ts";
import { alterFile, flipByte, QUICK_RETRY, type RestoreSetup, setUpRestore } from "./setup.ts";

const FOLDER = "2026/11/25/orders";

async function archiveOf(setup: RestoreSetup, request: WriteRequest): Promise<void> {
  await writeArchive(join(setup.root, FOLDER), request);
}

/** Restores into "new". */
async function restoreIt(setup: RestoreSetup, options: Partial<Parameters<typeof restore>[1]> = {}) {
  return await restore(setup.context, { database: "new", path: FOLDER, noViews: true, ...options });
}

/** The revisions of each document that "new" holds: id -> its leaves. */
async function leavesOf(setup: RestoreSetup, also: string[] = []) {
  const all = await readAllLeafRevisions(setup.server, "new", { also });
  return Object.fromEntries([...all].map(([id, leaves]) => [id, [...leaves.keys()].sort()]));
}

/** A document without a history, as with `revisions: false`. */
const state = (id: string, rev: string, deleted = false): Row => [id, revision(id, rev, { body: { rev }, deleted })];

Deno.test("restore() brings the later of two saved states back, and nothing of the older one", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [
      { rows: [state("a", "1-a"), state("b", "5-a"), state("c", "1-c"), state("d", "1-d"), state("e", "1-e")] },
      { rows: [state("f", "1-f")] },
      { rows: [state("b", "6-b", true), state("c", "9-c")], again: true },
      { rows: [state("g", "1-g"), ["h", revision("h", "1-h"), revision("h", "1-i")]] },
      { rows: [["d", revision("d", "7-d"), revision("d", "7-e")], state("c", "12-c")], again: true },
    ],
  });
  const report = await restoreIt(setup);
  assertEquals(await leavesOf(setup, ["b"]), {
    a: ["1-a"],
    b: ["6-b"],
    c: ["12-c"],
    d: ["7-d", "7-e"],
    e: ["1-e"],
    f: ["1-f"],
    g: ["1-g"],
    h: ["1-h", "1-i"],
  });
  const { ok, documents, leaf_revisions, deleted, missing } = report;
  assertEquals({ ok, documents, leaf_revisions, deleted, missing }, {
    ok: true,
    documents: 8,
    leaf_revisions: 10,
    deleted: 1,
    missing: 0,
  });
  const { doc_count, doc_del_count } = (await couchOk(setup.server, "GET /new")).json;
  assertEquals([doc_count, doc_del_count], [7, 1]);
});

Deno.test("restore() reads a chunk read again before all below it, however many chunks are fetched ahead", async () => {
  await using setup = await setUpRestore();
  const chunks = Array.from({ length: 30 }, (_, number): ChunkRequest[] => {
    const rows = Array.from({ length: 50 }, (_, row) => state(`${number}-${row}`, "1-a"));
    if (number % 10 !== 9) return [{ rows }];
    // It saves one document of every chunk below again.
    const later = Array.from({ length: number + 1 }, (_, below) => state(`${below}-${number}`, "2-b"));
    return [{ rows }, { rows: later, again: true }];
  }).flat();
  await archiveOf(setup, { chunks });
  const report = await restoreIt(setup, { parallel: 8 });
  assertEquals([report.ok, report.documents, report.leaf_revisions], [true, 1500, 1500]);
  const leaves = Object.entries(await leavesOf(setup));
  assertEquals(leaves.filter(([, revisions]) => revisions.length !== 1), []);
  const later = leaves.filter(([, [rev]]) => rev === "2-b").map(([id]) => id);
  const expected = [9, 19, 29].flatMap((n) => Array.from({ length: n + 1 }, (_, below) => `${below}-${n}`));
  assertEquals(later.sort(), expected.sort());
});

Deno.test("restore() brings a design document's later state back, large ones too", async () => {
  await using setup = await setUpRestore();
  const design = (rev: string, bytes: number): Row => [
    "_design/app",
    revision("_design/app", rev, {
      body: { _attachments: { f: { content_type: "a/b", data: btoa("x".repeat(bytes)) } } },
    }),
  ];
  for (const [before, after] of [[10, 10], [10, 4_500_000], [4_500_000, 10], [4_500_000, 4_500_000]] as const) {
    await archiveOf(setup, {
      chunks: [
        { rows: [design("1-a", before), state("_design/other", "1-o"), state("a", "1-a")] },
        { rows: [design("2-b", after), state("a", "2-b")], again: true },
      ],
    });
    const report = await restoreIt(setup);
    assertEquals([report.ok, report.documents], [true, 3]);
    assertEquals(await leavesOf(setup), { "_design/app": ["2-b"], "_design/other": ["1-o"], a: ["2-b"] });
    await couchOk(setup.server, "DELETE /new");
  }
});

Deno.test("restore() passes over a large document whose later state is above, and streams the later one", async () => {
  await using setup = await setUpRestore();
  const large = (rev: string): Row => [
    "large",
    revision("large", rev, {
      body: { _attachments: { f: { content_type: "a/b", data: btoa("x".repeat(4_500_000)) } } },
    }),
  ];
  await archiveOf(setup, {
    chunks: [{ rows: [state("a", "1-a"), large("1-a"), state("b", "1-b")] }, { rows: [large("2-b")], again: true }],
  });
  const report = await restoreIt(setup);
  assertEquals([report.ok, report.documents, report.leaf_revisions], [true, 3, 3]);
  assertEquals(await leavesOf(setup), { a: ["1-a"], b: ["1-b"], large: ["2-b"] });
});

Deno.test("restore() with salvage brings the older state back where the chunk with the later one is damaged", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [{ rows: [state("a", "1-a"), state("b", "1-b")] }, { rows: [state("b", "2-b")], again: true }],
  });
  await alterFile(join(setup.root, FOLDER, "0000001.json.gz"), flipByte);
  const report = await restoreIt(setup, { salvage: true });
  assertEquals([exitCodeOfRestore(report), report.documents], [EXIT.archive, 2]);
  assertEquals(await leavesOf(setup), { a: ["1-a"], b: ["1-b"] });
});

Deno.test("restore() as a dry run counts a document in two chunks once", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [
      { rows: [state("a", "1-a"), state("b", "1-b", true), ["c", revision("c", "1-a"), revision("c", "1-b")]] },
      { rows: [state("b", "2-b"), state("c", "2-c", true)], again: true },
      { rows: [state("d", "1-d")] },
    ],
  });
  const { ok, documents, leaf_revisions, deleted, dry_run } = await restoreIt(setup, { dryRun: true });
  assertEquals({ ok, documents, leaf_revisions, deleted, dry_run }, {
    ok: true,
    documents: 4,
    leaf_revisions: 4,
    deleted: 1,
    dry_run: true,
  });
  assertEquals(setup.server.databases.has("new"), false);
});

Deno.test("restore() counts tombstones, and does not look for them among the live documents", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [{
      rows: [
        state("a", "1-a"),
        state("gone", "2-b", true),
        // Both leaves are deleted; of the next one, one.
        ["both", revision("both", "2-a", { deleted: true }), revision("both", "2-b", { deleted: true })],
        ["one", revision("one", "2-a", { deleted: true }), revision("one", "2-b")],
        // It says the word, but not at its top.
        ["says", revision("says", "1-a", { body: { text: '"_deleted":true', inner: { _deleted: true } } })],
      ],
    }],
  });
  const report = await restoreIt(setup);
  assertEquals([report.ok, report.documents, report.deleted, report.missing], [true, 5, 2, 0]);
  const { doc_count, doc_del_count } = (await couchOk(setup.server, "GET /new")).json;
  assertEquals([doc_count, doc_del_count], [3, 2]);
});

Deno.test("restore() says which documents CouchDB could not read when the backup was made, and ends with 3", async () => {
  await using setup = await setUpRestore();
  const unreadable = [
    { id: "b", error: "internal_error", reason: "badmatch" },
    { id: "c", rev: "3-c", error: "cut_off", reason: "the answer ended early" },
  ];
  await archiveOf(setup, { chunks: [{ rows: [state("a", "1-a")] }], manifest: { unreadable } });
  for (const dryRun of [true, false]) {
    const report = await restoreIt(setup, { dryRun });
    assertEquals([report.ok, report.unreadable, report.damaged], [false, unreadable, []]);
    assertEquals(exitCodeOfRestore(report), EXIT.partial);
  }
  assertEquals(await leavesOf(setup), { a: ["1-a"] });
  const said = setup.log.lines.filter(({ event }) => event.startsWith("document is not in the backup"));
  assertEquals(said.map(({ level, fields }) => [level, fields.id]), [
    ["warn", "b"],
    ["warn", "c"],
    ["warn", "b"],
    ["warn", "c"],
  ]);
});

Deno.test("restore() says which settings the backup lacks, and restores the documents without them", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [{ rows: [state("a", "1-a")] }],
    properties: { security: null, revs_limit: null },
  });
  const report = await restoreIt(setup);
  assertEquals([report.ok, report.documents], [true, 1]);
  assertEquals(report.lacking.map(({ what, in_backup }) => [what, in_backup]), [
    ["revs_limit", false],
    ["security", false],
  ]);
  const said = setup.log.lines.filter(({ event }) => event.startsWith("setting is not in the backup"));
  assertEquals(said.map(({ level, fields }) => [level, fields.what]), [["warn", "revs_limit"], ["warn", "security"]]);
});

Deno.test("restore() restores the documents where CouchDB refuses the settings, names these, and ends with 3", async () => {
  await using setup = await setUpRestore();
  await archiveOf(setup, {
    chunks: [{ rows: [state("a", "1-a")] }],
    properties: { security: '{"admins":{"names":["x"]}}', revs_limit: 5 },
  });
  for (const endpoint of ["_security", "_revs_limit"] as const) {
    const fault = { kind: "answer", status: 403, body: { error: "forbidden", reason: "not yours" } } as const;
    setup.server.faults.add({ endpoint, database: "new", times: Infinity, fault });
  }
  const report = await restoreIt(setup);
  assertEquals([report.ok, report.documents, exitCodeOfRestore(report)], [false, 1, EXIT.partial]);
  assertEquals(report.lacking.map(({ what, in_backup }) => [what, in_backup]), [
    ["revs_limit", true],
    ["security", true],
  ]);
  assertStringIncludes(report.lacking[0]!.reason, "not yours");
  assertEquals(await leavesOf(setup), { a: ["1-a"] });
});

Deno.test("restore() restores the documents where CouchDB fails at the settings, names these as its failure, and ends with 3", async () => {
  await using setup = await setUpRestore();
  const security = '{"admins":{"names":["x"]}}';
  await archiveOf(setup, { chunks: [{ rows: [state("a", "1-a")] }], properties: { security, revs_limit: 5 } });
  for (const [endpoint, reason] of [["_security", "no_majority"], ["_revs_limit", "{error,timeout}"]] as const) {
    const fault = { kind: "answer", status: 500, body: { error: "badmatch", reason } } as const;
    setup.server.faults.add({ endpoint, method: "PUT", database: "new", times: Infinity, fault });
  }
  const report = await restoreIt(setup);
  assertEquals([report.ok, report.documents, exitCodeOfRestore(report)], [false, 1, EXIT.partial]);
  assertEquals(report.lacking.map(({ what, in_backup, server_failed }) => [what, in_backup, server_failed]), [
    ["revs_limit", true, true],
    ["security", true, true],
  ]);
  assertStringIncludes(report.lacking[0]!.reason, "CouchDB answered 500 badmatch");
  assertStringIncludes(report.lacking[0]!.hint ?? "", "nodes of its cluster");
  assertEquals(await leavesOf(setup), { a: ["1-a"] });
});

for (const kind of ["drop", "503"] as const) {
  Deno.test(`restore() sets the revisions limit behind a short outage in which that request met ${kind}`, async () => {
    await using setup = await setUpRestore();
    await archiveOf(setup, { chunks: [{ rows: [state("a", "1-a")] }], properties: { revs_limit: 5 } });
    const fault: Fault = kind === "drop" ? { kind } : { kind: "answer", status: 503, body: { error: "starting" } };
    setup.server.faults.add({ endpoint: "_revs_limit", method: "PUT", database: "new", times: 3, fault });
    assertEquals((await restoreIt(setup)).lacking, []);
  });
}

Deno.test("restore() through a cluster whose node is away brings the documents back, and the next one the limit on each copy", async () => {
  await using cluster = await startFakeCluster();
  await using setup = await setUpRestore();
  await archiveOf(setup, { chunks: [{ rows: [state("a", "1-a")] }], properties: { revs_limit: 2000, n: 3 } });
  const [node] = cluster.nodes;
  const { url, login, password } = node!;
  const couch = new CouchClient({ url, login, password: new Secret(password), log: setup.log, retry: QUICK_RETRY });
  const restoreIntoCluster = (intoExisting: boolean) =>
    restore({ ...setup.context, couch }, { database: "new", path: FOLDER, noViews: true, intoExisting });
  cluster.takeAway(2);
  const first = await restoreIntoCluster(false);
  assertEquals([first.documents, first.lacking.map(({ what }) => what)], [1, ["revs_limit"]]);
  cluster.bringBack(2);
  cluster.catchUp(2);
  const since = node!.requests.length;
  const second = await restoreIntoCluster(true);
  assertEquals([second.ok, second.lacking], [true, []]);
  const written = node!.requests.slice(since).filter(({ method, endpoint }) =>
    `${method} ${endpoint}` === "PUT _revs_limit"
  );
  assertEquals(written.length, 1);
});
