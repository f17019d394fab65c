import { assertEquals, assertLessOrEqual, assertRejects, assertThrows } from "@std/assert";
import { InterruptedError, UsageError } from "../../src/errors.ts";
import { checkSchedules, followSchedule, type Look, nextOfAll } from "../../src/schedule/resident.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import { wait } from "../../src/abort.ts";

const HOUR_MS = 3_600_000;
const TASKS = [task("nightly", { cron: "*-*-* 02:00 UTC" }), task("noon", { cron: "*-*-* 12:00 UTC" }), task("hand")];

const NOTHING_LEFT: Look = { isUnsettled: false, retryAt: undefined };

/** A scheduler on a clock of its own, which moves while it sleeps. */
class FakeDays {
  readonly end = new AbortController();
  readonly log = new RecordedLog();
  readonly runs: string[] = [];
  readonly sleeps: number[] = [];
  clock: number;

  constructor(from: string) {
    this.clock = Date.parse(from);
  }

  /** Lives until `runs` runs have begun. `during` happens within a run, `asleep` within a sleep. */
  async follow(
    runs: number,
    { during, asleep }: { during?: (run: number) => Partial<Look> | void; asleep?: (sleep: number) => void } = {},
  ): Promise<string[]> {
    await followSchedule({
      tasks: TASKS,
      log: this.log,
      end: this.end.signal,
      now: () => new Date(this.clock),
      runDue: () => {
        this.runs.push(new Date(this.clock).toISOString());
        if (this.runs.length === runs) this.end.abort();
        return Promise.resolve({ ...NOTHING_LEFT, ...during?.(this.runs.length) });
      },
      sleep: (ms) => {
        this.sleeps.push(ms);
        this.clock += ms;
        asleep?.(this.sleeps.length);
        return Promise.resolve();
      },
    });
    return this.runs.map((time) => time.slice(5, 16));
  }
}

Deno.test("followSchedule() looks at once and then at each elapse, and never sleeps longer than a minute", async () => {
  const days = new FakeDays("2026-01-01T00:00:30Z");
  assertEquals(await days.follow(4), ["01-01T00:00", "01-01T02:00", "01-01T12:00", "01-02T02:00"]);
  assertLessOrEqual(Math.max(...days.sleeps), 60_000);
  assertEquals(days.log.events("info").length, 4);
});

Deno.test("followSchedule() finds an elapse within a minute of waking from a suspension that slept past it", async () => {
  const days = new FakeDays("2026-01-01T00:00:00Z");
  const asleep = (sleep: number) => {
    if (sleep === 10) days.clock += 5 * HOUR_MS;
  };
  assertEquals(await days.follow(2, { asleep }), ["01-01T00:00", "01-01T05:10"]);
});

Deno.test("followSchedule() takes a clock that is set back for what it is, and does not wait for the time it showed", async () => {
  const days = new FakeDays("2036-01-01T00:00:00Z");
  const asleep = (sleep: number) => {
    if (sleep === 3) days.clock = Date.parse("2026-01-01T00:00:00Z");
  };
  assertEquals(await days.follow(3, { asleep }), ["01-01T00:00", "01-01T00:00", "01-01T02:00"]);
  assertEquals(days.runs.at(-1), "2026-01-01T02:00:00.000Z");
});

Deno.test("followSchedule() runs after a long run what became due meanwhile", async () => {
  const days = new FakeDays("2026-01-01T01:00:00Z");
  const during = (run: number) => {
    if (run === 2) days.clock += 11 * HOUR_MS;
  };
  assertEquals(await days.follow(4, { during }), ["01-01T01:00", "01-01T02:00", "01-01T13:00", "01-02T02:00"]);
});

Deno.test("followSchedule() looks again after five minutes at what another machine has in hand", async () => {
  const days = new FakeDays("2026-01-01T01:52:00Z");
  assertEquals(await days.follow(4, { during: (run) => ({ isUnsettled: run < 3 }) }), [
    "01-01T01:52",
    "01-01T01:57",
    "01-01T02:00",
    "01-01T12:00",
  ]);
});

Deno.test("followSchedule() looks when what failed is to be tried again, and at the next elapse where that is sooner", async () => {
  const days = new FakeDays("2026-01-01T01:30:00Z");
  const during = (run: number) => ({ retryAt: [1, 2, 59].map((m) => new Date(days.clock + m * 60_000))[run - 1] });
  assertEquals(await days.follow(5, { during }), [
    "01-01T01:30",
    "01-01T01:31",
    "01-01T01:33",
    "01-01T02:00",
    "01-01T12:00",
  ]);
});

Deno.test("followSchedule() stops sleeping when it is told to end, and hands on what a run throws", async () => {
  const end = new AbortController();
  const waiting = followSchedule({
    tasks: TASKS,
    log: new RecordedLog(),
    end: end.signal,
    now: () => new Date(),
    runDue: () => Promise.resolve(NOTHING_LEFT),
    sleep: (ms, signal) => {
      const sleeping = wait(ms, signal);
      end.abort(new InterruptedError("end"));
      return sleeping;
    },
  });
  await waiting;
  const days = new FakeDays("2026-01-01T01:00:00Z");
  const failing = () => {
    throw new InterruptedError("amid a run");
  };
  await assertRejects(() => days.follow(2, { during: failing }), InterruptedError, "amid a run");
});

Deno.test("followSchedule() ends when nothing will ever be due again", async () => {
  const log = new RecordedLog();
  await followSchedule({
    tasks: [task("once", { cron: "2026-01-01 UTC" })],
    log,
    end: new AbortController().signal,
    now: () => new Date("2026-01-02T00:00:00Z"),
    runDue: () => Promise.resolve(NOTHING_LEFT),
  });
  assertEquals(log.events("warn"), ["no task will be due again"]);
});

Deno.test("checkSchedules() refuses tasks of which none is or will be due, and in place of others those that are over", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const over = [task("a"), task("b", { cron: "2025-01-01 UTC" })];
  assertThrows(() => checkSchedules([task("a")], { now }), UsageError, "No task");
  assertThrows(() => checkSchedules([task("a")], { now, before: over }), UsageError, "No task");
  assertThrows(() => checkSchedules(over, { now, before: TASKS }), UsageError, "No task");
  // What was due once may have yet to be saved, and a new config may have the password that the old one lacked.
  checkSchedules(over, { now });
  checkSchedules(over, { now, before: over });
  checkSchedules(TASKS, { now });
  checkSchedules(TASKS, { now, before: TASKS });
  assertEquals(nextOfAll(TASKS, now)?.task.name, "nightly");
});
