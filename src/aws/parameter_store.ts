/**
 * Reads a parameter from AWS Systems Manager's Parameter Store, which keeps small texts. In: the parameter's ARN. Out:
 * its value, decrypted where it is a SecureString.
 *
 * @see https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
 */
import * as z from "zod";
import { AwsError } from "../errors.ts";
import { callAws } from "./json_api.ts";
import type { AwsCallOptions, AwsOptions } from "./options.ts";

const answerSchema = z.object({ Parameter: z.object({ Value: z.string() }) });

/** Whether a text is a parameter's ARN. */
export function isParameterArn(text: string): boolean {
  return /^arn:[a-z-]+:ssm:[a-z0-9-]+:\d{12}:parameter\/[\w./-]+$/.test(text);
}

/**
 * A parameter's value.
 *
 * @throws AwsError with AWS's code, such as `AccessDeniedException` or `ParameterNotFound`.
 */
export async function readParameter(arn: string, options: AwsOptions & AwsCallOptions): Promise<string> {
  const action = `read the parameter "${arn}"`;
  const answer = await callAws({
    service: "ssm",
    region: arn.split(":")[3] ?? "",
    target: "AmazonSSM.GetParameter",
    version: "1.1",
    // By its ARN: that of "name" and of "/name" is the same, and only AWS knows which one is there.
    input: { Name: arn, WithDecryption: true },
    action,
    right: "ssm:GetParameter on this parameter, and kms:Decrypt with its key where that is one of your own",
  }, options);
  const { data } = answerSchema.safeParse(answer);
  if (data === undefined) {
    throw new AwsError(`Cannot ${action}: the answer has no value`, { code: "bad_answer" });
  }
  return data.Parameter.Value;
}
