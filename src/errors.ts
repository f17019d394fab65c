/**
 * What can go wrong, one class for each thing an operator does differently about it. Facts are fields; the message is
 * one sentence and the hint says what to do. Only the entry points print an error or turn it into an exit code. Pure.
 */

import { counted } from "./counts.ts";
import { errorCode } from "./system_error.ts";

/** The exit codes of the program. They are part of its interface: scripts and timers rely on them. */
export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  partial: 3,
  couchdb: 10,
  store: 11,
  archive: 12,
  interrupted: 130,
} as const;

/** What every error of this program can carry beside its message. */
export interface ErrorContext {
  /** The error underneath. */
  cause?: unknown;
  /** What the operator can do, as a sentence without a full stop. */
  hint?: string | undefined;
}

/** The base of every error that this program expects. Anything else is a defect and exits with 1. */
export abstract class ProgramError extends Error {
  /** The exit code of a run that ends with this error. */
  abstract readonly exitCode: number;
  /** What the operator can do about it, where there is something to do. */
  readonly hint: string | undefined;

  /**
   * A sentence without a full stop, and what else is known. Of a line that quotes something endless the middle is left
   * out.
   */
  constructor(message: string, context: ErrorContext = {}) {
    super(shortened(message), context.cause === undefined ? undefined : { cause: context.cause });
    this.name = new.target.name;
    this.hint = context.hint;
  }
}

/**
 * A line of a message longer than this is nothing that anybody reads; an id of a few thousand characters can be in it.
 */
const LONGEST_LINE = 2000;
/** How much of a long line's end is kept: what is wrong comes after what is quoted. */
const KEPT_END = 500;

function shortened(message: string): string {
  if (message.length <= LONGEST_LINE) return message;
  return message.split("\n").map((line) => {
    if (line.length <= LONGEST_LINE) return line;
    const left = line.length - LONGEST_LINE;
    return `${line.slice(0, LONGEST_LINE - KEPT_END)}… (${counted(left, "character")}) …${line.slice(-KEPT_END)}`
      .toWellFormed();
  }).join("\n");
}

/** What others' errors quote, such as the text that is no JSON, may break lines and steer a terminal. */
function inOneLine(message: string): string {
  return message.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
}

/** The command line asks for something that does not exist or does not fit together. */
export class UsageError extends ProgramError {
  /** The exit code 2. */
  override readonly exitCode: number = EXIT.usage;
}

/** The place in a config that an error speaks of. */
export interface ConfigPlace {
  /** The file's path, or a name such as `$COUCHDB_BACKUP_CONFIG`. */
  file: string;
  /** From 1. */
  line?: number | undefined;
  /** From 1. */
  column?: number | undefined;
  /** The key's path, such as `task.weekly.chunk`. */
  path?: string | undefined;
}

/** The config cannot be read, is not YAML, or holds a value that is not allowed. The message begins with the place. */
export class ConfigError extends ProgramError {
  /** The exit code 2. */
  override readonly exitCode: number = EXIT.usage;
  /** Where the config is wrong. */
  readonly place: ConfigPlace;

  /** A message that begins with the place, and the place. */
  constructor(message: string, place: ConfigPlace, context: ErrorContext = {}) {
    super(message, context);
    this.place = place;
  }
}

/** What is known of a failed conversation with CouchDB. */
export interface CouchFacts {
  /** The HTTP status, absent when there was no answer. */
  status?: number | undefined;
  /**
   * CouchDB's `error`, such as `not_found`; for a broken conversation `timeout`, `cut_off`, `unreachable`, `tls`
   * where its certificate is refused, or `proxy` where a proxy on the way wants a login; `redirect`, `http_error` or `not_couchdb` where something else answers.
   */
  error: string;
  /** CouchDB's `reason`. */
  reason?: string | undefined;
  /** The database, as its decoded name. */
  database?: string | undefined;
  /** How long the server asks to be left alone, in milliseconds (`Retry-After`). */
  retryAfterMs?: number | undefined;
}

/** The `error` of an answer that is not CouchDB's JSON: a proxy's, or another server's. */
export const FOREIGN = "http_error";

/** CouchDB refused, failed, or could not be reached. */
export class CouchError extends ProgramError {
  /** The exit code 10. */
  override readonly exitCode: number = EXIT.couchdb;
  /** What is known of it. */
  readonly facts: CouchFacts;
  /** The same sentence without what may name people's data: a document's id, and what CouchDB says about one. */
  readonly discreet: string;

  /**
   * The action that failed and what CouchDB said, and the same as facts. `discreet`: where the message names a
   * document.
   */
  constructor(message: string, facts: CouchFacts, context: ErrorContext & { discreet?: string | undefined } = {}) {
    super(message, context);
    this.facts = facts;
    this.discreet = context.discreet ?? this.message;
  }
}

