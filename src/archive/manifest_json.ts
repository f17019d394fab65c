/**
 * The text of the manifest, which makes a backup complete, and of the checkpoint, from which an unfinished one is resumed.
 * In: what they say. Out: JSON, sealed where it has to be; and the other way round, with every field checked.
 */
import { counted } from "../counts.ts";
import * as z from "zod";
import { isSealedName } from "../codec/compression.ts";
import { ArchiveError } from "../errors.ts";
import { CHUNK_NAME, FILTER_NAME, SEEN_NAME } from "./layout.ts";
import {
  type ChainLoss,
  type Checkpoint,
  type DatabaseProperties,
  FORMAT_VERSION,
  lockedDocument,
  type Manifest,
  MOST_LOST_NAMED,
  type SealedDocument,
  sumChunks,
  type Totals,
} from "./manifest.ts";

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
  // What cannot be used of it is as good as not there: the settings are read then.
  settings_read: z.object({ at: instant, update_seq: z.string().min(1) }).optional().catch(undefined),
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
