/**
 * When a calendar elapses: from a calendar, an instant and a zone to the next instant at which the wall clock shows
 * what the calendar asks for, or the latest one before. Instants are microseconds since 1970, the finest that an
 * expression can say; they fit a number until the year 2255.
 *
 * The search moves one unit at a time from the year down and asks after each step what the clock really shows. Where
 * clocks are put forward or back the order of these steps decides what comes out, and it is systemd's order: so that a
 * task here and a timer there agree on every night of the year.
 */
import type { Calendar } from "./parse.ts";
import { type Component, MICROS } from "./reader.ts";
import { RANGES, type Unit } from "./unit.ts";
import type { TimeZone } from "./time_zone.ts";
import { WallClock } from "./wall_clock.ts";
import { type WallTime, weekdayOf } from "./wall_time.ts";

const [, MAX_YEAR] = RANGES.year;
/** systemd gives up after as many rounds: an hour that clocks always skip is not to be sought for centuries. */
const MAX_ROUNDS = 1000;

const UNITS: readonly Unit[] = ["year", "month", "day", "hour", "minute", "second"];
const LOWEST: WallTime = { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

/** A place in the search. */
interface Moment extends WallTime {
  /** Microseconds within the second. */
  micro: number;
  /** Whether daylight saving is in force; undefined where the zone is to decide. */
  daylight: boolean | undefined;
}

/**
 * The first elapse after `after`, or undefined when there is none before the year 2200.
 *
 * @param after microseconds since 1970; an instant before 1970 counts as its beginning
 */
export function nextMicros(calendar: Calendar, after: number, zone: TimeZone): number | undefined {
  const from = Math.max(after + 1, 0);
  const fromSecond = Math.floor(from / MICROS);
  const start: Moment = {
    ...zone.wallAt(fromSecond),
    micro: from % MICROS,
    daylight: zone.isDaylight(fromSecond),
  };
  if (start.year > MAX_YEAR) return undefined;
  for (const keepDaylight of [true, false]) {
    const clock = new WallClock(zone, fromSecond);
    const found = search(calendar, start, clock, keepDaylight);
    if (found === "lost") continue;
    const second = found === "never" ? undefined : clock.resolve(found, found.daylight);
    return found === "never" || second === undefined || second < 0 ? undefined : second * MICROS + found.micro;
  }
  return undefined;
}

/**
 * The latest elapse at or before `at`, or undefined when there is none since 1970. When clocks were put back, the hour
 * that is shown again has no elapses of its own: what is due at 02:30 has elapsed the first time.
 *
 * @param at microseconds since 1970
 */
export function previousMicros(calendar: Calendar, at: number, zone: TimeZone): number | undefined {
  const next = (after: number) => nextMicros(calendar, beforeRepetition(after, zone), zone);
  let low: number | undefined;
  for (let width = MICROS; low === undefined; width *= 4) {
    const from = Math.max(at - width, -1);
    const found = next(from);
    if (found !== undefined && found <= at) low = found;
    else if (from < 0) return undefined;
  }
  // An elapse is known; half the way to `at` is ruled out, or brings a later one, in each round.
  let high = at;
  while (true) {
    const following = next(low);
    if (following === undefined || following > at || following <= low) return low;
    low = following;
    const middle = Math.floor((low + high) / 2);
    const found = next(middle);
    if (found !== undefined && found <= at) low = Math.max(low, found);
    else high = middle;
  }
}

/** `micros`, or the end of the hour's first showing while its second showing runs. */
function beforeRepetition(micros: number, zone: TimeZone): number {
  const since = zone.repeatedSince(Math.floor((micros + 1) / MICROS));
  return since === undefined ? micros : since * MICROS - 2;
}

/**
 * Goes from `start` to the first moment that fits; "lost" when there is none after as many rounds as systemd tries.
 *
 * @param keepDaylight whether a moment keeps, as systemd's does, the daylight saving flag of the time it was moved to
 * over a gap. Its hour may then be set to 0, before the change, where the flag is wrong and leads back to the evening
 * before, for ever: `0/5:00` in London, from 20:00 on the eve of summer time. systemd reports "Infinite loop in
 * calendar calculation" and its timer stops. A backup must not, so the search is then made again without the flag.
 */
function search(calendar: Calendar, start: Moment, clock: WallClock, keepDaylight: boolean): Moment | "never" | "lost" {
  const moment = { ...start };
  let stuck = false;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (!keepDaylight && !stuck && round > 0) moment.daylight = undefined;
    normalize(moment, clock);
    if (!stuck) moment.daylight = undefined;
    const outcome = descend(calendar, moment, clock);
    if (outcome === "never") return "never";
    if (outcome === "again") continue;
    if (!isBefore(moment, start)) return moment;
    // The hour that is shown twice led back in time: go on an hour at a time, in the daylight saving found.
    stuck = true;
    moment.hour++;
  }
  return "lost";
}

