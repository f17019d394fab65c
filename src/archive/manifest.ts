/**
 * The manifest, which makes a backup complete, and the checkpoint, from which an unfinished one is resumed. Both are
 * JSON, specified in docs/archive.md; here they get their types, are put together, and are read back with every field
 * checked.
 */
import { counted } from "../counts.ts";
import * as z from "zod";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { isSealedName } from "../codec/compression.ts";
import { ArchiveError } from "../errors.ts";
import { CHUNK_NAME, FILTER_NAME, SEEN_NAME } from "./layout.ts";

/** The version of the archive's format that this program writes. A reader refuses what is newer. */
export const FORMAT_VERSION = 2;

/** One stored chunk. */
export interface ChunkEntry {
  /**
   * The object's name within the folder: `0000000.json.gz`, or `0000000.json.zst`, with `.age` behind it where it is
   * sealed.
   */
  name: string;
  /** Documents in it. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Documents of which every leaf revision is deleted. Format 1 had none. */
  deleted: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** Its documents are later states of ids that lower chunks may hold as well; those below do not count. */
  again?: true | undefined;
  /** The size of the uncompressed JSON. */
  bytes: number;
  /** The size of the object. */
  compressed_bytes: number;
  /** SHA-256 of the object, 64 lower-case hexadecimal digits. */
  sha256: string;
  /**
   * Format 1 alone: the chunk covers the ids behind this one, in the order of their UTF-8 bytes; null: from the
   * database's beginning.
   */
  after_id?: string | null | undefined;
  /** Format 1 alone: the last id the chunk covers. */
  last_id?: string | undefined;
}

/** The sums over all chunks of a backup. */
export interface Totals {
  /** Documents. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Documents of which every leaf revision is deleted. */
  deleted: number;
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
  /** How many revisions of a document CouchDB remembers; null where CouchDB did not let it be read. */
  revs_limit: number | null;
  /**
   * The text of `_security` as CouchDB sent it: a string, so that no number in it is rounded. Null where CouchDB did
   * not let it be read, and while it is sealed.
   */
  security: string | null;
  /** When the database was created; null where CouchDB does not tell (before 3.3, and format 1). */
  instance_start_time: string | null;
  /** Where the purges stood; null in format 1 and where CouchDB does not tell. */
  purge_seq: string | null;
}

/** How a backup stands to others: `full` holds every document, `incremental` what has changed since its parent. */
export type BackupKind = "full" | "incremental";

/** The manifest of the parent that an incremental backup builds on. */
export interface ParentLink {
  /** Below the config's prefix: `2026/11/25/couchdb/orders/manifest-20261125T180411Z-0b5a8fd2.json`. */
  path: string;
  /** The run that wrote it. */
  run: string;
  /** SHA-256 of its bytes. */
  sha256: string;
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
  /** What the task saves. */
  options: {
    attachments: boolean;
    /** Whether histories are saved. */
    revisions: boolean;
    /** Null where none was said: the database was one request, unless `chunk_bytes` is there. */
    chunk: number | null;
    /** How many bytes a chunk might have; absent: any number. */
    chunk_bytes?: number | undefined;
    /** Whether every tombstone was taken; else those alone that documents of this backup have become. */
    tombstones: boolean;
  };
  /** What the database is beside its documents. */
  properties: DatabaseProperties;
  /** Whether it holds every document, or what has changed since another. */
  kind: BackupKind;
  /**
   * The parent of an incremental backup, by its manifest: the path below the config's prefix, the run, and the
   * SHA-256 of its bytes.
   */
  parent: ParentLink | null;
  /** To whom the chunks are sealed, public keys of age. Absent: to nobody. */
  recipients?: readonly string[] | undefined;
  /** What of it names people's data, sealed as the chunks are. There where it was read, or is to be stored, so. */
  sealed?: SealedPart | undefined;
}

/**
 * What of a manifest or checkpoint names people's data, where chunks are sealed: `_security`, and the documents that
 * could not be read. The hashes let somebody without an identity find these again, by trying all ids that there are.
 */
export interface SealedPart {
  /** An age file in base64; within it the JSON object `{"security", "unreadable"}`. */
  age: string;
  /** So that nobody can tell by two backups of one id that it is the same. */
  salt: string;
  /** A hash for each of the documents. */
  unreadable: SealedDocument[];
}

/** A document that could not be read, as somebody without an identity sees it. */
export interface SealedDocument {
  /** 22 characters of base64url: of the SHA-256 of salt, U+0000 and id. */
  id: string;
  /** It could be read but for a revision. */
  part?: true | undefined;
}

