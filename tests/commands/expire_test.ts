import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { shortRun } from "../../src/archive/layout.ts";
import type { DatabaseHoldings } from "../../src/archive/holdings.ts";
import { Repository } from "../../src/archive/repository.ts";
import { describeExpiry } from "../../src/cli/expire.ts";
import { expire, type ExpireRequest } from "../../src/commands/expire/expire.ts";
import { findLeftovers } from "../../src/commands/expire/leftovers.ts";
import { keep } from "../../src/commands/keep.ts";
import { listBackups } from "../../src/commands/list.ts";
import { ArchiveError, StoreError, UsageError } from "../../src/errors.ts";
import { DirectoryRemover } from "../../src/store/directory/remover.ts";
import type { Remover } from "../../src/store/remover.ts";
import type { RetentionRules } from "../../src/task/retention.ts";
import { type BackupRequest, type PutBackup, TestRepository } from "../archive/repository_setup.ts";
import { task } from "../fakes/task.ts";
import { storeThatFails } from "../schedule/due_setup.ts";
import { withArchived } from "../store/archived.ts";
import { farAway } from "../store/far_away.ts";
import { until } from "../until.ts";

const NOW = new Date("2027-06-15T12:00:00Z");
/** So many databases are expired at the same time, and so many requests delete. */
const AT_ONCE = 16;
const NO_GRACE = { years: 0, months: 0, days: 0, hours: 0 };
const LAST_ONE: RetentionRules = { keepLast: 1, grace: NO_GRACE };

/** What lies there is as old as it says: its files are set back to when their backup was complete. */
async function put(setup: TestRepository, request: BackupRequest): Promise<PutBackup> {
  const found = await setup.put(request);
  await setBack(setup, found.folder, new Date(request.finishedAt));
  return found;
}

/** An increment on a backup that lies there. */
async function buildOn(setup: TestRepository, { folder, name, manifest }: PutBackup, finishedAt: string) {
  const { database, run } = manifest;
  const path = `${folder.slice(setup.repository.prefix.length + 1)}/${name}`;
  const sha256 = "0".repeat(64);
  const day = finishedAt.slice(0, 10);
  await put(setup, { day, finishedAt, database, kind: "incremental", parent: { path, run, sha256 } });
}

/** What `keep` works with. Nothing waits to see whether expire deletes what is pinned. */
function pinning({ repository, log, signal }: TestRepository) {
  const openStore = () => Promise.reject(new Error("Only the config's store is needed"));
  return { repository, openStore, log, signal, now: () => NOW, lookAgainMs: 0 };
}

/** As many databases as are expired at the same time, of each a backup that stays and one that goes. */
async function putMany(setup: TestRepository): Promise<void> {
  for (let n = 0; n < AT_ONCE; n++) {
    for (const day of ["2027-06-01", "2027-05-01"]) {
      await put(setup, { day, finishedAt: `${day}T10:00:00Z`, database: `a${String(n).padStart(2, "0")}` });
    }
  }
}

/** Deletes nothing before one backup of each of those is about to go, and `meanwhile` has happened then. */
function delayed(setup: TestRepository, meanwhile: () => Promise<void>): Remover {
  const near = new DirectoryRemover(setup.root);
  const all = Promise.withResolvers<void>();
  const happened = all.promise.then(meanwhile);
  let waiting = 0;
  return {
    findHold: () => near.findHold(),
    async remove(...call) {
      if (++waiting === AT_ONCE) all.resolve();
      await happened;
      await near.remove(...call);
    },
  };
}

/** Waits until a manifest of a day of a database has been read. */
async function untilRead({ requests, folder }: { requests: () => string[]; folder: string }): Promise<void> {
  await until(() => requests().some((one) => one.startsWith(`read ${folder}/manifest-`)), `reading of ${folder}`);
}

async function setBack(setup: TestRepository, folder: string, at: Date): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(join(setup.root, folder))) {
    const path = join(setup.root, folder, name);
    const { mtime } = await Deno.stat(path);
    if (isFile && Date.now() - mtime!.getTime() < 60_000) await Deno.utime(path, at, at);
  }
}

interface Options extends ExpireRequest {
  rules?: RetentionRules;
  remover?: Remover;
  now?: () => Date;
  freshMs?: number;
  repository?: Repository;
}

async function run(
  setup: TestRepository,
  { rules = LAST_ONE, remover, now = () => NOW, freshMs, repository, ...request }: Options = {},
) {
  return await expire({
    repository: repository ?? setup.repository,
    freshMs,
    remover: remover ?? new DirectoryRemover(setup.root),
    tasks: [task("weekly", { timezone: "UTC", retention: rules }), task("other")],
    log: setup.log,
    now,
    signal: setup.signal,
  }, request);
}

/** Every file, but for what is known of the folder itself. */
async function files(setup: TestRepository, folder = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(setup.root, folder))) {
    if (name === ".couchdb-backup") continue;
    if (isDirectory) found.push(...await files(setup, join(folder, name)));
    else found.push(join(folder, name));
  }
  return found.sort();
}

async function moments(setup: TestRepository): Promise<string[]> {
  const { repository, log, signal } = setup;
  const { backups } = await listBackups({ repository, log, signal, now: () => NOW });
  return backups.flatMap(({ complete, finished_at }) => complete ? finished_at! : []);
}

