/**
 * How AWS is reached: which keys sign the requests, where to look for some when none are given, and where its services
 * answer. The config makes these; the S3 store, Secrets Manager and Step Functions take them.
 */
import type { Secret } from "../secret.ts";
import type { Fetch } from "../trusted_fetch.ts";
import type { ContainerAgent } from "./container_credentials.ts";

/** What the environment says of the places where AWS keys may be when none are given. */
export interface KeySources {
  /** The variable of a pair of keys that is set without the other one. @default neither is set */
  unpaired?: string | undefined;
  /** The region whose token service is asked for a role, unless its profile has one. @default us-east-1 */
  region?: string | undefined;
  /** `AWS_PROFILE`. */
  profile?: string | undefined;
  /** The files that profiles are in; they need not exist. */
  profileFiles: readonly string[];
  /** Whether `AWS_WEB_IDENTITY_TOKEN_FILE` is set, as in a pod of EKS. */
  webIdentity: boolean;
  /** The agent of a container in ECS or EKS. */
  container?: ContainerAgent | undefined;
  /** Base URLs of the instance's metadata service; none where it may not be asked. Absent: AWS's own. */
  metadataEndpoints?: readonly string[] | undefined;
}

/** The keys that sign requests to AWS, or where to look for some. */
export interface KeyOptions {
  /** The config's `token`. */
  accessKeyId?: string | undefined;
  /** The config's `secret`. */
  secretAccessKey?: Secret | undefined;
  /** The token that belongs to keys of a role. */
  sessionToken?: Secret | undefined;
  /** Where to look for keys when `accessKeyId` and `secretAccessKey` are absent. */
  keySources?: KeySources | undefined;
}

/** How to reach AWS's services other than S3. */
export interface AwsOptions extends KeyOptions {
  /**
   * Base URLs without a slash at the end, by the service's name; of several the first that answers. A service that is
   * not named is AWS's own.
   */
  endpoints?: Readonly<Partial<Record<AwsService, string | readonly string[] | undefined>>> | undefined;
  /** Whether only addresses count whose cryptography is validated by FIPS 140 (`AWS_USE_FIPS_ENDPOINT`). */
  fips?: boolean | undefined;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
}

/** What every call of a service takes. */
export interface AwsCallOptions {
  /** Cancels the call; it then throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** The services that the program speaks to beside S3, by the names that they sign with. */
export type AwsService = "secretsmanager" | "ssm" | "states";
