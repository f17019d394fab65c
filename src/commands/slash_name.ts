/**
 * Whether a slash in a database's name reaches CouchDB. In: a client. Out: what was found, or a CouchError that says
 * what answered instead. Nothing is written: where no name with a slash is listed, one is asked for that cannot be
 * taken for anything else. A proxy that decodes `%2F` makes `orders%2F_security` the security object of `orders`;
 * CouchDB itself says that there is no such database.
 */
import type { CouchClient } from "../couchdb/client.ts";
import { isMissing } from "../errors.ts";

/** What is read of a database by `GET /{db}/_security`, and is no database. */
const MEMBER = "_security";

/** Asks CouchDB for a name with a slash. @throws CouchError where it is not understood as one. */
export async function trySlashInName(couch: CouchClient, { signal }: { signal: AbortSignal }): Promise<string> {
  const names = await couch.listDatabases({ signal });
  const listed = names.find((name) => name.includes("/"));
  if (listed !== undefined) {
    await couch.databaseInfo(listed, { signal });
    return `"${listed}" is found`;
  }
  const [database] = names.filter((name) => !name.startsWith("_"));
  if (database === undefined) return "There is no database to test it with";
  const name = `${database}/${MEMBER}`;
  try {
    await couch.databaseInfo(name, { signal });
  } catch (error) {
    // A proxy that refuses %2F answers 404, too, but not as CouchDB does.
    if (!isMissing(error)) throw error;
    return "No database name has a slash; one would be found";
  }
  return `"${name}" is found`;
}
