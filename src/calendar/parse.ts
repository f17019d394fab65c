/**
 * Reads a systemd OnCalendar expression: in comes its text, out comes a {@linkcode Calendar}, or an error that points
 * at the place. What is accepted and what is refused is what systemd 252 accepts and refuses.
 */
import { cronEquivalent, looksLikeCron } from "./cron.ts";
import { CalendarError, type Component, HINT, MICROS, type Placed, Reader } from "./reader.ts";
import { orderedValues, RANGES } from "./unit.ts";
import { readWeekdays } from "./weekdays.ts";
import { isTimeZone, timeZoneHint } from "./zone_name.ts";

/** An OnCalendar expression, taken apart and put in order. An empty list stands for `*`. */
export interface Calendar {
  /** 0 is Monday; empty where every day of the week is meant. */
  weekdays: number[];
  /** 1970 to 2199. */
  year: Component[];
  /** 1 to 12. */
  month: Component[];
  /** 1 to 31, or with `daysFromEnd` 1 (the last) to 28. */
  day: Component[];
  /** Whether `day` counts back from the last day of the month (`~`). */
  daysFromEnd: boolean;
  /** 0 to 23. */
  hour: Component[];
  /** 0 to 59. */
  minute: Component[];
  /** In microseconds within the minute; never empty. */
  second: Component[];
  /** The expression's own time zone, absent where it names none. */
  timeZone?: string;
}

/** The words that stand for a whole expression. `anually` is a misspelling that systemd has always accepted. */
const SHORTHANDS = new Map([
  ["minutely", "*-*-* *:*:00"],
  ["hourly", "*-*-* *:00:00"],
  ["daily", "*-*-* 00:00:00"],
  ["weekly", "Mon *-*-* 00:00:00"],
  ["monthly", "*-*-01 00:00:00"],
  ["quarterly", "*-01,04,07,10-01 00:00:00"],
  ...["semiannually", "semi-annually", "biannually", "bi-annually"].map((word) =>
    [word, "*-01,07-01 00:00:00"] as const
  ),
  ...["yearly", "annually", "anually"].map((word) => [word, "*-01-01 00:00:00"] as const),
]);

/**
 * Reads an OnCalendar expression as systemd.time(7) describes it.
 *
 * @throws {CalendarError} when it is not one
 * @see https://www.freedesktop.org/software/systemd/man/252/systemd.time.html#Calendar%20Events
 */
export function parseCalendar(expression: string): Calendar {
  try {
    return readExpression(expression);
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    throw explainCron(expression) ?? explainZone(expression) ?? error;
  }
}

function isReadable(expression: string): boolean {
  try {
    readExpression(expression);
    return true;
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    return false;
  }
}

/** Only what cannot be read is looked at as cron, so that no OnCalendar expression is ever mistaken for it. */
function explainCron(expression: string): CalendarError | undefined {
  if (!looksLikeCron(expression)) return undefined;
  const equivalent = cronEquivalent(expression, isReadable);
  const hint = equivalent === undefined
    ? `No single OnCalendar expression says the same (of two day fields cron needs either, OnCalendar both). ${HINT}`
    : `Write "${equivalent}"`;
  return new CalendarError(expression, 0, "this is a cron line, not a systemd OnCalendar expression", hint);
}

/** Where all would be well without the last word, that word is a zone with a slip in it. */
function explainZone(expression: string): CalendarError | undefined {
  const at = expression.lastIndexOf(" ") + 1;
  const zone = expression.slice(at);
  if (at < 2 || !/^(?!(?:mon|tue|wed|thu|fri|sat|sun))[a-z]/i.test(zone) || !isReadable(expression.slice(0, at - 1))) {
    return undefined;
  }
  return new CalendarError(expression, at, `there is no time zone "${zone}"`, timeZoneHint(zone));
}

function readExpression(expression: string): Calendar {
  const { text, timeZone } = splitZone(expression);
  const reader: Reader = new Reader(expression, text);
  if (text === "") reader.fail(0, "it is empty");
  const shorthand = /^[a-z-]+$/i.test(text) ? SHORTHANDS.get(text.toLowerCase()) : undefined;
  if (shorthand !== undefined) reader.text = shorthand;

  const weekdays = readWeekdays(reader);
  const calendar = reader.peek() === "@" ? readTimestamp(reader) : readDateAndTime(reader);
  const zone = calendar.timeZone ?? timeZone;
  return {
    ...calendar,
    weekdays: weekdays.length === 7 ? [] : weekdays,
    ...(zone === undefined ? {} : { timeZone: zone }),
  };
}

/** Takes the zone off the end. A last word that is no zone stays: it may be a time. */
function splitZone(expression: string): { text: string; timeZone?: string } {
  const space = expression.lastIndexOf(" ");
  const last = expression.slice(space + 1);
  if (space < 0) return { text: expression };
  const timeZone = /^utc$/i.test(last) ? "UTC" : last;
  return isTimeZone(timeZone) ? { text: expression.slice(0, space), timeZone } : { text: expression };
}

