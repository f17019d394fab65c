/**
 * What the double saw: a record for each request, for tests to look at and for fault rules to match.
 */
import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";

/** One request and what became of it. */
export interface RequestRecord {
  /** From 1, in the order of arrival. */
  number: number;
  method: string;
  /** As sent: encoded, with the query. */
  path: string;
  /** The decoded parts of the path. */
  segments: string[];
  query: URLSearchParams;
  headers: Headers;
  /** Decoded; undefined for the server's own endpoints. */
  database: string | undefined;
  /** `/`, `_all_dbs`, …, `database` for the database itself, `_bulk_get`, …, `_view`, or `document`. */
  endpoint: string;
  /** The documents it speaks of, in its path or its body, in their order; the databases for `_dbs_info`. */
  ids: string[];
  /** As sent, compressed or not. */
  requestBytes: number;
  /** 0 until the answer begins. */
  status: number;
  /** Of the body, as handed to the network. */
  responseBytes: number;
  /** How many requests the server was busy with when this one had arrived, itself included. */
  inFlight: number;
  /** The fault that it met. */
  fault: string | undefined;
  outcome: "under way" | "answered" | "broken off";
}

const SERVER_ENDPOINTS = new Set(["_up", "_session", "_all_dbs", "_dbs_info", "_membership", "_node"]);

/** The record of a request that has just come. */
export function recordOf(message: IncomingMessage, body: Buffer, { number, basePath, inFlight }: {
  number: number;
  basePath: string;
  inFlight: number;
}): RequestRecord {
  const path = message.url ?? "/";
  const [pathname = "", query = ""] = path.split("?", 2);
  const segments = splitPath(pathname.startsWith(basePath) ? pathname.slice(basePath.length) : "/outside/base/path");
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return {
    number,
    method: message.method ?? "GET",
    path,
    segments,
    query: new URLSearchParams(query),
    headers,
    ...nameEndpoint(segments),
    ids: readIds(segments, decompress(headers, body) ?? body),
    requestBytes: body.length,
    status: 0,
    responseBytes: 0,
    inFlight,
    fault: undefined,
    outcome: "under way",
  };
}

/**
 * The whole body of a request. @throws when its client leaves in the middle of it, or it is larger than `mostBytes`.
 */
export async function readAll(message: IncomingMessage, mostBytes: number = Infinity): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of message) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes > mostBytes) throw new Error(`The body has more than ${mostBytes} bytes`);
  }
  return Buffer.concat(parts);
}

/** The body without its compression, undefined when it is said to be compressed and is not. */
export function decompress(headers: Headers, body: Buffer): Buffer | undefined {
  if (headers.get("content-encoding") !== "gzip") return body;
  try {
    return gunzipSync(body);
  } catch {
    return undefined;
  }
}

/** Splits a path into decoded parts. CouchDB decodes a plus as a space, in paths too. */
function splitPath(pathname: string): string[] {
  const parts = pathname.split("/").filter((part) => part !== "");
  return parts.map((part) => decodeURIComponent(part.replaceAll("+", " ")));
}

/** Which endpoint a path leads to, and in which database. */
function nameEndpoint(segments: readonly string[]): Pick<RequestRecord, "database" | "endpoint"> {
  const [first, second, , fourth, , sixth] = segments;
  if (first === undefined) return { database: undefined, endpoint: "/" };
  if (SERVER_ENDPOINTS.has(first)) return { database: undefined, endpoint: first };
  if (second === undefined) return { database: first, endpoint: "database" };
  const viewPath = second === "_partition" ? [fourth, sixth] : [second, fourth];
  if (viewPath[0] === "_design" && viewPath[1] === "_view") return { database: first, endpoint: "_view" };
  const isDocument = !second.startsWith("_") || /^_(design|local)($|\/)/.test(second);
  return { database: first, endpoint: isDocument ? "document" : second };
}

/** The ids that a request speaks of. */
function readIds(segments: readonly string[], body: Buffer): string[] {
  const { endpoint } = nameEndpoint(segments);
  if (endpoint === "document") return [segments.slice(1).join("/")];
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch {
    // Not a body that speaks of documents; whether it is refused is the endpoint's business.
    return [];
  }
  if (typeof value !== "object" || value === null) return [];
  if (endpoint === "_purge" || endpoint === "_revs_diff") return Object.keys(value);
  const { docs, keys } = value as { docs?: unknown; keys?: unknown };
  if (Array.isArray(keys)) return keys.map(String);
  if (!Array.isArray(docs)) return [];
  return docs.map((entry: { id?: unknown; _id?: unknown } | null) => entry?.id ?? entry?._id)
    .filter((id) => typeof id === "string");
}
