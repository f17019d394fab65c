/**
 * The config: what an operator wrote in YAML, and the environment, become a {@linkcode Config} that the rest of the
 * program can rely on. In: a path or a text, and the environment as a record. Out: a checked config, or one ConfigError
 * that names every mistake at its place. Nothing else reads the environment or the config file.
 */
import { readFile as readFileOfSystem } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { isYamlComplaint, parseYaml } from "./yaml.ts";
import { hideInKey, hideInValue } from "./disclosure.ts";
import { findPlaces, formatPath, type KeyPath, type PlaceLookup } from "./places.ts";
import {
  type Address,
  type ConfigDocument,
  type ConfigFinding,
  configSchema,
  explainUnknownKey,
  findContradictions,
  HARMLESS_KEYS,
  KNOWN_KEYS,
  SECRET_KEYS,
} from "./schema.ts";
import { explainSyntax, findTab, type SyntaxProblem } from "./syntax.ts";
import type { CouchOptions } from "../couchdb/couchdb.ts";
import { ConfigError, type ConfigPlace } from "../errors.ts";
import type { Task } from "../task/task.ts";
import { Secret } from "../secret.ts";
import type { StoreOptions } from "../store/store.ts";
import type { AwsOptions, KeyOptions, KeySources } from "../aws/options.ts";

/** The environment's variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A file that holds CouchDB's password. */
export interface PasswordFile {
  /** An absolute path, or relative to the working folder. */
  path: string;
  /** Where the config names it. */
  place: ConfigPlace;
}

/** CouchDB's address, and where its password is kept when the config does not hold it: `password` is absent then. */
export interface DatabaseOptions extends CouchOptions {
  /** The file that holds the password. Nobody has read it yet. */
  passwordFile?: PasswordFile | undefined;
  /** The ARN of a secret in Secrets Manager. Nobody has read it yet. */
  passwordSecret?: string | undefined;
}

/** Where the run's log lines are pushed. */
export interface LokiOptions extends Address {
  /** On every line, beside `app`, `host`, `task` and `level`. */
  labels: Record<string, string>;
  /** The `X-Scope-OrgID`. */
  tenant?: string | undefined;
}

/** Where the run's figures go: to a Pushgateway, or into a file for node_exporter. One of the two is there. */
export interface PrometheusOptions {
  /** The Pushgateway's base URL, without `/metrics`. */
  pushgateway?: Address | undefined;
  /** The path of a file that ends in `.prom`; absolute, or relative to the working folder. */
  textfile?: string | undefined;
  /** Whether each database gets series of its own. */
  perDatabase: boolean;
  /** The label `instance`. @default the name of the machine */
  instance?: string | undefined;
}

/** A checked config. */
export interface Config {
  /** The file's path, or `$COUCHDB_BACKUP_CONFIG` where its text stood there. */
  file: string;
  /** CouchDB. */
  database: DatabaseOptions;
  /** At least one, in the order of the file. */
  tasks: Task[];
  /** Where backups are kept. */
  bucket: StoreOptions;
  /** AWS beside the bucket. Its keys are the bucket's, unless those are of another S3 than AWS's. */
  aws: AwsOptions;
  /** The ARN of the state machine that runs a Lambda's tasks; absent: the Lambda runs them by itself. */
  stateMachine?: string | undefined;
  /** What stands before the date in the keys; may be empty or hold slashes. */
  prefix: string;
  /** What stands behind the date in the keys; may be empty or hold slashes. */
  suffix: string;
  /** Where log lines go beside the console; absent: nowhere. */
  loki?: LokiOptions | undefined;
  /** Where figures go; absent: nowhere. */
  prometheus?: PrometheusOptions | undefined;
  /** What is allowed and yet probably a mistake; each a sentence that begins with its place. */
  warnings: string[];
}

/** The variable that names the config, or holds its text. */
export const CONFIG_VARIABLE = "COUCHDB_BACKUP_CONFIG";
/** The variable by which template.yaml names the state machine. */
const STATE_MACHINE_VARIABLE = "BACKUP_STATE_MACHINE";
const DEFAULT_FILE = "./config.yaml";

/**
 * Finds, reads and checks the config: `path`, else what `$COUCHDB_BACKUP_CONFIG` names or holds, else `./config.yaml`.
 * A password that it keeps elsewhere is not read: {@linkcode openSession} does when it is needed.
 *
 * @throws ConfigError when it cannot be read or is not allowed.
 */
