/**
 * What a command works with once its config is read: CouchDB, the store, the log, progress, and the two signals by which
 * the operator stops it. Opened here, closed here, so that a command is only its own work.
 */
import { type Config, loadConfig } from "../config.ts";
import { CouchClient } from "../couchdb/client.ts";
import { EXIT, InterruptedError, UsageError } from "../errors.ts";
import { type LogFormat, openLog } from "../observe/log.ts";
import { type Log, type Progress, SILENT_PROGRESS } from "../observe/observe.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import type { Call } from "./command.ts";

/** How long chunks in flight may take after the first request to stop; then they are dropped. */
const GRACE_MS = 3000;

/** What a command works with. */
export interface Session {
  config: Config;
  couch: CouchClient;
  store: Store;
  log: Log;
  progress: Progress;
  /** The run's id: unique, and stands on every log line. */
  run: string;
  now: () => Date;
  /** Ends everything at once. */
  signal: AbortSignal;
  /** Ends the work at the next chunk. */
  stop: AbortSignal;
}

/** Opens a session, hands it to `work`, and closes it whatever happens. */
export async function withSession<T>(
  call: Call,
  configPath: string | undefined,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const { shell } = call;
  const format = readLogFormat(call.text("log-format"));
  const config = await loadConfig({ path: configPath, env: shell.env });
  const run = crypto.randomUUID();
  const opened = openLog({
    level: call.isOn("verbose") ? "debug" : call.isOn("quiet") ? "warn" : "info",
    format,
    color: shell.stderr.isTerminal && !shell.env.NO_COLOR,
    journal: shell.journal,
    write: (line) => shell.stderr.write(`${line}\n`),
  });
  const log = opened.log.with({ run });
  const interruption = listenForInterruption(call, log);
  try {
    for (const warning of config.warnings) log.warn("config", { warning });
    return await work({
      config,
      run,
      log,
      couch: new CouchClient({ ...config.database, log }),
      store: await openStore(config.bucket),
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      ...interruption,
    });
  } finally {
    interruption.close();
    await opened.close();
  }
}

function readLogFormat(text: string = "auto"): LogFormat {
  if (text === "auto" || text === "plain" || text === "json" || text === "journald") return text;
  throw new UsageError(`--log-format has no "${text}"`, { hint: "It is auto, plain, json or journald" });
}

function listenForInterruption(call: Call, log: Log) {
  const soft = new AbortController();
  const hard = new AbortController();
  let grace: ReturnType<typeof setTimeout> | undefined;
  const close = call.shell.onSignal((name) => {
    if (name === "SIGHUP") return;
    if (soft.signal.aborted) call.shell.exit(EXIT.interrupted);
    const reason = new InterruptedError(`Interrupted by ${name}`, {
      hint: "What is stored so far is kept; --resume goes on from there",
    });
    log.warn("stopping: chunks in flight are finished first", { signal: name, graceMs: GRACE_MS });
    soft.abort(reason);
    grace = setTimeout(() => hard.abort(reason), GRACE_MS);
  });
  return {
    stop: soft.signal,
    signal: hard.signal,
    close() {
      clearTimeout(grace);
      close();
    },
  };
}
