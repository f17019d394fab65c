/**
 * What the double's endpoints take and give: a request with its body as text, an answer as pieces of text, and
 * CouchDB's refusals as an exception.
 */

import { kindOf, type Member, membersOf } from "./json_text.ts";

/** A request as the endpoints see it. */
export interface CouchRequest {
  method: string;
  /** The decoded parts of the path, such as `["a/b", "_design", "x"]`. */
  segments: string[];
  query: URLSearchParams;
  headers: Headers;
  /** Decompressed. */
  body: string;
  /** Rows that a fault rule wants refused: {@linkcode RefusedRows}. */
  refusedRows: RefusedRows;
  /** How a fault rule wants a listing spoilt. */
  shortPage: ShortPage | undefined;
}

/** A page of a listing that is well formed and not what it should be. */
export interface ShortPage {
  /** The most rows that it has. @default as many as were asked for */
  rows?: number;
  /**
   * Whether it ends behind the rows that it lacks, as if they had been there. Else the next page has them. @default
   * false
   */
  loses?: boolean;
  /** What it says of `pending`, true or not. */
  pending?: number | null;
}

/** The ids for which `_bulk_get` and `_bulk_docs` answer an error row instead of doing their work. */
export type RefusedRows = ReadonlyMap<string, { error: string; reason: string }>;

/** What the endpoints answer. */
export interface CouchAnswer {
  status: number;
  headers: Record<string, string>;
  /** Concatenated they are the body. Kept apart so that no body becomes one huge string. */
  pieces: string[];
  /** Whether CouchDB sends this answer chunked, as it is produced, and not whole with a Content-Length. */
  streamed: boolean;
}

/** A refusal in CouchDB's words. */
export class Refusal extends Error {
  readonly status: number;
  readonly error: string;
  readonly reason: string;

  constructor(status: number, error: string, reason: string) {
    super(`${status} ${error}: ${reason}`);
    this.status = status;
    this.error = error;
    this.reason = reason;
  }
}

/** An answer whose body is `text` and the newline that CouchDB puts behind every answer. */
export function textAnswer(status: number, text: string): CouchAnswer {
  return { status, headers: {}, pieces: [text, "\n"], streamed: false };
}

/** An answer whose body is `value` as JSON. */
export function jsonAnswer(status: number, value: unknown): CouchAnswer {
  return textAnswer(status, JSON.stringify(value));
}

/** The answer that tells the client of a refusal. */
export function refusalAnswer({ status, error, reason }: Refusal): CouchAnswer {
  return jsonAnswer(status, { error, reason });
}

/** The value that `body` is. @throws Refusal when it is not JSON. */
export function checkJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new Refusal(400, "bad_request", "invalid UTF-8 JSON");
  }
}

/** CouchDB's refusal of a method where only these are allowed. */
export function methodNotAllowed(allowed: readonly string[]): Refusal {
  const names = allowed.flatMap((name) => name === "GET" && allowed.length > 1 ? ["GET", "HEAD"] : [name]);
  return new Refusal(405, "method_not_allowed", `Only ${[...new Set(names)].join(",")} allowed`);
}

/** The members of the object that a request's body is. @throws Refusal when it is none. */
export function objectBody(body: string): Member[] {
  checkJson(body);
  if (kindOf(body) !== "object") throw new Refusal(400, "bad_request", "Request body must be a JSON object");
  return membersOf(body);
}

/** @throws Refusal when a request does not say that its body is JSON. */
export function checkContentType({ headers }: CouchRequest): void {
  if (!/^application\/json\b/.test(headers.get("content-type") ?? "")) {
    throw new Refusal(415, "bad_content_type", "Content-Type must be application/json");
  }
}
