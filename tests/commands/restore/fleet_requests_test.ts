/**
 * How few requests a whole restore makes for a database that it creates, and that it writes nothing it should not for
 * that.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { FleetReport } from "../../../src/commands/restore/fleet_report.ts";
import { couchOk } from "../../couch_request.ts";
import { createDatabase, idsOf } from "../../couchdb/impatient_client.ts";
import type { RequestRecord } from "../../fakes/couchdb.ts";
import { type FleetSetup, setUpFleet } from "./fleet_setup.ts";

const NOTE = "_local/couchdb-backup-restore";
const ONE_AT_A_TIME = { path: "latest", databasesAtOnce: 1, parallel: 1 };

/** Backs all up and drops them, with other settings where some are given. */
async function saved(count: number, settings: Record<string, string> = {}): Promise<FleetSetup> {
  const setup = await setUpFleet(count);
  for (const name of setup.names) {
    for (const [endpoint, value] of Object.entries(settings)) {
      await couchOk(setup.server, `PUT /${encodeURIComponent(name)}/${endpoint}`, value);
    }
  }
  assertEquals((await (await setup.open()).backup()).ok, true);
  await setup.drop();
  return setup;
}

/** Restores all, and tells by database what was asked of it, `_bulk_docs` once. */
async function restoreAll(setup: FleetSetup): Promise<{ report: FleetReport; asked: Map<string, string[]> }> {
  const before = setup.server.requests.length;
  const report = await (await setup.open()).restoreAll(ONE_AT_A_TIME);
  const asked = new Map<string, string[]>();
  for (const { database, method, endpoint } of setup.server.requests.slice(before) as RequestRecord[]) {
    if (database === undefined) continue;
    const known = asked.get(database) ?? [];
    const request = `${method} ${endpoint}`;
    if (endpoint !== "_bulk_docs" || known.at(-1) !== request) known.push(request);
    asked.set(database, known);
  }
  return { report, asked };
}

async function settingsOf({ server, names }: FleetSetup, endpoint: string): Promise<string[]> {
  return await Promise.all(
    names.map(async (name) => (await couchOk(server, `GET /${encodeURIComponent(name)}/${endpoint}`)).text.trim()),
  );
}

Deno.test("restore --all makes five requests for each database behind the first", async () => {
  await using setup = await saved(4);
  const { report, asked } = await restoreAll(setup);
  assertEquals(report.ok, true);
  const [first, ...others] = setup.names;
  const five = ["PUT database", "PUT document", "POST _bulk_docs", "GET database", "PUT document"];
  for (const name of others) assertEquals(asked.get(name), five, name);
  // What it finds there is what new databases have.
  const settings = [...five.slice(0, 2), "GET _revs_limit", ...five.slice(2, 4), "GET _security", five[4]!];
  assertEquals(asked.get(first!), settings);
});

Deno.test("restore --all gives databases their settings back where those of new ones are others", async () => {
  const security = '{"admins":{"names":["x"]},"members":{"names":["y"]}}';
  await using setup = await saved(3, { _security: security, _revs_limit: "7" });
  const { report } = await restoreAll(setup);
  assertEquals(report.ok, true);
  assertEquals(await settingsOf(setup, "_security"), setup.names.map(() => security));
  assertEquals(await settingsOf(setup, "_revs_limit"), setup.names.map(() => "7"));
});

Deno.test("restore --all gives databases the revisions limit that CouchDB failed to set the last time", async () => {
  await using setup = await saved(2, { _revs_limit: "7" });
  const fault = { kind: "answer", status: 500, body: { error: "badmatch", reason: "{error,timeout}" } } as const;
  // Each of them is tried twice.
  setup.server.faults.add({ endpoint: "_revs_limit", method: "PUT", times: 4, fault });
  const first = (await restoreAll(setup)).report;
  assertEquals(first.databases.map(({ status }) => status), ["incomplete", "incomplete"]);
  assertEquals(await settingsOf(setup, "_revs_limit"), ["1000", "1000"]);
  assertEquals((await restoreAll(setup)).report.ok, true);
  assertEquals(await settingsOf(setup, "_revs_limit"), ["7", "7"]);
});

Deno.test("restore --all gives one database its settings back among others that have those of new ones", async () => {
  await using setup = await setUpFleet(5);
  const [, , third] = setup.names as [string, string, string];
  const path = `/${encodeURIComponent(third)}`;
  await couchOk(setup.server, `PUT ${path}/_security`, '{"members":{"names":["y"]}}');
  await couchOk(setup.server, `PUT ${path}/_revs_limit`, "2000");
  const before = [await settingsOf(setup, "_security"), await settingsOf(setup, "_revs_limit")];
  assertEquals((await (await setup.open()).backup()).ok, true);
  await setup.drop();
  const { report } = await restoreAll(setup);
  assertEquals(report.ok, true);
  assertEquals([await settingsOf(setup, "_security"), await settingsOf(setup, "_revs_limit")], before);
});

