/**
 * Where the keys of a YAML text stand. The YAML parser forgets the places of what it parsed, and an error in a value
 * has to name a line. In: a text that the parser has accepted. Out: a look-up from a key's path to line and column.
 */

/** The path of a key: `["task", "weekly", "databases", 0]`. */
export type KeyPath = readonly (string | number)[];

/** A place in a text; line and column count from 1, the column in UTF-16 units. */
export interface TextPlace {
  line: number;
  column: number;
}

/** Finds the place of a key or of its value; of the nearest key above it where the text has no such key. */
export type PlaceLookup = (path: KeyPath, what?: "key" | "value") => TextPlace;

/** A path as an operator reads it: `task.weekly.databases[0]`, `task."my task"`. */
export function formatPath(path: KeyPath): string {
  return path.map((step, depth) => {
    if (typeof step === "number") return `[${step}]`;
    return (depth === 0 ? "" : ".") + (/^[^\s."[\]]+$/.test(step) ? step : JSON.stringify(step));
  }).join("");
}

/**
 * Scans `text` once. It understands block and flow collections, quoted, plain and block scalars, comments, anchors and
 * tags. What stands below an alias or an explicit key (`? a`) is not followed: the key above it is found instead.
 */
export function findPlaces(text: string): PlaceLookup {
  const scan = new Scan(text);
  scan.document();
  return (path, what = "value") => {
    for (let depth = path.length; depth > 0; depth--) {
      const found = scan.places.get(JSON.stringify(path.slice(0, depth)));
      if (found !== undefined) return scan.placeAt(depth === path.length ? found[what] : found.key);
    }
    return { line: 1, column: 1 };
  };
}

/** A collection that is open at the line in hand. */
interface Level {
  kind: "mapping" | "sequence";
  /** The column, from 0, of its keys or dashes. */
  indent: number;
  /** The path of the collection itself. */
  path: KeyPath;
  /** The key or index that was read last. */
  current: string | number;
}

const KEY =
  /(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\n]|'')*)'|([^\s#,[\]{}"'&*!|>%@`](?:[^:#\n]|:(?=\S)|(?<=\S)#)*?))[ \t]*:(?=\s|$)/y;
const PROPERTY = /[&!][^\s,[\]{}]*[ \t]*/y;
const BLANK_REST = /[ \t\r]*(?:#.*)?$/my;
const NO_CONTENT = /[ \t]*\r?(?:#|%|---|\.\.\.|$)/my;
const DASH = /-(?=\s|$)[ \t]*/y;
const FLOW_SPACE = /(?:\s|(?<=\s)#.*)+/y;
const FLOW_KEY =
  /(?:(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')\s*(?=[:,}])|([^\s,[\]{}"':](?:[^,[\]{}:\n]|:(?=[^\s,[\]{}]))*?)\s*(?=:(?=[\s,[\]{}]|$)|[,}]))/y;
const FLOW_PLAIN = /(?:[^,[\]{}:]|:(?=[^\s,[\]{}]))+/y;

class Scan {
  readonly text: string;

  /** By the JSON of its path: the offsets of a key and of its value. */
  readonly places = new Map<string, { key: number; value: number }>();
  readonly #lineStarts: number[] = [0];
  #levels: Level[] = [];

  constructor(text: string) {
    this.text = text;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lineStarts.push(at + 1);
  }

  placeAt(offset: number): TextPlace {
    const line = this.#lineStarts.findLastIndex((start) => start <= offset);
    return { line: line + 1, column: offset - (this.#lineStarts[line] ?? 0) + 1 };
  }

  document(): void {
    let at = 0;
    while (at < this.text.length) {
      const end = this.#match(NO_CONTENT, at) === undefined ? this.#line(at) : at;
      at = this.#nextLine(end);
    }
  }

  /** Reads the line that begins at `start`, with all that its value spans; returns an offset on the last line read. */
  #line(start: number): number {
    let at = start + this.#indentAt(start);
    // What is neither key nor dash is the value of the key, or behind the dash, above it.
    const above = this.#levels.findLast(({ indent }) => indent < at - start);
    let path: KeyPath = above === undefined ? [] : [...above.path, above.current];
    let parentIndent = above?.indent ?? -1;
    for (;;) {
      const column = at - start;
      const dash = this.#match(DASH, at);
      const key = dash === undefined ? this.#match(KEY, at) : undefined;
      if (dash === undefined && key === undefined) {
        at = this.#skipProperties(at);
        const place = this.places.get(JSON.stringify(path));
        if (place !== undefined) place.value = at;
        return this.#value(at, path, parentIndent);
      }
      const level = this.#open(dash === undefined ? "mapping" : "sequence", column);
      level.current = key === undefined ? Number(level.current) + 1 : keyText(key);
      path = [...level.path, level.current];
      parentIndent = column;
      const keyAt = at;
      at += (dash ?? key)![0].length;
      at = this.#skipProperties(at);
      const empty = this.#match(BLANK_REST, at) !== undefined;
      this.#record(path, keyAt, empty ? keyAt : at);
      if (empty) return at;
      // Only after a dash can a further key or dash stand on the same line.
      if (key !== undefined) return this.#value(at, path, parentIndent);
    }
  }

  /** The collection that a key or dash in this column belongs to, opened where it is the first of a new one. */
  #open(kind: Level["kind"], indent: number): Level {
    let top = this.#levels.at(-1);
    // A sequence may stand in the same column as the key that it is the value of, and ends at the next key there.
    while (
      top !== undefined &&
      (top.indent > indent || (top.indent === indent && top.kind === "sequence" && kind === "mapping"))
    ) {
      this.#levels.pop();
      top = this.#levels.at(-1);
    }
    if (top?.indent === indent && top.kind === kind) return top;
    const level: Level = { kind, indent, path: top === undefined ? [] : [...top.path, top.current], current: -1 };
    this.#levels.push(level);
    return level;
  }

  /** Passes over the value at `at`, recording what flow collections hold; returns an offset on its last line. */
  #value(at: number, path: KeyPath, parentIndent: number): number {
    const first = this.text[at];
    if (first === '"' || first === "'") return this.#quoted(at);
    if (first === "{" || first === "[") return this.#flow(at, path);
    // A block scalar, or a plain one, goes on over the lines that are indented more than its key; the latter ends at
    // its line in most cases, and a document that was accepted holds nothing else in such lines.
    for (;;) {
      const next = this.#nextLine(at);
      if (next >= this.text.length) return at;
      const blank = /[ \t]*\r?$/my;
      if (this.#match(blank, next) === undefined && this.#indentAt(next) <= parentIndent) return at;
      at = next;
    }
  }

  /** The offset after the quoted scalar at `at`. */
  #quoted(at: number): number {
    const scalar = /"(?:[^"\\]|\\[^])*"|'(?:[^']|'')*'/y;
    return at + (this.#match(scalar, at)?.[0].length ?? 1);
  }

  /** The offset after the flow collection at `at`. */
  #flow(at: number, path: KeyPath): number {
    const mapping = this.text[at] === "{";
    let index = 0;
    at += 1;
    while (at < this.text.length) {
      at += this.#match(FLOW_SPACE, at)?.[0].length ?? 0;
      const next = this.text[at];
      if (next === "}" || next === "]") return at + 1;
      if (next === "," || next === ":") {
        at += 1;
        continue;
      }
      const key = mapping ? this.#match(FLOW_KEY, at) : undefined;
      const below = [...path, key === undefined ? index++ : keyText(key)];
      const keyAt = at;
      if (key !== undefined) {
        at += key[0].length;
        if (this.text[at] === ":") at += 1;
        at += this.#match(FLOW_SPACE, at)?.[0].length ?? 0;
      }
      at = this.#skipProperties(at);
      this.#record(below, keyAt, at);
      at = this.#flowValue(at, below);
    }
    return at;
  }

  #flowValue(at: number, path: KeyPath): number {
    const first = this.text[at];
    if (first === '"' || first === "'") return this.#quoted(at);
    if (first === "{" || first === "[") return this.#flow(at, path);
    return at + (this.#match(FLOW_PLAIN, at)?.[0].length ?? 0);
  }

  #record(path: KeyPath, key: number, value: number): void {
    this.places.set(JSON.stringify(path), { key, value });
  }

  /** Passes over blanks, anchors and tags. */
  #skipProperties(at: number): number {
    at += this.#match(/[ \t]+/y, at)?.[0].length ?? 0;
    for (let found = this.#match(PROPERTY, at); found !== undefined; found = this.#match(PROPERTY, at)) {
      at += found[0].length;
    }
    return at;
  }

  #indentAt(at: number): number {
    return this.#match(/[ ]*/y, at)![0].length;
  }

  #nextLine(at: number): number {
    const end = this.text.indexOf("\n", at);
    return end < 0 ? this.text.length : end + 1;
  }

  /** Matches a sticky expression at an offset. */
  #match(expression: RegExp, at: number): RegExpExecArray | undefined {
    expression.lastIndex = at;
    return expression.exec(this.text) ?? undefined;
  }
}

/** The key that KEY or FLOW_KEY matched, without quotes. */
function keyText(match: RegExpExecArray): string {
  const [, double, single, plain] = match;
  if (double !== undefined) return double.replaceAll(/\\(.)/g, "$1");
  return single?.replaceAll("''", "'") ?? plain?.trimEnd() ?? "";
}