Deno.test("expire() changes nothing without --confirm, and says what would go and why", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0, 1] });
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0, 1] });
  const before = await files(setup);
  const refusing: Remover = {
    findHold: () => Promise.resolve(undefined),
    remove: () => Promise.reject(new Error("It must not be called")),
  };
  const report = await run(setup, { remover: refusing, showKept: true });
  assertEquals(await files(setup), before);
  assertEquals({ ...report, seconds: 0 }, {
    ok: true,
    confirmed: false,
    expired: [{
      database: "a/b",
      task: "weekly",
      path: setup.repository.locate(setup.folder("2027-05-01")),
      finished_at: "2027-05-01T10:00:00.000Z",
      documents: 20,
      compressed_bytes: 10,
      reasons: ["no rule keeps it"],
    }],
    expired_bytes: 10,
    kept: 1,
    kept_by: { newest: 1, keep_last: 1 },
    kept_backups: [{
      database: "a/b",
      task: "weekly",
      path: setup.repository.locate(setup.folder("2027-06-01")),
      finished_at: "2027-06-01T10:00:00.000Z",
      documents: 20,
      compressed_bytes: 10,
      reasons: ["the newest of its database", "keep_last"],
    }],
    leftovers: { objects: 0, bytes: 0 },
    runs: 0,
    problems: [],
    seconds: 0,
  });
  assertEquals(
    describeExpiry(report),
    `expires  2027-05-01T10:00:00Z  a/b  task weekly  10 B  no rule keeps it
stays  2027-06-01T10:00:00Z  a/b  task weekly  10 B  the newest of its database; keep_last
Would delete 1 backup of 1 database (10 B), 0 left-over objects (0 B) and 0 old runs; 1 backup stays
Kept because: the newest of its database (1), keep_last (1)
Nothing was deleted: run it with --confirm to delete
`,
  );
});

Deno.test("expire() deletes a backup with its catalog entry and its folder, and leaves the others whole", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["a/b", "a", "gone"]) {
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0], database });
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0, 1], database });
    await put(setup, { day: "2026-01-01", finishedAt: "2026-01-01T10:00:00Z", chunks: [0], database, format: 1 });
  }
  const kept = (await files(setup)).filter((name) => name.includes("2027/06/01") || name.includes("-20270601-"));
  const report = await run(setup, { confirm: true });
  assertEquals([report.ok, report.expired.length, report.kept], [true, 6, 3]);
  assertEquals(await files(setup), kept);
  assertEquals((await Array.fromAsync(setup.store.list("backup/ippbx/2026"))).length, 0, "no empty folders stay");
  assertEquals((await run(setup, { confirm: true })).expired, [], "once more there is nothing to do");
});

Deno.test("expire() keeps a chunk that a backup which stays names, too", async () => {
  await using setup = await TestRepository.open();
  // A resumed run takes over the chunks that lie there: two manifests of one folder may name the same ones.
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0, 1, 2] });
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T11:00:00Z", chunks: [0, 1] });
  const report = await run(setup, { confirm: true });
  assertEquals([report.expired.length, report.expired_bytes], [1, 5]);
  assertEquals(
    (await files(setup, setup.folder("2027-05-01"))).map((name) => name.slice(name.lastIndexOf("/") + 1))
      .filter((name) => name.endsWith(".gz")),
    ["0000000.json.gz", "0000001.json.gz"],
  );
  assertEquals(await moments(setup), ["2027-05-01T11:00:00.000Z"]);
});

Deno.test("expire() leaves a parent as long as what builds on it, and then both go", async () => {
  await using setup = await TestRepository.open();
  const runs = ["aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"];
  const base = await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0], run: runs[0]! });
  const parent = {
    path: `${base.folder}/${base.name}`.slice("backup/ippbx/".length),
    run: runs[0]!,
    sha256: "0".repeat(64),
  };
  await put(setup, {
    day: "2027-05-08",
    finishedAt: "2027-05-08T10:00:00Z",
    kind: "incremental",
    parent,
    run: runs[1]!,
  });
  const held = await run(setup, { confirm: true, showKept: true });
  assertEquals(held.kept_backups?.at(-1)?.reasons, ["the backup of 2027-05-08T10:00:00.000Z needs it"]);
  assertEquals(await moments(setup), ["2027-05-08T10:00:00.000Z", "2027-05-01T10:00:00.000Z"]);
  await put(setup, { day: "2027-05-15", finishedAt: "2027-05-15T10:00:00Z", chunks: [0] });
  await run(setup, { confirm: true });
  assertEquals(await moments(setup), ["2027-05-15T10:00:00.000Z"]);
});

Deno.test("expire() keeps the newest whole backup where the latest lacks a chunk", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  const latest = await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0] });
  await Deno.remove(join(setup.root, latest.folder, "0000000.json.gz"));
  const report = await run(setup, { confirm: true });
  assertEquals(report.expired, []);
  assertEquals(await moments(setup), ["2027-06-01T10:00:00.000Z", "2027-05-01T10:00:00.000Z"]);
});

Deno.test("expire() touches nothing of a database of which a manifest is damaged, and exits with 3 for it", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["whole", "hurt"]) {
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database });
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", database, isCopied: false });
    await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", database });
  }
  const hurt = (await files(setup, setup.folder("2027-05-01", "hurt")))[0]!;
  await Deno.writeTextFile(join(setup.root, hurt), "{");
  const report = await run(setup, { confirm: true });
  assertEquals([report.ok, report.problems.map(({ database }) => database)], [false, ["hurt"]]);
  assertStringIncludes(report.problems[0]!.problem, "nothing of this database is deleted");
  assertEquals(report.expired.map(({ database }) => database), ["whole", "whole"]);
});

