/** What `verify --all` and `test-restore` have found damaged: expire keeps what would stay without it, and no increment builds on it. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Finding, KnownDamageOfRun, noteDamage, requireKnownDamage } from "../../src/archive/known_damage.ts";
import { Repository } from "../../src/archive/repository.ts";
import { describeBackups } from "../../src/cli/list.ts";
import { listBackups } from "../../src/commands/list.ts";
import { StoreError } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { couchOk } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { Secret } from "../../src/secret.ts";
import { joinKey } from "../../src/store/key.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import { type FleetSetup, setUpFleet } from "./restore/fleet_setup.ts";
import { alterFile, flipByte } from "./restore/setup.ts";

const DAY_MS = 86_400_000;
const TASKS = `{all: {databases: ["media.*"], chunk: 2, timezone: UTC, incremental: true, retention: {keep_last: 2}}}`;
const DATABASE = "media002";

/** A run so many days from now; each finds a document that has changed. */
async function backUp(fleet: FleetSetup, day: number, { full = false } = {}): Promise<string | undefined> {
  await couchOk(fleet.server, `PUT /${DATABASE}/day${day}`, { day });
  const now = () => new Date(Date.now() + day * DAY_MS);
  await using session = await fleet.open({ now });
  const { tasks } = await session.backup({ full });
  const report = tasks[0]!.databases.find(({ database }) => database === DATABASE)!;
  assertEquals(report.status, "complete", JSON.stringify(report));
  return report.full_because ?? report.kind;
}

async function chunksOf(fleet: FleetSetup): Promise<string[]> {
  const bucket = join(fleet.folder, "bucket");
  const names = await readdir(bucket, { recursive: true });
  return names.filter((name) => name.includes(DATABASE) && /\/\d{7}[^/]*\.gz$/.test(name)).sort()
    .map((name) => join(bucket, name));
}

async function verifyAll(fleet: FleetSetup, request = {}): Promise<string[]> {
  await using session = await fleet.open();
  return (await session.verifyAll(request)).faulty.map(({ database }) => database);
}

async function wouldExpire(fleet: FleetSetup, day: number): Promise<{ expired: number; kept: string[] }> {
  const now = () => new Date(Date.now() + day * DAY_MS);
  await using session = await fleet.open({ now });
  const { expired, kept_backups: kept = [] } = await session.expire({ database: DATABASE, showKept: true });
  return { expired: expired.length, kept: kept.flatMap(({ reasons }) => reasons) };
}

Deno.test("no increment builds on what verify --all has found damaged, and expire keeps what stays without it", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1, 2]) await backUp(fleet, day, { full: true });
  assertEquals(await backUp(fleet, 3), "incremental");
  const intact = await wouldExpire(fleet, 40);
  assert(intact.expired > 0, JSON.stringify(intact));

  // A bit of the last full backup: its size is as it was, so that nobody but a reader sees it.
  const chunks = await chunksOf(fleet);
  const full = chunks.filter((path) => /\/0000000[^/]*$/.test(path));
  await alterFile(full.at(-2)!, flipByte);
  assertEquals((await wouldExpire(fleet, 40)).expired, intact.expired, "nobody has looked");
  assertEquals(await verifyAll(fleet), [DATABASE, DATABASE]);

  const known = await wouldExpire(fleet, 40);
  assert(known.expired < intact.expired, JSON.stringify(known));
  assert(known.kept.includes("it was found damaged"), JSON.stringify(known));
  assert(known.kept.some((reason) => /keep_last, as others were found damaged/.test(reason)));
  // Where somebody has brought the bytes back, the next verification says so.
  await alterFile(full.at(-2)!, flipByte);
  assertEquals(await verifyAll(fleet, { quick: true }), []);
  assert((await wouldExpire(fleet, 40)).kept.includes("it was found damaged"), "--quick has read no byte");
  assertEquals(await verifyAll(fleet), []);
  assert(!(await wouldExpire(fleet, 40)).kept.includes("it was found damaged"));

  await alterFile(full.at(-2)!, flipByte);
  await verifyAll(fleet, { match: [DATABASE] });
  const because = await backUp(fleet, 4);
  assertStringIncludes(because!, "a backup that it would rely on was found damaged");
  assertEquals(await backUp(fleet, 5), "incremental", "on the new full one");
});

