/**
 * Sequences of events on clusters that lost documents behind exit 0 when ids were listed from one copy of each range.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { InterruptedError } from "../../../src/errors.ts";
import { type FakeCluster, startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import type { Database } from "../../fakes/couchdb/database.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { couchOk } from "../../couch_request.ts";
import { readBackup } from "../../read_archive.ts";
import { Backups, expectDocuments, LONG_PATIENCE } from "./feed_setup.ts";

interface Place extends AsyncDisposable {
  cluster: FakeCluster;
  database: Database;
  backups: Backups;
}

async function makePlace(options: Parameters<typeof startFakeCluster>[0] = {}): Promise<Place> {
  const cluster = await startFakeCluster(options);
  await couchOk(cluster.nodes[0]!, "PUT /db");
  for (const node of [0, 1, 2]) cluster.setUptime(node, 86_400);
  const backups = new Backups();
  return {
    cluster,
    database: cluster.databases.get("db")!,
    backups,
    async [Symbol.asyncDispose]() {
      await cluster.stop();
      await backups[Symbol.asyncDispose]();
    },
  };
}

Deno.test("backup() through a node just back is whole, or says how much is missing: 20 of 20 runs", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    await using place = await makePlace({ seed, q: seed % 3 === 0 ? 8 : 2 });
    const { cluster, database, backups } = place;
    const old = fill(database, 90);
    cluster.takeAway(2);
    const ids = [...old, ...fill(database, 512, { from: 90 })];
    // Half of them catch up while they are being backed up, as quickly or slowly as chance has it; half do not.
    const catchUp = seed % 2 === 0 ? { catchUpAfterRequests: seed * 3, documentsARequest: 40 } : {};
    cluster.bringBack(2, catchUp);
    cluster.setUptime(2, 86_400);
    cluster.readFrom(seed % 4 === 0 ? "any" : 2);
    const report = await backups.run(cluster.nodes[2]!);
    if (report.status === "complete") {
      expectDocuments(await backups.read(), ids);
    } else {
      assertEquals([report.status, report.exit_code], ["failed", 3], `seed ${seed}`);
      assert(/\d+ of 602 documents are listed/.test(report.error ?? ""), report.error);
      cluster.catchUp(2);
      const again = await backups.run(cluster.nodes[2]!, { resume: true });
      assertEquals(again.status, "resumed");
      expectDocuments(await backups.read(), ids);
    }
  }
});

Deno.test("backup() has what a copy shows as deleted and the others have live", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 60);
  for (const id of ids.slice(0, 20)) edit(database, { _id: id, _deleted: true });
  cluster.takeAway(2);
  // As many documents as before, so that the number of all says nothing.
  for (const id of ids.slice(0, 5)) edit(database, { _id: id, n: 2 });
  cluster.bringBack(2, {});
  cluster.setUptime(2, 86_400);
  cluster.readFrom(2);
  const report = await backups.run(cluster.nodes[2]!, { context: LONG_PATIENCE });
  assertEquals([report.status, report.warnings ?? []], ["complete", []], report.error);
  expectDocuments(await backups.read(), [...ids.slice(0, 5), ...ids.slice(20)]);
});

Deno.test("backup() waits for a node that is just back, or that has internal replication left to do", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 300);
  const isWaiting = () => backups.log.events("warn").includes("waiting for the cluster's nodes to catch up");
  cluster.setJobs(0, 9);
  // How often it looks before it waits depends on how busy the machine is.
  let isSettled = false;
  for (const node of cluster.nodes) {
    node.onRequest(() => {
      if (isSettled || !isWaiting()) return;
      isSettled = true;
      cluster.setJobs(0, 0);
    });
  }
  const report = await backups.run(cluster.nodes[0]!, { context: LONG_PATIENCE });
  assertEquals(report.status, "complete");
  expectDocuments(await backups.read(), ids);
  assert(isWaiting());

  cluster.setJobs(0, 9);
  const failed = await backups.run(cluster.nodes[0]!);
  assertEquals([failed.status, failed.exit_code], ["failed", 3]);
  assertStringIncludes(failed.error ?? "", "node node1@127.0.0.1 has 9 internal replication jobs left");
  assertStringIncludes(failed.hint ?? "", "--resume");
});

Deno.test("backup() takes no node that does not tell its state for one that is up to date", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 300);
  const fails = (kind: "answer" | "drop", times: number) =>
    cluster.nodes[0]!.faults.add({
      endpoint: "_node",
      where: ({ path }) => path.includes("node2") && path.includes("_system"),
      times,
      fault: kind === "drop"
        ? { kind }
        : { kind, status: 500, body: { error: "badrpc", reason: "it has too much to do" } },
    });
  for (const kind of ["answer", "drop"] as const) {
    fails(kind, Infinity);
    const failed = await backups.run(cluster.nodes[0]!);
    assertEquals([failed.status, failed.exit_code], ["failed", 3], kind);
    assertStringIncludes(failed.error ?? "", "node node2@127.0.0.1 does not tell its state");
    cluster.nodes[0]!.faults.clear();
    // Once it is passed over without a wait for the cluster.
    fails(kind, 1);
    assertEquals((await backups.run(cluster.nodes[0]!)).status, "complete", kind);
    expectDocuments(await backups.read(), ids);
    cluster.nodes[0]!.faults.clear();
  }
});

Deno.test("an increment misses no update for a node whose backlog cannot be read", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 300);
  cluster.readFrom(2);
  const task = { increments: { most: 14 } };
  assertEquals((await backups.run(cluster.nodes[2]!, { task })).status, "complete");
  cluster.takeAway(2);
  edit(database, ...ids.slice(0, 60).map((_id) => ({ _id, changed: true })));
  cluster.bringBack(2);
  cluster.setUptime(2, 86_400);
  cluster.setJobs(0, 9);
  cluster.nodes[2]!.faults.add({
    endpoint: "_node",
    where: ({ path }) => path.includes("node1") && path.includes("_system"),
    times: Infinity,
    fault: { kind: "answer", status: 500, body: { error: "badrpc", reason: "timeout" } },
  });
  // No count shows what it lacks: as many documents are there as before.
  const report = await backups.run(cluster.nodes[2]!, { task, day: 4 });
  assertEquals([report.status, report.exit_code], ["failed", 3]);
  assertStringIncludes(report.error ?? "", "node node1@127.0.0.1 does not tell its state");
});

Deno.test("backup() does not list again for ever where nodes are never up to date for long", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  fill(database, 30);
  // Settled when it is asked for, and not any more when all has been listed; at some time that has an end.
  let listings = 0;
  cluster.nodes[0]!.onRequest(({ endpoint }) => {
    if (endpoint === "_changes" && ++listings < 200) cluster.setJobs(0, 9, 0);
  });
  // No look is spared for being close behind another one.
  const clusterTimes = { freshMs: 1000, betweenLooksMs: 0, patienceMs: 30_000 };
  const report = await backups.run(cluster.nodes[0]!, { context: { ...LONG_PATIENCE, clusterTimes } });
  assertEquals([report.status, report.exit_code], ["failed", 3]);
  assertStringIncludes(report.error ?? "", "nodes of the cluster come and go");
  assertStringIncludes(report.hint ?? "", "--resume");
});

Deno.test("backup() takes a node that stays away for no lag", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 300);
  cluster.takeAway(1);
  assertEquals((await backups.run(cluster.nodes[0]!, { context: LONG_PATIENCE })).status, "complete");
  expectDocuments(await backups.read(), ids);
});

Deno.test("backup() takes what a node has that is cut off from all others for no whole database", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const [server] = cluster.nodes;
  const ids = fill(database, 300);
  const task = { increments: { most: 14 } };
  assertEquals((await backups.run(server!, { task })).status, "complete");
  // Two of three copies take what is written, which is a quorum.
  cluster.lag(0);
  edit(database, ...ids.slice(0, 20).map((_id) => ({ _id, changed: true })));
  const young = fill(database, 20, { from: 300 });
  cluster.takeAway(1);
  cluster.takeAway(2);
  for (const options of [{ task, day: 4 }, { day: 5 }]) {
    const failed = await backups.run(server!, options);
    assertEquals([failed.status, failed.exit_code], ["failed", 3]);
    const why = /2 of 3 copies of range 0{8}-7f{7} are on nodes that are away: node2@127\.0\.0\.1, node3@127\.0\.0\.1/;
    assert(why.test(failed.error ?? ""), failed.error);
    assertStringIncludes(failed.hint ?? "", "take those that are gone for good out of the cluster");
  }
  cluster.bringBack(1);
  cluster.setUptime(1, 86_400);
  cluster.catchUp(0);
  // Two of three are enough.
  assertEquals((await backups.run(server!, { day: 5, resume: true })).status, "resumed");
  const archived = await readBackup(backups.folder.replace("/03/", "/05/"));
  expectDocuments(archived, [...ids, ...young]);
  for (const id of ids.slice(0, 20)) {
    const texts = [...archived.leafRevisions.get(id)!.values()];
    assert(texts.some((text) => text.includes('"changed":true')), `${id} in its later state`);
  }
});

Deno.test("backup() counts each copy by itself: one that is empty, and answers first, hides nothing", async () => {
  await using place = await makePlace({ q: 3 });
  const { cluster, database, backups } = place;
  // As one that was added to the shard map, before anything is written: nothing tells that it has all to get.
  cluster.lag(0);
  const ids = fill(database, 60);
  cluster.readFrom(0);
  cluster.countFrom(0);
  const failed = await backups.run(cluster.nodes[0]!);
  assertEquals([failed.status, failed.exit_code], ["failed", 3]);
  assertStringIncludes(failed.error ?? "", "0 of 60 documents are listed");
  cluster.catchUp(0);
  const report = await backups.run(cluster.nodes[0]!, { resume: true });
  assertEquals([report.error, report.documents], [undefined, 60]);
  expectDocuments(await backups.read(), ids);
});

Deno.test("backup() waits once for nodes that are away, not for each database", async () => {
  await using place = await makePlace();
  const { cluster, backups } = place;
  const names = ["db", "db2", "db3", "db4"];
  for (const name of names.slice(1)) await couchOk(cluster.nodes[0]!, `PUT /${name}`);
  for (const name of names) fill(cluster.databases.get(name)!, 20);
  cluster.takeAway(1);
  cluster.takeAway(2);
  const startedAtMs = performance.now();
  const databases = names.map((database) => ({ database, pattern: database }));
  const reports = await backups.runAll(cluster.nodes[0]!, databases, { task: { parallel: 1 } });
  assertEquals(reports.map(({ exit_code }) => exit_code), names.map(() => 3));
  // The patience of these tests is 1.5 s.
  assert(performance.now() - startedAtMs < 2 * 1500, `${performance.now() - startedAtMs} ms`);
});

Deno.test("backup() is whole when as many documents were deleted as made while a node was away", async () => {
  for (const catchUpAfterRequests of [1, 20, 60]) {
    await using place = await makePlace();
    const { cluster, database, backups } = place;
    const old = fill(database, 300);
    cluster.takeAway(2);
    edit(database, ...old.slice(0, 100).map((_id) => ({ _id, _deleted: true })));
    const young = fill(database, 100, { from: 300 });
    cluster.bringBack(2, { catchUpAfterRequests });
    cluster.setUptime(2, 86_400);
    cluster.readFrom(2);
    const report = await backups.run(cluster.nodes[2]!);
    if (report.status === "failed") {
      assertEquals(report.exit_code, 3);
      cluster.catchUp(2);
      assertEquals((await backups.run(cluster.nodes[2]!, { resume: true })).status, "resumed");
    }
    expectDocuments(await backups.read(), [...old.slice(100), ...young]);
  }
});

Deno.test("backup() is whole when a node is killed in the middle of the listing", async () => {
  for (const killed of [1, 2]) {
    await using place = await makePlace({ q: 4 });
    const { cluster, database, backups } = place;
    const ids = fill(database, 12_000);
    cluster.readFrom(killed);
    let pages = 0;
    cluster.nodes[0]!.onRequest(({ endpoint }) => {
      if (endpoint === "_changes" && ++pages === 2) cluster.takeAway(killed);
    });
    const report = await backups.run(cluster.nodes[0]!, { task: { chunk: 1000 }, context: LONG_PATIENCE });
    assertEquals(report.status, "complete", report.error);
    const archived = await backups.read();
    expectDocuments(archived, ids);
    assert(archived.manifest.chunks.some(({ again }) => again), "the feed repeats a range, and it is read again");
  }
});

Deno.test("backup() ends beside a writer without end, with every document that was there when it began", async () => {
  await using place = await makePlace({ q: 4 });
  const { cluster, database, backups } = place;
  const ids = fill(database, 6_000);
  let written = 0, from = 100_000;
  cluster.nodes[0]!.onRequest(({ endpoint }) => {
    // More than a page between two pages, as long as pages are asked for.
    if (endpoint !== "_changes" || written > 30) return;
    written++;
    fill(database, 6_000, { from });
    from += 6_000;
  });
  const report = await backups.run(cluster.nodes[0]!, { task: { chunk: 2500 }, context: LONG_PATIENCE });
  assertEquals(report.status, "complete", report.error);
  expectDocuments(await backups.read(), ids);
  const { query } = cluster.nodes[0]!.requestsTo("_changes").findLast(({ query }) => query.get("limit") === null)!;
  assertEquals(query.has("since"), true, "one answer without a limit ends it");
});

Deno.test("backup() resumes behind a gap among its chunks, and misses nothing", async () => {
  await using place = await makePlace();
  const { cluster, database, backups } = place;
  const ids = fill(database, 2_000);
  const stop = new AbortController();
  let asked = 0;
  const server = cluster.nodes[0]!;
  // The first request stalls, later ones are stored: what is stored has a gap at its beginning.
  server.faults.add({ endpoint: "_bulk_get", skip: 2, times: 1, fault: { kind: "stall" } });
  server.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 12) stop.abort(new InterruptedError("killed"));
  });
  // One request at a time leaves no gap.
  const context = { stop: stop.signal, signal: stop.signal };
  await backups.run(server, { task: { parallel: 3 }, context }).catch(() => {});
  server.faults.clear();
  edit(database, ...ids.slice(0, 30).map((_id) => ({ _id, changed: true })));
  const report = await backups.run(server, { resume: true });
  assertEquals(report.status, "resumed", report.error);
  const archived = await backups.read();
  expectDocuments(archived, ids);
  for (const id of ids.slice(0, 30)) {
    const texts = [...archived.leafRevisions.get(id)!.values()];
    assert(texts.some((text) => text.includes('"changed":true')), `${id} in its later state`);
  }
});
