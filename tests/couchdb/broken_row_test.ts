/**
 * Documents whose rows break behind what was passed on of them: which are left out, which are read again, and what of
 * the others is in the chunk.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import { IdBatch, PackedPages } from "../../src/couchdb/batch.ts";
import { BatchReader, type ReadingHealth, RestartNeeded } from "../../src/couchdb/read.ts";
import { CouchError } from "../../src/errors.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { edit } from "../fakes/couchdb/edits.ts";
import { type Fault, unreadable } from "../fakes/couchdb/faults.ts";
import { RecordedLog } from "../fakes/log.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { countRevisions, leafRevisionsOf } from "../read_archive.ts";
import { ATTEMPTS, createDatabase, idsOf, impatientClient } from "./impatient_client.ts";

const IDS = idsOf(60);
/** A row of so many bytes is passed on while it arrives. */
const LARGE_BYTES = 1_200_000;
/** What comes of a request to a CouchDB that is away, behind a proxy, or behind one that hands connections on. */
const AWAY: readonly Fault[] = [{ kind: "answer", status: 503, body: "proxy" }, { kind: "drop" }, { kind: "cut off" }];
const BREAKS: Fault = { kind: "cut off", afterBytes: 1_150_000 };

/** Documents of which some are large. */
async function seed(fake: FakeCouchDb, { ids = IDS, large }: { ids?: readonly string[]; large: readonly string[] }) {
  await createDatabase(fake, "a", ids.filter((id) => !large.includes(id)));
  edit(fake.databases.get("a")!, ...large.map((_id) => ({ _id, text: "x".repeat(LARGE_BYTES) })));
}

function listed(ids: readonly string[]) {
  return ids.map((id) => ({ id, revs: [] }));
}

/** The ids as packed pages of seven. */
function packed(ids: readonly string[]): IdBatch {
  const pages = new PackedPages();
  for (let from = 0; from < ids.length; from += 7) pages.add(listed(ids.slice(from, from + 7)));
  return IdBatch.packed(pages);
}

interface Reading {
  batch?: IdBatch;
  mostBytes?: number | undefined;
  health?: ReadingHealth;
  log?: RecordedLog;
}

function readerOf(fake: FakeCouchDb, { batch = IdBatch.of(listed(IDS)), ...options }: Reading = {}): BatchReader {
  const all = { revisions: true, attachments: true, log: new RecordedLog(), ...options };
  return new BatchReader(impatientClient(fake), "a", batch, all);
}

/** Reads all of a batch, checked against what the reader says of it. */
async function readThrough(reader: BatchReader) {
  let times = 0;
  const text = await reader.readThrough(async (pieces) => {
    times++;
    return Buffer.concat(await Array.fromAsync(pieces, (bytes) => bytes.slice())).toString();
  });
  const found = leafRevisionsOf(text);
  const { documents, leafRevisions, bytes } = reader.counts;
  assertEquals([documents, leafRevisions, bytes], [found.size, countRevisions(found), Buffer.byteLength(text)]);
  return { found, times };
}

/** Checks that a chunk has all documents but some, byte for byte, and that these are named. */
async function expectAllBut(
  fake: FakeCouchDb,
  bad: readonly string[],
  reader: BatchReader,
  found: Map<string, unknown>,
) {
  assertEquals(reader.unreadable.map(({ id }) => id).sort(), [...bad].sort());
  fake.faults.clear();
  const expected = await readAllLeafRevisions(fake, "a");
  for (const id of bad) expected.delete(id);
  assertEquals(compareLeafRevisions(expected, found as typeof expected), []);
}

/** Reads large documents whose rows break, each with others before it, where many before them could not be read. */
async function readBetweenOthers(large: readonly string[]): Promise<BatchReader> {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: idsOf(large.length).flatMap((id) => [`${id} before`, id]), large });
  fake.faults.add(unreadable("a", large, "breaks within"));
  const health = { unreadableInARow: 24, knowsUnreadable: true };
  const batch = IdBatch.of(listed(large.flatMap((id) => [`${id} before`, id])));
  const reader = readerOf(fake, { batch, health });
  assertEquals((await readThrough(reader)).found.size, large.length);
  return reader;
}

function asked(fake: FakeCouchDb): string[][] {
  return fake.requestsTo("_bulk_get").map(({ ids }) => ids);
}

