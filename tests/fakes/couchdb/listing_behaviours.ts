/** What CouchDB lists, in which order and by which pages: databases, documents, local documents. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { couchOk } from "../../couch_request.ts";
import { assertRefused, type Behaviour, idsOf, ok, write } from "./behaviour.ts";

/** Checks of it. */
export const LISTING_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "_all_docs lists live and design documents in the order of their bytes, sent in chunks",
    async check(call) {
      const ids = ["\0", "\n", " ", "0", "10", "9", "B", "_design/x", "a", "a\0", "~", "\u007f", "ä", "\uE000", "😀"];
      await write(call, ...[...ids].reverse().map((id) => JSON.stringify({ _id: id, _rev: "1-a" })));
      await write(call, '{"_id":"gone","_rev":"1-a","_deleted":true}');
      await ok(call("PUT /_local/x", {}));
      const reply = await call("GET /_all_docs");
      assertEquals(idsOf(reply), ids);
      const first = '{"id":"\\u0000","key":"\\u0000","value":{"rev":"1-a"}}';
      assertStringIncludes(reply.text, `{"total_rows":15,"offset":0,"rows":[\r\n${first},\r\n{`);
      assert(reply.text.endsWith("}}\r\n]}\n"));
      assertEquals(reply.headers.get("content-length"), null);
    },
  },
  {
    name: "_all_docs pages exactly by the last id and U+0000",
    async check(call) {
      const ids = ["a", "a\0", "a\0\0", "a\u0001", "a\n", "aa", "b"];
      await write(call, ...ids.map((id) => JSON.stringify({ _id: id, _rev: "1-a" })));
      const seen: string[] = [];
      for (let start = '""', page = ["-"]; page.length > 0; seen.push(...page)) {
        page = idsOf(await call(`GET /_all_docs?limit=2&start_key=${encodeURIComponent(start)}`));
        start = JSON.stringify(`${page.at(-1)}\0`);
      }
      assertEquals(seen, ids);
    },
  },
  {
    name: "_all_docs tells of documents that are named as keys the mark of a deletion, too",
    async check(call) {
      await write(call, '{"_id":"live","_rev":"1-a"}', '{"_id":"gone","_rev":"2-b","_deleted":true}');
      for (const query of ["", "?include_docs=true"]) {
        const { json } = await call(`POST /_all_docs${query}`, { keys: ["gone", "live", "never"] });
        assertEquals(json.rows.map(({ key, value, error }: Record<string, unknown>) => [key, value ?? error]), [
          ["gone", { rev: "2-b", deleted: true }],
          ["live", { rev: "1-a" }],
          ["never", "not_found"],
        ]);
      }
    },
  },
  {
    name: "_all_docs understands ranges, order, skip and keys",
    async check(call) {
      await write(call, ...["a", "b", "c", "d"].map((id) => `{"_id":"${id}","_rev":"1-${id}","v":1.0}`));
      const ids = async (query: string) => idsOf(await call(`GET /_all_docs?${query}`));
      assertEquals(await ids('startkey="b"&endkey="c"'), ["b", "c"]);
      assertEquals(await ids('start_key="b"&end_key="c"&inclusive_end=false'), ["b"]);
      assertEquals(await ids('descending=true&start_key="c"&limit=2'), ["c", "b"]);
      assertEquals(await ids("skip=1&limit=2"), ["b", "c"]);
      assertEquals(await ids('key="b"'), ["b"]);
      assertEquals((await call('GET /_all_docs?start_key="c"')).json.offset, 2);
      assertStringIncludes(
        (await call('GET /_all_docs?include_docs=true&key="b"')).text,
        '"value":{"rev":"1-b"},"doc":{"_id":"b","_rev":"1-b","v":1.0}}',
      );
      const keys = await call("POST /_all_docs", { keys: ["c", "gone", "a"] });
      assertEquals(keys.json.rows[1], { key: "gone", error: "not_found" });
      assertEquals([keys.json.rows[0].id, keys.json.rows[2].id], ["c", "a"]);
      assertRefused(await call("GET /_all_docs?limit=x"), 400, "query_parse_error");
      assertRefused(await call("GET /_all_docs?start_key=x"), 400, "bad_request", "invalid UTF-8 JSON");
    },
  },
  {
    name: "_all_dbs lists names in order and pages",
    async check(call) {
      const path = `/${encodeURIComponent(call.database)}`;
      const names = ["$", "+b", "-", "/b"].map((end) => call.database + end);
      for (const name of names) await couchOk(call.server, `PUT /${encodeURIComponent(name)}`);
      try {
        const start = encodeURIComponent(JSON.stringify(`${call.database}\0`));
        assertEquals((await call(`GET //_all_dbs?start_key=${start}&limit=3`)).json, names.slice(0, 3));
        const end = encodeURIComponent(JSON.stringify(names[3]));
        assertEquals((await call(`GET //_all_dbs?startkey=${start}&endkey=${end}&skip=2`)).json, names.slice(2));
        assertEquals((await call(`GET ${path.replace("/", "//")}%2Bb`)).json.db_name, names[1]);
      } finally {
        for (const name of names) await couchOk(call.server, `DELETE /${encodeURIComponent(name)}`);
      }
    },
  },
  {
    name: "local documents are kept apart and counted by a revision of their own",
    async check(call) {
      assertEquals((await call("PUT /_local/a", '{"n":1.0}')).text, '{"ok":true,"id":"_local/a","rev":"0-1"}\n');
      assertEquals((await call("GET /_local/a")).text, '{"_id":"_local/a","_rev":"0-1","n":1.0}\n');
      assertEquals((await call("PUT /_local/a", '{"_rev":"0-1","n":2.0}')).json.rev, "0-2");
      await write(call, '{"_id":"_local/b","_rev":"0-5"}');
      const listed = await call("GET /_local_docs?include_docs=true");
      assertEquals(idsOf(listed), ["_local/a", "_local/b"]);
      assertStringIncludes(listed.text, '"value":{"rev":"0-2"},"doc":{"_id":"_local/a","_rev":"0-2","n":2.0}}');
      assertEquals([listed.json.total_rows, listed.json.offset], [null, null]);
      assertEquals((await call("GET ")).json.doc_count, 0);
      assertRefused(await call("GET /_local/none"), 404, "not_found", "missing");
    },
  },
];
