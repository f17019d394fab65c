/** What `verify --all` and `test-restore` have found damaged: expire keeps what would stay without it, and no increment builds on it. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { noteDamage, readKnownDamage, requireKnownDamage } from "../../src/archive/known_damage.ts";
import { Repository } from "../../src/archive/repository.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import { couchOk } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { Secret } from "../../src/secret.ts";
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

Deno.test("what verify has found is kept by backup: a later look at others forgets nothing, and what is no list counts for none", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-damage-" });
  try {
    const store = await openStore({ bucket: `file://${folder}/bucket` });
    const repository = new Repository(store, { prefix: "p", suffix: "couchdb" });
    const log = new RecordedLog();
    const options = { log, signal: new AbortController().signal };
    const at = new Date("2026-11-30T03:00:00Z");
    await noteDamage(repository, new Map([["a", "damaged"], ["b", "sound"], ["c", "damaged"]]), {
      ...options,
      at,
      isOfAll: false,
    });
    const later = new Date("2026-12-01T03:00:00Z");
    await noteDamage(repository, new Map([["b", "damaged"], ["c", "sound"], ["a", "damaged"]]), {
      ...options,
      at: later,
      isOfAll: false,
    });
    const found = [...await readKnownDamage(repository, options)].sort();
    assertEquals(found, [["a", at.toISOString()], ["b", later.toISOString()]]);
    await Deno.writeTextFile(`${folder}/bucket/p/_store/couchdb/damaged.json`, "{");
    assertEquals((await readKnownDamage(repository, options)).size, 0);
    await assertRejects(() => requireKnownDamage(repository, options), ArchiveError, "so nothing is deleted");
    assert(
      log.lines.some(({ level, event }) => level === "warn" && event.includes("what was found damaged is unknown")),
    );
    await noteDamage(repository, new Map([["d", "damaged"]]), { ...options, at, isOfAll: false });
    assertEquals([...(await readKnownDamage(repository, options)).keys()], ["d"]);
    await assertRejects(() => requireKnownDamage(repository, options), ArchiveError, "does not name all of them");
    await noteDamage(repository, new Map([["d", "sound"]]), { ...options, at, isOfAll: true });
    assertEquals((await requireKnownDamage(repository, options)).size, 0, "it is written anew, though none is damaged");
    const many = new Map(Array.from({ length: 10_001 }, (_, index) => [`m${index}`, "damaged" as const]));
    await noteDamage(repository, many, { ...options, at, isOfAll: true });
    await assertRejects(() => requireKnownDamage(repository, options), ArchiveError, "does not name all of them");
    assertEquals((await readKnownDamage(repository, options)).size, 10_000);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("expire deletes nothing where the list of the damaged cannot be used, until verify --all has written it anew", async () => {
  await using fleet = await setUpFleet(3, { tasks: TASKS });
  for (const day of [0, 1, 2]) await backUp(fleet, day, { full: true });
  const before = await wouldExpire(fleet, 40);
  assert(before.expired > 0, JSON.stringify(before));
  await using session = await fleet.open();
  const { storeFolder, suffix } = session.repository;
  const list = join(fleet.folder, "bucket", storeFolder, suffix, "damaged.json");
  await Deno.mkdir(dirname(list), { recursive: true });
  await Deno.writeTextFile(list, '{"damaged":');
  const error = await assertRejects(() => wouldExpire(fleet, 40), ArchiveError);
  assertStringIncludes(error.hint!, "verify --all");
  assertEquals(await backUp(fleet, 3), "incremental", "a backup goes on");
  for (const part of [{ match: [DATABASE] }, { sampleOf: 7 }, { quick: true }]) {
    await verifyAll(fleet, part);
    await assertRejects(() => wouldExpire(fleet, 40), ArchiveError, "so nothing is deleted");
  }
  assertEquals(await verifyAll(fleet), []);
  assert((await wouldExpire(fleet, 40)).expired > 0);
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
      fake.inject("GetObject", { kind: "refuse", status: 403, code: "AccessDenied" });
    }
    assertEquals((await readKnownDamage(repository, options)).size, 0);
    assertEquals(log.lines.map(({ level, event }) => [level, event]), [
      ["warn", "what was found damaged is unknown: it may not be read"],
    ]);
    await assertRejects(() => requireKnownDamage(repository, options), StoreError, "AccessDenied");
  } finally {
    await fake.close();
  }
});
