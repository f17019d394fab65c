/**
 * The wire of the fake S3 server: requests as they come, answers as they go out, whole or broken. Made with node:http,
 * which lets a connection be dropped before and amid an answer.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { WireRequest } from "./sigv4.ts";

/** What a request asks for, by S3's names. */
export type Operation =
  | "AbortMultipartUpload"
  | "CompleteMultipartUpload"
  | "CreateMultipartUpload"
  | "DeleteObject"
  | "GetObject"
  | "HeadBucket"
  | "HeadObject"
  | "ListObjectsV2"
  | "PutObject"
  | "PutObjectRetention"
  | "UploadPart";

/** How a request goes wrong. */
export type Fault =
  /** It is refused and not executed. With status 200 the error hides in the body. */
  | { kind: "refuse"; status: number; code: string; message?: string; headers?: Record<string, string> }
  /** It is executed and the connection dropped before the answer. */
  | { kind: "lose_answer" }
  /** It is not executed and never answered. */
  | { kind: "stall" }
  /** It is executed, and the answer has another status, body or other headers; `""` takes one away. */
  | { kind: "alter"; status?: number; headers?: Record<string, string>; body?: string }
  /** It is executed, and half of the answer's body comes, with a length that says it is all. */
  | { kind: "halve" }
  /** The answer's body stops after some bytes: for good, or with the connection. */
  | { kind: "stall_body" | "cut_body"; afterBytes: number };

/** What is sent back. */
export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  /** The length to announce for HEAD. */
  length?: number;
  /** No length is announced: the body ends where the connection's chunks do. */
  isUnmeasured?: boolean;
}

/** A request that is refused, by S3's code. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  /** Elements that the answer has beside the usual ones. */
  readonly extra: string;

  constructor(status: number, code: string, message: string = code, extra = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.extra = extra;
  }
}

/** Reads a request to its end. */
export async function receive(incoming: IncomingMessage): Promise<WireRequest> {
  const pieces: Uint8Array[] = [];
  for await (const bytes of incoming) pieces.push(bytes as Uint8Array);
  // A client that takes this server for its proxy sends the whole URL.
  const target = (incoming.url ?? "/").replace(/^http:\/\/[^/?]*/, "");
  const [rawPath, rawQuery = ""] = target.split("?", 2) as [string, string?];
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) headers[name] = String(value);
  return { method: incoming.method ?? "GET", rawPath, rawQuery, headers, body: join(pieces) };
}

/**
 * Bucket, key and query of a request: in path style, or before the name of `virtualHost`, where the bucket is `""`
 * without.
 */
export function addressOf(
  request: WireRequest,
  { virtualHost, decodesTwice = false }: { virtualHost?: string | undefined; decodesTwice?: boolean | undefined } = {},
): { bucket: string; key: string; query: URLSearchParams } {
  const decode = (text: string) => decodeURIComponent(decodesTwice ? decodeURIComponent(text) : text);
  const segments = request.rawPath.slice(1).split("/").map(decode);
  const host = request.headers["host"] ?? "";
  const bucket = virtualHost === undefined
    ? segments.shift() ?? ""
    : host.endsWith(`.${virtualHost}`)
    ? host.slice(0, -virtualHost.length - 1)
    : "";
  return { bucket, key: segments.join("/"), query: new URLSearchParams(request.rawQuery.replaceAll("+", "%2B")) };
}

/** What a request asks for. */
export function operationOf(method: string, key: string, query: URLSearchParams): Operation {
  if (key === "") return method === "HEAD" ? "HeadBucket" : "ListObjectsV2";
  switch (method) {
    case "PUT":
      if (query.has("retention")) return "PutObjectRetention";
      return query.has("partNumber") ? "UploadPart" : "PutObject";
    case "POST":
      return query.has("uploads") ? "CreateMultipartUpload" : "CompleteMultipartUpload";
    case "DELETE":
      return query.has("uploadId") ? "AbortMultipartUpload" : "DeleteObject";
    case "HEAD":
      return "HeadObject";
    default:
      return "GetObject";
  }
}

/** The answer that says why a request is refused. */
export function errorAnswer(error: Refusal, isHead: boolean): Answer {
  const region = /expecting '([^']*)'/.exec(error.message)?.[1];
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${error.code}</Code>` +
    `<Message>${escape(error.message)}</Message>${region === undefined ? "" : `<Region>${region}</Region>`}` +
    `${error.extra}<RequestId>4442587FB7D0A2F9</RequestId></Error>`;
  return { status: error.status, headers: { "content-type": "application/xml" }, body: isHead ? "" : body };
}

/** Sends an answer, as far as `fault` lets it. */
export async function send(outgoing: ServerResponse, answer: Answer, fault: Fault | undefined): Promise<void> {
  const altered = fault?.kind === "alter" ? fault : undefined;
  const given = altered?.body ?? answer.body ?? "";
  const whole = typeof given === "string" ? new TextEncoder().encode(given) : given;
  const body = fault?.kind === "halve" ? whole.subarray(0, whole.length >> 1) : whole;
  const length = answer.status === 204 || answer.isUnmeasured
    ? {}
    : { "content-length": String(answer.length ?? body.length) };
  const headers = { "x-amz-request-id": "4442587FB7D0A2F9", ...answer.headers, ...length, ...altered?.headers };
  outgoing.writeHead(
    altered?.status ?? answer.status,
    Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== "")),
  );
  if (fault?.kind === "stall_body" || fault?.kind === "cut_body") {
    const part = body.subarray(0, fault.afterBytes);
    if (part.length > 0) await new Promise((resolve) => outgoing.write(part, resolve));
    else outgoing.flushHeaders();
    if (fault.kind === "stall_body") return;
    await new Promise((resolve) => setTimeout(resolve, 20)); // Lets what was written reach the client.
    outgoing.socket?.destroy();
    return;
  }
  if (outgoing.req.method === "HEAD") outgoing.end();
  else outgoing.end(body);
}

/** An answer in XML. */
export const xml = (text: string): Answer => ({
  status: 200,
  headers: { "content-type": "application/xml" },
  body: `<?xml version="1.0" encoding="UTF-8"?>\n${text}`,
});

/** Text for XML. */
export const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** One array of many. */
export function join(pieces: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, bytes) => sum + bytes.length, 0));
  let position = 0;
  for (const bytes of pieces) {
    whole.set(bytes, position);
    position += bytes.length;
  }
  return whole;
}
