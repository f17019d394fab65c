/**
 * A session as the terminal wants it: the log and the progress on standard error, and the signals by which the operator
 * stops it. Made here, closed here, so that a command is only its own work.
 */
import { type Config, loadConfig } from "../config/config.ts";
import { UsageError } from "../errors.ts";
import type { LogFormat, OpenLog } from "../observe/log.ts";
import { openProgressLines } from "../observe/progress.ts";
import { openProgressBars } from "../observe/progress_bars.ts";
import { openConfigLog } from "../session/log.ts";
import { openSession } from "../session/open.ts";
import type { Session, Surroundings } from "../session/session.ts";
import type { Call } from "./command.ts";
import { listenForInterruption } from "./interruption.ts";
import { withCompleteHints } from "./pasting.ts";
import type { Shell } from "./shell.ts";

/** What a command's result or error says again, in the log of a person. */
const TOLD_AT_THE_END = {
  "task is not saved": ["error"],
  "check passes": "all",
  "check passes with a warning": "all",
  "check fails": "all",
} as const;

/** Reads the config, opens what it names, hands it to `work`, and closes it whatever happens. */
export async function withSession<T>(call: Call, work: (session: Session) => Promise<T>): Promise<T> {
  return await withConfig(call, await loadCallConfig(call), work);
}

/** The config that a call names: the file, standard input, or what the environment says. */
export async function loadCallConfig({ configPath, shell }: Call, env: Shell["env"] = shell.env): Promise<Config> {
  return await loadConfig({ path: configPath, env, readStandardInput: shell.readStandardInput });
}

/** The same with a config that has been read. */
export async function withConfig<T>(call: Call, config: Config, work: (session: Session) => Promise<T>): Promise<T> {
  return await withSurroundings(call, config, async (surroundings, flush) => {
    return await work(await openSession({ ...surroundings, config, flush }));
  });
}

/** The same without a config: log, progress and interruption. `loki` is where lines go beside the console. */
export async function withSurroundings<T>(
  call: Call,
  { loki, caFiles, tasks = [] }: Partial<Pick<Config, "loki" | "caFiles" | "tasks">>,
  work: (surroundings: Surroundings, flush: OpenLog["flush"]) => Promise<T>,
): Promise<T> {
  const { stderr, env, journal } = call.shell;
  const bars = stderr.isTerminal && !call.isOn("quiet")
    ? openProgressBars({ write: stderr.write.bind(stderr), columns: stderr.columns })
    : undefined;
  const format = readLogFormat(call.text("log-format"));
  const opened = await openConfigLog({ loki, caFiles }, {
    level: call.isOn("verbose") ? "debug" : call.isOn("quiet") ? "warn" : "info",
    format,
    // The command's own end says it; a program that reads JSON lines has no use for that one.
    onlyForSinks: format === "json" ? undefined : TOLD_AT_THE_END,
    color: stderr.isTerminal && !env.NO_COLOR,
    journal,
    write: (line) => {
      if (bars !== undefined) return bars.writeLine(line);
      const problem = stderr.write(`${line}\n`);
      // The log counts it as lost.
      if (problem instanceof Error) throw problem;
    },
  });
  const run = crypto.randomUUID();
  const startedAt = new Date();
  const log = withCompleteHints(opened.log.with({ run }), call.configPath);
  const progress = bars ?? openProgressLines({ log });
  const { stop, signal, close } = listenForInterruption(
    call.shell,
    log,
    () => call.command.afterInterruption?.(call, { tasks, startedAt }),
  );
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
