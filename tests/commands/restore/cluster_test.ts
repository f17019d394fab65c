/** What a restore believes of the databases that are there, on a cluster of which a node is away, or back and lags. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { describeFleet } from "../../../src/cli/restore_all.ts";
import type { FleetRequest } from "../../../src/commands/restore/context.ts";
import { restoreFleet } from "../../../src/commands/restore/fleet.ts";
import { exitCodeOfFleet } from "../../../src/commands/restore/fleet_report.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { CouchClient } from "../../../src/couchdb/client.ts";
import { CouchError, EXIT, UsageError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { couchOk } from "../../couch_request.ts";
import { createDatabase, idsOf } from "../../couchdb/impatient_client.ts";
import { type FakeCluster, startFakeCluster } from "../../fakes/couchdb_cluster.ts";
import { type FleetSetup, setUpFleet } from "./fleet_setup.ts";
import { QUICK_RETRY } from "./setup.ts";

/** Patience with a node for longer than it lags here. */
const PATIENT = { freshMs: 300, betweenLooksMs: 10, patienceMs: 10_000 };
const IMPATIENT = { freshMs: 60_000, betweenLooksMs: 10, patienceMs: 50 };
const AWAY = 2;

interface Place extends AsyncDisposable {
  cluster: FakeCluster;
  setup: FleetSetup;
}

/** A cluster of three nodes and databases of it, which are backed up and dropped. */
async function savedAndDropped(count: number): Promise<Place> {
  const cluster = await startFakeCluster();
  const setup = await setUpFleet(count, { server: cluster.nodes[0]! });
  assertEquals((await (await setup.open()).backup()).ok, true);
  await setup.drop();
  return {
    cluster,
    setup,
    async [Symbol.asyncDispose]() {
      await setup[Symbol.asyncDispose]();
      await cluster.stop();
    },
  };
}

async function contextOf({ setup }: Place, clusterTimes = PATIENT) {
  const { url, login, password } = setup.server;
  const couch = new CouchClient({ url, login, password: new Secret(password), log: setup.log, retry: QUICK_RETRY });
  return { ...await (await setup.open()).restoreContext(), couch, clusterTimes };
}

async function restoreAll(place: Place, request: Partial<FleetRequest> = {}, clusterTimes = PATIENT) {
  return await restoreFleet(await contextOf(place, clusterTimes), { path: "latest", ...request });
}

const statusesOf = ({ databases }: Awaited<ReturnType<typeof restoreAll>>) => databases.map(({ status }) => status);

Deno.test("restore --all takes for restored what a node that is just back does not have yet", async () => {
  await using place = await savedAndDropped(4);
  const { cluster, setup } = place;
  cluster.takeAway(AWAY);
  assertEquals((await restoreAll(place)).ok, true);
  const written = setup.server.requestsTo("_bulk_docs").length;
  cluster.countFrom(AWAY);
  cluster.bringBack(AWAY, { catchUpAfterMs: 100 });
  const again = await restoreAll(place);
  assertEquals([again.ok, statusesOf(again)], [true, ["already", "already", "already", "already"]]);
  assertEquals(setup.server.requestsTo("_bulk_docs").length, written);
});

Deno.test("restore --all says that it does not know what a database holds while a node lags, and writes nothing", async () => {
  await using place = await savedAndDropped(2);
  const { cluster, setup } = place;
  cluster.takeAway(AWAY);
  assertEquals((await restoreAll(place)).ok, true);
  const written = setup.server.requestsTo("_bulk_docs").length;
  cluster.countFrom(AWAY);
  cluster.bringBack(AWAY);
  const error = await assertRejects(() => restoreAll(place, {}, IMPATIENT), CouchError);
  for (const name of setup.names) {
    assertStringIncludes(
      error.message,
      `what "${name}" holds is not known, as a copy may lag: node node3@127.0.0.1 has`,
    );
  }
  assertStringIncludes(error.hint ?? "", "run the same command again");
  assertStringIncludes(error.hint ?? "", "restore under other names (--map), or add --into-existing");
  assertEquals([error.exitCode, setup.server.requestsTo("_bulk_docs").length], [EXIT.couchdb, written]);
});

