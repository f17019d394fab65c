import { assertEquals } from "@std/assert";
import { exitCodeOfReport, tellsOf } from "../../src/archive/report.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";

const saved = databaseReport("a");
const failed = (exit_code: number) => databaseReport("b", { status: "failed", error: "x", exit_code });

Deno.test("exitCodeOfReport() is 0, 3, or the code of the one cause for which nothing was saved", () => {
  const cases: [what: string, report: ReturnType<typeof runReport>, code: number][] = [
    ["all saved", runReport([taskReport("t", [saved, databaseReport("c", { status: "resumed" })])]), 0],
    ["one failed", runReport([taskReport("t", [saved, failed(10)])]), 3],
    ["one failed in another task", runReport([taskReport("t", [saved]), taskReport("u", [failed(11)])]), 3],
    ["all failed at CouchDB", runReport([taskReport("t", [failed(10), failed(10)])]), 10],
    ["all failed at the store", runReport([taskReport("t", [failed(11)]), taskReport("u", [failed(11)])]), 11],
    ["all failed for different causes", runReport([taskReport("t", [failed(10), failed(11)])]), 3],
    ["all failed for a defect", runReport([taskReport("t", [failed(1)])]), 3],
    ["nothing was selected", runReport([taskReport("t", [], 'Task "t" selects no database')]), 3],
    ["one task selected nothing", runReport([taskReport("t", [saved]), taskReport("u", [], "none")]), 3],
    ["a task failed before its first database", runReport([{ ...taskReport("t", [], "x"), exit_code: 10 }]), 10],
    [
      "one task did, another saved",
      runReport([{ ...taskReport("t", [], "x"), exit_code: 10 }, taskReport("u", [saved])]),
      3,
    ],
    ["nothing had to be done", runReport([taskReport("t", [])]), 0],
  ];
  for (const [what, report, code] of cases) assertEquals(exitCodeOfReport(report), code, what);
});

Deno.test("tellsOf() is false of other months' databases where backup_only_previous has dated a run back", () => {
  const at = new Date("2026-11-07T18:00:00Z");
  const cases: [date: string, database: string, tells: boolean][] = [
    ["2026-10-07", "account/ab-202610", true],
    ["2026-10-07", "account/ab-202609", false],
    ["2026-10-07", "account/ab", true],
    ["2026-11-07", "account/ab-202609", true],
    // The day before or behind, in another zone.
    ["2026-11-06", "account/ab-202609", true],
    ["2026-11-08", "account/ab-202609", true],
  ];
  for (const [date, database, tells] of cases) {
    assertEquals(tellsOf({ date }, { at, database }), tells, database + date);
  }
});
