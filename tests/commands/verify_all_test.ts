import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import * as fs from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { gunzipSync } from "node:zlib";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import { describeAll } from "../../src/cli/verify.ts";
import { exitCodeOfVerifyAll, verifyAll } from "../../src/commands/verify_all.ts";
import { ArchiveError, EXIT, StoreError } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { couchOk } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";
import { Increments } from "./backup/increment_setup.ts";
import { alterFile, flipByte } from "./restore/setup.ts";
import { type FleetSetup, setUpFleet } from "./restore/fleet_setup.ts";

const DAY_MS = 86_400_000;

/** What verifyAll() works with where its store is another one. */
function contextOf({ log }: FleetSetup, store: Store): Parameters<typeof verifyAll>[0] {
  return {
    repository: new Repository(store, { prefix: "", suffix: "" }),
    openStore: () => Promise.resolve(store),
    log,
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  };
}

/**
 * A store that answers so many calls that read, and refuses those behind them, but for what `isHarmed` leaves alone.
 * `over` makes another one of which the same holds: they count together.
 */
function refusing(
  store: Store,
  error: StoreError,
  { skip, isHarmed = () => true }: { skip: number; isHarmed?: (key: string) => boolean },
): { store: Store; refused: () => number; over: (store: Store) => Store } {
  let [seen, refused] = [0, 0];
  const over = (store: Store) => {
    const read: Store["read"] = async (key, options) => {
      if (isHarmed(key) && seen++ >= skip) {
        refused++;
        throw error;
      }
      return await store.read(key, options);
    };
    return new Proxy(store, {
      get(_, name: keyof Store) {
        const member = name === "read" ? read : store[name];
        return typeof member === "function" ? member.bind(store) : member;
      },
    });
  };
  return { store: over(store), refused: () => refused, over };
}

const EXPIRED = new StoreError("Cannot read: S3 answered 400 ExpiredToken", { code: "ExpiredToken", status: 400 }, {
  hint: "The temporary keys have expired",
});

/** How many chunks of as many backups of these tasks are read at once; none is read before as many as `expected` are. */
async function mostReading(backups: number, tasks: string, expected: number): Promise<number> {
  await using setup = await setUpFleet(backups, { tasks });
  await (await setup.open()).backup();
  const near = await openStore({ bucket: pathToFileURL(join(setup.folder, "bucket")).href });
  let [most, inHand] = [0, 0];
  const full = Promise.withResolvers<void>();
  const giveUp = setTimeout(full.resolve, 10_000);
  const read: Store["read"] = async (key, options) => {
    if (!key.endsWith(".gz")) return await near.read(key, options);
    most = Math.max(most, ++inHand);
    if (inHand >= expected) full.resolve();
    await full.promise;
    // Time for one more, which must not come.
    await delay(30);
    inHand--;
    return await near.read(key, options);
  };
  const store = new Proxy(near, {
    get(_, name: keyof Store) {
      const member = name === "read" ? read : near[name];
      return typeof member === "function" ? member.bind(near) : member;
    },
  });
  const report = await verifyAll(contextOf(setup, store), {});
  clearTimeout(giveUp);
  assertEquals([report.ok, report.backups], [true, backups]);
  return most;
}

Deno.test("verifyAll() reads sixteen small backups at once, and two large ones", async () => {
  const tasks = (chunk: string) => `{all: {databases: [".*"], exclude: ["_.*"], ${chunk} timezone: UTC}}`;
  assertEquals(await mostReading(20, tasks(""), 16), 16);
  const ofLarge = await mostReading(6, tasks("chunk: 2,"), 2);
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
  assertEquals(empty.hint, 'Check prefix and suffix; "couchdb-backup list" shows the backups there are');
  await session.backup();
  const match = ["media.*", "acount.*"];
  await assertRejects(() => session.verifyAll({ match }), ArchiveError, 'of a database that "acount.*" matches');
  assertEquals((await session.verifyAll({ match: ["media.*"] })).ok, true);
  // A part of all may well be empty on a day.
  assertEquals((await session.verifyAll({ sampleOf: 1000 })).ok, true);
});

