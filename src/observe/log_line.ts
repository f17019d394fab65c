/**
 * How a line of the log looks. In: a record, and what the line is for. Out: its text, for a person, a terminal,
 * systemd's journal or a program that reads JSON.
 */
import type { LogFields } from "../observe.ts";
import { formatLogfmt, printable, toPlainFields } from "./logfmt.ts";
import { styled } from "./style.ts";
import { formatForTerminal, type TerminalLook } from "./terminal_line.ts";

/** How much a line matters, from the least. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/**
 * How lines look. `auto` is `journald` where the lines go to the journal, `terminal` at a terminal, `plain` elsewhere.
 */
export type LogFormat = "auto" | "plain" | "json" | "journald" | "terminal";

/** One line before it is text. */
export interface LogRecord {
  /** Milliseconds since 1970. */
  timeMs: number;
  level: LogLevel;
  event: string;
  /** The line's own fields, then those of `with()`. */
  fields: LogFields;
}

/** What a line is for. */
export interface LineLook {
  /** @default "auto" */
  format?: LogFormat;
  /** Whether plain lines are coloured: the caller's decision, from the terminal and `NO_COLOR`. @default false */
  color?: boolean;
  /** The terminal at which a person reads them; undefined where it is none. */
  terminal?: TerminalLook | undefined;
  /** Whether lines end in systemd's journal, as {@linkcode isJournal} finds out. @default false */
  journal?: boolean;
}

// sd-daemon(3): the kernel's levels, which journald takes from the beginning of a line.
const JOURNAL_PRIORITY: Record<LogLevel, string> = { debug: "<7>", info: "<6>", warn: "<4>", error: "<3>" };
const LEVEL_STYLE = { debug: "dim", info: "green", warn: "yellow", error: "red" } as const;
/** Where nobody says how wide it is. */
const ANY_TERMINAL: TerminalLook = { columns: () => 80 };

/** Which format `auto` stands for. */
export function chosenFormat({ format = "auto", journal = false, terminal }: LineLook): Exclude<LogFormat, "auto"> {
  if (format !== "auto") return format;
  return journal ? "journald" : terminal === undefined ? "plain" : "terminal";
}

/** What makes a line of a record, without its newline; undefined of what a person need not read. */
export function lineFormat(look: LineLook): (record: LogRecord) => string | undefined {
  const { color = false, terminal = ANY_TERMINAL } = look;
  const format = chosenFormat(look);
  if (format === "json") return formatJson;
  if (format === "terminal") return (record) => formatForTerminal(record, { ...terminal, color });
  if (format === "journald") return formatJournal;
  return color ? formatColored : formatPlain;
}

function formatPlain({ timeMs, level, event, fields }: LogRecord): string {
  const facts = formatLogfmt(fields);
  return `${new Date(timeMs).toISOString()} ${level.padEnd(5)} ${printable(event)}${facts === "" ? "" : ` ${facts}`}`;
}

function formatColored({ timeMs, level, event, fields }: LogRecord): string {
  const facts = formatLogfmt(fields);
  const time = styled("dim", new Date(timeMs).toISOString());
  const start = `${time} ${styled(LEVEL_STYLE[level], level.padEnd(5))} ${styled("bold", printable(event))}`;
  return facts === "" ? start : `${start} ${facts}`;
}

function formatJournal({ level, event, fields }: LogRecord): string {
  const facts = formatLogfmt(fields);
  return `${JOURNAL_PRIORITY[level]}${printable(event)}${facts === "" ? "" : ` ${facts}`}`;
}

/**
 * Text that is no record, such as what a program ends with, as the journal takes it: each line is an entry of its own
 * there, and begins with the priority.
 */
export function linesForJournal(level: LogLevel, text: string): string {
  return text.split("\n").map((line) => `${JOURNAL_PRIORITY[level]}${line}`).join("\n");
}

function formatJson({ timeMs, level, event, fields }: LogRecord): string {
  const line: Record<string, unknown> = { time: new Date(timeMs).toISOString(), level, event };
  for (const [key, value] of Object.entries(toPlainFields(fields))) {
    line[Object.hasOwn(line, key) ? `${key}_` : key] = value;
  }
  // JSON leaves C1 controls and U+2028 as they are; they occur in strings alone, where an escape means the same.
  return printable(JSON.stringify(line));
}

/**
 * Whether a file is the one that systemd has connected to the journal. The variable alone says too little: a terminal
 * started by a user's systemd inherits it.
 *
 * @param journalStream `$JOURNAL_STREAM`, `<device>:<inode>` in decimal.
 * @param file What `fstat` says of standard error.
 * @see https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM
 */
export function isJournal(
  journalStream: string | undefined,
  file: { dev: number | bigint; ino: number | bigint },
): boolean {
  return journalStream === `${file.dev}:${file.ino}`;
}
