/**
 * Which databases of a moment are restored. In: the moment, patterns, and what the repository has. Out: the backups, and
 * the databases that are left out, each with its reason.
 */
import { explainUnusable } from "../../archive/damage.ts";
import { type BackupOfMoment, backupsOfMoment, type LastSelection, lastSelections } from "../../archive/moment.ts";
import { CLOCKS_DIFFER_MS } from "../../archive/newer_attempts.ts";
import { tellsOf } from "../../archive/report.ts";
import { decodeDatabase } from "../../database_name.ts";
import { parseDate, parseInstant } from "../../dates.ts";
import { type StoreError, UsageError } from "../../errors.ts";
import { formatInstant } from "../../observe/figures.ts";
import { mustNameSome } from "../../request.ts";
import { compilePattern, matcherOf } from "../../task/pattern.ts";
import { SYSTEM_DATABASES } from "../../task/select.ts";
import { nothingFound } from "../nothing_found.ts";
import type { FleetContext, FleetRequest } from "./context.ts";
import type { LeftOut } from "./fleet_report.ts";

/** What a path means; undefined for the newest of all. @throws UsageError when it is neither `latest` nor a moment. */
export function readMoment(path: string): Date | undefined {
  if (path === "latest") return undefined;
  const moment = parseInstant(path);
  if (moment !== undefined) return moment;
  const date = parseDate(path);
  throw new UsageError(`Cannot restore all databases of "${path}": it is neither "latest" nor a moment`, {
    hint: date === undefined
      ? 'A moment has a date, a time and a zone: "2026-11-25T18:05Z" or "2026-11-25T19:05:30+01:00"'
      : `A day has many moments; its end is "${path.replaceAll("/", "-")}T23:59:59Z"`,
  });
}

/**
 * Finds the backups of a moment that are asked for.
 *
 * @param where.isPart Which databases are looked at, where they are not all of them: no pattern then need be met.
 * @returns What is to be restored, and what is not, by the names of the databases.
 * @throws ArchiveError when nothing is found, or nothing for a pattern; StoreError when the store fails, or gives out
 * none of the backups.
 */
export async function findFleet(
  context: FleetContext,
  request: FleetRequest,
  { notAfter, isPart }: { notAfter: Date | undefined; isPart?: ((database: string) => boolean) | undefined },
): Promise<{ kept: BackupOfMoment[]; leftOut: LeftOut[] }> {
  const { log, now, repository, signal } = context;
  const matches = readFilter(request);
  const own = new Set<string>();
  const isWanted = (database: string) => {
    if (isPart?.(database) === false) return false;
    if (isLeftUnnamed(database, request)) own.add(database);
    return matches(database);
  };
  const selections = await lastSelections(repository, { notAfter, log, signal });
  const outOfReach: { database: string; error: StoreError }[] = [];
  const onOutOfReach = (database: string, error: StoreError) => void outOfReach.push({ database, error });
  const search = { notAfter, isWanted, onOutOfReach, log, now, signal };
  const found = await Array.fromAsync(backupsOfMoment(repository, search));
  if (isPart === undefined) {
    const moment = request.path === "latest" ? undefined : request.path;
    const [first] = outOfReach;
    if (found.length === 0) {
      throw first?.error ?? nothingFound(repository, { patterns: request.match, excluded: request.exclude, moment });
    }
    const patterns = unmetPatterns(request, [...found, ...outOfReach]);
    if (patterns.length > 0) throw nothingFound(repository, { patterns, moment });
  }
  const lost = new Set(outOfReach.map(({ database }) => database));
  const isSought = (database: string) => isWanted(database) && !lost.has(database);
  const { kept, leftOut } = sortOut(found, { selections, isWanted: isSought, gone: request.gone === true });
  for (const { database, error } of outOfReach) {
    const reason = `its newest backup cannot be read: ${explainUnusable(error)}`;
    leftOut.push({ database, reason, is_missing: true });
  }
  leftOut.push(...findSuperseded(kept, { selections, notAfter }));
  for (const database of own) {
    const reason = `CouchDB's system databases are restored only if named (--match ${database})`;
    leftOut.push({ database, reason, is_missing: false });
  }
  return { kept, leftOut: leftOut.sort((a, b) => a.database < b.database ? -1 : 1) };
}

