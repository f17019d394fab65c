import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { TestRepository } from "./repository_setup.ts";

const PLAN = { scope: "all", generation: 1 } as const;

Deno.test("readPlan() gives what was planned, and names a plan that is damaged", async () => {
  await using setup = await TestRepository.open();
  const folder = new RunFolder(setup.repository, { task: "weekly", elapse: new Date("2026-01-03T18:00:00Z") });
  const missing = await assertRejects(() => folder.readPlan(PLAN, {}), StoreError);
  assertEquals(missing.facts.code, "not_found");
  const key = await folder.storePlan(PLAN, ["a/b", "orders"], {});
  assertEquals((await folder.readPlan(PLAN, {})).databases, ["a/b", "orders"]);
  for (const text of ['[{"database":"a', "{}", '[{"database":1}]', ""]) {
    await setup.write("", key, text);
    const error = await assertRejects(() => folder.readPlan(PLAN, {}), ArchiveError, `Cannot use the plan "${key}"`);
    assertEquals(error.facts.key, key);
    assertStringIncludes(error.hint!, "plan");
  }
});
