import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import type { FleetRequest } from "../../../src/commands/restore/context.ts";
import { claimRoom, fleetRoom } from "../../../src/commands/restore/fleet_room.ts";
import type { Target } from "../../../src/commands/restore/fleet_targets.ts";
import { couchOk } from "../../couch_request.ts";
import { chunk } from "../../archive/folder_setup.ts";
import { manifestOf } from "../../archive/repository_setup.ts";
import { type FleetSetup, setUpFleet } from "./fleet_setup.ts";

const ONE_CHUNK = `{all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}`;
const CHUNKS_OF_TWO = `{all: {databases: [".*"], exclude: ["_.*"], chunk: 2, timezone: UTC}}`;
const INCREMENTS = `{all: {databases: [".*"], exclude: ["_.*"], incremental: true, timezone: UTC}}`;
/** More than a small database has. */
const LARGE = JSON.stringify("x".repeat(300_000));

/** Adds a document to each of them. */
async function addTo(
  { server, names }: FleetSetup,
  id: string,
  { text = '"small"', to = names }: { text?: string; to?: readonly string[] } = {},
): Promise<void> {
  for (const name of to) await couchOk(server, `PUT /${encodeURIComponent(name)}/${id}`, `{"text":${text}}`);
}

/** Saves each database as a whole, and dropped. */
async function saveFull(setup: FleetSetup): Promise<void> {
  assertEquals((await (await setup.open()).backup()).ok, true);
  await setup.drop();
}

/** Saves each database as a full backup, which has a large document where asked for, and two small increments. */
async function saveChains(setup: FleetSetup, { large = [] }: { large?: readonly string[] } = {}): Promise<void> {
  await addTo(setup, "large", { text: LARGE, to: large });
  for (const [round, kind] of (["full", "incremental", "incremental"] as const).entries()) {
    await addTo(setup, `added_${round}`);
    const [{ databases = [] } = {}] = (await (await setup.open()).backup()).tasks;
    assertEquals(databases.map((one) => one.kind), setup.names.map(() => kind));
  }
}

/** How many databases are being created at once where the answers to that wait until as many as `expected` are. */
async function mostAtOnce(setup: FleetSetup, expected: number, request: Partial<FleetRequest> = {}): Promise<number> {
  let [most, inHand] = [0, 0];
  const full = Promise.withResolvers<void>();
  const giveUp = setTimeout(full.resolve, 10_000);
  const run = async () => {
    most = Math.max(most, ++inHand);
    if (inHand >= expected) full.resolve();
    await full.promise;
    // Time for one more, which must not come.
    await delay(30);
    inHand--;
  };
  setup.server.faults.add({ method: "PUT", endpoint: "database", times: Infinity, fault: { kind: "run", run } });
  const report = await (await setup.open()).restoreAll({ path: "latest", ...request });
  clearTimeout(giveUp);
  assertEquals(report.ok, true);
  return most;
}

Deno.test("restore --all has 16 databases in hand that are one small request each", async () => {
  await using setup = await setUpFleet(20, { tasks: ONE_CHUNK });
  await saveFull(setup);
  assertEquals(await mostAtOnce(setup, 16), 16);
});

Deno.test("restore --all has 4 databases in hand that make several requests at a time", async () => {
  await using setup = await setUpFleet(20, { tasks: ONE_CHUNK });
  await addTo(setup, "large", { text: LARGE });
  await saveFull(setup);
  assertEquals(await mostAtOnce(setup, 4), 4);
});

Deno.test("restore --all has as many databases in hand as it is told, whatever they are", async () => {
  for (const databasesAtOnce of [2, 6]) {
    await using setup = await setUpFleet(20, { tasks: INCREMENTS });
    await saveChains(setup, { large: setup.names.filter((_, index) => index % 2 === 0) });
    await setup.drop();
    assertEquals(await mostAtOnce(setup, databasesAtOnce, { databasesAtOnce }), databasesAtOnce);
  }
});

Deno.test("restore --all has 16 small chains of increments in hand, and brings them back exactly", async () => {
  await using setup = await setUpFleet(20, { tasks: INCREMENTS });
  await saveChains(setup);
  const before = await setup.state();
  await setup.drop();
  assertEquals(await mostAtOnce(setup, 16), 16);
  assertEquals(setup.differences(before, await setup.state()), []);
});

Deno.test("restore --all has 4 chains in hand whose increments are small and whose full backup is large", async () => {
  await using setup = await setUpFleet(20, { tasks: INCREMENTS });
  await saveChains(setup, { large: setup.names });
  const before = await setup.state();
  await setup.drop();
  assertEquals(await mostAtOnce(setup, 4), 4);
  assertEquals(setup.differences(before, await setup.state()), []);
});

Deno.test("restore --all brings back large and small chains among each other exactly", async () => {
  await using setup = await setUpFleet(30, { tasks: INCREMENTS });
  const large = setup.names.filter((_, index) => index % 4 === 1);
  await saveChains(setup, { large });
  const before = await setup.state();
  await setup.drop();
  const inHand = new Set<string>();
  let mostLarge = 0;
  setup.server.onRequest(({ database = "", method, endpoint }) => {
    if (!large.includes(database)) return;
    if (method === "PUT" && endpoint === "database") inHand.add(database);
    mostLarge = Math.max(mostLarge, inHand.size);
    // The note that all is done is the last request but for its answer.
    const notes = setup.server.requestsTo("document", database).filter((request) => request.method === "PUT");
    if (notes.length > 1 && endpoint === "document") inHand.delete(database);
  });
  const report = await (await setup.open()).restoreAll({ path: "latest" });
  assertEquals([report.ok, report.databases.length], [true, 30]);
  assert(mostLarge <= 4, `${mostLarge} large ones at once`);
  assertEquals(setup.differences(before, await setup.state()), []);
});

