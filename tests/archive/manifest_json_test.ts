import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ArchiveError } from "../../src/errors.ts";
import {
  type Checkpoint,
  type ChunkEntry,
  FORMAT_VERSION,
  type Manifest,
  type Origin,
  sumChunks,
} from "../../src/archive/manifest.ts";
import { encodeCheckpoint, encodeJson, parseCheckpoint, parseManifest } from "../../src/archive/manifest_json.ts";

function chunk(number: number, part: Partial<ChunkEntry> = {}): ChunkEntry {
  return {
    name: `000000${number}.json.gz`,
    documents: 10,
    leaf_revisions: 12,
    deleted: 2,
    absent: 1,
    bytes: 1000,
    compressed_bytes: 300,
    sha256: "0123456789abcdef".repeat(4),
    after_id: number === 0 ? null : `doc-${number}`,
    last_id: `doc-${number + 1}`,
    ...part,
  };
}

const ORIGIN: Origin = {
  format: FORMAT_VERSION,
  program: { name: "couchdb-backup", version: "0.1.0" },
  run: "a run",
  task: "weekly",
  database: "a/b",
  started_at: "2026-01-03T18:00:00.000Z",
  couchdb: { url: "http://[2345::6]:5984", version: "3.5.0" },
  options: { attachments: true, revisions: true, chunk: null, tombstones: true },
  properties: {
    doc_count: 20,
    doc_del_count: 1,
    q: 2,
    n: 1,
    partitioned: false,
    revs_limit: 1000,
    security: '{"n":1.0}',
    instance_start_time: "1700000000",
    purge_seq: "0",
  },
  kind: "incremental",
  parent: {
    path: "2026/01/02/a%2Fb/manifest-20260102T180100Z-0b5a8fd2.json",
    run: "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4",
    sha256: "0123456789abcdef".repeat(4),
  },
};
const UNREADABLE = [{ id: "bad", error: "internal_error", reason: "{badmatch,eof}" }];
const CHUNKS = [chunk(0), chunk(1, { absent: 0, documents: 9, last_id: "newline \n nul \0 emoji 😀" })];
const MANIFEST: Manifest = {
  ...ORIGIN,
  finished_at: "2026-01-03T18:01:00.000Z",
  stored_at: "2026-01-03T18:01:01.000Z",
  feed: { since: "0", until: "21-g1AAA" },
  unreadable: UNREADABLE,
  update_seq: { start: "20-g1AAA", end: "21-g1AAA" },
  totals: { documents: 19, leaf_revisions: 24, deleted: 4, absent: 1, chunks: 2, bytes: 2000, compressed_bytes: 600 },
  chunks: CHUNKS,
};
const CHECKPOINT: Checkpoint = {
  ...ORIGIN,
  saved_at: "2026-01-03T18:00:30.000Z",
  update_seq: { start: "20-g1AAA" },
  listing: {
    position: "12-g1AAA",
    ids: 10,
    expected: 20,
    filter: { name: "filter-0b5a8fd2-0.bin", sha256: "0123456789abcdef".repeat(4), salt: 7, hashes: 5 },
  },
  unreadable: UNREADABLE,
  chunks: [chunk(0, { name: "0b5a8fd2-0000000.json.gz", again: true })],
};

const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

Deno.test("parseManifest() and parseCheckpoint() read back what encodeJson() wrote", () => {
  assertEquals(parseManifest(encodeJson(MANIFEST), "k"), MANIFEST);
  assertEquals(parseCheckpoint(encodeJson(CHECKPOINT), "k"), CHECKPOINT);
});

/** As version 1 wrote them: none of what format 2 has added. */
function asFormat1(value: Manifest | Checkpoint): Record<string, unknown> {
  const { kind: _, parent: _parent, unreadable: _unreadable, ...rest } = value;
  const { stored_at: _stored, feed: _feed, listing: _listing, ...kept } = rest as Partial<Manifest & Checkpoint>;
  const { instance_start_time: _start, purge_seq: _purge, ...properties } = value.properties;
  const { tombstones: _tombstones, ...options } = value.options;
  const chunks = value.chunks.map(({ deleted: _, ...chunk }) => chunk);
  const { deleted: _deleted, ...totals } = kept.totals ?? {};
  return { ...kept, format: 1, properties, options, chunks, ...(kept.totals === undefined ? {} : { totals }) };
}

