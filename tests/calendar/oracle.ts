/**
 * Asks `systemd-analyze calendar` about expressions, and this program the same: in come cases, out come answers in one
 * form, and whether two agree. The recording script, the live test and the fixture's test use it.
 */
import { CalendarError, formatCalendar, parseCalendar } from "../../src/calendar/calendar.ts";
import { nextMicros } from "../../src/calendar/elapse.ts";
import { TimeZone } from "../../src/calendar/time_zone.ts";
import type { CalendarCase } from "./generate.ts";

/** How many elapses are asked for after each base time. */
const ITERATIONS = 5;

/** What the fixture is generated from. */
export const FIXTURE_SEED = 252;
export const FIXTURE_SIZE = 2000;

/** What is known of one case. */
export interface CalendarAnswer {
  /** The normal form, null for an expression that is refused. */
  normalized: string | null;
  /**
   * For each base the elapses that follow, in whole seconds since 1970; shorter where there are no more. A null at the
   * end means that systemd gave up with "Infinite loop in calendar calculation", which says nothing about elapses.
   */
  elapses: (number | null)[][];
}

/** Whether this program's answer is systemd's, as far as systemd has one. */
export function isSameAnswer(ours: CalendarAnswer, systemds: CalendarAnswer): boolean {
  const isSameList = (mine: (number | null)[], theirs: (number | null)[]) =>
    theirs.every((at, index) => at === null || at === mine[index]) &&
    (theirs.includes(null) || theirs.length === mine.length);
  return ours.normalized === systemds.normalized &&
    systemds.elapses.every((list, place) => isSameList(ours.elapses[place] ?? [], list));
}

/** This program's answer. */
export function answerCalendar({ expression, timeZone, bases }: CalendarCase): CalendarAnswer {
  let calendar;
  try {
    calendar = parseCalendar(expression);
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    return { normalized: null, elapses: bases.map(() => []) };
  }
  const zone = TimeZone.named(calendar.timeZone ?? timeZone);
  const elapses = bases.map((base) => {
    const found: number[] = [];
    for (let at = base * 1e6; found.length < ITERATIONS;) {
      const next = nextMicros(calendar, at, zone);
      if (next === undefined) break;
      found.push(Math.floor(next / 1e6));
      at = next;
    }
    return found;
  });
  return { normalized: formatCalendar(calendar), elapses };
}

/** What systemd-analyze says of some expressions at one base time. */
interface Output {
  /** Per expression the lines printed for it. */
  blocks: string[][];
  errors: string;
}

async function run(expressions: string[], timeZone: string, base: number, iterations: number): Promise<Output> {
  const { stdout, stderr } = await new Deno.Command("systemd-analyze", {
    args: ["calendar", `--iterations=${iterations}`, `--base-time=@${base}`, "--", ...expressions],
    env: { TZ: timeZone, LC_ALL: "C", SYSTEMD_COLORS: "0", COLUMNS: "4000", SYSTEMD_PAGER: "" },
  }).output();
  // An empty line stands between two expressions, also where one has been refused and nothing is printed.
  const blocks: string[][] = [[]];
  for (const line of new TextDecoder().decode(stdout).split("\n").slice(0, -1)) {
    if (line === "") blocks.push([]);
    else blocks.at(-1)!.push(line);
  }
  const errors = new TextDecoder().decode(stderr);
  if (blocks.length !== expressions.length) {
    throw new Error(`systemd-analyze answered ${blocks.length} of ${expressions.length} expressions: ${errors}`);
  }
  return { blocks, errors };
}

function readNormalized(block: string[]): string | null {
  return block.map((line) => /^ *Normalized form: (.*)$/.exec(line)?.[1]).find((form) => form !== undefined) ?? null;
}

