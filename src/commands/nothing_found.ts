/** What is said where a whole repository has no complete backup, or none that a pattern matches. Pure. */
import type { Repository } from "../archive/repository.ts";
import { ArchiveError } from "../errors.ts";

/**
 * The error of a command that looks at all backups: nothing that was looked at must not look like all that is whole.
 *
 * @param asked `patterns`: of which none matches a database with a backup; all were asked for where there are none.
 * `moment`: as of when, in the user's words; the newest were asked for unless given.
 */
export function nothingFound(
  repository: Repository,
  { patterns = [], moment }: { patterns?: readonly string[] | undefined; moment?: string | undefined },
): ArchiveError {
  const key = repository.root;
  const named = patterns.map((source) => `"${source}"`).join(" or ");
  const which = named === "" ? "" : ` of a database that ${named} matches`;
  const places = [
    ...moment === undefined ? [] : ["the moment"],
    ...patterns.length === 0 ? [] : ["the patterns"],
    "prefix and suffix",
  ].join(", ");
  return new ArchiveError(
    `There is no complete backup${which} in "${repository.locate(key)}"${moment === undefined ? "" : ` at ${moment}`}`,
    { key, expected: "a manifest", found: "none" },
    { hint: `Check ${places}; "couchdb-backup list" shows the backups there are` },
  );
}
