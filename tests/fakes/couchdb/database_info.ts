/** What a database says of itself: `GET /{db}`, a hundred of them at once, its shard map, and single copies. */
import {
  checkContentType,
  type CouchAnswer,
  type CouchRequest,
  jsonAnswer,
  methodNotAllowed,
  objectBody,
  Refusal,
} from "./answer.ts";
import type { ClusterNode } from "./cluster_node.ts";
import { compareIds, type Database } from "./database.ts";
import { applyRange, readRange } from "./key_range.ts";
import type { DatabaseCall, ServerState } from "./server_state.ts";
import { nameOfRange } from "./shards.ts";

const MAX_KEYS = 100;
const FILE_BYTES = 16700;

/** What `GET /{db}` answers. */
export function databaseInfo(database: Database, state: ServerState): Record<string, unknown> {
  const { name, q, n, partitioned, createdAt } = database.properties;
  const { live, deleted, updateSeq, purgeSeq } = database.counts();
  if (state.numbersPositions) {
    return {
      db_name: name,
      doc_count: live,
      doc_del_count: deleted,
      update_seq: parseInt(updateSeq),
      purge_seq: parseInt(purgeSeq),
      compact_running: false,
      disk_size: FILE_BYTES,
      data_size: 0,
      instance_start_time: `${createdAt}000000`,
      disk_format_version: 6,
      committed_update_seq: parseInt(updateSeq),
    };
  }
  return {
    // The time of creation since 3.3.0, although the documentation says that it is always "0".
    instance_start_time: state.isAtLeast(3, 3) ? String(createdAt) : "0",
    db_name: name,
    purge_seq: purgeSeq,
    update_seq: updateSeq,
    sizes: { file: FILE_BYTES, external: state.options.externalBytes, active: 0 },
    props: partitioned ? { partitioned } : {},
    doc_del_count: deleted,
    doc_count: live,
    disk_format_version: 8,
    compact_running: false,
    cluster: { q, n, w: database.quorum, r: database.quorum },
  };
}

/** `/_dbs_info`, by names that are posted or by a range of them. @throws Refusal where CouchDB refuses. */
export function databasesInfo(request: CouchRequest, state: ServerState): CouchAnswer {
  if (request.method === "GET") {
    if (!state.isAtLeast(3, 3)) throw new Refusal(405, "method_not_allowed", "Only POST allowed");
    const names = applyRange([...state.databases.keys()].sort(compareIds), readRange(request.query)).found;
    return jsonAnswer(200, names.map((name) => infoRow(name, state)));
  }
  if (request.method !== "POST") throw methodNotAllowed(["GET", "POST"]);
  checkContentType(request);
  const keys = new Map(objectBody(request.body)).get("keys");
  if (keys === undefined) throw new Refusal(400, "bad_request", "`keys` member must exist.");
  const names = JSON.parse(keys) as string[];
  if (names.length > MAX_KEYS) throw new Refusal(400, "bad_request", "too_many_keys");
  return jsonAnswer(200, names.map((name) => infoRow(name, state)));
}

/** `GET /{db}/_shards` */
export function shardMap(_request: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const shards = database.shards.ranges.map((range) =>
    [nameOfRange(range), range.copies.map(({ node }) => node.name)] as const
  );
  return jsonAnswer(200, { shards: Object.fromEntries(shards) });
}

/** `GET /_node/{node}/shards%2F{range}%2F{db}.{created}`: what one copy says of itself. @throws Refusal without one. */
export function copyInfo(path: string, { state, node }: { state: ServerState; node: ClusterNode }): CouchAnswer {
  const [, rangeName, name, createdAt] = /^shards\/([0-9a-f]{8}-[0-9a-f]{8})\/(.*)\.(\d+)$/s.exec(path) ?? [];
  const database = state.databases.get(name ?? "");
  const range = database?.shards.ranges.find((range) => nameOfRange(range) === rangeName);
  const copy = range?.copies.find((copy) => copy.node === node);
  if (copy === undefined || String(database!.properties.createdAt) !== createdAt) {
    throw new Refusal(404, "not_found", "no_db_file");
  }
  return jsonAnswer(200, {
    db_name: path,
    engine: "couch_bt_engine",
    doc_count: copy.liveCount,
    doc_del_count: copy.deletedCount,
    update_seq: copy.sequence,
    purge_seq: copy.purgeSequence,
    compact_running: false,
    sizes: { file: FILE_BYTES, external: 0, active: 0 },
    instance_start_time: "0",
    disk_format_version: 8,
    committed_update_seq: copy.sequence,
    compacted_seq: 0,
    props: {},
    uuid: copy.name.padEnd(32, "0"),
  });
}

function infoRow(name: string, state: ServerState): Record<string, unknown> {
  const database = state.databases.get(name);
  // A database of which a range cannot be reached is said to be missing, too (3.5.0).
  return database === undefined || !database.shards.isComplete
    ? { key: name, error: "not_found" }
    : { key: name, info: databaseInfo(database, state) };
}
