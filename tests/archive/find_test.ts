import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { openArchive } from "../../src/archive/archive.ts";
import { Repository } from "../../src/archive/repository.ts";
import { findArchive, type PathContext } from "../../src/archive/find.ts";
import { ArchiveError, StoreError, UsageError } from "../../src/errors.ts";
import { backupFolder } from "../../src/archive/layout.ts";
import { joinKey } from "../../src/store/key.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { openStore } from "../../src/store/open.ts";
import { RecordedLog } from "../fakes/log.ts";
import { DATABASE, manifestOf, TestRepository } from "./repository_setup.ts";

const PREFIX = "backup/ippbx";
const SUFFIX = "couchdb";

const backupOf = (database: string, run: string) =>
  encodeJson(manifestOf({ day: "2026-01-03", finishedAt: "2026-01-03T18:10:00Z", format: 1, database, run }));

interface Setup extends AsyncDisposable {
  root: string;
  store: DirectoryStore;
  log: RecordedLog;
  context: PathContext;
  /** Puts a complete backup of "a/b" into the folder of a day. */
  put(day: string, file?: { name: string; bytes: Uint8Array }): Promise<string>;
}

async function setUp(): Promise<Setup> {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-path-" });
  const store = new DirectoryStore(root);
  const log = new RecordedLog();
  const context: PathContext = {
    repository: new Repository(store, { prefix: PREFIX, suffix: SUFFIX }),
    openStore: (bucket) => openStore({ bucket }),
    log,
    signal: new AbortController().signal,
  };
  const put: Setup["put"] = async (
    day,
    file = { name: "manifest.json", bytes: backupOf("a/b", day) },
  ) => {
    const [year = 0, month = 0, date = 0] = day.split("-").map(Number);
    const folder = backupFolder({ prefix: PREFIX, suffix: SUFFIX, date: { year, month, day: date }, database: "a/b" });
    await store.replace(joinKey(folder, file.name), file.bytes);
    return folder;
  };
  return { root, store, log, context, put, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test("findArchive() takes a date with dashes or slashes below prefix and suffix", async () => {
  await using setup = await setUp();
  await setup.put("2026-10-22");
  for (const path of ["2026-10-22", "2026/10/22"]) {
    const { store, folder } = await findArchive(setup.context, path, "a/b");
    assertEquals([store, folder], [setup.store, "backup/ippbx/2026/10/22/couchdb/a%2Fb"]);
  }
});

Deno.test("findArchive() suggests the name that was meant, or shows the days of a name that is right", async () => {
  await using setup = await setUp();
  await setup.put("2026-10-22");
  for (const path of ["latest", "latest/a%2Fc", "2026-10-22", "2026-10-22T18:05Z", "2026-10-23"]) {
    const error = await assertRejects(() => findArchive(setup.context, path, "a/c"), ArchiveError);
    assertEquals([path, error.exitCode, error.hint], [
      path,
      12,
      'Did you mean "a%2Fb"? "couchdb-backup list backups" shows the backups there are; ' +
      "to restore one under another name, give its own name after the moment: latest/a%2Fb",
    ]);
  }
  const wrongDay = await assertRejects(() => findArchive(setup.context, "2026-10-23", "a/b"), ArchiveError);
  assertEquals(
    wrongDay.hint,
    '"couchdb-backup list --database a%2Fb" shows what there is of it; ' +
      "restore takes one without a manifest by its date or the path of its folder, with --salvage if it is unfinished",
  );
});

Deno.test("findArchive() says of a moment in a database's place which of them comes first", async () => {
  await using setup = await setUp();
  await setup.put("2026-10-22");
  for (const moment of ["latest", "2026-10-22", "2026-10-22T18:05Z"]) {
    const error = await assertRejects(() => findArchive(setup.context, "a/b", moment), UsageError);
    assertStringIncludes(error.message, `"${moment}" stands where a database's name is expected`);
    assertEquals(error.hint, `The database comes first, then which backup of it: "a/b" "${moment}"`);
  }
});

Deno.test("findArchive() takes the name of another database behind a date or latest", async () => {
  await using setup = await setUp();
  const folder = await setup.put("2026-10-22");
  for (const path of ["2026-10-22/a%2Fb", "2026/10/22/a/b", "latest/a%2Fb", "latest/a/b/", "Latest/a%2Fb"]) {
    assertEquals((await findArchive(setup.context, path, "other")).folder, folder, path);
  }
  // What is no backup of that day may be a key.
  const bare = { ...setup.context, prefix: "", suffix: "" };
  await setup.store.replace("2026/10/22/couchdb/x/manifest.json", backupOf("x", "run"));
  assertEquals((await findArchive(bare, "2026/10/22/couchdb/x", "other")).folder, "2026/10/22/couchdb/x");
});

Deno.test("findArchive() finds the newest complete backup as latest, and says what it passes over", async () => {
  await using setup = await setUp();
  const { context, put, log } = setup;
  await put("2025-12-31");
  const wanted = await put("2026-02-09");
  await put("2026-02-10", { name: "manifest.json", bytes: new TextEncoder().encode('{"format":1,') });
  await put("2026-11-02", { name: "checkpoint.json", bytes: new Uint8Array() });
  assertEquals((await findArchive(context, "latest", "a/b")).folder, wanted);
  assertEquals(log.events("warn"), [
    "a newer backup is passed over: it has not finished",
    "a newer backup is passed over: its manifest is damaged",
  ]);
  const error = await assertRejects(() => findArchive(context, "latest", "other"), ArchiveError, '"other"');
  assertStringIncludes(error.hint!, "list backups");
});

Deno.test("findArchive() finds a backup by key, by a prefix of it, and by URL", async () => {
  await using setup = await setUp();
  const { context, put, root, store } = setup;
  const folder = await put("2026-10-22");
  const below = [folder, "backup/ippbx/2026/10/22/couchdb", "backup/ippbx/2026/10/22", "backup/ippbx"];
  for (const path of below) {
    assertEquals((await findArchive(context, path, "a/b")).folder, folder, path);
    assertEquals((await findArchive(context, `${path}/`, "a/b")).folder, folder, `${path}/`);
  }
  for (const url of [`${store.url}/${folder}`, store.locate(folder), store.locate(`${folder}/manifest.json`)]) {
    const place = await findArchive(context, url, "other");
    const found = place.store.locate(joinKey(place.folder, "manifest.json"));
    assertEquals(found, store.locate(`${folder}/manifest.json`), url);
    assertEquals(place.object, undefined, url);
  }
  const place = await findArchive({ ...context, repository: undefined }, join(root, folder), "other");
  assertEquals([place.folder, place.object], ["a%2Fb", undefined]);
});

Deno.test("findArchive() finds a folder of the Rust port, which leaves slashes in names as they are", async () => {
  await using setup = await setUp();
  const { context, root, store } = setup;
  const folder = "backup/ippbx/2026/10/22/couchdb/account/ab/cd";
  await store.replace(`${folder}/000.json.gz`, new Uint8Array(3));
  const below = ["2026-10-22", folder, "backup/ippbx/2026/10/22/couchdb", "backup/ippbx/2026/10/22"];
  for (const path of below) assertEquals((await findArchive(context, path, "account/ab/cd")).folder, folder, path);
  assertEquals((await findArchive(context, "2026-10-22/account/ab/cd", "new")).folder, folder);
  const local = await findArchive(context, join(root, folder), "new");
  assertEquals(await local.store.stat(joinKey(local.folder, "000.json.gz")) !== undefined, true);
});

/** The same with a config whose bucket folder is another one. */
function elsewhere({ root, context }: Setup): PathContext {
  const store = new DirectoryStore(join(root, "elsewhere"));
  return { ...context, repository: new Repository(store, { prefix: PREFIX, suffix: SUFFIX }) };
}

Deno.test("findArchive() finds a local folder that is not the config's, relative to the working folder too", async () => {
  await using setup = await setUp();
  const folder = await setup.put("2026-10-22");
  const context = elsewhere(setup);
  const relativePath = relative(Deno.cwd(), join(setup.root, folder));
  for (const path of [relativePath, `./${relativePath}`, join(setup.root, folder, "manifest.json")]) {
    const place = await findArchive(context, path, "other");
    assertEquals(await place.store.stat(joinKey(place.folder, "manifest.json")) !== undefined, true, path);
  }
  // Higher up, the database's name leads the way.
  const above = await findArchive(context, join(setup.root, "backup/ippbx/2026/10/22"), "a/b");
  assertEquals(above.folder, "couchdb/a%2Fb");
});

Deno.test("findArchive() finds what lies in the config's bucket folder there, by a path of this machine too", async () => {
  await using setup = await setUp();
  const folder = await setup.put("2026-10-22");
  const { context, store, root } = setup;
  for (const path of [join(root, folder), join(root, folder, "manifest.json"), join(root, "backup/ippbx/2026/10/22")]) {
    const place = await findArchive(context, path, "a/b");
    assertEquals([place.store === store, place.folder], [true, folder], path);
  }
});

Deno.test("findArchive() finds a single object, by key and as a local file", async () => {
  await using setup = await setUp();
  const folder = await setup.put("2026-10-22", { name: "0000003.json.gz", bytes: new Uint8Array(3) });
  const byKey = await findArchive(setup.context, `${folder}/0000003.json.gz`, "a/b");
  assertEquals([byKey.folder, byKey.object], [folder, "0000003.json.gz"]);
  const path = join(setup.root, folder, "0000003.json.gz");
  const local = await findArchive(elsewhere(setup), path, "a/b");
  assertEquals([local.folder, local.object], ["", "0000003.json.gz"]);
});

Deno.test("findArchive() opens the bucket of an s3:// URL that is not the config's", async () => {
  await using setup = await setUp();
  const folder = await setup.put("2026-10-22");
  const opened: string[] = [];
  const openStore = (bucket: string) => {
    opened.push(bucket);
    return Promise.resolve(setup.store);
  };
  const context = { ...setup.context, store: undefined, openStore };
  const place = await findArchive(context, `s3://data.example.com/${folder}`, "other");
  assertEquals([place.folder, opened], [folder, ["s3://data.example.com"]]);
});

Deno.test("findArchive() says what it looked at when there is nothing, and asks for a config where it needs one", async () => {
  await using setup = await setUp();
  const { context, root } = setup;
  const error = await assertRejects(() => findArchive(context, "some/prefix", "a/b"), ArchiveError);
  for (const tried of ["some/prefix", "some/prefix/a%252Fb", "some/prefix/couchdb/a%252Fb"]) {
    assertStringIncludes(error.message, tried);
  }
  await assertRejects(() => findArchive(context, "./no/such", "a/b"), ArchiveError, "no such file or folder");
  for (const path of ["yesterday", "25.11.2026", "18:05"]) {
    const { hint } = await assertRejects(() => findArchive(context, path, "a/b"), ArchiveError);
    assertStringIncludes(hint!, 'a day is written "2026-10-22", a moment "2026-11-25T18:05Z"');
  }
  const byDate = () => findArchive(context, "2020-01-02/x/y", "a/b");
  assertStringIncludes((await assertRejects(byDate, ArchiveError)).message, "2020/01/02/couchdb/x%252Fy");
  await assertRejects(() => findArchive(context, `file://${root}/none`, "a/b"), ArchiveError, "no such file or folder");
  await assertRejects(() => findArchive(context, "https://x/y", "a/b"), UsageError, "begins with s3:// or file://");
  for (const path of ["latest", "2026-10-22", "some/prefix"]) {
    const run = () => findArchive({ ...context, repository: undefined }, path, "a/b");
    const error = await assertRejects(run, UsageError, "without a config");
    assertStringIncludes(error.hint!, "--config");
  }
});

/** Paths in a repository whose folder of 2026-10-25 was filled in November, twice. */
async function setUpPoints() {
  const setup = await TestRepository.open();
  const { repository, log, signal } = setup;
  const now = () => new Date("2026-11-25T20:00:00Z");
  const context: PathContext = { repository, openStore: (bucket) => openStore({ bucket }), log, now, signal };
  await setup.put({ day: "2026-11-24", finishedAt: "2026-11-24T18:00:00Z", format: 1 });
  await setup.put({
    day: "2026-10-25",
    finishedAt: "2026-11-25T10:00:00Z",
    run: "aaaaaaaa-0000-4000-8000-000000000000",
  });
  await setup.put({
    day: "2026-10-25",
    finishedAt: "2026-11-25T18:04:11Z",
    run: "bbbbbbbb-0000-4000-8000-000000000000",
  });
  await setup.put({ day: "2026-11-20", finishedAt: "2026-11-20T18:00:00Z", database: "orders", format: 1 });
  return { setup, context, [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose]() };
}

Deno.test("findArchive() takes an instant for the newest backup that was complete then, of another database too", async () => {
  await using given = await setUpPoints();
  const { context, setup } = given;
  const october = setup.folder("2026-10-25");
  const first = [october, "manifest-20261125T100000Z-aaaaaaaa.json"] as const;
  const second = [october, "manifest-20261125T180411Z-bbbbbbbb.json"] as const;
  const cases: [path: string, folder: string, manifest: string][] = [
    ["latest", ...second],
    ["2026-11-25T18:05Z", ...second],
    ["2026-11-25T18:04:11Z/", ...second],
    ["2026-11-25T19:04:11+01:00", ...second],
    ["20261125T180411Z", ...second],
    ["2026-11-25T18:04:10Z", ...first],
    ["2026-11-25 10:00Z", ...first],
    ["2026-11-25T09:59Z", setup.folder("2026-11-24"), "manifest.json"],
    ["2026-11-25T18:05Z/orders", setup.folder("2026-11-20", "orders"), "manifest.json"],
    ["latest/orders", setup.folder("2026-11-20", "orders"), "manifest.json"],
  ];
  for (const [path, folder, manifest] of cases) {
    const place = await findArchive(context, path, "a/b");
    assertEquals([place.folder, place.manifest], [folder, manifest], path);
  }
  // A date is that of the folder, and means the newest in it.
  const place = await findArchive(context, "2026-10-25", "a/b");
  assertEquals([place.folder, place.manifest], [october, undefined]);
});

Deno.test("findArchive() takes the key or URL of a manifest for the backup that it makes complete", async () => {
  await using given = await setUpPoints();
  const { context, setup: { store, root } } = given;
  const folder = given.setup.folder("2026-10-25");
  const name = "manifest-20261125T100000Z-aaaaaaaa.json";
  for (const path of [`${folder}/${name}`, `${store.url}/${folder}/${name}`, join(root, folder, name)]) {
    const place = await findArchive(context, path, "other");
    assertEquals([place.manifest, place.object], [name, undefined], path);
  }
});

Deno.test("findArchive() says what it needs to read a moment, and what the oldest backup is", async () => {
  await using given = await setUpPoints();
  const { context } = given;
  for (const path of ["2026-11-25T18:05", "2026-11-25 18:05:11", "2026-02-30T18:05Z", "2026-11-25T25:05Z/orders"]) {
    const error = await assertRejects(() => findArchive(context, path, "a/b"), UsageError, "as a moment");
    assertStringIncludes(error.hint!, '"2026-11-25T18:05Z"');
  }
  const early = () => findArchive(context, "2026-11-24T17:59:59Z", "a/b");
  await assertRejects(early, ArchiveError, "the oldest was complete at 2026-11-24T18:00:00Z");
  const error = await assertRejects(
    () => findArchive({ ...context, repository: undefined }, "2026-11-24T17:59:59Z", "a/b"),
    UsageError,
    "without a config",
  );
  assertStringIncludes(error.hint!, "--config");
});

Deno.test("findArchive() says that a date is not in the calendar, where nothing of that name is there", async () => {
  await using setup = await setUp();
  for (const path of ["2026-11-31", "2026/02/30/orders", "2027-2-29"]) {
    const error = await assertRejects(() => findArchive(setup.context, path, "a/b"), UsageError);
    assertStringIncludes(error.message, `"${path.replace("/orders", "")}" is not a day of the calendar`);
  }
  // Nothing but a day looks like one.
  await assertRejects(() => findArchive(setup.context, "2026-11-310", "a/b"), ArchiveError);
  await setup.store.replace("2026-11-31/manifest.json", backupOf("a/b", "run"));
  assertEquals((await findArchive(setup.context, "2026-11-31", "a/b")).folder, "2026-11-31");
});

Deno.test("findArchive() has read the manifest of latest: openArchive() reads it no second time, if it is still there", async () => {
  for (const [damage, reads] of [["", 1], ["{", 2]] as const) {
    await using setup = await TestRepository.open();
    const { repository, log, signal, store } = setup;
    const context: PathContext = { repository, openStore: (bucket) => openStore({ bucket }), log, signal };
    const { folder, name } = await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", chunks: [0] });
    if (damage !== "") await setup.write(folder, name, damage);
    setup.requests = [];
    const place = await findArchive(context, "latest", DATABASE);
    const archive = await openArchive(place, { signal });
    assertEquals(setup.requests.filter((request) => request.startsWith("read ")).length, reads);
    assertEquals([archive.kind, archive.manifest, archive.chunks.length], ["complete", name, 1]);
    // That its copy was used is not forgotten on the way.
    assertEquals(archive.damagedManifests[0]?.chunk, damage === "" ? undefined : name);
    // Whoever expires has deleted it since.
    await rm(join(setup.root, folder, name));
    const error = await assertRejects(() => openArchive({ ...place, store }, { signal }), StoreError);
    assertEquals(error.facts.code, "not_found");
  }
});
