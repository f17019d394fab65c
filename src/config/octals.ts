/**
 * Numbers of a config that begin with 0. YAML's parsers disagree about them: this one reads 010 as 8, and whoever has
 * written `keep_last: 010` would lose two backups. In: the document as it was written, and its text. Out: a finding for
 * each. Pure.
 */
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath, PlaceLookup } from "./places.ts";

const OCTAL = /^[-+]?0[0-7_]+(?=[\s,\]}]|$)/;
const MESSAGE = "begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes";

/** Finds them. @param context.lines Of the document's text. */
export function findOctals(
  written: unknown,
  context: { lines: readonly string[]; placeOf: PlaceLookup },
  path: KeyPath = [],
): ConfigFinding[] {
  if (typeof written === "number") {
    const { line, column } = context.placeOf(path);
    return OCTAL.test(context.lines[line - 1]?.slice(column - 1) ?? "") ? [{ path, message: MESSAGE }] : [];
  }
  if (typeof written !== "object" || written === null) return [];
  return Object.entries(written).flatMap(([key, value]) =>
    findOctals(value, context, [...path, Array.isArray(written) ? Number(key) : key])
  );
}
