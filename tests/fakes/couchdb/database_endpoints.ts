/**
 * The endpoints of one database but those of a single document: settings, listings, bulk reading and writing, views.
 */
import {
  checkJson,
  type CouchAnswer,
  type CouchRequest,
  jsonAnswer,
  methodNotAllowed,
  Refusal,
  textAnswer,
} from "./answer.ts";
import type { NamedDocument, WriteRow } from "./database.ts";
import { hasView, isMapOnly } from "./design_document.ts";
import { checkId, type IncomingDocument, parseRevision, readDocument } from "./document.ts";
import { answerDocument, renderLocal, renderRevision } from "./document_endpoints.ts";
import { elementsOf, kindOf, type Member, membersOf, objectText } from "./json_text.ts";
import { applyRange, readRange } from "./key_range.ts";
import { compareRevisions, type Revision, revisionName } from "./revision_tree.ts";
import type { DatabaseCall } from "./server_state.ts";

type Endpoint = (request: CouchRequest, call: DatabaseCall) => CouchAnswer;

const ENDPOINTS: Record<string, Record<string, Endpoint>> = {
  _security: { GET: readSecurity, PUT: writeSecurity },
  _revs_limit: { GET: readRevsLimit, PUT: writeRevsLimit },
  _all_docs: { GET: allDocuments, POST: allDocuments },
  _local_docs: { GET: localDocuments },
  _bulk_get: { POST: bulkGet },
  _bulk_docs: { POST: bulkDocs },
  _revs_diff: { POST: revsDiff },
  _purge: { POST: purge },
  _ensure_full_commit: { POST: () => jsonAnswer(201, { ok: true, instance_start_time: "0" }) },
};

/** Answers a request for a database. @throws Refusal where CouchDB refuses. */
export function answerDatabase(request: CouchRequest, call: DatabaseCall): CouchAnswer {
  const [, name, ...rest] = request.segments;
  const method = request.method === "HEAD" ? "GET" : request.method;
  if (method === "POST") checkContentType(request);
  if (name === undefined) {
    if (method === "GET") return properties(call);
    if (method === "POST") return createDocument(request, call);
    throw methodNotAllowed(["DELETE", "GET", "HEAD", "POST"]);
  }
  if (name === "_design" && rest[1] === "_view" && method === "GET") return view(request, call);
  const endpoints = rest.length === 0 && Object.hasOwn(ENDPOINTS, name) ? ENDPOINTS[name] : undefined;
  if (endpoints === undefined) return answerDocument(request, call);
  const endpoint = endpoints[method];
  if (endpoint === undefined) throw methodNotAllowed(Object.keys(endpoints));
  return endpoint(request, call);
}

function properties({ database }: DatabaseCall): CouchAnswer {
  const { name, q, n, partitioned } = database.properties;
  return jsonAnswer(200, {
    instance_start_time: String(database.createdAt),
    db_name: name,
    purge_seq: "0-g1AAAABXeJzLYWBgYMpgTmEQTM4vTc5ISXIwNDLXMwBCwxyQVB4L",
    update_seq: database.updateSeq,
    sizes: { file: 16700, external: 0, active: 0 },
    props: partitioned ? { partitioned } : {},
    doc_del_count: database.deletedCount,
    doc_count: database.liveIds.length,
    disk_format_version: 8,
    compact_running: false,
    cluster: { q, n, w: 1, r: 1 },
  });
}

function readSecurity(_request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  return textAnswer(200, database.security);
}

