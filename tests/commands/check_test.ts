import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { type Check, checkSetup, exitCodeOfCheck, type Probe } from "../../src/commands/check.ts";
import { encodeDatabase } from "../../src/database_name.ts";
import { EXIT, StoreError } from "../../src/errors.ts";
import type { Task } from "../../src/task/task.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import type { RequestRecord } from "../fakes/couchdb.ts";
import { task as taskOf } from "../fakes/task.ts";
import { type RestoreSetup, setUpRestore } from "./restore/setup.ts";

async function check(
  { context }: RestoreSetup,
  { store, ...change }: { store?: Store; probes?: Probe[]; now?: () => Date; isScheduled?: boolean; tasks?: Task[] } =
    {},
) {
  const repository = store === undefined ? context.repository : new Repository(store, context.repository);
  return await checkSetup({ ...context, repository, probes: [], ...change });
}

/** The store with one operation replaced. */
function storeWith(store: Store, change: Partial<Store>): Store {
  return {
    url: store.url,
    server: store.server,
    clockSkewMs: store.clockSkewMs,
    conditions: store.conditions,
    tryConditions: (...args) => store.tryConditions(...args),
    locate: (key) => store.locate(key),
    create: (...args) => store.create(...args),
    replace: (...args) => store.replace(...args),
    stat: (...args) => store.stat(...args),
    read: (...args) => store.read(...args),
    list: (...args) => store.list(...args),
    ...change,
  };
}

async function failing(report: ReturnType<typeof check>): Promise<Check> {
  const { ok, checks } = await report;
  const failed = checks.filter((one) => !one.ok);
  assertEquals([ok, failed.length], [false, 1], JSON.stringify(checks));
  return failed[0]!;
}

Deno.test("checkSetup() tries CouchDB, the store and what else is configured, and leaves one object behind", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /db");
  const probes = [{ check: "loki", run: () => Promise.resolve("It takes lines") }];
  for (const _time of ["first", "second"]) {
    const { ok, checks } = await check(setup, { probes });
    assertEquals(ok, true, JSON.stringify(checks));
    assertEquals(checks.map(({ check }) => check), [
      "couchdb",
      "couchdb_clock",
      "couchdb_rights",
      "couchdb_slash_in_name",
      "couchdb_bulk_get",
      "couchdb_read",
      "store_write",
      "store_read",
      "store_list",
      "store_slash",
      "store_conditional_write",
      "store_clock",
      "loki",
    ]);
  }
  const left = await Array.fromAsync(Deno.readDir(join(setup.root, "backup/ippbx/_runs/couchdb")));
  assertEquals(left.map(({ name }) => name), ["check.json"]);
  const kept = await Array.fromAsync(Deno.readDir(join(setup.root, "backup/ippbx/_store")));
  assertEquals(kept.map(({ name }) => name).sort(), [
    "check%2Fslash.json",
    "conditions-probe.json",
    "conditions.json",
  ]);
});

Deno.test("checkSetup() reads a large document once more where its row breaks once, and says what is wrong where it always does", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /db");
  await couchOk(setup.server, "PUT /db/large", { _attachments: { x: { data: btoa("x".repeat(1_500_000)) } } });
  const reading = async () => {
    const { checks } = await check(setup, { tasks: [taskOf("t", { databases: ["db"] })] });
    return checks.find(({ check }) => check === "couchdb_read")!;
  };
  const where = ({ endpoint, query }: RequestRecord) => endpoint === "_bulk_get" && query.get("attachments") === "true";
  const fault = { kind: "cut off", afterBytes: 1_150_000 } as const;
  setup.server.faults.add({ where, fault });
  assertEquals((await reading()).detail, 'A document of "db" with 1 attachment is read, 2.0 MB');
  setup.server.faults.add({ where, times: Infinity, fault });
  const { ok, detail } = await reading();
  assertEquals(ok, false);
  assertStringIncludes(
    detail,
    'Cannot read document "large" of database "db" as a backup does: cut_off, its answer breaks off',
  );
});

