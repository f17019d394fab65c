import { assertEquals } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import type { FleetRequest } from "../../../src/commands/restore/context.ts";
import { setUpFleet } from "./fleet_setup.ts";

const CHUNKS_OF_TWO = `{all: {databases: [".*"], exclude: ["_.*"], chunk: 2, timezone: UTC}}`;
const ONE_CHUNK = `{all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}`;

/** How many databases are being created at once where the answers to that wait until as many as `expected` are. */
async function mostAtOnce(expected: number, tasks: string, request: Partial<FleetRequest> = {}): Promise<number> {
  await using setup = await setUpFleet(20, { tasks });
  const session = await setup.open();
  assertEquals((await session.backup()).ok, true);
  await setup.drop();
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
  const report = await session.restoreAll({ path: "latest", ...request });
  clearTimeout(giveUp);
  assertEquals(report.ok, true);
  return most;
}

Deno.test("restore --all has 16 databases in hand that are one small request each", async () => {
  assertEquals(await mostAtOnce(16, ONE_CHUNK), 16);
});

Deno.test("restore --all has 4 databases in hand that make several requests at a time", async () => {
  assertEquals(await mostAtOnce(4, CHUNKS_OF_TWO), 4);
});

Deno.test("restore --all has as many databases in hand as it is told, whatever they are", async () => {
  assertEquals(await mostAtOnce(2, ONE_CHUNK, { databasesAtOnce: 2 }), 2);
  assertEquals(await mostAtOnce(6, CHUNKS_OF_TWO, { databasesAtOnce: 6 }), 6);
});
