import { assert, assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { IdBatch, PackedPages } from "../../src/couchdb/batch.ts";
import type { ReadOptions } from "../../src/couchdb/bulk_get.ts";
import { BatchReader, RestartNeeded } from "../../src/couchdb/read.ts";
import { CouchError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import { edit } from "../fakes/couchdb/edits.ts";
import { type FakeCouchDb, type Fault, startFakeCouchDb } from "../fakes/couchdb.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { RecordedLog } from "../fakes/log.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { countRevisions, leafRevisionsOf } from "../read_archive.ts";
import { until } from "../until.ts";
import { createDatabase, idsOf, impatientClient } from "./impatient_client.ts";

const IDS = idsOf(8);

function reader(client: CouchClient, batch: IdBatch, options: Partial<ReadOptions> = {}): BatchReader {
  return new BatchReader(client, "a", batch, {
    revisions: true,
    attachments: true,
    log: new RecordedLog(),
    ...options,
  });
}

/** Ids as a batch, of which nobody has listed the revisions. */
function batchOf(ids: readonly string[]): IdBatch {
  return IdBatch.of(ids.map((id) => ({ id, revs: [] })));
}

/** The same, packed in pages of three. */
function packedBatchOf(ids: readonly string[]): IdBatch {
  const packed = new PackedPages();
  for (let from = 0; from < ids.length; from += 3) {
    packed.add(ids.slice(from, from + 3).map((id) => ({ id, revs: [] })));
  }
  return IdBatch.packed(packed);
}

/** The chunk that a reader yields, checked against what it says of it. */
async function read(runReader: BatchReader): Promise<LeafRevisions> {
  const bytes = Buffer.concat(await Array.fromAsync(runReader.read(), (bytes) => bytes.slice()));
  const found = leafRevisionsOf(bytes.toString());
  const { documents, leafRevisions, bytes: counted } = runReader.counts;
  assertEquals([documents, leafRevisions, counted], [found.size, countRevisions(found), bytes.length]);
  return found;
}

const SOON = { bulkTimeoutMs: 400, stallTimeoutMs: 400 };

/**
 * Reads `IDS` while one fault after the other is met, and checks that nothing is lost. Returns the ids of each request.
 */
async function readThrough(
  fake: FakeCouchDb,
  faults: { fault: Fault; times?: number; skip?: number; id?: string }[],
  client?: CouchClient,
): Promise<string[][]> {
  await createDatabase(fake, "a", IDS, `"text":"${"x".repeat(300)}"`);
  for (const rule of faults) fake.faults.add({ endpoint: "_bulk_get", ...rule });
  // On a busy machine an answer may take its time: only one that does not come is given up soon.
  const isSilent = faults.some(({ fault }) => fault.kind.startsWith("stall"));
  const impatient = client ?? impatientClient(fake, isSilent ? SOON : {});
  const reading = () => read(reader(impatient, batchOf(IDS)));
  const found = isSilent ? await withTurnsForTime(reading) : await reading();
  assertEquals([...found.keys()].sort(), IDS);
  return fake.requestsTo("_bulk_get").map(({ ids }) => ids);
}

Deno.test("BatchReader reads every leaf revision byte by byte, from ids in hand and from packed ones, whatever the version", async () => {
  for (const version of ["2.3.1", "3.1.1", "3.5.0"]) {
    await using fake = await startFakeCouchDb({ version });
    const { liveIds, leafRevisions } = await seedHardDatabase(fake, "a", { documents: 60, attachmentBytes: 2_500_000 });
    const expected = await readAllLeafRevisions(fake, "a");
    const client = impatientClient(fake);
    const listed = await client.listIds("a", { limit: 1000 });
    assertEquals(listed.toSorted(), liveIds.toSorted());
    for (const batch of [batchOf(listed), packedBatchOf(listed)]) {
      const before = fake.requestsTo("_bulk_get").length;
      const runReader = reader(client, batch);
      assertEquals(compareLeafRevisions(expected, await read(runReader)), []);
      assertEquals(runReader.counts.leafRevisions, leafRevisions);
      assertEquals(runReader.counts.absent, 0);
      assertEquals(fake.requestsTo("_bulk_get").length - before, 1);
    }
  }
});

Deno.test("BatchReader asks for histories and attachments only where they are wanted", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS, '"_attachments":{"f":{"content_type":"text/plain","data":"YWJj"}}');
  const client = impatientClient(fake);
  const texts: string[] = [];
  for (const [revisions, attachments] of [[true, true], [true, false], [false, true], [false, false]]) {
    const run = batchOf(["d00000"]);
    const found = await read(reader(client, run, { revisions: revisions!, attachments: attachments! }));
    texts.push([...found.get("d00000")!.values()][0]!);
  }
  assertEquals(texts.map((text) => [text.includes("_revisions"), text.includes("YWJj")]), [
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ]);
});

