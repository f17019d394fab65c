/**
 * From the config of a bucket to the address of its requests and their signer; the same for storing and
 * deleting. Pure but for the credentials, which are fetched only when a request is signed.
 */
import { openCredentials } from "../../aws/credential_chain.ts";
import type { StoreContext, StoreOptions } from "../store.ts";
import type { S3Target } from "./request.ts";
import { checkAddressing, checkEndpoint, checkKind, parseS3Url } from "./endpoint.ts";

/** @throws StoreError with code `bad_bucket` or `bad_endpoint`; AwsError with code `no_credentials`. */
export function targetOf(options: StoreOptions, { fetch, log }: Pick<StoreContext, "fetch" | "log"> = {}): S3Target {
  const location = parseS3Url(options.bucket);
  const endpoint = options.endpoint === undefined ? undefined : checkEndpoint(options.endpoint);
  if (endpoint === undefined) checkKind(location.bucket);
  return {
    ...location,
    region: options.region,
    endpoint,
    ...options.fips === true && { fips: true },
    addressing: checkAddressing({ ...location, endpoint, addressing: options.addressing }),
    credentials: openCredentials(options),
    fetch,
    log,
  };
}
