/**
 * A call of an AWS service that speaks JSON: Secrets Manager, Parameter Store, Step Functions. In: an operation and its
 * input. Out: the answer as it came, or an error with AWS's own code. What a little patience can heal is tried again.
 */
import * as z from "zod";
import { orAborted, wait } from "../abort.ts";
import { AwsError, isTransient } from "../errors.ts";
import { DEFAULT_RETRY, parseRetryAfter, waitBeforeAttempt } from "../retry.ts";
import { readShort } from "../short_answer.ts";
import { tlsFailure } from "../tls_failure.ts";
import { openCredentials } from "./credential_chain.ts";
import { type Credentials, isSameCredentials } from "./credentials.ts";
import type { AwsCallOptions, AwsOptions, AwsService } from "./options.ts";
import { domainsOf } from "./partition.ts";
import { findReachable, forgetReachable } from "./reach.ts";
import { RequestSigner } from "./signer.ts";

/** How far AWS's clock is ahead of this machine's: by what is signed, and by the last answer. */
interface Clock {
  signAheadMs: number;
  seenAheadMs: number;
}

/** What is asked of a service. */
export interface AwsCall {
  service: AwsService;
  /** Where what it is about lies. */
  region: string;
  /** With the prefix that AWS's protocol wants: `secretsmanager.GetSecretValue`. */
  target: string;
  /** The protocol's version: 1.0 or 1.1, as the service has it. */
  version: "1.0" | "1.1";
  input: Record<string, unknown>;
  /** What is done, for errors: `read the secret "…"` completes "Cannot …". */
  action: string;
  /** The right that it needs: `secretsmanager:GetSecretValue`. */
  right: string;
}

/** AWS's own certificates are known everywhere: what is not is that of a firewall which looks into TLS. */
const AUTHORITY = "the variable DENO_CERT (Node: NODE_EXTRA_CA_CERTS)";
const TIMEOUT_MS = 10_000;
/** AWS takes signatures that are five minutes off. */
const LEAST_SKEW_MS = 60_000;
/** What AWS says of keys that it does not take, or not any more. */
const REFUSES_KEYS = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "InvalidClientTokenId",
  "UnrecognizedClientException",
]);
const refusalSchema = z.looseObject({
  __type: z.string().optional(),
  message: z.string().optional(),
  Message: z.string().optional(),
});

/**
 * Calls a service, and again while it is busy.
 *
 * @returns The answer's JSON.
 * @throws AwsError whose code is AWS's (`AccessDeniedException`), or `unreachable`.
 */
export async function callAws(call: AwsCall, options: AwsOptions & AwsCallOptions): Promise<unknown> {
  const { endpoints = {}, fips, signal } = options;
  const credentials = openCredentials(options);
  const endpoint = endpoints[call.service];
  const bases = endpoint === undefined ? addressesOf({ ...call, fips }) : [endpoint].flat();
  const addresses = { bases, fetch: options.fetch, signal };
  const clock: Clock = { signAheadMs: 0, seenAheadMs: 0 };
  const callWith = async (keys: Credentials) => {
    const once = () => callOnce(call, { ...addresses, credentials: keys, clock });
    try {
      return await once();
    } catch (error) {
      if (!refusesClock(error) || Math.abs(clock.seenAheadMs - clock.signAheadMs) < LEAST_SKEW_MS) throw error;
      clock.signAheadMs = clock.seenAheadMs;
      return await once();
    }
  };
  const callSigned = async () => {
    const keys = await credentials();
    try {
      return await callWith(keys);
    } catch (error) {
      if (!(error instanceof AwsError && REFUSES_KEYS.has(error.facts.code))) throw error;
      // They may have been replaced where they come from.
      const others = await credentials(keys);
      if (isSameCredentials(others, keys)) throw error;
      return await callWith(others);
    }
  };
  for (let attempt = 1;; attempt++) {
    try {
      return await callSigned();
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt >= DEFAULT_RETRY.attempts || !isTransient(error)) throw error;
      const retryAfterMs = error instanceof AwsError ? error.facts.retryAfterMs : undefined;
      const waitMs = waitBeforeAttempt(attempt + 1, { policy: DEFAULT_RETRY, random: Math.random(), retryAfterMs });
      await wait(waitMs, signal);
    }
  }
}