Deno.test("expire() deletes nothing of databases whose folders were swapped: what lies there counts for neither", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["one", "two", "whole"]) {
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", database, chunks: [0] });
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database, chunks: [0], run: "same" });
  }
  const [one, two] = ["one", "two"].map((database) => join(setup.root, setup.folder("2027-06-01", database)));
  await Deno.rename(one!, `${one}.moved`);
  await Deno.rename(two!, one!);
  await Deno.rename(`${one}.moved`, two!);
  const report = await run(setup, { confirm: true });
  assertEquals([report.ok, report.problems.map(({ database }) => database)], [false, ["one", "two"]]);
  assertStringIncludes(
    report.problems[0]!.problem,
    'It is of a backup of "two" and lies in a folder of "one": a folder was renamed, or two were swapped; ' +
      "nothing of this database is deleted",
  );
  assertEquals(report.expired.map(({ database }) => database), ["whole"]);
});

Deno.test("expire() deletes nothing of a database of which one day's folder is a link to another", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  const newest = await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0] });
  await Deno.symlink("01", join(setup.root, "backup/ippbx/2027/06/02"));
  const report = await run(setup, { confirm: true });
  assertEquals([report.ok, report.expired], [false, []]);
  assertEquals(report.problems.map(({ problem }) => problem), [
    `"${setup.folder("2027-06-02")}" and "${newest.folder}" hold one backup, "${newest.name}": ` +
    "one may be a link to the other; nothing of this database is deleted",
  ]);
});

Deno.test("expire() tells the backups that one run has made of a database within a second, by two tasks of two time zones", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  const both = { run: crypto.randomUUID(), finishedAt: "2027-05-02T10:00:00Z", chunks: [0] };
  await put(setup, { ...both, day: "2027-05-02" });
  await put(setup, { ...both, day: "2027-05-03", task: "other" });
  const report = await run(setup, { confirm: true });
  assertEquals([report.problems, report.expired.map(({ finished_at }) => finished_at.slice(0, 10))], [[], [
    "2027-05-01",
  ]]);
});

Deno.test("expire() lets a pinned backup stay until it is unpinned", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  await put(setup, {
    day: "2027-05-01",
    finishedAt: "2027-05-01T10:00:00Z",
    run: "cccccccc-0000-4000-8000-000000000000",
  });
  const context = pinning(setup);
  const request = { database: "a%2Fb", path: "2027-05-02T00:00Z" };
  const said = await keep(context, { ...request, kept: true, reason: "before the migration" });
  assertEquals([said.finished_at, said.kept], ["2027-05-01T10:00:00.000Z", true]);
  const held = await run(setup, { confirm: true, showKept: true });
  assertEquals(held.kept_backups?.at(-1)?.reasons, ["pinned: before the migration"]);
  assertEquals(held.kept_by, { newest: 1, keep_last: 1, pinned: 1 });
  assertEquals(
    await Deno.readTextFile(join(setup.root, setup.folder("2027-05-01"), "keep-cccccccc.json")),
    `{
  "kept": true,
  "at": "2027-06-15T12:00:00.000Z",
  "reason": "before the migration"
}
`,
  );
  await keep(context, { ...request, kept: false });
  assertEquals((await run(setup, { confirm: true })).expired.length, 1);
  assertEquals(shortRun("cccccccc-0000-4000-8000-000000000000"), "cccccccc");
});

Deno.test("expire() looks again at a database whose turn comes late: a backup on which one was built meanwhile stays", async () => {
  for (const freshMs of [60_000, 0]) {
    await using setup = await TestRepository.open();
    await putMany(setup);
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database: "b" });
    const old = await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", database: "b" });
    const remover = delayed(setup, async () => {
      await untilRead({ requests: () => setup.requests, folder: old.folder });
      await buildOn(setup, old, "2027-06-02T10:00:00Z");
    });
    const report = await run(setup, { confirm: true, remover, freshMs });
    // The first case shows that it is read before its turn.
    const gone = report.expired.map(({ database, finished_at }) => [database, finished_at.slice(0, 10)]);
    assertEquals(gone.length, AT_ONCE + 1);
    assertEquals(gone.at(-1), ["b", freshMs === 0 ? "2027-06-01" : "2027-05-01"]);
  }
});

Deno.test("expire() leaves what a run has gone on from since it was listed as left over", async () => {
  for (const freshMs of [60_000, 0]) {
    await using setup = await TestRepository.open();
    await putMany(setup);
    const newest = await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database: "b" });
    const left = await setup.putUnfinished({
      day: "2027-04-01",
      finishedAt: "2027-04-01T10:00:00Z",
      database: "b",
      chunks: [0, 1],
    });
    await setBack(setup, left.folder, new Date("2027-04-01T10:00:00Z"));
    const remover = delayed(setup, async () => {
      await untilRead({ requests: () => setup.requests, folder: newest.folder });
      // It is resumed while backups of other databases are deleted.
      await Deno.utime(join(setup.root, left.folder, left.name), NOW, NOW);
    });
    const report = await run(setup, { confirm: true, remover, freshMs });
    // The first case shows that it is listed before its turn.
    assertEquals([report.expired.length, report.leftovers.objects], [AT_ONCE, freshMs === 0 ? 0 : 3]);
  }
});

Deno.test("expire() deletes no backup beside a manifest.json that the store does not give out", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const old = await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z" });
  const [key, { prefix, suffix }] = [`${old.folder}/manifest.json`, setup.repository];
  const archived = new Proxy(setup.store, {
    get(store, name) {
      if (name !== "read") return Reflect.get(store, name);
      return (asked: string, ...others: []) => {
        if (asked === key) throw new StoreError("It is in an archive tier", { code: "InvalidObjectState", key });
        return store.read(asked, ...others);
      };
    },
  });
  const report = await run(setup, { confirm: true, repository: new Repository(archived, { prefix, suffix }) });
  assertEquals([report.ok, report.expired.length, report.kept, report.kept_by["not_deleted"]], [false, 0, 2, 1]);
  assertStringIncludes(report.problems[0]!.problem, "archive tier");
  assertEquals((await run(setup, { confirm: true })).expired.length, 1);
  assertEquals((await files(setup)).filter((name) => name.startsWith(old.folder)), []);
});

