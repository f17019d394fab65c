import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Catalog } from "../../src/archive/catalog.ts";
import { Repository } from "../../src/archive/repository.ts";
import { type BackupList, listBackups, listDatabases } from "../../src/commands/list.ts";
import { describeBackups } from "../../src/cli/list.ts";
import { keep } from "../../src/commands/keep.ts";
import { measureBackups } from "../../src/commands/sizes.ts";
import { UsageError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { setUpRestore } from "./restore/setup.ts";

Deno.test("listDatabases() gives each name as it is and as it stands in URLs and keys", async () => {
  await using setup = await setUpRestore();
  for (const name of ["a", "a%2Fb", "a%2Bb"]) await couchOk(setup.server, `PUT /${name}`);
  assertEquals((await listDatabases(setup.context)).databases, [
    { database: "_replicator", encoded: "_replicator" },
    { database: "_users", encoded: "_users" },
    { database: "a", encoded: "a" },
    { database: "a+b", encoded: "a%2Bb" },
    { database: "a/b", encoded: "a%2Fb" },
  ]);
});

const NOW = () => new Date("2026-11-25T20:00:00Z");

async function list(setup: TestRepository, options: { database?: string; rebuild?: boolean } = {}) {
  const { repository, log, signal } = setup;
  return await listBackups({ repository, log, signal, now: NOW }, options);
}

Deno.test("listBackups() asks the store until when what is shown is locked, where that is wanted, once for each", async () => {
  await using setup = await TestRepository.open();
  const { repository, signal } = setup;
  await setup.put({ day: "2026-11-24", finishedAt: "2026-11-24T10:00:00Z", chunks: [0] });
  const locked = await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", chunks: [0] });
  await setup.putUnfinished({ day: "2026-11-26", finishedAt: "2026-11-26T10:00:00Z" });
  const asked: string[] = [];
  const store: Store = new Proxy(repository.store, {
    get: (target, name) => {
      const value = Reflect.get(target, name, target);
      if (name !== "stat") return typeof value === "function" ? value.bind(target) : value;
      return async (key: string, options: object) => {
        asked.push(key);
        const facts = await target.stat(key, options);
        return key.endsWith(locked.name) ? { ...facts, hold: "locked until 2027-03-25T10:00:00.000Z" } : facts;
      };
    },
  });
  const places = { repository: new Repository(store, repository), log: setup.log, signal, now: NOW };
  const holds = async (options: Parameters<typeof listBackups>[1]) => {
    const list = await listBackups(places, options);
    return [
      list.backups.map(({ hold }) => hold),
      describeBackups(list).split("\n").map((line) => /LOCKED|until \S+/.exec(line)?.[0]),
    ];
  };
  assertEquals(await holds({}), [[undefined, undefined, undefined], [
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]]);
  assertEquals(asked, []);
  assertEquals(await holds({ locks: true }), [
    [null, "locked until 2027-03-25T10:00:00.000Z", null],
    ["LOCKED", undefined, "until 2027-03-25T10:00:00Z", undefined, undefined, undefined],
  ]);
  assertEquals(asked.length, 2);
  assertEquals((await holds({ locks: true, until: new Date("2026-11-24T23:00Z") }))[0], [null]);
  assertEquals(asked.length, 3);
});

const moments = ({ backups }: BackupList) => backups.map(({ database, finished_at }) => [database, finished_at]);

Deno.test("listBackups() names every complete backup by its moment, and what is not complete by its date", async () => {
  await using setup = await TestRepository.open();
  const run = "bbbbbbbb-0000-4000-8000-000000000000";
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", chunks: [0, 1], database: "a" });
  await setup.put({
    day: "2026-11-25",
    finishedAt: "2026-11-25T18:04:11.500Z",
    run,
    database: "a",
    kind: "incremental",
    task: "daily",
    unreadable: [{ id: "x", error: "internal_error", reason: "eof" }],
  });
  // backup_only_previous: read in November, into the folder of October.
  await setup.put({ day: "2026-10-25", finishedAt: "2026-11-25T12:00:00Z" });
  await setup.put({ day: "2025-12-31", finishedAt: "2025-12-31T12:00:00Z", format: 1, chunks: [0] });
  await setup.putUnfinished({
    day: "2026-01-02",
    finishedAt: "2026-01-02T12:00:00Z",
    chunks: [0, 1],
    database: "unfinished",
  });
  await setup.putUnfinished({
    day: "2026-01-02",
    finishedAt: "2026-01-02T12:00:00Z",
    format: 1,
    database: "unfinished1",
  });
  for (
    const [name, object, text] of [["chunks", "0000000.json.gz", ""], ["cut", "manifest.json", "{"], ["x", "y", "z"]]
  ) {
    await setup.write(setup.folder("2026-01-02", name), object!, text!);
  }
  await setup.write("backup/ippbx/_runs/couchdb/weekly", "report.json", "{}");

  const { backups } = await list(setup);
  assertEquals(
    backups.map((
      { date, database, complete, documents, kind, finished_at },
    ) => [date, database, complete, documents, kind, finished_at]),
    [
      ["2026-11-25", "a", true, 0, "incremental", "2026-11-25T18:04:11.500Z"],
      ["2026-11-25", "a", true, 20, "full", "2026-11-25T10:00:00.000Z"],
      ["2026-10-25", "a/b", true, 0, "full", "2026-11-25T12:00:00.000Z"],
      ["2026-01-02", "chunks", false, null, null, null],
      ["2026-01-02", "cut", false, null, null, null],
      ["2026-01-02", "unfinished", false, 20, "full", null],
      ["2026-01-02", "unfinished1", false, 0, "full", null],
      ["2025-12-31", "a/b", true, 10, "full", "2025-12-31T12:00:00.000Z"],
    ],
  );
  assertEquals(backups[0], {
    database: "a",
    date: "2026-11-25",
    task: "daily",
    path: setup.store.locate(setup.folder("2026-11-25", "a")),
    restore_path: "2026-11-25T18:04:11Z/a",
    manifest: "manifest-20261125T180411Z-bbbbbbbb.json",
    complete: true,
    kind: "incremental",
    run: "bbbbbbbb",
    documents: 0,
    compressed_bytes: 0,
    unreadable: 1,
    finished_at: "2026-11-25T18:04:11.500Z",
    age_seconds: 6949,
    kept: false,
    kept_because: null,
    found_damaged_at: null,
  });
  const problems = backups.flatMap(({ problem }) =>
    problem === undefined ? [] : [problem.replace(/^.*": (.*): .*$/, "$1")]
  );
  assertEquals(problems, ["It has no manifest", "it is not whole JSON", "It has not finished", "It has not finished"]);
  assertEquals(backups.at(-1)?.manifest, "manifest.json");
});

Deno.test("listBackups() says the same of what is in the catalog and of what is not", async () => {
  const put = async (isCatalogued: boolean) => {
    const setup = await TestRepository.open();
    for (const [index, finishedAt] of ["2026-11-24T10:00:00.250Z", "2026-11-25T10:00:00Z"].entries()) {
      const run = `${index}aaaaaaa-0000-4000-8000-000000000000`;
      for (const database of ["a", "a/b"]) {
        await setup.put({
          day: "2026-11-24",
          finishedAt,
          run,
          chunks: [index],
          isPrefixed: true,
          database,
          isCatalogued,
        });
      }
    }
    return setup;
  };
  await using known = await put(true);
  await using unknown = await put(false);
  const [first, second] = [await list(known), await list(unknown)];
  const placed = ({ backups }: BackupList) => backups.map(({ path: _, ...backup }) => backup);
  assertEquals(placed(first), placed(second));
  assertEquals(first.backups.length, 4);
  // Where the catalog knows it, no manifest is read.
  known.requests = [];
  await list(known);
  assertEquals(known.requests.filter((request) => !request.startsWith("list ")), []);
});

Deno.test("listBackups() does not list an entry of the catalog without its manifest", async () => {
  await using setup = await TestRepository.open();
  const { folder, name } = await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", isCopied: false });
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T09:00:00Z", isCopied: false });
  await Deno.remove(join(setup.root, folder, name));
  assertEquals(moments(await list(setup)), [["a/b", "2026-11-25T09:00:00.000Z"]]);
});

Deno.test("listBackups() of one database looks at no other", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["a", "a/b"]) {
    await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", database });
  }
  setup.requests = [];
  assertEquals(moments(await list(setup, { database: "a%2Fb" })), [["a/b", "2026-11-25T10:00:00.000Z"]]);
  assertEquals(setup.requests.filter((request) => request.endsWith("/a")), []);
});

Deno.test("listBackups() with rebuild enters what the catalog lacks, of both formats, and nothing twice", async () => {
  await using setup = await TestRepository.open();
  const { repository, log } = setup;
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z" });
  await setup.put({
    day: "2026-11-02",
    finishedAt: "2026-11-02T10:00:00.123Z",
    isCatalogued: false,
    task: "t".repeat(300),
  });
  await setup.put({ day: "2026-11-03", finishedAt: "2026-11-03T10:00:00Z", format: 1, database: "old" });
  await setup.putUnfinished({ day: "2026-11-04", finishedAt: "2026-11-04T10:00:00Z" });
  const before = await list(setup);
  assertEquals(before.catalog_added, undefined);
  const rebuilt = await list(setup, { rebuild: true });
  assertEquals(rebuilt, { ...before, catalog_added: 2 });
  assertEquals(await list(setup, { rebuild: true }), { ...before, catalog_added: 0 });
  const catalog = new Catalog(repository);
  const newest = await catalog.latestComplete("a/b", { log });
  assertEquals([newest?.entry.finishedAt.toISOString(), newest?.entry.task.length], ["2026-11-02T10:00:00.123Z", 300]);
  assertEquals((await catalog.latestComplete("old", { log }))?.manifest.format, 1);
});

Deno.test("listBackups() shows which backups are pinned and why, and asks for no more than without pins", async () => {
  await using setup = await TestRepository.open();
  const runs = ["bbbbbbbb", "cccccccc", "dddddddd"].map((digits) => `${digits}-0000-4000-8000-000000000000`);
  for (const [index, run] of runs.entries()) {
    await setup.put({ day: "2026-11-25", finishedAt: `2026-11-25T1${index}:00:00Z`, run, chunks: [index] });
  }
  setup.requests = [];
  assertEquals((await list(setup)).backups.map(({ kept, kept_because }) => [kept, kept_because]), [
    [false, null],
    [false, null],
    [false, null],
  ]);
  const requests = setup.requests.length;
  const openStore = () => Promise.reject(new Error("not wanted"));
  const { repository, log, signal } = setup;
  const context = { repository, log, signal, openStore, now: NOW, lookAgainMs: 0 };
  const pin = async (path: string, kept: boolean, reason?: string) =>
    await keep(context, { database: "a/b", path, kept, reason });
  await pin("2026-11-25T10:00:00Z", true, "before the\u001b[31m migration");
  await pin("2026-11-25T11:00:00Z", true);
  await pin("2026-11-25T12:00:00Z", true, "a mistake");
  await pin("2026-11-25T12:00:00Z", false);
  setup.requests = [];
  const found = await list(setup);
  assertEquals(found.backups.map(({ kept, kept_because }) => [kept, kept_because]), [
    [false, null],
    [true, null],
    [true, "before the\u001b[31m migration"],
  ]);
  // Each pin is read, and nothing else is.
  assertEquals(setup.requests.length, requests + 3);
  const [heading, free, yes, because] = describeBackups(found).split("\n");
  assertStringIncludes(heading!, "  PINNED  ");
  assertStringIncludes(free!, "  -  ");
  assertStringIncludes(yes!, "  yes  ");
  assertStringIncludes(because!, "before the\\u…m migration");
});

for (
  const [what, run] of [
    ["listBackups()", async (setup: TestRepository, database: string) => await list(setup, { database })],
    ["measureBackups()", async (setup: TestRepository, database: string) => await measureBackups(setup, { database })],
  ] as const
) {
  Deno.test(`${what} of a database that there is nothing of is a mistake, and names what was meant`, async () => {
    await using setup = await TestRepository.open();
    const put = (database: string) => setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", database });
    const none = await assertRejects(() => run(setup, "orders"), UsageError, 'There is no backup of database "orders"');
    assertEquals(none.hint, "Check prefix and suffix: there are no backups of any database");
    await put("orders");
    await put("account/ab");
    const typo = await assertRejects(() => run(setup, "oders"), UsageError, 'There is no backup of database "oders"');
    assertEquals([typo.exitCode, typo.hint], [2, 'Did you mean "orders"?']);
    const slash = await assertRejects(() => run(setup, "account%2Fac"), UsageError);
    assertEquals(slash.hint, 'Did you mean "account%2Fab"?');
    const other = await assertRejects(() => run(setup, "x"), UsageError);
    assertEquals(other.hint, 'There are backups of "account%2Fab", "orders"');
    await run(setup, "orders");
  });
}

Deno.test("listBackups() of a database of which a killed run has left a folder alone does not ask whether it was meant", async () => {
  await using setup = await TestRepository.open();
  await Deno.mkdir(join(setup.root, setup.folder("2026-11-25", "orders")), { recursive: true });
  const { hint } = await assertRejects(() => list(setup, { database: "orders" }), UsageError, "There is no backup");
  assertStringIncludes(hint!, "nothing that a run has finished storing");
});

Deno.test("listBackups() of a database that the patterns leave out is empty, and no mistake", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", database: "orders" });
  const { repository, log, signal } = setup;
  const found = await listBackups({ repository, log, signal }, { database: "orders", match: ["other"] });
  assertEquals(found, { backups: [] });
});

