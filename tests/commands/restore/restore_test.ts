import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { shortRun } from "../../../src/archive/layout.ts";
import { sumChunks } from "../../../src/archive/manifest.ts";
import { ArchiveError, EXIT, UsageError } from "../../../src/errors.ts";
import { exitCodeOfRestore } from "../../../src/commands/restore/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { couch, couchOk } from "../../couch_request.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { makeArchive } from "../../make_archive.ts";
import { alterFile, firstHalf, flipByte, type RestoreSetup, setUpRestore } from "./setup.ts";

/** A setup with a hard database "a/b" and an archive of it, in chunks of so many documents. */
async function setUpArchive(chunk?: number, options: Parameters<typeof seedHardDatabase>[2] = {}) {
  const setup = await setUpRestore();
  const seeded = await seedHardDatabase(setup.server, "a/b", options);
  const { couch, store, context: { repository: { prefix, suffix } } } = setup;
  const archive = await makeArchive({ couch, store, database: "a/b", prefix, suffix, ...(chunk ? { chunk } : {}) });
  return {
    ...setup,
    setup,
    seeded,
    ...archive,
    path: archive.folder,
    inFolder: (name: string) => join(setup.root, archive.folder, name),
  };
}

async function differences(setup: RestoreSetup, left: string, right: string, also: string[] = []): Promise<string[]> {
  const { server } = setup;
  return compareLeafRevisions(
    await readAllLeafRevisions(server, left, { also }),
    await readAllLeafRevisions(server, right, { also }),
  );
}

/** The ids of the documents in a chunk. */
async function idsIn(path: string): Promise<string[]> {
  const stream = (await Deno.open(path)).readable.pipeThrough(new DecompressionStream("gzip"));
  const { results } = await new Response(stream).json() as { results: { id: string }[] };
  return results.map(({ id }) => id);
}

async function settingsOf({ server }: RestoreSetup, database: string) {
  const path = `/${encodeURIComponent(database)}`;
  const [security, limit, info] = await Promise.all(
    ["/_security", "/_revs_limit", ""].map((end) => couchOk(server, `GET ${path}${end}`)),
  );
  const { cluster, props } = info!.json;
  return { security: security!.text.trim(), limit: limit!.text.trim(), q: cluster.q, props };
}

for (const chunk of [undefined, 7]) {
  const how = chunk === undefined ? "one chunk" : `chunks of ${chunk}`;
  Deno.test(`restore() gives back every leaf revision, history, attachment and setting from ${how}`, async () => {
    await using archive = await setUpArchive(chunk, { documents: 120 });
    const { setup, seeded, context } = archive;
    const report = await restore(context, { database: "new/one", path: archive.path });

    assertEquals(await differences(setup, "a/b", "new/one"), []);
    assertEquals(await settingsOf(setup, "new/one"), await settingsOf(setup, "a/b"));
    const winners = async (name: string) => {
      const { json } = await couchOk(setup.server, `GET /${encodeURIComponent(name)}/_all_docs`);
      return (json.rows as { id: string; value: { rev: string } }[]).map(({ id, value }) => [id, value.rev]);
    };
    assertEquals(await winners("new/one"), await winners("a/b"));
    const { seconds: _seconds, finished_at, ...rest } = report;
    assert(Math.abs(Date.parse(finished_at ?? "") - Date.now()) < 3_600_000, `${finished_at}`);
    assertEquals(rest, {
      ok: true,
      database: "new/one",
      path: setup.store.locate(archive.folder),
      verified: true,
      documents: seeded.liveIds.length,
      leaf_revisions: seeded.leafRevisions,
      deleted: 0,
      unreadable: [],
      lacking: [],
      failed: [],
      failed_revisions: 0,
      damaged: [],
      missing: 0,
      created: true,
      views: seeded.views.length,
    });
    assertEquals(exitCodeOfRestore(report), EXIT.ok);
  });
}

