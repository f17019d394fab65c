/**
 * An open session: a config, the repository that it names, CouchDB once it is wanted, and a method for each command. In:
 * what openSession() opened. Out: the commands' reports. A command's code is loaded when the command is called, and
 * CouchDB's password is read when CouchDB is first needed: what needs neither costs neither.
 */
import type { PathContext } from "../archive/find.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import type { Repository } from "../archive/repository.ts";
import { isSaved, isTaskSaved, type RunReport } from "../archive/report.ts";
import type { RunContext, RunMonitor } from "../commands/backup/context.ts";
import type { EndedTask } from "../commands/backup/unlisted.ts";
import type { CheckReport } from "../commands/check.ts";
import type { DiffReport, DiffRequest } from "../commands/diff.ts";
import type { ExportRequest, FoundDocument, ShownDocument, ShowRequest, Sink } from "../commands/document.ts";
import type { StoreCheckReport } from "../commands/check_store.ts";
import type { ExpireRequest } from "../commands/expire/expire.ts";
import type { ExpireReport } from "../commands/expire/report.ts";
import type { KeepReport, KeepRequest } from "../commands/keep.ts";
import type { BackupList, ListedDatabase, ListRequest } from "../commands/list.ts";
import type { Plan } from "../commands/plan.ts";
import type { RestoreRequest } from "../commands/restore/context.ts";
import type { FleetRequest } from "../commands/restore/fleet.ts";
import type { FleetReport } from "../commands/restore/fleet_report.ts";
import type { RestoreReport } from "../commands/restore/report.ts";
import type { SizesReport } from "../commands/sizes.ts";
import type { TestRestoreReport, TestRestoreRequest } from "../commands/test_restore/test_restore.ts";
import type { FaultyBackup, VerifyAllReport, VerifyAllRequest } from "../commands/verify_all.ts";
import type { VerifyReport, VerifyRequest } from "../commands/verify.ts";
import type { Config } from "../config/config.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { type BackupDate, formatDate } from "../dates.ts";
import { describeError, EXIT, exitCodeOf, hintOf, UsageError } from "../errors.ts";
import type { Log, Progress } from "../observe.ts";
import { eitherSignal } from "../parallel.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import type { TaskSelection } from "../task/selection.ts";
import { compilePattern } from "../task/pattern.ts";
import { codecOf, describerFor, isSealing, type Task } from "../task/task.ts";
import type { Certificates } from "./certificates.ts";
import { withPassword } from "./password.ts";

/** How many elapses of each task a plan lists where nobody says. */
const DEFAULT_ELAPSES = 3;

/** What surrounds a command: who hears of it, what time it is, and how it is stopped. */
export interface Surroundings {
  /** Takes the log lines. */
  log: Log;
  /** Is told how it comes along. */
  progress: Progress;
  /** The run's id, unique: it stands in manifests and reports. */
  run: string;
  /** What time it is. */
  now: () => Date;
  /** Ends everything at once; what a backup has stored until then can be resumed. */
  signal: AbortSignal;
  /** Ends a backup at the next chunk, what is in flight is finished; ends anything else at once. */
  stop: AbortSignal;
}

/** Tells somebody over HTTP of runs, in the background. Nothing throws or rejects. */
export interface RunNotifier {
  /** A run of these tasks begins. */
  start(tasks: readonly string[], teller: { log: Log; run: string }): void;
  /** Another machine has the run of these tasks now. */
  leave(tasks: readonly string[], teller: { log: Log; run: string }): void;
  /** A run is over; `isPart`: it was for databases that were named. */
  end(report: RunReport, options: { log: Log; run: string; isPart: boolean }): void;
  /** Waits until all is delivered or given up, some seconds at most. */
  settled(): Promise<void>;
}