Deno.test("checkSetup() says where the documents that it looks among come in an answer that is none", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /db");
  await couchOk(setup.server, "PUT /db/x", {});
  for (const body of ['{"results":[{"id":"x"', "null", "{}"]) {
    const where = ({ endpoint, ids }: RequestRecord) => endpoint === "_bulk_get" && ids.length > 0;
    setup.server.faults.add({ where, fault: { kind: "answer", status: 200, body } });
    const { checks } = await check(setup, { tasks: [taskOf("t", { databases: ["db"] })] });
    const { ok, detail } = checks.find(({ check }) => check === "couchdb_read")!;
    assertEquals(ok, false);
    assertStringIncludes(detail, 'Cannot read documents of database "db": CouchDB\'s answer is broken');
  }
});

Deno.test("checkSetup() reads a document with an attachment as a backup of its task does", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /other");
  await couchOk(setup.server, "PUT /db");
  await couchOk(setup.server, "PUT /db/plain", {});
  await couchOk(setup.server, "PUT /db/large", { _attachments: { x: { data: btoa("x".repeat(2_000)) } } });
  await couchOk(setup.server, "PUT /db/small", {
    _attachments: { "a b": { data: btoa("x") }, y: { data: btoa("y") } },
  });
  const found = async (tasks: Task[]) => {
    const { checks } = await check(setup, { tasks });
    return checks.find(({ check }) => check === "couchdb_read")!;
  };
  const all = taskOf("t", { databases: [".*"] });
  assertEquals(await found([all]), {
    check: "couchdb_read",
    ok: true,
    detail: 'A document of "db" with 2 attachments is read, 417 B',
  });
  const read = setup.server.requests.filter(({ endpoint, ids }) => endpoint === "_bulk_get" && ids.length > 0).at(-1);
  assertEquals([read?.ids, read?.query.get("attachments"), read?.query.get("revs")], [["small"], "true", "true"]);
  const none = await found([{ ...all, attachments: false }]);
  assertStringIncludes(none.detail, "its task saves no attachments");
  assertEquals((await found([taskOf("t", { databases: ["other"] })])).detail, "There is no document to test it with");

  // A proxy, or a CouchDB, that sends stubs for contents.
  const stub = {
    results: [{ id: "small", docs: [{ ok: { _id: "small", _rev: "1-a", _attachments: { x: { stub: true } } } }] }],
  };
  const where = ({ endpoint, ids }: { endpoint: string; ids: string[] }) =>
    endpoint === "_bulk_get" && ids[0] === "small" && ids.length === 1;
  setup.server.faults.add({ where, fault: { kind: "answer", status: 200, body: stub } });
  const lacking = await found([all]);
  assertEquals([lacking.ok, lacking.detail], [
    false,
    'Cannot read document "small" of database "db" as a backup does: attachment "x" comes without its content',
  ]);
  setup.server.faults.add({
    where,
    times: 9,
    fault: { kind: "error rows", error: "internal_error", reason: "badmatch" },
  });
  const unreadable = await failing(check(setup, { tasks: [all] }));
  assertStringIncludes(unreadable.detail, "internal_error, badmatch");
});

Deno.test("checkSetup() finds a store before which %2F is decoded", async () => {
  await using setup = await setUpRestore();
  const { store } = setup;
  const decoded = storeWith(store, {
    replace: (key, ...rest) => store.replace(key.replaceAll("%2F", "/"), ...rest),
    read: (key, ...rest) => store.read(key.replaceAll("%2F", "/"), ...rest),
  });
  const found = await failing(check(setup, { store: decoded }));
  assertEquals(found.check, "store_slash");
  assertStringIncludes(found.detail, "is not listed");
  assertStringIncludes(found.hint!, "proxy");
  const read = (key: string) => store.read(key.includes("%2F") ? "backup/ippbx/_runs/couchdb/check.json" : key);
  assertEquals((await check(setup, { store: storeWith(store, { read }) })).ok, true, "the same object");
});

