/**
 * What a config may say: each key's shape, its limits and its default. In: the parsed YAML. Out: the same with every
 * value checked and URLs taken apart, or zod's issues. A message that begins with "must" follows what was found; any
 * other one stands by itself behind the key.
 */
import { z } from "zod";
import { type Calendar, CalendarError, parseCalendar } from "../calendar/calendar.ts";
import type { KeyPath } from "./places.ts";
import { nearest } from "../nearest.ts";
import { explainPattern } from "../task/pattern.ts";
import { Secret } from "../secret.ts";
import { isTimeZone, timeZoneHint } from "../calendar/time_zone.ts";

/** A web address and the credentials it had in it or beside it. */
export interface Address {
  /** `http://` or `https://`, without credentials and without a slash at its end. */
  url: string;
  /** The user's name. */
  login?: string | undefined;
  /** The user's password. */
  password?: Secret | undefined;
}

/** A task of a config. */
interface TaskDocument {
  cron?: { text: string; calendar: Calendar } | undefined;
  timezone?: string | undefined;
  databases: string[];
  exclude: string[];
  /** In seconds. */
  delay: number;
  chunk?: number | undefined;
  backup_only_previous?: boolean | undefined;
  /** The reference script's spelling. */
  backup_only_previus?: boolean | undefined;
  attachments: boolean;
  revisions: boolean;
  parallel: number;
  concurrency?: number | undefined;
  allow_empty: boolean;
}

/** What {@linkcode configSchema} makes of a config: keys as in the file, defaults filled in. */
export interface ConfigDocument {
  database: {
    url: Address;
    login?: string | undefined;
    password?: Secret | undefined;
    password_file?: string | undefined;
    password_secret?: string | undefined;
  };
  /** By name, in the order of the file. */
  task: Record<string, TaskDocument>;
  bucket: string;
  region?: string | undefined;
  endpoint?: string | undefined;
  token?: string | undefined;
  secret?: Secret | undefined;
  session_token?: Secret | undefined;
  storage_class?: string | undefined;
  sse?: "AES256" | "aws:kms" | "aws:kms:dsse" | undefined;
  kms_key_id?: string | undefined;
  prefix: string;
  suffix: string;
  loki?: {
    url: Address;
    labels: Record<string, string>;
    tenant?: string | undefined;
    login?: string | undefined;
    password?: Secret | undefined;
  } | undefined;
  prometheus?: {
    pushgateway?: Address | undefined;
    textfile?: string | undefined;
    per_database: boolean;
    instance?: string | undefined;
  } | undefined;
}

const LONGEST_DELAY_SECONDS = 7 * 24 * 3600;
const MOST_PARALLEL = 32;
const MOST_CONCURRENT = 100;

function text(must: string) {
  return z.string({ error: must }).min(1, { error: must });
}

const password = text("must be text; put it in quotes").transform((value) => new Secret(value));

/** A number, also as the text that `${NAME}` became. */
function number(must: string, least: number, most: number, whole: boolean) {
  const checked = z.number({ error: must }).min(least, { error: must }).max(most, { error: must });
  const toNumber = (value: unknown) => typeof value === "string" && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return z.preprocess(toNumber, whole ? checked.int({ error: must }) : checked);
}

/** A switch, also as the text that `${NAME}` became. */
const flag = z.preprocess(
  (value) => value === "true" ? true : value === "false" ? false : value,
  z.boolean({ error: "must be true or false" }),
);

/** A text that `parse` understands, or says of what it must be instead. */
function parsed<T>(must: string, parse: (value: string) => T | { must: string }) {
  return text(must).transform((value, context) => {
    const result = parse(value);
    if (typeof result !== "object" || result === null || !("must" in result)) return result;
    context.addIssue({ code: "custom", message: result.must });
    return z.NEVER;
  });
}

