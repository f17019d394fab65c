/**
 * One database's backup: its documents, listed by the changes feed and read in batches, become chunks in the store;
 * when nothing is missing any more, a manifest makes them a backup. In: a run and a database. Out: its report; a
 * failure is noted in it.
 */
import { commandLine } from "../../command_line.ts";
import type { CatalogEntry } from "../../archive/catalog.ts";
import { CheckpointWriter } from "../../archive/checkpoint.ts";
import { shortRun } from "../../archive/layout.ts";
import { readLastRun } from "../../archive/last_run.ts";
import { findLeftover, type Leftover, readFilter } from "../../archive/leftover.ts";
import { followChain } from "../../archive/chain.ts";
import {
  type ChainLoss,
  type Checkpoint,
  type ChunkEntry,
  type ListedFeed,
  lockedDocument,
  type Manifest,
  type Origin,
  sumChunks,
} from "../../archive/manifest.ts";
import { type FolderState, momentOf, readFolder } from "../../archive/read.ts";
import type { DatabaseReport } from "../../archive/report.ts";
import { sealContent } from "../../archive/sealed.ts";
import { seenFilter, storeSeen } from "../../archive/seen_states.ts";
import type { ChangesRow } from "../../couchdb/changes_page.ts";
import { IdFilter } from "../../couchdb/id_filter.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { SLASH_HINT } from "../../couchdb/error.ts";
import { type BackupDate, formatDate } from "../../dates.ts";
import { discreetLog } from "../../discreet.ts";
import { CouchError, describeDiscreetly, describeError, exitCodeOf, hintOf } from "../../errors.ts";
import { forEachParallel } from "../../parallel.ts";
import { joinKey } from "../../store/key.ts";
import { findConditions } from "../../store/conditions.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { ChainCheck, describeKept, describeUntold } from "./chain_check.ts";
import { ChunkSize } from "./chunk_size.ts";
import { ChunkWriter } from "./chunks.ts";
import { Completeness, DocumentCounts, type ListedDatabase, purgesOf } from "./completeness.ts";
import type { BackupOptions, Run } from "./context.ts";
import { FullNeeded } from "./doubt.ts";
import { readFeedEnd } from "./feed_end.ts";
import { finishBackup, finishCopy, type FinishedBackup } from "./finish.ts";
import { findGoneLink, findPrevious, type IncrementPlan, type IncrementShare, planIncrement } from "./increment.ts";
import { type ListedIncrement, Listing, type Work } from "./listing.ts";
import type { Place } from "./room.ts";
import type { RequestWindow } from "./window.ts";
import { type DatabaseOrigin, lastEntries, readOrigin, readPrevious } from "./origin.ts";
import { findUnreadable } from "./sealed_ids.ts";
import { findLacking, findStillUnreadable } from "./unreadable.ts";
import { warnOfShrinking } from "./shrinking.ts";

/** How long the last checkpoint of an interrupted run may take. */
const LAST_SAVE_TIMEOUT_MS = 3000;

/** The filter of an increment has room for this many more ids than its first page has announced. */
const FURTHER_IDS = 10_000;

/** What is to be backed up. */
export interface DatabaseJob {
  task: Task;
  /** The decoded name. */
  database: string;
  /** The date in the path. */
  date: BackupDate;
  /** Whether CouchDB has listed it; else it was named by hand, and may never have been there. */
  isListed: boolean;
  /** What all databases of an incremental task share. */
  share: IncrementShare;
  /** How many requests it may make beside the other databases. */
  place: Place;
  /** Adapts to how its requests for documents end. */
  window: RequestWindow;
}

type Unfinished = Extract<Leftover, { kind: "unfinished" }>;

