import { assertEquals, assertMatch } from "@std/assert";
import { basename, dirname, join } from "node:path";
import { Catalog } from "../../src/archive/catalog.ts";
import { Repository } from "../../src/archive/repository.ts";
import { CATALOG_ENTRY as ENTRY, DATABASE, TestRepository } from "./repository_setup.ts";
const READ = { ...ENTRY, run: "0b5a8fd2" };

Deno.test("Catalog hands back what was entered, under the database's own folder, and enters it once", async () => {
  await using setup = await TestRepository.open();
  const catalog = new Catalog(setup.repository);
  assertEquals(await catalog.latest(DATABASE, {}), undefined);
  const key = await catalog.add(ENTRY, {});
  assertEquals(
    key,
    "backup/ippbx/_catalog/couchdb/a%2Fb/8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-weekly.json",
  );
  assertEquals(await catalog.add(ENTRY, {}), key);
  assertEquals(await Array.fromAsync(catalog.entries(DATABASE, {})), [READ]);
  assertEquals(await Array.fromAsync(catalog.databases({})), [DATABASE]);
  assertEquals(await catalog.latest("a", {}), undefined, "another database");
  const body = JSON.parse(await new Response(await setup.store.read(key)).text());
  assertEquals([body.run, body.manifest], [ENTRY.run, ENTRY.manifestKey]);
});

Deno.test("Catalog keeps a long task's name whole, in the entry's body", async () => {
  await using setup = await TestRepository.open();
  const catalog = new Catalog(setup.repository);
  const task = "jede Woche / ".repeat(40);
  const key = await catalog.add({ ...ENTRY, task }, {});
  assertEquals((await catalog.latest(DATABASE, {}))?.task, task);
  await setup.write("", key, "{");
  assertEquals((await catalog.latest(DATABASE, {}))?.task.startsWith("jede Woche / "), true, "a damaged body");
  // Whoever expires the backup meanwhile takes the entry away that was listed.
  const racing = new Catalog(new Repository(setup.expiring(basename(key)), setup.repository));
  assertEquals((await racing.latest(DATABASE, {}))?.task.startsWith("jede Woche / "), true, "it is gone");
});

Deno.test("latest() gives the newest that was complete at a moment, by one listing", async () => {
  await using setup = await TestRepository.open();
  const catalog = new Catalog(setup.repository);
  const moments = ["2026-11-25T18:04:11.123Z", "2025-01-01T00:00:00.000Z", "2026-11-25T18:04:11.122Z"];
  for (const moment of moments) await catalog.add({ ...ENTRY, finishedAt: new Date(moment) }, {});
  await setup.write(setup.repository.catalogFolder(DATABASE), "0000-notes.txt", "mine");
  const cases: [notAfter: string | undefined, expected: string | undefined][] = [
    [undefined, moments[0]],
    ["2027-01-01T00:00:00.000Z", moments[0]],
    ["2026-11-25T18:04:11.123Z", moments[0]],
    ["2026-11-25T18:04:11.122Z", moments[2]],
    ["2026-11-25T18:04:11.121Z", moments[1]],
    ["2024-12-31T23:59:59.999Z", undefined],
  ];
  for (const [notAfter, expected] of cases) {
    setup.requests = [];
    const found = await catalog.latest(DATABASE, { notAfter: notAfter === undefined ? undefined : new Date(notAfter) });
    assertEquals(found?.finishedAt.toISOString(), expected, notAfter);
    assertEquals(setup.requests.length, 1);
  }
});

Deno.test("latestComplete() passes over an entry without its manifest, and says which manifest is missing or damaged", async () => {
  await using setup = await TestRepository.open();
  const { log } = setup;
  const catalog = new Catalog(setup.repository);
  const run = async () => (await catalog.latestComplete(DATABASE, { log }))?.manifest.run;
  const { manifest } = await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z" });
  await catalog.add({ ...ENTRY, finishedAt: new Date("2026-11-24T10:00:00Z") }, {});
  assertEquals(await run(), manifest.run);
  const missing = "a newer backup is passed over: its manifest is missing";
  assertEquals(log.events("warn"), [missing]);
  assertMatch(String(log.lines[0]!.fields["manifest"]), /manifest-20261124T100000Z-/);
  await Array.fromAsync(await catalog.keys(DATABASE, {}), ({ key }) => Deno.remove(`${setup.root}/${key}`));
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", run: manifest.run });
  const late = await setup.put({ day: "2026-11-02", finishedAt: "2026-11-02T10:00:00Z" });
  await setup.write(late.folder, late.name, "{");
  assertEquals(await run(), late.manifest.run, "its copy is whole");
  await Deno.remove(`${setup.root}/${late.folder}/${late.name}`);
  const left = await catalog.latestComplete(DATABASE, { log });
  assertEquals(
    [left?.manifest.run, left?.entry.manifestKey],
    [late.manifest.run, `${late.folder}/manifest.json`],
    "its copy is all that is left",
  );
  await setup.write(late.folder, late.name, "{");
  await setup.write(late.folder, "manifest.json", "{");
  assertEquals(await run(), manifest.run);
  assertEquals(log.events("warn"), [missing, "a newer backup is passed over: its manifest is damaged"]);
});

Deno.test("latestComplete() does not take a manifest.json that has become another's for the one that was entered", async () => {
  await using setup = await TestRepository.open();
  const { log } = setup;
  const catalog = new Catalog(setup.repository);
  await setup.put({ day: "2026-11-02", finishedAt: "2026-11-02T10:00:00Z", format: 1, isCatalogued: true });
  assertEquals(
    (await catalog.latestComplete(DATABASE, { log }))?.entry.manifestKey,
    `${setup.folder("2026-11-02")}/manifest.json`,
  );
  await setup.put({ day: "2026-11-02", finishedAt: "2026-11-02T12:00:00Z", format: 1 });
  assertEquals(await catalog.latestComplete(DATABASE, { log }), undefined);
});

Deno.test("latestComplete() takes the whole copy of a manifest that another run's was put over, and else says so", async () => {
  await using setup = await TestRepository.open();
  const { log } = setup;
  const catalog = new Catalog(setup.repository);
  const early = await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z" });
  const late = await setup.put({ day: "2026-11-02", finishedAt: "2026-11-02T10:00:00Z" });
  await Deno.copyFile(join(setup.root, early.folder, early.name), join(setup.root, late.folder, late.name));
  const found = await catalog.latestComplete(DATABASE, { log });
  assertEquals([found?.manifest.run, found?.entry.manifestKey], [late.manifest.run, `${late.folder}/manifest.json`]);
  assertEquals(log.events("warn"), []);
  await Deno.remove(join(setup.root, late.folder, "manifest.json"));
  assertEquals((await catalog.latestComplete(DATABASE, { log }))?.manifest.run, early.manifest.run);
  assertEquals(log.events("warn"), ["a newer backup is passed over: its manifest is damaged"]);
});

Deno.test("databases() names a database once, whatever other spelling of its folder lies beside", async () => {
  await using setup = await TestRepository.open();
  const catalog = new Catalog(setup.repository);
  const key = await catalog.add(ENTRY, {});
  for (const name of ["a%2fb", "%61%2Fb"]) {
    await setup.write(dirname(key).replace("a%2Fb", name), basename(key), "{}");
  }
  assertEquals(await Array.fromAsync(catalog.databases({})), [DATABASE]);
});
