/**
 * How AWS is reached: its keys, or where some may be, and the addresses of its services. In: what the config says, and
 * the variables that AWS's own tools read where it says nothing. Out: the options of the store, and of AWS beside it.
 * Pure.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
 */
import { join } from "node:path";
import type { AwsOptions, KeyOptions, KeySources } from "../aws/options.ts";
import { Secret } from "../secret.ts";
import type { StoreOptions } from "../store/store.ts";
import { type Environment, held } from "./environment.ts";
import type { ConfigDocument } from "./schema.ts";
import { stateFolderOf } from "./state_folder.ts";

/** What the config says of the bucket, and for an S3 bucket AWS's own variables where it says nothing. */
export function toStoreOptions(document: ConfigDocument, env: Environment): StoreOptions {
  const isS3 = document.bucket.startsWith("s3:");
  const variable = (...names: string[]) => isS3 ? held(env, ...names) : undefined;
  const { storage_class: storageClass, kms_key_id: kmsKeyId } = document;
  return {
    bucket: document.bucket,
    region: document.region ?? variable("AWS_REGION", "AWS_DEFAULT_REGION"),
    endpoint: document.endpoint ?? (isS3 ? endpointOf(env, "AWS_ENDPOINT_URL_S3") : undefined),
    ...isS3 && usesFips(env),
    addressing: document.addressing_style,
    partBytes: document.part_size === undefined ? undefined : document.part_size * 1024 * 1024,
    maxParts: document.max_parts,
    storageClass,
    objectLock: document.object_lock && {
      mode: document.object_lock.mode === "compliance" ? "COMPLIANCE" : "GOVERNANCE",
      days: document.object_lock.days,
    },
    sse: document.sse,
    kmsKeyId,
    ...(document.bucket.startsWith("file:") ? { stateFolder: stateFolderOf(env) } : {}),
    ...(writtenKeys(document) ?? (isS3 ? keysOfEnvironment(env, regionOfAws(document)) : {})),
  };
}

/** AWS beside the bucket. */
export function toAwsOptions(document: ConfigDocument, env: Environment): AwsOptions {
  // The keys of another S3 are no keys of AWS.
  const keys = document.endpoint === undefined ? writtenKeys(document) : undefined;
  return { ...awsOfEnvironment(env, regionOfAws(document)), ...keys };
}

/** AWS beside the bucket, as far as the environment says anything, with the region that is said elsewhere. */
export function awsOfEnvironment(env: Environment, region?: string): AwsOptions {
  return {
    endpoints: {
      secretsmanager: endpointOf(env, "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
      ssm: endpointOf(env, "AWS_ENDPOINT_URL_SSM"),
      states: endpointOf(env, "AWS_ENDPOINT_URL_SFN"),
    },
    ...usesFips(env),
    ...keysOfEnvironment(env, region),
  };
}

/** A bucket of which only the environment says anything: that in which the config lies. */
export function storeOfEnvironment(bucket: string, env: Environment): StoreOptions {
  return {
    bucket,
    region: held(env, "AWS_REGION", "AWS_DEFAULT_REGION"),
    endpoint: endpointOf(env, "AWS_ENDPOINT_URL_S3"),
    ...usesFips(env),
    ...keysOfEnvironment(env),
  };
}

function writtenKeys({ token, secret, session_token: sessionToken }: ConfigDocument): KeyOptions | undefined {
  return token === undefined ? undefined : { accessKeyId: token, secretAccessKey: secret, sessionToken };
}

/** The config's region, where it is one of AWS: that of another S3 may be any word. */
function regionOfAws({ endpoint, region }: ConfigDocument): string | undefined {
  return endpoint === undefined ? region : undefined;
}

const PAIR = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/** The environment's keys, else what it says of where some may be. */
function keysOfEnvironment(env: Environment, region?: string): KeyOptions {
  const accessKeyId = held(env, "AWS_ACCESS_KEY_ID");
  const secretAccessKey = held(env, "AWS_SECRET_ACCESS_KEY");
  // Half a pair of keys is none.
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const unpaired = PAIR.find((name) => held(env, name) !== undefined);
    return { keySources: { ...toKeySources(env, region ?? held(env, "AWS_REGION", "AWS_DEFAULT_REGION")), unpaired } };
  }
  const sessionToken = held(env, "AWS_SESSION_TOKEN");
  return {
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    sessionToken: sessionToken === undefined ? undefined : new Secret(sessionToken),
  };
}

/** Whether the environment wants addresses of FIPS 140 alone, which hold for STS as well. */
function usesFips(env: Environment): { fips?: true } {
  return held(env, "AWS_USE_FIPS_ENDPOINT")?.toLowerCase() === "true" ? { fips: true } : {};
}

/** The address of a service: that of its own variable, else the one for all. */
function endpointOf(env: Environment, variable: string): string | undefined {
  if (held(env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")?.toLowerCase() === "true") return undefined;
  return held(env, variable, "AWS_ENDPOINT_URL")?.replace(/\/+$/, "");
}

/** The places where AWS's own tools would look for keys. */
function toKeySources(env: Environment, region: string | undefined): KeySources {
  const home = held(env, "HOME", "USERPROFILE");
  const files = [["AWS_SHARED_CREDENTIALS_FILE", "credentials"], ["AWS_CONFIG_FILE", "config"]] as const;
  const relative = held(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const url = relative === undefined
    ? held(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    : `http://169.254.170.2${relative}`;
  const token = held(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
  const tokenFile = held(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const metadataEndpoint = held(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT")?.replace(/\/+$/, "");
  const isMetadataOff = env.AWS_EC2_METADATA_DISABLED?.toLowerCase() === "true";
  return {
    region,
    profile: held(env, "AWS_PROFILE"),
    profileFiles: files.flatMap(([name, file]) =>
      held(env, name) ?? (home === undefined ? [] : join(home, ".aws", file))
    ),
    webIdentity: held(env, "AWS_WEB_IDENTITY_TOKEN_FILE") !== undefined,
    container: url === undefined
      ? undefined
      : { url, token: token === undefined ? undefined : new Secret(token), tokenFile },
    metadataEndpoints: isMetadataOff ? [] : metadataEndpoint === undefined ? undefined : [metadataEndpoint],
  };
}