Deno.test("restore --all does not say that documents are gone which a node that lags does not have yet", async () => {
  await using place = await savedAndDropped(1);
  const { cluster, setup } = place;
  const [name] = setup.names as [string];
  assertEquals((await restoreAll(place)).ok, true);
  const database = `/${encodeURIComponent(name)}`;
  // As a chain's: how many documents there must be at the least is not known of it, but what there was.
  const note = (await couchOk(setup.server, `GET ${database}/_local/couchdb-backup-restore`)).json;
  cluster.takeAway(AWAY);
  await couchOk(setup.server, `POST ${database}/_bulk_docs`, { docs: idsOf(9).map((id) => ({ _id: `later-${id}` })) });
  await couchOk(setup.server, `PUT ${database}/_local/couchdb-backup-restore`, {
    ...note,
    documents: note.documents + 9,
  });
  cluster.countFrom(AWAY);
  cluster.bringBack(AWAY);
  const doubtful = await restoreAll(place, {}, IMPATIENT);
  const [one] = doubtful.databases;
  assertEquals([one!.status, one!.fewer, exitCodeOfFleet(doubtful)], ["failed", undefined, EXIT.couchdb]);
  assertStringIncludes(one!.error ?? "", `what "${name}" holds is not known`);
  assertEquals(/delete/i.test(describeFleet(doubtful)), false);
  cluster.catchUp(AWAY);
  assertEquals(statusesOf(await restoreAll(place)), ["already"]);
});

for (const catchesUp of [true, false]) {
  Deno.test(`restore() does not take for empty what only a copy that lags shows so, and ${catchesUp ? "waits for it" : "says that it does not know"}`, async () => {
    await using place = await savedAndDropped(1);
    const { cluster, setup } = place;
    const [name] = setup.names as [string];
    cluster.takeAway(AWAY);
    await createDatabase(setup.server, name, idsOf(5), '"of":"others"');
    const written = setup.server.requestsTo("_bulk_docs").length;
    cluster.countFrom(AWAY);
    cluster.bringBack(AWAY, catchesUp ? { catchUpAfterMs: 100 } : {});
    const context = await contextOf(place, catchesUp ? PATIENT : IMPATIENT);
    const error = await assertRejects(
      () => restore(context, { database: name, path: `latest/${encodeURIComponent(name)}` }),
      catchesUp ? UsageError : CouchError,
    );
    assertStringIncludes(
      error.message,
      catchesUp
        ? `"${name}": it holds 5 documents`
        : `Cannot tell whether "${name}" is empty: node node3@127.0.0.1 has`,
    );
    assertEquals(setup.server.requestsTo("_bulk_docs").length, written);
  });
}

Deno.test("restore() of an empty database goes on at once where all nodes are up to date", async () => {
  await using place = await savedAndDropped(1);
  const [name] = place.setup.names as [string];
  await couchOk(place.setup.server, `PUT /${encodeURIComponent(name)}`);
  const context = await contextOf(place);
  const report = await restore(context, { database: name, path: `latest/${encodeURIComponent(name)}` });
  assertEquals([report.ok, report.created], [true, false]);
});

Deno.test("restore() waits for a node that lags before it calls documents missing", async () => {
  await using place = await savedAndDropped(1);
  const { cluster, setup } = place;
  const [name] = setup.names as [string];
  cluster.takeAway(AWAY);
  const before = setup.server.requestsTo("_bulk_docs").length;
  let isBack = false;
  setup.server.onRequest(({ method, endpoint }) => {
    const isWritten = setup.server.requestsTo("_bulk_docs").length > before;
    if (isBack || !isWritten || `${method} ${endpoint}` !== "GET database") return;
    isBack = true;
    cluster.countFrom(AWAY);
    cluster.bringBack(AWAY, { catchUpAfterMs: 200 });
  });
  const context = await contextOf(place);
  const report = await restore(context, { database: name, path: `latest/${encodeURIComponent(name)}` });
  assertEquals([report.ok, report.missing, isBack], [true, 0, true]);
});

Deno.test("restore --all goes on with what it noted while most nodes were away", async () => {
  await using place = await savedAndDropped(3);
  const { cluster } = place;
  cluster.takeAway(1);
  cluster.takeAway(2);
  assertEquals((await restoreAll(place)).ok, true);
  for (const node of [1, 2]) {
    cluster.bringBack(node);
    cluster.catchUp(node);
  }
  assertEquals(statusesOf(await restoreAll(place)), ["already", "already", "already"]);
});

for (const dryRun of [true, false]) {
  Deno.test(`restore --all${dryRun ? " --dry-run" : ""} takes no database for missing whose shards cannot be reached`, async () => {
    await using place = await savedAndDropped(3);
    const { cluster, setup } = place;
    const [name] = setup.names as [string];
    await couchOk(setup.server, `PUT /${encodeURIComponent(name)}?n=1&q=2`);
    cluster.takeAway(1);
    const since = setup.server.requests.length;
    const report = await restoreAll(place, { dryRun });
    assertEquals(statusesOf(report), ["failed", "restored", "restored"]);
    assertStringIncludes(report.databases[0]!.hint ?? "", "A node of the cluster is away");
    const asked = setup.server.requests.slice(since).filter(({ database }) => database === name);
    assertEquals(asked.filter(({ method }) => method !== "GET"), []);
  });
}
