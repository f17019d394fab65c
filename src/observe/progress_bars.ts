/**
 * The progress of a run as bars at the bottom of a terminal. In: the tallies of a run, and the terminal's width. Out:
 * what draws the bars and takes them away. Not cli-progress: it counts rows back from the end of the bars, which tears
 * them when a terminal is resized or a log line comes between, and two lines are less than its configuration.
 */
import type { Progress } from "../observe.ts";
import { counted, formatCount, formatSeconds, formatSize } from "./figures.ts";
import { Counter, fractionOf, monotonicMs, rateOf, restMs, type RunTally } from "./progress.ts";
import { padEnd, shortenMiddle, widthOf } from "./text_width.ts";

const WIDEST_BAR = 30;
const NARROWEST_BAR = 8;

/** Bars on a terminal. */
export interface ProgressBars extends Progress {
  /** Writes a line, such as one of the log, above the bars; without bars, as it is. Takes it without its newline. */
  writeLine(line: string): void;
}

/** What {@linkcode openProgressBars} needs to know. */
export interface ProgressBarsOptions {
  /** Writes to the terminal as it is told. */
  write: (text: string) => void;
  /** The terminal's width now. */
  columns: () => number;
  /** How often the bars are drawn. @default 200 */
  intervalMs?: number;
  /** Milliseconds that never go back. @default performance.now */
  now?: () => number;
}

/** Draws bars at the bottom of a terminal, and takes them away when the run is over. */
export function openProgressBars(options: ProgressBarsOptions): ProgressBars {
  return new Bars(options);
}

// Without the terminal's wrapping, a line takes one row, even if the terminal has just become narrower than it has
// said.
const WRAP_OFF = "\x1b[?7l";
const WRAP_ON = "\x1b[?7h";
// Erases the row, goes one column to the right, erases everything from there. From the first column of the first row
// tmux would take "erase below" for "clear the screen", and keep a copy of the bars in its history each time.
const ERASE = "\x1b[K\x1b[C\x1b[J\r";

class Bars extends Counter implements ProgressBars {
  readonly #write: (text: string) => void;
  /** The lines on the screen. The cursor stands where they begin. */
  #drawn: string[] = [];
  #broken = false;

  constructor({ write, columns, intervalMs = 200, now = monotonicMs }: ProgressBarsOptions) {
    super({ intervalMs, now, show: (run) => this.#draw(formatBars(run, now(), columns())), end: () => this.#draw([]) });
    this.#write = write;
  }

  writeLine(line: string): void {
    this.#write(`${this.#wipe()}${line}\n${drawing(this.#drawn)}`);
  }

  #draw(lines: string[]): void {
    if (this.#broken || (lines.length === 0 && this.#drawn.length === 0)) return;
    try {
      this.#write(this.#wipe() + drawing(lines));
      this.#drawn = lines;
    } catch {
      // The terminal is gone. The run goes on, and the log, which writes there too, counts its lost lines.
      this.#broken = true;
    }
  }

  /** What takes the drawn lines off the screen. */
  #wipe(): string {
    return this.#drawn.length === 0 ? "" : ERASE;
  }
}

/**
 * What draws the lines and takes the cursor back to where they begin. A terminal that is resized wraps what is on the
 * screen anew, and tells its new width a moment later: from the end of the lines nobody could count the rows back.
 */
function drawing(lines: readonly string[]): string {
  if (lines.length === 0) return "";
  const up = lines.length > 1 ? `\x1b[${lines.length - 1}A` : "";
  return `${WRAP_OFF}${lines.join("\n")}${WRAP_ON}${up}\r`;
}

/**
 * The bars as lines that fit into `columns`: the run's, unless it has one database, and that of the database in hand.
 */
function formatBars(run: RunTally, nowMs: number, columns: number): string[] {
  const { inHand } = run;
  const lines: string[] = [];
  if (run.databases !== 1 || inHand === undefined) {
    const fraction = (run.finished + (inHand === undefined ? 0 : fractionOf(inHand) ?? 0)) / Math.max(1, run.databases);
    const facts = [alignCount(run.finished, run.databases, "database"), counted(run.documents, "document")];
    if (run.failed > 0) facts.unshift(`${formatCount(run.failed)} failed`);
    facts.push(formatRest(fraction, run.startedMs, nowMs));
    lines.push(formatBar(run.action, fraction, facts, columns));
  }
  if (inHand !== undefined) {
    const fraction = fractionOf(inHand);
    const facts = [
      alignCount(inHand.documents, inHand.expected, "document"),
      `${(rateOf(inHand, nowMs) / 1e6).toFixed(1).padStart(5)} MB/s`,
      fraction === undefined ? formatSize(inHand.bytes) : formatRest(fraction, inHand.startedMs, nowMs),
    ];
    lines.push(formatBar(inHand.database, fraction, facts, columns));
  }
  return lines;
}

function formatBar(name: string, fraction: number | undefined, facts: readonly string[], columns: number): string {
  // The last column stays free: after a full line some terminals stand in the next one already, some do not.
  const width = Math.max(0, columns - 1);
  const label = padEnd(shortenMiddle(name, Math.max(8, Math.min(32, Math.floor(width / 3)))), 8);
  const kept = facts.filter((fact) => fact !== "");
  const text = () => ["", ...kept].join("  ");
  const labelWidth = widthOf(label);
  while (kept.length > 0 && labelWidth + text().length > width) kept.pop();
  const room = Math.min(WIDEST_BAR, width - labelWidth - text().length - 4);
  if (fraction === undefined || room < NARROWEST_BAR) return `${label}${text()}`.slice(0, width).trimEnd();
  const full = Math.floor(Math.min(1, fraction) * room);
  return `${label}  [${"#".repeat(full)}${".".repeat(room - full)}]${text()}`.trimEnd();
}

function alignCount(count: number, total: number | undefined, noun: string): string {
  // Documents are told again where they are asked for again, and some come while they are counted.
  if (total === undefined || count > total) return counted(count, noun);
  return `${formatCount(count).padStart(formatCount(total).length)}/${counted(total, noun)}`;
}

function formatRest(fraction: number, startedMs: number, nowMs: number): string {
  // What is left then is not documents: nobody knows how long it takes.
  if (fraction >= 1) return "";
  const rest = restMs(fraction, startedMs, nowMs);
  return rest === undefined ? "" : `${formatSeconds(rest / 1000)} left`;
}
