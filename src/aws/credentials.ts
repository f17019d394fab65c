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

/**
 * Gives the credentials to use now.
 *
 * @param refused Those that a service does not take any more, so that others are wanted. Where there are none, the same
 * ones are given.
 */
export type CredentialProvider = (refused?: Credentials) => Promise<Credentials>;

/** Whether a signature by the ones is as good as one by the others. */
export function isSameCredentials(one: Credentials, other: Credentials): boolean {
  return one.accessKeyId === other.accessKeyId &&
    one.secretAccessKey.reveal() === other.secretAccessKey.reveal() &&
    one.sessionToken?.reveal() === other.sessionToken?.reveal();
}

/** How long before their end keys are replaced: AWS's roles offer new ones at least five minutes ahead. */
const REFRESH_BEFORE_MS = 5 * 60 * 1000;

/** A provider of keys that never change, as a config or the environment holds them. */
export function staticProvider(credentials: Credentials): CredentialProvider {
  return () => Promise.resolve(credentials);
}

/** How long a source is left alone that had nothing better: it must not be asked with each request. */
const REST_MS = 10_000;

/**
 * A provider that asks `source` once, and again when the keys are about to end, or are refused: those of a file have no
 * end, and other keys may stand there by now. Requests that come together cause one question. Where the source fails
 * although the keys still work, they are used on: an instance's metadata service that is busy for a moment must not end
 * a backup. They are used on for a while, too, where it gives keys that are about to end, as that service does when it
 * is in trouble.
 *
 * @param options.now The time in milliseconds; replaced in tests.
 */
export function cachedProvider(
  source: () => Promise<Credentials>,
  options: { now?: () => number } = {},
): CredentialProvider {
  const now = options.now ?? Date.now;
  let known: Credentials | undefined;
  let asking: Promise<Credentials> | undefined;
  let restUntil = -Infinity;
  const lastsFor = (credentials: Credentials) => (credentials.expiresAt?.getTime() ?? Infinity) - now();
  /** Not beyond the end of keys that are in use: whoever is asked then may have some again. */
  const rest = (lastsMs: number) => restUntil = now() + (lastsMs > 0 ? Math.min(lastsMs, REST_MS) : REST_MS);
  const ask = async (isRefused: boolean) => {
    try {
      known = await source();
      if (isRefused || lastsFor(known) <= REFRESH_BEFORE_MS) rest(lastsFor(known));
      return known;
    } catch (error) {
      if (known === undefined || lastsFor(known) <= 0) throw error;
      rest(lastsFor(known));
      return known;
    } finally {
      asking = undefined;
    }
  };
  return async (refused) => {
    const isRefused = refused !== undefined && known !== undefined && isSameCredentials(refused, known);
    const isGood = known !== undefined && !isRefused && lastsFor(known) > REFRESH_BEFORE_MS;
    if (known !== undefined && (isGood || now() < restUntil)) return known;
    asking ??= ask(isRefused);
    return await asking;
  };
}
