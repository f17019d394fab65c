/**
 * The program as a library, impatient: a session whose time-outs and waits are fractions of a second, around any store.
 * In: servers and a store. Out: what a run says of itself, as its exit code, its sentences and its log.
 */
import { testParallel } from "../test_parallel.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { exitCodeOfReport } from "../../src/archive/report.ts";
import type { KeyOptions } from "../../src/aws/options.ts";
import { Repository } from "../../src/archive/repository.ts";
import type { RunContext } from "../../src/commands/backup/context.ts";
import type { RestoreRequest } from "../../src/commands/restore/context.ts";
import { exitCodeOfRestore, type RestoreReport } from "../../src/commands/restore/report.ts";
import { exitCodeOfVerify, type VerifyReport } from "../../src/commands/verify.ts";
import { parseConfig } from "../../src/config/config.ts";
import { type CallOptions, CouchClient } from "../../src/couchdb/client.ts";
import { describeError, exitCodeOf, hintOf, ProgramError } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { type LogSink, openLog } from "../../src/observe/log.ts";
import { Secret } from "../../src/secret.ts";
import { Certificates } from "../../src/session/certificates.ts";
import { ProgramSession } from "../../src/session/session.ts";
import type { S3Settings } from "../../src/store/s3/request.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { Store } from "../../src/store/store.ts";
import type { CouchServer } from "../couch_request.ts";

/** How long a server may be silent; long enough for a machine that is busy with other things. */
const SILENCE_MS = 700;
const ATTEMPTS = 4;
/** The database's password, and the keys of the store: none of them may stand in any message. */
export const COUCH_PASSWORD = "couch-Passw0rd+/=";
export const S3_SECRET = "s3-Secret/+=hunter2";
export const S3_TOKEN = "s3-session-Token+/=";

/** The databases that are backed up: one that is hard, and a small one behind it. */
export const HARD = "hard/db";
export const TINY = "tiny";

const S3_IMPATIENCE: Partial<S3Settings> = { attempts: ATTEMPTS, backoffMs: 1, stallMs: SILENCE_MS };

/** What a session is opened with. */
export interface ProgramOptions {
  couch: CouchServer;
  store: Store;
  now?: (() => Date) | undefined;
  run?: string | undefined;
  /** More lines for the config. */
  config?: readonly string[];
  /** Requests in flight. @default 1: so that the n-th request is the same one each time */
  parallel?: number;
  signal?: AbortSignal | undefined;
  /** Where a second copy of the log goes. */
  sinks?: readonly LogSink[];
}

/** How a run has ended. */
export interface Outcome {
  exit: number;
  /** Why it did not end with 0, a sentence each. */
  errors: string[];
  /** Hints, warnings, log lines and the report's JSON. */
  said: string;
  /** An error that is none of the program's own. */
  crash: string | undefined;
  report: unknown;
}

/** Views are waited for as long as other answers. */
class ImpatientClient extends CouchClient {
  override async buildView(
    database: string,
    view: { design: string; name: string; partition?: string | undefined },
    options: CallOptions & { timeoutMs: number },
  ): Promise<void> {
    await super.buildView(database, view, { ...options, timeoutMs: SILENCE_MS });
  }
}

class ImpatientSession extends ProgramSession {
  readonly #couch: CouchClient;

  constructor(parts: ConstructorParameters<typeof ProgramSession>[0], couch: CouchClient) {
    super(parts);
    this.#couch = couch;
  }

  override connect(): Promise<CouchClient> {
    return Promise.resolve(this.#couch);
  }

  override async context(): Promise<RunContext> {
    return {
      ...await super.context(),
      patience: { patienceMs: 200, firstWaitMs: 10 },
      clusterTimes: { freshMs: 0, betweenLooksMs: 5, patienceMs: 100 },
    };
  }
}

/** A store in a bucket of a server, impatient. */
export function openS3(endpoint: string): S3Store {
  return openS3With(endpoint, { accessKeyId: "access", secretAccessKey: new Secret(S3_SECRET) });
}

/** The same with other keys, or keys that have to be asked for. */
export function openS3With(endpoint: string, keys: KeyOptions): S3Store {
  return new S3Store({ bucket: "s3://test-bucket/folder", endpoint, region: "us-east-1", ...keys }, S3_IMPATIENCE);
}

/** One process' life: a session and its log. */
export class Program {
  readonly #session: ImpatientSession;
  readonly #lines: string[] = [];

