/**
 * Mistakes in a config, told at their places. In: findings, each a sentence about the key at a path, and where the keys
 * stand. Out: one error with a line for each, `file:line:column: Key "…" is "…", must be …`, without secrets. Pure.
 */
import { EXAMPLE_RECIPIENT } from "../codec/recipient.ts";
import { counted } from "../counts.ts";
import { ConfigError } from "../errors.ts";
import { hideInKey, hideInValue } from "./disclosure.ts";
import { emptyVariablesIn, type Environment, held, listed, substitute } from "./environment.ts";
import { explainUnknownKey, HARMLESS_KEYS, SECRET_KEYS } from "./keys.ts";
import { formatPath, type KeyPath, type PlaceLookup } from "./places.ts";
import type { ConfigDocument } from "./schema.ts";

/** A sentence about the key at a path. */
export interface ConfigFinding {
  path: KeyPath;
  message: string;
  /** What to say instead where the value may not be shown, and the message shows parts of it. */
  discreet?: string | undefined;
  /** Whether it is the key that is wrong, and not its value. */
  isOfKey?: boolean;
  /** The path of the key that was probably meant by an unknown one. */
  meant?: KeyPath | undefined;
  /** The paths of the keys for want of which alone this is found: with one of them it would not be. */
  lacks?: KeyPath[] | undefined;
}

/** The part of zod's issues that is of interest here. */
export interface SchemaIssue {
  code: string;
  path: PropertyKey[];
  message: string;
  keys?: string[];
  params?: { discreet?: string; lacks?: readonly string[] };
  /** What is wrong with the key of a record. */
  issues?: { message: string }[];
}

/**
 * What an issue of the schema says, a finding for each key.
 *
 * @param document What was checked: a key that it does not have is missing.
 */
export function findingsOf(issue: SchemaIssue, document: unknown): ConfigFinding[] {
  const path = issue.path.map((step) => typeof step === "number" ? step : String(step));
  if (issue.code === "unrecognized_keys") {
    const keys = issue.keys ?? [];
    return keys.map((key) => {
      const { message, meant } = explainUnknownKey(path, key);
      return { path: [...path, key], message, isOfKey: true, meant: meant === undefined ? meant : [...path, meant] };
    });
  }
  const message = issue.code === "invalid_key" ? issue.issues?.[0]?.message ?? "" : issue.message;
  const isMissing = lookUp(document, path).value === undefined;
  const lacks = isMissing ? [path] : issue.params?.lacks?.map((key) => [...path, key]);
  return [{ path, message, discreet: issue.params?.discreet, lacks }];
}

/** The findings without those that a misspelt key explains: once it is called what it was meant to be, they are gone. */
export function withoutFollowing(findings: ConfigFinding[]): ConfigFinding[] {
  const meant = new Set(findings.flatMap((finding) => finding.meant === undefined ? [] : formatPath(finding.meant)));
  return findings.filter(({ lacks = [] }) => !lacks.some((path) => meant.has(formatPath(path))));
}

/**
 * One error for all findings, in the order of the file.
 *
 * @param context.written The document with its `${NAME}`.
 * @param context.env What has replaced them.
 */