for (const form of ["in hand", "packed", "bounded by bytes"] as const) {
  Deno.test(`BatchReader leaves out and names the documents whose rows always break, and has all others as they are (${form})`, async () => {
    await using fake = await startFakeCouchDb();
    const large = [3, 4, 20, 41, 59].map((index) => IDS[index]!);
    const bad = [large[0]!, large[2]!, large[4]!];
    await seed(fake, { large });
    fake.faults.add(unreadable("a", bad, "breaks within"));
    const batch = form === "packed" ? packed(IDS) : undefined;
    const reader = readerOf(fake, {
      ...(batch === undefined ? {} : { batch }),
      mostBytes: form === "bounded by bytes" ? 10_000_000 : undefined,
    });
    const { found, times } = await readThrough(reader);
    // Where nothing bounds a chunk, what else breaks is found before it begins anew.
    assertEquals(times, form === "bounded by bytes" ? 4 : 2);
    await expectAllBut(fake, bad, reader, found);
    for (const { error, reason } of reader.unreadable) {
      assertEquals(error, "cut_off");
      assertStringIncludes(reason, "its answer breaks off, the last time after 1.2 MB: ");
    }
    const alone = bad.map((id) => asked(fake).filter((ids) => ids.length === 1 && ids[0] === id).length);
    assertEquals(alone, [ATTEMPTS, 3, 3], "all patience for the first one");
  });
}

Deno.test("BatchReader begins a chunk anew more than eight times where each time a document is left out", async () => {
  await using fake = await startFakeCouchDb();
  const bad = IDS.slice(10, 19);
  const [good = ""] = IDS.slice(30);
  await seed(fake, { large: [...bad, good] });
  fake.faults.add(unreadable("a", bad, "breaks within"));
  // Behind all of these.
  fake.faults.add({ endpoint: "_bulk_get", id: good, fault: { ...BREAKS, rows: [good] } });
  const reader = readerOf(fake, { mostBytes: 20_000_000, health: { unreadableInARow: 0, knowsUnreadable: true } });
  const { found, times } = await readThrough(reader);
  assertEquals(times, 11);
  await expectAllBut(fake, bad, reader, found);
});

Deno.test("BatchReader yields nothing more of a chunk that has to begin anew, and tells that a document is left out", async () => {
  await using fake = await startFakeCouchDb();
  const large = IDS.slice(10, 20);
  await seed(fake, { large });
  fake.faults.add(unreadable("a", [large[0]!], "breaks within"));
  // Another one breaks once behind it, and comes when it is tried.
  fake.faults.add({ endpoint: "_bulk_get", id: large[8]!, fault: { ...BREAKS, rows: [large[8]!] } });
  const reader = readerOf(fake);
  let bytes = 0;
  const error = await assertRejects(async () => {
    for await (const piece of reader.read()) bytes += piece.length;
  }, RestartNeeded);
  assertEquals(error.leavesOut, true);
  assert(bytes < 2 * LARGE_BYTES, `${bytes} bytes`);
  const { found } = await readThrough(reader);
  await expectAllBut(fake, [large[0]!], reader, found);
});

Deno.test("BatchReader leaves out the only document of a batch where its row always breaks", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: ["x"], large: ["x"] });
  fake.faults.add(unreadable("a", ["x"], "breaks within"));
  const reader = readerOf(fake, { batch: IdBatch.of(listed(["x"])) });
  assertEquals((await readThrough(reader)).found.size, 0);
  assertEquals(reader.unreadable.map(({ id }) => id), ["x"]);
  assertEquals(asked(fake).length, 1 + ATTEMPTS);
});

Deno.test("BatchReader leaves out no document whose row comes with the last try, and has it in the chunk", async () => {
  for (const times of [1, ATTEMPTS, ATTEMPTS + 1]) {
    await using fake = await startFakeCouchDb();
    const [large = ""] = IDS.slice(30);
    await seed(fake, { large: [large] });
    fake.faults.add({ endpoint: "_bulk_get", id: large, times, fault: { ...BREAKS, rows: [large] } });
    const reader = readerOf(fake);
    const { found } = await readThrough(reader);
    await expectAllBut(fake, times > ATTEMPTS ? [large] : [], reader, found);
    if (times > ATTEMPTS) continue;
    assertEquals(
      asked(fake).slice(times).map((ids) => ids.length),
      [1, 1, 30, 29],
      "tried alone, then read first, and the others in halves",
    );
  }
});

Deno.test("BatchReader fails, and leaves out nothing, where CouchDB is away behind a row that broke", async () => {
  const away: Fault[] = [{ kind: "drop" }, { kind: "answer", status: 503 }];
  for (const fault of away) {
    for (const endpoint of [undefined, "database"]) {
      await using fake = await startFakeCouchDb();
      await seed(fake, { large: [IDS[30]!] });
      // Either nothing answers any more, or rows break and nothing else answers.
      if (endpoint !== undefined) fake.faults.add({ endpoint, times: Infinity, fault });
      fake.faults.add({ endpoint: "_bulk_get", times: endpoint === undefined ? 1 : Infinity, fault: BREAKS });
      if (endpoint === undefined) fake.faults.add({ times: Infinity, fault });
      const health = { unreadableInARow: 0, knowsUnreadable: false };
      const reader = readerOf(fake, { health });
      await assertRejects(() => readThrough(reader), CouchError);
      assertEquals([reader.unreadable, health.knowsUnreadable], [[], false]);
    }
  }
});

