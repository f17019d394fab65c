/**
 * What a command works with once its config is read: CouchDB, the store, the log, progress, and the two signals by which
 * the operator stops it. Opened here, closed here, so that a command is only its own work.
 */
import { hostname } from "node:os";
import { type Config, loadConfig } from "../config/config.ts";
import { CouchClient } from "../couchdb/client.ts";
import { EXIT, InterruptedError, UsageError } from "../errors.ts";
import { type LogFormat, type OpenLog, openLog } from "../observe/log.ts";
import { openLoki } from "../observe/loki.ts";
import type { Log, Progress } from "../observe.ts";
import { openProgressLines } from "../observe/progress.ts";
import { openProgressBars } from "../observe/progress_bars.ts";
import { withPassword } from "./password.ts";
import { publishMetrics } from "./publish.ts";
import type { RunReport } from "../archive/report.ts";
import { Repository } from "../archive/repository.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import { PROGRAM_NAME } from "../version.ts";
import type { Call } from "../cli/command.ts";

/** How long chunks in flight may take after the first request to stop; then they are dropped. */
const GRACE_MS = 3000;

/** What every command works with. */
export interface Surroundings {
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

/** What a command works with that has a config. */
export interface Session extends Surroundings {
  config: Config;
  couch: CouchClient;
  repository: Repository;
  /** Opens another bucket folder with the config's credentials. */
  openStore: (bucket: string) => Promise<Store>;
  /** Delivers a finished run's figures and waiting log lines. What cannot be delivered is a warning. */
  publish(report: RunReport): Promise<void>;
}

/** Reads the config, opens what it names, hands it to `work`, and closes it whatever happens. */
export async function withSession<T>(
  call: Call,
  configPath: string | undefined,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  return await withConfig(call, await loadConfig({ path: configPath, env: call.shell.env }), work);
}

/** The same with a config that has been read. */
export async function withConfig<T>(call: Call, config: Config, work: (session: Session) => Promise<T>): Promise<T> {
  return await withSurroundings(call, config, async (surroundings, flush) => {
    const { log } = surroundings;
    for (const warning of config.warnings) log.warn("config", { warning });
    const couch = new CouchClient({ ...await withPassword(config, surroundings), log });
    return await work({
      ...surroundings,
      config,
      couch,
      repository: new Repository(await openStore(config.bucket, { log }), config),
      openStore: (bucket) => openStore({ ...config.bucket, bucket }, { log }),
      async publish(report) {
        const { lostLines } = await flush();
        const counted = { lostLogLines: lostLines, retries: couch.retries };
        for (const warning of await publishMetrics(config, report, counted)) log.warn("metrics", { warning });
      },
    });
  });
}

/** The same without a config: log, progress and interruption. `loki` is where lines go beside the console. */
export async function withSurroundings<T>(
  call: Call,
  { loki }: Pick<Config, "loki">,
  work: (surroundings: Surroundings, flush: OpenLog["flush"]) => Promise<T>,
): Promise<T> {
  const { stderr, env, journal } = call.shell;
  const bars = stderr.isTerminal && !call.isOn("quiet")
    ? openProgressBars({ write: stderr.write.bind(stderr), columns: stderr.columns })
    : undefined;
  const opened = openLog({
    level: call.isOn("verbose") ? "debug" : call.isOn("quiet") ? "warn" : "info",
    format: readLogFormat(call.text("log-format")),
    color: stderr.isTerminal && !env.NO_COLOR,
    journal,
    write: (line) => bars === undefined ? stderr.write(`${line}\n`) : bars.writeLine(line),
    sinks: loki === undefined ? [] : [openLoki({
      ...loki,
      labels: { app: PROGRAM_NAME, host: hostname(), ...loki.labels },
    })],
  });
  const run = crypto.randomUUID();
  const log = opened.log.with({ run });
  const progress = bars ?? openProgressLines({ log });
  const { stop, signal, close } = listenForInterruption(call, log);
  try {
    return await work({ log, progress, run, now: () => new Date(), signal, stop }, opened.flush.bind(opened));
  } finally {
    close();
    progress.runFinished();
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
      hint: "What is done so far is kept: backup goes on with --resume, restore with --into-existing",
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