Deno.test("expire() deletes nothing of a database of which the store does not give out a manifest of format 1 beside another one", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const day = "2027-04-01";
  await put(setup, { day, finishedAt: "2027-04-01T10:00:00Z", format: 1, chunks: [0, 1] });
  await put(setup, { day, finishedAt: "2027-04-01T11:00:00Z", isPrefixed: true, chunks: [0], isCopied: false });
  const before = await files(setup);
  const store = withArchived(setup.store, (url) => /2027.04.01.*manifest\.json$/.test(url));
  const repository = new Repository(store, setup.repository);
  // The other one stays, so that nobody asks whose copy manifest.json is.
  const report = await run(setup, { confirm: true, repository, rules: { keepLast: 2, grace: NO_GRACE } });
  assertEquals([report.ok, report.expired.length, report.leftovers.objects], [false, 0, 0]);
  assertStringIncludes(report.problems[0]!.problem, "manifest.json");
  assertEquals(await files(setup), before);
});

Deno.test("expire() looks again also where most folders of a database are read late, as it has more than are read at once", async () => {
  await using setup = await TestRepository.open();
  const days = Array.from({ length: 31 }, (_, n) => `2027-05-${String(n + 1).padStart(2, "0")}`);
  await putMany(setup);
  const all: PutBackup[] = [];
  for (const day of days) all.push(await put(setup, { day, finishedAt: `${day}T10:00:00Z`, database: "b" }));
  const remover = delayed(setup, async () => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    await buildOn(setup, all[29]!, "2027-06-02T10:00:00Z");
  });
  const report = await run(setup, { confirm: true, remover, freshMs: 200 });
  assertEquals([report.expired.length, report.kept], [AT_ONCE + 30, AT_ONCE + 2]);
});

Deno.test("expire() lets a backup stay that is pinned before its turn, with what it builds on, and deletes the others", async () => {
  await using setup = await TestRepository.open();
  const full = await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", chunks: [0] });
  await buildOn(setup, full, "2027-04-02T10:00:00Z");
  await put(setup, { day: "2027-03-01", finishedAt: "2027-03-01T10:00:00Z", chunks: [0] });
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const near = new DirectoryRemover(setup.root);
  let isPinned = false;
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(...call) {
      // All four are to go, and the newest of them is about to.
      const pin = { database: "a/b", path: "2027-04-02T12:00Z", kept: true, reason: "found something" };
      if (!isPinned) await keep(pinning(setup), pin);
      isPinned = true;
      await near.remove(...call);
    },
  };
  const report = await run(setup, { confirm: true, remover, showKept: true });
  const dates = (all: readonly { finished_at: string }[] = []) => all.map((one) => one.finished_at.slice(5, 10)).sort();
  assertEquals([dates(report.expired), dates(report.kept_backups)], [["03-01", "05-01"], ["04-01", "04-02", "06-01"]]);
  assertEquals([report.kept, report.kept_by], [3, { newest: 1, keep_last: 1, pinned: 1, needed: 1 }]);
  assert((await files(setup)).includes(`${full.folder}/${[...full.manifest.chunks][0]!.name}`));
});

Deno.test("expire() deletes nothing that a backup builds on which is pinned before its turn, though the clock was set back between them", async () => {
  await using setup = await TestRepository.open();
  const full = await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", chunks: [0] });
  await buildOn(setup, full, "2027-04-01T09:00:00Z");
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const near = new DirectoryRemover(setup.root);
  let isPinned = false;
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(...call) {
      if (!isPinned) await keep(pinning(setup), { database: "a/b", path: "2027-04-01T09:30Z", kept: true });
      isPinned = true;
      await near.remove(...call);
    },
  };
  const report = await run(setup, { confirm: true, remover });
  assertEquals(report.problems, []);
  assertEquals(report.kept_by, { newest: 1, keep_last: 1, pinned: 1, needed: 1 });
  assert((await files(setup)).includes(`${full.folder}/${full.name}`));
});

Deno.test("expire() deletes nothing more where a backup is pinned before its turn, however late that is", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z" });
  await put(setup, { day: "2027-05-10", finishedAt: "2027-05-10T10:00:00Z" });
  const base = await put(setup, { day: "2027-05-20", finishedAt: "2027-05-20T10:00:00Z" });
  await put(setup, { day: "2027-06-06", finishedAt: "2027-06-06T10:00:00Z" });
  const near = new DirectoryRemover(setup.root);
  let at = NOW;
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(...call) {
      if (at === NOW) {
        await keep(pinning(setup), { database: "a/b", path: "2027-05-02T00:00Z", kept: true });
        // A run that took long has built on what only grace kept, whose grace is over by then.
        await buildOn(setup, base, "2027-06-15T10:00:00Z");
      }
      at = new Date("2027-06-18T12:00:00Z");
      await near.remove(...call);
    },
  };
  const rules = { keepLast: 1, grace: { ...NO_GRACE, days: 10 } };
  const report = await run(setup, { rules, confirm: true, remover, now: () => at });
  assertEquals(report.expired.map(({ finished_at }) => finished_at.slice(5, 10)), ["05-10"]);
  assertEquals(report.kept_by, { newest: 1, keep_last: 1, grace: 1, pinned: 1 });
});

