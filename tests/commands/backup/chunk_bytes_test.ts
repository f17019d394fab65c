/**
 * A bound of the bytes of a chunk: whatever it is, the documents are the same, and no chunk has more, but for one
 * document.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { ChunkSize } from "../../../src/commands/backup/chunk_size.ts";
import { IdBatch } from "../../../src/couchdb/batch.ts";
import { BatchReader, RestartNeeded, RoomNeeded } from "../../../src/couchdb/read.ts";
import { InterruptedError } from "../../../src/errors.ts";
import type { Manifest } from "../../../src/archive/manifest.ts";
import { couchOk } from "../../couch_request.ts";
import { createDatabase, idsOf, impatientClient } from "../../couchdb/impatient_client.ts";
import { edit } from "../../fakes/couchdb/edits.ts";
import { type FakeCouchDb, type FaultRule, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { leafRevisionsOf, manifestOf } from "../../read_archive.ts";
import { seededRandom } from "../../fakes/couchdb/random.ts";
import { Backups } from "./feed_setup.ts";
import { Increments } from "./increment_setup.ts";

const KIB = 1024;

/** Documents of sizes that differ by a hundred times, and one with an attachment that is passed on while it arrives. */
async function seedSizes(fake: FakeCouchDb, name: string, { count, seed }: { count: number; seed: number }) {
  const random = seededRandom(seed);
  await createDatabase(fake, name, []);
  const docs = idsOf(count).map((_id) => ({ _id, text: "x".repeat(10 + Math.floor(random() ** 4 * 20_000)) }));
  await couchOk(fake, `POST /${name}/_bulk_docs`, JSON.stringify({ docs }));
}

async function attach(fake: FakeCouchDb, name: string, id: string, bytes: number): Promise<void> {
  const data = Buffer.alloc(bytes, "0123456789abc").toString("base64");
  const attachments = { large: { content_type: "application/octet-stream", data } };
  await couchOk(fake, `PUT /${name}/${id}`, JSON.stringify({ _attachments: attachments }));
}

/** No chunk has more bytes, unless it is one document; none but the last of a batch could have taken the next one. */
function expectBounded(sizes: readonly { documents: number; bytes: number }[], mostBytes: number): void {
  const over = sizes.filter(({ documents, bytes }) => documents > 1 && bytes > mostBytes);
  assertEquals(over, [], `more than ${mostBytes} bytes`);
}

/** Everything of a batch, chunk by chunk. */
async function readAll(fake: FakeCouchDb, ids: readonly string[], mostBytes: number) {
  const client = impatientClient(fake);
  const sizes: { documents: number; bytes: number; restarts: number }[] = [];
  const texts: string[] = [];
  let rest: IdBatch | undefined = IdBatch.of(ids.map((id) => ({ id, revs: [] })));
  while (rest !== undefined) {
    const options = { revisions: true, attachments: true, log: new RecordedLog(), mostBytes };
    const reader: BatchReader = new BatchReader(client, "a", rest, options);
    for (let restarts = 0;; restarts++) {
      try {
        const pieces: Uint8Array[] = [];
        for await (const bytes of reader.read()) pieces.push(bytes.slice());
        const text = Buffer.concat(pieces);
        assertEquals(text.length, reader.counts.bytes);
        assertEquals(leafRevisionsOf(text.toString()).size, reader.counts.documents);
        texts.push(text.toString());
        sizes.push({ ...reader.counts, restarts });
        break;
      } catch (error) {
        if (!(error instanceof RestartNeeded || error instanceof RoomNeeded)) throw error;
      }
    }
    assert(reader.counts.documents > 0 || reader.rest === undefined, "a chunk without a document");
    rest = reader.rest;
  }
  const found = texts.flatMap((text) => [...leafRevisionsOf(text)]);
  assertEquals(found.length, new Set(found.map(([id]) => id)).size, "a document is in two chunks");
  return { sizes, leafRevisions: new Map(found) };
}

Deno.test("BatchReader has no more than chunk_bytes in a chunk, and every document once, whatever the sizes and faults", async () => {
  const faults: (FaultRule | undefined)[] = [
    undefined,
    { endpoint: "_bulk_get", fault: { kind: "cut off", afterBytes: 30_000 } },
    { endpoint: "_bulk_get", fault: { kind: "error rows", ids: ["d00002", "d00017", "d00059"] } },
    { endpoint: "_bulk_get", times: 2, fault: { kind: "answer", status: 500, body: { error: "x", reason: "y" } } },
  ];
  for (const [seed, mostBytes] of [300, 2_000, 7_777, 30_000, 64 * KIB, 10_000_000].entries()) {
    for (const fault of faults) {
      await using fake = await startFakeCouchDb();
      await seedSizes(fake, "a", { count: 60, seed });
      if (fault !== undefined) fake.faults.add(fault);
      const { sizes, leafRevisions } = await readAll(fake, idsOf(60), mostBytes);
      expectBounded(sizes, mostBytes);
      fake.faults.clear();
      assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a"), leafRevisions), []);
      if (mostBytes === 10_000_000) assertEquals(sizes.length, 1);
    }
  }
});

