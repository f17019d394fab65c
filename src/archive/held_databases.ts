/**
 * The databases that a repository holds, and what is said of one that it does not hold. In: a repository, and the name
 * that was asked for. Out: their names; a usage error, or the hint of another one, that suggests the name that was
 * probably meant.
 */
import { commandLine } from "../command_line.ts";
import { encodeDatabase } from "../database_name.ts";
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { loadAhead } from "../parallel.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { Catalog } from "./catalog.ts";
import { type DatedFolder, isOwnFolder, listDatabases, listDays } from "./days.ts";
import type { Repository } from "./repository.ts";

/** Days whose folders are listed at once. */
const DAYS_AT_ONCE = 16;
/** More databases than this are not shown where none has a similar name. */
const MOST_NAMED = 5;

/**
 * Why a command that was to look at one database has found nothing.
 *
 * @param database Decoded; nothing lies in its folders.
 * @returns An error to be thrown: that a name is wrong must not pass for an answer.
 */
export async function nothingHeldOf(
  repository: Repository,
  database: string,
  options: StoreCallOptions,
): Promise<UsageError> {
  const names = await heldDatabases(repository, options);
  // A run that is killed can leave a folder without anything that counts.
  const hint = names.has(database)
    ? "Its folder is there, with nothing that a run has finished storing: back the database up again"
    : suggest(database, names);
  return new UsageError(`There is no backup of database "${database}" in "${repository.locate(repository.root)}"`, {
    hint,
  });
}

/**
 * What to do where no complete backup of a database is found: the name that was probably meant, and how to see what
 * there is.
 *
 * @param database Decoded.
 */
export async function suggestHeld(
  repository: Repository,
  database: string,
  options: StoreCallOptions,
): Promise<string> {
  const names = await heldDatabases(repository, options);
  if (names.has(database)) {
    return `"${commandLine("list", ["--database", encodeDatabase(database)])}" shows what there is of it; ` +
      "restore takes one without a manifest by its date or the path of its folder, with --salvage if it is unfinished";
  }
  const suggestion = suggest(database, names);
  const list = `${suggestion}${
    suggestion.endsWith("?") ? "" : ";"
  } "couchdb-backup list backups" shows the backups there are`;
  const [first] = names;
  const example = nearest(database, names) ?? first;
  if (example === undefined) return list;
  // Whoever restores under a new name has given that one alone.
  return `${list}; to restore one under another name, give its own name after the moment: latest/${
    encodeDatabase(example)
  }`;
}

function suggest(database: string, names: ReadonlySet<string>): string {
  const near = nearest(database, names);
  if (near !== undefined) return `Did you mean "${encodeDatabase(near)}"?`;
  if (names.size === 0) return "Check prefix and suffix: there are no backups of any database";
  const known = [...names].sort().slice(0, MOST_NAMED).map((name) => `"${encodeDatabase(name)}"`).join(", ");
  return `There are backups of ${known}${names.size > MOST_NAMED ? `, and ${names.size - MOST_NAMED} more` : ""}`;
}

/** The decoded names of all databases that have a folder: in the catalog, or on any day, as those of format 1 may. */
export async function heldDatabases(repository: Repository, options: StoreCallOptions): Promise<Set<string>> {
  const { signal } = options;
  const names = new Set<string>();
  for await (const name of new Catalog(repository).databases(options)) names.add(name);
  const listDay = (day: DatedFolder, signal: AbortSignal) =>
    Array.fromAsync(listDatabases(repository, day, { signal }));
  for await (const found of loadAhead(listDays(repository, options), listDay, { limit: DAYS_AT_ONCE, signal })) {
    for (const one of found) if (isOwnFolder(repository, one)) names.add(one.database);
  }
  return names;
}
