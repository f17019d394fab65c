/**
 * How a run comes along, for a person who waits: bars at the bottom of a terminal, or now and then a line in the log.
 * Not cli-progress: it counts rows back from the end of the bars, which tears them when a terminal is resized or a log
 * line comes between, and two lines are less than its configuration.
 */
import { formatCount, formatSeconds, formatSize, shortenMiddle } from "./figures.ts";
import { printable } from "./logfmt.ts";
import type { Log, Progress } from "../observe.ts";

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

/** What {@linkcode openProgressLines} needs to know. */
export interface ProgressLinesOptions {
  log: Log;
  /** @default 30000 */
  intervalMs?: number;
  /** Milliseconds that never go back. @default performance.now */
  now?: () => number;
}

/** A database in hand, or the run as a whole. */
interface Tally {
  startedMs: number;
  documents: number;
  bytes: number;
}

interface DatabaseTally extends Tally {
  database: string;
  /** Undefined where nobody knows. */
  expected: number | undefined;
}

interface RunTally extends Tally {
  action: "backup" | "restore" | "verify";
  databases: number;
  finished: number;
  failed: number;
  inHand: DatabaseTally | undefined;
}

const WIDEST_BAR = 30;
const NARROWEST_BAR = 8;
/** Before that a rest that is computed from the speed so far means nothing. */
const ETA_AFTER_MS = 2_000;

