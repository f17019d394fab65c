/** What S3's refusals mean for an operator: from a status, headers and a body to the error that is reported. Pure. */
import { StoreError } from "../../errors.ts";
import { LONGEST_RETRY_AFTER_MS, parseRetryAfter } from "../../retry.ts";
import { parseError } from "./xml.ts";

/** What was asked, in words. */
export interface S3Subject {
  /** `store`, `read`, `list` …: completes "Cannot …". */
  action: string;
  /** The key within the bucket folder; absent where the request is about the bucket. */
  key?: string | undefined;
  /** `s3://name/folder`. */
  url: string;
  /** `HEAD`, `GET` …: an answer to HEAD has no body. */
  method: string;
  /** The region the request was signed for. */
  region: string;
  /** The right that AWS asks for this request: `s3:PutObject`. */
  right: string;
}

/** The code where nobody says in whose name a 404 to HEAD came. */
const UNCONFIRMED = "unconfirmed";

/** Whether it is open if an object is there: what answered 404 need not be S3. */
export function isUnconfirmed(error: unknown): boolean {
  return error instanceof StoreError && error.facts.code === UNCONFIRMED;
}

/** What came back. */
export interface S3Refusal {
  status: number;
  headers: Headers;
  body: string;
}

/** S3's code where an answer has no body, as those to HEAD. */
const CODE_BY_STATUS: Record<number, string> = {
  301: "PermanentRedirect",
  400: "BadRequest",
  403: "AccessDenied",
  404: "not_found",
  409: "ConditionalRequestConflict",
  412: "PreconditionFailed",
  500: "InternalError",
  501: "NotImplemented",
  503: "ServiceUnavailable",
};

/** By which S3 says what it has: of a key that there is no object, or that there is one. */
const SAYS_WHAT_IS_THERE = new Set([404, 412]);

/** Which of its answers S3 itself has given; no proxy has a header of that name. */
const REQUEST_ID = "x-amz-request-id";

const FOREIGNER = "something that is not S3";
const STRANGE_HINT = "The server at endpoint is not an S3 server, or something in between changes its answers";

const MAX_MESSAGE_LENGTH = 400;

/** `Cannot store "a/b" in "s3://name/folder"`. */
export function describeSubject(subject: Pick<S3Subject, "action" | "key" | "url">): string {
  return subject.key === undefined || subject.key === ""
    ? `Cannot ${subject.action} "${subject.url}"`
    : `Cannot ${subject.action} "${subject.key}" in "${subject.url}"`;
}

/** The error where a key was found to be taken by looking; S3 would have answered so. */
export function takenError(url: string, key: string): StoreError {
  return new StoreError(`${describeSubject({ action: "store", key, url })}: the key is taken`, {
    code: "PreconditionFailed",
    key,
  });
}

/** The error for a success that does not say what it must. `missing` completes "the answer does not say …". */
export function strangeAnswer(
  { url }: { url: string },
  key: string,
  missing: string,
  action = "store",
): StoreError {
  return new StoreError(
    `${describeSubject({ action, key, url })}: the answer does not say ${missing}`,
    { code: "strange_answer", key },
    { hint: STRANGE_HINT },
  );
}

/** The error for a listing of which a part has come as if it were all. */
export function cutOffError(subject: Pick<S3Subject, "action" | "key" | "url">): StoreError {
  return new StoreError(`${describeSubject(subject)}: the answer was cut off`, { code: "cut_off", key: subject.key }, {
    hint: "Look for a proxy or front end that ends answers early",
  });
}

/**
 * The error for an answer that is not what was asked for.
 *
 * @param secrets Texts that must not be shown even where S3 quotes them.
 */
export function refusalError(subject: S3Subject, refusal: S3Refusal, secrets: readonly string[] = []): StoreError {
  const { status, headers } = refusal;
  const body = parseError(refusal.body);
  const isForeign = body === undefined && refusal.body.trim() !== "" && !headers.has(REQUEST_ID);
  // A proxy whose servers are away for a moment answers so, too. Nobody is to believe that a backup's object is gone.
  if (SAYS_WHAT_IS_THERE.has(status) && body === undefined && refusal.body.trim() !== "") {
    return new StoreError(
      `${describeSubject(subject)}: ${FOREIGNER} answered ${status}`,
      { code: "strange_answer", key: subject.key, status },
      { hint: STRANGE_HINT },
    );
  }
  if (status === 404 && subject.method === "HEAD" && !headers.has(REQUEST_ID)) {
    return new StoreError(
      `${describeSubject(subject)}: 404 was answered, and not said by whom`,
      { code: UNCONFIRMED, key: subject.key, status },
      { hint: STRANGE_HINT },
    );
  }
  const region = headers.get("x-amz-bucket-region") ?? body?.region;
  const location = headers.get("location");
  // S3 says in its own words that a bucket lies elsewhere.
  if (status >= 300 && status < 400 && location !== null && body === undefined && region === undefined) {
    return redirectError(subject, { status, location });
  }
  const code = codeOf(status, body?.code);
  let said = (body?.message ?? "").replaceAll(/\s+/g, " ").trim().slice(0, MAX_MESSAGE_LENGTH);
  for (const secret of secrets) if (secret !== "") said = said.replaceAll(secret, "***");
  const reason = said === "" ? "" : `: ${said}`;
  const wrongRegion = region !== null && region !== undefined && region !== subject.region;
  return new StoreError(
    `${describeSubject(subject)}: ${isForeign ? FOREIGNER : "S3"} answered ${status} ${code}${reason}` +
      (wrongRegion ? `; the bucket is in region "${region}", the request was for "${subject.region}"` : ""),
    { code, key: subject.key, status, retryAfterMs: retryAfterMs(headers) },
    {
      hint: isForeign
        ? STRANGE_HINT
        : wrongRegion
        ? `Set region: ${region}; without it AWS_REGION counts, else the bucket's own`
        : hintFor(code, subject, said),
    },
  );
}

