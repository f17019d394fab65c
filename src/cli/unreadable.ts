/** How commands tell people of documents that CouchDB could not read: in go entries of a manifest, out come lines. */
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { counted } from "../counts.ts";

/**
 * A line for each document that a backup lacks because CouchDB could not read it, at most `most` of them, and the sum.
 */
export function describeUnreadable(unreadable: readonly UnreadableDocument[], most: number): string[] {
  const lines = unreadable.slice(0, most).map(({ id, rev, error, reason }) =>
    `  not in the backup, CouchDB could not read it: ${describeRevision(id, rev)}: ${error}, ${reason}`
  );
  if (unreadable.length > most) lines.push(`  not in the backup: ${counted(unreadable.length, "document")} in all`);
  return lines;
}

/** A document's id, quoted, and its revision where that is known. */
export function describeRevision(id: string, rev: string | undefined): string {
  return rev === undefined || rev === "" ? JSON.stringify(id) : `${JSON.stringify(id)} ${rev}`;
}
