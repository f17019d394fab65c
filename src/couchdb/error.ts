/**
 * What a failed conversation with CouchDB means for an operator. In: what was asked, and what is known of the failure.
 * Out: the error that is reported. Pure.
 */
import { CouchError, type CouchFacts } from "../errors.ts";

/** What was asked, in words. */
export interface CouchSubject {
  /** Completes "Cannot …": `list the databases`. */
  action: string;
  /** The decoded name, where the request is about one. */
  database?: string | undefined;
  /** CouchDB's base URL, without credentials. */
  url: string;
}

/** What is known of a failure, beside the database. */
export type CouchFailure = Omit<CouchFacts, "database">;

const WITHOUT_ANSWER: Record<string, string> = {
  timeout: "CouchDB took too long",
  cut_off: "the connection broke",
  unreachable: "CouchDB cannot be reached",
};

/** How Deno and Node say that no connection came about; "connection" alone also stands in the error of a broken one. */
const NO_CONNECTION = /client error \(Connect\)|connect (?:E[A-Z]+|timeout)|ECONNREFUSED|ENOTFOUND|EAI_AGAIN/i;

/** The error for a failure. */
export function couchError(subject: CouchSubject, failure: CouchFailure, cause?: unknown): CouchError {
  const { status, error, reason } = failure;
  const what = status === undefined
    ? `${WITHOUT_ANSWER[error] ?? error}${reason === undefined ? "" : ` (${reason})`}`
    : `CouchDB answered ${status} ${error}${reason === undefined ? "" : `, "${reason}"`}`;
  const facts = { ...failure, database: subject.database };
  return new CouchError(`Cannot ${subject.action}: ${what}`, facts, { cause, hint: hintFor(failure, subject) });
}

/** What fetch's error says of a conversation that broke: whether there was a connection at all. */
export function brokenConnection(cause: unknown, url: string): CouchFailure {
  const text = messagesOf(cause);
  // Not as its cause: its message quotes the whole URL, and that can hold an id of thousands of characters.
  const reason = text.replaceAll(/https?:\/\/[^\s()]+/g, url);
  return { error: NO_CONNECTION.test(text) ? "unreachable" : "cut_off", reason };
}

function hintFor({ status, error }: CouchFailure, { database, url }: CouchSubject): string | undefined {
  if (status === 401) {
    return "Check database.login and database.password; it is not tried again, because CouchDB locks an address out after five failed logins";
  }
  if (status === 403 && error === "forbidden" && database === undefined) {
    return "The login needs the _admin role, or CouchDB has locked this address out for five minutes after failed logins";
  }
  if (status === 403) return `The login must be a server admin, or an admin or member of database "${database}"`;
  if (status === 411) {
    return "A proxy before CouchDB wants each request's length, which the largest ones do not have: set chunk for the task, or let it pass streamed requests";
  }
  if (error === "unreachable") return `Check that CouchDB runs and that "${url}" is reachable from this machine`;
  if (status === 404 && database !== undefined) return "The database does not exist, or was deleted meanwhile";
  return undefined;
}

function messagesOf(error: unknown): string {
  const messages: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    // Where a name has several addresses, Node's error for all of them has a code and no message.
    messages.push(current.message || String((current as { code?: unknown }).code ?? current.name));
  }
  return messages.join(": ") || String(error);
}
