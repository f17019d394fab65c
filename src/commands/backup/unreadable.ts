/**
 * Tries first what the last backup could not read. In: its unreadable documents. Out: those that still cannot be read; they
 * are left out of every batch, which they would only break.
 */
import { IdBatch } from "../../couchdb/batch.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { BatchReader } from "../../couchdb/read.ts";
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
    const reader = new BatchReader(couch, database, IdBatch.of([{ id, revs: [] }]), { revisions, attachments, log });
    for await (const _ of reader.read({ signal })) { /* Only whether it comes. */ }
    still.push(...reader.unreadable);
    if (reader.unreadable.length === 0) log.info("document can be read again", { id });
  }
  return still;
}
