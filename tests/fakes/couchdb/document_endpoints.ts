/**
 * The endpoints of a single document, ordinary, design or local: reading it in every way a backup or a check reads,
 * writing and deleting it.
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
import { checkId, type Content, parseRevision, readDocument, renderDocument } from "./document.ts";
import type { LocalDocument } from "./document_writer.ts";
import { type Member, objectText } from "./json_text.ts";
import { compareRevisions, historyOf, type Revision, revisionName } from "./revision_tree.ts";
import type { DatabaseCall } from "./server_state.ts";
import type { Tree } from "./shard_copy.ts";
import { liveCopies } from "./shards.ts";

/** Answers a request for the document that the path names. @throws Refusal where CouchDB refuses. */
export function answerDocument(request: CouchRequest, call: DatabaseCall): CouchAnswer {
  const [, first = "", ...rest] = request.segments;
  const hasPrefix = first === "_design" || first === "_local";
  const id = hasPrefix ? `${first}/${rest[0] ?? ""}` : first;
  // What follows an id is an attachment's name; the program reads attachments within their document.
  if (rest.length > (hasPrefix ? 1 : 0)) throw new Refusal(404, "not_found", "missing");
  switch (request.method) {
    case "GET":
    case "HEAD":
      return id.startsWith("_local/") ? readLocal(id, request, call) : readOne(id, { request, call });
    case "PUT":
      return write(id, { request, call, text: request.body });
    case "DELETE": {
      if (call.database.winnerText(id) === undefined) throw absent(call.database.tree(id));
      const revision = request.query.get("rev");
      const members: Member[] = revision === null ? [] : [["_rev", JSON.stringify(revision)]];
      return write(id, { request, call, text: objectText([...members, ["_deleted", "true"]]) });
    }
    default:
      throw methodNotAllowed(["DELETE", "GET", "HEAD", "POST", "PUT", "COPY"]);
  }
}

/** The text of a revision with what `query` asks for beside the body: `revs` and `attachments`. */
export function renderRevision(
  id: string,
  revision: Revision<Content>,
  query: URLSearchParams,
  meta: Member[] = [],
): string {
  return renderDocument(id, { history: historyOf(revision), content: revision.content! }, {
    revs: query.get("revs") === "true",
    attachments: query.get("attachments") === "true",
    meta,
  });
}

/** The text of a local document. */
export function renderLocal(id: string, { revision, body }: LocalDocument): string {
  return objectText([["_id", JSON.stringify(id)], ["_rev", `"0-${revision}"`], ...body]);
}

function readOne(id: string, { request, call }: { request: CouchRequest; call: DatabaseCall }): CouchAnswer {
  checkId(id);
  const { query } = request;
  const unreadable = request.refusedRows.get(id);
  if (unreadable !== undefined) throw new Refusal(500, unreadable.error, unreadable.reason);
  if (!call.database.shards.isReachable(id)) throw new Refusal(500, "error", "read_failure");
  const tree = call.database.tree(id);
  const open = query.get("open_revs");
  if (open !== null || query.get("attachments") === "true") refuseMultipart(request);
  if (open !== null) return openRevisions(id, { open, tree, query });
  const rev = query.get("rev");
  if (rev !== null) parseRevision(rev);
  const revision = rev === null ? tree?.winner() : tree?.get(rev);
  if (rev === null && revision?.content?.deleted === true) throw absent(tree);
  if (revision?.content === undefined) throw absent(undefined);
  // Conflicts and the like are only told with the winner.
  const meta = rev === null ? metaOf(revision, { tree: tree!, query }) : [];
  return textAnswer(200, renderRevision(id, revision, query, meta));
}

/** The refusal for a document that is not there, or of which `tree` holds deleted revisions. */
function absent(tree: Tree | undefined): Refusal {
  return new Refusal(404, "not_found", tree === undefined ? "missing" : "deleted");
}

