import { assert, assertEquals } from "@std/assert";
import { nextMicros, previousMicros } from "../../src/calendar/elapse.ts";
import { parseCalendar } from "../../src/calendar/parse.ts";
import { TimeZone } from "../../src/calendar/time_zone.ts";
import { generateCalendars } from "./generate.ts";

const UTC = TimeZone.named("UTC");

Deno.test("nextMicros() counts in microseconds and leaves out the instant it starts from", () => {
  const calendar = parseCalendar("*:*:0.5,30.000001");
  assertEquals(nextMicros(calendar, 0, UTC), 500_000);
  assertEquals(nextMicros(calendar, 499_999, UTC), 500_000);
  assertEquals(nextMicros(calendar, 500_000, UTC), 30_000_001);
  assertEquals(nextMicros(calendar, 30_000_001, UTC), 60_500_000);
});

Deno.test("nextMicros() starts with 1970 and ends with 2199", () => {
  const end = Date.UTC(2199, 11, 31, 23, 59, 59) * 1000;
  assertEquals(nextMicros(parseCalendar("*:*:*"), -1e15, UTC), 0);
  assertEquals(nextMicros(parseCalendar("*:*:*"), end - 1, UTC), end);
  assertEquals(nextMicros(parseCalendar("*:*:*"), end, UTC), undefined);
});

Deno.test("nextMicros() carries the fraction of a step over the end of a minute, as systemd does", () => {
  // 0/7.3 has no value in the first 7.3 seconds of a minute into which the step before has run over.
  const calendar = parseCalendar("*:*:0/7.3");
  assertEquals(nextMicros(calendar, 58_400_000, UTC), 67_300_000);
});

Deno.test("nextMicros() elapses on the last days of each month", () => {
  const calendar = parseCalendar("*-*~1");
  const found: string[] = [];
  for (let at = Date.UTC(2028, 0, 1) * 1000; found.length < 3; at = nextMicros(calendar, at, UTC)!) {
    found.push(new Date(nextMicros(calendar, at, UTC)! / 1000).toISOString().slice(0, 10));
  }
  assertEquals(found, ["2028-01-31", "2028-02-29", "2028-03-31"]);
});

Deno.test("previousMicros() finds, from any instant between two elapses, the earlier one", () => {
  let compared = 0;
  for (const { expression, timeZone, bases } of generateCalendars(7, 600)) {
    let calendar;
    try {
      calendar = parseCalendar(expression);
    } catch {
      continue;
    }
    const zone = TimeZone.named(calendar.timeZone ?? timeZone);
    for (const base of bases) {
      let elapse = nextMicros(calendar, base * 1e6, zone);
      for (let count = 0; count < 4 && elapse !== undefined; count++) {
        const following = nextMicros(calendar, elapse, zone);
        // In a night in which clocks change, what nextMicros() finds depends on where it starts, as in systemd.
        const second = Math.floor(elapse / 1e6);
        if (zone.offsetAt(second - 86_400) === zone.offsetAt(second + 86_400)) {
          const until: number = Math.min(following ?? Infinity, elapse + 1e13);
          for (const at of [elapse, Math.floor((elapse + until) / 2), until - 1]) {
            assertEquals(previousMicros(calendar, at, zone), elapse, `${expression}, ${zone.name}, ${at}`);
          }
          compared++;
        }
        elapse = following;
      }
    }
  }
  assert(compared > 2000, `${compared} compared`);
});