export async function loadConfig(options: {
  path?: string | undefined;
  env: Environment;
  /** Reads a file as UTF-8. @default node:fs */
  readFile?: ((path: string) => Promise<string>) | undefined;
}): Promise<Config> {
  const { env, readFile = (path: string) => readFileOfSystem(path, "utf8") } = options;
  const named = options.path ?? (env[CONFIG_VARIABLE] || undefined);
  const isText = options.path === undefined && named?.includes("\n") === true;
  const file = isText ? `$${CONFIG_VARIABLE}` : named ?? DEFAULT_FILE;
  const text = isText ? named : await readConfigFile(file, { readFile, isDefault: named === undefined });
  return parseConfig(text, { file, env });
}

async function readConfigFile(
  file: string,
  { readFile, isDefault }: { readFile: (path: string) => Promise<string>; isDefault: boolean },
): Promise<string> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new ConfigError(`${file}:1:1: Cannot read the config`, { file, line: 1, column: 1 }, {
      cause: error,
      hint: isDefault
        ? `Name it with --config, or set $${CONFIG_VARIABLE} to its path or its text; config.sample.yaml is a beginning`
        : "Name a readable file",
    });
  }
}

/**
 * Reads a config's text. `password_file` is not read; its path is in `database.passwordFile`.
 *
 * @throws ConfigError whose message has a line for every mistake, each beginning with `file:line:column:`.
 *
 * @example
 * ```ts
 * import { parseConfig } from "./config.ts";
 * const text = "database: {url: 'http://[::1]:5984'}\ntask: {all: {databases: ['.*']}}\nbucket: file:///var/backup\n";
 * const config = parseConfig(text, { file: "config.yaml", env: {} });
 * if (config.tasks[0]?.name !== "all") throw new Error("not read");
 * ```
 */
export function parseConfig(text: string, { file, env }: { file: string; env: Environment }): Config {
  text = withoutMark(text);
  const written = readYaml(text, file);
  const placeOf = findPlaces(text);
  const { document, unset } = substitute(written, env);
  const checked = configSchema.safeParse(document);
  const misfits = (checked.error?.issues ?? []).flatMap((issue) => findingsOf(issue as SchemaIssue));
  const isUnset = ({ path }: ConfigFinding) => unset.some((other) => formatPath(other.path) === formatPath(path));
  // What is wrong with a value that lacks a variable is that it lacks it.
  const findings = [...unset, ...misfits.filter((misfit) => !isUnset(misfit)), ...findContradictions(document)];
  if (findings.length > 0 || checked.data === undefined) throw asError(findings, { file, placeOf, written });
  const config = toConfig(checked.data, { file, env, placeOf });
  return { ...config, warnings: warningsOf(checked.data, { file, placeOf }) };
}

/** A byte order mark at the beginning of the text is no part of it. */
function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, "");
}

const KEYS = { known: KNOWN_KEYS, harmless: HARMLESS_KEYS };

function readYaml(text: string, file: string): unknown {
  const tab = findTab(text, KEYS);
  if (tab !== undefined) throw asSyntaxError(tab, file);
  try {
    return parseYaml(text);
  } catch (error) {
    if (!isYamlComplaint(error)) throw error;
    // Not as its cause: the parser's error quotes the line, and with it a password that may stand there.
    throw asSyntaxError(explainSyntax(text, error, KEYS), file);
  }
}

function asSyntaxError({ line, column, problem, excerpt, hint }: SyntaxProblem, file: string): ConfigError {
  return new ConfigError(`${file}:${line}:${column}: ${problem}\n${excerpt}`, { file, line, column }, { hint });
}

const REFERENCE = /\$\$\{|\$\{([^}]*)\}?/g;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Replaces `${NAME}` in every string, once: what a variable holds is neither YAML nor searched for references. */
function substitute(written: unknown, env: Environment): { document: unknown; unset: ConfigFinding[] } {
  const unset: ConfigFinding[] = [];
  const walk = (value: unknown, path: KeyPath): unknown => {
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, below]) => [key, walk(below, [...path, key])]));
    }
    if (typeof value !== "string") return value;
    return value.replace(REFERENCE, (reference, name: string | undefined) => {
      if (name === undefined) return "${";
      const held = VARIABLE_NAME.test(name) ? env[name] : undefined;
      if (held !== undefined) return held;
      const closed = VARIABLE_NAME.test(name) && reference.endsWith("}");
      const message = closed
        ? `uses the environment variable ${name}, which is not set`
        : 'has a "${" without a variable\'s name and a "}" behind it; write "$${" for the two characters themselves';
      unset.push({ path, message });
      return reference;
    });
  };
  return { document: walk(written, []), unset };
}

/** The part of zod's issues that is of interest here. */
interface SchemaIssue {
  code: string;
  path: PropertyKey[];
  message: string;
  keys?: string[];
  params?: { discreet?: string };
  /** What is wrong with the key of a record. */
  issues?: { message: string }[];
}

