/**
 * The config: what an operator wrote in YAML, and the environment, become a {@linkcode Config} that the rest of the
 * program can rely on. In: a path or a text, and the environment as a record. Out: a checked config, or one ConfigError
 * that names every mistake at its place. Nothing else reads the environment or the config file.
 */
import { realpathSync } from "node:fs";
import { readFile as readFileOfSystem } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { AwsOptions } from "../aws/options.ts";
import type { CouchOptions } from "../couchdb/couchdb.ts";
import { ConfigError, type ConfigPlace } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { StoreOptions } from "../store/store.ts";
import type { Task } from "../task/task.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { PROGRAM_NAME } from "../version.ts";
import { toAwsOptions, toStoreOptions } from "./aws.ts";
import { findContradictions, findMergeKeys } from "./contradictions.ts";
import { type Environment, held, hintForUnset, substitute, type UnsetFinding } from "./environment.ts";
import {
  asError,
  type ConfigFinding,
  findingsOf,
  type SchemaIssue,
  warningsOf,
  warnOfBareVariables,
  withoutFollowing,
} from "./findings.ts";
import { holdsSecret } from "./disclosure.ts";
import { HARMLESS_KEYS, KNOWN_KEYS, SECRET_KEYS } from "./keys.ts";
import { proxyVariablesIn } from "../proxy.ts";
import { findOctals, mayHaveOctals } from "./octals.ts";
import { findPlaces, formatPath, type PlaceLookup } from "./places.ts";
import { type ConfigDocument, configSchema } from "./schema.ts";
import { explainSyntax, findTab, type SyntaxProblem } from "./syntax.ts";
import { findTypographicQuotes } from "./typographic_quotes.ts";
import { notUtf8, REPLACEMENT } from "./utf8.ts";
import type { Address } from "./values.ts";
import { isYamlComplaint, parseYaml, parseYamlTexts, YamlSizeError } from "./yaml.ts";

/** What says the machine's zone. */
const LOCAL_TIME = "/etc/localtime";

export type { Environment } from "./environment.ts";

/** A file that a config names. */
export interface NamedFile {
  /** An absolute path, or relative to the working folder. */
  path: string;
  /** Where the config names it. */
  place: ConfigPlace;
}

/** A file that holds CouchDB's password. */
export type PasswordFile = NamedFile;

/** PEM files with the authorities that have signed the servers' certificates. Nobody has read them yet. */
export interface CaFiles {
  /** CouchDB's. */
  database?: NamedFile | undefined;
  /** That of the S3 server. */
  bucket?: NamedFile | undefined;
  /** Loki's. */
  loki?: NamedFile | undefined;
  /** The Pushgateway's. */
  pushgateway?: NamedFile | undefined;
  /** That of whom `notify` names. */
  notify?: NamedFile | undefined;
}

