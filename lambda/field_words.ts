/**
 * The words of an event in place of the command line's: the commands speak of their options as flags, which nobody can
 * give to a Lambda. In: a message, an error, a log. Out: the same, with the fields of the event that restores. Pure.
 */
import { ProgramError } from "../src/errors.ts";
import type { Log, LogFields } from "../src/observe.ts";

/** The flags that have a field in the event that restores, and the value where one stands in quotes or is a name. */
const FLAG =
  /--(match|exclude|map|gone|into-existing|salvage|allow-plain)(?![\w-])(?: (?:"([^"]*)"|'([^']*)'|(_\w+)))?/g;
const LISTS = ["match", "exclude", "map"];
/** A command stays as it is: it is meant for a computer that has the program. */
const COMMAND = /couchdb-backup [a-z-]+ [^"]*/;

/** The fields of a log line that are prose. */
const PROSE = ["error", "hint", "reason", "warning", "why"];

/** A message in the words of the event. */
export function inFields(message: string): string {
  const command = COMMAND.exec(message);
  if (command === null) return message.replaceAll(FLAG, fieldOf);
  const end = command.index + command[0].length;
  return message.slice(0, command.index).replaceAll(FLAG, fieldOf) + command[0] + inFields(message.slice(end));
}

function fieldOf(_: string, flag: string, ...values: (string | undefined)[]): string {
  const field = `"${flag.replaceAll("-", "_")}"`;
  if (!LISTS.includes(flag)) return `${field}: true`;
  const value = values.slice(0, 3).find((one) => one !== undefined);
  return value === undefined ? field : `${field}: ${JSON.stringify([value])}`;
}

/** An error of this program, its message and its hint in the words of the event; the same object. */
export function errorInFields<T>(error: T): T {
  if (!(error instanceof ProgramError)) return error;
  // The class says what a state machine does about it, and its facts are fields: so it is not made anew.
  Object.defineProperty(error, "message", { value: inFields(error.message), configurable: true, writable: true });
  const { hint } = error;
  if (hint !== undefined) Object.defineProperty(error, "hint", { value: inFields(hint), configurable: true });
  errorInFields(error.cause);
  return error;
}

/** A log whose lines are in the words of the event. */
export function logInFields(log: Log): Log {
  const told = (fields: LogFields | undefined) => {
    if (fields === undefined) return undefined;
    const entries = Object.entries(fields).map(([name, value]) =>
      [name, PROSE.includes(name) && typeof value === "string" ? inFields(value) : value] as const
    );
    return Object.fromEntries(entries);
  };
  return {
    debug: (event, fields) => log.debug(event, told(fields)),
    info: (event, fields) => log.info(event, told(fields)),
    warn: (event, fields) => log.warn(event, told(fields)),
    error: (event, fields) => log.error(event, told(fields)),
    with: (fields) => logInFields(log.with(fields)),
  };
}
