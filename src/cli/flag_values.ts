/** Values of flags that are no plain texts. In: a flag of a call, such as `--since 2026-10-22`. Out: what it means. */
import { formatIsoDate, parseDate, parseInstant } from "../dates.ts";
import { UsageError } from "../errors.ts";
import { formatCount } from "../observe/figures.ts";
import type { Call } from "./command.ts";

/**
 * The instant that a flag names: a date, or a moment with its zone; undefined where it is not given.
 *
 * @param timeOfDay What a date means by itself, with its zone: `T00:00Z`.
 * @throws UsageError for anything else, such as a day that no month has.
 */
export function readMoment(call: Call, name: string, timeOfDay: string): Date | undefined {
  const text = call.text(name);
  if (text === undefined) return undefined;
  const date = parseDate(text);
  const moment = parseInstant(date === undefined ? text : `${formatIsoDate(date)}${timeOfDay}`);
  if (moment !== undefined) return moment;
  throw new UsageError(`--${name} "${text}" is neither a date nor a moment`, {
    hint: "Write it as 2026-10-22, or as 2026-10-22T18:05Z",
  });
}

/**
 * The whole number that a flag names; undefined where it is not given.
 *
 * @throws UsageError for anything else.
 */
export function readWholeNumber(
  call: Call,
  name: string,
  { least, most }: { least: number; most: number },
): number | undefined {
  const text = call.text(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  const limits = `${formatCount(least)} to ${formatCount(most)}`;
  throw new UsageError(`--${name} cannot be "${text}"`, { hint: `It is a whole number from ${limits}` });
}
