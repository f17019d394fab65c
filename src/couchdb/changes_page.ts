/**
 * What the changes feed answers, checked: less than what was asked for is an error and never the end of the list. In: JSON
 * values as they came. Out: rows and positions.
 */
import { CouchError } from "../errors.ts";
import { strangeAnswer } from "./answers.ts";

/** A row of the changes feed: a document that has been written, with all its leaf revisions. */
export interface ChangesRow {
  /** The document's id. */
  id: string;
  /** Its leaf revisions, deleted ones too, the winner first. */
  revs: string[];
  /** Whether the winner is deleted. */
  deleted: boolean;
  /** The position behind the row; undefined where it was not asked for. */
  position: string | undefined;
}

/** A page of the changes feed. */
export interface ChangesPage {
  /** In the order of the feed, which is partial. */
  rows: ChangesRow[];
  /** The position behind the page. */
  last_seq: string;
  /** How many rows follow; undefined where CouchDB does not say (1.x, and servers like it). */
  pending: number | undefined;
}

/** A page of the feed, checked: less than a page is an error and never the end of the list. */
export function readChangesPage(answer: unknown, database: string): ChangesPage {
  const { results, last_seq, pending } = (answer ?? {}) as { results?: unknown; last_seq?: unknown; pending?: unknown };
  if (!Array.isArray(results) || last_seq === undefined || last_seq === null) {
    const lacking = Array.isArray(results) ? "last_seq" : "results";
    throw new CouchError(
      `Cannot list the documents of database "${database}": the changes feed has no "${lacking}"`,
      { error: "cut_off", reason: `no ${lacking}`, database },
    );
  }
  return {
    rows: results.map((row) => readChangesRow(row, database)),
    last_seq: positionText(last_seq),
    pending: readPending(pending, database),
  };
}

/** How many rows follow; undefined where that is not said. @throws CouchError when it is no count. */
export function readPending(pending: unknown, database: string): number | undefined {
  if (pending === undefined || pending === null) return undefined;
  if (typeof pending === "number" && Number.isSafeInteger(pending) && pending >= 0) return pending;
  throw strangeAnswer(
    { action: `list the documents of database "${database}"`, database },
    'has in "pending" no whole number of at least 0',
  );
}

/** A row of the feed. @throws CouchError when it is none. */
export function readChangesRow(row: unknown, database: string): ChangesRow {
  const { id, changes, deleted, seq } = (row ?? {}) as {
    id?: unknown;
    changes?: unknown;
    deleted?: unknown;
    seq?: unknown;
  };
  if (typeof id === "string" && Array.isArray(changes) && changes.every(hasRev)) {
    const revs = changes.map(({ rev }) => rev);
    const position = seq === undefined || seq === null ? undefined : positionText(seq);
    return { id, revs, deleted: deleted === true, position };
  }
  throw new CouchError(
    `Cannot list the documents of database "${database}": a row of the changes feed has no id or no revisions`,
    { error: "cut_off", reason: "a row without id or changes", database },
  );
}

function hasRev(change: unknown): change is { rev: string } {
  return typeof (change as { rev?: unknown } | null)?.rev === "string";
}

/** A position as text: a number before CouchDB 2.0, an array in BigCouch. */
export function positionText(position: unknown): string {
  return typeof position === "string" ? position : JSON.stringify(position);
}
