import { assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { IdBatch } from "../../src/couchdb/batch.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { BatchReader, passOver, type ReadingHealth } from "../../src/couchdb/read.ts";
import { CouchError } from "../../src/errors.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { type Fault, unreadable } from "../fakes/couchdb/faults.ts";
import { RecordedLog } from "../fakes/log.ts";
import { leafRevisionsOf } from "../read_archive.ts";
import { createDatabase, idsOf, impatientClient } from "./impatient_client.ts";

const IDS = idsOf(200);
const OPTIONS = { revisions: true, attachments: true };

async function read(reader: BatchReader): Promise<string[]> {
  const bytes = Buffer.concat(await Array.fromAsync(reader.read(), (bytes) => bytes.slice()));
  return [...leafRevisionsOf(bytes.toString()).keys()].sort();
}

for (const form of ["breaks off", "drops", "error row", "fails"] as const) {
  Deno.test(`BatchReader leaves out and names the one of 200 documents that cannot be read (${form})`, async () => {
    await using fake = await startFakeCouchDb();
    await createDatabase(fake, "a", IDS);
    const [bad] = IDS.slice(77);
    fake.faults.add(unreadable("a", [bad!], form));
    const reader = new BatchReader(impatientClient(fake), "a", IdBatch.of(IDS.map((id) => ({ id, revs: [] }))), {
      ...OPTIONS,
      log: new RecordedLog(),
    });
    assertEquals(await read(reader), IDS.filter((id) => id !== bad));
    assertEquals(reader.unreadable.map(({ id }) => id), [bad]);
    assertEquals(reader.counts.documents, 199);
  });
}

Deno.test("BatchReader leaves out a document that is refused as too large, or whose row is empty, and says how", async () => {
  const cases: [fault: Fault, error: string][] = [
    [{ kind: "answer", status: 413, body: { error: "too_large", reason: "no" } }, "too_large"],
    [{ kind: "answer", status: 200, body: { results: [{ id: "d00003", docs: [] }] } }, "no_revision"],
  ];
  for (const [fault, error] of cases) {
    await using fake = await startFakeCouchDb();
    await createDatabase(fake, "a", IDS);
    fake.faults.add({ endpoint: "_bulk_get", id: "d00003", times: Infinity, fault });
    const batch = IdBatch.of(["d00003", "d00004"].map((id) => ({ id, revs: [] })));
    const reader = new BatchReader(impatientClient(fake), "a", batch, { ...OPTIONS, log: new RecordedLog() });
    assertEquals(await read(reader), ["d00004"]);
    assertEquals(reader.unreadable.map((one) => [one.id, one.error]), [["d00003", error]]);
  }
});

Deno.test("BatchReader fails, and names no document, where it is CouchDB that cannot read", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", IDS);
  const body = { error: "unknown_error", reason: "badarg" };
  fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "answer", status: 500, body } });
  const batch = IdBatch.of(IDS.map((id) => ({ id, revs: [] })));
  const reader = new BatchReader(impatientClient(fake), "a", batch, { ...OPTIONS, log: new RecordedLog() });
  const error = await assertRejects(() => read(reader), CouchError);
  assertEquals(error.facts.status, 500);
});

Deno.test("BatchReader asks again for a document whose answer lacks what the feed has listed", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", ["x", "y"]);
  const old = {
    results: [{
      id: "x",
      docs: [{ ok: { _id: "x", _rev: "1-0123456789abcdef", _revisions: { start: 1, ids: ["0123456789abcdef"] } } }],
    }],
  };
  for (const times of [1, 2]) {
    const before = fake.requestsTo("_bulk_get").length;
    fake.faults.add({ endpoint: "_bulk_get", times, fault: { kind: "answer", status: 200, body: old } });
    const listed = JSON.parse(fake.databases.get("a")!.winnerText("x")!)._rev as string;
    const batch = IdBatch.of([{ id: "x", revs: [listed.slice(0, 10)] }]);
    const reader = new BatchReader(impatientClient(fake), "a", batch, { ...OPTIONS, log: new RecordedLog() });
    const bytes = Buffer.concat(await Array.fromAsync(reader.read(), (bytes) => bytes.slice())).toString();
    assertEquals(bytes.includes(listed), true);
    assertEquals(reader.unreadable, []);
    assertEquals(fake.requestsTo("_bulk_get").length - before, times + 1);
  }
});

Deno.test("BatchReader finds revisions that clients have made up, of any letters and length, in a row of any size", async () => {
  const made = [
    "ü",
    '"q',
    "a\\b",
    "\u0001",
    "a\u{1f600}b",
    "x".repeat(1000),
    "é".repeat(100),
    "\u2028",
    "1234567\u{1f600}",
    "",
  ];
  for (const bytes of [10, 3_000_000]) {
    for (const hash of made) {
      await using fake = await startFakeCouchDb();
      await createDatabase(fake, "a", ["x"]);
      const rev = `1-${hash}`;
      const ok = { _id: "x", _rev: rev, _revisions: { start: 1, ids: [hash] }, text: "y".repeat(bytes) };
      const body = { results: [{ id: "x", docs: [{ ok }] }] };
      fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "answer", status: 200, body } });
      // Where ids are kept packed a revision is cut, maybe in the midst of a letter.
      for (const listed of [rev, rev.slice(0, 10)]) {
        for (const revisions of [true, false]) {
          const options = { ...OPTIONS, revisions, log: new RecordedLog() };
          const reader = new BatchReader(
            impatientClient(fake),
            "a",
            IdBatch.of([{ id: "x", revs: [listed] }]),
            options,
          );
          assertEquals(await read(reader), ["x"]);
          assertEquals(reader.unreadable, [], JSON.stringify(listed));
        }
      }
    }
  }
});

