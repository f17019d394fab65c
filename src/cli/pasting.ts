/**
 * Makes the commands in messages work when they are pasted. In: a message, and the config as
 * this call names it. Out: the same message, with that config in each command that takes one.
 */
import type { Log, LogFields } from "../observe.ts";
import { shellWord } from "../shell_word.ts";

/** A command of this program; what follows it stands after a space, a quote or at the end. */
const COMMAND =
  /\bcouchdb-backup (?:backup|check|diff|expire|export|find|keep|list|plan|report|restore|schedule|show|status|systemd|test-restore|unkeep|verify)(?! --help)(?=[ "]|$)/g;

/** The message with `--config` after the name of each command; as it is where the environment names the config. */
export function completeCommands(message: string, configPath: string | undefined): string {
  if (configPath === undefined) return message;
  return message.replaceAll(COMMAND, (command) => `${command} --config ${shellWord(configPath)}`);
}

/** A result with every `hint` in it completed. */
export function completeHints<T>(result: T, configPath: string | undefined): T {
  if (configPath === undefined) return result;
  const complete = (value: unknown, key?: string): unknown => {
    if (typeof value === "string") return key === "hint" ? completeCommands(value, configPath) : value;
    if (Array.isArray(value)) return value.map((item) => complete(item));
    // Objects that are not plain, such as dates, become JSON in their own way.
    if (value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(Object.entries(value).map(([name, below]) => [name, complete(below, name)]));
  };
  return complete(result) as T;
}

/** A log whose hints are completed. */
export function withCompleteHints(log: Log, configPath: string | undefined): Log {
  if (configPath === undefined) return log;
  const complete = (fields: LogFields | undefined) =>
    typeof fields?.hint === "string" ? { ...fields, hint: completeCommands(fields.hint, configPath) } : fields;
  return {
    debug: (event, fields) => log.debug(event, complete(fields)),
    info: (event, fields) => log.info(event, complete(fields)),
    warn: (event, fields) => log.warn(event, complete(fields)),
    error: (event, fields) => log.error(event, complete(fields)),
    with: (fields) => withCompleteHints(log.with(fields), configPath),
  };
}
