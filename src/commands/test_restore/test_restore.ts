/**
 * Proves backups by restoring them. In: a repository and a CouchDB. Out: the backups that did not come back as they
 * were saved.
 *
 * Of each database the newest complete backup is restored into a scratch database, compared with what CouchDB then
 * answers, and dropped; and what it holds is compared with what CouchDB says of the database itself, where that is
 * still there. Nothing is left behind: what a run that was killed has left, the next one drops.
 */
import { createHash } from "node:crypto";
import { openArchive } from "../../archive/archive.ts";
import { explainUnusable } from "../../archive/damage.ts";
import { findArchive } from "../../archive/find.ts";
import type { Finding } from "../../archive/known_damage.ts";
import { shortRun } from "../../archive/layout.ts";
import type { DatabaseProperties } from "../../archive/manifest.ts";
import { type BackupOfMoment, backupsOfMoment } from "../../archive/moment.ts";
import { addParents } from "../../archive/parents.ts";
import type { Repository } from "../../archive/repository.ts";
import { requireUnlockable, unlock } from "../../archive/unlock.ts";
import { readScratchRuns, storeScratchRun } from "../../archive/scratch_runs.ts";
import { counted } from "../../counts.ts";
import { dropAbandoned, ScratchDatabase } from "../../couchdb/scratch.ts";
import { scratchName } from "../../couchdb/scratch_name.ts";
import { DAY_MS } from "../../dates.ts";
import { ArchiveError, CouchError, describeError, EXIT, exitCodeOf, type StoreError } from "../../errors.ts";
import { withinRun } from "../../observe.ts";
import { eitherSignal, forEachParallel } from "../../parallel.ts";
import { joinKey, keyBelow } from "../../store/key.ts";
import { mustBeCount, mustNameSome } from "../../request.ts";
import { matcherOf } from "../../task/pattern.ts";
import { nothingFound } from "../nothing_found.ts";
import type { RestoreContext } from "../restore/context.ts";
import type { RestoreReport } from "../restore/report.ts";
import { restore } from "../restore/restore.ts";
import { type ProvedBackup, Undecided, type UndecidedBackup } from "../undecided.ts";
import { Vanished } from "../vanished.ts";
import type { FaultyBackup } from "../verify_all.ts";
import { compareWithDatabase, type Comparison } from "./compare.ts";
import { describeLost, FeedCheck } from "./feed_check.ts";

/** Backups that are restored at once; each writes and reads with several requests. */
const BACKUPS_AT_ONCE = 2;

/** What it works with. */
export interface TestRestoreContext extends RestoreContext {
  repository: Repository;
  /** The run's id, of which the names of scratch databases are made. */
  run: string;
  /** What `expire` has half deleted is looked at again after so long. @default three seconds */
  lookAgainMs?: number | undefined;
  /** Gets which backups are damaged, by their paths below the prefix. @default nobody wants to know */
  findings?: Map<string, Finding> | undefined;
}

/** What is to be restored for a test. */
export interface TestRestoreRequest {
  /** Patterns, of which one must match a database's name. @default all */
  match?: readonly string[] | undefined;
  /** How many databases; other ones each day, until all have had their turn. @default all */
  sample?: number | undefined;
}

/** What `test-restore --json` prints. */
export interface TestRestoreReport {
  /** Whether every backup came back as it was saved, and nothing is left behind. */
  ok: boolean;
  /** Backups that were restored. */
  backups: number;
  /** Backups that there are to be restored: the newest complete one of each database. */
  backups_in_all: number;
  /** Documents that were compared. */
  documents: number;
  /** Leaf revisions that were compared. */
  leaf_revisions: number;
  /** The backups that did not come back as they were saved. */
  faulty: FaultyBackup[];
  /** Those of which nothing is known, as the store or CouchDB failed or refused. */
  undecided: UndecidedBackup[];
  /** Scratch databases of earlier runs, which were killed, that were dropped. */
  dropped: string[];
  /** Scratch databases of other runs that may be alive, and until when they are left alone. */
  kept: { database: string; until: string }[];
  /** Scratch databases of this run that could not be dropped, and why. */
  left_behind: { database: string; error: string }[];
  /** How long it took. */
  seconds: number;
}

