/**
 * The endpoints of a database that read and write many documents at once, and what belongs to replication: what is
 * missing, and what is forgotten.
 */
import {
  type CouchAnswer,
  type CouchRequest,
  jsonAnswer,
  objectBody,
  Refusal,
  type RefusedRows,
  textAnswer,
} from "./answer.ts";
import { checkId, type IncomingDocument, parseRevision, readDocument } from "./document.ts";
import { renderRevision } from "./document_endpoints.ts";
import { type NamedDocument, UNREACHABLE, type WriteRow } from "./document_writer.ts";
import { elementsOf, kindOf, type Member, objectText } from "./json_text.ts";
import { compareRevisions, type Revision, revisionName } from "./revision_tree.ts";
import type { DatabaseCall } from "./server_state.ts";

/** `POST /{db}/_bulk_get` */
export function bulkGet(request: CouchRequest, call: DatabaseCall): CouchAnswer {
  for (const name of ["open_revs", "new_edits", "w", "rev", "atts_since"]) {
    if (request.query.has(name)) {
      throw new Refusal(400, "bad_request", `"${name}" query parameter is not acceptable`);
    }
  }
  const docs = new Map(objectBody(request.body)).get("docs");
  if (docs === undefined) throw new Refusal(400, "bad_request", "Missing JSON list of 'docs'.");
  const pieces: string[] = [];
  const isNew = call.state.isAtLeast(3, 3);
  const all = elementsOf(docs);
  const refusedRows = new Map([...unreachableRows(all, call), ...request.refusedRows]);
  for (const [index, asked] of all.entries()) {
    const { id, rows } = bulkGetRows(asked, { ...request, refusedRows }, call);
    const name = JSON.stringify(id);
    pieces.push(`${index === 0 ? "" : ","}${isNew ? `{"id":${name},"docs":[` : `{"id": ${name}, "docs": [`}`);
    rows.forEach((row, at) => pieces.push(at === 0 ? row : `,${row}`));
    pieces.push("]}");
  }
  pieces.unshift(isNew ? '{"results":[' : '{"results": [');
  pieces.push("]}\n");
  // From 3.3 on the answer is made in memory, sent when it is whole, and has no spaces.
  return { status: 200, headers: {}, pieces, streamed: !isNew };
}

/**
 * The rows of a batch that speaks of a range of which no node is there: from 3.3 on all are errors, for the batch is
 * read as one (3.5.0); before that each is read for itself.
 */
function unreachableRows(asked: readonly string[], { state, database }: DatabaseCall): RefusedRows {
  if (database.shards.isComplete) return new Map();
  const ids = asked.filter((text) => kindOf(text) === "object").map((text) => (JSON.parse(text) as { id?: string }).id)
    .filter((id) => id !== undefined);
  const unreachable = ids.filter((id) => !database.shards.isReachable(id));
  const refused = unreachable.length > 0 && state.isAtLeast(3, 3) ? ids : unreachable;
  const reason = '{error,{nodedown,<<"progress not possible">>}}';
  return new Map(refused.map((id) => [id, { error: "internal_fabric_error", reason }]));
}

function bulkGetRows(
  asked: string,
  { query, refusedRows }: CouchRequest,
  { state, database }: DatabaseCall,
): { id: string | null; rows: string[] } {
  const failure = (id: string | null, rev: unknown, error: string, reason: string) => ({
    id,
    rows: [JSON.stringify({ error: { id, rev, error, reason } })],
  });
  if (kindOf(asked) !== "object") return failure(null, null, "bad_request", "document must be a JSON object");
  const { id, rev } = JSON.parse(asked) as { id?: string; rev?: string };
  if (id === undefined) return failure(null, null, "bad_request", "document id missed");
  const refused = refusedRows.get(id);
  if (refused !== undefined) return failure(id, rev ?? "undefined", refused.error, refused.reason);
  try {
    checkId(id);
    if (rev !== undefined) parseRevision(rev);
  } catch (error) {
    if (error instanceof Refusal) return failure(id, rev ?? null, error.error, error.reason);
    throw error;
  }
  const tree = database.tree(id);
  let found = tree?.leavesAsTree() ?? [];
  if (rev !== undefined) {
    const revision = tree?.get(rev);
    found = revision === undefined
      ? []
      : query.get("latest") === "true"
      ? tree!.leavesBelow(revision)
      : revision.content === undefined
      ? []
      : [revision];
  }
  if (!state.isAtLeast(3, 3)) found.sort(compareRevisions);
  if (found.length === 0) return failure(id, rev ?? "undefined", "not_found", "missing");
  return { id, rows: found.map((revision) => `{"ok":${renderRevision(id, revision, query)}}`) };
}

/** `POST /{db}/_bulk_docs` */
export function bulkDocs(request: CouchRequest, { state, database, user }: DatabaseCall): CouchAnswer {
  const members = new Map(objectBody(request.body));
  const docs = members.get("docs");
  if (docs === undefined) throw new Refusal(400, "bad_request", "POST body must include `docs` parameter.");
  if (kindOf(docs) !== "array") throw new Refusal(400, "bad_request", "`docs` parameter must be an array.");
  const newEdits: unknown = JSON.parse(members.get("new_edits") ?? "true");
  if (typeof newEdits !== "boolean") {
    throw new Refusal(400, "bad_request", "`new_edits` parameter must be a boolean.");
  }
  const documents = elementsOf(docs).map((text) => withId(readDocument(text, state.options)));
  const hasFailed = !newEdits && documents.some(({ history }) => history === undefined) && !state.isAtLeast(3, 3);
  if (hasFailed) throw new Refusal(500, "unknown_error", "function_clause");
  const rows = database.write(documents, { newEdits, user, refusedRows: request.refusedRows });
  const answered = newEdits ? rows : rows.filter(({ refusal }) => refusal !== undefined);
  const isQuorum = rows.every(({ isQuorum }) => isQuorum);
  const status = rows.some(({ refusal }) => refusal === UNREACHABLE) ? 500 : isQuorum ? 201 : 202;
  return jsonAnswer(status, answered.map((row) => bulkRow(row, newEdits)));
}

function bulkRow({ id, revision, refusal, isQuorum }: WriteRow, newEdits: boolean): Record<string, unknown> {
  if (refusal === undefined) return { ok: true, id, rev: revision, ...(isQuorum ? {} : { accepted: true }) };
  const { error, reason } = refusal;
  return newEdits ? { id, error, reason } : { id, rev: revision, error, reason };
}

/** `POST /{db}/_revs_diff` */
export function revsDiff({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const answer = objectBody(body).flatMap(([id, text]): Member[] => {
    // What cannot be reached is said to be missing (3.5.0).
    const tree = database.shards.isReachable(id) ? database.tree(id) : undefined;
    const asked = (JSON.parse(text) as string[]).map((name) => ({ name, history: parseRevision(name) }));
    const missing = asked.filter(({ name }) => tree?.get(name) === undefined);
    if (missing.length === 0) return [];
    const newest = Math.max(...missing.map(({ history }) => history.start));
    const ancestors = (tree?.leaves() ?? []).filter((leaf: Revision<unknown>) => leaf.generation < newest);
    return [[
      id,
      JSON.stringify({
        missing: missing.map(({ name }) => name).sort(),
        ...(ancestors.length === 0 ? {} : { possible_ancestors: ancestors.map(revisionName) }),
      }),
    ]];
  });
  return textAnswer(200, objectText(answer));
}

/** `POST /{db}/_purge` */
export function purge({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const asked = Object.fromEntries(objectBody(body).map(([id, text]) => [id, JSON.parse(text) as string[]]));
  return jsonAnswer(201, { purge_seq: null, purged: database.purge(asked) });
}

/** A document with an id of its own or one that is made up. */
export function withId(document: IncomingDocument): NamedDocument {
  return { ...document, id: document.id ?? crypto.randomUUID().replaceAll("-", "") };
}