/** What one database's backup works with, whatever is saved of it. */
interface Saving extends DatabaseOrigin {
  counts: DocumentCounts;
  /** The folder, as it was when this backup began. */
  state: FolderState;
  /**
   * The newest backup of the database, by whatever task; undefined where there is none, or it was not looked for yet.
   */
  previous: Awaited<ReturnType<typeof readPrevious>>;
  /** The newest backup of the database by this task, where increments build on it. */
  ofTask: ReturnType<typeof findPrevious>;
  /** What an earlier run left, to be resumed. */
  leftover: Unfinished | undefined;
}

/** What there is to save, and since when. */
type DatabaseJobAt = Pick<DatabaseJob, "task" | "database"> & { startedAt: Date };

/** One run's copy of one database. */
export class DatabaseBackup {
  /** Why it failed. */
  error: unknown;

  readonly #context: Run;
  /** To whom it is sealed; undefined: to nobody. */
  readonly #recipients: readonly string[] | undefined;
  readonly #task: Task;
  readonly #database: string;
  readonly #date: BackupDate;
  readonly #isListed: boolean;
  readonly #folder: string;
  readonly #startedAt: Date;
  readonly #share: IncrementShare;
  readonly #place: Place;
  readonly #window: RequestWindow;
  #isUnchanged = false;
  #fullBecause: string | undefined;
  #lacking: Awaited<ReturnType<typeof findLacking>> | undefined;
  #status: DatabaseReport["status"] = "complete";
  #chunks: () => readonly ChunkEntry[] = () => [];
  #unreadable: () => readonly UnreadableDocument[] = () => [];
  #manifest: Manifest | undefined;
  readonly #warnings: string[] = [];
  /** How many documents the backup before has, where this one has far fewer. */
  #shrunkFrom: number | undefined;
  /** What the chain of backups before has lost, by a full one. */
  #chainLost: ChainLoss | undefined;
  /** An age file that names it, where it was found by an earlier run. */
  #lostSealed: string | undefined;

  constructor(context: Run, { task, database, date, isListed, share, place, window }: DatabaseJob) {
    this.#recipients = codecOf(task).recipients;
    this.#context = this.#recipients === undefined ? context : { ...context, log: discreetLog(context.log) };
    this.#task = task;
    this.#database = database;
    this.#date = date;
    this.#isListed = isListed;
    this.#folder = context.repository.backupFolder({ date, database });
    this.#startedAt = context.now();
    this.#share = share;
    this.#place = place;
    this.#window = window;
  }

  /** Whether nothing had to be read. */
  get isUnchanged(): boolean {
    return this.#isUnchanged;
  }

  get #job(): DatabaseJobAt {
    return { task: this.#task, database: this.#database, startedAt: this.#startedAt };
  }