/** `@1767463200`: seconds since 1970, in UTC whatever zone is named. */
function readTimestamp(reader: Reader): Omit<Calendar, "weekdays"> {
  const at = reader.at;
  // Blanks and a sign are accepted because strtoul(3) accepts them.
  const stamp = reader.take(/@[ \t\n\v\f\r]*[+-]?\d+$/y);
  if (stamp === undefined) reader.fail(at, "after @ come the seconds since 1970 and nothing else");
  const seconds = Number(stamp.slice(1));
  const date = new Date(seconds * 1000);
  const [from, to] = RANGES.year;
  // Comparing this way round also refuses what Date cannot represent.
  if (!(date.getUTCFullYear() >= from && date.getUTCFullYear() <= to)) {
    reader.fail(at, `the time stamp is outside the years ${from}..${to}`);
  }
  const only = (start: number): Component[] => [{ start, repeat: 0 }];
  return {
    year: only(date.getUTCFullYear()),
    month: only(date.getUTCMonth() + 1),
    day: only(date.getUTCDate()),
    daysFromEnd: false,
    hour: only(date.getUTCHours()),
    minute: only(date.getUTCMinutes()),
    second: only(date.getUTCSeconds() * MICROS),
    timeZone: "UTC",
  };
}

function readDateAndTime(reader: Reader): Omit<Calendar, "weekdays"> {
  const date = readDate(reader);
  const time = readTime(reader);
  const day = orderedValues(reader, date.day, { unit: "day", daysFromEnd: date.daysFromEnd });
  return {
    year: orderedValues(reader, date.year.map(withCentury), { unit: "year" }),
    month: orderedValues(reader, date.month, { unit: "month" }),
    day,
    daysFromEnd: date.daysFromEnd && day.length > 0,
    hour: orderedValues(reader, time.hour, { unit: "hour" }),
    minute: orderedValues(reader, time.minute, { unit: "minute" }),
    second: orderedValues(reader, time.second, { unit: "second" }),
  };
}

/** Two digits are a year from 1970 to 2069. */
function withCentury(component: Placed): Placed {
  const full = (year: number) => year + (year < 70 ? 2000 : year < 100 ? 1900 : 0);
  const { start, stop } = component;
  return { ...component, start: full(start), ...(stop === undefined ? {} : { stop: full(stop) }) };
}

function readDate(reader: Reader): { year: Placed[]; month: Placed[]; day: Placed[]; daysFromEnd: boolean } {
  const at = reader.at;
  if (reader.peek() === "") return { year: [], month: [], day: [], daysFromEnd: false };
  const first = reader.list(false);
  if (reader.peek() === "" || reader.peek() === ":") {
    // It was the hour.
    reader.at = at;
    return { year: [], month: [], day: [], daysFromEnd: false };
  }
  let daysFromEnd = readDateSeparator(reader, `"-", "~" or ":"`);
  const second = reader.list(false);
  if (reader.peek() === "" || reader.peek() === " ") {
    reader.skipSpaces();
    return { year: [], month: first, day: second, daysFromEnd };
  }
  if (daysFromEnd) reader.fail(reader.at, `"~" stands before the day, which is the last part of a date`);
  daysFromEnd = readDateSeparator(reader, `"-", "~", a space or the end`);
  const third = reader.list(false);
  if (reader.peek() !== "" && reader.peek() !== " ") {
    reader.fail(reader.at, `a space or the end must follow the date, not ${reader.shown()}`);
  }
  reader.skipSpaces();
  return { year: first, month: second, day: third, daysFromEnd };
}

/** Whether the day that follows is counted from the end of the month. */
function readDateSeparator(reader: Reader, expected: string): boolean {
  const separator = reader.peek();
  if (separator !== "-" && separator !== "~") {
    const slip = separator === ":" ? `; a range is written "1..3"` : "";
    reader.fail(reader.at, `${expected} must follow here, not ${reader.shown()}${slip}`);
  }
  reader.at++;
  return separator === "~";
}

function readTime(reader: Reader): { hour: Placed[]; minute: Placed[]; second: Placed[] } {
  const zero = (): Placed[] => [{ start: 0, repeat: 0, at: reader.at }];
  if (reader.peek() === "") return { hour: zero(), minute: zero(), second: zero() };
  const hour = reader.list(false);
  if (reader.peek() !== ":") reader.fail(reader.at, `":" and the minute must follow the hour, not ${reader.shown()}`);
  reader.at++;
  const minute = reader.list(false);
  if (reader.peek() === "") return { hour, minute, second: zero() };
  if (reader.peek() !== ":") {
    reader.fail(reader.at, `":", a zone or the end must follow the minute, not ${reader.shown()}`);
  }
  reader.at++;
  const second = reader.list(true);
  if (reader.peek() !== "") {
    reader.fail(reader.at, `a zone or the end must follow the second, not ${reader.shown()}`);
  }
  return { hour, minute, second };
}