function findingsOf(issue: SchemaIssue): ConfigFinding[] {
  const path = issue.path.map((step) => typeof step === "number" ? step : String(step));
  if (issue.code === "unrecognized_keys") {
    const keys = issue.keys ?? [];
    return keys.map((key) => ({ path: [...path, key], message: explainUnknownKey(path, key), isOfKey: true }));
  }
  const message = issue.code === "invalid_key" ? issue.issues?.[0]?.message ?? "" : issue.message;
  return [{ path, message, discreet: issue.params?.discreet }];
}

/** One error for all findings, in the order of the file. */
function asError(
  findings: ConfigFinding[],
  { file, placeOf, written }: { file: string; placeOf: PlaceLookup; written: unknown },
): ConfigError {
  const told = findings.map((finding) => {
    const { path, value } = lookUp(written, finding.path);
    const { line, column } = placeOf(path, finding.isOfKey ? "key" : "value");
    const name = formatPath(finding.isOfKey ? path.with(-1, hideInKey(String(path.at(-1)))) : path);
    const subject = name === "" ? "The config" : `Key "${name}"`;
    const found = finding.message.startsWith("must ") ? `${describeFound(value, path)}, ` : "";
    const message = finding.discreet === undefined || isShown(value) ? finding.message : finding.discreet;
    return { line, column, name, text: `${file}:${line}:${column}: ${subject} ${found}${message}` };
  }).toSorted((a, b) => a.line - b.line || a.column - b.column);
  const [first] = told;
  if (first === undefined) throw new TypeError("A config error without findings");
  // Several limits of one value (whole, and at least 1) have the same text.
  const lines = new Set(told.map(({ text }) => text));
  const place = { file, line: first.line, column: first.column, path: first.name };
  return new ConfigError([...lines].join("\n"), place);
}

/** What was written at a path; where a text stands for a mapping (`loki: http://…`), that text and its path. */
function lookUp(written: unknown, path: KeyPath): { path: KeyPath; value: unknown } {
  let value = written;
  for (const [depth, step] of path.entries()) {
    if (typeof value !== "object" || value === null) return { path: path.slice(0, depth), value };
    value = Object.hasOwn(value, step) ? (value as Record<string | number, unknown>)[step] : undefined;
    if (value === undefined) break;
  }
  return { path, value };
}

/** Whether a text is what it seems: nothing that a variable holds, and no key's value that ran into it. */
function isShown(value: unknown): boolean {
  return typeof value !== "string" || (!value.includes("${") && hideInValue(value, HARMLESS_KEYS) === value);
}

