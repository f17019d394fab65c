/**
 * Makes a complete archive of a database in a few lines, out of the parts the backup is made of, so that tests of restore
 * need nothing of the backup's pipeline.
 */
import type { CouchClient } from "../src/couchdb/client.ts";
import { listRuns } from "../src/couchdb/ids.ts";
import { RunReader } from "../src/couchdb/read.ts";
import type { BackupDate } from "../src/dates.ts";
import { gzip } from "../src/gzip.ts";
import { backupFolder, chunkName, joinKey, MANIFEST_NAME } from "../src/keys.ts";
import { type ChunkEntry, encodeJson, FORMAT_VERSION, type Manifest, sumChunks } from "../src/manifest.ts";
import { SILENT_LOG } from "../src/observe/observe.ts";
import type { Store } from "../src/store/store.ts";

/** What to make an archive of. */
export interface ArchiveRequest {
  couch: CouchClient;
  store: Store;
  /** Decoded. */
  database: string;
  /** @default "" */
  prefix?: string;
  /** @default "" */
  suffix?: string;
  /** @default 22 October 2026 */
  date?: BackupDate;
  /** Documents in a chunk. @default all */
  chunk?: number;
  /** @default true */
  attachments?: boolean;
  /** @default true */
  revisions?: boolean;
}

/** Backs a database up. @returns The folder, and the manifest that lies in it. */
export async function makeArchive(request: ArchiveRequest): Promise<{ folder: string; manifest: Manifest }> {
  const { couch, store, database, attachments = true, revisions = true } = request;
  const { prefix = "", suffix = "", date = { year: 2026, month: 10, day: 22 } } = request;
  const folder = backupFolder({ prefix, suffix, date, database });
  const info = await couch.databaseInfo(database);
  const chunks: ChunkEntry[] = [];
  for await (const run of listRuns(couch, database, { ranges: [{}], chunk: request.chunk })) {
    const reader = new RunReader(couch, database, run, { revisions, attachments, log: SILENT_LOG });
    const name = chunkName(chunks.length);
    const stored = await store.create([joinKey(folder, name)], gzip(reader.read()));
    const { documents, leafRevisions, absent, bytes, lastId } = reader.counts;
    chunks.push({
      name,
      documents,
      leaf_revisions: leafRevisions,
      absent,
      bytes,
      compressed_bytes: stored.sizeBytes,
      sha256: stored.sha256,
      after_id: run.after ?? null,
      last_id: lastId!,
    });
  }
  const { doc_count, doc_del_count, q, n, partitioned, update_seq } = info;
  const manifest: Manifest = {
    format: FORMAT_VERSION,
    program: { name: "couchdb-backup", version: "0.0.0" },
    run: crypto.randomUUID(),
    task: "test",
    database,
    started_at: "2026-10-22T01:00:00.000Z",
    finished_at: "2026-10-22T01:00:07.000Z",
    couchdb: { url: couch.url, version: await couch.serverVersion() },
    options: { attachments, revisions, chunk: request.chunk ?? null },
    properties: {
      doc_count,
      doc_del_count,
      q,
      n,
      partitioned,
      revs_limit: await couch.revsLimit(database),
      security: await couch.security(database),
    },
    update_seq: { start: update_seq, end: update_seq },
    totals: sumChunks(chunks),
    chunks,
  };
  await store.replace(joinKey(folder, MANIFEST_NAME), encodeJson(manifest));
  return { folder, manifest };
}
