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
const PASSWORD_HINT = "Store the password as the secret's text, or as the field password of a JSON object";

/**
 * Reads the password that a secret holds: its whole text without a line's end behind it, or, where that is a JSON
 * object, the field `password`.
 *
 * @throws AwsError with AWS's code, such as `AccessDeniedException` or `ResourceNotFoundException`; `bad_secret` where
 * there is no password in it.
 */
export async function readPassword(arn: string, options: AwsOptions & AwsCallOptions): Promise<Secret> {
  const text = withoutLineEnd(await readSecretText(arn, { ...options, hint: PASSWORD_HINT }));
  const login = jsonObject(text);
  const password = login === undefined ? text : loginSchema.safeParse(login).data?.password;
  if (password !== undefined && password !== "") return new Secret(password);
  // Sent as a password it would be refused, and CouchDB locks out who is refused.
  const lack = login === undefined
    ? "it holds an empty line"
    : "it is a JSON object without a text in the field password";
  throw new AwsError(`Cannot use the secret "${arn}": ${lack}`, { code: "bad_secret" }, { hint: PASSWORD_HINT });
}

/** As in a file that a password is read from: many a secret was made from one. */
function withoutLineEnd(text: string): string {
  return text.replace(/^\uFEFF/, "").replace(/\r?\n$/, "");
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

function jsonObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
