/** Databases of which a cluster's nodes lag, beside others. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InterruptedError } from "../../../src/errors.ts";
import type { RunContext } from "../../../src/commands/backup/context.ts";
import type { CouchClient } from "../../../src/couchdb/client.ts";
import { ClusterWatch } from "../../../src/couchdb/cluster.ts";
import { Turns } from "../../../src/commands/backup/turns.ts";
import { couchOk } from "../../couch_request.ts";
import { type FakeCluster, startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import { fill } from "../../fakes/couchdb/edits.ts";
import { loginRefused } from "../../fakes/couchdb/faults.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { until } from "../../until.ts";
import { Backups, LONG_PATIENCE } from "./feed_setup.ts";
import { withClock } from "./clock.ts";
import { InFlight } from "./in_flight.ts";

/** As many as the first question for properties brings along, but for the first two; these count as large. */
const NAMES = Array.from({ length: 9 }, (_, n) => `db${n}`);
const ALL = NAMES.map((database) => ({ database, pattern: database }));
const CONTEXT: Partial<RunContext> = { ...LONG_PATIENCE, freshMs: 60_000 };

/** A cluster of three nodes and nine small databases; the third node lacks a part of those that lag, and is read from. */
async function startLagging(lagging: readonly string[]): Promise<FakeCluster> {
  const cluster = await startFakeCluster({ externalBytes: 1000 });
  for (const name of NAMES) {
    await couchOk(cluster.nodes[0]!, `PUT /${name}`);
    fill(cluster.databases.get(name)!, 3);
  }
  lag(cluster, lagging);
  return cluster;
}

function lag(cluster: FakeCluster, lagging: readonly string[]): void {
  cluster.takeAway(2);
  for (const name of lagging) fill(cluster.databases.get(name)!, 2, { from: 3 });
  cluster.bringBack(2);
  for (const node of [0, 1, 2]) cluster.setUptime(node, 86_400);
  cluster.readFrom(2);
}

/** The databases that are saved so far, in their order. */
function savedSoFar({ log }: Backups): string[] {
  return log.lines.filter(({ event }) => event === "database is backed up").map(({ fields }) =>
    String(fields.database)
  );
}

/** Calls `then` with the first request that comes when something is so. */
function when(cluster: FakeCluster, isSo: () => boolean, then: () => void): void {
  let isDone = false;
  for (const node of cluster.nodes) {
    node.onRequest(() => {
      if (isDone || !isSo()) return;
      isDone = true;
      then();
    });
  }
}

/** For one request at a time, and for four; a large one that waits lets no other large one begin beside it. */
const CASES: readonly (readonly [parallel: number, lagging: readonly string[]])[] = [
  [1, ["db2", "db3", "db4"]],
  [4, ["db0", "db1", "db2", "db3", "db4"]],
];

/** Of how many databases CouchDB's counts have not come right at once. */
function waitingFor({ log }: Backups, event: string): number {
  return new Set(log.lines.filter((line) => line.event === event).map(({ fields }) => fields.database)).size;
}

const TOO_FEW = "changes feed announces too few documents: retrying";
const LISTING_AGAIN = "listing is incomplete: listing again";

