/**
 * A config that lies in AWS: an object in S3, or a parameter of Systems Manager, so that it may be changed without
 * deploying anything. In: its name, and the environment, which has the keys and addresses that a config would have.
 * Out: its text.
 */
import { isParameterArn, readParameter } from "../aws/parameter_store.ts";
import { ConfigError, hintOf, isTransient, StoreError } from "../errors.ts";
import { openStore } from "../store/open.ts";
import { readObjectText } from "../store/whole.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { awsOfEnvironment, storeOfEnvironment } from "./aws.ts";
import type { Environment } from "./environment.ts";

/** Ten thousand databases by name have half of it. */
const MOST_BYTES = 1 << 20;

/**
 * The text at `s3://bucket/key`, or in the parameter with an ARN.
 *
 * @throws ConfigError when it is not there, may not be read, or is too large for a config; StoreError or AwsError when
 * asking once more may help.
 */
export async function readRemoteConfig(
  name: string,
  { env, fetch, signal }: { env: Environment; fetch?: Fetch | undefined; signal?: AbortSignal | undefined },
): Promise<string> {
  try {
    return name.startsWith("arn:") ? await readFromParameter(name) : await readFromBucket(name);
  } catch (error) {
    signal?.throwIfAborted();
    if (isTransient(error) || error instanceof ConfigError) throw error;
    if (error instanceof StoreError && error.facts.code === "too_large") {
      throw refused(`Cannot use this as a config: it is larger than ${MOST_BYTES >> 20} MiB`);
    }
    throw refused("Cannot read the config", { cause: error, hint: hintOf(error) });
  }

  async function readFromParameter(arn: string): Promise<string> {
    if (!isParameterArn(arn)) {
      throw refused("Cannot read the config: this is not the ARN of a Systems Manager parameter", {
        hint: "Write arn:aws:ssm:REGION:ACCOUNT:parameter/NAME, s3://BUCKET/KEY, a path, or the text itself",
      });
    }
    return await readParameter(arn, { ...awsOfEnvironment(env), fetch, signal });
  }

  async function readFromBucket(url: string): Promise<string> {
    const at = url.lastIndexOf("/");
    const [folder, key] = [url.slice(0, at), url.slice(at + 1)];
    if (key === "" || folder.length <= "s3:/".length) {
      throw refused("Cannot read the config: this names a folder, not an object", { hint: "Write s3://BUCKET/KEY" });
    }
    const store = await openStore(storeOfEnvironment(folder, env), { fetch });
    return await readObjectText(store, key, { signal, mostBytes: MOST_BYTES });
  }

  function refused(problem: string, context: { cause?: unknown; hint?: string | undefined } = {}): ConfigError {
    return new ConfigError(`${name}: ${problem}`, { file: name, line: 1, column: 1 }, context);
  }
}
