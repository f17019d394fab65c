/** What a full backup finds that the chain before has lost is told, by whichever way of running, and told once. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type DatabaseReport, exitCodeOfReport, type RunReport } from "../../src/archive/report.ts";
import { backup } from "../../src/commands/backup/backup.ts";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { amendElapses } from "../../src/schedule/amend.ts";
import { runScheduled } from "../../src/schedule/due.ts";
import { backupRound } from "../../src/schedule/round.ts";
import { planRun, runAtOnce, summariseRun } from "../../src/schedule/rounds.ts";
import type { RunOfElapse } from "../../src/schedule/run_in_rounds.ts";
import { selectTasks } from "../../src/task/selection.ts";
import { without } from "../couchdb/impatient_client.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { task } from "../fakes/task.ts";
import { type Machine, type ScheduledSetup, setUpScheduled } from "./due_setup.ts";

// As in tests/commands/backup/chain_check_test.ts: by chance one of the documents could pass for seen.
const anyValues = crypto.getRandomValues.bind(crypto);
crypto.getRandomValues = (array) => array instanceof Uint32Array ? array.fill(1) : anyValues(array);

const DAILY = task("daily", { databases: ["a"], cron: "*-*-* 06:00:00 UTC", timezone: "UTC", increments: { most: 2 } });
const LAST = "backup/_runs/couchdb/daily/last.json";

/** The run of the fourth day, in rounds. */
const KILLED = "daily/20260104T060000Z";

/** A whole run of one elapse. */
type Run = (machine: Machine, day: number) => Promise<RunReport>;

const roundsOf = (day: number): RunOfElapse => ({
  task: DAILY,
  elapse: new Date(`2026-01-0${day}T06:00:00Z`),
  scope: "all",
});

const RUNS: Readonly<Record<string, Run>> = {
  "runScheduled()": async (machine) => await runScheduled(machine, [DAILY]),
  "backupRound()": async (machine, day) => {
    const { databases, generation } = await planRun(machine, roundsOf(day));
    const run = { ...roundsOf(day), generation };
    for (const database of databases) await backupRound(machine, run, { database, cursor: null });
    return await summariseRun(machine, run);
  },
  "runAtOnce()": async (machine, day) => await runAtOnce(machine, roundsOf(day)),
};

/** The chain of a database that has lost three documents: the next run is a full one. */
async function loseThree(setup: ScheduledSetup, run: Run, at: (day: number, couch?: CouchClient) => Machine) {
  const database = setup.server.databases.get("a")!;
  const ids = fill(database, 800);
  await run(at(1), 1);
  edit(database, ...ids.slice(0, 200).map((_id) => ({ _id, changed: true })));
  const lost = ids.slice(10, 13);
  await run(at(2, without(lost, setup.server)), 2);
  edit(database, { _id: ids[299]!, later: true });
  await run(at(3), 3);
  edit(database, { _id: ids[299]!, later: "again" });
  return { documents: 3, ids: lost };
}

/** A run in rounds of the fourth day that saves the database, finds what is lost, and is killed before its summary. */
async function findUntold(machine: Machine): Promise<void> {
  const { generation } = await planRun(machine, roundsOf(4));
  await backupRound(machine, { ...roundsOf(4), generation }, { database: "a", cursor: null });
}

async function place() {
  const setup = await setUpScheduled("file://", { a: 0 });
  const at = (day: number, couch?: CouchClient) => {
    const now = () => new Date(`2026-01-0${day}T06:00:05Z`);
    return setup.machine(`run${day}`, { now, ...couch === undefined ? {} : { couch } });
  };
  return { setup, at };
}

function ofA({ tasks }: RunReport): DatabaseReport {
  return tasks[0]!.databases[0]!;
}

for (const [name, run] of Object.entries(RUNS)) {
  Deno.test(`${name} tells once what a full backup has found that the chain before has lost`, async () => {
    const { setup, at } = await place();
    await using _ = setup;
    const lost = await loseThree(setup, run, at);
    const found = ofA(await run(at(4), 4));
    assertEquals([found.kind, found.chain_lost], ["full", lost]);
    const next = ofA(await run(at(5), 5));
    assertEquals([next.kind, next.unchanged, next.chain_lost, next.warnings], [
      "incremental",
      true,
      undefined,
      undefined,
    ]);
  });

  Deno.test(`${name} does not tell once more what a run before the last one has told`, async () => {
    const { setup, at } = await place();
    await using _ = setup;
    const lost = await loseThree(setup, run, at);
    assertEquals(ofA(await run(at(4), 4)).chain_lost, lost);
    setup.server.faults.add({ database: "a", times: Infinity, fault: { kind: "status", status: 403 } });
    assertEquals(ofA(await run(at(5), 5)).status, "failed");
    setup.server.faults.clear();
    assertEquals(ofA(await run(at(6), 6)).chain_lost, undefined);
  });
}

