import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { type Check, checkSetup, type Probe } from "../../src/commands/check.ts";
import { StoreError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import { type RestoreSetup, setUpRestore } from "./restore/setup.ts";

async function check(
  { context }: RestoreSetup,
  { store, ...change }: { store?: Store; probes?: Probe[]; now?: () => Date; isScheduled?: boolean } = {},
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
      "store_write",
      "store_read",
      "store_list",
      "store_conditional_write",
      "store_clock",
      "loki",
    ]);
  }
  const left = await Array.fromAsync(Deno.readDir(join(setup.root, "backup/ippbx/_runs/couchdb")));
  assertEquals(left.map(({ name }) => name), ["check.json"]);
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

Deno.test("checkSetup() finds a login that is no server admin", async () => {
  await using setup = await setUpRestore();
  const body = { ok: true, userCtx: { name: "bob", roles: ["staff"] } };
  setup.server.faults.add({
    where: ({ path }) => path === "/_session",
    fault: { kind: "answer", status: 200, body },
  });
  const found = await failing(check(setup));
  assertEquals(found.check, "couchdb_rights");
  assertStringIncludes(found.detail, '["staff"]');
  assertStringIncludes(found.hint!, "server admin");
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
