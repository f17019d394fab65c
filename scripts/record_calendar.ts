/**
 * Records what systemd answers to the generated OnCalendar expressions, for the tests that run without systemd:
 * `deno run --allow-run=systemd-analyze --allow-write=tests/fixtures scripts/record_calendar.ts`.
 * Needs systemd 252 (Debian 12: `apt install systemd tzdata`) and writes tests/fixtures/calendar.json.
 */
import { askSystemd, FIXTURE_SEED, FIXTURE_SIZE, formatFixture } from "../tests/calendar/oracle.ts";
import { generateCalendars } from "../tests/calendar/generate.ts";

const version = await new Deno.Command("systemd-analyze", { args: ["--version"] }).output();
const systemd = new TextDecoder().decode(version.stdout).split("\n")[0] ?? "";
const cases = generateCalendars(FIXTURE_SEED, FIXTURE_SIZE);
const answers = await askSystemd(cases);
await Deno.writeTextFile(
  new URL("../tests/fixtures/calendar.json", import.meta.url),
  formatFixture({ systemd, cases, answers }),
);
const refused = answers.filter(({ normalized }) => normalized === null).length;
await Deno.stdout.write(new TextEncoder().encode(
  `${cases.length} expressions, ${refused} of them refused, ` +
    `${answers.flatMap(({ elapses }) => elapses).flat().length} elapses, by ${systemd}\n`,
));
