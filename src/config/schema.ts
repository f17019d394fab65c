/**
 * What a config may say: each key's shape, its limits and its default. In: the parsed YAML. Out: the same with every
 * value checked and URLs taken apart, or zod's issues. A message that begins with "must" follows what was found; any
 * other one stands by itself after the key. Pure.
 */
import * as z from "zod";
import type { Calendar } from "../calendar/calendar.ts";
import { type Compression, COMPRESSIONS } from "../codec/compression.ts";
import { isPublicKey, isSecretKey } from "../codec/recipient.ts";
import type { Secret } from "../secret.ts";
import type { Span } from "../task/retention.ts";
import {
  type Address,
  address,
  anyText,
  bucket,
  cron,
  endpoint,
  flag,
  folders,
  hasDots,
  login,
  notifyUrl,
  number,
  password,
  PATTERNS,
  patterns,
  recipients,
  span,
  text,
  textLike,
  timezone,
} from "./values.ts";

/** A task of a config. */
interface TaskDocument {
  cron?: { text: string; calendar: Calendar } | undefined;
  timezone?: string | undefined;
  databases: string[];
  exclude: string[];
  /** In seconds. */
  delay: number;
  chunk?: number | undefined;
  /** Of documents, before compression. */
  chunk_bytes?: number | undefined;
  backup_only_previous?: boolean | undefined;
  /** The reference script's spelling. */
  backup_only_previus?: boolean | undefined;
  attachments: boolean;
  revisions: boolean;
  tombstones: boolean;
  incremental: boolean;
  max_increments: number;
  /** In days. */
  full_every?: number | undefined;
  compression: Compression;
  compression_level?: number | undefined;
  encrypt_to?: string[] | undefined;
  parallel: number;
  concurrency?: number | undefined;
  allow_empty: boolean;
  retention?: RetentionDocument | undefined;
}

/** Which complete backups of a task stay. */
interface RetentionDocument {
  keep_last?: number | undefined;
  keep_within?: Span | undefined;
  keep_daily?: number | undefined;
  keep_weekly?: number | undefined;
  keep_monthly?: number | undefined;
  keep_yearly?: number | undefined;
  grace: Span;
}

/** What {@linkcode configSchema} makes of a config: keys as in the file, defaults filled in. */
export interface ConfigDocument {
  database: {
    url: Address;
    login?: string | undefined;
    password?: Secret | undefined;
    password_file?: string | undefined;
    password_secret?: string | undefined;
    ca_file?: string | undefined;
  };
  /** By name, in the order of the file. */
  task: Record<string, TaskDocument>;
  bucket: string;
  region?: string | undefined;
  endpoint?: string | undefined;
  ca_file?: string | undefined;
  addressing_style?: "path" | "virtual" | undefined;
  /** In MiB. */
  part_size?: number | undefined;
  max_parts?: number | undefined;
  token?: string | undefined;
  secret?: Secret | undefined;
  session_token?: Secret | undefined;
  storage_class?: string | undefined;
  object_lock?: { mode: "governance" | "compliance"; days: number } | undefined;
  sse?: "AES256" | "aws:kms" | "aws:kms:dsse" | undefined;
  kms_key_id?: string | undefined;
  encrypt_to?: string[] | undefined;
  identity_file?: string | undefined;
  identity_secret?: string | undefined;
  prefix: string;
  suffix: string;
  loki?: {
    url: Address;
    labels: Record<string, string>;
    tenant?: string | undefined;
    login?: string | undefined;
    password?: Secret | undefined;
    ca_file?: string | undefined;
  } | undefined;
  prometheus?: {
    pushgateway?: Address | undefined;
    textfile?: string | undefined;
    per_database: boolean;
    instance?: string | undefined;
    ca_file?: string | undefined;
  } | undefined;
  notify?: { url: Secret; kind: "healthchecks" | "webhook"; ca_file?: string | undefined } | undefined;
}

const LONGEST_DELAY_SECONDS = 7 * 24 * 3600;
const MOST_PARALLEL = 32;
const MOST_CONCURRENT = 100;
/** In MiB. Parts lie in memory; S3's own limits are 5 MiB and 5 GiB. */
const PART_SIZE = { least: 5, most: 1024 };
const MAX_PARTS = { least: 10, most: 10_000 };
/** 64 KiB, less than which costs more in requests than in bytes, and 1 TiB. */
const CHUNK_BYTES = { least: 2 ** 16, most: 2 ** 40 };
const MOST_INCREMENTS = 1000;
const LONGEST_FULL_EVERY_DAYS = 3660;