Deno.test("BatchReader tells of documents and bytes as they pass, and of all in the end", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", idsOf(300), `"text":"${"x".repeat(2000)}"`);
  const steps: { documents: number; bytes: number }[] = [];
  const onRows = (step: { documents: number; bytes: number }) => void steps.push(step);
  const runReader = reader(impatientClient(fake), batchOf(idsOf(300)), { onRows });
  await read(runReader);
  assert(steps.length > 3, `${steps.length} steps`);
  assertEquals(steps.reduce((sum, { documents }) => sum + documents, 0), 300);
  const bytes = steps.reduce((sum, step) => sum + step.bytes, 0);
  assert(runReader.counts.bytes - bytes < 20, "all but the frame");
});

Deno.test("BatchReader asks again, one by one, for the rows that were errors", async () => {
  await using fake = await startFakeCouchDb();
  const wrong = [IDS[1]!, IDS[5]!];
  const requests = await readThrough(fake, [{ fault: { kind: "error rows", ids: wrong } }]);
  assertEquals(requests, [IDS, [wrong[0]!], [wrong[1]!]]);
});

Deno.test("BatchReader heals a request of which every row is an error because one document is missing", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows", error: "not_found", reason: "missing" } });
  const asked = [...IDS, "gone"];
  const runReader = reader(impatientClient(fake), batchOf(asked));
  assertEquals([...(await read(runReader)).keys()], IDS);
  assertEquals(runReader.counts.absent, 1);
  assertEquals(fake.requestsTo("_bulk_get").map(({ ids }) => ids), [asked, ...asked.map((id) => [id])]);
});

Deno.test("BatchReader counts a document as absent only when it is missing alone, and does not ask again then", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const runReader = reader(impatientClient(fake), batchOf(["never", ...IDS, "purged"]));
  assertEquals([...(await read(runReader)).keys()], IDS);
  assertEquals([runReader.counts.documents, runReader.counts.absent], [IDS.length, 2]);
  assertEquals(fake.requestsTo("_bulk_get").length, 3);
});

Deno.test("BatchReader keeps a document that was deleted behind the listing, as the tombstone it has become", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const { json } = await couchOk(fake, `GET /a/${IDS[2]}`);
  await couchOk(fake, `DELETE /a/${IDS[2]}?rev=${json._rev}`);
  const found = await read(reader(impatientClient(fake), batchOf(IDS)));
  assertStringIncludes([...found.get(IDS[2]!)!.values()][0]!, '"_deleted":true');
});

Deno.test("BatchReader heals a row alone, too, from a broken connection and from another error", async () => {
  await using fake = await startFakeCouchDb();
  const id = IDS[4]!;
  const alone = { id, skip: 1 };
  const requests = await readThrough(fake, [
    { fault: { kind: "error rows", ids: [id] } },
    { ...alone, skip: 0, fault: { kind: "drop" } },
    { ...alone, skip: 0, fault: { kind: "error rows", ids: [id], error: "timeout" } },
  ]);
  assertEquals(requests, [IDS, [id], [id], [id]]);
});

Deno.test("BatchReader asks only for what is missing when an answer is cut off amid a row", async () => {
  for (const kind of ["cut off", "truncate", "stall midway"] as const) {
    await using fake = await startFakeCouchDb();
    // A row of these documents has about 450 bytes.
    const requests = await readThrough(fake, [{ fault: { kind, afterBytes: 1700 } }]);
    const [, ...again] = requests;
    const missing = again.flat();
    assert(missing.length < IDS.length && missing.length > 0, JSON.stringify(requests));
    assertEquals(missing, IDS.slice(-missing.length), kind);
    // What is too slow is asked for in halves at once, what was cut off in one request.
    assertEquals(again.length, kind === "stall midway" ? 2 : 1, kind);
  }
});

