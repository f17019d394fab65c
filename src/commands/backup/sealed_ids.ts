/**
 * Recovers the ids of documents that an earlier backup could not read and whose ids it has sealed, without the identity
 * that would unseal them. In: a manifest or checkpoint. Out: its unreadable documents, by id. For this all ids of the
 * database are listed and hashed; few databases have such documents.
 */
import type { Checkpoint, Manifest } from "../../archive/manifest.ts";
import { sealedLookup } from "../../archive/sealed.ts";
import { IdBatch, type ListedDocument } from "../../couchdb/batch.ts";
import { listChanges } from "../../couchdb/changes.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { BatchReader, passOver } from "../../couchdb/read.ts";
import type { Run } from "./context.ts";

type Sealable = Pick<Manifest | Checkpoint, "unreadable" | "sealed" | "options">;

/** Its unreadable documents, as it names them, or found by their hashes. One that is not there any more is left out. */
export async function findUnreadable(
  run: Run,
  database: string,
  { unreadable, sealed, options }: Sealable,
): Promise<UnreadableDocument[]> {
  if (sealed === undefined || unreadable.length === 0) return [...unreadable];
  const { couch, log, signal } = run;
  const look = sealedLookup(sealed);
  const found = new Map<string, ListedDocument & { isPart: boolean }>();
  for await (const { rows } of listChanges(couch, database, { since: "0", log, signal })) {
    for (const { id, revs } of rows) {
      const document = look(id);
      if (document !== undefined) found.set(id, { id, revs, isPart: document.part === true });
    }
    run.stop.throwIfAborted();
  }
  log.info("documents that could not be read are found again by their hashes", {
    documents: found.size,
    of: new Set(sealed.unreadable.map(({ id }) => id)).size,
  });
  const named: UnreadableDocument[] = [];
  for (const { isPart, ...document } of found.values()) {
    named.push(...isPart ? await readAgain(run, database, { document, options }) : [nameless(document.id)]);
  }
  return named;
}

/** Which revisions of a document cannot be read; where all can, it is tried as a whole. */
async function readAgain(
  { couch, log, signal }: Run,
  database: string,
  { document, options: { revisions, attachments } }: { document: ListedDocument } & Pick<Sealable, "options">,
): Promise<UnreadableDocument[]> {
  const reader = new BatchReader(couch, database, IdBatch.of([document]), { revisions, attachments, log });
  await reader.readThrough(passOver, { signal });
  return reader.unreadable.length === 0 ? [nameless(document.id)] : reader.unreadable;
}

function nameless(id: string): UnreadableDocument {
  return { id, error: "sealed", reason: "CouchDB could not read it when an earlier backup was made" };
}
