import { assert, assertEquals, assertGreater, assertLess, assertNotEquals, assertRejects } from "@std/assert";
import { couch, couchOk, type CouchServer } from "../couch_request.ts";
import { type FakeCluster, type FakeClusterOptions, startFakeCluster } from "./couchdb_cluster.ts";
import { edit, fill } from "./couchdb/edits.ts";
import type { Database } from "./couchdb/database.ts";

interface Place {
  cluster: FakeCluster;
  database: Database;
}

/** Runs a test with three nodes that share the database `db`, of two ranges and three copies of each. */
function testCluster(name: string, body: (place: Place) => Promise<void>, options: FakeClusterOptions = {}): void {
  Deno.test(`a cluster of doubles ${name}`, async () => {
    await using cluster = await startFakeCluster(options);
    await couchOk(cluster.nodes[0]!, "PUT /db");
    await body({ cluster, database: cluster.databases.get("db")! });
  });
}

/** The third node was away for the last 40 of 50 documents and one change, and is back with what it had. */
function testNodeJustBack(name: string, body: (place: Place) => Promise<void>): void {
  testCluster(`with a node just back ${name}`, async (place) => {
    fill(place.database, 10);
    place.cluster.takeAway(2);
    fill(place.database, 40, { from: 10 });
    edit(place.database, { _id: "d0000000", changed: true });
    place.cluster.bringBack(2);
    await body(place);
  });
}

/** A walk through the feed from `since` by pages of `limit`; where it ends, and the ids of its rows. */
async function walk(server: CouchServer, since = "0", limit = 7): Promise<{ ids: string[]; since: string }> {
  const ids: string[] = [];
  for (;;) {
    const { json } = await couchOk(server, `GET /db/_changes?style=all_docs&limit=${limit}&since=${since}`);
    ids.push(...json.results.map(({ id }: { id: string }) => id));
    since = json.last_seq;
    if (json.pending === 0) return { ids, since };
  }
}

async function pending(server: CouchServer, since = "0"): Promise<number> {
  return (await couchOk(server, `GET /db/_changes?limit=0&since=${since}`)).json.pending;
}

async function listed(server: CouchServer): Promise<number> {
  return (await couchOk(server, "GET /db/_all_docs")).json.rows.length;
}

async function info(server: CouchServer): Promise<Record<string, string & number>> {
  return (await couchOk(server, "GET /db")).json;
}

testCluster("answers the same through every node, and says who belongs to it", async ({ cluster, database }) => {
  fill(database, 20);
  for (const node of cluster.nodes) {
    assertEquals([await listed(node), (await walk(node)).ids.length], [20, 20]);
    assertEquals((await couchOk(node, "GET /db")).json.cluster, { q: 2, n: 3, w: 2, r: 2 });
  }
  const names = ["node1@127.0.0.1", "node2@127.0.0.1", "node3@127.0.0.1"];
  cluster.takeAway(1);
  const { json } = await couchOk(cluster.nodes[0]!, "GET /_membership");
  assertEquals(json, { all_nodes: [names[0], names[2]], cluster_nodes: names });
  assertEquals((await couch(cluster.nodes[0]!, `GET /_node/${names[1]}/_system`)).status, 404);
});