Deno.test("BatchReader makes the same request again after a failure, and halves it after a second one", async () => {
  const failures: Fault[] = [{ kind: "answer", status: 500 }, { kind: "cut off", afterBytes: 5 }];
  for (const fault of failures) {
    await using fake = await startFakeCouchDb();
    assertEquals(await readThrough(fake, [{ fault }]), [IDS, IDS]);
  }
  for (const fault of failures) {
    await using fake = await startFakeCouchDb();
    assertEquals(await readThrough(fake, [{ fault, times: 3 }]), [
      IDS,
      IDS,
      IDS.slice(0, 4),
      IDS.slice(0, 4),
      IDS.slice(4),
    ]);
  }
});

Deno.test("BatchReader makes a request again that was dropped without an answer", async () => {
  await using fake = await startFakeCouchDb();
  // The runtime itself repeats a request at once when a connection that it has kept open is closed.
  const requests = await readThrough(fake, [{ fault: { kind: "drop" }, times: 1 }]);
  assertEquals([requests.at(0), requests.at(-1)], [IDS, IDS]);
});

Deno.test("BatchReader halves what is too much at once: a 413, and an answer that takes too long", async () => {
  const halved = [IDS, IDS.slice(0, 4), IDS.slice(0, 2), IDS.slice(2, 4), IDS.slice(4)];
  const faults: Fault[] = [{ kind: "answer", status: 413 }, { kind: "stall" }, { kind: "stall midway", afterBytes: 5 }];
  for (const fault of faults) {
    await using fake = await startFakeCouchDb();
    assertEquals(await readThrough(fake, [{ fault, times: 2 }]), halved, JSON.stringify(fault));
  }
});

Deno.test("BatchReader asks for less where a proxy resets large requests", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(500);
  await createDatabase(fake, "a", ids);
  fake.front.resetsAboveBytes = 2000;
  const found = await read(reader(impatientClient(fake), batchOf(ids)));
  assertEquals([...found.keys()].sort(), ids);
});

Deno.test("BatchReader halves a request that is streamed where a proxy wants its length", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(20_001);
  await createDatabase(fake, "a", ids);
  const isStreamed = ({ headers }: { headers: Headers }) => !headers.has("content-length");
  fake.faults.add({ endpoint: "_bulk_get", where: isStreamed, times: 9, fault: { kind: "answer", status: 411 } });
  const found = await read(reader(impatientClient(fake, { bulkTimeoutMs: 60_000 }), packedBatchOf(ids)));
  assertEquals(found.size, ids.length);
  assertEquals(fake.requestsTo("_bulk_get").map(({ status }) => status), [411, 200, 200]);
});

Deno.test("BatchReader does not halve a request because of a 429, and leaves the server alone for as long as it asks", async () => {
  await using fake = await startFakeCouchDb();
  const started = performance.now();
  const fault: Fault = { kind: "answer", status: 429, headers: { "retry-after": "0.15" } };
  assertEquals(await readThrough(fake, [{ fault, times: 2 }]), [IDS, IDS, IDS]);
  assert(performance.now() - started >= 300);
});

Deno.test("BatchReader asks once where asking again cannot help", async () => {
  for (const status of [400, 401, 403, 404]) {
    await using fake = await startFakeCouchDb();
    await createDatabase(fake, "a", IDS);
    fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "answer", status } });
    const client = impatientClient(fake);
    for (const batch of [batchOf(IDS), packedBatchOf(IDS)]) {
      const before = fake.requestsTo("_bulk_get").length;
      const error = await assertRejects(() => read(reader(client, batch)), CouchError);
      assertEquals(error.facts.status, status);
      assertEquals(fake.requestsTo("_bulk_get").length - before, 1);
    }
  }
});

Deno.test("BatchReader does not believe an answer that lacks a document, has one twice, or one that nobody asked for", async () => {
  const row = (id: string) => ({ id, docs: [{ ok: { _id: id, _rev: "1-x" } }] });
  const cases: [rows: unknown[], asksAgainFor: string[]][] = [
    [IDS.slice(0, -1).map(row), IDS.slice(-1)],
    [[...IDS.slice(0, 6), IDS[0]!].map(row), IDS.slice(6)],
    [[...IDS.slice(0, 6), "unasked"].map(row), IDS.slice(6)],
    [[...IDS.slice(0, 6).map(row), { docs: [] }], IDS.slice(6)],
  ];
  for (const [results, expected] of cases) {
    await using fake = await startFakeCouchDb();
    const requests = await readThrough(fake, [{ fault: { kind: "answer", status: 200, body: { results } } }]);
    assertEquals(requests, [IDS, expected]);
  }
});