/** Whether a system database is skipped although no selection was given: missing logins are easily overlooked. */
function isLeftUnnamed(database: string, { match, exclude = [] }: FleetRequest): boolean {
  return SYSTEM_DATABASES.has(database) && match === undefined && !matcherOf(exclude)(database);
}

/** System databases are restored only if named, because they hold logins and start replications. */
function readFilter({ match, exclude = [] }: FleetRequest): (database: string) => boolean {
  mustNameSome(match, "match");
  const isMatched = matcherOf(match);
  const isExcluded = matcherOf(exclude);
  // A pattern such as ".*" names no database in particular.
  const isNamed = (database: string) => match?.some((source) => decodeDatabase(source) === database) === true;
  return (database) => {
    if (isExcluded(database)) return false;
    return SYSTEM_DATABASES.has(database) ? isNamed(database) : isMatched(database);
  };
}

/** Separates what is to be restored from what the last runs no longer had, and names what has no backup. */
function sortOut(
  found: readonly BackupOfMoment[],
  { selections, isWanted, gone }: {
    selections: readonly LastSelection[];
    isWanted: (database: string) => boolean;
    gone: boolean;
  },
): { kept: BackupOfMoment[]; leftOut: LeftOut[] } {
  const byTask = new Map(selections.map((selection) => [selection.task, selection]));
  const isSelected = (database: string) => selections.some(({ databases }) => databases.has(database));
  const leftOut: LeftOut[] = [];
  const kept = found.filter(({ database, point: { manifest, finishedAt } }) => {
    const last = byTask.get(manifest.task);
    // Without a report of its task, or where the backup is younger than that run, nobody can tell that it is gone.
    if (gone || last === undefined || isSelected(database) || finishedAt > last.begunAt) return true;
    if (!tellsOf(last, { at: last.at, database })) return true;
    const at = formatInstant(last.at.toISOString());
    const reason = `the run of task "${last.task}" of ${at} no longer had it (--gone restores it)`;
    leftOut.push({ database, reason, is_missing: false });
    return false;
  });
  const there = new Set(found.map(({ database }) => database));
  for (const { task, databases } of selections) {
    for (const [database, status] of databases) {
      if (there.has(database) || status === "gone" || !isWanted(database)) continue;
      there.add(database);
      const reason = `task "${task}" should have saved it, but there is no complete backup`;
      leftOut.push({ database, reason, is_missing: true });
    }
  }
  return { kept, leftOut };
}

/**
 * Newer backups that the last runs had reported and that are not found: their manifests are damaged or gone, or the
 * index of a copied bucket is not whole. An older state is restored then, which nobody would notice.
 */
function findSuperseded(
  kept: readonly BackupOfMoment[],
  { selections, notAfter }: { selections: readonly LastSelection[]; notAfter: Date | undefined },
): LeftOut[] {
  return kept.flatMap(({ database, point: { manifest, finishedAt } }) => {
    // The report has the very moment of the manifest; that of another task may go by another machine's clock.
    const own = Date.parse(manifest.finished_at);
    for (const { task, savedAt } of selections) {
      const saved = savedAt.get(database);
      if (saved === undefined || (notAfter !== undefined && saved > notAfter)) continue;
      if (own + (task === manifest.task ? 0 : CLOCKS_DIFFER_MS) >= saved.getTime()) continue;
      const [newer, older] = [saved, finishedAt].map((moment) => formatInstant(moment.toISOString()));
      const reason =
        `the task "${task}" reported a backup of ${newer} that is damaged or not found, so that of ${older} ` +
        `is taken ("couchdb-backup list --rebuild" finds what the index lacks)`;
      return [{ database, reason, is_missing: true }];
    }
    return [];
  });
}

/** Patterns of --match that nothing is restored for: others that match would hide a slip of the pen. */
function unmetPatterns({ match = [], exclude = [] }: FleetRequest, found: readonly { database: string }[]): string[] {
  // A pattern for a database that is excluded is not unmet.
  const excludes = matcherOf(exclude);
  return match.filter((source) => {
    const pattern = compilePattern(source);
    return !excludes(decodeDatabase(source)) && !found.some(({ database }) => pattern.matches(database));
  });
}
