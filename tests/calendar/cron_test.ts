import { assert, assertEquals } from "@std/assert";
import { cronEquivalent, looksLikeCron } from "../../src/calendar/cron.ts";

const accept = () => true;

Deno.test("looksLikeCron() knows five fields and the nicknames, and no OnCalendar expression", () => {
  for (const line of ["0 18 * * 6", "*/15 9-17 * jan mon-fri", "0\t0 1,15 * ?", "@daily", "@reboot"]) {
    assert(looksLikeCron(line), line);
  }
  for (const line of ["Sat *-*-1..7 18:00:00", "daily", "@1767463200", "0 18 * *", "a b c d e", ""]) {
    assert(!looksLikeCron(line), line);
  }
});

Deno.test("cronEquivalent() says a cron line in systemd's words", () => {
  const table: Record<string, string | undefined> = {
    "0 18 * * 6": "Sat *-*-* 18:00:00",
    "30 4 1,15 * *": "*-*-01,15 04:30:00",
    "*/15 9-17 * * mon-fri": "Mon..Fri *-*-* 09..17:00/15:00",
    "5/10 * * * *": "*-*-* *:05/10:00",
    "0-30/10 0 * * *": "*-*-* 00:00..30/10:00",
    "0 0 */2 jan,FEB *": "*-01,02-01/2 00:00:00",
    "0 0 * * 0": "Sun *-*-* 00:00:00",
    "0 0 * * 7": "Sun *-*-* 00:00:00",
    "0 0 * * 5-7": "Fri..Sun *-*-* 00:00:00",
    "0 0 * * sat-sun": "Sat,Sun *-*-* 00:00:00",
    "0 0 * * */2": "Tue,Thu,Sat,Sun *-*-* 00:00:00",
    "0 0 * * 0-6": "*-*-* 00:00:00",
    "@weekly": "Sun *-*-*",
    "@Daily": "daily",
    "@reboot": undefined,
    // Cron takes either day, OnCalendar both.
    "0 0 13 * 5": undefined,
    "0 0 * * 8": undefined,
    "0 0 L * *": undefined,
  };
  for (const [line, expected] of Object.entries(table)) assertEquals(cronEquivalent(line, accept), expected, line);
});

Deno.test("cronEquivalent() offers nothing that is no OnCalendar expression", () => {
  assertEquals(cronEquivalent("75 0 * * *", (candidate) => candidate !== "*-*-* 00:75:00"), undefined);
});
