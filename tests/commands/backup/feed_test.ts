/** What may happen to one server's database while it is backed up. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InterruptedError } from "../../../src/errors.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { forbidden, unreadable } from "../../fakes/couchdb/faults.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import type { Database } from "../../fakes/couchdb/database.ts";
import { couchOk } from "../../couch_request.ts";
import { ATTEMPTS } from "../../couchdb/impatient_client.ts";
import { filesOf } from "../../read_archive.ts";
import { archivedStates, Backups, expectDocuments, LONG_PATIENCE } from "./feed_setup.ts";

async function start(count: number): Promise<{ fake: FakeCouchDb; database: Database; ids: string[] }> {
  const fake = await startFakeCouchDb();
  await couchOk(fake, "PUT /db");
  const database = fake.databases.get("db")!;
  return { fake, database, ids: fill(database, count) };
}

/** Does something before the n-th request to an endpoint. */
function before(fake: FakeCouchDb, endpoint: string, count: number, work: () => void | Promise<void>): void {
  let seen = 0;
  fake.onRequest(async (request) => {
    if (request.endpoint === endpoint && ++seen === count) await work();
  });
}

Deno.test("backup() has the tombstones of documents that were deleted while it ran, not of those deleted before", async () => {
  const { fake, database, ids } = await start(600);
  await using _ = fake;
  await using backups = new Backups();
  edit(database, ...ids.slice(0, 50).map((_id) => ({ _id, _deleted: true })));
  const deletedMeanwhile = ids.slice(100, 140);
  before(fake, "_bulk_get", 4, () => edit(database, ...deletedMeanwhile.map((_id) => ({ _id, _deleted: true }))));
  // So many pages that the listing is still under way by then.
  const report = await backups.run(fake, { task: { chunk: 20, parallel: 1 } });
  assertEquals(report.status, "complete", report.error);
  const archived = await backups.read();
  expectDocuments(archived, ids.slice(50), archivedTombstones(archived, deletedMeanwhile));
  assertEquals(ids.slice(0, 50).filter((id) => archived.leafRevisions.has(id)), []);
});

function archivedTombstones(archived: Parameters<typeof archivedStates>[0], ids: readonly string[]): string[] {
  const states = archivedStates(archived);
  return ids.filter((id) => states.get(id));
}

Deno.test("backup() saves a document that is changed while it runs in its later state, in a higher chunk", async () => {
  const { fake, database, ids } = await start(12_000);
  await using _ = fake;
  await using backups = new Backups();
  let changed = "", deleted = "";
  // What was fetched first is changed while the last page has yet to be listed.
  before(fake, "_bulk_get", 3, () => {
    [changed = "", deleted = ""] = fake.requestsTo("_bulk_get")[0]!.ids;
    for (const later of [1, 2]) edit(database, { _id: changed, later });
    edit(database, { _id: deleted, _deleted: true });
  });
  const report = await backups.run(fake, { task: { chunk: 1000, parallel: 1 } });
  assertEquals(report.status, "complete", report.error);
  const archived = await backups.read();
  const [text] = [...archived.leafRevisions.get(changed)!.values()];
  assertStringIncludes(text!, '"later":2');
  const states = archivedStates(archived);
  assertEquals(
    [states.size, states.get(deleted), archived.manifest.chunks.at(-1)?.again],
    [ids.length, true, true],
    "its tombstone, or it would come back to life",
  );
});

Deno.test("backup() with tombstones: true takes every one, and else those alone that it needs", async () => {
  const { fake, database, ids } = await start(40);
  await using _ = fake;
  edit(database, ...ids.slice(0, 10).map((_id) => ({ _id, _deleted: true })));
  for (const tombstones of [true, false]) {
    await using backups = new Backups();
    const report = await backups.run(fake, { task: { tombstones } });
    assertEquals([report.documents, report.deleted], tombstones ? [40, 10] : [30, 0]);
    expectDocuments(await backups.read(), ids.slice(tombstones ? 0 : 10), tombstones ? ids.slice(0, 10) : []);
  }
});