/** What stands in the file, said without its secrets and without what variables hold. */
function describeFound(value: unknown, path: KeyPath): string {
  if (value === undefined) return "is missing";
  if (value === null) return path.length === 0 ? "is empty" : "has no value";
  if (Array.isArray(value)) return "is a list";
  if (typeof value === "object") return "is a mapping";
  if (path.length === 0 || path.some((step) => SECRET_KEYS.has(String(step)))) {
    return typeof value === "string" ? "is text" : `is a ${typeof value}`;
  }
  if (typeof value !== "string") return `is ${value}`;
  const text = hideInValue(value, HARMLESS_KEYS);
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return /\$\{/.test(value) ? `is "${shown}", with the environment's values in it` : `is "${shown}"`;
}

function toConfig(
  document: ConfigDocument,
  { file, env, placeOf }: { file: string; env: Environment; placeOf: PlaceLookup },
): Config {
  const { database, loki, prometheus } = document;
  const folder = file.startsWith("$") ? "" : dirname(file);
  const inFolder = (path: string) => isAbsolute(path) ? path : join(folder, path);
  const passwordFileAt = ["database", "password_file"];
  return {
    file,
    database: {
      url: database.url.url,
      login: database.login ?? database.url.login,
      password: database.password ?? database.url.password,
      passwordFile: database.password_file === undefined ? undefined : {
        path: inFolder(database.password_file),
        place: { file, ...placeOf(passwordFileAt), path: formatPath(passwordFileAt) },
      },
      passwordSecret: database.password_secret,
    },
    tasks: Object.entries(document.task).map(([name, task]) => ({
      name,
      cron: task.cron?.text,
      calendar: task.cron?.calendar,
      timezone: task.timezone,
      databases: task.databases,
      exclude: task.exclude,
      delaySeconds: task.delay,
      chunk: task.chunk,
      backupOnlyPrevious: task.backup_only_previous ?? task.backup_only_previus ?? false,
      attachments: task.attachments,
      revisions: task.revisions,
      parallel: task.parallel,
      concurrency: task.concurrency,
      allowEmpty: task.allow_empty,
    })),
    bucket: toStoreOptions(document, env),
    aws: {
      endpoints: {
        secretsmanager: endpointOf(env, "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        states: endpointOf(env, "AWS_ENDPOINT_URL_SFN"),
      },
      ...((document.endpoint === undefined ? writtenKeys(document) : undefined) ?? keysOfEnvironment(env)),
    },
    stateMachine: held(env, STATE_MACHINE_VARIABLE),
    prefix: document.prefix,
    suffix: document.suffix,
    loki: loki && {
      url: loki.url.url,
      login: loki.login ?? loki.url.login,
      password: loki.password ?? loki.url.password,
      labels: loki.labels,
      tenant: loki.tenant,
    },
    prometheus: prometheus && {
      pushgateway: prometheus.pushgateway,
      textfile: prometheus.textfile === undefined ? undefined : inFolder(prometheus.textfile),
      perDatabase: prometheus.per_database,
      instance: prometheus.instance,
    },
    warnings: [],
  };
}

/** What the config says of the bucket, and for an S3 bucket AWS's own variables where it says nothing. */
function toStoreOptions(document: ConfigDocument, env: Environment): StoreOptions {
  const isS3 = document.bucket.startsWith("s3:");
  const variable = (...names: string[]) => isS3 ? held(env, ...names) : undefined;
  const { storage_class: storageClass, kms_key_id: kmsKeyId } = document;
  return {
    bucket: document.bucket,
    region: document.region ?? variable("AWS_REGION", "AWS_DEFAULT_REGION"),
    endpoint: document.endpoint ?? (isS3 ? endpointOf(env, "AWS_ENDPOINT_URL_S3") : undefined),
    storageClass,
    sse: document.sse,
    kmsKeyId,
    ...(writtenKeys(document) ?? (isS3 ? keysOfEnvironment(env) : {})),
  };
}

function writtenKeys({ token, secret, session_token: sessionToken }: ConfigDocument): KeyOptions | undefined {
  return token === undefined ? undefined : { token, secret, sessionToken };
}

/** The environment's keys, else what it says of where some may be. */
function keysOfEnvironment(env: Environment): KeyOptions {
  const token = held(env, "AWS_ACCESS_KEY_ID");
  const secret = held(env, "AWS_SECRET_ACCESS_KEY");
  // Half a pair of keys is none.
  if (token === undefined || secret === undefined) return { keySources: toKeySources(env) };
  const sessionToken = held(env, "AWS_SESSION_TOKEN");
  return {
    token,
    secret: new Secret(secret),
    sessionToken: sessionToken === undefined ? undefined : new Secret(sessionToken),
  };
}

/** The address of a service: that of its own variable, else the one for all. */
function endpointOf(env: Environment, variable: string): string | undefined {
  return held(env, variable, "AWS_ENDPOINT_URL")?.replace(/\/+$/, "");
}

/** The first of the variables that is set and not empty. */
function held(env: Environment, ...names: string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined && value !== "");
}

/** The places where AWS's own tools would look for keys. */
function toKeySources(env: Environment): KeySources {
  const home = held(env, "HOME", "USERPROFILE");
  const files = [["AWS_SHARED_CREDENTIALS_FILE", "credentials"], ["AWS_CONFIG_FILE", "config"]] as const;
  const relative = held(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const url = relative === undefined
    ? held(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    : `http://169.254.170.2${relative}`;
  const token = held(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
  const tokenFile = held(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const metadataEndpoint = held(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT")?.replace(/\/+$/, "");
  const isMetadataOff = env.AWS_EC2_METADATA_DISABLED?.toLowerCase() === "true";
  return {
    profile: held(env, "AWS_PROFILE"),
    profileFiles: files.flatMap(([name, file]) =>
      held(env, name) ?? (home === undefined ? [] : join(home, ".aws", file))
    ),
    webIdentity: held(env, "AWS_WEB_IDENTITY_TOKEN_FILE") !== undefined,
    container: url === undefined
      ? undefined
      : { url, token: token === undefined ? undefined : new Secret(token), tokenFile },
    metadataEndpoints: isMetadataOff ? [] : metadataEndpoint === undefined ? undefined : [metadataEndpoint],
  };
}

const S3_KEYS = [
  "region",
  "endpoint",
  "token",
  "secret",
  "session_token",
  "storage_class",
  "sse",
  "kms_key_id",
] as const;

function warningsOf(document: ConfigDocument, { file, placeOf }: { file: string; placeOf: PlaceLookup }): string[] {
  if (document.bucket.startsWith("s3:")) return [];
  return S3_KEYS.filter((key) => document[key] !== undefined).map((key) => {
    const { line, column } = placeOf([key], "key");
    return `${file}:${line}:${column}: Key "${key}" has no effect on a file:// bucket`;
  });
}