Deno.test("BatchReader misses a made-up revision that is not in the answer", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", ["x"]);
  const batch = IdBatch.of([{ id: "x", revs: ["1-ü"] }]);
  const reader = new BatchReader(impatientClient(fake), "a", batch, { ...OPTIONS, log: new RecordedLog() });
  assertEquals(await read(reader), ["x"]);
  assertEquals(reader.unreadable.map(({ rev }) => rev), ["1-ü"]);
});

Deno.test("BatchReader takes a row as it is at last, and names the revision that never came", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", ["x"]);
  const batch = IdBatch.of([{ id: "x", revs: ["7-01234567"] }]);
  const reader = new BatchReader(impatientClient(fake), "a", batch, { ...OPTIONS, log: new RecordedLog() });
  assertEquals(await read(reader), ["x"]);
  assertEquals(reader.unreadable.map(({ id, rev, error }) => [id, rev, error]), [[
    "x",
    "7-01234567",
    "missing_revision",
  ]]);
});

Deno.test("BatchReader has all patience with the first of many documents that lack a revision, and soon none", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(30);
  await createDatabase(fake, "a", ids);
  const health: ReadingHealth = { unreadableInARow: 0, knowsUnreadable: false };
  const readOne = async (id: string, revs: string[] = ["7-01234567"]) => {
    const before = fake.requestsTo("_bulk_get").length;
    const options = { ...OPTIONS, log: new RecordedLog(), health };
    const reader = new BatchReader(impatientClient(fake), "a", IdBatch.of([{ id, revs }]), options);
    assertEquals(await read(reader), [id]);
    assertEquals(reader.unreadable.map(({ rev }) => rev), revs);
    return fake.requestsTo("_bulk_get").length - before;
  };
  const asked: number[] = [];
  for (const id of ids) asked.push(await readOne(id));
  // One more for the request in which the row was found to lack it.
  assertEquals(asked, [5, ...Array.from({ length: 24 }, () => 4), 2, 2, 2, 2, 2]);
  // An error in its place is none of that kind: the document is not left out for it.
  const row = {
    results: [{ id: "d00001", docs: [{ error: { id: "d00001", rev: "1-a", error: "busy", reason: "" } }] }],
  };
  fake.faults.add({
    endpoint: "_bulk_get",
    skip: 1,
    times: 1,
    fault: { kind: "answer", status: 200, body: row },
  });
  assertEquals(await readOne("d00001"), 4);
});

Deno.test("BatchReader finds listed revisions in a history, in conflicts and in a row too large to be kept", async () => {
  await using fake = await startFakeCouchDb();
  const data = Buffer.alloc(2_000_000, "0123456789abc").toString("base64");
  await createDatabase(fake, "a", ["x"], `"_attachments":{"f":{"content_type":"text/plain","data":"${data}"}}`);
  const listed = JSON.parse(fake.databases.get("a")!.winnerText("x")!)._rev as string;
  for (const revs of [[listed.slice(0, 10)], [listed.slice(0, 10), `1-${listed.slice(2, 10)}`]]) {
    const reader = new BatchReader(impatientClient(fake), "a", IdBatch.of([{ id: "x", revs }]), {
      ...OPTIONS,
      log: new RecordedLog(),
    });
    assertEquals(await read(reader), ["x"]);
    assertEquals(reader.unreadable, []);
  }
  assertEquals(fake.requestsTo("_bulk_get").length, 2);
});

Deno.test("BatchReader takes a large document that was changed since as it is, however little its first piece has", async () => {
  for (const firstBytes of [10, 200]) {
    let asked = 0;
    const [listed, now] = [`1-${"a".repeat(32)}`, `2-${"b".repeat(32)}`];
    const body = new TextEncoder().encode(
      `{"results":[{"id":"x","docs":[{"ok":{"_id":"x","_rev":"${now}","text":"${"y".repeat(1_300_000)}"}}]}]}`,
    );
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
      asked++;
      const cut = `{"results":[`.length + firstBytes;
      const pieces = new ReadableStream({
        async start(to) {
          to.enqueue(body.subarray(0, cut));
          await new Promise((resolve) => setTimeout(resolve, 50)); // In real time: that it arrives by itself is the point.
          to.enqueue(body.subarray(cut));
          to.close();
        },
      });
      return new Response(pieces, { headers: { "content-type": "application/json" } });
    });
    const client = new CouchClient({ url: `http://127.0.0.1:${server.addr.port}`, log: new RecordedLog() });
    const batch = IdBatch.of([{ id: "x", revs: [listed] }]);
    const reader = new BatchReader(client, "a", batch, { ...OPTIONS, revisions: false, log: new RecordedLog() });
    await reader.readThrough(passOver);
    assertEquals([asked, reader.unreadable], [1, []], `${firstBytes} bytes`);
  }
});
