/**
 * Keys of a role as AWS's local services hand them out: the instance's metadata service and a container's agent send
 * the same JSON. In: a request to such a service. Out: keys that expire, or an error that names the service.
 */
import * as z from "zod";
import { wait } from "../abort.ts";
import { AwsError, describeError } from "../errors.ts";
import { DEFAULT_RETRY, type RetryPolicy, waitBeforeAttempt } from "../retry.ts";
import { readShort } from "../short_answer.ts";
import { Secret } from "../secret.ts";
import { tlsFailure } from "../tls_failure.ts";
import type { Credentials } from "./credentials.ts";

const answerSchema = z.object({
  AccessKeyId: z.string().min(1),
  SecretAccessKey: z.string().min(1),
  Token: z.string().min(1),
  Expiration: z.iso.datetime({ offset: true }),
});

/** What these services say in the place of keys. */
const refusalSchema = z.object({
  Code: z.string().regex(/^\w{1,100}$/).optional(),
  Message: z.string().max(400).optional(),
});

/** A question to a service on this machine. */
export interface LocalQuestion {
  url: string;
  /** How the service is called in an error: `the instance's metadata service`. */
  service: string;
  headers?: Record<string, string>;
  timeoutMs: number;
}

/** Such a service is near and small: what it does not answer at once it answers a moment later. */
export const LOCAL_RETRY: RetryPolicy = { ...DEFAULT_RETRY, attempts: 4, firstWaitMs: 100 };

/**
 * Asks, repeatedly where the service is busy, and returns the text of a 200.
 *
 * @throws AwsError with code `no_credentials` for any other answer, and for none.
 */
export async function askLocally(question: LocalQuestion): Promise<string> {
  for (let attempt = 1;; attempt++) {
    const { text, problem, isFinal } = await askOnce(question);
    if (problem === undefined) return text;
    if (isFinal || attempt === LOCAL_RETRY.attempts) throw noCredentials(question, problem);
    await wait(waitBeforeAttempt(attempt + 1, { policy: LOCAL_RETRY, random: Math.random() }));
  }
}

async function askOnce(
  { url, headers = {}, timeoutMs }: LocalQuestion,
): Promise<{ text: string; problem?: string; isFinal?: boolean }> {
  try {
    // These services never redirect; what does stands between.
    const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(timeoutMs) });
    const text = await readShort(response);
    if (response.status === 200) return { text };
    const isFinal = response.status < 500 && response.status !== 429;
    return { text, problem: `it answered ${response.status}`, isFinal };
  } catch (error) {
    const tls = tlsFailure(error, { url, caFileKey: "the variable DENO_CERT (Node: NODE_EXTRA_CA_CERTS)" });
    return { text: "", problem: tls?.reason ?? describeError(error), isFinal: tls !== undefined };
  }
}

/**
 * Reads the keys out of an answer.
 *
 * @throws AwsError with code `no_credentials` when they are not all there. The answer itself is not shown.
 */
export function parseRoleCredentials(text: string, question: LocalQuestion): Credentials {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw noCredentials(question, "its answer is not JSON");
  }
  const { data, error } = answerSchema.safeParse(json);
  if (error !== undefined) {
    // A role that EC2 may not take is told with status 200.
    const { Code: code, Message: message } = refusalSchema.safeParse(json).data ?? {};
    if (code !== undefined && code !== "Success") {
      throw noCredentials(question, `it says ${code}${message === undefined ? "" : `: ${message}`}`);
    }
    throw noCredentials(question, `its answer has no usable "${error.issues[0]?.path.join(".")}"`);
  }
  return {
    accessKeyId: data.AccessKeyId,
    secretAccessKey: new Secret(data.SecretAccessKey),
    sessionToken: new Secret(data.Token),
    expiresAt: new Date(data.Expiration),
  };
}

function noCredentials({ service, url }: LocalQuestion, problem: string): AwsError {
  return new AwsError(`Cannot get AWS keys from ${service} at ${new URL(url).host}: ${problem}`, {
    code: "no_credentials",
  }, { hint: "Check the role, and that NO_PROXY names this address where a proxy is set" });
}