Deno.test("BatchReader does not believe an answer that has all rows and does not close", async () => {
  await using fake = await startFakeCouchDb();
  const rows = IDS.map((id) => ({ id, docs: [{ ok: { _id: id, _rev: "1-x" } }] }));
  const body = JSON.stringify({ results: rows }).slice(0, -1);
  const requests = await readThrough(fake, [{ fault: { kind: "answer", status: 200, body } }]);
  assertEquals(requests, [IDS, []]);
});

Deno.test("BatchReader does not take anything but rows for an answer", async () => {
  for (const body of ["<html>", { error: "timeout" }, { results: {} }, ""]) {
    await using fake = await startFakeCouchDb();
    assertEquals(await readThrough(fake, [{ fault: { kind: "answer", status: 200, body } }]), [IDS, IDS]);
  }
});

/** Eight documents, of which the fifth has an attachment that makes its row larger than what is kept. */
async function createWithLargeAttachment(fake: FakeCouchDb): Promise<void> {
  await createDatabase(fake, "a", IDS.filter((_, index) => index !== 4));
  const data = Buffer.alloc(2_000_000, "0123456789abc").toString("base64");
  const attachments = { large: { content_type: "application/octet-stream", data } };
  await couchOk(fake, `PUT /a/${IDS[4]}`, JSON.stringify({ _attachments: attachments }));
}

Deno.test("BatchReader needs a restart when a row breaks that was passed on in part, and then reads its document first, and the others in halves", async () => {
  const breakWith = async (kind: "cut off" | "truncate" | "stall midway") => {
    await using fake = await startFakeCouchDb();
    await createWithLargeAttachment(fake);
    fake.faults.add({ endpoint: "_bulk_get", fault: { kind, afterBytes: 1_500_000 } });
    const client = impatientClient(fake, kind === "stall midway" ? { stallTimeoutMs: 400 } : {});
    const runReader = reader(client, batchOf(IDS));
    const error = await assertRejects(() => read(runReader), RestartNeeded);
    assert(error.cause instanceof CouchError);
    assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a"), await read(runReader)), []);
    const asked = fake.requestsTo("_bulk_get").map(({ ids }) => ids);
    // It is tried alone before.
    assertEquals(asked.slice(0, 5), [IDS, [IDS[4]!], [IDS[4]!], IDS.slice(0, 4), IDS.slice(5)], kind);
  };
  for (const kind of ["cut off", "truncate", "stall midway"] as const) await withTurnsForTime(() => breakWith(kind));
});

Deno.test("BatchReader needs a restart when an error follows a document in a row that was passed on in part", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const large = { ok: { _id: IDS[0], _rev: "1-x", text: "x".repeat(1_500_000) } };
  const error = { error: { id: IDS[0], rev: "2-x", error: "badmatch", reason: "it is broken" } };
  const body = { results: [{ id: IDS[0], docs: [large, error] }] };
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "answer", status: 200, body } });
  const runReader = reader(impatientClient(fake), batchOf([IDS[0]!]));
  await assertRejects(() => read(runReader), RestartNeeded);
  assertEquals([...(await read(runReader)).keys()], [IDS[0]]);
});

Deno.test("BatchReader drops a row that holds both a document and an error, and asks for it alone", async () => {
  await using fake = await startFakeCouchDb();
  const rows = IDS.map((id) => ({ id, docs: [{ ok: { _id: id, _rev: "1-x" } }] as unknown[] }));
  rows[3]!.docs.push({ error: { id: IDS[3], rev: "2-x", error: "badmatch", reason: "it is broken" } });
  const requests = await readThrough(fake, [{ fault: { kind: "answer", status: 200, body: { results: rows } } }]);
  assertEquals(requests, [IDS, [IDS[3]!]]);
});

Deno.test("BatchReader ends with the signal's reason, and asks for nothing more", async () => {
  for (const fault of [{ kind: "stall" }, { kind: "stall midway" }] satisfies Fault[]) {
    await using fake = await startFakeCouchDb();
    await createDatabase(fake, "a", IDS);
    fake.faults.add({ endpoint: "_bulk_get", fault });
    const reason = new Error("not any more");
    const controller = new AbortController();
    const reading = Array.fromAsync(
      reader(impatientClient(fake), batchOf(IDS)).read({ signal: controller.signal }),
    );
    await until(() => fake.requestsTo("_bulk_get").length === 1, "the request");
    // However much of the answer has arrived by then.
    setTimeout(() => controller.abort(reason), 20);
    assertStrictEquals(await assertRejects(() => reading), reason);
    assertEquals(fake.requestsTo("_bulk_get").length, 1);
  }
});