/**
 * The dual-stack address, then the older one, whose name an interface endpoint in a VPC may have for itself. With FIPS
 * they have names of their own; in GovCloud the plain one is such an address, too, but for Secrets Manager.
 */
export function addressesOf(
  { service, region, fips = false }: Pick<AwsCall, "service" | "region"> & Pick<AwsOptions, "fips">,
): string[] {
  const { domain, dualStack } = domainsOf(region);
  const name = fips ? `${service}-fips` : service;
  const hosts = [`${name}.${region}.${dualStack}`, `${name}.${region}.${domain}`];
  if (fips && region.startsWith("us-gov-") && service !== "secretsmanager") {
    hosts.push(`${service}.${region}.${domain}`);
  }
  return hosts.map((host) => `https://${host}`);
}

async function callOnce(
  call: AwsCall,
  options: Pick<AwsOptions, "fetch"> & {
    bases: readonly string[];
    credentials: Credentials;
    clock: Clock;
    signal: AbortSignal | undefined;
  },
): Promise<unknown> {
  const { bases, credentials, clock, fetch = globalThis.fetch, signal } = options;
  const service = bases.join(" ");
  let base = bases[0]!;
  base = bases[await ifReachable(orAborted(findReachable(service, bases, { fetch }), signal))]!;
  const { url, ...request } = await sign(call, { base, credentials, aheadMs: clock.signAheadMs });
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const sent = { ...request, redirect: "manual", signal: signal ? AbortSignal.any([signal, limit]) : limit } as const;
  const response = await ifReachable(fetch(url, sent));
  const aheadMs = Date.parse(response.headers.get("date") ?? "") - Date.now();
  if (!Number.isNaN(aheadMs)) clock.seenAheadMs = aheadMs;
  const text = await ifReachable(readShort(response));
  if (response.status === 200) return parseJson(text);
  throw refusal(call, response, text);

  async function ifReachable<T>(step: Promise<T>): Promise<T> {
    try {
      return await step;
    } catch (cause) {
      signal?.throwIfAborted();
      const tls = tlsFailure(cause, { url: base, caFileKey: AUTHORITY });
      if (tls !== undefined) throw new AwsError(`Cannot ${call.action}: ${tls.reason}`, { code: "tls" }, tls);
      forgetReachable(service); // Another address may answer the next attempt.
      throw new AwsError(`Cannot ${call.action}: AWS cannot be reached`, { code: "unreachable" }, {
        cause,
        hint: `In a VPC without a way to the internet, the service "${call.service}" needs an interface endpoint`,
      });
    }
  }
}

/** Whether AWS finds the moment of a signature too far from its own. */
function refusesClock(error: unknown): boolean {
  if (!(error instanceof AwsError)) return false;
  const { code } = error.facts;
  return code === "RequestTimeTooSkewed" || code === "RequestExpired" ||
    (code === "InvalidSignatureException" && /expired|not yet current/i.test(error.message));
}

async function sign(
  { service, region, target, version, input }: AwsCall,
  { base, credentials, aheadMs }: { base: string; credentials: Credentials; aheadMs: number },
) {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const body = JSON.stringify(input);
  const signed = await new RequestSigner({
    method: "POST",
    url: `${base}/`,
    headers: { "Content-Type": `application/x-amz-json-${version}`, "X-Amz-Target": target },
    body,
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }),
    service,
    region,
    datetime: new Date(Date.now() + aheadMs).toISOString().replaceAll(/[:-]|\.\d{3}/g, ""),
  }).sign();
  return { url: signed.url, method: signed.method, headers: signed.headers, body };
}

/** AWS's refusal. Of the answer only the code and the message are shown; the latter names the right that is missing. */
function refusal(call: AwsCall, { status, headers }: Response, text: string): AwsError {
  const { __type, message, Message } = refusalSchema.safeParse(parseJson(text)).data ?? {};
  const code = __type?.replace(/^.*#/, "") ?? `Status${status}`;
  const said = message ?? Message;
  return new AwsError(
    `Cannot ${call.action}: AWS answered ${status} ${code}${said === undefined ? "" : `: ${said}`}`,
    { code, status, retryAfterMs: parseRetryAfter(headers.get("retry-after"), new Date()) },
    { hint: code === "AccessDeniedException" ? `Allow ${call.right}` : undefined },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