export function asError(
  findings: ConfigFinding[],
  { file, placeOf, written, env, hint }: {
    file: string;
    placeOf: PlaceLookup;
    written: unknown;
    env: Environment;
    hint?: string | undefined;
  },
): ConfigError {
  const told = findings.map((finding) => {
    const { path, value } = lookUp(written, finding.path);
    const { line, column } = placeOf(path, finding.isOfKey ? "key" : "value");
    const name = formatPath(finding.isOfKey ? path.with(-1, hideInKey(String(path.at(-1)))) : path);
    const subject = name === "" ? "The config" : `Key "${name}"`;
    const found = finding.message.startsWith("must ") ? `${describeFound(value, path, env)}, ` : "";
    const message = finding.discreet === undefined || isShown(value) ? finding.message : finding.discreet;
    return { line, column, name, text: `${file}:${line}:${column}: ${subject} ${found}${message}` };
  }).toSorted((a, b) => a.line - b.line || a.column - b.column);
  const [first] = told;
  if (first === undefined) throw new TypeError("A config error without findings");
  // Several limits of one value (whole, and at least 1) have the same text.
  const lines = new Set(told.map(({ text }) => text));
  const place = { file, line: first.line, column: first.column, path: first.name };
  return new ConfigError([...lines].join("\n"), place, { hint });
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
function describeFound(value: unknown, path: KeyPath, env: Environment): string {
  if (value === undefined) return "is missing";
  if (value === null) return path.length === 0 ? "is empty" : "has no value";
  if (Array.isArray(value)) return value.length === 0 ? "is an empty list" : "is a list";
  if (typeof value === "object") return Object.keys(value).length === 0 ? "is an empty mapping" : "is a mapping";
  const isSecret = path.length === 0 || path.some((step) => SECRET_KEYS.has(String(step)));
  if (typeof value === "string") return describeText(value, { isSecret, env });
  return isSecret ? `is a ${typeof value}` : `is ${value}`;
}

/** The same of a text; of a secret only whether it is empty. */
function describeText(value: string, { isSecret, env }: { isSecret: boolean; env: Environment }): string {
  if (value === "") return "is empty";
  const empty = emptyVariablesIn(value, env);
  const variables = `the environment variable${empty.length === 1 ? "" : "s"} ${listed(empty)}`;
  if (empty.length > 0 && substitute(value, env).document === "") {
    return `is empty, as ${variables} ${empty.length === 1 ? "is" : "are"} empty`;
  }
  if (isSecret) return "is text";
  const text = hideInValue(value, HARMLESS_KEYS);
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  if (!value.includes("${")) return `is "${shown}"`;
  const withEmpty = empty.length === 0 ? "" : ` and ${variables} empty`;
  return `is "${shown}", with values from the environment in it${withEmpty}`;
}

const S3_KEYS = [
  "region",
  "endpoint",
  "ca_file",
  "addressing_style",
  "part_size",
  "max_parts",
  "token",
  "secret",
  "session_token",
  "storage_class",
  "sse",
  "kms_key_id",
] as const;

/**
 * Values that are `$NAME` as in a shell, where the environment has such a variable: they stand for themselves, and a
 * password of that kind is refused by CouchDB, which locks the login out.
 */
export function warnOfBareVariables(
  written: unknown,
  context: { file: string; placeOf: PlaceLookup; env: Environment },
  path: KeyPath = [],
): string[] {
  if (typeof written === "string") {
    const name = /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(written)?.[1];
    if (name === undefined || held(context.env, name) === undefined) return [];
    const { file, placeOf } = context;
    const { line, column } = placeOf(path);
    // Without the name: it may be a password after all.
    return [
      `${file}:${line}:${column}: Key "${formatPath(path)}" is a "$" and the name of an environment variable, ` +
      "which is taken as it is; what the variable holds is written ${NAME}",
    ];
  }
  if (typeof written !== "object" || written === null) return [];
  return Object.entries(written).flatMap(([key, value]) =>
    warnOfBareVariables(value, context, [...path, Array.isArray(written) ? Number(key) : key])
  );
}

/** What is allowed and yet probably a mistake, a sentence for each that begins with its place. */
export function warningsOf(
  document: ConfigDocument,
  { file, placeOf }: { file: string; placeOf: PlaceLookup },
): string[] {
  const warnings: string[] = [];
  const scheduled = Object.values(document.task).filter(({ cron }) => cron !== undefined);
  const { notify } = document;
  if (scheduled.length > 1 && notify?.kind === "healthchecks" && !notify.url.reveal().includes("{task}")) {
    const { line, column } = placeOf(["notify"], "key");
    warnings.push(
      `${file}:${line}:${column}: Key "notify" has one check for ${counted(scheduled.length, "task")}: ` +
        `the success of one hides the failure of another; write {task} in the URL`,
    );
  }
  const sealing: [path: string[], recipients: string[] | undefined][] = [
    [["encrypt_to"], document.encrypt_to],
    ...Object.entries(document.task).map(([name, task]): [string[], string[] | undefined] => [
      ["task", name, "encrypt_to"],
      task.encrypt_to,
    ]),
  ];
  for (const [path, recipients] of sealing) {
    if (recipients?.includes(EXAMPLE_RECIPIENT) !== true) continue;
    const { line, column } = placeOf(path, "key");
    warnings.push(
      `${file}:${line}:${column}: Key "${formatPath(path)}" is the example key of the documentation: nobody has its ` +
        "secret key, and nobody can open what is sealed to it alone",
    );
  }
  const ofPushgateway = (["instance", "ca_file"] as const).filter((key) =>
    document.prometheus?.textfile !== undefined && document.prometheus[key] !== undefined
  );
  for (const key of ofPushgateway) {
    const { line, column } = placeOf(["prometheus", key], "key");
    warnings.push(`${file}:${line}:${column}: Key "prometheus.${key}" has no effect on a textfile`);
  }
  if (document.bucket.startsWith("s3:")) return warnings;
  const withoutEffect = S3_KEYS.filter((key) => document[key] !== undefined).map((key) => {
    const { line, column } = placeOf([key], "key");
    return `${file}:${line}:${column}: Key "${key}" has no effect on a file:// bucket`;
  });
  return [...warnings, ...withoutEffect];
}
