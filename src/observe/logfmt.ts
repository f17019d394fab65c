/**
 * Fields as text: in go names and values, out comes logfmt for people and Loki, or plain values for JSON. Whatever a
 * database, a server or an error is called, it stays inside its own value: no name can begin a new line, a new field or
 * a terminal's escape sequence.
 */
import { describeError } from "../errors.ts";
import { Secret } from "../secret.ts";
import type { LogFields } from "../observe.ts";

/** Values longer than this are cut: Loki refuses lines of more than 256 KB, journald splits at 48 KB. */
const MAX_VALUE_CHARACTERS = 8192;

// C0 and C1 controls move the cursor or end the line; U+2028 and U+2029 end lines for JavaScript readers; the
// bidirectional controls and the marks beside them reorder what a person sees; a lone surrogate is not encodable.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Surrogate}/gu;
const SHORT_ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
/** Login and password in a URL, as errors of fetch quote it. */
const URL_LOGIN = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;

/** The text with every character that could move a terminal's cursor or end the line as an escape such as `\n`. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const hex = character.charCodeAt(0).toString(16).padStart(4, "0");
    return SHORT_ESCAPES[character] ?? `\\u${hex}`;
  });
}

/** The same of a text of several lines, which stay lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** `key=value key="a value"`. Fields that are undefined are left out. Never throws. */
export function formatLogfmt(fields: LogFields): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) parts.push(`${formatKey(key)}=${formatValue(value)}`);
  }
  return parts.join(" ");
}

/** One value as logfmt has it: bare where nothing in it could be misread, quoted elsewhere. Never throws. */
export function formatValue(value: unknown): string {
  const simple = toPlain(value);
  const text = typeof simple === "string" ? simple : JSON.stringify(simple);
  const safe = printable(text);
  const bare = safe === text && text !== "" && !/[\s"=\\{}[\]]/.test(text);
  return bare ? text : `"${text.replace(/[\\"]/g, "\\$&").replace(UNSAFE, printable)}"`;
}

/** The fields as an object that `JSON.stringify` takes as it is: no secrets, no cycles, no bigints. Never throws. */
export function toPlainFields(fields: LogFields): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) plain[key] = toPlain(value);
  }
  return plain;
}

function formatKey(key: string): string {
  const safe = printable(key).replace(/[\s"=\\]/g, "_");
  return safe === "" ? "_" : safe;
}

function toPlain(value: unknown): unknown {
  try {
    return simplify(value);
  } catch {
    // A getter, a toJSON or a Proxy of the caller's threw: the line goes out without this value.
    return "[unprintable]";
  }
}

function simplify(value: unknown): unknown {
  if (typeof value === "string") return shorten(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "boolean" || value === null) return value;
  if (value instanceof Secret) return value.toString();
  if (value instanceof Error) return shorten(describeError(value));
  if (value instanceof URL) return shorten(value.href);
  if (typeof value === "object") {
    const text = JSON.stringify(value, (_key, inner) => {
      if (inner instanceof Error) return describeError(inner).replace(URL_LOGIN, "$1***@");
      if (typeof inner === "string") return inner.replace(URL_LOGIN, "$1***@");
      return typeof inner === "bigint" ? String(inner) : inner;
    });
    if (text === undefined) return "[unprintable]";
    return text.length > MAX_VALUE_CHARACTERS ? shorten(text) : JSON.parse(text);
  }
  return shorten(String(value));
}

function shorten(text: string): string {
  const safe = text.replace(URL_LOGIN, "$1***@");
  return safe.length <= MAX_VALUE_CHARACTERS ? safe : `${safe.slice(0, MAX_VALUE_CHARACTERS)}…`;
}