/**
 * The end of the feed as a backup has seen it: the next one begins there, and finds by these rows whether they are
 * still there, and which rows it knows already.
 */
export interface FeedOverlap {
  /** The position behind which these rows lie. */
  since: string;
  /** So that nobody can tell by two backups of one id that it is the same. */
  salt: string;
  /** Of each row 22 characters of base64url: half of them stand for the id, half for the id and its leaf revisions. */
  hashes: string[];
}

/**
 * The states of documents that a backup has seen, by id and leaf revisions, in a Bloom filter: in the manifest where it
 * is small, else in an object beside it. One of the two is null.
 */
export interface SeenStates {
  /** How many there are, about. */
  states: number;
  /** What the hashes begin with. */
  salt: number;
  /** How many bits stand for a state. */
  hashes: number;
  /** The filter in base64url. */
  bits: string | null;
  /** The object of the filter, in the folder of the manifest. */
  object: { name: string; bytes: number; sha256: string } | null;
}

/** Between which positions of the changes feed a backup was listed. */
export interface ListedFeed {
  /** Behind which position; "0": from the beginning. */
  since: string;
  /** Up to which. */
  until: string;
  /** How many documents CouchDB said there were when it ended, deleted ones too; absent: not known. */
  expected?: number | null | undefined;
  /** Absent: not known, so that no incremental backup can build on this one. */
  overlap?: FeedOverlap | null | undefined;
  /** Absent: not known, so that the chain cannot be compared with what the feed says later. */
  seen?: SeenStates | undefined;
}

/** So many documents that a chain has lost are named. */
export const MOST_LOST_NAMED = 20;

/**
 * Documents that the backups of a chain lack, or have in another state than they were in, as a full one after it has
 * found.
 */
export interface ChainLoss {
  /** How many there are. */
  documents: number;
  /** The ids of the first twenty; none where the manifest is sealed. */
  ids: string[];
  /** When the newest backup of the chain was complete. */
  up_to: string;
}

/** What a complete backup consists of. @see docs/archive.md, which specifies it */
export interface Manifest extends Origin {
  /** When it was complete. */
  finished_at: string;
  /** The store's clock at that moment, where it tells one. */
  stored_at: string | null;
  /** Until when its objects are locked at least, where the task is incremental and locks them. */
  locked_until?: string | null | undefined;
  /** CouchDB's opaque sequences before the first and behind the last document. */
  update_seq: { start: string; end: string };
  /** The positions of the changes feed between which documents were listed; null in format 1. */
  feed: ListedFeed | null;
  /**
   * What the chain before this full backup has lost: found before the manifest is stored, so that whoever is killed
   * behind that has not lost it. Absent where that is nothing.
   */
  chain_lost?: ChainLoss | undefined;
  /** The documents that CouchDB could not read; all else of the database is there. */
  unreadable: UnreadableDocument[];
  /** The sums over `chunks`. */
  totals: Totals;
  /** The chunks, in the order of their ids. */
  chunks: ChunkEntry[];
}

/** How far a listing by the changes feed has come. */
export interface ListingState {
  /** A resumed run lists from here: all that was listed before is in the chunks. */
  position: string;
  /** How many different ids were listed up to there, deleted ones too. */
  ids: number;
  /** The most documents, deleted ones too, that CouchDB said the database had. */
  expected: number;
  /** The filter of these ids; null where there is none. */
  filter: {
    name: string;
    sha256: string;
    salt: number;
    hashes: number;
    /** Behind the filter's own bits so many bytes hold the states that were seen, where these are wanted. */
    seen?: { bytes: number; salt: number; hashes: number; states: number } | undefined;
  } | null;
}

/** How far an unfinished backup has come. */
export interface Checkpoint extends Origin {
  /** When it was written. */
  saved_at: string;
  /** CouchDB's opaque sequence before the first document. */
  update_seq: { start: string };
  /** Null in format 1. */
  listing: ListingState | null;
  /** The documents that could not be read so far. */
  unreadable: UnreadableDocument[];
  /** The chunks that are stored, in the order of their names. */
  chunks: ChunkEntry[];
}

