/** expire() on chains of incremental backups that backup() has made: what it keeps is whole, and comes back exactly. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { expire } from "../../../src/commands/expire/expire.ts";
import { DirectoryRemover } from "../../../src/store/directory/remover.ts";
import type { RetentionRules } from "../../../src/task/retention.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { task } from "../../fakes/task.ts";
import { compareLeafRevisions, type LeafRevisions } from "../../leaf_revisions.ts";
import { filesOf } from "../../read_archive.ts";
import { Increments } from "./increment_setup.ts";

const NOW = new Date("2027-06-15T12:00:00Z");
const NO_GRACE = { years: 0, months: 0, days: 0, hours: 0 };

/** A full backup, two increments, one that found nothing, another full one and two increments: days 1 to 7. */
const DAYS = ["full", "incremental", "incremental", "unchanged", "full", "incremental", "incremental"] as const;

async function makeChains(place: Increments): Promise<Map<number, LeafRevisions>> {
  const { database } = place;
  const ids = fill(database, 300);
  const states = new Map<number, LeafRevisions>();
  for (const [at, kind] of DAYS.entries()) {
    const day = at + 1;
    if (kind !== "unchanged" && at > 0) {
      edit(database, ...ids.slice(at * 10, at * 10 + 20).map((_id) => ({ _id, day })));
    }
    const context = { now: () => new Date(Date.UTC(2026, 0, day, 10)) };
    await place.expectRun({ kind, ...kind === "full" ? { because: /./ } : {} }, { day, context, full: day === 5 });
    states.set(day, await place.leaves());
    const folder = folderOf(place, day);
    for (const name of await filesOf(folder)) await Deno.utime(join(folder, name), context.now(), context.now());
  }
  return states;
}

function folderOf(place: Increments, day: number): string {
  return place.backups.folder.replace("/03/", `/0${day}/`);
}

async function manifestsOf(place: Increments, day: number): Promise<string[]> {
  return (await filesOf(folderOf(place, day))).filter((name) => name.startsWith("manifest-"));
}

const CASES: { what: string; rules: RetentionRules; kept: number[] }[] = [
  // The parent of the newest is the one before it, and that one's parent the full one.
  { what: "the newest", rules: { keepLast: 1, grace: NO_GRACE }, kept: [5, 6, 7] },
  { what: "the newest four", rules: { keepLast: 4, grace: NO_GRACE }, kept: [1, 2, 3, 4, 5, 6, 7] },
  { what: "a week's and the month's", rules: { keepMonthly: 1, grace: NO_GRACE }, kept: [5, 6, 7] },
];

for (const { what, rules, kept } of CASES) {
  Deno.test(`expire() of chains keeps ${what} with all that they rely on, and these verify and restore`, async () => {
    await using place = await Increments.start();
    const states = await makeChains(place);
    // Opens the repository.
    await place.verify();
    const request = {
      repository: place.repository,
      remover: new DirectoryRemover(place.backups.root),
      tasks: [task("weekly", { timezone: "UTC", retention: rules })],
      log: place.backups.log,
      now: () => NOW,
      signal: new AbortController().signal,
    };
    const report = await expire(request, { confirm: true });
    assertEquals([report.ok, report.problems], [true, []]);
    for (const [day, expected] of states) {
      const manifests = await manifestsOf(place, day);
      assertEquals(manifests.length, kept.includes(day) ? 1 : 0, `day ${day}`);
      if (!kept.includes(day)) {
        assertEquals((await filesOf(folderOf(place, day))).filter((name) => name.endsWith(".gz")), [], `day ${day}`);
        continue;
      }
      const path = `2026/01/0${day}/couchdb/db/${manifests[0]}`;
      assertEquals((await place.verify(path)).problems, [], path);
      const { report, leaves } = await place.restore(path);
      assertEquals([report.ok, compareLeafRevisions(expected, leaves)], [true, []], path);
    }
    // And from there on increments go on.
    edit(place.database, { _id: "another" });
    await place.expectRun({ kind: "incremental", documents: 1 }, { day: 8 });
    await place.expectExact();
  });
}

Deno.test("expire() that goes between an increment's look at its parent and its manifest leaves nothing that lacks a link", async () => {
  await using place = await Increments.start();
  await makeChains(place);
  await place.verify();
  edit(place.database, { _id: "another" });
  let has = false;
  const rules = { keepLast: 1, grace: NO_GRACE };
  place.fake.onRequest(async ({ endpoint }) => {
    if (endpoint !== "_bulk_get" || has) return;
    has = true;
    await expire({
      repository: place.repository,
      remover: new DirectoryRemover(place.backups.root),
      tasks: [task("weekly", { timezone: "UTC", retention: rules })],
      log: place.backups.log,
      now: () => NOW,
      signal: new AbortController().signal,
    }, { confirm: true });
  });
  const report = await place.run({ day: 8 });
  assert(has);
  assertEquals([report.error, report.kind], [undefined, "incremental"]);
  const verified = await place.verify();
  assertEquals([verified.ok, verified.problems, verified.parents?.length], [true, [], 3]);
  await place.expectExact();
});