Deno.test("restore --all makes one request at a time for a small database, in however many chunks it lies", async () => {
  for (const tasks of [INCREMENTS, CHUNKS_OF_TWO]) {
    await using setup = await setUpFleet(20, { tasks });
    if (tasks === INCREMENTS) await saveChains(setup);
    else await saveFull(setup);
    if (tasks === INCREMENTS) await setup.drop();
    const since = setup.server.requests.length;
    setup.server.faults.add({ endpoint: "_bulk_docs", times: Infinity, fault: { kind: "stall", ms: 40 } });
    assertEquals((await (await setup.open()).restoreAll({ path: "latest" })).ok, true);
    const most = Math.max(...setup.server.requests.slice(since).map(({ inFlight }) => inFlight));
    assert(most > 8 && most <= 16, `${most} requests in flight`);
  }
});

Deno.test("restore --all ends at once where it is stopped while chains wait for room", async () => {
  await using setup = await setUpFleet(20, { tasks: INCREMENTS });
  await saveChains(setup, { large: setup.names });
  await setup.drop();
  const [cancel, isBegun, isOver] = [new AbortController(), Promise.withResolvers<void>(), new AbortController()];
  let begun = 0;
  const run = async () => {
    if (++begun === 4) isBegun.resolve();
    await new Promise((resolve) => isOver.signal.addEventListener("abort", resolve));
  };
  setup.server.faults.add({ method: "PUT", endpoint: "database", times: Infinity, fault: { kind: "run", run } });
  const session = await setup.open({ signal: cancel.signal });
  const restored = assertRejects(() => session.restoreAll({ path: "latest" }));
  await isBegun.promise;
  // Time for the others to have read their parents.
  await delay(50);
  const reason = new Error("enough");
  cancel.abort(reason);
  assertStrictEquals(await restored, reason);
  assertEquals(begun, 4);
  isOver.abort();
});

Deno.test("restore --all does not try chains that waited for room while another one's login was refused", async () => {
  await using setup = await setUpFleet(14, { tasks: INCREMENTS });
  await saveChains(setup, { large: setup.names });
  await setup.drop();
  const since = setup.server.requests.length;
  setup.server.faults.add({ method: "PUT", times: Infinity, fault: { kind: "answer", status: 401 } });
  const { ok, databases } = await (await setup.open()).restoreAll({ path: "latest" });
  assertEquals([ok, new Set(databases.map(({ status }) => status))], [false, new Set(["failed"])]);
  const isUntried = ({ error = "" }) => error.startsWith("Not tried, as it would fail like the one before: ");
  // A fifth failed login would lock this address out.
  const refused = setup.server.requests.slice(since).filter(({ status }) => status === 401).length;
  const untried = databases.filter(isUntried).length;
  assert(refused <= 4 && untried >= 10, `${refused} requests refused, ${untried} not tried`);
});

/** A database with a backup as `part` has it. */
function targetOf(part: { parent?: boolean; documents?: number; bytes?: number; revisions?: number }): Target {
  const manifest = manifestOf({ day: "2026-11-25", finishedAt: "2026-11-25T18:04:11Z", chunks: [0, 1, 2] });
  const { parent = false, documents = 10, bytes = 1000, revisions = 10 } = part;
  const point = {
    manifest: {
      ...manifest,
      parent: parent ? { path: "p", run: "r", sha256: "0" } : null,
      properties: { ...manifest.properties, doc_count: documents },
      totals: { ...manifest.totals, bytes, leaf_revisions: revisions },
    },
  };
  return { point } as Target;
}

for (
  const { what, part, begin } of [
    { what: "a small full one", part: {}, begin: 16 },
    { what: "a full one that has just as much as a small one", part: { bytes: 262_144, revisions: 500 }, begin: 16 },
    { what: "a full one of more bytes", part: { bytes: 262_145 }, begin: 4 },
    { what: "a full one of more revisions", part: { revisions: 501 }, begin: 4 },
    { what: "a small increment of a small database", part: { parent: true, documents: 500 }, begin: 16 },
    { what: "a small increment of a large database", part: { parent: true, documents: 501 }, begin: 4 },
    { what: "an increment of many bytes", part: { parent: true, bytes: 262_145 }, begin: 4 },
  ]
) {
  Deno.test(`fleetRoom() lets ${begin} of these begin: ${what}`, () => {
    const targets = Array.from({ length: 20 }, () => targetOf(part));
    const room = fleetRoom(targets, { atOnce: undefined });
    const limit = room.limit as () => number;
    let begun = 0;
    for (; limit() > 0; begun++) void room.within(targets[begun]!, () => new Promise(() => {}));
    assertEquals(begun, begin);
  });
}

Deno.test("claimRoom() takes an archive for large of which no manifest says how much there is", async () => {
  const unknown = { name: "0000000.json.gz", entry: undefined };
  const small = { name: "0000001.json.gz", entry: { ...chunk(1), bytes: 1000, leaf_revisions: 10 } };
  const { signal } = new AbortController();
  const targets = [targetOf({}), targetOf({})];
  const room = fleetRoom(targets, { atOnce: undefined });
  await room.within(targets[0]!, async (place) => {
    assertEquals([await claimRoom(place, { chunks: [small] }, { signal }), place.share], [1, 1]);
  });
  await room.within(targets[1]!, async (place) => {
    assertEquals([await claimRoom(place, { chunks: [small, unknown] }, { signal }), place.share], [undefined, 4]);
  });
});
