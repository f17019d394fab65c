/** What design documents do to a restore: those that do not compile, those that validate, and views. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertRefused, type Behaviour, idsOf, ok, write } from "./behaviour.ts";

/** Checks of it. */
export const DESIGN_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "validate_doc_update refuses documents one by one, of administrators and of replication too",
    async check(call) {
      const source = "function (n, o, u, s) { if (n.bad) throw({forbidden: 'not ' + u.name + typeof o + s.x}); " +
        "if (n.who) throw({unauthorized: 'who'}); }";
      await ok(call("PUT /_security", { x: "!" }));
      await ok(call("PUT /_design/v", { validate_doc_update: source }));
      const reason = `not ${call.server.login}object!`;
      const replicated = await call(
        "POST /_bulk_docs",
        '{"new_edits":false,"docs":[{"_id":"a","_rev":"1-a"},{"_id":"b","_rev":"1-b","bad":1},{"_id":"c","_rev":"1-c","who":1}]}',
      );
      assertEquals([replicated.status, replicated.json], [201, [
        { id: "b", rev: "1-b", error: "forbidden", reason },
        { id: "c", rev: "1-c", error: "unauthorized", reason: "who" },
      ]]);
      const edited = await call("POST /_bulk_docs", { docs: [{ _id: "b", bad: 1 }, { _id: "e" }] });
      assertEquals(edited.json[0], { id: "b", error: "forbidden", reason });
      assertEquals(edited.json[1].ok, true);
      assertRefused(await call("PUT /b", { bad: 1 }), 403, "forbidden", reason);
      assertEquals(idsOf(await call("GET /_all_docs")), ["_design/v", "a", "e"]);
    },
  },
  {
    name: "validate_doc_update holds from the batch after its own, and not for design documents",
    async check(call) {
      const source = "function () { throw({forbidden: 'never'}); }";
      const design = `{"_id":"_design/v","_rev":"1-v","validate_doc_update":${JSON.stringify(source)}}`;
      await write(call, design, '{"_id":"a","_rev":"1-a"}');
      await ok(call("PUT /_design/w", {}));
      assertRefused(await call("PUT /b", {}), 403, "forbidden", "never");
    },
  },
  {
    name: "a design document whose views do not compile is refused as a row",
    async check(call) {
      const design = (view: unknown) => JSON.stringify({ views: { x: view } }).slice(1);
      const map = design({ map: "function (doc) { emit(" });
      // What follows is the engine's: SpiderMonkey and QuickJS have texts of their own.
      const reason = "Compilation of the map function in the 'x' view failed: ";
      const replicated = await call(
        "POST /_bulk_docs",
        `{"new_edits":false,"docs":[{"_id":"_design/a","_rev":"1-a",${map},{"_id":"fine","_rev":"1-a"}]}`,
      );
      assertEquals([replicated.status, replicated.json.length], [201, 1]);
      const { id, rev, error } = replicated.json[0];
      assertEquals({ id, rev, error }, { id: "_design/a", rev: "1-a", error: "compilation_error" });
      assertStringIncludes(replicated.json[0].reason, reason);
      const put = await call("PUT /_design/a", `{${map}`);
      assertEquals([put.status, put.json.error], [400, "compilation_error"]);
      const reduce = await call("PUT /_design/a", `{${design({ map: "function () {}", reduce: "function (" })}`);
      assertStringIncludes(reduce.json.reason, "Compilation of the reduce function in the 'x' view failed: ");
      const builtIn = await call("PUT /_design/a", `{${design({ map: "function () {}", reduce: "_nope" })}`);
      assertRefused(builtIn, 400, "invalid_design_doc", "`_nope` is not a supported reduce function.");
      const number = await call("PUT /_design/a", `{${design({ map: 5 })}`);
      assertRefused(number, 400, "invalid_design_doc", "`views.x.map` field must have string type");
      await ok(call("PUT /_design/a", { language: "other", views: { x: { map: "function (" } } }));
      assertEquals(idsOf(await call("GET /_all_docs")), ["_design/a", "fine"]);
    },
  },
  {
    name: "a validate_doc_update that does not compile is stored, and then refuses every document",
    async check(call) {
      await ok(call("PUT /_design/v", { validate_doc_update: "function (n) { throw(" }));
      const { json, status } = await call("POST /_bulk_docs", '{"new_edits":false,"docs":[{"_id":"a","_rev":"1-a"}]}');
      assertEquals([status, json[0].id, json[0].error], [201, "a", "compilation_error"]);
    },
  },
  {
    name: "a view is queried without rows, and names what is missing",
    async check(call) {
      const views = { m: { map: "function (d) { emit(1); }" }, r: { map: "function (d) {}", reduce: "_count" } };
      await ok(call("PUT /_design/v", { views }));
      const map = await call("GET /_design/v/_view/m?limit=0");
      assertEquals([map.status, map.json.rows, map.json.total_rows], [200, [], 0]);
      assertEquals((await call("GET /_design/v/_view/r?limit=0")).json, { rows: [] });
      assertRefused(await call("GET /_design/v/_view/none?limit=0"), 404, "not_found", "missing_named_view");
      assertRefused(await call("GET /_design/none/_view/m?limit=0"), 404, "not_found", "missing");
      const partition = await call("GET /_partition/p/_design/v/_view/m?limit=0");
      assertRefused(partition, 400, "bad_request", "database is not partitioned");
    },
  },
  {
    name: "a view of a partitioned database is queried by partition, whether that has documents or not",
    create: "?partitioned=true",
    async check(call) {
      const views = { m: { map: "function (d) { emit(1); }" } };
      await ok(call("PUT /_design/v", { views }));
      await ok(call("PUT /_design/all", { views, options: { partitioned: false } }));
      const map = await call("GET /_partition/p/_design/v/_view/m?limit=0");
      assertEquals([map.status, map.json.rows, map.json.total_rows], [200, [], 0]);
      const whole = await call("GET /_design/v/_view/m?limit=0");
      const reason = "`partition` parameter is mandatory for queries to this view.";
      assertRefused(whole, 400, "query_parse_error", reason);
      const underscore = await call("GET /_partition/_/_design/v/_view/m?limit=0");
      assertRefused(underscore, 400, "illegal_partition", "Partition must not start with an underscore");
      const colon = await call("GET /_partition/a:b/_design/v/_view/m?limit=0");
      assertRefused(colon, 400, "illegal_partition", "Partition must not contain a colon");
      await ok(call("GET /_design/all/_view/m?limit=0"));
      const part = await call("GET /_partition/p/_design/all/_view/m?limit=0");
      assertRefused(part, 400, "query_parse_error", "`partition` parameter is not supported in this design doc");
    },
  },
];
