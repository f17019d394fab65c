/**
 * What a single value of the config may be: a password, a switch, an address, a pattern, a schedule. In: what YAML made
 * of it, also the text that `${NAME}` became. Out: the value in the form that the program uses, or what it must be
 * instead.
 */
import { fileURLToPath, pathToFileURL } from "node:url";
import * as z from "zod";
import { type Calendar, CalendarError, parseCalendar } from "../calendar/calendar.ts";
import { isTimeZone, timeZoneHint } from "../calendar/zone_name.ts";
import { decodeCredential } from "../basic_auth.ts";
import { explainRecipient } from "../codec/recipient.ts";
import { Secret } from "../secret.ts";
import { explainPattern } from "../task/pattern.ts";
import type { Span } from "../task/retention.ts";

/** A web address and the credentials it had in it or beside it. */
export interface Address {
  /** `http://` or `https://`, without credentials and without a slash at its end. */
  url: string;
  /** The user's name. */
  login?: string | undefined;
  /** The user's password. */
  password?: Secret | undefined;
}

/** A text that is not empty. @param must What it must be, for the message. */
export function text(must: string): z.ZodString {
  return z.string({ error: must }).min(1, { error: must });
}

/** A text that a pattern matches. @param must What it must be, for the message. */
export function textLike(pattern: RegExp, must: string): z.ZodString {
  return text(must).regex(pattern, { error: must });
}

/** Any text that is not empty: YAML takes one of digits for a number, and needs quotes around it. */
export function anyText(): z.ZodString {
  return z.string({ error: "must be text; put it in quotes" }).min(1, { error: "must not be empty" });
}

/** How a user's name reads in what is sent, where a colon ends it (RFC 7617). */
const LOGIN = "must be a name without a colon, which cannot be sent";

/** The name of a user. */
export const login: z.ZodType<string> = anyText().regex(/^[^:]*$/, { error: LOGIN });

/** A text that no message shows. */
export const password: z.ZodType<Secret> = anyText().transform((value) => new Secret(value));

/** A number, also as the text that `${NAME}` became. */
export function number(
  must: string,
  { least, most, isWhole }: { least: number; most: number; isWhole: boolean },
): z.ZodType<number> {
  const checked = z.number({ error: must }).min(least, { error: must }).max(most, { error: must });
  const toNumber = (value: unknown) => typeof value === "string" && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  return z.preprocess(toNumber, isWhole ? checked.int({ error: must }) : checked);
}

const SPAN = `must be a span of time such as "1y6m14d12h": years, months, weeks (w), days, hours`;
/** About eight thousand years of months; any moment minus such a span is one that a Date can be. */
const LONGEST_SPAN = `${SPAN}, of at most 9999y, 99999m, 99999w, 999999d and 9999999h`;
/** A span of time; `0d` is none. */
export const span: z.ZodType<Span> = parsed(SPAN, parseSpan);

/** Reads `1y6m2w14d12h`, each part at most once and in this order. */
export function parseSpan(value: string): Span | { must: string } {
  const match = /^(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,5})w)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?$/.exec(value.trim());
  if (match === null || value.trim() === "") {
    const isTooLong = match === null && /^(?:\d+y)?(?:\d+m)?(?:\d+w)?(?:\d+d)?(?:\d+h)?$/.test(value.trim());
    return { must: isTooLong ? LONGEST_SPAN : SPAN };
  }
  const [years = 0, months = 0, weeks = 0, days = 0, hours = 0] = match.slice(1).map((digits) => Number(digits ?? 0));
  return { years, months, days: weeks * 7 + days, hours };
}

/** A switch, also as the text that `${NAME}` became. */
export const flag: z.ZodType<boolean> = z.preprocess(
  (value) => value === "true" ? true : value === "false" ? false : value,
  z.boolean({ error: "must be true or false" }),
);

/** A text that `parse` understands, or says of what it must be instead. */
function parsed<T>(must: string, parse: (value: string) => T | { must: string }): z.ZodType<T> {
  return text(must).transform((value, context) => {
    const result = parse(value);
    if (typeof result !== "object" || result === null || !("must" in result)) return result;
    context.addIssue({ code: "custom", message: result.must });
    return z.NEVER;
  });
}

