/**
 * One database's backup: decides what is to be saved (all, what has changed, or that nothing has), has its documents
 * stored (documents.ts), and makes them a backup by a manifest (finish.ts). In: a run and a database. Out: its report;
 * a failure is noted in it.
 */
import { commandLine } from "../../command_line.ts";
import type { CatalogEntry } from "../../archive/catalog.ts";
import { shortRun } from "../../archive/layout.ts";
import { findLeftover, type Leftover } from "../../archive/leftover.ts";
import { followChain } from "../../archive/chain.ts";
import { type ChainLoss, type ListedFeed, type Manifest, sumChunks } from "../../archive/manifest.ts";
import { momentOf, readFolder } from "../../archive/read.ts";
import type { DatabaseReport } from "../../archive/report.ts";
import { storeSeen } from "../../archive/seen_states.ts";
import type { IdFilter } from "../../couchdb/id_filter.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { SLASH_HINT } from "../../couchdb/error.ts";
import { type BackupDate, formatIsoDate } from "../../dates.ts";
import { discreetLog } from "../../observe/discreet_log.ts";
import { CouchError } from "../../errors.ts";
import { findConditions } from "../../store/conditions.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { ChainLosses } from "./chain_losses.ts";
import { batchesOf } from "./chunk_size.ts";
import { DocumentCounts } from "./completeness.ts";
import type { BackupOptions, Run } from "./context.ts";
import { type DocumentSource, DocumentStorage, originOf, startSeqOf, type StoredDocuments } from "./documents.ts";
import { FullNeeded } from "./doubt.ts";
import { readFeedEnd } from "./feed_end.ts";
import { finishBackup, finishCopy, type FinishedBackup } from "./finish.ts";
import {
  findGoneLink,
  findOtherLimit,
  findPrevious,
  type IncrementPlan,
  type IncrementShare,
  planIncrement,
} from "./increment.ts";
import type { Listing } from "./listing.ts";
import {
  type DatabaseOrigin,
  lastEntries,
  openDatabase,
  type OriginRequest,
  readOrigin,
  readPrevious,
  settleOrigin,
} from "./origin.ts";
import { Outcome } from "./outcome.ts";
import { NotTried } from "./not_tried.ts";
import type { Place } from "./room.ts";
import { keptSettings } from "./kept_settings.ts";
import { findUnreadable } from "./sealed_ids.ts";
import { warnOfShrinking } from "./shrinking.ts";
import { findLacking, findStillUnreadable } from "./unreadable.ts";
import { Turns } from "./turns.ts";
import type { RequestWindow } from "./window.ts";

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

/** A database that is being saved, and what may be built on. */
interface Saving extends DocumentSource {
  /** The newest backup of the database by this task, where increments build on it. */
  ofTask: ReturnType<typeof findPrevious>;
}

/** One run's copy of one database. */
export class DatabaseBackup {
  readonly #context: Run;
  readonly #task: Task;
  readonly #database: string;
  readonly #date: BackupDate;
  readonly #isListed: boolean;
  readonly #folder: string;
  readonly #startedAt: Date;
  readonly #share: IncrementShare;
  readonly #place: Place;
  readonly #outcome: Outcome;
  readonly #losses: ChainLosses;
  readonly #documents: DocumentStorage;
  #lacking: Awaited<ReturnType<typeof findLacking>> | undefined;
  /** Undefined where nobody has looked yet: that there was none costs a listing as well. */
  #previous: ReturnType<typeof readPrevious> | undefined;

