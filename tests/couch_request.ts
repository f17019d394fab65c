/**
 * The few lines with which tests speak to a CouchDB, real or double, independently of the program's own client.
 */

/** A server and the credentials for it. A started double is one. */
export interface CouchServer {
  /** Base URL without credentials. */
  url: string;
  login: string;
  password: string;
}

/** What came back. */
export interface CouchReply {
  status: number;
  headers: Headers;
  /** The body as it came. */
  text: string;
  /** The body as a value, undefined when it is not JSON. */
  // deno-lint-ignore no-explicit-any -- tests look into answers of every shape
  json: any;
}

/** Sends a request. `path` is encoded already; a `body` that is not text is sent as JSON. */
export async function couch(
  server: CouchServer,
  request: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<CouchReply> {
  const [method = "GET", path = "/"] = request.split(" ", 2);
  const response = await fetch(server.url + path, {
    method,
    headers: {
      accept: "application/json",
      authorization: basicAuthorization(server.login, server.password),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    body: body === undefined || typeof body === "string" || body instanceof Uint8Array
      ? body as BodyInit | undefined ?? null
      : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: parseIfJson(text) };
}

/** As {@linkcode couch}, and fails unless the answer is a success. */
export async function couchOk(server: CouchServer, request: string, body?: unknown): Promise<CouchReply> {
  const reply = await couch(server, request, body);
  if (reply.status >= 200 && reply.status < 300) return reply;
  throw new Error(`${request.slice(0, 200)} was answered ${reply.status} ${reply.text.slice(0, 500)}`);
}

/** Splits `http://admin:secret@127.0.0.1:5984` into the parts of a server. */
export function serverOf(urlWithCredentials: string): CouchServer {
  const url = new URL(urlWithCredentials);
  const [login, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  [url.username, url.password] = ["", ""];
  return { url: url.href.replace(/\/$/, ""), login, password };
}

/** The value of an `Authorization` header. */
export function basicAuthorization(login: string, password: string): string {
  const bytes = new TextEncoder().encode(`${login}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

function parseIfJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
