/**
 * The form of manifests and checkpoints, of every format: what fields they have, and what those may hold. Out: schemas,
 * made when the first of these texts is read. A backup of new databases reads none, and to make them takes a twentieth
 * of a start.
 */
import * as z from "zod";
import { lazily } from "./lazily.ts";
import { CHUNK_NAME, FILTER_NAME, SEEN_NAME } from "./layout.ts";
import {
  type ChainLoss,
  type Checkpoint,
  type DatabaseProperties,
  type Manifest,
  MOST_LOST_NAMED,
  type Totals,
} from "./manifest.ts";

/** The schemas of both texts. */
export const manifestSchemas: () => { manifest: z.ZodType<Manifest>; checkpoint: z.ZodType<Checkpoint> } = lazily(
  () => {
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
      at_least: z.literal(true).optional(),
      ids: z.array(z.string()).max(MOST_LOST_NAMED),
      up_to: instant,
    });

    const manifest: z.ZodType<Manifest> = originSchema.extend({
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

    const checkpoint = originSchema.extend({
      saved_at: instant,
      update_seq: z.object({ start: z.string() }),
      listing: listingSchema.nullable().default(null),
      unreadable: z.array(unreadableSchema).default([]),
      chunks: chunksSchema,
    });

    return { manifest, checkpoint };
  },
);