Deno.test("parseManifest() and parseCheckpoint() read what version 1 wrote, with what it did not know left open", () => {
  const ofFormat1: Pick<Manifest, "format" | "kind" | "parent" | "unreadable" | "options" | "properties"> = {
    format: 1,
    kind: "full" as const,
    parent: null,
    unreadable: [],
    options: { ...ORIGIN.options, tombstones: false },
    properties: { ...ORIGIN.properties, instance_start_time: null, purge_seq: null },
  };
  const chunksOf = ({ chunks }: { chunks: ChunkEntry[] }) => chunks.map((chunk) => ({ ...chunk, deleted: 0 }));
  assertEquals(parseManifest(bytesOf(asFormat1(MANIFEST)), "k"), {
    ...MANIFEST,
    ...ofFormat1,
    stored_at: null,
    feed: null,
    chunks: chunksOf(MANIFEST),
    totals: { ...MANIFEST.totals, deleted: 0 },
  });
  assertEquals(parseCheckpoint(bytesOf(asFormat1(CHECKPOINT)), "k"), {
    ...CHECKPOINT,
    ...ofFormat1,
    listing: null,
    chunks: chunksOf(CHECKPOINT),
  });
});

Deno.test("parseManifest() does not take one of format 2 that lacks what makes it one for an old one", () => {
  for (const name of ["kind", "parent", "unreadable"]) {
    const { [name as keyof Manifest]: _, ...lacking } = MANIFEST;
    const error = assertThrows(() => parseManifest(bytesOf(lacking), "k"), ArchiveError);
    assertStringIncludes(error.message, `"${name}" is not as a manifest has it: it is missing`);
  }
});

Deno.test("parseManifest() reads a manifest to which a later version has added a field", () => {
  assertEquals(parseManifest(bytesOf({ ...MANIFEST, colour: "green" }), "k"), MANIFEST);
});

Deno.test("parseManifest() and parseCheckpoint() take nothing of which one bit is another for what was written", () => {
  const cases: [parse: (bytes: Uint8Array, key: string) => unknown, bytes: Uint8Array, whole: unknown][] = [
    [parseManifest, encodeJson(MANIFEST), MANIFEST],
    [parseCheckpoint, encodeCheckpoint(CHECKPOINT), CHECKPOINT],
  ];
  for (const [parse, whole, value] of cases) {
    assertEquals(parse(whole, "k"), value);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      let read: unknown;
      try {
        read = parse(bytes, "k");
      } catch (error) {
        if (!(error instanceof ArchiveError)) throw error;
        continue;
      }
      // Nothing is lost where the name of the checksum is another one.
      assertEquals(read, value, `bit ${bit}: ${new TextDecoder().decode(bytes.subarray((bit >> 3) - 20, bit >> 3))}`);
    }
  }
});

Deno.test("parseManifest() refuses one that was edited, or formatted anew, and takes it without its checksum", () => {
  const { checksum, ...parts } = JSON.parse(new TextDecoder().decode(encodeJson(MANIFEST)));
  assertEquals(Object.keys(JSON.parse(new TextDecoder().decode(encodeJson(MANIFEST)))).at(-1), "checksum");
  const properties = { ...parts.properties, security: '{"admins":{"names":["mallory"]}}' };
  for (const value of [{ ...parts, properties, checksum }, { ...parts, checksum }, { ...parts, checksum: null }]) {
    const error = assertThrows(() => parseManifest(bytesOf(value), "k"), ArchiveError);
    assertStringIncludes(error.message, 'Cannot use manifest "k": it is not as it was written, by its own checksum');
  }
  assertEquals(parseManifest(bytesOf({ ...parts, properties }), "k"), { ...MANIFEST, properties });
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
    [{ ...MANIFEST, chunks: [chunk(0), chunk(0)], totals: sumChunks([chunk(0), chunk(0)]) }, "it names a chunk twice"],
    [{ ...MANIFEST, finished_at: "yesterday" }, '"finished_at" is not as a manifest has it'],
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

Deno.test("parseCheckpoint() takes no filter from elsewhere in the store, and no chunk twice", () => {
  const filter = { name: "../../x.bin", sha256: "0".repeat(64), salt: 1, hashes: 27 };
  const listing = { position: "9-x", ids: 9, expected: 9, filter };
  const read = (change: object) => () => parseCheckpoint(bytesOf({ ...CHECKPOINT, ...change }), "k");
  assertThrows(read({ listing }), ArchiveError, '"listing.filter.name" is not as a checkpoint has it');
  const whole = { ...filter, name: "filter-0b5a8fd2-0.bin" };
  const seen = { bytes: 8, salt: 1, hashes: 1e9, states: 1 };
  for (const endless of [{ ...whole, hashes: 1e9 }, { ...whole, hashes: 0 }, { ...whole, seen }]) {
    const change = { listing: { ...listing, filter: endless } };
    assertThrows(read(change), ArchiveError, 'hashes" is not as a checkpoint has it');
  }
  assertThrows(read({ chunks: [chunk(0), chunk(0)] }), ArchiveError, "it names a chunk twice");
});
