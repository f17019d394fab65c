/**
 * A time zone as a C library sees it: from an instant to the wall clock, and from a wall clock back to an instant where
 * clocks were put forward (the time does not exist) or back (it exists twice). Instants are whole seconds since 1970.
 * Built on Intl, which Node 22 has as well as Deno; Temporal would be a second implementation for the same answers.
 */
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";

/** What a clock on the wall shows. Fields may lie outside their range: hour 24 is the next day's 0. */
export interface WallTime {
  year: number;
  /** 1 to 12. */
  month: number;
  /** 1 to 31. */
  day: number;
  hour: number;
  minute: number;
  second: number;
}

/** The stretch of time in which Intl is asked: no zone has changed its offset twice within six days since 1970. */
const CELL_SECONDS = 2 ** 19;

/** How far apart, and how far away, the GNU C library looks for an instant with the daylight saving asked for. */
const DAYLIGHT_STEP_SECONDS = 601_200;
const DAYLIGHT_REACH_SECONDS = 268_828_200;

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

/** Names that Intl keeps from old releases of the database. */
const FORMER_NAMES = /^(?:SystemV\/.*|US\/Pacific-New)$/;

/** All IANA names of three capitals. Intl also knows PST, IST and two dozen more that the database does not have. */
const THREE_LETTERS = /^(?:CET|EET|EST|GMT|HST|MET|MST|PRC|ROC|ROK|UCT|UTC|WET)$/;

/** A part of the zone's history: one offset from `from` to the change, another from the change on. */
interface Cell {
  before: number;
  /** The first second of `after`, infinite where the offset does not change. */
  change: number;
  after: number;
}

let knownNames: Map<string, string> | undefined;

/** The zones Intl lists, by their names in lower case. Links such as `Asia/Kolkata` are valid without being listed. */
function listedZones(): Map<string, string> {
  knownNames ??= new Map(Intl.supportedValuesOf("timeZone").map((name) => [name.toLowerCase(), name]));
  return knownNames;
}

/**
 * Whether `name` is a zone of the IANA database (`Europe/Berlin`, `Asia/Calcutta`, `UTC`), spelled as there. Offsets
 * (`+01:00`) and abbreviations outside the database (`CEST`, `PST`) are not.
 */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/.test(name) || FORMER_NAMES.test(name)) return false;
  if (/^[A-Z]{3}$/.test(name) && !THREE_LETTERS.test(name)) return false;
  const listed = listedZones().get(name.toLowerCase());
  if (listed !== undefined) return listed === name;
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** What to write instead of `name`, which is no zone. */
export function timeZoneHint(name: string): string {
  if (/^[A-Z]{2,5}$/.test(name)) {
    return `"${name}" is an abbreviation: write the zone's name, such as Europe/Berlin or UTC`;
  }
  const near = nearest(name, listedZones().values());
  return near === undefined ? "Write the zone's name, such as Europe/Berlin or UTC" : `Did you mean "${near}"?`;
}

function wallSeconds({ year, month, day, hour, minute, second }: WallTime): number {
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

function wallFromSeconds(seconds: number): WallTime {
  const date = new Date(seconds * 1000);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
  };
}

/** The day of the week: 0 is Monday. The fields may lie outside their range. */
export function weekdayOf(wall: WallTime): number {
  return (new Date(wallSeconds(wall) * 1000).getUTCDay() + 6) % 7;
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

/**
 * Turns wall clock times into instants as the GNU C library's `mktime` does, which is what systemd calls: a time that
 * does not exist is moved over the gap, and of a time that exists twice the one is taken that has the offset of the
 * call before. That memory is why this is an object.
 *
 * @see https://www.gnu.org/software/libc/manual/html_node/Broken_002ddown-Time.html
 */
export class WallClock {
  readonly zone: TimeZone;
  #guess: number;

  /** @param start an instant near the first time to be resolved */
  constructor(zone: TimeZone, start: number) {
    this.zone = zone;
    this.#guess = zone.offsetAt(start);
  }

  /**
   * The instant at which the zone's clock shows `wall`; undefined when none is found.
   *
   * @param daylight whether `wall` is meant in daylight saving time; undefined means: whatever is in force
   */
  resolve(wall: WallTime, daylight?: boolean): number | undefined {
    // The C library searches with a second in range and adds the rest afterwards.
    const second = Math.min(wall.second, 59);
    const wanted = wallSeconds({ ...wall, second });
    let found = this.#search(wanted, daylight);
    if (found === undefined) return undefined;
    this.#guess = wanted - found;
    found += wall.second - second;
    return found;
  }

  #search(wanted: number, daylight: boolean | undefined): number | undefined {
    const zone = this.zone;
    let candidate = wanted - this.#guess;
    let last = candidate;
    let lastButOne = candidate;
    let lastDaylight = false;
    for (let probes = 6; probes > 0; probes--) {
      const next = wanted - zone.offsetAt(candidate);
      if (next === candidate) return this.#withDaylight(wanted, candidate, daylight);
      const here = zone.isDaylight(candidate);
      // Two candidates in turn, each pointing at the other: the time does not exist. Daylight saving is preferred.
      const alternating = candidate === lastButOne && candidate !== last;
      if (alternating && (daylight === undefined ? here || !lastDaylight : here !== daylight)) return candidate;
      lastButOne = last;
      last = candidate;
      lastDaylight = here;
      candidate = next;
    }
    return undefined;
  }

  /** Where the flag contradicts the calendar, the offset of the nearest time with that flag counts. */
  #withDaylight(wanted: number, found: number, daylight: boolean | undefined): number {
    const zone = this.zone;
    if (daylight === undefined || zone.isDaylight(found) === daylight) return found;
    for (let distance = DAYLIGHT_STEP_SECONDS; distance < DAYLIGHT_REACH_SECONDS; distance += DAYLIGHT_STEP_SECONDS) {
      for (const near of [found - distance, found + distance]) {
        if (zone.isDaylight(near) === daylight) return wanted - zone.offsetAt(near);
      }
    }
    return found;
  }
}