/**
 * 0; 12 where a backup is damaged; 10 or 11 where CouchDB or the store failed; 3 where what came back is not the same.
 */
export function exitCodeOfTestRestore({ faulty, undecided, left_behind }: TestRestoreReport): number {
  const codes = [
    ...[...faulty, ...undecided].map(({ exit_code }) => exit_code),
    ...left_behind.map(() => EXIT.couchdb),
  ];
  return codes.includes(EXIT.archive)
    ? EXIT.archive
    : codes.find((code) => code !== EXIT.partial) ?? codes[0] ?? EXIT.ok;
}

/**
 * Restores backups for a test.
 *
 * @throws UsageError, StoreError when the backups cannot be listed, CouchError when nothing can be written at all; the
 * reason of `context.signal`. What is wrong with one backup is in the report.
 */
export async function testRestore(
  context: TestRestoreContext,
  request: TestRestoreRequest,
): Promise<TestRestoreReport> {
  const { now, progress } = context;
  const startedAt = now();
  const signal = eitherSignal(context);
  const chosen = await chooseBackups({ ...context, signal }, request, startedAt);
  const { dropped, kept } = await cleanUp(context, startedAt, signal);
  const { backups, backupsInAll, outOfReach } = chosen;
  const run = new TestRestoreRun(context, { backups_in_all: backupsInAll, faulty: outOfReach, dropped, kept });
  progress.runStarted({ action: "verify", databases: backups.length });
  try {
    await forEachParallel(
      () => backups.entries(),
      ([number, backup], signal) => run.prove(backup, { number, signal }),
      { limit: BACKUPS_AT_ONCE, signal },
    );
    await run.settle({ signal });
  } finally {
    progress.runFinished();
  }
  return run.end({ startedAt, backups });
}

/** The backups that are to be restored, and what has been found out beside them. */
interface ChosenBackups {
  backups: BackupOfMoment[];
  /** How many there are, those that are not in the sample too. */
  backupsInAll: number;
  /** Those that the store does not give out. */
  outOfReach: FaultyBackup[];
}

/** @throws ArchiveError when there is no backup, or none for a pattern; UsageError when no identity opens one. */
async function chooseBackups(
  { repository, seal, log, now, signal }: TestRestoreContext,
  { match, sample }: TestRestoreRequest,
  startedAt: Date,
): Promise<ChosenBackups> {
  mustNameSome(match, "match");
  mustBeCount(sample, "sample");
  const isWanted = matcherOf(match);
  const outOfReach: FaultyBackup[] = [];
  const onOutOfReach = (database: string, error: StoreError) => {
    const path = repository.locate(error.facts.key ?? repository.root);
    const problem = explainUnusable(error) ?? error.message;
    outOfReach.push({ database, path, finished_at: null, problems: [problem], exit_code: exitCodeOf(error) });
  };
  const all = await Array.fromAsync(backupsOfMoment(repository, { isWanted, onOutOfReach, log, now, signal }));
  const backupsInAll = all.length + outOfReach.length;
  if (backupsInAll === 0) throw nothingFound(repository, { patterns: match });
  const backups = sample === undefined ? all : sampleOf(all, sample, startedAt);
  const manifests = backups.map(({ point: { folder, name, manifest } }) => ({ manifest, key: joinKey(folder, name) }));
  await requireUnlockable(manifests, seal);
  return { backups, backupsInAll, outOfReach };
}

/** One call of {@linkcode testRestore}: what it works with, and the report that it fills. */
class TestRestoreRun {
  readonly #context: TestRestoreContext;
  readonly #report: TestRestoreReport;
  readonly #undecided: Undecided;
  readonly #vanished: Vanished;

