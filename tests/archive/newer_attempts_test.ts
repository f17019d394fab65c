/** What later runs say of the newest backup of a database, for who is about to take it for the newest state. */
import { assertEquals } from "@std/assert";
import { findArchive } from "../../src/archive/find.ts";
import { lastSelections } from "../../src/archive/moment.ts";
import { storeManualRun } from "../../src/archive/manual_run.ts";
import type { DatabaseReport, RunReport } from "../../src/archive/report.ts";
import { RunFolder } from "../../src/archive/run_folder.ts";
import { StoreError } from "../../src/errors.ts";
import { openStore } from "../../src/store/open.ts";
import { RecordedLog } from "../fakes/log.ts";
import { databaseReport } from "../fakes/report.ts";
import { DATABASE, TestRepository } from "./repository_setup.ts";

const NOW = new Date("2026-11-28T03:00:00Z");
const TAKEN = "2026-11-21T18:04:00Z";

interface RunOf {
  at: string;
  /** @default at */
  startedAt?: string;
  /** @default at */
  finishedAt?: string;
  task?: string;
  run?: string;
  error?: string;
  databases?: DatabaseReport[];
}

function reportOf(
  { at, startedAt = at, finishedAt = at, task = "weekly", run = crypto.randomUUID(), error, databases = [] }: RunOf,
): RunReport {
  const part = { task, date: at.slice(0, 10), databases, ...error === undefined ? {} : { error } };
  return { ok: error === undefined, run, started_at: startedAt, finished_at: finishedAt, tasks: [part] };
}

async function caveatsOf(place: TestRepository, path = "latest"): Promise<readonly string[] | undefined> {
  const { repository, log, signal } = place;
  const context = { repository, openStore: (bucket: string) => openStore({ bucket }), log, signal, now: () => NOW };
  const { caveats } = await findArchive(context, path, DATABASE);
  assertEquals(log.events("warn"), (caveats ?? []).map(() => "backup is older than the last attempt"));
  log.lines.length = 0;
  return caveats;
}

const failed = (error = "CouchDB answered 500") => databaseReport(DATABASE, { status: "failed", error });
const SENTENCE = `The backup of ${TAKEN} is taken`;

