/**
 * Which databases a repository holds backups of. In: a repository. Out: their names; or, of a name of which it holds
 * nothing, a usage error that suggests the one that was probably meant.
 */
import { encodeDatabase } from "../database_name.ts";
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { loadAhead } from "../parallel.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { Catalog } from "./catalog.ts";
import { type DatedFolder, listDatabases, listDays } from "./days.ts";
import type { Repository } from "./repository.ts";

/** Days that are looked into at once. */
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
  const names = await databasesOf(repository, options);
  const near = nearest(database, names);
  const known = [...names].sort().slice(0, MOST_NAMED).map((name) => `"${encodeDatabase(name)}"`).join(", ");
  const hint = near !== undefined
    ? `Did you mean "${encodeDatabase(near)}"?`
    : names.size === 0
    ? "Check prefix and suffix: there are no backups of any database"
    : `There are backups of ${known}${names.size > MOST_NAMED ? `, and ${names.size - MOST_NAMED} more` : ""}`;
  return new UsageError(`There is no backup of database "${database}" in "${repository.locate(repository.root)}"`, {
    hint,
  });
}

/** The decoded names of all databases that have a folder: in the catalog, or on any day, as those of format 1 may. */
export async function databasesOf(repository: Repository, options: StoreCallOptions): Promise<Set<string>> {
  const { signal } = options;
  const names = new Set<string>();
  for await (const name of new Catalog(repository).databases(options)) names.add(name);
  const listDay = (day: DatedFolder, signal: AbortSignal) =>
    Array.fromAsync(listDatabases(repository, day, { signal }));
  for await (const found of loadAhead(listDays(repository, options), listDay, { limit: DAYS_AT_ONCE, signal })) {
    for (const { database } of found) names.add(database);
  }
  return names;
}
