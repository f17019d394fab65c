/**
 * The manifest, which makes a backup complete, and the checkpoint, which lets an unfinished one go on. Both are JSON,
 * specified in docs/archive.md; here they get their types, are put together, and are read back with every field checked.
 */
import { z } from "zod";
import { ArchiveError } from "../errors.ts";

/** The version of the archive's format that this program writes. A reader refuses what is newer. */
export const FORMAT_VERSION = 1;

/** One stored chunk. */
export interface ChunkEntry {
  name: string;
  documents: number;
  leaf_revisions: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** Of the uncompressed JSON. */
  bytes: number;
  /** Of the object. */
  compressed_bytes: number;
  /** The object's. */
  sha256: string;
  /** The chunk covers the ids behind this one, in the order of their UTF-8 bytes; null: from the database's beginning. */
  after_id: string | null;
  /** The last id the chunk covers. */
  last_id: string;
}

/** The sums over all chunks. */
export interface Totals {
  documents: number;
  leaf_revisions: number;
  absent: number;
  chunks: number;
  bytes: number;
  compressed_bytes: number;
}

/** What a database is beside its documents. */
export interface DatabaseProperties {
  doc_count: number;
  doc_del_count: number;
  q: number | null;
  n: number | null;
  partitioned: boolean;
  revs_limit: number;
  /** The text of `_security` as CouchDB sent it: a string, so that no number in it is rounded. */
  security: string;
}

/** What is known when a backup begins. */
export interface Origin {
  format: number;
  program: { name: string; version: string };
  run: string;
  task: string;
  database: string;
  /** When this database's backup began; the date in the path is that of the run. */
  started_at: string;
  couchdb: { url: string; version: string };
  options: { attachments: boolean; revisions: boolean; chunk: number | null };
  properties: DatabaseProperties;
}

/** What a complete backup consists of. */
export interface Manifest extends Origin {
  finished_at: string;
  update_seq: { start: string; end: string };
  totals: Totals;
  chunks: ChunkEntry[];
}

/** How far an unfinished backup has come. */
export interface Checkpoint extends Origin {
  saved_at: string;
  update_seq: { start: string };
  chunks: ChunkEntry[];
}

const count = z.int().nonnegative();

const chunkSchema = z.object({
  name: z.string().regex(/^\d{7,}\.json\.gz$/),
  documents: count,
  leaf_revisions: count,
  absent: count,
  bytes: count,
  compressed_bytes: count,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  after_id: z.string().nullable(),
  last_id: z.string(),
});

const totalsSchema = z.object({
  documents: count,
  leaf_revisions: count,
  absent: count,
  chunks: count,
  bytes: count,
  compressed_bytes: count,
});

const propertiesSchema = z.object({
  doc_count: count,
  doc_del_count: count,
  q: count.nullable(),
  n: count.nullable(),
  partitioned: z.boolean(),
  revs_limit: count,
  security: z.string(),
});

const originSchema = z.object({
  format: z.int().positive(),
  program: z.object({ name: z.string(), version: z.string() }),
  run: z.string().min(1),
  task: z.string(),
  database: z.string().min(1),
  started_at: z.string(),
  couchdb: z.object({ url: z.string(), version: z.string() }),
  options: z.object({ attachments: z.boolean(), revisions: z.boolean(), chunk: count.nullable() }),
  properties: propertiesSchema,
});

const manifestSchema = originSchema.extend({
  finished_at: z.string(),
  update_seq: z.object({ start: z.string(), end: z.string() }),
  totals: totalsSchema,
  chunks: z.array(chunkSchema),
});

const checkpointSchema = originSchema.extend({
  saved_at: z.string(),
  update_seq: z.object({ start: z.string() }),
  chunks: z.array(chunkSchema),
});

/** The sums over `chunks`. */
export function sumChunks(chunks: readonly ChunkEntry[]): Totals {
  const totals: Totals = {
    documents: 0,
    leaf_revisions: 0,
    absent: 0,
    chunks: chunks.length,
    bytes: 0,
    compressed_bytes: 0,
  };
  for (const chunk of chunks) {
    totals.documents += chunk.documents;
    totals.leaf_revisions += chunk.leaf_revisions;
    totals.absent += chunk.absent;
    totals.bytes += chunk.bytes;
    totals.compressed_bytes += chunk.compressed_bytes;
  }
  return totals;
}

/** The JSON text of a manifest or checkpoint, indented for the human who opens it. */
export function encodeJson(value: Manifest | Checkpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, undefined, 2) + "\n");
}

/**
 * Reads a manifest back.
 *
 * @param key Where it lies, for the error.
 * @throws ArchiveError when it is cut off, not a manifest, newer than this program, or contradicts itself.
 */
export function parseManifest(bytes: Uint8Array, key: string): Manifest {
  const manifest = parseObject(bytes, key, "manifest", manifestSchema);
  const totals = sumChunks(manifest.chunks);
  for (const name of Object.keys(totals) as (keyof Totals)[]) {
    if (totals[name] === manifest.totals[name]) continue;
    throw new ArchiveError(
      `Cannot use manifest "${key}": its totals say ${manifest.totals[name]} ${name}, its chunks add up to ${
        totals[name]
      }`,
      { key, expected: String(manifest.totals[name]), found: String(totals[name]) },
    );
  }
  return manifest;
}

/**
 * Reads a checkpoint back.
 *
 * @param key Where it lies, for the error.
 * @throws ArchiveError when it is cut off, not a checkpoint, or newer than this program.
 */
export function parseCheckpoint(bytes: Uint8Array, key: string): Checkpoint {
  return parseObject(bytes, key, "checkpoint", checkpointSchema);
}

function parseObject<T>(bytes: Uint8Array, key: string, noun: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ArchiveError(
      `Cannot read ${noun} "${key}": it is not whole JSON`,
      { key, expected: `a ${noun}`, found: `${bytes.length} bytes that do not parse` },
      { cause, hint: "The object is damaged: take an earlier backup" },
    );
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > FORMAT_VERSION) {
    throw new ArchiveError(
      `Cannot read ${noun} "${key}": it has format ${format}, this program knows formats up to ${FORMAT_VERSION}`,
      { key, expected: `format ${FORMAT_VERSION}`, found: `format ${format}` },
      { hint: "Use the version of couchdb-backup that wrote it, or a later one" },
    );
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.join(".") ?? "";
  throw new ArchiveError(
    `Cannot read ${noun} "${key}": "${path}" is not as a ${noun} has it: ${issue?.message ?? "unknown"}`,
    { key, expected: `a ${noun}`, found: issue?.message },
  );
}
