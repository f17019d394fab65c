import { assertEquals, assertRejects } from "@std/assert";
import { join, relative } from "node:path";
import { Catalog } from "../../src/archive/catalog.ts";
import { listByDatabase, listEntries } from "../../src/archive/folders.ts";
import { Repository } from "../../src/archive/repository.ts";
import { expire } from "../../src/commands/expire/expire.ts";
import { listBackups } from "../../src/commands/list.ts";
import { measureBackups } from "../../src/commands/sizes.ts";
import { StoreError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { S3Remover } from "../../src/store/s3/remover.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { ListOptions, Store } from "../../src/store/store.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { task } from "../fakes/task.ts";
import { TestRepository } from "./repository_setup.ts";

const DAYS = ["2027-02-01", "2027-03-01", "2027-04-01", "2027-05-01", "2027-06-01"];
const NOW = () => new Date("2027-06-15T12:00:00Z");

/** The same archive in a bucket. */
async function inBucket(setup: TestRepository, { maxKeys = 1000 } = {}) {
  const fake = await FakeS3.start({ maxKeys, allowsDelete: true });
  const copy = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = join(folder, name);
      if (isDirectory) {
        await copy(path);
        continue;
      }
      const { mtime } = await Deno.stat(path);
      fake.objects.set(`test-bucket/f/${relative(setup.root, path)}`, {
        bytes: await Deno.readFile(path),
        etag: '"x"',
        checksum: undefined,
        headers: {},
        modified: new Date(Math.floor(mtime!.getTime() / 1000) * 1000),
      });
    }
  };
  await copy(setup.root);
  const options = {
    bucket: "s3://test-bucket/f",
    endpoint: fake.url,
    region: fake.keys.region,
    accessKeyId: fake.keys.accessKeyId,
    secretAccessKey: new Secret(fake.keys.secretAccessKey),
  };
  const { prefix, suffix } = setup.repository;
  return {
    fake,
    repository: new Repository(new S3Store(options), { prefix, suffix }),
    remover: new S3Remover(options),
    [Symbol.asyncDispose]: () => fake.close(),
  };
}

/** Databases whose folders come in another order than their names. */
const NAMES = ["a", "a-b", "a/b", "a_b", "a0", "b(c", "b"];

async function fill(setup: TestRepository, { databases = NAMES, chunks = [0] as number[] } = {}): Promise<number> {
  for (const [index, day] of DAYS.entries()) {
    for (const database of databases) {
      await setup.put({ day, finishedAt: `${day}T10:00:0${index}Z`, database, chunks });
    }
  }
  return DAYS.length * databases.length;
}

function expiring({ repository, remover }: Awaited<ReturnType<typeof inBucket>>, setup: TestRepository) {
  const grace = { years: 0, months: 0, days: 0, hours: 0 };
  const tasks = [task("weekly", { timezone: "UTC", retention: { keepLast: 4, grace } })];
  return { repository, remover, tasks, log: setup.log, now: NOW, signal: setup.signal };
}

for (const maxKeys of [1, 3, 1000]) {
  Deno.test(`listByDatabase() gives each database once with all its folders, in a bucket as in a folder: pages of ${maxKeys}`, async () => {
    await using setup = await TestRepository.open();
    await fill(setup);
    await setup.put({
      day: "2027-06-02",
      finishedAt: "2027-06-02T10:00:00Z",
      database: "a",
      format: 1,
      chunks: [0, 1],
    });
    await setup.putBeside("2027-06-01", "a%2fb");
    // UTF-16 units would put the second one first.
    for (const name of ["\uff5e", "\u{1f600}"]) await setup.putBeside("2027-06-01", name);
    await setup.putBeside("2027-05-01", "\u{1f600}");
    await setup.write(setup.folder("2027-06-01", "a"), "deeper/still/x", "x");
    await setup.write("backup/ippbx/2027/06/01/couchdb", "beside", "x");
    await using bucket = await inBucket(setup, { maxKeys });
    const { fake } = bucket;
    // A folder without a name, which only a bucket can have, is nobody's.
    const [key, object] = fake.objects.entries().find(([key]) => key.endsWith("/couchdb/beside"))!;
    fake.objects.set(key.replace(/beside$/, "/x"), object);
    const all = async (repository: Repository, after?: string) =>
      (await Array.fromAsync(listByDatabase(repository, { after }))).map(({ database, folders, entries }) => ({
        database,
        entries,
        folders: folders.map(({ folder, objects }) => [folder, [...objects.keys()]]),
      }));
    for (const after of [undefined, "keep"]) {
      const near = await all(setup.repository, after);
      assertEquals(await all(bucket.repository, after), near);
      assertEquals(near.map(({ folders }) => folders.length), [5, 1, 5, 6, 5, 5, 5, 5, 1, 2], `after ${after}`);
    }
  });
}

Deno.test("listByDatabase() gives a database once one day of which has been moved to another disk, and those beside it", async () => {
  await using setup = await TestRepository.open();
  await fill(setup, { databases: ["a", "a-b"] });
  const folder = join(setup.root, setup.folder(DAYS[2]!, "a"));
  await Deno.rename(folder, join(setup.root, "moved"));
  await Deno.symlink(join(setup.root, "moved"), folder);
  const found = await Array.fromAsync(listByDatabase(setup.repository, {}));
  assertEquals(found.map(({ database, folders, entries }) => [database, folders.length, entries.length]), [
    ["a-b", DAYS.length, DAYS.length],
    ["a", DAYS.length, DAYS.length],
  ]);
});