  constructor(
    { couch, store, now, run, config: more = [], parallel = testParallel(1), signal, sinks = [] }: ProgramOptions,
  ) {
    const { log, flush, close } = openLog({ level: "debug", write: (line) => this.#lines.push(line), sinks });
    const config = parseConfig(
      [
        `database: {url: "${couch.url}", login: ${couch.login}, password: "${couch.password}"}`,
        `task: {all: {databases: ["${HARD}", ${TINY}], chunk: 20, parallel: ${parallel}, timezone: UTC}}`,
        `bucket: file:///nowhere`,
        ...more,
      ].join("\n"),
      { file: "config.yaml", env: {} },
    );
    const client = new ImpatientClient({
      url: couch.url,
      login: couch.login,
      password: new Secret(couch.password),
      log,
      retry: { attempts: ATTEMPTS, firstWaitMs: 1, longestWaitMs: 4 },
      answerTimeoutMs: SILENCE_MS,
      bulkTimeoutMs: SILENCE_MS,
      stallTimeoutMs: SILENCE_MS,
    });
    const never = new AbortController().signal;
    this.#session = new ImpatientSession({
      config,
      repository: new Repository(store, config),
      log,
      progress: SILENT_PROGRESS,
      run: run ?? crypto.randomUUID(),
      signal: signal ?? never,
      stop: never,
      now: now ?? (() => new Date()),
      host: "host",
      certificates: new Certificates(),
      flush,
      notifier: undefined,
      close: async () => void await close(),
    }, client);
  }

  /** `backup --date 2026-01-03`. */
  async backup({ resume = false, day = 3 }: { resume?: boolean; day?: number } = {}): Promise<Outcome> {
    return await this.#run(
      () => this.#session.backup({ resume, date: { year: 2026, month: 1, day } }),
      exitCodeOfReport,
      ({ tasks }: RunReport) =>
        tasks.flatMap(({ error, databases }) => [error ?? [], ...databases.map(({ error }) => error ?? [])].flat()),
    );
  }

  /** `restore`. */
  async restore(request: RestoreRequest): Promise<Outcome> {
    return await this.#run(() => this.#session.restore(request), exitCodeOfRestore, (report: RestoreReport) => [
      ...report.failed.map(({ error, reason }) => `${error}: ${reason}`),
      ...report.damaged.map(({ problem }) => problem),
      ...report.lacking.map(({ reason }) => reason),
      ...report.missing > 0 ? [`${report.missing} documents are missing`] : [],
    ]);
  }

  /** `verify`. */
  async verify(database: string, path: string): Promise<Outcome> {
    return await this.#run(() => this.#session.verify({ database, path }), exitCodeOfVerify, (report: VerifyReport) => [
      ...report.problems.map(({ problem }) => problem),
      ...report.unreadable.map(({ reason }) => reason),
    ]);
  }

  async #run<Report>(
    command: () => Promise<Report>,
    exitCode: (report: Report) => number,
    errorsOf: (report: Report) => string[],
  ): Promise<Outcome> {
    try {
      const report = await command();
      const said = [...this.#lines, JSON.stringify(report)].join("\n");
      return { exit: exitCode(report), errors: errorsOf(report), said, crash: undefined, report };
    } catch (error) {
      const said = [...this.#lines, describeError(error), hintOf(error) ?? ""].join("\n");
      const isExpected = error instanceof ProgramError;
      return {
        exit: exitCodeOf(error),
        errors: [describeError(error)],
        said,
        crash: isExpected ? undefined : error instanceof Error ? error.stack : String(error),
        report: undefined,
      };
    } finally {
      await this.#session.close();
    }
  }
}
