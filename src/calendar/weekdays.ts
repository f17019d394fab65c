/**
 * The first part of an OnCalendar expression, the days of the week: `Mon..Fri`, `Sat,Sun`. In: a reader at its
 * beginning.
 */
import type { Reader } from "./reader.ts";

const WEEKDAY = /(?:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)/iy;
const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** Reads them in order, 0 is Monday, and what blanks follow; none where the expression begins with something else. */
export function readWeekdays(reader: Reader): number[] {
  const days = new Set<number>();
  let rangeStart: number | undefined;
  for (let first = true;; first = false) {
    const at = reader.at;
    const word = reader.take(WEEKDAY);
    if (word === undefined) {
      if (first) return [];
      reader.fail(at, `a day of the week is needed here (Mon, Tue, Wed, Thu, Fri, Sat, Sun), not ${reader.shown()}`);
    }
    if (!["", "-", ".", ",", " "].includes(reader.peek())) {
      reader.fail(at, `${reader.shown(at)} is neither a day of the week nor a known word`);
    }
    const day = WEEKDAYS.indexOf(word.slice(0, 3).toLowerCase());
    if (rangeStart !== undefined && rangeStart > day) {
      reader.fail(at, "a range of weekdays runs from Mon to Sun and not over the end of the week");
    }
    for (let each = rangeStart ?? day; each <= day; each++) days.add(each);

    const inRange = rangeStart !== undefined;
    rangeStart = undefined;
    if (reader.peek() === ",") {
      reader.at++;
    } else if (reader.peek() === "." || reader.peek() === "-") {
      const dots = reader.peek() === ".";
      if (inRange) reader.fail(reader.at, "a range has one beginning and one end");
      if (dots && reader.peek(1) !== ".") {
        reader.fail(reader.at, `a range is written with two dots, as in "Mon..Fri"`);
      }
      reader.at += dots ? 2 : 1;
      rangeStart = day;
    }
    if (reader.peek() === "" || reader.peek() === " ") {
      if (rangeStart !== undefined) reader.fail(reader.at, "the range of weekdays has no end");
      reader.skipSpaces();
      return [...days].sort((a, b) => a - b);
    }
  }
}
