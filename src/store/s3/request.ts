/**
 * What the parts of the S3 client say to each other: a request and its answer, where requests go, and how patient whoever
 * sends them is.
 */
import type { CredentialProvider } from "../../aws/credentials.ts";
import type { Log } from "../../observe.ts";
import type { Fetch } from "../../trusted_fetch.ts";
import type { AddressingStyle, S3Location } from "./endpoint.ts";

/** How patient the client is. */
export interface S3Settings {
  /** How often a request that S3 refuses for now is tried in all, for about a minute. @default 10 */
  attempts: number;
  /** The same where no answer comes, which by itself may take a minute each time. @default 7 */
  attemptsUnanswered: number;
  /** The longest wait before the second attempt; doubled before each further one. @default 250 */
  backoffMs: number;
  /** How long S3 may show no sign of life. @default 60000 */
  stallMs: number;
  /** The slowest uplink; a body gets this much time beside `stallMs`, as fetch reports no progress. @default 32 KiB */
  uploadBytesPerSecond: number;
  /** Parts of a multipart upload, and the largest body that is sent in one request. @default 5 MiB, S3's minimum */
  partBytes: number;
  /** Whether all parts of an upload have the same size, but for the last; else they grow. @default false */
  equalParts: boolean;
  /** The most parts of an upload. @default 10000, S3's limit */
  maxParts: number;
  /** Entries per page of a listing. @default 1000 */
  pageSize: number;
}

/** Those of AWS, and of most servers that speak S3. */
export const DEFAULT_SETTINGS: S3Settings = {
  attempts: 10,
  attemptsUnanswered: 7,
  backoffMs: 250,
  stallMs: 60_000,
  uploadBytesPerSecond: 32 * 1024,
  partBytes: 5 * 1024 * 1024,
  equalParts: false,
  maxParts: 10_000,
  pageSize: 1000,
};

/** Where requests go and who signs them. */
export interface S3Target extends S3Location {
  /** Discovered where absent. */
  region?: string | undefined;
  /** Absent for AWS itself. */
  endpoint?: string | undefined;
  /** @default path for an endpoint, virtual for AWS */
  addressing?: AddressingStyle | undefined;
  /** Whether AWS's addresses are those validated by FIPS 140. @default false */
  fips?: boolean | undefined;
  /** The URLs under which the bucket may be reached, instead of those that follow from the above. */
  bucketUrls?: readonly string[] | undefined;
  credentials: CredentialProvider;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
  /** Is told of the first of several repetitions. @default nobody */
  log?: Log | undefined;
}

/** A request to a bucket, before it is signed. */
export interface S3Request {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Completes "Cannot …" in an error. */
  action: string;
  /** `s3:PutObject`: the right that an error tells to grant. */
  right: string;
  /** Within the bucket folder; absent for a request about the bucket. */
  key?: string | undefined;
  /** The folder that a request about the bucket asks for; named in errors. */
  folder?: string | undefined;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: Uint8Array<ArrayBuffer> | undefined;
  /** Tells of an answer's body whether it is cut off; then it is asked for again. @default none is */
  isCut?: (body: string) => boolean;
  /** SHA-256 of `body` in hexadecimal, where the caller knows it already. */
  sha256?: string | undefined;
}

/** An answer that was read whole. */
export interface S3Answer {
  status: number;
  headers: Headers;
  body: string;
}

/** An answer whose body is read by and by. */
export interface S3OpenAnswer {
  status: number;
  headers: Headers;
  /** The next bytes, undefined at the end. @throws StoreError with code `timeout` or `cut_off` */
  read(): Promise<Uint8Array | undefined>;
  /** Ends the conversation. */
  close(): void;
}
