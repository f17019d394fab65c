/** Basic authorization: from a login and a password, or a URL that holds them, to the header's value. */
import { Buffer } from "node:buffer";
import type { Secret } from "./secret.ts";

/** A login as a config gives it, beside the URL that it is for. */
export interface Login {
  login?: string | undefined;
  password?: Secret | undefined;
}

/**
 * The value of `Authorization`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7617#section-2.1
 */
export function basicAuthorization(login: string, password: string): string {
  return `Basic ${Buffer.from(`${login}:${password}`, "utf8").toString("base64")}`;
}

/**
 * The value of `Authorization` for a login that stands beside a URL, else in it; undefined where there is none. fetch
 * refuses URLs with a login and quotes them in its error: whoever asks this takes it out of the URL, too.
 */
export function authorizationFor(url: URL, { login, password }: Login): string | undefined {
  const user = login ?? decodeCredential(url.username);
  return user === "" ? undefined : basicAuthorization(user, password?.reveal() ?? decodeCredential(url.password));
}

/** A login or a password as it stands in a URL; where its `%` begin no escapes it is meant as it stands. */
export function decodeCredential(component: string): string {
  try {
    return decodeURIComponent(component);
  } catch {
    return component;
  }
}