/** Whether CouchDB says that what was asked for is not there. A proxy's page says nothing of that, whatever its status. */
export function isMissing(error: unknown): error is CouchError {
  return error instanceof CouchError && error.facts.status === 404 && error.facts.error === "not_found";
}

/**
 * Whether what answered was something in front of CouchDB, or another server: its refusal says nothing of what CouchDB
 * has or allows, and may be gone a moment later.
 */
export function isForeign(error: unknown): error is CouchError {
  return error instanceof CouchError && error.facts.error === FOREIGN;
}

/** What is known of a failed operation on the store. */
export interface StoreFacts {
  /**
   * S3's code (`AccessDenied`), `not_found`, `exists`, `endless`, `not_mounted`, `timeout`, `unreachable`, `tls`, `proxy`, or
   * the system's (`ENOSPC`).
   */
  code: string;
  /** The object key within the bucket folder, where the operation has one. */
  key?: string | undefined;
  /** The HTTP status, absent for a directory and when there was no answer. */
  status?: number | undefined;
  /** How long the server asks to be left alone, in milliseconds (`Retry-After`). */
  retryAfterMs?: number | undefined;
}

/** The place where backups are kept refused, failed, or could not be reached. */
export class StoreError extends ProgramError {
  /** The exit code 11. */
  override readonly exitCode: number = EXIT.store;
  /** What is known of it. */
  readonly facts: StoreFacts;

  /** The action that failed and what the store said, and the same as facts. */
  constructor(message: string, facts: StoreFacts, context: ErrorContext = {}) {
    super(message, context);
    this.facts = facts;
  }
}

/** Whether a store has no object of that key. */
export function isNotFound(error: unknown): error is StoreError {
  return error instanceof StoreError && error.facts.code === "not_found";
}

/** What is known of a failed conversation with a service of AWS other than S3. */
export interface AwsFacts {
  /**
   * AWS's code (`AccessDeniedException`), `no_credentials`, `keys_refused` where whoever hands them out has said no,
   * `bad_secret`, `bad_answer`, `tls`, or `unreachable`.
   */
  code: string;
  /** The HTTP status, absent when there was no answer. */
  status?: number | undefined;
  /** How long the service asks to be left alone, in milliseconds (`Retry-After`). */
  retryAfterMs?: number | undefined;
}

/**
 * A service of AWS other than S3 refused, failed, or could not be reached: Secrets Manager, Step Functions, and whoever
 * hands out the keys that sign requests, those to S3 included. It exits as the store's errors do, of which it was one.
 */
export class AwsError extends ProgramError {
  /** The exit code 11. */
  override readonly exitCode: number = EXIT.store;
  /** What is known of it. */
  readonly facts: AwsFacts;

  /** The action that failed and what AWS said, and the same as facts. */
  constructor(message: string, facts: AwsFacts, context: ErrorContext = {}) {
    super(message, context);
    this.facts = facts;
  }
}

/** What an archive should hold and what it holds. */
export interface ArchiveFacts {
  /** The object that is damaged or missing. */
  key: string;
  /** What it should be. */
  expected?: string | undefined;
  /** What it is; absent where there is nothing. */
  found?: string | undefined;
}

/** An archive is damaged, incomplete, or not an archive. */
export class ArchiveError extends ProgramError {
  /** The exit code 12. */
  override readonly exitCode: number = EXIT.archive;
  /** What is known of it. */
  readonly facts: ArchiveFacts;

  /** What is wrong with the archive, and the same as facts. */
  constructor(message: string, facts: ArchiveFacts, context: ErrorContext = {}) {
    super(message, context);
    this.facts = facts;
  }
}

/** The operator or the system asked the program to stop. What is stored so far is resumable. */
export class InterruptedError extends ProgramError {
  /** The exit code 130. */
  override readonly exitCode: number = EXIT.interrupted;
}

const TRANSIENT_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);
const TRANSIENT_COUCH = new Set(["timeout", "cut_off", "unreachable"]);
const TRANSIENT_CODE = new Set([
  "timeout",
  "cut_off",
  "unreachable",
  "InternalError",
  "SlowDown",
  "ServiceUnavailable",
  "RequestTimeout",
  "RequestTimeTooSkewed",
  "ConditionalRequestConflict",
  // AWS's services beside S3 say so with 400, and S3 does where KMS, which has its key, is asked too often.
  "BandwidthLimitExceeded",
  "KMS.ThrottlingException",
  "RequestLimitExceeded",
  "RequestThrottled",
  "RequestThrottledException",
  "Throttling",
  "ThrottlingException",
  "TooManyRequestsException",
]);

