import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readLastRun, storeLastRun } from "../../src/archive/last_run.ts";
import type { DatabaseReport, RunReport } from "../../src/archive/report.ts";
import { generationOutcomeName, RunFolder } from "../../src/archive/run_folder.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { jsonBytes } from "../../src/json/indented.ts";
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

Deno.test("readReport() says of a report of too many databases that it is one, and what to do", async () => {
  await using setup = await TestRepository.open();
  const folder = new RunFolder(setup.repository, { task: "weekly", elapse: new Date("2026-01-03T18:00:00Z") });
  await setup.write(folder.key, "report.json", "{");
  await Deno.truncate(`${setup.root}/${folder.key}/report.json`, (128 << 20) + 1);
  const error = await assertRejects(() => folder.readReport({}), StoreError, "as one of some 250,000 databases has");
  assertEquals(error.facts.code, "too_large");
  assertStringIncludes(error.hint!, "Let several tasks share the databases");
});

Deno.test("RunFolder reads what it has stored of a hundred thousand databases with long names", async () => {
  await using setup = await TestRepository.open();
  const { repository } = setup;
  const folder = new RunFolder(repository, { task: "weekly", elapse: new Date("2026-01-03T18:00:00Z") });
  // As long as CouchDB lets them be, nearly.
  const names = Array.from({ length: 100_000 }, (_, n) => `account/ab/cd/${String(n).padStart(190, "0")}-202601`);
  const totals = { documents: 1, leaf_revisions: 1, deleted: 0, absent: 0, chunks: 1, bytes: 9, compressed_bytes: 9 };
  const databases = names.map((database): DatabaseReport => ({
    database,
    status: "complete",
    path: `s3://data.example.com/folder/2026/01/03/${database.replaceAll("/", "%2F")}`,
    seconds: 0.123,
    kind: "full",
    backed_up_at: "2026-01-03T18:00:01.312Z",
    ...totals,
  }));
  const moments = { started_at: "2026-01-03T18:00:01.312Z", finished_at: "2026-01-03T21:00:01.312Z" };
  const report: RunReport = {
    ok: true,
    run: "r",
    ...moments,
    tasks: [{ task: "weekly", date: "2026-01-03", databases }],
  };
  await folder.storeReport(report, {});
  assertEquals((await folder.readReport({}))?.tasks[0]?.databases.at(-1), databases.at(-1));
  await setup.write(folder.key, generationOutcomeName(2), new TextDecoder().decode(jsonBytes(report)));
  const { generation, report: outcome } = (await folder.readNewestGeneration({}))!;
  assertEquals([generation, outcome.tasks[0]?.databases.length], [2, names.length]);
  await folder.storePlan(PLAN, names, {});
  assertEquals((await folder.readPlan(PLAN, {})).databases.length, names.length);
  await folder.storeWarnings({ warnings: [], unlisted: names }, {});
  assertEquals((await folder.readWarnings({}))?.unlisted.length, names.length);
  await storeLastRun(repository, "weekly", { run: "r", finished_at: moments.finished_at, databases: names });
  assertEquals((await readLastRun(repository, "weekly", {}))?.databases.length, names.length);

  // What tells of no more than one thing has a smaller bound.
  const [first] = databases;
  await folder.storeOutcome({ ...first!, error: "x".repeat(17 << 20) }, {});
  await assertRejects(() => folder.readOutcome(first!.database, {}), StoreError, "more than 16 MiB");
});
