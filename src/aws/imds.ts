/**
 * The keys of an EC2 instance's role, from the instance's metadata service (IMDSv2). The service has an IPv4 and, where
 * it is enabled, an IPv6 address; an instance may have either family alone, so both are asked at once. In: nothing but
 * these addresses. Out: keys that expire, or nothing where this is no instance.
 *
 * @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
 */
import { wait } from "../abort.ts";
import { AwsError, isTransient } from "../errors.ts";
import { waitBeforeAttempt } from "../retry.ts";
import type { Credentials } from "./credentials.ts";
import { readShort } from "../short_answer.ts";
import { askLocally, LOCAL_RETRY, type LocalQuestion, parseRoleCredentials } from "./role_credentials.ts";

/** Where the service is. The IPv6 address needs an instance on Nitro. */
export const METADATA_ENDPOINTS: readonly string[] = ["http://169.254.169.254", "http://[fd00:ec2::254]"];

const SERVICE = "the instance's metadata service";
const TOKEN_PATH = "/latest/api/token";
const ROLE_PATH = "/latest/meta-data/iam/security-credentials/";
const TOKEN_SECONDS = 21_600;
/** Off AWS these addresses lead nowhere, and a start must not wait for them longer. */
const FIRST_TIMEOUT_MS = 1_000;
const LATER_TIMEOUT_MS = 2_000;
const SILENT_ATTEMPTS = 2;
const ANSWER_TIMEOUT_MS = 5_000;

/**
 * Asks for the keys of the instance's role.
 *
 * @param options.endpoints Base URLs without a slash at the end. @default METADATA_ENDPOINTS
 * @returns Undefined when no endpoint answers: this machine is no EC2 instance, or its metadata service is off.
 * @throws AwsError with code `no_credentials` when the service answers and has no keys.
 */
export async function readInstanceCredentials(
  options: { endpoints?: readonly string[] | undefined } = {},
): Promise<Credentials | undefined> {
  const session = await openSession(options.endpoints ?? METADATA_ENDPOINTS);
  if (session === undefined) return undefined;
  const { endpoint, token } = session;
  const question = (path: string): LocalQuestion => ({
    url: endpoint + path,
    service: SERVICE,
    headers: { "X-aws-ec2-metadata-token": token },
    timeoutMs: ANSWER_TIMEOUT_MS,
  });
  const role = (await askLocally(question(ROLE_PATH))).trim().split("\n")[0]!;
  const asked = question(ROLE_PATH + encodeURIComponent(role));
  return parseRoleCredentials(await askLocally(asked), asked);
}

/** What came of asking all endpoints once; `silence` where none of them said anything. */
type Outcome = { endpoint: string; token: string } | { refusal: AwsError; isFinal: boolean } | "silence";

/**
 * The endpoint that answers first, and the token it wants to see. The first question after a start may be lost or
 * answered late, so that only an instance that is silent twice is none; one that answered anything is there, and worth
 * some tries.
 */
async function openSession(endpoints: readonly string[]): Promise<{ endpoint: string; token: string } | undefined> {
  let refused: AwsError | undefined;
  for (let attempt = 1; attempt <= LOCAL_RETRY.attempts; attempt++) {
    if (attempt > 1) await wait(waitBeforeAttempt(attempt, { policy: LOCAL_RETRY, random: Math.random() }));
    const outcome = await askForToken(endpoints, attempt === 1 ? FIRST_TIMEOUT_MS : LATER_TIMEOUT_MS);
    if (outcome === "silence") {
      if (refused === undefined && attempt >= SILENT_ATTEMPTS) return undefined;
      continue;
    }
    if ("token" in outcome) return outcome;
    refused = outcome.refusal;
    if (outcome.isFinal) break;
  }
  throw refused;
}

async function askForToken(endpoints: readonly string[], timeoutMs: number): Promise<Outcome> {
  const others = new AbortController();
  const signal = AbortSignal.any([others.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    return await Promise.any(endpoints.map(async (endpoint) => {
      const response = await fetch(endpoint + TOKEN_PATH, {
        method: "PUT",
        headers: { "X-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_SECONDS) },
        redirect: "manual",
        signal,
      });
      const token = await readShort(response);
      if (response.status !== 200) throw refusal(endpoint, response.status);
      return { endpoint, token };
    }));
  } catch (error) {
    // Who answers and refuses is there; who does not answer may not be.
    const refused = (error as AggregateError).errors?.find((one) => one instanceof AwsError);
    if (refused === undefined) return "silence";
    return { refusal: refused, isFinal: !isTransient(refused) };
  } finally {
    others.abort();
  }
}

function refusal(endpoint: string, status: number): AwsError {
  return new AwsError(
    `Cannot get AWS keys from ${SERVICE} at ${
      new URL(endpoint).host
    }: it answered ${status} to the request for a token`,
    { code: "no_credentials", status },
    { hint: "Check the instance's metadata options, and that NO_PROXY names this address where a proxy is set" },
  );
}