const caFile = text("must be the path of a PEM file");

const identityFile = text("must be the path of a file that age-keygen has written")
  .refine((path) => !isSecretKey(path), {
    error: "is a secret key itself, and must be the path of a file that holds it",
  })
  .refine((path) => !isPublicKey(path), {
    error: "is a public key, which opens nothing, and must be the path of a file with the secret key",
  });

const secretArn = textLike(/^arn:[\w-]+:secretsmanager:/, "must be the ARN of a secret in Secrets Manager");

const database = z.strictObject({
  url: address,
  login: login.optional(),
  password: password.optional(),
  password_file: text("must be the path of a file").optional(),
  password_secret: secretArn.optional(),
  ca_file: caFile.optional(),
}, { error: "must be a mapping with the keys url, login, password" });

/**
 * A whole number, and a message that says what it must be.
 *
 * @param options `of`: its unit. `most`: by default the last number that is exact. `more`: what the message ends with.
 */
function wholeNumber(
  { of, least = 1, most = Number.MAX_SAFE_INTEGER, more = "" }: {
    of?: string;
    least?: number;
    most?: number;
    more?: string;
  } = {},
) {
  const unit = of === undefined ? "" : ` of ${of}`;
  return number(`must be a whole number${unit} from ${least} to ${most}${more}`, { least, most, isWhole: true });
}