Deno.test("backup() does not believe a listing that ends early, and says the numbers", async () => {
  for (
    const [fault, healed] of [[{ rows: 30, loses: true, pending: 0 }, false], [
      { rows: 30, loses: true },
      true,
    ]] as const
  ) {
    const { fake, ids } = await start(120);
    await using _ = fake;
    await using backups = new Backups();
    fake.faults.add({
      endpoint: "_changes",
      times: healed ? 3 : Infinity,
      where: ({ query }) => query.get("limit") !== "0",
      fault: { kind: "short page", ...fault },
    });
    const report = await backups.run(fake, healed ? { context: LONG_PATIENCE } : {});
    if (healed) {
      assertEquals(report.status, "complete", report.error);
      expectDocuments(await backups.read(), ids);
    } else {
      assertEquals([report.status, report.exit_code], ["failed", 3]);
      assertStringIncludes(report.error ?? "", "30 of 120 documents are listed, deleted ones too");
      assertMatch(
        report.hint ?? "",
        / couchdb-backup backup --task \S+ --database db --date \d{4}-\d\d-\d\d --resume resumes$/,
      );
      fake.faults.clear();
      assertEquals((await backups.run(fake, { resume: true })).status, "resumed");
      expectDocuments(await backups.read(), ids);
    }
  }
});

Deno.test("backup() is whole when the feed's files are made anew, split or set back while it runs", async () => {
  const events: [what: string, event: (database: Database) => void][] = [
    ["made anew", (database) => database.rewind()],
    ["split", (database) => database.splitRange()],
  ];
  for (const [what, event] of events) {
    const { fake, database, ids } = await start(12_000);
    await using _ = fake;
    await using backups = new Backups();
    before(fake, "_changes", 2, () => event(database));
    const report = await backups.run(fake, { task: { chunk: 1000 } });
    assertEquals(report.status, "complete", `${what}: ${report.error}`);
    expectDocuments(await backups.read(), ids);
  }
});

Deno.test("backup() counts anew when documents were purged while it ran", async () => {
  const { fake, database, ids } = await start(600);
  await using _ = fake;
  await using backups = new Backups();
  before(fake, "_bulk_get", 3, async () => {
    for (const id of ids.slice(500, 520)) {
      await couchOk(fake, "POST /db/_purge", { [id]: [JSON.parse(database.winnerText(id)!)._rev] });
    }
  });
  const report = await backups.run(fake, { task: { chunk: 50, parallel: 1 } });
  assertEquals(report.status, "complete", report.error);
  expectDocuments(await backups.read(), [...ids.slice(0, 500), ...ids.slice(520)]);
});

Deno.test("backup() lists in smaller pages where a proxy answers 504 to every large one", async () => {
  const { fake, ids } = await start(3000);
  await using _ = fake;
  await using backups = new Backups();
  fake.front.gatewayTimeoutAboveLimit = 1250;
  const report = await backups.run(fake, { task: { chunk: 1000 } });
  assertEquals(report.status, "complete", report.error);
  expectDocuments(await backups.read(), ids);
});

Deno.test("backup() does not call a database gone that a proxy hides by decoding %2F, nor takes another answer for it", async () => {
  await using fake = await startFakeCouchDb();
  await using backups = new Backups();
  await couchOk(fake, "PUT /account%2Fab");
  fake.front.decodesSlashes = true;
  for (const there of ["nothing", "a document"]) {
    if (there === "a document") {
      await couchOk(fake, "PUT /account");
      await couchOk(fake, "PUT /account/ab", { doc_count: 0 });
    }
    const report = await backups.run(fake, { database: "account/ab" });
    assertEquals(report.status, "failed", there);
    assertStringIncludes(report.hint ?? "", "decodes %2F", there);
  }
});