Deno.test("listBackups() of an empty store is empty", async () => {
  await using setup = await setUpRestore();
  assertEquals(await listBackups(setup.context), { backups: [] });
});

Deno.test("listBackups() asks the store for as much whether a backup has one chunk or many", async () => {
  const counts: number[][] = [];
  for (const chunks of [[0], Array.from({ length: 40 }, (_, number) => number)]) {
    await using setup = await TestRepository.open();
    await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", chunks });
    await setup.put({ day: "2026-11-24", finishedAt: "2026-11-24T10:00:00Z", chunks, format: 1 });
    let listed = 0;
    const counting = new Proxy<Store>(setup.store, {
      get(store, name) {
        if (name !== "list") return Reflect.get(store, name);
        return async function* (...args: Parameters<Store["list"]>) {
          for await (const entry of store.list(...args)) {
            listed++;
            yield entry;
          }
        };
      },
    });
    setup.requests = [];
    const { prefix, suffix } = setup.repository;
    const { backups } = await listBackups({
      log: setup.log,
      signal: setup.signal,
      repository: new Repository(counting, { prefix, suffix }),
    });
    assertEquals(backups.map(({ documents }) => documents), [10 * chunks.length, 10 * chunks.length]);
    counts.push([setup.requests.length, listed]);
  }
  assertEquals(counts[0], counts[1]);
});