const FATAL_CODE = new Set([
  "NoSuchBucket",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "ExpiredToken",
  "InvalidToken",
  "TokenRefreshRequired",
  // The region is another one.
  "AuthorizationHeaderMalformed",
  "PermanentRedirect",
  "EDQUOT",
  "ENOSPC",
  "EROFS",
  "not_mounted",
  "keys_refused",
  "tls",
]);

/**
 * Whether the same request may succeed if it is retried a little later. A 401 never does: CouchDB 3.4 and later lock a
 * login out at an address for five minutes after five failures.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof CouchError) {
    const { status } = error.facts;
    return status === undefined || status < 400 ? TRANSIENT_COUCH.has(error.facts.error) : TRANSIENT_STATUS.has(status);
  }
  if (error instanceof StoreError || error instanceof AwsError) {
    const { status, code } = error.facts;
    return TRANSIENT_CODE.has(code) || (status !== undefined && TRANSIENT_STATUS.has(status));
  }
  return false;
}

/**
 * Whether every further database of the run must fail in the same way, so that it is no use to continue: CouchDB
 * refuses the login, the store refuses the bucket or the keys, or a TLS connection cannot be made.
 */
export function isFatalForRun(error: unknown): boolean {
  if (error instanceof CouchError) return error.facts.status === 401 || error.facts.error === "tls";
  return (error instanceof StoreError || error instanceof AwsError) && FATAL_CODE.has(error.facts.code);
}

const OUT_OF_REACH_CODE = new Set(["not_found", "too_large", "InvalidObjectState", "EIO"]);

/**
 * Whether one object of the store is of no use, though the store itself is: gone, larger than any that a backup writes,
 * moved to an archive tier by a lifecycle rule, or on a bad block. What is refused for want of a right is no such case.
 */
export function isOutOfReach(error: unknown): error is StoreError {
  return error instanceof StoreError && OUT_OF_REACH_CODE.has(error.facts.code);
}

/** The exit code a program ends with because of `error`. */
export function exitCodeOf(error: unknown): number {
  return error instanceof ProgramError ? error.exitCode : EXIT.unexpected;
}

/** What the operator can do about `error`, where that is known. */
export function hintOf(error: unknown): string | undefined {
  return error instanceof ProgramError ? error.hint : undefined;
}

/**
 * Deno denies access to some paths (/proc, /sys, /dev) without --allow-all, and advises to set that. This program must
 * never have it, as it reads what others wrote.
 */
function withoutAllFlag(message: string): string {
  return message.replace(
    /^Requires all access to (.*), run again with the --allow-all flag$/s,
    "Deno does not let programs use $1: choose a path outside /proc, /sys and /dev",
  );
}

/**
 * One line for a log or a report, of several findings a line each: the message, then the messages of the causes that add
 * something.
 */
export function describeError(error: unknown): string {
  return describeBy(error, ({ message }) => message);
}

/** The same without what may name people's data, for what is stored of and said about backups that are sealed. */
export function describeDiscreetly(error: unknown): string {
  return describeBy(error, (one) => {
    if (one instanceof CouchError) return one.discreet;
    // The cause of a parse error quotes the text around the error.
    return one instanceof SyntaxError ? "" : one.message;
  });
}

/** The same error, for who gets it as it is: where it may name people's data, one that does not. */
export function discreetError(error: unknown): unknown {
  // What CouchDB said when the time was over stands behind it as its cause.
  if (error instanceof InterruptedError) {
    return new InterruptedError(error.message, { cause: discreetError(error.cause), hint: error.hint });
  }
  if (!(error instanceof CouchError)) return error;
  const { facts, hint } = error;
  return new CouchError(describeDiscreetly(error), { ...facts, reason: undefined }, { hint });
}

function describeBy(error: unknown, messageOf: (error: Error) => string): string {
  const messages: string[] = [];
  for (let current = error, depth = 0; current !== undefined && current !== null && depth < 5; depth++) {
    const said = withoutAllFlag(current instanceof Error ? messageOf(current) : String(current));
    const message = shortened(current instanceof ProgramError ? said : inOneLine(said));
    if (message !== "" && !messages.some((known) => known.includes(message))) messages.push(message);
    const cause = current instanceof Error ? current.cause : undefined;
    if (isTold(cause, current)) break;
    current = cause;
  }
  return messages.join(": ");
}

/**
 * Whether the system's error is told by the store's error that it caused, in words of our own: the system's say the
 * same once more, and the path of a file that the user never names.
 */
function isTold(cause: unknown, error: unknown): boolean {
  const code = errorCode(cause);
  if (code === "" || !(error instanceof StoreError)) return false;
  return error.facts.code === code || (error.facts.code === "not_found" && code === "ENOENT");
}