testCluster("refuses connections to a node that is away, breaks those that it has", async ({ cluster }) => {
  const node = cluster.nodes[1]!;
  node.faults.add({ endpoint: "_all_docs", fault: { kind: "stall" } });
  const broken = assertRejects(() => couch(node, "GET /db/_all_docs"), TypeError);
  while (node.requestsTo("_all_docs").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  cluster.takeAway(1);
  await broken;
  const before = node.requests.length;
  await assertRejects(() => couch(node, "GET /"), TypeError);
  assertEquals(node.requests.length, before);
  cluster.bringBack(1);
  await couchOk(node, "GET /db");
  const { json } = await couchOk(cluster.nodes[0]!, `GET /_node/${node.node.name}/_system`);
  assertLess(json.uptime, 60);
});

testCluster("answers 202 where a write reached one copy of three", async ({ cluster }) => {
  const [node] = cluster.nodes;
  cluster.takeAway(1);
  assertEquals((await couch(node!, "PUT /db/a", {})).status, 201);
  cluster.takeAway(2);
  assertEquals((await couch(node!, "PUT /db/b", {})).status, 202);
  assertEquals((await couch(node!, "POST /db/_bulk_docs", { docs: [{ _id: "c" }] })).status, 202);
});

testCluster("cannot read a range of which no copy is there", async ({ cluster, database }) => {
  fill(database, 20);
  cluster.takeAway(1);
  const { status, json } = await couch(cluster.nodes[0]!, "GET /db/_changes");
  assertEquals([status, json.reason], [500, "No DB shards could be opened."]);
}, { n: 1 });

testNodeJustBack("lists through it what that had, and through others all", async ({ cluster }) => {
  for (const [node, count] of [[2, 10], [0, 50], [1, 50]] as const) {
    const server = cluster.nodes[node]!;
    assertEquals([await listed(server), (await walk(server)).ids.length, await pending(server)], [count, count, count]);
  }
  assertEquals(cluster.missing(2), 41);
  const { json } = await couchOk(cluster.nodes[2]!, "GET /_node/_local/_system");
  assertEquals(json.internal_replication_jobs, 0);
  cluster.setJobs(2, 0, 3);
  const jobs = async () =>
    (await couchOk(cluster.nodes[2]!, "GET /_node/_local/_system")).json.internal_replication_jobs;
  assertEquals([await jobs(), await jobs(), await jobs()], [0, 3, 3]);
});

testNodeJustBack("reads the newest of all copies by id, through it too", async ({ cluster }) => {
  const [, , back] = cluster.nodes;
  const docs = Array.from({ length: 50 }, (_, at) => ({ id: `d${String(at).padStart(7, "0")}` }));
  const { json } = await couchOk(back!, "POST /db/_bulk_get", { docs });
  assert(json.results.every(({ docs }: { docs: { ok?: unknown }[] }) => docs[0]!.ok !== undefined));
  assertEquals(json.results[0].docs.map(({ ok }: { ok: { changed: boolean } }) => ok.changed), [true]);
  assertEquals((await couchOk(back!, "GET /db/d0000000")).json.changed, true);
  const row = (await couchOk(back!, 'GET /db/_all_docs?key="d0000000"')).json.rows[0];
  assert(row.value.rev.startsWith("1-"), "a listing has the old revision");
});

testNodeJustBack("counts anew from other copies each time", async ({ cluster }) => {
  const counts = new Set<number>();
  const positions = new Set<string>();
  for (let time = 0; time < 40; time++) {
    const { doc_count, update_seq } = await info(cluster.nodes[2]!);
    counts.add(doc_count!);
    positions.add(update_seq!);
  }
  assertEquals([Math.min(...counts), Math.max(...counts), counts.size, positions.size], [10, 50, 4, 9]);
});

testNodeJustBack("has all there when that has caught up, at once or bit by bit", async ({ cluster }) => {
  const back = cluster.nodes[2]!;
  assertEquals(cluster.catchUp(2, 15), 26);
  assertEquals(await listed(back), 25);
  assertEquals(cluster.catchUp(2), 0);
  assertEquals([await listed(back), (await walk(back)).ids.length], [50, 50]);
});

testNodeJustBack("loses nothing that is listed by the feed and goes on from its own end", async ({ cluster }) => {
  const back = cluster.nodes[2]!;
  const first = await walk(back);
  assertEquals(await pending(back, first.since), 0, "the other 40 are not to be seen there");
  cluster.catchUp(2);
  const second = await walk(back, first.since);
  assertEquals([first.ids.length, second.ids.length], [10, 41]);
  assertEquals(new Set([...first.ids, ...second.ids]).size, 50);
});

testNodeJustBack("loses what is listed by one copy and positioned by another", async ({ cluster }) => {
  const { since } = await walk(cluster.nodes[0]!);
  const saved = await listed(cluster.nodes[2]!);
  cluster.catchUp(2);
  assertEquals([saved, (await walk(cluster.nodes[2]!, since)).ids.length], [10, 0]);
});

testCluster("sees no change behind a position through a node that was away for it", async ({ cluster, database }) => {
  fill(database, 10);
  const back = cluster.nodes[2]!;
  const { since } = await walk(back);
  cluster.takeAway(2);
  for (let at = 0; at < 10; at++) edit(database, { _id: `d000000${at}`, changed: true });
  cluster.bringBack(2);
  assertEquals(await pending(back, since), 0);
  assertEquals((await info(back)).doc_count, 10, "no count shows that updates are missing");
  // Its copies are what the position names, so another node reads them too.
  assertEquals(await pending(cluster.nodes[0]!, since), 0);
  cluster.catchUp(2);
  assertEquals(await pending(cluster.nodes[0]!, since), 10);
});

testCluster("repeats rows, and loses none, when the node that was read is killed", async ({ cluster, database }) => {
  const ids = fill(database, 100);
  const { json } = await couchOk(cluster.nodes[1]!, "GET /db/_changes?limit=40");
  cluster.takeAway(1);
  const rest = await walk(cluster.nodes[0]!, json.last_seq);
  assertGreater(rest.ids.length, 60);
  const seen = [...json.results.map(({ id }: { id: string }) => id), ...rest.ids];
  assertEquals([...new Set(seen)].sort(), ids);
});

testCluster("gives a node that lags nothing until it catches up", async ({ cluster, database }) => {
  cluster.lag(1);
  fill(database, 20);
  assertEquals([await listed(cluster.nodes[1]!), await listed(cluster.nodes[0]!)], [0, 20]);
  cluster.catchUp(1);
  fill(database, 5, { from: 20 });
  assertEquals(await listed(cluster.nodes[1]!), 25);
});

testCluster("lets a node catch up by requests or by time", async ({ cluster, database }) => {
  const missAndReturn = (options: Parameters<FakeCluster["bringBack"]>[1]) => {
    cluster.takeAway(1);
    fill(database, 20, { prefix: crypto.randomUUID() });
    cluster.bringBack(1, options);
  };
  const request = () => couchOk(cluster.nodes[0]!, "GET /");
  missAndReturn({ catchUpAfterRequests: 2 });
  await request();
  await request();
  assertEquals(cluster.missing(1), 20);
  await request();
  assertEquals(cluster.missing(1), 0);
  missAndReturn({ documentsARequest: 8 });
  const left = [];
  for (let time = 0; time < 3; time++) {
    await request();
    left.push(cluster.missing(1));
  }
  assertEquals(left, [12, 4, 0]);
  missAndReturn({ catchUpAfterMs: 30 });
  while (cluster.missing(1) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(await listed(cluster.nodes[1]!), 60);
});

testCluster("forgets in late copies what was purged meanwhile", async ({ cluster, database }) => {
  edit(database, { _id: "a" }, { _id: "b" });
  const { rev } = (await couchOk(cluster.nodes[0]!, 'GET /db/_all_docs?key="a"')).json.rows[0].value;
  cluster.lag(2);
  await couchOk(cluster.nodes[0]!, "POST /db/_purge", { a: [rev] });
  assertEquals([await listed(cluster.nodes[0]!), await listed(cluster.nodes[2]!)], [1, 2]);
  cluster.catchUp(2);
  assertEquals(await listed(cluster.nodes[2]!), 1);
});

testCluster("goes on from a position where one copy of three was set back, and hides later writes there", async ({
  cluster,
  database,
}) => {
  const node = cluster.nodes[1]!;
  const setBack = database.snapshot({ node: node.node });
  fill(database, 20);
  const { since } = await walk(node);
  setBack();
  assertEquals([await listed(node), await listed(cluster.nodes[0]!)], [0, 20]);
  fill(database, 30, { from: 20 });
  const shown = (await walk(node, since)).ids.length;
  assertEquals(shown, 10, "as many as go beyond the position");
  assertEquals((await walk(cluster.nodes[0]!)).ids.length, 50);
});

testCluster("draws ranges in another order for each reading, and never loses by it", async ({ cluster, database }) => {
  const ids = fill(database, 200);
  const [one, other] = [await walk(cluster.nodes[0]!), await walk(cluster.nodes[0]!)];
  assertNotEquals(one.ids, other.ids);
  assertEquals([one.ids.toSorted(), other.ids.toSorted()], [ids, ids]);
}, { q: 8 });
