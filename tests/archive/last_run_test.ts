import { assertEquals } from "@std/assert";
import { hasToldLosses, noteLossesTold, readLastRun, storeLastRun } from "../../src/archive/last_run.ts";
import { TestRepository } from "./repository_setup.ts";

Deno.test("noteLossesTold() is remembered by the runs that follow, up to a hundred of them", async () => {
  await using setup = await TestRepository.open();
  const { repository } = setup;
  const at = { finishedAt: "2026-01-03T18:00:00.000Z", databases: ["a"] };
  const last = async () => (await readLastRun(repository, "weekly", {}))!;
  await noteLossesTold(repository, "weekly", { run: "r0", foundBy: ["r0"], ...at });
  assertEquals([(await last()).databases, hasToldLosses(await last(), "r0")], [["a"], true]);
  await storeLastRun(repository, "weekly", { run: "none", finished_at: at.finishedAt, databases: ["b"] });
  assertEquals([hasToldLosses(await last(), "r0"), hasToldLosses(await last(), "none")], [true, false]);
  for (let number = 1; number <= 100; number++) {
    const run = `r${number}`;
    await noteLossesTold(repository, "weekly", { run, foundBy: [run], ...at });
  }
  const { run, databases, losses_told: told } = await last();
  assertEquals([run, databases, told?.length, told?.at(0), told?.at(-1)], ["none", ["b"], 100, "r1", "r100"]);
});
