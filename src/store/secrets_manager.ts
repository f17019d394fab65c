/**
 * Reads a password from AWS Secrets Manager, so that it stands in no config and in no environment. In: the secret's ARN.
 * Out: the password.
 *
 * @see https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
 */
import { AwsV4Signer } from "aws4fetch";
import { z } from "zod";
import { isTransient, StoreError } from "../errors.ts";
import { DEFAULT_RETRY, wait, waitBeforeAttempt } from "../retry.ts";
import { Secret } from "../secret.ts";
import { openCredentials } from "./credential_chain.ts";
import type { Credentials } from "./credentials.ts";
import type { SecretsManagerOptions, StoreCallOptions } from "./store.ts";

const TIMEOUT_MS = 10_000;
const answerSchema = z.object({ SecretString: z.string().min(1) });
/** How AWS's tools keep a login with its password. */
const loginSchema = z.object({ password: z.string().min(1) });

/**
 * Reads the password that a secret holds: its whole text, or, where that is a JSON object, the field `password`.
 *
 * @throws StoreError with AWS's code, such as `AccessDeniedException` or `ResourceNotFoundException`.
 */
export async function readPassword(
  arn: string,
  options: SecretsManagerOptions & StoreCallOptions,
): Promise<Secret> {
  const { endpoint, signal } = options;
  const credentials = openCredentials(options);
  const urls = endpoint === undefined ? endpointsOf(regionOf(arn)) : [endpoint];
  for (let attempt = 1;; attempt++) {
    try {
      return passwordIn(await getSecretValue(arn, { urls, credentials: await credentials(), signal }), arn);
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt >= DEFAULT_RETRY.attempts || !isTransient(error)) throw error;
      await wait(waitBeforeAttempt(attempt + 1, { policy: DEFAULT_RETRY, random: Math.random() }), signal);
    }
  }
}

function regionOf(arn: string): string {
  return arn.split(":")[3] ?? "";
}

/** The dual-stack endpoint, then the older one, whose name an interface endpoint in a VPC may have for itself. */
function endpointsOf(region: string): string[] {
  const isChina = region.startsWith("cn-");
  return [
    `https://secretsmanager.${region}.${isChina ? "api.amazonwebservices.com.cn" : "api.aws"}`,
    `https://secretsmanager.${region}.${isChina ? "amazonaws.com.cn" : "amazonaws.com"}`,
  ];
}

async function getSecretValue(
  arn: string,
  options: { urls: readonly string[]; credentials: Credentials; signal: AbortSignal | undefined },
): Promise<string> {
  let unreachable: unknown;
  for (const url of options.urls) {
    const request = await sign(url, arn, options.credentials);
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    let status: number;
    let text: string;
    try {
      const signal = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit]);
      const response = await fetch(request.url, { ...request, redirect: "manual", signal });
      status = response.status;
      text = await response.text();
    } catch (cause) {
      options.signal?.throwIfAborted();
      unreachable = cause;
      continue;
    }
    if (status === 200) return text;
    throw refusal(arn, status, text);
  }
  throw new StoreError(`Cannot read the secret "${arn}": Secrets Manager cannot be reached`, { code: "unreachable" }, {
    cause: unreachable,
    hint: "In a VPC without a way to the internet, Secrets Manager needs an interface endpoint",
  });
}

async function sign(endpoint: string, arn: string, { accessKeyId, secretAccessKey, sessionToken }: Credentials) {
  const body = JSON.stringify({ SecretId: arn });
  const signed = await new AwsV4Signer({
    method: "POST",
    url: `${endpoint}/`,
    headers: { "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue" },
    body,
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }),
    service: "secretsmanager",
    region: regionOf(arn),
  }).sign();
  return { url: signed.url, method: signed.method, headers: signed.headers, body };
}

/** AWS's refusal. Of the answer only the code is shown, and the message, which names the right that is missing. */
function refusal(arn: string, status: number, text: string): StoreError {
  const { __type = `Status${status}`, message, Message } = parseRecord(text);
  const code = __type.replace(/^.*#/, "");
  const said = message ?? Message;
  return new StoreError(
    `Cannot read the secret "${arn}": Secrets Manager answered ${status} ${code}${
      said === undefined ? "" : `: ${said}`
    }`,
    { code, status },
    { hint: code === "AccessDeniedException" ? "Allow secretsmanager:GetSecretValue on this secret" : undefined },
  );
}

function passwordIn(answer: string, arn: string): Secret {
  const { data } = answerSchema.safeParse(parseRecord(answer));
  if (data === undefined) {
    throw new StoreError(`Cannot use the secret "${arn}": it holds no text`, { code: "bad_secret" }, {
      hint: "Store the password as the secret's text, or as the field password of a JSON object",
    });
  }
  return new Secret(loginSchema.safeParse(parseRecord(data.SecretString)).data?.password ?? data.SecretString);
}

/** The fields of a JSON object; none when `text` is not one. */
function parseRecord(text: string): Record<string, string> {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
