import { assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { IdBatch, type ListedDocument, PackedPages } from "../../src/couchdb/batch.ts";
import { BulkGet } from "../../src/couchdb/bulk_get.ts";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { packRow } from "../../src/couchdb/packed_row.ts";
import { ChunkText, emptyCounts } from "../../src/couchdb/row.ts";

const REV = "1-0123456789abcdef";

/** A row as CouchDB writes it, or with its members in another order. */
function rowOf(id: string, { rev = REV, isUsual = true } = {}): string {
  const name = JSON.stringify(id);
  const history = `"_revisions":{"start":1,"ids":["${rev.slice(2)}"]}`;
  const document = isUsual
    ? `{"_id":${name},"_rev":"${rev}","n":1.0,${history}}`
    : `{"n":1.0,"_rev":"${rev}", "_id":${name},${history}}`;
  return `{"id":${name},"docs":[{"ok":${document}}]}`;
}

function errorRow(id: string): string {
  return `{"id":"${id}","docs":[{"error":{"id":"${id}","rev":"undefined","error":"not_found","reason":"missing"}}]}`;
}

/**
 * Documents as the feed lists them, each with one revision; where they are `packed`, as far as they are plain, as
 * bytes.
 */
function listed(ids: readonly string[], { isPacked }: { isPacked: boolean }): ListedDocument[] {
  return ids.map((id) => {
    if (!isPacked || id === HARD_ID) return { id, revs: [REV] };
    const idBytes = Buffer.byteLength(id);
    return packRow(Buffer.from(id + REV), 0, idBytes, idBytes, idBytes + REV.length)!;
  });
}

/** What an answer becomes that comes in pieces of `pieceBytes`, all in one buffer that is written over. */
async function forward(answer: string, ids: readonly string[], pieceBytes: number, { isPacked = false } = {}) {
  const bytes = Buffer.from(answer);
  async function* pieces(): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(pieceBytes);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes);
      buffer.fill(0x7d);
      buffer.set(piece);
      yield await Promise.resolve(buffer.subarray(0, piece.length));
    }
    buffer.fill(0x7d);
  }
  const client = { bulkGet: () => Promise.resolve(pieces()) } as unknown as CouchClient;
  const batch = IdBatch.of(listed(ids, { isPacked }));
  const request = new BulkGet(client, "a", batch, { revisions: true, attachments: true });
  const output = new ChunkText(emptyCounts());
  let failure: string | undefined;
  const blocks: Uint8Array[] = [];
  try {
    for await (const block of request.forward(output, {})) blocks.push(block.slice());
  } catch (error) {
    failure = (error as Error).message;
  }
  for (const block of output.end()) blocks.push(block.slice());
  return {
    text: Buffer.concat(blocks).toString(),
    suspects: [...request.suspects.all()].map(({ document }) => document.id),
    rest: [...request.rest().ids()].sort(),
    counts: output.counts,
    failure,
  };
}

const HARD_ID = 'q"uo\\te\n\u0000/+%😀é';
const IDS = ["a", "gone", "b", HARD_ID, "old", "c", "d", "e"];
const GOOD = [
  rowOf("a"),
  rowOf("b"),
  rowOf(HARD_ID),
  rowOf("c", { isUsual: false }),
  rowOf("d"),
  rowOf("e"),
];
const ROWS = [GOOD[0]!, errorRow("gone"), GOOD[1]!, GOOD[2]!, rowOf("old", { rev: "1-fedcba" }), ...GOOD.slice(3)];
const CHUNK = `{"results":[${GOOD.join(",")}]}`;

Deno.test("BulkGet passes good rows on byte by byte, however the answer is cut and whatever stands between its rows", async () => {
  for (
    const [between, isPacked] of [[",", false], [",\n", false], [" , ", false], [",", true], [" ,\n", true]] as const
  ) {
    const answer = `{"results": [${ROWS.join(between)}]}\n`;
    for (let pieceBytes = 1; pieceBytes <= answer.length + 1; pieceBytes++) {
      const { text, suspects, counts, failure } = await forward(answer, IDS, pieceBytes, { isPacked });
      const what = `pieces of ${pieceBytes} bytes, ${JSON.stringify(between)} between rows, packed: ${isPacked}`;
      assertEquals([text, failure], [CHUNK, undefined], what);
      assertEquals(suspects, ["gone", "old"], what);
      assertEquals([counts.documents, counts.leafRevisions, counts.bytes], [6, 6, Buffer.byteLength(CHUNK)], what);
    }
  }
});