const ADDRESS = `must be a URL such as "http://host:5984"`;
const MOST_PORT = 65_535;

/** Takes the credentials out of a URL; no message, log or manifest can then show them. */
export function parseAddress(value: string): Address | { must: string } {
  if (!/^https?:\/\//i.test(value)) return { must: `must begin with "http://" or "https://"` };
  if (!URL.canParse(value)) {
    const bare = /^https?:\/\/(?:[^@/]*@)?[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*(?:\/|$)/i.test(value);
    if (bare) return { must: `${ADDRESS}; an IPv6 address stands in brackets, as in "http://[2345::6]:5984"` };
    const port = Number(/^https?:\/\/[^/]*:(\d+)(?:\/|$)/i.exec(value)?.[1] ?? 0);
    return { must: port > MOST_PORT ? `${ADDRESS}; a port is a number from 1 to ${MOST_PORT}` : ADDRESS };
  }
  const url = new URL(value);
  if (url.search !== "" || url.hash !== "") return { must: `must be a URL without "?" and "#"` };
  const login = decodeCredential(url.username);
  if (login.includes(":")) return { must: `must be a URL whose login has no colon, which cannot be sent` };
  const secret = decodeCredential(url.password);
  url.username = "";
  url.password = "";
  return {
    url: url.href.replace(/\/+$/, ""),
    ...login === "" ? {} : { login },
    ...secret === "" ? {} : { password: new Secret(secret) },
  };
}

/** The URL of CouchDB, Loki or a Pushgateway. */
export const address: z.ZodType<Address> = parsed(ADDRESS, parseAddress);

/** The address of a service that is like AWS's, without credentials. */
export const endpoint: z.ZodType<string> = parsed(ADDRESS, (value) => {
  const found = parseAddress(value);
  if ("must" in found) return found;
  const bare = found.login === undefined && found.password === undefined;
  return bare ? found.url : { must: "must be a URL without credentials; they are given as token and secret" };
});

const NOTIFY_URL = `must be a URL that begins with "https://" or "http://"`;
/** Whoever knows it can report success: a secret. `{task}` in it stays. */
export const notifyUrl: z.ZodType<Secret> = parsed(NOTIFY_URL, (value) => {
  const isUrl = /^https?:\/\//i.test(value) && URL.canParse(value) && new URL(value).hash === "";
  return isUrl ? new Secret(value) : { must: NOTIFY_URL };
});

const RECIPIENTS = "has a wrong value; it must be a list of age public keys such as [age1…]";
const MOST_RECIPIENTS = 50;
// Not one that begins with "must": a message must not show what may be a secret key.
const recipient = z.string({ error: "is not an age public key (age1…)" }).superRefine((value, context) => {
  const reason = explainRecipient(value);
  if (reason !== undefined) context.addIssue({ code: "custom", message: reason });
});
/** To whom backups are sealed. */
export const recipients: z.ZodType<string[]> = z.array(recipient, { error: RECIPIENTS }).min(1, { error: RECIPIENTS })
  // Not max(): that counts the characters of a text, too, that stands in place of a list.
  .refine((list) => list.length <= MOST_RECIPIENTS, { error: `has more than ${MOST_RECIPIENTS} public keys` });

const BUCKET = `must be "s3://name/folder", "file:///path" or "/path"`;

/** `s3://name/folder` or `file:///path`, without slashes at its end; the path of a folder becomes the latter. */
export const bucket: z.ZodType<string> = parsed(BUCKET, (value) => {
  const [, scheme, rest = ""] = /^(s3|file):\/\/(.*)$/.exec(value) ?? [];
  const path = (scheme === undefined && value.startsWith("/") ? value : rest).replace(/\/+$/, "");
  if (hasDots(path)) return { must: `must have no "." or ".." between its slashes` };
  if (scheme === "s3") {
    if (path.startsWith("arn:")) {
      return { must: `must be "s3://name/folder", of an access point with its alias as name` };
    }
    const named = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9](\/|$)/.test(path);
    return named ? `s3://${path}` : { must: `must be "s3://name/folder", with a bucket's name of 3 letters or more` };
  }
  // Written as a path it is one, whatever is in it; as a URL, its % stands before two digits.
  if (scheme === undefined && /^\/+[^/]/.test(path)) return pathToFileURL(path).href;
  if (scheme !== "file") return { must: BUCKET };
  if (!/^\/+[^/]/.test(path)) return { must: `must be "file://" and an absolute path: "file:///path"` };
  return isFolderUrl(path) ? `file://${path}` : { must: FOLDER_URL };
});

const FOLDER_URL = 'must be the URL of a folder, in which % # and ? are written %25 %23 and %3F; or "/path", as it is';

/**
 * Whether `file://` and this is the URL of the folder that somebody sees in it: what stands after # or ? is no part of
 * its path.
 */
function isFolderUrl(encoded: string): boolean {
  try {
    const path = decodeURIComponent(encoded);
    const url = new URL(`file://${encoded}`);
    // Of several slashes at its beginning Deno makes one, and Node leaves them: it is the same folder.
    const isAsSeen = withOneSlash(decodeURIComponent(url.pathname)) === withOneSlash(path);
    // It refuses "%2F"; and "%2e%2e" leads out as well.
    return fileURLToPath(url) !== "" && isAsSeen && !hasDots(path);
  } catch {
    return false;
  }
}

function withOneSlash(path: string): string {
  return path.replace(/^\/+/, "/");
}

/** Whether a path would lead out of its folder. */
export function hasDots(path: string): boolean {
  return path.split("/").some((part) => part === "." || part === "..");
}

const FOLDERS = "must be the names of folders, such as backup/ippbx";
/** Folders below the bucket, perhaps none. */
export const folders: z.ZodType<string> = z.string({
  // YAML takes a folder of digits for a number.
  error: ({ input }) => typeof input === "number" ? `${FOLDERS}; put it in quotes` : FOLDERS,
}).refine((value) => !hasDots(value), {
  error: `must have no "." or ".." between its slashes`,
});

/** What a list of patterns must be. */
export const PATTERNS = `must be a list of patterns, such as ["media", "account%2F.*"]`;
const pattern = z.string({ error: "must be text; put it in quotes" }).min(1, {
  error: `must be a pattern such as "account%2F.*"`,
}).superRefine((value, context) => {
  const reason = explainPattern(value);
  if (reason !== undefined) {
    context.addIssue({ code: "custom", message: `must be a JavaScript regular expression: ${reason}` });
  }
});
/** Patterns that select databases. */
export const patterns: z.ZodArray<z.ZodType<string>> = z.array(pattern, { error: PATTERNS });

const ZONE = `must be a time zone such as "Europe/Berlin" or "UTC"`;
/** A zone of the IANA database. */
export const timezone: z.ZodType<string> = parsed(ZONE, (value) => {
  if (isTimeZone(value)) return value;
  const hint = timeZoneHint(value);
  return { must: hint.startsWith("Write") ? ZONE : `${ZONE}; ${hint.charAt(0).toLowerCase()}${hint.slice(1)}` };
});

const CRON = `must be a schedule such as "Sat *-*-1..7 18:00:00"`;
/** A schedule, as it is written and as it was read. */
export const cron: z.ZodType<{ text: string; calendar: Calendar }> = text(CRON).transform((value, context) => {
  try {
    return { text: value, calendar: parseCalendar(value) };
  } catch (error) {
    if (!(error instanceof CalendarError)) throw error;
    const params = { discreet: explainDiscreetly(error) };
    context.addIssue({ code: "custom", message: explainCron(error), params });
    return z.NEVER;
  }
});

/** The same where no part of the value may be shown: it came from a variable, or another key's value ran into it. */
function explainDiscreetly({ offset, hint }: CalendarError): string {
  const allowed = hint?.startsWith("Write [") === true ? hint : `Write a schedule such as "Sat *-*-1..7 18:00:00"`;
  return `is not a schedule, with the value that it got: character ${
    offset + 1
  } of it is not as it must be\n    ${allowed}`;
}

/** What is wrong, the expression with a caret under the place, and what to write. */
function explainCron({ expression, offset, reason, hint }: CalendarError): string {
  const line = expression.replace(/\p{Cc}/gu, " ");
  const hinted = hint === undefined ? "" : `\n    ${hint}`;
  return `is not a schedule: ${reason}\n    ${line}\n    ${" ".repeat(offset)}^${hinted}`;
}
