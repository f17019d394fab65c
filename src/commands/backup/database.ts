/**
 * One database's backup: its documents, listed by the changes feed and read in batches, become chunks in the store; when
 * nothing is missing any more, a manifest makes them a backup. In: a run and a database. Out: its report; a failure is noted
 * in it.
 */
import { CheckpointWriter } from "../../archive/checkpoint.ts";
import { shortRun } from "../../archive/layout.ts";
import { findLeftover, type Leftover, readFilter } from "../../archive/leftover.ts";
import { type ChunkEntry, type Manifest, sumChunks } from "../../archive/manifest.ts";
import { type FolderState, readFolder } from "../../archive/read.ts";
import type { DatabaseReport } from "../../archive/report.ts";
import { IdFilter } from "../../couchdb/id_filter.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import type { BackupDate } from "../../dates.ts";
import { CouchError, describeError, exitCodeOf, hintOf } from "../../errors.ts";
import { forEachParallel } from "../../parallel.ts";
import { findConditions } from "../../store/conditions.ts";
import type { Task } from "../../task/task.ts";
import { ChunkWriter } from "./chunks.ts";
import { Completeness, DocumentCounts, purgesOf } from "./completeness.ts";
import type { BackupOptions, Run } from "./context.ts";
import { finishBackup, finishCopy } from "./finish.ts";
import { Listing, type Work } from "./listing.ts";
import { type DatabaseOrigin, readOrigin, readPrevious } from "./origin.ts";
import { findStillUnreadable } from "./unreadable.ts";
import { warnOfShrinking } from "./shrinking.ts";

/** How long the last checkpoint of an interrupted run may take. */
const LAST_SAVE_TIMEOUT_MS = 3000;

/** What is to be backed up. */
export interface DatabaseJob {
  task: Task;
  /** The decoded name. */
  database: string;
  /** The date in the path. */
  date: BackupDate;
  /** Whether CouchDB has listed it; else it was named by hand, and may never have been there. */
  isListed: boolean;
}

/** One run's copy of one database. */
export class DatabaseBackup {
  /** Why it failed. */
  error: unknown;

  readonly #context: Run;
  readonly #task: Task;
  readonly #database: string;
  readonly #date: BackupDate;
  readonly #isListed: boolean;
  readonly #folder: string;
  readonly #startedAt: Date;
  #status: DatabaseReport["status"] = "complete";
  #chunks: () => readonly ChunkEntry[] = () => [];
  #unreadable: () => readonly UnreadableDocument[] = () => [];
  #manifest: Manifest | undefined;
  readonly #warnings: string[] = [];
  /** How many documents the backup before has, where this one has far fewer. */
  #shrunkFrom: number | undefined;

