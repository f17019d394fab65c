/**
 * How little has to change in a pattern for it to match. In: a pattern that matches nothing, and the names of all
 * databases. Out: the mildest change that helps: another count in a `{n}`, the case of the names, `.*` before or after
 * the pattern, and the nearest name where the pattern is a name itself.
 */
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { nearest } from "../nearest.ts";
import { branchesOf, compile, quantifiersOf } from "./pattern_parts.ts";

/** A pattern that differs little from one that matches nothing. */
export interface Repair {
  pattern: string;
  /** What is different, such as `with {28} in place of {16}`. */
  change: string;
  /** How many databases it matches. */
  matches: number;
}

/** The longest name that CouchDB allows has 238 characters. */
const LONGEST_NAME = 238;
/** How many names are looked at to find the counts worth trying. */
const SAMPLED_NAMES = 50;

/** The change that matches the most names, the mildest kind of change first. */
export function findRepair(source: string, databases: readonly string[]): Repair | undefined {
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
  // Something after an alternative would belong to the last one only.
  const core = branches.length === 1 ? branches[0]!.join("") : `(?:${source})`;
  return [[`${core}.*`, "after it"], [`.*${core}`, "before it"], [`.*${core}.*`, "around it"]].map((
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

/** A name and what the pattern is held against: the encoded name, too, where it is different. */
export function formsOf(database: string): string[] {
  const encoded = encodeDatabase(database);
  return encoded === database ? [database] : [encoded, database];
}

/** The databases whose whole names a pattern matches, in one of their forms. */
export function matching(source: string, databases: readonly string[]): string[] {
  const whole = compile(`^(?:${source})$`);
  if (whole === undefined) return [];
  return databases.filter((database) => formsOf(database).some((name) => whole.test(name)));
}
