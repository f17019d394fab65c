/** Moments on the command line. In: a flag of a call, such as `--since 2026-10-22`. Out: the instant that it means. */
import { formatDate, parseDate, parseInstant } from "../dates.ts";
import { UsageError } from "../errors.ts";
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
  const moment = parseInstant(date === undefined ? text : `${formatDate(date).replaceAll("/", "-")}${timeOfDay}`);
  if (moment !== undefined) return moment;
  throw new UsageError(`--${name} "${text}" is neither a date nor a moment`, {
    hint: "Write it as 2026-10-22, or as 2026-10-22T18:05Z",
  });
}
