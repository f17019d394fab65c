/**
 * Tells a damaged chunk from an intact one. In: what the manifest says of it, and what was found. Out: nothing, or an
 * ArchiveError with what was expected.
 */
import { createHash } from "node:crypto";
import { WrongIdentityError } from "../codec/age_header.ts";
import { CodecError } from "../codec/error.ts";
import { counted, formatCount } from "../counts.ts";
import { ArchiveError, describeError, isNotFound, isOutOfReach } from "../errors.ts";
import { FramingError } from "../json/scan.ts";
import { splitKey } from "../store/key.ts";
import type { ChunkProblem } from "./archive.ts";
import { FormatError } from "./formats.ts";
import { LineError } from "./lines.ts";
import { isBackupChunkName } from "./layout.ts";
import { hasRange } from "./id_ranges.ts";
import type { ReadCounts } from "./documents.ts";
import type { ChunkEntry } from "./manifest.ts";

/** What an operator can do about an archive that is not whole. */
export const SALVAGE_HINT = "Take an earlier backup, or restore what is intact with --salvage";
const LINES_HINT = "Take another copy of the file, or restore its intact lines with --salvage";
const OTHER_COPY_HINT = "Take another copy of the file: one that is cut off or changed cannot be restored";

/** What {@linkcode checkDigest} compares, of an object's bytes as they are stored. */
export async function digest(source: AsyncIterable<Uint8Array>): Promise<{ sha256: string; compressedBytes: number }> {
  const hash = createHash("sha256");
  let compressedBytes = 0;
  for await (const bytes of source) {
    hash.update(bytes);
    compressedBytes += bytes.length;
  }
  return { sha256: hash.digest("hex"), compressedBytes };
}

/** @throws ArchiveError when an object is not the one that the manifest means. */
export function checkDigest(
  { key }: { key: string },
  entry: ChunkEntry,
  found: { sha256: string; compressedBytes: number },
): void {
  if (found.compressedBytes !== entry.compressed_bytes) {
    throw damaged(key, "bytes", { expected: `${entry.compressed_bytes}`, found: `${found.compressedBytes}` });
  }
  if (found.sha256 !== entry.sha256) {
    throw damaged(key, "as its sha256", { expected: entry.sha256, found: found.sha256 });
  }
}

/** What is wrong with a chunk by its folder's listing; undefined where it is there with the right size. */
export function explainListed(
  chunk: string,
  sizeBytes: number | undefined,
  entry: ChunkEntry,
): ChunkProblem | undefined {
  if (sizeBytes === entry.compressed_bytes) return undefined;
  if (sizeBytes === undefined) return { chunk, problem: "It is missing", is_missing: true };
  const problem = `It has ${counted(sizeBytes, "byte")}, the manifest says ${formatCount(entry.compressed_bytes)}`;
  return { chunk, problem };
}

/** Whether an error in reading a part of a backup says that it is not there. */
export function isLost(error: unknown): boolean {
  return isNotFound(error) || (error instanceof ArchiveError && isNotFound(error.cause));
}

/** What is wrong with a backup in the folder of another database, a sentence. Both names are decoded. */
export function explainMisplaced({ database, folderIsOf }: { database: string; folderIsOf: string }): string {
  return `It is of a backup of "${database}" and lies in a folder of "${folderIsOf}": ` +
    "a folder was renamed, or two were swapped";
}

/**
 * Why a backup, or a part of it, is of no use while others may be: it is damaged, or the store does not give it out, as
 * from an archive tier or a bad block. Undefined for an error that every other one may meet.
 */
export function explainUnusable(error: unknown): string | undefined {
  if (error instanceof ArchiveError) return error.message;
  if (!isOutOfReach(error)) return undefined;
  return error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
}

/** The same as an error of the backup. @throws The error, where it says nothing of this object alone. */
export function asDamage(error: unknown, key: string): ArchiveError {
  if (error instanceof ArchiveError) return error;
  const problem = explainUnusable(error);
  if (problem === undefined) throw error;
  return new ArchiveError(problem, { key }, { cause: error });
}

/** @throws ArchiveError when a chunk holds something else than its line in the manifest says. */
export function checkCounts({ key, entry }: { key: string; entry: ChunkEntry | undefined }, found: ReadCounts): void {
  if (entry === undefined) return;
  const pairs = [
    ["documents", entry.documents, found.documents],
    ["leaf revisions", entry.leaf_revisions, found.leafRevisions],
    // Format 1 does not tell it.
    ["deleted documents", hasRange(entry) ? found.deleted : entry.deleted, found.deleted],
    ["decompressed bytes", entry.bytes, found.bytes],
  ] as const;
  for (const [what, wanted, read] of pairs) {
    if (wanted !== read) throw damaged(key, what, { expected: String(wanted), found: String(read) });
  }
}

function damaged(key: string, what: string, { expected, found }: { expected: string; found: string }): ArchiveError {
  return new ArchiveError(
    `Chunk "${key}" is damaged: it has ${found} ${what}, the manifest says ${expected}`,
    { key, expected: `${expected} ${what}`, found: `${found} ${what}` },
    { hint: SALVAGE_HINT },
  );
}

/** Whether an error comes from the bytes of the object, rather than from getting at them. */
export function isDamage(error: unknown): boolean {
  return error instanceof FramingError || error instanceof CodecError || error instanceof FormatError;
}

/** What to throw for an error met in reading a chunk: an ArchiveError where the bytes are to blame. */
export function asArchiveError(
  { key, entry }: { key: string; entry: ChunkEntry | undefined },
  error: unknown,
): unknown {
  if (!isDamage(error)) return error;
  const found = describeError(error);
  // A file that stands for itself has no other chunks that could be whole.
  const isAlone = entry === undefined && !isBackupChunkName(splitKey(key).name);
  if (error instanceof FormatError) {
    const hint = isAlone ? error.hint : `${error.hint}; --salvage restores the other chunks`;
    const expected = "documents in a known format";
    return new ArchiveError(`Cannot read "${key}": ${found}`, { key, expected, found }, { cause: error, hint });
  }
  if (error instanceof WrongIdentityError) {
    const expected = "an identity that opens it";
    return new ArchiveError(`Cannot open "${key}": none of the identities opens it`, { key, expected, found }, {
      cause: error,
      hint: "Give the identity of one of the public keys that it was sealed to",
    });
  }
  const hint = !isAlone ? SALVAGE_HINT : error instanceof LineError ? LINES_HINT : OTHER_COPY_HINT;
  const what = isAlone ? `"${key}"` : `Chunk "${key}"`;
  return new ArchiveError(`${what} is damaged: ${found}`, { key, expected: "whole JSON, compressed whole", found }, {
    cause: error,
    hint,
  });
}
