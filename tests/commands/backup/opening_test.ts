/** When a database is opened: beside the one before it, where both are known to be small. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { fill } from "../../fakes/couchdb/edits.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { couchOk } from "../../couch_request.ts";
import { loginRefused } from "../../fakes/couchdb/faults.ts";
import { Repository } from "../../../src/archive/repository.ts";
import type { RunContext } from "../../../src/commands/backup/context.ts";
import { InterruptedError, StoreError } from "../../../src/errors.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Store } from "../../../src/store/store.ts";
import type { Task } from "../../../src/task/task.ts";
import { farAway } from "../../store/far_away.ts";
import { until } from "../../until.ts";
import { Backups } from "./feed_setup.ts";

const NAMES = ["a", "b", "c", "d"];

/** Databases of three documents each. */
async function createAll(fake: FakeCouchDb, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await couchOk(fake, `PUT /${name}`);
    fill(fake.databases.get(name)!, 3);
  }
}

/** Backs databases up, of which so many should be opened at once, and tells how many were at the most. */
async function mostOpened(task: Partial<Task>, wanted: number): Promise<number> {
  await using fake = await startFakeCouchDb();
  await createAll(fake, NAMES);
  let [open, most] = [0, 0];
  fake.onRequest(async ({ endpoint, database }) => {
    if (endpoint !== "_security") return;
    most = Math.max(most, ++open);
    // As long as it takes until those that may be opened are, and then any other one. Of the first two nobody knows their
    // sizes when their turn comes: each is opened alone.
    const isKnown = NAMES.indexOf(database ?? "") > 1;
    if (isKnown) await until(() => most >= wanted, `${wanted} are opened`).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    open--;
  });
  await using backups = new Backups();
  const reports = await backups.runAll(fake, NAMES.map((database) => ({ database, pattern: database })), {
    task,
    context: { freshMs: 60_000 },
  });
  assertEquals(reports.map(({ status }) => status), NAMES.map(() => "complete"));
  return most;
}

Deno.test("backup() opens small databases two at a time, and others when the one before has told its size", async () => {
  assertEquals(await mostOpened({ parallel: 4 }, 2), 2);
  assertEquals(await mostOpened({ parallel: 4, chunk: 1 }, 1), 1, "three requests each");
  assertEquals(await mostOpened({ parallel: 1 }, 1), 1);
});

Deno.test("backup() has as many requests of small databases in flight as parallel says, and two more where one of unknown size is opened", async () => {
  for (const parallel of [4, 16]) {
    await using fake = await startFakeCouchDb({ externalBytes: 1000 });
    const names = Array.from({ length: 12 }, (_, n) => `db${n}`);
    await createAll(fake, names);
    const before = fake.requests.length;
    fake.onRequest(async () => await new Promise((resolve) => setTimeout(resolve, 50)));
    await using backups = new Backups();
    await backups.runAll(fake, names.map((database) => ({ database, pattern: database })), {
      task: { parallel },
      context: { freshMs: 60_000 },
    });
    const most = Math.max(...fake.requests.slice(before).map(({ inFlight }) => inFlight));
    assert(most <= parallel + 2, `${most} with parallel: ${parallel}`);
    // From the beginning, as few as they are.
    assert(parallel === 4 || most > 6, `${most} with parallel: ${parallel}`);
  }
});

for (const increments of [undefined, { most: 14 }]) {
  const kind = increments === undefined ? "full" : "incremental";
  Deno.test(`backup() has many small databases in hand where the store is far away, and no more requests in flight: ${kind}`, async () => {
    for (const parallel of [1, 4]) {
      await using fake = await startFakeCouchDb({ externalBytes: 1000 });
      const names = Array.from({ length: 30 }, (_, n) => `db${n}`);
      await createAll(fake, names);
      const before = fake.requests.length;
      fake.onRequest(async () => await new Promise((resolve) => setTimeout(resolve, 5)));
      await using backups = new Backups();
      const wanted = 2 * parallel + 5;
      const { store, mostWaiting } = farAway(await openStore({ bucket: pathToFileURL(backups.root).href }), 60, {
        count: wanted,
        holds: (call, key) => call === "create" && key.includes("/manifest-"),
      });
      const request = {
        task: { parallel, ...increments === undefined ? {} : { increments } },
        context: { freshMs: 60_000, repository: new Repository(store, { prefix: "", suffix: "couchdb" }) },
      };
      const databases = names.map((database) => ({ database, pattern: database }));
      for (const day of increments === undefined ? [3] : [3, 4]) {
        const reports = await backups.runAll(fake, databases, { ...request, day });
        assertEquals(reports.map(({ status }) => status), names.map(() => "complete"));
        for (const name of names) assertEquals((await backups.read(name)).leafRevisions.size, 3, name);
      }
      const most = Math.max(...fake.requests.slice(before).map(({ inFlight }) => inFlight));
      assert(most <= parallel + 2, `${most} requests with parallel: ${parallel}`);
      assert(mostWaiting() >= wanted, `${mostWaiting()} databases with parallel: ${parallel}`);
    }
  });
}