/** What a session is made of; {@linkcode openSession} makes it from a config. */
export interface SessionParts extends Surroundings {
  /** The config, read and checked. */
  config: Config;
  /** Where its backups lie. */
  repository: Repository;
  /** The machine's name in the figures of a run; undefined: the operating system's. */
  host: string | undefined;
  /** The authorities that the config names, for the connections to its servers. */
  certificates: Certificates;
  /** Files with the identities that open sealed backups. @default what the config names */
  identityFiles?: readonly string[] | undefined;
  /** Delivers the log lines that wait, and counts those that are lost. */
  flush: () => Promise<{ lostLines: number }>;
  /** Tells a monitor of runs; undefined where the config names none. */
  notifier: RunNotifier | undefined;
  /** Lets go of what was opened. */
  close: () => Promise<void>;
}

/** What a backup is to save, where it is not all that the config's tasks select. */
export interface BackupRequest {
  /** The names of the tasks to run. @default every task of the config */
  tasks?: readonly string[] | undefined;
  /**
   * Only these databases, whatever the tasks select, by names that are encoded (`a%2Fb`) or not; or `all` but CouchDB's
   * own. @default what the tasks select
   */
  databases?: readonly string[] | "all" | undefined;
  /** The date in the paths. @default today in each task's time zone, or a month before it where the task says so */
  date?: BackupDate | undefined;
  /** Go on where a run of the same date stopped. @default false */
  resume?: boolean | undefined;
  /** Save all of each database, also where its task is incremental. @default false */
  full?: boolean | undefined;
  /**
   * Is told the report as soon as it is stored and published. Only when this has come to its end it is remembered what the
   * run had: where the process ends before, the next run says again which databases are not listed any more.
   */
  onReport?: ((report: RunReport) => void | Promise<void>) | undefined;
}

/** What a plan is to show. */
export interface PlanRequest {
  /** Elapses after this instant are listed. @default now */
  from?: Date | undefined;
  /** How many elapses of each task. @default 3 */
  count?: number | undefined;
  /** Plan the times only, without CouchDB. @default false */
  offline?: boolean | undefined;
}

/** A config, opened. Get one from {@linkcode openSession}, and close it, or declare it with `await using`. */
export class Session implements AsyncDisposable {
  readonly #parts: SessionParts;
  #couch: CouchClient | undefined;
  #readIdentities: (() => Promise<readonly string[]>) | undefined;

  /** Takes what is open; see {@linkcode openSession}. */
  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** The config. */
  get config(): Config {
    return this.#parts.config;
  }

  /** Where the config's backups lie. */
  get repository(): Repository {
    return this.#parts.repository;
  }

  /** What surrounds the session's commands. */
  get surroundings(): Surroundings {
    const { log, progress, run, now, signal, stop } = this.#parts;
    return { log, progress, run, now, signal, stop };
  }

