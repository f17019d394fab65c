import { assert, assertEquals, assertThrows } from "@std/assert";
import { elapses, formatCalendar, nextElapse, parseCalendar, previousElapse } from "../../src/calendar/calendar.ts";
import { UsageError } from "../../src/errors.ts";
import { generateCalendars } from "./generate.ts";
import { answerCalendar, FIXTURE_SEED, FIXTURE_SIZE, isSameAnswer, readFixture } from "./oracle.ts";

const FIXTURE = readFixture(await Deno.readTextFile(new URL("../fixtures/calendar.json", import.meta.url)));

/** The next elapses as ISO strings. */
function elapsesAfter(expression: string, after: string, timeZone: string, count: number): string[] {
  return elapses(parseCalendar(expression), new Date(after), timeZone).take(count).map((at) => at.toISOString())
    .toArray();
}

function previous(expression: string, at: string, timeZone: string): string | undefined {
  return previousElapse(parseCalendar(expression), new Date(at), timeZone)?.toISOString();
}

Deno.test("generateCalendars() makes the recorded cases, of which a sixth is refused and the rest elapses", () => {
  assertEquals(generateCalendars(FIXTURE_SEED, FIXTURE_SIZE), FIXTURE.cases);
  const refused = FIXTURE.answers.filter(({ normalized }) => normalized === null).length;
  assert(refused > FIXTURE_SIZE / 6 && refused < FIXTURE_SIZE / 4, `${refused} are refused`);
  const elapses = FIXTURE.answers.flatMap((answer) => answer.elapses).flat();
  assert(elapses.length > 15_000);
  const unknown = elapses.filter((at) => at === null).length;
  assert(unknown > 0 && unknown < 30, `systemd gave up ${unknown} times`);
});

Deno.test("parseCalendar(), formatCalendar() and nextElapse() answer 2,000 expressions as systemd has", () => {
  // A difference in elapses alone, after an update of Deno, can also mean that a country has changed its clocks.
  const differences = FIXTURE.cases.flatMap((each, index) => {
    const expected = FIXTURE.answers[index]!;
    const actual = answerCalendar(each);
    return isSameAnswer(actual, expected) ? [] : [{ ...each, actual, expected }];
  });
  assertEquals(differences, []);
});

Deno.test("formatCalendar() writes every part out, as systemd-analyze does", () => {
  const table: Record<string, string> = {
    "Sat *-*-1..7 18:00:00": "Sat *-*-01..07 18:00:00",
    "Sat,Thu,Mon..Wed,Sat..Sun": "Mon..Thu,Sat,Sun *-*-* 00:00:00",
    "Mon,Sun 12-*-* 2,1:23": "Mon,Sun 2012-*-* 01,02:23:00",
    "Mon..Sun 5:0": "*-*-* 05:00:00",
    "05:40:23.4200004/3.1700005": "*-*-* 05:40:23.420000/3.170001",
    "*:*:0/1": "*-*-* *:*:*",
    "mon *-05~07/1": "Mon *-05~07/1 00:00:00",
    "*-*~*": "*-*-* 00:00:00",
    "1..8/3:00": "*-*-* 01..07/3:00:00",
    "12,12,3..3:00": "*-*-* 03,12:00:00",
    "69-1-1": "2069-01-01 00:00:00",
    "70-1-1": "1970-01-01 00:00:00",
    "quarterly utc": "*-01,04,07,10-01 00:00:00 UTC",
    "weekly Pacific/Auckland": "Mon *-*-* 00:00:00 Pacific/Auckland",
    "@1234567890 Europe/Berlin": "2009-02-13 23:31:30 UTC",
  };
  for (const [expression, expected] of Object.entries(table)) {
    const normal = formatCalendar(parseCalendar(expression));
    assertEquals(normal, expected);
    assertEquals(formatCalendar(parseCalendar(normal)), normal, "the normal form of a normal form is itself");
  }
});

Deno.test("nextElapse() finds the first Saturday of each month", () => {
  assertEquals(elapsesAfter("Sat *-*-1..7 18:00:00", "2026-01-03T18:00:00Z", "UTC", 3), [
    "2026-02-07T18:00:00.000Z",
    "2026-03-07T18:00:00.000Z",
    "2026-04-04T18:00:00.000Z",
  ]);
});

Deno.test("nextElapse() is later than the instant it is asked for, by a millisecond at the least", () => {
  assertEquals(elapsesAfter("daily", "2026-01-01T00:00:00Z", "UTC", 1), ["2026-01-02T00:00:00.000Z"]);
  assertEquals(elapsesAfter("daily", "2025-12-31T23:59:59.999Z", "UTC", 1), ["2026-01-01T00:00:00.000Z"]);
  // Ten times a millisecond is still found once per millisecond, and never before it is due.
  assertEquals(elapsesAfter("*:*:0/0.0001", "2026-01-01T00:00:00Z", "UTC", 2), [
    "2026-01-01T00:00:00.001Z",
    "2026-01-01T00:00:00.002Z",
  ]);
  assertEquals(elapsesAfter("0:0:0.0005", "2026-01-01T00:00:00Z", "UTC", 2), [
    "2026-01-01T00:00:00.001Z",
    "2026-01-02T00:00:00.001Z",
  ]);
});