Deno.test("BatchReader keeps to chunk_bytes, and has every document once, where many rows are asked for again", async () => {
  const ids = idsOf(400);
  for (const mostBytes of [3_000, 40_000, 400_000, 10_000_000]) {
    for (const times of [1, 2, 3]) {
      await using fake = await startFakeCouchDb();
      await seedSizes(fake, "a", { count: ids.length, seed: 21 });
      fake.faults.add({ endpoint: "_bulk_get", times, fault: { kind: "error rows", ids: ids.slice(30, 380) } });
      const { sizes, leafRevisions } = await readAll(fake, ids, mostBytes);
      expectBounded(sizes, mostBytes);
      assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a"), leafRevisions), []);
      const requests = fake.requestsTo("_bulk_get").length;
      assert(requests < 4 * sizes.length + 50, `${requests} requests for ${sizes.length} chunks`);
    }
  }
});

Deno.test("BatchReader keeps to chunk_bytes at the first restart, where a large document overflows among rows that are asked for again", async () => {
  const ids = idsOf(900);
  const large = [3, 40, 41, 250, 530, 700, 899].map((index) => ids[index]!);
  // How many ids a request may have before a CouchDB with too much to do answers all of it, or the second half, with
  // errors.
  for (const [most, isHalf] of [[200, false], [100, true]] as const) {
    for (const mostBytes of [1_600_000, 3_200_000]) {
      await using fake = await startFakeCouchDb();
      await createDatabase(fake, "a", ids.filter((id) => !large.includes(id)), `"text":"${"x".repeat(500)}"`);
      for (const id of large) await attach(fake, "a", id, 1_500_000);
      fake.faults.add({
        endpoint: "_bulk_get",
        where: ({ ids }) => ids.length > most,
        times: Infinity,
        fault: { kind: "error rows", ids: isHalf ? ids.slice(450) : ids },
      });
      const { sizes, leafRevisions } = await readAll(fake, ids, mostBytes);
      const what = `${most}, ${isHalf}, ${mostBytes}`;
      expectBounded(sizes, mostBytes);
      assert(sizes.every(({ restarts }) => restarts <= 1), `${what}: ${JSON.stringify(sizes)}`);
      assert(sizes.some(({ restarts }) => restarts === 1), `${what}: nothing overflows`);
      fake.faults.clear();
      assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a", { by: "_bulk_get" }), leafRevisions), []);
    }
  }
});

Deno.test("BatchReader gives a document that is larger than chunk_bytes a chunk of its own, passed on while it arrives or not", async () => {
  for (const mostBytes of [500_000, 1_500_000, 4_000_000]) {
    await using fake = await startFakeCouchDb();
    const ids = idsOf(9);
    await createDatabase(fake, "a", ids.filter((_, index) => index % 4 !== 3));
    await attach(fake, "a", ids[3]!, 900_000);
    await attach(fake, "a", ids[7]!, 3_000_000);
    const { sizes, leafRevisions } = await readAll(fake, ids, mostBytes);
    expectBounded(sizes, mostBytes);
    assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "a"), leafRevisions), []);
    const large = sizes.filter(({ bytes }) => bytes > mostBytes);
    assertEquals(large.map(({ documents }) => documents), mostBytes < 1_000_000 ? [1, 1] : mostBytes < 4e6 ? [1] : [1]);
  }
});

Deno.test("backup() stores the same documents with any chunk and any chunk_bytes, and no chunk with more", async () => {
  await using fake = await startFakeCouchDb();
  await seedHardDatabase(fake, "db", { documents: 60 });
  await attach(fake, "db", "large", 1_500_000);
  const expected = await readAllLeafRevisions(fake, "db", { by: "_bulk_get" });
  for (const chunkBytes of [1, 1_000, 3_333, 20_000, 64 * KIB, 2 ** 40]) {
    for (const chunk of [1, 7, 1000, undefined]) {
      await using backups = new Backups();
      const report = await backups.run(fake, { task: { chunk, chunkBytes } });
      assertEquals(report.status, "complete");
      const { manifest, leafRevisions } = await backups.read();
      assertEquals(compareLeafRevisions(expected, leafRevisions), []);
      expectBounded(manifest.chunks, chunkBytes);
      assertEquals(manifest.options.chunk_bytes, chunkBytes);
      for (const { documents } of manifest.chunks) assert(documents <= (chunk ?? Infinity));
      if (chunkBytes === 2 ** 40 && chunk === undefined) assert(manifest.chunks.length <= 2);
    }
  }
});

