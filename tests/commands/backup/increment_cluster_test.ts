/**
 * Increments on clusters: a position belongs to one copy of each range, and copies lag, go, come back and are rebuilt.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { DatabaseReport } from "../../../src/archive/report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { openStore } from "../../../src/store/open.ts";
import { couchOk } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import type { Database } from "../../fakes/couchdb/database.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { type FakeCluster, startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { Backups, LONG_PATIENCE, type RunRequest } from "./feed_setup.ts";

class Place implements AsyncDisposable {
  readonly backups: Backups = new Backups();
  readonly cluster: FakeCluster;
  #restores = 0;

  private constructor(cluster: FakeCluster) {
    this.cluster = cluster;
  }

  static async make(options: Parameters<typeof startFakeCluster>[0] = {}): Promise<Place> {
    const cluster = await startFakeCluster(options);
    await couchOk(cluster.nodes[0]!, "PUT /db");
    for (const node of [0, 1, 2]) cluster.setUptime(node, 86_400);
    return new Place(cluster);
  }

  get database(): Database {
    return this.cluster.databases.get("db")!;
  }

  async run(node: number, options: RunRequest = {}): Promise<DatabaseReport> {
    const { task, ...others } = options;
    return await this.backups.run(this.cluster.nodes[node]!, {
      task: { increments: { most: 14 }, ...task },
      ...others,
    });
  }

  /** A full backup finds nothing that the chain before has lost. */
  async expectNothingLost(node: number): Promise<void> {
    const report = await this.run(node, { day: 20, full: true });
    assertEquals([report.error, report.kind, report.chain_lost], [undefined, "full", undefined]);
  }

  async expectExact(deleted: readonly string[] = []): Promise<void> {
    const [server] = this.cluster.nodes;
    const store = await openStore({ bucket: `file://${this.backups.root}` });
    const database = `restored-${++this.#restores}`;
    await restore({
      couch: impatientClient(server!),
      repository: new Repository(store, { prefix: "", suffix: "couchdb" }),
      openStore: (bucket) => openStore({ bucket }),
      log: this.backups.log,
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      signal: new AbortController().signal,
    }, { database, path: "latest/db", noViews: true });
    const read = (name: string) => readAllLeafRevisions(server!, name, { by: "_bulk_get", also: deleted });
    assertEquals(compareLeafRevisions(await read("db"), await read(database)), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.stop();
    await this.backups[Symbol.asyncDispose]();
  }
}

/** What happened while a node was away. */
const MEANWHILE: { what: string; happens(database: Database, ids: readonly string[]): string[] }[] = [
  {
    what: "updates",
    happens(database, ids) {
      edit(database, ...ids.slice(0, 60).map((_id) => ({ _id, changed: true })));
      return [];
    },
  },
  {
    what: "deletions",
    happens(database, ids) {
      edit(database, ...ids.slice(0, 60).map((_id) => ({ _id, _deleted: true })));
      return ids.slice(0, 60);
    },
  },
  {
    what: "as many documents made as deleted",
    happens(database, ids) {
      edit(database, ...ids.slice(0, 60).map((_id) => ({ _id, _deleted: true })));
      fill(database, 60, { from: 9000 });
      return ids.slice(0, 60);
    },
  },
];

