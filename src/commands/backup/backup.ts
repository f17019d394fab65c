/**
 * The pipeline: a run goes through tasks, a task through databases, a database through runs of ids, and each run of ids
 * becomes one chunk in the store. The manifest comes last and makes the backup complete. In go the config's tasks, out
 * comes a report; one database's failure is noted in it and never stops the others.
 */
import { CheckpointWriter, findLeftover, readFolder } from "../../archive/checkpoint.ts";
import type { Task } from "../../task/task.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { type IdRun, listRuns, uncoveredRanges } from "../../couchdb/ids.ts";
import { RestartNeeded, RunReader } from "../../couchdb/read.ts";
import { formatDate } from "../../dates.ts";
import { describeError, exitCodeOf, hintOf, isFatalForRun, StoreError } from "../../errors.ts";
import { gzip } from "../../codec/gzip.ts";
import { backupFolder, chunkName, MANIFEST_NAME } from "../../archive/layout.ts";
import { joinKey } from "../../store/key.ts";
import {
  type ChunkEntry,
  encodeJson,
  FORMAT_VERSION,
  type Manifest,
  type Origin,
  sumChunks,
} from "../../archive/manifest.ts";
import type { Log, Progress } from "../../observe.ts";
import { allOrNone, forEachParallel } from "../../parallel.ts";
import type { DatabaseReport, RunReport, TaskReport } from "../../archive/report.ts";
import { wait } from "../../abort.ts";
import type { Store } from "../../store/store.ts";
import { isEmptyByMistake, type TaskSelection } from "../../task/selection.ts";
import { PROGRAM_NAME, VERSION } from "../../version.ts";

/** How often a chunk is begun anew when what was stored of it turned out to be useless. */
const MAX_CHUNK_ATTEMPTS = 8;
/** How long the last checkpoint of an interrupted run may take. */
const LAST_SAVE_TIMEOUT_MS = 3000;

/** What a run works with. */
export interface RunContext {
  couch: CouchClient;
  store: Store;
  log: Log;
  progress: Progress;
  /** The config's `prefix` and `suffix`. */
  prefix: string;
  suffix: string;
  /** The run's id, unique. */
  run: string;
  now: () => Date;
  /** Ends the run at once; what is under way is dropped. */
  signal: AbortSignal;
  /** Ends the run at the next chunk: what is in flight is finished, the rest can be resumed. */
  stop: AbortSignal;
}

/** What the command line adds to the config. */
export interface BackupOptions {
  /** Go on where a run of the same date stopped. */
  resume?: boolean | undefined;
  /** With `resume`: only where one of these runs stopped. */
  resumeRuns?: ReadonlySet<string> | undefined;
}

/**
 * Backs up what was selected.
 *
 * @throws The reason of `context.stop` or `context.signal` when the run was interrupted; `checkpoint.json` then says how
 * far the database in hand had come.
 */
export async function backup(
  context: RunContext,
  selections: readonly TaskSelection[],
  options: BackupOptions,
): Promise<RunReport> {
  const startedAt = context.now();
  const couchVersion = await context.couch.serverVersion(context);
  const running: Run = { ...context, couchVersion, fatal: undefined };
  const tasks: TaskReport[] = [];
  for (const selection of selections) tasks.push(await backupTask(running, selection, options));
  return {
    ok: tasks.every((task) => task.error === undefined && task.databases.every((one) => one.status !== "failed")),
    run: context.run,
    started_at: startedAt.toISOString(),
    finished_at: context.now().toISOString(),
    tasks,
  };
}

/** A run that has begun. */
interface Run extends RunContext {
  couchVersion: string;
  /** What every further database would meet as well; they are reported as failed without being tried. */
  fatal: unknown;
}

async function backupTask(context: Run, selection: TaskSelection, options: BackupOptions): Promise<TaskReport> {
  const { task, date, databases } = selection;
  const log = context.log.with({ task: task.name });
  const report: TaskReport = { task: task.name, date: formatDate(date).replaceAll("/", "-"), databases: [] };
  for (const warning of selection.warnings) log.warn("selection", { warning });
  if (isEmptyByMistake(selection)) {
    report.error = `Task "${task.name}" selects no database`;
    log.error("task selects no database", {
      hint: "Correct its patterns, or set allow_empty: true if that is expected",
    });
  }
  context.progress.runStarted({ action: "backup", databases: databases.length });
  for (const [index, { database }] of databases.entries()) {
    if (index > 0 && context.fatal === undefined) await waitBetween(task.delaySeconds, context);
    const folder = backupFolder({ ...context, date, database });
    const one = new DatabaseBackup({ ...context, log: log.with({ database }) }, { task, folder, database });
    report.databases.push(context.fatal === undefined ? await one.run(options) : one.notTried(context.fatal));
    if (one.error !== undefined && isFatalForRun(one.error)) context.fatal = one.error;
  }
  context.progress.runFinished();
  return report;
}

async function waitBetween(delaySeconds: number, context: RunContext): Promise<void> {
  context.stop.throwIfAborted();
  if (delaySeconds > 0) await wait(delaySeconds * 1000, AbortSignal.any([context.stop, context.signal]));
}

/** One run's copy of one database. */
class DatabaseBackup {
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
  failed(error: unknown, message = describeError(error)): DatabaseReport {
    this.error = error;
    this.#status = "failed";
    const hint = hintOf(error);
    this.#context.log.error("database is not backed up", { error: message, hint });
    const report = { ...this.#report(), error: message, exit_code: exitCodeOf(error) };
    return hint === undefined ? report : { ...report, hint };
  }

  async #copy(options: BackupOptions): Promise<void> {
    const { couch, store, progress, log, now, signal, stop } = this.#context;
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
    const runs = (signal: AbortSignal) => listRuns(couch, this.#database, { ranges, chunk, signal });
    try {
      await forEachParallel(runs, async (run, signal) => done.add(await this.#storeChunk(run, signal), { signal }), {
        limit: this.#task.parallel,
        signal,
        stop,
      });
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

  /** Fetches the documents of one run of ids, compresses them, and stores them under the next free number. */
  async #storeChunk(run: IdRun, signal: AbortSignal): Promise<ChunkEntry> {
    const { couch, store, log, progress } = this.#context;
    const { revisions, attachments } = this.#task;
    const onRows = progress.advanced.bind(progress);
    const reader = new RunReader(couch, this.#database, run, { revisions, attachments, log, onRows });
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
          after_id: run.after ?? null,
          // Without an id, because all have vanished since, it covers nothing: no id comes before the empty one.
          last_id: counts.lastId ?? run.after ?? "",
        };
      } catch (error) {
        const isTaken = error instanceof StoreError && error.facts.code === "exists";
        const cause = error instanceof RestartNeeded ? error.cause : isTaken ? error : undefined;
        if (cause === undefined) throw error;
        if (attempt >= MAX_CHUNK_ATTEMPTS) throw cause;
        log.warn("chunk is begun anew", { attempt, error: describeError(cause) });
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
    const { store, now, signal } = this.#context;
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
      path: this.#context.store.locate(this.#folder),
      seconds: (this.#context.now().getTime() - this.#startedAt.getTime()) / 1000,
    };
  }
}
