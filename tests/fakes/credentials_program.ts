/**
 * Prints which keys `openCredentials()` finds, as JSON, in an environment that a test has made for it: the AWS SDK reads
 * it by itself. The argument is the `KeySources` as JSON. A file and a text behind it: the keys are refused, and the file
 * holds that text when it is asked for others.
 */
import { openCredentials } from "../../src/aws/credential_chain.ts";
import { AwsError, describeError } from "../../src/errors.ts";

/** What is printed: keys, or why there are none. */
export interface FoundCredentials {
  accessKeyId?: string;
  secretAccessKey?: string;
  sessionToken?: string;
  expiresAt?: string;
  /** `described`: with its causes. */
  error?: { message: string; described: string; code?: string };
}

async function find(): Promise<FoundCredentials> {
  try {
    const [sources, file, text] = Deno.args as [string, string?, string?];
    const provider = openCredentials({ keySources: JSON.parse(sources) });
    let found = await provider();
    if (file !== undefined && text !== undefined) {
      await Deno.writeTextFile(file, text);
      found = await provider(found);
    }
    return {
      accessKeyId: found.accessKeyId,
      secretAccessKey: found.secretAccessKey.reveal(),
      ...found.sessionToken && { sessionToken: found.sessionToken.reveal() },
      ...found.expiresAt && { expiresAt: found.expiresAt.toISOString() },
    };
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    const { code } = error.facts;
    return {
      error: { message: error.message, described: describeError(error), ...typeof code === "string" && { code } },
    };
  }
}

if (import.meta.main) await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(await find())));