function writeSecurity({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  checkJson(body);
  if (kindOf(body) !== "object") throw new Refusal(500, "error", "no_majority");
  database.security = body.trim();
  return jsonAnswer(200, { ok: true });
}

function readRevsLimit(_request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  return jsonAnswer(200, database.revsLimit);
}

function writeRevsLimit({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const limit = checkJson(body);
  if (!Number.isInteger(limit) || (limit as number) <= 0) throw new Refusal(500, "unknown_error", "function_clause");
  database.revsLimit = limit as number;
  return jsonAnswer(200, { ok: true });
}

function createDocument(request: CouchRequest, { state, database, user }: DatabaseCall): CouchAnswer {
  checkJson(request.body);
  const document = withId(readDocument(request.body, state.options));
  const [row] = database.write([document], { newEdits: true, user, refusedRows: request.refusedRows });
  if (row!.refusal !== undefined) throw row!.refusal;
  return jsonAnswer(201, { ok: true, id: row!.id, rev: row!.revision });
}

function allDocuments(request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const options = request.method === "POST" && request.body !== "" ? queryOf(request) : request.query;
  const keys = options.get("keys");
  const withDocuments = options.get("include_docs") === "true";
  const row = (id: string) => {
    const winner = database.liveWinner(id);
    if (winner === undefined) return JSON.stringify({ key: id, error: "not_found" });
    const head = JSON.stringify({ id, key: id, value: { rev: revisionName(winner) } });
    return withDocuments ? `${head.slice(0, -1)},"doc":${database.winnerText(id)}}` : head;
  };
  const total = database.liveIds.length;
  if (keys !== null) return rowsAnswer({ total, offset: null }, (JSON.parse(keys) as string[]).map(row));
  const { found, offset } = applyRange(database.liveIds, readRange(options));
  return rowsAnswer({ total, offset }, found.map(row));
}

function localDocuments({ query }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const { found } = applyRange([...database.localDocuments.keys()].sort(), readRange(query));
  const rows = found.map((id) => {
    const document = database.localDocuments.get(id)!;
    const head = JSON.stringify({ id, key: id, value: { rev: `0-${document.revision}` } });
    return query.get("include_docs") === "true" ? `${head.slice(0, -1)},"doc":${renderLocal(id, document)}}` : head;
  });
  return rowsAnswer({ total: null, offset: null }, rows);
}

/** A listing as CouchDB writes it: a row a line, sent as the rows are read. */
function rowsAnswer(
  { total, offset }: { total: number | null; offset: number | null },
  rows: readonly string[],
): CouchAnswer {
  const pieces = [`{"total_rows":${total},"offset":${offset},"rows":[\r\n`];
  rows.forEach((row, index) => pieces.push(index === 0 ? row : `,\r\n${row}`));
  pieces.push("\r\n]}\n");
  return { status: 200, headers: {}, pieces, streamed: true };
}

/** The options of a posted listing, which may stand in its body as well as in its URL. */
function queryOf(request: CouchRequest): URLSearchParams {
  const query = new URLSearchParams(request.query);
  for (const [name, value] of objectBody(request.body)) {
    query.set(name, kindOf(value) === "string" && !/key$/.test(name) ? JSON.parse(value) : value);
  }
  return query;
}

function bulkGet(request: CouchRequest, call: DatabaseCall): CouchAnswer {
  for (const name of ["open_revs", "new_edits", "w", "rev", "atts_since"]) {
    if (request.query.has(name)) {
      throw new Refusal(400, "bad_request", `"${name}" query parameter is not acceptable`);
    }
  }
  const docs = new Map(objectBody(request.body)).get("docs");
  if (docs === undefined) throw new Refusal(400, "bad_request", "Missing JSON list of 'docs'.");
  const pieces: string[] = [];
  for (const [index, asked] of elementsOf(docs).entries()) {
    const { id, rows } = bulkGetRows(asked, request, call);
    pieces.push(`${index === 0 ? "" : ","}{"id":${JSON.stringify(id)},"docs":[`);
    rows.forEach((row, at) => pieces.push(at === 0 ? row : `,${row}`));
    pieces.push("]}");
  }
  pieces.unshift('{"results":[');
  pieces.push("]}\n");
  // From 3.3 on the answer is made in memory and sent when it is whole.
  return { status: 200, headers: {}, pieces, streamed: !call.state.isAtLeast(3, 3) };
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
  } else if (!state.isAtLeast(3, 3)) {
    found.sort(compareRevisions);
  }
  if (found.length === 0) return failure(id, rev ?? "undefined", "not_found", "missing");
  return { id, rows: found.map((revision) => `{"ok":${renderRevision(id, revision, query)}}`) };
}

function bulkDocs(request: CouchRequest, { state, database, user }: DatabaseCall): CouchAnswer {
  const members = new Map(objectBody(request.body));
  const docs = members.get("docs");
  if (docs === undefined) throw new Refusal(400, "bad_request", "POST body must include `docs` parameter.");
  if (kindOf(docs) !== "array") throw new Refusal(400, "bad_request", "`docs` parameter must be an array.");
  const newEdits: unknown = JSON.parse(members.get("new_edits") ?? "true");
  if (typeof newEdits !== "boolean") {
    throw new Refusal(400, "bad_request", "`new_edits` parameter must be a boolean.");
  }
  const documents = elementsOf(docs).map((text) => withId(readDocument(text, state.options)));
  const rows = database.write(documents, { newEdits, user, refusedRows: request.refusedRows });
  const answered = newEdits ? rows : rows.filter(({ refusal }) => refusal !== undefined);
  return jsonAnswer(201, answered.map((row) => bulkRow(row, newEdits)));
}

function bulkRow({ id, revision, refusal }: WriteRow, newEdits: boolean): Record<string, unknown> {
  if (refusal === undefined) return { ok: true, id, rev: revision };
  const { error, reason } = refusal;
  return newEdits ? { id, error, reason } : { id, rev: revision, error, reason };
}

function revsDiff({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const answer = objectBody(body).flatMap(([id, text]): Member[] => {
    const tree = database.tree(id);
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

function purge({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const asked = Object.fromEntries(objectBody(body).map(([id, text]) => [id, JSON.parse(text) as string[]]));
  return jsonAnswer(201, { purge_seq: null, purged: database.purge(asked) });
}

/** Views have no rows here: a restore asks for none, only for their index to be built. */
function view({ segments }: CouchRequest, { state, database }: DatabaseCall): CouchAnswer {
  const [, , design = "", , name = ""] = segments;
  const text = database.winnerText(`_design/${design}`);
  if (text === undefined) throw new Refusal(404, "not_found", "missing");
  if (!hasView(text, name)) throw new Refusal(404, "not_found", "missing_named_view");
  const call = `${database.name}/_design/${design}/_view/${name}`;
  state.viewCalls.set(call, (state.viewCalls.get(call) ?? 0) + 1);
  if (isMapOnly(text, name)) return rowsAnswer({ total: 0, offset: 0 }, []);
  return { status: 200, headers: {}, pieces: ['{"rows":[\r\n', "\r\n]}\n"], streamed: true };
}

function withId(document: IncomingDocument): NamedDocument {
  return { ...document, id: document.id ?? crypto.randomUUID().replaceAll("-", "") };
}

function objectBody(body: string): Member[] {
  checkJson(body);
  if (kindOf(body) !== "object") throw new Refusal(400, "bad_request", "Request body must be a JSON object");
  return membersOf(body);
}

function checkContentType({ headers }: CouchRequest): void {
  if (!/^application\/json\b/.test(headers.get("content-type") ?? "")) {
    throw new Refusal(415, "bad_content_type", "Content-Type must be application/json");
  }
}