/** Takes the credentials out of a URL; no message, log or manifest can then show them. */
function parseAddress(value: string): Address | { must: string } {
  if (!/^https?:\/\//i.test(value)) return { must: `must begin with "http://" or "https://"` };
  if (!URL.canParse(value)) {
    const bare = /^https?:\/\/(?:[^@/]*@)?[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*(?:\/|$)/i.test(value);
    const hint = bare ? `; an IPv6 address stands in brackets, as in "http://[2345::6]:5984"` : "";
    return { must: `must be a URL such as "http://host:5984"${hint}` };
  }
  const url = new URL(value);
  if (url.search !== "" || url.hash !== "") return { must: `must be a URL without "?" and "#"` };
  const login = decode(url.username);
  const secret = decode(url.password);
  url.username = "";
  url.password = "";
  return {
    url: url.href.replace(/\/+$/, ""),
    ...login === "" ? {} : { login },
    ...secret === "" ? {} : { password: new Secret(secret) },
  };
}

function decode(component: string): string {
  try {
    return decodeURIComponent(component);
  } catch {
    return component;
  }
}

const ADDRESS = `must be a URL such as "http://host:5984"`;
const address = parsed(ADDRESS, parseAddress);

const endpoint = parsed(ADDRESS, (value) => {
  const found = parseAddress(value);
  if ("must" in found) return found;
  const bare = found.login === undefined && found.password === undefined;
  return bare ? found.url : { must: "must be a URL without credentials; they are given as token and secret" };
});

const BUCKET = `must be "s3://name/folder" or "file:///path"`;

const bucket = parsed(BUCKET, (value) => {
  const [, scheme, rest = ""] = /^(s3|file):\/\/(.*)$/.exec(value) ?? [];
  const path = rest.replace(/\/+$/, "");
  if (hasDots(path)) return { must: `must have no "." or ".." between its slashes` };
  if (scheme === "s3") {
    const named = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9](\/|$)/.test(path);
    return named ? `s3://${path}` : { must: `must be "s3://name/folder", with a bucket's name of 3 letters or more` };
  }
  if (scheme !== "file") return { must: BUCKET };
  return /^\/+[^/]/.test(path) ? `file://${path}` : { must: `must be "file://" and an absolute path: "file:///path"` };
});

function hasDots(path: string): boolean {
  return path.split("/").some((part) => part === "." || part === "..");
}

const FOLDERS = "must be the names of folders, such as backup/ippbx";
const folders = z.string({ error: FOLDERS }).refine((value) => !hasDots(value), {
  error: `must have no "." or ".." between its slashes`,
});

const PATTERNS = `must be a list of patterns, such as ["media", "account%2F.*"]`;
const pattern = text("must be text; put it in quotes").superRefine((value, context) => {
  const reason = explainPattern(value);
  if (reason !== undefined) {
    context.addIssue({ code: "custom", message: `must be a regular expression of JavaScript: ${reason}` });
  }
});
const patterns = z.array(pattern, { error: PATTERNS });

const ZONE = `must be a time zone such as "Europe/Berlin" or "UTC"`;
const timezone = parsed(ZONE, (value) => {
  if (isTimeZone(value)) return value;
  const hint = timeZoneHint(value);
  return { must: hint.startsWith("Write") ? ZONE : `${ZONE}; ${hint.charAt(0).toLowerCase()}${hint.slice(1)}` };
});

const CRON = `must be a schedule such as "Sat *-*-1..7 18:00:00"`;
const cron = text(CRON).transform((value, context) => {
  try {
    return { text: value, calendar: parseCalendar(value) };
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    const params = { discreet: "is no schedule, with the value that it got" };
    context.addIssue({ code: "custom", message: explainCron(error), params });
    return z.NEVER;
  }
});

/** What is wrong, the expression with a caret under the place, and what to write. */
function explainCron({ expression, offset, reason, hint }: CalendarError): string {
  const line = expression.replace(/\p{Cc}/gu, " ");
  const hinted = hint === undefined ? "" : `\n    ${hint}`;
  return `is no schedule: ${reason}\n    ${line}\n    ${" ".repeat(offset)}^${hinted}`;
}

const database = z.strictObject({
  url: address,
  login: text("must be text; put it in quotes").optional(),
  password: password.optional(),
  password_file: text("must be the path of a file").optional(),
  password_secret: text("must be the ARN of a secret in Secrets Manager").regex(/^arn:[\w-]+:secretsmanager:/, {
    error: "must be the ARN of a secret in Secrets Manager",
  }).optional(),
}, { error: "must be a mapping with the keys url, login, password" });

const CHUNK = "must be a whole number of at least 1";
const task = z.strictObject({
  cron: cron.optional(),
  timezone: timezone.optional(),
  databases: patterns.min(1, { error: PATTERNS }),
  exclude: patterns.default([]),
  delay: number(
    `must be a number of seconds from 0 to ${LONGEST_DELAY_SECONDS}`,
    0,
    LONGEST_DELAY_SECONDS,
    false,
  ).default(0),
  chunk: number(CHUNK, 1, Number.MAX_SAFE_INTEGER, true).optional(),
  backup_only_previous: flag.optional(),
  backup_only_previus: flag.optional(),
  attachments: flag.default(true),
  revisions: flag.default(true),
  parallel: number(`must be a whole number from 1 to ${MOST_PARALLEL}`, 1, MOST_PARALLEL, true).default(4),
  concurrency: number(`must be a whole number from 1 to ${MOST_CONCURRENT}`, 1, MOST_CONCURRENT, true).optional(),
  allow_empty: flag.default(false),
}, { error: "must be a mapping with the key databases, and others" });

const TASKS = "must be a mapping of at least one task, each with a name of its own";
const tasks = z.record(
  // A run's folder carries the task's name.
  z.string().refine((name) => name.trim() !== "" && !hasDots(name), {
    error: "is no name for a task; a name has letters or digits",
  }),
  task,
  { error: TASKS },
).refine((value) => Object.keys(value).length > 0, { error: TASKS });

const loki = z.preprocess(
  (value) => typeof value === "string" ? { url: value } : value,
  z.strictObject({
    url: address,
    labels: z.record(
      z.string().regex(/^[A-Za-z_]\w*$/, { error: "is no name for a label; a name has letters, digits and _" }),
      z.string({ error: "must be text; put it in quotes" }),
      { error: "must be a mapping of label names to texts" },
    ).default({}),
    tenant: text("must be text; put it in quotes").optional(),
    login: text("must be text; put it in quotes").optional(),
    password: password.optional(),
  }, { error: `must be a URL such as "http://host:3100/loki/api/v1/push", or a mapping with the key url` }),
);

const PROMETHEUS =
  `must be the URL of a Pushgateway, the path of a textfile that ends in .prom, or a mapping with the key pushgateway or textfile`;
const TEXTFILE = "must be the path of a file that ends in .prom";
const prometheus = z.preprocess(
  (value) => typeof value !== "string" ? value : /^\w+:\/\//.test(value) ? { pushgateway: value } : { textfile: value },
  z.strictObject({
    pushgateway: address.optional(),
    // node_exporter's textfile collector reads *.prom and nothing else.
    textfile: text(TEXTFILE).regex(/\.prom$/, { error: TEXTFILE }).optional(),
    per_database: flag.default(false),
    instance: text("must be text; put it in quotes").optional(),
  }, { error: PROMETHEUS }),
);

const config = z.strictObject({
  database,
  task: tasks,
  bucket,
  region: text(`must be a region such as "eu-central-1"`).regex(/^[a-z0-9-]+$/, {
    error: `must be a region such as "eu-central-1"`,
  }).optional(),
  endpoint: endpoint.optional(),
  token: text("must be text; put it in quotes").optional(),
  secret: password.optional(),
  session_token: password.optional(),
  storage_class: text(`must be a storage class such as "STANDARD_IA"`).regex(/^[A-Z0-9_]+$/, {
    error: `must be a storage class such as "STANDARD_IA"`,
  }).optional(),
  sse: z.enum(["AES256", "aws:kms", "aws:kms:dsse"], {
    error: `must be "AES256", "aws:kms" or "aws:kms:dsse"`,
  }).optional(),
  kms_key_id: text("must be the id or ARN of a key in KMS").optional(),
  prefix: folders.default(""),
  suffix: folders.default(""),
  loki: loki.optional(),
  prometheus: prometheus.optional(),
}, { error: "must be a mapping with the keys database, task, bucket, and others" });

/** The whole config. */
export const configSchema: z.ZodType<ConfigDocument> = config;

/** A sentence about the key at a path. */
export interface ConfigFinding {
  path: KeyPath;
  message: string;
  /** What to say instead where the value may not be shown, and the message shows parts of it. */
  discreet?: string | undefined;
  /** Whether it is the key that is wrong, and not its value. */
  isOfKey?: boolean;
}

/**
 * What the keys of `document` say against each other. It is asked apart from the schema, so that an error in one value
 * does not hide these; the values can thus be of any type.
 */
export function findContradictions(document: unknown): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  const find = (path: KeyPath, message: string) => findings.push({ path, message });
  const root = asMapping(document);
  checkCredentials(["database"], asMapping(root["database"]), find);
  checkCredentials(["loki"], typeof root["loki"] === "string" ? { url: root["loki"] } : asMapping(root["loki"]), find);
  const prometheus = root["prometheus"];
  if (isMapping(prometheus) && "pushgateway" in prometheus === "textfile" in prometheus) {
    find(["prometheus"], "must have one of the keys pushgateway and textfile");
  }
  for (const [name, task] of Object.entries(asMapping(root["task"]))) {
    const keys = asMapping(task);
    if ("backup_only_previus" in keys && "backup_only_previous" in keys) {
      find(["task", name, "backup_only_previus"], "stands beside backup_only_previous, which means the same");
    }
  }
  if ("token" in root && !("secret" in root)) find(["token"], "needs the key secret beside it");
  if ("secret" in root && !("token" in root)) find(["secret"], "needs the key token beside it");
  if ("session_token" in root && !("token" in root)) {
    find(["session_token"], "needs the keys token and secret beside it");
  }
  if ("kms_key_id" in root && !String(root["sse"]).startsWith("aws:kms")) {
    find(["kms_key_id"], `needs the key sse beside it, "aws:kms" or "aws:kms:dsse"`);
  }
  return findings;
}

