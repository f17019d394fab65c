/**
 * The error for a database without backups in the repository. In: a repository and the name that was asked for.
 * Out: a usage error that suggests the name that was probably meant.
 */
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { Catalog } from "./catalog.ts";
import { listDays } from "./days.ts";
import type { Repository } from "./repository.ts";

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

/** By the catalog, and by the folders: one that was made before there was a catalog is in these alone. */
async function heldDatabases(repository: Repository, options: StoreCallOptions): Promise<Set<string>> {
  const names = new Set<string>();
  for await (const name of new Catalog(repository).databases(options)) names.add(name);
  for await (const { folder } of listDays(repository, options)) {
    for await (const { kind, name } of repository.store.list(joinKey(folder, repository.suffix), options)) {
      if (kind === "folder") names.add(decodeDatabase(name));
    }
  }
  return names;
}