Deno.test("restore --all believes of a new database what others have only where nobody else has changed it", async () => {
  await using setup = await saved(3);
  const [, second, third] = setup.names as [string, string, string];
  const change = (database: string, endpoint: string, value: string) =>
    setup.server.faults.add({
      database,
      endpoint: "_bulk_docs",
      fault: {
        kind: "run",
        run: async () => void await couchOk(setup.server, `PUT /${encodeURIComponent(database)}/${endpoint}`, value),
      },
    });
  // As what watches for new databases does.
  change(second, "_security", '{"members":{}}');
  change(third, "_revs_limit", "1");
  const { report } = await restoreAll(setup);
  const [security, ...rest] = await settingsOf(setup, "_security");
  assertEquals(rest, [security, security]);
  assertEquals(await settingsOf(setup, "_revs_limit"), ["1000", "1000", "1000"]);
  assertEquals(report.databases.map(({ status }) => status), ["restored", "restored", "incomplete"]);
  const [lacking, ...others] = report.databases[2]!.report!.lacking;
  assertEquals([lacking!.what, lacking!.in_backup, others], ["revs_limit", true, []]);
  assertStringIncludes(lacking!.reason, "set it to 1 while the documents were written");
  const again = await (await setup.open()).restoreAll(ONE_AT_A_TIME);
  assertEquals(again.databases.map(({ status }) => status), ["already", "already", "restored"]);
});

Deno.test("restore --all learns nothing of a new database that somebody else has changed", async () => {
  await using setup = await saved(2);
  const [first, second] = setup.names as [string, string];
  const own = '{"members":{"names":["watcher"]}}';
  const put = `PUT /${encodeURIComponent(first)}/_security`;
  setup.server.faults.add({
    database: first,
    endpoint: "_security",
    method: "GET",
    fault: { kind: "run", run: async () => void await couchOk(setup.server, put, own) },
  });
  setup.server.faults.add({
    database: first,
    endpoint: "_bulk_docs",
    fault: { kind: "run", run: async () => void await couchOk(setup.server, put, own) },
  });
  const { report, asked } = await restoreAll(setup);
  assertEquals(report.ok, true);
  assert(asked.get(second)!.includes("GET _security"));
  const [left, right] = await settingsOf(setup, "_security");
  assertEquals(left, right);
});

Deno.test("restore --all asks each database for its settings where several nodes go by configs of their own", async () => {
  await using setup = await saved(3);
  const body = { all_nodes: ["a@x", "b@x"], cluster_nodes: ["a@x", "b@x"] };
  setup.server.faults.add({ endpoint: "_membership", times: Infinity, fault: { kind: "answer", status: 200, body } });
  const { report, asked } = await restoreAll(setup);
  assertEquals(report.ok, true);
  for (const name of setup.names) {
    const settings = asked.get(name)!.filter((request) => /_security|_revs_limit/.test(request));
    assertEquals(settings, ["GET _revs_limit", "GET _security"], name);
  }
  assertEquals(setup.server.requestsTo("_membership").length, 1);
});

Deno.test("restore --all does not write to a database that has appeared since it looked", async () => {
  await using setup = await saved(3);
  const [first, second] = setup.names as [string, string];
  for (const [name, ids] of [[first, idsOf(2)], [second, []]] as const) {
    setup.server.faults.add({
      method: "PUT",
      endpoint: "database",
      database: name,
      fault: { kind: "run", run: () => createDatabase(setup.server, name, ids, '"of":"others"') },
    });
  }
  const { report, asked } = await restoreAll(setup);
  // An empty one is written to, as one that was there before.
  assertEquals(report.databases.map(({ status }) => status), ["failed", "restored", "restored"]);
  assertStringIncludes(report.databases[0]!.error ?? "", "it holds 2 documents");
  const counts = await Promise.all(
    setup.names.map(async (name) =>
      (await couchOk(setup.server, `GET /${encodeURIComponent(name)}`)).json.doc_count as number
    ),
  );
  assertEquals(counts[0], 2);
  assert(counts.slice(1).every((count) => count > 2));
  const others = asked.get(first)!.filter((request) => request !== "POST _bulk_docs");
  assertEquals(others, ["PUT database", "PUT database", "GET database"]);
});

Deno.test("restore --all takes a database for its own whose creation was answered into the void", async () => {
  await using setup = await saved(2);
  setup.server.faults.add({ method: "PUT", endpoint: "database", fault: { kind: "lose answer" } });
  const { report } = await restoreAll(setup);
  assertEquals(report.databases.map(({ status }) => status), ["restored", "restored"]);
});

Deno.test("restore --all waits for nodes that do not know yet what another one has created", async () => {
  await using setup = await saved(2);
  const [first, second] = setup.names as [string, string];
  const body = { error: "not_found", reason: "Database does not exist." };
  const fault = { kind: "answer", status: 404, body } as const;
  setup.server.faults.add({ method: "PUT", database: first, id: NOTE, fault });
  setup.server.faults.add({ method: "GET", database: second, endpoint: "database", fault });
  const { report } = await restoreAll(setup);
  assertEquals(report.databases.map(({ status }) => status), ["restored", "restored"]);
});

Deno.test("restore --all puts its note over one of others in a database that it has just created", async () => {
  await using setup = await saved(1);
  const [name] = setup.names as [string];
  const at = `/${encodeURIComponent(name)}/${NOTE}`;
  setup.server.faults.add({
    method: "PUT",
    id: NOTE,
    fault: { kind: "run", run: async () => void await couchOk(setup.server, `PUT ${at}`, '{"run":"other"}') },
  });
  const { report } = await restoreAll(setup);
  assertEquals(report.ok, true);
  const { run, done } = (await couchOk(setup.server, `GET ${at}`)).json;
  assertEquals([run !== "other", done], [true, true]);
});
