/**
 * Which databases a run backs up. In: the names of all databases, and a task's patterns or what the command line names.
 * Out: the selected ones and the pattern that selected each, those left out and why, and the patterns that select none.
 * Pure.
 */
import { counted } from "../counts.ts";
import { type ClosestMiss, explainMisses } from "./closest_misses.ts";
import type { Repair } from "./repair.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { nearest } from "../nearest.ts";
import { compilePattern, Patterns } from "./pattern.ts";

/** What a task says of its databases. */
export interface SelectionRules {
  /** Patterns, of which one must match. */
  databases: readonly string[];
  /** Patterns, of which none may match. */
  exclude: readonly string[];
  /** Whether names must end in `-YYYYMM` of the month before the run. */
  backupOnlyPrevious: boolean;
}

/** What stands in place of a pattern where a database was named by hand: nobody has seen it in CouchDB's list. */
export const NAMED_BY_HAND = "--database";

/** A database to back up. */
export interface SelectedDatabase {
  /** The decoded name. */
  database: string;
  /** The name as in a URL and in the archive. */
  encoded: string;
  /** The first pattern that matches it; `--all` or `--database` when the command line named it. */
  pattern: string;
}

/** A database that a pattern matches and that is left out nevertheless. */
export interface ExcludedDatabase extends SelectedDatabase {
  /** Such as `the exclude pattern "x" matches it`. */
  reason: string;
}

/** A pattern that selects no database. */
export interface UnmatchedPattern {
  pattern: string;
  /** The sentence of a warning, without a capital and a full stop. */
  explanation: string;
  /** The names it matches in part, at most three, the nearest first. */
  closest: ClosestMiss[];
  /** A pattern that differs little and matches. */
  repair?: Repair | undefined;
}

/** What a task selects of the databases that there are. */
export interface Selection {
  /** In the order of the names. */
  selected: SelectedDatabase[];
  excluded: ExcludedDatabase[];
  /** In the order of the task's patterns. */
  unmatched: UnmatchedPattern[];
}

/** What would match is looked for so often: it takes a fifth of a second among thirty thousand names. */
const MOST_EXPLAINED = 20;

/** The databases that CouchDB keeps for itself; `--all` passes over them, a pattern or `--database` can name them. */
export const SYSTEM_DATABASES: ReadonlySet<string> = new Set(["_replicator", "_users", "_global_changes"]);

/**
 * Applies a task's rules to the decoded names of all databases.
 *
 * @param options `month`: `YYYYMM` of the month before the run; needed with `backupOnlyPrevious` only. `explains`:
 * whether it is looked for what patterns that select nothing would match. @default true
 * @throws UsageError when a pattern is no regular expression; a checked config has none of these.
 * @throws RangeError when the month is needed and missing.
 */
export function selectDatabases(
  names: readonly string[],
  rules: SelectionRules,
  options: { month?: string | undefined; explains?: boolean } = {},
): Selection {
  if (rules.backupOnlyPrevious && options.month === undefined) throw new RangeError("No month to select databases of");
  const ending = rules.backupOnlyPrevious ? `-${options.month}` : "";
  const exclude = new Patterns(rules.exclude.map(compilePattern));
  const patterns = rules.databases.map((source) => ({
    ...compilePattern(source),
    selected: 0,
    excluded: 0,
    otherMonth: 0,
  }));
  const wanted = new Patterns(patterns);
  const selected: SelectedDatabase[] = [];
  const excluded: ExcludedDatabase[] = [];
  for (const database of names) {
    const encoded = encodeDatabase(database);
    const matching = wanted.matching(database, encoded);
    const [first] = matching;
    if (first === undefined) continue;
    const found = { database, encoded, pattern: first.source };
    const [excluding] = exclude.matching(database, encoded);
    if (excluding !== undefined) {
      for (const pattern of matching) pattern.excluded++;
      excluded.push({ ...found, reason: `the exclude pattern "${excluding.source}" matches it` });
    } else if (!database.endsWith(ending)) {
      for (const pattern of matching) pattern.otherMonth++;
      excluded.push({ ...found, reason: `its name does not end in "${ending}"` });
    } else {
      for (const pattern of matching) pattern.selected++;
      selected.push(found);
    }
  }
  let explained = 0;
  const unmatched = patterns.filter((pattern) => pattern.selected === 0).map(({ source, excluded, otherMonth }) => {
    if (excluded + otherMonth === 0) {
      if (options.explains === false || explained++ >= MOST_EXPLAINED) {
        const explanation = `pattern "${source}" matches none of ${counted(names.length, "database")}`;
        return { pattern: source, explanation, closest: [] };
      }
      const { sentence, closest, repair } = explainMisses(source, names);
      return { pattern: source, explanation: sentence, closest, repair };
    }
    const explanation = describeLeftOut(source, { excluded, otherMonth, ending });
    return { pattern: source, explanation, closest: [] };
  });
  return { selected, excluded, unmatched };
}

function describeLeftOut(
  source: string,
  { excluded, otherMonth, ending }: { excluded: number; otherMonth: number; ending: string },
): string {
  const why = [
    ...excluded > 0 ? [`${excluded} ${excluded === 1 ? "is" : "are"} excluded`] : [],
    ...otherMonth > 0 ? [`${otherMonth} ${otherMonth === 1 ? "does" : "do"} not end in "${ending}"`] : [],
  ];
  const matches = excluded + otherMonth;
  return `pattern "${source}" selects none: of ${counted(matches, "matching database")} ${why.join(" and ")}`;
}

/** What `--all` means: every database but CouchDB's own three. */
export function selectAll(names: readonly string[]): SelectedDatabase[] {
  return names.filter((name) => !SYSTEM_DATABASES.has(name))
    .map((database) => ({ database, encoded: encodeDatabase(database), pattern: "--all" }));
}

/** What `--database NAME` means, once or several times; each NAME is a decoded or an encoded name, not a pattern. */
export function selectNamed(
  names: readonly string[],
  wanted: readonly string[],
): { selected: SelectedDatabase[]; missing: { name: string; closest?: string | undefined }[] } {
  const known = new Set(names);
  const found = new Set<string>();
  const missing: { name: string; closest?: string | undefined }[] = [];
  for (const name of wanted) {
    const database = known.has(name) ? name : decodeDatabase(name);
    if (known.has(database)) found.add(database);
    else missing.push({ name, closest: nearest(database, names) });
  }
  const selected = [...found].map((database) => ({
    database,
    encoded: encodeDatabase(database),
    pattern: NAMED_BY_HAND,
  }));
  return { selected, missing };
}