  constructor(
    context: TestRestoreContext,
    known: Pick<TestRestoreReport, "backups_in_all" | "faulty" | "dropped" | "kept">,
  ) {
    this.#context = context;
    this.#undecided = new Undecided(context);
    this.#vanished = new Vanished(context);
    this.#report = {
      ok: false,
      backups: 0,
      documents: 0,
      leaf_revisions: 0,
      ...known,
      undecided: this.#undecided.backups,
      left_behind: [],
      seconds: 0,
    };
  }

  /** Restores one backup and compares it. Whether it has expired is decided by {@linkcode TestRestoreRun.settle}. */
  async prove(
    { database, point }: BackupOfMoment,
    { number, signal }: { number: number; signal: AbortSignal },
  ): Promise<void> {
    const { repository, run } = this.#context;
    const key = joinKey(point.folder, point.name);
    const path = repository.locate(key);
    const found = { database, path, finished_at: point.finishedAt.toISOString() };
    if (this.#undecided.isOver) return this.#undecided.noteUntried(found);
    const name = scratchName(shortRun(run), number);
    let outcome: Outcome;
    try {
      outcome = await this.#proveInScratch({ name, source: database, path }, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (this.#undecided.take(found, error)) return this.#finished(database, { ok: false });
      const noteFault = (failure?: unknown) => {
        this.#finished(database, { ok: false });
        if (failure !== undefined && this.#undecided.take(found, failure)) return;
        this.#report.backups++;
        this.#report.faulty.push({ ...found, problems: [describeError(error)], exit_code: exitCodeOf(error) });
        // Whether these bytes are its own or those of what it builds on, `verify --all` says.
        if (error instanceof ArchiveError) this.#context.findings?.set(keyBelow(repository.prefix, key), "damaged");
      };
      const noteExpired = () => this.#finished(database, { ok: true });
      const suspect = { database, key, run: shortRun(point.manifest.run), finishedAt: point.finishedAt };
      return await this.#vanished.take(suspect, { noteFault, noteExpired }, { signal });
    }
    this.#note(found, outcome);
  }

  /** Notes what came of a backup that was restored. */
  #note(found: ProvedBackup, { documents, leafRevisions, problems, failure, isPart }: Outcome): void {
    const { database } = found;
    // Where a part was written, CouchDB fails at documents: it need not fail at other backups.
    if (failure === undefined || isPart) this.#undecided.noteDecided();
    if (failure !== undefined && this.#undecided.take(found, failure)) return this.#finished(database, { ok: false });
    this.#report.backups++;
    this.#report.documents += documents;
    this.#report.leaf_revisions += leafRevisions;
    if (problems.length > 0) this.#report.faulty.push({ ...found, problems, exit_code: EXIT.partial });
    this.#finished(database, { ok: problems.length === 0 });
  }

  #finished(database: string, { ok }: { ok: boolean }): void {
    this.#context.progress.databaseFinished({ database, ok });
  }

  /** Restores a backup into a scratch database, which is dropped whatever comes of it. */
  async #proveInScratch(place: ScratchPlace, signal: AbortSignal): Promise<Outcome> {
    const context = { ...this.#context, signal };
    const { name, source } = place;
    const scratch = new ScratchDatabase(context, { name, source });
    await refuseExisting(context, name);
    try {
      return await restoreAndCompare(context, place, { onReady: () => scratch.mark({ signal }) });
    } finally {
      const error = await scratch.drop();
      if (error !== undefined) {
        this.#report.left_behind.push({ database: name, error });
        context.log.error("scratch database is not dropped", { database: name, error });
      }
    }
  }

  /** Decides which of the backups that could not be restored have expired meanwhile: these are not counted. */
  async settle(options: { signal: AbortSignal }): Promise<void> {
    const expired = await this.#vanished.settle(options);
    this.#report.backups_in_all -= expired;
  }

  /** The report, which the log gets in short. */
  end({ startedAt, backups }: { startedAt: Date; backups: readonly BackupOfMoment[] }): TestRestoreReport {
    const { log, now } = this.#context;
    const report = this.#report;
    for (const found of [report.faulty, report.undecided]) found.sort((a, b) => a.path < b.path ? -1 : 1);
    report.ok = report.faulty.length + report.undecided.length + report.left_behind.length === 0;
    report.seconds = (now().getTime() - startedAt.getTime()) / 1000;
    const sealed = new Set(
      backups.flatMap(({ database, point }) => point.manifest.recipients === undefined ? [] : database),
    );
    for (const { database, problems } of report.faulty) {
      // The problems name documents, which a sealed backup keeps from the log.
      const told = sealed.has(database) ? problems.length : problems;
      log.error("backup did not come back", { database, problems: told });
    }
    this.#undecided.tell();
    const facts = {
      backups: report.backups,
      documents: report.documents,
      faulty: report.faulty.length,
      undecided: report.undecided.length,
      leftBehind: report.left_behind.length,
    };
    if (report.ok) log.info("backups came back as they were saved", facts);
    else log.error("not all backups came back as they were saved", facts);
    return report;
  }
}

