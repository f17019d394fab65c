/**
 * The units of a calendar, and their values as systemd keeps them. In: components as they are written. Out: the same in
 * order, without repetitions and within the unit's range, or an error at the place of the one that is not.
 */
import { type Component, MICROS, type Placed, type Reader } from "./reader.ts";

/** A part of a date or time. */
export type Unit = "year" | "month" | "day" | "hour" | "minute" | "second";

/** The least and the largest value of each unit; seconds in microseconds. */
export const RANGES: Record<Unit, readonly [from: number, to: number]> = {
  year: [1970, 2199],
  month: [1, 12],
  day: [1, 31],
  hour: [0, 23],
  minute: [0, 59],
  second: [0, 60 * MICROS - 1],
};

/**
 * A unit's values in systemd's order, without repetitions.
 *
 * @param list as they are written
 * @param options `daysFromEnd`: the list is of days that count back from the end of the month
 * @throws {CalendarError} where one is outside the unit's range
 */
export function orderedValues(
  reader: Reader,
  list: Placed[],
  { unit, daysFromEnd = false }: { unit: Unit; daysFromEnd?: boolean },
): Component[] {
  const sorted = list.map(trim).sort(compare).filter((each, index, all) =>
    index === 0 || compare(each, all[index - 1]!)
  );
  // Counted from its end, every month has 28 days. systemd takes away three more with each further entry: a slip, but
  // what is accepted here must be accepted by a timer.
  const last = (index: number) => daysFromEnd ? 28 - 3 * index : RANGES[unit][1];
  return sorted.map((placed, index) => checked(reader, placed, { unit, to: last(index), daysFromEnd }));
}

function compare(a: Component, b: Component): number {
  return a.start - b.start || (a.stop ?? -1) - (b.stop ?? -1) || a.repeat - b.repeat;
}

/** Lets a range end at its last value (`1..8/3` is `1..7/3`), and makes a range of one value that value. */
function trim({ start, stop, repeat, at }: Placed): Placed {
  const last = stop !== undefined && stop > start && repeat > 0 ? stop - (stop - start) % repeat : stop;
  if (last === undefined) return { start, repeat, at };
  return last === start ? { start, repeat: 0, at } : { start, stop: last, repeat, at };
}

/** @param bounds `to`: the largest value allowed */
function checked(
  reader: Reader,
  placed: Placed,
  { unit, to, daysFromEnd }: { unit: Unit; to: number; daysFromEnd: boolean },
): Component {
  const { at, ...component } = placed;
  const { start, stop, repeat } = component;
  const from = RANGES[unit][0];
  const number = (value: number) => unit === "second" ? String(value / MICROS) : String(value);
  const range = daysFromEnd ? `1..${to} (days from the end)` : unit === "second" ? "0..59" : `${from}..${to}`;
  for (const value of [start, stop ?? start]) {
    if (value < from || value > to) reader.fail(at, `${unit} ${number(value)} is outside ${range}`);
  }
  if (stop !== undefined && stop < start) {
    reader.fail(at, `the range ${number(start)}..${number(stop)} runs backwards`);
  }
  const reaches = stop !== undefined
    ? start + repeat <= stop
    : daysFromEnd
    ? start - repeat >= from
    : start + repeat <= to;
  if (repeat > to - from || !reaches) {
    reader.fail(at, `steps of ${number(repeat)} from ${unit} ${number(start)} never reach a second value in ${range}`);
  }
  return component;
}
