/**
 * A line of the log for a person at a terminal: a mark, and what it is about. In: a record, the terminal's width and
 * what it can show. Out: text, with a further line for a hint; nothing for what the closing summary says again. What
 * programs read has another look, in log_line.ts. Pure.
 */
import type { LogFields } from "../observe.ts";
import { isScratchName } from "../couchdb/scratch_name.ts";
import { describeError } from "../errors.ts";
import { counted, formatSeconds, formatSize } from "./figures.ts";
import type { LogRecord } from "./log_line.ts";
import { formatLogfmt, formatValue, printable } from "./logfmt.ts";
import { styled } from "./style.ts";
import { padEnd, shortenMiddle, widthOf, wrap } from "./text_width.ts";

/** What a terminal is like. */
export interface TerminalLook {
  /** Its width now, in characters. */
  columns: () => number;
  /** Whether it can show no more than ASCII. @default false */
  ascii?: boolean;
}

type Mark = "done" | "same" | "warning" | "failed";

const MARKS: Record<Mark, { sign: string; ascii: string; style: Parameters<typeof styled>[0] }> = {
  done: { sign: "✓", ascii: "+", style: "green" },
  same: { sign: "=", ascii: "=", style: "dim" },
  warning: { sign: "!", ascii: "!", style: "yellow" },
  failed: { sign: "✗", ascii: "x", style: "red" },
};

/** The events that end a database, whose facts stand under each other. */
const ENDS: ReadonlySet<string> = new Set([
  "database is backed up",
  "database is complete already",
  "database is restored",
  "backup is verified",
  "backup is verified, and lacks what CouchDB could not read",
  "backup was restored for a test",
]);
/** What the end of the run says again, or would say if it were not so. */
const SAID_AT_THE_END: ReadonlySet<string> = new Set([
  "full backup",
  "archive is read",
  "database is checked",
  "not all backups are as they must be",
  "backups are verified",
  "backups came back as they were saved",
]);
/** What a person does not look for: which run it is stands in the summary. */
const LEFT_OUT: ReadonlySet<string> = new Set(["run", "task", "database", "hint", "attempt", "waitMs"]);
/** The field that says most, from the first that is there. */
const CAUSES = ["error", "warning", "cause", "reason", "problem"] as const;

const WIDEST_NAME = 44;
const NARROWEST_NAME = 12;
/** `2026-11-28T02:30:41Z`. */
const MOMENT_WIDTH = 20;

/** The line, or lines, of a record without a newline at the end; undefined where a person need not read it. */
export function formatForTerminal(
  { level, event, fields }: LogRecord,
  look: TerminalLook & { color: boolean },
): string | undefined {
  if (SAID_AT_THE_END.has(event)) return undefined;
  // What is restored for a test is told of the database that the backup is of.
  if (level === "info" && typeof fields.database === "string" && isScratchName(fields.database)) return undefined;
  const text = ENDS.has(event) ? formatEnd(event, fields, look) : formatOther(level, event, fields, look);
  return look.ascii === true ? text.replaceAll("…", "~") : text;
}

