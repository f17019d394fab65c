import { assert, assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { TimeZone } from "../../src/calendar/time_zone.ts";

const seconds = (iso: string) => Date.parse(iso) / 1000;

Deno.test("TimeZone.named() refuses an unknown zone and returns the same object for a known one", () => {
  assertThrows(() => TimeZone.named("Europe/Nowhere"), UsageError, `Unknown time zone "Europe/Nowhere"`);
  assert(TimeZone.named("Europe/Berlin") === TimeZone.named("Europe/Berlin"));
});

Deno.test("TimeZone.offsetAt() agrees with Temporal in every zone, in the seconds around each change too", () => {
  const first = Temporal.Instant.from("1970-01-02T00:00Z");
  let changes = 0;
  for (const name of Intl.supportedValuesOf("timeZone")) {
    const zone = TimeZone.named(name);
    let at: Temporal.ZonedDateTime | null = first.toZonedDateTimeISO(name);
    while (at !== null && at.year < 2045) {
      for (const second of [-1, 0, 86_400]) {
        const near: Temporal.ZonedDateTime = at.add({ seconds: second });
        assertEquals(zone.offsetAt(near.epochMilliseconds / 1000), near.offsetNanoseconds / 1e9, near.toString());
      }
      changes++;
      at = at.getTimeZoneTransition("next");
    }
  }
  assert(changes > 20_000, `${changes} changes`);
});

Deno.test("TimeZone.isDaylight() is the rarer clock of the year, which in Dublin and Casablanca is the earlier one", () => {
  const table: [zone: string, january: boolean, july: boolean][] = [
    ["Europe/Berlin", false, true],
    ["Australia/Sydney", true, false],
    ["Europe/Dublin", true, false],
    ["Asia/Kolkata", false, false],
  ];
  for (const [zone, january, july] of table) {
    assertEquals(TimeZone.named(zone).isDaylight(seconds("2026-01-15T00:00:00Z")), january, zone);
    assertEquals(TimeZone.named(zone).isDaylight(seconds("2026-07-15T00:00:00Z")), july, zone);
  }
  // The year is the zone's: on New Year's Eve of 1985 in Greenwich, Nepal had just left +05:30 for good.
  assertEquals(TimeZone.named("Asia/Kathmandu").isDaylight(seconds("1985-12-31T18:30:00Z")), false);
  // Ramadan 2026.
  assertEquals(TimeZone.named("Africa/Casablanca").isDaylight(seconds("2026-03-01T00:00:00Z")), true);
});

Deno.test("TimeZone.repeatedSince() is the change while the same hour is shown again, and undefined at other times", () => {
  const zone = TimeZone.named("Europe/Berlin");
  const change = seconds("2026-10-25T01:00:00Z");
  assertEquals(zone.repeatedSince(change - 1), undefined);
  assertEquals(zone.repeatedSince(change), change);
  assertEquals(zone.repeatedSince(change + 3599), change);
  assertEquals(zone.repeatedSince(change + 3600), undefined);
  assertEquals(zone.repeatedSince(seconds("2026-03-29T01:00:00Z")), undefined);
});
