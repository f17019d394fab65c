/**
 * Says what a failed request to CouchDB means for an operator. In: what was asked, and what is known of the failure.
 * Out: the error that is reported. Pure.
 */
import { beginningOfText } from "../beginning_of_text.ts";
import { CouchError, type CouchFacts, FOREIGN } from "../errors.ts";
import { proxyErrorIn } from "../proxy_error.ts";
import { tlsFailure } from "../tls_failure.ts";

/** What was asked, in words. */
export interface CouchSubject {
  /** Completes "Cannot …": `list the databases`. */
  action: string;
  /** The decoded name, where the request is about one. */
  database?: string | undefined;
  /** CouchDB's base URL, without credentials. */
  url: string;
  /** What was asked for after the base URL, without its query. */
  path?: string | undefined;
  /** Where the password comes from. @default `database.password` */
  passwordFrom?: string | undefined;
}

/** What is known of a failure, beside the database. */
export type CouchFailure = Omit<CouchFacts, "database">;

const WITHOUT_ANSWER: Record<string, string> = {
  timeout: "CouchDB took too long",
  cut_off: "the connection broke",
  unreachable: "CouchDB cannot be reached",
  tls: "there is no TLS connection",
  proxy: "CouchDB cannot be reached",
  not_couchdb: "what answers is not CouchDB",
};
/** Of a page that is no answer of CouchDB's, so much is shown. */
const SHOWN_CHARACTERS = 100;

/** How Deno and Node say that no connection came about; "connection" alone also stands in the error of a broken one. */
const NO_CONNECTION = /client error \(Connect\)|connect (?:E[A-Z]+|timeout)|ECONNREFUSED|ENOTFOUND|EAI_AGAIN/i;

const SLASH_CAUSE =
  "a proxy in front of CouchDB decodes %2F in paths, or refuses it (nginx: proxy_pass without a path; Apache: AllowEncodedSlashes NoDecode and nocanon)";

/** What to do where a database with a slash in its name is there and not found. */
export const SLASH_HINT: string = `A${SLASH_CAUSE.slice(1)}`;

/** The error for a failure. `hint` is what is known of it already. */
export function couchError(
  subject: CouchSubject,
  { hint, ...failure }: CouchFailure & { hint?: string | undefined },
  cause?: unknown,
): CouchError {
  const { status, error, reason } = failure;
  const said = reason === undefined ? "" : `, "${reason}"`;
  const what = status === undefined
    ? `${WITHOUT_ANSWER[error] ?? error}${reason === undefined ? "" : ` (${reason})`}`
    : error === REDIRECT
    ? `"${subject.url}" redirects to "${reason}"`
    : error === FOREIGN
    ? `something that is not CouchDB answered ${status}${said}`
    : `CouchDB answered ${status} ${error}${said}`;
  const facts = { ...failure, database: subject.database };
  return new CouchError(`Cannot ${subject.action}: ${what}`, facts, {
    cause,
    hint: hint ?? hintFor(failure, subject),
    discreet: discreetly(subject, failure),
  });
}

/** The same without what may quote a document; undefined where nothing may. */
function discreetly({ action }: CouchSubject, { status, error }: CouchFailure): string | undefined {
  // A page may be a part of an answer about documents, or name the path that was asked for.
  if (error === NO_COUCHDB) return `Cannot ${action}: ${WITHOUT_ANSWER[error]}`;
  if (error === FOREIGN) return `Cannot ${action}: something that is not CouchDB answered ${status}`;
  if (status === undefined || PLAIN_STATUSES.includes(status) || error === REDIRECT) return undefined;
  return `Cannot ${action}: CouchDB answered ${status} ${error}`;
}

/**
 * Where CouchDB says always the same. Not among them: 401 and 403, which a database's own validation function words,
 * and 413, which names the document that is too large.
 */
const PLAIN_STATUSES = [404, 411, 412, 415, 429];

/** The `error` of a success that is not an answer of CouchDB's. */
const NO_COUCHDB = "not_couchdb";
/** The `error` of an answer that leads elsewhere. */
const REDIRECT = "redirect";

/** What an answer says that is no success. `body` is its text. */
export function refusalOf(
  { status, headers }: { status: number; headers: Headers },
  body: string,
  requestUrl: string,
): CouchFailure {
  const location = headers.get("location");
  if (status < 400 && location !== null) return { status, error: REDIRECT, reason: plainAddress(location, requestUrl) };
  let said: { error?: unknown; reason?: unknown } = {};
  try {
    const value = JSON.parse(body) as typeof said | (typeof said)[] | null;
    // _bulk_docs that fails as a whole has a row for each document; a full disk is told so (seen on 3.5.0).
    said = (Array.isArray(value) ? value[0] : value) ?? {};
  } catch {
    // A page of a proxy's: its title says what it is.
  }
  if (typeof said.error !== "string") return { status, error: FOREIGN, reason: beginningOf(body) };
  return { status, error: said.error, reason: typeof said.reason === "string" ? said.reason : undefined };
}

