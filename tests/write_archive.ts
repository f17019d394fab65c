/**
 * Writes a backup's folder in format 2 by code that shares nothing with the program: rows in, chunks and a manifest
 * out. What the program would not write can be asked for, too.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

/** A document's id, and the JSON of each of its leaf revisions. */
export type Row = readonly [id: string, ...documents: string[]];

/** A chunk to be written. */
export interface ChunkRequest {
  rows: readonly Row[];
  again?: true;
  /** @default its place in the list, as seven digits */
  name?: string;
}

/** What to write. */
export interface WriteRequest {
  chunks: readonly ChunkRequest[];
  /** Decoded. @default "orders" */
  database?: string;
  /** Members of the manifest that are otherwise than usual. */
  manifest?: Record<string, unknown>;
  /** Members of `properties` that are otherwise than usual. */
  properties?: Record<string, unknown>;
}

/** The JSON of a revision, as CouchDB orders its members; `rev` is the newest of `history`, if that is given. */
export function revision(
  id: string,
  rev: string,
  { body = {}, history, deleted = false }: { body?: object; history?: readonly string[]; deleted?: boolean } = {},
): string {
  return JSON.stringify({
    _id: id,
    _rev: rev,
    ...body,
    ...(deleted ? { _deleted: true } : {}),
    ...(history === undefined ? {} : { _revisions: { start: Number.parseInt(rev), ids: history } }),
  });
}

/** The JSON of a chunk. */
function chunkText(rows: readonly Row[]): string {
  const texts = rows.map(([id, ...documents]) =>
    `{"id":${JSON.stringify(id)},"docs":[${documents.map((text) => `{"ok":${text}}`).join(",")}]}`
  );
  return `{"results":[${texts.join(",")}]}`;
}

/** Writes a complete backup into a folder. */
export async function writeArchive(folder: string, request: WriteRequest): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const chunks = await Promise.all(request.chunks.map((chunk, number) => storeChunk(folder, number, chunk)));
  const sum = (name: "documents" | "leaf_revisions" | "deleted" | "absent" | "bytes" | "compressed_bytes") =>
    chunks.reduce((total, chunk) => total + chunk[name], 0);
  const manifest = {
    format: 2,
    program: { name: "couchdb-backup", version: "0.1.0" },
    run: "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4",
    task: "weekly",
    database: request.database ?? "orders",
    started_at: "2026-11-25T18:00:00.000Z",
    couchdb: { url: "http://127.0.0.1:5984", version: "3.5.0" },
    options: { attachments: true, revisions: true, chunk: 1000, tombstones: false },
    properties: {
      doc_count: 9,
      doc_del_count: 0,
      q: 2,
      n: 1,
      partitioned: false,
      revs_limit: 1000,
      security: '{"admins":{"roles":["_admin"]},"members":{"roles":["_admin"]}}',
      instance_start_time: "1764093600",
      purge_seq: "0-g1AAAA",
      ...request.properties,
    },
    kind: "full",
    parent: null,
    finished_at: "2026-11-25T18:04:11.000Z",
    stored_at: "2026-11-25T18:04:11.000Z",
    feed: { since: "0", until: "9-g1AAAA" },
    unreadable: [],
    update_seq: { start: "9-g1AAAA", end: "9-g1AAAA" },
    totals: {
      documents: sum("documents"),
      leaf_revisions: sum("leaf_revisions"),
      deleted: sum("deleted"),
      absent: sum("absent"),
      chunks: chunks.length,
      bytes: sum("bytes"),
      compressed_bytes: sum("compressed_bytes"),
    },
    chunks,
    ...request.manifest,
  };
  const text = JSON.stringify(manifest, undefined, 2) + "\n";
  await Deno.writeTextFile(join(folder, "manifest-20261125T180411Z-0b5a8fd2.json"), text);
  await Deno.writeTextFile(join(folder, "manifest.json"), text);
}

/** Stores a chunk, and returns its line in the manifest. */
async function storeChunk(folder: string, number: number, { rows, again, name }: ChunkRequest) {
  const text = chunkText(rows);
  const object = gzipSync(text);
  const entry = {
    name: name ?? `${String(number).padStart(7, "0")}.json.gz`,
    documents: rows.length,
    leaf_revisions: rows.reduce((sum, [, ...documents]) => sum + documents.length, 0),
    deleted: rows.filter(([, ...documents]) => documents.every((text) => JSON.parse(text)._deleted === true)).length,
    absent: 0,
    ...(again === undefined ? {} : { again }),
    bytes: new TextEncoder().encode(text).length,
    compressed_bytes: object.length,
    sha256: createHash("sha256").update(object).digest("hex"),
  };
  await Deno.writeFile(join(folder, entry.name), object);
  return entry;
}
