/**
 * Looks up text members at the top of a JSON object without parsing the rest: who a raw document is, even when only its
 * beginning is at hand. In go bytes, out come the values found so far.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

const decoder = new TextDecoder();

/**
 * Reads the members `names` of the object that `bytes` begins with, as far as they are text.
 *
 * @returns What was found before all names were, the object ended, or the bytes did. Nothing for what is not an object.
 */
export function readTextMembers<Name extends string>(
  bytes: Uint8Array,
  names: readonly Name[],
): Partial<Record<Name, string>> {
  const found: Partial<Record<Name, string>> = {};
  let missing = names.length;
  let at = skipSpace(bytes, 0);
  if (bytes[at] !== OPEN_BRACE) return found;
  at = skipSpace(bytes, at + 1);
  while (missing > 0 && bytes[at] === QUOTE) {
    const nameEnd = stringEnd(bytes, at);
    const valueAt = skipSpace(bytes, skipSpace(bytes, nameEnd) + 1);
    const valueEnd = passValue(bytes, valueAt);
    if (valueEnd > bytes.length) break;
    const name = parseText(bytes, at, nameEnd) as Name;
    if (names.includes(name) && bytes[valueAt] === QUOTE) {
      if (found[name] === undefined) missing--;
      found[name] = parseText(bytes, valueAt, valueEnd);
    }
    at = skipSpace(bytes, valueEnd);
    if (bytes[at] !== COMMA) break;
    at = skipSpace(bytes, at + 1);
  }
  return found;
}

function skipSpace(bytes: Uint8Array, at: number): number {
  while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09) at++;
  return at;
}

/** Where the string that begins at `at` has ended; beyond the bytes when it does not end in them. */
function stringEnd(bytes: Uint8Array, at: number): number {
  for (at++; at < bytes.length; at++) {
    if (bytes[at] === QUOTE) return at + 1;
    if (bytes[at] === BACKSLASH) at++;
  }
  return bytes.length + 1;
}

/** Where the value that begins at `at` has ended; beyond the bytes when it does not end in them. */
function passValue(bytes: Uint8Array, at: number): number {
  let depth = 0;
  while (at < bytes.length) {
    const byte = bytes[at]!;
    if (byte === QUOTE) {
      at = stringEnd(bytes, at);
      if (depth === 0) return at;
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      // The end of the object around a number, true, false or null.
      if (depth === 0) return at;
      depth--;
      if (depth === 0) return at + 1;
    }
    if (depth === 0 && (byte === COMMA || byte === COLON)) return at;
    at++;
  }
  return bytes.length + 1;
}

function parseText(bytes: Uint8Array, from: number, to: number): string | undefined {
  try {
    return JSON.parse(decoder.decode(bytes.subarray(from, to)));
  } catch {
    return undefined; // Not JSON: whoever reads the document finds out and says so.
  }
}