Deno.test("BulkGet takes rows in whatever order they come", async () => {
  const answer = `{"results":[${ROWS.toReversed().join(",")}]}`;
  for (const isPacked of [false, true]) {
    const { text, failure, rest } = await forward(answer, IDS, 64, { isPacked });
    assertEquals([text, failure, rest], [`{"results":[${GOOD.toReversed().join(",")}]}`, undefined, []]);
  }
});

Deno.test("BulkGet has passed on what it does not ask for again, wherever an answer breaks", async () => {
  const whole = `{"results":[${ROWS.join(",")}]}`;
  for (let end = 0; end < whole.length; end++) {
    for (const ending of ["", "!"]) {
      for (const [pieceBytes, isPacked] of [[7, false], [7, true], [4096, false], [4096, true]] as const) {
        const { text, suspects, rest } = await forward(whole.slice(0, end) + ending, IDS, pieceBytes, { isPacked });
        const passedOn = JSON.parse(text).results.map(({ id }: { id: string }) => id);
        const what = `cut at ${end}, pieces of ${pieceBytes} bytes`;
        assertEquals([...passedOn, ...suspects, ...rest].sort(), IDS.toSorted(), what);
      }
    }
  }
});

/** What a request of a packed batch sends. */
async function bodyOf(ids: readonly string[], pageRows: number): Promise<{ body: string; isStream: boolean }> {
  const packed = new PackedPages();
  for (let from = 0; from < ids.length; from += pageRows) {
    packed.add(ids.slice(from, from + pageRows).map((id) => ({ id, revs: [REV] })));
  }
  let sent: { body: string; isStream: boolean } | undefined;
  const client = {
    bulkGet: async (_: string, body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>) => {
      sent = { body: await new Response(body).text(), isStream: body instanceof ReadableStream };
      return ReadableStream.from([Buffer.from('{"results":[]}')]);
    },
  } as unknown as CouchClient;
  const request = new BulkGet(client, "a", IdBatch.packed(packed), { revisions: true, attachments: true });
  await assertRejects(async () => {
    for await (const _ of request.forward(new ChunkText(emptyCounts()), {}));
  }, `it has 0 of ${ids.length} document`);
  return sent!;
}

Deno.test("BulkGet sends what was packed as it stands, in one piece or, where it is large, as a stream", async () => {
  for (const pageRows of [1, 3, 100]) {
    const { body, isStream } = await bodyOf(IDS, pageRows);
    assertEquals(JSON.parse(body), { docs: IDS.map((id) => ({ id })) });
    assertEquals(isStream, false);
  }
  const many = Array.from({ length: 20_001 }, (_, n) => `${HARD_ID}${n}`);
  const { body, isStream } = await bodyOf(many, 5000);
  assertEquals(JSON.parse(body), { docs: many.map((id) => ({ id })) });
  assertEquals(isStream, true);
});

Deno.test("IdBatch asks for rows that are kept as bytes as for any others", () => {
  for (const ids of [IDS, IDS.filter((id) => id !== HARD_ID), [], ["only"]]) {
    const [plain, packed] = [false, true].map((isPacked) => IdBatch.of(listed(ids, { isPacked })));
    const textOf = (batch: IdBatch) => Buffer.concat([...batch.encodedIds()]).toString();
    assertEquals(textOf(packed!), textOf(plain!));
    assertEquals([...packed!.ids()], [...ids]);
    assertEquals([...packed!.pages()].flat().map(({ revs }) => revs), ids.map(() => [REV]));
  }
});

Deno.test("IdBatch has the same documents packed, halved and behind what has come", () => {
  const listed = [...IDS.map((id) => ({ id, revs: ["12-01234567"] })), { id: "none", revs: [] }, {
    id: "two",
    revs: ["1-89abcdef", "3-01234567"],
  }];
  const packed = new PackedPages();
  packed.add(listed.slice(0, 3));
  packed.add(listed.slice(3, 5));
  packed.add(listed.slice(5));
  const documentsOf = (...batches: IdBatch[]) => {
    return batches.flatMap((batch) => [...batch.pages()].flat().map(({ id, revs }) => ({ id, revs })));
  };
  const batch = IdBatch.packed(packed);
  assertEquals([batch.count, documentsOf(batch)], [10, listed]);
  const [first, second] = batch.split()!;
  assertEquals([first.count, second.count, documentsOf(first, second)], [5, 5, listed]);
  const rest = batch.behind(2, listed.slice(4, 5));
  assertEquals([rest.count, documentsOf(rest)], [6, [listed[4]!, ...listed.slice(5)]]);
});

