/**
 * One database's backup: its documents, read in batches of ids, become chunks in the store, then the manifest makes them
 * a backup. In: a run and a database. Out: its report; a failure is noted in it.
 */
import { CheckpointWriter } from "../../archive/checkpoint.ts";
import { chunkName, MANIFEST_NAME } from "../../archive/layout.ts";
import { findLeftover } from "../../archive/leftover.ts";
import {
  type ChunkEntry,
  encodeJson,
  FORMAT_VERSION,
  type Manifest,
  type Origin,
  sumChunks,
} from "../../archive/manifest.ts";
import { readFolder } from "../../archive/read.ts";
import type { DatabaseReport } from "../../archive/report.ts";
import { gzip } from "../../codec/gzip.ts";
import { type IdBatch, listBatches, uncoveredRanges } from "../../couchdb/ids.ts";
import { BatchReader, RestartNeeded } from "../../couchdb/read.ts";
import { describeError, exitCodeOf, hintOf, StoreError } from "../../errors.ts";
import { allOrNone, forEachParallel } from "../../parallel.ts";
import { joinKey } from "../../store/key.ts";
import type { Task } from "../../task/task.ts";
import { PROGRAM_NAME, VERSION } from "../../version.ts";
import type { BackupOptions, Run } from "./context.ts";

/** How often a chunk is restarted when what was stored of it turned out to be useless. */
const MAX_CHUNK_ATTEMPTS = 8;
/** How long the last checkpoint of an interrupted run may take. */
const LAST_SAVE_TIMEOUT_MS = 3000;

/** One run's copy of one database. */
export class DatabaseBackup {
  /** Why it failed. */
  error: unknown;

  readonly #context: Run;
  readonly #task: Task;
  readonly #database: string;
  readonly #folder: string;
  readonly #startedAt: Date;
  #nextNumber = 0;
  #status: DatabaseReport["status"] = "complete";
  #chunks: readonly ChunkEntry[] = [];

  constructor(context: Run, job: { task: Task; database: string; folder: string }) {
    this.#context = context;
    this.#task = job.task;
    this.#database = job.database;
    this.#folder = job.folder;
    this.#startedAt = context.now();
  }

