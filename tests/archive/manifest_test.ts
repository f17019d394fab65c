import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ArchiveError } from "../../src/errors.ts";
import {
  type Checkpoint,
  type ChunkEntry,
  encodeJson,
  FORMAT_VERSION,
  type Manifest,
  parseCheckpoint,
  parseManifest,
  sumChunks,
} from "../../src/archive/manifest.ts";

function chunk(number: number, part: Partial<ChunkEntry> = {}): ChunkEntry {
  return {
    name: `000000${number}.json.gz`,
    documents: 10,
    leaf_revisions: 12,
    absent: 1,
    bytes: 1000,
    compressed_bytes: 300,
    sha256: "0123456789abcdef".repeat(4),
    after_id: number === 0 ? null : `doc-${number}`,
    last_id: `doc-${number + 1}`,
    ...part,
  };
}

const ORIGIN = {
  format: FORMAT_VERSION,
  program: { name: "couchdb-backup", version: "0.1.0" },
  run: "a run",
  task: "weekly",
  database: "a/b",
  started_at: "2026-01-03T18:00:00.000Z",
  couchdb: { url: "http://[2345::6]:5984", version: "3.5.0" },
  options: { attachments: true, revisions: true, chunk: null },
  properties: {
    doc_count: 20,
    doc_del_count: 1,
    q: 2,
    n: 1,
    partitioned: false,
    revs_limit: 1000,
    security: '{"n":1.0}',
  },
};
const CHUNKS = [chunk(0), chunk(1, { absent: 0, documents: 9, last_id: "newline \n nul \0 emoji 😀" })];
const MANIFEST: Manifest = {
  ...ORIGIN,
  finished_at: "2026-01-03T18:01:00.000Z",
  update_seq: { start: "20-g1AAA", end: "21-g1AAA" },
  totals: { documents: 19, leaf_revisions: 24, absent: 1, chunks: 2, bytes: 2000, compressed_bytes: 600 },
  chunks: CHUNKS,
};
const CHECKPOINT: Checkpoint = {
  ...ORIGIN,
  saved_at: "2026-01-03T18:00:30.000Z",
  update_seq: { start: "20-g1AAA" },
  chunks: [chunk(0)],
};

const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

Deno.test("sumChunks() adds up what the chunks say", () => {
  assertEquals(sumChunks(CHUNKS), MANIFEST.totals);
  assertEquals(Object.values(sumChunks([])), [0, 0, 0, 0, 0, 0]);
});

Deno.test("parseManifest() and parseCheckpoint() read back what encodeJson() wrote", () => {
  assertEquals(parseManifest(encodeJson(MANIFEST), "k"), MANIFEST);
  assertEquals(parseCheckpoint(encodeJson(CHECKPOINT), "k"), CHECKPOINT);
});

Deno.test("parseManifest() reads a manifest to which a later version has added a field", () => {
  assertEquals(parseManifest(bytesOf({ ...MANIFEST, colour: "green" }), "k"), MANIFEST);
});

Deno.test("parseManifest() and parseCheckpoint() refuse every proper prefix", () => {
  for (const parse of [parseManifest, parseCheckpoint]) {
    const bytes = encodeJson(parse === parseManifest ? MANIFEST : CHECKPOINT);
    // The last two bytes are the closing brace and the newline.
    for (let end = 0; end < bytes.length - 1; end++) {
      const error = assertThrows(() => parse(bytes.subarray(0, end), "k/m.json"), ArchiveError);
      assertStringIncludes(error.message, '"k/m.json": it is not whole JSON');
    }
  }
});

Deno.test("parseManifest() refuses what contradicts itself, is newer, or lacks a field, and says what", () => {
  const { run: _, ...withoutRun } = MANIFEST;
  const cases: [value: unknown, message: string][] = [
    [
      { ...MANIFEST, totals: { ...MANIFEST.totals, documents: 20 } },
      'Cannot use manifest "k": its totals say 20 documents, its chunks add up to 19',
    ],
    [
      { ...MANIFEST, chunks: [CHUNKS[0]], totals: { ...sumChunks([CHUNKS[0]!]), chunks: 2 } },
      'Cannot use manifest "k": its totals say 2 chunks, its chunks add up to 1',
    ],
    [
      { ...MANIFEST, format: FORMAT_VERSION + 1, chunks: "something new" },
      `Cannot read manifest "k": it has format ${
        FORMAT_VERSION + 1
      }, this program knows formats up to ${FORMAT_VERSION}`,
    ],
    [withoutRun, 'Cannot read manifest "k": "run" is not as a manifest has it'],
    [{ ...MANIFEST, chunks: [chunk(0, { sha256: "abc" })] }, '"chunks.0.sha256" is not as a manifest has it'],
    [{ ...MANIFEST, chunks: [chunk(0, { name: "../../x" })] }, '"chunks.0.name" is not as a manifest has it'],
    [{ ...MANIFEST, chunks: [chunk(0, { bytes: -1 })] }, '"chunks.0.bytes" is not as a manifest has it'],
    [CHECKPOINT, '"finished_at" is not as a manifest has it'],
    [null, "is not as a manifest has it"],
    [[], "is not as a manifest has it"],
  ];
  for (const [value, message] of cases) {
    const error = assertThrows(() => parseManifest(bytesOf(value), "k"), ArchiveError);
    assertStringIncludes(error.message, message);
    assertEquals(error.facts.key, "k");
  }
});
