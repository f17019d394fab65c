/**
 * A time zone as a C library sees it: from an instant to the wall clock. The way back is in wall_clock.ts. Instants are
 * whole seconds since 1970. Built on Intl, which Node 22 has as well as Deno; Temporal would be a second implementation
 * for the same answers.
 */
import { UsageError } from "../errors.ts";
import { wallFromSeconds, wallSeconds, type WallTime } from "./wall_time.ts";
import { isTimeZone, timeZoneHint } from "./zone_name.ts";

/** The stretch of time in which Intl is asked: no zone has changed its offset twice within six days since 1970. */
const CELL_SECONDS = 2 ** 19;

/**
 * Zones whose law calls the winter (or Ramadan) clock the exception, with the years it did. Only the name differs, but
 * the C library prefers the exception when it is given a time that does not exist, and Intl does not tell the name.
 */
const INVERTED_DAYLIGHT = new Map<string, readonly [from: number, to: number]>([
  ["Europe/Dublin", [1970, Infinity]],
  ["Eire", [1970, Infinity]],
  ["Africa/Casablanca", [2019, Infinity]],
  ["Africa/El_Aaiun", [2019, Infinity]],
  ["Africa/Windhoek", [1994, 2017]],
]);

/** A part of the zone's history: one offset from `from` to the change, another from the change on. */
interface Cell {
  before: number;
  /** The first second of `after`, infinite where the offset does not change. */
  change: number;
  after: number;
}

/** The offsets of one zone, asked of Intl once per cell and kept. */
export class TimeZone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat;
  readonly #cells = new Map<number, Cell>();
  readonly #inverted: readonly [from: number, to: number] | undefined;

  private constructor(name: string) {
    this.name = name;
    this.#inverted = INVERTED_DAYLIGHT.get(name);
    this.#format = new Intl.DateTimeFormat("en-US", {
      timeZone: name,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  }

  static readonly #zones = new Map<string, TimeZone>();

  /**
   * The zone of that name.
   *
   * @throws {UsageError} when there is none
   */
  static named(name: string): TimeZone {
    let zone = TimeZone.#zones.get(name);
    if (zone === undefined) {
      if (!isTimeZone(name)) {
        throw new UsageError(`Unknown time zone "${name}": it is not in the IANA database`, {
          hint: timeZoneHint(name),
        });
      }
      zone = new TimeZone(name);
      TimeZone.#zones.set(name, zone);
    }
    return zone;
  }

  /** Seconds east of Greenwich at an instant. */
  offsetAt(seconds: number): number {
    const index = Math.floor(seconds / CELL_SECONDS);
    let cell = this.#cells.get(index);
    if (cell === undefined) {
      cell = this.#readCell(index * CELL_SECONDS);
      this.#cells.set(index, cell);
    }
    return seconds < cell.change ? cell.before : cell.after;
  }

  /** What the wall clock shows at an instant. */
  wallAt(seconds: number): WallTime {
    return wallFromSeconds(seconds + this.offsetAt(seconds));
  }

  /**
   * Whether daylight saving is in force, in the sense of `tm_isdst`: the zone's rarer clock of that year. Judged by the
   * offsets in January and July, since Intl has no such flag.
   */
  isDaylight(seconds: number): boolean {
    const { year } = this.wallAt(seconds);
    const january = this.offsetAt(Date.UTC(year, 0, 1) / 1000);
    const july = this.offsetAt(Date.UTC(year, 6, 1) / 1000);
    const inverted = this.#inverted !== undefined && year >= this.#inverted[0] && year <= this.#inverted[1];
    return inverted
      ? this.offsetAt(seconds) < Math.max(january, july)
      : this.offsetAt(seconds) > Math.min(january, july);
  }

  /**
   * The instant at which the clock was put back, when `seconds` lies in the time that is shown for the second time.
   * Undefined at any other time.
   */
  repeatedSince(seconds: number): number | undefined {
    const offset = this.offsetAt(seconds);
    const earlierOffset = this.offsetAt(seconds - 86_400);
    let low = seconds + offset - earlierOffset;
    if (earlierOffset <= offset || this.offsetAt(low) !== earlierOffset) return undefined;
    let high = seconds;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.offsetAt(middle) === earlierOffset) low = middle;
      else high = middle;
    }
    return high;
  }

  #readCell(from: number): Cell {
    const to = from + CELL_SECONDS;
    const before = this.#askOffset(from);
    const after = this.#askOffset(to);
    if (before === after) return { before, change: Infinity, after };
    let low = from;
    let high = to;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.#askOffset(middle) === before) low = middle;
      else high = middle;
    }
    return { before, change: high, after };
  }

  #askOffset(seconds: number): number {
    const [month = 0, day = 0, year = 0, hour = 0, minute = 0, second = 0] = this.#format
      .format(seconds * 1000).split(/\D+/).map(Number);
    return wallSeconds({ year, month, day, hour, minute, second }) - seconds;
  }
}