const count = z.int().nonnegative();
/** All readers calculate with them: a text that is no instant must not come so far. */
const instant = z.iso.datetime({ offset: true });
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const chunkSchema = z.object({
  name: z.string().regex(CHUNK_NAME),
  documents: count,
  leaf_revisions: count,
  deleted: count.default(0),
  absent: count,
  again: z.literal(true).optional(),
  bytes: count,
  compressed_bytes: count,
  sha256,
  after_id: z.string().nullable().optional(),
  last_id: z.string().optional(),
});

/** Twice in the list it would be restored twice, and pass for more than there is. */
const chunksSchema = z.array(chunkSchema).refine(
  (chunks) => new Set(chunks.map(({ name }) => name)).size === chunks.length,
  {
    error: "it names a chunk twice",
  },
);

const totalsSchema: z.ZodType<Totals> = z.object({
  documents: count,
  leaf_revisions: count,
  deleted: count.default(0),
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
  revs_limit: count.nullable(),
  security: z.string().nullable(),
  instance_start_time: z.string().nullable().default(null),
  purge_seq: z.string().nullable().default(null),
});

const originSchema = z.object({
  format: z.int().positive(),
  program: z.object({ name: z.string(), version: z.string() }),
  run: z.string().min(1),
  task: z.string(),
  database: z.string().min(1),
  started_at: instant,
  couchdb: z.object({ url: z.string(), version: z.string() }),
  options: z.object({
    attachments: z.boolean(),
    revisions: z.boolean(),
    chunk: count.nullable(),
    chunk_bytes: count.optional(),
    tombstones: z.boolean().default(false),
  }),
  properties: propertiesSchema,
  kind: z.enum(["full", "incremental"]).default("full"),
  parent: z.object({ path: z.string(), run: z.string(), sha256 }).nullable().default(null),
  recipients: z.array(z.string().min(1)).min(1).optional(),
  sealed: z.object({
    age: z.base64(),
    salt: z.string(),
    unreadable: z.array(z.object({ id: z.string().regex(/^[\w-]{22}$/), part: z.literal(true).optional() })),
  }).optional(),
});

const unreadableSchema = z.object({
  id: z.string(),
  rev: z.string().optional(),
  error: z.string(),
  reason: z.string(),
});

/** Each id that is looked up costs so many steps, and who can write the bucket could name any number. */
const hashes = z.int().min(1).max(64);

const seenSchema = z.object({
  states: count,
  salt: count,
  hashes,
  bits: z.base64url().nullable(),
  object: z.object({ name: z.string().regex(SEEN_NAME), bytes: count, sha256 }).nullable(),
});

const feedSchema = z.object({
  since: z.string(),
  until: z.string(),
  expected: count.nullable().optional(),
  overlap: z.object({ since: z.string(), salt: z.string(), hashes: z.array(z.string()) }).nullable().optional(),
  // What cannot be used of it is as good as not there: nothing is restored by it.
  seen: seenSchema.optional().catch(undefined),
});

const chainLossSchema: z.ZodType<ChainLoss> = z.object({
  documents: z.int().positive(),
  ids: z.array(z.string()).max(MOST_LOST_NAMED),
  up_to: instant,
});

const manifestSchema: z.ZodType<Manifest> = originSchema.extend({
  finished_at: instant,
  stored_at: instant.nullable().default(null),
  locked_until: instant.nullable().optional(),
  feed: feedSchema.nullable().default(null),
  // What cannot be used of it is as good as not there: nothing is restored by it.
  chain_lost: chainLossSchema.optional().catch(undefined),
  unreadable: z.array(unreadableSchema).default([]),
  update_seq: z.object({ start: z.string(), end: z.string() }),
  totals: totalsSchema,
  chunks: chunksSchema,
});

const listingSchema = z.object({
  position: z.string(),
  ids: count,
  expected: count,
  filter: z.object({
    name: z.string().regex(FILTER_NAME),
    sha256,
    salt: count,
    hashes,
    seen: z.object({ bytes: count, salt: count, hashes, states: count }).optional(),
  }).nullable(),
});

const checkpointSchema = originSchema.extend({
  saved_at: instant,
  update_seq: z.object({ start: z.string() }),
  listing: listingSchema.nullable().default(null),
  unreadable: z.array(unreadableSchema).default([]),
  chunks: chunksSchema,
});

/** What a manifest or checkpoint of format 2 always has; in one of format 1 it is as the schema's defaults say. */
const REQUIRED = ["kind", "parent", "unreadable"];

