/** CouchDB's password where the config only says which secret it is: read when a run begins, kept nowhere. */
import type { Config } from "../config/config.ts";
import type { CouchOptions } from "../couchdb/couchdb.ts";

/**
 * What a config says of CouchDB, with the password that is to be used.
 *
 * @throws AwsError when it is in Secrets Manager and cannot be read there.
 */
export async function withPassword(
  { database, aws }: Pick<Config, "database" | "aws">,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<CouchOptions> {
  if (database.passwordSecret === undefined) return database;
  // Loaded only where it is wanted: most configs hold the password, or name a file.
  const { readPassword } = await import("../aws/secrets_manager.ts");
  return { ...database, password: await readPassword(database.passwordSecret, { ...aws, ...options }) };
}
