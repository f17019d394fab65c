/** What CouchDB's feed of changes lists, how it is paged, and what a database says of its positions and counts. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { CouchReply } from "../../couch_request.ts";
import { assertRefused, type Behaviour, type Call, ok, TREE, write } from "./behaviour.ts";

interface Row {
  seq: string | null;
  id: string;
  changes: { rev: string }[];
  deleted?: true;
}

const rowsOf = ({ json }: CouchReply): Row[] => json.results;
const idsOf = (reply: CouchReply): string[] => rowsOf(reply).map(({ id }) => id).sort();
const sinceNow = async (call: Call): Promise<string> => (await call("GET /_changes?since=now")).json.last_seq;

/** Writes `a`, `b` and so on. */
async function writeLetters(call: Call, letters: string): Promise<void> {
  await write(call, ...[...letters].map((id) => `{"_id":"${id}","_rev":"1-${id}"}`));
}

/** Checks of it. */
export const FEED_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "_changes lists every document once, a row a line, with its position and what is pending, in chunks",
    async check(call) {
      await writeLetters(call, "ab");
      await write(call, '{"_id":"a","_revisions":{"start":2,"ids":["x","a"]}}');
      const reply = await call("GET /_changes?limit=1");
      const [{ id, seq }] = rowsOf(reply) as [Row];
      const revision = id === "a" ? "2-x" : "1-b";
      const row = `{"seq":"${seq}","id":"${id}","changes":[{"rev":"${revision}"}]}`;
      assertEquals(reply.text, `{"results":[\n${row}\n],\n"last_seq":"${seq}","pending":1}\n\n`);
      assertEquals(reply.headers.get("content-length"), null);
      const all = await call("GET /_changes");
      assertEquals(idsOf(all), ["a", "b"]);
      assertStringIncludes(all.text, "]},\r\n{");
      assertEquals(all.json.pending, 0);
      assertMatch(all.json.last_seq, /^3-./);
    },
  },
  {
    name: "_changes with documents has the winner of each, deleted ones too, attachments as stubs and no history",
    async check(call) {
      const attached = '"_attachments":{"t":{"content_type":"text/plain","data":"aGVsbG8="}}';
      await write(
        call,
        '{"_id":"a","_rev":"1-a","n":9007199254740993,"f":1.0}',
        `{"_id":"b","_rev":"1-b",${attached}}`,
      );
      await write(call, '{"_id":"c","_rev":"1-c","_deleted":true,"x":1}');
      await write(call, '{"_id":"d\\"é","_revisions":{"start":2,"ids":["e","d"]},"u":"é"}');
      const { text, json } = await call("GET /_changes?style=all_docs&seq_interval=100&limit=100&include_docs=true");
      const lines = text.split(/,?\r?\n/).slice(1, -4).map((line) => line.replace(/^\{"seq":(null|"[^"]*")/, ""))
        .sort();
      const stub = json.results.find((row: Row) => row.id === "b").doc._attachments.t;
      assertEquals([stub.stub, stub.data], [true, undefined]);
      assertEquals(lines.filter((line) => !line.startsWith(',"id":"b"')), [
        ',"id":"a","changes":[{"rev":"1-a"}],"doc":{"_id":"a","_rev":"1-a","n":9007199254740993,"f":1.0}}',
        ',"id":"c","changes":[{"rev":"1-c"}],"deleted":true,"doc":{"_id":"c","_rev":"1-c","x":1,"_deleted":true}}',
        ',"id":"d\\"é","changes":[{"rev":"2-e"}],"doc":{"_id":"d\\"é","_rev":"2-e","u":"é"}}',
      ]);
    },
  },
  {
    name: "_changes paged by last_seq gives every id once, deleted ones too, and pending falls by the rows",
    create: "?q=4",
    async check(call) {
      const ids = Array.from({ length: 101 }, (_, at) => `d${at}`);
      const documents = ids.map((id, at) => `{"_id":"${id}","_rev":"1-a"${at % 3 === 0 ? ',"_deleted":true' : ""}}`);
      await write(call, ...documents);
      const seen: string[] = [];
      let since = "0";
      for (let pending = -1; pending !== 0;) {
        const reply = await call(`GET /_changes?style=all_docs&seq_interval=10&limit=10&since=${since}`);
        seen.push(...idsOf(reply));
        ({ last_seq: since, pending } = reply.json);
        assertEquals(pending, ids.length - seen.length);
      }
      assertEquals(seen.toSorted(), ids.toSorted());
      const end = await call(`GET /_changes?style=all_docs&limit=10&since=${since}`);
      assertEquals([end.json.results, end.json.pending, end.json.last_seq], [[], 0, since]);
      assertEquals(end.text, `{"results":[\n\n],\n"last_seq":"${since}","pending":0}\n\n`);
    },
  },
  {
    name: "_changes of style all_docs lists every leaf revision, the winner first, by default the winner alone",
    async check(call) {
      await write(call, ...TREE, '{"_id":"d","_rev":"1-d","_deleted":true}', '{"_id":"_design/x","_rev":"1-x"}');
      await ok(call("PUT /_local/x", {}));
      const rows = (reply: CouchReply): unknown[] =>
        rowsOf(reply).map(({ id, changes, deleted }) => [id, changes.map(({ rev }) => rev), deleted]).sort();
      assertEquals(rows(await call("GET /_changes?style=all_docs")), [
        ["_design/x", ["1-x"], undefined],
        ["c", ["5-aaa", "3-bbb", "3-aaa", "2-zzz", "4-del"], undefined],
        ["d", ["1-d"], true],
      ]);
      const winners = [["_design/x", ["1-x"], undefined], ["c", ["5-aaa"], undefined], ["d", ["1-d"], true]];
      assertEquals(rows(await call("GET /_changes")), winners);
      assertEquals(rows(await call("POST /_changes", {})), winners);
    },
  },
  {
    name: "_changes shows a document at its newest change only, and not to those who have seen that",
    create: "?q=1",
    async check(call) {
      await writeLetters(call, "abc");
      const before = await sinceNow(call);
      await write(call, '{"_id":"a","_revisions":{"start":2,"ids":["x","a"]}}');
      assertEquals(rowsOf(await call("GET /_changes")).map(({ id }) => id), ["b", "c", "a"]);
      assertEquals(idsOf(await call(`GET /_changes?since=${before}`)), ["a"]);
      assertEquals(idsOf(await call(`GET /_changes?since=${await sinceNow(call)}`)), []);
      // The same revision again changes nothing.
      await write(call, '{"_id":"b","_rev":"1-b"}');
      assertEquals(idsOf(await call(`GET /_changes?since=${before}`)), ["a"]);
    },
  },
  {
    name: "_changes of limit 0 gives the number of rows there would be, and does not move",
    async check(call) {
      const rest = (reply: CouchReply) => [reply.json.results, reply.json.pending, parseInt(reply.json.last_seq)];
      assertEquals(rest(await call("GET /_changes?limit=0")), [[], 0, 0]);
      await writeLetters(call, "abc");
      assertEquals(rest(await call("GET /_changes?limit=0")), [[], 3, 0]);
      const now = await sinceNow(call);
      await writeLetters(call, "de");
      const two = await call(`GET /_changes?limit=0&since=${now}`);
      assertEquals(rest(two), [[], 2, 3]);
      assertEquals(idsOf(await call(`GET /_changes?since=${two.json.last_seq}`)), ["d", "e"]);
    },
  },
  {
    name: "_changes with seq_interval leaves other positions null, counted from the limit",
    async check(call) {
      await writeLetters(call, "abcdefg");
      const given = async (query: string) =>
        rowsOf(await call(`GET /_changes?${query}`)).map(({ seq }) => seq === null ? 0 : 1);
      assertEquals(await given("seq_interval=3&limit=6"), [1, 0, 0, 1, 0, 0]);
      assertEquals(await given("seq_interval=3&limit=5"), [0, 0, 1, 0, 0]);
      assertEquals(await given("seq_interval=3"), [0, 1, 0, 0, 1, 0, 0]);
      const reply = await call("GET /_changes?seq_interval=3&limit=5");
      assertEquals([typeof reply.json.last_seq, reply.json.pending], ["string", 2]);
      assertRefused(await call("GET /_changes?seq_interval=0"), 400, "bad_request", "invalid_seq_interval");
    },
  },
  {
    name: "a position is what stands behind its dash, and that of another database gives all rows",
    async check(call) {
      await writeLetters(call, "abc");
      const now = await sinceNow(call);
      const opaque = now.slice(now.indexOf("-") + 1);
      for (const since of [now, opaque, `99-${opaque}`, `"${now}"`]) {
        assertEquals((await call(`GET /_changes?since=${encodeURIComponent(since)}`)).json.results, []);
      }
      const others = [(await call("GET //_users/_changes")).json.last_seq];
      // Before 3.2 only a feed that was read names the files: `update_seq`, and `now`, are numbers of rows.
      if (call.isAtLeast(3, 2)) others.push((await call("GET //_users")).json.update_seq);
      for (const since of others) {
        assertEquals(idsOf(await call(`GET /_changes?since=${since}`)), ["a", "b", "c"]);
      }
      const reason = "Malformed sequence supplied in 'since' parameter.";
      for (const since of ["5", "5-abc", "abc", ""]) {
        assertRefused(await call(`GET /_changes?since=${since}`), 400, "bad_request", reason);
      }
    },
  },
  {
    name: "_changes refuses other feeds, methods and content types",
    async check(call) {
      const feeds = "Supported `feed` types: normal, continuous, live, longpoll, eventsource";
      assertRefused(await call("GET /_changes?feed=x"), 400, "bad_request", feeds);
      assertRefused(await call("PUT /_changes", {}), 405, "method_not_allowed");
      const text = await call("POST /_changes", "{}", { "content-type": "text/plain" });
      assertRefused(text, 415, "bad_content_type", "Content-Type must be application/json");
      assertEquals((await call("GET /_changes?limit=x")).status, 500);
    },
  },
  {
    name: "settings move the update sequence in every range, without a row",
    create: "?q=4",
    async check(call) {
      await writeLetters(call, "ab");
      const before = await sinceNow(call);
      await ok(call("PUT /_security", {}));
      assertMatch((await call("GET ")).json.update_seq, /^6-/);
      await ok(call("PUT /_revs_limit", "500"));
      const { update_seq } = (await call("GET ")).json;
      assertMatch(update_seq, /^10-/);
      const reply = await call(`GET /_changes?since=${before}`);
      assertEquals([reply.json.results, reply.json.pending, reply.json.last_seq], [[], 0, before]);
      await ok(call("PUT /_local/a", {}));
      assertEquals((await call("GET ")).json.update_seq, update_seq);
    },
  },
  {
    name: "_purge forgets a document, moves purge_seq, and leaves no row",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"1-a"}', ...TREE);
      const before = (await call("GET ")).json;
      assertMatch(before.purge_seq, /^0-./);
      assertEquals((await call("POST /_purge", { a: ["1-a"] })).json.purged, { a: ["1-a"] });
      const after = (await call("GET ")).json;
      assertMatch(after.purge_seq, /^1-./);
      assertNotEquals(after.update_seq, before.update_seq);
      assertEquals([after.doc_count, after.doc_del_count], [1, 0]);
      assertEquals(idsOf(await call("GET /_changes")), ["c"]);
      assertEquals(idsOf(await call(`GET /_changes?since=${before.update_seq}`)), []);
      await ok(call("POST /_purge", { c: ["5-aaa"] }));
      const [row] = rowsOf(await call(`GET /_changes?since=${before.update_seq}`));
      assertEquals([row!.id, row!.changes], ["c", [{ rev: "3-bbb" }]]);
      assertEquals((await call("POST /_purge", { nope: ["1-a"] })).json.purged, { nope: [] });
      assertMatch((await call("GET ")).json.purge_seq, /^3-/);
    },
  },
  {
    name: "_dbs_info tells of a hundred databases what each tells of itself",
    async check(call) {
      await writeLetters(call, "ab");
      const { json } = await call("POST //_dbs_info", { keys: [call.database, "gone", "_users"] });
      assertEquals(json[0].key, call.database);
      const { sizes: _, ...own } = (await call("GET ")).json;
      const { sizes: __, ...info } = json[0].info;
      assertEquals([info, json[1]], [own, { key: "gone", error: "not_found" }]);
      assertEquals(json[2].info.db_name, "_users");
      const names = (count: number) => ({ keys: Array.from({ length: count }, (_, at) => `gone${at}`) });
      assertEquals((await call("POST //_dbs_info", names(100))).json.length, 100);
      assertRefused(await call("POST //_dbs_info", names(101)), 400, "bad_request", "too_many_keys");
      assertRefused(await call("POST //_dbs_info", {}), 400, "bad_request", "`keys` member must exist.");
      const start = encodeURIComponent(JSON.stringify(call.database));
      const first = await call(`GET //_dbs_info?start_key=${start}&limit=1`);
      if (call.isAtLeast(3, 3)) assertEquals(first.json[0].key, call.database);
      else assertRefused(first, 405, "method_not_allowed", "Only POST allowed");
      // Before 3.3 strangers are answered, too.
      const stranger = await call("POST //_dbs_info", names(1), { authorization: "" });
      assertEquals(stranger.status, call.isAtLeast(3, 3) ? 401 : 200);
    },
  },
  {
    name: "a database knows its ranges, what each copy of them holds and, from 3.3 on, when it was created",
    create: "?q=4",
    async check(call) {
      await writeLetters(call, "abcdefgh");
      const { instance_start_time } = (await call("GET ")).json;
      const seconds = Date.now() / 1000;
      if (!call.isAtLeast(3, 3)) assertEquals(instance_start_time, "0");
      else assert(Math.abs(Number(instance_start_time) - seconds) < 60, `${instance_start_time} is not ${seconds}`);
      const { shards } = (await call("GET /_shards")).json;
      const ranges = ["00000000-3fffffff", "40000000-7fffffff", "80000000-bfffffff", "c0000000-ffffffff"];
      assertEquals(Object.keys(shards).sort(), ranges);
      // A copy's file is named by the time of creation.
      if (!call.isAtLeast(3, 3)) return;
      let count = 0;
      for (const range of ranges) {
        const file = encodeURIComponent(`shards/${range}/${call.database}.${instance_start_time}`);
        const { json } = await call(`GET //_node/${shards[range][0]}/${file}`);
        assertEquals(json.update_seq, json.doc_count);
        count += json.doc_count;
      }
      assertEquals(count, 8);
    },
  },
  {
    name: "the nodes say who they are, how long they have been up and what they still have to replicate",
    async check(call) {
      const { all_nodes, cluster_nodes } = (await call("GET //_membership")).json;
      assertEquals(all_nodes, cluster_nodes);
      const { name } = (await call("GET //_node/_local")).json;
      assert(all_nodes.includes(name));
      for (const node of ["_local", name]) {
        const { uptime, internal_replication_jobs } = (await call(`GET //_node/${node}/_system`)).json;
        assertEquals([typeof uptime, internal_replication_jobs], ["number", 0]);
      }
      assertRefused(await call("GET //_node/no@body/_system"), 404, "not_found", "no such node: no@body");
      assertEquals((await call("GET //_membership", undefined, { authorization: "" })).status, 401);
    },
  },
];