Deno.test("BatchReader fails, and leaves out nothing, where CouchDB only asks for a pause behind a row that broke", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: ["x"], large: ["x"] });
  fake.faults.add({ endpoint: "_bulk_get", fault: BREAKS });
  fake.faults.add({ endpoint: "_bulk_get", times: 20, fault: { kind: "answer", status: 429 } });
  const reader = readerOf(fake, { batch: IdBatch.of(listed(["x"])) });
  const error = await assertRejects(() => readThrough(reader), CouchError);
  assertEquals([error.facts.status, reader.unreadable, asked(fake).length], [429, [], 1 + ATTEMPTS]);
});

Deno.test("BatchReader fails where more rows in a row break than can be the documents' fault", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(3);
  await seed(fake, { ids, large: ids });
  fake.faults.add(unreadable("a", ids, "breaks within"));
  const health = { unreadableInARow: 23, knowsUnreadable: true };
  const reader = readerOf(fake, { batch: IdBatch.of(listed(ids)), health });
  // Where others come in between, it is the documents.
  assertEquals((await readBetweenOthers(ids)).unreadable.length, 3);
  const error = await assertRejects(() => readThrough(reader), CouchError);
  assertEquals(error.facts.error, "cut_off");
});

Deno.test("BatchReader gives up, with CouchDB's error, a row that comes alone and breaks whenever it is wanted", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: ["x"], large: ["x"] });
  let requests = 0;
  const where = ({ endpoint }: { endpoint: string }) => endpoint === "_bulk_get" && ++requests % 2 === 1;
  fake.faults.add({ where, times: Infinity, fault: BREAKS });
  const error = await assertRejects(() => readThrough(readerOf(fake, { batch: IdBatch.of(listed(["x"])) })));
  assert(error instanceof CouchError, `${error}`);
  assertEquals(requests, 2 * 8);
});

for (const [how, count] of [["one by one", 10], ["many at a time", 60]] as const) {
  Deno.test(`BatchReader leaves out a document whose row breaks when it is asked for again, and tries no other one twice (${how})`, async () => {
    await using fake = await startFakeCouchDb();
    const bad = IDS[8]!;
    const worse = count === 10 ? IDS.slice(0, 8) : [];
    await seed(fake, { large: [bad] });
    const isMany = ({ endpoint, ids }: { endpoint: string; ids: string[] }) =>
      endpoint === "_bulk_get" && ids.length > (count === 10 ? 1 : 58);
    const errors = IDS.slice(0, count);
    fake.faults.add({ where: isMany, times: Infinity, fault: { kind: "error rows", ids: errors } });
    fake.faults.add(unreadable("a", [bad], "breaks within"));
    fake.faults.add(unreadable("a", worse, "error row"));
    const health = { unreadableInARow: 0, knowsUnreadable: true };
    const reader = readerOf(fake, { health });
    const { found } = await readThrough(reader);
    await expectAllBut(fake, [...worse, bad], reader, found);
    assertEquals(
      worse.map((id) => asked(fake).filter((ids) => ids.length === 1 && ids[0] === id).length),
      worse.map(() => 3),
    );
  });
}

Deno.test("BatchReader leaves out a large document of which a leaf revision is always an error, and says which", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { large: [IDS[5]!] });
  const large = { ok: { _id: IDS[5], _rev: "1-x", text: "x".repeat(LARGE_BYTES) } };
  const error = { error: { id: IDS[5], rev: "2-x", error: "badmatch", reason: "it is broken" } };
  const row = (id: string) => ({ id, docs: id === IDS[5] ? [large, error] : [{ ok: { _id: id, _rev: "1-x" } }] });
  const where = ({ endpoint, ids }: { endpoint: string; ids: string[] }) =>
    endpoint === "_bulk_get" && ids.includes(IDS[5]!);
  for (const batch of [IDS, [IDS[5]!]]) {
    fake.faults.clear();
    fake.faults.add({
      where: (request) => where(request) && request.ids.length > 1,
      times: Infinity,
      fault: {
        kind: "answer",
        status: 200,
        body: { results: batch.map(row) },
      },
    });
    fake.faults.add({
      where,
      times: Infinity,
      fault: { kind: "answer", status: 200, body: { results: [row(IDS[5]!)] } },
    });
    const reader = readerOf(fake, { batch: IdBatch.of(listed(batch)) });
    const { found } = await readThrough(reader);
    assertEquals(found.size, batch.length - 1);
    assertEquals(reader.unreadable.map(({ id }) => id), [IDS[5]]);
    assertStringIncludes(
      reader.unreadable[0]!.reason,
      'a leaf revision of a large document cannot be read: badmatch, "it is broken"',
    );
  }
});