/** Many small databases, a store far away, and what is to be run over them. */
async function setUpMany(fake: FakeCouchDb, backups: Backups, { task, ms }: { task: Partial<Task>; ms: number }) {
  const names = Array.from({ length: 40 }, (_, n) => `db${String(n).padStart(2, "0")}`);
  await createAll(fake, names);
  const { store } = farAway(await openStore({ bucket: pathToFileURL(backups.root).href }), ms);
  const repository = new Repository(store, { prefix: "", suffix: "couchdb" });
  const databases = names.map((database) => ({ database, pattern: database }));
  return async (context: Partial<RunContext> = {}, day = 3) =>
    await backups.runAll(fake, databases, { task, day, context: { freshMs: 60_000, repository, ...context } });
}

for (const increments of [undefined, { most: 14 }]) {
  const kind = increments === undefined ? "full" : "incremental";
  Deno.test(`backup() makes no request for databases that are back from a store far away where CouchDB refuses the login: ${kind}`, async () => {
    for (const parallel of [1, 4]) {
      await using fake = await startFakeCouchDb({ externalBytes: 1000 });
      await using backups = new Backups();
      const run = await setUpMany(fake, backups, { task: { parallel, increments }, ms: 60 });
      if (increments !== undefined) await run();
      fake.onRequest(async () => await new Promise((resolve) => setTimeout(resolve, 5)));
      fake.faults.add(loginRefused({ skip: 20 }));
      const since = fake.requests.length;
      const failed = (await run({}, 4)).filter(({ status }) => status === "failed");
      const refused = fake.requests.slice(since).filter(({ status }) => status === 401);
      // CouchDB locks a login out after five failed logins.
      assert(refused.length <= parallel, `${refused.length} refused requests with parallel: ${parallel}`);
      for (const { error = "" } of failed) assertStringIncludes(error, "401");
      const untried = failed.filter(({ error = "" }) => error.startsWith("Not tried, as it would fail like the one"));
      assertEquals(untried.length >= failed.length - parallel, true, "each says why");
    }
  });

  Deno.test(`backup() ends when it is interrupted while databases wait for a store far away: ${kind}`, async () => {
    for (const at of [10, 25, 41]) {
      for (const name of ["stop", "signal"] as const) {
        await using fake = await startFakeCouchDb({ externalBytes: 1000 });
        await using backups = new Backups();
        const run = await setUpMany(fake, backups, { task: { parallel: 1, increments }, ms: 40 });
        const end = new AbortController();
        let asked = 0;
        fake.onRequest(async () => {
          if (++asked === at) end.abort(new InterruptedError("stopped"));
          await new Promise((resolve) => setTimeout(resolve, 5));
        });
        const giveUp = Promise.withResolvers<string>();
        const timer = setTimeout(() => giveUp.resolve("it goes on"), 10_000);
        const ended = run({ [name]: end.signal }).then(() => "it is done", ({ message }) => message);
        assertEquals(await Promise.race([ended, giveUp.promise]), "stopped", `${name} at request ${at}`);
        clearTimeout(timer);
      }
    }
  });
}

/** A store that cannot list some folders, as a bad block of a disk does it. */
function notListing(store: Store, folders: RegExp): Store {
  return new Proxy(store, {
    get(target, name: keyof Store) {
      const value = target[name];
      if (name !== "list") return typeof value === "function" ? value.bind(target) : value;
      return (...args: Parameters<Store["list"]>) => {
        if (!folders.test(args[0])) return target.list(...args);
        throw new StoreError(`Cannot list "${args[0]}": EIO`, { code: "EIO" });
      };
    },
  });
}

Deno.test("backup() goes on with the next database where one has failed before CouchDB has answered for it", async () => {
  for (const delaySeconds of [0, 0.001]) {
    await using fake = await startFakeCouchDb();
    for (const name of NAMES) await couchOk(fake, `PUT /${name}`);
    await using backups = new Backups();
    const store = notListing(await openStore({ bucket: pathToFileURL(backups.root).href }), /couchdb\/a$/);
    const context = { repository: new Repository(store, { prefix: "", suffix: "couchdb" }) };
    fake.onRequest(async () => await new Promise((resolve) => setTimeout(resolve, 30)));
    const task = { parallel: 1, delaySeconds, increments: { most: 14 } };
    const giveUp = Promise.withResolvers<[]>();
    const timer = setTimeout(() => giveUp.resolve([]), 10_000);
    const reports = await Promise.race([
      backups.runAll(fake, NAMES.map((database) => ({ database, pattern: database })), { task, context }),
      giveUp.promise,
    ]);
    clearTimeout(timer);
    const [failed, ...others] = reports;
    assertEquals(failed?.status, "failed");
    assertStringIncludes(failed?.error ?? "", "Cannot list");
    assertEquals(others.map(({ status }) => status), ["complete", "complete", "complete"]);
  }
});
