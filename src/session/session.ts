/**
 * An open session: a config, the repository that it names, CouchDB when needed, and a method for each command. In: the
 * parts that openSession() opened. Out: the commands' reports. A command's code is loaded when the command is called,
 * and CouchDB's password is read when CouchDB is first needed.
 *
 * What each command does, and throws, is said in library.ts: that is what a library's user has of a session. The rest
 * is for the program's own entry points.
 */
import type { PathContext } from "../archive/find.ts";
import type { Repository } from "../archive/repository.ts";
import type { RunReport } from "../archive/report.ts";
import type { RunContext, RunMonitor } from "../commands/backup/context.ts";
import type { EndedRun } from "../commands/backup/backup.ts";
import type { CheckReport } from "../commands/check.ts";
import type { DiffReport, DiffRequest } from "../commands/diff.ts";
import type { ExportRequest } from "../commands/export.ts";
import type { FoundDocument } from "../commands/find.ts";
import type { ShownDocument, ShowRequest } from "../commands/show.ts";
import type { Sink } from "../commands/sink.ts";
import type { StoreCheckReport } from "../commands/check_store.ts";
import type { ExpireRequest } from "../commands/expire/expire.ts";
import type { ExpireReport } from "../commands/expire/report.ts";
import type { KeepReport, KeepRequest } from "../commands/keep.ts";
import type { BackupList, ListedDatabase, ListRequest } from "../commands/list.ts";
import type { Plan } from "../commands/plan.ts";
import type { FleetRequest, RestoreRequest } from "../commands/restore/context.ts";
import type { FleetReport } from "../commands/restore/fleet_report.ts";
import type { RestoreReport } from "../commands/restore/report.ts";
import type { SizesReport } from "../commands/sizes.ts";
import type { TestRestoreReport, TestRestoreRequest } from "../commands/test_restore/test_restore.ts";
import type { Finding } from "../archive/known_damage.ts";
import type { VerifyAllReport, VerifyAllRequest } from "../commands/verify_all.ts";
import type { VerifyReport, VerifyRequest } from "../commands/verify.ts";
import type { Config } from "../config/config.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { describeError, UsageError } from "../errors.ts";
import { eitherSignal } from "../parallel.ts";
import { mustBeCount, mustNameSome } from "../request.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import type { TaskSelection } from "../task/selection.ts";
import { codecOf, isSealing } from "../task/task.ts";
import { failureReport, keepFindings, keepProof, keepReport, logEnd } from "./outcome.ts";
import type { Session } from "./library.ts";
import type { SessionParts, Surroundings } from "./parts.ts";
import { withPassword } from "./password.ts";
import type { BackupRequest, PlanRequest } from "./requests.ts";
import { type BackupName, identityReaderOf, isSealExpected } from "./seal.ts";

/** For a Pushgateway, where the program is about to end: systemd waits 15 seconds for all of it. */
const LAST_PUSH_MS = 2_000;
/** For what is stored then. */
const LAST_STORE_MS = 2_000;
/** How many elapses of each task a plan lists by default. */
const DEFAULT_ELAPSES = 3;

