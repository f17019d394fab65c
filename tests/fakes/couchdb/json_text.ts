/**
 * JSON taken apart and put together as text. A round trip through JavaScript's values changes 9007199254740993 and 1.0
 * and moves integer-like keys to the front, so what must stay exact is only ever cut out of the text and inserted
 * again.
 */

/** A member of an object: its key, decoded, and its value as it stands in the text. */
export type Member = [key: string, value: string];

/** The members of the object that `text` is, in their order. `text` must be valid JSON. */
export function membersOf(text: string): Member[] {
  const members: Member[] = [];
  let at = skipSpace(text, skipSpace(text, 0) + 1);
  while (text[at] !== "}") {
    const keyEnd = valueEnd(text, at);
    const key = JSON.parse(text.slice(at, keyEnd)) as string;
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = valueEnd(text, valueStart);
    members.push([key, text.slice(valueStart, end)]);
    at = afterComma(text, end);
  }
  return members;
}

/** The elements of the array that `text` is, each as its text. `text` must be valid JSON. */
export function elementsOf(text: string): string[] {
  const elements: string[] = [];
  let at = skipSpace(text, skipSpace(text, 0) + 1);
  while (text[at] !== "]") {
    const end = valueEnd(text, at);
    elements.push(text.slice(at, end));
    at = afterComma(text, end);
  }
  return elements;
}

/** The text of an object with these members. */
export function objectText(members: readonly Member[]): string {
  return `{${members.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`;
}

/** Whether `text` is an object, an array, a string, or something else; `text` must be valid JSON. */
export function kindOf(text: string): "object" | "array" | "string" | "other" {
  switch (text[skipSpace(text, 0)]) {
    case "{":
      return "object";
    case "[":
      return "array";
    case '"':
      return "string";
    default:
      return "other";
  }
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && " \t\n\r".includes(text.charAt(at))) at++;
  return at;
}

function afterComma(text: string, at: number): number {
  const next = skipSpace(text, at);
  return text[next] === "," ? skipSpace(text, next + 1) : next;
}

function valueEnd(text: string, start: number): number {
  switch (text[start]) {
    case '"':
      return stringEnd(text, start);
    case "{":
    case "[":
      return containerEnd(text, start);
    default: {
      const scalar = /[^,\]}\s]*/y;
      scalar.lastIndex = start;
      scalar.exec(text);
      return scalar.lastIndex;
    }
  }
}

function stringEnd(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  throw new SyntaxError("JSON text ends within a string");
}

function containerEnd(text: string, start: number): number {
  const mark = /["{}[\]]/g;
  mark.lastIndex = start;
  let depth = 0;
  for (let match = mark.exec(text); match !== null; match = mark.exec(text)) {
    const character = match[0];
    if (character === '"') mark.lastIndex = stringEnd(text, match.index);
    else if (character === "{" || character === "[") depth++;
    else if (--depth === 0) return mark.lastIndex;
  }
  throw new SyntaxError("JSON text ends within an object or array");
}