Deno.test("findArchive() says of latest which later runs did not save the database, and when", async () => {
  const cases: [what: string, runs: RunOf[], caveats: string[], byHand?: boolean][] = [
    ["no run at all", [], []],
    ["the run that made it", [{ at: "2026-11-21T18:00:00Z", databases: [databaseReport(DATABASE)] }], []],
    ["a run before it that failed", [{ at: "2026-11-14T18:00:00Z", databases: [failed()] }], []],
    ["the last run failed for it", [{ at: "2026-11-28T02:00:00Z", databases: [failed()] }], [
      `The run of the task "weekly" of 2026-11-28T02:00:00Z did not save "a/b": CouchDB answered 500. ${SENTENCE}`,
    ]],
    ["a run by hand failed for it", [{ at: "2026-11-28T02:00:00Z", databases: [failed()] }], [
      `The run of the task "weekly" of 2026-11-28T02:00:00Z did not save "a/b": CouchDB answered 500. ${SENTENCE}`,
    ], true],
    ["the last run that tells of it failed, and then others began", [
      { at: "2026-11-27T18:00:00Z", databases: [failed("away")] },
      { at: "2026-11-28T02:00:00Z", task: "other", databases: [databaseReport("else")] },
    ], [`The run of the task "weekly" of 2026-11-27T18:00:00Z did not save "a/b": away. ${SENTENCE}`]],
    ["two tasks failed for it", [
      { at: "2026-11-28T02:00:00Z", databases: [failed("away")] },
      { at: "2026-11-28T01:00:00Z", task: "other", databases: [failed("locked")] },
    ], [
      `The run of the task "other" of 2026-11-28T01:00:00Z did not save "a/b": locked. ${SENTENCE}`,
      `The run of the task "weekly" of 2026-11-28T02:00:00Z did not save "a/b": away. ${SENTENCE}`,
    ]],
    ["it was deleted meanwhile", [
      { at: "2026-11-28T02:00:00Z", databases: [databaseReport(DATABASE, { status: "gone" })] },
    ], [`The run of the task "weekly" of 2026-11-28T02:00:00Z found that "a/b" was deleted. ${SENTENCE}`]],
    ["it was not there any more", [{ at: "2026-11-28T02:00:00Z", databases: [databaseReport("else")] }], [
      `The run of the task "weekly" of 2026-11-28T02:00:00Z did not have "a/b" any more. ${SENTENCE}`,
    ]],
    ["the run saved nothing", [{ at: "2026-11-28T02:00:00Z", error: "CouchDB is away" }], [
      `The run of the task "weekly" of 2026-11-28T02:00:00Z saved nothing: CouchDB is away. ${SENTENCE}`,
    ]],
    ["another task saved nothing", [{ at: "2026-11-28T02:00:00Z", task: "other", error: "CouchDB is away" }], []],
    ["another task that is to save it saved nothing", [
      { at: "2026-11-20T02:00:00Z", task: "other", databases: [databaseReport(DATABASE)] },
      { at: "2026-11-27T02:00:00Z", task: "other", error: "CouchDB is away" },
      { at: "2026-11-28T02:00:00Z", task: "other", error: "CouchDB is still away" },
    ], [`The run of the task "other" of 2026-11-28T02:00:00Z saved nothing: CouchDB is still away. ${SENTENCE}`]],
    ["a newer one was reported", [
      { at: "2026-11-28T02:00:00Z", databases: [databaseReport(DATABASE, { backed_up_at: "2026-11-28T02:00:09.5Z" })] },
    ], [
      'The run of the task "weekly" of 2026-11-28T02:00:00Z reported a backup of "a/b" of 2026-11-28T02:00:09Z that is ' +
      `damaged or not found ("couchdb-backup list --rebuild" finds what the index lacks). ${SENTENCE}`,
    ]],
    ["a later run found it complete", [
      { at: "2026-11-21T19:00:00Z", databases: [databaseReport(DATABASE, { backed_up_at: TAKEN })] },
    ], []],
    ["a run of the future", [{ at: "2027-11-28T02:00:00Z", databases: [failed()] }], []],
  ];
  for (const [what, runs, caveats, byHand = false] of cases) {
    await using place = await TestRepository.open();
    const { repository } = place;
    await place.put({ day: "2026-11-21", finishedAt: TAKEN });
    for (const run of runs) {
      const report = reportOf(run);
      const folder = new RunFolder(repository, { task: run.task ?? "weekly", elapse: new Date(run.at) });
      if (byHand) await storeManualRun(repository, report, {});
      else await folder.storeReport(report, {});
    }
    assertEquals(await caveatsOf(place), caveats, what);
    // Whatever came behind a moment says nothing of it.
    assertEquals(await caveatsOf(place, "2026-11-21T18:30Z"), [], what);
    assertEquals(await caveatsOf(place, "2026-11-21"), undefined, what);
  }
});

Deno.test("findArchive() says of latest that a run failed whose elapse came while the backup was made, and before", async () => {
  const [made, elapse] = ["2026-11-21T18:00:00Z", "2026-11-21T19:00:00Z"];
  const sentence = `The run of the task "weekly" of ${elapse}`;
  const own: RunOf = {
    at: made,
    finishedAt: "2026-11-21T19:30:00Z",
    databases: [databaseReport(DATABASE, { backed_up_at: "2026-11-21T19:20:00Z" })],
  };
  const late: RunOf = { at: elapse, startedAt: "2026-11-21T19:30:01Z", finishedAt: "2026-11-21T19:30:09Z" };
  const beside: RunOf = { at: elapse, finishedAt: "2026-11-21T19:25:00Z", databases: [failed("away")] };
  const cases: [what: string, startedAt: string, run: RunOf, caveat: string | undefined][] = [
    ["begun behind it", "2026-11-21T19:10:00Z", { ...late, databases: [failed("away")] }, 'did not save "a/b": away'],
    ["begun behind it, for nothing", "2026-11-21T19:10:00Z", { ...late, error: "no" }, "saved nothing: no"],
    [
      "deleted behind it",
      "2026-11-21T19:10:00Z",
      { ...late, databases: [databaseReport("else")] },
      'did not have "a/b" any more',
    ],
    ["beside it, over later", "2026-11-21T18:50:00Z", beside, 'did not save "a/b": away'],
    ["beside it, over before", "2026-11-21T18:50:00Z", { ...beside, finishedAt: "2026-11-21T19:19:00Z" }, undefined],
    ["of an elapse before the backup began", "2026-11-21T19:10:00Z", beside, undefined],
  ];
  for (const [what, startedAt, run, caveat] of cases) {
    await using place = await TestRepository.open();
    const finishedAt = "2026-11-21T19:20:00Z";
    await place.put({ day: "2026-11-21", startedAt, finishedAt });
    for (const one of [own, run]) {
      const folder = new RunFolder(place.repository, { task: "weekly", elapse: new Date(one.at) });
      await folder.storeReport(reportOf(one), {});
    }
    const told = caveat === undefined ? [] : [`${sentence} ${caveat}. The backup of ${finishedAt} is taken`];
    assertEquals(await caveatsOf(place), told, what);
    // Whoever asks for the moment between is told of nothing that began behind it.
    if (run.startedAt !== undefined) assertEquals(await caveatsOf(place, "2026-11-21T19:25Z"), [], what);
  }
});

