/**
 * Values in typographic quotes, as a word processor or a web page makes them of straight ones. To YAML they belong to
 * the value, so that `password: “secret”` is another password, with which CouchDB locks the login out. In: the document
 * as it was written, and its text. Out: a finding for each. Pure.
 */
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath, PlaceLookup } from "./places.ts";

const TYPOGRAPHIC = /^[“”„‟‘’‚‛«»‹›]/;
const MESSAGE = 'begins with a typographic quote, which YAML takes for a part of the value; write " in place of both';

/** Finds them; in straight quotes they are meant. @param context.lines Of the document's text. */
export function findTypographicQuotes(
  written: unknown,
  context: { lines: readonly string[]; placeOf: PlaceLookup },
  path: KeyPath = [],
): ConfigFinding[] {
  if (typeof written === "string") {
    if (!TYPOGRAPHIC.test(written)) return [];
    const { line, column } = context.placeOf(path);
    return TYPOGRAPHIC.test(context.lines[line - 1]?.slice(column - 1) ?? "") ? [{ path, message: MESSAGE }] : [];
  }
  if (typeof written !== "object" || written === null) return [];
  return Object.entries(written).flatMap(([key, value]) =>
    findTypographicQuotes(value, context, [...path, Array.isArray(written) ? Number(key) : key])
  );
}
