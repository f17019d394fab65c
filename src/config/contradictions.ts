/**
 * Keys of a config that contradict each other although each by itself is right. In: the document, with values of any
 * type. Out: a finding for each contradiction. Pure.
 */
import { COMPRESSIONS } from "../codec/compression.ts";
import type { ConfigFinding } from "./findings.ts";
import { MERGE_KEY } from "./disclosure.ts";
import type { KeyPath } from "./places.ts";
import { type Address, parseAddress } from "./values.ts";

/**
 * Notes a contradiction at a path. `lacks`: the keys beside it for want of which alone it is one. @default none
 */
type Find = (path: KeyPath, message: string, lacks?: readonly string[]) => void;

const PASSWORDS = ["password", "password_file", "password_secret"];
const PUSHED = ["pushgateway", "textfile"];

/**
 * The contradictions between the keys of `document`. Separate from the schema, so that an error in one value
 * does not hide these; the values can thus be of any type.
 */
export function findContradictions(document: unknown): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  const find: Find = (path, message, lacks = []) => {
    findings.push({ path, message, lacks: lacks.map((key) => [...path.slice(0, -1), key]) });
  };
  const root = asMapping(document);
  checkCredentials(["database"], asMapping(root["database"]), find);
  checkCredentials(["loki"], typeof root["loki"] === "string" ? { url: root["loki"] } : asMapping(root["loki"]), find);
  const prometheus = root["prometheus"];
  if (isMapping(prometheus) && "pushgateway" in prometheus === "textfile" in prometheus) {
    const lacks = "textfile" in prometheus ? undefined : PUSHED.map((key) => ["prometheus", key]);
    findings.push({ path: ["prometheus"], message: "must have one of the keys pushgateway and textfile", lacks });
  }
  // The schema passes over these without a word: nobody would run the task, nor see the label.
  if (Object.hasOwn(asMapping(root["task"]), "__proto__")) {
    find(["task", "__proto__"], "is not a valid task name; give it another one");
  }
  if (Object.hasOwn(asMapping(asMapping(root["loki"])["labels"]), "__proto__")) {
    find(["loki", "labels", "__proto__"], "is not a valid label name; give it another one");
  }
  for (const [name, task] of Object.entries(asMapping(root["task"]))) {
    const keys = asMapping(task);
    if ("backup_only_previus" in keys && "backup_only_previous" in keys) {
      find(
        ["task", name, "backup_only_previus"],
        "is given together with backup_only_previous, which means the same: keep one of them",
      );
    }
    for (const key of ["max_increments", "full_every"]) {
      if (key in keys && String(keys["incremental"]) !== "true") {
        find(["task", name, key], 'needs "incremental: true" beside it', ["incremental"]);
      }
    }
    const [every, locked] = [keys["full_every"], asMapping(root["object_lock"])["days"]].map(Number);
    if (every! >= locked!) {
      find(
        ["task", name, "full_every"],
        `must be less than the ${locked} days of object_lock: an incremental backup would outlive the lock of the backups that it needs`,
      );
    }
    checkLevel(["task", name, "compression_level"], keys, find);
  }
  if ("token" in root && !("secret" in root)) find(["token"], "needs the key secret beside it", ["secret"]);
  if ("secret" in root && !("token" in root)) find(["secret"], "needs the key token beside it", ["token"]);
  if ("session_token" in root && !("token" in root)) {
    find(["session_token"], "needs the keys token and secret beside it", ["token"]);
  }
  if ("kms_key_id" in root && !asText(root["sse"]).startsWith("aws:kms")) {
    find(["kms_key_id"], `needs the key sse beside it, "aws:kms" or "aws:kms:dsse"`, "sse" in root ? [] : ["sse"]);
  }
  // An error, not a warning as for other keys of S3: a user who wants a lock must not run without one.
  // The document is as it was written: a folder may be a bare path.
  if ("object_lock" in root && /^(file:|\/)/.test(asText(root["bucket"]))) {
    find(["object_lock"], "needs an S3 bucket: files in a folder cannot be locked");
  }
  return findings;
}

/** Every `<<: *name`: YAML 1.1 reads it as the keys of another mapping, and YAML 1.2 as a key like any other. */
export function findMergeKeys(document: unknown, path: KeyPath = []): ConfigFinding[] {
  if (typeof document !== "object" || document === null) return [];
  return Object.entries(document).flatMap(([key, value]) => {
    const below = [...path, Array.isArray(document) ? Number(key) : key];
    if (key !== MERGE_KEY) return findMergeKeys(value, below);
    const message = "is a merge key of YAML, which is not allowed here; write the keys that it stands for";
    return [{ path: below, message, isOfKey: true }];
  });
}

/** zstd has more levels than gzip. */
function checkLevel(
  path: KeyPath,
  keys: Record<string, unknown>,
  find: Find,
) {
  const { gzip: { most }, zstd } = COMPRESSIONS;
  // As text it came from a variable.
  const level = Number(keys["compression_level"] ?? 1);
  // A level above the highest of all codecs is reported by the schema.
  if (keys["compression"] !== "zstd" && level > most && level <= zstd.most) {
    find(path, `is more than ${most}, the highest level of gzip`);
  }
}

/** Login and password belong together, and each is given once: as a key of its own or in the URL. */
function checkCredentials(
  path: KeyPath,
  keys: Record<string, unknown>,
  find: Find,
) {
  const parsedUrl = parseAddress(asText(keys["url"]));
  const inUrl: Partial<Address> = "must" in parsedUrl ? {} : parsedUrl;
  const passwords = PASSWORDS.filter((key) => key in keys);
  const [first, second] = passwords;
  if (first !== undefined && second !== undefined) {
    find([...path, second], `is given together with ${first}; keep one of password, password_file and password_secret`);
  }
  if (inUrl.login !== undefined && "login" in keys) find([...path, "login"], "is also in the url; keep one of them");
  if (inUrl.password !== undefined && first !== undefined) {
    find([...path, first], "is also in the url; keep one of them");
  }
  const hasLogin = "login" in keys || inUrl.login !== undefined;
  const hasPassword = first !== undefined || inUrl.password !== undefined;
  if (hasLogin && !hasPassword) {
    const needed = path[0] === "database" ? "one of password, password_file and password_secret" : "a password";
    find([...path, "login"], `needs ${needed} beside it`, PASSWORDS);
  }
  if (hasPassword && !hasLogin) find([...path, first ?? "url"], "needs the key login beside it", ["login"]);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asMapping(value: unknown): Record<string, unknown> {
  return isMapping(value) ? value : {};
}

/** What is no text is nothing: a mapping can have a member `toString`, and then has no text either. */
function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}