Deno.test("findArchive() says of a moment which run had failed by then, and not which elapse was run only later", async () => {
  await using place = await TestRepository.open();
  await place.put({ day: "2026-11-21", finishedAt: "2026-11-21T18:04:00Z" });
  const runs: RunOf[] = [
    { at: "2026-11-21T18:10:00Z", databases: [failed("away")] },
    { at: "2026-11-21T18:20:00Z", startedAt: "2026-11-21T19:00:00Z", databases: [failed("refused")] },
  ];
  for (const run of runs) {
    const folder = new RunFolder(place.repository, { task: "weekly", elapse: new Date(run.at) });
    await folder.storeReport(reportOf(run), {});
  }
  for (const [path, at, why] of [["2026-11-21T18:30Z", "18:10", "away"], ["latest", "18:20", "refused"]] as const) {
    const sentence = `The run of the task "weekly" of 2026-11-21T${at}:00Z did not save "a/b": ${why}`;
    assertEquals(await caveatsOf(place, path), [`${sentence}. The backup of 2026-11-21T18:04:00Z is taken`]);
  }
});

Deno.test("findArchive() says of latest that a run has begun since and left no report", async () => {
  await using place = await TestRepository.open();
  const { repository } = place;
  await place.put({ day: "2026-11-21", finishedAt: TAKEN });
  const { key } = new RunFolder(repository, { task: "weekly", elapse: new Date("2026-11-28T02:00:00Z") });
  await place.write(key, "claim-0001.json", "{}");
  await place.write(`${repository.runsFolder}/%zz of somebody else/20261128T020000Z`, "x", "");
  assertEquals(await caveatsOf(place), [
    `The run of the task "weekly" of 2026-11-28T02:00:00Z has left no report: it is under way, or ended by force. ${SENTENCE}`,
  ]);
});

Deno.test("findArchive() takes the newest backup where the runs cannot be read, and says so", async () => {
  await using place = await TestRepository.open();
  const { repository, log, signal } = place;
  await place.put({ day: "2026-11-21", finishedAt: TAKEN });
  const store = new Proxy(repository.store, {
    get: (target, name) => {
      const value = Reflect.get(target, name, target);
      if (name !== "list") return value;
      return (folder: string, options: object) => {
        if (folder.includes("_runs")) throw new StoreError("Cannot list", { code: "EACCES" });
        return value.call(target, folder, options);
      };
    },
  });
  const broken = Object.assign(Object.create(repository), { store });
  const context = { repository: broken, openStore: (bucket: string) => openStore({ bucket }), log, signal };
  assertEquals((await findArchive(context, "latest", DATABASE)).caveats, []);
  assertEquals(log.events("warn"), ["whether a later run has failed is not known"]);
});

Deno.test("lastSelections() passes over a folder that is no task's", async () => {
  await using place = await TestRepository.open();
  await place.write(`${place.repository.runsFolder}/%zz/20261128T020000Z`, "x", "");
  assertEquals(await lastSelections(place.repository, { log: new RecordedLog() }), []);
});

Deno.test("lastSelections() tells of a task once, whatever other spelling of its folder lies beside", async () => {
  await using place = await TestRepository.open();
  const { repository } = place;
  const at = "2026-11-28T02:00:00Z";
  for (const task of ["weekly", "$"]) {
    const report = reportOf({ at, task, databases: [databaseReport(DATABASE)] });
    await new RunFolder(repository, { task, elapse: new Date(at) }).storeReport(report, {});
  }
  for (const other of ["%77eekly", "$"]) {
    await place.write(`${repository.runsFolder}/${other}/20261128T020000Z`, "x", "");
  }
  const found = await lastSelections(repository, { log: new RecordedLog() });
  assertEquals(found.map(({ task }) => task).sort(), ["$", "weekly"]);
});