  /** Makes the backup complete, or reports why it is not. @throws The reason of an interruption. */
  async run(options: BackupOptions): Promise<DatabaseReport> {
    const { log, progress, signal, stop } = this.#context;
    let ok = false;
    try {
      await this.#copy(options);
      ok = true;
      const report = this.#report();
      log.info("database is backed up", {
        documents: report.documents,
        leafRevisions: report.leaf_revisions,
        absent: report.absent,
        chunks: report.chunks,
        bytes: report.bytes,
        compressedBytes: report.compressed_bytes,
        durationMs: Math.round(report.seconds * 1000),
      });
      return report;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (stop.aborted && error === stop.reason) throw error;
      return this.failed(error);
    } finally {
      progress.databaseFinished({ database: this.#database, ok });
    }
  }

  /** The report of a database that would only meet the same failure as an earlier one, whose name is in `cause`. */
  notTried(cause: unknown): DatabaseReport {
    return this.failed(cause, `Not tried, as it would fail like the one before: ${describeError(cause)}`);
  }

  /** The report of a database that could not be backed up because of `error`. */
  failed(error: unknown, message: string = describeError(error)): DatabaseReport {
    this.error = error;
    this.#status = "failed";
    const hint = hintOf(error);
    this.#context.log.error("database is not backed up", { error: message, hint });
    const report = { ...this.#report(), error: message, exit_code: exitCodeOf(error) };
    return hint === undefined ? report : { ...report, hint };
  }

  async #copy(options: BackupOptions): Promise<void> {
    const { couch, repository: { store }, progress, log, now, signal, stop } = this.#context;
    const { chunk } = this.#task;
    let [origin, since] = await this.#readOrigin();
    const state = await readFolder(store, this.#folder, { signal });
    this.#nextNumber = state.nextNumber;
    if (options.resume) {
      const leftover = await findLeftover(store, this.#folder, {
        state,
        wanted: origin.options,
        log,
        signal,
        runs: options.resumeRuns,
      });
      if (leftover.kind === "complete") return this.#alreadyComplete(leftover.manifest);
      if (leftover.kind === "unfinished") {
        this.#status = "resumed";
        this.#chunks = leftover.checkpoint.chunks;
        since = leftover.checkpoint.update_seq.start;
        origin = { ...origin, started_at: leftover.checkpoint.started_at };
      }
    }
    progress.databaseStarted({ database: this.#database, documents: origin.properties.doc_count });
    const done = new CheckpointWriter(store, this.#folder, { origin, startSeq: since, chunks: this.#chunks, now });
    this.#chunks = done.chunks;
    // What an earlier run left must not be taken for what this one leaves if it is killed.
    if (state.hasManifest || state.hasCheckpoint) await done.save({ signal });

    const ranges = uncoveredRanges(
      done.chunks.map(({ after_id, last_id }) => ({ after: after_id ?? undefined, through: last_id })),
    );
    const batches = (signal: AbortSignal) => listBatches(couch, this.#database, { ranges, chunk, signal });
    try {
      await forEachParallel(
        batches,
        async (batch, signal) => done.add(await this.#storeChunk(batch, signal), { signal }),
        {
          limit: this.#task.parallel,
          signal,
          stop,
        },
      );
    } catch (error) {
      await done.saveRest({ signal: AbortSignal.timeout(LAST_SAVE_TIMEOUT_MS) }).catch((lost) =>
        log.warn("checkpoint could not be stored", { error: describeError(lost) })
      );
      throw error;
    }
    const { update_seq: endSeq } = await couch.databaseInfo(this.#database, { signal });
    await this.#storeManifest(origin, { start: since, end: endSeq }, done.chunks);
  }

  /** What is known before the first document is read, and the update sequence at that moment. */
  async #readOrigin(): Promise<[Origin, string]> {
    const { couch, couchVersion: version, run, signal } = this.#context;
    const [info, security, revsLimit] = await allOrNone((signal) => [
      couch.databaseInfo(this.#database, { signal }),
      couch.security(this.#database, { signal }),
      couch.revsLimit(this.#database, { signal }),
    ], signal);
    const { attachments, revisions, chunk } = this.#task;
    const { doc_count, doc_del_count, q, n, partitioned, update_seq } = info;
    const properties = { doc_count, doc_del_count, q, n, partitioned, revs_limit: revsLimit, security };
    return [{
      format: FORMAT_VERSION,
      program: { name: PROGRAM_NAME, version: VERSION },
      run,
      task: this.#task.name,
      database: this.#database,
      started_at: this.#startedAt.toISOString(),
      couchdb: { url: couch.url, version },
      options: { attachments, revisions, chunk: chunk ?? null },
      properties,
    }, update_seq];
  }

  /** Fetches the documents of one batch of ids, compresses them, and stores them under the next free number. */
  async #storeChunk(batch: IdBatch, signal: AbortSignal): Promise<ChunkEntry> {
    const { couch, repository: { store }, log, progress } = this.#context;
    const { revisions, attachments } = this.#task;
    const onRows = progress.advanced.bind(progress);
    const reader = new BatchReader(couch, this.#database, batch, { revisions, attachments, log, onRows });
    const number = this.#nextNumber++;
    for (let attempt = 1;; attempt++) {
      try {
        const stored = await store.create(this.#freeKeys(number), gzip(reader.read({ signal })), { signal });
        const { counts } = reader;
        return {
          name: stored.key.slice(stored.key.lastIndexOf("/") + 1),
          documents: counts.documents,
          leaf_revisions: counts.leafRevisions,
          absent: counts.absent,
          bytes: counts.bytes,
          compressed_bytes: stored.sizeBytes,
          sha256: stored.sha256,
          after_id: batch.after ?? null,
          // Without an id, because all have vanished since, it covers nothing: no id comes before the empty one.
          last_id: counts.lastId ?? batch.after ?? "",
        };
      } catch (error) {
        const isTaken = error instanceof StoreError && error.facts.code === "exists";
        const cause = error instanceof RestartNeeded ? error.cause : isTaken ? error : undefined;
        if (cause === undefined) throw error;
        if (attempt >= MAX_CHUNK_ATTEMPTS) throw cause;
        log.warn("chunk is restarted", { attempt, error: describeError(cause) });
      }
    }
  }

  /** The key of chunk `number`, then keys that nothing else in this run uses. */
  *#freeKeys(number: number): Generator<string> {
    for (;;) {
      yield joinKey(this.#folder, chunkName(number));
      number = this.#nextNumber++;
    }
  }

  async #storeManifest(origin: Origin, updateSeq: Manifest["update_seq"], chunks: ChunkEntry[]): Promise<void> {
    const { repository: { store }, now, signal } = this.#context;
    chunks.sort((a, b) => a.name < b.name ? -1 : 1);
    const manifest: Manifest = {
      ...origin,
      finished_at: now().toISOString(),
      update_seq: updateSeq,
      totals: sumChunks(chunks),
      chunks,
    };
    await store.replace(joinKey(this.#folder, MANIFEST_NAME), encodeJson(manifest), { signal });
  }

  #alreadyComplete(manifest: Manifest): void {
    this.#context.log.info("database is complete already", { run: manifest.run });
    this.#chunks = manifest.chunks;
  }

  #report(): DatabaseReport {
    return {
      database: this.#database,
      status: this.#status,
      ...sumChunks(this.#chunks),
      path: this.#context.repository.locate(this.#folder),
      seconds: (this.#context.now().getTime() - this.#startedAt.getTime()) / 1000,
    };
  }
}
