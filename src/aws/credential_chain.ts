/**
 * Finds the keys that sign requests if the config has none: in the places where AWS's own tools look, in their order.
 * In: what the environment says of these places. Out: a provider that keeps the keys and renews them before they end.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { AwsError, describeError } from "../errors.ts";
import { Secret } from "../secret.ts";
import { shellWord } from "../shell_word.ts";
import { PROGRAM_NAME, VERSION } from "../version.ts";
import { readContainerCredentials } from "./container_credentials.ts";
import { cachedProvider, type CredentialProvider, type Credentials, staticProvider } from "./credentials.ts";
import { readInstanceCredentials } from "./imds.ts";
import type { KeyOptions, KeySources } from "./options.ts";
import { NoAnswer, SdkFetch } from "./sdk_fetch.ts";

/** One for each set of places: calls of several services, and one after the other, need not look for keys anew. */
const providers = new WeakMap<KeySources, CredentialProvider>();

/**
 * The provider of the given keys, else of those in the first place that has some; for the same places it is the same
 * one.
 *
 * @throws AwsError with code `no_credentials` when half of a pair of keys is given, or neither keys nor places are.
 */
export function openCredentials(options: KeyOptions): CredentialProvider {
  const { accessKeyId, secretAccessKey, sessionToken, keySources } = options;
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    return staticProvider({ accessKeyId, secretAccessKey, sessionToken });
  }
  if (accessKeyId === undefined && secretAccessKey === undefined && keySources !== undefined) {
    let provider = providers.get(keySources);
    if (provider === undefined) {
      provider = cachedProvider(() => findCredentials(keySources));
      providers.set(keySources, provider);
    }
    return provider;
  }
  throw new AwsError(`Cannot sign requests to S3: no ${accessKeyId === undefined ? "token" : "secret"} is given`, {
    code: "no_credentials",
  }, { hint: "Set token and secret in the config, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" });
}

/** A place where keys may be. It gives keys, or says in a few words why it has none. */
interface Place {
  name: string;
  look(sources: KeySources): Promise<Credentials | string>;
}

/**
 * The places that files or variables name, in the order of AWS's tools; the environment's own keys were looked for with
 * the config. After them comes the instance, which nobody has to name.
 */
const NAMED_PLACES: readonly Place[] = [
  { name: "profile", look: lookInProfile },
  { name: "web identity", look: lookAtWebIdentity },
  { name: "container", look: lookInContainer },
];

/** @throws AwsError with code `no_credentials` that tells what was found in each place. */
async function findCredentials(sources: KeySources): Promise<Credentials> {
  const { unpaired } = sources;
  const seen = [
    unpaired === undefined
      ? "environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"
      : `environment: ${unpaired} is set without the other one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
  ];
  for (const { name, look } of NAMED_PLACES) {
    const found = await look(sources);
    if (typeof found !== "string") return found;
    seen.push(`${name}: ${found}`);
  }
  const found = await lookAtInstance(sources).catch((error) => {
    // Whoever has no role on this machine has to hear of the places where keys were expected.
    if (!(error instanceof AwsError)) throw error;
    const { message, facts, cause, hint } = error;
    throw new AwsError(`${message} (${seen.join("; ")})`, facts, { cause, hint: `${HINT}. ${hint}` });
  });
  if (typeof found !== "string") return found;
  seen.push(`instance: ${found}`);
  throw new AwsError(`Cannot find AWS keys (${seen.join("; ")})`, { code: "no_credentials" }, { hint: HINT });
}

const HINT = "Set token and secret in the config, or give this machine, container or function a role";

async function lookInProfile({ profile, profileFiles, region }: KeySources): Promise<Credentials | string> {
  const present = await Promise.all(profileFiles.map((file) => stat(file).then(() => true, () => false)));
  if (profile === undefined && !present.includes(true)) return "AWS_PROFILE is not set, and there are no AWS files";
  // Loaded only here: SSO, assumed roles and all else that a profile can say is what AWS's SDK is for.
  const { fromIni } = await import("@aws-sdk/credential-provider-ini");
  const name = profile ?? "default";
  try {
    return fromSdk(
      await onEitherStack((clientConfig) =>
        fromIni({
          profile: name,
          // Without the region, which would be taken for that of SSO, too.
          clientConfig,
          parentClientConfig: { region: region ?? DEFAULT_REGION },
          roleAssumerWithWebIdentity: (role) => assumeWithWebIdentity(role, { ...clientConfig, region }),
          mfaCodeProvider: () => Promise.resolve(""),
          clientPlugins: [REFUSE_MFA],
          // The files may have changed since a service that runs for months has read them.
          ignoreCache: true,
        })()
      ),
    );
  } catch (error) {
    const isProcess = error instanceof Error && error.message.includes("Requires run access");
    // A profile that was named has to work; the default one may only hold a region. Where it has more that fails, other
    // keys would be those of somebody else.
    const isEmpty = (error as { tryNextLink?: unknown }).tryNextLink === true;
    if (profile === undefined && (isProcess || isEmpty)) {
      return isProcess ? "its credential_process is not run" : describeError(error);
    }
    if (isProcess) {
      throw new AwsError(`Cannot use the AWS profile "${name}": its credential_process is not run`, {
        code: "no_credentials",
      }, {
        hint: "No other programs are run: call it before, and set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and " +
          "AWS_SESSION_TOKEN, or use a profile with keys, a role or SSO",
      });
    }
    const otherwise = `Try "aws sts get-caller-identity --profile ${
      shellWord(name)
    }"; an SSO session may have to be opened again`;
    throw noKeys(`Cannot use the AWS profile "${name}"`, error, otherwise);
  }
}