/**
 * Drops what killed runs have left, and notes this one before it makes a database. @returns What was dropped, and what
 * not.
 */
async function cleanUp(
  context: TestRestoreContext,
  at: Date,
  signal: AbortSignal,
): ReturnType<typeof dropAbandoned> {
  const { repository, log } = context;
  const knownRuns = await readScratchRuns(repository, { signal });
  const cleaned = await dropAbandoned(context, { knownRuns, signal });
  try {
    await storeScratchRun(repository, { run: shortRun(context.run), at, known: knownRuns }, { signal });
  } catch (error) {
    signal.throwIfAborted();
    // Without the note, only a run that is killed between creating a database and marking it is not cleaned up after.
    log.warn("run is not noted in the store", { error: describeError(error) });
  }
  return cleaned;
}

/** What came of one backup. */
interface Outcome extends Comparison {
  /** What is not as it was saved, a sentence each. */
  problems: string[];
  /** What CouchDB has failed at, where nothing else is wrong: then nothing is known of that. */
  failure: CouchError | undefined;
  /** Whether a part of it was written and compared all the same. */
  isPart: boolean;
}

/** A scratch database, and the backup that is restored into it. */
interface ScratchPlace {
  /** The scratch database's name. */
  name: string;
  /** The database that was saved, decoded. */
  source: string;
  /** The URL of the backup's manifest. */
  path: string;
}

async function restoreAndCompare(
  context: TestRestoreContext,
  { name, source, path }: ScratchPlace,
  { onReady }: { onReady: () => Promise<void> },
): Promise<Outcome> {
  const { couch, log, progress, signal, now } = context;
  const startedAt = now().getTime();
  // Whether it is finished is told when it was compared.
  const silent = { ...withinRun(progress), databaseFinished() {} };
  const wanted = { database: name, path, noViews: true, allowPlain: true };
  const report = await restore({ ...context, progress: silent, onReady }, wanted);
  const archive = await openArchive(await findArchive(context, path, source), { signal });
  await addParents(archive, context);
  await unlock(archive, context);
  const feed = new FeedCheck({ couch, log, signal }, archive);
  const compared = await compareWithDatabase(archive, {
    couch,
    database: name,
    signal,
    isUnwritten: unwrittenOf(report),
    onDocument: (id, revs) => feed.add(id, revs),
  });
  const problems = [...problemsOf(report), ...compared.named];
  const more = compared.differences - compared.named.length;
  if (more > 0) problems.push(`and ${counted(more, "more difference")}`);
  problems.push(
    ...await compareSettings(context, { database: name, lacking: report.lacking }, archive.origin?.properties),
  );
  const lost = await feed.result();
  if (lost !== undefined) problems.push(describeLost(lost));
  // What CouchDB has failed at hides nothing that is wrong with the rest.
  const failure = problems.length === 0 ? failureOf(report, compared) : undefined;
  const isPart = report.leaf_revisions > compared.unread.length;
  if (failure === undefined) {
    log.info("backup was restored for a test", {
      database: source,
      documents: compared.documents,
      leafRevisions: compared.leafRevisions,
      problems: problems.length,
      durationMs: now().getTime() - startedAt,
    });
  }
  return { ...compared, problems, failure, isPart };
}

/** Which settings that the backup has are others in the database that it was restored into, a sentence each. */
async function compareSettings(
  { couch, signal }: TestRestoreContext,
  { database, lacking }: Pick<RestoreReport, "database" | "lacking">,
  { security = null, revs_limit: limit = null }: Partial<DatabaseProperties> = {},
): Promise<string[]> {
  const problems: string[] = [];
  // What CouchDB has failed at says nothing of the backup.
  const isUnset = (setting: "security" | "revs_limit") =>
    lacking.some(({ what, server_failed: hasFailed }) => what === setting && hasFailed === true);
  if (security !== null && !isUnset("security") && await couch.security(database, { signal }) !== security) {
    problems.push("the security object differs from the saved one");
  }
  if (limit !== null && !isUnset("revs_limit") && await couch.revsLimit(database, { signal }) !== limit) {
    problems.push("the revisions limit differs from the saved one");
  }
  return problems;
}