Deno.test("exitCodeOfCheck() is that of a backup that meets what fails, and 3 for what stops none", () => {
  const codeOf = (...names: string[]) =>
    exitCodeOfCheck({ ok: names.length === 0, checks: names.map((check) => ({ check, ok: false, detail: "" })) });
  assertEquals([codeOf(), codeOf("couchdb_rights"), codeOf("store_list")], [EXIT.ok, EXIT.couchdb, EXIT.store]);
  assertEquals([codeOf("loki", "couchdb"), codeOf("loki", "store_space"), codeOf("loki")], [10, 11, 3]);
});

Deno.test("checkSetup() says what is wrong with CouchDB, and tries nothing that depends on it", async () => {
  await using setup = await setUpRestore({ version: "1.7.2" });
  const old = await failing(check(setup));
  assertEquals(old.check, "couchdb");
  assertStringIncludes(old.detail, "CouchDB 1.7.2");

  setup.server.faults.add({ where: ({ path }) => path === "/", times: 9, fault: { kind: "drop" } });
  const away = await check(setup);
  assertEquals(away.checks.map(({ check, ok }) => [check, ok]).slice(0, 2), [["couchdb", false], [
    "store_write",
    true,
  ]]);
});

Deno.test("checkSetup() finds a login that is no server admin, and does not say it again for all that it may not", async () => {
  await using setup = await setUpRestore();
  const body = { ok: true, userCtx: { name: "bob", roles: ["staff"] } };
  setup.server.faults.add({
    where: ({ path }) => path === "/_session",
    fault: { kind: "answer", status: 200, body },
  });
  const forbidden = { error: "unauthorized", reason: "You are not a server admin." };
  setup.server.faults.add({
    endpoint: "_all_dbs",
    times: 9,
    fault: { kind: "answer", status: 401, body: forbidden },
  });
  const probes: Probe[] = [{
    check: "store_space",
    run: (_, couch) => Promise.resolve(couch === undefined ? "CouchDB is not asked" : "CouchDB is asked"),
  }];
  const report = await check(setup, { probes, tasks: [taskOf("t", { databases: [".*"] })] });
  const found = await failing(Promise.resolve(report));
  assertEquals(found.check, "couchdb_rights");
  assertStringIncludes(found.detail, '["staff"]');
  assertStringIncludes(found.hint!, "server admin");
  assertEquals(report.checks.at(-1)?.detail, "CouchDB is not asked");
});

Deno.test("checkSetup() finds clocks that differ by more than a minute", async () => {
  await using setup = await setUpRestore();
  const found = await failing(check(setup, { now: () => new Date(Date.now() + 90_000) }));
  assertEquals(found.check, "couchdb_clock");
  assertStringIncludes(found.hint!, "NTP");
  assertEquals((await check(setup, { now: () => new Date(Date.now() - 50_000) })).ok, true);
});

Deno.test("checkSetup() finds a _bulk_get that is not there, or answers something else", async () => {
  const answers = [{ status: 404, body: { error: "not_found", reason: "missing" } }, { status: 200, body: "<html>" }];
  for (const answer of answers) {
    await using setup = await setUpRestore();
    setup.server.faults.add({ endpoint: "_bulk_get", fault: { kind: "answer", ...answer } });
    assertEquals((await failing(check(setup))).check, "couchdb_bulk_get");
  }
});

Deno.test("checkSetup() finds a store that cannot be written, read, listed, or created in", async () => {
  await using setup = await setUpRestore();
  const { store } = setup;
  const refuse = () => Promise.reject(new StoreError("Denied", { code: "AccessDenied" }, { hint: "Allow it" }));
  const broken: [Partial<Store>, string][] = [
    [{ replace: refuse }, "store_write"],
    [{ read: refuse }, "store_read"],
    [{ read: () => Promise.resolve(ReadableStream.from([new Uint8Array(3)])) }, "store_read"],
    [{ list: async function* () {} }, "store_list"],
    [{ tryConditions: refuse }, "store_conditional_write"],
  ];
  for (const [change, name] of broken) {
    const found = await failing(check(setup, { store: storeWith(store, change) }));
    assertEquals(found.check, name);
    assertEquals(typeof found.hint, "string");
  }
});

