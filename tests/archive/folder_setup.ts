/** A backup's folder as earlier runs may have left it: manifests, checkpoints and chunks, put together by hand. */
import { pathToFileURL } from "node:url";
import { filterName, shortRun } from "../../src/archive/layout.ts";
import { type Checkpoint, type ChunkEntry, type Manifest, type Origin, sumChunks } from "../../src/archive/manifest.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";

/** The folder that these tests look into. */
export const FOLDER = "2026/01/03/a%2Fb";
/** The options that the backups in it were made with. */
export const OPTIONS = { attachments: true, revisions: true, chunk: 10, tombstones: false };

/** What a run knows when it begins. */
export function origin(run: string): Origin {
  return {
    format: 2,
    program: { name: "couchdb-backup", version: "0.1.0" },
    run,
    task: "weekly",
    database: "a/b",
    started_at: "2026-01-03T18:00:00.000Z",
    couchdb: { url: "http://127.0.0.1:5984", version: "3.5.0" },
    options: OPTIONS,
    properties: {
      doc_count: 9,
      doc_del_count: 0,
      q: 2,
      n: 1,
      partitioned: false,
      revs_limit: 1000,
      security: "{}",
      instance_start_time: null,
      purge_seq: null,
    },
    kind: "full",
    parent: null,
  };
}

/** A chunk of ten documents, five bytes small. */
export function chunk(number: number): ChunkEntry {
  return {
    name: `000000${number}.json.gz`,
    documents: 10,
    leaf_revisions: 10,
    deleted: 0,
    absent: 0,
    bytes: 100,
    compressed_bytes: 5,
    sha256: "0".repeat(64),
  };
}

/** The manifest of a backup of one chunk. */
export function manifest(run: string, finishedAt = "2026-01-03T18:05:00.000Z"): Manifest {
  const chunks = [chunk(0)];
  const seqs = { start: "1-x", end: "2-x" };
  return {
    ...origin(run),
    finished_at: finishedAt,
    stored_at: null,
    update_seq: seqs,
    feed: null,
    unreadable: [],
    totals: sumChunks(chunks),
    chunks,
  };
}

/** Hands a test a store of its own, and a way to put objects into the folder. */
export async function inStore(
  test: (store: Store, put: (name: string, text: string | Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
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

/** The text of a checkpoint. */
export function checkpoint(run: string, chunks: ChunkEntry[], part: Partial<Checkpoint> = {}): string {
  const filter = { name: filterName(shortRun(run), 0), sha256: "0".repeat(64), salt: 1, hashes: 10 };
  const whole: Checkpoint = {
    ...origin(run),
    saved_at: "2026-01-03T18:06:00.000Z",
    update_seq: { start: "1-x" },
    listing: { position: "7-x", ids: 10 * chunks.length, expected: 100, filter },
    unreadable: [],
    chunks,
    ...part,
  };
  return JSON.stringify(whole);
}

/** A checkpoint as version 1 wrote it: chunks, and no word of where the listing stands. */
export function checkpointOfFormat1(run: string, chunks: ChunkEntry[]): string {
  const { listing: _listing, unreadable: _unreadable, kind: _kind, parent: _parent, ...rest } = JSON.parse(
    checkpoint(run, chunks),
  );
  return JSON.stringify({ ...rest, format: 1 });
}
