/**
 * A session as the terminal wants it: the log and the progress on standard error, and the signals by which the operator
 * stops it. Made here, closed here, so that a command is only its own work.
 */
import { type Config, loadConfig } from "../config/config.ts";
import { ConfigError, UsageError } from "../errors.ts";
import { chosenFormat, type LogFormat, type LogOptions, type OpenLog } from "../observe/log.ts";
import { openProgressLines } from "../observe/progress.ts";
import { openProgressBars } from "../observe/progress_bars.ts";
import { openConfigLog } from "../session/log.ts";
import { openSession } from "../session/open.ts";
import type { Surroundings } from "../session/parts.ts";
import type { ProgramSession } from "../session/session.ts";
import { type Call, LOG_FORMATS } from "./command.ts";
import { listenForInterruption } from "./interruption.ts";
import { withCompleteHints } from "./pasting.ts";
import type { Output, Shell } from "./shell.ts";
import { shellWord } from "../shell_word.ts";
import { errorCode } from "../system_error.ts";

/** Log events that the command's result or error repeats, so a person need not see them. */
const TOLD_AT_THE_END = {
  "task is not saved": ["error"],
  "check passes": "all",
  "check passes with a warning": "all",
  "check fails": "all",
} as const;

function toldAtTheEnd(call: Call): NonNullable<LogOptions["onlyForSinks"]> {
  const isSummed = call.command.name === "backup" && hasReadLines(call);
  return isSummed ? { ...TOLD_AT_THE_END, "task is saved": "all", "task is not saved": "all" } : TOLD_AT_THE_END;
}

/** Reads the config, opens what it names, hands it to `work`, and closes it whatever happens. */
export async function withSession<T>(call: Call, work: (session: ProgramSession) => Promise<T>): Promise<T> {
  return await withConfig(call, await loadCallConfig(call), work);
}

/** The config that a call names: the file, standard input, or what the environment says. */
export async function loadCallConfig(
  { command, configPath, shell }: Call,
  { env = shell.env, signal }: { env?: Shell["env"]; signal?: AbortSignal | undefined } = {},
): Promise<Config> {
  try {
    return await loadConfig({ path: configPath, env, readStandardInput: shell.readStandardInput, signal });
  } catch (error) {
    const asDatabase = configPath !== undefined && command.flags.some(({ name }) => name === "database")
      ? explainDatabase(configPath, error)
      : undefined;
    throw asDatabase ?? error;
  }
}

/** Where the last word is no file and looks like a database, as in `backup orders`: how a database is named. */
function explainDatabase(word: string, error: unknown): ConfigError | undefined {
  const isAbsent = error instanceof ConfigError && errorCode(error.cause) === "ENOENT";
  if (!isAbsent || /[./]|^-$/.test(word)) return undefined;
  return new ConfigError(error.message, error.place, {
    hint: `It is taken for the config, which comes last; --database ${shellWord(word)} names a database`,
  });
}

/** The same with a config that has been read. */
export async function withConfig<T>(
  call: Call,
  config: Config,
  work: (session: ProgramSession) => Promise<T>,
): Promise<T> {
  return await withSurroundings(call, config, async (surroundings, flush) => {
    const session = await openSession({ ...surroundings, config, flush, identityFiles: call.list("identity") });
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  });
}

/** The same without a config: log, progress and interruption. `loki` is where lines go beside the console. */
export async function withSurroundings<T>(
  call: Call,
  { loki, caFiles, proxies, tasks = [] }: Partial<Pick<Config, "loki" | "caFiles" | "proxies" | "tasks">>,
  work: (surroundings: Surroundings, flush: OpenLog["flush"]) => Promise<T>,
): Promise<T> {
  const { stderr, env, journal } = call.shell;
  const { bars: canDraw, ...looks } = lookOf(stderr, env);
  const bars = canDraw && !call.isOn("quiet")
    ? openProgressBars({ write: stderr.write.bind(stderr), columns: stderr.columns })
    : undefined;
  const format = readLogFormat(call);
  const opened = await openConfigLog({ loki, caFiles, proxies }, {
    level: call.isOn("verbose") ? "debug" : call.isOn("quiet") ? "warn" : "info",
    format,
    // A person reads these in the command's output, which a program that reads JSON lines does not look at.
    onlyForSinks: format === "json" ? undefined : toldAtTheEnd(call),
    ...looks,
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
  const log = withCompleteHints(opened.log.with({ run }), call.configName);
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

/** What a stream can show: colours, marks beyond ASCII, bars that are drawn over. */
export function lookOf(
  { isTerminal, columns }: Output,
  env: Shell["env"],
): { color: boolean; bars: boolean; terminal: { columns: () => number; ascii: boolean } | undefined } {
  const isDumb = env.TERM === "dumb";
  // Without a locale UTF-8 is assumed; C and POSIX mean ASCII.
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || "UTF-8";
  return {
    color: isTerminal && !isDumb && !env.NO_COLOR,
    bars: isTerminal && !isDumb,
    terminal: isTerminal ? { columns, ascii: isDumb || !/utf-?8/i.test(locale) } : undefined,
  };
}

/** Whether a person has read a line for each database by the end of the command. */
export function hasReadLines(call: Call): boolean {
  const { stderr, stdout, env, journal } = call.shell;
  if (!stdout.isTerminal || call.isOn("quiet")) return false;
  return chosenFormat({ format: readLogFormat(call), journal, ...lookOf(stderr, env) }) === "terminal";
}

function readLogFormat(call: Call): LogFormat {
  const text = call.text("log-format") ?? "auto";
  const format = LOG_FORMATS.find((known) => known === text);
  if (format !== undefined) return format;
  throw new UsageError(`--log-format cannot be "${text}"`, { hint: `Allowed are ${LOG_FORMATS.join(", ")}` });
}