Deno.test("verifyAll() calls no backup faulty where the store's keys expire midway, and tries no further one", async () => {
  await using setup = await setUpFleet(40, { tasks: `{all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}` });
  await (await setup.open()).backup();
  const near = await openStore({ bucket: pathToFileURL(join(setup.folder, "bucket")).href });
  // Each has one chunk: five are read, and nothing behind them. How far the others are by then is a matter of time, but
  // no more than sixteen have begun: most are not tried.
  const isHarmed = (key: string) => refused() > 0 || key.endsWith(".gz");
  const { store, refused, over } = refusing(near, EXPIRED, { skip: 5, isHarmed });
  const open = async (bucket: string) => over(await openStore({ bucket }));
  const report = await verifyAll({ ...contextOf(setup, store), openStore: open }, {});
  assertEquals([report.ok, report.faulty, exitCodeOfVerifyAll(report)], [false, [], EXIT.store]);
  assertEquals([report.backups, report.undecided.length], [5, 35], "what was read before is told");
  const tried = report.undecided.filter((one) => one.tried);
  assertEquals(tried.length, refused());
  assert(refused() <= 16, `${refused()} were tried`);
  for (const one of tried) assertEquals([one.error, one.hint], [EXPIRED.message, EXPIRED.hint]);
  const text = describeAll(report);
  assertStringIncludes(
    text,
    `NOT KNOWN: ${tried[0]!.database}: ${tried[0]!.path}\n  ${EXPIRED.message}\n  ${EXPIRED.hint}`,
  );
  assertStringIncludes(text, `NOT KNOWN: ${35 - tried.length} backups not tried, as they would fail like one before`);
  assertStringIncludes(text, `as their manifests say, ${report.undecided.length} others NOT KNOWN: `);
  // What is known to be damaged counts more than what is not known.
  const faulty = [{ database: "a", path: "a", finished_at: null, problems: ["x"], exit_code: EXIT.archive }];
  assertEquals(exitCodeOfVerifyAll({ ...report, faulty }), EXIT.archive);
  assertStringIncludes(describeAll({ ...report, faulty }), "1 NOT as they must be, ");
  assertStringIncludes(
    describeAll({ ...report, backups: 0 }),
    `Verified 0 backups, ${report.undecided.length} NOT KNOWN`,
  );
});

Deno.test("verifyAll() goes on behind a backup that the store does not let be read, and calls a lost chunk a fault", async () => {
  await using setup = await setUpFleet(5, { tasks: `{all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}` });
  const saved = await (await setup.open()).backup();
  const near = await openStore({ bucket: pathToFileURL(join(setup.folder, "bucket")).href });
  const bucket = join(setup.folder, "bucket");
  const chunks = await Promise.all(saved.tasks[0]!.databases.map(async ({ path }) => {
    const folder = decodeURI(new URL(path).pathname);
    const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
    return relative(bucket, join(folder, names.find((name) => name.endsWith(".gz"))!));
  }));
  const denied = new StoreError("Cannot read: S3 answered 403 AccessDenied", { code: "AccessDenied", status: 403 });
  const { store } = refusing(near, denied, { skip: 0, isHarmed: (key) => key === chunks[1] });
  await Deno.remove(join(bucket, chunks[0]!));
  const report = await verifyAll(contextOf(setup, store), {});
  assertEquals([report.backups, report.faulty.length, report.undecided.length], [4, 1, 1]);
  assertEquals([report.undecided[0]!.error, report.undecided[0]!.tried], [denied.message, true]);
  assertEquals([exitCodeOfVerifyAll(report), saved.ok], [EXIT.archive, true]);
});

/** A backup as it lies in a bucket. */
interface Lying {
  database: string;
  /** The paths of what expire deletes of it, in this order. */
  manifest: string;
  copy: string;
  entry: string;
  folder: string;
}