/** A session as the command line, the schedule and the Lambda have it. */
export class ProgramSession implements Session {
  readonly #parts: SessionParts;
  #couch: CouchClient | undefined;
  #identityReader: ReturnType<typeof identityReaderOf> | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

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
   * The same config and store in other surroundings, for a separate run such as an invocation of a Lambda. Its
   * connection to CouchDB is a new one, and the password is read again unless a login is given. It needs no closing;
   * what it shares is closed with this session.
   */
  with(changes: Partial<Surroundings & Pick<SessionParts, "login">>): ProgramSession {
    return new ProgramSession({ ...this.#parts, ...changes, close: () => Promise.resolve() });
  }

  /** Whether backups are sealed, so that the log must not name what CouchDB says about documents. */
  get isDiscreet(): boolean {
    const { config: { tasks, identityFile, identitySecret }, identityFiles = [] } = this.#parts;
    return tasks.some(isSealing) || identityFile !== undefined || identitySecret !== undefined ||
      identityFiles.length > 0;
  }

  /**
   * The client for CouchDB, the same each time. The first call reads the password, CouchDB itself is not asked yet.
   *
   * @throws ConfigError when the password's variable is not set or `password_file` cannot be read; AwsError when the
   * password is in Secrets Manager and cannot be read there.
   */
  async connect(): Promise<CouchClient> {
    if (this.#couch !== undefined) return this.#couch;
    const { config, login, log, certificates, stop } = this.#parts;
    const [{ CouchClient }, options, fetch] = await Promise.all([
      import("../couchdb/client.ts"),
      login ?? withPassword(config, this.#parts),
      certificates.fetchFor("database"),
    ]);
    return this.#couch ??= new CouchClient({ ...options, log, fetch, isDiscreet: this.isDiscreet, stop });
  }

  /** The context of a command, for callers that do not use this session's methods. @throws As `connect` does. */
  async context(): Promise<RunContext> {
    const { monitor } = this;
    return { ...this.surroundings, repository: this.repository, couch: await this.connect(), monitor };
  }

  /** The same, plus what finds backups by path and opens sealed ones. @throws As `connect` does. */
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
   * @throws UsageError when `tasks` or `databases` name what is not there, or nothing; CouchError when CouchDB cannot be
   * asked.
   */
  async select(request: BackupRequest = {}): Promise<TaskSelection[]> {
    const [{ pickTasks, selectTasks }, { requireCodec, requireSeal }] = await Promise.all([
      import("../task/selection.ts"),
      import("../codec/codec.ts"),
    ]);
    const { databases: only, date } = request;
    if (only !== "all") mustNameSome(only, "databases");
    const tasks = pickTasks(this.config.tasks, request.tasks);
    for (const task of tasks) {
      requireCodec(codecOf(task));
      await requireSeal(codecOf(task));
    }
    const couch = await this.connect();
    const names = await couch.listDatabases({ signal: this.#parts.signal });
    return selectTasks(names, tasks, { only, date, startedAt: this.#parts.now() });
  }

  async backup(request: BackupRequest = {}): Promise<RunReport> {
    const [{ runBackup }, { rememberRun }] = await Promise.all([
      import("../commands/backup/backup.ts"),
      import("../commands/backup/unlisted.ts"),
    ]);
    const { now, signal, stop } = this.#parts;
    const startedAt = now();
    const isPart = request.databases !== undefined;
    let over: EndedRun;
    if (!isPart) {
      const { pickTasks } = await import("../task/selection.ts");
      this.monitor?.begins(pickTasks(this.config.tasks, request.tasks).map(({ name }) => name));
    }
    try {
      const selections = await this.select(request);
      over = await runBackup(await this.context(), selections, {
        resume: request.resume,
        full: request.full,
        whenInterrupted: (over) => this.#concludeInterrupted(over, { isPart }),
      });
    } catch (error) {
      const isInterrupted = signal.aborted || stop.aborted;
      if (!isInterrupted && !(error instanceof UsageError)) {
        const failure = await failureReport(request, { error, startedAt, parts: this.#parts });
        if (!isPart) await keepReport(failure, this.#parts);
        await this.publish(failure, { isPart });
      }
      throw error;
    }
    const { report, ended } = over;
    if (!isPart) await keepReport(report, this.#parts);
    await this.publish(report, { isPart });
    await request.onReport?.(report);
    await rememberRun(await this.context(), ended);
    return report;
  }

  /** Tells and keeps the outcome of tasks that were over when the run was interrupted amid another one. */
  async #concludeInterrupted({ report, ended }: EndedRun, { isPart }: { isPart: boolean }): Promise<void> {
    await this.publish(report, { isPart, isInterrupted: true });
    const { rememberRun } = await import("../commands/backup/unlisted.ts");
    // That of the session is aborted by then where something in flight did not end in time.
    const signal = AbortSignal.timeout(LAST_STORE_MS);
    try {
      if (!isPart) await keepReport(report, { ...this.#parts, signal });
      await rememberRun({ ...await this.context(), signal }, ended);
    } catch (error) {
      this.#parts.log.warn("report of the run is not stored", { error: describeError(error) });
    }
  }

  async restore(request: RestoreRequest): Promise<RestoreReport> {
    const { restore } = await import("../commands/restore/restore.ts");
    return await restore(await this.restoreContext(), request);
  }

  async restoreAll(request: FleetRequest): Promise<FleetReport> {
    const { restoreFleet } = await import("../commands/restore/fleet.ts");
    return await restoreFleet(await this.restoreContext(), request);
  }

  async verify(request: VerifyRequest): Promise<VerifyReport> {
    const { verify } = await import("../commands/verify.ts");
    return await verify({ ...this.surroundings, ...this.#paths() }, request);
  }

  async verifyAll(request: VerifyAllRequest = {}): Promise<VerifyAllReport> {
    const { verifyAll } = await import("../commands/verify_all.ts");
    const findings = new Map<string, Finding>();
    let report: VerifyAllReport;
    try {
      report = await verifyAll({ ...this.surroundings, ...this.#paths(), findings }, request);
    } finally {
      // Also where it is interrupted: what it has read by then is known.
      await keepFindings(findings, this.#parts);
    }
    if (request.match === undefined && request.quick !== true) await keepProof({ kind: "verify", report }, this.#parts);
    return report;
  }

  async testRestore(request: TestRestoreRequest = {}): Promise<TestRestoreReport> {
    const { testRestore } = await import("../commands/test_restore/test_restore.ts");
    const findings = new Map<string, Finding>();
    let report: TestRestoreReport;
    try {
      report = await testRestore({ ...await this.restoreContext(), findings }, request);
    } finally {
      await keepFindings(findings, this.#parts);
    }
    if (request.match === undefined) await keepProof({ kind: "test_restore", report }, this.#parts);
    return report;
  }

  async list(request: ListRequest = {}): Promise<BackupList> {
    const { listBackups } = await import("../commands/list.ts");
    const { now, log, signal } = this.#parts;
    return await listBackups({ repository: this.repository, log, now, signal }, request);
  }

  async show(request: ShowRequest, sink: Sink): Promise<ShownDocument> {
    const { showDocument } = await import("../commands/show.ts");
    return await showDocument({ ...this.surroundings, ...this.#paths() }, request, sink);
  }

  async export(
    request: ExportRequest,
    sink: Sink,
  ): Promise<{ database: string; path: string; revisions: number }> {
    const { exportDocuments } = await import("../commands/export.ts");
    return await exportDocuments({ ...this.surroundings, ...this.#paths() }, request, sink);
  }

  async find(request: { database: string; id: string }): Promise<FoundDocument> {
    const { findDocument } = await import("../commands/find.ts");
    return await findDocument({ ...this.surroundings, ...this.#paths() }, request);
  }

  async diff(request: DiffRequest): Promise<DiffReport> {
    const { diffBackups } = await import("../commands/diff.ts");
    return await diffBackups({ ...this.surroundings, ...this.#paths(), connect: () => this.connect() }, request);
  }

  async sizes(request: { database?: string | undefined } = {}): Promise<SizesReport> {
    const { measureBackups } = await import("../commands/sizes.ts");
    return await measureBackups({ repository: this.repository, signal: this.#parts.signal }, request);
  }

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

  async keep(request: KeepRequest): Promise<KeepReport> {
    const { keep } = await import("../commands/keep.ts");
    return await keep({ ...this.surroundings, ...this.#paths() }, request);
  }

  async listDatabases(request: Pick<ListRequest, "match"> = {}): Promise<{ databases: ListedDatabase[] }> {
    const { listDatabases } = await import("../commands/list.ts");
    return await listDatabases({ couch: await this.connect(), signal: this.#parts.signal }, request);
  }

  async plan(request: PlanRequest = {}): Promise<Plan> {
    const { plan } = await import("../commands/plan.ts");
    const { now, signal, stop } = this.#parts;
    const { from = now(), count = DEFAULT_ELAPSES, offline = false } = request;
    mustBeCount(count, "count");
    const couch = offline ? undefined : await this.connect();
    const { repository } = this;
    return await plan(this.config.tasks, { from, count, couch, repository, signal: AbortSignal.any([signal, stop]) });
  }

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

  async checkStore(): Promise<StoreCheckReport> {
    const { checkStoreProperties } = await import("../commands/check_store.ts");
    const { log, now, signal, stop } = this.#parts;
    const signals = AbortSignal.any([signal, stop]);
    return await checkStoreProperties({ log, now, repository: this.repository, signal: signals });
  }

  /**
   * Logs the outcome of a run, flushes the log, and publishes the run's figures where the config says. What cannot be
   * delivered is a warning in the log.
   *
   * @param report `scheduled`: of which elapses the run was, where a schedule began it.
   * @param options `isPart`: the run was for databases that were named. `isInterrupted`: these are the tasks that were
   * over when it was interrupted; a Pushgateway then has two seconds, and the monitor until the session is closed.
   */
  async publish(
    report: RunReport & { scheduled?: readonly { task: string; elapse: string }[] },
    { isPart = false, isInterrupted = false }: { isPart?: boolean; isInterrupted?: boolean } = {},
  ): Promise<void> {
    const { config, flush, host, log, run, now, notifier, certificates } = this.#parts;
    logEnd(report, log);
    notifier?.end(report, { log, run, isPart, isInterrupted });
    const { lostLines } = await flush();
    if (config.prometheus !== undefined) {
      const { publishMetrics } = await import("./publish.ts");
      const fetch = await certificates.fetchFor("pushgateway");
      const retries = this.#couch?.retries ?? 0;
      const timeoutMs = isInterrupted ? LAST_PUSH_MS : undefined;
      const counted = { isPart, timeoutMs, lostLogLines: lostLines, retries, now: now(), host, fetch };
      for (const warning of await publishMetrics(config, report, counted)) log.warn("metrics", { warning });
    }
    if (!isInterrupted) await notifier?.settled();
  }

  /** Notifies the monitor under `notify` of runs, in the background; undefined if the config names none. */
  get monitor(): RunMonitor | undefined {
    const { log, run, notifier } = this.#parts;
    if (notifier === undefined) return undefined;
    return {
      begins: (tasks) => notifier.start(tasks, { log, run }),
      isTakenOver: (tasks) => notifier.leave(tasks, { log, run }),
    };
  }

  /** Waits, some seconds at most, until all notifications are delivered: a Lambda is frozen after its answer. */
  async announced(): Promise<void> {
    await this.#parts.notifier?.settled();
  }

  async close(): Promise<void> {
    await this.#parts.close();
  }

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

  /** The identities that open sealed backups, read once, when the first sealed backup is met. */
  async #identities(): Promise<readonly string[]> {
    // The promise is kept: whoever comes while the reader is loaded would get a reader of its own.
    const read = await (this.#identityReader ??= identityReaderOf(this.#parts));
    return await read();
  }
}
