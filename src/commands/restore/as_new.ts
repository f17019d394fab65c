/**
 * Restores single documents as new revisions: the backup's winner is written on top of the current one (another
 * revision, or the mark of a deletion), so that replicas see an edit and it wins everywhere. Other leaf revisions stay.
 * In: a backup and ids. Out: what became of each.
 */
import type { Archive } from "../../archive/archive.ts";
import { type Leaf, leafOf, revisionOf, walkDocuments, winnerOf } from "../../archive/walk.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import { RequestBody } from "../../couchdb/request_body.ts";
import { concat } from "../../concat.ts";
import { isRefusal } from "../../couchdb/write.ts";
import { CouchError, describeError, isTransient } from "../../errors.ts";
import { withRevision } from "../../json/spans.ts";
import type { Log } from "../../observe.ts";

/** A new revision is tried again so often where somebody else has written the document meanwhile. */
const MOST_CONFLICTS = 3;

/** What became of one document. */
export interface NewRevision {
  /** Its id. */
  id: string;
  /** The backup's revision whose content it is. */
  from: string;
  /** The revision that it was written onto; null where CouchDB had none. */
  onto: string | null;
  /** The new revision. */
  rev: string;
}

/** A document that was not written. */
export interface RefusedDocument {
  /** Its id. */
  id: string;
  /** Why, a sentence. */
  reason: string;
}

/** What came of all of them. */
export interface AsNewOutcome {
  written: NewRevision[];
  refused: RefusedDocument[];
}

/**
 * Writes the winners of some documents of an archive as new revisions. @throws CouchError when CouchDB cannot be
 * written to.
 */
export async function restoreAsNew(
  { couch, log, signal }: { couch: CouchClient; log: Log; signal: AbortSignal },
  archive: Archive,
  { database, ids }: { database: string; ids: readonly string[] },
): Promise<AsNewOutcome> {
  const outcome: AsNewOutcome = { written: [], refused: [] };
  const wanted = new Set(ids);
  const leaves = new Map<string, Leaf[]>();
  const isWanted = (id: string) => wanted.has(id);
  for await (const document of walkDocuments(archive, { isWanted, signal })) {
    const id = document.id ?? "";
    leaves.set(id, [...leaves.get(id) ?? [], await leafOf(document)]);
  }
  const winners = new Map<string, string>();
  for (const id of wanted) {
    const winner = winnerOf(leaves.get(id) ?? []);
    if (winner === undefined) outcome.refused.push({ id, reason: "The backup does not have it" });
    else if (winner.deleted) {
      outcome.refused.push({
        id,
        reason: "It is deleted in the backup: take an earlier one (find shows which have it)",
      });
    } else winners.set(id, winner.rev);
  }
  for await (const document of walkDocuments(archive, { isWanted: (id) => winners.has(id), signal })) {
    const id = document.id ?? "";
    const from = revisionOf(document);
    if (from === undefined || winners.get(id) !== from) continue;
    // A streamed document is held whole, as its revision, which is to be replaced, may stand anywhere in it.
    const bytes = "bytes" in document ? document.bytes.slice() : concat(await Array.fromAsync(document.stream));
    await writeOne({ couch, log, signal }, { database, id, from, bytes }, outcome);
  }
  return outcome;
}

async function writeOne(
  { couch, log, signal }: { couch: CouchClient; log: Log; signal: AbortSignal },
  { database, id, from, bytes }: { database: string; id: string; from: string; bytes: Uint8Array },
  outcome: AsNewOutcome,
): Promise<void> {
  const refuse = (reason: string) => {
    outcome.refused.push({ id, reason });
    log.error("document is not restored", { database, id, reason });
  };
  for (let attempt = 1;; attempt++) {
    const shown = (await couch.newestRevisions(database, [id], { signal })).get(id);
    const onto = shown?.rev;
    // Onto a tombstone CouchDB puts a document that names no revision. One that names the tombstone's is refused as a
    // conflict.
    const named = shown?.deleted === true ? undefined : onto;
    const body = new RequestBody("new", [{ id, bytes: withRevision(bytes, named) }]);
    let row;
    try {
      [row] = (await couch.bulkDocs(database, body.json(), { signal })).rows;
    } catch (error) {
      if (isRefusal(error)) return refuse(describeError(error));
      if (!(error instanceof CouchError) || !isTransient(error) || attempt >= couch.retry.attempts) throw error;
      await couch.waitAfterFailure(error, attempt + 1, { signal });
      continue;
    }
    if (row?.error === undefined && row?.rev !== undefined) {
      outcome.written.push({ id, from, onto: onto ?? null, rev: row.rev });
      log.info("document is restored as a new revision", { database, id, from, onto, rev: row.rev });
      return;
    }
    if (row?.error === "conflict" && attempt < MOST_CONFLICTS) continue;
    return refuse(`CouchDB answered ${row?.error ?? "nothing"}${row?.reason ? `, "${row.reason}"` : ""}`);
  }
}
