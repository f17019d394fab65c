/**
 * What happens on clusters, on a real one of three nodes with n=3. COUCHDB_CLUSTER has the URLs of its nodes, with the
 * credentials of an administrator, separated by spaces; COUCHDB_CLUSTER_COMMAND is a shell command that switches a
 * node, with {action} (kill or start) and {node} (1 to 3) in it. The same sequences run on the double in
 * tests/commands/backup/cluster_test.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { COUNT_PATIENCE } from "../../src/commands/backup/completeness.ts";
import { CLUSTER_TIMES } from "../../src/couchdb/cluster.ts";
import { readBackup } from "../read_archive.ts";
import { Backups, expectDocuments } from "../commands/backup/feed_setup.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { startForwarder } from "../fakes/forwarder.ts";
import { until } from "../until.ts";

/** In earnest: real nodes take their time. */
const CONTEXT = { patience: COUNT_PATIENCE, clusterTimes: CLUSTER_TIMES };

function givenNodes(): CouchServer[] {
  const nodes = (Deno.env.get("COUCHDB_CLUSTER") ?? "").split(/\s+/).filter((url) => url !== "").map(serverOf);
  if (nodes.length === 3) return nodes;
  throw new Error("COUCHDB_CLUSTER does not name three nodes, as http://admin:secret@127.0.0.1:25984 and so on");
}

async function switchNode(action: "kill" | "start", node: number): Promise<void> {
  const command = (Deno.env.get("COUCHDB_CLUSTER_COMMAND") ?? "").replace("{action}", action).replace(
    "{node}",
    `${node}`,
  );
  const { success, stderr } = await new Deno.Command("sh", { args: ["-c", command], stdout: "null" }).output();
  if (!success) throw new Error(`"${command}" has failed: ${new TextDecoder().decode(stderr)}`);
  if (action === "kill") return;
  const server = givenNodes()[node - 1]!;
  const answers = () => couch(server, "GET /_up").then(({ status }) => status === 200, () => false);
  await until(answers, `node ${node} answers`, 60_000);
}

async function write(server: CouchServer, database: string, docs: readonly Record<string, unknown>[]): Promise<void> {
  for (let at = 0; at < docs.length; at += 2000) {
    await couchOk(server, `POST /${database}/_bulk_docs`, { docs: docs.slice(at, at + 2000) });
  }
}

async function fill(server: CouchServer, database: string, count: number, from = 0): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, at) => `d${String(from + at).padStart(7, "0")}`);
  await write(server, database, ids.map((_id) => ({ _id })));
  return ids;
}

async function remove(server: CouchServer, database: string, ids: readonly string[]): Promise<void> {
  const { json } = await couchOk(server, `POST /${database}/_all_docs`, { keys: ids });
  const deleted = json.rows.map(({ id, value }: { id: string; value: { rev: string } }) => {
    return { _id: id, _rev: value.rev, _deleted: true };
  });
  await write(server, database, deleted);
}

/** Gives a test three nodes and a database on them. All nodes are up when it ends. */
async function onCluster(
  test: (nodes: CouchServer[], database: string, backups: Backups) => Promise<void>,
): Promise<void> {
  const nodes = givenNodes();
  const database = `cluster_${crypto.randomUUID().slice(0, 8)}`;
  await couchOk(nodes[0]!, `PUT /${database}?n=3&q=2`);
  await using backups = new Backups();
  try {
    await test(nodes, database, backups);
  } finally {
    await couch(nodes[0]!, `DELETE /${database}`);
  }
}

Deno.test("backup() through a real node that has just come back is whole", async () => {
  await onCluster(async ([first, , third], database, backups) => {
    const old = await fill(first!, database, 500);
    await switchNode("kill", 3);
    const young = await fill(first!, database, 30_000, 500);
    await switchNode("start", 3);
    const report = await backups.run(third!, { database, task: { chunk: 1000 }, context: CONTEXT });
    assertEquals(report.status, "complete", report.error);
    expectDocuments(await backups.read(database), [...old, ...young]);
  });
});

Deno.test("backup() through a real node is whole when as many documents were deleted as made while it was away", async () => {
  await onCluster(async ([first, , third], database, backups) => {
    const old = await fill(first!, database, 10_000);
    await switchNode("kill", 3);
    await remove(first!, database, old.slice(0, 4000));
    const young = await fill(first!, database, 4000, 10_000);
    await switchNode("start", 3);
    const report = await backups.run(third!, { database, task: { chunk: 1000 }, context: CONTEXT });
    assertEquals(report.status, "complete", report.error);
    const archived = await backups.read(database);
    expectDocuments(archived, [...old.slice(4000), ...young]);
  });
});

