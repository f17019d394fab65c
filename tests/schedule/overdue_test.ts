import { assert, assertEquals } from "@std/assert";
import { Repository } from "../../src/archive/repository.ts";
import { storeLastRun } from "../../src/archive/last_run.ts";
import { overdueDays } from "../../src/schedule/overdue.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { latestElapse, nextElapses } from "../../src/task/times.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { readTemplate } from "../cloudformation.ts";
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

Deno.test("overdueDays() counts from the first elapse that is not saved, however many have come since", async () => {
  const root = await Deno.makeTempDir();
  const repository = new Repository(new DirectoryStore(root), { prefix: "p", suffix: "s" });
  const last = { run: "r", finished_at: "", databases: [], saved_until: "2026-01-04T06:00:00.000Z" };
  await storeLastRun(repository, "daily", last);
  for (const day of ["05", "06", "07", "08", "09", "10", "11"]) {
    const folder = new RunFolder(repository, { task: "daily", elapse: new Date(`2026-01-${day}T06:00:00Z`) });
    await folder.storeReport(report(false), {});
  }
  const count = (now: string) => overdueDays({ repository, now: () => new Date(now) }, [DAILY]);
  assertEquals(await count("2026-01-11T06:00:00Z"), 6);
  assertEquals(await count("2026-01-11T18:00:00Z"), 6.5);
  // What a run by hand saves counts for every elapse before it.
  await storeLastRun(repository, "daily", { ...last, saved_until: "2026-01-11T12:00:00.000Z" });
  assertEquals(await count("2026-01-11T18:00:00Z"), 0);
  // An instant up to which all is saved never goes back.
  await storeLastRun(repository, "daily", { ...last, saved_until: undefined });
  assertEquals(await count("2026-01-12T18:00:00Z"), 0.5);
  await Deno.remove(root, { recursive: true });
});

const template = await readTemplate();
/** The alarm of template.yaml, as deployed without a change. */
const ALARM_DAYS = Number(template.Parameters.OverdueDays!.Default);
/** How long it has to see so many days. */
const { Period, EvaluationPeriods, Threshold } = template.Resources.BackupIsOverdue!.Properties;
const ALARM_HOURS = Period / 3600 * EvaluationPeriods;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

Deno.test("overdueDays() lets the alarm ring within its days for hourly, daily, weekly and monthly tasks that fail for two months", async () => {
  const crons = {
    hourly: "*-*-* *:00:00 UTC",
    daily: "*-*-* 06:00:00 UTC",
    weekly: "Sat *-*-* 18:00:00 UTC",
    monthly: "*-*-01 00:00:00 UTC",
  };
  const begin = Date.parse("2026-01-31T22:30:00Z");
  const table: Record<string, (string | number)[]> = {};
  for (const [name, cron] of Object.entries(crons)) {
    for (const history of ["saved before", "never saved", "saved by version 1"]) {
      const root = await Deno.makeTempDir();
      const repository = new Repository(new DirectoryStore(root), { prefix: "p", suffix: "s" });
      const one = task(name, { cron });
      const finish = async (elapse: Date, ok: boolean) => {
        await new RunFolder(repository, { task: name, elapse }).storeReport(report(ok), {});
      };
      if (history === "saved before") {
        const saved_until = new Date(begin).toISOString();
        await storeLastRun(repository, name, { run: "r", finished_at: "", databases: [], saved_until });
      }
      if (history === "saved by version 1") {
        for (const elapse of nextElapses(one, { after: new Date(begin - 70 * DAY_MS), count: 3 })) {
          await finish(elapse, true);
        }
        await finish(latestElapse(one, new Date(begin))!, true);
      }
      const [first] = nextElapses(one, { after: new Date(begin), count: 1 });
      const lateFrom = first!.getTime();
      let rungAt: number | undefined;
      let before = 0;
      const course: (string | number)[] = [];
      const failed = new Set<number>();
      // From the first elapse that fails on, every twelve hours; an alarm asks more often, and sees nothing else.
      for (let at = lateFrom; at <= lateFrom + 60 * DAY_MS; at += 12 * HOUR_MS) {
        for (const elapse of [latestElapse(one, new Date(at))!, latestElapse(one, new Date(at - 3 * HOUR_MS))!]) {
          if (elapse.getTime() < lateFrom || failed.has(elapse.getTime())) continue;
          failed.add(elapse.getTime());
          await finish(elapse, false);
        }
        const days = await overdueDays({ repository, now: () => new Date(at) }, [one]);
        assert(days >= before, `${name}, ${history}: ${days} after ${before}`);
        before = days;
        if (days >= ALARM_DAYS) rungAt ??= (at - lateFrom) / DAY_MS;
        if ([0, 1, 2, 3, 7, 30, 60].some((day) => at === lateFrom + day * DAY_MS)) course.push(days);
      }
      assertEquals(rungAt, ALARM_DAYS, `${name}, ${history}`);
      table[`${name}, ${history}`] = course;
      await Deno.remove(root, { recursive: true });
    }
  }
  for (const [row, course] of Object.entries(table)) assertEquals(course, [0, 1, 2, 3, 7, 30, 60], row);
  // docs/lambda.md has the table.
  assertEquals(Threshold, { Ref: "OverdueDays" });
  const page = await Deno.readTextFile(new URL("../../docs/lambda.md", import.meta.url));
  const rows = page.slice(page.indexOf("| days since the first elapse")).split("\n").slice(2, 6);
  assertEquals(
    rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim())),
    Object.keys(crons).map((name) => [
      `${name === "hourly" ? "an" : "a"} ${name} task`,
      ...table[`${name}, saved before`]!.map(String),
      `${ALARM_DAYS} days, ${ALARM_HOURS} hours`,
    ]),
  );
});
