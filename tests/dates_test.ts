import { assertEquals, assertThrows } from "@std/assert";
import {
  dateInZone,
  daysInMonth,
  formatDate,
  formatInZone,
  monthOf,
  parseDate,
  parseInstant,
  previousMonth,
} from "../src/dates.ts";

Deno.test("previousMonth() clamps to the last day of the month and crosses years", () => {
  const cases: [string, string][] = [
    ["2026/03/31", "2026/02/28"],
    ["2024/03/31", "2024/02/29"],
    ["2024/03/30", "2024/02/29"],
    ["2026/01/31", "2025/12/31"],
    ["2026/05/31", "2026/04/30"],
    ["2026/10/29", "2026/09/29"],
  ];
  for (const [date, expected] of cases) assertEquals(formatDate(previousMonth(parseDate(date)!)), expected, date);
});

Deno.test("dateInZone() gives the day of the zone, not of UTC", () => {
  const instant = new Date("2025-12-31T23:30:00Z");
  assertEquals(formatDate(dateInZone(instant, "Europe/Berlin")), "2026/01/01");
  assertEquals(formatDate(dateInZone(instant, "America/New_York")), "2025/12/31");
  assertEquals(formatDate(dateInZone(new Date("2026-01-01T00:00:00Z"), "UTC")), "2026/01/01");
});

Deno.test("dateInZone() tells the day in UTC whatever zone the machine has, and no day of no instant", async () => {
  const script = `import { dateInZone } from "${import.meta.resolve("../src/dates.ts")}";
    const days = ["2026-12-31T12:00Z", "2026-01-01T00:00Z"].map((at) => dateInZone(new Date(at), "UTC"));
    console.log(JSON.stringify(days));`;
  for (const TZ of ["Pacific/Kiritimati", "Pacific/Pago_Pago"]) {
    const command = new Deno.Command(Deno.execPath(), { args: ["eval", "--quiet", script], env: { TZ } });
    const days = JSON.parse(new TextDecoder().decode((await command.output()).stdout));
    assertEquals(days, [{ year: 2026, month: 12, day: 31 }, { year: 2026, month: 1, day: 1 }], TZ);
  }
  assertThrows(() => dateInZone(new Date(NaN), "UTC"), RangeError);
});

Deno.test("parseDate() reads both spellings and refuses what is no day", () => {
  assertEquals(parseDate("2026/10/22"), { year: 2026, month: 10, day: 22 });
  assertEquals(parseDate("2026-1-2"), { year: 2026, month: 1, day: 2 });
  for (const text of ["2026-02-29", "2026-13-01", "2026-00-10", "2026/10-22", "20261022", "latest", ""]) {
    assertEquals(parseDate(text), undefined, text);
  }
});

Deno.test("daysInMonth() knows leap years", () => {
  assertEquals([2023, 2024, 1900, 2000].map((year) => daysInMonth({ year, month: 2 })), [28, 29, 28, 29]);
});

Deno.test("monthOf() gives the month as database names carry it", () => {
  assertEquals(monthOf({ year: 2023, month: 1, day: 5 }), "202301");
});

Deno.test("formatInZone() shows what the clocks of a zone show", () => {
  const instant = new Date("2026-07-04T22:05:09Z");
  assertEquals(formatInZone(instant, "Europe/Berlin"), "Sun 2026-07-05 00:05:09 GMT+2");
  assertEquals(formatInZone(instant, "UTC"), "Sat 2026-07-04 22:05:09 GMT");
});

Deno.test("parseInstant() reads a moment with its zone, and nothing that leaves the zone open", () => {
  const cases: [text: string, expected: string][] = [
    ["2026-11-25T18:05Z", "2026-11-25T18:05:00.000Z"],
    ["2026-11-25t18:05z", "2026-11-25T18:05:00.000Z"],
    ["2026-11-25 18:05:11Z", "2026-11-25T18:05:11.000Z"],
    ["2026-11-25T18:05:11.123456Z", "2026-11-25T18:05:11.123Z"],
    ["2026-11-25T19:05:11+01:00", "2026-11-25T18:05:11.000Z"],
    ["2026-11-25T19:05+01", "2026-11-25T18:05:00.000Z"],
    ["2026-11-25T23:35+0530", "2026-11-25T18:05:00.000Z"],
    ["2026-11-25T13:05-05:00", "2026-11-25T18:05:00.000Z"],
    ["2026-12-31T23:30-01:00", "2027-01-01T00:30:00.000Z"],
    ["20261125T180511Z", "2026-11-25T18:05:11.000Z"],
    ["2024-02-29T00:00Z", "2024-02-29T00:00:00.000Z"],
  ];
  for (const [text, expected] of cases) assertEquals(parseInstant(text)?.toISOString(), expected, text);
  const wrong = [
    "",
    "latest",
    "2026-11-25",
    "2026-11-25T18:05",
    "2026-11-25T18:05:11",
    "2026-11-25T18Z",
    "2026-11-25T24:00Z",
    "2026-11-25T18:60Z",
    "2026-11-25T18:05:60Z",
    "2026-02-29T18:05Z",
    "2026-13-01T18:05Z",
    "2026-1125T18:05Z",
    "2026-11-25T18:05+15:00",
    "2026-11-25T18:05+01:60",
    "2026-11-25T18:05 CET",
    "2026-11-25T18:05Z/orders",
  ];
  for (const text of wrong) assertEquals(parseInstant(text), undefined, text);
});