  constructor(run: Run, { task, database, date, isListed, share, place, window }: DatabaseJob) {
    const context = codecOf(task).recipients === undefined ? run : { ...run, log: discreetLog(run.log) };
    const folder = context.repository.backupFolder({ date, database });
    const startedAt = context.now();
    this.#context = context;
    this.#task = task;
    this.#database = database;
    this.#date = date;
    this.#isListed = isListed;
    this.#folder = folder;
    this.#startedAt = startedAt;
    this.#share = share;
    this.#place = place;
    this.#outcome = new Outcome(context, { task, database, folder, startedAt });
    this.#losses = new ChainLosses(context, { task, database, outcome: this.#outcome });
    this.#documents = new DocumentStorage(context, {
      task,
      database,
      folder,
      place,
      window,
      outcome: this.#outcome,
      resume: this.#resumingCommand(),
    });
  }

  /** Whether nothing had to be read. */
  get isUnchanged(): boolean {
    return this.#outcome.isUnchanged;
  }

  /** Why it failed; undefined unless it did. */
  get error(): unknown {
    return this.#outcome.error;
  }

  get #job(): OriginRequest {
    return { task: this.#task, database: this.#database, startedAt: this.#startedAt };
  }

  /** The command that resumes this backup, on another day too. */
  #resumingCommand(): string {
    const date = formatIsoDate(this.#date);
    return commandLine("backup", ["--task", this.#task.name, "--database", this.#database, "--date", date, "--resume"]);
  }

  /** Makes the backup complete, or reports why it is not. @throws The reason of an interruption. */
  async run(options: BackupOptions): Promise<DatabaseReport> {
    const { log, progress, signal, stop } = this.#context;
    let ok = false;
    try {
      await this.#copy(options);
      ok = true;
      const report = await this.#outcome.report();
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
      if (error instanceof NotTried) return await this.notTried(error.cause);
      if (await this.#isGone(error)) {
        ok = true;
        this.#outcome.status = "gone";
        log.warn("database was deleted before it could be backed up");
        return await this.#outcome.report();
      }
      return await this.#outcome.failed(error);
    } finally {
      progress.databaseFinished({ database: this.#database, ok });
    }
  }

  /** The report of a database that would only meet the same failure as an earlier one, whose name is in `cause`. */
  async notTried(cause: unknown): Promise<DatabaseReport> {
    return await this.#outcome.notTried(cause);
  }

  async #copy({ resume, resumeRuns, full = false }: BackupOptions): Promise<void> {
    const { repository: { store, storeFolder }, log, progress, signal } = this.#context;
    // Asked once: the store remembers.
    await findConditions(store, storeFolder, { log, signal });
    const { found, state, ofTask } = await this.#look({ full });
    this.#noteLacking(found);
    const leftover: Leftover = resume
      ? await findLeftover(store, this.#folder, { state, wanted: found.origin, log, signal, runs: resumeRuns })
      : { kind: "nothing" };
    if (leftover.kind === "complete" && await this.#isWhole(leftover)) {
      return await this.#keepComplete(leftover, state);
    }

    // One request will do for most databases of an incremental task: they have not changed.
    await this.#place.claim(this.#task.increments === undefined ? batchesOf(this.#task, found.info) : 1);
    progress.databaseStarted({ database: this.#database, documents: found.info.doc_count });
    const counts = new DocumentCounts(this.#context, this.#database, found);
    const saving: Saving = {
      ...found,
      counts,
      state,
      ofTask,
      leftover: leftover.kind === "unfinished" ? leftover : undefined,
    };
    await this.#losses.tellUntold(ofTask);
    await this.#save(saving, { full });
  }

  /** Asks CouchDB for the database, and the store for what its folder holds and for the backup that is built on. */
  async #look(
    { full }: { full: boolean },
  ): Promise<Pick<Saving, "state" | "ofTask"> & { found: DatabaseOrigin }> {
    const { repository: { store }, signal } = this.#context;
    const isIncremental = this.#task.increments !== undefined;
    const newest = isIncremental ? findPrevious(this.#context, this.#job) : Promise.resolve("nothing was looked for");
    const ofTask = newest.then((found) => this.#withIds(found));
    // Its failure is thrown where it is needed; a backup that is complete already does not need it.
    ofTask.catch(() => {});
    const stored = Promise.all([
      readFolder(store, this.#folder, { signal }),
      // Only a full backup needs it.
      isIncremental ? undefined : this.#readPrevious(),
    ]);
    const origin = isIncremental && !full ? this.#readOriginAfter(newest) : readOrigin(this.#context, this.#job);
    const [found, [state]] = await Promise.all([this.#openedBefore(stored, origin), stored]);
    return { found, state, ofTask };
  }

  /** Takes a backup that is there as this run's own. */
  async #keepComplete(leftover: Leftover & { kind: "complete" }, state: Saving["state"]): Promise<void> {
    await finishCopy(this.#context, { ...leftover, folder: this.#folder, state });
    await this.#tellShrunk(leftover);
    this.#context.log.info("database is complete already", { run: leftover.manifest.run });
    return this.#outcome.noteComplete(leftover.manifest, { isLossTold: await this.#losses.isTold(leftover.manifest) });
  }

  /** Saves what has changed, or all, or notes that nothing has; all where an increment turns out not to be possible. */
  async #save(saving: Saving, { full }: { full: boolean }): Promise<void> {
    try {
      const plan = await this.#plan(saving, { full });
      if (plan.kind !== "unchanged") await this.#requireSettings(saving);
      const other = plan.kind === "incremental" && this.#task.revisions
        ? findOtherLimit(plan.base.previous.properties, saving.origin.properties)
        : undefined;
      if (other !== undefined) throw new FullNeeded(other);
      if (plan.kind === "unchanged") await this.#carryOver(saving, plan);
      else if (plan.kind === "full") await this.#saveFull(saving, plan.reason);
      else await this.#saveIncrement(saving, plan);
    } catch (error) {
      if (!(error instanceof FullNeeded)) throw error;
      await this.#saveFullAfterAll(saving, error.reason);
    }
  }

  /** What CouchDB says of the database. A small one that then waits for the store lets others ask meanwhile. */
  async #openedBefore(stored: Promise<unknown>, origin: Promise<DatabaseOrigin>): Promise<DatabaseOrigin> {
    let isStoreAwaited = true;
    stored.then(() => isStoreAwaited = false, () => {});
    const found = await origin;
    // A large database keeps its room: what it needs is not known yet.
    if (isStoreAwaited && this.#place.isSmall) this.#place.away();
    return found;
  }

  /** The properties of a database that may be as the last backup has left it: then its settings are not asked for. */
  async #readOriginAfter(newest: ReturnType<typeof findPrevious>): Promise<DatabaseOrigin> {
    const opened = await openDatabase(this.#context, this.#database);
    // Before the store has answered: the next database need not wait for that.
    this.#place.away();
    // Whoever relies on it awaits it as well, and gets its failure.
    const found = await newest.catch(() => "it cannot be read");
    await this.#place.claim(1);
    const { couch, now } = this.#context;
    const kept = typeof found === "string" ? undefined : keptSettings(found.previous, {
      info: opened.info,
      url: couch.url,
      recipients: codecOf(this.#task).recipients,
      now: now(),
    });
    return await settleOrigin(this.#context, this.#job, opened, kept);
  }

  /** Reads the settings where those of the last backup were to do, and the database is not as that has left it. */
  async #requireSettings(saving: Saving): Promise<void> {
    if (!saving.isKept) return;
    const { origin, lacking } = await settleOrigin(this.#context, this.#job, saving);
    Object.assign(saving, { origin, isKept: false });
    this.#noteLacking({ lacking });
  }

  /** The same backup, with the ids that it has sealed. */
  async #withIds(found: Awaited<ReturnType<typeof findPrevious>>): ReturnType<typeof findPrevious> {
    if (typeof found === "string") return found;
    const { previous } = found;
    return {
      ...found,
      previous: { ...previous, unreadable: await findUnreadable(this.#context, this.#database, previous) },
    };
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
      turns: new Turns(this.#place, this.#context),
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

  /** Looks once for the newest backup of the database, by whatever task. */
  async #readPrevious(): ReturnType<typeof readPrevious> {
    return await (this.#previous ??= readPrevious(this.#context, this.#database));
  }

  /**
   * What the store is waited for: others may ask CouchDB meanwhile. (What the last backup could not read and has sealed
   * is looked for in CouchDB; that is rare, and one request at a time.)
   */
  async #whileAway<T>(ask: () => Promise<T>): Promise<T> {
    this.#place.away();
    const found = await ask();
    await this.#place.claim(1);
    return found;
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
    this.#outcome.stored = { chunks: [], unreadable: still };
    await this.#finish(saving, {
      origin: originOf({ ...saving.origin, kind: "incremental", parent }, saving),
      updateSeq: { start: saving.info.update_seq, end: update_seq },
      feed: { since: previous.feed!.overlap!.since, until, expected: documents, overlap: previous.feed!.overlap },
      unreadable: still,
      chunks: [],
    });
    const gone = await findGoneLink(links, this.#context);
    if (gone !== undefined) return await this.#saveFullAfterAll(saving, linkIsGone(gone));
    this.#outcome.isUnchanged = true;
  }

  /** Saves all of the database. */
  async #saveFull(saving: Saving, reason: string | undefined): Promise<void> {
    const previous = await (this.#previous ?? this.#whileAway(() => this.#readPrevious()));
    if (reason !== undefined) {
      // A task that is never incremental makes full backups without a reason.
      if (this.#task.increments !== undefined) this.#outcome.fullBecause = reason;
      this.#share.say(this.#context.log, reason);
    }
    const unreadable = await findStillUnreadable(this.#context, this.#job, previous?.unreadable ?? []);
    const chain = saving.leftover === undefined ? await this.#losses.open(saving) : undefined;
    const stored = await this.#documents.store(saving, {
      origin: saving.origin,
      unreadable,
      onRow: chain && ((row) => chain.look(row)),
    });
    const { chunks, unreadable: unread } = stored.done;
    if (unread.length > 0 && sumChunks(chunks).documents === 0) throw this.#nothingReadable(unread);
    // Before the manifest is stored: a run that is killed after that is not resumed, and later runs build on the new
    // backup and no longer look at this chain.
    const chainLost = await this.#losses.compare(saving, chain);
    await this.#finishListed(saving, stored, { since: "0", chainLost });
    await this.#warnOfShrinking(previous?.entries ?? [], this.#outcome.manifest!);
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
    this.#outcome.warn(shrinking.warning);
    this.#outcome.shrunkFrom = shrinking.before;
  }

  /** Saves what has changed since the backup before. @throws FullNeeded where that does not do. */
  async #saveIncrement(saving: Saving, plan: Extract<IncrementPlan, { kind: "incremental" }>): Promise<void> {
    const { base, page } = plan;
    const { still, lacking } = await this.#findLacking(base.previous.unreadable);
    const isListed = (id: string) =>
      page?.rows.some((row) => row.id === id && base.known.look(row) !== "known") === true;
    const stored = await this.#documents.store(saving, {
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
    await this.#finishListed(saving, stored, { since: base.since });
    const gone = await findGoneLink(base.links, this.#context);
    if (gone !== undefined) throw new FullNeeded(linkIsGone(gone));
  }

  /** What was stored so far is of no use: all is saved, in chunks of its own. */
  async #saveFullAfterAll(saving: Saving, reason: string): Promise<void> {
    const { repository: { store }, signal } = this.#context;
    await this.#place.claim(1);
    const [found, state] = await Promise.all([
      readOrigin(this.#context, this.#job),
      readFolder(store, this.#folder, { signal }),
    ]);
    // Settings that were taken over from the last backup were not read, so nothing was noted of them yet.
    if (saving.isKept) this.#noteLacking(found);
    const counts = new DocumentCounts(this.#context, this.#database, found);
    this.#outcome.manifest = undefined;
    await this.#saveFull({ ...saving, ...found, counts, state, leftover: undefined }, reason);
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

  /** Makes what was listed and stored a backup. */
  async #finishListed(
    saving: Saving,
    { listing, done, origin, seen }: StoredDocuments,
    { since, chainLost }: { since: string; chainLost?: ChainLoss | undefined },
  ): Promise<void> {
    const end = await this.#readFeedEnd(listing, saving);
    // Only writing is left.
    this.#place.needs(0);
    await this.#finish(saving, {
      origin,
      updateSeq: { start: startSeqOf(saving), end: saving.counts.info.update_seq },
      chainLost,
      feed: { since, until: listing.until, ...end, ...await this.#storeSeen(seen) },
      unreadable: done.unreadable,
      chunks: done.chunks,
    });
  }

  async #finish(
    { state }: Saving,
    backup: Pick<FinishedBackup, "origin" | "updateSeq" | "feed" | "chainLost" | "unreadable" | "chunks">,
  ): Promise<void> {
    this.#place.needs(0);
    this.#outcome.manifest = await finishBackup(this.#context, {
      ...backup,
      lockDays: this.#task.increments?.lockDays,
      date: this.#date,
      folder: this.#folder,
      manifests: state.manifests,
    });
  }

  /** Whether the database was deleted meanwhile: it is not found, and CouchDB does not list it any more. */
  async #isGone(error: unknown): Promise<boolean> {
    const { couch, log, signal } = this.#context;
    if (!this.#isListed || !(error instanceof CouchError) || error.facts.status !== 404) return false;
    try {
      if (!(await couch.listDatabases({ signal })).includes(this.#database)) return true;
    } catch (failure) {
      if (signal.aborted) throw signal.reason;
      log.warn("it is unknown whether the database was deleted", { error: this.#outcome.describe(failure) });
      return false;
    }
    // A 404 of something else than CouchDB is described by the error itself.
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

  #noteLacking({ lacking }: Pick<DatabaseOrigin, "lacking">): void {
    for (const sentence of lacking) {
      this.#outcome.warn(sentence);
      this.#context.log.warn("a property of the database is not saved", { cause: sentence });
    }
  }
}

function linkIsGone(path: string): string {
  return `a backup that it relies on is gone, "${path}"`;
}