/** Two backups of each of three databases, a week apart: of each the older one first. */
async function twoWeeks(setup: FleetSetup): Promise<{ context: Parameters<typeof verifyAll>[0]; backups: Lying[] }> {
  const backups: Lying[] = [];
  const bucket = join(setup.folder, "bucket");
  for (const now of [new Date("2026-11-01T10:00:00Z"), new Date("2026-11-08T10:00:00Z")]) {
    const { tasks } = await (await setup.open({ now: () => now })).backup();
    for (const { database, path } of tasks[0]!.databases) {
      const folder = fileURLToPath(path);
      const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
      const manifest = names.find((name) => name.startsWith("manifest-"))!;
      const catalog = join(bucket, "_catalog", basename(folder));
      const run = manifest.slice(-"00000000.json".length, -".json".length);
      const entries = await Array.fromAsync(Deno.readDir(catalog), ({ name }) => name);
      backups.push({
        database,
        folder,
        manifest: join(folder, manifest),
        copy: join(folder, "manifest.json"),
        entry: join(catalog, entries.find((name) => name.includes(run))!),
      });
    }
  }
  backups.sort((a, b) => a.database === b.database ? 0 : a.database < b.database ? -1 : 1);
  setup.log.lines.length = 0;
  return { context: await contextOn(setup), backups };
}

/** The same with stores of which each is one over the real ones. */
async function contextOn(
  setup: FleetSetup,
  over: (store: Store) => Partial<Store> = () => ({}),
): Promise<Parameters<typeof verifyAll>[0]> {
  const open = async (bucket: string) => {
    const store = await openStore({ bucket });
    const members = over(store);
    return new Proxy(store, {
      get(_, name: keyof Store) {
        const member = members[name] ?? store[name];
        return typeof member === "function" ? member.bind(store) : member;
      },
    });
  };
  const store = await open(pathToFileURL(join(setup.folder, "bucket")).href);
  return { ...contextOf(setup, store), openStore: open, lookAgainMs: 0 };
}

async function expireNow({ manifest, copy, entry, folder }: Lying): Promise<void> {
  for (const path of [manifest, copy, entry, folder]) await Deno.remove(path, { recursive: true });
}

/** At once, as a progress cannot wait. */
function removeNow(...paths: string[]): void {
  for (const path of paths) Deno.removeSync(path, { recursive: true });
}

/** A progress that has something happen when all backups are listed and none is read. */
function betweenListingAndReading(happen: () => void): typeof SILENT_PROGRESS {
  return { ...SILENT_PROGRESS, runStarted: happen };
}

const EXPIRED_MEANWHILE = "backup has expired meanwhile: it is not counted";

Deno.test("verifyAll() does not count a backup that expire deletes before it is read, and calls nothing faulty", async () => {
  await using setup = await setUpFleet(3);
  const { context, backups: [old] } = await twoWeeks(setup);
  const progress = betweenListingAndReading(() => {
    removeNow(old!.manifest, old!.copy, old!.entry, old!.folder);
  });
  const report = await verifyAll({ ...context, progress }, {});
  assertEquals([report.ok, report.backups, report.backups_in_all, report.faulty], [true, 5, 5, []]);
  assertEquals(exitCodeOfVerifyAll(report), EXIT.ok);
  assertEquals(setup.log.events("info").filter((event) => event === EXPIRED_MEANWHILE).length, 1);
  assertEquals([...setup.log.events("warn"), ...setup.log.events("error")], []);
});

Deno.test("verifyAll() does not count a backup that expire deletes while its chunks are read", async () => {
  await using setup = await setUpFleet(3);
  const { backups: [old] } = await twoWeeks(setup);
  let isThere = true;
  const context = await contextOn(setup, (store) => ({
    read: async (key, options) => {
      if (isThere && key.endsWith(".gz") && store.locate(key).startsWith(pathToFileURL(old!.folder).href)) {
        isThere = false;
        await expireNow(old!);
      }
      return await store.read(key, options);
    },
  }));
  const report = await verifyAll(context, {});
  assertEquals([isThere, report.ok, report.backups, report.backups_in_all, report.faulty], [false, true, 5, 5, []]);
  assertEquals(setup.log.events("error"), []);
});