/** The error where something that is not S3 redirects. What stands behind its path may be a ticket, or a login. */
function redirectError(subject: S3Subject, { status, location }: { status: number; location: string }): StoreError {
  const elsewhere = URL.parse(location)?.origin;
  const path = location.replace(/[?#].*/s, "").slice(0, MAX_MESSAGE_LENGTH);
  return new StoreError(
    `${describeSubject(subject)}: ${FOREIGNER} redirects to "${elsewhere ?? path}"`,
    { code: "strange_answer", key: subject.key, status },
    {
      hint: elsewhere === undefined
        ? STRANGE_HINT
        : `Set endpoint to "${elsewhere}", if that is the S3 server; else something in between answers`,
    },
  );
}

/** S3 has one code for a missing key and HEAD has none; the pipeline asks for `not_found`. */
function codeOf(status: number, code: string | undefined): string {
  if (code === "NoSuchKey" || code === "NotFound") return "not_found";
  // versitygw, MinIO and moto call a lost race by other names than AWS, under the same status.
  if (status === 412) return "PreconditionFailed";
  return code ?? CODE_BY_STATUS[status] ?? `Status${status}`;
}

function hintFor(code: string, subject: S3Subject, said: string): string | undefined {
  const bucket = /^s3:\/\/[^/]*/.exec(subject.url)?.[0] ?? subject.url;
  switch (code) {
    case "TemporaryRedirect":
      return "The bucket is new, and not every server of S3 knows it yet: set region to its own, or try again in some hours";
    case "AccessDenied":
    case "AllAccessDisabled":
      if (subject.right.startsWith("s3:PutObject") && /explicit deny in a resource-based policy/.test(said)) {
        return `The policy of ${bucket} refuses it: where that wants encryption, set sse, and kms_key_id where it names a key`;
      }
      return `Allow ${subject.right} on ${bucket} for this key or role, also in the policies of the bucket and of its KMS key` +
        (subject.right === "s3:GetObject" ? "; without s3:ListBucket S3 answers the same for a missing object" : "");
    case "NoSuchBucket":
      return `Create ${bucket}, or correct bucket in the config`;
    case "SignatureDoesNotMatch":
      return "The secret does not belong to the token: correct secret, and check it for spaces and line breaks";
    case "InvalidAccessKeyId":
      return "S3 does not know the token: correct it, and set session_token where the token is a temporary one";
    case "InvalidToken":
      return "Correct session_token, or AWS_SESSION_TOKEN: it must be the one of these temporary keys, for this server";
    case "ExpiredToken":
    case "TokenRefreshRequired":
      return "The temporary keys have expired: get new ones, or use a role, whose keys are renewed automatically";
    case "SecondLevelDomainForbidden":
      return "Set addressing_style: virtual: the store wants the bucket's name in the host name";
    case "RequestTimeTooSkewed":
      return "Correct the clock of this machine (timedatectl, chronyc)";
    case "PermanentRedirect":
    case "AuthorizationHeaderMalformed":
    case "IllegalLocationConstraintException":
      return "Set region to the bucket's region, or leave it out";
    case "NotImplemented":
      return "The server at endpoint lacks a feature of S3 that is needed: conditional writes (If-None-Match), checksums, or uploads in parts";
    case "KMS.NotFoundException":
    case "KMS.DisabledException":
    case "KMS.AccessDeniedException":
      return "Correct kms_key_id, and allow kms:GenerateDataKey and kms:Decrypt on that key";
    case "InvalidRequest":
      // Ceph 16 says the code alone.
      return /object ?lock/i.test(said) || (said === "" && subject.right.includes("PutObjectRetention"))
        ? "Turn on Object Lock for the bucket (that can be done at any time on AWS), or leave object_lock out"
        : undefined;
    case "InvalidStorageClass":
      return "Correct storage_class: STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, …";
    case "InvalidObjectState":
      return "The object is in an archive tier: restore it there (aws s3api restore-object), then run again";
    case "ThrottlingException":
    case "KMS.ThrottlingException":
      return "KMS throttles requests: turn on a bucket key (BucketKeyEnabled), lower parallel, or run fewer tasks at once";
    case "SlowDown":
      return "S3 throttles requests: lower parallel, or run fewer tasks at once";
    case "BadDigest":
    case "XAmzContentSHA256Mismatch":
    case "XAmzContentChecksumMismatch":
      return "The bytes were changed in transit: look for a proxy that rewrites requests, and check this machine's memory";
    case "QuotaExceeded":
    case "XMinioStorageFull":
      return "The storage is full: free space on the server";
    default:
      return undefined;
  }
}

/** How long the server asks to be left alone, as far as it is obeyed. */
function retryAfterMs(headers: Headers): number | undefined {
  // A date is compared with the server's own clock: that this machine's is wrong is one of the errors of this file.
  const askedMs = parseRetryAfter(headers.get("retry-after"), new Date(headers.get("date") ?? ""));
  return askedMs === undefined ? undefined : Math.min(askedMs, LONGEST_RETRY_AFTER_MS);
}
