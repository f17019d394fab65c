/** How CouchDB answers documents: their text, their leaf revisions, their winner, and what is missing. */
import { assertEquals } from "@std/assert";
import { hasRevision } from "../../leaf_revisions.ts";
import { assertRefused, type Behaviour, bulkGet, TREE, write } from "./behaviour.ts";

/** Checks of it. */
export const READING_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "a document's body comes back as the text that was sent, by every way to it",
    async check(call) {
      const body = '"big":9007199254740993,"float":1.0,"10":1,"2":{"1":2,"0":3},"e":"ä😀\\u0000\\"","list":[1.0,-0.5]';
      await write(call, `{"_id":"n","_rev":"1-a",${body}}`);
      const text = `{"_id":"n","_rev":"1-a",${body}}`;
      assertEquals((await call("GET /n")).text, `${text}\n`);
      assertEquals((await call("GET /n?open_revs=all")).text, `[{"ok":${text}}]\n`);
      assertEquals(await bulkGet(call, { id: "n" }), `{"ok":${text}}`);
    },
  },
  {
    name: "_bulk_get of ids answers every leaf revision, deleted ones too, in one body of known length from 3.3 on",
    async check(call) {
      await write(call, ...TREE);
      const reply = await call("POST /_bulk_get", { docs: [{ id: "c" }] });
      assertEquals(
        reply.json.results[0].docs.map(({ ok }: { ok: { _rev: string } }) => ok._rev),
        call.isAtLeast(3, 3)
          ? ["5-aaa", "2-zzz", "4-del", "3-aaa", "3-bbb"]
          : ["2-zzz", "3-aaa", "3-bbb", "4-del", "5-aaa"],
      );
      const length = call.isAtLeast(3, 3) ? String(new TextEncoder().encode(reply.text).length) : null;
      assertEquals(reply.headers.get("content-length"), length);
    },
  },
  {
    name: "_bulk_get adds histories when asked",
    async check(call) {
      await write(call, ...TREE);
      const text = await bulkGet(call, { id: "c", rev: "4-del" }, "?revs=true");
      const history = '"_revisions":{"start":4,"ids":["del","aa0","bbb","ccc"]}';
      assertEquals(text, `{"ok":{"_id":"c","_rev":"4-del","_deleted":true,${history}}}`);
    },
  },
  {
    name: "_bulk_get answers errors as rows, in the order of the request",
    async check(call) {
      await write(call, ...TREE);
      const docs = [{ id: "gone" }, { id: "c", rev: "2-bbb" }, { id: "_no" }, { id: "c", rev: "bad" }, { x: 1 }];
      const { json, status } = await call("POST /_bulk_get", { docs });
      assertEquals(status, 200);
      assertEquals(
        json.results.map((row: { id: string; docs: { error: unknown }[] }) => [row.id, row.docs[0]!.error]),
        [
          ["gone", { id: "gone", rev: "undefined", error: "not_found", reason: "missing" }],
          ["c", { id: "c", rev: "2-bbb", error: "not_found", reason: "missing" }],
          ["_no", {
            id: "_no",
            rev: null,
            error: "illegal_docid",
            reason: "Only reserved document ids may start with underscore.",
          }],
          ["c", { id: "c", rev: "bad", error: "bad_request", reason: "Invalid rev format" }],
          [null, { id: null, rev: null, error: "bad_request", reason: "document id missed" }],
        ],
      );
      // Before 3.3 the connection breaks where one is no object.
      if (call.isAtLeast(3, 3)) {
        const { json: { results } } = await call("POST /_bulk_get", { docs: [5] });
        const error = { id: null, rev: null, error: "bad_request", reason: "document must be a JSON object" };
        assertEquals(results, [{ id: null, docs: [{ error }] }]);
      }
      assertRefused(await call("POST /_bulk_get", {}), 400, "bad_request", "Missing JSON list of 'docs'.");
      assertRefused(await call("GET /_bulk_get"), 405, "method_not_allowed", "Only POST allowed");
      assertRefused(
        await call("POST /_bulk_get?rev=1-a", { docs: [] }),
        400,
        "bad_request",
        '"rev" query parameter is not acceptable',
      );
    },
  },
  {
    name: "_bulk_get with latest answers the leaves below a revision",
    async check(call) {
      await write(call, ...TREE);
      const { json } = await call("POST /_bulk_get?latest=true", { docs: [{ id: "c", rev: "2-bbb" }] });
      const names = json.results[0].docs.map(({ ok }: { ok: { _rev: string } }) => ok._rev);
      assertEquals(names, call.isAtLeast(3, 3) ? ["4-del", "3-aaa", "3-bbb"] : ["3-aaa", "3-bbb", "4-del"]);
    },
  },
  {
    name: "open_revs answers all leaves by age, or those named",
    async check(call) {
      await write(call, ...TREE);
      const all = await call("GET /c?open_revs=all");
      const names = all.json.map(({ ok }: { ok: { _rev: string } }) => ok._rev);
      assertEquals(names, ["2-zzz", "3-aaa", "3-bbb", "4-del", "5-aaa"]);
      const named = await call(`GET /c?open_revs=${encodeURIComponent('["3-aaa","7-x"]')}`);
      assertEquals(named.text, '[{"ok":{"_id":"c","_rev":"3-aaa","v":1}},{"missing":"7-x"}]\n');
      assertRefused(await call("GET /gone?open_revs=all"), 404, "not_found", "missing");
    },
  },
  {
    name: "the winner is live before deleted, then of the longest history, then of the highest hash",
    async check(call) {
      await write(call, ...TREE);
      const { json } = await call("GET /c?conflicts=true&deleted_conflicts=true");
      assertEquals([json._rev, json._conflicts, json._deleted_conflicts], [
        "5-aaa",
        ["3-bbb", "3-aaa", "2-zzz"],
        ["4-del"],
      ]);
      // 32 hexadecimal digits are compared as 16 bytes: 7b is "{", which is behind "z".
      const hex = (start: string) => start.padEnd(32, "0");
      await write(call, ...["zz", hex("7B"), hex("79")].map((hash) => `{"_id":"h","_rev":"1-${hash}"}`));
      const compared = (await call("GET /h?conflicts=true")).json;
      assertEquals([compared._rev, compared._conflicts], [`1-${hex("7b")}`, ["1-zz", `1-${hex("79")}`]]);
    },
  },
  {
    name: "GET of a document answers a revision, 404 for a deleted winner and for what is not there",
    async check(call) {
      await write(call, ...TREE, '{"_id":"d","_rev":"1-d","_deleted":true}');
      assertEquals((await call("GET /c?rev=4-del")).text, '{"_id":"c","_rev":"4-del","_deleted":true}\n');
      assertRefused(await call("GET /c?rev=9-del"), 404, "not_found", "missing");
      assertRefused(await call("GET /d"), 404, "not_found", "deleted");
      assertRefused(await call("GET /none"), 404, "not_found", "missing");
      assertRefused(await call("GET /c?rev=bad"), 400, "bad_request", "Invalid rev format");
      assertEquals((await call("GET /c?rev=4-del&meta=true")).text, (await call("GET /c?rev=4-del")).text);
      await write(call, '{"_id":"r","_revisions":{"start":2,"ids":["b","a"]}}');
      const { json } = await call("GET /r?revs_info=true");
      assertEquals(json._revs_info, [{ rev: "2-b", status: "available" }, { rev: "1-a", status: "missing" }]);
    },
  },
  {
    name: "_revs_diff names the revisions that are missing",
    async check(call) {
      await write(call, '{"_id":"a","_revisions":{"start":3,"ids":["c","b","a"]}}');
      const { json } = await call("POST /_revs_diff", { a: ["3-c", "2-b", "9-x"], b: ["1-x"] });
      assertEquals(json, { a: { missing: ["9-x"], possible_ancestors: ["3-c"] }, b: { missing: ["1-x"] } });
      const has = (revision: string) => hasRevision(call.server, call.database, { id: "a", revision });
      assertEquals([await has("2-b"), await has("2-x")], [true, false]);
    },
  },
];
