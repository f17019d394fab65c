/** A log that keeps its lines, for tests of what is said and of what must not be. */
import type { Log, LogFields } from "../../src/observe.ts";
import type { LogLevel } from "../../src/observe/log.ts";

/** One line. */
export interface RecordedLine {
  level: LogLevel;
  event: string;
  fields: LogFields;
}

/** Keeps every line, those of the logs that `with()` makes among them. */
export class RecordedLog implements Log {
  readonly lines: RecordedLine[];
  readonly context: LogFields;

  constructor(lines: RecordedLine[] = [], context: LogFields = {}) {
    this.lines = lines;
    this.context = context;
  }

  readonly debug: Log["debug"] = (event, fields = {}) => this.#keep("debug", event, fields);
  readonly info: Log["info"] = (event, fields = {}) => this.#keep("info", event, fields);
  readonly warn: Log["warn"] = (event, fields = {}) => this.#keep("warn", event, fields);
  readonly error: Log["error"] = (event, fields = {}) => this.#keep("error", event, fields);

  with(fields: LogFields): RecordedLog {
    return new RecordedLog(this.lines, { ...this.context, ...fields });
  }

  /** The events of one level, in order. */
  events(level: LogLevel): string[] {
    return this.lines.filter((line) => line.level === level).map((line) => line.event);
  }

  #keep(level: LogLevel, event: string, fields: LogFields): void {
    this.lines.push({ level, event, fields: { ...this.context, ...fields } });
  }
}
