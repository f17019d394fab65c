import { assertEquals, assertGreater, assertLess, assertNotEquals, assertRejects } from "@std/assert";
import { couch, couchOk } from "../couch_request.ts";
import { listed, testCluster, walk } from "./cluster_setup.ts";
import type { FakeCluster } from "./couchdb_cluster.ts";
import { edit, fill } from "./couchdb/edits.ts";

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
  assertEquals((await couch(cluster.nodes[0]!, `GET /_node/${names[1]}/_system`)).json.error, "nodedown");
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
  const edited = await couch(node!, "POST /db/_bulk_docs", { docs: [{ _id: "c" }] });
  assertEquals([edited.status, edited.json[0].accepted], [202, true]);
  const replicated = await couch(node!, "POST /db/_bulk_docs", { new_edits: false, docs: [{ _id: "d", _rev: "1-d" }] });
  assertEquals([replicated.status, replicated.json], [201, []]);
});

testCluster("says many things where no copy of a range is there", async ({ cluster, database }) => {
  const ids = fill(database, 20);
  cluster.takeAway(1);
  const node = cluster.nodes[0]!;
  const [gone, there] = [false, true].map((reachable) =>
    ids.find((id) => database.shards.isReachable(id) === reachable)
  );
  for (const path of ["", "/_changes", "/_all_docs"]) {
    const { status, json } = await couch(node, `GET /db${path}`);
    assertEquals([status, json], [500, { error: "nodedown", reason: "progress not possible" }]);
  }
  assertEquals((await couchOk(node, "GET /db/_security")).status, 200);
  assertEquals((await couchOk(node, "POST /_dbs_info", { keys: ["db"] })).json, [{ key: "db", error: "not_found" }]);
  const missing = await couchOk(node, "POST /db/_revs_diff", { [gone!]: ["1-a"] });
  assertEquals(missing.json, { [gone!]: { missing: ["1-a"] } });
  assertEquals((await couch(node, `GET /db/${gone}`)).json, { error: "error", reason: "read_failure" });
  assertEquals((await couch(node, `PUT /db/${gone}`, {})).json, { error: "error", reason: "internal_server_error" });
  const errors = async (...asked: string[]) => {
    const { json } = await couchOk(node, "POST /db/_bulk_get", { docs: asked.map((id) => ({ id })) });
    return json.results.map(({ docs }: { docs: { error?: { error: string } }[] }) => docs[0]!.error?.error);
  };
  assertEquals(await errors(there!, gone!), ["internal_fabric_error", "internal_fabric_error"]);
  assertEquals([await errors(there!), await errors(gone!)], [[undefined], ["internal_fabric_error"]]);
}, { n: 1 });

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

testCluster(
  "counts the copies of the node that answers first, where a test says which",
  async ({ cluster, database }) => {
    cluster.takeAway(2);
    fill(database, 20);
    cluster.bringBack(2);
    const counts = async () => {
      const [row] = (await couchOk(cluster.nodes[0]!, "POST /_dbs_info", { keys: ["db"] })).json;
      return [(await couchOk(cluster.nodes[0]!, "GET /db")).json.doc_count, row.info.doc_count];
    };
    cluster.countFrom(2);
    assertEquals(await counts(), [0, 0]);
    cluster.countFrom(1);
    assertEquals(await counts(), [20, 20]);
  },
);

testCluster("brings a local document to no copy whose node was away when it was written", async ({ cluster }) => {
  const [node] = cluster.nodes;
  cluster.takeAway(1);
  cluster.takeAway(2);
  await couchOk(node!, "PUT /db/_local/note", { n: 1 });
  const statuses = async () => {
    const paths = ["", "?r=2", "?r=3", "?r=99"].map((query) => `GET /db/_local/note${query}`);
    return await Promise.all(paths.map(async (path) => (await couch(node!, path)).status));
  };
  assertEquals(await statuses(), [200, 200, 200, 200]);
  cluster.bringBack(1);
  assertEquals(await statuses(), [200, 200, 200, 200]);
  cluster.bringBack(2);
  cluster.catchUp(1);
  cluster.catchUp(2);
  assertEquals(await statuses(), [404, 404, 200, 200]);
});

testCluster(
  "sets a revisions limit on the copies that are there, and fails at it while a node is away",
  async ({ cluster }) => {
    const [node] = cluster.nodes;
    cluster.takeAway(2);
    const { status, json } = await couch(node!, "PUT /db/_revs_limit", 50);
    assertEquals([status, json.error, (await couchOk(node!, "GET /db/_revs_limit")).json], [500, "badmatch", 50]);
    cluster.bringBack(2);
    await couchOk(node!, "PUT /db/_revs_limit", 60);
  },
);
