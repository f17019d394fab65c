/**
 * Reads a password, or identities of age, from AWS Secrets Manager, so that they stand in no config and in no
 * environment. In: the secret's ARN. Out: what it holds.
 *
 * @see https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
 */
import * as z from "zod";
import { AwsError } from "../errors.ts";
import { Secret } from "../secret.ts";
import { callAws } from "./json_api.ts";
import type { AwsCallOptions, AwsOptions } from "./options.ts";

const answerSchema = z.object({ SecretString: z.string().min(1) });
/** How AWS's tools keep a login with its password. */
const loginSchema = z.object({ password: z.string().min(1) });

/**
 * Reads the password that a secret holds: its whole text, or, where that is a JSON object, the field `password`.
 *
 * @throws AwsError with AWS's code, such as `AccessDeniedException` or `ResourceNotFoundException`.
 */
export async function readPassword(arn: string, options: AwsOptions & AwsCallOptions): Promise<Secret> {
  const text = await readSecretText(arn, {
    ...options,
    hint: "Store the password as the secret's text, or as the field password of a JSON object",
  });
  return new Secret(loginPassword(text) ?? text);
}

/**
 * Reads the text of a secret.
 *
 * @param options `hint`: what to do where it holds none.
 * @throws AwsError with AWS's code.
 */
export async function readSecretText(
  arn: string,
  { hint, ...options }: AwsOptions & AwsCallOptions & { hint: string },
): Promise<string> {
  const answer = await callAws({
    service: "secretsmanager",
    region: arn.split(":")[3] ?? "",
    target: "secretsmanager.GetSecretValue",
    version: "1.1",
    input: { SecretId: arn },
    action: `read the secret "${arn}"`,
    right: "secretsmanager:GetSecretValue on this secret",
  }, options);
  const { data } = answerSchema.safeParse(answer);
  if (data === undefined) {
    throw new AwsError(`Cannot use the secret "${arn}": it holds no text`, { code: "bad_secret" }, { hint });
  }
  return data.SecretString;
}

function loginPassword(text: string): string | undefined {
  try {
    return loginSchema.safeParse(JSON.parse(text)).data?.password;
  } catch {
    return undefined;
  }
}
