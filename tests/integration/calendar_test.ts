/**
 * The calendar against the systemd-analyze of this machine, with other expressions than the recorded ones:
 * `deno test --allow-run=systemd-analyze tests/integration/calendar_test.ts`.
 */
import { assertEquals } from "@std/assert";
import { generateCalendars } from "../calendar/generate.ts";
import { answerCalendar, askSystemd, type CalendarAnswer, isSameAnswer } from "../calendar/oracle.ts";

const SEED = 20261;
const COUNT = 2000;

Deno.test("parseCalendar(), formatCalendar() and nextElapse() answer 2,000 expressions as systemd-analyze does", async () => {
  const cases = generateCalendars(SEED, COUNT);
  let answers: CalendarAnswer[];
  try {
    answers = await askSystemd(cases);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error("systemd-analyze is not installed (Debian, Ubuntu: apt install systemd tzdata)", { cause: error });
  }
  const differences = cases.flatMap((each, index) => {
    const actual = answerCalendar(each);
    return isSameAnswer(actual, answers[index]!) ? [] : [{ ...each, actual, expected: answers[index] }];
  });
  assertEquals(differences, []);
});
