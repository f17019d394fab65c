/**
 * The log where backups are sealed: its lines, which Loki keeps in clear, must not name people's data. In: a log. Out:
 * the same log, whose lines about a document say that there was one, but not which.
 */
import type { Log, LogFields } from "../observe.ts";

/**
 * The field by which a line about somebody's data is known -> the fields that are left out of that line. By the field,
 * as `reason` and `error` say nothing of documents on other lines. The first that a line has counts.
 */
const LEFT_OUT: Readonly<Record<string, readonly string[]>> = {
  id: ["id", "rev", "from", "onto", "reason", "error"],
  ids: ["ids"],
  design: ["design", "view", "error"],
  security: ["security"],
};

/** The same log without ids of documents, and without what CouchDB says about documents. */
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