Deno.test("backup() calls a database gone that is deleted before its turn or meanwhile, and that is no failure", async () => {
  for (const endpoint of ["database", "_bulk_get"]) {
    const { fake } = await start(300);
    await using _ = fake;
    await using backups = new Backups();
    before(fake, endpoint, 1, () => couchOk(fake, "DELETE /db").then(() => {}));
    const report = await backups.run(fake);
    assertEquals([report.status, report.error], ["gone", undefined], endpoint);
  }
});

Deno.test("backup() fails where CouchDB lists a database that it does not find, and speaks of proxies", async () => {
  const { fake } = await start(3);
  await using _ = fake;
  await using backups = new Backups();
  fake.faults.add({
    database: "db",
    times: Infinity,
    fault: { kind: "answer", status: 404, body: { error: "not_found" } },
  });
  const report = await backups.run(fake);
  assertEquals([report.status, report.exit_code], ["failed", 10]);
  assert(backups.log.lines.some(({ fields }) => String(fields.hint).includes("a proxy in front of CouchDB")));
});

Deno.test("backup() saves the documents where _security or _revs_limit may not be read, and names what lacks", async () => {
  const { fake, ids } = await start(30);
  await using _ = fake;
  await using backups = new Backups();
  for (const endpoint of ["_security", "_revs_limit"]) fake.faults.add(forbidden("db", endpoint));
  const report = await backups.run(fake);
  assertEquals([report.status, report.warnings?.length], ["complete", 2], report.error);
  const archived = await backups.read();
  expectDocuments(archived, ids);
  assertEquals([archived.manifest.properties.security, archived.manifest.properties.revs_limit], [null, null]);
});

for (const form of ["breaks off", "error row"] as const) {
  Deno.test(`backup() saves 199 of 200 documents and names the one that cannot be read, and tries it first the next time (${form})`, async () => {
    const { fake, ids } = await start(200);
    await using _ = fake;
    await using backups = new Backups();
    fake.faults.add(unreadable("db", [ids[120]!], form));
    const report = await backups.run(fake);
    assertEquals([report.status, report.documents], ["complete", 199], report.error);
    assertEquals(report.unreadable?.map(({ id }) => id), [ids[120]]);
    const { manifest } = await backups.read();
    assertEquals(manifest.unreadable.map(({ id }) => id), [ids[120]]);

    const since = fake.requests.at(-1)!.number;
    const second = await backups.run(fake);
    assertEquals([second.documents, second.unreadable?.length], [199, 1]);
    const asked = fake.requestsTo("_bulk_get").filter(({ number }) => number > since).map(({ ids }) => ids);
    assertEquals(asked[0], [ids[120]!], "first, and alone");
    assertEquals(
      asked.slice(1).flat().includes(ids[120]!),
      asked.slice(1).some((one) => one.length === 1),
      "then no more",
    );

    fake.faults.clear();
    const third = await backups.run(fake);
    assertEquals([third.documents, third.unreadable], [200, undefined]);
    expectDocuments(await backups.read(), ids);
  });
}

for (const chunk of [undefined, 100]) {
  Deno.test(`backup() saves all but a large document whose row always breaks, names it, and tries it first the next time (chunk: ${chunk})`, async () => {
    const { fake, database, ids } = await start(200);
    await using _ = fake;
    await using backups = new Backups();
    const large = ids[120]!;
    edit(database, { _id: large, text: "x".repeat(1_500_000) });
    const breaks = unreadable("db", [large], "breaks within");
    fake.faults.add(breaks);
    const task = { chunk };
    const report = await backups.run(fake, { task });
    assertEquals([report.status, report.documents], ["complete", 199], report.error);
    assertEquals(report.unreadable?.map(({ id }) => id), [large]);
    const { manifest, leafRevisions } = await backups.read();
    assertEquals(manifest.unreadable.map(({ id }) => id), [large]);
    assertEquals([...leafRevisions.keys()].sort(), ids.filter((id) => id !== large).sort());

    const since = fake.requests.at(-1)!.number;
    const second = await backups.run(fake, { task });
    assertEquals([second.documents, second.unreadable?.length], [199, 1]);
    const asked = fake.requestsTo("_bulk_get").filter(({ number }) => number > since).map(({ ids }) => ids);
    assertEquals(asked.slice(0, 1 + ATTEMPTS), Array(1 + ATTEMPTS).fill([large]), "first, and alone");
    assertEquals(asked.slice(1 + ATTEMPTS).flat().includes(large), false, "then no more");

    // What broke yesterday may break once today: that is no defect, and no reason to leave it out.
    fake.faults.clear();
    fake.faults.add({ ...breaks, times: 1 });
    const third = await backups.run(fake, { task });
    assertEquals([third.error, third.documents, third.unreadable], [undefined, 200, undefined]);
    expectDocuments(await backups.read(), ids);
  });
}