/**
 * Refuses a role that wants a code of multi-factor authentication, as nobody is there to type one. A plugin of the SDK's
 * client of STS: so it is refused only once the keys are there that the role is asked for with.
 */
const REFUSE_MFA = {
  // deno-lint-ignore no-explicit-any
  applyToStack(stack: any): void {
    // deno-lint-ignore no-explicit-any
    stack.add((next: any) => (args: any) => {
      if (args.input.SerialNumber === undefined) return next(args);
      throw new HintedError(
        "its role wants a code of multi-factor authentication (mfa_serial), which cannot be typed here",
        {
          hint:
            "Take a role without mfa_serial, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN to " +
            'what "aws sts assume-role" or "aws configure export-credentials" prints',
        },
      );
    }, { step: "initialize", name: "refuseMfa" });
  },
};

/** An error that is thrown within the SDK, and brings its hint along. */
class HintedError extends Error {
  readonly hint: string;

  constructor(message: string, { hint }: { hint: string }) {
    super(message);
    this.hint = hint;
  }
}

/**
 * The error where the SDK has failed to get keys. Its code says whether it is of use to ask again, and whether the keys
 * of other places will do; `otherwise` is the hint where the failure has none of its own.
 */
function noKeys(message: string, error: unknown, otherwise: string): AwsError {
  const { hint = otherwise, $metadata } = error as { hint?: string; $metadata?: { httpStatusCode?: number } };
  if (error instanceof NoAnswer) {
    return new AwsError(message, { code: error.isUnreachable ? "unreachable" : "tls" }, { cause: error, hint });
  }
  const status = $metadata?.httpStatusCode;
  const isRefusal = status !== undefined && status >= 400 && status < 500 && !/Throttl|TooMany/.test(String(error));
  if (isRefusal) return new AwsError(message, { code: "keys_refused", status }, { cause: error, hint });
  // With a status that is worth another try, where there was an answer.
  const facts = { code: "no_credentials", ...status !== undefined && { status: 503 } };
  return new AwsError(message, facts, { cause: error, hint });
}

async function lookAtWebIdentity({ webIdentity, region }: KeySources): Promise<Credentials | string> {
  if (!webIdentity) return "AWS_WEB_IDENTITY_TOKEN_FILE is not set";
  const { fromTokenFile } = await import("@aws-sdk/credential-provider-web-identity");
  try {
    const ask = (config: SdkConfig) =>
      fromTokenFile({ clientConfig: { ...config, region: region ?? DEFAULT_REGION } })();
    return fromSdk(await onEitherStack(ask));
  } catch (error) {
    throw noKeys(
      "Cannot take the role that AWS_ROLE_ARN names with a web identity",
      error,
      "Check the role's trust policy, and AWS_WEB_IDENTITY_TOKEN_FILE",
    );
  }
}

/** The role of a profile with `web_identity_token_file`, for which the SDK would make a client of its own choice. */
async function assumeWithWebIdentity(
  role: { RoleArn?: string | undefined; RoleSessionName?: string | undefined; WebIdentityToken?: string | undefined },
  { region = DEFAULT_REGION, ...config }: SdkConfig & { region?: string | undefined },
): Promise<SdkKeys> {
  const { fromWebToken } = await import("@aws-sdk/credential-provider-web-identity");
  return await fromWebToken({
    roleArn: role.RoleArn ?? "",
    ...role.RoleSessionName !== undefined && { roleSessionName: role.RoleSessionName },
    webIdentityToken: role.WebIdentityToken ?? "",
    clientConfig: { ...config, region },
  })();
}

