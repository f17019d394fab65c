/** The error of commands for all backups where there is no complete backup, or none that a pattern matches. Pure. */
import type { Repository } from "../archive/repository.ts";
import { ArchiveError } from "../errors.ts";

/**
 * The error of a command that looks at all backups: having looked at none must not pass for "all of them are whole".
 *
 * @param asked `patterns`: none of them matches a database with a backup; without patterns all databases were asked
 * for. `moment`: as of when, in the user's words; without it the newest backups were asked for.
 */
export function nothingFound(
  repository: Repository,
  { patterns = [], excluded = [], moment }: {
    patterns?: readonly string[] | undefined;
    /** What was left out, though it may be there. */
    excluded?: readonly string[] | undefined;
    moment?: string | undefined;
  },
): ArchiveError {
  const key = repository.root;
  const named = patterns.map((source) => `"${source}"`).join(" or ");
  const left = excluded.map((source) => `"${source}"`).join(" or ");
  const which = (named === "" ? "" : ` of a database that ${named} matches`) +
    (left === "" ? "" : `${named === "" ? " of a database" : ""} beside those that ${left} leaves out,`);
  const places = [
    ...moment === undefined ? [] : ["the moment"],
    ...patterns.length + excluded.length === 0 ? [] : ["the patterns"],
    "prefix and suffix",
  ].join(", ");
  return new ArchiveError(
    `There is no complete backup${which} in "${repository.locate(key)}"${moment === undefined ? "" : ` at ${moment}`}`,
    { key, expected: "a manifest", found: "none" },
    { hint: `Check ${places}; "couchdb-backup list" shows the backups there are` },
  );
}
