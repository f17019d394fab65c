/**
 * What a check of CouchDB's behaviour is made of: a database of its own, requests to it, and the assertions that many
 * checks share.
 */
import { assert, assertEquals } from "@std/assert";
import { couch, couchOk, type CouchReply, type CouchServer } from "../../couch_request.ts";
import { isVersionAtLeast } from "./server_state.ts";

/** One thing that CouchDB does. */
export interface Behaviour {
  /** A sentence about an endpoint. */
  name: string;
  /** How the database is created. @default "" */
  create?: string;
  check(call: Call): Promise<void>;
}

/** Sends requests to a fresh database: `GET /_all_docs` is that of the database, `GET //_all_dbs` the server's. */
export interface Call {
  (request: string, body?: unknown, headers?: Record<string, string>): Promise<CouchReply>;
  server: CouchServer;
  database: string;
  /** Whether the server is `major.minor` or later. */
  isAtLeast(major: number, minor: number): boolean;
}

/** Runs one check in a database of its own, which it removes again. */
export async function checkBehaviour(server: CouchServer, { create = "", check }: Behaviour): Promise<void> {
  const database = `behaviour/${crypto.randomUUID()}`;
  const path = `/${encodeURIComponent(database)}`;
  const send = (request: string, body?: unknown, headers?: Record<string, string>) => {
    const [method, rest = ""] = request.split(" ", 2);
    return couch(server, `${method} ${rest.startsWith("//") ? rest.slice(1) : path + rest}`, body, headers);
  };
  const { json: { version } } = await couchOk(server, "GET /");
  await couchOk(server, `PUT ${path}${create}`);
  try {
    const isAtLeast = (major: number, minor: number) => isVersionAtLeast(version, major, minor);
    await check(Object.assign(send, { server, database, isAtLeast }));
  } finally {
    await couch(server, `DELETE ${path}`);
  }
}

/** A document with two roots, three live leaves and a deleted one. */
export const TREE: readonly string[] = [
  '{"_id":"c","_rev":"3-aaa","_revisions":{"start":3,"ids":["aaa","bbb","ccc"]},"v":1}',
  '{"_id":"c","_rev":"3-bbb","_revisions":{"start":3,"ids":["bbb","bbb","ccc"]},"v":2}',
  '{"_id":"c","_rev":"4-del","_revisions":{"start":4,"ids":["del","aa0","bbb","ccc"]},"_deleted":true}',
  '{"_id":"c","_rev":"2-zzz","v":3}',
  '{"_id":"c","_rev":"5-aaa","v":4}',
];

/** An attachment by reference: three bytes named `f`. */
export const STUB: string =
  '"_attachments":{"f":{"stub":true,"length":3,"content_type":"application/octet-stream","revpos":1,' +
  '"digest":"md5-uV9n9h67A2GWIteY9F/C0w=="}}';

/** Writes documents with their revisions, and fails when one is refused. */
export async function write(call: Call, ...documents: string[]): Promise<void> {
  const reply = await call("POST /_bulk_docs", `{"new_edits":false,"docs":[${documents.join(",")}]}`);
  assertEquals([reply.status, reply.text], [201, "[]\n"]);
}

/** The text of the documents that `_bulk_get` answers to one request for `id`. */
export async function bulkGet(call: Call, { id, ...asked }: { id: string; rev?: string }, query = ""): Promise<string> {
  const { text } = await call(`POST /_bulk_get${query}`, { docs: [{ id, ...asked }] });
  const name = JSON.stringify(id);
  const before = call.isAtLeast(3, 3) ? `{"results":[{"id":${name},"docs":[` : `{"results": [{"id": ${name}, "docs": [`;
  const after = "]}]}\n";
  assert(text.startsWith(before) && text.endsWith(after), text);
  return text.slice(before.length, -after.length);
}

/** Fails unless the answer is a success. */
export async function ok(reply: Promise<CouchReply>): Promise<void> {
  const { status, text } = await reply;
  assert(status >= 200 && status < 300, `${status} ${text}`);
}

/** The ids of the rows of a listing. */
export function idsOf({ json }: CouchReply): string[] {
  return json.rows.map(({ id }: { id: string }) => id);
}

/** Fails unless the answer is this refusal. */
export function assertRefused({ status, json }: CouchReply, expected: number, error: string, reason?: string): void {
  assertEquals([status, json?.error], [expected, error]);
  if (reason !== undefined) assertEquals(json.reason, reason);
}
