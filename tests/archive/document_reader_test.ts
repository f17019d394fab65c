import { assertEquals, assertRejects } from "@std/assert";
import { CHUNK_FORMAT, FormatError } from "../../src/archive/formats.ts";
import { DocumentReader, type DocumentReaderOptions } from "../../src/archive/document_reader.ts";
import { isLarge } from "../../src/archive/documents.ts";
import { FramingError } from "../../src/json/scan.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function inPieces(text: string, size: number): AsyncIterable<Uint8Array> {
  const bytes = encoder.encode(text);
  return (async function* () {
    for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
  })();
}

/** All documents as text, in order, the large ones marked. */
async function readAll(reader: DocumentReader): Promise<string[]> {
  const found: string[] = [];
  for await (const item of reader.read()) {
    if (!isLarge(item)) {
      found.push(...item.map(({ bytes }) => decoder.decode(bytes)));
      continue;
    }
    let text = "";
    for await (const bytes of item.stream) text += decoder.decode(bytes, { stream: true });
    found.push(`large ${item.ordinal} ${item.id} ${item.rev}: ${text}`);
  }
  return found;
}

const LONG = `{"_id":"b","_rev":"1-b","text":"${'é\\\\\\"x'.repeat(60)}"}`;
const ROWS =
  `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a","n":1.0}},{"ok":{"_id":"a","_rev":"1-c"}}]},` +
  `{"id":"b","docs":[{"ok":${LONG}}]},{"id":"gone","docs":[{"error":{"error":"not_found","reason":"missing"}}]},` +
  `{"id":"bad","docs":[{"error":{"error":"timeout","reason":"x"}}]},{"id":"c","docs":[{"ok":{"_id":"c"}}]}]}`;

Deno.test("DocumentReader yields every document's bytes, however the source is cut, large ones as streams", async () => {
  const small = ['{"_id":"a","_rev":"1-a","n":1.0}', '{"_id":"a","_rev":"1-c"}'];
  for (const size of [1, 2, 3, 7, 50, 64, 10_000]) {
    for (const heldDocumentBytes of [100, 10_000]) {
      const options: DocumentReaderOptions = { format: CHUNK_FORMAT, heldDocumentBytes };
      const reader = new DocumentReader(inPieces(ROWS, size), options);
      const found = await readAll(reader);
      // A document that arrives in one piece is in memory as it is.
      const long = heldDocumentBytes === 100 && size < 400 ? `large 2 b 1-b: ${LONG}` : LONG;
      assertEquals(found, [...small, long, '{"_id":"c"}'], `pieces of ${size}, held ${heldDocumentBytes}`);
      const { length: bytes } = encoder.encode(ROWS);
      const passedOver = { documents: 0, leafRevisions: 0, deleted: 0 };
      const unreadable = [{ id: "bad", error: "timeout", reason: "x" }];
      const counts = { documents: 3, leafRevisions: 4, deleted: 0, passedOver, absent: 1, lost: 1, unreadable, bytes };
      assertEquals(reader.counts, counts);
    }
  }
});

Deno.test("DocumentReader passes over rows that are not wanted, large ones too, and counts them apart", async () => {
  const gone = (id: string) => `{"_id":"${id}","_rev":"2-b","_deleted":true}`;
  const text = `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}},{"ok":${gone("a")}}]},` +
    `{"id":"b","docs":[{"ok":${LONG}},{"ok":{"_id":"b"}}]},{"id":"c","docs":[{"ok":${gone("c")}},{"ok":${
      gone("c")
    }}]},` +
    `{"id":"d","docs":[{"error":{"error":"x"}}]},{"id":"e","docs":[{"ok":${gone("e")}}]}]}`;
  for (const size of [1, 7, 50, 10_000]) {
    for (const heldDocumentBytes of [100, 10_000]) {
      const asked: string[] = [];
      const rows: (string | undefined)[] = [];
      const reader = new DocumentReader(inPieces(text, size), {
        format: CHUNK_FORMAT,
        heldDocumentBytes,
        passOver: (id) => (asked.push(id), id === "b" || id === "c"),
        onRow: (id) => rows.push(id),
      });
      assertEquals(await readAll(reader), ['{"_id":"a","_rev":"1-a"}', gone("a"), gone("e")]);
      assertEquals([asked, rows], [["a", "b", "c", "e"], ["a", "b", "c", "d", "e"]]);
      const { passedOver, documents, leafRevisions, deleted } = reader.counts;
      assertEquals([documents, leafRevisions, deleted], [4, 7, 2]);
      assertEquals(passedOver, { documents: 2, leafRevisions: 4, deleted: 1 });
    }
  }
});