Deno.test("IdBatch keeps of revisions the same, whether rows are packed as bytes or as texts", () => {
  for (
    const rev of [
      "1-0123456789",
      "12-0123456789",
      "1-0123456",
      "1-01234567",
      "1-a-b-c-d-e-f",
      "-",
      "",
      "no dash at all",
    ]
  ) {
    const [bytes, texts] = [
      ["a", "b"].map((id) => packRow(Buffer.from(id + rev), 0, 1, 1, 1 + rev.length)!),
      ["a", "b"].map((id) => ({ id, revs: [rev] })),
    ].map((documents) => {
      const packed = new PackedPages();
      packed.add(documents);
      return [...IdBatch.packed(packed).pages()].flat().map(({ id, revs }) => ({ id, revs }));
    });
    assertEquals(bytes, texts, rev);
    assertEquals(bytes!.map(({ id }) => id), ["a", "b"], rev);
  }
});

Deno.test("BulkGet counts documents of which every leaf revision is deleted", async () => {
  const [alive, gone] = ["a", "b"].map((id) => rowOf(id));
  for (const between of [",", " ,"]) {
    const answer = `{"results":[${[alive, gone!.replace('"n":1.0', '"_deleted":true')].join(between)}]}`;
    for (let pieceBytes = 1; pieceBytes <= answer.length; pieceBytes++) {
      const { counts, failure } = await forward(answer, ["a", "b"], pieceBytes);
      assertEquals([failure, counts.documents, counts.deleted], [undefined, 2, 1], `pieces of ${pieceBytes} bytes`);
    }
  }
});

Deno.test("PackedPages has its pages one behind the other, to the last byte, and the same documents in them", () => {
  for (let round = 0; round < 60; round++) {
    const packed = new PackedPages();
    const ids = Array.from({ length: 60 }, (_, index) => `${"x".repeat((index * 7 + round) % 23)} ${round * index}`);
    for (const id of ids) packed.add([{ id, revs: [REV] }]);
    assertEquals([...IdBatch.packed(packed).ids()], ids);
  }
});

Deno.test("PackedPages takes memory in few pieces, of which none is large", () => {
  const packed = new PackedPages();
  for (let page = 0; page < 100; page++) {
    packed.add(Array.from({ length: 1000 }, () => ({ id: crypto.randomUUID(), revs: [REV] })));
  }
  const pieces = new Set(packed.pages.map(({ bytes }) => bytes.buffer));
  assertEquals(pieces.size <= 16, true, `${pieces.size} pieces`);
  for (const { byteLength } of pieces) assertEquals(byteLength <= 1 << 20, true, `${byteLength} bytes`);
});

Deno.test("BulkGet ends before the plain row that its chunk has no room for", async () => {
  const rows = ["a", "b", "c"].map((id) => rowOf(id));
  const most = `{"results":[${rows[0]},${rows[1]}]}`.length;
  for (const [bytes, left] of [[most, ["c"]], [most - 1, ["b", "c"]], [1, ["b", "c"]]] as const) {
    const answer = [Buffer.from(`{"results":[${rows.join(",")}]}`)];
    const client = { bulkGet: () => Promise.resolve(ReadableStream.from(answer)) } as unknown as CouchClient;
    const batch = IdBatch.of(listed(["a", "b", "c"], { isPacked: true }));
    const request = new BulkGet(client, "a", batch, { revisions: true, attachments: true });
    for await (const _ of request.forward(new ChunkText(emptyCounts()), {}, { bytes, isFirm: true }));
    assertEquals([request.isCut, [...request.rest().ids()]], [true, [...left]], `${bytes} bytes`);
  }
});

Deno.test("BulkGet has a document whose row is no JSON asked for again, and not taken for answered", async () => {
  const broken = `{"id":"b","docs":[{"ok":{"_id":"b","_rev":"9-x","n":nonsense}}]}`;
  const answer = `{"results":[${[rowOf("a"), broken, rowOf("c")].join(",")}]}`;
  const client = {
    bulkGet: () =>
      Promise.resolve((async function* () {
        yield await Promise.resolve(Buffer.from(answer));
      })()),
  } as unknown as CouchClient;
  const batch = IdBatch.of(listed(["a", "b", "c"], { isPacked: false }));
  const request = new BulkGet(client, "a", batch, { revisions: true, attachments: true });
  const output = new ChunkText(emptyCounts());
  for await (const _ of request.forward(output, {})) { /* What comes of it is counted. */ }
  assertEquals([...request.suspects.all()].map(({ document, error }) => [document.id, error?.reason]), [
    ["b", "a row is not JSON (byte 0)"],
  ]);
  assertEquals([output.counts.documents, request.rest().count], [2, 0]);
});
