/** A cluster of doubles with one database, and the ways in which tests read that. */
import { couchOk, type CouchServer } from "../couch_request.ts";
import { type FakeCluster, type FakeClusterOptions, startFakeCluster } from "./couchdb_cluster.ts";
import type { Database } from "./couchdb/database.ts";

/** A running cluster and its database `db`. */
export interface Place {
  cluster: FakeCluster;
  database: Database;
}

/** Runs a test with three nodes that share the database `db`, of two ranges and three copies of each. */
export function testCluster(
  name: string,
  body: (place: Place) => Promise<void>,
  options: FakeClusterOptions = {},
): void {
  Deno.test(`a cluster of doubles ${name}`, async () => {
    await using cluster = await startFakeCluster(options);
    await couchOk(cluster.nodes[0]!, "PUT /db");
    await body({ cluster, database: cluster.databases.get("db")! });
  });
}

/** A walk through the feed from `since` by pages of `limit`; where it ends, and the ids of its rows. */
export async function walk(server: CouchServer, since = "0", limit = 7): Promise<{ ids: string[]; since: string }> {
  const ids: string[] = [];
  for (;;) {
    const { json } = await couchOk(server, `GET /db/_changes?style=all_docs&limit=${limit}&since=${since}`);
    ids.push(...json.results.map(({ id }: { id: string }) => id));
    since = json.last_seq;
    if (json.pending === 0) return { ids, since };
  }
}

/** How many rows a feed from `since` would have. */
export async function pending(server: CouchServer, since = "0"): Promise<number> {
  return (await couchOk(server, `GET /db/_changes?limit=0&since=${since}`)).json.pending;
}

/** How many documents `_all_docs` lists. */
export async function listed(server: CouchServer): Promise<number> {
  return (await couchOk(server, "GET /db/_all_docs")).json.rows.length;
}

/** What `GET /{db}` says. */
export async function info(server: CouchServer): Promise<Record<string, string & number>> {
  return (await couchOk(server, "GET /db")).json;
}
