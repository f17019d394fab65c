/**
 * The log of a run: in go events with fields, out come lines on the console and records for sinks such as Loki's. Not
 * LogTape: its configuration is one per process. A second `configure()` throws "Already configured", which would mix
 * two logs and hit every library user who has configured it for a program of their own.
 */
import type { Log, LogFields } from "../observe.ts";
import { describeError } from "../errors.ts";
import { lineFormat, type LineLook, type LogLevel, type LogRecord } from "./log_line.ts";

export { chosenFormat, isJournal, linesForJournal, type LogFormat, type LogLevel, type LogRecord } from "./log_line.ts";

/** What became of the lines that were handed to a sink since it was flushed last. */
export interface FlushResult {
  /** Lines that did not arrive, or are not known to have. */
  lostLines: number;
  /** Why, one short sentence for each cause; empty where nothing was lost. */
  causes: string[];
}

/** A second place for lines. `write` returns at once; what cannot be delivered is counted. */
export interface LogSink {
  /** What it is called in a warning: `loki`. */
  readonly name: string;
  write(record: LogRecord): void;
  /** Delivers what is waiting, for at most `deadlineMs`; what is still waiting then is lost. Never rejects. */
  flush(options: { deadlineMs: number }): Promise<FlushResult>;
}

/** What {@linkcode openLog} needs to know. */
export interface LogOptions extends LineLook {
  /** Lines below it are not written. */
  level: LogLevel;
  /** Takes one line without its newline. */
  write: (line: string) => void;
  /**
   * Fields of events, or all of an event, that sinks alone are told: who reads the console is told in another way.
   */
  onlyForSinks?: Readonly<Record<string, readonly string[] | "all">> | undefined;
  sinks?: readonly LogSink[];
  /** The least level that sinks get, where it is not that of the console (`--quiet`). @default level */
  sinkLevel?: LogLevel;
  /** Milliseconds since 1970. @default Date.now */
  now?: () => number;
}

/** An open log. */
export interface OpenLog {
  log: Log;
  /**
   * Delivers what waits in sinks: at the end of a run, of a Lambda invocation, and on a crash. All sinks together take
   * at most `deadlineMs`. Lines lost since the last flush are counted in the result and said on the console.
   *
   * @param options `deadlineMs` is 2,000 unless given, 500 where the flush before has lost lines. Never rejects.
   */
  flush(options?: { deadlineMs?: number }): Promise<FlushResult>;
  /** Flushes; what is logged afterwards goes to the console alone. */
  close(options?: { deadlineMs?: number }): Promise<FlushResult>;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
// With the Pushgateway's ten seconds less than thirteen in all: what a run may lose at its end to servers that never
// answer.
const FLUSH_MS = 2_000;
const FLUSH_AFTER_LOSS_MS = 500;

/** Opens a log. Its methods return at once and never throw. */
export function openLog(options: LogOptions): OpenLog {
  const outlets = new Outlets(options);
  return {
    log: logWith((level, event, fields) => outlets.write(level, event, fields), {}),
    flush: (flushing) => outlets.flush(flushing),
    async close(closing) {
      const result = await outlets.flush(closing);
      outlets.closeSinks();
      return result;
    },
  };
}

/** The console and the sinks of a log, and what they have lost. */
class Outlets {
  readonly #options: LogOptions;
  readonly #format: ReturnType<typeof lineFormat>;
  readonly #lost = new LossCount();
  #sinks: readonly LogSink[];
  #hasLost = false;

  constructor(options: LogOptions) {
    this.#options = options;
    this.#format = lineFormat(options);
    this.#sinks = options.sinks ?? [];
  }

  write(level: LogLevel, event: string, fields: LogFields): void {
    const { level: least, sinkLevel = least } = this.#options;
    const toConsole = RANK[level] >= RANK[least];
    const toSinks = this.#sinks.length > 0 && RANK[level] >= RANK[sinkLevel];
    if (!toConsole && !toSinks) return;
    const record = this.#recordOf(level, event, fields);
    if (toConsole) this.#writeConsole(record);
    if (toSinks) this.#writeSinks(record);
  }

  /** As {@linkcode OpenLog.flush}. */
  async flush(
    { deadlineMs = this.#hasLost ? FLUSH_AFTER_LOSS_MS : FLUSH_MS }: { deadlineMs?: number } = {},
  ): Promise<FlushResult> {
    await Promise.all(this.#sinks.map(async (sink) => this.#count(sink, await sink.flush({ deadlineMs }))));
    const result = this.#lost.take();
    this.#hasLost = result.lostLines > 0;
    return result;
  }

  closeSinks(): void {
    this.#sinks = [];
  }

  #recordOf(level: LogLevel, event: string, fields: LogFields): LogRecord {
    return { timeMs: (this.#options.now ?? Date.now)(), level, event, fields };
  }

  #writeConsole(record: LogRecord): void {
    const shown = forConsole(record, this.#options.onlyForSinks);
    if (shown === undefined) return;
    try {
      const line = this.#format(shown);
      if (line !== undefined) this.#options.write(line);
    } catch (error) {
      // A console whose disk is full must not end a backup; the line is counted instead.
      this.#lost.add(1, `Cannot write log lines: ${describeError(error)}`);
    }
  }

  #writeSinks(record: LogRecord): void {
    for (const sink of this.#sinks) {
      try {
        sink.write(record);
      } catch (error) {
        this.#lost.add(1, `Cannot hand log lines to ${sink.name}: ${describeError(error)}`);
      }
    }
  }

  /** Counts what a sink has lost, and says so. */
  #count(sink: LogSink, { lostLines, causes }: FlushResult): void {
    for (const cause of causes) this.#lost.add(0, cause);
    this.#lost.add(lostLines);
    if (lostLines === 0) return;
    // Only for the console: the sink that loses lines is not the place to say so.
    const fields = { sink: sink.name, lostLines, cause: causes.join("; ") };
    this.#writeConsole(this.#recordOf("warn", "Log lines lost", fields));
  }
}

function forConsole(record: LogRecord, onlyForSinks: LogOptions["onlyForSinks"] = {}): LogRecord | undefined {
  const left = Object.hasOwn(onlyForSinks, record.event) ? onlyForSinks[record.event] : undefined;
  if (left === undefined) return record;
  if (left === "all") return undefined;
  return {
    ...record,
    fields: Object.fromEntries(Object.entries(record.fields).filter(([key]) => !left.includes(key))),
  };
}

/** Counts what is lost between two flushes. Each cause is kept once, and few of them. */
export class LossCount {
  #lines = 0;
  #causes = new Set<string>();

  add(lines: number, cause?: string): void {
    this.#lines += lines;
    if (cause !== undefined && this.#causes.size < 5) this.#causes.add(cause);
  }

  /** What was lost since the last call. */
  take(): FlushResult {
    const result = { lostLines: this.#lines, causes: this.#lines === 0 ? [] : [...this.#causes] };
    this.#lines = 0;
    this.#causes.clear();
    return result;
  }
}

function logWith(emit: (level: LogLevel, event: string, fields: LogFields) => void, context: LogFields): Log {
  const at = (level: LogLevel) => (event: string, fields: LogFields = {}) => {
    // The line's own fields come first: they are what a reader looks for.
    emit(level, event, { ...fields, ...missingIn(fields, context) });
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => logWith(emit, { ...context, ...fields }),
  };
}

function missingIn(fields: LogFields, context: LogFields): LogFields {
  return Object.fromEntries(Object.entries(context).filter(([key]) => !Object.hasOwn(fields, key)));
}
