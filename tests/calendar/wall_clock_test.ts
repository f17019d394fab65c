import { assertEquals } from "@std/assert";
import { TimeZone } from "../../src/calendar/time_zone.ts";
import { WallClock } from "../../src/calendar/wall_clock.ts";
import type { WallTime } from "../../src/calendar/wall_time.ts";

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
