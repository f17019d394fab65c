/**
 * The door: a config, opened, for the command line, the Lambda and the library alike. In: a config that was read, and
 * whatever of the log, the progress and the signals the caller has made. Out: a {@linkcode Session}. Nothing is asked
 * of CouchDB or the store yet.
 */
import { Repository } from "../archive/repository.ts";
import type { Config } from "../config/config.ts";
import { type Log, type Progress, SILENT_LOG, SILENT_PROGRESS } from "../observe.ts";
import type { Notifier } from "../observe/notify.ts";
import { openStore } from "../store/open.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { Certificates, type WatchFetch } from "./certificates.ts";
import { Session } from "./session.ts";

/** What {@linkcode openSession} takes: a config, and what is to surround its commands. */
export interface SessionOptions {
  /** The config, from {@linkcode loadConfig} or {@linkcode parseConfig}. */
  config: Config;
  /** Takes the log lines. @default Loki, where the config names it; else they go nowhere */
  log?: Log | undefined;
  /** Receives the progress of a run. @default none */
  progress?: Progress | undefined;
  /** The id of the run that the session is for. @default a random UUID */
  run?: string | undefined;
  /** Ends everything at once; what a backup has stored until then can be resumed. @default it never ends */
  signal?: AbortSignal | undefined;
  /** Ends a backup at the next chunk: what is in flight is finished. @default it never ends */
  stop?: AbortSignal | undefined;
  /** What time it is. @default the system's clock */
  now?: (() => Date) | undefined;
  /** The machine's name in log lines and figures. @default the operating system's */
  host?: string | undefined;
  /** Files with the identities of age that open sealed backups. @default what the config names */
  identityFiles?: readonly string[] | undefined;
  /** Delivers what waits in `log`, before the figures of a run are published. @default nothing waits in it */
  flush?: (() => Promise<{ lostLines: number }>) | undefined;
  /** Looks at the requests to the servers that the config names. @default nobody */
  watch?: WatchFetch | undefined;
}

/**
 * Opens a config: its store, its log, and CouchDB as soon as something needs it. Its warnings go to the log.
 *
 * @throws StoreError with code `bad_bucket` or `bad_endpoint`, or AwsError with code `no_credentials`, when the config
 * cannot name a store; ConfigError when a `ca_file` cannot be used.
 *
 * @example What lies in a repository; no CouchDB and no password of it is needed
 * ```ts
 * import { parseConfig } from "../config/config.ts";
 * import { openSession } from "./open.ts";
 * const text = "database: {url: 'http://[::1]:5984'}\ntask: {all: {databases: ['.*']}}\nbucket: file:///var/no/backup\n";
 * await using session = await openSession({ config: parseConfig(text, { file: "config.yaml", env: {} }) });
 * const { backups } = await session.list();
 * if (backups.length > 0) throw new Error("There should be no backup");
 * ```
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { config, host } = options;
  const { log, flush, close: closeLog } = options.log === undefined
    ? await openOwnLog(config, host)
    : { log: options.log, flush: options.flush ?? nothingWaits, close: () => Promise.resolve() };
  const certificates = new Certificates(config.caFiles, { watch: options.watch });
  let notifier: Notifier | undefined;
  const close = async () => {
    await notifier?.close({ log });
    await closeLog();
    await certificates.close();
  };
  try {
    for (const warning of config.warnings) log.warn("config", { warning });
    // A run must not find out at its end that its figures cannot be pushed.
    await certificates.fetchFor("pushgateway");
    notifier = await openNotifier(config, await certificates.fetchFor("notify"));
    const store = await openStore(config.bucket, { log, fetch: await certificates.fetchFor("bucket") });
    const never = new AbortController().signal;
    return new Session({
      config,
      repository: new Repository(store, config),
      log,
      progress: options.progress ?? SILENT_PROGRESS,
      run: options.run ?? crypto.randomUUID(),
      signal: options.signal ?? never,
      stop: options.stop ?? never,
      now: options.now ?? (() => new Date()),
      host,
      flush,
      notifier,
      certificates,
      identityFiles: options.identityFiles,
      close,
    });
  } catch (error) {
    await close();
    throw error;
  }
}

async function openNotifier({ notify }: Config, fetch: Fetch): Promise<Notifier | undefined> {
  if (notify === undefined) return undefined;
  const { Notifier } = await import("../observe/notify.ts");
  return new Notifier({ ...notify, fetch });
}

/** The log of a session whose caller has none. */
async function openOwnLog(
  config: Config,
  host: string | undefined,
): Promise<{ log: Log; flush: () => Promise<{ lostLines: number }>; close: () => Promise<void> }> {
  if (config.loki === undefined) return { log: SILENT_LOG, flush: nothingWaits, close: () => Promise.resolve() };
  const { openConfigLog } = await import("./log.ts");
  const { log, flush, close } = await openConfigLog(config, { level: "info", write() {}, host });
  return { log, flush, close: async () => void await close() };
}

function nothingWaits(): Promise<{ lostLines: number }> {
  return Promise.resolve({ lostLines: 0 });
}