for (const [parallel, lagging] of CASES) {
  const others = NAMES.filter((name) => !lagging.includes(name));

  /** Backs up while some lag, until all others are saved. */
  const expectOthersFirst = async (cluster: FakeCluster, event: string) => {
    await using backups = new Backups();
    const inFlight = new InFlight(cluster.nodes, { holds: () => 3 });
    let before: string[] = [];
    when(cluster, () => savedSoFar(backups).length === others.length, () => {
      before = savedSoFar(backups);
      cluster.catchUp(2);
    });
    const reports = await backups.runAll(cluster.nodes[0]!, ALL, { task: { parallel }, context: CONTEXT });
    assertEquals(reports.map(({ error, status }) => error ?? status), NAMES.map(() => "complete"));
    assertEquals(before.sort(), others);
    for (const name of NAMES) {
      const { size } = (await backups.read(name)).leafRevisions;
      assertEquals(size, others.includes(name) ? 3 : 5, name);
    }
    assertEquals(waitingFor(backups, event), lagging.length);
    assert(inFlight.most <= parallel, `${inFlight.most} databases make requests`);
  };

  Deno.test(`backup() saves other databases while some wait for their first page, parallel ${parallel}`, async () => {
    await using cluster = await startLagging(lagging);
    await expectOthersFirst(cluster, TOO_FEW);
  });

  Deno.test(`backup() saves other databases while some wait until their counts come right, parallel ${parallel}`, async () => {
    await using cluster = await startLagging([]);
    const left = new Set(lagging);
    // What is written from then on does not reach the node that is read from.
    cluster.nodes[0]!.onRequest(({ endpoint, database = "" }) => {
      if (endpoint !== "_bulk_get" || !left.delete(database)) return;
      cluster.lag(2);
      fill(cluster.databases.get(database)!, 2, { from: 3 });
    });
    await expectOthersFirst(cluster, LISTING_AGAIN);
  });

  Deno.test(`backup() makes no request for databases that wait where CouchDB refuses the login, parallel ${parallel}`, async () => {
    await using cluster = await startLagging(lagging);
    await using backups = new Backups();
    const [node] = cluster.nodes;
    let isRefused = false;
    node!.onRequest(async ({ database, endpoint }) => {
      if (database !== NAMES.at(-1) || endpoint !== "_changes") return;
      await until(() => waitingFor(backups, TOO_FEW) === lagging.length, "all that lag wait");
      if (!isRefused) node!.faults.add(loginRefused({ skip: 0 }));
      isRefused = true;
    });
    // They wait for longer than the test does.
    const context = { ...CONTEXT, patience: { patienceMs: 300_000, firstWaitMs: 60_000 } };
    const reports = await within(backups.runAll(node!, ALL, { task: { parallel }, context }));
    const failed = reports.filter(({ status }) => status === "failed");
    const names = failed.map(({ database }) => database);
    assertEquals([...lagging, NAMES.at(-1)!].filter((name) => !names.includes(name)), []);
    // Several for one: of a look at the counts behind the first answer as many are under way as there are copies.
    const refused = new Set(node!.requests.filter(({ status }) => status === 401).map(({ database }) => database));
    assert(refused.size <= parallel, `${refused.size} databases are refused`);
    for (const { error = "" } of failed) assertStringIncludes(error, "401");
  });

  Deno.test(`backup() ends at once when it is interrupted while databases wait, parallel ${parallel}`, async () => {
    for (const name of ["stop", "signal"] as const) {
      await using cluster = await startLagging(lagging);
      await using backups = new Backups();
      const end = new AbortController();
      cluster.nodes[0]!.onRequest(async ({ database }) => {
        if (database !== NAMES.at(-1)) return;
        await until(() => waitingFor(backups, TOO_FEW) === lagging.length, "all that lag wait");
        end.abort(new InterruptedError("stopped"));
      });
      const context = { ...CONTEXT, patience: { patienceMs: 300_000, firstWaitMs: 60_000 }, [name]: end.signal };
      const run = backups.runAll(cluster.nodes[0]!, ALL, { task: { parallel }, context });
      await assertRejects(() => within(run), InterruptedError, "stopped");
    }
  });
}

for (const increments of [undefined, { most: 14 }]) {
  const kind = increments === undefined ? "full" : "incremental";
  Deno.test(`backup() has all databases wait at once for nodes that have to catch up: ${kind}`, async () => {
    await using cluster = await startLagging([]);
    await using backups = new Backups();
    // So seldom that those who look leave time for those that are to begin.
    const clusterTimes = { freshMs: 1000, betweenLooksMs: 100, patienceMs: 30_000 };
    const request = { task: { parallel: 4, increments }, context: { ...CONTEXT, clusterTimes } };
    if (increments !== undefined) await backups.runAll(cluster.nodes[0]!, ALL, { ...request, day: 3 });
    cluster.setJobs(0, 9);
    const waiting = () =>
      backups.log.events("warn").filter((event) => event === "waiting for the cluster's nodes to catch up").length;
    const inFlight = new InFlight(cluster.nodes, { holds: () => 3 });
    when(cluster, () => waiting() === NAMES.length, () => cluster.setJobs(0, 0));
    const reports = await backups.runAll(cluster.nodes[0]!, ALL, { ...request, day: 4 });
    assertEquals(reports.map(({ error, status }) => error ?? status), NAMES.map(() => "complete"));
    assertEquals(waiting(), NAMES.length);
    assert(inFlight.most <= 4, `${inFlight.most} databases make requests`);
  });
}

