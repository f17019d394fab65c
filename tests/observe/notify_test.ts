import { assert, assertEquals, assertGreater, assertLess, assertMatch, assertRejects } from "@std/assert";
import { ProgramError } from "../../src/errors.ts";
import { Notifier, type NotifyOptions, tryNotify } from "../../src/observe/notify.ts";
import { Secret } from "../../src/secret.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeMonitor } from "../fakes/monitor.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";
import { until } from "../until.ts";

const WEEKLY = taskReport("weekly", [databaseReport("a")]);
const FAILED = taskReport("a/b", [databaseReport("b", { status: "failed", error: "No room", exit_code: 11 })]);
const PATH = "/c0ffee00-secret";

function notifier(url: string, part: Partial<NotifyOptions> = {}): Notifier {
  return new Notifier({ url: new Secret(url), kind: "healthchecks", ...part });
}

function teller() {
  const log = new RecordedLog();
  const warnings = () => log.lines.filter(({ level }) => level === "warn").map(({ fields }) => String(fields.warning));
  return { log, run: "run 1", warnings };
}

Deno.test("Notifier pings as healthchecks.io wants it: start, then success or fail, with the summary as body", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url(PATH));
  notify.start(["weekly"], told);
  notify.start(["a/b"], told);
  notify.end(runReport([WEEKLY]), { ...told, isPart: false });
  notify.start(["weekly", "a/b"], told);
  notify.end(runReport([WEEKLY, FAILED]), { ...told, isPart: false });
  await notify.settled();
  assertEquals(monitor.paths, [`${PATH}/start`, PATH, `${PATH}/start`, `${PATH}/fail`]);
  assert(monitor.told.every(({ method }) => method === "POST"));
  assertMatch(monitor.told[1]!.body, /Saved 1 of 1 database in 1m30s/);
  assertMatch(monitor.told[3]!.body, /Failed: 1\n {2}b: No room/);
  assertEquals(told.warnings(), []);
});

Deno.test("Notifier says fail where a full backup has found that those before it have lost documents", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url(PATH));
  const lost = databaseReport("a", { chain_lost: { documents: 1, ids: ["x"] }, warnings: ["It lacks 1 document"] });
  notify.end(runReport([taskReport("weekly", [lost])]), { ...told, isPart: false });
  await notify.settled();
  assertEquals(monitor.paths, [`${PATH}/fail`]);
  assertMatch(monitor.told[0]!.body, /Needs a look:\n {2}a: It lacks 1 document/);
});

Deno.test("Notifier posts JSON to a webhook, with its query and its login", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url("/hook?token=t0ken").replace("//", "//u:p%2Fw@"), { kind: "webhook" });
  notify.start(["weekly"], told);
  notify.end(runReport([FAILED]), { ...told, isPart: false });
  await notify.settled();
  assertEquals(monitor.paths, ["/hook?token=t0ken", "/hook?token=t0ken"]);
  assertEquals(monitor.told[0]?.authorization, `Basic ${btoa("u:p/w")}`);
  const [start, fail] = monitor.told.map(({ body }) => JSON.parse(body));
  assertEquals(start, {
    event: "start",
    ok: null,
    run: "run 1",
    tasks: [{ task: "weekly" }],
    text: "Run run 1 begins: task weekly",
  });
  const { text, ...facts } = fail;
  assertEquals(facts, {
    event: "fail",
    ok: false,
    run: "20260103T180000Z-0123456789ab",
    started_at: "2026-01-03T18:00:00.000Z",
    finished_at: "2026-01-03T18:01:30.000Z",
    tasks: [{ task: "a/b", date: "2026-01-03", databases: 1, saved: 0, failed: ["b"] }],
  });
  assertMatch(text, /b: No room/);
});

Deno.test("Notifier tells each task by itself where the address has {task}", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url("/key/{task}"));
  notify.start(["weekly", "a/b"], told);
  notify.end(runReport([WEEKLY, FAILED]), { ...told, isPart: false });
  await notify.settled();
  const expected = ["/key/weekly/start", "/key/a%2Fb/start", "/key/weekly", "/key/a%2Fb/fail"];
  assertEquals(monitor.paths.toSorted(), expected.toSorted());
});

