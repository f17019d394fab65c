/**
 * All that a backup must hold of a database, read straight from CouchDB by code that shares nothing with the program:
 * the text of every leaf revision with its history and its attachments. What is equal here is equal byte for byte.
 */
import { couch, couchOk, type CouchServer } from "./couch_request.ts";
import { elementsOf, membersOf } from "./fakes/couchdb/json_text.ts";

/** The text of each leaf revision, by document id and revision. */
export type LeafRevisions = Map<string, Map<string, string>>;

/** How leaf revisions are read. */
export interface ReadOptions {
  /**
   * The endpoint that is asked: one document a request, or many. They must agree, so a test that suspects one of them
   * uses the other. The ids `.` and `..` are always asked for by `_bulk_get`. @default "open_revs"
   */
  by?: "open_revs" | "_bulk_get";
  /** Documents in addition to those that `_all_docs` lists, such as deleted ones. */
  also?: readonly string[];
}

const IDS_A_REQUEST = 500;
const IN_FLIGHT = 4;

/** Reads all leaf revisions of all live documents of the database `name`, decoded. */
export async function readAllLeafRevisions(
  server: CouchServer,
  name: string,
  { by = "open_revs", also = [] }: ReadOptions = {},
): Promise<LeafRevisions> {
  const path = `/${encodeURIComponent(name)}`;
  const listed = await couchOk(server, `GET ${path}/_all_docs`);
  const ids = [...(listed.json.rows as { id: string }[]).map(({ id }) => id), ...also];
  const all: LeafRevisions = new Map(ids.map((id) => [id, new Map()]));
  const parts = by === "open_revs" ? ids.map((id) => [id]) : inParts(ids, IDS_A_REQUEST);
  const readNext = async () => {
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const [only] = part;
      const texts = by === "open_revs" && !isLostInUrl(only!)
        ? await openRevisions(server, path, only!)
        : await bulkGet(server, path, part);
      for (const text of texts) {
        const members = new Map(membersOf(text));
        const [id, revision] = ["_id", "_rev"].map((key) => JSON.parse(members.get(key)!) as string);
        all.get(id!)!.set(revision!, text);
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, readNext));
  return all;
}

/** How two databases differ, a sentence for each revision, at most `limit` of them. Empty when they are equal. */
export function compareLeafRevisions(left: LeafRevisions, right: LeafRevisions, limit = 20): string[] {
  const differences: string[] = [];
  for (const id of new Set([...left.keys(), ...right.keys()])) {
    const [before, after] = [left.get(id), right.get(id)];
    for (const revision of new Set([...before?.keys() ?? [], ...after?.keys() ?? []])) {
      const [was, is] = [before?.get(revision), after?.get(revision)];
      if (was === is) continue;
      const name = `${JSON.stringify(id.slice(0, 80))} ${revision}`;
      if (was === undefined) differences.push(`${name} is only in the second`);
      else if (is === undefined) differences.push(`${name} is only in the first`);
      else differences.push(`${name} differs: ${excerpts(was, is)}`);
      if (differences.length === limit) return differences;
    }
  }
  return differences;
}

async function openRevisions(server: CouchServer, path: string, id: string): Promise<string[]> {
  const query = "open_revs=all&revs=true&attachments=true";
  const reply = await couchOk(server, `GET ${path}/${encodeId(id)}?${query}`);
  return elementsOf(reply.text).map((row) => okOf(row, id));
}

async function bulkGet(server: CouchServer, path: string, ids: string[]): Promise<string[]> {
  const reply = await couchOk(server, `POST ${path}/_bulk_get?revs=true&attachments=true`, {
    docs: ids.map((id) => ({ id })),
  });
  const results = elementsOf(new Map(membersOf(reply.text)).get("results")!);
  return results.flatMap((result, index) => {
    const docs = elementsOf(new Map(membersOf(result)).get("docs")!);
    return docs.map((row) => okOf(row, ids[index]!));
  });
}

/** URLs drop the path segments `.` and `..`, encoded or not: no GET reaches documents of these ids. */
function isLostInUrl(id: string): boolean {
  return id === "." || id === "..";
}

function okOf(row: string, id: string): string {
  const ok = new Map(membersOf(row)).get("ok");
  if (ok === undefined) throw new Error(`A leaf revision of ${JSON.stringify(id)} cannot be read: ${row}`);
  return ok;
}

/** An id in a path: `_design/x` keeps its slash, all else is encoded. */
function encodeId(id: string): string {
  const match = /^(_design|_local)\/(.*)$/s.exec(id);
  return match === null ? encodeURIComponent(id) : `${match[1]}/${encodeURIComponent(match[2]!)}`;
}

/** Whether the server has a revision, leaf or not. */
export async function hasRevision(
  server: CouchServer,
  name: string,
  { id, revision }: { id: string; revision: string },
): Promise<boolean> {
  const reply = await couch(server, `POST /${encodeURIComponent(name)}/_revs_diff`, { [id]: [revision] });
  return reply.status === 200 && reply.text.trim() === "{}";
}

function inParts<Item>(items: readonly Item[], size: number): Item[][] {
  const parts: Item[][] = [];
  for (let start = 0; start < items.length; start += size) parts.push(items.slice(start, start + size));
  return parts;
}

function excerpts(was: string, is: string): string {
  let at = 0;
  while (was[at] === is[at]) at++;
  const around = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 30), at + 50));
  return `${around(was)} and ${around(is)} at character ${at}`;
}