Deno.test("expire() lets a backup stay that is pinned while a busy store puts its deletion off", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z" });
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const near = new DirectoryRemover(setup.root);
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(key, options) {
      await keep(pinning(setup), { database: "a/b", path: "2027-05-02T00:00Z", kept: true });
      // The store has answered 503, and takes it now.
      await options?.again?.();
      await near.remove(key, options);
    },
  };
  const report = await run(setup, { confirm: true, remover });
  assertEquals([report.ok, report.expired, report.kept_by], [true, [], { newest: 1, keep_last: 1, pinned: 1 }]);
  assertEquals((await moments(setup)).length, 2);
});

Deno.test("expire() deletes no backup of which the store does not say whether it is pinned, and tells what it has deleted", async () => {
  await using setup = await TestRepository.open();
  for (const [database, day] of [["a", "05-01"], ["a", "06-01"], ["b", "05-02"], ["b", "06-01"]] as const) {
    await put(setup, { database, day: `2027-${day}`, finishedAt: `2027-${day}T10:00:00Z` });
  }
  const store = storeThatFails(
    setup.store,
    (method, key) =>
      method === "read" && /05\/02.*\/keep-/.test(key)
        ? new StoreError("It is busy", { code: "SlowDown", status: 503 })
        : undefined,
  );
  const { prefix, suffix } = setup.repository;
  const report = await run(setup, { confirm: true, repository: new Repository(store, { prefix, suffix }) });
  assertEquals([report.ok, report.expired.map(({ database }) => database)], [false, ["a"]]);
  assertEquals(report.problems, [{ database: "b", problem: "It is busy" }]);
  assertEquals(report.kept_by, { newest: 2, keep_last: 2, not_deleted: 1 });
});

Deno.test("keep() says that a backup cannot be pinned which expire deletes at this moment", async () => {
  await using setup = await TestRepository.open();
  const old = await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z" });
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const near = new DirectoryRemover(setup.root);
  let pinned: Promise<unknown> | undefined;
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(...call) {
      // Behind the look at the pin, and before the manifest is gone.
      const pin = { database: "a/b", path: "2027-05-02T00:00Z", kept: true };
      pinned ??= assertRejects(
        () => keep({ ...pinning(setup), lookAgainMs: 300 }, pin),
        ArchiveError,
        "expire has deleted the backup at",
      );
      await until(async () => (await files(setup, old.folder)).some((key) => key.includes("/keep-")), "a pin");
      await near.remove(...call);
    },
  };
  const report = await run(setup, { confirm: true, remover });
  await pinned;
  assertEquals(report.expired.map(({ finished_at }) => finished_at), ["2027-05-01T10:00:00.000Z"]);
});

Deno.test("expire() looks into many databases at once where the store is far away, and tells the same", async () => {
  await using setup = await TestRepository.open();
  for (let n = 0; n < 20; n++) {
    const database = `db${String(n).padStart(2, "0")}`;
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0], database });
    if (n % 3 === 0) {
      await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0, 1], database });
    }
  }
  const { store, mostReading } = farAway(setup.store, 30, {
    count: 11,
    holds: (call, key) => call === "read" && key.includes("/db"),
  });
  const { prefix, suffix } = setup.repository;
  const near = await run(setup, { showKept: true });
  const far = await run(setup, { showKept: true, repository: new Repository(store, { prefix, suffix }) });
  assertEquals({ ...far, seconds: 0 }, { ...near, seconds: 0 });
  assertEquals([far.expired.length, far.kept], [7, 20]);
  assert(mostReading() > 10, `${mostReading()} at once`);
});

Deno.test("expire() takes left-overs only behind a later whole backup, and never what a run may still go on from", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0] });
  const stale = setup.folder("2027-04-01");
  await setup.write(stale, "0000000.json.gz", "12345");
  await setup.write(stale, "checkpoint-0a0a0a0a.json", "{}");
  await setup.write(stale, "filter-0a0a0a0a-0.bin", "123");
  await setup.write(stale, "notes.txt", "somebody's own");
  await setBack(setup, stale, new Date("2027-04-01T10:00:00Z"));
  const only = setup.folder("2027-04-01", "never-complete");
  await setup.write(only, "0000000.json.gz", "12345");
  await setBack(setup, only, new Date("2027-04-01T10:00:00Z"));
  const underWay = setup.folder("2027-06-14");
  await setup.write(underWay, "0000000.json.gz", "12345");
  await setup.write(underWay, "checkpoint-0b0b0b0b.json", "{}");
  await setBack(setup, underWay, new Date("2027-06-12T10:00:00Z"));
  const report = await run(setup, { confirm: true });
  assertEquals(report.leftovers, { objects: 3, bytes: 10 });
  const left = await files(setup);
  assert(left.includes(`${stale}/notes.txt`), "what is not ours stays");
  assert(left.includes(`${only}/0000000.json.gz`), "it is all that there is of that database");
  assertEquals(left.filter((name) => name.startsWith(underWay)).length, 2);
});

Deno.test("expire() takes what a run was writing when it was killed, and not what one may be writing", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-14", finishedAt: "2027-06-14T10:00:00Z", chunks: [0] });
  const [stale, underWay] = [setup.folder("2027-04-01"), setup.folder("2027-06-12")];
  for (const folder of [stale, underWay]) {
    await setup.write(folder, ".couchdb-backup-7-00000000-00000000-0000-4000-8000-000000000000.tmp", "12345");
  }
  await setBack(setup, stale, new Date("2027-04-01T10:00:00Z"));
  await setBack(setup, underWay, new Date("2027-06-12T10:00:00Z"));
  assertEquals((await run(setup)).leftovers, { objects: 1, bytes: 5 });
  assertEquals((await run(setup, { confirm: true })).leftovers, { objects: 1, bytes: 5 });
  await assertRejects(() => Deno.stat(join(setup.root, stale)), Deno.errors.NotFound);
  assertEquals((await files(setup)).filter((name) => name.startsWith(underWay)).length, 1);
});

