/**
 * Why a pattern matches no database. In: a pattern and the names of all databases. Out: a sentence that says how far
 * the pattern gets and on which names, and how little would have to change in it for it to match.
 *
 * Two things are tried. How far: the pattern without its anchors, then ever shorter beginnings of it, until one matches
 * a part of some name. What would match: another count in a `{n}`, the case of the names, `.*` before or behind the
 * pattern, and the nearest name where the pattern is a name itself.
 */
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { nearest } from "../nearest.ts";

/** A name that a pattern matches in part. */
export interface ClosestMiss {
  /** The database's decoded name. */
  database: string;
  /** The name as the pattern was held against it, decoded or encoded. */
  name: string;
  /** The beginning of the pattern, or all of it, that matches. */
  matchedPattern: string;
  /** The characters of `name` that it matches: from this one, counted from 0, … */
  from: number;
  /** … up to and without this one. */
  to: number;
}

/** A pattern that differs little from one that matches nothing. */
export interface Repair {
  pattern: string;
  /** What is different, such as `with {28} in place of {16}`. */
  change: string;
  /** How many databases it matches. */
  matches: number;
}

/** Why a pattern matches nothing. */
export interface Explanation {
  /** A sentence without a capital and a full stop, for a warning. */
  sentence: string;
  closest: ClosestMiss[];
  repair?: Repair | undefined;
}

const MOST_MISSES = 3;
/** Fewer characters than this are alike by accident. */
const LEAST_MATCHED = 3;
/** The longest name that CouchDB allows has 238 characters. */
const LONGEST_NAME = 238;
/** How many names are looked at to find the counts worth trying. */
const SAMPLED_NAMES = 50;

/** Explains why the valid pattern `source` matches none of `databases`, given as decoded names. */
export function explainMisses(source: string, databases: readonly string[]): Explanation {
  if (databases.length === 0) {
    return { sentence: `pattern "${source}" matches none, as there are no databases`, closest: [] };
  }
  const repair = findRepair(source, databases);
  // The names that a small change brings to match are those that the operator had in mind.
  const meant = new Set(repair === undefined ? [] : matching(repair.pattern, databases));
  const closest = findClosest(source, databases, meant);
  const [first] = closest;
  const sentences = [
    `pattern "${source}" matches none of ${databases.length} database${databases.length === 1 ? "" : "s"}`,
    ...first === undefined ? [] : [describeMiss(first, source)],
    ...repair === undefined ? [] : [`${repair.change}, it would match ${repair.matches}: "${repair.pattern}"`],
  ];
  if (sentences.length === 1) sentences.push("not even its beginning matches that of a name");
  return { sentence: sentences.join("; "), closest, repair };
}

function describeMiss({ name, matchedPattern, from, to }: ClosestMiss, source: string): string {
  const subject = matchedPattern === source ? "it" : `its part "${matchedPattern}"`;
  if (to - from === name.length) return `${subject} matches all of "${name}"`;
  const which = from === 0 ? `the first ${to}` : to === name.length ? `the last ${to - from}` : `${to - from}`;
  return `${subject} matches only ${which} of the ${name.length} characters of "${name}"`;
}

/** A name and what the pattern is held against: the encoded name, too, where it is different. */
function formsOf(database: string): string[] {
  const encoded = encodeDatabase(database);
  return encoded === database ? [database] : [encoded, database];
}

/** The names that the longest part of the pattern matches, those with the most matched characters first. */
function findClosest(source: string, databases: readonly string[], meant: ReadonlySet<string>): ClosestMiss[] {
  const branches = branchesOf(source);
  const longest = Math.max(...branches.map((atoms) => atoms.length));
  for (let dropped = 0; dropped < longest; dropped++) {
    const misses: ClosestMiss[] = [];
    for (const atoms of branches.filter((atoms) => atoms.length > dropped)) {
      const part = atoms.slice(0, atoms.length - dropped).join("");
      // A whole branch may match anywhere in a name; a mere beginning only says something at the beginning.
      const expression = compile(dropped === 0 ? `(?:${part})` : `^(?:${part})`);
      if (expression === undefined) continue;
      const matchedPattern = dropped === 0 && branches.length === 1 ? source : part;
      for (const database of databases) misses.push(...missesOf(database, expression, matchedPattern));
    }
    if (misses.length > 0) return best(misses, meant);
  }
  return [];
}

function missesOf(database: string, expression: RegExp, matchedPattern: string): ClosestMiss[] {
  return formsOf(database).flatMap((name) => {
    const found = expression.exec(name);
    if (found === null || found[0].length < LEAST_MATCHED) return [];
    return [{ database, name, matchedPattern, from: found.index, to: found.index + found[0].length }];
  });
}

/** The best misses, each database once: those that are meant, most characters matched, fewest left over. */
function best(misses: ClosestMiss[], meant: ReadonlySet<string>): ClosestMiss[] {
  const matched = ({ from, to }: ClosestMiss) => to - from;
  const sorted = misses.toSorted((a, b) =>
    Number(meant.has(b.database)) - Number(meant.has(a.database)) || matched(b) - matched(a) ||
    a.name.length - b.name.length
  );
  const first = new Map<string, ClosestMiss>();
  for (const miss of sorted) {
    if (!first.has(miss.database)) first.set(miss.database, miss);
    if (first.size === MOST_MISSES) break;
  }
  return [...first.values()];
}

/** The change that matches the most names, the mildest kind of change first. */
function findRepair(source: string, databases: readonly string[]): Repair | undefined {
  return mostMatches(otherCounts(source, databases)) ?? mostMatches(otherCase(source, databases)) ??
    mostMatches(withMore(source, databases)) ?? mostMatches(otherSpelling(source, databases));
}

