/**
 * Where the keys that sign requests to AWS come from: a provider, which is asked before each request. In: keys that
 * never change, or a source of keys that expire. Out: a provider that keeps what it was given for as long as it works.
 */
import type { Secret } from "../secret.ts";

/** What signs a request. */
export interface Credentials {
  /** Access key id; not a secret, S3 names it in its own logs and errors. */
  accessKeyId: string;
  secretAccessKey: Secret;
  /** Goes with keys that expire. */
  sessionToken?: Secret | undefined;
  /** When the keys stop working; absent for those that do not. */
  expiresAt?: Date | undefined;
}

/** Gives the credentials to use now. */
export type CredentialProvider = () => Promise<Credentials>;

/** How long before their end keys are replaced: AWS's roles offer new ones at least five minutes ahead. */
const REFRESH_BEFORE_MS = 5 * 60 * 1000;

/** A provider of keys that never change, as a config or the environment holds them. */
export function staticProvider(credentials: Credentials): CredentialProvider {
  return () => Promise.resolve(credentials);
}

/**
 * A provider that asks `source` once, and again when the keys are about to end. Requests that come together cause one
 * question. Where the source fails although the keys still work, they are used on: an instance's metadata service that
 * is busy for a moment must not end a backup.
 *
 * @param options.now The time in milliseconds; replaced in tests.
 */
export function cachedProvider(
  source: CredentialProvider,
  options: { now?: () => number } = {},
): CredentialProvider {
  const now = options.now ?? Date.now;
  let known: Credentials | undefined;
  let asking: Promise<Credentials> | undefined;
  const lastsFor = (credentials: Credentials) => (credentials.expiresAt?.getTime() ?? Infinity) - now();
  const ask = async () => {
    try {
      known = await source();
      return known;
    } catch (error) {
      if (known !== undefined && lastsFor(known) > 0) return known;
      throw error;
    } finally {
      asking = undefined;
    }
  };
  return async () => {
    if (known !== undefined && lastsFor(known) > REFRESH_BEFORE_MS) return known;
    asking ??= ask();
    return await asking;
  };
}
