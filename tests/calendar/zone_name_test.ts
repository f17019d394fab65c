import { assert, assertEquals } from "@std/assert";
import { isTimeZone, timeZoneHint } from "../../src/calendar/zone_name.ts";

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
  assertEquals(timeZoneHint("Berlin"), `Did you mean "Europe/Berlin"?`);
  assertEquals(timeZoneHint("CEST"), `"CEST" is an abbreviation: write the zone's name, such as Europe/Berlin or UTC`);
  assertEquals(timeZoneHint("somewhere"), "Write the zone's name, such as Europe/Berlin or UTC");
});