Deno.test("a real cluster that counts wrongly behind a purge has its database saved", async () => {
  await onCluster(async ([first], database, backups) => {
    const ids = await fill(first!, database, 500);
    const { json: { rev } } = await couchOk(first!, `PUT /${database}/x`, { a: 1 });
    const [deleted, parent] = ["b".repeat(32), "c".repeat(32)];
    const leaf = { _id: "x", _rev: `2-${deleted}`, _deleted: true, _revisions: { start: 2, ids: [deleted, parent] } };
    await couchOk(first!, `POST /${database}/_bulk_docs`, { docs: [leaf], new_edits: false });
    await couchOk(first!, `POST /${database}/_purge`, { x: [rev] });
    const report = await backups.run(first!, { database, task: { chunk: 100 }, context: CONTEXT });
    assertEquals(report.status, "complete", report.error);
    const [warning = ""] = report.warnings ?? [];
    assert(warning.startsWith("CouchDB counts 501 live documents and shows 500, which are all saved: "), warning);
    expectDocuments(await backups.read(database), ids);
  });
});

Deno.test("backup() is whole when a real node is killed in the middle of the listing", async () => {
  await onCluster(async ([first], database, backups) => {
    const ids = await fill(first!, database, 20_000);
    let pages = 0;
    await using forwarder = startForwarder(first!, async ({ path }) => {
      if (path.includes("/_changes?") && ++pages === 2) await switchNode("kill", 2);
    });
    try {
      const report = await backups.run(forwarder, { database, task: { chunk: 1000 }, context: CONTEXT });
      assertEquals(report.status, "complete", report.error);
      assert(pages >= 2);
      expectDocuments(await backups.read(database), ids);
    } finally {
      await switchNode("start", 2);
    }
  });
});

Deno.test("an increment through a real node that has just come back lacks nothing: updates, deletions, as many made as deleted", async () => {
  await onCluster(async ([first, , third], database, backups) => {
    const task = { chunk: 1000, increments: { most: 14 } };
    const ids = await fill(first!, database, 20_000);
    const base = await backups.run(third!, { database, task, context: CONTEXT });
    assertEquals([base.status, base.kind], ["complete", "full"], base.error);
    await switchNode("kill", 3);
    const { json } = await couchOk(first!, `POST /${database}/_all_docs`, { keys: ids.slice(0, 3000) });
    await write(
      first!,
      database,
      json.rows.map((row: { id: string; value: { rev: string } }) => ({ _id: row.id, _rev: row.value.rev, n: 2 })),
    );
    await remove(first!, database, ids.slice(3000, 4000));
    const made = await fill(first!, database, 1000, 50_000);
    await switchNode("start", 3);
    const report = await backups.run(third!, { database, task, context: CONTEXT, day: 4 });
    assertEquals(report.status, "complete", report.error);
    const archived = await readBackup(backups.folderOf(database).replace("/03/", "/04/"));
    // In full where rows of a range came again from its beginning.
    const whole = report.kind === "full" ? ids.slice(4000) : [];
    expectDocuments(archived, [...ids.slice(0, 4000), ...made, ...whole], ids.slice(3000, 4000));
    for (const id of ids.slice(0, 3000)) {
      const texts = [...archived.leafRevisions.get(id)!.values()];
      assert(texts.every((text) => text.includes('"n":2')), id);
    }
    const next = await backups.run(first!, { database, task, context: CONTEXT, day: 5 });
    assertEquals([next.status, next.documents], ["complete", 0], `${next.full_because} ${next.error}`);
    const full = await backups.run(third!, { database, task, context: CONTEXT, day: 6, full: true });
    assertEquals([full.kind, full.chain_lost], ["full", undefined], "the chain before has lost nothing");
    assertEquals(backups.log.lines.filter(({ event }) => event.includes("not compared")), []);
  });
});

Deno.test("a real cluster's database that nobody writes to is carried over through every node", async () => {
  await onCluster(async (nodes, database, backups) => {
    const task = { chunk: 1000, increments: { most: 14 } };
    await fill(nodes[0]!, database, 5000);
    await backups.run(nodes[0]!, { database, task, context: CONTEXT });
    for (const [at, node] of [...nodes, ...nodes].entries()) {
      const report = await backups.run(node, { database, task, context: CONTEXT, day: 4 + at });
      assertEquals([report.error, report.unchanged, report.full_because], [undefined, true, undefined], `${at}`);
    }
    for (const [at, node] of nodes.entries()) {
      const full = await backups.run(node, { database, task, context: CONTEXT, day: 12 + at, full: true });
      assertEquals([full.kind, full.chain_lost], ["full", undefined], "the chain before has lost nothing");
    }
  });
});

Deno.test("a real cluster sets a revisions limit on the copies that are there, and fails at it while a node is away", async () => {
  await onCluster(async ([first, , third], database) => {
    await switchNode("kill", 3);
    try {
      const { status, json } = await couch(first!, `PUT /${database}/_revs_limit`, 50);
      const limit = (await couchOk(first!, `GET /${database}/_revs_limit`)).json;
      assertEquals([status, json.error, limit], [500, "badmatch", 50]);
    } finally {
      await switchNode("start", 3);
    }
    assertEquals((await couchOk(third!, `GET /${database}/_revs_limit`)).json, 1000);
    await couchOk(first!, `PUT /${database}/_revs_limit`, 50);
    assertEquals((await couchOk(third!, `GET /${database}/_revs_limit`)).json, 50);
  });
});