Deno.test("Notifier lets a run for named databases pass neither for success nor for failure", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url(PATH));
  notify.end(runReport([WEEKLY]), { ...told, isPart: true });
  notify.end(runReport([FAILED]), { ...told, isPart: true });
  await notify.settled();
  assertEquals(monitor.paths, [`${PATH}/log`, `${PATH}/log`]);
});

Deno.test("Notifier says fail for what has begun and was broken off, and nothing for what another machine has", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url("/{task}"));
  notify.start(["mine", "lost"], told);
  notify.leave(["lost"], told);
  notify.breakOff(told);
  notify.breakOff(told);
  await notify.settled();
  assertEquals(monitor.paths.filter((path) => path.endsWith("fail")), ["/mine/fail"]);
});

Deno.test("Notifier tells of a start again when it is another run's, though the one before has no end", async () => {
  await using monitor = new FakeMonitor();
  const notify = notifier(monitor.url(PATH));
  notify.start(["weekly"], { ...teller(), run: "run 1" });
  notify.start(["weekly"], { ...teller(), run: "run 2" });
  await notify.settled();
  assertEquals(monitor.paths, [`${PATH}/start`, `${PATH}/start`]);
});

Deno.test("Notifier sends once more what is refused for the moment, and not what is refused for good", async () => {
  await using monitor = new FakeMonitor();
  const told = teller();
  const notify = notifier(monitor.url(PATH));
  monitor.statuses = [503, 200, 404];
  notify.end(runReport([WEEKLY]), { ...told, isPart: false });
  notify.end(runReport([WEEKLY]), { ...told, isPart: false });
  await notify.settled();
  assertEquals(monitor.paths.length, 3);
  assertMatch(told.warnings().join("\n"), /^Cannot tell "127\.0\.0\.1:\d+" of the run's success: it answered 404$/);
});

Deno.test("Notifier gives up a monitor that never answers, and its start soon when the end follows", () =>
  withTurnsForTime(async () => {
    await using monitor = new FakeMonitor();
    monitor.isSilent = true;
    const told = teller();
    const notify = notifier(monitor.url(PATH), { attemptMs: 400, hurryMs: 20 });
    const begin = performance.now();
    const begun = notify.start(["weekly"], told);
    const ended = notify.end(runReport([WEEKLY]), { ...told, isPart: false });
    assertEquals([begun, ended], [undefined, undefined], "the run has nothing to wait for");
    await notify.settled();
    const took = performance.now() - begin;
    assertGreater(took, 400);
    assertLess(took, 5000);
    assertEquals(told.warnings().map((warning) => warning.replace(/:\d+/, "")), [
      `Cannot tell "127.0.0.1" of the run's start: no answer in time`,
      `Cannot tell "127.0.0.1" of the run's success: no answer in time`,
    ]);
  }));

Deno.test("Notifier.close() says that a run was broken off, and waits no longer than it may for a monitor that is silent", () =>
  withTurnsForTime(async () => {
    await using monitor = new FakeMonitor();
    monitor.isSilent = true;
    const told = teller();
    const notify = notifier(monitor.url(PATH));
    notify.start(["weekly"], told);
    await until(() => monitor.paths.length > 0, "the start is told");
    const begin = performance.now();
    await notify.close({ log: told.log, deadlineMs: 200 });
    assertLess(performance.now() - begin, 2500);
    assertEquals(told.warnings().length, 2);
    assertEquals(monitor.paths[0], `${PATH}/start`);
  }));

Deno.test("no message of Notifier or of check shows more of the address than its host", async () => {
  const told = teller();
  // Nothing listens there: fetch quotes the whole address.
  const url = "http://user:hunter2@127.0.0.1:1/c0ffee00-secret/weekly?token=t0ken";
  const notify = notifier(url);
  notify.end(runReport([WEEKLY]), { ...told, isPart: false });
  await notify.settled();
  const checking = tryNotify({ url: new Secret(url), kind: "webhook" }, {
    tasks: ["weekly"],
    run: "r",
    signal: new AbortController().signal,
  });
  const error = await assertRejects(() => checking, ProgramError);
  const shown = `${told.warnings().join("\n")}\n${error.message}\n${error.stack}`;
  assertMatch(shown, /Cannot tell "127\.0\.0\.1:1" of the run's success: /);
  for (const secret of ["c0ffee", "hunter2", "t0ken", "user:"]) assertEquals(shown.includes(secret), false, shown);
});
