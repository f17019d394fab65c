/** CouchDB's password where the config only says where it is: read when CouchDB is first needed. */
import { readFile as readFileOfSystem } from "node:fs/promises";
import type { Config } from "../config/config.ts";
import { notUtf8 } from "../config/utf8.ts";
import type { CouchOptions } from "../couchdb/couchdb.ts";
import { ConfigError, describeError, hintOf } from "../errors.ts";
import type { Log } from "../observe.ts";
import { Secret } from "../secret.ts";

/** What {@linkcode withPassword} takes beside the config. */
export interface PasswordOptions {
  /** Ends the reading. */
  signal?: AbortSignal | undefined;
  /** Reads a file as UTF-8. @default node:fs */
  readFile?: ((path: string) => Promise<string>) | undefined;
}

/**
 * What a config says of CouchDB, with the password that is to be used.
 *
 * @throws ConfigError when it is in a variable that is not set, or in a file that cannot be read, or is empty; AwsError
 * when it is in Secrets Manager and cannot be read there.
 */
export async function withPassword(
  { database, aws }: Pick<Config, "database" | "aws">,
  options: PasswordOptions = {},
): Promise<CouchOptions> {
  const { url, login, password, passwordFile, passwordSecret, passwordUnset } = database;
  if (passwordUnset !== undefined) throw passwordUnset;
  if (password !== undefined) return { url, login, password };
  if (passwordFile !== undefined) {
    const passwordFrom = `database.password_file, "${passwordFile.path}"`;
    return { url, login, password: await readPasswordFile(passwordFile, options), passwordFrom };
  }
  if (passwordSecret === undefined) return { url, login };
  // Loaded only where it is wanted: most configs hold the password, or name a file.
  const { readPassword } = await import("../aws/secrets_manager.ts");
  const passwordFrom = "database.password_secret";
  return { url, login, password: await readPassword(passwordSecret, { ...aws, signal: options.signal }), passwordFrom };
}

/**
 * CouchDB's login for a program that stays. The password is read again for each run, since it may have been changed
 * where it is kept; while it cannot be read there it is the one that was read last. A service that ended then, as with
 * a config that is wrong, would not be started again.
 */
export class LastingLogin {
  readonly #config: Pick<Config, "database" | "aws">;
  #last: CouchOptions;

  /** Use {@linkcode LastingLogin.read}. */
  private constructor(config: Pick<Config, "database" | "aws">, first: CouchOptions) {
    this.#config = config;
    this.#last = first;
  }

  /** Reads it for the first time. @throws As {@linkcode withPassword} does. */
  static async read(config: Pick<Config, "database" | "aws">, options: PasswordOptions = {}): Promise<LastingLogin> {
    return new LastingLogin(config, await withPassword(config, options));
  }

  /** The login as it is now, or was last. @throws The reason of `signal`. */
  async now({ log, ...options }: PasswordOptions & { log: Log }): Promise<CouchOptions> {
    try {
      this.#last = await withPassword(this.#config, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      const facts = { error: describeError(error), hint: hintOf(error) };
      log.warn("the password cannot be read again: the one that was read last is used", facts);
    }
    return this.#last;
  }
}

async function readPasswordFile(
  { path, place }: NonNullable<Config["database"]["passwordFile"]>,
  { readFile = (path) => readFileOfSystem(path, "utf8") }: PasswordOptions,
): Promise<Secret> {
  const where = `${place.file}:${place.line}:${place.column}`;
  let password: string;
  try {
    password = (await readFile(path)).replace(/^\uFEFF/, "").replace(/\r?\n$/, "");
  } catch (error) {
    throw new ConfigError(`${where}: Cannot read the password file "${path}"`, place, {
      cause: error,
      hint:
        "The file must be readable by the user that runs this program; a relative path begins in the config's folder",
    });
  }
  if (password === "") throw new ConfigError(`${where}: The password file "${path}" is empty`, place);
  const encoding = notUtf8(password);
  if (encoding !== undefined) {
    throw new ConfigError(`${where}: The password file "${path}" is not UTF-8 but ${encoding}`, place, {
      hint: "Save it as UTF-8: CouchDB would be sent another password than the one that stands there",
    });
  }
  return new Secret(password);
}