Deno.test("expire() names what may not be deleted, leaves what that builds on, and goes on with other databases", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["locked", "open"]) {
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database });
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", database });
    await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", database });
  }
  const real = new DirectoryRemover(setup.root);
  const remover: Remover = {
    findHold: () => Promise.resolve(undefined),
    remove: (key, options) =>
      key.includes("/locked/")
        ? Promise.reject(new StoreError(`Cannot delete "${key}"`, { code: "AccessDenied" }, { hint: "Ask" }))
        : real.remove(key, options),
  };
  const report = await run(setup, { confirm: true, remover });
  assertEquals(report.ok, false);
  assertEquals(report.problems.map(({ database }) => database), ["locked"]);
  assertStringIncludes(report.problems[0]!.problem, "(Ask)");
  assertEquals(report.expired.map(({ database }) => database), ["open", "open"]);
  assertEquals(report.kept, 4);
});

Deno.test("expire() counts a backup as gone as soon as its manifest is, names what is left of it, and takes that the next time", async () => {
  for (const what of ["0000001.json.gz", "_catalog/", "manifest-", "manifest.json"]) {
    await using setup = await TestRepository.open();
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0] });
    for (const day of ["2027-05-01", "2027-04-01"]) {
      await put(setup, { day, finishedAt: `${day}T10:00:00Z`, chunks: [0, 1, 2] });
    }
    const real = new DirectoryRemover(setup.root);
    const isRefused = (key: string) => key.includes(what) && /2027[/-]?05[/-]?01/.test(key);
    const remover: Remover = {
      findHold: () => Promise.resolve(undefined),
      remove: (key, options) =>
        isRefused(key)
          ? Promise.reject(new StoreError(`Cannot delete "${key}"`, { code: "AccessDenied" }))
          : real.remove(key, options),
    };
    const report = await run(setup, { confirm: true, remover });
    const isThere = what.startsWith("manifest");
    assertEquals([report.ok, report.problems.length, report.problems[0]!.problem.includes(what)], [false, 1, true]);
    // Backups go from the newest on: behind one that stays no other one goes.
    const gone = report.expired.map(({ finished_at: at }) => at.slice(0, 10));
    assertEquals(gone.includes("2027-05-01"), !isThere, what);
    assertEquals((await moments(setup)).length, report.kept, "what is counted as kept is there");
    assertEquals(report.kept_by.not_deleted ?? 0, report.kept - 1);
    if (isThere) continue;
    assertEquals([gone.length, report.kept], [2, 1]);
    assertEquals(report.expired_bytes, what === "_catalog/" ? 30 : 25, "what is left has freed nothing");
    const again = await run(setup, { confirm: true });
    assertEquals([again.ok, again.expired, again.leftovers.objects], [true, [], 1]);
    assertEquals((await files(setup)).filter(isRefused), []);
  }
});

Deno.test("expire() counts the leftovers that it could delete beside one that it could not", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0] });
  const { folder } = await setup.putUnfinished({
    day: "2027-04-01",
    finishedAt: "2027-04-01T10:00:00Z",
    chunks: [0, 1],
  });
  await setBack(setup, folder, new Date("2027-04-01T10:00:00Z"));
  const real = new DirectoryRemover(setup.root);
  const remover: Remover = {
    findHold: () => Promise.resolve(undefined),
    remove: (key, options) =>
      key.endsWith("0000001.json.gz")
        ? Promise.reject(new StoreError(`Cannot delete "${key}"`, { code: "AccessDenied" }))
        : real.remove(key, options),
  };
  const { leftovers, problems } = await run(setup, { confirm: true, remover });
  assertEquals([leftovers.objects, problems.length], [2, 1]);
  assertEquals((await files(setup, folder)).length, 1);
});

Deno.test("expire() keeps what the store has locked, and what the locked one builds on", async () => {
  await using setup = await TestRepository.open();
  const id = "dddddddd-0000-4000-8000-000000000000";
  const base = await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", run: id });
  const parent = { path: `${base.folder}/${base.name}`.slice("backup/ippbx/".length), run: id, sha256: "0".repeat(64) };
  await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", kind: "incremental", parent });
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const remover: Remover = {
    findHold: (key) =>
      Promise.resolve(key.includes("2027/05/01") ? "locked until 2028-01-01T00:00:00.000Z" : undefined),
    remove: () => Promise.reject(new Error("Nothing may go")),
  };
  const report = await run(setup, { confirm: true, remover, showKept: true });
  assertEquals([report.ok, report.expired], [true, []]);
  assertEquals(report.kept_backups?.map(({ reasons }) => reasons.at(-1)), [
    "keep_last",
    "locked until 2028-01-01T00:00:00.000Z",
    "the backup of 2027-05-01T10:00:00.000Z needs it",
  ]);
  assertEquals(report.kept_by, { newest: 1, keep_last: 1, locked: 1, needed: 1 });
});