  constructor(context: Run, { task, database, date, isListed }: DatabaseJob) {
    this.#context = context;
    this.#task = task;
    this.#database = database;
    this.#date = date;
    this.#isListed = isListed;
    this.#folder = context.repository.backupFolder({ date, database });
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
        deleted: report.deleted,
        absent: report.absent,
        unreadable: report.unreadable?.length,
        chunks: report.chunks,
        bytes: report.bytes,
        compressedBytes: report.compressed_bytes,
        durationMs: Math.round(report.seconds * 1000),
      });
      return report;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (stop.aborted && error === stop.reason) throw error;
      if (await this.#isGone(error)) {
        ok = true;
        this.#status = "gone";
        log.warn("database was deleted before it could be backed up");
        return this.#report();
      }
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

  async #copy({ resume, resumeRuns }: BackupOptions): Promise<void> {
    const { couch, repository: { store, storeFolder }, log, progress, signal } = this.#context;
    // Asked once: the store remembers.
    await findConditions(store, storeFolder, { log, signal });
    const job = { task: this.#task, database: this.#database, startedAt: this.#startedAt };
    const [found, state, previous] = await Promise.all([
      readOrigin(this.#context, job),
      readFolder(store, this.#folder, { signal }),
      readPrevious(this.#context, this.#database),
    ]);
    this.#noteLacking(found);
    const leftover: Leftover = resume
      ? await findLeftover(store, this.#folder, {
        state,
        wanted: found.origin,
        log,
        signal,
        runs: resumeRuns,
      })
      : { kind: "nothing" };
    if (leftover.kind === "complete") {
      await finishCopy(this.#context, { ...leftover, folder: this.#folder, state });
      return this.#alreadyComplete(leftover.manifest);
    }

    const { origin, info } = resumed(found, leftover);
    const kept = leftover.kind === "unfinished" ? leftover.checkpoint.chunks : [];
    if (leftover.kind === "unfinished") this.#status = "resumed";
    progress.databaseStarted({ database: this.#database, documents: info.doc_count });
    const still = await findStillUnreadable(this.#context, job, previous?.unreadable ?? []);
    const counts = new DocumentCounts(couch, this.#database, info);
    if (counts.hasCopies) await counts.look({ signal });
    const listing = new Listing(couch, this.#database, {
      log,
      signal: AbortSignal.any([signal, this.#context.stop]),
      chunk: this.#task.chunk,
      tombstones: this.#task.tombstones,
      expected: counts.expected,
      unreadable: new Set(still.map(({ id }) => id)),
      resumed: await this.#resumedListing(leftover),
      beforeLastPage: () => counts.look({ signal }),
    });
    const startSeq = leftover.kind === "unfinished" ? leftover.checkpoint.update_seq.start : info.update_seq;
    const done = new CheckpointWriter(store, this.#folder, {
      origin,
      startSeq,
      kept,
      now: this.#context.now,
      keptUnreadable: [...still, ...leftover.kind === "unfinished" ? leftover.checkpoint.unreadable : []],
      keptFilter: leftover.kind === "unfinished" ? leftover.listing.filter?.name : undefined,
      settled: () => listing.settled,
      expected: () => counts.expected,
    });
    this.#chunks = () => done.chunks;
    this.#unreadable = () => done.unreadable;
    // What an earlier run has completed must not be taken for what this one leaves if it is killed.
    if (state.manifests.length > 0) await done.save({ signal });

    const writer = new ChunkWriter(this.#context, {
      database: this.#database,
      task: this.#task,
      folder: this.#folder,
      ...chunkNames(state, { run: shortRun(origin.run), kept, isShared: store.conditions === "ignored" }),
    });
    const completeness = new Completeness(this.#context, {
      database: this.#database,
      listing,
      counts,
      mostLive: () => mostLive(done),
      purges: purgesOf(leftover.kind === "unfinished" ? leftover.checkpoint.properties : info),
    });
    try {
      if (leftover.kind === "nothing") await completeness.awaitFirstPage();
      const storeListed = () => this.#storeListed(listing, writer, done);
      await storeListed();
      await completeness.await(storeListed);
      if (done.unreadable.length > 0 && sumChunks(done.chunks).documents === 0) {
        throw this.#nothingReadable(done.unreadable);
      }
    } catch (error) {
      await done.saveRest({ signal: AbortSignal.timeout(LAST_SAVE_TIMEOUT_MS) }).catch((lost) =>
        log.warn("checkpoint could not be stored", { error: describeError(lost) })
      );
      throw error;
    } finally {
      listing.close();
    }
    this.#manifest = await finishBackup(this.#context, {
      origin,
      date: this.#date,
      folder: this.#folder,
      updateSeq: { start: startSeq, end: counts.info.update_seq },
      feed: { since: "0", until: listing.until },
      unreadable: done.unreadable,
      chunks: done.chunks,
      manifests: state.manifests,
    });
    const shrinking = await warnOfShrinking(this.#context, previous?.entry, this.#manifest);
    this.#warnings.push(...shrinking);
    if (shrinking.length > 0) this.#shrunkFrom = previous?.entry.documents;
  }

  /** Stores what the listing has to give: first what is new, then what was listed again, until nothing is left. */
  async #storeListed(listing: Listing, writer: ChunkWriter, done: CheckpointWriter): Promise<void> {
    const { signal, stop } = this.#context;
    const limit = this.#task.parallel;
    const storeOne = async (work: Work, signal: AbortSignal) => {
      const { entry, unreadable } = await writer.store(work, signal);
      done.add(work.index, entry, { ids: work.batch.ids(), unreadable });
      work.settled();
      await done.saveWhenDue({ signal });
    };
    do {
      await forEachParallel((signal) => listing.batches(signal), storeOne, { limit, signal, stop });
      await forEachParallel(() => listing.repeated(), storeOne, { limit, signal, stop });
    } while (!listing.ended);
  }

  async #resumedListing(leftover: Leftover) {
    if (leftover.kind !== "unfinished") return undefined;
    const { repository: { store }, log, signal } = this.#context;
    const { listing: state } = leftover;
    const bytes = await readFilter(store, this.#folder, { filter: state.filter, log, signal });
    const filter = bytes === undefined ? undefined : IdFilter.from({ ...state.filter!, bytes, ids: state.ids });
    return { state, filter };
  }

  /** Whether the database was deleted meanwhile: it is not found, and CouchDB does not list it any more. */
  async #isGone(error: unknown): Promise<boolean> {
    const { couch, log, signal } = this.#context;
    if (!this.#isListed || !(error instanceof CouchError) || error.facts.status !== 404) return false;
    try {
      if (!(await couch.listDatabases({ signal })).includes(this.#database)) return true;
    } catch (failure) {
      if (signal.aborted) throw signal.reason;
      log.warn("nobody can tell whether the database was deleted", { error: describeError(failure) });
      return false;
    }
    log.error("CouchDB lists the database and does not find it", {
      hint: "Does a proxy decode %2F in URLs? nginx does where proxy_pass has a path",
    });
    return false;
  }

  /** A backup without a single document would only hide those before it. */
  #nothingReadable([first, ...others]: readonly UnreadableDocument[]): CouchError {
    const { error, reason } = first!;
    return new CouchError(
      `Cannot read any document of database "${this.#database}": CouchDB answered ${error}, "${reason}" for "${
        first!.id
      }" ` +
        `and ${others.length} more`,
      { error, reason, database: this.#database },
    );
  }

  #noteLacking({ lacking }: DatabaseOrigin): void {
    for (const sentence of lacking) {
      this.#warnings.push(sentence);
      this.#context.log.warn("a property of the database is not saved", { cause: sentence });
    }
  }

  #alreadyComplete(manifest: Manifest): void {
    this.#context.log.info("database is complete already", { run: manifest.run });
    this.#chunks = () => manifest.chunks;
    this.#unreadable = () => manifest.unreadable;
    this.#manifest = manifest;
  }

  #report(): DatabaseReport {
    const report: DatabaseReport = {
      database: this.#database,
      status: this.#status,
      ...sumChunks(this.#chunks()),
      path: this.#context.repository.locate(this.#folder),
      seconds: (this.#context.now().getTime() - this.#startedAt.getTime()) / 1000,
    };
    if (this.#manifest !== undefined) {
      report.kind = this.#manifest.kind;
      report.backed_up_at = this.#manifest.finished_at;
    }
    const unreadable = this.#unreadable();
    if (unreadable.length > 0) report.unreadable = [...unreadable];
    if (this.#warnings.length > 0) report.warnings = this.#warnings;
    if (this.#shrunkFrom !== undefined) report.shrunk_from = this.#shrunkFrom;
    return report;
  }
}

/** What a resumed backup begins with: it is as old as its first chunk. */
function resumed({ origin, info }: DatabaseOrigin, leftover: Leftover): Pick<DatabaseOrigin, "origin" | "info"> {
  if (leftover.kind !== "unfinished") return { origin, info };
  return { origin: { ...origin, started_at: leftover.checkpoint.started_at }, info };
}

function mostLive({ chunks, unreadable }: CheckpointWriter): number {
  const { documents, deleted } = sumChunks(chunks);
  return documents - deleted + unreadable.length;
}

/** How chunks are called: with the run's digits where the folder has chunks of others, or may get some at any moment. */
function chunkNames(
  state: FolderState,
  { run, kept, isShared }: { run: string; kept: readonly ChunkEntry[]; isShared: boolean },
): { prefix: string | undefined; nextNumber: number } {
  // Of a backup's chunks the higher number is the later one, whatever stands before it.
  if (kept.length > 0) return { prefix: run, nextNumber: state.nextNumber };
  const isEmpty = state.chunks.size === 0;
  return isEmpty && !isShared
    ? { prefix: undefined, nextNumber: 0 }
    : { prefix: run, nextNumber: state.nextNumbers.get(run) ?? 0 };
}
