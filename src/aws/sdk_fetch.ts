/**
 * Sends the requests of AWS's SDK (to STS, SSO and sign-in) by the fetch that the rest of the program uses. The client
 * that the SDK brings follows no proxy and knows none of the authorities that Deno was told of. In: a request in the
 * SDK's form. Out: an answer in its form, or an error that says why there is none.
 */
import { readShort } from "../short_answer.ts";
import { tlsFailure } from "../tls_failure.ts";

/** What the SDK wants to have sent. */
export interface SdkRequest {
  method: string;
  /** With a colon: `https:`. */
  protocol: string;
  hostname: string;
  port?: number | undefined;
  path: string;
  query?: Record<string, string | string[] | null> | undefined;
  headers: Record<string, string>;
  // deno-lint-ignore no-explicit-any
  body?: any;
}

/** What the SDK takes for an answer. */
export interface SdkAnswer {
  response: { statusCode: number; headers: Record<string, string>; body: Uint8Array };
}

/** AWS's own certificates are known everywhere: what is not is that of a firewall which looks into TLS. */
const AUTHORITY = "the variable DENO_CERT (Node: NODE_EXTRA_CA_CERTS)";
/** These services answer within a second; what is silent for longer lets nothing through. */
const TIMEOUT_MS = 5_000;
/** What fetch makes by itself. */
const NOT_SENT = new Set(["host", "content-length"]);

/** Why there was no answer. */
export class NoAnswer extends Error {
  override readonly name: string = "NoAnswer";
  /** What the operator can do. */
  readonly hint: string;
  /** Whether another address may answer. */
  readonly isUnreachable: boolean;

  constructor(
    message: string,
    { cause, hint, isUnreachable }: { cause: unknown; hint: string; isUnreachable: boolean },
  ) {
    super(message, { cause });
    this.hint = hint;
    this.isUnreachable = isUnreachable;
  }
}

/** Takes the place of the SDK's own client, as its `requestHandler`. */
export class SdkFetch {
  readonly metadata: { handlerProtocol: string } = { handlerProtocol: "http/1.1" };
  /** Why the last request had no answer; the SDK drops what it wraps, or goes on. Undefined where it had one. */
  failure: NoAnswer | undefined;

  async handle(request: SdkRequest, { abortSignal }: { abortSignal?: unknown } = {}): Promise<SdkAnswer> {
    const url = urlOf(request);
    const headers = Object.entries(request.headers).filter(([name]) => !NOT_SENT.has(name.toLowerCase()));
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    this.failure = undefined;
    try {
      const response = await fetch(url, {
        method: request.method,
        headers,
        body: request.body ?? null,
        redirect: "manual",
        signal: abortSignal instanceof AbortSignal ? AbortSignal.any([limit, abortSignal]) : limit,
      });
      const body = new TextEncoder().encode(await readShort(response));
      return { response: { statusCode: response.status, headers: Object.fromEntries(response.headers), body } };
    } catch (cause) {
      const tls = tlsFailure(cause, { url: url.href, caFileKey: AUTHORITY });
      this.failure = tls === undefined
        ? new NoAnswer(`no answer from ${url.host}${limit.aborted ? ` for ${TIMEOUT_MS / 1000} seconds` : ""}`, {
          // Of a timeout the SDK would think that it has to ask there once more, and not elsewhere.
          cause: limit.aborted ? undefined : cause,
          hint:
            `Check network, DNS, proxy and firewall between this machine and ${url.origin}; in a VPC without a way to ` +
            "the internet it needs an interface endpoint",
          isUnreachable: true,
        })
        : new NoAnswer(tls.reason, { cause, hint: tls.hint, isUnreachable: false });
      throw this.failure;
    }
  }

  // The SDK asks every handler for these two; here there is nothing to set.

  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): Record<string, never> {
    return {};
  }
}

function urlOf({ protocol, hostname, port, path, query = {} }: SdkRequest): URL {
  const url = new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}${path}`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) url.searchParams.append(name, one ?? "");
  }
  return url;
}