Deno.test("listBackups() shows a backup in a folder of another spelling where it lies, and by a path that finds it", async () => {
  await using setup = await TestRepository.open();
  const { repository, store, signal } = setup;
  const { folder, name } = await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", database: "a$b" });
  await setup.putBeside("2026-11-02", "a%24b");
  const other = setup.folder("2026-11-02", "a$b").replace("a$b", "a%24b");
  await Deno.copyFile(join(setup.root, folder, name), join(setup.root, other, name));
  const locked: Store = Object.assign(Object.create(store), {
    stat: async (key: string) => ({ ...await store.stat(key), hold: key.startsWith(other) ? "locked" : undefined }),
  });
  const { backups, catalog_added } = await listBackups(
    { repository: new Repository(locked, repository), log: setup.log, signal },
    { rebuild: true, locks: true },
  );
  assertEquals(
    backups.map(({ database, path, restore_path, hold }) => [database, path, restore_path, hold]),
    [
      ["a$b", store.locate(other), `${store.locate(other)}/${name}`, "locked"],
      ["a$b", store.locate(folder), "2026-11-01T10:00:00Z/a$b", null],
    ],
  );
  assertEquals([catalog_added, "folder" in backups[0]!], [0, false]);
});

Deno.test("listBackups() of a database that has only a folder of another spelling suggests no command that finds nothing", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", database: "orders" });
  await setup.putBeside("2026-11-01", "a%24b");
  const { hint } = await assertRejects(() => list(setup, { database: "a$b" }), UsageError);
  assertEquals(hint, 'There are backups of "orders"');
});