for (const { what, happens } of MEANWHILE) {
  Deno.test(`an increment through a node just back lacks nothing: ${what}`, async () => {
    await using place = await Place.make();
    const { cluster, database } = place;
    const ids = fill(database, 400);
    assertEquals((await place.run(2)).kind, "full");
    cluster.takeAway(2);
    const deleted = happens(database, ids);
    // It says for a second that it has just come, and gets what it lacks only then.
    cluster.bringBack(2, { catchUpAfterMs: 500 });
    const report = await place.run(2, { day: 4, context: LONG_PATIENCE });
    assertEquals([report.error, report.kind], [undefined, "incremental"]);
    await place.expectExact(deleted);
  });

  Deno.test(`an increment through a node that was cut off, and was not started anew, lacks nothing: ${what}`, async () => {
    await using place = await Place.make();
    const { cluster, database } = place;
    const ids = fill(database, 400);
    assertEquals((await place.run(2)).kind, "full");
    cluster.lag(2);
    const deleted = happens(database, ids);
    cluster.reconnect(2, { catchUpAfterMs: 500 });
    // It tells the time of that in whole seconds.
    const clusterTimes = { freshMs: 3000, betweenLooksMs: 5, patienceMs: 30_000 };
    const report = await place.run(2, { day: 4, context: { ...LONG_PATIENCE, clusterTimes } });
    assertEquals([report.error, report.kind], [undefined, "incremental"]);
    await place.expectExact(deleted);
  });

  Deno.test(`an increment through a node that does not catch up fails, and the next one has all: ${what}`, async () => {
    await using place = await Place.make();
    const { cluster, database } = place;
    const ids = fill(database, 400);
    await place.run(2);
    cluster.takeAway(2);
    const deleted = happens(database, ids);
    cluster.bringBack(2);
    cluster.setUptime(2, 86_400);
    cluster.setJobs(2, 7);
    const failed = await place.run(2, { day: 4 });
    assertEquals([failed.status, failed.exit_code], ["failed", 3]);
    assertStringIncludes(failed.error ?? "", "not all nodes of the cluster are up to date");
    cluster.catchUp(2);
    cluster.setJobs(2, 0);
    const report = await place.run(2, { day: 4, resume: true });
    assertEquals([report.error, report.kind], [undefined, "incremental"]);
    await place.expectExact(deleted);
  });
}

Deno.test("an increment through a node that lags, and says nothing of it, is not called complete where documents were made", async () => {
  await using place = await Place.make();
  const { cluster, database } = place;
  const ids = fill(database, 400);
  await place.run(2);
  cluster.lag(2);
  fill(database, 50, { from: 5000 });
  edit(database, ...ids.slice(0, 20).map((_id) => ({ _id, changed: true })));
  const failed = await place.run(2, { day: 4 });
  assertEquals([failed.status, failed.exit_code], ["failed", 3]);
  assertStringIncludes(failed.error ?? "", "were made since the last backup");
  cluster.catchUp(2);
  assertEquals((await place.run(2, { day: 4, resume: true })).kind, "incremental");
  await place.expectExact();
});

Deno.test("an increment lists again what a node has listed that was started anew since, though it has caught up", async () => {
  await using place = await Place.make();
  const { cluster, database } = place;
  const ids = fill(database, 400);
  await place.run(2);
  cluster.lag(2);
  edit(database, ...ids.slice(0, 20).map((_id) => ({ _id, changed: true })));
  let looksBehindListing: number | undefined;
  cluster.nodes[2]!.onRequest(({ endpoint }) => {
    if (endpoint === "_changes") looksBehindListing ??= 0;
    if (endpoint !== "_membership" || looksBehindListing === undefined) return;
    // It has caught up by then, and has listed what it had before.
    cluster.catchUp(2);
    cluster.setUptime(2, looksBehindListing++ === 0 ? 0 : 86_400);
  });
  const clusterTimes = { freshMs: 0, betweenLooksMs: 0, patienceMs: 30_000 };
  const report = await place.run(2, { day: 4, context: { ...LONG_PATIENCE, clusterTimes } });
  assertEquals([report.error, report.kind, report.documents], [undefined, "incremental", 20]);
  await place.expectExact();
});

