/**
 * The names of the config's keys: which are known, which values may be shown, and what somebody meant who wrote another
 * one. In: a key's path and name. Out: a sentence.
 */
import { nearest } from "../nearest.ts";
import type { KeyPath } from "./places.ts";
import { SECTIONS } from "./schema.ts";

/** Every key that has a meaning somewhere. */
export const KNOWN_KEYS: ReadonlySet<string> = new Set(Object.values(SECTIONS).flat());

/** The keys whose values no message shows. */
export const SECRET_KEYS: ReadonlySet<string> = new Set(["password", "token", "secret", "session_token", "notify"]);

/** The keys whose values a message may show. */
export const HARMLESS_KEYS: ReadonlySet<string> = KNOWN_KEYS.difference(SECRET_KEYS);

/** What is known of an unknown key. */
export interface UnknownKey {
  /** What to say of it: the key that was meant, its place, or all that are known. */
  message: string;
  /** The key of the same mapping that was probably meant. */
  meant?: string;
}

/** What to say of an unknown key in the mapping at `path`. */
export function explainUnknownKey(path: KeyPath, key: string): UnknownKey {
  const section = sectionOf(path);
  const known = SECTIONS[section] ?? [];
  const firstWord = /^([\w-]+)\s/.exec(key)?.[1];
  if (firstWord !== undefined && known.includes(firstWord)) {
    return { message: `is unknown; is a colon missing after "${firstWord}"?`, meant: firstWord };
  }
  // Between { and } YAML takes `login:"admin"` for one word.
  const beforeColon = /^([\w-]+):/.exec(key)?.[1];
  if (beforeColon !== undefined && known.includes(beforeColon)) {
    return { message: `is unknown; is a space missing after the colon of "${beforeColon}"?`, meant: beforeColon };
  }
  // A task's patterns, of which there may be one only, and not where CouchDB is.
  if (known.includes(`${key}s`)) return { message: `is unknown; did you mean "${key}s"?`, meant: `${key}s` };
  const home = Object.entries(SECTIONS).find(([, keys]) => keys.includes(key))?.[0];
  if (home === "") return { message: "is unknown here; it belongs to the top level" };
  if (home !== undefined) return { message: `is unknown here; it belongs under "${home}"` };
  const near = nearest(key, known);
  if (near !== undefined) return { message: `is unknown; did you mean "${near}"?`, meant: near };
  return { message: `is unknown; allowed are ${known.join(", ")}` };
}

/** The name in {@linkcode SECTIONS} of the mapping at a path. */
function sectionOf([first = "", , third]: KeyPath): string {
  if (first !== "task") return String(first);
  return third === undefined ? "task.<name>" : `task.<name>.${third}`;
}
