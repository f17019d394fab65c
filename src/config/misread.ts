/**
 * Values that YAML reads otherwise than who has written them meant. Numbers that begin with 0: this parser reads 010 as
 * 8, others do not, and whoever has written `keep_last: 010` would lose two backups. Typographic quotes, as a word
 * processor or a web page makes them of straight ones: they belong to the value, so that `password: “secret”` is another
 * password, with which CouchDB locks the login out. In: the document as it was written, and its text. Out: a finding for
 * each. Pure.
 */
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath, PlaceLookup } from "./places.ts";

const OCTAL = /^[-+]?0[0-7_]+(?=[\s,\]}]|$)/;
const OF_OCTALS = "begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes";
const TYPOGRAPHIC = /^[“”„‟‘’‚‛«»‹›]/;
const OF_QUOTES = 'begins with a typographic quote, which YAML takes for a part of the value; write " in place of both';

/** Finds them. @param context.lines Of the document's text. */
export function findMisread(
  written: unknown,
  context: { lines: readonly string[]; placeOf: PlaceLookup },
  path: KeyPath = [],
): ConfigFinding[] {
  const asWritten = () => {
    const { line, column } = context.placeOf(path);
    return context.lines[line - 1]?.slice(column - 1) ?? "";
  };
  if (typeof written === "number") return OCTAL.test(asWritten()) ? [{ path, message: OF_OCTALS }] : [];
  // In straight quotes it is meant.
  if (typeof written === "string") {
    return TYPOGRAPHIC.test(written) && TYPOGRAPHIC.test(asWritten()) ? [{ path, message: OF_QUOTES }] : [];
  }
  if (typeof written !== "object" || written === null) return [];
  return Object.entries(written).flatMap(([key, value]) =>
    findMisread(value, context, [...path, Array.isArray(written) ? Number(key) : key])
  );
}
