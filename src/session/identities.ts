/**
 * The identities that open sealed backups. In: files, or a secret's ARN. Out: the identities, read only when the first
 * sealed backup is met, as a machine that makes backups has none.
 */
import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import type { AwsOptions } from "../aws/options.ts";
import { parseIdentities } from "../codec/age_header.ts";
import { CodecError } from "../codec/error.ts";
import { isPublicKey, isSecretKey } from "../codec/recipient.ts";
import { AwsError, UsageError } from "../errors.ts";
import { shellWord } from "../shell_word.ts";
import type { Log } from "../observe.ts";

/** Where identities are. */
export interface IdentitySource {
  /** Files as `age-keygen` writes them. */
  files: readonly string[];
  /** The ARN of a secret whose text is like such a file. */
  secret?: string | undefined;
  aws: AwsOptions;
  log: Log;
  signal?: AbortSignal | undefined;
}

/** No file of identities is larger. */
const MOST_BYTES = 1 << 20;

/**
 * Who else may read a file that holds a secret key, and the command that prevents it; undefined if only the owner may,
 * and of what is no file. The group counts as somebody else, as its members are unknown.
 */
export function otherReaders(
  found: Pick<Stats, "mode" | "isFile">,
  file: string,
): { who: string; hint: string } | undefined {
  const { mode } = found;
  if (!found.isFile() || (mode & 0o044) === 0) return undefined;
  const who = (mode & 0o004) === 0 ? "its group" : "everybody on this machine";
  return { who, hint: `chmod go-rwx ${shellWord(file)}` };
}

/** What reads the identities: once, and only when it is called. */
export function identityReader(source: IdentitySource): () => Promise<readonly string[]> {
  let read: Promise<readonly string[]> | undefined;
  return () => {
    read ??= readIdentities(source);
    // A secret that could not be read just now may be a moment later.
    read.catch(() => read = undefined);
    return read;
  };
}

async function readIdentities({ files, secret, aws, log, signal }: IdentitySource): Promise<string[]> {
  const identities: string[] = [];
  for (const file of files) identities.push(...await readIdentityFile(file, log));
  if (secret !== undefined) {
    const { readSecretText } = await import("../aws/secrets_manager.ts");
    const hint = "Store the text of the file that age-keygen has written as the value of the secret";
    const text = await readSecretText(secret, { ...aws, signal, hint });
    try {
      identities.push(...await parseIdentities(text));
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      throw new AwsError(`Cannot use the secret "${secret}": ${error.message}`, { code: "bad_secret" }, { hint });
    }
  }
  return identities;
}

/** @throws UsageError where it cannot be read, or is none. */
async function readIdentityFile(file: string, log: Log): Promise<string[]> {
  if (isSecretKey(file)) {
    throw new UsageError("The secret key itself is given as an identity; it must be a file that holds the key", {
      hint: "The key is in the shell's history now: keep it in a file that only you can read, and name that file",
    });
  }
  if (isPublicKey(file)) {
    throw new UsageError("A public key is given as an identity; it must be a file that holds a secret key", {
      hint: "Give the file that age-keygen has written, with the secret key of this public key",
    });
  }
  let text: string;
  let found: Stats;
  try {
    found = await stat(file);
    if (found.size > MOST_BYTES) {
      throw new UsageError(`The identity file "${file}" has more than 1 MiB, so it is not one`);
    }
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`Cannot read the identity file "${file}"`, {
      cause: error,
      hint: "It must be the file that age-keygen has written, readable by the user that runs this program",
    });
  }
  try {
    const identities = await parseIdentities(text);
    // Not before it is known to be one: what is named by mistake, as a folder that all share, is to stay readable.
    const others = otherReaders(found, file);
    if (others !== undefined) log.warn(`identity file can be read by ${others.who}`, { file, hint: others.hint });
    return identities;
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    throw new UsageError(`Cannot use the identity file "${file}": ${error.message}`, {
      hint: "It must be the file that age-keygen has written; it may hold several keys, one on a line",
    });
  }
}
