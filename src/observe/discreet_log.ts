/**
 * A log of what is sealed: log lines, and Loki with them, must not name people's data. In: a log. Out: the same, whose
 * lines about a document say that there was one, and not which.
 */
import type { Log, LogFields } from "../observe.ts";

/** What stands on a line about somebody's data -> what of it may tell of these. */
const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  id: ["id", "rev", "from", "onto", "reason", "error"],
  ids: ["ids"],
  design: ["design", "view", "error"],
  security: ["security"],
};

/** The same log, without ids, and without what CouchDB says about documents. */
export function discreetLog(log: Log): Log {
  return {
    debug: (event, fields) => log.debug(event, discreetFields(fields)),
    info: (event, fields) => log.info(event, discreetFields(fields)),
    warn: (event, fields) => log.warn(event, discreetFields(fields)),
    error: (event, fields) => log.error(event, discreetFields(fields)),
    with: (fields) => discreetLog(log.with(discreetFields(fields) ?? {})),
  };
}

function discreetFields(fields: LogFields | undefined): LogFields | undefined {
  if (fields === undefined) return undefined;
  const [, leftOut = []] = Object.entries(LEFT_OUT).find(([name]) => Object.hasOwn(fields, name)) ?? [];
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !leftOut.includes(name)));
}
