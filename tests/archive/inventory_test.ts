import { assertEquals } from "@std/assert";
import { takeInventory } from "../../src/archive/inventory.ts";
import { pinName, shortRun } from "../../src/archive/layout.ts";
import { storePin } from "../../src/archive/pin.ts";
import { Repository } from "../../src/archive/repository.ts";
import { DATABASE, TestRepository } from "./repository_setup.ts";

Deno.test("takeInventory() names pinned backups, and a pin that is expired meanwhile ends nothing", async () => {
  await using setup = await TestRepository.open();
  const { folder, manifest } = await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z" });
  const run = shortRun(manifest.run);
  const pin = { kept: true, at: "2026-11-02T00:00:00.000Z", reason: "an audit" };
  await storePin(setup.store, { folder, run, pin });
  const take = async (repository: Repository) => {
    const [found] = await Array.fromAsync(takeInventory(repository, { database: DATABASE }));
    return [found?.backups.map((one) => one.run), [...found?.pins ?? []]];
  };
  assertEquals(await take(setup.repository), [[run], [[run, pin]]]);
  const racing = new Repository(setup.expiring(pinName(run)), setup.repository);
  assertEquals(await take(racing), [[run], []]);
});
