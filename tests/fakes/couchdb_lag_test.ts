import { assert, assertEquals, assertGreater } from "@std/assert";
import { couchOk } from "../couch_request.ts";
import { info, listed, pending, type Place, testCluster, walk } from "./cluster_setup.ts";
import { edit, fill } from "./couchdb/edits.ts";

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

testNodeJustBack("lists through others what that had, where its copies are read", async ({ cluster }) => {
  const counts = async () => [await listed(cluster.nodes[0]!), (await walk(cluster.nodes[0]!)).ids.length];
  cluster.readFrom(2);
  assertEquals(await counts(), [10, 10]);
  cluster.readFrom("own");
  assertEquals(await counts(), [50, 50]);
  cluster.readFrom("any");
  const seen = new Set<number>();
  for (let time = 0; time < 20; time++) seen.add(await listed(cluster.nodes[0]!));
  assertEquals(Math.max(...seen), 50);
  assertGreater(seen.size, 1, "now and then a range is short");
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
