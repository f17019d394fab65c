/**
 * The door: a config, opened, for the command line, the Lambda and the library alike. In: a config that was read, and
 * whatever of the log, the progress and the signals the caller has made. Out: a {@linkcode ProgramSession}. Nothing is
 * asked of CouchDB or the store yet.
 */
import { Repository } from "../archive/repository.ts";
import type { Config } from "../config/config.ts";
import { type Log, SILENT_LOG, SILENT_PROGRESS } from "../observe.ts";
import type { Notifier } from "../observe/notify.ts";
import { openStore } from "../store/open.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { Certificates, type WatchFetch } from "./certificates.ts";
import type { SessionOptions } from "./library.ts";
import { ProgramSession } from "./session.ts";

/** What {@linkcode openSession} takes from the program's own entry points. */
export interface OpenOptions extends SessionOptions {
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
 */
export async function openSession(options: OpenOptions): Promise<ProgramSession> {
  const { config, host } = options;
  const { log, flush, close: closeLog } = options.log === undefined
    ? await openOwnLog(config, host)
    : { log: options.log, flush: options.flush ?? nothingWaits, close: () => Promise.resolve() };
  const certificates = new Certificates(config.caFiles, { watch: options.watch, proxies: config.proxies });
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
    return new ProgramSession({
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