Deno.test("restore() asks each view once, and none with noViews", async () => {
  await using archive = await setUpArchive();
  const { context, server, seeded } = archive;
  await restore(context, { database: "with", path: archive.path });
  await restore(context, { database: "without", path: archive.path, noViews: true });
  assertEquals([...server.viewCalls.keys()].sort(), seeded.views.map((view) => `with/${view}`).sort());
});

Deno.test("restore() writes design documents behind all others, so that validation functions refuse nothing old", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /old");
  await couchOk(server, "PUT /old/zzz", { refuse: true });
  await couchOk(server, "PUT /old/_design/rules", {
    validate_doc_update: "function (newDoc) { if (newDoc.refuse) throw({forbidden: 'Refused by the rules'}); }",
  });
  const { folder } = await makeArchive({ couch, store, database: "old", chunk: 1 });
  const report = await restore(context, { database: "new", path: folder });
  assertEquals(report.failed, []);
  assertEquals(await differences(setup, "old", "new"), []);
});

Deno.test("restore() gives a partitioned database back as one", async () => {
  await using archive = await setUpArchive(undefined, { partitioned: true });
  await restore(archive.context, { database: "new", path: archive.path });
  assertEquals((await settingsOf(archive, "new")).props, { partitioned: true });
  assertEquals(await differences(archive, "a/b", "new"), []);
});

Deno.test("restore() has views of a partitioned database built in each of its shards", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /old?partitioned=true&q=5");
  const views = { v: { map: "function (doc) { emit(doc.n, null); }" } };
  await couchOk(server, "PUT /old/_design/parts", { views });
  await couchOk(server, "PUT /old/_design/all", { views, options: { partitioned: false } });
  const { folder } = await makeArchive({ couch, store, database: "old" });
  const report = await restore(context, { database: "new", path: folder });
  assertEquals(report.views, 2);
  const asked = [...server.viewCalls.keys()].map((call) => call.split("/"));
  const partitions = asked.flatMap(([, kind, name]) => kind === "_partition" ? [name!] : []);
  const { shards } = server.databases.get("new")!;
  assertEquals(new Set(partitions.map((name) => shards.rangeOf(`${name}:id`))), new Set(shards.ranges));
  assertEquals([partitions.length, asked.length], [5, 6]);
});

Deno.test("restore() gives an empty database back, with its settings", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /empty?q=3");
  await couchOk(server, "PUT /empty/_security", '{"n":9007199254740993}');
  const { folder } = await makeArchive({ couch, store, database: "empty" });
  const report = await restore(context, { database: "new", path: folder });
  assertEquals([report.ok, report.documents, report.created], [true, 0, true]);
  assertEquals(await settingsOf(setup, "new"), await settingsOf(setup, "empty"));
});

Deno.test("restore() twice, and after it was stopped midway, ends in the same database", async () => {
  await using archive = await setUpArchive(5);
  const { context, server } = archive;
  const stop = new AbortController();
  server.faults.add({
    endpoint: "_bulk_docs",
    database: "new",
    skip: 6,
    fault: { kind: "run", run: () => stop.abort(new Error("killed")) },
  });
  const stopped = { ...context, stop: stop.signal };
  await assertRejects(() => restore(stopped, { database: "new", path: archive.path }), Error, "killed");
  const count = (await couchOk(server, "GET /new")).json.doc_count as number;
  assertGreater(archive.seeded.liveIds.length, count);

  const again = { database: "new", path: archive.path, intoExisting: true };
  for (const _time of ["first", "second"]) {
    const report = await restore(context, again);
    assertEquals([report.ok, report.created, report.documents], [true, false, archive.seeded.liveIds.length]);
    assertEquals(await differences(archive, "a/b", "new"), []);
    assertEquals(await settingsOf(archive, "new"), await settingsOf(archive, "a/b"));
  }
});