  /** The command that resumes this backup, on another day too. */
  #resumingCommand(): string {
    const date = formatDate(this.#date).replaceAll("/", "-");
    return commandLine("backup", ["--task", this.#task.name, "--database", this.#database, "--date", date, "--resume"]);
  }

  /** Makes the backup complete, or reports why it is not. @throws The reason of an interruption. */
  async run(options: BackupOptions): Promise<DatabaseReport> {
    const { log, progress, signal, stop } = this.#context;
    let ok = false;
    try {
      await this.#copy(options);
      ok = true;
      const report = await this.#sealedReport(this.#report());
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
        ...this.#task.increments === undefined ? {} : { kind: report.unchanged === true ? "unchanged" : report.kind },
      });
      return report;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (stop.aborted && error === stop.reason) throw error;
      if (await this.#isGone(error)) {
        ok = true;
        this.#status = "gone";
        log.warn("database was deleted before it could be backed up");
        return await this.#sealedReport(this.#report());
      }
      return await this.#sealedReport(this.failed(error));
    } finally {
      progress.databaseFinished({ database: this.#database, ok });
    }
  }

  /** The report of a database that would only meet the same failure as an earlier one, whose name is in `cause`. */
  notTried(cause: unknown): DatabaseReport {
    return this.failed(cause, `Not tried, as it would fail like the one before: ${this.#describe(cause)}`);
  }

  /** The report of a database that could not be backed up because of `error`. */
  failed(error: unknown, message: string = this.#describe(error)): DatabaseReport {
    this.error = error;
    this.#status = "failed";
    const hint = hintOf(error);
    this.#context.log.error("database is not backed up", { error: message, hint });
    const report = { ...this.#report(), error: message, exit_code: exitCodeOf(error) };
    return hint === undefined ? report : { ...report, hint };
  }

  #describe(error: unknown): string {
    return this.#recipients === undefined ? describeError(error) : describeDiscreetly(error);
  }

  /**
   * The report as it may be stored and shown: of what is sealed it names no document. Who has an identity finds the
   * names in it, sealed.
   */
  async #sealedReport(report: DatabaseReport): Promise<DatabaseReport> {
    const { unreadable, chain_lost: lost } = report;
    if (this.#recipients === undefined || (unreadable === undefined && lost === undefined)) return report;
    if (unreadable === undefined && this.#lostSealed !== undefined) {
      return { ...report, chain_lost: { ...lost!, ids: [] }, sealed: this.#lostSealed };
    }
    // Of a backup that was complete already nobody here knows the names.
    const part = this.#manifest?.sealed ??
      await sealContent({ security: null, unreadable: unreadable ?? [], lost: lost?.ids }, this.#recipients);
    return {
      ...report,
      ...unreadable === undefined ? {} : { unreadable: part.unreadable.map(lockedDocument) },
      ...lost === undefined ? {} : { chain_lost: { ...lost, ids: [] } },
      sealed: part.age,
    };
  }

  async #copy({ resume, resumeRuns, full }: BackupOptions): Promise<void> {
    const { repository: { store, storeFolder }, log, progress, signal } = this.#context;
    // Asked once: the store remembers.
    await findConditions(store, storeFolder, { log, signal });
    const { increments } = this.#task;
    const ofTask = increments === undefined
      ? Promise.resolve("nothing was looked for")
      : findPrevious(this.#context, this.#job).then((found) => this.#withIds(found));
    // Who needs it hears of its failure; a backup that is complete already does not need it.
    ofTask.catch(() => {});
    const [found, state, previous] = await Promise.all([
      readOrigin(this.#context, this.#job),
      readFolder(store, this.#folder, { signal }),
      // Only a full backup needs it.
      increments === undefined ? readPrevious(this.#context, this.#database) : undefined,
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
    if (leftover.kind === "complete" && await this.#isWhole(leftover)) {
      await finishCopy(this.#context, { ...leftover, folder: this.#folder, state });
      await this.#tellShrunk(leftover);
      return this.#alreadyComplete(leftover.manifest);
    }

    // Of an incremental task most databases have not changed.
    this.#place.needs(this.#task.increments === undefined ? this.#batchesOf(found.info) : 1);
    progress.databaseStarted({ database: this.#database, documents: found.info.doc_count });
    const counts = new DocumentCounts(this.#context, this.#database, found);
    const saving: Saving = {
      ...found,
      counts,
      state,
      previous,
      ofTask,
      leftover: leftover.kind === "unfinished" ? leftover : undefined,
    };
    await this.#tellUntold(ofTask);
    const plan = await this.#plan(saving, { full: full === true });
    if (plan.kind === "unchanged") return await this.#carryOver(saving, plan);
    if (plan.kind === "full") return await this.#saveFull(saving, plan.reason);
    try {
      await this.#saveIncrement(saving, plan);
    } catch (error) {
      if (!(error instanceof FullNeeded)) throw error;
      await this.#saveFullAfterAll(saving, error.reason);
    }
  }

  /** The same backup, with the ids that it has sealed. */
  async #withIds(found: Awaited<ReturnType<typeof findPrevious>>): ReturnType<typeof findPrevious> {
    if (typeof found === "string") return found;
    const { previous } = found;
    return { ...found, previous: { ...previous, unreadable: await this.#unreadableOf(previous) } };
  }

  async #unreadableOf(earlier: Manifest | Checkpoint): Promise<UnreadableDocument[]> {
    return await findUnreadable(this.#context, this.#database, earlier);
  }

  /**
   * How the database is to be saved. What a run has begun in one way is continued in that way, where still possible.
   */
  async #plan(saving: Saving, { full }: { full: boolean }): Promise<IncrementPlan> {
    const { origin, counts, leftover, ofTask } = saving;
    const begun = leftover?.checkpoint;
    if (begun?.kind === "full") return { kind: "full" };
    const plan = await planIncrement(this.#context, {
      task: this.#task,
      database: this.#database,
      previous: ofTask,
      origin,
      counts,
      full,
      share: this.#share,
      resumed: begun?.parent ?? undefined,
      findLacking: (unreadable) => this.#findLacking(unreadable),
    });
    if (begun === undefined) return plan;
    if (plan.kind === "incremental" && plan.base.parent.sha256 === begun.parent?.sha256) return plan;
    this.#context.log.warn("checkpoint is not used: it belongs to an increment of another backup", { run: begun.run });
    saving.leftover = undefined;
    return plan.kind === "full" ? plan : await this.#plan(saving, { full });
  }

  /** Looks once which documents that the backup before lacks can be read now. */
  async #findLacking(unreadable: readonly UnreadableDocument[]) {
    return this.#lacking ??= await findLacking(this.#context, this.#job, unreadable);
  }

  /** A complete backup of this run that lacks a link is none. */
  async #isWhole({ manifest }: { manifest: Manifest }): Promise<boolean> {
    const { repository: { store }, log, signal } = this.#context;
    const { broken } = await followChain({ store, folder: this.#folder, manifest }, { signal, isTolerant: true });
    if (broken !== undefined) log.warn("an earlier backup of this run is incomplete", { ...broken });
    return broken === undefined;
  }

  /** Nothing has changed: a manifest that says so is all. */
  async #carryOver(saving: Saving, plan: Extract<IncrementPlan, { kind: "unchanged" }>): Promise<void> {
    const { base: { previous, parent, links, documents }, until } = plan;
    const { info: { update_seq } } = saving.counts;
    const { still } = await this.#findLacking(previous.unreadable);
    this.#unreadable = () => still;
    await this.#finish(saving, {
      origin: originOf({ ...saving.origin, kind: "incremental", parent }, saving),
      updateSeq: { start: saving.info.update_seq, end: update_seq },
      feed: { since: previous.feed!.overlap!.since, until, expected: documents, overlap: previous.feed!.overlap },
      unreadable: still,
      chunks: [],
    });
    const gone = await findGoneLink(links, this.#context);
    if (gone !== undefined) return await this.#saveFullAfterAll(saving, linkIsGone(gone));
    this.#isUnchanged = true;
  }

  /** Saves all of the database. */
  async #saveFull(saving: Saving, reason: string | undefined): Promise<void> {
    const previous = saving.previous ?? await readPrevious(this.#context, this.#database);
    if (reason !== undefined) {
      this.#fullBecause = reason;
      this.#share.say(this.#context.log, reason);
    }
    const unreadable = await findStillUnreadable(this.#context, this.#job, previous?.unreadable ?? []);
    const chain = saving.leftover === undefined ? await this.#openChain(saving) : undefined;
    const { listing, done, origin, seen } = await this.#storeDocuments(saving, {
      origin: saving.origin,
      unreadable,
      onRow: chain && ((row) => chain.look(row)),
    });
    if (done.unreadable.length > 0 && sumChunks(done.chunks).documents === 0) {
      throw this.#nothingReadable(done.unreadable);
    }
    // Before the manifest: who is killed behind that resumes nothing, and its successors do not know of this chain any
    // more.
    const chainLost = await this.#compareChain(saving, chain);
    await this.#finish(saving, {
      origin,
      updateSeq: { start: startSeqOf(saving), end: saving.counts.info.update_seq },
      chainLost,
      feed: {
        since: "0",
        until: listing.until,
        ...await this.#readFeedEnd(listing, saving),
        ...await this.#storeSeen(seen),
      },
      unreadable: done.unreadable,
      chunks: done.chunks,
    });
    await this.#warnOfShrinking(previous?.entries ?? [], this.#manifest!);
  }

  /** The same of a backup that is complete already: the run that made it may have been killed before it said so. */
  async #tellShrunk({ manifest, name }: { manifest: Manifest; name: string }): Promise<void> {
    if (manifest.kind !== "full") return;
    const before = { notAfter: momentOf(name, manifest), notOf: shortRun(manifest.run) };
    await this.#warnOfShrinking(await lastEntries(this.#context, this.#database, before), manifest);
  }

  async #warnOfShrinking(entries: readonly CatalogEntry[], manifest: Manifest): Promise<void> {
    const shrinking = await warnOfShrinking(this.#context, entries, manifest);
    if (shrinking === undefined) return;
    this.#warnings.push(shrinking.warning);
    this.#shrunkFrom = shrinking.before;
  }

  /**
   * Says what the chain before has lost. This backup will be complete, whatever comes of that.
   *
   * @param listed What has been shown all of the listing; undefined: nothing has, or there is no chain.
   */
  async #compareChain(saving: Saving, listed: ChainCheck | undefined): Promise<ChainLoss | undefined> {
    try {
      let chain = listed;
      if (saving.leftover !== undefined) {
        chain = await this.#openChain(saving);
        // What a run before this one has listed nobody has held against the chain.
        await chain?.lookAtAll();
      }
      const differing = await chain?.result();
      if (differing === undefined) return undefined;
      this.#warnings.push(differing.warning);
      this.#lostSealed = undefined;
      return this.#chainLost = differing.lost;
    } catch (error) {
      if (!(error instanceof CouchError)) throw error;
      const why = `The backups before could not be compared with CouchDB: ${this.#describe(error)}`;
      this.#context.log.warn("the chain before is not compared", { error: this.#describe(error) });
      this.#warnings.push(why);
      return undefined;
    }
  }

  /**
   * Says what the newest backup of the task has found, a full one, where its run ended before it said so. Of what was
   * said `last.json` tells, which a run stores at its end; a loss is rather told twice than never.
   */
  async #tellUntold(ofTask: Saving["ofTask"]): Promise<void> {
    const found = this.#task.increments === undefined ? undefined : await ofTask;
    if (found === undefined || typeof found === "string") return;
    const { previous, folder, name } = found;
    if (previous.chain_lost === undefined) return;
    const { repository, log, signal } = this.#context;
    const last = await readLastRun(repository, this.#task.name, { signal });
    if (last?.run === previous.run) return;
    this.#warnings.push(describeUntold(previous, joinKey(folder, name)));
    this.#chainLost = previous.chain_lost;
    this.#lostSealed = previous.sealed?.age;
    const { documents, up_to } = previous.chain_lost;
    log.error("earlier backups lack documents; the run that found this ended before it reported it", {
      documents,
      before: up_to,
    });
  }

  /** Saves what has changed since the backup before. @throws FullNeeded where that does not do. */
  async #saveIncrement(saving: Saving, plan: Extract<IncrementPlan, { kind: "incremental" }>): Promise<void> {
    const { base, page } = plan;
    const { still, lacking } = await this.#findLacking(base.previous.unreadable);
    const isListed = (id: string) =>
      page?.rows.some((row) => row.id === id && base.known.look(row) !== "known") === true;
    const { listing, done, origin, seen } = await this.#storeDocuments(saving, {
      origin: { ...saving.origin, kind: "incremental", parent: base.parent },
      unreadable: still,
      increment: {
        since: base.since,
        known: base.known,
        page,
        lacking: lacking.filter(({ id }) => !isListed(id)),
      },
      before: { documents: base.documents, known: base.known },
    });
    await this.#finish(saving, {
      origin,
      updateSeq: { start: startSeqOf(saving), end: saving.counts.info.update_seq },
      feed: {
        since: base.since,
        until: listing.until,
        ...await this.#readFeedEnd(listing, saving),
        ...await this.#storeSeen(seen),
      },
      unreadable: done.unreadable,
      chunks: done.chunks,
    });
    const gone = await findGoneLink(base.links, this.#context);
    if (gone !== undefined) throw new FullNeeded(linkIsGone(gone));
  }

  /** What was stored of an increment is of no use: all is saved, in chunks of its own. */
  async #saveFullAfterAll(saving: Saving, reason: string): Promise<void> {
    const { repository: { store }, signal } = this.#context;
    const [found, state] = await Promise.all([
      readOrigin(this.#context, this.#job),
      readFolder(store, this.#folder, { signal }),
    ]);
    const counts = new DocumentCounts(this.#context, this.#database, found);
    this.#manifest = undefined;
    await this.#saveFull({ ...saving, ...found, counts, state, leftover: undefined }, reason);
  }

  /** Stores the documents that are to be stored, until nothing is missing. */
  async #storeDocuments(
    { info, counts, state, leftover }: Saving,
    { origin: wanted, unreadable, increment, before, onRow }: {
      origin: Origin;
      unreadable: readonly UnreadableDocument[];
      increment?: ListedIncrement | undefined;
      before?: ListedDatabase["before"];
      onRow?: ((row: ChangesRow) => void) | undefined;
    },
  ): Promise<{ listing: Listing; done: CheckpointWriter; origin: Origin; seen: IdFilter | undefined }> {
    const { couch, repository: { store }, log, signal } = this.#context;
    const kept = leftover?.checkpoint.chunks ?? [];
    if (leftover !== undefined) this.#status = "resumed";
    this.#place.needs(increment?.page?.pending === 0 ? 1 : this.#batchesOf(info));
    // A count from behind the last page would hold documents that need not be listed.
    if (counts.hasCopies && increment?.page?.pending !== 0) await counts.look({ signal });
    const origin = originOf(wanted, { counts, leftover });
    // Room for the ids that are to be listed: of an increment few, however large the database is.
    const expected = increment?.page === undefined
      ? counts.expected
      : Math.min(counts.expected, increment.page.rows.length + (increment.page.pending ?? 0) + FURTHER_IDS);
    const resumed = await this.#resumedListing(leftover);
    // Of a run that is resumed without its filter nobody knows what it had seen before.
    const seen = this.#task.increments === undefined
      ? undefined
      : resumed === undefined
      ? seenFilter(expected)
      : resumed.seen;
    const size = new ChunkSize(this.#task, info);
    const listing = new Listing(couch, this.#database, {
      log,
      signal: AbortSignal.any([signal, this.#context.stop]),
      chunk: size.isBounded ? () => size.documents : undefined,
      positionsEvery: size.positionsEvery,
      tombstones: this.#task.tombstones,
      expected,
      seen,
      onRow,
      unreadable: new Set(unreadable.flatMap(({ id, rev }) => rev === undefined ? id : [])),
      ranges: info,
      keepsEnd: this.#task.increments !== undefined,
      increment,
      resumed,
      beforeLastPage: () => counts.lookBeforePage({ signal }),
    });
    const done = new CheckpointWriter(store, this.#folder, {
      origin,
      startSeq: startSeqOf({ info, leftover }),
      kept,
      now: this.#context.now,
      keptUnreadable: [...unreadable, ...leftover === undefined ? [] : await this.#unreadableOf(leftover.checkpoint)],
      keptFilter: leftover?.listing.filter?.name,
      settled: () => listing.settled,
      hold: () => listing.hold(),
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
      resume: this.#resumingCommand(),
      purges: purgesOf(leftover?.checkpoint.properties ?? info),
      before,
    });
    try {
      if (leftover === undefined && increment === undefined) await completeness.awaitFirstPage();
      const storeListed = () => this.#storeListed({ listing, writer, done, size });
      await storeListed();
      await completeness.await(storeListed);
    } catch (error) {
      await done.saveRest({ signal: AbortSignal.timeout(LAST_SAVE_TIMEOUT_MS) }).catch((lost) =>
        log.warn("checkpoint could not be stored", { error: describeError(lost) })
      );
      throw error;
    } finally {
      listing.close();
    }
    return { listing, done, origin, seen };
  }

  /** The chain that a full backup follows on, to be compared with its listing; undefined where there is none. */
  async #openChain({ ofTask, counts, origin }: Saving): Promise<ChainCheck | undefined> {
    const found = this.#task.increments === undefined ? undefined : await ofTask;
    if (found === undefined || typeof found === "string") return undefined;
    const createdAt = origin.properties.instance_start_time;
    const isSealed = this.#recipients !== undefined;
    return await ChainCheck.open(this.#context, { ...found, database: this.#database, counts, createdAt, isSealed });
  }

  /** What the manifest says of the states that were seen. */
  async #storeSeen(filter: IdFilter | undefined): Promise<Pick<ListedFeed, "seen">> {
    if (filter === undefined) return {};
    const { repository: { store }, run, signal } = this.#context;
    return { seen: await storeSeen(store, { folder: this.#folder, run: shortRun(run), filter, signal }) };
  }

  async #readFeedEnd(listing: Listing, { counts, info: ranges }: Saving): Promise<Partial<ListedFeed>> {
    if (this.#task.increments === undefined) return {};
    this.#share.hasPending = listing.hasPending;
    return await readFeedEnd(this.#context, { database: this.#database, listing, counts, ranges });
  }

  async #finish(
    { state }: Saving,
    backup: Pick<FinishedBackup, "origin" | "updateSeq" | "feed" | "chainLost" | "unreadable" | "chunks">,
  ): Promise<void> {
    this.#place.needs(0);
    this.#manifest = await finishBackup(this.#context, {
      ...backup,
      lockDays: this.#task.increments?.lockDays,
      date: this.#date,
      folder: this.#folder,
      manifests: state.manifests,
    });
  }

  /** Stores what the listing has to give: first what is new, then what was listed again, until nothing is left. */
  async #storeListed(
    { listing, writer, done, size }: {
      listing: Listing;
      writer: ChunkWriter;
      done: CheckpointWriter;
      size: ChunkSize;
    },
  ): Promise<void> {
    const { signal, stop } = this.#context;
    const limit = () => this.#place.limit;
    let inFlight = 0;
    const storeOne = async (work: Work, signal: AbortSignal) => {
      inFlight++;
      const ends = this.#window.begin();
      const stored = await writer.store(work, signal);
      const { bytes, documents } = sumChunks(stored.map(({ entry }) => entry));
      ends(bytes);
      size.note({ bytes, documents });
      inFlight--;
      if (listing.ended) this.#place.needs(Math.max(1, inFlight));
      // Its documents are as they were found now: together, as a later run takes all chunks of a batch or none.
      for (const [index, { entry, unreadable }] of stored.entries()) {
        done.add(work.index, entry, { ids: index === 0 ? work.batch.ids() : [], unreadable });
      }
      listing.noteStored(work);
      work.settled();
      await done.saveWhenDue({ signal });
    };
    do {
      await forEachParallel((signal) => listing.batches(signal), storeOne, { limit, signal, stop });
      await forEachParallel(() => listing.repeated(), storeOne, { limit, signal, stop });
    } while (!listing.ended);
  }

  /** How many requests for documents a database gives. */
  #batchesOf(info: DatabaseOrigin["info"]): number {
    const size = new ChunkSize(this.#task, info);
    const documents = info.doc_count + (this.#task.tombstones ? info.doc_del_count : 0);
    return size.isBounded ? Math.max(1, Math.ceil(documents / size.documents)) : 1;
  }

  async #resumedListing(leftover: Unfinished | undefined) {
    if (leftover === undefined) return undefined;
    const { repository: { store }, log, signal } = this.#context;
    const { listing: state } = leftover;
    const bytes = await readFilter(store, this.#folder, { filter: state.filter, log, signal });
    if (bytes === undefined) return { state, filter: undefined, seen: undefined };
    const { seen, ...own } = state.filter!;
    const cut = bytes.length - (seen?.bytes ?? 0);
    return {
      state,
      filter: IdFilter.from({ ...own, bytes: bytes.subarray(0, cut), ids: state.ids }),
      seen: seen && IdFilter.from({ ...seen, ids: seen.states, bytes: bytes.subarray(cut) }),
    };
  }

  /** Whether the database was deleted meanwhile: it is not found, and CouchDB does not list it any more. */
  async #isGone(error: unknown): Promise<boolean> {
    const { couch, log, signal } = this.#context;
    if (!this.#isListed || !(error instanceof CouchError) || error.facts.status !== 404) return false;
    try {
      if (!(await couch.listDatabases({ signal })).includes(this.#database)) return true;
    } catch (failure) {
      if (signal.aborted) throw signal.reason;
      log.warn("it is unknown whether the database was deleted", { error: this.#describe(failure) });
      return false;
    }
    // What is no answer of CouchDB's is told as that by the error itself.
    if (error.facts.error !== "not_found") return false;
    log.error("CouchDB lists the database but does not find it", {
      hint: this.#database.includes("/")
        ? SLASH_HINT
        : "A node of the cluster does not know it yet, or a proxy in front of CouchDB changes paths",
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
      { discreet: `Cannot read any document of database "${this.#database}": CouchDB answered ${error}` },
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
    this.#chainLost = manifest.chain_lost;
    if (manifest.chain_lost !== undefined) this.#warnings.push(describeKept(manifest.chain_lost));
    this.#isUnchanged = manifest.kind === "incremental" && manifest.chunks.length === 0;
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
      if (this.#isUnchanged) report.unchanged = true;
      if (this.#fullBecause !== undefined) report.full_because = this.#fullBecause;
      report.backed_up_at = this.#manifest.finished_at;
    }
    const unreadable = this.#unreadable();
    if (unreadable.length > 0) report.unreadable = [...unreadable];
    if (this.#warnings.length > 0) report.warnings = this.#warnings;
    if (this.#shrunkFrom !== undefined) report.shrunk_from = this.#shrunkFrom;
    if (this.#chainLost !== undefined) {
      const { documents, ids } = this.#chainLost;
      report.chain_lost = { documents, ids };
    }
    return report;
  }
}

/**
 * What the manifest begins with. A resumed backup is as old as its first chunk, and knows of no later purge; of the
 * copies of a database the one counts that has seen the most.
 */
function originOf(origin: Origin, { counts, leftover }: Pick<Saving, "counts" | "leftover">): Origin {
  const { started_at, properties: { purge_seq } } = leftover?.checkpoint ??
    { ...origin, properties: { purge_seq: counts.info.purge_seq } };
  return { ...origin, started_at, properties: { ...origin.properties, purge_seq } };
}

function startSeqOf({ info, leftover }: Pick<Saving, "info" | "leftover">): string {
  return leftover?.checkpoint.update_seq.start ?? info.update_seq;
}

function linkIsGone(path: string): string {
  return `a backup that it relies on is gone, "${path}"`;
}

function mostLive({ chunks, unreadable }: CheckpointWriter): number {
  const { documents, deleted } = sumChunks(chunks);
  return documents - deleted + unreadable.length;
}

/**
 * How chunks are called: with the run's digits where the folder has chunks of others, or may get some at any moment.
 */
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