/** CouchDB's address, and where its password is kept when the config does not hold it: `password` is absent then. */
export interface DatabaseOptions extends CouchOptions {
  /** The file that holds the password. Nobody has read it yet. */
  passwordFile?: PasswordFile | undefined;
  /** The ARN of a secret in Secrets Manager. Nobody has read it yet. */
  passwordSecret?: string | undefined;
  /** Why there is no password: a variable that it is taken from is not set. Thrown by what needs the password. */
  passwordUnset?: ConfigError | undefined;
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

/** The monitor that is notified over HTTP when a run begins and ends. */
export interface NotifyAddress {
  /** Whoever knows it can report success. `{task}` in it stands for a task's name. */
  url: Secret;
  /** Whether pings are expected as healthchecks.io does, or JSON is posted. */
  kind: "healthchecks" | "webhook";
}

/** A checked config. */
export interface Config {
  /** The file's path or its name in AWS, or `$COUCHDB_BACKUP_CONFIG` where its text stood there. */
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
  /** What stands after the date in the keys; may be empty or hold slashes. */
  suffix: string;
  /** Where log lines go beside the console; absent: nowhere. */
  loki?: LokiOptions | undefined;
  /** Where figures go; absent: nowhere. */
  prometheus?: PrometheusOptions | undefined;
  /** The monitor that is notified when a run begins and ends; absent: none. */
  notify?: NotifyAddress | undefined;
  /** Authorities to trust beside those that the runtime knows. @default none */
  caFiles?: CaFiles | undefined;
  /** The proxies that the environment names: the variables, without logins. @default none */
  proxies?: Readonly<Record<string, string>> | undefined;
  /** The file with the identities that open sealed backups, where they are restored. Nobody has read it yet. */
  identityFile?: NamedFile | undefined;
  /** The ARN of a secret in Secrets Manager with such identities. Nobody has read it yet. */
  identitySecret?: string | undefined;
  /**
   * The paths that begin in the config's folder, as they are written, by their keys such as `database.ca_file`; absent
   * where there is none.
   */
  relativePaths?: Readonly<Record<string, string>> | undefined;
  /** Whether the text itself holds a password or a key; one that a variable or another file holds does not count. */
  holdsSecret?: boolean | undefined;
  /** What is allowed and yet probably a mistake; each a sentence that begins with its place. */
  warnings: string[];
}

/** The path that stands for standard input. */
export const STANDARD_INPUT = "-";
/** The variable that names the config, or holds its text. */
const CONFIG_VARIABLE = "COUCHDB_BACKUP_CONFIG";
/** The variable by which template.yaml names the state machine. */
const STATE_MACHINE_VARIABLE = "BACKUP_STATE_MACHINE";
const DEFAULT_FILE = "./config.yaml";

/** Where a config is looked for, and with what it is read. */
export interface ConfigSource {
  /** A path, `s3://bucket/key`, the ARN of a parameter of Systems Manager, or `-` for standard input. */
  path?: string | undefined;
  /** The environment's variables. */
  env: Environment;
  /** Reads a file as UTF-8. @default node:fs */
  readFile?: ((path: string) => Promise<string>) | undefined;
  /** What `-` stands for. @default it is an error */
  readStandardInput?: (() => Promise<string>) | undefined;
  /** Makes the requests for one that lies in AWS. @default the platform's */
  fetch?: Fetch | undefined;
  /** Ends the reading of one that is not on this machine. @default it never ends */
  signal?: AbortSignal | undefined;
}

/**
 * Finds, reads and checks the config: `path` (`-` is standard input), else what `$COUCHDB_BACKUP_CONFIG` names or
 * holds, else `./config.yaml`. A password that it keeps elsewhere is not read: {@linkcode openSession} does when it is
 * needed, and then also says of one in a variable that this is not set.
 *
 * @throws ConfigError when it cannot be read or is not allowed; StoreError or AwsError when it is in AWS, which does
 * not answer for the time being.
 */
export async function loadConfig(source: ConfigSource): Promise<Config> {
  const { file, text } = await readConfig(source);
  return parseConfig(text, { file, env: source.env });
}

/** The config as {@linkcode loadConfig} finds it, not looked into: its text, and what its messages call it. */
export async function readConfig(source: ConfigSource): Promise<{ file: string; text: string }> {
  const { path, env, readStandardInput, fetch, signal } = source;
  const { readFile = (path: string) => readFileOfSystem(path, "utf8") } = source;
  const named = path ?? (env[CONFIG_VARIABLE] || undefined);
  // A config's text given as its path holds a password, so it must not be quoted in a message.
  if (path !== undefined && isText(path)) {
    throw new ConfigError("--config:1:1: The config's path seems to be the config's text", {
      file: "--config",
      line: 1,
      column: 1,
    }, { hint: `Set $${CONFIG_VARIABLE} to the text, or give - as the path and the text on standard input` });
  }
  if (path === undefined && named !== undefined && isText(named)) return { file: `$${CONFIG_VARIABLE}`, text: named };
  const file = named ?? DEFAULT_FILE;
  if (named !== undefined && isRemote(named)) {
    // Loaded only here: most configs are files.
    const { readRemoteConfig } = await import("./remote.ts");
    return { file, text: await readRemoteConfig(named, { env, fetch, signal }) };
  }
  const read = named === STANDARD_INPUT && readStandardInput !== undefined ? readStandardInput : readFile;
  return { file, text: await readConfigFile(file, { readFile: read, isDefault: named === undefined }) };
}

/**
 * Whether what should name a config is the config itself: YAML of several lines, or one line that begins as YAML and
 * JSON do, and paths do not. Where its line breaks have become the two characters `\n`, as an env file of Docker leaves
 * them, it is no YAML, but is not to be shown either; `C:\new` is a path.
 */
function isText(named: string): boolean {
  return named.includes("\n") || /^\s*(?:\{|---\s|(["']?)[\w-]{2,}\1\s*:(?:\s|\\n))/.test(named);
}

/** Whether a config's name is one of AWS's, and no path. */
export function isRemote(name: string): boolean {
  return /^s3:\/\//i.test(name) || name.startsWith("arn:");
}

/** For somebody who has no config yet. */
const EXAMPLE = `"${PROGRAM_NAME} help" shows a config of six lines`;

async function readConfigFile(
  file: string,
  { readFile, isDefault }: { readFile: (path: string) => Promise<string>; isDefault: boolean },
): Promise<string> {
  try {
    return await readFile(file);
  } catch (error) {
    // A file that is not there has no lines.
    throw new ConfigError(`${file}: Cannot read the config`, { file, line: 1, column: 1 }, {
      cause: error,
      hint: isDefault
        ? `Name it with --config, or set $${CONFIG_VARIABLE} to its path or its text; ${EXAMPLE}`
        : `Name a readable file; ${EXAMPLE}`,
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
  requireUtf8(text, file);
  const written = readYaml(text, file);
  const placeOf = findPlaces(text);
  const { document, unset } = substitute(written, env);
  const merges = findMergeKeys(written);
  // Nothing else is checked: it would depend on the keys that a merge key stands for.
  if (merges.length > 0) throw asError(merges, { file, placeOf, written, env });
  // Without zod's compiled parsers: the config is parsed only once, and compiling takes longer than it saves.
  const checked = configSchema.safeParse(document, { jitless: true });
  const misfits = (checked.error?.issues ?? []).flatMap((issue) => findingsOf(issue as SchemaIssue, document));
  const misread = [
    ...unset,
    ...mayHaveOctals(text) ? findOctals(written, parseYamlTexts(text)) : [],
    ...findTypographicQuotes(written, { lines: text.split("\n"), placeOf }),
  ];
  // At its path, or below it where a text stands for a mapping (`loki: http://…`).
  const isMisread = ({ path }: ConfigFinding) =>
    misread.some((other) => formatPath(other.path) === formatPath(path.slice(0, other.path.length)));
  // A value with an unset variable gets no further findings, nor does one that is another number.
  const others = misfits.filter((misfit) => !isMisread(misfit));
  const findings = withoutFollowing([...misread, ...others, ...findContradictions(document)]);
  const toError = () => asError(findings, { file, placeOf, written, env, hint: hintForUnset(unset) });
  // What only looks into the store needs no password.
  const lacksPassword = unset.length > 0 && unset.length === findings.length && unset.every(isUnsetPassword);
  if (checked.data === undefined || findings.length > 0 && !lacksPassword) throw toError();
  const config = toConfig(checked.data, { file, env, placeOf, passwordUnset: lacksPassword ? toError() : undefined });
  return {
    ...config,
    holdsSecret: holdsSecret(written, SECRET_KEYS),
    warnings: [
      ...warnOfBareVariables(written, { file, placeOf, env }),
      ...warningsOf(checked.data, { file, placeOf }),
      ...warnOfPlace(file, checked.data.bucket),
    ],
  };
}

function isUnsetPassword({ path, variable, isNotUtf8 = false }: UnsetFinding): boolean {
  return formatPath(path) === "database.password" && variable !== undefined && !isNotUtf8;
}

/** Whoever may write backups must not be able to change the config. */
function warnOfPlace(file: string, bucket: string): string[] {
  return isRemote(file) && file.startsWith(`${bucket.replace(/\/+$/, "")}/`)
    ? [`${file}:1:1: The config lies in the bucket folder: whoever may write backups may change it`]
    : [];
}

/** A byte order mark at the beginning of the text is no part of it. */
function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, "");
}

/** Without the line: what is no UTF-8 may stand in a password. */
function requireUtf8(text: string, file: string): void {
  const found = notUtf8(text);
  if (found === undefined) return;
  const before = found === "UTF-16" ? [""] : text.slice(0, text.indexOf(REPLACEMENT)).split("\n");
  const place = { file, line: before.length, column: before.at(-1)!.length + 1 };
  throw new ConfigError(
    `${file}:${place.line}:${place.column}: The config is not UTF-8 but ${found}`,
    place,
    { hint: "Save it as UTF-8; what stands here would be read as something else" },
  );
}

const KEYS = { known: KNOWN_KEYS, harmless: HARMLESS_KEYS };

function readYaml(text: string, file: string): unknown {
  const tab = findTab(text, KEYS);
  if (tab !== undefined) throw asSyntaxError(tab, file);
  try {
    return parseYaml(text);
  } catch (error) {
    if (error instanceof YamlSizeError) {
      throw new ConfigError(`${file}:1:1: Cannot use this as a config: ${error.message}`, { file, line: 1, column: 1 });
    }
    if (!isYamlComplaint(error)) throw error;
    // Not as its cause: the parser's error quotes the line, and with it a password that may stand there.
    throw asSyntaxError(explainSyntax(text, error, KEYS), file);
  }
}

function asSyntaxError({ line, column, problem, excerpt, hint }: SyntaxProblem, file: string): ConfigError {
  return new ConfigError(`${file}:${line}:${column}: ${problem}\n${excerpt}`, { file, line, column }, { hint });
}

function toConfig(
  document: ConfigDocument,
  { file, env, placeOf, passwordUnset }: {
    file: string;
    env: Environment;
    placeOf: PlaceLookup;
    passwordUnset: ConfigError | undefined;
  },
): Config {
  const { database, loki, prometheus, notify } = document;
  const folder = file.startsWith("$") || isRemote(file) ? "" : dirname(file);
  const relativePaths: Record<string, string> = {};
  const inFolder = (path: string, at: string[]) => {
    if (isAbsolute(path)) return path;
    relativePaths[formatPath(at)] = path;
    return join(folder, path);
  };
  const tz = zoneIn(env);
  const proxies = proxyVariablesIn(env);
  const named = (path: string | undefined, at: string[]): NamedFile | undefined =>
    path === undefined
      ? undefined
      : { path: inFolder(path, at), place: { file, ...placeOf(at), path: formatPath(at) } };
  const config: Config = {
    file,
    database: {
      url: database.url.url,
      login: database.login ?? database.url.login,
      password: passwordUnset === undefined ? database.password ?? database.url.password : undefined,
      passwordFile: named(database.password_file, ["database", "password_file"]),
      passwordSecret: database.password_secret,
      ...passwordUnset === undefined ? {} : { passwordUnset },
    },
    tasks: Object.entries(document.task).map(([name, task]) => toTask(name, task, { document, tz })),
    bucket: toStoreOptions(document, env),
    aws: toAwsOptions(document, env),
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
      textfile: prometheus.textfile === undefined
        ? undefined
        : inFolder(prometheus.textfile, ["prometheus", "textfile"]),
      perDatabase: prometheus.per_database,
      instance: prometheus.instance,
    },
    notify: notify && { url: notify.url, kind: notify.kind },
    ...proxies === undefined ? {} : { proxies },
    caFiles: {
      database: named(database.ca_file, ["database", "ca_file"]),
      bucket: named(document.ca_file, ["ca_file"]),
      loki: named(loki?.ca_file, ["loki", "ca_file"]),
      pushgateway: named(prometheus?.ca_file, ["prometheus", "ca_file"]),
      notify: named(notify?.ca_file, ["notify", "ca_file"]),
    },
    identityFile: named(document.identity_file, ["identity_file"]),
    identitySecret: document.identity_secret,
    warnings: [],
  };
  return Object.keys(relativePaths).length === 0 ? config : { ...config, relativePaths };
}

function toTask(
  name: string,
  task: ConfigDocument["task"][string],
  { document, tz }: { document: ConfigDocument; tz: string | undefined },
): Task {
  const { retention } = task;
  return {
    name,
    cron: task.cron?.text,
    calendar: task.cron?.calendar,
    timezone: task.timezone,
    ...tz === undefined ? {} : { tz },
    databases: task.databases,
    exclude: task.exclude,
    delaySeconds: task.delay,
    chunk: task.chunk,
    ...task.chunk_bytes === undefined ? {} : { chunkBytes: task.chunk_bytes },
    backupOnlyPrevious: task.backup_only_previous ?? task.backup_only_previus ?? false,
    attachments: task.attachments,
    revisions: task.revisions,
    tombstones: task.tombstones,
    increments: task.incremental
      ? {
        most: task.max_increments,
        fullEveryDays: task.full_every,
        ...document.object_lock === undefined ? {} : { lockDays: document.object_lock.days },
      }
      : undefined,
    codec: {
      compression: task.compression,
      level: task.compression_level,
      ...sealFor(task.encrypt_to ?? document.encrypt_to),
    },
    parallel: task.parallel,
    concurrency: task.concurrency,
    allowEmpty: task.allow_empty,
    retention: retention && {
      keepLast: retention.keep_last,
      keepWithin: retention.keep_within,
      keepDaily: retention.keep_daily,
      keepWeekly: retention.keep_weekly,
      keepMonthly: retention.keep_monthly,
      keepYearly: retention.keep_yearly,
      grace: retention.grace,
    },
  };
}

/** What TZ says; for the machine's file, where that leads. */
function zoneIn({ TZ: tz }: Environment): string | undefined {
  if (tz?.replace(/^:/, "") !== LOCAL_TIME) return tz;
  try {
    return realpathSync(LOCAL_TIME);
  } catch {
    // It is no link, or may not be read: a task that needs the zone says so.
    return tz;
  }
}

/** To whom chunks are sealed, each once. */
function sealFor(recipients: readonly string[] | undefined): { recipients?: string[] } {
  return recipients === undefined ? {} : { recipients: [...new Set(recipients)] };
}
