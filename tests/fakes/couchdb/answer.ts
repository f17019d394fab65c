/**
 * What the double's endpoints take and give: a request with its body as text, an answer as pieces of text, and
 * CouchDB's refusals as an exception.
 */

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