/** Counts what the pipeline tells, and calls `show` at intervals while a run is under way. */
class Counter implements Progress {
  readonly options: { intervalMs: number; now: () => number; show: (run: RunTally) => void; end: () => void };
  #run: RunTally | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: Counter["options"]) {
    this.options = options;
  }

  runStarted({ action, databases }: { action: RunTally["action"]; databases: number }): void {
    this.runFinished();
    const { now, show, intervalMs } = this.options;
    const run = { action, databases, finished: 0, failed: 0, inHand: undefined, ...newTally(now()) };
    this.#run = run;
    this.#timer = setInterval(() => show(run), intervalMs);
  }

  databaseStarted({ database, documents }: { database: string; documents: number | undefined }): void {
    if (this.#run === undefined) return;
    this.#run.inHand = { database: printable(database), expected: documents, ...newTally(this.options.now()) };
  }

  advanced({ documents, bytes }: { documents: number; bytes: number }): void {
    for (const tally of [this.#run, this.#run?.inHand]) {
      if (tally === undefined) continue;
      tally.documents += documents;
      tally.bytes += bytes;
    }
  }

  databaseFinished({ ok }: { database: string; ok: boolean }): void {
    if (this.#run === undefined) return;
    this.#run.inHand = undefined;
    this.#run.finished++;
    if (!ok) this.#run.failed++;
  }

  runFinished(): void {
    clearInterval(this.#timer);
    this.#run = undefined;
    this.options.end();
  }
}

/** Writes an info line at intervals: for a run whose output goes to a file, a pipe or the journal. */
export function openProgressLines({ log, intervalMs = 30_000, now = monotonicMs }: ProgressLinesOptions): Progress {
  const show = (run: RunTally) => {
    const { inHand } = run;
    const rest = restMs(inHand === undefined ? undefined : fractionOf(inHand), inHand?.startedMs, now());
    log.info("Progress", {
      action: run.action,
      databases: run.databases,
      finished: run.finished,
      failed: run.failed === 0 ? undefined : run.failed,
      database: inHand?.database,
      documents: inHand?.documents,
      expectedDocuments: inHand?.expected,
      bytes: inHand?.bytes,
      bytesPerSecond: inHand === undefined ? undefined : Math.round(rateOf(inHand, now())),
      restSeconds: rest === undefined ? undefined : Math.round(rest / 1000),
    });
  };
  return new Counter({ intervalMs, now, show, end() {} });
}

/** Draws bars at the bottom of a terminal, and takes them away when the run is over. */
export function openProgressBars(options: ProgressBarsOptions): ProgressBars {
  return new Bars(options);
}

// Without the terminal's wrapping, a line takes one row, even if the terminal has just become narrower than it has said.
const WRAP_OFF = "\x1b[?7l";
const WRAP_ON = "\x1b[?7h";
// Erases the row, goes one column to the right, erases everything from there. From the first column of the first row tmux
// would take "erase below" for "clear the screen", and keep a copy of the bars in its history each time.
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

/** The bars as lines that fit into `columns`: the run's, unless it has one database, and that of the database in hand. */
function formatBars(run: RunTally, nowMs: number, columns: number): string[] {
  const { inHand } = run;
  const lines: string[] = [];
  if (run.databases !== 1 || inHand === undefined) {
    const fraction = (run.finished + (inHand === undefined ? 0 : fractionOf(inHand) ?? 0)) / Math.max(1, run.databases);
    const facts = [`${alignCount(run.finished, run.databases)} databases`, `${formatCount(run.documents)} documents`];
    if (run.failed > 0) facts.unshift(`${formatCount(run.failed)} failed`);
    facts.push(formatRest(fraction, run.startedMs, nowMs));
    lines.push(formatBar(run.action, fraction, facts, columns));
  }
  if (inHand !== undefined) {
    const fraction = fractionOf(inHand);
    const facts = [
      `${alignCount(inHand.documents, inHand.expected)} documents`,
      `${(rateOf(inHand, nowMs) / 1e6).toFixed(1).padStart(5)} MB/s`,
      fraction === undefined ? formatSize(inHand.bytes) : formatRest(fraction, inHand.startedMs, nowMs),
    ];
    lines.push(formatBar(inHand.database, fraction, facts, columns));
  }
  return lines;
}

function formatBar(name: string, fraction: number | undefined, facts: readonly string[], columns: number): string {
  // The last column stays free: behind a full line some terminals stand in the next one already, some do not.
  const width = Math.max(0, columns - 1);
  const label = shortenMiddle(name, Math.max(8, Math.min(32, Math.floor(width / 3)))).padEnd(8);
  const kept = [...facts];
  const text = () => ["", ...kept].join("  ");
  while (kept.length > 0 && label.length + text().length > width) kept.pop();
  const room = Math.min(WIDEST_BAR, width - label.length - text().length - 4);
  if (fraction === undefined || room < NARROWEST_BAR) return `${label}${text()}`.slice(0, width).trimEnd();
  const full = Math.floor(Math.min(1, fraction) * room);
  return `${label}  [${"#".repeat(full)}${".".repeat(room - full)}]${text()}`.trimEnd();
}

function alignCount(count: number, total: number | undefined): string {
  if (total === undefined) return formatCount(count);
  const whole = formatCount(total);
  return `${formatCount(count).padStart(whole.length)}/${whole}`;
}

function formatRest(fraction: number, startedMs: number, nowMs: number): string {
  const rest = restMs(fraction, startedMs, nowMs);
  return rest === undefined ? "" : `${formatSeconds(rest / 1000)} left`;
}

/** How long the rest takes at the speed so far; undefined where that cannot be said yet. */
function restMs(fraction: number | undefined, startedMs: number | undefined, nowMs: number): number | undefined {
  if (fraction === undefined || startedMs === undefined) return undefined;
  const elapsedMs = nowMs - startedMs;
  if (fraction <= 0 || elapsedMs < ETA_AFTER_MS) return undefined;
  return Math.max(0, elapsedMs * (1 - fraction) / fraction);
}

/** From 0 to 1. Documents that were created since they were counted do not take it beyond. */
function fractionOf({ documents, expected }: DatabaseTally): number | undefined {
  if (expected === undefined) return undefined;
  return expected === 0 ? 1 : Math.min(1, documents / expected);
}

/** Bytes per second. */
function rateOf({ bytes, startedMs }: Tally, nowMs: number): number {
  return bytes / Math.max(0.001, (nowMs - startedMs) / 1000);
}

function newTally(startedMs: number): Tally {
  return { startedMs, documents: 0, bytes: 0 };
}

function monotonicMs(): number {
  return performance.now();
}
