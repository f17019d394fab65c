/**
 * What stands at CouchDB's address and answers otherwise than CouchDB: each method by itself, whole backups and
 * restores.
 */
import { IdBatch } from "../../src/couchdb/batch.ts";
import { listChanges } from "../../src/couchdb/changes.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { BatchReader } from "../../src/couchdb/read.ts";
import { RequestBody } from "../../src/couchdb/request_body.ts";
import { DocumentWriter } from "../../src/couchdb/write.ts";
import { EXIT } from "../../src/errors.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { SILENT_LOG } from "../../src/observe.ts";
import { Secret } from "../../src/secret.ts";
import { checkSetup } from "../../src/commands/check.ts";
import { Backups } from "../commands/backup/feed_setup.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { setUpRestore } from "../commands/restore/setup.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { makeArchive } from "../make_archive.ts";
import { EXPECTED_CODES, PASSWORD, problemOfText, testSurface } from "./cases.ts";
import type { Dice, Json } from "./dice.ts";
import { type HostileAnswer, startHostileServer } from "./server.ts";

const RETRY = { attempts: 2, firstWaitMs: 1, longestWaitMs: 2 };

const ROW: Json = { id: "a", docs: [{ ok: { _id: "a", _rev: "1-0123", n: 1 } }] };
const CALLS: { name: string; answer: Json; call: (client: CouchClient) => Promise<unknown> }[] = [
  { name: "serverVersion", answer: { couchdb: "Welcome", version: "3.5.0" }, call: (client) => client.serverVersion() },
  { name: "greet", answer: { couchdb: "Welcome", version: "3.5.0" }, call: (client) => client.greet() },
  {
    name: "sessionRoles",
    answer: { ok: true, userCtx: { name: "admin", roles: ["_admin"] } },
    call: async (client) => (await client.sessionRoles()).includes("_admin"),
  },
  {
    name: "listDatabases",
    answer: ["a", "a/b", "_users"],
    call: async (client) => (await client.listDatabases()).map((name) => name.length),
  },
  {
    name: "databaseInfo",
    answer: {
      db_name: "a",
      doc_count: 1,
      doc_del_count: 0,
      update_seq: "1-x",
      purge_seq: "0-x",
      instance_start_time: "17",
      sizes: { external: 9 },
      props: {},
      cluster: { q: 2, n: 1, w: 1, r: 1 },
    },
    call: async (client) => {
      const { doc_count, doc_del_count, external_bytes, q, n } = await client.databaseInfo("a");
      for (const count of [doc_count, doc_del_count, external_bytes, q ?? 0, n ?? 0]) {
        if (!Number.isSafeInteger(count) || count < 0) throw new Error(`It takes the count ${count}`);
      }
    },
  },
  {
    name: "changes",
    answer: { results: [{ id: "a", seq: "1-x", changes: [{ rev: "1-0123" }] }], last_seq: "1-x", pending: 0 },
    call: (client) => client.changes("a", { since: "0", limit: 100 }),
  },
  {
    name: "listChanges",
    answer: { results: [{ id: "a", seq: "1-x", changes: [{ rev: "1-0123" }] }], last_seq: "1-x", pending: 0 },
    call: async (client) => {
      let pages = 0;
      for await (const _page of listChanges(client, "a", { since: "0", log: SILENT_LOG })) if (++pages > 1000) break;
      if (pages > 1000) throw new Error("It lists for ever");
    },
  },
  {
    name: "changesStream",
    answer: { results: [{ id: "a", seq: "1-x", changes: [{ rev: "1-0123" }] }], last_seq: "1-x", pending: 0 },
    call: async (client) => {
      for await (const _bytes of await client.changesStream("a", { since: "0" }));
    },
  },
  {
    name: "membership",
    answer: { all_nodes: ["couchdb@a"], cluster_nodes: ["couchdb@a"] },
    call: async (client) => {
      const { cluster, connected } = await client.membership();
      return cluster.filter((node) => connected.includes(node));
    },
  },
  {
    name: "nodeState",
    answer: { uptime: 100, internal_replication_jobs: 0 },
    call: (client) => client.nodeState("couchdb@a"),
  },
  {
    name: "security",
    answer: { admins: { names: [], roles: ["_admin"] }, members: { names: [], roles: [] } },
    call: (client) => client.security("a"),
  },
  { name: "revsLimit", answer: 1000, call: (client) => client.revsLimit("a") },
  {
    name: "listIds",
    answer: { total_rows: 1, offset: 0, rows: [{ id: "a", key: "a", value: { rev: "1-0123" } }] },
    call: (client) => client.listIds("a", { limit: 9 }),
  },
  {
    name: "createDatabase",
    answer: { ok: true },
    call: (client) => client.createDatabase("a", { q: 2, n: 1, partitioned: false }),
  },
  {
    name: "designDocuments",
    answer: {
      rows: [{ id: "_design/a", doc: { _id: "_design/a", language: "javascript", views: { v: { map: "x" } } } }],
    },
    call: async (client) => {
      for (const design of await client.designDocuments("a")) {
        for (const [name, view] of Object.entries(design.views ?? {})) `${name}${view?.map}`;
      }
    },
  },
  { name: "setSecurity", answer: { ok: true }, call: (client) => client.setSecurity("a", "{}") },
  {
    name: "documents are read",
    answer: { results: [ROW] },
    call: async (client) => {
      const batch = IdBatch.of([{ id: "a", revs: ["1-0123"] }]);
      const options = { revisions: true, attachments: true, log: SILENT_LOG };
      for await (const _bytes of new BatchReader(client, "a", batch, options).read());
    },
  },
  {
    name: "documents are written",
    answer: [{ id: "a", rev: "1-0123", error: "forbidden", reason: "no" }],
    call: async (client) => {
      const writer = new DocumentWriter(client, "a", { log: SILENT_LOG, isNew: false });
      const bytes = new TextEncoder().encode('{"_id":"a","_rev":"1-0123"}');
      await writer.write(new RequestBody("kept", [{ id: "a", bytes }]));
      for (const { id, rev, error, reason } of writer.failed) {
        for (const text of [id, rev, error, reason]) if (typeof text !== "string") throw new Error("It is no text");
      }
    },
  },
];

