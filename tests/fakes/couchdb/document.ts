/**
 * One document revision: read from the JSON text a client sends, with CouchDB's refusals, and written as the text
 * CouchDB answers. The body stays the text that came in; only the special members are understood.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { Refusal } from "./answer.ts";
import { elementsOf, kindOf, type Member, membersOf, objectText } from "./json_text.ts";
import type { History } from "./revision_tree.ts";

/** An attachment that is kept. */
export interface Attachment {
  name: string;
  contentType: string;
  /** The generation in which it came; 0 where a replicated document does not say. */
  revpos: number;
  digest: string;
  sizeBytes: number;
  /** Base64. */
  data: string;
}

/** A reference to an attachment of an earlier revision. */
export interface Stub {
  name: string;
  stub: true;
}

/** What a revision holds. */
export interface Content {
  deleted: boolean;
  /** All members but the special ones, as they came. */
  body: Member[];
  attachments: Attachment[];
}

/** A document as a client sends it. */
export interface IncomingDocument {
  /** Undefined where the text has none. */
  id: string | undefined;
  /** Undefined where it has neither `_rev` nor `_revisions`. */
  history: History | undefined;
  deleted: boolean;
  body: Member[];
  attachments: (Attachment | Stub)[];
}

/** What may stand in an answered document beside its body. */
export interface RenderOptions {
  revs?: boolean;
  attachments?: boolean;
  /** Members that stand between `_revisions` and `_attachments`, such as `_conflicts`. */
  meta?: Member[];
}

const IGNORED = new Set(["_revs_info", "_local_seq", "_conflicts", "_deleted_conflicts"]);
const KEPT = new Set([
  "_access",
  "_replication_state",
  "_replication_state_time",
  "_replication_state_reason",
  "_replication_id",
  "_replication_stats",
]);
/** CouchDB's `[attachments] compressible_types`. */
const COMPRESSIBLE = /^(text\/|application\/(javascript|json|xml)\b)/;

/**
 * Reads a document, which must be valid JSON.
 * @throws Refusal as CouchDB refuses a request that holds such a document.
 */
export function readDocument(text: string, options: { maxDocumentBytes: number }): IncomingDocument {
  if (kindOf(text) !== "object") throw new Refusal(400, "bad_request", "Document must be a JSON object");
  const document: IncomingDocument = {
    id: undefined,
    history: undefined,
    deleted: false,
    body: [],
    attachments: [],
  };
  for (const [key, value] of lastOfEachKey(membersOf(text))) {
    if (!key.startsWith("_")) document.body.push([key, value]);
    else if (key === "_id") document.id = readId(value);
    else if (key === "_rev") document.history ??= parseRevision(JSON.parse(value));
    else if (key === "_revisions") document.history = readRevisions(value);
    else if (key === "_deleted") document.deleted = value === "true";
    else if (key === "_attachments") document.attachments = membersOf(value).map(readAttachment);
    else if (KEPT.has(key)) document.body.push([key, value]);
    else if (!IGNORED.has(key)) throw new Refusal(400, "doc_validation", `Bad special document member: ${key}`);
  }
  if (bodyBytes(document.body) > options.maxDocumentBytes) {
    throw new Refusal(413, "document_too_large", document.id ?? "");
  }
  return document;
}

/** Reads `3-abc`. @throws Refusal when it is not a revision. */
export function parseRevision(revision: unknown): History {
  const match = typeof revision === "string" ? /^(\d+)-(.*)$/s.exec(revision) : null;
  if (match === null) throw new Refusal(400, "bad_request", "Invalid rev format");
  return { start: Number(match[1]), ids: [normalHash(match[2]!)] };
}

/** @throws Refusal when CouchDB does not allow `id`. */
export function checkId(id: string): void {
  if (id === "") throw new Refusal(400, "illegal_docid", "Document id must not be empty");
  if (id === "_design/" || id === "_local/") throw new Refusal(400, "illegal_docid", `Illegal document id \`${id}\``);
  if (id.startsWith("_") && !/^_(design|local)\//.test(id)) {
    throw new Refusal(400, "illegal_docid", "Only reserved document ids may start with underscore.");
  }
}