Deno.test("BatchReader copes with a request of which more than a hundred thousand rows are errors", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", []);
  // More than a call takes arguments.
  const ids = Array.from({ length: 130_000 }, (_, number) => `d${number}`);
  const docs = '"docs":[{"error":{"error":"timeout"}}]';
  const answer = (rows: string[]): Fault => {
    const body = `{"results":[${rows.map((id) => `{"id":"${id}",${docs}}`).join(",")}]}`;
    return { kind: "answer", status: 200, body };
  };
  fake.faults.add({ endpoint: "_bulk_get", fault: answer(ids) });
  fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: answer(["d0"]) });
  const runReader = reader(impatientClient(fake), batchOf(ids));
  const error = await assertRejects(() => read(runReader), CouchError);
  assertStringIncludes(error.message, 'Cannot read documents of database "a"');
  assert(
    runReader.unreadable.length > 1 && runReader.unreadable.length < 50,
    "it is CouchDB that fails, not documents",
  );
});

Deno.test("BatchReader asks again many at a time for the rows that an overloaded CouchDB did not get to", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(3000);
  await createDatabase(fake, "a", ids);
  // All that a large request asks for behind the first ones.
  const late = ids.slice(200);
  const timeout: Fault = {
    kind: "error rows",
    ids: late,
    error: "timeout",
    reason: "The request could not be processed",
  };
  fake.faults.add({ endpoint: "_bulk_get", fault: timeout });
  // Of those one poisons every request that it is in, as a missing one does where a node is away.
  const poison = late[1000]!;
  const isPoisoned = (request: { ids: readonly string[] }) => request.ids.includes(poison) && request.ids.length > 1;
  fake.faults.add({ endpoint: "_bulk_get", where: isPoisoned, times: Infinity, fault: { kind: "error rows" } });
  const steps: number[] = [];
  const runReader = reader(impatientClient(fake), packedBatchOf(ids), {
    onRows: ({ documents }) => steps.push(documents),
  });
  assertEquals([...(await read(runReader)).keys()].sort(), ids);
  const requests = fake.requestsTo("_bulk_get").length;
  assert(requests < 100, `${requests} requests`);
  assertEquals(steps.reduce((sum, documents) => sum + documents, 0), ids.length);
  assertEquals(runReader.unreadable, []);
});

Deno.test("BatchReader, of many rows that are errors, asks again while CouchDB is away, and not for ever", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(100);
  await createDatabase(fake, "a", ids);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows" } });
  fake.faults.add({ endpoint: "_bulk_get", times: 2, fault: { kind: "answer", status: 429 } });
  assertEquals([...(await read(reader(impatientClient(fake), batchOf(ids)))).keys()].sort(), ids);
  assertEquals(fake.requestsTo("_bulk_get").map(({ ids }) => ids.length), [100, 100, 100, 100]);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows" } });
  fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "answer", status: 429 } });
  await assertRejects(() => read(reader(impatientClient(fake), batchOf(ids))), CouchError);
});

Deno.test("BatchReader asks only for the rest of a large request that is cut again and again, and counts it once", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(2000);
  await createDatabase(fake, "a", ids, `"text":"${"x".repeat(200)}"`);
  fake.faults.add({ endpoint: "_bulk_get", times: 6, fault: { kind: "cut off", afterBytes: 50_000 } });
  let documents = 0;
  const onRows = (step: { documents: number }) => void (documents += step.documents);
  const runReader = reader(impatientClient(fake), packedBatchOf(ids), { onRows });
  assertEquals([...(await read(runReader)).keys()].sort(), ids);
  assertEquals(documents, ids.length);
  const asked = fake.requestsTo("_bulk_get").map(({ ids }) => ids.length);
  assertEquals(asked.length > 6 && asked[1]! < 2000, true, `${asked}`);
});

Deno.test("BatchReader asks on for the rest of a packed batch whose answer breaks", async () => {
  await using fake = await startFakeCouchDb();
  await createWithLargeAttachment(fake);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "cut off", afterBytes: 500 } });
  const runReader = reader(impatientClient(fake), packedBatchOf(IDS));
  assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a"), await read(runReader)), []);
  const asked = fake.requestsTo("_bulk_get").map(({ ids }) => ids);
  assertEquals(asked.length, 2);
  assertEquals(asked[1], IDS.slice(-asked[1]!.length), "what was answered is not asked for again");
});