Deno.test("verifyAll() looks again at a backup of which expire has deleted no more than the manifest yet", async () => {
  await using setup = await setUpFleet(3);
  const { backups: [old] } = await twoWeeks(setup);
  const progress = betweenListingAndReading(() => removeNow(old!.manifest));
  const copy = pathToFileURL(old!.copy).href;
  const context = await contextOn(setup, (store) => ({
    read: async (key, options) => {
      const answer = await store.read(key, options);
      // It is there when it is looked for, and gone with all others a moment later.
      if (store.locate(key) === copy) {
        setTimeout(async () => {
          for (const path of [old!.copy, old!.entry, old!.folder]) await Deno.remove(path, { recursive: true });
        }, 50);
      }
      return answer;
    },
  }));
  const report = await verifyAll({ ...context, progress, lookAgainMs: 1000 }, {});
  assertEquals([report.ok, report.backups, report.backups_in_all, report.faulty], [true, 5, 5, []]);
});

Deno.test("verifyAll() calls a lost manifest a fault: while its copy or its entry is there, and of the newest always", async () => {
  const cases: [what: string, lose: (old: Lying, newest: Lying) => string[], faulty: number][] = [
    ["the manifest alone", ({ manifest }) => [manifest], 1],
    ["all but the copy", ({ manifest, entry }) => [manifest, entry], 1],
    ["all but the entry", ({ manifest, copy }) => [manifest, copy], 1],
    ["all of the newest", (_, { manifest, copy, entry, folder }) => [manifest, copy, entry, folder], 1],
    ["all that there was", (old, newest) => [old, newest].flatMap(({ entry, folder }) => [entry, folder]), 2],
  ];
  for (const [what, lose, faulty] of cases) {
    await using setup = await setUpFleet(2);
    const { context, backups: [old, newest] } = await twoWeeks(setup);
    const progress = betweenListingAndReading(() => {
      removeNow(...lose(old!, newest!));
    });
    const report = await verifyAll({ ...context, progress }, {});
    assertEquals(report.faulty.map(({ database }) => database), Array(faulty).fill(old!.database), what);
    assertEquals([report.backups, report.backups_in_all, exitCodeOfVerifyAll(report)], [4, 4, EXIT.archive], what);
    assertEquals(setup.log.events("info").includes(EXPIRED_MEANWHILE), false, what);
  }
});

Deno.test("verifyAll() does not know of a vanished backup whether it has expired where the store refuses to tell", async () => {
  await using setup = await setUpFleet(2);
  const { backups: [old] } = await twoWeeks(setup);
  const denied = new StoreError("Cannot list: S3 answered 403 AccessDenied", { code: "AccessDenied", status: 403 });
  let isGone = false;
  const context = await contextOn(setup, (store) => ({
    list: (folder, options) => {
      if (isGone && folder.includes("_catalog")) throw denied;
      return store.list(folder, options);
    },
  }));
  const progress = betweenListingAndReading(() => {
    removeNow(old!.folder);
    isGone = true;
  });
  const report = await verifyAll({ ...context, progress }, {});
  assertEquals([report.faulty, report.undecided.map(({ error }) => error)], [[], [denied.message]]);
  assertEquals(exitCodeOfVerifyAll(report), EXIT.store);
});

Deno.test("verifyAll() calls a changed chunk a fault, also where the store does not tell whether its manifest is there", async () => {
  await using setup = await setUpFleet(2);
  const { backups: [old] } = await twoWeeks(setup);
  const slow = new StoreError("Cannot look: S3 answered 503 SlowDown", { code: "SlowDown", status: 503 });
  let isRead = false;
  const isOld = (url: string) => url.startsWith(pathToFileURL(old!.folder).href);
  const context = await contextOn(setup, (store) => ({
    read: (key, options) => {
      isRead ||= key.endsWith(".gz") && isOld(store.locate(key));
      return store.read(key, options);
    },
    stat: (key, options) => {
      if (isRead && isOld(store.locate(key))) throw slow;
      return store.stat(key, options);
    },
  }));
  const names = await Array.fromAsync(Deno.readDir(old!.folder), ({ name }) => name);
  await alterFile(join(old!.folder, names.find((name) => name.endsWith(".gz"))!), flipByte);
  const report = await verifyAll(context, {});
  assertEquals([report.faulty.length, exitCodeOfVerifyAll(report)], [1, EXIT.archive]);
});

