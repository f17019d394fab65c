/**
 * Whole restores on a real CouchDB, given by COUCHDB_URL with the credentials of an administrator in it:
 * `http://admin:secret@127.0.0.1:5984`. Each test makes databases of its own and deletes them.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import type { RestoreContext } from "../../src/commands/restore/context.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { Secret } from "../../src/secret.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { openStore } from "../../src/store/open.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { makeArchive } from "../make_archive.ts";
import { gzipText } from "../commands/restore/setup.ts";
import { parseVectors, withoutHistories } from "../vectors.ts";
import { revision, type Row, writeArchive } from "../write_archive.ts";

interface Place {
  server: CouchServer;
  client: CouchClient;
  store: DirectoryStore;
  root: string;
  context: RestoreContext;
  /** A database's name, decoded; it is deleted in the end. */
  name(name: string): string;
}

async function onServer(test: (place: Place) => Promise<void>): Promise<void> {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  if (url === "") {
    throw new Error(
      "COUCHDB_URL is not set: it names the CouchDB to test against, as http://admin:secret@127.0.0.1:5984",
    );
  }
  const server = serverOf(url);
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-restore-" });
  const log = new RecordedLog();
  const client = new CouchClient({ ...server, password: new Secret(server.password), log });
  const store = new DirectoryStore(root);
  const context: RestoreContext = {
    couch: client,
    repository: new Repository(store, { prefix: "", suffix: "" }),
    openStore: (bucket) => openStore({ bucket }),
    log,
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  };
  const prefix = `restore_${crypto.randomUUID().slice(0, 8)}`;
  const names = new Set<string>();
  const name = (of: string) => {
    names.add(prefix + of);
    return prefix + of;
  };
  try {
    await test({ server, client, store, root, context, name });
  } finally {
    for (const made of names) await couch(server, `DELETE /${encodeURIComponent(made)}`);
    await Deno.remove(root, { recursive: true });
  }
}

async function settingsOf(server: CouchServer, name: string): Promise<unknown> {
  const path = `/${encodeURIComponent(name)}`;
  const [security, limit, info] = await Promise.all(
    ["/_security", "/_revs_limit", ""].map((end) => couchOk(server, `GET ${path}${end}`)),
  );
  return { security: security!.text, limit: limit!.text, q: info!.json.cluster.q, props: info!.json.props };
}

for (const partitioned of [false, true]) {
  const what = partitioned ? "a partitioned database" : "a hard database";
  Deno.test(`restore() gives ${what} back on a real CouchDB, twice with the same result`, () =>
    onServer(async ({ server, client, store, context, name }) => {
      const [from, to] = [name("a/b+c"), name("new")];
      const seeded = await seedHardDatabase(server, from, { documents: 200, attachmentBytes: 5_000_000, partitioned });
      const { folder } = await makeArchive({ couch: client, store, database: from, chunk: 30 });
      for (const intoExisting of [false, true]) {
        const report = await restore(context, { database: to, path: folder, intoExisting });
        assertEquals([report.ok, report.failed, report.created], [true, [], !intoExisting]);
        assertEquals([report.documents, report.leaf_revisions], [seeded.liveIds.length, seeded.leafRevisions]);
        const [before, after] = [await readAllLeafRevisions(server, from), await readAllLeafRevisions(server, to)];
        assertEquals(compareLeafRevisions(before, after), []);
        assertEquals(await settingsOf(server, to), await settingsOf(server, from));
      }
    }));
}

Deno.test("restore() names what a real CouchDB refuses, and writes the rest", () =>
  onServer(async ({ server, root, context, name }) => {
    const to = name("new");
    await couchOk(server, `PUT /${to}`);
    await couchOk(server, `PUT /${to}/_design/rules`, {
      validate_doc_update: "function (newDoc) { if (newDoc.refuse) throw({forbidden: 'Refused by the rules'}); }",
    });
    const stub = { content_type: "a/b", stub: true, revpos: 1, length: 3 };
    const withStub = (id: string, digest: string) =>
      JSON.stringify({ _id: id, _rev: "1-a", _attachments: { f: { ...stub, digest } } });
    const documents = [
      ...Array.from({ length: 200 }, (_, number) => `{"_id":"doc-${number}","_rev":"1-a","n":1.0}`),
      `{"_id":"large","_rev":"1-a","text":"${"x".repeat(9_000_000)}"}`,
      '{"_id":"refused","_rev":"2-b","refuse":true}',
      withStub("stub", "md5-rL0Y20zC+Fzt72VPzMSk2A=="),
      withStub("stub with a bad digest", "md5-x"),
      '{"_id":"bad revision","_rev":"none"}',
      '{"_id":"_bad","_rev":"1-a"}',
      '{"_id":"bad attachment","_rev":"1-a","_attachments":{"f":{"content_type":"a/b","data":"%%"}}}',
      '{"_id":"_design/broken","_rev":"1-a","language":"javascript","views":{"v":{"map":"function ("}}}',
    ];
    await Deno.writeFile(join(root, "file.json.gz"), await gzipText(`{"docs":[${documents.join(",")}]}`));
    const report = await restore(context, { database: to, path: "file.json.gz", intoExisting: true });
    const failed = report.failed.map(({ id, error }) => `${id}: ${error}`).sort();
    assertEquals(failed, [
      "_bad: illegal_docid",
      "_design/broken: compilation_error",
      "bad attachment: bad_request",
      "bad revision: bad_request",
      "large: document_too_large",
      "refused: forbidden",
      "stub with a bad digest: unknown_error",
      "stub: missing_stub",
    ]);
    assertEquals((await couchOk(server, `GET /${to}`)).json.doc_count, 201);
  }));

