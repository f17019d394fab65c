/**
 * Where S3 is: from a bucket's URL, its region and the config's endpoint to the URLs that requests go to. Pure.
 */
import { domainsOf } from "../../aws/partition.ts";
import { StoreError } from "../../errors.ts";
import { joinKey } from "../key.ts";

/** A bucket and the folder in it that keys are relative to. */
export interface S3Location {
  bucket: string;
  /** Without slashes at its ends; `""` for the whole bucket. */
  folder: string;
}

/** What S3 takes a request without a region for, and what S3-compatible servers mostly call theirs. */
export const DEFAULT_REGION = "us-east-1";

/**
 * Takes `s3://name/folder` apart. The folder is taken as it stands, `%` included, as the AWS CLI takes it.
 *
 * @throws StoreError with code `bad_bucket`.
 */
export function parseS3Url(url: string): S3Location {
  const match = /^s3:\/\/([^/]*)(?:\/(.*))?$/is.exec(url);
  const bucket = match?.[1] ?? "";
  if (!/^[a-z0-9][a-z0-9._-]{2,62}$/i.test(bucket)) {
    throw new StoreError(
      `Cannot open the bucket "${
        url.replace(/\/\/[^/@]*@/, "//")
      }": its name is not one of 3 to 63 letters, digits, dots and hyphens`,
      { code: "bad_bucket" },
      { hint: "Write it as s3://name/folder" },
    );
  }
  return { bucket, folder: joinKey(match?.[2] ?? "") };
}

/** Names that AWS keeps for what is no bucket of the kind that is needed. */
const OTHER_KINDS: readonly [name: RegExp, what: string, hint: string][] = [
  [
    /--x-s3$/,
    "it is a directory bucket (S3 Express One Zone), whose listings have no order",
    "Use a general purpose bucket",
  ],
  [/--ol-s3$/, "it is an access point of Object Lambda, which changes what is read", "Use the bucket itself"],
  [/\.mrap$/, "it is a multi-region access point, whose copies differ for a while", "Use one of its buckets"],
  [/--table-s3$/, "it is a table bucket, which holds no objects", "Use a general purpose bucket"],
];

/** Refuses what AWS calls a bucket and is another thing. @throws StoreError with code `bad_bucket`. */
export function checkKind(bucket: string): void {
  const [, what, hint] = OTHER_KINDS.find(([name]) => name.test(bucket)) ?? [];
  if (what === undefined) return;
  throw new StoreError(`Cannot open the bucket "s3://${bucket}": ${what}`, { code: "bad_bucket" }, { hint });
}

/** How a bucket is named in a request: in the path, or as a part of the host's name. */
export type AddressingStyle = "path" | "virtual";

/** Which bucket, and how it is addressed. */
export interface BucketAddress {
  bucket: string;
  region: string;
  /** Absent for AWS itself. */
  endpoint?: string | undefined;
  /** Whether AWS's addresses are those validated by FIPS 140, which are there in America only. @default false */
  fips?: boolean | undefined;
  /** @default what {@linkcode addressingStyle} says */
  addressing?: AddressingStyle | undefined;
}

/**
 * The style where none is given: path for an endpoint of one's own, which rarely has a wildcard name, and for a bucket
 * with a dot in its name, which the wildcard of AWS's certificate does not cover.
 */
export function addressingStyle({ bucket, endpoint }: Pick<BucketAddress, "bucket" | "endpoint">): AddressingStyle {
  // Names with capitals or underscores are older than the rules for host names.
  return endpoint === undefined && /^[a-z0-9-]+$/.test(bucket) ? "virtual" : "path";
}

/**
 * The URLs of a bucket, without a trailing slash, the preferred one first. AWS has two: a dual-stack one, which also
 * speaks IPv6, and the older one, which an interface endpoint or a firewall may let through alone.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/dual-stack-endpoints.html
 */
export function bucketUrls(address: BucketAddress): string[] {
  const { bucket, region, endpoint, fips = false, addressing = addressingStyle(address) } = address;
  const { domain } = domainsOf(region);
  const s3 = fips ? "s3-fips" : "s3";
  const bases = endpoint === undefined
    ? [`https://${s3}.dualstack.${region}.${domain}`, `https://${s3}.${region}.${domain}`]
    : [endpoint.replace(/\/+$/, "")];
  return bases.map((base) => addressing === "virtual" ? base.replace("://", `://${bucket}.`) : `${base}/${bucket}`);
}

/**
 * The addressing style that a config gives, when bucket and endpoint can be addressed so.
 *
 * @throws StoreError with code `bad_endpoint`.
 */
export function checkAddressing(
  { bucket, endpoint, addressing }: Omit<BucketAddress, "region">,
): AddressingStyle | undefined {
  if (addressing !== "virtual") return addressing;
  const host = endpoint === undefined ? "" : new URL(endpoint).hostname;
  const isAddress = host.startsWith("[") || /^\d+(\.\d+){3}$/.test(host);
  if (!isAddress && /^[a-z0-9.-]+$/.test(bucket)) return addressing;
  throw new StoreError(
    `Cannot address the bucket "${bucket}" as part of the host name: ${
      isAddress ? `"${host}" is an IP address, which has no subdomains` : "a host name has a-z, 0-9, - and . only"
    }`,
    { code: "bad_endpoint" },
    { hint: "Set addressing_style: path, or leave it out" },
  );
}

/**
 * The config's endpoint, when it is one.
 *
 * @throws StoreError with code `bad_endpoint`.
 */
export function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (url === undefined || !isHttp || url.username !== "" || url.password !== "" || url.search !== "") {
    const shown = endpoint.replace(/\/\/[^/@]*@/, "//");
    throw new StoreError(
      `Cannot use "${shown}" as an S3 endpoint: it must be a URL such as "http://[::1]:9000", without login and query`,
      { code: "bad_endpoint" },
      { hint: "The keys are given as token and secret, the bucket as bucket" },
    );
  }
  return url.href.replace(/[/#]+$/, "");
}

/**
 * A key as it goes into a URL's path: each byte encoded once, but for `A-Za-z0-9-._~` and the slash. SigV4 signs the
 * path as it is sent, so a key that holds `%2F` goes out as `%252F`; and it wants `!'()*` encoded, too, which
 * `encodeURIComponent` leaves alone.
 */
export function encodeKey(key: string): string {
  return key.split("/").map(encodePart).join("/");
}

/** A query as SigV4 wants it: a space is `%20`, not `+`. Parameters without a value are given `""`. */
export function encodeQuery(query: Record<string, string>): string {
  return Object.entries(query).map(([name, value]) => `${encodePart(name)}=${encodePart(value)}`).join("&");
}

function encodePart(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
