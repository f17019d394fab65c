/**
 * The endpoints of one database but those of a single document: settings, listings, views,
 * and the way to the others.
 */
import {
  checkContentType,
  checkJson,
  type CouchAnswer,
  type CouchRequest,
  jsonAnswer,
  methodNotAllowed,
  objectBody,
  Refusal,
  textAnswer,
} from "./answer.ts";
import { bulkDocs, bulkGet, purge, revsDiff, withId } from "./bulk_endpoints.ts";
import { changes } from "./changes_endpoint.ts";
import { databaseInfo, shardMap } from "./database_info.ts";
import { hasView, isByPartition, isMapOnly } from "./design_document.ts";
import { checkPartitionName, readDocument } from "./document.ts";
import { answerDocument, renderLocal } from "./document_endpoints.ts";
import { textOf } from "./document_writer.ts";
import { kindOf } from "./json_text.ts";
import { applyRange, readRange } from "./key_range.ts";
import { revisionName } from "./revision_tree.ts";
import type { DatabaseCall } from "./server_state.ts";
import type { Tree } from "./shard_copy.ts";

type Endpoint = (request: CouchRequest, call: DatabaseCall) => CouchAnswer;

const ENDPOINTS: Record<string, Record<string, Endpoint>> = {
  _security: { GET: readSecurity, PUT: writeSecurity },
  _revs_limit: { GET: readRevsLimit, PUT: writeRevsLimit },
  _all_docs: { GET: allDocuments, POST: allDocuments },
  _changes: { GET: changes, POST: changes },
  _shards: { GET: shardMap },
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
    if (method === "GET") return jsonAnswer(200, databaseInfo(call.database, call.state));
    if (method === "POST") return createDocument(request, call);
    throw methodNotAllowed(["DELETE", "GET", "HEAD", "POST"]);
  }
  const asked = readViewPath([name, ...rest]);
  if (asked !== undefined && method === "GET") return view(asked, call);
  const endpoints = rest.length === 0 && Object.hasOwn(ENDPOINTS, name) ? ENDPOINTS[name] : undefined;
  if (endpoints === undefined) return answerDocument(request, call);
  const endpoint = endpoints[method];
  if (endpoint === undefined) throw methodNotAllowed(Object.keys(endpoints));
  return endpoint(request, call);
}

function readSecurity(_request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  return textAnswer(200, database.security);
}

function writeSecurity({ body }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  checkJson(body);
  if (kindOf(body) !== "object") throw new Refusal(500, "error", "no_majority");
  database.security = body.trim();
  database.shards.touch();
  return jsonAnswer(200, { ok: true });
}

function readRevsLimit(_request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  return jsonAnswer(200, database.revsLimit);
}

function writeRevsLimit({ body }: CouchRequest, { state, database }: DatabaseCall): CouchAnswer {
  const limit = checkJson(body);
  if (!Number.isInteger(limit) || (limit as number) <= 0) throw new Refusal(500, "unknown_error", "function_clause");
  database.revsLimit = limit as number;
  database.shards.touch();
  // The copies that are there have it by then; a real cluster takes a minute to say so.
  if (state.nodes.some(({ isAway }) => isAway)) throw new Refusal(500, "badmatch", "{error,timeout}");
  return jsonAnswer(200, { ok: true });
}

function createDocument(request: CouchRequest, { state, database, user }: DatabaseCall): CouchAnswer {
  checkJson(request.body);
  const document = withId(readDocument(request.body, state.options));
  const [row] = database.write([document], { newEdits: true, user, refusedRows: request.refusedRows });
  if (row!.refusal !== undefined) throw row!.refusal;
  return jsonAnswer(row!.isQuorum ? 201 : 202, { ok: true, id: row!.id, rev: row!.revision });
}

function allDocuments(request: CouchRequest, { database, node }: DatabaseCall): CouchAnswer {
  const options = request.method === "POST" && request.body !== "" ? queryOf(request) : request.query;
  const keys = options.get("keys");
  const listing = database.listing(node);
  const withDocuments = options.get("include_docs") === "true";
  const row = (id: string, winner: ReturnType<Tree["winner"]>) => {
    if (winner === undefined) return JSON.stringify({ key: id, error: "not_found" });
    const isDeleted = winner.content?.deleted === true;
    const value = { rev: revisionName(winner), ...(isDeleted ? { deleted: true } : {}) };
    const head = JSON.stringify({ id, key: id, value });
    return withDocuments ? `${head.slice(0, -1)},"doc":${isDeleted ? null : textOf(id, winner)}}` : head;
  };
  // A document that is named is read by its id, that is from most copies, and CouchDB tells the mark of its deletion.
  const named = (ids: string[]) => ids.map((id) => row(id, database.tree(id)?.winner()));
  const total = listing.ids.length;
  if (keys !== null) return rowsAnswer({ total, offset: null }, named(JSON.parse(keys) as string[]));
  const { found, offset } = applyRange(listing.ids, readRange(options));
  const rows = found.slice(0, request.shortPage?.rows).map((id) => row(id, listing.winner(id)));
  return rowsAnswer({ total, offset }, rows);
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

/** A view as it is asked for, of all of a database or of one partition. */
interface AskedView {
  partition: string | undefined;
  design: string;
  view: string;
}

/** @param path Behind the database's name, decoded. */
function readViewPath(path: readonly string[]): AskedView | undefined {
  const [partition, rest] = path[0] === "_partition" ? [path[1], path.slice(2)] : [undefined, path];
  const [kind, design = "", index, view = ""] = rest;
  return kind === "_design" && index === "_view" ? { partition, design, view } : undefined;
}

/** Views have no rows here: a restore asks for none, only for their index to be built. */
function view({ partition, design, view }: AskedView, { state, database }: DatabaseCall): CouchAnswer {
  if (partition !== undefined) {
    if (!database.partitioned) throw new Refusal(400, "bad_request", "database is not partitioned");
    checkPartitionName(partition);
  }
  const text = database.winnerText(`_design/${design}`);
  if (text === undefined) throw new Refusal(404, "not_found", "missing");
  if (!hasView(text, view)) throw new Refusal(404, "not_found", "missing_named_view");
  const isPartitioned = database.partitioned && isByPartition(text);
  if (isPartitioned && partition === undefined) {
    throw new Refusal(400, "query_parse_error", "`partition` parameter is mandatory for queries to this view.");
  }
  if (!isPartitioned && partition !== undefined) {
    throw new Refusal(400, "query_parse_error", "`partition` parameter is not supported in this design doc");
  }
  const place = partition === undefined ? database.name : `${database.name}/_partition/${partition}`;
  const call = `${place}/_design/${design}/_view/${view}`;
  state.viewCalls.set(call, (state.viewCalls.get(call) ?? 0) + 1);
  if (isMapOnly(text, view)) return rowsAnswer({ total: 0, offset: 0 }, []);
  return { status: 200, headers: {}, pieces: ['{"rows":[\r\n', "\r\n]}\n"], streamed: true };
}
