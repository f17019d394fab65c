/**
 * CouchDB's small answers, checked: what stands at its address may be a proxy, a page for a login, or another program
 * that speaks JSON. In: JSON values as they came. Out: the values that were asked for, or a CouchError that says what
 * is wrong.
 */
import { CouchError } from "../errors.ts";

/** What was asked, for the error. */
export interface AnswerSubject {
  /** Completes "Cannot …": `list the databases`. */
  action: string;
  /** The decoded name, where the request is about one. */
  database?: string | undefined;
}

/** The members of an object. */
export type Members = Readonly<Record<string, unknown>>;

/** The `error` of an answer that is not read to its end. */
const TOO_LONG = "answer_too_long";

/** The error for an answer that is whole JSON and not what was asked for. `flaw` completes "CouchDB's answer …". */
export function strangeAnswer({ action, database }: AnswerSubject, flaw: string): CouchError {
  return new CouchError(`Cannot ${action}: CouchDB's answer ${flaw}`, {
    error: "strange_answer",
    reason: flaw,
    database,
  }, { hint: "The server at database.url is not CouchDB, or something in between changes its answers" });
}

/** The error for an answer of so many bytes, or characters, that it is not read to its end: there were more. */
export function longAnswer({ action, database }: AnswerSubject, most: number): CouchError {
  const flaw = `has more than ${most >> 20} MiB`;
  return new CouchError(`Cannot ${action}: CouchDB's answer ${flaw}`, { error: TOO_LONG, reason: flaw, database }, {
    hint: "So much is read of no answer but those that hold documents: the server at database.url may not be CouchDB",
  });
}

/** Whether an answer was more than is read of one: a part of what was asked for may not be. */
export function isTooLong(error: unknown): boolean {
  return error instanceof CouchError && error.facts.error === TOO_LONG;
}

/** An answer that is an object. */
export function membersOf(answer: unknown, subject: AnswerSubject): Members {
  if (isMembers(answer)) return answer;
  throw strangeAnswer(subject, "is not a JSON object");
}

/** An answer that is a list of texts. */
export function textsOf(answer: unknown, subject: AnswerSubject): string[] {
  if (Array.isArray(answer) && answer.every((one) => typeof one === "string")) return answer;
  throw strangeAnswer(subject, "is not a list of names");
}

/** A member that is a list of texts; an empty list where it is missing. */
export function textsIn(members: Members, name: string, subject: AnswerSubject): string[] {
  const value = members[name] ?? [];
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
  throw strangeAnswer(subject, `has no list of names in "${name}"`);
}

/** A member that counts something. @param otherwise What it is where it is missing. */
export function countIn<T>(members: Members, name: string, subject: AnswerSubject & { otherwise: T }): number | T {
  const value = members[name];
  if (value === undefined || value === null) return subject.otherwise;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw strangeAnswer(subject, `has no whole number of at least 0 in "${name}"`);
}

/** A member that is an object; an empty one where it is missing, or is something else. */
export function innerMembers(members: Members, name: string): Members {
  const value = members[name];
  return isMembers(value) ? value : {};
}

/** A member that is a list of objects. */
export function rowsIn(members: Members, name: string, subject: AnswerSubject): Members[] {
  const value = members[name];
  if (Array.isArray(value) && value.every(isMembers)) return value;
  throw strangeAnswer(subject, `has no list of rows in "${name}"`);
}

/** A member that is a text or a number, as text: CouchDB has changed the type of some. Null where it is missing. */
export function textIn(members: Members, name: string): string | null {
  const value = members[name];
  if (typeof value === "string") return value;
  return typeof value === "number" ? String(value) : null;
}

/** Whether a JSON value is an object. */
export function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
