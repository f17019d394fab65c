/**
 * Days of the calendar: the date in the path of a backup, and the month whose databases are due. Pure: the time is
 * given.
 */

/** A day of twenty-four hours, as a time; one of the calendar may be an hour longer or shorter. */
export const DAY_MS = 86_400_000;

/** A day in the calendar; the folder of a backup is made of it. */
export interface BackupDate {
  /** Four digits. */
  year: number;
  /** 1 to 12. */
  month: number;
  /** 1 to 31. */
  day: number;
}

/** As in paths: `2026/01/03`. */
export function formatDate(date: BackupDate): string {
  return joinDate(date, "/");
}

/** As in reports and on the command line: `2026-01-03`. */
export function formatIsoDate(date: BackupDate): string {
  return joinDate(date, "-");
}

/** Reads `2026/01/03` or `2026-01-03`; undefined when it is not a day of the calendar. */
export function parseDate(text: string): BackupDate | undefined {
  const match = /^(\d{4})([-/])(\d{1,2})\2(\d{1,2})$/.exec(text);
  if (match === null) return undefined;
  const date = { year: Number(match[1]), month: Number(match[3]), day: Number(match[4]) };
  const inCalendar = date.month >= 1 && date.month <= 12 && date.day >= 1 && date.day <= daysInMonth(date);
  return inCalendar ? date : undefined;
}

/**
 * Reads a moment with its zone: `2026-11-25T18:05Z`, `2026-11-25 19:05:30.5+01:00`, `20261125T180530Z`; undefined when
 * it is none. Without a zone it would mean something else on another machine.
 */
export function parseInstant(text: string): Date | undefined {
  const match = /^(\d{4})(-?)(\d\d)\2(\d\d)[T ](\d\d):?(\d\d)(?::?(\d\d)(\.\d{1,9})?)?(?:Z|([+-])(\d\d):?(\d\d)?)$/i
    .exec(text);
  if (match === null) return undefined;
  const [, year, , month, day, hour, minute, second = "0", fraction = "0", sign, zoneHour = "0", zoneMinute = "0"] =
    match;
  const date = parseDate(`${year}-${month}-${day}`);
  const offsetMinutes = (sign === "-" ? -1 : 1) * (Number(zoneHour) * 60 + Number(zoneMinute));
  if (date === undefined || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  if (Number(zoneHour) > 14 || Number(zoneMinute) > 59) return undefined;
  const whole = Date.UTC(date.year, date.month - 1, date.day, Number(hour), Number(minute) - offsetMinutes);
  return new Date(whole + Number(second) * 1000 + Math.floor(Number(fraction) * 1000));
}

/** The day it is at `instant` in a time zone, such as `Europe/Berlin`. */
export function dateInZone(instant: Date, timeZone: string): BackupDate {
  // Most servers have it, and to load Intl takes a tenth of a start.
  if (timeZone === "UTC" && !Number.isNaN(instant.getTime())) {
    return { year: instant.getUTCFullYear(), month: instant.getUTCMonth() + 1, day: instant.getUTCDate() };
  }
  const format = new Intl.DateTimeFormat("en-US-u-ca-iso8601", {
    timeZone,
    year: "numeric",
    month: "numeric",
    day: "numeric",
  });
  const parts = Object.fromEntries(format.formatToParts(instant).map((part) => [part.type, part.value]));
  return { year: Number(parts.year), month: Number(parts.month), day: Number(parts.day) };
}

/** `Sat 2026-01-03 18:00:00 GMT+1`: what the clocks of a time zone show at `instant`. */
export function formatInZone(instant: Date, timeZone: string): string {
  const format = new Intl.DateTimeFormat("en-US-u-ca-iso8601-hc-h23", {
    timeZone,
    weekday: "short",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZoneName: "shortOffset",
  });
  const part = Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, value]));
  const { weekday, year, month, day, hour, minute, second, timeZoneName } = part;
  // Node calls it GMT+0.
  const offset = timeZoneName === "GMT+0" ? "GMT" : timeZoneName;
  return `${weekday} ${year}-${month}-${day} ${hour}:${minute}:${second} ${offset}`;
}

/** How many days the month of `date` has. */
export function daysInMonth(date: { year: number; month: number }): number {
  return new Date(Date.UTC(date.year, date.month, 0)).getUTCDate();
}

/** The same day one month earlier, or that month's last day where it has no such day: 31 March gives 28 February. */
export function previousMonth(date: BackupDate): BackupDate {
  const month = date.month === 1 ? 12 : date.month - 1;
  const year = date.month === 1 ? date.year - 1 : date.year;
  return { year, month, day: Math.min(date.day, daysInMonth({ year, month })) };
}

/** The month of `date` as database names carry it: `202311` for a day in November 2023. */
export function monthOf(date: BackupDate): string {
  return formatDate(date).slice(0, 7).replace("/", "");
}

/** How far ahead another clock may be before one of the two is taken for wrong. */
const FUTURE_FROM_MS = 3_600_000;

/** Whether a moment that has been noted somewhere else cannot have been yet: a clock is wrong, there or here. */
export function isOfFuture(moment: Date, now: Date): boolean {
  return moment.getTime() > now.getTime() + FUTURE_FROM_MS;
}

function joinDate({ year, month, day }: BackupDate, separator: string): string {
  const digits = (value: number, width: number) => String(value).padStart(width, "0");
  return [digits(year, 4), digits(month, 2), digits(day, 2)].join(separator);
}
