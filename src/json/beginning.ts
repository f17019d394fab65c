/**
 * Looks at how a JSON text begins, to tell what it is. In goes its first part, cut anywhere; out come the members of an
 * object in it, as far as they are there. Nothing is checked: whoever reads the text to its end does that.
 */

/** A member of an object, as far as the text goes. */
export interface BegunMember {
  name: string;
  /** Where its value begins; past the end of the text where that was cut off before. */
  valueAt: number;
}

/** An object at the beginning of a text. */
export interface BegunObject {
  members: BegunMember[];
  /** Where the text goes on after it; undefined where it is not closed within the text. */
  end: number | undefined;
}

/** Where the next thing stands that is no white space; the text's length where nothing follows. */
export function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && " \n\r\t".includes(text[at]!)) at++;
  return at;
}

/** The members of the object that begins at `from`; none where no object begins there. */
export function beginningOfObject(text: string, from: number): BegunObject {
  const found: BegunObject = { members: [], end: undefined };
  if (text[from] !== "{") return found;
  let at = skipSpace(text, from + 1);
  if (text[at] === "}") return { ...found, end: at + 1 };
  while (text[at] === '"') {
    const nameEnd = endOfString(text, at);
    if (nameEnd > text.length) return found;
    const name = textOf(text.slice(at, nameEnd));
    at = skipSpace(text, nameEnd);
    if (at < text.length && text[at] !== ":") return found;
    const valueAt = skipSpace(text, at + 1);
    found.members.push({ name, valueAt });
    at = skipSpace(text, endOfValue(text, valueAt));
    if (text[at] === "}") return { ...found, end: at + 1 };
    if (text[at] !== ",") return found;
    at = skipSpace(text, at + 1);
  }
  return found;
}

/** Where a value ends; past the end of the text where it is cut off. */
function endOfValue(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length;) {
    const char = text[at]!;
    if (char === '"') {
      at = endOfString(text, at);
      if (depth === 0) return at;
      continue;
    }
    if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") {
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (char === "," || " \n\r\t".includes(char))) return at;
    at++;
  }
  return text.length + 1;
}

/** Where a string ends whose quote is at `from`. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  return text.length + 1;
}

function textOf(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted.slice(1, -1); // Not JSON: no name that anybody looks for.
  }
}