Deno.test("backup() learns from what it has read how many documents to ask for: CouchDB makes hardly anything in vain", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "db", idsOf(1000), `"text":"${"x".repeat(1000)}"`);
  await using backups = new Backups();
  await backups.run(fake, { task: { chunk: undefined, chunkBytes: 32 * KIB, parallel: 1 } });
  const { manifest } = await backups.read();
  expectBounded(manifest.chunks, 32 * KIB);
  const asked = fake.requestsTo("_bulk_get").flatMap(({ ids }) => ids).length;
  // The first request asks for a hundred, as nobody knows better, and three times for what is left of them.
  assert(asked <= 1000 + 70 + 40 + 10 + 100, `${asked} documents were asked for`);
  const average = 1000 / manifest.chunks.length;
  assert(average > 20, `${average} documents a chunk`);
});

Deno.test("backup() goes on with another chunk_bytes, behind what is stored, and takes nothing twice", async () => {
  for (const [before, after] of [[20_000, 5_000], [5_000, 20_000], [5_000, undefined], [undefined, 5_000]]) {
    await using fake = await startFakeCouchDb();
    await seedSizes(fake, "db", { count: 200, seed: 11 });
    await using backups = new Backups();
    const stop = new AbortController();
    const reason = new InterruptedError("Interrupted by SIGTERM");
    fake.faults.add({ endpoint: "_bulk_get", skip: 12, fault: { kind: "run", run: () => stop.abort(reason) } });
    const task = { chunk: 10, parallel: 1 };
    const first = { task: { ...task, chunkBytes: before }, context: { stop: stop.signal } };
    await assertRejects(() => backups.run(fake, first), InterruptedError);
    assertEquals(await manifestOf(backups.folder), undefined);
    const since = fake.requests.length;
    const report = await backups.run(fake, { resume: true, task: { ...task, chunkBytes: after } });
    assertEquals([report.status, report.documents], ["resumed", 200]);
    const asked = new Set(
      fake.requestsTo("_bulk_get").filter(({ number }) => number > since).flatMap(({ ids }) => ids),
    );
    assert(asked.size < 200, "what was stored is fetched again");
    const { manifest, leafRevisions } = await backups.read();
    assertEquals(compareLeafRevisions(await readAllLeafRevisions(fake, "db"), leafRevisions), []);
    expectBounded(manifest.chunks, Math.max(before ?? Infinity, after ?? Infinity));
    assertEquals(manifest.chunks.filter(({ again }) => again === true), []);
    assertEquals(manifest.chunks.reduce((sum, { documents }) => sum + documents, 0), 200, "a document is stored twice");
  }
});

Deno.test("backup() saves increments in chunks of chunk_bytes, and what was changed meanwhile by the next one", async () => {
  await using increments = await Increments.start();
  const ids = idsOf(300);
  edit(increments.database, ...ids.map((_id) => ({ _id, text: "x".repeat(500) })));
  const task = { chunk: 50, chunkBytes: 4_000 };
  assertEquals((await increments.run({ task, day: 3 })).kind, "full");
  edit(increments.database, ...ids.slice(0, 60).map((_id) => ({ _id, text: "y".repeat(700) })));
  await couchOk(increments.fake, "PUT /db/new", "{}");
  // While the increment is read, a document that it has stored is changed.
  increments.fake.faults.add({
    endpoint: "_bulk_get",
    skip: 3,
    fault: { kind: "run", run: () => edit(increments.database, { _id: ids[0]!, text: "z" }) },
  });
  // Another bound than before is no reason for a full one.
  const report = await increments.run({ task: { ...task, chunkBytes: 6_000 }, day: 3 });
  assertEquals(report.kind, "incremental");
  const { chunks }: Manifest = (await manifestOf(increments.backups.folder))!;
  assert(chunks.length > 8);
  expectBounded(chunks, 6_000);
  assertEquals((await increments.run({ task, day: 3 })).documents, 1);
  await increments.expectExact();
});

Deno.test("ChunkSize asks for as many documents as fit by CouchDB's own sizes, then by what was read, and never for none", () => {
  const info = { doc_count: 900, doc_del_count: 100, external_bytes: 1_000_000 };
  assertEquals(new ChunkSize({}, info).isBounded, false);
  assertEquals([new ChunkSize({ chunk: 7 }, info).documents, new ChunkSize({ chunk: 7 }, info).positionsEvery], [7, 7]);
  const size = new ChunkSize({ chunkBytes: 100_000 }, info);
  assertEquals([size.isBounded, size.documents], [true, 93]);
  size.note({ documents: 10, bytes: 1_000_000 });
  assertEquals([size.documents, size.positionsEvery], [1, 1].map(() => 1));
  assertEquals(new ChunkSize({ chunkBytes: 2 ** 30, chunk: 500 }, info).documents, 500);
  assertEquals(new ChunkSize({ chunkBytes: 2 ** 30 }, { ...info, external_bytes: 0 }).documents, 100);
  assertEquals(new ChunkSize({ chunkBytes: 2 ** 30 }, info).documents, 10_000);
});