Deno.test("restore() refuses a database that holds documents or only the marks of deleted ones", async () => {
  await using archive = await setUpArchive();
  const { context, server } = archive;
  await couchOk(server, "PUT /filled");
  const { json: { rev } } = await couchOk(server, "PUT /filled/x", {});
  const request = { database: "filled", path: archive.path };
  for (const found of ["it holds 1 document", "the marks of 1 deleted one"]) {
    const error = await assertRejects(() => restore(context, request), UsageError, found);
    assertStringIncludes(error.hint!, "--into-existing");
    await couch(server, `DELETE /filled/x?rev=${rev}`);
  }
  assertEquals(server.requestsTo("_bulk_docs", "filled"), []);
});

Deno.test("restore() into a database in use adds the archive's documents and leaves its own settings", async () => {
  await using archive = await setUpArchive();
  const { context, server, log } = archive;
  await couchOk(server, "PUT /used");
  await couchOk(server, "PUT /used/mine", { mine: true });
  await couchOk(server, "PUT /used/_security", '{"admins":{"names":["mine"]}}');
  const report = await restore(context, { database: "used", path: archive.path, intoExisting: true });
  assertEquals([report.ok, report.created], [true, false]);
  assertEquals((await settingsOf(archive, "used")).security, '{"admins":{"names":["mine"]}}');
  assertEquals((await settingsOf(archive, "used")).limit, "1000");
  assertEquals(await differences(archive, "a/b", "used"), [
    '"mine" 1-' + (await couchOk(server, "GET /used/mine")).json._rev.slice(2) + " is only in the second",
  ]);
  assertEquals(log.events("warn").includes("restoring into a database that holds documents"), true);
});

Deno.test("restore() writes replication jobs only when told so in full", async () => {
  await using archive = await setUpArchive(undefined, { documents: 1, validation: false });
  const { context, server } = archive;
  for (const database of ["_replicator", "team%2F_replicator"]) {
    const error = await assertRejects(() => restore(context, { database, path: archive.path }), UsageError);
    assertStringIncludes(error.hint!, "replication job");
  }
  assertEquals(server.requestsTo("_bulk_docs", "_replicator"), []);
  const report = await restore(context, { database: "_replicator", path: archive.path, intoExisting: true });
  assertEquals(report.ok, true);
});

Deno.test("restore() takes a _users database that has only CouchDB's own design document for empty", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  const user = { _id: "org.couchdb.user:bob", name: "bob", type: "user", roles: [] };
  await couchOk(server, "PUT /users-copy");
  await couchOk(server, "PUT /users-copy/org.couchdb.user:bob", user);
  const { folder } = await makeArchive({ couch, store, database: "users-copy" });
  const report = await restore(context, { database: "_users", path: folder });
  assertEquals([report.ok, report.created], [true, false]);
  assertEquals((await couchOk(server, "GET /_users/org.couchdb.user:bob")).json.name, "bob");
});

Deno.test("restore() refuses a partitioned database for an archive of one that was not", async () => {
  await using archive = await setUpArchive();
  await couchOk(archive.server, "PUT /parts?partitioned=true");
  await assertRejects(
    () => restore(archive.context, { database: "parts", path: archive.path }),
    UsageError,
    "it is partitioned, the archive's database was not",
  );
});

Deno.test("restore() with dryRun says what would happen and writes nothing", async () => {
  await using archive = await setUpArchive(10);
  const { context, server, seeded } = archive;
  const before = server.requests.length;
  const report = await restore(context, { database: "new", path: archive.path, dryRun: true });
  assertEquals([report.ok, report.dry_run, report.created], [true, true, true]);
  assertEquals([report.documents, report.leaf_revisions], [seeded.liveIds.length, seeded.leafRevisions]);
  const methods = server.requests.slice(before).map(({ method }) => method);
  assertEquals(methods.filter((method) => method !== "GET"), []);
});

type InFolder = (name: string) => string;

