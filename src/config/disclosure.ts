/**
 * What a message may show of a config. In: a line, a value or a key's name, and the keys whose values are harmless.
 * Out: the same with `***` for the rest. A text with a mistake in it can hold a password anywhere, after a key that is
 * misspelt or that lacks its colon; so what is not known to be harmless is hidden.
 */

/**
 * Keys whose values go over several lines: a quoted text that stands under another one can be a password without its
 * key.
 */
const LIST_KEYS = new Set(["databases", "exclude"]);

const KEY_AT_START = /^["']?([\w-]+)["']?\s*:(?=\s|$)/;
/** Brackets and quotes, and then a key or nothing. */
const OPENS_WITH_KEY = /^["'[\]{},\s]*(?:$|[\w-]+["']?\s*:(?=\s|$))/;
// Only from the beginning of a word, else a long word without a colon takes quadratic time.
// A colon after anything else ends a key that is none, and what follows may be the value of one that is gone. A number
// is no key's name: in "Sat 18: 00" there is none.
const KEYS = /(?:(?<![\w-])["']?([\w-]+)["']?\s*)?(?<!(?<![\w-])\d{1,2}):(?=\s|$)/g;

/**
 * Whether a document, as it was written, holds a secret: after one of the keys, or as credentials in a URL. What a
 * variable holds is none of the document's.
 */
export function holdsSecret(written: unknown, keys: ReadonlySet<string>): boolean {
  if (typeof written === "string") return /^[a-z][a-z0-9+.-]*:\/\/[^/@]*:(?!\$\{)[^/]*@/i.test(written);
  if (Array.isArray(written)) return written.some((item) => holdsSecret(item, keys));
  if (typeof written !== "object" || written === null) return false;
  return Object.entries(written).some(([key, value]) => {
    // A mapping after a secret's key has an address that is one.
    const secret = !keys.has(key) ? undefined : typeof value === "string" ? value : urlOf(value);
    return typeof secret === "string" ? !/^\$\{[^}]*\}$/.test(secret) : holdsSecret(value, keys);
  });
}

function urlOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "url" in value ? value.url : undefined;
}

/**
 * A line of a config as it may be shown.
 *
 * @param line From 1.
 * @param harmless The keys whose values may be shown.
 */
export function hideInLine(lines: readonly string[], line: number, harmless: ReadonlySet<string>): string {
  const [, indent = "", content = ""] = /^(\s*(?:- +)*)(.*)$/.exec(lines[line - 1] ?? "") ?? [];
  const shown = indent + hideInValue(content, harmless);
  const key = KEY_AT_START.exec(content)?.[1];
  if (key !== undefined) {
    const isShown = harmless.has(key) && !isInSecret(lines, line, harmless);
    return isShown ? shown : indent + hideBehindKey(content);
  }
  if (/^(?:---|\.\.\.)?$/.test(indent.trim() + content)) return shown;
  const word = /^[\w-]+/.exec(content)?.[0];
  if (word !== undefined && harmless.has(word)) return shown;
  // A line without a key of its own continues the value of one above.
  const owner = keyAbove(lines, line);
  const isOpen = owner === undefined || harmless.has(owner);
  if (isOpen && indent.includes("-")) return shown;
  if (word !== undefined) return isOpen ? indent + hideInKey(content.replace(/\s*(#.*)?$/, "")) : `${indent}***`;
  return isOpen && (OPENS_WITH_KEY.test(content) || LIST_KEYS.has(owner ?? "")) ? shown : `${indent}***`;
}

/**
 * Whether a line is an address in a mapping that is not known to be harmless: then it is a secret itself, as that of
 * `notify`.
 */
function isInSecret(lines: readonly string[], line: number, harmless: ReadonlySet<string>): boolean {
  const text = lines[line - 1] ?? "";
  if (!/^\s+(?:- +)*["']?url\b/.test(text)) return false;
  const depth = /^\s*/.exec(text)![0].length;
  const parent = lines.slice(0, line - 1).findLast((other) =>
    other.trim() !== "" && /^\s*/.exec(other)![0].length < depth
  );
  const key = parent === undefined ? undefined : KEY_AT_START.exec(parent.trim())?.[1];
  return key !== undefined && !harmless.has(key);
}

/** The nearest key above a line that stands at the beginning of its own. */
export function keyAbove(lines: readonly string[], line: number): string | undefined {
  const keys = lines.slice(0, line - 1).map((text) => KEY_AT_START.exec(text.replace(/^\s*(?:- +)*/, ""))?.[1]);
  return keys.findLast((key) => key !== undefined);
}

/** The value of a harmless key: without credentials in a URL, and without a further key's value that ran into it. */
export function hideInValue(text: string, harmless: ReadonlySet<string>): string {
  for (const found of text.matchAll(KEYS)) {
    const end = found.index + found[0].length;
    if (!harmless.has(found[1] ?? "")) return hideCredentials(`${text.slice(0, end)} ***`);
  }
  return hideCredentials(text);
}

/** The key by which YAML 1.1 brings the keys of another mapping. */
export const MERGE_KEY = "<<";

/** A key's name, as far as it is one: `password "x` is a key that lacks its colon, and shows as `password ***`. */
export function hideInKey(key: string): string {
  if (key === MERGE_KEY) return key;
  const word = /^[\w.-]*/.exec(key)![0];
  return word === key ? key : `${word} ***`;
}

/** `weekly: # a comment` and `weekly: ***`. */
function hideBehindKey(content: string): string {
  const end = KEY_AT_START.exec(content)![0].length;
  return /^\s*(#.*)?$/.test(content.slice(end)) ? content : `${content.slice(0, end)} ***`;
}

/**
 * Replaces what is, or may be, credentials in a URL, also in one that lacks a slash: `http://***@host`; and a secret
 * key of age, which may have been taken for the public one.
 */
function hideCredentials(written: string): string {
  const text = written.replaceAll(/AGE-(?:SECRET-KEY|PLUGIN)-[\w-]*/gi, "***");
  // To the last "@", as a password can hold one.
  const at = text.lastIndexOf("@");
  const scheme = at < 0 ? null : /[:/]+(?=\S)/.exec(text);
  const from = scheme === null ? Infinity : scheme.index + scheme[0].length;
  if (from <= at) return `${text.slice(0, from)}***${text.slice(at)}`;
  const [, before, rest] = /^(.*?\/\/)(.*)$/s.exec(text) ?? [];
  if (before === undefined || rest === undefined) return text;
  // Anything but a port after a colon can be a password that has lost its "@".
  const hasPort = /^(?:\[[^\]]*\]|[^:/\s]*)(?::\d*)?(?:[/"'\s}\],]|$)/.test(rest);
  return hasPort || isBareAddress(rest) ? text : `${before}***`;
}

/** An IPv6 address without its brackets. */
function isBareAddress(rest: string): boolean {
  return /^[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*(?:[/"'\s}\],]|$)/i.test(rest);
}