/** Brings all fields into their ranges. */
function normalize(moment: Moment, clock: WallClock): void {
  const seconds = clock.resolve(moment, moment.daylight);
  if (seconds === undefined) return;
  Object.assign(moment, clock.zone.wallAt(seconds));
  moment.daylight = clock.zone.isDaylight(seconds);
}

function isBefore(a: Moment, b: Moment): boolean {
  for (const unit of UNITS) {
    if (a[unit] !== b[unit]) return a[unit] < b[unit];
  }
  return a.micro < b.micro;
}

/**
 * Moves each unit, from the year down, to the first value that the calendar allows. "again" means that a unit had to
 * be carried into the next larger one, or that the clock skips this time, so that the search starts over from there.
 */
function descend(calendar: Calendar, moment: Moment, clock: WallClock): "found" | "again" | "never" {
  for (const [level, unit] of UNITS.entries()) {
    const move = advance(calendar, unit, moment, clock);
    if (move === "later") reset(moment, level + 1);
    const fit = move === "none" ? "outside" : askClock(moment, clock);
    if (level === 0 && fit !== "fits") return "never";
    if (fit === "moved") return "again";
    if (fit === "outside") {
      carry(moment, level - 1);
      return "again";
    }
    if (unit === "day" && calendar.weekdays.length > 0 && !calendar.weekdays.includes(weekdayOf(moment))) {
      carry(moment, level);
      return "again";
    }
  }
  return "found";
}

/** Sets the units from `level` down to their first values. */
function reset(moment: Moment, level: number): void {
  // The calendar sets the microseconds together with the second.
  if (level >= UNITS.length) return;
  for (const unit of UNITS.slice(level)) moment[unit] = LOWEST[unit];
  moment.micro = 0;
}

/** Goes on to the next value of the unit at `level`, whether or not the month has it. */
function carry(moment: Moment, level: number): void {
  moment[UNITS[level]!]++;
  reset(moment, level + 1);
}

/** Moves one unit to its first allowed value that is not earlier. */
function advance(calendar: Calendar, unit: Unit, moment: Moment, clock: WallClock): "same" | "later" | "none" {
  const value = unit === "second" ? moment.second * MICROS + moment.micro : moment[unit];
  const components = calendar[unit];
  if (components.length === 0) return "same";
  const fromEnd = unit === "day" && calendar.daysFromEnd;
  const first = firstValue(fromEnd ? components.map((each) => daysFromStart(each, moment, clock)) : components, value);
  if (first === undefined) return "none";
  moment[unit] = unit === "second" ? Math.floor(first / MICROS) : first;
  if (unit === "second") moment.micro = first % MICROS;
  return first === value ? "same" : "later";
}

/**
 * The first value of the components that is not below `value`. It may exceed the unit's range; the clock carries it.
 */
function firstValue(components: Component[], value: number): number | undefined {
  let first = Infinity;
  for (const { start, stop = Infinity, repeat } of components) {
    if (start >= value) first = Math.min(first, start);
    else if (repeat > 0) {
      const step = start + repeat * Math.ceil((value - start) / repeat);
      if (step <= stop) first = Math.min(first, step);
    }
  }
  return first === Infinity ? undefined : first;
}

/** A component that counts from the end of the month, as days of the moment's month: `~3` in June is 28. */
function daysFromStart(component: Component, moment: Moment, clock: WallClock): Component {
  const dayOf = (fromEnd: number): number | undefined => {
    const seconds = clock.resolve({ ...moment, month: moment.month + 1, day: 1 - fromEnd }, moment.daylight);
    if (seconds === undefined || seconds < 0) return undefined;
    const wall = clock.zone.wallAt(seconds);
    return wall.month === moment.month ? wall.day : undefined;
  };
  const start = dayOf(component.start) ?? -1;
  // systemd resolves this day even where there is no `stop`, and the clock remembers what it resolved last.
  const stop = dayOf(component.stop ?? -1);
  return stop === undefined
    ? { start, repeat: component.repeat }
    : { start: stop, stop: start, repeat: component.repeat };
}

/**
 * Asks what the clock shows at the moment. "moved": the clock skips this time, and the moment is now the time after
 * the gap, from the beginning of the unit in which it differs. "outside": the moment lies beyond the last year, before
 * 1970, or the clock goes back from it.
 */
function askClock(moment: Moment, clock: WallClock): "fits" | "moved" | "outside" {
  if (moment.year > MAX_YEAR) return "outside";
  const seconds = clock.resolve(moment, moment.daylight);
  if (seconds === undefined || seconds < 0) return "outside";
  const shown = clock.zone.wallAt(seconds);
  const level = UNITS.findIndex((unit) => shown[unit] !== moment[unit]);
  if (level < 0) return "fits";
  const unit = UNITS[level]!;
  if (shown[unit] < moment[unit]) return "outside";
  Object.assign(moment, shown);
  moment.daylight = clock.zone.isDaylight(seconds);
  const below = UNITS[level + 1];
  if (below !== undefined) moment[below] = LOWEST[below];
  return "moved";
}