/** A folder as a store, with the paths that are known to be damaged of those that the tests name. */
async function openMarks() {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-damage-" });
  const store = await openStore({ bucket: `file://${folder}/bucket` });
  const repository = new Repository(store, { prefix: "p", suffix: "couchdb" });
  const at = new Date("2026-11-30T03:00:00Z");
  return {
    store,
    marks: `${folder}/bucket/p/_store/couchdb/damaged`,
    note: (findings: [string, Finding][]) => noteDamage(repository, new Map(findings), { at }),
    known: async () => {
      const damage = await requireKnownDamage(repository, {});
      return ["a", "b", "c", "d"].filter((path) => damage.markOf(path) !== undefined);
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test("what verify has found is kept by backup: a later look at others forgets nothing", async () => {
  await using one = await openMarks();
  await one.note([["a", "damaged"], ["b", "sound"], ["c", "damaged"]]);
  assertEquals(await one.known(), ["a", "c"]);
  await one.note([["b", "damaged"], ["c", "sound"], ["a", "damaged"]]);
  assertEquals(await one.known(), ["a", "b"]);
  await one.note([["c", "damaged"], ["a", "sound"]]);
  assertEquals(await one.known(), ["b", "c"]);
});

Deno.test("of two verifications at the same time neither takes away what the other one has found", async () => {
  await using one = await openMarks();
  await one.note([["c", "damaged"]]);
  // Each has looked at what is known before the other one stores anything.
  let waiting = 0;
  const { promise: both, resolve } = Promise.withResolvers<void>();
  const replace = one.store.replace.bind(one.store);
  one.store.replace = async (...args) => {
    if (++waiting === 2) resolve();
    await both;
    await replace(...args);
  };
  await Promise.all([one.note([["a", "damaged"]]), one.note([["b", "damaged"], ["c", "sound"]])]);
  assertEquals(await one.known(), ["a", "b"]);
});

Deno.test("a mark that is cut off, or another version's, still marks its backup; other objects mark none", async () => {
  await using one = await openMarks();
  await one.note([["a", "damaged"], ["b", "damaged"]]);
  for (const name of await readdir(one.marks)) await Deno.writeTextFile(join(one.marks, name), "{");
  await Deno.writeTextFile(join(one.marks, "README"), "not ours");
  await Deno.mkdir(join(one.marks, "folder"));
  assertEquals(await one.known(), ["a", "b"]);
  await one.note([["a", "sound"]]);
  assertEquals(await one.known(), ["b"]);
});

Deno.test("list shows what was found damaged, and when, until it is sound again", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1]) await backUp(fleet, day, { full: true });
  const list = async () => {
    await using session = await fleet.open();
    const list = await session.list();
    return { found: list.backups.map(({ found_damaged_at: at }) => at), text: describeBackups(list, { columns: 80 }) };
  };
  const intact = await list();
  assertEquals(new Set(intact.found), new Set([null]));
  assertEquals(/damaged/i.test(intact.text), false, intact.text);
  const path = (await chunksOf(fleet)).at(-1)!;
  await alterFile(path, flipByte);
  const before = Date.now();
  await verifyAll(fleet);
  const { found, text } = await list();
  const [at, ...others] = found.filter((at) => at !== null);
  assertEquals(others, []);
  // A file system's clock ticks in milliseconds or less.
  assert(Math.abs(Date.parse(at!) - before) < 60_000, at!);
  assertStringIncludes(text, `${at!.slice(0, 10)}`);
  assertMatch(text, /^\d+ backups of 1 database, .*; 1 found damaged$/m);
  await alterFile(path, flipByte);
  await verifyAll(fleet);
  assertEquals((await list()).text.includes("damaged"), false);
});

