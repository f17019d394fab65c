/**
 * The text of the manifest, which makes a backup complete, and of the checkpoint, from which an unfinished one is resumed.
 * In: what they say. Out: JSON, sealed where it has to be; and the other way round, with every field checked. Pure.
 */
import { counted } from "../counts.ts";
import type * as z from "zod";
import { isSealedName } from "../codec/compression.ts";
import { ArchiveError } from "../errors.ts";
import {
  type Checkpoint,
  FORMAT_VERSION,
  lockedDocument,
  type Manifest,
  type SealedDocument,
  sumChunks,
  type Totals,
} from "./manifest.ts";
import { manifestSchemas } from "./manifest_schema.ts";
import { encodeWithChecksum, isAsWritten } from "./own_checksum.ts";

/** What a manifest or checkpoint of format 2 always has; in one of format 1 it is as the schema's defaults say. */
const REQUIRED = ["kind", "parent", "unreadable"];

/**
 * The JSON text of a checkpoint: stored again and again, so in few bytes. @throws Error as {@linkcode encodeJson} does.
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  return encodeWithChecksum(storedForm(checkpoint), { isIndented: false });
}

/**
 * The JSON text of a manifest or checkpoint, indented for the human who opens it.
 *
 * @throws Error where it has recipients and was not sealed, or names a chunk that is not: nothing of it may be stored.
 */
export function encodeJson(value: Manifest | Checkpoint): Uint8Array {
  return encodeWithChecksum(storedForm(value), { isIndented: true });
}

/** Without what is sealed. The members are left out, so that a reader who knows of no seal refuses it. */
function storedForm(value: Manifest | Checkpoint): object {
  const { recipients, sealed, chunks } = value;
  if ((recipients === undefined) !== (sealed === undefined)) throw new Error("A manifest is half sealed");
  if (chunks.some(({ name }) => isSealedName(name) !== (recipients !== undefined))) {
    throw new Error("A manifest names a chunk that is not sealed as it is itself");
  }
  if (sealed === undefined) return value;
  const { unreadable: _, properties: { security: __, ...properties }, ...rest } = value;
  const lost = "chain_lost" in rest ? rest.chain_lost : undefined;
  return { ...rest, properties, ...lost === undefined ? {} : { chain_lost: { ...lost, ids: [] } } };
}

/**
 * Reads a manifest back.
 *
 * @param key Where it lies, for the error.
 * @throws ArchiveError when it is cut off, not a manifest, newer than this program, or contradicts itself.
 */
export function parseManifest(bytes: Uint8Array, key: string): Manifest {
  const manifest = parseObject(bytes, key, "manifest", manifestSchemas().manifest);
  const totals = sumChunks(manifest.chunks);
  for (const name of Object.keys(totals) as (keyof Totals)[]) {
    if (totals[name] === manifest.totals[name]) continue;
    throw new ArchiveError(
      `Cannot use manifest "${key}": its totals say ${manifest.totals[name]} ${name}, its chunks add up to ${
        totals[name]
      }`,
      { key, expected: String(manifest.totals[name]), found: String(totals[name]) },
    );
  }
  return manifest;
}

/**
 * Reads a checkpoint back.
 *
 * @param key Where it lies, for the error.
 * @throws ArchiveError when it is cut off, not a checkpoint, or newer than this program.
 */
export function parseCheckpoint(bytes: Uint8Array, key: string): Checkpoint {
  return parseObject(bytes, key, "checkpoint", manifestSchemas().checkpoint);
}

/** What a reader without an identity has in place of what is sealed. */
function lockedForm(value: unknown): unknown {
  const { sealed, properties } = value as { sealed?: { unreadable?: SealedDocument[] }; properties?: object };
  const documents = Array.isArray(sealed?.unreadable) ? sealed.unreadable : [];
  return {
    ...value as object,
    unreadable: documents.map((document) => lockedDocument(Object(document))),
    properties: { ...properties, security: null },
  };
}

/** Whether some of a backup is sealed and some is not: then it is none that this program has made. */
function halfSealed(
  { recipients, sealed, chunks }: Pick<Manifest, "recipients" | "sealed" | "chunks">,
): { path: string[]; message: string } | undefined {
  const isSealed = recipients !== undefined;
  if (isSealed !== (sealed !== undefined)) {
    return { path: [isSealed ? "sealed" : "recipients"], message: "it is missing beside the other one" };
  }
  const other = chunks.find(({ name }) => isSealedName(name) !== isSealed);
  if (other === undefined) return undefined;
  return {
    path: ["chunks"],
    message: `"${other.name}" is ${isSealed ? "not sealed" : "sealed"}, and the manifest is not so`,
  };
}

function parseObject<T extends Manifest | Checkpoint>(
  bytes: Uint8Array,
  key: string,
  noun: string,
  schema: z.ZodType<T>,
): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ArchiveError(
      `Cannot read ${noun} "${key}": it is not whole JSON`,
      { key, expected: `a ${noun}`, found: `${counted(bytes.length, "byte")} that cannot be parsed` },
      { cause, hint: "The object is damaged: take an earlier backup" },
    );
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > FORMAT_VERSION) {
    throw new ArchiveError(
      `Cannot read ${noun} "${key}": it has format ${format}, this program knows formats up to ${FORMAT_VERSION}`,
      { key, expected: `format ${FORMAT_VERSION}`, found: `format ${format}` },
      { hint: "Use the version of couchdb-backup that wrote it, or a later one" },
    );
  }
  if (isAsWritten(bytes, value) === false) {
    throw new ArchiveError(
      `Cannot use ${noun} "${key}": it is not as it was written, by its own checksum`,
      { key, expected: "the checksum that it ends with", found: "another one" },
      { hint: "The object is damaged, or was edited: take an earlier backup" },
    );
  }
  const isSealed = Object.hasOwn(Object(value), "sealed");
  const result = schema.safeParse(isSealed ? lockedForm(value) : value);
  const lacking = format === FORMAT_VERSION
    ? REQUIRED.find((name) => !Object.hasOwn(value as object, isSealed && name === "unreadable" ? "sealed" : name))
    : undefined;
  const strange = result.success ? halfSealed(result.data) : undefined;
  if (result.success && lacking === undefined && strange === undefined) return result.data;
  const issue = result.error?.issues[0] ?? strange ?? { path: [lacking], message: "it is missing" };
  const path = issue.path.join(".");
  throw new ArchiveError(
    `Cannot read ${noun} "${key}": "${path}" is not as a ${noun} has it: ${issue.message}`,
    { key, expected: `a ${noun}`, found: issue.message },
  );
}