/** A full backup and three increments on it, each with a document of its own, and a store that counts what it is asked. */
async function setUpChain(setup: Increments): Promise<{ repository: Repository; asked: string[] }> {
  const many = Array.from({ length: 20 }, (_, n) => ({ _id: `m${n}` }));
  await couchOk(setup.fake, "POST /db/_bulk_docs", { docs: many });
  await setup.expectRun({ kind: "full" });
  for (let n = 1; n < 4; n++) {
    await couchOk(setup.fake, "POST /db/_bulk_docs", { docs: [{ _id: `d${n}` }] });
    await setup.expectRun({ kind: "incremental" });
  }
  const near = await openStore({ bucket: pathToFileURL(setup.backups.root).href });
  const asked: string[] = [];
  const store = new Proxy(near, {
    get(_, name: keyof Store) {
      const member = near[name];
      if (typeof member !== "function") return member;
      return (...call: unknown[]) => {
        asked.push(`${name} ${String(call[0])}`);
        return (member as (...call: unknown[]) => unknown).apply(near, call);
      };
    },
  });
  return { repository: new Repository(store, { prefix: "", suffix: "couchdb" }), asked };
}

function chainContext(repository: Repository): Parameters<typeof verifyAll>[0] {
  return {
    repository,
    openStore: () => Promise.reject(new Error("Only the repository's store is needed")),
    log: new RecordedLog(),
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  };
}

Deno.test("verifyAll() reads each manifest and each chunk of a chain once, and lists its folders once", async () => {
  await using setup = await Increments.start();
  const { repository, asked } = await setUpChain(setup);
  for (const quick of [false, true]) {
    asked.length = 0;
    const report = await verifyAll(chainContext(repository), { quick });
    assertEquals([report.ok, report.backups, report.documents], [true, 4, 20 + 21 + 22 + 23]);
    const read = asked.filter((one) => one.startsWith("read "));

    assertEquals(read.length, new Set(read).size, read.join("\n"));
    assertEquals(read.filter((one) => one.endsWith(".gz")).length, quick ? 0 : 4);
    assertEquals(read.filter((one) => one.includes("/manifest-")).length, 4);
    assertEquals(asked.filter((one) => one.startsWith("stat ")), []);
  }
});

Deno.test("verifyAll() calls all of a chain faulty whose full backup has a flipped byte, and those alone that build on a lost chunk", async () => {
  await using setup = await Increments.start();
  const { repository } = await setUpChain(setup);
  const faulty = async () => (await verifyAll(chainContext(repository), {})).faulty;
  const chunks = (await Array.fromAsync(fs.glob("**/*.json.gz", { cwd: setup.backups.root })))
    .map((path) => join(setup.backups.root, path));
  const documentsIn = (path: string) => new TextDecoder().decode(gunzipSync(Deno.readFileSync(path)));
  const chunkOf = (id: string) => chunks.find((path) => documentsIn(path).includes(`"_id":"${id}"`))!;
  const [full, second] = [chunkOf("m0"), chunkOf("d2")];
  await Deno.remove(second);
  assertEquals((await faulty()).length, 2);
  await alterFile(full, flipByte);
  assertEquals((await faulty()).length, 4);
});

Deno.test("verifyAll() verifies a backup of format 1 also where its folder has later ones of format 2", async () => {
  await using setup = await TestRepository.open();
  const day = "2027-06-01";
  const old = await setup.put({ day, finishedAt: `${day}T10:00:00Z`, format: 1, chunks: [0, 1], isCatalogued: true });
  await setup.put({ day, finishedAt: `${day}T11:00:00Z`, isPrefixed: true, chunks: [0], isCopied: false });
  const context = { ...chainContext(setup.repository), lookAgainMs: 0 };
  const found = async () => {
    const { faulty } = await verifyAll(context, { quick: true });
    return faulty.flatMap(({ finished_at, problems }) => problems.map((problem) => `${finished_at} ${problem}`))
      .filter((one) => one.includes(".json.gz"));
  };
  assertEquals(await found(), []);
  await Deno.remove(join(setup.root, old.folder, "0000001.json.gz"));
  assertEquals(await found(), [`${day}T10:00:00.000Z 0000001.json.gz: It is missing`]);
});