/** The sums over `chunks`. */
export function sumChunks(chunks: readonly ChunkEntry[]): Totals {
  const totals: Totals = {
    documents: 0,
    leaf_revisions: 0,
    deleted: 0,
    absent: 0,
    chunks: chunks.length,
    bytes: 0,
    compressed_bytes: 0,
  };
  for (const chunk of chunks) {
    totals.documents += chunk.documents;
    totals.leaf_revisions += chunk.leaf_revisions;
    totals.deleted += chunk.deleted;
    totals.absent += chunk.absent;
    totals.bytes += chunk.bytes;
    totals.compressed_bytes += chunk.compressed_bytes;
  }
  return totals;
}

/**
 * The JSON text of a checkpoint: stored again and again, so in few bytes. @throws Error as {@linkcode encodeJson} does.
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(storedForm(checkpoint)) + "\n");
}

/**
 * The JSON text of a manifest or checkpoint, indented for the human who opens it.
 *
 * @throws Error where it has recipients and was not sealed, or names a chunk that is not: nothing of it may be stored.
 */
export function encodeJson(value: Manifest | Checkpoint): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(storedForm(value), undefined, 2) + "\n");
}

/** Without what is sealed. The members are left out, so that a reader who knows of no seal refuses it. */
function storedForm(value: Manifest | Checkpoint): object {
  const { recipients, sealed, chunks } = value;
  if ((recipients === undefined) !== (sealed === undefined)) throw new Error("A manifest is half sealed");
  if (chunks.some(({ name }) => isSealedName(name) !== (recipients !== undefined))) {
    throw new Error("A manifest names a chunk that is not sealed as it is itself");
  }
  if (sealed === undefined) return value;
  const { unreadable: _, properties: { security: __, ...properties }, ...rest } = value;
  const lost = "chain_lost" in rest ? rest.chain_lost : undefined;
  return { ...rest, properties, ...lost === undefined ? {} : { chain_lost: { ...lost, ids: [] } } };
}

/** A sealed document in place of its id: what counts documents goes on counting them. */
export function lockedDocument({ id, part }: SealedDocument): UnreadableDocument {
  const locked = { id: `sealed:${id}`, error: "sealed", reason: "an identity tells which document it is" };
  return part === true ? { ...locked, rev: "sealed" } : locked;
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

/** What a reader without an identity has in place of what is sealed. */
function lockedForm(value: unknown): unknown {
  const { sealed, properties } = value as { sealed?: { unreadable?: SealedDocument[] }; properties?: object };
  const documents = Array.isArray(sealed?.unreadable) ? sealed.unreadable : [];
  return {
    ...value as object,
    unreadable: documents.map((document) => lockedDocument(Object(document))),
    properties: { ...properties, security: null },
  };
}

/** Whether some of a backup is sealed and some is not: then it is none that this program has made. */
function halfSealed(
  { recipients, sealed, chunks }: Pick<Manifest, "recipients" | "sealed" | "chunks">,
): { path: string[]; message: string } | undefined {
  const isSealed = recipients !== undefined;
  if (isSealed !== (sealed !== undefined)) {
    return { path: [isSealed ? "sealed" : "recipients"], message: "it is missing beside the other one" };
  }
  const other = chunks.find(({ name }) => isSealedName(name) !== isSealed);
  if (other === undefined) return undefined;
  return {
    path: ["chunks"],
    message: `"${other.name}" is ${isSealed ? "not sealed" : "sealed"}, and the manifest is not so`,
  };
}

function parseObject<T extends Manifest | Checkpoint>(
  bytes: Uint8Array,
  key: string,
  noun: string,
  schema: z.ZodType<T>,
): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ArchiveError(
      `Cannot read ${noun} "${key}": it is not whole JSON`,
      { key, expected: `a ${noun}`, found: `${counted(bytes.length, "byte")} that cannot be parsed` },
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
  const isSealed = Object.hasOwn(Object(value), "sealed");
  const result = schema.safeParse(isSealed ? lockedForm(value) : value);
  const lacking = format === FORMAT_VERSION
    ? REQUIRED.find((name) => !Object.hasOwn(value as object, isSealed && name === "unreadable" ? "sealed" : name))
    : undefined;
  const strange = result.success ? halfSealed(result.data) : undefined;
  if (result.success && lacking === undefined && strange === undefined) return result.data;
  const issue = result.error?.issues[0] ?? strange ?? { path: [lacking], message: "it is missing" };
  const path = issue.path.join(".");
  throw new ArchiveError(
    `Cannot read ${noun} "${key}": "${path}" is not as a ${noun} has it: ${issue.message}`,
    { key, expected: `a ${noun}`, found: issue.message },
  );
}
