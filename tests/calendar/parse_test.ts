import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { EXIT } from "../../src/errors.ts";
import { parseCalendar } from "../../src/calendar/parse.ts";
import { CalendarError } from "../../src/calendar/reader.ts";

Deno.test("parseCalendar() takes an expression apart", () => {
  assertEquals(parseCalendar("sat,Mon 26-*~1..7/3 18:0/15:2.5 Europe/Berlin"), {
    weekdays: [0, 5],
    year: [{ start: 2026, repeat: 0 }],
    month: [],
    day: [{ start: 1, stop: 7, repeat: 3 }],
    daysFromEnd: true,
    hour: [{ start: 18, repeat: 0 }],
    minute: [{ start: 0, repeat: 15 }],
    second: [{ start: 2_500_000, repeat: 0 }],
    timeZone: "Europe/Berlin",
  });
});

Deno.test("parseCalendar() points at what it cannot read and says what is allowed", () => {
  const table: [expression: string, offset: number, reason: string][] = [
    ["", 0, "it is empty"],
    ["Sat *-*-1..7 25:00", 13, "hour 25 is outside 0..23"],
    ["Fri..Mon 12:00", 5, "a range of weekdays runs from Mon to Sun and not over the end of the week"],
    ["Mon..", 5, "the range of weekdays has no end"],
    ["Mon.Tue", 3, `a range is written with two dots, as in "Mon..Fri"`],
    ["month", 0, `"month" is neither a day of the week nor a known word`],
    ["*/5:00", 0, `steps need a beginning: write "0/5" or "1/5" instead of "*/5"`],
    ["7..5:00", 0, "the range 7..5 runs backwards"],
    ["*-*-1/31", 4, "steps of 31 from day 1 never reach a second value in 1..31"],
    ["12:00:5.", 8, "digits must follow the decimal point"],
    ["1-3:00", 3, `a range is written "1..3"`],
    ["2012-10-15T12:00", 10, `"T" cannot follow a number`],
    ["*~02-03", 4, `"~" stands before the day, which is the last part of a date`],
    ["*-*~2,26", 6, "day 26 is outside 1..25 (days from the end)"],
    ["2200-01-01", 0, "year 2200 is outside 1970..2199"],
    ["@soon", 0, "after @ come the seconds since 1970 and nothing else"],
    ["daily Europe/Berln", 6, `there is no time zone "Europe/Berln"`],
  ];
  for (const [expression, offset, reason] of table) {
    const error = assertThrows(() => parseCalendar(expression), CalendarError);
    assertStringIncludes(error.reason, reason);
    assertEquals([error.expression, error.offset], [expression, offset], expression);
    const [first = "", line, caret] = error.message.split("\n");
    assert(first.startsWith(`Cannot read schedule "${expression}": `));
    assertEquals([line, caret], [`  ${expression}`, `  ${" ".repeat(offset)}^`]);
    assert(error.hint !== undefined);
  }
});

Deno.test("parseCalendar() keeps the caret in its place under a line break", () => {
  const error = assertThrows(() => parseCalendar("Mon\n12:00"), CalendarError);
  assertEquals(error.message.split("\n").slice(1), ["  Mon 12:00", "  ^"]);
});

Deno.test("parseCalendar() refuses a cron line and names the OnCalendar expression instead", () => {
  const error = assertThrows(() => parseCalendar("0 18 * * 6"), CalendarError);
  assertEquals(error.reason, "this is a cron line, not a systemd OnCalendar expression");
  assertEquals(error.hint, `Write "Sat *-*-* 18:00:00"`);
  assertEquals(error.exitCode, EXIT.usage);
  const without = assertThrows(() => parseCalendar("0 0 13 * 5"), CalendarError);
  assertStringIncludes(without.hint ?? "", "No single OnCalendar expression says the same");
  const outside = assertThrows(() => parseCalendar("75 0 * * *"), CalendarError);
  assertStringIncludes(outside.hint ?? "", "No single OnCalendar expression says the same");
});

Deno.test("parseCalendar() suggests the zone that was meant", () => {
  const hint = (expression: string) => assertThrows(() => parseCalendar(expression), CalendarError).hint;
  assertEquals(hint("12:00 europe/berlin"), `Did you mean "Europe/Berlin"?`);
  assertStringIncludes(hint("12:00 CEST") ?? "", "is an abbreviation");
});

Deno.test("parseCalendar() refuses time stamps before 1970, which systemd may take for other years", () => {
  // Seconds of the year 68, which systemd turns into 2068.
  for (const stamp of ["@-1", "@-60000000000"]) {
    assertThrows(() => parseCalendar(stamp), CalendarError, "outside the years");
  }
});
