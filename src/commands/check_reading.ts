/**
 * Whether documents are read as a backup reads them, attachments and all. In: CouchDB and what the tasks select. Out: a
 * sentence of what was read. It looks for a document with an attachment among the first of some databases, and takes
 * the smallest one.
 */
import { IdBatch } from "../couchdb/batch.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { BatchReader } from "../couchdb/read.ts";
import { CouchError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { counted, formatSize } from "../observe/figures.ts";
import type { TaskSelection } from "../task/selection.ts";
import type { Task } from "../task/task.ts";

/** In so many databases a document with an attachment is looked for. */
const MOST_DATABASES = 5;
/** Among so many documents of each. */
const MOST_DOCUMENTS = 50;
/** Larger answers are not read for a check, and larger attachments not fetched. */
const MOST_BYTES = 8 * 1024 * 1024;

/** What the reading is tried with. */
export interface ReadingContext {
  couch: CouchClient;
  log: Log;
  signal: AbortSignal;
}

/** A document to try, and what stands in its leaves. */
interface Candidate {
  database: string;
  task: Task;
  id: string;
  attachments: number;
  bytes: number;
}

/** The part of a `_bulk_get` answer that is looked at here. */
interface BulkGetAnswer {
  results: { id: string; docs: { ok?: { _attachments?: Record<string, AttachmentFacts> } }[] }[];
}

interface AttachmentFacts {
  length?: number;
  stub?: boolean;
  data?: string;
}

/**
 * Reads one document in the way in which a backup of its task reads it.
 *
 * @returns What was read, as a sentence.
 * @throws CouchError when CouchDB refuses, when the document cannot be read, or an attachment comes without its
 * content.
 */
export async function tryReading(context: ReadingContext, selections: readonly TaskSelection[]): Promise<string> {
  const [first, ...others] = await findCandidates(context, selections);
  if (first === undefined) return "There is no document to test it with";
  const chosen = others.reduce((best, other) => isBetter(other, best) ? other : best, first);
  const { database, task, id, attachments } = chosen;
  const options = { revisions: task.revisions, attachments: task.attachments, log: context.log };
  // One that cannot be read is given up soon, as in a backup that has met another one.
  const health = { unreadableInARow: 0, knowsUnreadable: true };
  const reader = new BatchReader(context.couch, database, IdBatch.of([{ id, revs: [] }]), { ...options, health });
  const read = async (pieces: AsyncIterable<Uint8Array>) => await readUpTo(pieces, Infinity) ?? "";
  const text = await reader.readThrough(read, { signal: context.signal });
  const [left] = reader.unreadable;
  const failed = (reason: string) =>
    new CouchError(`Cannot read document "${id}" of database "${database}" as a backup does: ${reason}`, {
      error: left?.error ?? "no_content",
      database,
    }, {
      hint: "Check what stands between this machine and CouchDB, and CouchDB's own log",
      discreet: `Cannot read a document of database "${database}" as a backup does`,
    });
  if (left !== undefined) throw failed(`${left.error}, ${left.reason}`);
  const what = task.attachments && attachments > 0 ? ` with ${counted(attachments, "attachment")}` : "";
  if (task.attachments) {
    const lacking = leavesOf(text).flatMap((leaf) => Object.entries(leaf)).find(([, { data }]) => data === undefined);
    if (lacking !== undefined) throw failed(`attachment "${lacking[0]}" comes without its content`);
  }
  const none = !task.attachments
    ? "; its task saves no attachments"
    : attachments === 0
    ? "; none with an attachment was found to try"
    : "";
  return `A document of "${database}"${what} is read, ${formatSize(text.length)}${none}`;
}

/** Attachments that a backup would fetch come first, then small ones. */
function isBetter(one: Candidate, other: Candidate): boolean {
  const has = ({ task, attachments }: Candidate) => task.attachments && attachments > 0;
  return has(one) !== has(other) ? has(one) : one.bytes < other.bytes;
}

async function findCandidates(
  { couch, signal }: ReadingContext,
  selections: readonly TaskSelection[],
): Promise<Candidate[]> {
  const places = selections.flatMap(({ task, databases }) => databases.map(({ database }) => ({ task, database })));
  // First databases whose attachments are saved, as these are what is tried here; CouchDB's own last: they have none.
  const rank = ({ task, database }: { task: Task; database: string }) =>
    Number(!task.attachments) + 2 * Number(database.startsWith("_"));
  places.sort((a, b) => rank(a) - rank(b));
  const found: Candidate[] = [];
  for (const { database, task } of places.slice(0, MOST_DATABASES)) {
    const { rows } = await couch.changes(database, { since: "0", limit: MOST_DOCUMENTS }, { signal });
    const docs = rows.filter(({ deleted }) => !deleted).map(({ id }) => ({ id }));
    if (docs.length === 0) continue;
    const body = new TextEncoder().encode(JSON.stringify({ docs }));
    const options = { revisions: false, attachments: false, signal };
    const text = await readUpTo(await couch.bulkGet(database, body, options), MOST_BYTES);
    if (text === undefined) continue;
    for (const { id, docs: leaves } of rowsOf(text, database)) {
      const facts = leaves.flatMap(({ ok }) => Object.values(ok?._attachments ?? {}));
      const bytes = facts.reduce((sum, { length = 0 }) => sum + length, 0);
      if (bytes <= MOST_BYTES && leaves.some(({ ok }) => ok !== undefined)) {
        found.push({ database, task, id, attachments: facts.length, bytes });
      }
    }
    if (found.some(({ attachments }) => attachments > 0)) break;
  }
  return found;
}

/** The rows of an answer as it came. @throws CouchError where it is none of CouchDB's. */
function rowsOf(text: string, database: string): BulkGetAnswer["results"] {
  let results: unknown;
  try {
    ({ results } = JSON.parse(text) as { results?: unknown });
  } catch {
    // It is not JSON, or cut off.
  }
  if (Array.isArray(results)) return results as BulkGetAnswer["results"];
  const reason = "it is not what CouchDB answers, or not whole";
  throw new CouchError(
    `Cannot read documents of database "${database}": CouchDB's answer is broken (${reason})`,
    { error: "cut_off", reason, database },
  );
}

function leavesOf(text: string): Record<string, AttachmentFacts>[] {
  const { results } = JSON.parse(text) as BulkGetAnswer;
  return results.flatMap(({ docs }) => docs.map(({ ok }) => ok?._attachments ?? {}));
}

/** The whole text, or undefined where it is longer than `mostBytes`. */
async function readUpTo(pieces: AsyncIterable<Uint8Array>, mostBytes: number): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > mostBytes) return undefined;
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}