Deno.test("BatchReader tells of bytes that go out, and not of those that were read to try a document", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: ["x"], large: ["x"] });
  fake.faults.add({ endpoint: "_bulk_get", fault: BREAKS });
  let told = 0;
  const onRows = ({ documents }: { documents: number }) => told += documents;
  const reader = new BatchReader(impatientClient(fake), "a", IdBatch.of(listed(["x"])), {
    revisions: true,
    attachments: true,
    log: new RecordedLog(),
    onRows,
  });
  await readThrough(reader);
  assertEquals(told, 1);
});

Deno.test("BatchReader.readThrough() waits before it reads again, says so once each time, and ends with its signal", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { ids: ["x"], large: ["x"] });
  fake.faults.add({ endpoint: "_bulk_get", fault: BREAKS });
  const log = new RecordedLog();
  let waits = 0;
  const reader = readerOf(fake, { batch: IdBatch.of(listed(["x"])), log });
  const use = (pieces: AsyncIterable<Uint8Array>) => Array.fromAsync(pieces);
  await reader.readThrough(use, { beforeAgain: () => Promise.resolve(void waits++) });
  assertEquals([waits, log.events("warn").filter((event) => event === "chunk is restarted").length], [1, 1]);

  const controller = new AbortController();
  const restart = new RestartNeeded(new CouchError("It broke", { error: "cut_off" }));
  let uses = 0;
  const ended = await assertRejects(() =>
    reader.readThrough(() => {
      uses++;
      controller.abort(new Error("another request has failed"));
      return Promise.reject(restart);
    }, { signal: controller.signal })
  );
  assertEquals([ended, uses], [restart.cause, 1]);
});

Deno.test("BatchReader does not leave out a large document for a proxy before a CouchDB that is away and comes back", async () => {
  for (const [away, knowsUnreadable] of AWAY.flatMap((one) => [[one, false], [one, true]] as const)) {
    await using fake = await startFakeCouchDb();
    const large = IDS[5]!;
    await seed(fake, { large: [large] });
    fake.faults.add({ endpoint: "_bulk_get", fault: BREAKS });
    // As long as a document is asked for alone, and for a moment longer.
    const times = knowsUnreadable ? 3 : ATTEMPTS;
    fake.faults.add({ endpoint: "_bulk_get", where: ({ ids }) => ids.length === 1, times, fault: away });
    fake.faults.add({ method: "GET", endpoint: "database", times: 1, fault: away });
    const reader = readerOf(fake, { health: { unreadableInARow: 0, knowsUnreadable } });
    const { found } = await readThrough(reader);
    await expectAllBut(fake, [], reader, found);
    assert(found.has(large));
  }
});

Deno.test("BatchReader.readThrough() says of a restart what its caller lets a log say", async () => {
  await using fake = await startFakeCouchDb();
  await seed(fake, { large: [IDS[5]!] });
  fake.faults.add({ endpoint: "_bulk_get", fault: BREAKS });
  const log = new RecordedLog();
  const reader = readerOf(fake, { log });
  await reader.readThrough(async (pieces) => void await Array.fromAsync(pieces), { describe: () => "a document" });
  const [told] = log.lines.filter(({ event }) => event === "chunk is restarted");
  assertEquals(told?.fields.error, "a document");
});

Deno.test("BatchReader does not leave out a document for a CouchDB that was away while it was asked for alone", async () => {
  for (const [away, knowsUnreadable] of AWAY.flatMap((one) => [[one, false], [one, true]] as const)) {
    await using fake = await startFakeCouchDb();
    await seed(fake, { large: [] });
    const [one] = IDS;
    const fault: Fault = { kind: "error rows", ids: [one!] };
    fake.faults.add({ endpoint: "_bulk_get", where: ({ ids }) => ids.length > 1, times: 1, fault });
    const times = knowsUnreadable ? 3 : ATTEMPTS;
    fake.faults.add({ endpoint: "_bulk_get", where: ({ ids }) => ids.length === 1, times, fault: away });
    const reader = readerOf(fake, { health: { unreadableInARow: 0, knowsUnreadable } });
    const { found } = await readThrough(reader);
    await expectAllBut(fake, [], reader, found);
  }
});
