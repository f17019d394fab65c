import { assertEquals } from "@std/assert";
import { dateZone, latestElapse, nextElapses, scheduleZone } from "../../src/task/times.ts";
import { task } from "../fakes/task.ts";

const AT = new Date("2026-01-03T17:00:00Z");

Deno.test("latestElapse() includes the very instant, and is none for a task without a schedule", () => {
  const saturdays = task("t", { cron: "Sat *-*-1..7 18:00", timezone: "Europe/Berlin" });
  assertEquals(latestElapse(saturdays, AT), AT);
  assertEquals(latestElapse(saturdays, new Date(AT.getTime() - 1)), new Date("2025-12-06T17:00:00Z"));
  assertEquals(latestElapse(task("t"), AT), undefined);
  assertEquals(latestElapse(task("t", { cron: "2199-01-01" }), AT), undefined);
});

Deno.test("nextElapses() begins behind the instant and ends with the schedule", () => {
  const hourly = task("t", { cron: "hourly", timezone: "UTC" });
  assertEquals(nextElapses(hourly, { after: AT, count: 2 }), [
    new Date("2026-01-03T18:00:00Z"),
    new Date("2026-01-03T19:00:00Z"),
  ]);
  const twice = task("t", { cron: "2026-01-02..04 UTC" });
  assertEquals(nextElapses(twice, { after: AT, count: 5 }), [new Date("2026-01-04T00:00:00Z")]);
  assertEquals(nextElapses(task("t"), { after: AT, count: 1 }), []);
});

Deno.test("scheduleZone() prefers the expression's zone, dateZone() the task's, and both know the machine's", () => {
  const zones = (part: Parameters<typeof task>[1]) => [scheduleZone(task("t", part)), dateZone(task("t", part))];
  assertEquals(zones({ cron: "daily Asia/Tokyo", timezone: "Europe/Berlin" }), ["Asia/Tokyo", "Europe/Berlin"]);
  assertEquals(zones({ cron: "daily Asia/Tokyo" }), ["Asia/Tokyo", "Asia/Tokyo"]);
  assertEquals(zones({ cron: "daily", timezone: "Europe/Berlin" }), ["Europe/Berlin", "Europe/Berlin"]);
  assertEquals(zones({ cron: "daily", tz: ":Asia/Tokyo" }), ["Asia/Tokyo", "Asia/Tokyo"]);
  assertEquals(zones({ cron: "daily Europe/Berlin", tz: "no zone" }), ["Europe/Berlin", "Europe/Berlin"]);
  // Intl has no name where /etc/localtime leads nowhere; the clock is that of UTC then.
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone as string | undefined ?? "UTC";
  assertEquals(zones({ cron: "daily" }), [local, local]);
});