Deno.test("backupRound() tells what a run has found that never came to its summary", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const run = RUNS["backupRound()"]!;
  const lost = await loseThree(setup, run, at);
  await findUntold(at(4));
  const next = ofA(await run(at(5), 5));
  assertEquals(next.chain_lost, { ...lost, found_by: KILLED });
  assertMatch(next.warnings!.join("\n"), /its run ended before it said so/);
  assertEquals(ofA(await run(at(6), 6)).chain_lost, undefined);
});

/** Runs all of a day as `backup --resume` does. */
async function resumeByHand(machine: Machine, day: number): Promise<RunReport> {
  const selections = selectTasks(["a"], [DAILY], { startedAt: roundsOf(day).elapse });
  return await backup(machine, selections, { resume: true });
}

Deno.test("backup --resume tells what the run has found that made a backup and was killed, for the next runs too", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const run = RUNS["backupRound()"]!;
  const lost = await loseThree(setup, run, at);
  await findUntold(at(4));
  const resumed = ofA(await resumeByHand(at(4), 4));
  assertEquals([resumed.kind, resumed.chain_lost], ["full", { ...lost, found_by: KILLED }]);
  const next = ofA(await run(at(5), 5));
  assertEquals([next.unchanged, next.chain_lost, next.warnings], [true, undefined, undefined]);
});

Deno.test("backup --resume of a day does not tell once more what its run has told, and leaves it in the report", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const run = RUNS["runScheduled()"]!;
  const lost = await loseThree(setup, run, at);
  assertEquals(ofA(await run(at(4), 4)).chain_lost, lost);
  const machine = setup.machine("by hand", { now: at(4).now });
  const report = await resumeByHand(machine, 4);
  assertEquals([ofA(report).kind, ofA(report).chain_lost, ofA(report).warnings], ["full", undefined, undefined]);
  assertEquals(exitCodeOfReport(report), 0);
  await amendElapses(machine, { tasks: [DAILY], report, isPart: false });
  const amended = await setup.json("backup/_runs/couchdb/daily/20260104T060000Z/report.json");
  assertEquals([amended.run, ofA(amended).chain_lost], ["by hand", { ...lost, found_by: "run4" }]);
});

Deno.test("runScheduled() tells once what a killed run has found, though it then fails", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const rounds = RUNS["backupRound()"]!;
  const lost = await loseThree(setup, rounds, at);
  await findUntold(at(4));
  const run = RUNS["runScheduled()"]!;
  const changes = { endpoint: "_changes", database: "a", times: Infinity } as const;
  setup.server.faults.add({ ...changes, fault: { kind: "status", status: 403 } });
  edit(setup.server.databases.get("a")!, { _id: "new" });
  const failed = ofA(await run(at(5), 5));
  assertEquals([failed.status, failed.chain_lost], ["failed", { ...lost, found_by: KILLED }]);
  setup.server.faults.clear();
  const next = ofA(await run(at(6), 6));
  assertEquals([next.status, next.chain_lost], ["complete", undefined]);
});

Deno.test("summariseRun() that could not publish what was lost has not told it", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const run = RUNS["backupRound()"]!;
  const lost = await loseThree(setup, run, at);
  const { generation } = await planRun(at(4), roundsOf(4));
  const third = { ...roundsOf(4), generation };
  await backupRound(at(4), third, { database: "a", cursor: null });
  const publish = () => Promise.reject(new Error("killed"));
  await assertRejects(() => summariseRun(at(4), third, { publish }), Error, "killed");
  assertEquals(ofA(await run(at(5), 5)).chain_lost, { ...lost, found_by: KILLED });
});

Deno.test("runScheduled() tells once what the second try of an elapse has found", async () => {
  const { setup, at } = await place();
  await using _ = setup;
  const run = RUNS["runScheduled()"]!;
  const lost = await loseThree(setup, run, at);
  setup.server.faults.add({ database: "a", times: Infinity, fault: { kind: "status", status: 403 } });
  assertEquals(ofA(await run(at(4), 4)).status, "failed");
  setup.server.faults.clear();
  const now = () => new Date("2026-01-04T06:10:00Z");
  assertEquals(ofA(await run(setup.machine("second try", { now }), 4)).chain_lost, lost);
  assertEquals(ofA(await run(at(5), 5)).chain_lost, undefined);
});

Deno.test("runScheduled() takes what an older version has noted of its last run for told, and nothing else", async () => {
  for (const isTold of [true, false]) {
    const { setup, at } = await place();
    await using _ = setup;
    const run = RUNS["runScheduled()"]!;
    const lost = await loseThree(setup, run, at);
    assertEquals(ofA(await run(at(4), 4)).chain_lost, lost);
    const { losses_told: told, ...older } = await setup.json(LAST);
    assertEquals([told, older.run], [["run4"], "run4"]);
    const noted = isTold ? { ...older, one: "that nobody knows" } : { ...older, run: "another" };
    await setup.store.replace(LAST, new TextEncoder().encode(JSON.stringify(noted)));
    assertEquals(ofA(await run(at(5), 5)).chain_lost, isTold ? undefined : { ...lost, found_by: "run4" });
  }
});