Deno.test("backup() that is resumed keeps to what it has left out because its row breaks", async () => {
  const { fake, database, ids } = await start(600);
  await using _ = fake;
  await using backups = new Backups();
  const large = ids[5]!;
  edit(database, { _id: large, text: "x".repeat(1_500_000) });
  fake.faults.add(unreadable("db", [large], "breaks within"));
  const stop = new AbortController();
  before(fake, "_bulk_get", 30, () => stop.abort(new InterruptedError("stopped")));
  const task = { chunk: 20, parallel: 1 };
  await assertRejects(() => backups.run(fake, { task, context: { stop: stop.signal } }), InterruptedError);
  const second = await backups.run(fake, { task, resume: true });
  assertEquals([second.status, second.documents, second.unreadable?.map(({ id }) => id)], ["resumed", 599, [large]]);
  assertEquals((await backups.read()).manifest.unreadable.map(({ id }) => id), [large]);
});

Deno.test("backup() tries many documents that could not be read before with all patience only once", async () => {
  const { fake, ids } = await start(200);
  await using _ = fake;
  await using backups = new Backups();
  const bad = ids.slice(0, 30);
  fake.faults.add(unreadable("db", bad, "error row"));
  const task = { chunk: 5, parallel: 1 };
  assertEquals((await backups.run(fake, { task })).unreadable?.length, bad.length);
  const since = fake.requests.at(-1)!.number;
  const { error, unreadable: named } = await backups.run(fake, { task });
  assertEquals([error, named?.length], [undefined, bad.length], "more than may be unreadable in a row of others");
  const asked = fake.requestsTo("_bulk_get").filter(({ number }) => number > since);
  const triedFirst = asked.slice(0, asked.findIndex(({ ids }) => ids.length > 1));
  const tries = bad.map((id) => triedFirst.filter(({ ids }) => ids.includes(id)).length).sort();
  assertEquals(tries, [...Array(bad.length - 1).fill(1 + 3), 1 + ATTEMPTS]);
});

Deno.test("backup() warns loudly of a database that has shrunk, and leaves the backup before it as it was", async () => {
  const { fake, database, ids } = await start(500);
  await using _ = fake;
  await using backups = new Backups();
  await backups.run(fake);
  const first = await backups.read();
  edit(database, ...ids.map((_id) => ({ _id, _deleted: true })));
  const report = await backups.run(fake);
  assertEquals([report.status, report.documents], ["complete", 0]);
  assertStringIncludes(report.warnings?.[0] ?? "", "has 500");
  assert(backups.log.events("warn").some((event) => event.includes("shrunk")));
  const names = await filesOf(backups.folder);
  assertEquals(names.filter((name) => /^manifest-/.test(name)).length, 2, "both are restore points");
  assertEquals(first.manifest.chunks.filter(({ name }) => !names.includes(name)), []);
});

Deno.test("backup() fails a database that was named by hand and is not there: a typing error is no success", async () => {
  const { fake } = await start(3);
  await using _ = fake;
  await using backups = new Backups();
  const report = await backups.run(fake, { database: "tpyo", pattern: "--database" });
  assertEquals([report.status, report.exit_code], ["failed", 10]);
  assertStringIncludes(report.error ?? "", "404");
});