for (
  const [title, event] of [["for its first page", TOO_FEW], ["until its counts come right", LISTING_AGAIN]] as const
) {
  Deno.test(`backup() of a large database that has waited ${title} makes no more requests than others leave, which rely on what it says`, async () => {
    await using cluster = await startFakeCluster();
    await using backups = new Backups();
    const [node] = cluster.nodes;
    const names = ["first", "next", "third"];
    for (const name of names) {
      await couchOk(node!, `PUT /${name}`);
      fill(cluster.databases.get(name)!, name === "first" ? 5 : 30);
    }
    const waiting = cluster.databases.get("first")!;
    const lag = () => {
      cluster.lag(2);
      fill(waiting, 60, { from: 5 });
    };
    cluster.readFrom(2);
    if (event === TOO_FEW) lag();
    let isBack = false;
    let isLagging = event === TOO_FEW;
    node!.onRequest(async ({ endpoint, database }) => {
      if (endpoint !== "_bulk_get") return;
      if (database === "first") {
        if (isLagging) isBack = true;
        else lag();
        isLagging = true;
        return;
      }
      await until(() => waitingFor(backups, event) === 1, "the first one waits");
      cluster.catchUp(2);
      await until(() => isBack, "the first one is back");
    });
    // Each request for documents for itself, from the moment at which the first one is back.
    const inFlight = new InFlight([node!], {
      holds: ({ endpoint }) => endpoint === "_bulk_get" ? 100 : undefined,
      databasesOf: ({ number }) => [String(number)],
    });
    const reports = await backups.runAll(node!, names.map((database) => ({ database, pattern: database })), {
      task: { parallel: 4, chunk: 5 },
      context: CONTEXT,
    });
    assertEquals(reports.map(({ error, status }) => error ?? status), names.map(() => "complete"));
    assertEquals(waitingFor(backups, event), 1);
    assertEquals((await backups.read("first")).leafRevisions.size, 65);
    assert(inFlight.most <= 4, `${inFlight.most} requests for documents`);
  });
}

/** The outcome of a run that must not wait. */
async function within<T>(run: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("It goes on waiting")), 20_000);
  try {
    return await Promise.race([run, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

Deno.test("Turns counts how long it has waited for its turn, and the time of its pauses not", async () => {
  const never = new AbortController().signal;
  const calls: string[] = [];
  await withClock(async (pass) => {
    const back = () => {
      calls.push("back");
      pass(7_000);
      return Promise.resolve();
    };
    const turns = new Turns({ idle: () => calls.push("idle"), back, closed: never }, { signal: never, stop: never });
    await turns.take();
    await turns.pause(1);
    assertEquals([calls, Math.round(turns.lostMs / 1000)], [["back", "idle", "back"], 14]);
  });
});

Deno.test("ClusterWatch waits as often as patience allows, however long each turn is waited for", async () => {
  const couch = {
    membership: () => Promise.resolve({ cluster: ["a"], connected: ["a"] }),
    nodeState: (node: string) => Promise.resolve({ node, uptimeSeconds: 86_400, replicationJobs: 1 }),
  } as unknown as CouchClient;
  await withClock(async (pass) => {
    const times = { freshMs: 0, betweenLooksMs: 5_000, patienceMs: 20_000 };
    const watch = new ClusterWatch(couch, { log: new RecordedLog(), times });
    let [pauses, lostMs] = [0, 0];
    const pause = (ms: number) => {
      pauses++;
      lostMs += 60_000;
      pass(ms + 60_000);
      return Promise.resolve();
    };
    const lag = await watch.untilSettled("db", { pause, lostMs: () => lostMs });
    assertEquals([pauses, lag], [4, "node a has 1 internal replication jobs left"]);
  });
});
