import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import { describeAll } from "../../src/cli/verify.ts";
import { exitCodeOfVerifyAll, verifyAll } from "../../src/commands/verify_all.ts";
import { ArchiveError, EXIT } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import { farAway } from "../store/far_away.ts";
import { alterFile, flipByte } from "./restore/setup.ts";
import { setUpFleet } from "./restore/fleet_setup.ts";

const DAY_MS = 86_400_000;

/** How many objects are read at once where as many backups of these tasks are verified. */
async function mostReading(backups: number, tasks: string): Promise<number> {
  await using setup = await setUpFleet(backups, { tasks });
  await (await setup.open()).backup();
  const near = await openStore({ bucket: pathToFileURL(join(setup.folder, "bucket")).href });
  const { store, mostReading } = farAway(near, 30);
  const report = await verifyAll({
    repository: new Repository(store, { prefix: "", suffix: "" }),
    openStore: () => Promise.resolve(store),
    log: setup.log,
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  }, {});
  assertEquals([report.ok, report.backups], [true, backups]);
  return mostReading();
}

Deno.test("verifyAll() reads sixteen small backups at once, and two large ones", async () => {
  const tasks = (chunk: string) => `{all: {databases: [".*"], exclude: ["_.*"], ${chunk} timezone: UTC}}`;
  assertEquals(await mostReading(20, tasks("")), 16);
  const ofLarge = await mostReading(6, tasks("chunk: 2,"));
  assert(ofLarge <= 8, `${ofLarge} chunks at once, four of each`);
});

Deno.test("verifyAll() reads every backup, names the one with a flipped byte, and ends with 12", async () => {
  await using setup = await setUpFleet(5);
  const session = await setup.open();
  await session.backup();
  const whole = await session.verifyAll();
  assertEquals([whole.ok, whole.backups, whole.backups_in_all, exitCodeOfVerifyAll(whole)], [true, 5, 5, 0]);
  assertStringIncludes(describeAll(whole), "Verified 5 backups, all of them complete and as their manifests say: ");
  const report = await session.backup();
  const broken = report.tasks[0]!.databases[2]!;
  const folder = decodeURI(new URL(broken.path).pathname);
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  const chunk = names.find((name) => name.endsWith(".gz"));
  await alterFile(join(folder, chunk!), flipByte);
  const found = await session.verifyAll();
  assertEquals([found.ok, exitCodeOfVerifyAll(found)], [false, EXIT.archive]);
  assertEquals(new Set(found.faulty.map(({ database }) => database)), new Set([broken.database]));
  assertStringIncludes(found.faulty[0]!.problems.join(), chunk!);
  assertStringIncludes(describeAll(found), `NOT WHOLE: ${broken.database}: `);
});

Deno.test("verifyAll() with a sample reads every backup once within so many days", async () => {
  await using setup = await setUpFleet(12);
  let now = new Date("2026-11-25T12:00:00Z");
  const session = await setup.open({ now: () => now });
  await session.backup();
  let read = 0;
  const parts: number[] = [];
  for (let day = 0; day < 4; day++) {
    const report = await session.verifyAll({ sampleOf: 4 });
    assertEquals([report.ok, report.backups_in_all, report.sample?.of], [true, 12, 4]);
    parts.push(report.sample!.part);
    read += report.backups;
    now = new Date(now.getTime() + DAY_MS);
  }
  assertEquals([read, parts.toSorted()], [12, [0, 1, 2, 3]]);
});

Deno.test("verifyAll() tells a manifest that cannot be read, and looks at what is matched alone", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  const report = await session.backup();
  const { database, path } = report.tasks[0]!.databases[0]!;
  const folder = decodeURI(new URL(path).pathname);
  for (const { name } of await Array.fromAsync(Deno.readDir(folder))) {
    if (name.startsWith("manifest")) await Deno.writeTextFile(join(folder, name), "{");
  }
  await Deno.remove(join(setup.folder, "bucket", "_catalog"), { recursive: true });
  const found = await session.verifyAll();
  assertEquals([found.backups, found.faulty.map((one) => one.database)], [2, [database]]);
  assert(found.faulty[0]!.finished_at === null);
  const others = await session.verifyAll({ match: ["media.*"] });
  assertEquals([others.ok, others.backups], [true, 1]);
});

Deno.test("verifyAll() ends with 12 where there is no backup at all, or none for a pattern: nothing is not all", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  const empty = await assertRejects(() => session.verifyAll(), ArchiveError, "There is no complete backup in ");
  assertStringIncludes(empty.hint ?? "", "Check prefix, suffix");
  await session.backup();
  const match = ["media.*", "acount.*"];
  await assertRejects(() => session.verifyAll({ match }), ArchiveError, 'of a database that "acount.*" matches');
  assertEquals((await session.verifyAll({ match: ["media.*"] })).ok, true);
  // A part of all may well be empty on a day.
  assertEquals((await session.verifyAll({ sampleOf: 1000 })).ok, true);
});