Deno.test("listByDatabase() ends where a store lists folders out of order: a database in parts would be judged by each part", async () => {
  await using setup = await TestRepository.open();
  await fill(setup, { databases: ["a", "b"] });
  const store: Store = new Proxy(setup.store, {
    get(target, property) {
      if (property !== "list") return Reflect.get(target, property)?.bind(target);
      return async function* (folder: string, options: ListOptions) {
        const entries = await Array.fromAsync(target.list(folder, options));
        yield* folder.includes("/06/01/") ? entries.reverse() : entries;
      };
    },
  });
  const { prefix, suffix } = setup.repository;
  await assertRejects(
    () => Array.fromAsync(listByDatabase(new Repository(store, { prefix, suffix }), {})),
    StoreError,
    'lists the folder "a" after "b"',
  );
});

Deno.test("expire() asks for each manifest once, and lists by the page and not by the folder; what goes is looked at twice", async () => {
  await using setup = await TestRepository.open();
  const backups = await fill(setup);
  await using bucket = await inBucket(setup);
  const report = await expire(expiring(bucket, setup), {});
  assertEquals([report.expired.length, report.kept, report.problems], [NAMES.length, backups - NAMES.length, []]);
  const { fake } = bucket;
  // The years, the months, each month and each day; the catalog, what is known to be damaged, and runs of two kinds.
  assertEquals(fake.count("ListObjectsV2"), 2 + 2 * DAYS.length + 4);
  assertEquals([fake.count("GetObject"), fake.count("HeadObject")], [backups, NAMES.length]);
  assertEquals(report.expired.map(({ database }) => database), [...NAMES].sort());
});

Deno.test("expire() with confirm lists no folder once more for what it deletes", async () => {
  await using setup = await TestRepository.open();
  const backups = await fill(setup);
  await using bucket = await inBucket(setup);
  const { fake } = bucket;
  const before = fake.objects.size;
  const report = await expire(expiring(bucket, setup), { confirm: true });
  assertEquals([report.expired.length, report.problems], [NAMES.length, []]);
  assertEquals(fake.count("ListObjectsV2"), 2 + 2 * DAYS.length + 4);
  // Of each that goes whether it is pinned, and whose copy manifest.json is.
  assertEquals([fake.count("GetObject"), fake.count("HeadObject")], [backups + 2 * NAMES.length, NAMES.length]);
  // Chunk, manifest, copy and entry.
  assertEquals(before - fake.objects.size, 4 * NAMES.length);
});

Deno.test("listBackups() and measureBackups() list by the page and not by the folder", async () => {
  await using setup = await TestRepository.open();
  const backups = await fill(setup);
  await using bucket = await inBucket(setup);
  const { fake, repository } = bucket;
  const { log, signal } = setup;
  assertEquals((await listBackups({ repository, log, signal, now: NOW })).backups.length, backups);
  assertEquals([fake.count("ListObjectsV2"), fake.count("GetObject")], [2 + 2 * DAYS.length + 2, 0]);
  assertEquals(await measureBackups({ repository, signal }), await measureBackups(setup));
});

Deno.test("listBackups() passes over the chunks of a large backup, however many pages they fill", async () => {
  await using setup = await TestRepository.open();
  await fill(setup, { databases: ["large", "small"], chunks: Array.from({ length: 40 }, (_, number) => number) });
  await using bucket = await inBucket(setup, { maxKeys: 10 });
  const { log, signal } = setup;
  const { backups } = await listBackups({ repository: bucket.repository, log, signal, now: NOW });
  assertEquals(backups.length, 2 * DAYS.length);
  // Of each day the first page of one, the rest of it with the chunks of the other, and the rest of that.
  const pages = bucket.fake.count("ListObjectsV2");
  assertEquals(pages <= 2 + DAYS.length + 3 * DAYS.length + 2, true, `${pages} pages`);
});

Deno.test("listBackups() ends where somebody has put a folder of many files called keep into that of a backup", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2027-06-01", finishedAt: "2027-06-01T10:00:00Z", database: "a", chunks: [0] });
  for (let number = 0; number < 12; number++) {
    await setup.write(setup.folder("2027-06-01", "a"), `keep/${number}`, "x");
  }
  await using bucket = await inBucket(setup, { maxKeys: 3 });
  const { log } = setup;
  const signal = AbortSignal.timeout(10_000);
  const { backups } = await listBackups({ repository: bucket.repository, log, signal, now: NOW });
  assertEquals(backups.map(({ database }) => database), ["a"]);
});

Deno.test("listEntries() gives the entries of each database by as few listings as there are pages, in a folder the same", async () => {
  await using setup = await TestRepository.open();
  await fill(setup);
  await setup.write(setup.repository.catalogFolder("a/b").replace("%2F", "%2f"), "x", "another spelling");
  await using bucket = await inBucket(setup, { maxKeys: 10 });
  const found = await Array.fromAsync(listEntries(bucket.repository, {}));
  const lists = bucket.fake.count("ListObjectsV2");
  const catalog = new Catalog(bucket.repository);
  assertEquals(found.map(({ database }) => database), await Array.fromAsync(catalog.databases({})));
  assertEquals(new Set(found.map(({ database }) => database)), new Set(NAMES));
  for (const { database, entries } of found) {
    assertEquals(catalog.keysAmong(entries, database), await catalog.keys(database, {}), database);
  }
  const objects = found.reduce((sum, { entries }) => sum + entries.length, 1);
  assertEquals(lists, Math.ceil(objects / 10));
  const inFolder = await Array.fromAsync(listEntries(setup.repository, {}));
  assertEquals(inFolder, found);
});
