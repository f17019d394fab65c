/**
 * A base URL whose scheme is the wrong one, where that is not told by itself. With `https://`, at the port where it
 * speaks plain HTTP, CouchDB takes the beginning of TLS for a request whose first line is still to come, and says
 * nothing for a minute. With `http://` many TLS servers close the connection without a word. In: a base URL that
 * brings no answer. Out: whether the other scheme does.
 */
import { showsTls } from "../tls_failure.ts";
import type { Fetch } from "../trusted_fetch.ts";
import type { CouchFailure } from "./error.ts";

/** A TLS connection and an answer take less, where somebody is there. */
export const PATIENCE_MS = 3_000;
const LIMIT_MS = 3_000;

/**
 * Whether CouchDB itself answers by plain HTTP; proxies and web servers that speak TLS there say other things. No login
 * is sent.
 */
export async function speaksPlainHttp(url: string, fetch: Fetch): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const response = await fetch(url.replace(/^https:/i, "http:"), { redirect: "manual", signal });
    await response.body?.cancel();
    return /^CouchDB\b/i.test(response.headers.get("server") ?? "");
  } catch {
    return false; // Nobody does: what has become of the request itself says more.
  }
}

/** Whether a server speaks TLS at the port of an `http://` URL. No login is sent. */
export async function speaksTls(url: string, fetch: Fetch): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const response = await fetch(url.replace(/^http:/i, "https:"), { redirect: "manual", signal });
    await response.body?.cancel();
    return true;
  } catch (error) {
    return showsTls(error);
  }
}

/** What there is to say of a server that speaks TLS behind `http://`. */
export function tlsPortFailure(url: string): CouchFailure & { hint: string } {
  const { origin = url } = URL.parse(url) ?? {};
  return {
    error: "tls",
    reason: `"${origin}" does not speak plain HTTP: it speaks TLS there`,
    hint: "Write https:// instead of http://",
  };
}

/** What there is to say of a CouchDB that speaks plain HTTP behind `https://`. */
export function plainHttpFailure(url: string): CouchFailure & { hint: string } {
  const { origin = url } = URL.parse(url) ?? {};
  return {
    error: "tls",
    reason: `"${origin}" does not speak TLS: a CouchDB answers there by plain HTTP`,
    hint: "Write http:// instead of https://, or the port at which it speaks TLS",
  };
}
