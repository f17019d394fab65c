import { assertEquals } from "@std/assert";
import { hasToldLosses, noteLossesTold, noteSaved, readLastRun, storeLastRun } from "../../src/archive/last_run.ts";
import { Repository } from "../../src/archive/repository.ts";
import { withArchived } from "../store/archived.ts";
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

Deno.test("storeLastRun() and noteSaved() write over what the last run has left in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const { repository } = setup;
  const last = { run: "r1", finished_at: "2026-01-03T18:00:00.000Z", databases: ["a"] };
  const saved = { run: "r2", finishedAt: last.finished_at, databases: ["b"], elapse: new Date("2026-01-03T06:00:00Z") };
  let isArchived = true;
  const archived = new Repository(withArchived(repository.store, (url) => isArchived && url.endsWith("last.json")), {
    prefix: "backup",
    suffix: "couchdb",
  });
  await storeLastRun(archived, "weekly", last);
  await noteSaved(archived, "monthly", saved);
  isArchived = false;
  assertEquals((await readLastRun(archived, "weekly", {}))?.databases, ["a"]);
  assertEquals((await readLastRun(archived, "monthly", {}))?.saved_until, "2026-01-03T06:00:00.000Z");
});
