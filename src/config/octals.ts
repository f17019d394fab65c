/**
 * Numbers of a config that begin with 0. YAML's parsers disagree about them: this one reads 010 as 8, and whoever has
 * written `keep_last: 010` would lose two backups. In: the document as it was read, and the same with each value as the
 * text that stands there, however it is written. Out: a finding for each. Pure.
 */
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath } from "./places.ts";

const OCTAL = /^[-+]?0[0-7_]+$/;
const MESSAGE = "begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes";

/** Whether a text may have some: most configs need not be read a second time. */
export function mayHaveOctals(text: string): boolean {
  return /\b0[0-7_]/.test(text);
}

/** Finds them, names of keys among them. */
export function findOctals(written: unknown, texts: unknown, path: KeyPath = []): ConfigFinding[] {
  if (typeof written === "number") {
    return typeof texts === "string" && OCTAL.test(texts) ? [{ path, message: MESSAGE }] : [];
  }
  if (!isHolder(written) || !isHolder(texts)) return [];
  return Object.entries(texts).flatMap(([key, text]) => {
    const below = [...path, Array.isArray(written) ? Number(key) : key];
    if (Object.hasOwn(written, key)) return findOctals(written[key], text, below);
    return OCTAL.test(key) ? [{ path: below, message: MESSAGE, isOfKey: true }] : [];
  });
}

function isHolder(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