const keep = wholeNumber({ more: "; leave the key out if the rule is not wanted" }).optional();
/** Nothing keeps nothing: a policy of it alone would delete all but the newest. */
const keepWithin = span.refine(({ years, months, days, hours }) => years + months + days + hours > 0, {
  error: "must be more than nothing; leave the key out if the rule is not wanted",
}).optional();
const RULES = ["keep_last", "keep_within", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"] as const;
const RULE_NEEDED = `at least one of the keys ${RULES.join(", ")}`;
const retention = z.strictObject({
  keep_last: keep,
  keep_within: keepWithin,
  keep_daily: keep,
  keep_weekly: keep,
  keep_monthly: keep,
  keep_yearly: keep,
  grace: span.default({ years: 0, months: 0, days: 7, hours: 0 }),
}, { error: `must be a mapping with ${RULE_NEEDED}` })
  .refine((value) => RULES.some((rule) => value[rule] !== undefined), {
    error: `must have ${RULE_NEEDED}`,
    params: { lacks: RULES },
  });

const COMPRESSION = `must be "gzip" or "zstd"`;
const MOST_LEVEL = Math.max(...Object.values(COMPRESSIONS).map(({ most }) => most));
const task = z.strictObject({
  cron: cron.optional(),
  timezone: timezone.optional(),
  databases: patterns.min(1, { error: PATTERNS }),
  exclude: patterns.default([]),
  delay: number(`must be a number of seconds from 0 to ${LONGEST_DELAY_SECONDS}`, {
    least: 0,
    most: LONGEST_DELAY_SECONDS,
    isWhole: false,
  }).default(0),
  chunk: wholeNumber().optional(),
  chunk_bytes: wholeNumber({ of: "bytes", ...CHUNK_BYTES, more: ", such as 67108864 for 64 MiB" }).optional(),
  backup_only_previous: flag.optional(),
  backup_only_previus: flag.optional(),
  attachments: flag.default(true),
  revisions: flag.default(true),
  tombstones: flag.default(false),
  incremental: flag.default(false),
  max_increments: wholeNumber({ most: MOST_INCREMENTS }).default(14),
  full_every: wholeNumber({ of: "days", most: LONGEST_FULL_EVERY_DAYS }).optional(),
  compression: z.enum(["gzip", "zstd"], { error: COMPRESSION }).default("gzip"),
  compression_level: wholeNumber({ most: MOST_LEVEL }).optional(),
  encrypt_to: recipients.optional(),
  parallel: wholeNumber({ most: MOST_PARALLEL }).default(4),
  concurrency: wholeNumber({ most: MOST_CONCURRENT }).optional(),
  allow_empty: flag.default(false),
  retention: retention.optional(),
}, { error: "must be a mapping with the key databases, and others" });

const TASKS = "must be a mapping of task names to tasks, with at least one task";
const tasks = z.record(
  // A run's folder carries the task's name.
  z.string().refine((name) => name.trim() !== "" && !hasDots(name), {
    error: "is not a valid task name; a name needs letters or digits",
  }),
  task,
  { error: TASKS },
).refine((value) => Object.keys(value).length > 0, { error: TASKS });

const loki = z.preprocess(
  (value) => typeof value === "string" ? { url: value } : value,
  z.strictObject({
    url: address,
    labels: z.record(
      z.string().regex(/^[A-Za-z_]\w*$/, { error: "is not a valid label name; a name has letters, digits and _" }),
      z.string({ error: "must be text; put it in quotes" }),
      { error: "must be a mapping of label names to texts" },
    ).default({}),
    tenant: anyText().optional(),
    login: login.optional(),
    password: password.optional(),
    ca_file: caFile.optional(),
  }, { error: `must be a URL such as "http://host:3100/loki/api/v1/push", or a mapping with the key url` }),
);

const PROMETHEUS =
  `must be the URL of a Pushgateway, the path of a textfile that ends in .prom, or a mapping with the key pushgateway or textfile`;
const prometheus = z.preprocess(
  (value) => typeof value !== "string" ? value : /^\w+:\/\//.test(value) ? { pushgateway: value } : { textfile: value },
  z.strictObject({
    pushgateway: address.optional(),
    // node_exporter's textfile collector reads *.prom and nothing else.
    textfile: textLike(/\.prom$/, "must be the path of a file that ends in .prom").optional(),
    per_database: flag.default(false),
    instance: anyText().optional(),
    ca_file: caFile.optional(),
  }, { error: PROMETHEUS }),
);

const NOTIFY = "must be the URL of a check, or a mapping with the keys url and kind";
const notify = z.preprocess(
  (value) => typeof value === "string" ? { url: value } : value,
  z.strictObject({
    url: notifyUrl,
    kind: z.enum(["healthchecks", "webhook"], { error: `must be "healthchecks" or "webhook"` }).default("healthchecks"),
    ca_file: caFile.optional(),
  }, { error: NOTIFY }),
);

const LONGEST_LOCK_DAYS = 36_500;
const OBJECT_LOCK =
  `must be a mapping of mode (governance or compliance) and days, such as {mode: governance, days: 90}`;
const objectLock = z.strictObject({
  mode: z.enum(["governance", "compliance"], { error: `must be "governance" or "compliance"` }),
  days: wholeNumber({ of: "days", most: LONGEST_LOCK_DAYS }),
}, { error: OBJECT_LOCK });

const config = z.strictObject({
  database,
  task: tasks,
  bucket,
  region: textLike(/^[a-z0-9-]+$/, `must be a region such as "eu-central-1"`).optional(),
  endpoint: endpoint.optional(),
  ca_file: caFile.optional(),
  addressing_style: z.enum(["path", "virtual"], { error: `must be "path" or "virtual"` }).optional(),
  part_size: wholeNumber({ of: "MiB", ...PART_SIZE }).optional(),
  max_parts: wholeNumber(MAX_PARTS).optional(),
  token: anyText().optional(),
  secret: password.optional(),
  session_token: password.optional(),
  storage_class: textLike(/^[A-Z0-9_]+$/, `must be a storage class such as "STANDARD_IA"`).optional(),
  object_lock: objectLock.optional(),
  sse: z.enum(["AES256", "aws:kms", "aws:kms:dsse"], { error: `must be "AES256", "aws:kms" or "aws:kms:dsse"` })
    .optional(),
  kms_key_id: text("must be the id or ARN of a key in KMS").optional(),
  encrypt_to: recipients.optional(),
  identity_file: identityFile.optional(),
  identity_secret: secretArn.optional(),
  prefix: folders.default(""),
  suffix: folders.default(""),
  loki: loki.optional(),
  prometheus: prometheus.optional(),
  notify: notify.optional(),
}, { error: "must be a mapping with the keys database, task, bucket, and others" });

/** The whole config. */
export const configSchema: z.ZodType<ConfigDocument> = config;

/** The keys of each mapping, by the path it has in docs/configuration.md; the user's other spelling is left out. */
export const SECTIONS: Readonly<Record<string, readonly string[]>> = {
  "": Object.keys(config.shape),
  "database": Object.keys(database.shape),
  "task.<name>": Object.keys(task.shape).filter((key) => key !== "backup_only_previus"),
  "task.<name>.retention": Object.keys(retention.shape),
  "object_lock": Object.keys(objectLock.shape),
  "loki": Object.keys(loki.out.shape),
  "prometheus": Object.keys(prometheus.out.shape),
  "notify": Object.keys(notify.out.shape),
};