Deno.test("checkSetup() warns of a store that overwrites where a task has a schedule, and of one whose clock is wrong", async () => {
  await using setup = await setUpRestore();
  const store = storeWith(setup.store, {
    tryConditions: () => Promise.resolve("ignored"),
    clockSkewMs: -3_600_000,
  });
  for (const isScheduled of [true, false]) {
    const { ok, checks } = await check(setup, { store, isScheduled });
    assertEquals(ok, true);
    assertEquals(
      checks.filter(({ warning }) => warning).map(({ check }) => check),
      isScheduled ? ["store_conditional_write", "store_clock"] : ["store_clock"],
    );
    for (const { warning, hint } of checks) assertEquals(warning, hint === undefined ? undefined : true);
  }
});

Deno.test("checkSetup() reports a probe that fails, and ends when it is told to", async () => {
  await using setup = await setUpRestore();
  const probes = [{ check: "pushgateway", run: () => Promise.reject(new Error("It answered 502")) }];
  assertEquals(await failing(check(setup, { probes })), { check: "pushgateway", ok: false, detail: "It answered 502" });
  const signal = AbortSignal.abort(new Error("stopped"));
  await assertRejects(() => checkSetup({ ...setup.context, probes: [], signal }), Error, "stopped");
});

Deno.test("checkSetup() fails where a task selects no database, and warns of a pattern that none matches", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /db");
  const selectionOf = async (...tasks: Task[]) => {
    const report = await check(setup, { tasks });
    return { report, selection: report.checks.find(({ check }) => check === "selection")! };
  };
  const all = taskOf("all", { databases: [".*"], exclude: ["_.*"] });
  assertEquals((await selectionOf(all)).selection, {
    check: "selection",
    ok: true,
    detail: 'Databases of each task: "all" 1',
  });
  const none = await selectionOf(all, taskOf("none", { databases: ["nothing.*"] }));
  assertEquals([none.report.ok, none.selection.ok, exitCodeOfCheck(none.report)], [false, false, EXIT.partial]);
  assertStringIncludes(none.selection.detail, 'Task "none" selects no database: nothing would be saved; ');
  const empty = await selectionOf(taskOf("none", { databases: ["nothing.*"], allowEmpty: true }));
  assertEquals([empty.report.ok, empty.selection.warning], [true, true]);
  const over = (await selectionOf(taskOf("over", { databases: ["db"], cron: "2020-01-01 UTC" }))).selection;
  assertEquals([over.ok, over.warning], [true, true]);
  assertStringIncludes(over.detail, 'schedule "2020-01-01 UTC" never comes again after ');
  const some = await selectionOf(taskOf("some", { databases: ["db", "nothing.*"] }));
  assertEquals([some.report.ok, some.selection.warning], [true, true]);
  assertStringIncludes(some.selection.detail, "nothing.*");
});

Deno.test("checkSetup() warns of a database whose encoded name is longer than a folder's may be", async () => {
  await using setup = await setUpRestore();
  for (const name of ["x".repeat(238), "a/".repeat(62) + "abcdefg"]) {
    await couchOk(setup.server, `PUT /${encodeDatabase(name)}`);
  }
  const selectionOf = async () => {
    const report = await check(setup, { tasks: [taskOf("all", { databases: [".*"], exclude: ["_.*"] })] });
    return report.checks.find(({ check }) => check === "selection")!;
  };
  assertEquals((await selectionOf()).warning, undefined);
  const long = `${"a/".repeat(62)}abcdefgh`;
  await couchOk(setup.server, `PUT /${encodeDatabase(long)}`);
  const { ok, warning, detail } = await selectionOf();
  assertEquals([ok, warning], [true, true]);
  assertStringIncludes(
    detail,
    `that of the database "${long}" would have 256: that can be saved in an S3 bucket alone`,
  );
});