/** Where `names` is absent, it is the manifest that is harmed. */
const DAMAGES: { what: string; names?: string; harm: (inFolder: InFolder, manifest: string) => Promise<void> }[] = [
  {
    what: "a chunk with one flipped byte",
    names: "0000002.json.gz",
    harm: (inFolder) => alterFile(inFolder("0000002.json.gz"), flipByte),
  },
  {
    what: "a truncated chunk",
    names: "0000002.json.gz",
    harm: (inFolder) => alterFile(inFolder("0000002.json.gz"), firstHalf),
  },
  {
    // Its header holds a time, so that all the documents can be read: the checksum alone tells.
    what: "a chunk that differs in gzip's header alone",
    names: "0000002.json.gz",
    harm: (inFolder) =>
      alterFile(inFolder("0000002.json.gz"), (bytes) => {
        bytes[4] = bytes[4]! ^ 0x01;
        return bytes;
      }),
  },
  {
    what: "a chunk whose last byte is wrong",
    names: "0000002.json.gz",
    harm: (inFolder) =>
      alterFile(inFolder("0000002.json.gz"), (bytes) => {
        bytes[bytes.length - 1] = bytes.at(-1)! ^ 0x01;
        return bytes;
      }),
  },
  { what: "a missing chunk", names: "0000002.json.gz", harm: (inFolder) => Deno.remove(inFolder("0000002.json.gz")) },
  {
    what: "a manifest cut in half",
    harm: async (inFolder, manifest) => {
      for (const name of ["manifest.json", manifest]) await alterFile(inFolder(name), firstHalf);
    },
  },
];

for (const { what, names, harm } of DAMAGES) {
  Deno.test(`restore() stops at ${what} and names it`, async () => {
    await using archive = await setUpArchive(10);
    const lost = new Set(await idsIn(archive.inFolder("0000002.json.gz")));
    await harm(archive.inFolder, archive.manifestName);
    const error = await assertRejects(
      () => restore(archive.context, { database: "new", path: archive.path }),
      ArchiveError,
      names ?? archive.manifestName,
    );
    assertEquals(error.exitCode, EXIT.archive);
    assertStringIncludes(error.hint!, "--salvage");
    const written = archive.server.requestsTo("_bulk_docs", "new").flatMap(({ ids }) => ids);
    assertEquals(written.filter((id) => lost.has(id)), []);
  });

  Deno.test(`restore() with salvage restores what is whole beside ${what}`, async () => {
    await using archive = await setUpArchive(10);
    const lost = names === undefined ? [] : await idsIn(archive.inFolder(names));
    await harm(archive.inFolder, archive.manifestName);
    const report = await restore(archive.context, { database: "new", path: archive.path, salvage: true });
    assertEquals(report.damaged.map(({ chunk }) => chunk), [names ?? archive.manifestName]);
    assertEquals([report.ok, exitCodeOfRestore(report)], [false, EXIT.archive]);
    const { json } = await couchOk(archive.server, "GET /new/_all_docs");
    const restored = (json.rows as { id: string }[]).map(({ id }) => id);
    assertEquals(restored.sort(), archive.seeded.liveIds.filter((id) => !lost.includes(id)).sort());
  });
}

Deno.test("restore() writes nothing of a large chunk whose end is damaged, with a manifest and without", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, root, context, log } = setup;
  await couchOk(server, "PUT /old");
  const docs = Array.from({ length: 2400 }, (_, number) => ({ _id: `doc-${number}`, _rev: "1-a" }));
  await couchOk(server, "POST /old/_bulk_docs", { new_edits: false, docs });
  const { folder, manifestName } = await makeArchive({ couch, store, database: "old", revisions: false });
  await alterFile(join(root, folder, "0000000.json.gz"), (bytes) => {
    bytes[bytes.length - 1] = bytes.at(-1)! ^ 0x01;
    return bytes;
  });
  await assertRejects(() => restore(context, { database: "new", path: folder }), ArchiveError, "0000000.json.gz");
  // The same once more would end at the same chunk.
  const early = log.lines.find(({ event }) => event.startsWith("restore ends early"));
  assertStringIncludes(String(early?.fields.hint), "--into-existing --salvage restores what is intact");
  for (const name of ["manifest.json", manifestName]) await Deno.remove(join(root, folder, name));
  await assertRejects(() => restore(context, { database: "newer", path: folder }), ArchiveError, "0000000.json.gz");
  assertEquals(server.requestsTo("_bulk_docs").filter(({ database }) => database !== "old"), []);
});