Deno.test("DocumentReader passes over by the id that it finds in or behind a document, large ones too", async () => {
  const gone = '{"_id":"c","_rev":"2-c","_deleted":true}';
  const late = `{"text":"${"x".repeat(300)}","_id":"late","_rev":"1-l"}`;
  const files: [text: string, documents: number, leaves: number][] = [
    [`[${LONG},{"_id":"a","_rev":"1-a"},${late},${gone}]`, 4, 4],
    [
      `{"results":[{"docs":[{"ok":${LONG}}],"id":"b"},{"docs":[{"ok":{"_id":"a","_rev":"1-a"}}],"id":"a"},` +
      `{"docs":[{"ok":${gone}},{"ok":${gone}}],"id":"c"}]}`,
      3,
      4,
    ],
  ];
  for (const [text, documents, leaves] of files) {
    for (const size of [1, 50, 10_000]) {
      for (const heldDocumentBytes of [100, 10_000]) {
        const unwanted = new Set(["b", "late", "c"]);
        const reader = new DocumentReader(inPieces(text, size), {
          heldDocumentBytes,
          passOver: (id) => unwanted.has(id),
        });
        const found: (string | undefined)[] = [];
        for await (const item of reader.read()) found.push(...isLarge(item) ? [item.id] : item.map(({ id }) => id));
        // What has its id behind megabytes of content is handed on without one: chunk.ts looks for it.
        assertEquals(found.filter((id) => id !== undefined), ["a"], `${text.slice(0, 20)} ${size}`);
        const { counts } = reader;
        assertEquals([counts.documents, counts.leafRevisions, counts.deleted], [documents, leaves, 1]);
        assertEquals(counts.passedOver, { documents: documents - 1, leafRevisions: leaves - 1, deleted: 1 });
      }
    }
  }
});

Deno.test("DocumentReader goes on behind a large document whose stream was read in part or not at all", async () => {
  for (const taken of [0, 1, 3]) {
    const reader = new DocumentReader(inPieces(ROWS, 20), { format: CHUNK_FORMAT, heldDocumentBytes: 100 });
    const found: (string | undefined)[] = [];
    for await (const item of reader.read()) {
      if (!isLarge(item)) {
        found.push(...item.map(({ id }) => id));
        continue;
      }
      let left = taken;
      if (left > 0) { for await (const _bytes of item.stream) if (--left === 0) break; }
      found.push("large");
    }
    assertEquals(found, ["a", "a", "large", "c"], `${taken} pieces taken`);
    assertEquals(reader.counts.leafRevisions, 4);
  }
});

Deno.test("DocumentReader tells ids, and whether there is a revision to keep, where it has to recognise the format", async () => {
  const text = '{"docs":[{"_id":"a","_rev":"1-a"},{"n":1,"_id":"b"}]}';
  const reader = new DocumentReader(inPieces(text, 9));
  const found: unknown[] = [];
  for await (const item of reader.read()) {
    if (!isLarge(item)) found.push(...item.map(({ id, hasRevision }) => [id, hasRevision]));
  }
  assertEquals(found, [["a", true], ["b", false]]);
  assertEquals(reader.format?.name, "a body of _bulk_docs");
});

Deno.test("DocumentReader tells what has no id of its own, in a row with one, and refuses it where there is none", async () => {
  const rows = new DocumentReader(inPieces('{"rows":[{"id":"a","doc":{"n":1}},{"id":"b","doc":{"_id":"c"}}]}', 9));
  const found: unknown[] = [];
  for await (const item of rows.read()) {
    if (!isLarge(item)) found.push(...item.map(({ id, lacksId }) => [id, lacksId]));
  }
  assertEquals(found, [["a", true], ["c", undefined]]);
  const large = `{"text":"${"x".repeat(200)}"}`;
  for (const bad of ["{}", "7", "null", "[]", '{"id":"a"}', '{"_id":7}', '{"a":{"_id":"b"}}', large]) {
    for (const heldDocumentBytes of [100, 10_000]) {
      const reader = new DocumentReader(inPieces(`[{"_id":"a"},${bad},{"_id":"b"}]`, 20), { heldDocumentBytes });
      await assertRejects(() => readAll(reader), FormatError, "number 2");
    }
  }
});

Deno.test("DocumentReader counts leaf revisions that follow each other as one document where there are no rows", async () => {
  const a = ['{"_id":"a","_rev":"1-a"}', '{"_id":"a","_rev":"1-b","_deleted":true}'];
  const gone = ['{"_id":"b","_rev":"2-a","_deleted":true}', '{"_id":"b","_rev":"2-b","_deleted":true}'];
  for (
    const text of [
      `[${[...a, ...gone]}]`,
      `{"docs":[${[...a, ...gone]}]}`,
      `[${a}]\n[${gone}]\n`,
      [...a, ...gone].join("\n"),
    ]
  ) {
    for (const [size, heldDocumentBytes] of [[3, 1000], [3, 20], [1000, 1000]] as const) {
      const reader = new DocumentReader(inPieces(text, size), { heldDocumentBytes });
      assertEquals((await readAll(reader)).length, 4);
      const { documents, leafRevisions, deleted } = reader.counts;
      assertEquals([documents, leafRevisions, deleted], [2, 4, 1], `${text} in pieces of ${size}`);
    }
  }
});

Deno.test("DocumentReader throws at what is cut off or not of the format, and lets its source go", async () => {
  const cases: [string, DocumentReaderOptions][] = [
    [ROWS.slice(0, -1), { format: CHUNK_FORMAT }],
    [ROWS.slice(0, 300), { format: CHUNK_FORMAT, heldDocumentBytes: 100 }],
    ['{"error":"unauthorized"}', { format: CHUNK_FORMAT }],
    ['{"error":"unauthorized"}', {}],
    ["", {}],
  ];
  for (const [text, options] of cases) {
    let released = false;
    const source = (async function* () {
      try {
        yield* inPieces(text, 40);
      } finally {
        released = true;
      }
    })();
    const error = await assertRejects(() => readAll(new DocumentReader(source, options)));
    assertEquals(error instanceof FramingError || error instanceof FormatError, true, String(error));
    assertEquals(released, true, text);
  }
});
