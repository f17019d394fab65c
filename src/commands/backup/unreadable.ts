/**
 * Tries first what the last backup could not read. In: its unreadable documents. Out: those that still cannot be read;
 * they are left out of every batch, which they would only break.
 */
import { IdBatch, type ListedDocument } from "../../couchdb/batch.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { BatchReader, passOver } from "../../couchdb/read.ts";
import type { Task } from "../../task/task.ts";
import type { Run } from "./context.ts";

/** Of the documents that could not be read the last time, those that cannot be read now. */
export async function findStillUnreadable(
  { couch, log, signal, stop }: Run,
  { database, task: { revisions, attachments } }: { database: string; task: Task },
  previous: readonly UnreadableDocument[],
): Promise<UnreadableDocument[]> {
  const still: UnreadableDocument[] = [];
  for (const id of new Set(previous.map(({ id }) => id))) {
    stop.throwIfAborted();
    // Many of them, each tried with all patience, would take hours. A row of failures is what is to be expected here.
    const health = { unreadableInARow: 0, knowsUnreadable: still.length > 0 };
    const options = { revisions, attachments, log, health };
    const reader = new BatchReader(couch, database, IdBatch.of([{ id, revs: [] }]), options);
    await reader.readThrough(passOver, { signal });
    still.push(...reader.unreadable);
    if (reader.unreadable.length === 0) log.info("document can be read again", { id });
  }
  return still;
}

/**
 * What an increment does about the documents that the backup before could not read: those that can be read now are
 * fetched, whether they have changed or not. Of a document that could be read but for a revision, that stays as it was
 * until the document changes.
 */
export async function findLacking(
  context: Run,
  job: { database: string; task: Task },
  previous: readonly UnreadableDocument[],
): Promise<{ still: UnreadableDocument[]; lacking: ListedDocument[] }> {
  const whole = previous.filter(({ rev }) => rev === undefined);
  const unreadable = await findStillUnreadable(context, job, whole);
  const ids = new Set(unreadable.map(({ id }) => id));
  const lacking = [...new Set(whole.map(({ id }) => id))].filter((id) => !ids.has(id)).map((id) => ({ id, revs: [] }));
  return { still: [...unreadable, ...previous.filter(({ rev }) => rev !== undefined)], lacking };
}
