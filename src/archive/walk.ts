/**
 * The documents of a backup as they were at its moment, one after the other: what is read again, or changed by a later
 * backup of its chain, comes once and in its latest state. In: an archive that was found whole. Out: documents as raw
 * bytes. Restore has a walk of its own, for it writes in batches; everybody else reads through here.
 */
import { Buffer } from "node:buffer";
import { memberSpans } from "../json/spans.ts";
import { BACKSLASH } from "../json/bytes.ts";
import { readTextMembers } from "../json/members.ts";
import { readUsualRevision } from "../json/usual_revision.ts";
import { loadAhead } from "../parallel.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { type Archive, type ArchiveChunk, placeOfChunk } from "./archive.ts";
import { CheckedChunk } from "./chunk.ts";
import { isLarge, type LargeDocument, type RawDocument } from "./documents.ts";
import { LaterStates } from "./later_states.ts";

/** Chunks that are fetched and checked before their turn. */
const CHUNKS_AHEAD = 2;

/** A leaf revision of a document: held whole, or streaming by. */
export type WalkedDocument = RawDocument | LargeDocument;

/** What of an archive is wanted. */
export interface WalkOptions extends StoreCallOptions {
  /** Only documents with these ids. @default all */
  isWanted?: ((id: string) => boolean) | undefined;
  /**
   * Of each document the winning revision alone, and none of a document that is deleted. @default every leaf revision
   */
  winnersOnly?: boolean | undefined;
  /** Is told when a chunk has been read to its end. */
  onChunk?: (() => void) | undefined;
}

/**
 * Walks through the documents of an archive. All leaf revisions of one document follow each other.
 *
 * @throws ArchiveError when a chunk is damaged, before its first document is given out.
 */
export async function* walkDocuments(archive: Archive, options: WalkOptions): AsyncGenerator<WalkedDocument> {
  for await (const block of walkBlocks(archive, options)) yield* block;
}

/**
 * The same in blocks: a large document by itself, small ones as many as one piece of a chunk has. Who goes through a
 * million documents takes these: a step of a generator for each is most of the time, and garbage by the gigabyte.
 */
export async function* walkBlocks(archive: Archive, options: WalkOptions): AsyncGenerator<readonly WalkedDocument[]> {
  const { isWanted, winnersOnly = false, onChunk, signal } = options;
  const later = new LaterStates(archive.chunks);
  const open = async (chunk: ArchiveChunk, signal: AbortSignal) => ({
    chunk,
    checked: await CheckedChunk.open(placeOfChunk(archive, chunk), { signal }),
  });
  for await (const { chunk, checked } of loadAhead(later.chunks, open, { limit: CHUNKS_AHEAD, signal })) {
    // Only now, when all that was above it has been read, is it known what to pass over.
    const { onRow, passOver } = later.readOptions(chunk);
    const isPassedOver = passOver === undefined && isWanted === undefined
      ? undefined
      : (id: string) => passOver?.(id) === true || isWanted?.(id) === false;
    const winners = winnersOnly && mayLose(chunk) ? await findWinners(checked, { isPassedOver, signal }) : undefined;
    const isWinner = (document: WalkedDocument) => winners?.get(document.id ?? "") === revisionOf(document);
    for await (const item of checked.read({ onRow, passOver: isPassedOver, signal })) {
      const block = isLarge(item) ? [item] : item;
      yield winners === undefined ? block : block.filter(isWinner);
    }
    onChunk?.();
  }
}

/** Whether a chunk may have leaf revisions that are no winners: its line in the manifest tells. */
function mayLose({ entry }: ArchiveChunk): boolean {
  return entry === undefined || entry.leaf_revisions !== entry.documents || entry.deleted > 0;
}

/** By id the revision that CouchDB would show; none of a document that is deleted. */
async function findWinners(
  checked: CheckedChunk,
  { isPassedOver, signal }: StoreCallOptions & { isPassedOver: ((id: string) => boolean) | undefined },
): Promise<Map<string, string>> {
  const winners = new Map<string, string>();
  for await (const item of checked.read({ passOver: isPassedOver, signal })) {
    for (const document of isLarge(item) ? [item] : item) {
      const { id = "" } = document;
      const { rev, deleted } = await leafOf(document);
      if (rev === "" || deleted) continue;
      const best = winners.get(id);
      if (best === undefined || compareRevisions(rev, best) > 0) winners.set(id, rev);
    }
  }
  return winners;
}

/** A document's revision, undefined where it has none. */
export function revisionOf(document: WalkedDocument): string | undefined {
  if (!("bytes" in document)) return document.rev;
  return readUsualRevision(document.bytes) ?? readTextMembers(document.bytes, ["_rev"])._rev;
}

/** What has to be known of a leaf revision. Of one that streams by what is left is read. */
export async function leafOf(document: WalkedDocument): Promise<Leaf> {
  const deleted = "bytes" in document ? isDeleted(document) : await document.isDeleted();
  return { rev: revisionOf(document) ?? "", deleted };
}

/** Whether a leaf revision that is held whole is the mark of a deletion. */
export function isDeleted(document: RawDocument): boolean {
  // Most documents have no name that begins so, and no escape that could hide one: then members are not taken apart.
  if (!mayBeDeleted(document.bytes)) return false;
  const member = memberSpans(document.bytes).find(({ name }) => name === "_deleted");
  return member !== undefined && document.bytes[member.valueFrom] === LETTER_T;
}

const LETTER_T = 0x74;
const LETTER_D = 0x64;
const LETTER_U = 0x75;
const UNDERSCORE = 0x5f;

function mayBeDeleted(bytes: Uint8Array): boolean {
  for (let at = 1; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === LETTER_D ? bytes[at - 1] === UNDERSCORE : byte === LETTER_U && bytes[at - 1] === BACKSLASH) {
      return true;
    }
  }
  return false;
}

/**
 * Orders revisions as CouchDB does to choose the winner among leaves that are alike deleted or not: by their number,
 * then by the bytes of their hash. Positive where `a` wins.
 */
export function compareRevisions(a: string, b: string): number {
  const [left, right] = [a, b].map((rev) => Number(rev.slice(0, rev.indexOf("-"))));
  if (left !== right) return left! - right!;
  return Buffer.compare(hashBytes(a), hashBytes(b));
}

/** A hash of 32 hexadecimal digits is 16 bytes to CouchDB; one that a client has made up is its text. */
function hashBytes(rev: string): Buffer {
  const hash = rev.slice(rev.indexOf("-") + 1);
  return Buffer.from(hash, /^[0-9a-f]{32}$/i.test(hash) ? "hex" : "utf8");
}

/** One leaf revision of a document, as far as it has to be known to choose among several. */
export interface Leaf {
  /** Its revision. */
  rev: string;
  /** Whether it is the mark of a deletion. */
  deleted: boolean;
}

/** The leaf that CouchDB shows: one that is not deleted where there is one. Undefined where there is none at all. */
export function winnerOf<L extends Leaf>(leaves: readonly L[]): L | undefined {
  return leaves.toSorted((a, b) => Number(a.deleted) - Number(b.deleted) || compareRevisions(b.rev, a.rev))[0];
}
