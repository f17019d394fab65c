/** Documents written into the double's databases without a request, as clients do beside a backup. */
import type { Database } from "./database.ts";
import { readDocument } from "./document.ts";

/** Makes each document the newest revision of its id, as a client does that has read it before; `_deleted` deletes. */
export function edit(database: Database, ...documents: Record<string, unknown>[]): void {
  const incoming = documents.map((document) => {
    const { id, ...rest } = readDocument(JSON.stringify(document), { maxDocumentBytes: Infinity });
    if (id === undefined) throw new TypeError("A document that is edited must have an _id");
    const winner = database.tree(id)?.winner();
    // What is deleted begins anew: CouchDB takes an edit that names the mark for a conflict.
    const isThere = winner !== undefined && winner.content?.deleted !== true;
    const history = isThere ? { start: winner.generation, ids: [winner.hash] } : undefined;
    return { ...rest, id, history };
  });
  const rows = database.write(incoming, { newEdits: true, user: "admin", refusedRows: new Map() });
  for (const { refusal } of rows) if (refusal !== undefined) throw refusal;
}

/** Adds documents named by numbers, `d0000000` and so on. Returns their ids. */
export function fill(
  database: Database,
  count: number,
  { from = 0, prefix = "d" }: { from?: number; prefix?: string } = {},
): string[] {
  const ids = Array.from({ length: count }, (_, at) => `${prefix}${String(from + at).padStart(7, "0")}`);
  edit(database, ...ids.map((_id, at) => ({ _id, n: from + at })));
  return ids;
}
