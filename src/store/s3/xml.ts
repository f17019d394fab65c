/** The XML that S3 speaks: its answers read, the bodies that have to be written. Pure. */
import { XMLParser } from "fast-xml-parser";
import type { StoreEntry } from "../store.ts";

/** What `<Error>` says. */
export interface S3ErrorBody {
  code: string;
  message: string;
  /** The region the bucket is in, where the request went to another one. */
  region?: string | undefined;
}

/** One page of a listing. */
export interface S3Page {
  /** In S3's order; names without the prefix. */
  entries: StoreEntry[];
  /** Whether this is not all. */
  isTruncated: boolean;
  /** Asks for the next page. Some servers give none and say `NextMarker`, or nothing. */
  continuationToken: string | undefined;
  /** The key, prefix included, that the next page begins after. */
  nextMarker: string | undefined;
}

/** A part that S3 has taken. */
export interface S3Part {
  /** From 1. */
  number: number;
  etag: string;
  /** SHA-256 of the part, base64; undefined where the server does not say that it keeps it. */
  sha256: string | undefined;
}

// With its defaults the parser turns the key `0010` into the number 10 and drops spaces at a key's ends.
const parser = new XMLParser({
  parseTagValue: false,
  trimValues: false,
  htmlEntities: true,
  isArray: (name) => name === "Contents" || name === "CommonPrefixes",
});

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

type Node = { [name: string]: unknown };

/** The `<Error>` in an answer; undefined when the answer is something else, an error page of a proxy for one. */
export function parseError(xml: string): S3ErrorBody | undefined {
  const error = nodeOf(parse(xml)["Error"]);
  const code = textOf(error, "Code");
  if (code === undefined) return undefined;
  return { code, message: textOf(error, "Message") ?? "", region: textOf(error, "Region") };
}

/** Whether a body is an `<Error>`, whatever the status says. */
export function isErrorBody(xml: string): boolean {
  return /^\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]/.test(xml);
}

/** The id in the answer to CreateMultipartUpload; undefined when there is none. */
export function parseUploadId(xml: string): string | undefined {
  return rootText(xml, "UploadId");
}

/** Whether an answer to CompleteMultipartUpload says that the object is there. */
export function isCompleted(xml: string): boolean {
  return rootText(xml, "ETag") !== undefined;
}

/** Whether a body is the beginning of a page of ListObjectsV2, and not all of it. */
export function isCutListing(xml: string): boolean {
  const root = "<ListBucketResult";
  const body = xml.replace(/^\s*(?:<\?[^>]*(?:>\s*|$))?/, "");
  return (body.startsWith(root) || root.startsWith(body)) && !endsListing(xml);
}

function endsListing(xml: string): boolean {
  return /<\/ListBucketResult\s*>\s*$/.test(xml);
}

/**
 * Reads a page of ListObjectsV2; undefined when the answer is something else, or less: one that is cut, does not say
 * whether it is all, or speaks of other keys than those directly below `prefix`.
 *
 * @param options `isDeep`: objects may lie in folders below it, and no folder is told as one; the markers of empty ones
 * are among the objects, with a slash at the end.
 */
export function parseListing(
  xml: string,
  prefix: string,
  { isDeep = false }: { isDeep?: boolean } = {},
): S3Page | undefined {
  // The parser closes what is open at the end, so that half a page would do for a whole one.
  if (!endsListing(xml)) return undefined;
  const page = nodeOf(parse(xml)["ListBucketResult"]);
  const truncated = textOf(page, "IsTruncated");
  if (truncated !== "true" && truncated !== "false") return undefined;
  // Servers that do not know encoding-type answer without it.
  const isEncoded = textOf(page, "EncodingType") === "url";
  const decode = (text: string | undefined) => text === undefined || !isEncoded ? text : decodeForm(text);
  const [contents, prefixes] = [listOf(page["Contents"]), listOf(page["CommonPrefixes"])];
  // Where a name of an element is another one on its way, its entry would be missing, and nothing else would show it.
  const announced = textOf(page, "KeyCount") ?? "0";
  if (!/^\d+$/.test(announced) || contents.length + prefixes.length < Number(announced)) return undefined;
  const entries: StoreEntry[] = [];
  for (const node of contents) {
    const key = decode(textOf(node, "Key"));
    if (key === undefined || !key.startsWith(prefix)) return undefined;
    const name = key.slice(prefix.length);
    // The marker that some tools make for an empty folder.
    if (name === "") continue;
    const modified = new Date(textOf(node, "LastModified") ?? "");
    const size = textOf(node, "Size") ?? "";
    if ((!isDeep && name.includes("/")) || !/^\d+$/.test(size) || Number.isNaN(modified.getTime())) return undefined;
    entries.push({ kind: "object", name, sizeBytes: Number(size), modified });
  }
  for (const node of prefixes) {
    const key = decode(textOf(node, "Prefix"));
    if (key === undefined || !key.startsWith(prefix) || !key.endsWith("/")) return undefined;
    const name = key.slice(prefix.length, -1);
    if (isDeep || name.includes("/")) return undefined;
    if (name !== "") entries.push({ kind: "folder", name });
  }
  return {
    entries,
    isTruncated: truncated === "true",
    continuationToken: textOf(page, "NextContinuationToken") || undefined,
    nextMarker: decode(textOf(page, "NextMarker")) || undefined,
  };
}

/** The body of CompleteMultipartUpload. */
export function completeBody(parts: readonly S3Part[]): string {
  const items = parts.map((part) =>
    `<Part>${part.sha256 === undefined ? "" : `<ChecksumSHA256>${part.sha256}</ChecksumSHA256>`}<ETag>${
      escapeText(part.etag)
    }</ETag>` +
    `<PartNumber>${part.number}</PartNumber></Part>`
  );
  return `<CompleteMultipartUpload xmlns="${NAMESPACE}">${items.join("")}</CompleteMultipartUpload>`;
}

/** The body of PutObjectRetention. `until` is as in the header of the same meaning. */
export function retentionBody({ mode, until }: { mode: string; until: string }): string {
  return `<Retention xmlns="${NAMESPACE}"><Mode>${mode}</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
}

/**
 * What the root element says under a name. Whatever the root is called, as for AWS's own tools: moto 5.2 and rclone 1.76
 * call those of uploads otherwise than AWS does.
 */
function rootText(xml: string, name: string): string | undefined {
  return Object.values(parse(xml)).map((root) => textOf(nodeOf(root), name)).find((text) => text !== undefined);
}

function parse(xml: string): Node {
  try {
    return nodeOf(parser.parse(xml));
  } catch {
    return {}; // Not XML: whoever asked finds nothing and says what it expected.
  }
}

function nodeOf(value: unknown): Node {
  return typeof value === "object" && value !== null ? value as Node : {};
}

function listOf(value: unknown): Node[] {
  return Array.isArray(value) ? value.map(nodeOf) : [];
}

function textOf(node: Node, name: string): string | undefined {
  const value = node[name];
  return typeof value === "string" ? value : undefined;
}

/** `encoding-type=url` is the encoding of forms: a space is a plus, a plus is `%2B`. Undefined where it is none. */
function decodeForm(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}

function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
