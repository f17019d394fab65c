/**
 * The patterns that select databases: JavaScript's regular expressions, matched against the whole name. In: a pattern
 * as an operator wrote it. Out: something that tests names, or the reason why it is no pattern, with what to write
 * instead, as operators know the dialects of grep and PCRE. Pure.
 *
 * Patterns are compiled with the flag `u`: without it JavaScript reads what it does not know (`\A`, `\Q`, `\h`) as the
 * letter itself, and the pattern would silently select nothing. The flag `v` is not used, as it wants more characters
 * escaped in classes: `[a-z0-9_$()+/-]`, the characters of CouchDB's names, would be an error.
 *
 * Nothing guards against a pattern whose matching takes exponential time, such as `(a+)+b`: it comes from the operator,
 * not from outside. docs/configuration.md warns of it.
 */
import { UsageError } from "../errors.ts";
import { encodeDatabase } from "../database_name.ts";

/** A compiled pattern. */
export interface Pattern {
  /** As the operator wrote it. */
  source: string;
  /**
   * Whether it matches the whole of a database's name, as it is or encoded as in a URL.
   *
   * @param encoded The name as encodeDatabase() makes it, where that is known: many patterns are held against one name.
   */
  matches(database: string, encoded?: string): boolean;
  /** Whether it matches its own text alone. */
  isPlain: boolean;
}

/** What matches only itself: a config may name ten thousand databases one by one. */
const PLAIN = /^[\w%/-]+$/;

/**
 * Compiles a pattern: `account%2F.*` and `account/.*` both match the database `account/ab`.
 *
 * @throws UsageError when `source` is no regular expression of JavaScript.
 */
export function compilePattern(source: string): Pattern {
  const reason = explainPattern(source);
  if (reason !== undefined) {
    throw new UsageError(`Cannot use "${source}" as a regular expression of JavaScript: ${reason}`);
  }
  if (PLAIN.test(source)) {
    const matches = (name: string, encoded = encodeDatabase(name)) => source === encoded || source === name;
    return { source, matches, isPlain: true };
  }
  const whole = new RegExp(`^(?:${source})$`, "u");
  const matches = (name: string, encoded = encodeDatabase(name)) => whole.test(encoded) || whole.test(name);
  return { source, matches, isPlain: false };
}

/** Many patterns for many names: plain ones are looked up, as thirty thousand of each would be a billion comparisons. */
export class Patterns<P extends Pattern> {
  readonly #plain = new Map<string, [place: number, pattern: P][]>();
  readonly #others: [place: number, pattern: P][] = [];

  /** @param patterns In the order in which they are found. */
  constructor(patterns: readonly P[]) {
    for (const [place, pattern] of patterns.entries()) {
      if (!pattern.isPlain) this.#others.push([place, pattern]);
      else this.#plain.set(pattern.source, [...this.#plain.get(pattern.source) ?? [], [place, pattern]]);
    }
  }

