/**
 * The endpoints of the server itself, and the way to those of a database: decides by path and method which one a
 * request is for, and whether its user may.
 */
import { checkJson, type CouchAnswer, type CouchRequest, jsonAnswer, methodNotAllowed, Refusal } from "./answer.ts";
import type { ClusterNode } from "./cluster_node.ts";
import { compareIds } from "./database.ts";
import { answerDatabase } from "./database_endpoints.ts";
import { copyInfo, databasesInfo } from "./database_info.ts";
import { applyRange, readRange } from "./key_range.ts";
import { DEFAULT_MAX_DOCUMENT_BYTES, type ServerState, type User } from "./server_state.ts";

const NAME = /^[a-z][a-z0-9_$()+/-]*$/;
const SYSTEM_NAMES = new Set(["_users", "_replicator", "_global_changes"]);
const MAX_NAME_LENGTH = 238;

/** Answers a request. @throws Refusal where CouchDB refuses. */
export function answerRequest(request: CouchRequest, state: ServerState, node: ClusterNode): CouchAnswer {
  const [first, second] = request.segments;
  const user = state.login(request.headers.get("authorization"));
  if (first === undefined) return welcome(state);
  if (first === "_up") return jsonAnswer(200, { status: "ok", seeds: {} });
  if (first === "_session") return session(user);
  if (first === "_all_dbs") return allDatabases(request, { state, user });
  if (first === "_node") return nodeEndpoint(request, { state, user, node });
  if (first === "_membership" && state.isAtLeast(2, 0)) return membership(request, { state, user });
  if (first === "_dbs_info" && state.isAtLeast(2, 2)) {
    if (user === undefined && state.isAtLeast(3, 3)) {
      throw new Refusal(401, "unauthorized", "You are not a server admin.");
    }
    return databasesInfo(request, state);
  }
  if (user === undefined) throw new Refusal(401, "unauthorized", "You are not authorized to access this db.");
  if (user.forbidden?.includes(first)) throw new Refusal(403, "forbidden", "You are not allowed to access this db.");
  if (second === undefined && request.method === "PUT") return createDatabase(first, { request, state });
  if (second === undefined && request.method === "DELETE") {
    state.databases.delete(state.database(first).name);
    return jsonAnswer(200, { ok: true });
  }
  return answerDatabase(request, { state, database: state.database(first), node, user: user.name });
}

function welcome({ options: { version } }: ServerState): CouchAnswer {
  return jsonAnswer(200, {
    couchdb: "Welcome",
    version,
    git_sha: "0000000",
    uuid: "85fb71bf700c17267fef77535820e371",
    features: ["partitioned", "pluggable-storage-engines", "reshard", "scheduler"],
    vendor: { name: "The Apache Software Foundation" },
  });
}

function session(user: User | undefined): CouchAnswer {
  const authenticated = user === undefined ? {} : { authenticated: "default" };
  return jsonAnswer(200, {
    ok: true,
    userCtx: { name: user?.name ?? null, roles: user === undefined ? [] : ["_admin"] },
    info: { authentication_handlers: ["cookie", "default"], ...authenticated },
  });
}

function allDatabases(
  { query }: CouchRequest,
  { state, user }: { state: ServerState; user: User | undefined },
): CouchAnswer {
  if (user === undefined) throw new Refusal(401, "unauthorized", "You are not a server admin.");
  const range = readRange(query);
  const names = [...state.databases.keys()].sort(compareIds);
  return jsonAnswer(200, applyRange(names, range).found);
}

function membership(
  { method }: CouchRequest,
  { state, user }: { state: ServerState; user: User | undefined },
): CouchAnswer {
  if (user === undefined) throw new Refusal(401, "unauthorized", "You are not a server admin.");
  if (method !== "GET" && method !== "HEAD") throw methodNotAllowed(["GET"]);
  const names = (nodes: readonly ClusterNode[]) => nodes.map(({ name }) => name);
  const all = state.nodes.filter(({ isAway }) => !isAway);
  return jsonAnswer(200, { all_nodes: names(all), cluster_nodes: names(state.nodes) });
}

function nodeEndpoint(
  request: CouchRequest,
  { state, user, node: asked }: { state: ServerState; user: User | undefined; node: ClusterNode },
): CouchAnswer {
  if (user === undefined) throw new Refusal(401, "unauthorized", "You are not a server admin.");
  const [, name = "_local", endpoint, ...rest] = request.segments;
  const node = name === "_local" ? asked : state.nodes.find((node) => node.name === name);
  if (node === undefined) throw new Refusal(404, "not_found", `no such node: ${name}`);
  if (node.isAway) throw new Refusal(412, "nodedown", `${name} is down`);
  if (endpoint === "_config") return setting(rest.join("/"), { request, state });
  if (request.method !== "GET" && request.method !== "HEAD") throw methodNotAllowed(["GET"]);
  if (endpoint === undefined) return jsonAnswer(200, { name: node.name });
  if (endpoint === "_system") return jsonAnswer(200, node.system());
  return copyInfo(endpoint, { state, node });
}

/** `couchdb/max_document_size`, the one setting that the program's hints name. */
function setting(
  key: string,
  { request: { method, body }, state }: { request: CouchRequest; state: ServerState },
): CouchAnswer {
  const { maxDocumentBytes } = state.options;
  const isKnown = key === "couchdb/max_document_size";
  // A setting that nobody has set has a default and no value.
  const isSet = isKnown && maxDocumentBytes !== DEFAULT_MAX_DOCUMENT_BYTES;
  if (isKnown && method === "PUT") state.options.maxDocumentBytes = Number(checkJson(body));
  else if (!isSet) throw new Refusal(404, "not_found", "unknown_config_value");
  else if (method === "DELETE") state.options.maxDocumentBytes = DEFAULT_MAX_DOCUMENT_BYTES;
  return jsonAnswer(200, isSet ? String(maxDocumentBytes) : "");
}

function createDatabase(
  name: string,
  { request: { query }, state }: { request: CouchRequest; state: ServerState },
): CouchAnswer {
  if (!NAME.test(name) && !SYSTEM_NAMES.has(name)) {
    const rule = "Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and / " +
      "are allowed. Must begin with a letter.";
    throw new Refusal(400, "illegal_database_name", `Name: '${name}'. ${rule}`);
  }
  if (name.length > MAX_NAME_LENGTH) {
    const reason = `At least one path segment of \`${name}\` is too long.`;
    throw new Refusal(400, "database_name_too_long", reason);
  }
  const count = (key: "q" | "n", fallback: number) => {
    const text = query.get(key);
    if (text === null) return fallback;
    if (/^[1-9]\d*$/.test(text)) return Number(text);
    throw new Refusal(400, "bad_request", `The \`${key}\` value should be a positive integer.`);
  };
  const partitioned = query.get("partitioned") ?? "false";
  if (!["true", "false"].includes(partitioned)) {
    throw new Refusal(400, "bad_request", "Invalid `partitioned` parameter");
  }
  const [q, n] = [count("q", state.options.q), count("n", state.options.n)];
  state.create({ name, q, n, partitioned: partitioned === "true" });
  return jsonAnswer(201, { ok: true });
}