Deno.test("nextElapse() takes the expression's own zone before the default", () => {
  assertEquals(elapsesAfter("12:00 Asia/Kolkata", "2026-01-01T00:00:00Z", "America/New_York", 1), [
    "2026-01-01T06:30:00.000Z",
  ]);
  assertEquals(elapsesAfter("12:00", "2026-01-01T00:00:00Z", "America/New_York", 1), ["2026-01-01T17:00:00.000Z"]);
});

Deno.test("nextElapse() leaves out a time that the clock skips, and takes one that it shows twice once", () => {
  // Clocks in Berlin go from 2:00 to 3:00 on 29 March 2026 and from 3:00 to 2:00 on 25 October.
  assertEquals(elapsesAfter("02:30", "2026-03-28T00:00:00Z", "Europe/Berlin", 2), [
    "2026-03-28T01:30:00.000Z",
    "2026-03-30T00:30:00.000Z",
  ]);
  assertEquals(elapsesAfter("02:30", "2026-10-24T12:00:00Z", "Europe/Berlin", 2), [
    "2026-10-25T00:30:00.000Z",
    "2026-10-26T01:30:00.000Z",
  ]);
});

Deno.test("nextElapse() goes on where systemd gives up over the flag for daylight saving", () => {
  // systemd 252: "Infinite loop in calendar calculation: *-*-* 00/5:00:00".
  assertEquals(elapsesAfter("0/5:00", "2026-03-28T21:55:00Z", "Europe/London", 2), [
    "2026-03-29T00:00:00.000Z",
    "2026-03-29T04:00:00.000Z",
  ]);
});

Deno.test("nextElapse() ends with the year 2199 and does not search for impossible dates", () => {
  for (const never of ["*-02-30", "Mon 2026-01-01", "2020-01-01", "Sun *-03-25..31 02:30"]) {
    assertEquals(elapsesAfter(never, "2026-01-01T12:00:00Z", "Europe/Berlin", 1), [], never);
  }
  assertEquals(elapsesAfter("*-12-31", "2198-01-01T00:00:00Z", "UTC", 5).length, 2);
  assertEquals(elapsesAfter("daily", "2300-01-01T00:00:00Z", "UTC", 1), []);
  assertEquals(elapsesAfter("daily", "1950-01-01T00:00:00Z", "UTC", 1), ["1970-01-01T00:00:00.000Z"]);
});

Deno.test("elapses() goes on from each elapse to the next, and ends when there are no more", () => {
  const list = (expression: string) => [...elapses(parseCalendar(expression), Date.UTC(2026, 0, 1), "UTC")];
  assertEquals(list("2026-01-01..03 12:00").map((at) => at.toISOString()), [
    "2026-01-01T12:00:00.000Z",
    "2026-01-02T12:00:00.000Z",
    "2026-01-03T12:00:00.000Z",
  ]);
  assertEquals(list("*-02-30"), []);
  assertEquals(list("*-01-01").length, 2199 - 2026);
});

Deno.test("nextElapse() refuses a zone that does not exist and suggests the closest", () => {
  const error = assertThrows(() => nextElapse(parseCalendar("daily"), 0, "Europe/Berln"), UsageError);
  assertEquals(error.message, `Unknown time zone "Europe/Berln": it is not in the IANA database`);
  assertEquals(error.hint, `Did you mean "Europe/Berlin"?`);
});

Deno.test("previousElapse() is the latest elapse, the instant itself included", () => {
  assertEquals(previous("Sat *-*-1..7 18:00:00", "2026-02-07T18:00:00Z", "UTC"), "2026-02-07T18:00:00.000Z");
  assertEquals(previous("Sat *-*-1..7 18:00:00", "2026-02-07T17:59:59.999Z", "UTC"), "2026-01-03T18:00:00.000Z");
  assertEquals(previous("*-02-29", "2027-06-01T00:00:00Z", "UTC"), "2024-02-29T00:00:00.000Z");
  assertEquals(previous("2020-01-01", "2026-01-01T00:00:00Z", "UTC"), "2020-01-01T00:00:00.000Z");
  assertEquals(previous("*-01-01 00:*:*", "2026-06-01T00:00:00Z", "UTC"), "2026-01-01T00:59:59.000Z");
});

Deno.test("previousElapse() is undefined before the first elapse and for impossible dates", () => {
  assertEquals(previous("2030-01-01", "2026-01-01T00:00:00Z", "UTC"), undefined);
  assertEquals(previous("*-02-30", "2026-01-01T00:00:00Z", "UTC"), undefined);
  assertEquals(previous("daily", "1960-01-01T00:00:00Z", "UTC"), undefined);
});

Deno.test("previousElapse() does not name a second elapse in an hour that is shown twice", () => {
  const first = "2026-10-25T00:30:00.000Z";
  for (const at of ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T12:00:00Z"]) {
    assertEquals(previous("02:30", at, "Europe/Berlin"), first);
  }
  assertEquals(previous("*:0/15", "2026-10-25T01:40:00Z", "Europe/Berlin"), "2026-10-25T00:45:00.000Z");
});