/** Login and password belong together, and each is given once: as a key of its own or in the URL. */
function checkCredentials(
  path: KeyPath,
  keys: Record<string, unknown>,
  find: (path: KeyPath, message: string) => void,
) {
  const parsedUrl = parseAddress(String(keys["url"]));
  const inUrl: Partial<Address> = "must" in parsedUrl ? {} : parsedUrl;
  const passwords = ["password", "password_file", "password_secret"].filter((key) => key in keys);
  const [first, second] = passwords;
  if (first !== undefined && second !== undefined) {
    find([...path, second], `stands beside ${first}; keep one of password, password_file and password_secret`);
  }
  if (inUrl.login !== undefined && "login" in keys) find([...path, "login"], "is in the url, too; keep one of them");
  if (inUrl.password !== undefined && first !== undefined) {
    find([...path, first], "is in the url, too; keep one of them");
  }
  const hasLogin = "login" in keys || inUrl.login !== undefined;
  const hasPassword = first !== undefined || inUrl.password !== undefined;
  if (hasLogin && !hasPassword) find([...path, "login"], "needs a password beside it");
  if (hasPassword && !hasLogin) find([...path, first ?? "url"], "needs the key login beside it");
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asMapping(value: unknown): Record<string, unknown> {
  return isMapping(value) ? value : {};
}

/** The keys of the mapping that holds all others. */
export const OUTERMOST_KEYS: readonly string[] = Object.keys(config.shape);

/** The keys of each mapping, by the path it has in docs/configuration.md; the user's other spelling is left out. */
const SECTIONS: Readonly<Record<string, readonly string[]>> = {
  "": OUTERMOST_KEYS,
  "database": Object.keys(database.shape),
  "task.<name>": Object.keys(task.shape).filter((key) => key !== "backup_only_previus"),
  "loki": Object.keys(loki.out.shape),
  "prometheus": Object.keys(prometheus.out.shape),
};

/** Every key that has a meaning somewhere. */
export const KNOWN_KEYS: ReadonlySet<string> = new Set(Object.values(SECTIONS).flat());

/** The keys whose values no message shows. */
export const SECRET_KEYS: ReadonlySet<string> = new Set(["password", "token", "secret", "session_token"]);

/** The keys whose values a message may show. */
export const HARMLESS_KEYS: ReadonlySet<string> = KNOWN_KEYS.difference(SECRET_KEYS);

/** What to say of an unknown key in the mapping at `path`: the key that was meant, its place, or all that are known. */
export function explainUnknownKey(path: KeyPath, key: string): string {
  const section = path[0] === "task" ? "task.<name>" : String(path[0] ?? "");
  const known = SECTIONS[section] ?? [];
  const firstWord = /^([\w-]+)\s/.exec(key)?.[1];
  if (firstWord !== undefined && known.includes(firstWord)) {
    return `is unknown; is a colon missing after "${firstWord}"?`;
  }
  const home = Object.entries(SECTIONS).find(([, keys]) => keys.includes(key))?.[0];
  if (home === "") return "is unknown here; it belongs to the top level";
  if (home !== undefined) return `is unknown here; it belongs under "${home}"`;
  const near = nearest(key, known);
  if (near !== undefined) return `is unknown; did you mean "${near}"?`;
  return `is unknown; known are ${known.join(", ")}`;
}
