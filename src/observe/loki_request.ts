/**
 * One request to Grafana Loki's push API. In: lines with their stamps. Out: whether Loki took them, and what it said
 * where it did not.
 *
 * @see https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
 */
import { authorizationFor, type Login } from "../basic_auth.ts";
import { beginningOfText } from "../beginning_of_text.ts";
import { describeError } from "../errors.ts";
import { parseRetryAfter } from "../retry.ts";
import { readBytes } from "../streams.ts";
import { tlsFailure } from "../tls_failure.ts";
import type { Fetch } from "../trusted_fetch.ts";

/** Of what Loki says where it does not take lines, so much is shown. */
const SHOWN_CHARACTERS = 200;
/** A page's title stands within so much of it. */
const READ_CHARACTERS = 4_096;

/** Where Loki is, and who asks. */
export interface LokiAddress extends Login {
  /** The push URL, possibly with a login in it; where it has no path, `/loki/api/v1/push` is meant. */
  url: string;
  /** Sent as `X-Scope-OrgID`. */
  tenant?: string | undefined;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
}

/** A line that waits. */
export interface LokiEntry {
  /** The stream's labels as JSON: equal text, equal stream. */
  stream: string;
  /** Nanoseconds since 1970. */
  time: bigint;
  line: string;
}

/** What became of one request. */
export type LokiOutcome =
  | { result: "accepted" }
  | { result: "refused"; cause: string; status: number | undefined }
  | { result: "failed"; cause: string; status?: number; retryAfterMs: number | undefined };

/** Sends lines to one Loki. */
export class LokiClient {
  /** How it is called in a message, without a login. */
  readonly place: string;
  /** The path that lines are sent to. */
  readonly path: string;
  readonly #url: URL;
  readonly #fetch: Fetch;
  readonly #headers: Record<string, string>;

  /** @throws TypeError when `url` is not an http or https URL. */
  constructor({ url, tenant, login, password, fetch: ownFetch = fetch }: LokiAddress) {
    this.#fetch = ownFetch;
    this.#url = pushUrl(url);
    this.#headers = { "content-type": "application/json", "content-encoding": "gzip" };
    if (tenant !== undefined) this.#headers["x-scope-orgid"] = tenant;
    const authorization = authorizationFor(this.#url, { login, password });
    this.#url.username = this.#url.password = "";
    if (authorization !== undefined) this.#headers.authorization = authorization;
    this.place = `Loki at "${this.#url.host}"`;
    this.path = this.#url.pathname;
  }

  /** Sends lines as one request. Never rejects. */
  async push(entries: readonly LokiEntry[], signal: AbortSignal): Promise<LokiOutcome> {
    try {
      const body = await gzip(pushBody(entries));
      // A redirect would turn the POST into a GET without lines, so none is followed.
      const request = { method: "POST", headers: this.#headers, body, redirect: "manual", signal } as const;
      return await this.#readAnswer(await this.#fetch(this.#url, request));
    } catch (error) {
      const tls = tlsFailure(error, { url: this.#url.href, caFileKey: "loki.ca_file" });
      // The next lines meet the same certificate: nothing is gained by keeping these.
      if (tls !== undefined) {
        return {
          result: "refused",
          status: undefined,
          cause: `Cannot reach ${this.place}: ${tls.reason}. ${tls.hint}`,
        };
      }
      const cause = `Cannot reach ${this.place}: ${describeError(error)}`;
      return { result: "failed", cause, retryAfterMs: undefined };
    }
  }

  async #readAnswer(response: Response): Promise<LokiOutcome> {
    const { status, ok, headers } = response;
    if (ok) {
      await response.body?.cancel();
      return { result: "accepted" };
    }
    const said = beginningOfText(await readStart(response), SHOWN_CHARACTERS);
    const cause = `${this.place} answered ${status} ${said}`.trimEnd();
    if (status !== 429 && status !== 408 && status < 500) return { result: "refused", cause, status };
    return { result: "failed", cause, status, retryAfterMs: parseRetryAfter(headers.get("retry-after"), new Date()) };
  }
}

function pushUrl(text: string): URL {
  const url = URL.parse(text);
  // Not quoted: what is no URL may hold a login all the same.
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new TypeError("Loki's address is not an http or https URL");
  }
  if (url.pathname === "/") url.pathname = "/loki/api/v1/push";
  return url;
}

/** The push API's JSON: lines grouped by stream, in each stream in their order. */
function pushBody(entries: readonly LokiEntry[]): string {
  const streams = Map.groupBy(entries, (entry) => entry.stream);
  return JSON.stringify({
    streams: Array.from(streams, ([stream, lines]) => ({
      stream: JSON.parse(stream),
      values: lines.map(({ time, line }) => [String(time), line]),
    })),
  });
}

function gzip(text: string): Promise<Uint8Array<ArrayBuffer>> {
  return readBytes(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip")));
}

/** The beginning of an answer's text, with the title where it is a page; a server may send any amount. */
async function readStart(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes, { stream: true });
    if (text.length >= READ_CHARACTERS) break;
  }
  return text;
}
