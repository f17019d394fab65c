/**
 * `/{db}/_changes` as CouchDB answers it, the normal feed only. Servers before 2.0 number their positions, have no
 * `pending`, and take a limit of 0 for 1; PouchDB's server does so too.
 */
import { checkJson, type CouchAnswer, type CouchRequest, Refusal } from "./answer.ts";
import { renderRevision } from "./document_endpoints.ts";
import { Feed } from "./feed.ts";
import { parsePosition, type RangePosition } from "./position.ts";
import { revisionName } from "./revision_tree.ts";
import type { DatabaseCall } from "./server_state.ts";
import type { FeedEntry } from "./shard_copy.ts";
import { nameOfRange } from "./shards.ts";

/** CouchDB's limit where none is given. It counts down, and `seq_interval` goes by what is left of it. */
const NO_LIMIT = 1_000_000_000_000_000;

/** Options of the feed that nothing here needs. */
const UNKNOWN_HERE = ["filter", "descending", "doc_ids", "view", "attachments", "conflicts"];

/** Answers a page of the feed. @throws Refusal where CouchDB refuses. */
export function changes({ method, query, body, shortPage }: CouchRequest, call: DatabaseCall): CouchAnswer {
  if (method === "POST" && body !== "") checkJson(body);
  const { limit, interval, ...row } = readOptions(query, call);
  const { state, database, node } = call;
  const since = readSince(query.get("since") ?? "0", call);
  const feed = new Feed(database.shards, { since, choose: database.copyChoice(node), random: state.random });
  const most = Math.min(limit, shortPage?.rows ?? limit);
  const position = () => state.numbersPositions ? String(parseInt(feed.position)) : JSON.stringify(feed.position);
  const pieces = ['{"results":[\n'];
  let left = limit;
  while (limit - left < most) {
    const entry = feed.next();
    if (entry === undefined) break;
    const seq = interval === undefined || left % interval === 0 ? position() : "null";
    pieces.push(`${left === limit ? "" : ",\r\n"}${rowOf(entry, { seq, ...row })}`);
    left--;
  }
  if (shortPage?.loses === true) { while (left-- > 0 && feed.next() !== undefined); }
  const pending = shortPage?.pending === undefined ? feed.pending : shortPage.pending;
  // CouchDB ends this answer, and no other, with an empty line.
  pieces.push(`\n],\n"last_seq":${position()}${state.numbersPositions ? "" : `,"pending":${pending}`}}\n\n`);
  return { status: 200, headers: {}, pieces, streamed: true };
}

/** What every row of an answer has. */
interface RowOptions {
  allLeaves: boolean;
  withDocuments: boolean;
}

function rowOf(
  { id, tree }: FeedEntry,
  { seq, allLeaves, withDocuments }: RowOptions & { seq: string },
): string {
  const winner = tree.winner()!;
  const leaves = allLeaves ? tree.leaves() : [winner];
  const revisions = leaves.map((leaf) => `{"rev":"${revisionName(leaf)}"}`);
  const deleted = winner.content!.deleted ? ',"deleted":true' : "";
  const document = withDocuments ? `,"doc":${renderRevision(id, winner, new URLSearchParams())}` : "";
  return `{"seq":${seq},"id":${JSON.stringify(id)},"changes":[${revisions.join(",")}]${deleted}${document}}`;
}

function readOptions(
  query: URLSearchParams,
  { state }: DatabaseCall,
): { limit: number; interval: number | undefined } & RowOptions {
  for (const name of UNKNOWN_HERE) {
    if (query.has(name)) throw new Refusal(400, "bad_request", `This double's feed has no \`${name}\``);
  }
  const feed = query.get("feed") ?? "normal";
  if (feed !== "normal") {
    const reason = "Supported `feed` types: normal, continuous, live, longpoll, eventsource";
    throw new Refusal(400, "bad_request", reason);
  }
  const limit = query.get("limit") ?? String(NO_LIMIT);
  if (!/^\d+$/.test(limit)) throw new Refusal(500, "unknown_error", "badarg");
  const interval = state.numbersPositions ? null : query.get("seq_interval");
  if (interval !== null && !/^0*[1-9]\d*$/.test(interval)) {
    throw new Refusal(400, "bad_request", "invalid_seq_interval");
  }
  const style = query.get("style") ?? "main_only";
  if (style !== "main_only" && style !== "all_docs") throw new Refusal(500, "error", "function_clause");
  return {
    limit: state.numbersPositions && Number(limit) === 0 ? 1 : Number(limit),
    interval: interval === null ? undefined : Number(interval),
    allLeaves: style === "all_docs",
    withDocuments: query.get("include_docs") === "true",
  };
}

function readSince(since: string, { state, database }: DatabaseCall): RangePosition[] {
  const { updateSeq } = database.counts();
  if (since === "now") return parsePosition(updateSeq);
  if (!state.numbersPositions) return parsePosition(since);
  if (!/^\d+$/.test(since)) throw new Refusal(400, "bad_request", "badarg");
  // Numbers are those of the one file that a database is.
  return database.shards.ranges.map((range) => ({
    range: nameOfRange(range),
    node: range.copies[0]!.node.name,
    copy: range.copies[0]!.name,
    sequence: Number(since),
  }));
}
