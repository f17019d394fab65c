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
  /** The object's name within the folder: `0000000.json.gz`. */
  name: string;
  /** Documents in it. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** The size of the uncompressed JSON. */
  bytes: number;
  /** The size of the object. */
  compressed_bytes: number;
  /** SHA-256 of the object, 64 lower-case hexadecimal digits. */
  sha256: string;
  /** It covers the ids behind this one, in the order of their UTF-8 bytes; null: from the database's beginning. */
  after_id: string | null;
  /** The last id that it covers. */
  last_id: string;
}

/** The sums over all chunks of a backup. */
export interface Totals {
  /** Documents. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** Chunks. */
  chunks: number;
  /** The size of the uncompressed JSON. */
  bytes: number;
  /** The size of the objects. */
  compressed_bytes: number;
}

/** What a database is beside its documents, at the start of its backup. */
export interface DatabaseProperties {
  /** Documents that are not deleted. */
  doc_count: number;
  /** Documents whose winning revision is a deletion. */
  doc_del_count: number;
  /** Shards; null where CouchDB does not say (before 2.0). */
  q: number | null;
  /** Copies of each shard; null where CouchDB does not say. */
  n: number | null;
  /** Whether ids begin with a partition's name. */
  partitioned: boolean;
  /** How many revisions of a document CouchDB remembers. */
  revs_limit: number;
  /** The text of `_security` as CouchDB sent it: a string, so that no number in it is rounded. */
  security: string;
}

/** What is known when a backup begins. Instants are in UTC: `2026-01-03T18:00:01.312Z`. */
export interface Origin {
  /** The version of the archive's format. */
  format: number;
  /** What wrote it. */
  program: { name: string; version: string };
  /** The id of the run that wrote it. */
  run: string;
  /** The task's name in the config. */
  task: string;
  /** The decoded name. */
  database: string;
  /** When this database's backup began; the date in the path is that of the run. */
  started_at: string;
  /** What it was read from; the URL is without credentials. */
  couchdb: { url: string; version: string };
  /** What the task saves; `chunk` is null where the database was one request. */
  options: { attachments: boolean; revisions: boolean; chunk: number | null };
  /** What the database is beside its documents. */
  properties: DatabaseProperties;
}

/** What a complete backup consists of. @see docs/archive.md, which specifies it */
export interface Manifest extends Origin {
  /** When it was complete. */
  finished_at: string;
  /** CouchDB's opaque sequences before the first and behind the last document. */
  update_seq: { start: string; end: string };
  /** The sums over `chunks`. */
  totals: Totals;
  /** The chunks, in the order of their ids. */
  chunks: ChunkEntry[];
}

/** How far an unfinished backup has come. */
export interface Checkpoint extends Origin {
  /** When it was written. */
  saved_at: string;
  /** CouchDB's opaque sequence before the first document. */
  update_seq: { start: string };
  /** The chunks that are stored, in the order of their names. */
  chunks: ChunkEntry[];
}

const count = z.int().nonnegative();

const chunkSchema: z.ZodType<ChunkEntry> = z.object({
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

const totalsSchema: z.ZodType<Totals> = z.object({
  documents: count,
  leaf_revisions: count,
  absent: count,
  chunks: count,
  bytes: count,
  compressed_bytes: count,
});

const propertiesSchema: z.ZodType<DatabaseProperties> = z.object({
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

const manifestSchema: z.ZodType<Manifest> = originSchema.extend({
  finished_at: z.string(),
  update_seq: z.object({ start: z.string(), end: z.string() }),
  totals: totalsSchema,
  chunks: z.array(chunkSchema),
});

const checkpointSchema: z.ZodType<Checkpoint> = originSchema.extend({
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