Deno.test("backup() counts anew when documents were purged between a kill and its resuming", async () => {
  const { fake, database, ids } = await start(600);
  await using _ = fake;
  await using backups = new Backups();
  const stop = new AbortController();
  before(fake, "_bulk_get", 8, () => stop.abort(new InterruptedError("stopped")));
  const context = { stop: stop.signal, signal: stop.signal };
  await backups.run(fake, { task: { chunk: 50, parallel: 1 }, context }).catch(() => {});
  for (const id of ids.slice(0, 20)) {
    await couchOk(fake, "POST /db/_purge", { [id]: [JSON.parse(database.winnerText(id)!)._rev] });
  }
  // Without counting anew, the purged ones would stand in for as many that the listing lacks.
  const since = fake.requests.at(-1)!.number;
  const report = await backups.run(fake, { resume: true, task: { chunk: 50 } });
  assertEquals(report.status, "resumed", report.error);
  expectDocuments(await backups.read(), ids.slice(20));
  const fromTheBeginning = fake.requestsTo("_changes").filter(({ number, query }) =>
    number > since && query.get("since") === "0"
  );
  assertEquals(fromTheBeginning.length > 0, true, "all of the feed is counted once more");
});

Deno.test("backup() saves a database all anew that was deleted and created again while it was saved", async () => {
  // Before its first page, between two pages, and when all of them are listed.
  for (const [endpoint, count, size] of [["_changes", 1, 700], ["_changes", 2, 5100], ["_bulk_get", 3, 700]] as const) {
    const { fake } = await start(size);
    await using _ = fake;
    await using backups = new Backups();
    let anew: string[] = [];
    // Whoever asks between the two is rightly told that there is no such database.
    let isThere: Promise<void> | undefined;
    fake.onRequest(async ({ method }) => {
      if (method !== "DELETE" && method !== "PUT") await isThere;
    });
    before(fake, endpoint, count, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      isThere = promise;
      await couchOk(fake, "DELETE /db");
      await couchOk(fake, "PUT /db");
      anew = fill(fake.databases.get("db")!, 650, { prefix: "anew" });
      resolve();
    });
    const report = await backups.run(fake, { task: { chunk: 100, parallel: 1 }, context: { freshMs: 0 } });
    const what = `${endpoint} ${count}: ${report.error}`;
    assertEquals([report.status, report.documents, report.absent], ["complete", 650, 0], what);
    assertEquals(report.full_because, undefined, "changes would never do");
    const archived = await backups.read();
    expectDocuments(archived, anew);
    assertEquals(archived.leafRevisions.size, 650, what);
  }
});

Deno.test("backup() fails where a database is created again and again", async () => {
  const { fake } = await start(60);
  await using _ = fake;
  await using backups = new Backups();
  fake.onRequest(async ({ endpoint }) => {
    if (endpoint !== "_bulk_get") return;
    await couchOk(fake, "DELETE /db");
    await couchOk(fake, "PUT /db");
    fill(fake.databases.get("db")!, 60);
  });
  const report = await backups.run(fake, { context: { freshMs: 0 } });
  assertEquals([report.status, report.exit_code], ["failed", 3]);
  assertStringIncludes(report.error ?? "", "the database was deleted and created again while it was saved");
});

Deno.test("backup() lists once where the ids are as many as CouchDB counts, though the filter that counts them may have erred", async () => {
  const { fake, database, ids } = await start(100);
  await using _ = fake;
  await using backups = new Backups();
  // Its filter was made for a hundred of them.
  before(fake, "_changes", 1, () => void ids.push(...fill(database, 400, { from: 100 })));
  const report = await backups.run(fake, { task: { chunk: 100 } });
  assertEquals(report.status, "complete", report.error);
  expectDocuments(await backups.read(), ids);
  assertEquals(fake.requestsTo("_changes").filter(({ query }) => query.get("since") === "0").length, 1);
});