function mostMatches(repairs: Repair[]): Repair | undefined {
  return repairs.filter(({ matches }) => matches > 0).toSorted((a, b) => b.matches - a.matches)[0];
}

function otherCounts(source: string, databases: readonly string[]): Repair[] {
  return quantifiersOf(source).flatMap(({ at, text }) => {
    const variant = (quantifier: string) => source.slice(0, at) + quantifier + source.slice(at + text.length);
    // What no count at all can bring to match need not be tried with each of them.
    const hits = matching(variant("*"), databases);
    const counts = new Set<number>();
    for (const database of hits.slice(0, SAMPLED_NAMES)) {
      for (let number = 1; number <= LONGEST_NAME; number++) {
        if (matching(variant(`{${number}}`), [database]).length > 0) counts.add(number);
      }
    }
    return [...counts].map((number) => ({
      pattern: variant(`{${number}}`),
      change: `with {${number}} in place of ${text}`,
      matches: matching(variant(`{${number}}`), hits).length,
    }));
  });
}

/** Names are in lower case, and in capitals only in what encodes a character: `%2F`. */
function otherCase(source: string, databases: readonly string[]): Repair[] {
  const pattern = source.replaceAll(
    /(\\[^])|(%[0-9a-f]{2})|[A-Z]/gi,
    (text, escape, encoded) => escape ?? encoded?.toUpperCase() ?? text.toLowerCase(),
  );
  return [{ pattern, change: "in the case of the names", matches: matching(pattern, databases).length }];
}

function withMore(source: string, databases: readonly string[]): Repair[] {
  const branches = branchesOf(source);
  // Something behind an alternative would belong to the last one only.
  const core = branches.length === 1 ? branches[0]!.join("") : `(?:${source})`;
  return [[`${core}.*`, "behind it"], [`.*${core}`, "before it"], [`.*${core}.*`, "around it"]].map((
    [pattern, where],
  ) => ({
    pattern: pattern!,
    change: `with .* ${where}`,
    matches: matching(pattern!, databases).length,
  }));
}

/** A pattern without any syntax is a name, and may be misspelt. */
function otherSpelling(source: string, databases: readonly string[]): Repair[] {
  if (!/^[\w%/-]+$/.test(source)) return [];
  const pattern = nearest(decodeDatabase(source), databases);
  return pattern === undefined ? [] : [{ pattern, change: "spelt like a name", matches: 1 }];
}

function matching(source: string, databases: readonly string[]): string[] {
  const whole = compile(`^(?:${source})$`);
  if (whole === undefined) return [];
  return databases.filter((database) => formsOf(database).some((name) => whole.test(name)));
}

/** A part of a valid pattern need not be valid: `\k<a>` without its group. */
function compile(source: string): RegExp | undefined {
  try {
    return new RegExp(source, "u");
  } catch {
    return undefined;
  }
}

const ESCAPE_CLASS_OR_CHARACTER =
  /\\(?:u\{[^}]*\}|u[0-9a-f]{4}|x[0-9a-f]{2}|k<[^>]*>|p\{[^}]*\}|c[a-z]|[^])|\[(?:\\[^]|[^\]\\])*\]|[^]/iuy;
const QUANTIFIER = /(?:[*+?]|\{\d+(?:,\d*)?\})\??/y;
const COUNT = /\{\d+(?:,\d*)?\}\??$/;

/** The offset behind the atom at `at`, with and without its quantifier. */
function readAtom(source: string, at: number): { end: number; bare: number } {
  let bare = at + 1;
  if (source[at] === "(") {
    while (bare < source.length && source[bare] !== ")") bare = readAtom(source, bare).end;
    bare += 1;
  } else {
    ESCAPE_CLASS_OR_CHARACTER.lastIndex = at;
    bare = at + (ESCAPE_CLASS_OR_CHARACTER.exec(source)?.[0].length ?? 1);
  }
  QUANTIFIER.lastIndex = bare;
  return { end: bare + (QUANTIFIER.exec(source)?.[0].length ?? 0), bare };
}

/** The atoms of each alternative, quantifiers with them; anchors at the ends and brackets around it all are left out. */
function branchesOf(source: string): string[][] {
  const branches: string[][] = [[]];
  for (let at = 0; at < source.length;) {
    const { end } = readAtom(source, at);
    const atom = source.slice(at, end);
    if (atom === "|") branches.push([]);
    else branches.at(-1)!.push(atom);
    at = end;
  }
  const bare = branches.map((atoms) =>
    atoms.filter((atom, index) => !(atom === "^" && index === 0) && !(atom === "$" && index === atoms.length - 1))
  );
  const [only, second] = bare;
  const inner = second === undefined && only?.length === 1
    ? /^\((?:\?:|\?<\w+>|(?!\?))(.*)\)$/s.exec(only[0]!)?.[1]
    : undefined;
  return inner === undefined ? bare : branchesOf(inner);
}

/** The counts in a pattern, `{16}` and `{2,3}`, those inside of groups too. */
function quantifiersOf(source: string): { at: number; text: string }[] {
  const found: { at: number; text: string }[] = [];
  for (let at = 0; at < source.length;) {
    const { end, bare } = readAtom(source, at);
    const text = COUNT.exec(source.slice(bare, end))?.[0];
    if (text !== undefined) found.push({ at: bare, text });
    if (source[at] === "(") {
      const inner = source.slice(at + 1, bare - 1);
      found.push(...quantifiersOf(inner).map((count) => ({ ...count, at: count.at + at + 1 })));
    }
    at = end;
  }
  return found;
}
