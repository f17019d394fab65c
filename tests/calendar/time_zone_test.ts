import { assert, assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { isTimeZone, TimeZone, timeZoneHint, WallClock, type WallTime } from "../../src/calendar/time_zone.ts";

const seconds = (iso: string) => Date.parse(iso) / 1000;

function wall(iso: string): WallTime {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = iso.split(/\D/).map(Number);
  return { year, month, day, hour, minute, second };
}

/** What a clock that was last asked about `before` makes of a wall time. */
function resolve(zone: string, before: string, local: string, daylight?: boolean): string | undefined {
  const found = new WallClock(TimeZone.named(zone), seconds(before)).resolve(wall(local), daylight);
  return found === undefined ? undefined : new Date(found * 1000).toISOString().replace(".000Z", "Z");
}

Deno.test("isTimeZone() knows the names of the IANA database as they are spelled there", () => {
  for (
    const name of ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Calcutta", "Etc/GMT+5", "CET", "EST5EDT", "Japan"]
  ) {
    assert(isTimeZone(name), name);
  }
  const others = [
    "",
    "utc",
    "europe/berlin",
    "PST",
    "IST",
    "CEST",
    "+01:00",
    "+01",
    "Berlin",
    "SystemV/EST5EDT",
    "Europe/",
  ];
  for (const name of others) assert(!isTimeZone(name), name);
});

Deno.test("timeZoneHint() suggests a close name, and none for an abbreviation or a word", () => {
  assertEquals(timeZoneHint("europe/berlin"), `Did you mean "Europe/Berlin"?`);
  assertEquals(timeZoneHint("CEST"), `"CEST" is an abbreviation: write the zone's name, such as Europe/Berlin or UTC`);
  assertEquals(timeZoneHint("somewhere"), "Write the zone's name, such as Europe/Berlin or UTC");
});

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

Deno.test("WallClock.resolve() moves a time that does not exist over the gap", () => {
  assertEquals(resolve("Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-29 02:30:00"), "2026-03-29T01:30:00Z");
  // Where the winter clock counts as the exception, the C library moves it back.
  assertEquals(resolve("Europe/Dublin", "2026-03-28T00:00:00Z", "2026-03-29 01:30:00"), "2026-03-29T00:30:00Z");
});

Deno.test("WallClock.resolve() takes of a time that exists twice the one with the offset it used last", () => {
  assertEquals(resolve("Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-25 02:30:00"), "2026-10-25T00:30:00Z");
  assertEquals(resolve("Europe/Berlin", "2026-10-26T00:00:00Z", "2026-10-25 02:30:00"), "2026-10-25T01:30:00Z");
});

Deno.test("WallClock.resolve() follows the flag for daylight saving where it is given", () => {
  assertEquals(resolve("Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-25 02:30:00", false), "2026-10-25T01:30:00Z");
  assertEquals(resolve("Europe/Berlin", "2026-10-26T00:00:00Z", "2026-10-25 02:30:00", true), "2026-10-25T00:30:00Z");
  assertEquals(resolve("Europe/Berlin", "2026-01-01T00:00:00Z", "2026-01-15 12:00:00", true), "2026-01-15T10:00:00Z");
  // It is looked for years back and years ahead: the last summer in Brazil, the first one in Germany.
  const brazil = resolve("America/Sao_Paulo", "2021-01-01T00:00:00Z", "2021-01-15 12:00:00", true);
  assertEquals(brazil, "2021-01-15T14:00:00Z");
  const germany = resolve("Europe/Berlin", "1975-01-01T00:00:00Z", "1975-01-15 12:00:00", true);
  assertEquals(germany, "1975-01-15T10:00:00Z");
});

Deno.test("WallClock.resolve() remembers how it moved a time that does not exist, where neither side is daylight", () => {
  const clock = new WallClock(TimeZone.named("Asia/Kathmandu"), seconds("1985-12-31T00:00:00Z"));
  const after = seconds("1985-12-31T18:35:00Z");
  assertEquals([1, 2].map(() => clock.resolve(wall("1986-01-01 00:05:00"))), [after, after]);
  clock.resolve(wall("1986-01-02 00:00:00"));
  assertEquals(clock.resolve(wall("1986-01-01 00:05:00")), after - 15 * 60);
});

Deno.test("WallClock.resolve() carries fields that are out of range", () => {
  assertEquals(resolve("UTC", "2026-01-01T00:00:00Z", "2025-14-31 24:60:75"), "2026-03-04T01:01:15Z");
});
