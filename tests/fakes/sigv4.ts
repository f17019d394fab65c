/**
 * Checks AWS Signature Version 4 of a request as S3 does, written from the specification, apart from the code that
 * signs. In: what came over the wire, byte for byte. Out: S3's error code, or undefined.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** A request as it came over the wire. */
export interface WireRequest {
  method: string;
  /** The path as sent, still encoded. */
  rawPath: string;
  /** Without the question mark, as sent. */
  rawQuery: string;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: Uint8Array;
}

/** Whose signature is expected. */
export interface SigningKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  region: string;
  /** @default "s3" */
  service?: string | undefined;
}

export interface SignatureProblem {
  code: string;
  status: number;
  message: string;
}

const MAX_SKEW_MS = 15 * 60 * 1000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/** What is wrong with the signature of `request`, undefined when nothing is. */
export function checkSignature(request: WireRequest, keys: SigningKeys, now: Date): SignatureProblem | undefined {
  const { headers } = request;
  const refused = (code: string, message: string, status = 403): SignatureProblem => ({ code, status, message });
  const authorization = headers["authorization"];
  if (authorization === undefined) return refused("AccessDenied", "Access Denied");
  const match = AUTHORIZATION.exec(authorization);
  if (match === null) return refused("AuthorizationHeaderMalformed", `Cannot parse ${authorization}`, 400);
  const [, accessKeyId, day, region, service, signedHeaders, signature] = match as unknown as string[];
  if (accessKeyId !== keys.accessKeyId) return refused("InvalidAccessKeyId", `The key ${accessKeyId} is unknown`);
  if (region !== keys.region) {
    const message =
      `The authorization header is malformed; the region '${region}' is wrong; expecting '${keys.region}'`;
    return refused("AuthorizationHeaderMalformed", message, 400);
  }
  const wanted = keys.service ?? "s3";
  if (service !== wanted) return refused("AuthorizationHeaderMalformed", `The service must be ${wanted}`, 400);
  if ((headers["x-amz-security-token"] ?? "") !== (keys.sessionToken ?? "")) {
    return refused("InvalidToken", `The provided token ${headers["x-amz-security-token"]} is malformed`, 400);
  }
  const date = headers["x-amz-date"] ?? "";
  if (!/^\d{8}T\d{6}Z$/.test(date) || !date.startsWith(day!)) return refused("AccessDenied", "x-amz-date is wrong");
  const signedAt = Date.parse(
    date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"),
  );
  if (Math.abs(signedAt - now.getTime()) > MAX_SKEW_MS) {
    return refused(
      "RequestTimeTooSkewed",
      "The difference between the request time and the server's time is too large",
    );
  }
  // Only S3 wants the header; the other services hash the body themselves.
  const payload = headers["x-amz-content-sha256"] ?? (wanted === "s3" ? "" : sha256(request.body));
  if (payload !== "UNSIGNED-PAYLOAD" && payload !== sha256(request.body)) {
    return refused(
      "XAmzContentSHA256Mismatch",
      "The provided x-amz-content-sha256 does not match what was computed",
      400,
    );
  }
  const names = signedHeaders!.split(";");
  const mustBeSigned = ["host", ...Object.keys(headers).filter((name) => name.startsWith("x-amz-"))];
  const unsigned = mustBeSigned.find((name) => !names.includes(name));
  if (unsigned !== undefined) {
    return refused("AccessDenied", `There were headers present which were not signed: ${unsigned}`);
  }
  const canonicalRequest = [
    request.method,
    request.rawPath.split("/").map((segment) => encode(decodeURIComponent(segment))).join("/"),
    canonicalQuery(request.rawQuery),
    ...names.map((name) => `${name}:${(headers[name] ?? "").trim().replaceAll(/ +/g, " ")}`),
    "",
    signedHeaders,
    payload,
  ].join("\n");
  const scope = `${day}/${region}/${wanted}/aws4_request`;
  const stringToSign = ["AWS4-HMAC-SHA256", date, scope, sha256(canonicalRequest)].join("\n");
  const key = [day!, region!, wanted, "aws4_request"].reduce<string | Uint8Array>(
    (key, text) => createHmac("sha256", key).update(text).digest(),
    `AWS4${keys.secretAccessKey}`,
  );
  const expected = createHmac("sha256", key).update(stringToSign).digest();
  if (timingSafeEqual(expected, Uint8Array.fromHex(signature!))) return undefined;
  return refused("SignatureDoesNotMatch", "The request signature we calculated does not match the one you provided");
}

function canonicalQuery(rawQuery: string): string {
  if (rawQuery === "") return "";
  return rawQuery.split("&").map((pair) => {
    const [name, value = ""] = pair.split("=", 2) as [string, string?];
    // S3 takes a plus in a query for a plus.
    return `${encode(decodeURIComponent(name))}=${encode(decodeURIComponent(value))}`;
  }).sort().join("&");
}

/** Every byte but `A-Za-z0-9-._~`. */
function encode(text: string): string {
  return [...new TextEncoder().encode(text)].map((byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