/**
 * A document that is changed ten times between two readings of it, with histories and without, at a revisions limit of
 * 5.
 */
async function twoStates(server: CouchServer, database: string, query: string): Promise<[string, string]> {
  await couchOk(server, `PUT /${database}?q=2`);
  await couchOk(server, `PUT /${database}/_revs_limit`, "5");
  const states: string[] = [];
  for (let change = 1, _rev: string | undefined; change <= 15; change++) {
    _rev = (await couchOk(server, `PUT /${database}/hot`, { _rev, change })).json.rev;
    if (change !== 5 && change !== 15) continue;
    const { text } = await couchOk(server, `POST /${database}/_bulk_get?${query}`, { docs: [{ id: "hot" }] });
    states.push(/"ok":(\{.*\})\}\]\}\]\}/s.exec(text)![1]!);
  }
  return [states[0]!, states[1]!];
}

for (const query of ["revs=true", "revs=false"]) {
  Deno.test(`restore() brings the later of two states back on a real CouchDB, saved with ${query}`, () =>
    onServer(async ({ server, root, context, name }) => {
      const [before, after] = await twoStates(server, name("from"), query);
      const gone = (rev: string, deleted: boolean) => revision("gone", rev, { deleted });
      const lower: Row[] = [["hot", before], ["gone", gone("5-a", false)]];
      const higher: Row[] = [["hot", after], ["gone", gone("6-b", true)]];
      const properties = { revs_limit: 5 };
      // What is not marked shows that the mark is what makes the difference: both states come back.
      for (const [folder, mark, leaves] of [["a", { again: true }, 1], ["b", {}, 2]] as const) {
        await writeArchive(join(root, folder), {
          chunks: [{ rows: lower }, { rows: higher, ...mark }],
          properties,
        });
        const to = name(`to_${folder}`);
        const report = await restore(context, { database: to, path: folder });
        assertEquals([report.ok, report.documents, report.deleted], [leaves === 1, 2 * leaves, 1]);
        const found = await readAllLeafRevisions(server, to, { also: leaves === 1 ? ["gone"] : [] });
        assertEquals([found.get("hot")?.size, found.get("gone")?.size], [leaves, leaves]);
        const { doc_count, doc_del_count } = (await couchOk(server, `GET /${to}`)).json;
        assertEquals([doc_count, doc_del_count], leaves === 1 ? [1, 1] : [2, 0]);
      }
    }));
}

Deno.test("restore() brings overwritten and deleted documents back as new revisions on a real CouchDB", () =>
  onServer(async ({ server, root, context, name }) => {
    const to = name("as_new");
    const text = (id: string) => `{"_id":"${id}","_rev":"1-a","n":9007199254740993,"x":1.0}`;
    const ids = ["spoilt", "deleted", "never there"];
    await writeArchive(join(root, "backup"), { chunks: [{ rows: ids.map((id) => [id, text(id)]) }] });
    await couchOk(server, `PUT /${to}`);
    const docs = [{ _id: "spoilt", _rev: "2-b" }, { _id: "deleted", _rev: "2-b", _deleted: true }];
    await couchOk(server, `POST /${to}/_bulk_docs`, { new_edits: false, docs });
    const report = await restore(context, { database: to, path: "backup", ids, asNewRevision: true });
    assertEquals([report.ok, report.refused], [true, []]);
    assertEquals(report.written_as_new!.map(({ id, onto, rev }) => [id, onto, rev.slice(0, 2)]), [
      ["spoilt", "2-b", "3-"],
      ["deleted", "2-b", "3-"],
      ["never there", null, "1-"],
    ]);
    for (const id of ids) {
      const { text } = await couchOk(server, `GET /${to}/${encodeURIComponent(id)}`);
      assertEquals(text.includes('"n":9007199254740993,"x":1.0'), true, text);
    }
  }));

for (const format of ["format1", "format2", "increments"]) {
  const folder = new URL(`../fixtures/${format}/`, import.meta.url).pathname;
  Deno.test(`restore() finds in the vectors of ${format} what must be there on a real CouchDB`, () =>
    onServer(async ({ server, context, name }) => {
      const vectors = parseVectors(await Deno.readTextFile(`${folder}expected.json`));
      for (const [number, { path, documents, has_histories, verify }] of vectors.entries()) {
        const to = name(`_${number}`);
        await restore(context, { database: to, path: `${folder}repository/${path}`, salvage: verify === 12 });
        const isDeleted = (texts: Iterable<string>) => [...texts].every((text) => text.includes('"_deleted":true'));
        const also = [...documents].filter(([, revisions]) => isDeleted(revisions.values())).map(([id]) => id);
        const leaves = await readAllLeafRevisions(server, to, { also });
        assertEquals(compareLeafRevisions(documents, has_histories ? leaves : withoutHistories(leaves)), [], path);
      }
    }));
}
