/**
 * The facts of a report, small enough for ten thousand databases and a year: a day of a database is a letter, and
 * letters that repeat are counted. In: what happened on which day. Out: text that the page and other programs read
 * back. Pure.
 */
import type { Proofs } from "../archive/proof.ts";

/**
 * What a day brought a database: `f` a complete full backup, `i` a complete increment, `=` it had not changed, `u` a
 * backup that is complete but for documents that CouchDB could not read, `x` it failed, `l` it is late, as nobody ran
 * what was due, `.` nothing.
 */
export type DayCode = "f" | "i" | "=" | "u" | "x" | "l" | ".";

/** From what counts most: of several things that a day brought the first of these is told. */
const RANK: readonly DayCode[] = ["f", "i", "u", "=", "x", "l", "."];

/** How a task stands, and its runs. */
export interface ReportedTask {
  task: string;
  state: string;
  ok: boolean;
  last_complete_at: string | null;
  age_seconds: number | null;
  elapse: string | null;
  next: string | null;
  databases: number | null;
  failed: { database: string; error: string }[];
  error: string | null;
  retry_at: string | null;
  generations: number;
  /** Those of the period that have come to an end, the latest first. */
  runs: { at: string; ok: boolean; seconds: number; databases: number; failed: number; by_hand: boolean }[];
  /** Runs of the period whose reports cannot be read: what they did not save is not in the calendars. */
  runs_unread: number;
}

/** A database. */
export interface ReportedDatabase {
  /** Decoded. */
  database: string;
  /** The task of its newest backup; null where it has none. */
  task: string | null;
  /** The newest restore point, in UTC. */
  last: string | null;
  /** How old that is. */
  age_seconds: number | null;
  /** Of the last full backup. */
  documents: number | null;
  /** What that takes up in the store. */
  bytes: number | null;
  /** How many increments with content stand between the last full backup and the newest. */
  depth: number;
  /** Documents that the newest lacks because CouchDB could not read them. */
  unreadable: number;
  /** Complete backups in all. */
  backups: number;
  /** A letter for each day from `from` on, {@linkcode DayCode}, a number after it where it repeats: `.30f=6`. */
  days: string;
  /**
   * A character for each day with a full backup, in order: of the code `c` where `2 ** ((c - 40) / 2) - 1` bytes are
   * stored, to within a fifth.
   */
  sizes: string;
}

/** What `report --json` prints, and what its page is made from. */
export interface ReportData {
  made_at: string;
  /** The first day, `2025-11-29`, in UTC. */
  from: string;
  /** The last one. */
  to: string;
  /** Whether nobody need look, as `status` says it. */
  ok: boolean;
  tasks: ReportedTask[];
  /** When the backups were last proved, and how that came out. */
  proofs: Proofs;
  /** For each day from `from` on: databases that were saved, had not changed, failed; bytes that were stored. */
  by_day: { complete: number[]; unchanged: number[]; failed: number[]; bytes: number[] };
  databases: ReportedDatabase[];
}

/** The code of the character that stands for no bytes. */
const FIRST_SIZE = 40;

/** The days of one database. */
export class CalendarStrip {
  readonly codes: DayCode[];
  readonly #bytes: number[];

  constructor(days: number) {
    this.codes = Array.from({ length: days }, () => ".");
    this.#bytes = Array.from({ length: days }, () => 0);
  }

  /** Something happened on a day; what counts more stays. */
  mark(day: number, code: DayCode, bytes = 0): void {
    if (RANK.indexOf(code) < RANK.indexOf(this.codes[day] ?? ".")) this.codes[day] = code;
    if (code === "f") this.#bytes[day] = Math.max(this.#bytes[day] ?? 0, bytes);
  }

  toString(): string {
    return this.codes.join("").replaceAll(/([^\d])\1+/g, (run, code) => `${code}${run.length}`);
  }

  /** The sizes of the days with a full backup. */
  sizes(): string {
    return this.codes.flatMap((code, day) => code === "f" ? String.fromCharCode(sizeCode(this.#bytes[day] ?? 0)) : [])
      .join("");
  }
}

function sizeCode(bytes: number): number {
  return FIRST_SIZE + Math.round(2 * Math.log2(bytes + 1));
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MOST_TICKS = 13;
/** In a shorter time days are named, not months. */
const DAYS_OF_MONTHS = 92;
/** How many days are named at most where the page shows a short time. */
const SHORT_TICKS = 8;

/** The date of a day, counted from the first. */
export function dateOfDay(from: string, day: number): string {
  const date = new Date(`${from}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + day);
  return date.toISOString().slice(0, 10);
}

/**
 * The days that a drawing of so many names, and how: months, January as its year, and of a short time some days. Never
 * more than fit beside each other.
 */
export function ticksOf(from: string, days: number): [day: number, label: string][] {
  const dates = Array.from({ length: days }, (_, day) => dateOfDay(from, day));
  const named = (date: string) => MONTHS[Number(date.slice(5, 7)) - 1]!;
  if (days <= DAYS_OF_MONTHS) {
    const step = Math.max(1, Math.ceil(days / SHORT_TICKS));
    return dates.flatMap((date, day) => day % step === 0 ? [[day, `${Number(date.slice(8))} ${named(date)}`]] : []);
  }
  const firsts = dates.flatMap((date, day) => date.endsWith("-01") ? [{ date, day }] : []);
  const step = [1, 2, 3, 6, 12, 24, 60, 120].find((step) => firsts.length / step <= MOST_TICKS) ?? 240;
  return firsts.flatMap(({ date, day }) => {
    const months = Number(date.slice(0, 4)) * 12 + Number(date.slice(5, 7)) - 1;
    return months % step === 0 ? [[day, date.slice(5, 7) === "01" ? date.slice(0, 4) : named(date)]] : [];
  });
}