/** Whether a text begins as an object of JSON does, and is none. */
export function isCutJson(text: string): boolean {
  if (!/^\s*\{/.test(text)) return false;
  try {
    JSON.parse(text);
    return false;
  } catch {
    return true;
  }
}

/** What a success that is a page for people says; undefined where it may be CouchDB's. @param body Its beginning. */
export function foreignPage(headers: Headers, body = ""): CouchFailure | undefined {
  const isHtml = /html/i.test(headers.get("content-type") ?? "");
  // What begins like JSON and is none was cut off.
  if (!isHtml && (body === "" || /^\s*(?:[[{"\d-]|true|false|null)/.test(body))) return undefined;
  return { error: NO_COUCHDB, reason: beginningOf(body) ?? "it answers with a page of HTML" };
}

/** What a page says, if it says anything. */
function beginningOf(body: string): string | undefined {
  const text = beginningOfText(body, SHOWN_CHARACTERS);
  return text === "" ? undefined : text;
}

/** Where a redirect leads, without credentials and without what stands after a question mark: it may hold a ticket. */
function plainAddress(location: string, base: string): string {
  const url = URL.parse(location, base);
  if (url === null) return "an invalid address";
  return `${url.origin}${url.pathname}`;
}

/** What fetch's error says of a conversation that broke: whether there was a connection at all. */
export function brokenConnection(cause: unknown, url: string): CouchFailure & { hint?: string } {
  const proxy = proxyErrorIn(cause);
  if (proxy !== undefined) {
    return { error: proxy.wantsLogin ? "proxy" : "unreachable", reason: proxy.message, hint: proxy.hint };
  }
  const tls = tlsFailure(cause, { url, caFileKey: "database.ca_file" });
  if (tls !== undefined) return { error: "tls", ...tls };
  const text = messagesOf(cause);
  // Not as its cause: its message quotes the whole URL, and that can hold an id of thousands of characters.
  const reason = text.replaceAll(/https?:\/\/[^\s()]+/g, url);
  return { error: NO_CONNECTION.test(text) ? "unreachable" : "cut_off", reason };
}

function hintFor({ status, error, reason }: CouchFailure, subject: CouchSubject): string | undefined {
  const { database, url, passwordFrom = "database.password" } = subject;
  if (error === REDIRECT) return hintForRedirect(reason ?? "", subject);
  if (error === "not_couchdb") {
    return `Check database.url: "${url}" must be the address at which CouchDB itself answers`;
  }
  // The login is right, and has not the right: CouchDB says 401 to that, too.
  if (status === 401 && reason?.includes("not a server admin") === true) {
    return "Set database.login to a server admin: others can neither list databases nor read those of which they are not members";
  }
  if (status === 401) {
    return `Check database.login and ${passwordFrom}; it is not retried, because CouchDB locks a login out after five failures`;
  }
  if (error === FOREIGN && status !== undefined && [400, 403, 404].includes(status) && database?.includes("/")) {
    return SLASH_HINT;
  }
  if (error === FOREIGN) return hintForPage(status);
  // Since 3.4 CouchDB locks a name out at an address, whatever is asked for and however right the password is by then.
  if (status === 403 && /temporarily locked/i.test(reason ?? "")) {
    return `CouchDB has locked this login out at this machine's address for five minutes, as it failed five times: check database.login and ${passwordFrom}, here and in whatever else on this machine uses the login, and wait`;
  }
  if (status === 403 && error === "forbidden" && database === undefined) {
    return "The login needs the _admin role, or CouchDB has locked this login out at this machine's address for five minutes, as it failed five times";
  }
  if (status === 403) return `The login must be a server admin, or an admin or member of database "${database}"`;
  if (status === 411) {
    return "A proxy in front of CouchDB wants each request's length, which the largest ones do not have: set chunk or chunk_bytes for the task, or let it pass streamed requests";
  }
  if (error === "nodedown") {
    return "A node of the cluster is away or in maintenance mode, and no other node has a copy of what it holds of the database: bring it back";
  }
  if (status !== undefined && status >= 500) {
    return "CouchDB itself failed, and its log says why: a damaged or missing data file, a full disk, too little memory, a node of its cluster that is away";
  }
  if (error === "unreachable") return `Check that CouchDB runs and that "${url}" is reachable from this machine`;
  if (status === 404 && database === undefined && new URL(url).pathname !== "/") {
    return `Check database.url: "${url}" must be CouchDB's own address, and not end with a database's name`;
  }
  if (status === 404 && database !== undefined) {
    const deleted = "The database does not exist, or was deleted meanwhile";
    return database.includes("/") ? `${deleted}, or ${SLASH_CAUSE}` : deleted;
  }
  return undefined;
}

function hintForRedirect(location: string, { path = "", url }: CouchSubject): string {
  const base = path !== "" && location.endsWith(path) ? location.slice(0, -path.length) : undefined;
  if (base !== undefined && base !== url) return `Set database.url to "${base}", if that is CouchDB`;
  return "database.url must be CouchDB's own address, without a login page in front of it";
}

function hintForPage(status: number | undefined): string | undefined {
  const proxy = "The answer is that of a proxy in front of CouchDB, or of another server at database.url";
  if (status === 413) return "Raise what the proxy in front of CouchDB lets through (nginx: client_max_body_size)";
  if (status === 504) {
    return "Raise how long the proxy in front of CouchDB waits (HAProxy: timeout server; nginx: proxy_read_timeout)";
  }
  if (status === 502 || status === 503) {
    return "The proxy in front of CouchDB does not reach it: check that CouchDB runs";
  }
  return proxy;
}

function messagesOf(error: unknown): string {
  const messages: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    // Where a name has several addresses, Node's error for all of them has a code and no message.
    messages.push(current.message || String((current as { code?: unknown }).code ?? current.name));
  }
  return messages.join(": ") || String(error);
}
