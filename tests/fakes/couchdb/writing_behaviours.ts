/** How CouchDB writes documents: what it keeps, what it refuses, one by one or by the batch. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { assertRefused, type Behaviour, bulkGet, idsOf, ok, STUB, TREE, write } from "./behaviour.ts";

const MAX_DOCUMENT_SIZE = "//_node/_local/_config/couchdb/max_document_size";

/** Checks of it. */
export const WRITING_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "_bulk_docs with new_edits false answers nothing, keeps revisions, and may be repeated",
    async check(call) {
      for (let time = 0; time < 2; time++) {
        const reply = await call("POST /_bulk_docs", `{"new_edits":false,"docs":[${TREE}]}`);
        assertEquals([reply.status, reply.text], [201, "[]\n"]);
      }
      assertEquals((await call("GET /c?open_revs=all")).json.length, 5);
      assertEquals((await call("GET ")).json.doc_count, 1);
    },
  },
  {
    name: "_bulk_docs with new_edits false joins a truncated history with a longer one",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"2-b"}', '{"_id":"b","_rev":"2-b"}');
      await write(call, '{"_id":"a","_revisions":{"start":3,"ids":["c","b","a"]}}', '{"_id":"b","_rev":"3-c"}');
      const joined = await call("GET /a?open_revs=all&revs=true");
      assertEquals(joined.text, '[{"ok":{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]}}}]\n');
      const apart = await call("GET /b?open_revs=all");
      assertEquals(apart.json.length, 2, "without _revisions nothing says that one follows the other");
    },
  },
  {
    name: "_bulk_docs adds what an ancestor holds without making it a leaf",
    async check(call) {
      await write(call, '{"_id":"a","_revisions":{"start":2,"ids":["b","a"]},"v":2}');
      assertRefused(await call("GET /a?rev=1-a"), 404, "not_found", "missing");
      await write(call, '{"_id":"a","_rev":"1-a","v":1}');
      assertEquals((await call("GET /a?open_revs=all")).json.length, 1);
      assertEquals((await call("GET /a?rev=1-a")).text, '{"_id":"a","_rev":"1-a","v":1}\n');
    },
  },
  {
    name: "_bulk_docs leaves a revision that it has as it is, and asks nobody",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"1-a","v":1}');
      const validate_doc_update = "function () { throw({forbidden: 'never'}); }";
      await ok(call("PUT /_design/v", { validate_doc_update }));
      const before = (await call("GET ")).json.update_seq;
      await write(call, '{"_id":"a","_rev":"1-a","v":2}');
      assertEquals((await call("GET /a")).text, '{"_id":"a","_rev":"1-a","v":1}\n');
      assertEquals((await call("GET ")).json.update_seq.split("-")[0], before.split("-")[0]);
    },
  },
  {
    name: "_bulk_docs believes _revisions and not _rev, and the last of members with the same key",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"3-z","_revisions":{"start":2,"ids":["y","x"]},"k":1,"l":2,"k":3}');
      assertEquals((await call("GET /a")).text, '{"_id":"a","_rev":"2-y","l":2,"k":3}\n');
      await write(call, '{"_revisions":{"start":2,"ids":["y","x"]},"_rev":"3-z","_id":"b"}');
      assertEquals((await call("GET /b")).json._rev, "2-y");
    },
  },
  {
    name: "_bulk_docs refuses a whole batch for one document that is none, and writes nothing",
    async check(call) {
      const refused: [document: string, status: number, error: string, reason: string][] = [
        ["null", 400, "bad_request", "Document must be a JSON object"],
        ["[]", 400, "bad_request", "Document must be a JSON object"],
        call.isAtLeast(3, 3)
          ? [
            '{"_id":"x"}',
            400,
            "bad_request",
            "When `new_edits: false`, the document needs `_rev` or `_revisions` specified",
          ]
          : ['{"_id":"x"}', 500, "unknown_error", "function_clause"],
        ['{"_id":"x","_rev":"1"}', 400, "bad_request", "Invalid rev format"],
        ['{"_id":"","_rev":"1-a"}', 400, "illegal_docid", "Document id must not be empty"],
        ['{"_id":5,"_rev":"1-a"}', 400, "illegal_docid", "Document id must be a string"],
        ['{"_id":"_x","_rev":"1-a"}', 400, "illegal_docid", "Only reserved document ids may start with underscore."],
        ['{"_id":"x","_rev":"1-a","_y":1}', 400, "doc_validation", "Bad special document member: _y"],
        [`{"_id":"x","_rev":"1-a",${STUB}}`, 412, "missing_stub", "Invalid attachment stub in x for f"],
        [
          '{"_id":"x","_rev":"1-a","_attachments":{"f":{"data":"%"}}}',
          400,
          "bad_request",
          "Invalid attachment data for f",
        ],
      ];
      for (const [document, status, error, reason] of refused) {
        const body = `{"new_edits":false,"docs":[{"_id":"fine","_rev":"1-a"},${document}]}`;
        assertRefused(await call("POST /_bulk_docs", body), status, error, reason);
        assertRefused(await call("GET /fine"), 404, "not_found", "missing");
      }
    },
  },
  {
    name: "_bulk_docs refuses bodies that are not what it wants",
    async check(call) {
      const json = "invalid UTF-8 JSON";
      assertRefused(await call("POST /_bulk_docs", '{"docs":['), 400, "bad_request", json);
      assertRefused(await call("POST /_bulk_docs", "[]"), 400, "bad_request", "Request body must be a JSON object");
      assertRefused(
        await call("POST /_bulk_docs", "{}"),
        400,
        "bad_request",
        "POST body must include `docs` parameter.",
      );
      assertRefused(
        await call("POST /_bulk_docs", { docs: 5 }),
        400,
        "bad_request",
        "`docs` parameter must be an array.",
      );
      const type = { "content-type": "text/plain" };
      const reason = "Content-Type must be application/json";
      assertRefused(await call("POST /_bulk_docs", "{}", type), 415, "bad_content_type", reason);
    },
  },
  {
    name: "_bulk_docs accepts compressed bodies",
    async check(call) {
      const gzip = { "content-encoding": "gzip" };
      const stream = new Blob(['{"docs":[{"_id":"z","n":1.0}]}']).stream().pipeThrough(new CompressionStream("gzip"));
      const body = new Uint8Array(await new Response(stream).arrayBuffer());
      assertEquals((await call("POST /_bulk_docs", body, gzip)).json[0].ok, true);
      assertStringIncludes((await call("GET /z")).text, '"n":1.0');
      const reason = "Request body is not properly gzipped.";
      assertRefused(await call("POST /_bulk_docs", "{}", gzip), 400, "bad_request", reason);
    },
  },
  {
    name: "_bulk_docs and PUT refuse a document above max_document_size by its id, with the whole batch",
    async check(call) {
      await ok(call(`PUT ${MAX_DOCUMENT_SIZE}`, '"200"'));
      try {
        const large = "x".repeat(300);
        const body =
          `{"new_edits":false,"docs":[{"_id":"fine","_rev":"1-a"},{"_id":"large","_rev":"1-a","x":"${large}"}]}`;
        assertRefused(await call("POST /_bulk_docs", body), 413, "document_too_large", "large");
        assertRefused(await call("GET /fine"), 404, "not_found", "missing");
        assertRefused(await call("PUT /large", { x: large }), 413, "document_too_large", "");
        const data = btoa(large);
        await write(call, `{"_id":"attached","_rev":"1-a","_attachments":{"f":{"data":"${data}"}}}`);
        assertEquals((await call(`GET ${MAX_DOCUMENT_SIZE}`)).text, '"200"\n');
      } finally {
        await ok(call(`DELETE ${MAX_DOCUMENT_SIZE}`));
      }
    },
  },
  {
    name: "_bulk_docs with new edits makes revisions, answers a row each, and tells of conflicts",
    async check(call) {
      const first = await call("POST /_bulk_docs", { docs: [{ _id: "a", v: 1 }, { v: 2 }] });
      assertEquals([first.status, first.json[0].ok, first.json[0].id], [201, true, "a"]);
      assertMatch(first.json[0].rev, /^1-[0-9a-f]{32}$/);
      assertMatch(first.json[1].id, /^[0-9a-f]{32}$/);
      const docs = [{ _id: "a" }, { _id: "a", _rev: "1-b" }, { _id: "a", _rev: first.json[0].rev, v: 3 }];
      const second = await call("POST /_bulk_docs", { docs });
      const conflict = { id: "a", error: "conflict", reason: "Document update conflict." };
      assertEquals(second.json.slice(0, 2), [conflict, conflict]);
      assertMatch(second.json[2].rev, /^2-/);
      const ids = [second.json[2].rev, first.json[0].rev].map((rev: string) => rev.slice(2));
      assertEquals((await call("GET /a?revs=true")).json._revisions, { start: 2, ids });
      const twice = await call("POST /_bulk_docs", { docs: [{ _id: "t" }, { _id: "t", x: 1 }] });
      assertEquals(twice.json.map((row: { error?: string }) => row.error), [undefined, "conflict"]);
    },
  },
  {
    name: "PUT and DELETE of a document follow its revisions, and a deleted one can come back",
    async check(call) {
      const created = await call("PUT /a", { v: 1 });
      assertEquals([created.status, created.json.ok, created.json.id], [201, true, "a"]);
      assertRefused(await call("PUT /a", { v: 2 }), 409, "conflict", "Document update conflict.");
      assertRefused(await call("DELETE /a"), 409, "conflict", "Document update conflict.");
      const deleted = await call(`DELETE /a?rev=${created.json.rev}`);
      assertEquals([deleted.status, deleted.json.rev.slice(0, 2)], [200, "2-"]);
      assertRefused(await call("DELETE /a"), 404, "not_found", "deleted");
      const back = await call("PUT /a", { v: 3 });
      assertMatch(back.json.rev, /^3-/);
      assertEquals((await call("GET /a?revs=true")).json._revisions.ids.length, 3);
      const replicated = await call("PUT /b?new_edits=false", { _rev: "7-x" });
      assertEquals([replicated.status, replicated.json.rev], [201, "7-x"]);
    },
  },
  {
    name: "a deleted document is edited without a revision alone: one onto its mark is a conflict",
    async check(call) {
      const { rev } = (await call("PUT /a", { v: 1 })).json;
      const mark = (await call(`DELETE /a?rev=${rev}`)).json.rev;
      const conflict = [{ id: "a", error: "conflict", reason: "Document update conflict." }];
      assertEquals((await call("POST /_bulk_docs", { docs: [{ _id: "a", _rev: mark, v: 2 }] })).json, conflict);
      assertEquals((await call("POST /_bulk_docs", { docs: [{ _id: "a", _deleted: true }] })).json, conflict);
      assertRefused(await call(`PUT /a?rev=${mark}`, { v: 2 }), 409, "conflict", "Document update conflict.");
      const [back] = (await call("POST /_bulk_docs", { docs: [{ _id: "a", v: 2 }] })).json;
      const ids = [back.rev, mark, rev].map((one: string) => one.slice(2));
      assertEquals((await call("GET /a?revs=true")).json._revisions, { start: 3, ids });
    },
  },
  {
    name: "inline attachments are kept in their order, whatever digest they claim",
    async check(call) {
      const text =
        '"t":{"content_type":"text/plain","revpos":1,"digest":"md5-wrongwrongwrongwrongwg==","data":"aGVsbG8="}';
      await write(call, `{"_id":"a","_rev":"3-a","v":1,"_attachments":{${text},"b":{"data":"AAEC"},"2":{"data":""}}}`);
      const kept = '"t":{"content_type":"text/plain","revpos":1,"digest":"md5-iMaiC8wqiFlD2NjLTemvCQ=="';
      const plain = '"b":{"content_type":"application/octet-stream","revpos":0,"digest":"md5-uV9n9h67A2GWIteY9F/C0w=="';
      const empty = '"2":{"content_type":"application/octet-stream","revpos":0,"digest":"md5-1B2M2Y8AsgTpgAmY7PhCfg=="';
      assertEquals(
        (await call("GET /a?revs=true")).text,
        `{"_id":"a","_rev":"3-a","v":1,"_revisions":{"start":3,"ids":["a"]},"_attachments":{` +
          `${kept},"length":5,"stub":true},${plain},"length":3,"stub":true},${empty},"length":0,"stub":true}}}\n`,
      );
      assertEquals(
        await bulkGet(call, { id: "a" }, "?attachments=true"),
        `{"ok":{"_id":"a","_rev":"3-a","v":1,"_attachments":{` +
          `${kept},"data":"aGVsbG8="},${plain},"data":"AAEC"},${empty},"data":""}}}}`,
      );
    },
  },
  {
    name: "an edit's attachment gets the generation it came in, and a stub keeps it",
    async check(call) {
      const first = await call("PUT /a", '{"_attachments":{"f":{"data":"AAEC","revpos":7}}}');
      assertEquals((await call("GET /a")).json._attachments.f.revpos, 1);
      const again = `{"_rev":"${first.json.rev}","_attachments":{"f":{"stub":true,"revpos":1},"g":{"data":"AA=="}}}`;
      await ok(call("PUT /a", again));
      const { f, g } = (await call("GET /a?attachments=true")).json._attachments;
      assertEquals([f.revpos, f.data, g.revpos, g.data], [1, "AAEC", 2, "AA=="]);
    },
  },
  {
    name: "a replicated stub stands for its parent's attachment, and is refused where the parent has none",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"1-a","_attachments":{"f":{"data":"AAEC","revpos":1}}}');
      await write(call, `{"_id":"a","_revisions":{"start":2,"ids":["b","a"]},${STUB}}`);
      assertEquals((await call("GET /a?attachments=true")).json._attachments.f.data, "AAEC");
      const other = STUB.replace('"f"', '"g"');
      const body = `{"new_edits":false,"docs":[{"_id":"a","_revisions":{"start":3,"ids":["c","b","a"]},${other}}]}`;
      assertRefused(await call("POST /_bulk_docs", body), 412, "missing_stub", "Invalid attachment stub in a for g");
    },
  },
  {
    name: "_purge makes a document vanish",
    async check(call) {
      await write(call, '{"_id":"a","_rev":"1-a"}', ...TREE);
      const reply = await call("POST /_purge", { a: ["1-a"], c: ["5-aaa"] });
      assertEquals([reply.status, reply.json], [201, { purge_seq: null, purged: { a: ["1-a"], c: ["5-aaa"] } }]);
      assertRefused(await call("GET /a"), 404, "not_found", "missing");
      assertEquals((await call("GET /c")).json._rev, "3-bbb");
      assertEquals(idsOf(await call("GET /_all_docs")), ["c"]);
    },
  },
  {
    name: "a partitioned database says so and refuses ids without a partition, with the whole batch",
    create: "?partitioned=true&q=1",
    async check(call) {
      const { json } = await call("GET ");
      assertEquals([json.props, json.cluster.q], [{ partitioned: true }, 1]);
      const fine = '{"_id":"p:a","_rev":"1-a"}';
      const noPartition = `{"new_edits":false,"docs":[${fine},{"_id":"b","_rev":"1-a"}]}`;
      const reason = "Doc id must be of form partition:id";
      assertRefused(await call("POST /_bulk_docs", noPartition), 400, "illegal_docid", reason);
      const noName = noPartition.replace('"b"', '":b"');
      assertRefused(await call("POST /_bulk_docs", noName), 400, "illegal_partition", "Partition must not be empty");
      assertEquals(idsOf(await call("GET /_all_docs")), []);
      await write(call, fine, '{"_id":"_design/d","_rev":"1-a"}');
    },
  },
];
