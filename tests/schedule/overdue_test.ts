import { assertEquals } from "@std/assert";
import { Repository } from "../../src/archive/repository.ts";
import { overdueDays } from "../../src/schedule/overdue.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { task } from "../fakes/task.ts";

const DAILY = task("daily", { cron: "*-*-* 06:00:00 UTC" });
const MONTHLY = task("monthly", { cron: "*-*-01 00:00:00 UTC" });
const NOW = new Date("2026-01-11T12:00:00Z");

function report(ok: boolean): RunReport {
  return { ok, run: "r", started_at: "", finished_at: "", tasks: [] };
}

Deno.test("overdueDays() counts from the oldest elapse whose run has not saved everything", async () => {
  const root = await Deno.makeTempDir();
  const repository = new Repository(new DirectoryStore(root), { prefix: "p", suffix: "s" });
  const context = { repository, now: () => NOW };
  const finish = async (name: string, elapse: string, ok: boolean) => {
    const folder = new RunFolder(repository, { task: name, elapse: new Date(elapse) });
    await folder.storeReport(report(ok), {});
  };
  const count = () => overdueDays(context, [DAILY, MONTHLY, task("by hand")]);

  assertEquals(await count(), 10.5);
  await finish("monthly", "2026-01-01T00:00:00Z", true);
  assertEquals(await count(), 0.25);
  await finish("daily", "2026-01-10T06:00:00Z", true);
  assertEquals(await count(), 0.25, "yesterday's run is none of today's");
  await finish("daily", "2026-01-11T06:00:00Z", false);
  assertEquals(await count(), 0.25, "a run that did not save everything counts as late");
  await finish("daily", "2026-01-11T06:00:00Z", true);
  assertEquals(await count(), 0);
  assertEquals(await overdueDays(context, []), 0);
  await Deno.remove(root, { recursive: true });
});