Deno.test("list shows all else where it may not list what was found damaged, and the log says so", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z" });
  const list = (folder: string, options: object) => {
    if (folder.endsWith("/damaged")) throw new StoreError("EACCES, permission is denied", { code: "EACCES" });
    return setup.store.list(folder, options);
  };
  const repository = new Repository(Object.assign(Object.create(setup.store), { list }), setup.repository);
  const { log, signal } = setup;
  const { backups } = await listBackups({ repository, log, signal });
  assertEquals(backups.map(({ complete, found_damaged_at: at }) => [complete, at]), [[true, null]]);
  assertEquals(log.events("warn"), ["what was found damaged is unknown: it may not be listed"]);
  await assertRejects(() => requireKnownDamage(repository, {}), StoreError, "EACCES");
});

Deno.test("the mark of a backup that expires goes with it", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1, 2, 3]) await backUp(fleet, day, { full: true });
  await alterFile((await chunksOf(fleet))[0]!, flipByte);
  assertEquals((await verifyAll(fleet)).length, 1);
  await using session = await fleet.open({ now: () => new Date(Date.now() + 40 * DAY_MS) });
  const { repository: { store, storeFolder, suffix } } = session;
  const marks = async () => (await Array.fromAsync(store.list(joinKey(storeFolder, suffix, "damaged")))).length;
  assertEquals(await marks(), 1);
  assert((await session.expire({ database: DATABASE, confirm: true })).expired.length > 0);
  assertEquals(await marks(), 0);
});

Deno.test("what a verification that is interrupted has found damaged is kept", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1, 2]) await backUp(fleet, day, { full: true });
  await alterFile((await chunksOf(fleet)).at(-1)!, flipByte);
  const stop = new AbortController();
  const databaseFinished = ({ ok }: { ok: boolean }) => void (ok || stop.abort(new Error("interrupted")));
  await using session = await fleet.open();
  const interrupted = session.with({ stop: stop.signal, progress: { ...SILENT_PROGRESS, databaseFinished } });
  await assertRejects(() => interrupted.verifyAll(), Error, "interrupted");
  assert((await wouldExpire(fleet, 40)).kept.some((reason) => reason === "it was found damaged"));
});

Deno.test("what test-restore has found damaged is kept, too, of a backup without content as well", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1]) await backUp(fleet, day, { full: true });
  {
    await using session = await fleet.open({ now: () => new Date(Date.now() + 2 * DAY_MS) });
    const [report] = (await session.backup()).tasks[0]!.databases;
    assertEquals([report!.kind, report!.documents], ["incremental", 0]);
  }
  await alterFile((await chunksOf(fleet)).at(-1)!, flipByte);
  await using session = await fleet.open({ now: () => new Date(Date.now() + 2 * DAY_MS) });
  assertEquals((await session.testRestore()).faulty.map(({ exit_code }) => exit_code), [12]);
  assert((await wouldExpire(fleet, 40)).kept.includes("it was found damaged"));
  assertStringIncludes((await backUp(fleet, 3))!, "a backup that it would rely on was found damaged");
});

Deno.test("no backup fails for a list of the damaged that it may not read, and expire does", async () => {
  const fake = await FakeS3.start();
  const store = new S3Store({
    bucket: "s3://test-bucket",
    endpoint: fake.url,
    region: fake.keys.region,
    accessKeyId: fake.keys.accessKeyId,
    secretAccessKey: new Secret(fake.keys.secretAccessKey),
  });
  const repository = new Repository(store, { prefix: "p", suffix: "couchdb" });
  const log = new RecordedLog();
  const options = { log, signal: new AbortController().signal };
  try {
    for (let times = 0; times < 2; times++) {
      fake.inject("ListObjectsV2", { kind: "refuse", status: 403, code: "AccessDenied" });
    }
    const damage = await new KnownDamageOfRun().read(repository, options);
    assertEquals(damage.markOf("a"), undefined);
    assertEquals(log.lines.map(({ level, event }) => [level, event]), [
      ["warn", "what was found damaged is unknown: it may not be listed"],
    ]);
    await assertRejects(() => requireKnownDamage(repository, options), StoreError, "AccessDenied");
  } finally {
    await fake.close();
  }
});