async function lookInContainer({ container }: KeySources): Promise<Credentials | string> {
  if (container === undefined) return "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set";
  return await readContainerCredentials(container);
}

async function lookAtInstance({ metadataEndpoints }: KeySources): Promise<Credentials | string> {
  if (metadataEndpoints?.length === 0) return "AWS_EC2_METADATA_DISABLED is set";
  const credentials = await readInstanceCredentials({ endpoints: metadataEndpoints });
  return credentials ??
    "its metadata service answers neither over IPv4 nor over IPv6 (in a container: the hop limit has to be 2)";
}

/** What the SDK's clients of STS, SSO and sign-in are made with. */
export interface SdkConfig {
  requestHandler: SdkFetch;
  maxAttempts: number;
  /** Who is asking, pairs of a name and a version. The SDK's own tells the kernel's release, which nobody may read here. */
  defaultUserAgentProvider: () => Promise<[name: string, version: string][]>;
  useDualstackEndpoint?: boolean;
}

/** Where STS is asked if nobody says a region, as the SDK has it. */
const DEFAULT_REGION = "us-east-1";

/** How the SDK is asked to choose its address: by itself, the dual-stack one, the older one. */
const CHOICES: readonly { useDualstackEndpoint?: boolean }[] = [
  {},
  { useDualstackEndpoint: true },
  { useDualstackEndpoint: false },
];
/** Which of the choices has answered last: it is asked first by all of the process. */
const ANSWERED = { choice: 0 };

/**
 * What STS answers at the address that the SDK has for it, which speaks IPv4 alone unless the environment says
 * otherwise, or, where that cannot be reached, at the dual-stack one or the older one. The one that answers is asked
 * first the next time.
 *
 * @throws What the first one failed with, where no other can be reached either.
 */
export async function onEitherStack<T>(
  ask: (config: SdkConfig) => Promise<T>,
  answered: { choice: number } = ANSWERED,
): Promise<T> {
  letHomeBeKnown();
  let unreachable: unknown;
  const first = answered.choice;
  for (const index of [first, ...CHOICES.keys().filter((other) => other !== first)]) {
    const requestHandler = new SdkFetch();
    try {
      const answer = await ask({
        requestHandler,
        maxAttempts: 2,
        defaultUserAgentProvider: () => Promise.resolve([[PROGRAM_NAME, VERSION]]),
        ...CHOICES[index],
      });
      answered.choice = index;
      return answer;
    } catch (error) {
      // Where the SDK has wrapped it, or said something else in its place.
      const found = requestHandler.failure ?? error;
      // An address of the environment's own, or a partition of AWS, that has no other one.
      if (unreachable !== undefined && found instanceof Error && found.name === "EndpointError") throw unreachable;
      if (!isUnreachable(found)) {
        // Also of an answer that refuses.
        answered.choice = index;
        throw found;
      }
      unreachable ??= found;
    }
  }
  throw unreachable;
}

/** Without these variables the SDK would ask the system for the home folder, which the program may not (docs/security.md). */
function letHomeBeKnown(): void {
  const { HOME, USERPROFILE, HOMEPATH } = process.env;
  if (!HOME && !USERPROFILE && !HOMEPATH) process.env.HOME = "/";
  const home = process.env.HOME || USERPROFILE || HOMEPATH || "/";
  process.env.AWS_LOGIN_CACHE_DIRECTORY ||= join(home, ".aws", "login", "cache");
}

/** Whether an error of the SDK means that nobody has answered. */
function isUnreachable(error: unknown): boolean {
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    if (current instanceof NoAnswer) return current.isUnreachable;
    const code = (current as { code?: unknown }).code;
    if (UNREACHABLE.has(String(code)) || current.name === "TimeoutError") return true;
  }
  return false;
}

const UNREACHABLE = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "ETIMEDOUT",
]);

/** Keys as the SDK has them. */
interface SdkKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  expiration?: Date;
}

/** The SDK's keys as this program's. */
function fromSdk(keys: SdkKeys): Credentials {
  return {
    accessKeyId: keys.accessKeyId,
    secretAccessKey: new Secret(keys.secretAccessKey),
    sessionToken: keys.sessionToken === undefined ? undefined : new Secret(keys.sessionToken),
    expiresAt: keys.expiration,
  };
}