for (
  const [what, revisions, bytes] of [["in hand", false, 10], ["passed on", false, 1_500_000], [
    "cut",
    true,
    10,
  ]] as const
) {
  Deno.test(`BatchReader takes a document that was changed since it was listed at once, without its history (${what})`, async () => {
    await using fake = await startFakeCouchDb();
    await createDatabase(fake, "a", IDS, `"text":"${"x".repeat(bytes)}"`);
    const database = fake.databases.get("a")!;
    database.revsLimit = 2;
    const revOf = (id: string) => [`1-${database.tree(id)!.winner()!.hash}`];
    const batch = IdBatch.of(IDS.slice(0, 3).map((id) => ({ id, revs: revOf(id) })));
    const text = "y".repeat(bytes);
    for (let later = 0; later < 4; later++) edit(database, { _id: IDS[1], later, text });
    const runReader = reader(impatientClient(fake), batch, { revisions });
    const found = await read(runReader);
    assertEquals(found.size, 3);
    assertEquals([...found.get(IDS[1]!)!.keys()].map((rev) => rev[0]), ["5"]);
    assertEquals([fake.requestsTo("_bulk_get").length, runReader.unreadable], [1, []]);
  });
}

Deno.test("BatchReader asks again for a listed revision that an older answer lacks, or one of the same generation", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const hash = fake.databases.get("a")!.tree(IDS[0]!)!.winner()!.hash;
  for (const revs of [[`2-${"a".repeat(32)}`], [`1-${hash}`, `1-${"b".repeat(32)}`]]) {
    const before = fake.requestsTo("_bulk_get").length;
    const runReader = reader(impatientClient(fake), IdBatch.of([{ id: IDS[0]!, revs }]), { revisions: false });
    assertEquals((await read(runReader)).size, 1);
    assertEquals(fake.requestsTo("_bulk_get").length - before, 5);
    assertEquals(runReader.unreadable.map(({ rev }) => rev), [revs.at(-1)!]);
  }
});

Deno.test("BatchReader names a listed revision that the last answer lacks, whatever those before it were", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const rev = `2-${"a".repeat(32)}`;
  for (let errors = 0; errors <= 4; errors++) {
    fake.faults.add({ endpoint: "_bulk_get", times: errors, fault: { kind: "error rows", ids: [IDS[0]!] } });
    const runReader = reader(impatientClient(fake), IdBatch.of([{ id: IDS[0]!, revs: [rev] }]), { revisions: false });
    assertEquals((await read(runReader)).size, 1);
    assertEquals(runReader.unreadable.map(({ rev }) => rev), [rev], `${errors} errors before`);
  }
});

Deno.test("BatchReader names no revision that the last answer has, though those before it lacked it", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const hash = fake.databases.get("a")!.tree(IDS[0]!)!.winner()!.hash;
  const old = `{"_id":"${IDS[0]}","_rev":"1-${"b".repeat(32)}"}`;
  const body = `{"results":[{"id":"${IDS[0]}","docs":[{"ok":${old}}]}]}`;
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows", ids: [IDS[0]!] } });
  fake.faults.add({ endpoint: "_bulk_get", times: 3, fault: { kind: "answer", status: 200, body } });
  const before = fake.requestsTo("_bulk_get").length;
  const runReader = reader(impatientClient(fake), IdBatch.of([{ id: IDS[0]!, revs: [`1-${hash}`] }]), {
    revisions: false,
  });
  assertEquals((await read(runReader)).size, 1);
  assertEquals(fake.requestsTo("_bulk_get").length - before, 5);
  assertEquals(runReader.unreadable, []);
});

Deno.test("BatchReader never has a large document twice in a chunk, where an old copy answers behind an error", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", [IDS[0]!], `"text":"${"x".repeat(1_500_000)}"`);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "error rows", ids: [IDS[0]!] } });
  const rev = `2-${"a".repeat(32)}`;
  const runReader = reader(impatientClient(fake), IdBatch.of([{ id: IDS[0]!, revs: [rev] }]), { revisions: false });
  for (let restart = 0; restart < 2; restart++) await assertRejects(() => read(runReader), RestartNeeded);
  assertEquals((await read(runReader)).size, 1);
  assertEquals(runReader.counts.documents, 1);
  assertEquals(runReader.unreadable.map(({ rev }) => rev), [rev]);
});
