/** Expire on chains that real backups have made: what is kept verifies and restores, whatever runs beside it. */
import { assert, assertEquals } from "@std/assert";
import { readdir } from "node:fs/promises";
import { Repository } from "../../src/archive/repository.ts";
import { expire } from "../../src/commands/expire/expire.ts";
import type { ExpireReport } from "../../src/commands/expire/report.ts";
import { listBackups } from "../../src/commands/list.ts";
import { DirectoryRemover } from "../../src/store/directory/remover.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import type { RetentionRules } from "../../src/task/retention.ts";
import { task } from "../fakes/task.ts";
import { RecordedLog } from "../fakes/log.ts";
import { Increments } from "./backup/increment_setup.ts";
import { couchOk } from "../couch_request.ts";

const DAY_MS = 86_400_000;
const days = (count: number) => ({ years: 0, months: 0, days: count, hours: 0 });

async function edit({ fake }: Increments, id: string): Promise<void> {
  const { json } = await couchOk(fake, `GET /db/${id}`);
  await couchOk(fake, `PUT /db/${id}`, { ...json, edited: (json.edited ?? 0) + 1 });
}

async function fill({ fake }: Increments, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => `d${String(index).padStart(4, "0")}`);
  await couchOk(fake, "POST /db/_bulk_docs", { docs: ids.map((_id) => ({ _id })) });
  return ids;
}

/** Expires as if it were so many days later. */
async function expireLater(
  { backups }: Increments,
  { later, rules, tasks = ["weekly"] }: { later: number; rules: RetentionRules; tasks?: readonly string[] },
): Promise<ExpireReport> {
  return await expire({
    repository: new Repository(await openStore({ bucket: `file://${backups.root}` }), {
      prefix: "",
      suffix: "couchdb",
    }),
    remover: new DirectoryRemover(backups.root),
    tasks: tasks.map((name) => task(name, { timezone: "UTC", retention: rules })),
    log: new RecordedLog(),
    now: () => new Date(Date.now() + later * DAY_MS),
    signal: new AbortController().signal,
  }, { confirm: true, showKept: true });
}

async function completeBackups({ backups }: Increments): Promise<number> {
  const repository = new Repository(await openStore({ bucket: `file://${backups.root}` }), {
    prefix: "",
    suffix: "couchdb",
  });
  const { backups: listed } = await listBackups({
    repository,
    log: new RecordedLog(),
    signal: new AbortController().signal,
  });
  return listed.filter(({ complete }) => complete).length;
}

Deno.test("expire() on a chain keeps every link that the newest backup needs, and it restores exactly", async () => {
  await using place = await Increments.start();
  const ids = await fill(place, 250);
  await place.expectRun({ kind: "full" });
  for (const day of [4, 5, 6]) {
    await edit(place, ids[day]!);
    await place.expectRun({ kind: "incremental", documents: 1 }, { day });
  }
  await place.expectRun({ kind: "unchanged" }, { day: 7 });
  const first = await expireLater(place, { later: 40, rules: { keepLast: 1, grace: days(0) } });
  assertEquals([first.ok, first.expired.length, first.kept], [true, 0, 5], "all are links of the newest");
  await place.expectExact();

  await edit(place, ids[9]!);
  await place.expectRun({ kind: "full", because: /asked for/ }, { day: 8, full: true });
  const second = await expireLater(place, { later: 40, rules: { keepLast: 1, grace: days(0) } });
  assertEquals([second.ok, second.expired.length, second.kept], [true, 5, 1]);
  const verified = await place.verify();
  assertEquals([verified.ok, verified.problems], [true, []]);
  await place.expectExact();
  await edit(place, ids[10]!);
  await place.expectRun({ kind: "incremental", documents: 1 }, { day: 9 });
  await place.expectExact();
});

Deno.test("expire() keeps what the newest backup builds on, also where a copy is all that is left of that one's manifest", async () => {
  await using place = await Increments.start();
  const ids = await fill(place, 250);
  await place.expectRun({ kind: "full" });
  for (const day of [4, 5]) {
    await edit(place, ids[day]!);
    await place.expectRun({ kind: "incremental", documents: 1 }, { day });
  }
  const { root } = place.backups;
  const manifests = (await readdir(root, { recursive: true })).filter((name) => /\/manifest-[^/]+$/.test(name)).sort();
  await Deno.remove(`${root}/${manifests[1]}`);
  await place.expectExact();
  const report = await expireLater(place, { later: 40, rules: { keepLast: 1, grace: days(0) } });
  assertEquals([report.problems, report.expired.length, report.kept], [[], 0, 3]);
  await place.expectExact();
});

for (const grace of [0, 7]) {
  Deno.test(`expire() between an increment's look at its parent and its manifest leaves nothing complete without a link (grace ${grace})`, async () => {
    await using place = await Increments.start();
    const ids = await fill(place, 250);
    const other = { name: "other" };
    await place.expectRun({ kind: "full" });
    await place.expectRun({ kind: "full", because: /no backup of this task/ }, { task: other });
    await edit(place, ids[0]!);
    const store = await openStore({ bucket: `file://${place.backups.root}` });
    let expired: ExpireReport | undefined;
    const watched: Store = new Proxy(store, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "create") return typeof value === "function" ? value.bind(target) : value;
        return async (keys: Iterable<string>, ...others: unknown[]) => {
          if (expired === undefined && Array.isArray(keys) && String(keys[0]).startsWith("_catalog/")) {
            // Another machine has finished a full backup of the same task meanwhile, and somebody expires what it took
            // the place of: the very backup that this one goes on from.
            await place.run({ day: 5, full: true });
            expired = await expireLater(place, {
              later: 2,
              rules: { keepLast: 1, grace: days(grace) },
              tasks: ["weekly", "other"],
            });
          }
          return await value.call(target, keys, ...others);
        };
      },
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
    const context = { repository: new Repository(watched, { prefix: "", suffix: "couchdb" }) };
    const report = await place.run({ day: 4, context });
    assert(expired !== undefined && expired.ok, JSON.stringify(expired));
    assertEquals(expired.expired.length, grace === 0 ? 1 : 0);
    assertEquals(
      [report.status, report.kind],
      ["complete", grace === 0 ? "full" : "incremental"],
      JSON.stringify(report),
    );
    for (const path of ["latest/db", "2026/01/04/couchdb/db", "2026/01/05/couchdb/db"]) {
      const verified = await place.verify(path);
      assertEquals([path, verified.ok, verified.problems], [path, true, []]);
    }
    await place.expectExact();
    assert(await completeBackups(place) >= 3);
  });
}