/** @throws Refusal when `id` cannot be in a partitioned database. */
export function checkPartition(id: string): void {
  if (/^_(design|local)\//.test(id)) return;
  const colon = id.indexOf(":");
  if (colon === -1) throw new Refusal(400, "illegal_docid", "Doc id must be of form partition:id");
  if (colon === 0) throw new Refusal(400, "illegal_partition", "Partition must not be empty");
  checkId(id.slice(colon + 1));
}

/** @throws Refusal when no partition can be called `name`. */
export function checkPartitionName(name: string): void {
  if (name.startsWith("_")) {
    throw new Refusal(400, "illegal_partition", "Partition must not start with an underscore");
  }
  if (name.includes(":")) throw new Refusal(400, "illegal_partition", "Partition must not contain a colon");
}

/** The text of a revision as CouchDB answers it. */
export function renderDocument(id: string, { history, content }: { history: History; content: Content }, {
  revs = false,
  attachments = false,
  meta = [],
}: RenderOptions = {}): string {
  const members: Member[] = [
    ["_id", JSON.stringify(id)],
    ["_rev", JSON.stringify(`${history.start}-${history.ids[0]}`)],
    ...content.body,
  ];
  if (content.deleted) members.push(["_deleted", "true"]);
  if (revs) members.push(["_revisions", JSON.stringify(history)]);
  members.push(...meta);
  if (content.attachments.length > 0) {
    const rendered = content.attachments.map((kept): Member => [kept.name, renderAttachment(kept, attachments)]);
    members.push(["_attachments", objectText(rendered)]);
  }
  return objectText(members);
}

/** A revision hash made of what the revision holds, so that the same edits give the same hashes in every run. */
export function newHash(document: Pick<IncomingDocument, "history" | "deleted" | "body">, content: Content): string {
  const digest = createHash("md5");
  digest.update(JSON.stringify([document.deleted, document.history ?? null, document.body]));
  digest.update(
    JSON.stringify(content.attachments.map(({ name, contentType, digest }) => [name, contentType, digest])),
  );
  return digest.digest("hex");
}

function readId(value: string): string {
  const id: unknown = JSON.parse(value);
  if (typeof id !== "string") throw new Refusal(400, "illegal_docid", "Document id must be a string");
  checkId(id);
  return id;
}

function readRevisions(value: string): History {
  const members = new Map(membersOf(value));
  const start: unknown = JSON.parse(members.get("start") ?? "null");
  if (!Number.isInteger(start)) throw new Refusal(400, "doc_validation", "_revisions.start isn't an integer.");
  const idsText = members.get("ids");
  if (idsText === undefined || kindOf(idsText) !== "array") {
    throw new Refusal(400, "doc_validation", "_revisions.ids isn't a array.");
  }
  const ids = elementsOf(idsText).map((text) => {
    const id: unknown = JSON.parse(text);
    if (typeof id !== "string") throw new Refusal(400, "doc_validation", "RevId isn't a string");
    return normalHash(id);
  });
  return { start: start as number, ids };
}

/** CouchDB keeps 32 hexadecimal digits as 16 bytes, and so answers them in lower case. */
function normalHash(hash: string): string {
  return /^[0-9a-fA-F]{32}$/.test(hash) ? hash.toLowerCase() : hash;
}

function readAttachment([name, text]: Member): Attachment | Stub {
  const members = new Map(membersOf(text));
  if (members.get("stub") === "true") return { name, stub: true };
  const contentType: unknown = JSON.parse(members.get("content_type") ?? '"application/octet-stream"');
  const bytes = decodeBase64(JSON.parse(members.get("data") ?? "null"));
  if (bytes === undefined || typeof contentType !== "string") {
    throw new Refusal(400, "bad_request", `Invalid attachment data for ${name}`);
  }
  return {
    name,
    contentType,
    revpos: Number(members.get("revpos") ?? 0),
    digest: digestOf(bytes, contentType),
    sizeBytes: bytes.length,
    data: bytes.toString("base64"),
  };
}

function decodeBase64(data: unknown): Buffer | undefined {
  if (typeof data !== "string" || !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(data)) return undefined;
  return Buffer.from(data, "base64");
}

/** Compressible types are kept compressed, and the digest is that of the compressed bytes. */
function digestOf(bytes: Buffer, contentType: string): string {
  const stored = COMPRESSIBLE.test(contentType) ? gzipSync(bytes, { level: 8 }) : bytes;
  return `md5-${createHash("md5").update(stored).digest("base64")}`;
}

function renderAttachment(attachment: Attachment, withData: boolean): string {
  const members: Member[] = [
    ["content_type", JSON.stringify(attachment.contentType)],
    ["revpos", String(attachment.revpos)],
    ["digest", JSON.stringify(attachment.digest)],
  ];
  if (withData) members.push(["data", `"${attachment.data}"`]);
  else members.push(["length", String(attachment.sizeBytes)], ["stub", "true"]);
  return objectText(members);
}

/** Of members with the same key CouchDB's decoder keeps the last. */
function lastOfEachKey(members: Member[]): Member[] {
  const last = new Map(members.map(([key], index) => [key, index]));
  return last.size === members.length ? members : members.filter(([key], index) => last.get(key) === index);
}

function bodyBytes(body: Member[]): number {
  return body.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value) + 4, 1);
}