Deno.test("restore() ignores a chunk that the manifest does not name, and says so", async () => {
  await using archive = await setUpArchive(10);
  const { context, log, inFolder } = archive;
  await Deno.copyFile(inFolder("0000001.json.gz"), inFolder("0000099.json.gz"));
  const report = await restore(context, { database: "new", path: archive.path });
  assertEquals([report.ok, report.documents], [true, archive.seeded.liveIds.length]);
  const said = log.lines.find(({ event }) => event === "object is not restored");
  assertEquals(said?.fields.chunk, "0000099.json.gz");
});

Deno.test("restore() refuses a backup that has not finished, and salvages what its checkpoint names", async () => {
  await using archive = await setUpArchive(10);
  const { manifest, manifestName, inFolder, context } = archive;
  for (const name of ["manifest.json", manifestName]) await Deno.remove(inFolder(name));
  const { finished_at: saved_at, update_seq: { start }, totals: _totals, ...origin } = manifest;
  const chunks = manifest.chunks.slice(0, 3);
  const checkpoint = { ...origin, saved_at, update_seq: { start }, chunks };
  await Deno.writeTextFile(inFolder(`checkpoint-${shortRun(manifest.run)}.json`), JSON.stringify(checkpoint));
  await assertRejects(() => restore(context, { database: "new", path: archive.path }), ArchiveError, "not finished");
  const report = await restore(context, { database: "new", path: archive.path, salvage: true });
  assertEquals([report.ok, report.verified, exitCodeOfRestore(report)], [false, true, EXIT.archive]);
  assertEquals(report.documents, sumChunks(chunks).documents);
});

Deno.test("restore() refuses chunks of this program without manifest and checkpoint: the backup was killed early", async () => {
  await using archive = await setUpArchive(10);
  for (const name of ["manifest.json", archive.manifestName]) await Deno.remove(archive.inFolder(name));
  const request = { database: "new", path: archive.path };
  await assertRejects(() => restore(archive.context, request), ArchiveError, "documents have histories");
  assertEquals(archive.server.databases.has("new"), false);
});

Deno.test("restore() of a single chunk restores its documents, checked against the manifest beside it", async () => {
  await using archive = await setUpArchive(10);
  const ids = await idsIn(archive.inFolder("0000003.json.gz"));
  const report = await restore(archive.context, { database: "new", path: `${archive.path}/0000003.json.gz` });
  assertEquals([report.ok, report.verified, report.documents], [true, true, ids.length]);
});

Deno.test("restore() streams a document that is too large to be held, and sends it again when the connection breaks", async () => {
  await using archive = await setUpArchive(undefined, { documents: 20, attachmentBytes: 5_000_000 });
  const { server } = archive;
  server.faults.add({ endpoint: "_bulk_docs", database: "new", id: "attachments", fault: { kind: "drop" } });
  const report = await restore(archive.context, { database: "new", path: archive.path });
  assertEquals(report.ok, true);
  assertEquals(server.requestsTo("_bulk_docs", "new").filter(({ ids }) => ids.includes("attachments")).length, 2);
  assertEquals(await differences(archive, "a/b", "new"), []);
});

Deno.test("restore() holds a design document that is too large in its chunk, and writes it last all the same", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /old");
  await couchOk(server, "PUT /old/zzz", { refuse: true });
  await couchOk(server, "PUT /old/_design/app", {
    validate_doc_update: "function (newDoc) { if (newDoc.refuse) throw({forbidden: 'Refused by the rules'}); }",
    _attachments: { "app.js": { content_type: "text/javascript", data: btoa("x".repeat(4_500_000)) } },
  });
  const { folder } = await makeArchive({ couch, store, database: "old" });
  const report = await restore(context, { database: "new", path: folder });
  assertEquals([report.ok, report.documents], [true, 2]);
  assertEquals(await differences(setup, "old", "new"), []);
});
