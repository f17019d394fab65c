import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { shortRun } from "../../src/archive/layout.ts";
import { listBackups, listDatabases } from "../../src/commands/list.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import { makeArchive } from "../make_archive.ts";
import { alterFile, firstHalf, gzipText, setUpRestore } from "./restore/setup.ts";

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

Deno.test("listBackups() names backups by date and database, complete or not, and leaves out what is none", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, root, context } = setup;
  const { prefix, suffix } = context.repository;
  for (const name of ["a", "a%2Fb"]) {
    await couchOk(server, `PUT /${name}`);
    for (const id of ["x", "y", "z"]) await couchOk(server, `PUT /${name}/${id}`, {});
  }
  const made = [];
  for (const [database, month, day] of [["a", 1, 3], ["a/b", 1, 3], ["a", 12, 31]] as const) {
    made.push(await makeArchive({ couch, store, database, prefix, suffix, date: { year: 2025, month, day } }));
  }
  const [first, , last] = made;
  const folder = (name: string) => join(root, prefix, "2026/01/02", suffix, name);
  for (const name of ["cut", "unfinished", "chunks", "other"]) await Deno.mkdir(folder(name), { recursive: true });
  await Deno.copyFile(join(root, first!.folder, "manifest.json"), join(folder("cut"), "manifest.json"));
  await alterFile(join(folder("cut"), "manifest.json"), firstHalf);
  const { finished_at, update_seq: { start }, totals: _totals, ...origin } = first!.manifest;
  const checkpoint = { ...origin, saved_at: finished_at, update_seq: { start } };
  await Deno.writeTextFile(join(folder("unfinished"), "checkpoint.json"), JSON.stringify(checkpoint));
  await Deno.writeFile(join(folder("chunks"), "0000000.json.gz"), await gzipText("[]"));
  await Deno.writeTextFile(join(folder("other"), "notes.txt"), "mine");
  await Deno.mkdir(join(root, prefix, "_runs", suffix), { recursive: true });

  const listedAt = new Date(Date.parse(last!.manifest.finished_at) + 90_000);
  const { backups } = await listBackups({ ...context, now: () => listedAt });
  const brief = backups.map(({ date, database, complete, documents, task }) =>
    [date, database, complete, documents, task] as const
  );
  assertEquals(brief, [
    // By the day on which they were complete, which is today, and then by the date in the path.
    ["2025-12-31", "a", true, 3, "weekly"],
    ["2025-01-03", "a", true, 3, "weekly"],
    ["2025-01-03", "a/b", true, 3, "weekly"],
    ["2026-01-02", "chunks", false, null, null],
    ["2026-01-02", "cut", false, null, null],
    ["2026-01-02", "unfinished", false, 3, "weekly"],
  ]);
  const { compressed_bytes } = last!.manifest.totals;
  assertEquals(backups[0], {
    database: "a",
    date: "2025-12-31",
    task: "weekly",
    path: store.locate(last!.folder),
    manifest: last!.manifestName,
    complete: true,
    kind: "full",
    run: shortRun(last!.manifest.run),
    documents: 3,
    compressed_bytes,
    unreadable: 0,
    finished_at: last!.manifest.finished_at,
    age_seconds: 90,
  });
  const named = await listBackups(context, { database: "a%2Fb" });
  assertEquals(named.backups.map(({ date, database }) => [date, database]), [["2025-01-03", "a/b"]]);
});

Deno.test("listBackups() of an empty store is empty", async () => {
  await using setup = await setUpRestore();
  assertEquals(await listBackups(setup.context), { backups: [] });
});

Deno.test("listBackups() asks the store as often whether a backup has one chunk or many", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /db");
  for (let number = 0; number < 40; number++) await couchOk(server, `PUT /db/doc-${number}`, {});
  // Else the first of the two has a folder more, with what was found out about the store.
  store.conditions = "held";
  const calls: [requests: number, listed: number][] = [];
  for (const chunk of [40, 1]) {
    const prefix = `chunks-of-${chunk}`;
    await makeArchive({ couch, store, database: "db", prefix, suffix: "s", chunk });
    let count = 0;
    let listed = 0;
    const counting: Store = {
      url: store.url,
      server: store.server,
      clockSkewMs: store.clockSkewMs,
      conditions: store.conditions,
      tryConditions: (...args) => store.tryConditions(...args),
      locate: (key) => store.locate(key),
      create: (...args) => store.create(...args),
      replace: (...args) => store.replace(...args),
      stat: (...args) => (count++, store.stat(...args)),
      read: (...args) => (count++, store.read(...args)),
      async *list(...args) {
        count++;
        for await (const entry of store.list(...args)) {
          listed++;
          yield entry;
        }
      },
    };
    const { backups } = await listBackups({
      ...context,
      repository: new Repository(counting, { prefix, suffix: "s" }),
    });
    assertEquals(backups.length, 1);
    calls.push([count, listed]);
  }
  assertEquals(calls[0], calls[1]);
});