Deno.test("increments wait for the look at the cluster that another database has begun", async () => {
  await using place = await Place.make();
  const { cluster, backups } = place;
  const [server] = cluster.nodes;
  for (const name of ["db2", "db3"]) await couchOk(server!, `PUT /${name}`);
  const databases = ["db", "db2", "db3"].map((database) => ({ database, pattern: database }));
  for (const { database } of databases) fill(cluster.databases.get(database)!, 20);
  const run = (day: number) =>
    backups.runAll(server!, databases, {
      day,
      task: { increments: { most: 14 } },
      // As in earnest, next to a look that takes a while.
      context: { clusterTimes: { freshMs: 60_000, betweenLooksMs: 5_000, patienceMs: 300_000 } },
    });
  const kinds = (reports: readonly DatabaseReport[]) => reports.map(({ error, kind }) => error ?? kind);
  assertEquals(kinds(await run(3)), ["full", "full", "full"]);
  server!.faults.add({ endpoint: "_node", fault: { kind: "stall", ms: 1000 } });
  assertEquals(kinds(await run(4)), ["incremental", "incremental", "incremental"]);
});

Deno.test("a base that was taken through a lagging node loses nothing for ever", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    await using place = await Place.make({ seed, q: seed % 2 === 0 ? 8 : 2 });
    const { cluster, database } = place;
    const ids = fill(database, 300);
    cluster.lag(2);
    // What it lacks shows in no count: updates alone. By id the newest state is read all the same.
    edit(database, ...ids.slice(0, 40).map((_id) => ({ _id, changed: seed })));
    cluster.readFrom(seed % 3 === 0 ? "any" : 2);
    assertEquals((await place.run(2)).kind, "full");
    edit(database, ...ids.slice(30, 60).map((_id) => ({ _id, later: seed })));
    cluster.catchUp(2);
    const report = await place.run(2, { day: 4 });
    assertEquals([report.error, report.kind], [undefined, "incremental"]);
    await place.expectExact();
    edit(database, { _id: ids[299]!, last: true });
    await place.run(1, { day: 5 });
    await place.expectExact();
    await place.expectNothingLost(seed % 3);
  }
});

Deno.test("a carry-over that a lagging node has seen brings what it has missed with the next backup", async () => {
  await using place = await Place.make();
  const { cluster, database } = place;
  const ids = fill(database, 300);
  await place.run(2);
  cluster.lag(2);
  edit(database, ...ids.slice(0, 40).map((_id) => ({ _id, changed: true })));
  assertEquals((await place.run(2, { day: 4 })).unchanged, true);
  cluster.catchUp(2);
  const report = await place.run(2, { day: 5 });
  assertEquals([report.kind, report.documents], ["incremental", 40]);
  await place.expectExact();
  await place.expectNothingLost(2);
});

Deno.test("an increment whose node is away goes on from other copies, and lacks nothing", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    await using place = await Place.make({ seed });
    const { cluster, database } = place;
    const ids = fill(database, 300);
    await place.run(2);
    cluster.takeAway(2);
    edit(database, ...ids.slice(0, 40).map((_id) => ({ _id, changed: seed })));
    const report = await place.run(0, { day: 4 });
    assertEquals(report.error, undefined);
    await place.expectExact();
    cluster.bringBack(2);
    cluster.catchUp(2);
    cluster.setUptime(2, 86_400);
    edit(database, ...ids.slice(40, 50).map((_id) => ({ _id, changed: seed })));
    assertEquals((await place.run(0, { day: 5 })).error, undefined);
    await place.expectExact();
    await place.expectNothingLost(2);
  }
});

Deno.test("an increment is whole where ranges were split since, and after one writer's run through every node", async () => {
  await using place = await Place.make({ q: 2 });
  const { cluster, database } = place;
  const ids = fill(database, 500);
  await place.run(0);
  for (let round = 0; round < 6; round++) {
    const node = round % 3;
    if (round === 2) database.splitRange(0);
    cluster.readFrom(round % 2 === 0 ? "any" : "own");
    edit(database, ...ids.slice(round * 20, round * 20 + 30).map((_id) => ({ _id, round })));
    const report = await place.run(node, { day: 4 + round });
    assertEquals(report.error, undefined);
    await place.expectExact();
  }
  await place.expectNothingLost(1);
});