Deno.test("expire() refuses to run without a retention, and with an unknown task", async () => {
  await using setup = await TestRepository.open();
  const context = {
    repository: setup.repository,
    remover: new DirectoryRemover(setup.root),
    tasks: [task("weekly")],
    log: setup.log,
    now: () => NOW,
    signal: setup.signal,
  };
  await assertRejects(() => expire(context, {}), UsageError, "No task has a retention, so nothing expires");
  await assertRejects(() => expire(context, { tasks: ["weekly"] }), UsageError, 'The task "weekly" has no retention');
  await assertRejects(() => expire(context, { tasks: ["dayly"] }), UsageError, 'The config has no task "dayly"');
});

Deno.test("expire() of a database that there is nothing of is a mistake, and names what was meant", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database: "orders" });
  for (const confirm of [false, true]) {
    const error = await assertRejects(
      () => run(setup, { database: "oders", confirm }),
      UsageError,
      'There is no backup of database "oders"',
    );
    assertEquals([error.exitCode, error.hint], [2, 'Did you mean "orders"?']);
  }
  assertEquals((await run(setup, { database: "orders" })).kept, 1);
  // What somebody has deleted by hand has left entries in the catalog, which go.
  await Deno.remove(join(setup.root, folder), { recursive: true });
  assertEquals((await run(setup, { database: "orders", confirm: true })).leftovers.objects, 1);
  await assertRejects(() => run(setup, { database: "orders" }), UsageError);
});

Deno.test("expire() killed at any deletion leaves backups that are whole or gone, and the next one ends it", async () => {
  const rules: RetentionRules = { keepLast: 1, grace: NO_GRACE };
  for (let kill = 0;; kill++) {
    await using setup = await TestRepository.open();
    const id = "eeeeeeee-0000-4000-8000-000000000000";
    const base = await put(setup, { day: "2027-03-01", finishedAt: "2027-03-01T10:00:00Z", chunks: [0, 1], run: id });
    const parent = {
      path: `${base.folder}/${base.name}`.slice("backup/ippbx/".length),
      run: id,
      sha256: "0".repeat(64),
    };
    await put(setup, {
      day: "2027-04-01",
      finishedAt: "2027-04-01T10:00:00Z",
      chunks: [0],
      kind: "incremental",
      parent,
    });
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", chunks: [0], format: 1 });
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0, 1] });
    const real = new DirectoryRemover(setup.root);
    let calls = 0;
    const remover: Remover = {
      findHold: () => real.findHold(),
      remove: async (key, options) => {
        if (calls++ >= kill) throw new Deno.errors.Interrupted("killed");
        await real.remove(key, options);
      },
    };
    const cut = await run(setup, { rules, confirm: true, remover });
    // What is called complete must be whole: each chunk that a manifest names is there, and so is what it builds on.
    const seen = await run(setup, { rules: { keepLast: 99, grace: NO_GRACE }, showKept: true });
    for (const { reasons } of seen.kept_backups!) {
      assert(!reasons.some((reason) => reason.includes("lacks")), `${kill}`);
    }
    assertEquals(seen.expired, [], `after ${kill} deletions`);
    await run(setup, { rules, confirm: true });
    assertEquals(await moments(setup), ["2027-06-01T10:00:00.000Z"], `after ${kill} deletions`);
    const left = (await files(setup)).filter((name) => !name.includes("2027/06/01") && !name.includes("-20270601-"));
    assertEquals(left, [], `after ${kill} deletions`);
    if (cut.ok) {
      assert(kill >= 10, "it was killed at each deletion");
      return;
    }
  }
});

/** Three databases, each with a chain that goes, a backup of format 1 that goes, and one that stays. */
async function putChains(setup: TestRepository): Promise<void> {
  for (const database of ["a", "b", "c"]) {
    const at = { database, chunks: [0, 1] };
    const full = await put(setup, { day: "2027-03-01", finishedAt: "2027-03-01T10:00:00Z", ...at });
    await buildOn(setup, full, "2027-03-02T10:00:00Z");
    await put(setup, { day: "2027-04-01", finishedAt: "2027-04-01T10:00:00Z", format: 1, ...at });
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", ...at });
  }
}

/** Takes its time for each deletion, another one each time. */
async function hesitate(count: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, count * 7 % 5));
}

Deno.test("expire() deletes of many databases at once, sixteen objects at the most, and of each in its order", async () => {
  await using setup = await TestRepository.open();
  await putChains(setup);
  for (let n = 0; n < 20; n++) {
    const at = { database: `d${n}`, chunks: Array.from({ length: 20 }, (_, number) => number) };
    await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z", ...at });
    await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", ...at, chunks: [0] });
  }
  const near = new DirectoryRemover(setup.root);
  const calls: string[] = [];
  const atWork = new Set<string>();
  let [most, mostManifests] = [0, 0];
  const remover: Remover = {
    findHold: () => near.findHold(),
    async remove(key, options) {
      calls.push(`begun ${key}`);
      atWork.add(key);
      most = Math.max(most, atWork.size);
      mostManifests = Math.max(mostManifests, [...atWork].filter((one) => one.includes("/manifest-")).length);
      await hesitate(calls.length);
      await near.remove(key, options);
      atWork.delete(key);
      calls.push(`gone ${key}`);
    },
  };
  const report = await run(setup, { confirm: true, remover });
  assertEquals([report.ok, report.expired.length, report.kept], [true, 3 * 3 + 20, 3 + 20]);
  assertEquals(most, AT_ONCE);
  assert(mostManifests > 1, "one database waits for no other one");
  const placeOf = (what: string) => {
    const place = calls.findIndex((call) => call.includes(what));
    assert(place >= 0, what);
    return place;
  };
  for (const database of ["a", "b", "c"]) {
    const [fullsFolder, childsFolder] = ["2027-03-01", "2027-03-02"].map((day) => setup.folder(day, database));
    const order = [
      `gone ${childsFolder}/manifest-`,
      `gone ${childsFolder}/manifest.json`,
      `begun ${fullsFolder}/manifest-`,
      `gone ${fullsFolder}/manifest-`,
      `begun ${fullsFolder}/manifest.json`,
      `gone ${fullsFolder}/manifest.json`,
      `begun ${fullsFolder}/0000000`,
    ];
    assertEquals(order.map(placeOf), order.map(placeOf).toSorted((a, b) => a - b), database);
  }
});