  /**
   * The same config and store in other surroundings: for a run of its own, as each invocation of a Lambda is. Its
   * connection to CouchDB is a new one, and the password is read again. It needs no closing; what it shares is closed with
   * this session.
   */
  with(changes: Partial<Surroundings>): Session {
    return new Session({ ...this.#parts, ...changes, close: () => Promise.resolve() });
  }

  /** Whether it has to do with what is sealed, so that what CouchDB says of documents is kept from its log. */
  get isDiscreet(): boolean {
    const { config: { tasks, identityFile, identitySecret }, identityFiles = [] } = this.#parts;
    return tasks.some(isSealing) || identityFile !== undefined || identitySecret !== undefined ||
      identityFiles.length > 0;
  }

  /**
   * The client for CouchDB, the same each time. The first call reads the password, CouchDB itself is not asked yet.
   *
   * @throws ConfigError when `password_file` cannot be read; AwsError when the password is in Secrets Manager and cannot
   * be read there.
   */
  async connect(): Promise<CouchClient> {
    if (this.#couch !== undefined) return this.#couch;
    const { config, log, certificates, stop } = this.#parts;
    const [{ CouchClient }, options, fetch] = await Promise.all([
      import("../couchdb/client.ts"),
      withPassword(config, this.#parts),
      certificates.fetchFor("database"),
    ]);
    return this.#couch ??= new CouchClient({ ...options, log, fetch, isDiscreet: this.isDiscreet, stop });
  }

  /** All that a command works with, for who calls one without this session's methods. @throws As `connect` does. */
  async context(): Promise<RunContext> {
    const { monitor } = this;
    return { ...this.surroundings, repository: this.repository, couch: await this.connect(), monitor };
  }

  /** The same with what paths of backups are found by, and sealed ones opened by. @throws As `connect` does. */
  async restoreContext(): Promise<RunContext & PathContext & { repository: Repository }> {
    return { ...await this.context(), ...this.#paths() };
  }

  /** Opens another bucket folder with the config's credentials: `s3://name/folder` or `file:///path`. */
  async openStore(bucket: string): Promise<Store> {
    const { log, certificates } = this.#parts;
    return await openStore({ ...this.config.bucket, bucket }, { log, fetch: await certificates.fetchFor("bucket") });
  }

  /**
   * Says what a backup would save: for each task the databases, and the date in their paths.
   *
   * @throws UsageError when `tasks` or `databases` name what is not there; CouchError when CouchDB cannot be asked.
   */
  async select(request: BackupRequest = {}): Promise<TaskSelection[]> {
    const [{ pickTasks, selectTasks }, { requireCodec, requireSeal }] = await Promise.all([
      import("../task/selection.ts"),
      import("../codec/codec.ts"),
    ]);
    const tasks = pickTasks(this.config.tasks, request.tasks ?? []);
    for (const task of tasks) {
      requireCodec(codecOf(task));
      await requireSeal(codecOf(task));
    }
    const couch = await this.connect();
    const names = await couch.listDatabases({ signal: this.#parts.signal });
    const { databases: only, date } = request;
    return selectTasks(names, tasks, { only, date, startedAt: this.#parts.now() });
  }

  /**
   * Backs up, by default all that the config's tasks select, and publishes how it came out, whatever that is. The figures of
   * a run for databases that were named are others: a part of a task must not pass for its success, nor for an archive that
   * has shrunk.
   *
   * @returns What was saved and what was not; a database that fails is in the report and stops nothing.
   * @throws UsageError and CouchError as `select` does; the reason of `signal` or `stop` when it was interrupted, and
   * another backup with `resume` then goes on.
   */
  async backup(request: BackupRequest = {}): Promise<RunReport> {
    const [{ runBackup }, { rememberRun }] = await Promise.all([
      import("../commands/backup/backup.ts"),
      import("../commands/backup/unlisted.ts"),
    ]);
    const { now, signal, stop } = this.#parts;
    const startedAt = now();
    const isPart = request.databases !== undefined;
    let report: RunReport;
    let ended: EndedTask[];
    if (!isPart) {
      const { pickTasks } = await import("../task/selection.ts");
      this.monitor?.begins(pickTasks(this.config.tasks, request.tasks ?? []).map(({ name }) => name));
    }
    try {
      const selections = await this.select(request);
      ({ report, ended } = await runBackup(await this.context(), selections, {
        resume: request.resume,
        full: request.full,
      }));
    } catch (error) {
      const isInterrupted = signal.aborted || stop.aborted;
      if (!isInterrupted && !(error instanceof UsageError)) {
        const failure = await this.#failure(request, { error, startedAt });
        if (!isPart) await this.#keepReport(failure);
        await this.publish(failure, { isPart });
      }
      throw error;
    }
    if (!isPart) await this.#keepReport(report);
    await this.publish(report, { isPart });
    await request.onReport?.(report);
    await rememberRun(await this.context(), ended);
    return report;
  }

  /** For who asks later how it came out; the backups are saved whether it can be stored or not. */
  async #keepReport(report: RunReport): Promise<void> {
    const { log, signal } = this.#parts;
    try {
      const { storeManualRun } = await import("../archive/manual_run.ts");
      await storeManualRun(this.repository, report, { signal });
    } catch (error) {
      signal.throwIfAborted();
      log.warn("report of the run is not stored", { error: describeError(error) });
    }
  }

  /** The report of a run that could not begin: CouchDB is away, or the store. */
  async #failure(
    { tasks = [], date }: BackupRequest,
    { error, startedAt }: { error: unknown; startedAt: Date },
  ): Promise<RunReport> {
    const { dateInPath, pickTasks } = await import("../task/selection.ts");
    const { run, now } = this.#parts;
    const hint = hintOf(error);
    const failed = pickTasks(this.config.tasks, tasks).map((task) => ({
      task: task.name,
      date: formatDate(date ?? dateInPath(task, startedAt)).replaceAll("/", "-"),
      databases: [],
      error: describerFor(task)(error),
      exit_code: exitCodeOf(error),
      ...hint === undefined ? {} : { hint },
    }));
    const times = { started_at: startedAt.toISOString(), finished_at: now().toISOString() };
    return { ok: false, run, ...times, tasks: failed };
  }

  /**
   * Brings a backup back into a database.
   *
   * @throws UsageError when the database must not be written to; ArchiveError when the backup is missing, incomplete or
   * damaged and `salvage` is not set; CouchError and StoreError; the reason of `signal` or `stop`.
   */
  async restore(request: RestoreRequest): Promise<RestoreReport> {
    const { restore } = await import("../commands/restore/restore.ts");
    return await restore(await this.restoreContext(), request);
  }

  /**
   * Brings all databases of a moment back, several at a time. Called again after it was broken off, it goes on.
   *
   * @throws UsageError before anything is written, when a target is not as it must be; ArchiveError when there is no backup;
   * CouchError and StoreError; the reason of `signal` or `stop`. What fails behind that is in the report.
   */
  async restoreAll(request: FleetRequest): Promise<FleetReport> {
    const { restoreFleet } = await import("../commands/restore/fleet.ts");
    return await restoreFleet(await this.restoreContext(), request);
  }

  /**
   * Reads a backup again and compares it with its manifest. Needs no CouchDB.
   *
   * @returns What was found; a damaged backup is not an error.
   * @throws ArchiveError when there is nothing like a backup; StoreError when the store fails; the reason of `signal` or
   * `stop`.
   */
  async verify(request: VerifyRequest): Promise<VerifyReport> {
    const { verify } = await import("../commands/verify.ts");
    return await verify({ ...this.surroundings, ...this.#paths() }, request);
  }

  /**
   * Verifies the backups of the whole repository, or the part of them whose turn it is today. Needs no CouchDB. How it came
   * out is kept and published, unless it was asked for some databases alone, or did not read what it looked at.
   *
   * @throws UsageError, StoreError; what is wrong with a backup is in the report.
   */
  async verifyAll(request: VerifyAllRequest = {}): Promise<VerifyAllReport> {
    const { verifyAll } = await import("../commands/verify_all.ts");
    const report = await verifyAll({ ...this.surroundings, ...this.#paths() }, request);
    if (request.match === undefined && request.quick !== true) await this.#keepProof("verify", report);
    return report;
  }

  /**
   * Restores backups into scratch databases, compares what came back, and drops these. How it came out is kept and
   * published, unless it was asked for some databases alone.
   *
   * @throws UsageError; ArchiveError when there is no backup; CouchError when nothing can be written at all; StoreError; the
   * reason of `signal` or `stop`. What is wrong with one backup is in the report.
   */
  async testRestore(request: TestRestoreRequest = {}): Promise<TestRestoreReport> {
    const { testRestore } = await import("../commands/test_restore/test_restore.ts");
    const report = await testRestore(await this.restoreContext(), request);
    if (request.match === undefined) await this.#keepProof("test_restore", report);
    return report;
  }

  /** For who asks later, and for monitoring. What was found stands whether that can be stored and delivered or not. */
  async #keepProof(
    kind: ProofKind,
    report:
      & Pick<VerifyAllReport, "backups" | "backups_in_all" | "documents" | "faulty" | "seconds">
      & Partial<Pick<TestRestoreReport, "left_behind">>,
  ): Promise<void> {
    const { config, host, log, now, signal, certificates } = this.#parts;
    const { backups, backups_in_all, documents, seconds, left_behind = [] } = report;
    // A backup that lacks what CouchDB could not read is as it was saved; who restores one gets that told.
    const isUnreadable = ({ exit_code }: FaultyBackup) => kind === "verify" && exit_code === EXIT.partial;
    const faulty = report.faulty.filter((one) => !isUnreadable(one)).length;
    const ok = faulty + left_behind.length === 0;
    const outcome = { at: now().toISOString(), ok, backups, backups_in_all, faulty, documents, seconds };
    let proof: Proof = { ...outcome, last_ok_at: ok ? outcome.at : null };
    try {
      const { storeProof } = await import("../archive/proof.ts");
      proof = await storeProof(this.repository, kind, outcome, { signal });
    } catch (error) {
      signal.throwIfAborted();
      log.warn("outcome is not stored", { proof: kind, error: describeError(error) });
    }
    if (config.prometheus === undefined) return;
    const { publishProof } = await import("./publish.ts");
    const fetch = await certificates.fetchFor("pushgateway");
    for (const warning of await publishProof(config, { kind, proof, host, fetch })) log.warn("metrics", { warning });
  }

  /**
   * Lists the backups in the store, those first that were complete last. Needs no CouchDB.
   *
   * @throws StoreError when the store fails.
   */
  async list(request: ListRequest = {}): Promise<BackupList> {
    const { listBackups } = await import("../commands/list.ts");
    const { now, signal } = this.#parts;
    return await listBackups({ repository: this.repository, now, signal }, request);
  }

  /** Writes one document of a backup to `sink`. Needs no CouchDB. @throws ArchiveError when the backup does not have it. */
  async show(request: ShowRequest, sink: Sink): Promise<ShownDocument> {
    const { showDocument } = await import("../commands/document.ts");
    return await showDocument({ ...this.surroundings, ...this.#paths() }, request, sink);
  }

  /** Writes the documents of a backup to `sink`, one a line. Needs no CouchDB. @throws ArchiveError when it is not whole. */
  async export(
    request: ExportRequest,
    sink: Sink,
  ): Promise<{ database: string; path: string; revisions: number }> {
    const { exportDocuments } = await import("../commands/document.ts");
    return await exportDocuments({ ...this.surroundings, ...this.#paths() }, request, sink);
  }

  /** The revisions of a document over all backups. Needs no CouchDB. @throws ArchiveError when there is no backup. */
  async find(request: { database: string; id: string }): Promise<FoundDocument> {
    const { findDocument } = await import("../commands/document.ts");
    return await findDocument({ ...this.surroundings, ...this.#paths() }, request);
  }

  /**
   * What changed between two backups, or since one. CouchDB is asked only where `to` or `from` is `live`.
   *
   * @throws ArchiveError when a backup is not whole; CouchError and StoreError.
   */
  async diff(request: DiffRequest): Promise<DiffReport> {
    const { diffBackups } = await import("../commands/diff.ts");
    return await diffBackups({ ...this.surroundings, ...this.#paths(), connect: () => this.connect() }, request);
  }

  /** Adds up what backups take up in the store. Needs no CouchDB. @throws StoreError when the store fails. */
  async sizes(request: { database?: string | undefined } = {}): Promise<SizesReport> {
    const { measureBackups } = await import("../commands/sizes.ts");
    return await measureBackups({ repository: this.repository, signal: this.#parts.signal }, request);
  }

  /**
   * Deletes the backups that no rule of their task keeps, or says which it would. Needs no CouchDB, and with `confirm` the
   * right to delete.
   *
   * @throws UsageError when no task has a retention; StoreError when the store cannot be read.
   */
  async expire(request: ExpireRequest = {}): Promise<ExpireReport> {
    const [{ expire }, { openRemover }] = await Promise.all([
      import("../commands/expire/expire.ts"),
      import("../store/open.ts"),
    ]);
    const { now, log, signal, stop, certificates } = this.#parts;
    const { tasks, bucket } = this.config;
    const remover = await openRemover(bucket, { fetch: await certificates.fetchFor("bucket") });
    const context = { repository: this.repository, remover, tasks, log, now };
    return await expire({ ...context, signal: eitherSignal({ signal, stop }) }, request);
  }

  /**
   * Pins a complete backup, so that it never expires, or takes the pin off.
   *
   * @throws ArchiveError when there is no complete backup; StoreError when the pin cannot be stored.
   */
  async keep(request: KeepRequest): Promise<KeepReport> {
    const { keep } = await import("../commands/keep.ts");
    return await keep({ ...this.surroundings, ...this.#paths() }, request);
  }

  /** Lists the databases of CouchDB, or those that a pattern matches. @throws CouchError when CouchDB cannot be asked. */
  async listDatabases(request: Pick<ListRequest, "match"> = {}): Promise<{ databases: ListedDatabase[] }> {
    const { listDatabases } = await import("../commands/list.ts");
    return await listDatabases({ couch: await this.connect(), signal: this.#parts.signal }, request);
  }

  /**
   * Says what each task selects and why, and when it runs next. Needs no CouchDB with `offline`.
   *
   * @throws CouchError when CouchDB cannot be asked.
   */
  async plan(request: PlanRequest = {}): Promise<Plan> {
    const { plan } = await import("../commands/plan.ts");
    const { now, signal, stop } = this.#parts;
    const { from = now(), count = DEFAULT_ELAPSES, offline = false } = request;
    const couch = offline ? undefined : await this.connect();
    const { repository } = this;
    return await plan(this.config.tasks, { from, count, couch, repository, signal: AbortSignal.any([signal, stop]) });
  }

  /** Tries all that a backup needs. Four small objects are written, always the same. @throws The reason of `signal`. */
  async check(): Promise<CheckReport> {
    const { checkSetup } = await import("../commands/check.ts");
    const { probesOf } = await import("./probes.ts");
    const { config, repository } = this;
    const { tasks } = config;
    const probes = probesOf(config, {
      repository,
      now: this.#parts.now,
      host: this.#parts.host,
      certificates: this.#parts.certificates,
      identities: () => this.#identities(),
    });
    const isScheduled = tasks.some(({ cron }) => cron !== undefined);
    return await checkSetup({ ...await this.context(), tasks, probes, isScheduled });
  }

  /**
   * Asks the store, property by property, for what backups rely on. Some small objects and some MiB are written, always
   * under the same names. Needs no CouchDB.
   *
   * @returns What was found; a store in which nothing can be kept is not an error.
   * @throws The reason of `signal` or `stop`.
   */
  async checkStore(): Promise<StoreCheckReport> {
    const { checkStoreProperties } = await import("../commands/check_store.ts");
    const { log, now, signal, stop } = this.#parts;
    const signals = AbortSignal.any([signal, stop]);
    return await checkStoreProperties({ log, now, repository: this.repository, signal: signals });
  }

  /**
   * Says in the log how a run came out, delivers the lines that wait, and hands the run's figures to where the config wants
   * them. What cannot be delivered is a warning in the log.
   *
   * @param options `isPart`: the run was for databases that were named.
   */
  async publish(report: RunReport, options: { isPart?: boolean } = {}): Promise<void> {
    const { config, flush, host, log, run, notifier, certificates } = this.#parts;
    logEnd(report, log);
    notifier?.end(report, { log, run, isPart: options.isPart === true });
    const { lostLines } = await flush();
    if (config.prometheus !== undefined) {
      const { publishMetrics } = await import("./publish.ts");
      const fetch = await certificates.fetchFor("pushgateway");
      const counted = { ...options, lostLogLines: lostLines, retries: this.#couch?.retries ?? 0, host, fetch };
      for (const warning of await publishMetrics(config, report, counted)) log.warn("metrics", { warning });
    }
    await notifier?.settled();
  }

  /** Tells whom the config names under `notify`, in the background; undefined where it names nobody. */
  get monitor(): RunMonitor | undefined {
    const { log, run, notifier } = this.#parts;
    if (notifier === undefined) return undefined;
    return {
      begins: (tasks) => notifier.start(tasks, { log, run }),
      isTakenOver: (tasks) => notifier.leave(tasks, { log, run }),
    };
  }

  /** Waits, for some seconds at most, until all that `monitor` was told is delivered: for who may be frozen behind it. */
  async announced(): Promise<void> {
    await this.#parts.notifier?.settled();
  }

  /**
   * Tells whom `notify` names that a run was broken off, where one was, and delivers what the session's own log still
   * holds. What runs meanwhile is to be stopped by the signals.
   */
  async close(): Promise<void> {
    await this.#parts.close();
  }

  /** The same as `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What paths are resolved with. */
  #paths() {
    return {
      repository: this.repository,
      openStore: (bucket: string) => this.openStore(bucket),
      seal: {
        identities: () => this.#identities(),
        isExpectedOf: (origin: BackupName) => isSealExpected(this.config, origin),
      },
    };
  }

  /** What opens sealed backups; read once, when something sealed is met. */
  async #identities(): Promise<readonly string[]> {
    this.#readIdentities ??= await this.#identityReader();
    return await this.#readIdentities();
  }

  async #identityReader(): Promise<() => Promise<readonly string[]>> {
    const { identityReader } = await import("./identities.ts");
    const { config: { identityFile, identitySecret, aws }, identityFiles, log, signal } = this.#parts;
    // What is given by hand is what is meant.
    return identityFiles !== undefined && identityFiles.length > 0
      ? identityReader({ files: identityFiles, aws, log, signal })
      : identityReader({
        files: identityFile === undefined ? [] : [identityFile.path],
        secret: identitySecret,
        aws,
        log,
        signal,
      });
  }
}

/** What a manifest says of itself. */
interface BackupName {
  task: string;
  database: string;
}

/**
 * Whether a backup has to be sealed: its task seals, or it is of no task that backs its database up, and one that seals does.
 * Of a task that the config does not have any more it has to be where all others seal, too.
 */
function isSealExpected(
  { tasks }: Pick<Config, "tasks">,
  { task: name, database }: BackupName,
): boolean {
  const matches = (pattern: string) => compilePattern(pattern).matches(database);
  const selects = ({ databases, exclude }: Task) => databases.some(matches) && !exclude.some(matches);
  const task = tasks.find((one) => one.name === name);
  if (task === undefined ? tasks.every(isSealing) : isSealing(task)) return true;
  return (task === undefined || !selects(task)) && tasks.some((one) => isSealing(one) && selects(one));
}

/** A line for each task: every run tells its end, to Loki too. */
function logEnd(report: RunReport, log: Log): void {
  const durationMs = Date.parse(report.finished_at) - Date.parse(report.started_at);
  for (const task of report.tasks) {
    const { databases, error, retry_at: retryAt } = task;
    const saved = databases.filter(isSaved).length;
    const facts = { task: task.task, saved, databases: databases.length, durationMs, error, retryAt };
    if (isTaskSaved(task)) log.info("task is saved", facts);
    else log.error("task is not saved", facts);
  }
}
