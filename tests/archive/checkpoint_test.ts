import { assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { CheckpointWriter, findLeftover, readFolder } from "../../src/archive/checkpoint.ts";
import {
  type ChunkEntry,
  encodeJson,
  type Manifest,
  type Origin,
  parseCheckpoint,
  sumChunks,
} from "../../src/archive/manifest.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";

const FOLDER = "2026/01/03/a%2Fb";
const OPTIONS = { attachments: true, revisions: true, chunk: 10 };

function origin(run: string): Origin {
  return {
    format: 1,
    program: { name: "couchdb-backup", version: "0.1.0" },
    run,
    task: "weekly",
    database: "a/b",
    started_at: "2026-01-03T18:00:00.000Z",
    couchdb: { url: "http://127.0.0.1:5984", version: "3.5.0" },
    options: OPTIONS,
    properties: { doc_count: 9, doc_del_count: 0, q: 2, n: 1, partitioned: false, revs_limit: 1000, security: "{}" },
  };
}

function chunk(number: number): ChunkEntry {
  return {
    name: `000000${number}.json.gz`,
    documents: 10,
    leaf_revisions: 10,
    absent: 0,
    bytes: 100,
    compressed_bytes: 5,
    sha256: "0".repeat(64),
    after_id: number === 0 ? null : `d${number}`,
    last_id: `d${number + 1}`,
  };
}

function manifest(run: string, finishedAt = "2026-01-03T18:05:00.000Z"): Manifest {
  const chunks = [chunk(0)];
  const seqs = { start: "1-x", end: "2-x" };
  return { ...origin(run), finished_at: finishedAt, update_seq: seqs, totals: sumChunks(chunks), chunks };
}

async function inStore(
  test: (store: Store, put: (name: string, text: string | Uint8Array) => Promise<void>) => Promise<void>,
) {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup checkpoint-" });
  try {
    const store = await openStore({ bucket: pathToFileURL(root).href });
    await test(store, async (name, text) => {
      await store.replace(`${FOLDER}/${name}`, typeof text === "string" ? new TextEncoder().encode(text) : text);
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function checkpoint(run: string, chunks: ChunkEntry[], part: Record<string, unknown> = {}): string {
  const update_seq = { start: "1-x" };
  return JSON.stringify({ ...origin(run), saved_at: "2026-01-03T18:06:00.000Z", update_seq, chunks, ...part });
}

async function leftover(store: Store, log = new RecordedLog()) {
  const state = await readFolder(store, FOLDER, {});
  return await findLeftover(store, FOLDER, { state, wanted: OPTIONS, log });
}

Deno.test("readFolder() numbers on behind the highest chunk, and passes over what is none", async () => {
  await inStore(async (store, put) => {
    const empty = { nextNumber: 0, chunks: new Map(), hasManifest: false, hasCheckpoint: false };
    assertEquals(await readFolder(store, FOLDER, {}), empty, "a folder that does not exist");
    for (const name of ["0000000.json.gz", "0000007.json.gz", "notes.txt", "99.json.gz", "0000009.json.gz/inner"]) {
      await put(name, "12345");
    }
    assertEquals(await readFolder(store, FOLDER, {}), {
      ...empty,
      nextNumber: 8,
      chunks: new Map([["0000000.json.gz", 5], ["0000007.json.gz", 5]]),
    });
    await put("manifest.json", "{}");
    await put("checkpoint.json", "{}");
    const { hasManifest, hasCheckpoint } = await readFolder(store, FOLDER, {});
    assertEquals([hasManifest, hasCheckpoint], [true, true]);
  });
});

Deno.test("findLeftover() tells a complete backup from an unfinished one and from nothing", async () => {
  const cases: [what: string, files: Record<string, string>, kind: string, chunks?: string[]][] = [
    ["an empty folder", {}, "nothing"],
    ["chunks alone", { "0000000.json.gz": "12345" }, "nothing"],
    ["a manifest", { "manifest.json": JSON.stringify(manifest("one")) }, "complete"],
    ["a manifest and the checkpoint of its run", {
      "manifest.json": JSON.stringify(manifest("one")),
      "checkpoint.json": checkpoint("one", []),
    }, "complete"],
    [
      "a manifest and the checkpoint of a later run",
      {
        "manifest.json": JSON.stringify(manifest("one")),
        "checkpoint.json": checkpoint("two", [chunk(1)]),
        "0000001.json.gz": "12345",
      },
      "unfinished",
      ["0000001.json.gz"],
    ],
    ["a manifest and the checkpoint of a run that it has outlived", {
      "manifest.json": JSON.stringify(manifest("one", "2026-01-03T18:06:00.001Z")),
      "checkpoint.json": checkpoint("two", [chunk(1)]),
      "0000001.json.gz": "12345",
    }, "complete"],
    [
      "a checkpoint",
      {
        "checkpoint.json": checkpoint("one", [chunk(0), chunk(1)]),
        "0000000.json.gz": "12345",
        "0000001.json.gz": "12345",
      },
      "unfinished",
      ["0000000.json.gz", "0000001.json.gz"],
    ],
    [
      "a checkpoint of which a chunk is gone and another has another size",
      {
        "checkpoint.json": checkpoint("one", [chunk(0), chunk(1), chunk(2)]),
        "0000001.json.gz": "12345",
        "0000002.json.gz": "123456",
      },
      "unfinished",
      ["0000001.json.gz"],
    ],
    ["a checkpoint that was cut off", { "checkpoint.json": checkpoint("one", [chunk(0)]).slice(0, 50) }, "nothing"],
    ["a checkpoint without histories", {
      "checkpoint.json": checkpoint("one", [chunk(0)], { options: { ...OPTIONS, revisions: false } }),
    }, "nothing"],
    [
      "a checkpoint with other sizes of chunks",
      {
        "checkpoint.json": checkpoint("one", [chunk(0)], { options: { ...OPTIONS, chunk: null } }),
        "0000000.json.gz": "12345",
      },
      "unfinished",
      ["0000000.json.gz"],
    ],
  ];
  for (const [what, files, kind, chunks] of cases) {
    await inStore(async (store, put) => {
      for (const [name, text] of Object.entries(files)) await put(name, text);
      const found = await leftover(store);
      assertEquals(found.kind, kind, what);
      if (found.kind === "unfinished") assertEquals(found.checkpoint.chunks.map(({ name }) => name), chunks, what);
    });
  }
});

Deno.test("findLeftover() says why it does not use a checkpoint, or not all of it", async () => {
  const cases: [checkpoint: string, event: string][] = [
    ["{", "checkpoint is not used: it is damaged"],
    [checkpoint("one", [], { format: 99 }), "checkpoint is not used: it is damaged"],
    [
      checkpoint("one", [], { options: { ...OPTIONS, attachments: false } }),
      "checkpoint is not used: it was made with other options",
    ],
    [checkpoint("one", [chunk(0)]), "chunks of the checkpoint are gone and are read again"],
  ];
  for (const [text, event] of cases) {
    await inStore(async (store, put) => {
      await put("checkpoint.json", text);
      const log = new RecordedLog();
      await leftover(store, log);
      assertEquals(log.events("warn"), [event]);
    });
  }
});

Deno.test("findLeftover() does not count a manifest that is damaged, and says so", async () => {
  await inStore(async (store, put) => {
    await put("manifest.json", encodeJson(manifest("one")).subarray(0, 100));
    const log = new RecordedLog();
    assertEquals((await leftover(store, log)).kind, "nothing");
    assertEquals(log.events("warn"), ["manifest is not used: it is damaged"]);
  });
});

Deno.test("CheckpointWriter stores once a second at most, and the rest when it is asked to", async () => {
  await inStore(async (store) => {
    let timeMs = Date.parse("2026-01-03T18:00:00Z");
    const writer = new CheckpointWriter(store, FOLDER, {
      origin: origin("one"),
      startSeq: "1-x",
      chunks: [],
      now: () => new Date(timeMs),
    });
    const saved = async () => {
      const found = await store.stat(`${FOLDER}/checkpoint.json`);
      if (found === undefined) return undefined;
      const bytes = await new Response(await store.read(`${FOLDER}/checkpoint.json`)).arrayBuffer();
      return parseCheckpoint(new Uint8Array(bytes), "checkpoint.json").chunks.length;
    };
    const steps: [afterMs: number, saved: number | undefined][] = [[0, undefined], [999, undefined], [1, 3], [999, 3]];
    for (const [index, [afterMs, expected]] of steps.entries()) {
      timeMs += afterMs;
      await writer.add(chunk(index), {});
      assertEquals(await saved(), expected, `after chunk ${index}`);
    }
    await writer.saveRest({});
    assertEquals(await saved(), 4);
    await Deno.remove(new URL(store.locate(`${FOLDER}/checkpoint.json`)));
    await writer.saveRest({});
    assertEquals(await saved(), undefined, "nothing new, nothing stored");
  });
});

Deno.test("CheckpointWriter never stores an older state behind a newer one", async () => {
  const written: number[] = [];
  const waiting: (() => void)[] = [];
  const store = {
    replace: async (_: string, body: Uint8Array) => {
      const { chunks } = parseCheckpoint(body, "checkpoint.json");
      await new Promise<void>((resolve) => waiting.push(resolve));
      written.push(chunks.length);
    },
  } as unknown as Store;
  let timeMs = 0;
  const state = { origin: origin("one"), startSeq: "1-x", chunks: [], now: () => new Date(timeMs += 2000) };
  const writer = new CheckpointWriter(store, FOLDER, state);
  const adding = [writer.add(chunk(0), {}), writer.add(chunk(1), {}), writer.add(chunk(2), {}), writer.saveRest({})];
  const more = writer.save({});
  // Requests that are in flight at the same time end in any order: the latest first.
  for (let round = 0; round < 20; round++) {
    waiting.pop()?.();
    await new Promise((resolve) => setTimeout(resolve));
  }
  await Promise.all([...adding, more]);
  assertEquals(written, written.toSorted((a, b) => a - b));
  assertEquals(written.at(-1), 3);
});