/** `✓ name   1,200 documents   45 kB   0.3s`; on a narrow terminal the last facts go first. */
function formatEnd(event: string, fields: LogFields, look: TerminalLook & { color: boolean }): string {
  const { documents, compressedBytes, durationMs, finishedAt, kind, unreadable, problems } = fields;
  const isSame = kind === "unchanged";
  const what = isSame
    ? "unchanged"
    : event === "database is complete already"
    ? "complete already"
    : typeof documents === "number"
    ? counted(documents, "document")
    : "";
  const cells = [what.padStart(19)];
  if (typeof durationMs === "number") cells.push(formatSeconds(durationMs / 1000).padStart(6));
  if (typeof compressedBytes === "number") cells.splice(1, 0, (isSame ? "" : formatSize(compressedBytes)).padStart(6));
  const columns = look.columns();
  const roomBeside = () => columns - 1 - 2 - cells.reduce((sum, cell) => sum + cell.length + 2, 0);
  while (cells.length > 1 && roomBeside() < NARROWEST_NAME) cells.pop();
  const whole = nameOf(fields);
  // Which of the database's backups it is; a name that is cut would say less.
  if (typeof finishedAt === "string" && roomBeside() - MOMENT_WIDTH - 2 >= Math.max(NARROWEST_NAME, widthOf(whole))) {
    cells.push(finishedAt.replace(/\.\d+/, "").padStart(MOMENT_WIDTH));
  }
  const width = Math.max(NARROWEST_NAME, Math.min(WIDEST_NAME, roomBeside()));
  // A long name takes the spaces before the numbers, too: cut, it could be that of another database.
  let lacking = Math.max(0, widthOf(whole) - width);
  const facts = cells.map((cell) => {
    const spare = Math.min(lacking, cell.length - cell.trimStart().length);
    lacking -= spare;
    return cell.slice(spare);
  });
  const taken = Math.max(width, widthOf(whole) - lacking);
  const name = padEnd(shortenMiddle(whole, taken), taken);
  const isWrong = [unreadable, problems].some((count) => typeof count === "number" && count > 0);
  const mark: Mark = isWrong ? "warning" : isSame ? "same" : "done";
  return `${marked(mark, look)} ${[name, ...facts].join("  ").trimEnd()}`;
}

function formatOther(
  level: LogRecord["level"],
  event: string,
  fields: LogFields,
  look: TerminalLook & { color: boolean },
): string {
  const { hint, attempt, waitMs } = fields;
  const cause = CAUSES.find((name) => fields[name] !== undefined);
  const rest = Object.entries(fields).filter(([key]) => key !== cause && !LEFT_OUT.has(key));
  const name = nameOf(fields);
  const isTold = event === "database is not backed up" || event === "database is not restored";
  const again = typeof waitMs === "number" && typeof attempt === "number"
    ? ` in ${formatSeconds(waitMs / 1000)}, for the ${ordinal(attempt)} time`
    : "";
  const what = [
    ...name === "" ? [] : [name],
    ...isTold ? [] : [`${printable(event)}${again}`],
    ...cause === undefined ? [] : [textOf(fields[cause])],
  ].join(": ");
  const room = level === "info" ? look.columns() - 3 - widthOf(what) : Infinity;
  const facts = factsWithin(rest, room);
  const dim = (text: string) => look.color ? text.split(" ").map((word) => styled("dim", word)).join(" ") : text;
  const line = [level === "debug" ? dim(what) : what, ...facts === "" ? [] : [dim(facts)]].join(" ");
  const mark = level === "error" ? "failed" : level === "warn" ? "warning" : undefined;
  const columns = look.columns() - 1;
  const lines = wrap(line, columns, [mark === undefined ? "  " : `${marked(mark, look)} `, "    "]);
  // A hint may be pasted, and must not be broken for that.
  return [...lines, ...hint === undefined ? [] : [`    ${textOf(hint)}`]].join("\n");
}

/** The fields as logfmt. What is told by the way takes a line and no more: what does not fit is in the plain log. */
function factsWithin(fields: readonly (readonly [string, unknown])[], room: number): string {
  const facts: string[] = [];
  let used = 0;
  for (const [key, value] of fields) {
    const fact = formatLogfmt({ [key]: value });
    const width = widthOf(fact) + (facts.length === 0 ? 0 : 1);
    if (fact === "" || used + width > room) continue;
    facts.push(fact);
    used += width;
  }
  return facts.join(" ");
}

/** Of what it is told: the database, else the task. */
function nameOf({ database, task }: LogFields): string {
  if (typeof database === "string") return printable(database);
  return typeof task === "string" ? `task ${printable(task)}` : "";
}

function textOf(value: unknown): string {
  if (value instanceof Error) return printable(describeError(value));
  return typeof value === "string" ? printable(value) : formatValue(value);
}

function ordinal(count: number): string {
  return count === 2 ? "second" : count === 3 ? "third" : `${count}th`;
}

function marked(mark: Mark, { ascii = false, color }: TerminalLook & { color: boolean }): string {
  const { sign, ascii: plain, style } = MARKS[mark];
  const text = ascii ? plain : sign;
  return color ? styled(style, text) : text;
}
