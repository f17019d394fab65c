/**
 * Backups of small databases, whose feed brings the documents along: they are what `_bulk_get` would have answered, and
 * whatever stands in the way of that is asked for by `_bulk_get`.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import type { Fault } from "../../fakes/couchdb/faults.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import { couchOk } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import type { Task } from "../../../src/task/task.ts";
import { Backups, expectDocuments } from "./feed_setup.ts";

const SMALL: FakeCouchDbOptions = { externalBytes: 5000, seed: 7 };

async function start(
  count: number,
  options: FakeCouchDbOptions = SMALL,
): Promise<{ fake: FakeCouchDb; ids: string[] }> {
  const fake = await startFakeCouchDb(options);
  await couchOk(fake, "PUT /db");
  return { fake, ids: fill(fake.databases.get("db")!, count) };
}

/** How often the feed was asked for with documents, for the others, and how often documents were asked for. */
function askedFor(fake: FakeCouchDb): { carrying: number; plain: number; bulk: number } {
  const feeds = fake.requestsTo("_changes");
  const carrying = feeds.filter(({ path }) => path.includes("include_docs=true")).length;
  return { carrying, plain: feeds.length - carrying, bulk: fake.requestsTo("_bulk_get").length };
}

const ONE_REQUEST = { carrying: 1, plain: 0, bulk: 0 };

Deno.test("backup() of a small database asks for its documents along with the listing, and stores the same chunk", async () => {
  for (const task of [{}, { revisions: false }, { chunk: undefined }, { chunk: 7 }] as Partial<Task>[]) {
    await using both = new AsyncDisposableStack();
    const chunks: (string | undefined)[] = [];
    for (const options of [SMALL, { ...SMALL, externalBytes: 0 }]) {
      const { fake, ids } = await start(20, options);
      both.use(fake);
      const backups = both.use(new Backups());
      const report = await backups.run(fake, { task });
      assertEquals([report.status, report.documents, report.absent], ["complete", 20, 0], report.error);
      const asked = askedFor(fake);
      if (options === SMALL) assertEquals(asked, ONE_REQUEST, JSON.stringify(task));
      else assertEquals([asked.carrying, asked.bulk > 0], [0, true]);
      const archived = await backups.read();
      expectDocuments(archived, ids);
      const revisions = [...archived.leafRevisions].map(([id, revs]) => [id, ...revs.values()].join(" ")).sort();
      chunks.push(revisions.join("\n"));
    }
    assertEquals(chunks[0], chunks[1]);
  }
});

Deno.test("backup() asks for documents of a small database where the feed does not have all of them", async () => {
  const attached = { _id: "other", _attachments: { "t.txt": { content_type: "text/plain", data: "aGVsbG8=" } } };
  const works: { work: (ids: string[]) => Record<string, unknown>; expected: string }[] = [
    { work: ([_id]) => ({ _id, later: 1 }), expected: '"later":1' },
    { work: () => attached, expected: '"data":"aGVsbG8="' },
  ];
  for (const { work, expected } of works) {
    const { fake, ids } = await start(5);
    await using _ = fake;
    await using backups = new Backups();
    edit(fake.databases.get("db")!, work(ids));
    const report = await backups.run(fake);
    assertEquals(report.status, "complete", report.error);
    assertEquals(askedFor(fake), { carrying: 1, plain: 0, bulk: 1 }, expected);
    const archived = await backups.read();
    expectDocuments(archived, ids);
    const texts = [...archived.leafRevisions.values()].flatMap((revs) => [...revs.values()]).join("\n");
    assertStringIncludes(texts, expected);
    assert(!texts.includes('"stub"'), texts);
  }
});

