/**
 * Reads some documents of a database by their ids, to be compared with a backup: every leaf revision, by quorum. In: ids.
 * Out: what the caller makes of each revision. Passing failures are waited for; what CouchDB does not have is passed over.
 */
import { isDamage } from "../archive/damage.ts";
import { DocumentReader } from "../archive/document_reader.ts";
import { isLarge } from "../archive/documents.ts";
import { CHUNK_FORMAT } from "../archive/formats.ts";
import type { WalkedDocument } from "../archive/walk.ts";
import { counted } from "../counts.ts";
import type { CouchClient } from "../couchdb/client.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { CouchError, describeError, isTransient } from "../errors.ts";

/** What is read, and what becomes of it. */
export interface ReadDocumentsOptions<T> {
  couch: CouchClient;
  /** Decoded. */
  database: string;
  /** Whether each revision has its history. */
  revisions: boolean;
  /** Whether each has the contents of its attachments. */
  attachments: boolean;
  /** Makes what revisions are added to; once more where all is read again. */
  begin: () => T;
  /** Adds a leaf revision. A large one streams by, and must be read to its end. */
  add: (found: T, document: WalkedDocument) => Promise<unknown>;
  /** Is told those whose rows are still errors when patience ends. */
  onUnread?: ((documents: readonly UnreadableDocument[]) => void) | undefined;
  signal: AbortSignal;
}

/**
 * Reads documents. One whose row is still an error when patience ends is passed over, too.
 *
 * @throws CouchError when CouchDB refuses, or fails for longer than the retry policy's patience; the reason of `signal`.
 */
export async function readDocuments<T>(ids: readonly string[], options: ReadDocumentsOptions<T>): Promise<T> {
  const { couch, database, revisions, attachments, begin, add, onUnread, signal } = options;
  const body = new TextEncoder().encode(JSON.stringify({ docs: ids.map((id) => ({ id })) }));
  for (let attempt = 1;; attempt++) {
    const isLast = attempt >= couch.retry.attempts;
    let failure: CouchError;
    try {
      const answer = await couch.bulkGet(database, body, { revisions, attachments, signal });
      const found = begin();
      const reader = new DocumentReader(copiesOf(answer), { format: CHUNK_FORMAT });
      for await (const item of reader.read()) {
        for (const document of isLarge(item) ? [item] : item) await add(found, document);
      }
      const { lost, unreadable } = reader.counts;
      const [first] = unreadable;
      // With a node away a row may be an error that is none a moment later.
      if (lost === 0) return found;
      if (isLast) {
        onUnread?.(unreadable);
        return found;
      }
      failure = errorRows(
        database,
        lost,
        first === undefined ? "its row is an error" : `${first.error}, ${first.reason}`,
      );
    } catch (error) {
      if (isDamage(error)) failure = brokenAnswer(database, describeError(error));
      else if (error instanceof CouchError && isTransient(error)) failure = error;
      else throw error;
      if (isLast) throw failure;
    }
    await couch.waitAfterFailure(failure, attempt + 1, { signal });
  }
}

/** A piece of an answer is valid until the next one is asked for; a document may begin in one and end in another. */
async function* copiesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) yield piece.slice();
}

function errorRows(database: string, lost: number, reason: string): CouchError {
  const what = `Cannot read ${counted(lost, "document")} of database "${database}" again`;
  return new CouchError(`${what}: ${reason}`, { error: "error_row", reason, database }, { discreet: what });
}

function brokenAnswer(database: string, reason: string): CouchError {
  return new CouchError(
    `Cannot read documents of database "${database}" again: CouchDB's answer is broken (${reason})`,
    { error: "cut_off", reason, database },
  );
}
