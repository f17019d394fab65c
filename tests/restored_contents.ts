/** What a database holds, a line a leaf revision, whatever the order of members: programs of others have their own. */
import type { CouchServer } from "./couch_request.ts";
import { readAllLeafRevisions } from "./leaf_revisions.ts";

/** Every leaf revision of the live documents and of `deletedIds`, its body, history and attachments, sorted. */
export async function restoredContents(
  server: CouchServer,
  name: string,
  deletedIds: readonly string[],
): Promise<string[]> {
  const leaves = await readAllLeafRevisions(server, name, { by: "_bulk_get", also: deletedIds });
  const lines: string[] = [];
  for (const [id, texts] of leaves) {
    for (const [rev, text] of texts) lines.push(`${id} ${rev} ${JSON.stringify(sorted(JSON.parse(text)))}`);
  }
  return lines.sort();
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]));
}
