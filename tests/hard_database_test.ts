import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { couch, couchOk } from "./couch_request.ts";
import { startFakeCouchDb } from "./fakes/couchdb.ts";
import { seedHardDatabase, STRANGE_IDS } from "./hard_database.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "./leaf_revisions.ts";

Deno.test("seedHardDatabase() makes what it says", async () => {
  await using fake = await startFakeCouchDb();
  const made = await seedHardDatabase(fake, "a/b+c", { documents: 200, attachmentBytes: 50_000 });
  const { json } = await couchOk(fake, "GET /a%2Fb%2Bc");
  assertEquals([json.doc_count, json.doc_del_count], [made.liveIds.length, made.deletedIds.length]);
  const leaves = await readAllLeafRevisions(fake, "a/b+c");
  assertEquals([...leaves.keys()].sort(), [...made.liveIds].sort());
  assertEquals([...leaves.values()].reduce((sum, revisions) => sum + revisions.size, 0), made.leafRevisions);
  for (const id of STRANGE_IDS) assert(leaves.has(id), id);
  for (const view of made.views) await couchOk(fake, `GET /a%2Fb%2Bc/${view}?limit=0`);
  const withConflicts = [...leaves.values()].filter((revisions) => revisions.size > 1);
  assertGreater(withConflicts.length, 40);
  const [numbers] = leaves.get("numbers")!.values();
  assertStringIncludes(numbers!, '"10":"ten","2":"two","1":"one","big":9007199254740993,');
  const [attachments] = leaves.get("attachments")!.values();
  assertGreater(attachments!.length, 50_000 * 4 / 3);
});

Deno.test("seedHardDatabase() makes winners that are not the first leaf that _bulk_get answers", async () => {
  await using fake = await startFakeCouchDb();
  await seedHardDatabase(fake, "db");
  const ids = ["doc-0000007", "attachments-in-conflict", "two-roots"];
  const { json } = await couchOk(fake, "POST /db/_bulk_get", { docs: ids.map((id) => ({ id })) });
  const firstIsWinner: boolean[] = [];
  for (const { id, docs } of json.results) {
    firstIsWinner.push(docs[0].ok._rev === (await couchOk(fake, `GET /db/${id}`)).json._rev);
  }
  assert(firstIsWinner.includes(false), String(firstIsWinner));
});

Deno.test("seedHardDatabase() fills a partitioned database, and one without validation", async () => {
  await using fake = await startFakeCouchDb();
  const made = await seedHardDatabase(fake, "db", { partitioned: true, validation: false, documents: 60 });
  assertEquals((await couchOk(fake, "GET /db")).json.props, { partitioned: true });
  assertEquals(made.liveIds.filter((id) => !id.startsWith("part:")), ["_design/reports"]);
  assertEquals((await couch(fake, "PUT /db/part:refused", { refuse: true })).status, 201);
});

Deno.test("readAllLeafRevisions() reads the same by open_revs and by _bulk_get", async () => {
  await using fake = await startFakeCouchDb();
  const { deletedIds: also } = await seedHardDatabase(fake, "db", { documents: 60 });
  const one = await readAllLeafRevisions(fake, "db", { also });
  const other = await readAllLeafRevisions(fake, "db", { also, by: "_bulk_get" });
  assertEquals(compareLeafRevisions(one, other), []);
  assertEquals(one.get("deleted")!.size, 1);
});

Deno.test("compareLeafRevisions() names what is missing, added and changed", () => {
  const leaves = (documents: Record<string, Record<string, string>>): LeafRevisions =>
    new Map(Object.entries(documents).map(([id, revisions]) => [id, new Map(Object.entries(revisions))]));
  const left = leaves({ a: { "1-a": '{"n":1.0}' }, b: { "1-b": "{}" } });
  assertEquals(compareLeafRevisions(left, left), []);
  assertEquals(compareLeafRevisions(left, leaves({ a: { "1-a": '{"n":1}' }, c: { "1-c": "{}" } })), [
    String.raw`"a" 1-a differs: "{\"n\":1.0}" and "{\"n\":1}" at character 6`,
    '"b" 1-b is only in the first',
    '"c" 1-c is only in the second',
  ]);
  assertEquals(compareLeafRevisions(left, leaves({}), 1).length, 1);
});