/** Names are made of the run's id. One that is taken is none of this run's, and must not be dropped after it. */
async function refuseExisting({ couch, signal }: TestRestoreContext, name: string): Promise<void> {
  const infos = await couch.manyDatabaseInfos([name], { signal });
  if (!infos.has(name)) return;
  throw new CouchError(`Cannot restore into "${name}" for a test: there is a database of that name`, {
    error: "file_exists",
    database: name,
  }, { hint: "Run the command again: it takes another name" });
}

/** Whether CouchDB has refused none of what it did not take, but failed at all of it. */
function isServersAlone(failed: RestoreReport["failed"]): boolean {
  return failed.length > 0 && failed.every(({ server_failed }) => server_failed === true);
}

/** Tells of which documents CouchDB lacks something because it has failed; the report may not name all of them. */
function unwrittenOf({ failed, failed_revisions }: RestoreReport): ((id: string) => boolean) | undefined {
  if (!isServersAlone(failed)) return undefined;
  const ids = new Set(failed.map(({ id }) => id));
  return (id) => failed.length < failed_revisions || ids.has(id);
}

/** Why nothing is known of a backup though nothing is wrong with what was compared; undefined where all was. */
function failureOf(
  { database, failed: [first], failed_revisions, lacking }: RestoreReport,
  { unread }: Comparison,
): CouchError | undefined {
  const [cause, done, what, hint] = failed_revisions > 0
    ? [first, "write", counted(failed_revisions, "revision"), first?.hint]
    : [unread[0], "read", counted(unread.length, "document"), undefined];
  if (cause === undefined) return settingFailure(database, lacking);
  const { error, reason } = cause;
  const discreet = `Cannot ${done} ${what} of database "${database}": CouchDB failed, the first time with ${error}`;
  // It may be an answer inside a success: what counts is that CouchDB has failed.
  const facts = { status: 500, error, reason, database };
  return new CouchError(`${discreet}, ${reason}`, facts, { discreet, ...hint === undefined ? {} : { hint } });
}

/** The same where CouchDB has failed at nothing but a setting. */
function settingFailure(database: string, lacking: RestoreReport["lacking"]): CouchError | undefined {
  const failed = lacking.find(({ server_failed: hasFailed }) => hasFailed === true);
  if (failed === undefined) return undefined;
  const { what, reason, hint } = failed;
  const discreet = `Cannot set ${what} of database "${database}": CouchDB failed`;
  return new CouchError(reason, { status: 500, error: what, reason, database }, {
    discreet,
    ...hint === undefined ? {} : { hint },
  });
}

/** What restoring itself has told. What CouchDB could not read when the backup was made is no fault of the backup. */
function problemsOf({ failed, failed_revisions, missing, lacking }: RestoreReport): string[] {
  const problems: string[] = [];
  if (failed_revisions > 0 && !isServersAlone(failed)) {
    const [first] = failed;
    const cause = first === undefined ? "" : `, the first with ${first.error}, ${first.reason}`;
    problems.push(`CouchDB refused ${counted(failed_revisions, "revision")}${cause}`);
  }
  if (missing > 0) problems.push(`CouchDB took ${counted(missing, "document")} that it does not count`);
  for (const { what, in_backup, reason, server_failed: hasFailed = false } of lacking) {
    if (in_backup && !hasFailed) problems.push(`${what} could not be set: ${reason}`);
  }
  return problems;
}

/**
 * The databases of a day's sample: they are put into an order that depends on their names alone, and each day goes on
 * where the day before ended.
 */
function sampleOf(all: readonly BackupOfMoment[], size: number, now: Date): BackupOfMoment[] {
  if (size >= all.length) return [...all];
  const hash = ({ database }: BackupOfMoment) => createHash("sha256").update(database).digest("hex");
  const ordered = all.map((one) => ({ one, hash: hash(one) })).sort((a, b) => a.hash < b.hash ? -1 : 1);
  const first = (Math.floor(now.getTime() / DAY_MS) * size) % ordered.length;
  return Array.from({ length: size }, (_, index) => ordered[(first + index) % ordered.length]!.one);
}