const PAGES: readonly string[] = [
  "<!DOCTYPE html><html><body>Sign in</body></html>",
  "",
  "null",
  "0",
  '"text"',
  "[]",
  "{}",
  "\uFEFF{}",
  "{}{}",
  '{"error":"not_found","reason":"missing"}',
  "[".repeat(200_000),
  `{"results":[${'{"id":"a","changes":[{"rev":"1-0"}]},'.repeat(2000)}`,
  '{"results":[null],"last_seq":null,"pending":-1}',
  '{"results":[],"last_seq":"1-x","pending":5}',
  '{"results":[{"id":"a","changes":[{"rev":"1-0"}]}],"last_seq":"1-x"}',
  '{"results":[{"id":"a","changes":[{"rev":"1-0"}]}],"last_seq":7,"pending":3}',
  '{"results":[{"id":"b","docs":[]}]}',
  '{"results":[{"id":"a","docs":[{"ok":null}]}]}',
  '{"results":[{"id":"a","docs":[{"error":null}]}]}',
  '{"results":[{"id":"a","docs":[{"error":{"error":{"toString":1},"reason":[{"toString":1}]}}]}]}',
  '{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0123"}}]},{"id":"a","docs":[]}]}',
];

/** An answer that is not what CouchDB would say. */
function hostileAnswer(dice: Dice, usual: Json): HostileAnswer {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (dice.oneIn(15)) headers["retry-after"] = dice.pick(["0", "0.001", "-1", "x", "Thu, 01 Jan 1970 00:00:00 GMT"]);
  if (dice.oneIn(15)) {
    headers["date"] = dice.pick(["x", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"]);
  }
  const status = dice.oneIn(5)
    ? dice.pick([201, 202, 204, 301, 304, 400, 401, 403, 404, 409, 413, 429, 500, 503])
    : 200;
  if (dice.oneIn(4)) return { status, headers, body: dice.pick(PAGES) };
  const text = dice.mutateJsonText(usual);
  return {
    status,
    headers,
    body: dice.oneIn(8) ? dice.mutateBytes(new TextEncoder().encode(text.slice(0, 5000))) : text,
  };
}

/** Answers to the requests of a command: most are a double's own, and some of them are changed. */
interface Change {
  /** Which requests are answered otherwise: those whose path matches, from this one on, so many of them. */
  path: RegExp;
  from: number;
  times: number;
  /** Makes the other answer of the right one. */
  change: (usual: { status: number; text: string }) => HostileAnswer;
}

const PATHS: readonly RegExp[] = [
  /^\/$/,
  /_all_dbs/,
  /_membership/,
  /_system/,
  /_session/,
  /_changes/,
  /_bulk_get/,
  /_bulk_docs/,
  /_revs_limit/,
  /_security/,
  /_all_docs/,
  /^\/[\w%]+$/,
  /_view/,
  /^/,
];

function hostileChange(dice: Dice): Change {
  const own = dice.pick(PAGES);
  const kind = dice.below(4);
  return {
    path: dice.pick(PATHS),
    from: dice.below(3),
    times: dice.pick([1, 2, 1000]),
    change: ({ status, text }) => {
      if (kind === 0) return { status, body: own };
      if (kind === 1) return { status: dice.pick([200, 201, 400, 401, 403, 404, 409, 412, 413, 500, 503]), body: text };
      if (kind === 2) return { status, body: dice.mutateBytes(new TextEncoder().encode(text)) };
      try {
        return { status, body: dice.mutateJsonText(JSON.parse(text) as Json) };
      } catch {
        return { status, body: own };
      }
    },
  };
}

/** A server between a client and a double, that changes some of its answers. */
function changing(url: string, change: Change): (request: Request) => Promise<HostileAnswer> {
  let seen = 0;
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    const body = request.method === "GET" || request.method === "HEAD" ? null : await request.arrayBuffer();
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.delete("content-length");
    const answer = await fetch(url + pathname + search, { method: request.method, headers, body });
    const text = await answer.text();
    const isMeant = change.path.test(pathname) && seen++ >= change.from && seen <= change.from + change.times;
    return isMeant ? change.change({ status: answer.status, text }) : { status: answer.status, body: text };
  };
}

/** In the double's database. */
const DOCUMENTS = 25;

const server = startHostileServer();
const double = await startFakeCouchDb({ users: [{ name: "admin", password: PASSWORD }] });
await createDatabase(double, "db", idsOf(DOCUMENTS), '"n":1.0');

testSurface({
  name: "CouchDB's answers",
  cases: 2000,
  make: (dice) => {
    const call = dice.below(CALLS.length);
    return { call, name: CALLS[call]!.name, answer: hostileAnswer(dice, CALLS[call]!.answer) };
  },
  run: async ({ call, answer }) => {
    server.answer = () => answer;
    const password = new Secret(PASSWORD);
    const client = new CouchClient({ url: server.url, login: "admin", password, log: SILENT_LOG, retry: RETRY });
    await CALLS[call]!.call(client);
  },
});

testSurface({
  name: "backups of CouchDB's answers",
  cases: 120,
  make: (dice) => hostileChange(dice),
  run: async (change) => {
    server.answer = changing(double.url, change);
    await using backups = new Backups();
    const password = new Secret(PASSWORD);
    const couch = new CouchClient({ url: server.url, login: "admin", password, log: backups.log, retry: RETRY });
    const report = await backups.run(double, {
      task: { chunk: 10 },
      context: { couch, patience: { patienceMs: 5, firstWaitMs: 1 } },
    });
    checkReport(report, backups.log.lines);
    // Only a lie of all answers together can hide documents.
    const { status, documents, deleted, absent, unreadable = [] } = report;
    const has = documents - deleted + absent + unreadable.length;
    if (status === "complete" && String(change.path) !== "/^/" && has < DOCUMENTS) {
      throw new Error(`It is complete with ${has} of ${DOCUMENTS} documents: ${JSON.stringify(report)}`);
    }
  },
});

testSurface({
  name: "checks of CouchDB's answers",
  cases: 60,
  make: (dice) => hostileChange(dice),
  run: async (change) => {
    server.answer = changing(double.url, change);
    await using setup = await setUpRestore();
    const password = new Secret(PASSWORD);
    const couch = new CouchClient({ url: server.url, login: "admin", password, log: setup.log, retry: RETRY });
    checkReport(await checkSetup({ ...setup.context, couch, probes: [], isScheduled: false }), setup.log.lines);
  },
});

testSurface({
  name: "restores to CouchDB's answers",
  cases: 80,
  make: (dice) => hostileChange(dice),
  run: async (change, number) => {
    await using setup = await setUpRestore();
    const password = new Secret(PASSWORD);
    const options = { login: "admin", password, log: setup.log, retry: RETRY };
    const { store, context: { repository: { prefix, suffix } } } = setup;
    await makeArchive({
      couch: new CouchClient({ url: double.url, ...options }),
      store,
      database: "db",
      prefix,
      suffix,
    });
    server.answer = changing(double.url, change);
    const couch = new CouchClient({ url: server.url, ...options });
    const report = await restore({ ...setup.context, couch }, { database: `to${number}`, path: "latest/db" });
    checkReport(report, setup.log.lines);
  },
});

/** Neither a report nor the log shows the password, or speaks of the program's insides. */
function checkReport(report: object, lines: readonly unknown[]): void {
  const { exit_code: code = EXIT.ok } = report as { exit_code?: number };
  if (!EXPECTED_CODES.includes(code)) throw new Error(`Exit code ${code}: ${JSON.stringify(report)}`);
  for (const one of [report, ...lines]) {
    const problem = problemOfText(JSON.stringify(one));
    if (problem !== undefined) throw new Error(problem);
  }
}

addEventListener("unload", () => void double.stop());