/** CouchDB answers multipart where it may, and `Accept: *\/*` says that it may. This double only has JSON. */
function refuseMultipart({ headers }: CouchRequest): void {
  const accept = headers.get("accept") ?? "*/*";
  if (accept.includes("*/*") || accept.includes("multipart/")) {
    const reason = "CouchDB would answer multipart, which this double does not have: ask for application/json";
    throw new Refusal(406, "not_acceptable", reason);
  }
}

function openRevisions(
  id: string,
  { open, tree, query }: { open: string; tree: Tree | undefined; query: URLSearchParams },
): CouchAnswer {
  const ok = (revision: Revision<Content>) => `{"ok":${renderRevision(id, revision, query)}}`;
  let rows: string[];
  if (open === "all") {
    if (tree === undefined) throw new Refusal(404, "not_found", "missing");
    rows = tree.leaves().sort(compareRevisions).map(ok);
  } else {
    rows = (checkJson(open) as string[]).map((name) => {
      const revision = tree?.get(name);
      return revision?.content === undefined ? JSON.stringify({ missing: name }) : ok(revision);
    });
  }
  const pieces = ["[", ...rows.map((row, index) => index === 0 ? row : `,${row}`), "]\n"];
  return { status: 200, headers: {}, pieces, streamed: true };
}

function metaOf(revision: Revision<Content>, { tree, query }: { tree: Tree; query: URLSearchParams }): Member[] {
  const asked = (name: string) => query.get(name) === "true" || query.get("meta") === "true";
  const others = tree.leaves().filter((leaf) => leaf !== revision);
  const names = (deleted: boolean) => others.filter((leaf) => leaf.content!.deleted === deleted).map(revisionName);
  const meta: Member[] = [];
  if (asked("revs_info")) {
    const infos: { rev: string; status: string }[] = [];
    for (let node: Revision<Content> | undefined = revision; node !== undefined; node = node.parent) {
      const status = node.content === undefined ? "missing" : node.content.deleted ? "deleted" : "available";
      infos.push({ rev: revisionName(node), status });
    }
    meta.push(["_revs_info", JSON.stringify(infos)]);
  }
  if (asked("conflicts") && names(false).length > 0) meta.push(["_conflicts", JSON.stringify(names(false))]);
  if (asked("deleted_conflicts") && names(true).length > 0) {
    meta.push(["_deleted_conflicts", JSON.stringify(names(true))]);
  }
  return meta;
}

/** Where `r` of the copies that are there say that there is none, the others are not heard; a majority unless told. */
function readLocal(id: string, { query }: CouchRequest, { database }: DatabaseCall): CouchAnswer {
  const document = database.localDocuments.get(id);
  const copies = liveCopies(database.shards.rangeOf(id));
  const holders = copies.filter(({ node }) => document?.holders.has(node) === true);
  const agreeing = Math.min(Number(query.get("r") ?? database.quorum), database.properties.n);
  const isFound = holders.length > 0 && (holders.length >= agreeing || copies.length - holders.length < agreeing);
  if (document === undefined || !isFound) throw new Refusal(404, "not_found", "missing");
  return textAnswer(200, renderLocal(id, document));
}

function write(
  id: string,
  { request, call, text }: { request: CouchRequest; call: DatabaseCall; text: string },
): CouchAnswer {
  checkId(id);
  checkJson(text);
  const document = readDocument(text, call.state.options);
  const rev = request.query.get("rev");
  if (rev !== null) document.history ??= parseRevision(rev);
  const newEdits = request.query.get("new_edits") !== "false";
  const { user, database } = call;
  const [row] = database.write([{ ...document, id }], { newEdits, user, refusedRows: request.refusedRows });
  if (row!.refusal !== undefined) throw row!.refusal;
  const done = request.method === "DELETE" ? 200 : 201;
  return jsonAnswer(row!.isQuorum ? done : 202, { ok: true, id, rev: row!.revision });
}