function readElapses(block: string[]): number[] {
  const utc = block.filter((line) => line.includes("(in UTC):"));
  return (utc.length > 0 ? utc : block.filter((line) => /^ *(?:Next elapse|Iter\. #\d+): /.test(line)))
    .filter((line) => !line.endsWith(": never"))
    .map((line) => {
      const [, date, time] = /: \w{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/.exec(line) ?? [];
      const seconds = Date.parse(`${date}T${time}Z`) / 1000;
      if (Number.isNaN(seconds)) throw new Error(`Cannot read the time in "${line}"`);
      return seconds;
    });
}

/** One expression for which systemd gives up: the elapses that it finds before that, and null. */
async function askPatiently(expression: string, timeZone: string, base: number): Promise<[string, (number | null)[]]> {
  for (let iterations = ITERATIONS; iterations >= 0; iterations--) {
    const { blocks } = await run([expression], timeZone, base, iterations);
    const normalized = readNormalized(blocks[0]!);
    if (normalized !== null) return [normalized, [...readElapses(blocks[0]!), null]];
  }
  throw new Error(`systemd-analyze neither reads nor refuses "${expression}"`);
}

/**
 * What systemd says, case by case.
 *
 * @throws {Deno.errors.NotFound} when systemd-analyze is not installed
 */
export async function askSystemd(cases: CalendarCase[]): Promise<CalendarAnswer[]> {
  const answers = cases.map(({ bases }): CalendarAnswer => ({ normalized: null, elapses: bases.map(() => []) }));
  const groups = new Map<string, { index: number; place: number }[]>();
  for (const [index, { timeZone, bases }] of cases.entries()) {
    for (const [place, base] of bases.entries()) {
      const key = `${timeZone} ${base}`;
      groups.set(key, [...groups.get(key) ?? [], { index, place }]);
    }
  }
  for (const [key, members] of groups) {
    const [timeZone = "", base = ""] = key.split(" ");
    const { blocks, errors } = await run(
      members.map(({ index }) => cases[index]!.expression),
      timeZone,
      +base,
      ITERATIONS,
    );
    for (const [position, { index, place }] of members.entries()) {
      const answer = answers[index]!;
      const { expression } = cases[index]!;
      let normalized = readNormalized(blocks[position]!);
      let elapses: (number | null)[] = readElapses(blocks[position]!);
      if (errors.includes(`Failed to determine next elapse for '${expression}':`)) {
        [normalized, elapses] = await askPatiently(expression, timeZone, +base);
      }
      answer.normalized = normalized;
      answer.elapses[place] = elapses;
    }
  }
  return answers;
}

/** Recorded answers. */
export interface CalendarFixture {
  /** The version that answered. */
  systemd: string;
  cases: CalendarCase[];
  answers: CalendarAnswer[];
}

/** The fixture's file: a line per case, and of each elapse the seconds since the one before (or the base). */
export function formatFixture({ systemd, cases, answers }: CalendarFixture): string {
  const lines = cases.map(({ expression, timeZone, bases }, index) => {
    const { normalized, elapses } = answers[index]!;
    const steps = elapses.map((list, place) =>
      list.map((at, which) => at === null ? null : at - (list[which - 1] ?? bases[place]!))
    );
    return JSON.stringify([expression, timeZone, normalized, bases, steps]);
  });
  return `{"systemd":${JSON.stringify(systemd)},"cases":[\n${lines.join(",\n")}\n]}\n`;
}

/** Reads what {@linkcode formatFixture} has written. */
export function readFixture(text: string): CalendarFixture {
  type Row = [
    expression: string,
    timeZone: string,
    normalized: string | null,
    bases: number[],
    steps: (number | null)[][],
  ];
  const { systemd, cases }: { systemd: string; cases: Row[] } = JSON.parse(text);
  return {
    systemd,
    cases: cases.map(([expression, timeZone, , bases]) => ({ expression, timeZone, bases })),
    answers: cases.map(([, , normalized, bases, steps]) => ({
      normalized,
      elapses: steps.map((list, place) => {
        let at = bases[place]!;
        return list.map((step) => step === null ? null : at += step);
      }),
    })),
  };
}