  /** Those that match a name. @param encoded As encodeDatabase() makes it. */
  matching(database: string, encoded: string): P[] {
    const found = this.#others.filter(([, pattern]) => pattern.matches(database, encoded));
    for (const name of new Set([database, encoded])) found.push(...this.#plain.get(name) ?? []);
    return found.toSorted(([a], [b]) => a - b).map(([, pattern]) => pattern);
  }
}

/**
 * What tells whether one of some patterns matches a database's name; every name is matched where they are undefined.
 *
 * @throws UsageError as {@linkcode compilePattern} does.
 */
export function matcherOf(sources: readonly string[] | undefined): (database: string) => boolean {
  if (sources === undefined) return () => true;
  const patterns = new Patterns(sources.map(compilePattern));
  return (database) => patterns.matching(database, encodeDatabase(database)).length > 0;
}

/** Why `source` is no pattern and what to write instead; undefined when it is one. */
export function explainPattern(source: string): string | undefined {
  const foreign = findForeignSyntax(source);
  // The only foreign syntax that JavaScript takes for something else: the letters of a class's name.
  const className = foreign.find((piece) => piece.startsWith("[:"));
  if (className !== undefined) return describeForeign(className);
  try {
    new RegExp(source, "u");
    return undefined;
  } catch (error) {
    // The engine knows its own syntax best; the table only explains what it has refused.
    if (foreign[0] !== undefined) return describeForeign(foreign[0]);
    const message = error instanceof Error ? error.message : String(error);
    const reason = message.replace(/^Invalid regular expression: .*\/u?: /s, "");
    // As in the file names of a shell.
    return reason === "Nothing to repeat" ? `${reason}; what may be anything is written ".*"` : reason;
  }
}

const ANCHORED = "leave it out, a pattern always matches the whole name";
const LOWER_CASE = "leave it out, the names of databases are in lower case";

/** What other dialects know, and what says the same in JavaScript. The first that a piece begins with explains it. */
const FOREIGN: readonly (readonly [piece: string, instead: string])[] = [
  ["\\A", ANCHORED],
  ["\\z", ANCHORED],
  ["\\Z", ANCHORED],
  ["\\G", ANCHORED],
  ["\\`", ANCHORED],
  ["\\'", ANCHORED],
  ["\\Q", 'write a "\\" before each special character instead'],
  ["\\E", 'write a "\\" before each special character instead'],
  ["\\h", "write [0-9a-f] for hexadecimal digits, [ \\t] for blanks"],
  ["\\H", "write [^0-9a-f] or [^ \\t]"],
  ["\\R", "write \\n"],
  ["\\K", "leave it out, or use (?<=…)"],
  ["\\X", 'write "."'],
  ["\\N", 'write "."'],
  ["\\<", "write \\b"],
  ["\\>", "write \\b"],
  ["\\x{", "write \\u{…}"],
  ["\\p", "write \\p{…} with a property of Unicode, such as \\p{L}"],
  ["(?>", "write (?:…)"],
  ["(?|", "write (?:…)"],
  ["(?P<", "write (?<name>…)"],
  ["(?P=", "write \\k<name>"],
  ["(?#", "write the comment into the YAML, after a #"],
  ["(?R", "repeat the part that is meant"],
  ["(?(", "write (?:…|…)"],
  ["(*", "leave it out"],
  ["(?i", LOWER_CASE],
  ["(?", "leave it out"],
  ["[:alnum:]", "write a-z0-9 inside the brackets: [a-z0-9]"],
  ["[:alpha:]", "write a-z inside the brackets: [a-z]"],
  ["[:lower:]", "write a-z inside the brackets: [a-z]"],
  ["[:upper:]", "write A-Z inside the brackets: [A-Z]"],
  ["[:digit:]", "write 0-9 inside the brackets: [0-9]"],
  ["[:xdigit:]", "write 0-9a-f inside the brackets: [0-9a-f]"],
  ["[:word:]", "write \\w inside the brackets: [\\w]"],
  ["[:space:]", "write \\s inside the brackets: [\\s]"],
  ["[:blank:]", "write a blank inside the brackets"],
  ["[:punct:]", "write the characters that are meant inside the brackets"],
  ["[:", "write the characters that are meant inside the brackets"],
  ["{,", "write {0,…}"],
];

/** A piece of syntax with a meaning of its own elsewhere; what JavaScript knows of it (`(?:`, `\d`) is passed over. */
const PIECE = /\\x\{|\\[^]|\[:\^?\w+:\]|\(\?(?:[:=!]|<[=!]|<\w|[-\w(|>#]<?)?|\(\*|\{,|(?:[*+?]|\{\d+(?:,\d*)?\})\+/g;
const KNOWN = /^(?:\\[dDwWsSbBtnvfrcx0-9uk^$\\.*+?()[\]{}|/]|\(\?(?:[:=!]|<[=!]|<\w))$/;

function findForeignSyntax(source: string): string[] {
  return (source.match(PIECE) ?? []).filter((piece) => !KNOWN.test(piece));
}

function describeForeign(piece: string): string {
  if (/^(?:[*+?]|\{\d+(?:,\d*)?\})\+$/.test(piece)) {
    return `the possessive "${piece}" is unknown there; write "${piece.slice(0, -1)}"`;
  }
  const instead = FOREIGN.find(([known]) => piece.startsWith(known))?.[1];
  if (instead !== undefined) return `"${piece}" is unknown there; ${instead}`;
  const [, character = piece] = piece;
  // A backslash before a letter could have meant anything; before anything else it only protects it.
  return /[a-z]/i.test(character)
    ? `"${piece}" is unknown there`
    : `"${piece}" is unknown there; "${character}" needs no "\\" before it`;
}
