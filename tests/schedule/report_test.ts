import { hintForFile } from "../../src/cli/output_file.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { compactInstant } from "../../src/archive/layout.ts";
import { Repository } from "../../src/archive/repository.ts";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { formatReportPage } from "../../src/observe/report_page.ts";
import { readReport } from "../../src/schedule/report.ts";
import { openStore } from "../../src/store/open.ts";
import { openSession } from "../../src/session/open.ts";
import { runScheduled } from "../../src/schedule/due.ts";
import { runAtOnce } from "../../src/schedule/rounds.ts";
import { couchOk } from "../couch_request.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";
import { task } from "../fakes/task.ts";
import { setUpScheduled } from "./due_setup.ts";
import { farAway } from "../store/far_away.ts";
import { withArchived } from "../store/archived.ts";
import { main } from "../../src/cli/cli.ts";
import { outputTo } from "../fakes/output.ts";

const NEVER = new AbortController().signal;

Deno.test("readReport() tells each day of each database: full, unchanged, incremental, failed, late", async () => {
  await using couch = await startFakeCouchDb();
  for (const name of ["a", "b"]) await createDatabase(couch, name, idsOf(5));
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-report-" });
  try {
    const text = `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {daily: {cron: "*-*-* 02:00 UTC", databases: [a, b, c], timezone: UTC, incremental: true}}
bucket: ${folder}/bucket
`;
    const config = parseConfig(text, { file: "c", env: { XDG_STATE_HOME: folder } });
    let at = new Date("2026-11-20T02:00:10Z");
    const now = () => at;
    await using session = await openSession({ config, now, log: new RecordedLog() });
    const runAt = async (moment: string) => {
      at = new Date(moment);
      const run = crypto.randomUUID();
      return await runScheduled({ ...await session.with({ run }).context(), host: "h", pid: 1 }, config.tasks);
    };
    assertEquals((await runAt("2026-11-20T02:00:10Z")).ok, true);
    await couchOk(couch, "PUT /b/new", { x: 1 });
    await createDatabase(couch, "c", idsOf(1));
    couch.faults.add({ endpoint: "_bulk_get", database: "c", times: 1000, fault: { kind: "status", status: 404 } });
    assertEquals((await runAt("2026-11-21T02:00:10Z")).ok, false);
    // Nobody looks on the 22nd.
    at = new Date("2026-11-23T01:00:00Z");
    const { repository } = session;
    const report = await readReport({ repository, now, signal: NEVER }, config.tasks, { days: 5 });

    assertEquals([report.from, report.to, report.ok], ["2026-11-19", "2026-11-23", false]);
    assertEquals(report.databases.map(({ database, days }) => [database, days]), [
      ["a", ".f=l."],
      ["b", ".fil."],
      ["c", ".2x.2"],
    ]);
    assertEquals(
      report.databases.map(({ depth, documents, backups, last }) => [depth, documents, backups, last?.slice(0, 10)]),
      [
        [0, 5, 2, "2026-11-21"],
        [1, 5, 2, "2026-11-21"],
        [0, null, 0, undefined],
      ],
    );
    assertEquals(report.databases.map(({ sizes }) => sizes.length), [1, 1, 0]);

    // Somebody has deleted a day, and of another database everything.
    await Deno.remove(`${folder}/bucket/2026/11/21/b`, { recursive: true });
    for (const day of ["20", "21"]) await Deno.remove(`${folder}/bucket/2026/11/${day}/a`, { recursive: true });
    const after = await readReport({ repository, now, signal: NEVER }, config.tasks, { days: 5 });
    assertEquals(
      after.databases.map(({ database, days, depth, backups, last }) => [database, days, depth, backups, last]),
      [
        ["a", ".5", 0, 0, null],
        ["b", ".f.l.", 0, 1, report.databases[1]!.last!.replace("11-21", "11-20")],
        ["c", ".2x.2", 0, 0, null],
      ],
    );
    const { complete, unchanged, failed } = report.by_day;
    assertEquals([complete, unchanged, failed], [[0, 2, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]);
    const [task] = report.tasks;
    assertEquals(task?.runs.map((run) => [run.at.slice(0, 10), run.ok, run.databases, run.failed]), [
      ["2026-11-21", false, 3, 1],
      ["2026-11-20", true, 2, 0],
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readReport() tells every day on which nobody ran a task, however often a day it elapses", async () => {
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "a", idsOf(1));
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-report-" });
  try {
    const text = `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {often: {cron: "hourly", databases: [a], timezone: UTC}}
bucket: ${folder}/bucket
`;
    const config = parseConfig(text, { file: "c", env: { XDG_STATE_HOME: folder } });
    let at = new Date("2026-09-01T12:00:10Z");
    const now = () => at;
    await using session = await openSession({ config, now, log: new RecordedLog() });
    for (const moment of ["2026-09-01T12:00:10Z", "2026-11-19T12:00:10Z"]) {
      at = new Date(moment);
      const run = crypto.randomUUID();
      await runScheduled({ ...await session.with({ run }).context(), host: "h", pid: 1 }, config.tasks);
    }
    at = new Date("2026-11-20T00:00:00Z");
    const daysOf = async (days: number) => {
      const { databases } = await readReport({ repository: session.repository, now, signal: NEVER }, config.tasks, {
        days,
      });
      return databases[0]?.days;
    };
    assertEquals(await daysOf(82), ".f" + "l78" + "fl");
    // The first elapse of the first day is one of them.
    assertEquals(await daysOf(1), "l");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("report writes its page with mode 0600, prints it without --output, and the facts with --json", async () => {
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "media", idsOf(3));
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-report-" });
  try {
    const config = `${folder}/config.yaml`;
    const text = `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {databases: [media]}}
bucket: ${folder}/bucket
`;
    await Deno.writeTextFile(config, text);
    const run = async (...args: string[]) => {
      let out = "", err = "";
      const shell = {
        env: { XDG_STATE_HOME: folder },
        journal: false,
        stdout: outputTo((text) => void (out += text)),
        stderr: outputTo((text) => void (err += text)),
        onSignal: () => () => {},
        exit: (code: number): never => {
          throw new Error(String(code));
        },
      };
      const code = await main([...args, "--quiet"], shell);
      return { code, out, err };
    };
    const day = () => new Date().toISOString().slice(0, 10);
    const dayOfBackup = day();
    assertEquals((await run("backup", config)).code, 0);
    const path = `${folder}/report.html`;
    const made = await run("report", config, "--output", path);
    assertEquals([made.code, made.out.replace(/\d+ kB/, "N kB")], [0, `"${path}": 1 database, N kB\n`]);
    const page = await Deno.readTextFile(path);
    assertStringIncludes(page, "<td>weekly</td>");
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    assertEquals((await run("report", config, "--output", path)).code, 0, "it is replaced");
    assertEquals((await run("report", config, "--days", "7")).out.slice(0, 15), "<!doctype html>");
    const { databases } = JSON.parse((await run("report", config, "--json", "--days", "7")).out);
    const [one, ...others] = databases as { database: string; days: string }[];
    assertEquals([one?.database, others], ["media", []]);
    // Midnight may have passed since.
    assert(one?.days === ".6f" || (day() !== dayOfBackup && one?.days === ".5f."), one?.days);
    const { tasks: [task], bucket } = parseConfig(text, { file: config, env: {} });
    const repository = new Repository(await openStore(bucket), { prefix: "", suffix: "" });
    const failed = taskReport("weekly", [
      databaseReport("x", { status: "failed", error: "try couchdb-backup verify x" }),
    ]);
    const elapse = new Date(Math.ceil(Date.now() / 1000) * 1000);
    await new RunFolder(repository, { task: task!.name, elapse }).storeReport(runReport([failed]), {});
    const printed = (await run("report", config)).out;
    assertEquals((await run("report", config, "--output", path)).code, 0);
    const told = (page: string) => /<ul><li><b>x<\/b>.*?<\/ul>/.exec(page)?.[0];
    assertEquals(told(printed), "<ul><li><b>x</b> try couchdb-backup verify x</li></ul>");
    assertEquals(told(printed), told(await Deno.readTextFile(path)));
    assertEquals((await run("report", config, "--days", "0")).code, 2);
    const refused = await run("report", config, "--output", `${folder}/none/report.html`);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.err, "Cannot write the report to");
    assertStringIncludes(refused.err, "you must be allowed to write there");
    const long = await run("report", config, "--output", `${folder}/${"x".repeat(300)}.html`);
    assertStringIncludes(long.err, "Name a file whose name is shorter");
    assertEquals(hintForFile(Object.assign(new Error(), { code: "ENOSPC" })).startsWith("Make room on the disk"), true);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readReport() reports of a task that has run every minute for three months", async () => {
  await using setup = await TestRepository.open();
  const first = Date.parse("2026-06-01T00:00:00Z");
  const often = task("often", { databases: ["a"], cron: "*:* UTC", timezone: "UTC" });
  const { repository } = setup;
  const store = new Proxy(setup.store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      if (name !== "list") return member.bind(target);
      return async function* (key: string, ...options: unknown[]) {
        if (key !== repository.taskFolder("often")) return yield* member.call(target, key, ...options);
        for (let minute = 0; minute < 130_000; minute++) {
          yield { kind: "folder", name: compactInstant(new Date(first + minute * 60_000)) };
        }
      };
    },
  });
  const context = { repository: new Repository(store, repository), now: () => new Date("2026-10-01T12:00:00Z") };
  const { tasks } = await readReport(context, [often], { days: 2 });
  assertEquals(tasks.map(({ task, runs }) => [task, runs]), [["often", []]]);
});

Deno.test("readReport() tells of a run that a Lambda was asked for that it was by hand, and of an earlier schedule's that it was not", async () => {
  await using setup = await setUpScheduled("file://", { a: 1 });
  const daily = task("daily", { databases: ["a"], cron: "02:00 UTC", timezone: "UTC" });
  let at = new Date("2026-11-20T02:00:00Z");
  const machine = () => setup.machine(crypto.randomUUID(), { now: () => at });
  const earlier = { ...daily, calendar: task("daily", { databases: ["a"], cron: "01:00 UTC" }).calendar };
  for (const moment of ["2026-11-20T01:30:00Z", "2026-11-21T02:10:00Z"]) {
    at = new Date(moment);
    await runScheduled(machine(), [moment.includes("20T") ? earlier : daily]);
  }
  // Nobody looks on the 22nd and 23rd, and somebody runs the task by hand on one of them.
  at = new Date("2026-11-22T09:00:00Z");
  await runAtOnce(machine(), { task: daily, elapse: at, scope: "all" });
  at = new Date("2026-11-24T01:00:00Z");
  const { repository } = machine();
  const { tasks, databases } = await readReport({ repository, now: () => at }, [daily], { days: 5 });
  assertEquals(tasks[0]!.runs.map(({ at, by_hand }) => [at.slice(0, 16), by_hand]), [
    ["2026-11-22T09:00", true],
    ["2026-11-21T02:00", false],
    ["2026-11-20T01:00", false],
  ]);
  assertEquals(databases.map(({ days }) => days), ["f3l."]);
});

Deno.test("readReport() tells each day on which a database was not saved, once", async () => {
  await using setup = await TestRepository.open();
  const { repository } = setup;
  const hourly = task("hourly", { databases: ["a"], cron: "hourly UTC", timezone: "UTC" });
  for (const moment of ["2026-09-01T22:00:00Z", "2026-09-01T23:00:00Z", "2026-09-03T00:00:00Z"]) {
    const failed = databaseReport("a", { status: "failed", error: "no" });
    const folder = new RunFolder(repository, { task: "hourly", elapse: new Date(moment) });
    await folder.storeReport(runReport([taskReport("hourly", [failed])]), {});
  }
  const now = () => new Date("2026-09-03T00:30:00Z");
  const { databases, by_day } = await readReport({ repository, now }, [hourly], { days: 3 });
  assertEquals([databases.map(({ days }) => days), by_day.failed], [["x.x"], [1, 0, 1]]);
});

for (const [databases, atOnce] of [[1, 8], [5000, 2]] as const) {
  Deno.test(`readReport() reads ${atOnce} runs of ${databases} databases at once of a store far away, and tells of them the latest first`, async () => {
    await using setup = await TestRepository.open();
    const daily = task("daily", { databases: ["a"], cron: "daily UTC", timezone: "UTC" });
    const days = Array.from({ length: 20 }, (_, day) => new Date(Date.UTC(2026, 8, day + 1)));
    const reports = Array.from({ length: databases }, (_, number) => databaseReport(`a${number}`));
    for (const elapse of days) {
      const folder = new RunFolder(setup.repository, { task: "daily", elapse });
      await folder.storeReport(runReport([taskReport("daily", reports)]), {});
    }
    // The latest one is also read alone, for the status.
    const holds = (call: string, key: string) => call === "read" && /(?<!\/20260920T000000Z)\/report\.json$/.test(key);
    const far = farAway(setup.store, 1, { count: atOnce, holds });
    const now = () => new Date("2026-09-20T12:00:00Z");
    const { tasks } = await readReport({ repository: new Repository(far.store, setup.repository), now }, [daily], {
      days: 20,
    });
    assertEquals(far.mostReading(), atOnce);
    assertEquals(tasks[0]!.runs.map(({ at }) => at), days.toReversed().map((day) => day.toISOString()));
  });
}

Deno.test("readReport() reads one run after the other where the last one does not tell how large they are", async () => {
  await using setup = await TestRepository.open();
  const daily = task("daily", { databases: ["a"], cron: "daily UTC", timezone: "UTC" });
  for (const day of [1, 2, 3, 4, 5, 6]) {
    const folder = new RunFolder(setup.repository, { task: "daily", elapse: new Date(Date.UTC(2026, 8, day)) });
    await folder.storeReport(runReport([taskReport("daily", [databaseReport("a")])]), {});
    if (day === 6) await setup.store.replace(`${folder.key}/report.json`, new TextEncoder().encode("{"), {});
  }
  const far = farAway(setup.store, 5);
  const context = {
    repository: new Repository(far.store, setup.repository),
    now: () => new Date("2026-09-06T12:00:00Z"),
  };
  const { tasks: [told] } = await readReport(context, [daily], { days: 6 });
  assertEquals([told?.databases, told?.runs.length], [null, 5]);
  // The status alone may read two objects at once.
  assert(far.mostReading() <= 2, `${far.mostReading()} objects were read at once`);
});

Deno.test("readReport() counts the runs whose reports cannot be read, and tells of the others", async () => {
  await using setup = await TestRepository.open();
  const daily = task("daily", { databases: ["a"], cron: "daily UTC", timezone: "UTC" });
  for (const day of [1, 2, 3, 4]) {
    const folder = new RunFolder(setup.repository, { task: "daily", elapse: new Date(Date.UTC(2026, 8, day)) });
    await folder.storeReport(runReport([taskReport("daily", [databaseReport("a")])]), {});
    if (day === 2) await setup.store.replace(`${folder.key}/report.json`, new TextEncoder().encode("{"), {});
  }
  const archived = withArchived(setup.store, (url) => url.includes("20260901"));
  const context = {
    repository: new Repository(archived, setup.repository),
    now: () => new Date("2026-09-04T00:30:00Z"),
  };
  const report = await readReport(context, [daily], { days: 5 });
  const [told] = report.tasks;
  assertEquals([told?.runs.map(({ at }) => at.slice(8, 10)), told?.runs_unread], [["04", "03"], 2]);
  assertStringIncludes(formatReportPage(report), "The reports of 2 runs cannot be read");
});
