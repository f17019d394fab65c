/**
 * What a restore would write, for a dry run. In: an archive. Out: its counts, and the documents that no CouchDB would
 * accept. Chunks that a manifest describes are read only where it does not say how many of their documents would be
 * written.
 */
import type { Archive, ArchiveChunk, ChunkProblem } from "../../archive/archive.ts";
import type { CheckedChunk } from "../../archive/chunk.ts";
import { explainUnusable } from "../../archive/damage.ts";
import {
  type DocumentCounts,
  isLarge,
  type LargeDocument,
  noDocuments,
  type RawDocument,
} from "../../archive/documents.ts";
import { LaterStates } from "../../archive/later_states.ts";
import { describeLine } from "../../archive/lines.ts";
import { nameOfChunk } from "../../archive/parents.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import type { FailedRevision } from "../../couchdb/write.ts";
import { IdSet } from "../../id_set.ts";
import { OPEN_BRACE } from "../../json/bytes.ts";
import { JsonCheck } from "../../json/check.ts";
import { openChunk } from "./source.ts";

/** As a restore does, it keeps no more of them. */
const MOST_KEPT_FAILURES = 10_000;

/** Larger ones are not parsed, but looked through: a bracket would become an array of a hundred bytes. */
const MOST_PARSED_BYTES = 1 << 18;

/** Why a document is not written that has no id of its own: CouchDB would make one up. */
export const WITHOUT_ID = 'Document has no "_id"';

const decoder = new TextDecoder("utf-8", { fatal: true });

/** What a restore would come to. */
export interface Preview extends DocumentCounts {
  failed: FailedRevision[];
  failedRevisions: number;
  unreadable: UnreadableDocument[];
  damaged: ChunkProblem[];
}

/**
 * Looks through an archive as a restore would. @throws ArchiveError when a chunk is damaged, unless `salvage` is set.
 */
export async function previewRestore(
  archive: Archive,
  { signal, salvage }: { signal: AbortSignal; salvage: boolean },
): Promise<Preview> {
  const preview: Preview = { ...noDocuments(), failed: [], failedRevisions: 0, unreadable: [], damaged: [] };
  const later = new LaterStates(archive.chunks);
  const failedIds = new IdSet();
  for (const chunk of later.chunks) {
    const { entry } = chunk;
    if (entry !== undefined && !later.concerns(chunk)) {
      addCounts(preview, { ...entry, leafRevisions: entry.leaf_revisions });
      continue;
    }
    const checked = await openUnlessDamaged(archive, chunk, { signal, salvage, damaged: preview.damaged });
    if (checked === undefined) continue;
    for await (const item of checked.read({ ...later.readOptions(chunk), signal })) {
      // Documents of a chunk that a manifest vouches for are as CouchDB sent them: none of them is unusable.
      if (entry !== undefined) continue;
      for (const document of isLarge(item) ? [item] : item) {
        const reason = "bytes" in document ? whyUnusable(document) : await whyLargeUnusable(document);
        if (reason === undefined) continue;
        const { id = "" } = document;
        if (preview.failed.length < MOST_KEPT_FAILURES) {
          preview.failed.push({ id, rev: "", error: "bad_request", reason });
        }
        preview.failedRevisions++;
        preview.leafRevisions--;
        if (id === "" || failedIds.add(id)) preview.documents--;
      }
    }
    const { counts } = checked;
    if (counts === undefined) continue;
    preview.unreadable.push(...counts.unreadable);
    addCounts(preview, counts);
    addCounts(preview, counts.passedOver, -1);
  }
  return preview;
}

async function openUnlessDamaged(
  archive: Archive,
  chunk: ArchiveChunk,
  { damaged, ...options }: { signal: AbortSignal; salvage: boolean; damaged: ChunkProblem[] },
): Promise<CheckedChunk | undefined> {
  const name = nameOfChunk(chunk);
  try {
    const checked = await openChunk(archive, chunk, options);
    damaged.push(...checked.brokenLines.map((line) => ({ chunk: name, problem: describeLine(line) })));
    return checked;
  } catch (error) {
    const problem = options.salvage ? explainUnusable(error) : undefined;
    if (problem === undefined) throw error;
    damaged.push({ chunk: name, problem });
    return undefined;
  }
}

function addCounts(sum: DocumentCounts, counts: DocumentCounts, sign: 1 | -1 = 1): void {
  sum.documents += sign * counts.documents;
  sum.leafRevisions += sign * counts.leafRevisions;
  sum.deleted += sign * counts.deleted;
}

/** The same of a document that is not held; that it is an object, its id has shown. */
async function whyLargeUnusable({ stream }: LargeDocument): Promise<string | undefined> {
  const check = new JsonCheck();
  for await (const bytes of stream) check.push(bytes);
  return check.finish() ? undefined : "invalid UTF-8 JSON";
}

function whyUnusable({ bytes, lacksId }: RawDocument): string | undefined {
  const isObject = isJsonObject(bytes);
  if (isObject === undefined) return "invalid UTF-8 JSON";
  if (!isObject) return "Document must be a JSON object";
  return lacksId ? WITHOUT_ID : undefined;
}

/** Undefined where it is no JSON at all. */
function isJsonObject(bytes: Uint8Array): boolean | undefined {
  if (bytes.length > MOST_PARSED_BYTES) {
    const check = new JsonCheck();
    check.push(bytes);
    return check.finish() ? bytes[0] === OPEN_BRACE : undefined;
  }
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return undefined;
  }
}
