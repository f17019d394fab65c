/**
 * Other names for databases that are restored: `FROM=TO`, where FROM is a pattern as in a task and TO may use its
 * groups (`$1`). In: what stands on the command line, and names. Out: the names to restore to. Pure.
 */
import { counted } from "../counts.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { UsageError } from "../errors.ts";
import { compilePattern } from "./pattern.ts";
import { SYSTEM_DATABASES } from "./select.ts";

/** What CouchDB takes as a database's name. @see https://docs.couchdb.org/en/stable/api/database/common.html */
const DATABASE_NAME = /^[a-z][a-z0-9_$()+/-]*$/;
const MAX_NAME_LENGTH = 238;

/** Gives a database another name, or leaves it its own. */
export type Rename = (database: string) => string;

/**
 * Reads `FROM=TO`s; the first that matches counts, and a database that none matches keeps its name.
 *
 * @throws UsageError when one has no `=`, or its FROM is no pattern.
 */
export function readRenames(renames: readonly string[]): Rename {
  const rules = renames.map(readRule);
  return (database) => {
    for (const { whole, to } of rules) {
      const form = formsOf(database).find((form) => whole.test(form));
      if (form !== undefined) return decodeDatabase(form.replace(whole, to));
    }
    return database;
  };
}

/** The `FROM=TO`s that match none of these databases: a slip of the pen would leave a database its own name. */
export function unmetRenames(renames: readonly string[], databases: readonly string[]): string[] {
  return renames.filter((text) => {
    const { whole } = readRule(text);
    return !databases.some((database) => formsOf(database).some((form) => whole.test(form)));
  });
}

/** A name can be written as it is, or encoded as in a URL. */
function formsOf(database: string): string[] {
  return [database, encodeDatabase(database)];
}

function readRule(text: string): { whole: RegExp; to: string } {
  const cut = text.indexOf("=");
  if (cut < 1 || cut === text.length - 1) {
    throw new UsageError(`--map "${text}" is not FROM=TO`, {
      hint: "FROM is a pattern and TO the new name, with $1 for its first group: --map 'account%2F(.*)=restored%2F$1'",
    });
  }
  const source = text.slice(0, cut);
  compilePattern(source); // Says what is wrong with it, in the words of a task's patterns.
  return { whole: new RegExp(`^(?:${source})$`, "u"), to: decodeDatabase(text.slice(cut + 1)) };
}

/** Why CouchDB takes no database of that name; undefined where it does. */
export function explainName(database: string): string | undefined {
  if (SYSTEM_DATABASES.has(database)) return undefined;
  // A database of a cluster's own, such as a/_replicator, has one of these as its last part.
  const checked = database.replace(/\/_(users|replicator)$/, "/x");
  if (!DATABASE_NAME.test(checked)) {
    return "a name begins with a small letter and has small letters, digits and _$()+-/ only";
  }
  return database.length > MAX_NAME_LENGTH ? `it has more than ${counted(MAX_NAME_LENGTH, "character")}` : undefined;
}