Deno.test("backup() lists a small database in the plain way where the feed fails with documents", async () => {
  const answer = (status: number, error: string) =>
    ({ kind: "answer", status, body: { error, reason: "so" } }) as const;
  const failures: Fault[] = [answer(500, "badmatch"), answer(400, "bad_request"), { kind: "cut off" }, {
    kind: "truncate",
  }];
  for (const fault of failures) {
    const { fake, ids } = await start(10);
    await using _ = fake;
    await using backups = new Backups();
    fake.faults.add({ endpoint: "_changes", fault });
    const report = await backups.run(fake);
    assertEquals(report.status, "complete", report.error);
    assertEquals(askedFor(fake), { carrying: 1, plain: 1, bulk: 1 });
    expectDocuments(await backups.read(), ids);
  }
});

Deno.test("backup() waits before it asks a CouchDB again that wants a pause", async () => {
  for (const status of [429, 503]) {
    const { fake } = await start(10);
    await using _ = fake;
    await using backups = new Backups();
    fake.faults.add({ endpoint: "_changes", fault: { kind: "answer", status, body: { error: "busy", reason: "so" } } });
    const couch = impatientClient(fake);
    assertEquals((await backups.run(fake, { context: { couch } })).status, "complete");
    assertEquals([askedFor(fake), couch.retries], [{ carrying: 1, plain: 1, bulk: 1 }, 1]);
  }
});

Deno.test("backup() has no documents brought along where it goes on from another backup", async () => {
  const { fake, ids } = await start(10);
  await using _ = fake;
  await using backups = new Backups();
  const task = { increments: { most: 14 } };
  assertEquals((await backups.run(fake, { task })).kind, "full");
  assertEquals(askedFor(fake), ONE_REQUEST);
  edit(fake.databases.get("db")!, { _id: ids[0]!, later: 1 }, { _id: "new" });
  const report = await backups.run(fake, { task, day: 4 });
  assertEquals([report.kind, report.documents], ["incremental", 2], report.error);
  const { carrying, bulk } = askedFor(fake);
  assertEquals([carrying, bulk], [1, 1]);
});

Deno.test("backup() asks once with a login that is refused meanwhile", async () => {
  const { fake } = await start(10);
  await using _ = fake;
  await using backups = new Backups();
  const body = { error: "unauthorized", reason: "Name or password is incorrect." };
  fake.faults.add({ endpoint: "_changes", fault: { kind: "answer", status: 401, body } });
  assertEquals((await backups.run(fake)).status, "failed");
  assertEquals(askedFor(fake), ONE_REQUEST);
});

Deno.test("backup() takes no database for small that is not, or says nothing of its size, or has several copies", async () => {
  for (const [count, options] of [[101, {}], [5, { externalBytes: 300_000 }], [5, { externalBytes: 0 }]] as const) {
    const { fake } = await start(count, { ...SMALL, ...options });
    await using _ = fake;
    await using backups = new Backups();
    assertEquals((await backups.run(fake)).status, "complete");
    assertEquals(askedFor(fake).carrying, 0);
  }
  await using cluster = await startFakeCluster({ externalBytes: 5000 });
  await couchOk(cluster.nodes[0]!, "PUT /db");
  fill(cluster.databases.get("db")!, 5);
  await using backups = new Backups();
  assertEquals((await backups.run(cluster.nodes[0]!)).status, "complete");
  assertEquals(
    cluster.nodes.flatMap((node) => node.requests).filter(({ path }) => path.includes("include_docs")).length,
    0,
  );
});

Deno.test("backup() stores documents that came along under another name where that of their chunk is taken meanwhile", async () => {
  const { fake, ids } = await start(10);
  await using _ = fake;
  await using backups = new Backups();
  // Somebody else's chunk has its name by then.
  fake.onRequest(async (request) => {
    if (request.endpoint !== "_changes") return;
    await Deno.mkdir(backups.folder, { recursive: true });
    await Deno.writeTextFile(`${backups.folder}/0000000.json.gz`, "another run's");
  });
  const report = await backups.run(fake);
  assertEquals(report.status, "complete", report.error);
  assertEquals(askedFor(fake), ONE_REQUEST);
  expectDocuments(await backups.read(), ids);
});
