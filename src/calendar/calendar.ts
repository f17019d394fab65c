/**
 * Schedules: systemd OnCalendar expressions. In: an expression and an instant; out: its normal form and the moments at
 * which it elapses. The reading is in parse.ts, the search for a moment in elapse.ts. Pure.
 */
import { nextMicros, previousMicros } from "./elapse.ts";
import type { Calendar } from "./parse.ts";
import { type Component, MICROS } from "./reader.ts";
import { TimeZone } from "./time_zone.ts";

export { type Calendar, parseCalendar } from "./parse.ts";
export { CalendarError, type Component } from "./reader.ts";

const MICROS_PER_MS = 1000;
const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/**
 * The normal form, as `systemd-analyze calendar` prints it: every part written out, lists in order.
 *
 * @example
 * ```ts
 * import { formatCalendar, parseCalendar } from "./calendar.ts";
 * const normal = formatCalendar(parseCalendar("sat *-1..7 18:00"));
 * if (normal !== "Sat *-*-01..07 18:00:00") throw new Error(normal);
 * ```
 */
export function formatCalendar(calendar: Calendar): string {
  const { weekdays, year, month, day, daysFromEnd, hour, minute, second, timeZone } = calendar;
  const number = (width: number) => (value: number) => String(value).padStart(width, "0");
  const list = (components: Component[], width = 2) => formatList(components, 1, number(width));
  return [
    ...(weekdays.length === 0 ? [] : [formatWeekdays(weekdays)]),
    `${list(year, 4)}-${list(month)}${daysFromEnd ? "~" : "-"}${list(day)}`,
    `${list(hour)}:${list(minute)}:${formatSeconds(second)}`,
    ...(timeZone === undefined ? [] : [timeZone]),
  ].join(" ");
}

/** Days in a row are a range from three on: `Mon..Wed,Sat,Sun`. */
function formatWeekdays(weekdays: number[]): string {
  const rows: number[][] = [];
  for (const day of weekdays) {
    const row = rows.at(-1);
    if (row !== undefined && row.at(-1) === day - 1) row.push(day);
    else rows.push([day]);
  }
  const name = (day: number) => WEEKDAYS[day]!;
  return rows.map((row) => row.length > 2 ? `${name(row[0]!)}..${name(row.at(-1)!)}` : row.map(name).join(",")).join(
    ",",
  );
}

function formatSeconds(components: Component[]): string {
  const everySecond = components.some(({ start, stop, repeat }) =>
    start === 0 && stop === undefined && repeat === MICROS
  );
  return everySecond ? "*" : formatList(components, MICROS, seconds(2));
}

/** Microseconds as seconds of `width` digits, with a fraction where there is one. */
function seconds(width: number): (micros: number) => string {
  return (micros) => {
    const whole = String(Math.floor(micros / MICROS)).padStart(width, "0");
    const fraction = micros % MICROS;
    return fraction === 0 ? whole : `${whole}.${String(fraction).padStart(6, "0")}`;
  };
}

/** @param unit the step that a range takes when none is written */
function formatList(components: Component[], unit: number, value: (value: number) => string): string {
  if (components.length === 0) return "*";
  const step = unit === 1 ? String : seconds(1);
  return components.map(({ start, stop, repeat }) => {
    const end = stop === undefined ? "" : `..${value(stop)}`;
    return value(start) + end + (repeat === 0 || (stop !== undefined && repeat === unit) ? "" : `/${step(repeat)}`);
  }).join(",");
}

/** Microseconds since 1970 of a date or of milliseconds since 1970. */
function toMicros(instant: Date | number): number {
  return Math.floor(Number(instant) * MICROS_PER_MS);
}

/** An elapse between two milliseconds becomes the later one, so that nobody wakes too early or finds it twice. */
function toDate(micros: number | undefined): Date | undefined {
  return micros === undefined ? undefined : new Date(Math.ceil(micros / MICROS_PER_MS));
}

function zoneOf(calendar: Calendar, timeZone: string): TimeZone {
  return TimeZone.named(calendar.timeZone ?? timeZone);
}

/**
 * The first elapse after an instant, exclusively; undefined when there is none before the year 2200. Where clocks are
 * put forward or back it is what systemd's timers do: a time that is skipped does not elapse on that day, a time that
 * is shown twice elapses once, except for a caller that asks while it is shown again.
 *
 * @param after a date, or milliseconds since 1970
 * @param timeZone the zone when the expression names none
 * @throws {UsageError} when there is no such zone
 */
export function nextElapse(calendar: Calendar, after: Date | number, timeZone: string): Date | undefined {
  return toDate(nextMicros(calendar, toMicros(after), zoneOf(calendar, timeZone)));
}

/**
 * The latest elapse at or before an instant; undefined when there is none since 1970. An hour that is shown twice has
 * elapses the first time only, so that what has run at 02:30 is not due again at the second 02:30.
 *
 * @param at a date, or milliseconds since 1970
 * @param timeZone the zone when the expression names none
 * @throws {UsageError} when there is no such zone
 */
export function previousElapse(calendar: Calendar, at: Date | number, timeZone: string): Date | undefined {
  return toDate(previousMicros(calendar, toMicros(at), zoneOf(calendar, timeZone)));
}

/**
 * The elapses after an instant, one after the other, for as long as they are asked for; they end with the year 2199.
 *
 * @param after a date, or milliseconds since 1970
 * @param timeZone the zone when the expression names none
 * @throws {UsageError} when there is no such zone
 * @example
 * ```ts
 * import { elapses, parseCalendar } from "./calendar.ts";
 * const [first] = elapses(parseCalendar("Sat *-*-1..7 18:00"), Date.UTC(2026, 0, 4), "UTC");
 * if (first?.toISOString() !== "2026-02-07T18:00:00.000Z") throw new Error(String(first));
 * ```
 */
export function* elapses(calendar: Calendar, after: Date | number, timeZone: string): Generator<Date, void> {
  for (let at = nextElapse(calendar, after, timeZone); at !== undefined; at = nextElapse(calendar, at, timeZone)) {
    yield at;
  }
}
