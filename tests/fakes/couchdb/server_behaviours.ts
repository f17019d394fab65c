/** What CouchDB does as a server: logins, names, databases and their settings. */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { assertRefused, type Behaviour, idsOf, ok, write } from "./behaviour.ts";

/** Checks of it. */
export const SERVER_BEHAVIOURS: readonly Behaviour[] = [
  {
    name: "GET / says which version it is, also to strangers",
    async check(call) {
      const { json, status } = await call("GET //", undefined, { authorization: "" });
      assertEquals([status, json.couchdb], [200, "Welcome"]);
      assertMatch(json.version, /^\d+\.\d+\.\d+/);
      assertEquals((await call("GET //_up")).json.status, "ok");
    },
  },
  {
    name: "GET /_session names the user",
    async check(call) {
      const { json } = await call("GET //_session");
      assertEquals(json.userCtx, { name: call.server.login, roles: ["_admin"] });
      assertEquals((await call("GET //_session", undefined, { authorization: "" })).json.userCtx.name, null);
    },
  },
  {
    name: "a request without credentials, or with wrong ones, is answered 401",
    async check(call) {
      const stranger = await call("GET ", undefined, { authorization: "" });
      assertRefused(stranger, 401, "unauthorized", "You are not authorized to access this db.");
      const wrong = await call("GET ", undefined, { authorization: `Basic ${btoa("nobody:wrong")}` });
      assertRefused(wrong, 401, "unauthorized", "Name or password is incorrect.");
      const list = await call("GET //_all_dbs", undefined, { authorization: "" });
      assertRefused(list, 401, "unauthorized", "You are not a server admin.");
    },
  },
  {
    name: "PUT of a database refuses one that exists and names that are not allowed",
    async check(call) {
      assertRefused(
        await call("PUT "),
        412,
        "file_exists",
        "The database could not be created, the file already exists.",
      );
      assertRefused(await call("PUT //Capital"), 400, "illegal_database_name");
      assertRefused(await call("PUT //_unknown"), 400, "illegal_database_name");
      assertRefused(await call(`PUT //${"a".repeat(239)}`), 400, "database_name_too_long");
    },
  },
  {
    name: "a database that is not there is answered 404, deleted or never made",
    async check(call) {
      assertEquals((await call("DELETE ")).text, '{"ok":true}\n');
      for (const request of ["GET ", "DELETE ", "GET /_all_docs", "PUT /_local/x"]) {
        const body = request.startsWith("PUT") ? {} : undefined;
        assertRefused(await call(request, body), 404, "not_found", "Database does not exist.");
      }
    },
  },
  {
    name: "a plus in a path is a space, unless it is encoded",
    async check(call) {
      await ok(call("PUT /a+b", {}));
      await ok(call("PUT /a%2Bb", {}));
      assertEquals(idsOf(await call("GET /_all_docs")), ["a b", "a+b"]);
      assertRefused(await call("PUT //a+b"), 400, "illegal_database_name");
    },
  },
  {
    name: "GET of a database counts its documents, and its update sequence is opaque and moves",
    create: "?q=4",
    async check(call) {
      const empty = (await call("GET ")).json;
      await write(call, '{"_id":"a","_rev":"1-a"}', '{"_id":"b","_rev":"1-b","_deleted":true}');
      const { json } = await call("GET ");
      assertEquals([json.db_name, json.doc_count, json.doc_del_count], [call.database, 1, 1]);
      assertEquals([json.cluster.q, json.cluster.n, json.props.partitioned], [4, 1, undefined]);
      assertMatch(json.update_seq, /^2-./);
      assertNotEquals(json.update_seq, empty.update_seq);
      assertEquals(Object.keys(json.sizes).sort(), ["active", "external", "file"]);
      assertEquals((await call("GET ")).json.update_seq.split("-")[0], "2");
    },
  },
  {
    name: "_security comes back as the text that was put, with its numbers and its order",
    async check(call) {
      const security = '{"admins":{"names":["x"],"roles":[]},"n":9007199254740993,"x":1.0,"10":1,"2":1}';
      assertEquals((await call("PUT /_security", security)).text, '{"ok":true}\n');
      assertEquals((await call("GET /_security")).text, `${security}\n`);
    },
  },
  {
    name: "_security has a default that admits administrators only",
    async check(call) {
      const security = '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}\n';
      assertEquals((await call("GET /_security")).text, security);
    },
  },
  {
    name: "_revs_limit is a number, and histories are cut to it",
    async check(call) {
      assertEquals((await call("GET /_revs_limit")).text, "1000\n");
      assertEquals((await call("PUT /_revs_limit", "2")).text, '{"ok":true}\n');
      assertEquals((await call("GET /_revs_limit")).text, "2\n");
      await write(call, '{"_id":"a","_revisions":{"start":5,"ids":["e","d","c","b","a"]}}');
      assertEquals((await call("GET /a?revs=true")).json._revisions, { start: 5, ids: ["e", "d"] });
    },
  },
];