Deno.test("expire() killed amid the deletions of several databases leaves backups that are whole or gone in each", async () => {
  for (let kill = 1;; kill += 3) {
    await using setup = await TestRepository.open();
    await putChains(setup);
    const near = new DirectoryRemover(setup.root);
    const killed = new AbortController();
    let calls = 0;
    const remover: Remover = {
      findHold: () => near.findHold(),
      async remove(key, options) {
        if (calls++ === kill) killed.abort(new Deno.errors.Interrupted("killed"));
        await hesitate(calls);
        await near.remove(key, options);
      },
    };
    const isKilled = await run({ ...setup, signal: killed.signal } as TestRepository, { confirm: true, remover })
      .then(() => false, () => true);
    const seen = await run(setup, { rules: { keepLast: 99, grace: NO_GRACE }, showKept: true });
    for (const { reasons } of seen.kept_backups!) {
      assert(!reasons.some((reason) => reason.includes("lacks")), `${kill}`);
    }
    assertEquals([seen.problems, seen.expired], [[], []], `after ${kill} deletions`);
    await run(setup, { confirm: true });
    const left = (await files(setup)).filter((name) => !name.includes("2027/06/01") && !name.includes("-20270601-"));
    assertEquals(left, [], `after ${kill} deletions`);
    if (!isKilled) {
      assert(kill > 24, "it was killed in each phase");
      return;
    }
  }
});

Deno.test("expire() deletes the folders of old runs, but for the last twelve of each task and those of ninety days", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  for (let month = 0; month < 20; month++) {
    const elapse = new Date(Date.UTC(2027, 5 - month, 1, 18));
    for (const name of ["report.json", "databases/a%2Fb.json"]) {
      await setup.write(setup.repository.runFolder({ task: "weekly", elapse }), name, "{}");
    }
  }
  const report = await run(setup, { confirm: true });
  assertEquals(report.runs, 8);
  const runs = await Array.fromAsync(setup.store.list(setup.repository.taskFolder("weekly")));
  assertEquals([runs.length, runs[0]?.name], [12, "20260701T180000Z"]);
});

Deno.test("expire() takes the catalog's entries of backups that somebody has deleted by hand", async () => {
  await using setup = await TestRepository.open();
  await put(setup, { day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z" });
  const gone = await put(setup, { day: "2027-05-01", finishedAt: "2027-05-01T10:00:00Z" });
  await Deno.remove(join(setup.root, gone.folder), { recursive: true });
  const report = await run(setup, { confirm: true });
  assertEquals([report.expired.length, report.leftovers.objects], [0, 1]);
  assertEquals((await files(setup)).filter((name) => name.includes("_catalog")).length, 1);
});

Deno.test("findLeftovers() finds the newest of more backups than a call takes arguments", () => {
  const at = (minute: number) => new Date(Date.parse("2026-01-01T00:00:00Z") + minute * 60_000);
  const backups = Array.from({ length: 150_000 }, (_, minute) => ({
    isWhole: minute < 149_000,
    finishedAt: at(minute),
    run: "aaaaaaaa",
    chunks: new Map(),
    seen: [],
  }));
  const objects = new Map([["0000001.json.gz", 148_998], ["0000002.json.gz", 149_000]].map(([name, minute]) => {
    return [name as string, { modified: at(minute as number), sizeBytes: 1 }];
  }));
  const holdings = { folders: [{ folder: "f", objects, backups, damaged: [] }] } as unknown as DatabaseHoldings;
  assertEquals(findLeftovers(holdings, { now: at(400_000) }).map(({ key }) => key), ["f/0000001.json.gz"]);
});

Deno.test("expire() keeps the only backup of a database, whatever other spelling of its folder lies beside", async () => {
  for (const [database, other] of [["a/b", "a%2fb"], ["a$b", "a%24b"], ["orders", "%6Frders"]] as const) {
    await using setup = await TestRepository.open();
    await put(setup, { database, day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", chunks: [0, 1] });
    await setup.putBeside("2027-06-01", other);
    const before = await files(setup);
    const report = await run(setup, { confirm: true });
    assertEquals([report.ok, report.expired, report.kept], [true, [], 1], other);
    assertEquals(await files(setup), before, other);
  }
});

Deno.test("expire() keeps so many backups as keep_last says where the newest one's folder is there in several spellings", async () => {
  await using setup = await TestRepository.open();
  for (const day of ["2027-06-01", "2027-06-02", "2027-06-03", "2027-06-04"]) {
    await put(setup, { day, finishedAt: `${day}T10:00:00Z`, chunks: [0] });
  }
  for (const name of ["a%2fb", "%61%2Fb", "a%2F%62"]) await setup.putBeside("2027-06-04", name);
  const report = await run(setup, { rules: { keepLast: 3, grace: NO_GRACE }, confirm: true });
  assertEquals(report.expired.map((one) => one.finished_at), ["2027-06-01T10:00:00.000Z"]);
  assertEquals(
    await moments(setup),
    ["2027-06-04T10:00:00.000Z", "2027-06-03T10:00:00.000Z", "2027-06-02T10:00:00.000Z"],
  );
});
