/**
 * Why a pattern matches no database. In: a pattern and the names of all databases. Out: a sentence that says how far
 * the pattern gets and on which names, and how little would have to change in it for it to match.
 *
 * Two things are tried. How far: the pattern without its anchors, then ever shorter beginnings of it, until one matches
 * a part of some name. What would match: the changes in repair.ts.
 */
import { counted } from "../counts.ts";
import { branchesOf, compile } from "./pattern_parts.ts";
import { findRepair, formsOf, matching, type Repair } from "./repair.ts";

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
    `pattern "${source}" matches none of ${counted(databases.length, "database")}`,
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
  return `${subject} matches only ${which} of the ${counted(name.length, "character")} of "${name}"`;
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
