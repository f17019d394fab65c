/** What incremental backups save, when all is saved again, and that a chain of them comes back exactly. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ArchiveError, InterruptedError } from "../../../src/errors.ts";
import { couchOk } from "../../couch_request.ts";
import { partsOf, textWithChecksum } from "../../edited_manifest.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { unreadable } from "../../fakes/couchdb/faults.ts";
import { compareLeafRevisions, type LeafRevisions } from "../../leaf_revisions.ts";
import { filesOf } from "../../read_archive.ts";
import { whyOver } from "../../../src/commands/backup/increment.ts";
import { Rest } from "../../../src/commands/backup/rest.ts";
import { Increments } from "./increment_setup.ts";

/** Documents deleted, as tombstones. */
const deletions = (ids: readonly string[]) => ids.map((_id) => ({ _id, _deleted: true }));

Deno.test("backup() of an unchanged database is a manifest whose parent is the last backup with content", async () => {
  await using place = await Increments.start();
  fill(place.database, 300);
  await place.expectRun({ kind: "full", documents: 300, because: /no backup of this task/ });
  for (const day of [4, 5, 6]) {
    const since = place.fake.requests.length;
    const report = await place.expectRun({ kind: "unchanged", documents: 0 }, { day });
    assertEquals([report.chunks, report.compressed_bytes], [0, 0]);
    const asked = place.fake.requests.slice(since).map(({ endpoint }) => endpoint);
    assertEquals(asked.filter((endpoint) => endpoint === "_changes" || endpoint === "_bulk_get"), ["_changes"]);
    const folder = place.backups.folder.replace("/03/", `/0${day}/`);
    const files = await filesOf(folder);
    assertEquals(files.filter((name) => !name.startsWith("manifest")), [], `${files}`);
    const manifest = JSON.parse(await Deno.readTextFile(`${folder}/manifest.json`));
    assertStringIncludes(manifest.parent.path, "2026/01/03/couchdb/db/manifest-");
    assert(JSON.stringify(manifest).length < 10_000, "a small object");
  }
  await place.expectExact();
});

Deno.test("backup() builds on no backup of another database, whose folder was put in the place of the last one's", async () => {
  await using place = await Increments.start();
  fill(place.database, 300);
  await place.expectRun({ kind: "full" });
  const { folder } = place.backups;
  for (const name of (await filesOf(folder)).filter((name) => name.startsWith("manifest"))) {
    const parts = partsOf(await Deno.readTextFile(`${folder}/${name}`));
    await Deno.writeFile(`${folder}/${name}`, textWithChecksum({ ...parts, database: "other" }));
  }
  await place.expectRun({ kind: "full", because: /where the last backup was lies one of "other"/ }, { day: 4 });
  await place.expectExact();
});

Deno.test("backup() builds on no backup over whose manifest that of another run was put", async () => {
  await using place = await Increments.start();
  fill(place.database, 300);
  await place.expectRun({ kind: "full" });
  await place.expectRun({ kind: "unchanged" }, { day: 4 });
  await place.expectRun({ kind: "unchanged" }, { day: 5 });
  const { folder } = place.backups;
  const [before, last] = [4, 5].map((day) => folder.replace("/03/", `/0${day}/`)) as [string, string];
  const name = (await filesOf(last)).find((name) => name.startsWith("manifest-"))!;
  await Deno.copyFile(`${before}/manifest.json`, `${last}/${name}`);
  await place.expectRun({ kind: "full", because: /lies the manifest of another run/ }, { day: 6 });
  await place.expectExact();
});

Deno.test("backup() looks at a feed in parts where its rows are more than is read at once", async () => {
  await using place = await Increments.start();
  fill(place.database, 30);
  await place.expectRun({ kind: "full" });
  const long = "x".repeat(7000);
  edit(place.database, ...Array.from({ length: 5100 }, (_, number) => ({ _id: `${number}${long}` })));
  await place.expectRun({ kind: "full", documents: 5130, because: /have changed/ }, { day: 4, task: { chunk: 5000 } });
  await place.expectRun({ kind: "unchanged", documents: 0 }, { day: 5, task: { chunk: 5000 } });
});

Deno.test("backup() saves what has changed, been made and been deleted, and each restore point comes back as it was", async () => {
  await using place = await Increments.start();
  const { database } = place;
  const ids = fill(database, 400);
  await place.expectRun({ kind: "full" });
  const deleted: string[] = [];
  for (const day of [4, 5, 6]) {
    const from = (day - 4) * 40;
    edit(database, ...ids.slice(from, from + 10).map((_id) => ({ _id, day })));
    const gone = ids.slice(from + 10, from + 15);
    edit(database, ...deletions(gone));
    deleted.push(...gone);
    fill(database, 7, { from: 1000 * day });
    // Changed on each day, once beyond what the day before has: its older states must not come back.
    edit(database, { _id: ids[399]!, day });
    await place.expectRun({ kind: "incremental", documents: 23 }, { day });
    await place.expectExact(deleted);
    const report = await place.verify();
    assertEquals([report.ok, report.problems, report.parents?.length], [true, [], day - 3]);
  }
});

Deno.test("backup() keeps each restore point of a chain: re-creations, conflicts, attachments, design documents, hot documents", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  database.revsLimit = 5;
  const ids = fill(database, 200);
  const put = async (docs: unknown[], newEdits = true) =>
    await couchOk(fake, "POST /db/_bulk_docs", { docs, new_edits: newEdits });
  const conflict = (id: string, rev: string, deleted = false) => ({
    _id: id,
    _rev: rev,
    _revisions: { start: 1, ids: [rev.slice(2)] },
    ...deleted ? { _deleted: true } : { other: rev },
  });
  const attachment = (text: string) => ({ "a.txt": { content_type: "text/plain", data: btoa(text) } });
  await put([{ _id: "with attachment", _attachments: attachment("one") }, {
    _id: "_design/d",
    views: { v: { map: "function(doc){}" } },
  }]);
  await put([conflict("conflicted", "1-aaaa"), conflict("conflicted", "1-bbbb")], false);
  const points: { path: string; expected: LeafRevisions }[] = [];
  const deleted = [ids[7]!, ids[8]!, "conflicted"];
  const save = async (kind: "full" | "incremental", day: number) => {
    const report = await place.expectRun({ kind }, { day });
    const [name] = (await filesOf(place.backups.folder.replace("/03/", `/0${day}/`))).filter((one) =>
      /^manifest-/.test(one)
    );
    points.push({ path: `2026/01/0${day}/couchdb/db/${name}`, expected: await place.leaves(deleted) });
    return report;
  };
  await save("full", 3);
  edit(database, ...deletions(ids.slice(5, 9)));
  for (let n = 0; n < 40; n++) edit(database, { _id: ids[0]!, n });
  await put([conflict("conflicted", "1-cccc")], false);
  await save("incremental", 4);
  edit(database, { _id: ids[5]!, again: 1 }, { _id: ids[6]!, again: 1 });
  for (let n = 0; n < 1200; n++) edit(database, { _id: ids[1]!, n });
  await put([conflict("conflicted", "1-bbbb", true)], false);
  const [winner] = (await place.leaves()).get("with attachment")!.keys();
  await put([{ _id: "with attachment", _rev: winner, _attachments: attachment("two") }]);
  await save("incremental", 5);
  edit(database, ...deletions([ids[5]!]), { _id: "_design/e", views: {} });
  edit(database, { _id: ids[5]!, third: true });
  for (let n = 0; n < 20; n++) edit(database, { _id: ids[0]!, n, again: true });
  await save("incremental", 6);
  for (const { path, expected } of points) {
    const { report, leaves } = await place.restore(path, { also: deleted });
    // What was live at no moment of a backup need not be there as a tombstone.
    assertEquals(compareLeafRevisions(expected, leaves), [], path);
    assertEquals(report.ok, true);
  }
});

Deno.test("backup() leaves a document deleted that was deleted while the full backup ran, in the chain too", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  const ids = fill(database, 600);
  let seen = 0;
  fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++seen === 4) edit(database, ...deletions(ids.slice(0, 20)));
  });
  await place.expectRun({ kind: "full" }, { task: { chunk: 20, parallel: 1 } });
  edit(database, { _id: ids[30]!, changed: true });
  await place.expectRun({ kind: "incremental" }, { day: 4 });
  await place.expectExact(ids.slice(0, 20));
});

Deno.test("backup() of an increment has what was changed while the backup before looked for the end of the feed", async () => {
  for (const documents of [300, 2500]) {
    await using place = await Increments.start();
    const { database, fake } = place;
    const ids = fill(database, documents);
    let isRead = false;
    let changes = 0;
    fake.onRequest(({ endpoint }) => {
      if (endpoint === "_bulk_get") isRead = true;
      // The documents are stored by then: only the end of the feed is asked for once more.
      if (endpoint !== "_changes" || !isRead || changes++ > 0) return;
      edit(database, ...ids.slice(-5).map((_id) => ({ _id, changed: true })));
      edit(database, { _id: ids[0]!, changed: true }, { _id: "made meanwhile" });
    });
    // Positions are so far apart then that a nearer one is asked for.
    await place.expectRun({ kind: "full", documents }, { task: { chunk: 1000 } });
    assertEquals(changes, 1);
    await place.expectRun({ kind: "incremental", documents: 7 }, { day: 4 });
    await place.expectExact();
    await place.expectRun({ kind: "unchanged" }, { day: 5 });
  }
});

/** What happens to a database while an increment of it is made, so that all is saved in its place. */
const MEANWHILE: { what: string; because: RegExp; happens(place: Increments, ids: string[]): void | Promise<void> }[] =
  [
    {
      what: "is purged of a document",
      because: /purged/,
      async happens({ fake, database }, ids) {
        const rev = JSON.parse(database.winnerText(ids[150]!)!)._rev;
        await couchOk(fake, "POST /db/_purge", { [ids[150]!]: [rev] });
      },
    },
    {
      what: "is deleted and made anew with as many documents",
      because: /deleted and created again/,
      async happens({ fake }, ids) {
        await couchOk(fake, "DELETE /db");
        await couchOk(fake, "PUT /db");
        const anew = fake.databases.get("db")!;
        anew.properties.createdAt += 7;
        edit(anew, ...ids.map((_id) => ({ _id, anew: true })));
      },
    },
  ];
for (const { what, because, happens } of MEANWHILE) {
  Deno.test(`backup() of a database that ${what} while an increment is made saves all, just as it is then`, async () => {
    await using place = await Increments.start();
    const ids = fill(place.database, 300);
    await place.expectRun({ kind: "full" });
    edit(place.database, ...ids.slice(0, 20).map((_id) => ({ _id, changed: true })));
    let isFirst = true;
    place.fake.onRequest(async ({ endpoint }) => {
      if (endpoint !== "_bulk_get" || !isFirst) return;
      isFirst = false;
      await happens(place, ids);
    });
    await place.expectRun({ kind: "full", because }, { day: 4 });
    await place.expectExact();
  });
}

/**
 * What makes a chain end, what its next backup says of that, and whether the documents are then those that there are.
 */
const DOUBTS: {
  what: string;
  because: RegExp;
  happens(place: Increments): void | Promise<void>;
  options?: Parameters<Increments["run"]>[0];
}[] = [
  {
    what: "was deleted and made anew with the same documents",
    because: /deleted and created again/,
    async happens({ fake, database }) {
      const all = database.listing(fake.node).ids;
      await couchOk(fake, "DELETE /db");
      await couchOk(fake, "PUT /db");
      const anew = fake.databases.get("db")!;
      anew.properties.createdAt += 7;
      edit(anew, ...all.slice(0, 100).map((_id) => ({ _id })));
    },
  },
  {
    what: "was purged of a document",
    because: /purged/,
    async happens({ fake, database }) {
      const [id] = database.listing(fake.node).ids;
      const rev = JSON.parse(database.winnerText(id!)!)._rev;
      await couchOk(fake, "POST /db/_purge", { [id!]: [rev] });
    },
  },
  {
    what: "was set back, and written to since",
    because: /was reset|documents, deleted ones too, and had/,
    async happens(place) {
      fill(place.database, 30, { from: 5000 });
      const setBack = place.database.snapshot();
      fill(place.database, 60, { from: 6000 });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      setBack();
      fill(place.database, 50, { from: 7000 });
    },
  },
  {
    what: "was set back and written to as much as before",
    because: /was reset/,
    async happens(place) {
      const setBack = place.database.snapshot();
      fill(place.database, 60, { from: 6000 });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      setBack();
      fill(place.database, 60, { from: 7000 });
    },
  },
  {
    what: "was set back to before changes that its last backup has, and not written to since",
    because: /was reset/,
    async happens(place) {
      const setBack = place.database.snapshot();
      const { ids } = place.database.listing(place.fake.node);
      edit(place.database, ...ids.slice(0, 30).map((_id) => ({ _id, changed: true })));
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      setBack();
    },
  },
  {
    what: "is saved without attachments",
    because: /other options: attachments/,
    happens() {},
    options: { task: { attachments: false } },
  },
  {
    what: "is saved with all tombstones",
    because: /other options: tombstones/,
    happens() {},
    options: { task: { tombstones: true } },
  },
  {
    what: "is saved by another task",
    because: /no backup of this task/,
    happens() {},
    options: { task: { name: "other" } },
  },
  { what: "is to be saved in full", because: /--full/, happens() {}, options: { full: true } },
  {
    what: "has changed by more than a third",
    because: /of 300 documents have changed/,
    happens: ({ database }) =>
      edit(database, ...Array.from({ length: 120 }, (_, n) => ({ _id: `d0000${String(n).padStart(3, "0")}`, n }))),
  },
  {
    what: "lacks a chunk of its parent",
    because: /chunk "0000000.json.gz" of .* is missing/,
    happens: ({ backups }) => Deno.remove(`${backups.folder}/0000000.json.gz`),
  },
  {
    what: "has a damaged chunk in its parent",
    because: /chunk "0000001.json.gz" of .* is missing or has another size/,
    happens: ({ backups }) => Deno.truncate(`${backups.folder}/0000001.json.gz`, 10),
  },
  {
    what: "lacks its last manifest",
    because: /no backup of this task/,
    async happens({ backups }) {
      for (const name of await filesOf(backups.folder)) {
        if (name.startsWith("manifest")) await Deno.remove(`${backups.folder}/${name}`);
      }
    },
  },
  {
    what: "has a damaged last manifest",
    because: /manifest of the last backup is damaged/,
    async happens({ backups }) {
      for (const name of await filesOf(backups.folder)) {
        if (name.startsWith("manifest-")) await Deno.truncate(`${backups.folder}/${name}`, 500);
      }
    },
  },
  {
    what: "lacks the manifest of the parent of its last backup",
    because: /relies on is not whole, "2026\/01\/03.*It is missing/,
    async happens(place) {
      edit(place.database, { _id: "x" });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      for (const name of await filesOf(place.backups.folder)) {
        if (name.startsWith("manifest-")) await Deno.remove(`${place.backups.folder}/${name}`);
      }
    },
  },
  {
    what: "has another manifest in place of its parent's",
    because: /relies on is not whole.*SHA-256/,
    async happens(place) {
      edit(place.database, { _id: "x" });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      const [name] = (await filesOf(place.backups.folder)).filter((one) => one.startsWith("manifest-"));
      const path = `${place.backups.folder}/${name}`;
      await Deno.writeFile(path, textWithChecksum({ ...partsOf(await Deno.readTextFile(path)), task: "weakly" }));
    },
  },
  {
    what: "has another revisions limit",
    because: /its revisions limit was 1000 and is 500, so that all histories may be others/,
    async happens({ fake }) {
      await couchOk(fake, "PUT /db/_revs_limit", "500");
    },
  },
  {
    what: "has as many increments as it may",
    because: /2 incremental backups rely on the last full one/,
    async happens(place) {
      for (const day of [4, 5]) {
        edit(place.database, { _id: "x", day });
        await place.expectRun({ kind: "incremental" }, { day });
      }
      edit(place.database, { _id: "x", last: true });
    },
    options: { task: { increments: { most: 2 } } },
  },
  {
    what: "has a full backup that is too old",
    because: /the last full backup is 0 days old \(full_every\)/,
    happens: () => new Promise((resolve) => setTimeout(resolve, 20)),
    options: { task: { increments: { most: 14, fullEveryDays: 10 / 86_400_000 } } },
  },
];

for (const { what, because, happens, options } of DOUBTS) {
  Deno.test(`backup() saves all of a database that ${what}, and says why`, async () => {
    await using place = await Increments.start();
    fill(place.database, 300);
    await place.expectRun({ kind: "full" });
    await happens(place);
    const report = await place.expectRun({ kind: "full", because }, { day: 6, ...options });
    assertEquals(report.chain_lost, undefined, "the chain before was right");
    await place.expectExact();
    const said = place.backups.log.lines.filter(({ event }) => event === "full backup");
    assert(because.test(String(said.at(-1)?.fields["reason"])), "in the log, too");
    // And from there on goes the next chain.
    const { full: _, ...again } = { ...options, task: { ...options?.task, increments: { most: 14 } } };
    await place.expectRun({ kind: "unchanged" }, { day: 7, ...again });
  });
}

Deno.test("backup() of a CouchDB that does not say how many changes follow is always full, and that is said once a run", async () => {
  await using place = await Increments.start({ version: "1.7.2" });
  fill(place.database, 50);
  await couchOk(place.fake, "PUT /other");
  fill(place.fake.databases.get("other")!, 20);
  for (const day of [3, 4]) {
    place.backups.log.lines.length = 0;
    const reports = await place.runAll(["db", "other"], { day });
    assertEquals(reports.map(({ kind, documents }) => [kind, documents]), [["full", 50], ["full", 20]]);
    const said = place.backups.log.events("warn").filter((event) => event === "no incremental backups are possible");
    assertEquals(said.length, day === 3 ? 0 : 1);
  }
});

Deno.test("backup() tries the documents that the last backup could not read, and saves them once they can be read", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const [bad = "", worse = "", ...others] = fill(database, 100);
  fake.faults.add(unreadable("db", [bad, worse], "error row"));
  const first = await place.expectRun({ kind: "full", documents: 98 });
  assertEquals(first.unreadable?.map(({ id }) => id).sort(), [bad, worse]);
  // Nothing has changed, and nothing can be read: that stays so, and is said.
  const second = await place.expectRun({ kind: "unchanged" }, { day: 4 });
  assertEquals(second.unreadable?.map(({ id }) => id).sort(), [bad, worse]);
  edit(database, { _id: others[0]!, changed: 1 });
  const third = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 5 });
  assertEquals(third.unreadable?.map(({ id }) => id).sort(), [bad, worse]);
  fake.faults.clear();
  fake.faults.add(unreadable("db", [worse], "error row"));
  const fourth = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 6 });
  assertEquals(fourth.unreadable?.map(({ id }) => id), [worse]);
  fake.faults.clear();
  edit(database, { _id: worse, changed: 1 });
  const fifth = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 7 });
  assertEquals(fifth.unreadable, undefined);
  await place.expectExact();
});

Deno.test("backup() of an increment leaves out a document whose row breaks, and saves it once it comes, though it breaks once", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const [bad = "", later = ""] = fill(database, 100);
  const text = "x".repeat(1_500_000);
  edit(database, { _id: bad, text });
  fake.faults.add(unreadable("db", [bad, later], "breaks within"));
  const first = await place.expectRun({ kind: "full", documents: 99 });
  assertEquals(first.unreadable?.map(({ id }) => id), [bad]);
  edit(database, { _id: later, text });
  const second = await place.expectRun({ kind: "incremental", documents: 0 }, { day: 4 });
  assertEquals(second.unreadable?.map(({ id }) => id).sort(), [bad, later].sort());
  fake.faults.clear();
  fake.faults.add({ ...unreadable("db", [bad, later], "breaks within"), times: 1 });
  const third = await place.expectRun({ kind: "incremental", documents: 2 }, { day: 5 });
  assertEquals(third.unreadable, undefined);
  await place.expectExact();
});

Deno.test("backup() of an increment that is stopped is resumed from where it stopped, and is exact", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const ids = fill(database, 3000);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(100, 900).map((_id) => ({ _id, changed: true })), ...deletions(ids.slice(0, 50)));
  const task = { chunk: 20, parallel: 2 };
  const stop = new AbortController();
  let asked = 0;
  fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 20) stop.abort(new InterruptedError("killed"));
  });
  await place.run({ day: 4, task, context: { stop: stop.signal } }).then(
    () => assert(false, "it was stopped"),
    (error) => assert(error instanceof InterruptedError),
  );
  edit(database, ...ids.slice(800, 1000).map((_id) => ({ _id, later: true })));
  const since = fake.requests.length;
  const report = await place.run({ day: 4, task, resume: true });
  assertEquals([report.status, report.kind, report.error], ["resumed", "incremental", undefined]);
  const read = fake.requests.slice(since).filter(({ endpoint }) => endpoint === "_bulk_get").flatMap(({ ids }) => ids);
  assert(read.length < 900, `${read.length} documents were read again, of 950`);
  await place.expectExact(ids.slice(0, 50));
  assertEquals((await place.verify()).problems, []);
  await place.expectRun({ kind: "unchanged" }, { day: 5 });
});

Deno.test("backup() of an increment whose parent was replaced by another backup meanwhile is not resumed", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const ids = fill(database, 1000);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(0, 200).map((_id) => ({ _id, changed: true })));
  const task = { chunk: 10, parallel: 1 };
  const stop = new AbortController();
  let asked = 0;
  fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 10) stop.abort(new InterruptedError("killed"));
  });
  await place.run({ day: 4, task, context: { stop: stop.signal } }).catch(() => {});
  await place.expectRun({ kind: "incremental", documents: 200 }, { day: 5 });
  edit(database, { _id: ids[500]!, changed: true });
  const report = await place.run({ day: 4, task, resume: true });
  assertEquals([report.status, report.kind, report.documents], ["complete", "incremental", 1]);
  await place.expectExact();
});

Deno.test("backup() whose parent goes while it runs fails, and saves all: nothing complete lacks a link", async () => {
  for (const isChanged of [true, false]) {
    await using place = await Increments.start();
    const ids = fill(place.database, 200);
    await place.expectRun({ kind: "full" });
    if (isChanged) edit(place.database, { _id: ids[5]!, changed: true });
    const { context, isGone } = await place.losing();
    await place.expectRun({ kind: "full", documents: 200, because: /relies on is gone, "2026\/01\/03/ }, {
      day: 4,
      context,
    });
    assert(isGone());
    await place.expectExact();
    const verified = await place.verify();
    assertEquals([verified.ok, verified.parents], [true, undefined]);
    await place.expectRun({ kind: "unchanged" }, { day: 5 });
  }
});

Deno.test("backup() of two tasks on one database keeps a chain for each", async () => {
  await using place = await Increments.start();
  const { database } = place;
  const ids = fill(database, 300);
  const without = { name: "without", attachments: false };
  await place.expectRun({ kind: "full" });
  await place.expectRun({ kind: "full", because: /no backup of this task/ }, { task: without });
  edit(database, { _id: ids[0]!, n: 1 });
  await place.expectRun({ kind: "incremental", documents: 1 }, { day: 4 });
  edit(database, { _id: ids[1]!, n: 1 });
  await place.expectRun({ kind: "incremental", documents: 2 }, { day: 4, task: without });
  await place.expectExact();
  await place.expectRun({ kind: "incremental", documents: 1 }, { day: 5 });
  await place.expectExact();
});

Deno.test("verify() and restore() name the link of a chain that is broken, and --salvage restores what is whole", async () => {
  await using place = await Increments.start();
  const { database, backups } = place;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" });
  for (const day of [4, 5]) {
    edit(database, ...ids.slice(0, 10 * day).map((_id) => ({ _id, day })));
    await place.expectRun({ kind: "incremental" }, { day });
  }
  const parent = backups.folder.replace("/03/", "/04/");
  const chunk = `${parent}/0000000.json.gz`;
  const bytes = await Deno.readFile(chunk);
  await Deno.writeFile(chunk, bytes.map((byte, at) => at === 40 ? byte ^ 1 : byte));
  const damaged = await place.verify();
  assertEquals(damaged.problems.map(({ chunk }) => chunk), ["2026/01/04/couchdb/db/0000000.json.gz"]);
  // Each link has a chunk of that name: a dry run says whose it is, as the restore does.
  const previewed = await place.preview("latest/db", { salvage: true });
  const { report: salvaged } = await place.restore("latest/db", { salvage: true });
  assertEquals(previewed.damaged, salvaged.damaged);
  assertEquals(salvaged.damaged.map(({ chunk }) => chunk), ["2026/01/04/couchdb/db/0000000.json.gz"]);
  await Deno.writeFile(chunk, bytes);
  assertEquals((await place.verify()).ok, true);

  for (const name of await filesOf(parent)) if (name.startsWith("manifest")) await Deno.remove(`${parent}/${name}`);
  const broken = await place.verify();
  assertEquals(broken.problems.length, 1);
  assertStringIncludes(broken.problems[0]!.chunk, "2026/01/04/couchdb/db/manifest-");
  assertStringIncludes(broken.problems[0]!.problem, "It is missing");
  await assertRejects(() => place.restore(), ArchiveError, "2026/01/04/couchdb/db/manifest-");
  const { report, leaves } = await place.restore("latest/db", { salvage: true });
  assertEquals([report.ok, report.damaged.length, leaves.size], [false, 1, 50]);
});

Deno.test("restore() of an increment finds its parents in a copy of the folders, wherever it lies", async () => {
  await using place = await Increments.start();
  const { database, backups } = place;
  const ids = fill(database, 100);
  await place.expectRun({ kind: "full" });
  edit(database, { _id: ids[0]!, changed: true });
  await place.expectRun({ kind: "incremental" }, { day: 4 });
  const copy = await Deno.makeTempDir({ prefix: "couchdb-backup copy-" });
  try {
    for (const day of ["03", "04"]) {
      const from = backups.folder.replace("/03/", `/${day}/`);
      const to = `${copy}/deep/below/2026/01/${day}/couchdb/db`;
      await Deno.mkdir(to, { recursive: true });
      for (const name of await filesOf(from)) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
    }
    await place.expectExact([], `${copy}/deep/below/2026/01/04/couchdb/db`);
    await place.expectExact([], `file://${copy}/deep/below/2026/01/04/couchdb/db`);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
});

Deno.test("backup() does not wait for the task's delay behind a database that has not changed", async () => {
  await using place = await Increments.start();
  const names = ["db", "b", "c", "d"];
  for (const name of names) {
    if (name !== "db") await couchOk(place.fake, `PUT /${name}`);
    fill(place.fake.databases.get(name)!, 10);
  }
  await place.runAll(names);
  edit(place.fake.databases.get("c")!, { _id: "new" });
  const owed: string[] = [];
  const rest = new class extends Rest {
    override isOwed(delaySeconds: number): void {
      owed.push(`${delaySeconds} s`);
      super.isOwed(delaySeconds);
    }
    override isHardlyOwed(delaySeconds: number, openedAtMs: number): void {
      owed.push("a moment");
      super.isHardlyOwed(delaySeconds, openedAtMs);
    }
  }();
  const before = performance.now();
  const reports = await place.runAll(names, { day: 4, task: { delaySeconds: 2 }, context: { rest } });
  const tookMs = performance.now() - before;
  assertEquals(reports.map(({ unchanged }) => unchanged === true), [true, true, false, true]);
  // Once, behind the one that has changed; and a moment behind each of the others.
  assertEquals(owed, ["a moment", "a moment", "2 s", "a moment"]);
  assert(tookMs > 2100, `${tookMs} ms`);
});

Deno.test("a rebuilt node that repeats the rows of 200 databases sends no more than a tenth of them into a full backup", async () => {
  await using place = await Increments.start();
  const names = Array.from({ length: 200 }, (_, at) => `many-${at}`);
  for (const name of names) {
    await couchOk(place.fake, `PUT /${name}`);
    fill(place.fake.databases.get(name)!, 120);
  }
  const task = { chunk: 50 };
  assertEquals((await place.runAll(names, { task })).every(({ kind }) => kind === "full"), true);
  for (const name of names) place.fake.databases.get(name)!.rewind();
  const reports = await place.runAll(names, { day: 4, task });
  assertEquals(reports.map(({ error }) => error).filter((error) => error !== undefined), []);
  const fulls = reports.filter(({ kind }) => kind === "full");
  assert(fulls.length > 0 && fulls.length <= 20, `${fulls.length} of 200 were saved in full`);
  for (const { full_because: because } of fulls) assertStringIncludes(because ?? "", "documents have changed");
  assertEquals((await place.runAll(names, { day: 5, task })).every(({ unchanged }) => unchanged), true);
});

Deno.test("backup() warns loudly of a database that has shrunk, also where the backup before is incremental", async () => {
  await using place = await Increments.start();
  const { database } = place;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" });
  await place.expectRun({ kind: "unchanged" }, { day: 4 });
  edit(database, ...deletions(ids.slice(0, 250)));
  const report = await place.expectRun({ kind: "full", because: /250 of 300 documents have changed/ }, { day: 5 });
  assertEquals(report.shrunk_from, 300);
  assertStringIncludes(report.warnings?.join() ?? "", "It has 50 documents");
});

Deno.test("backup() relies on nothing whose lock ends before the restore point has been safe for long enough", async () => {
  const DAY_MS = 86_400_000;
  const startMs = Date.now();
  const at = (days: number) => ({ now: () => new Date(startMs + days * DAY_MS) });
  for (const [fullEveryDays, least] of [[undefined, 60], [30, 90]] as const) {
    await using place = await Increments.start();
    fill(place.database, 300);
    const task = { increments: { most: 14, fullEveryDays, lockDays: 120 } };
    await place.expectRun({ kind: "full" }, { task });
    const read = async (day: number) =>
      JSON.parse(await Deno.readTextFile(`${place.backups.folder.replace("/03/", `/0${day}/`)}/manifest.json`));
    const until = Date.parse((await read(3)).locked_until);
    assert(until >= startMs + 120 * DAY_MS && until < startMs + 121 * DAY_MS, (await read(3)).locked_until);
    // So long a restore point that is made now is safe: what it relies on is locked until then.
    edit(place.database, { _id: "x" });
    await place.expectRun({ kind: "incremental" }, { day: 4, task, context: at(119 - least) });
    await place.expectRun({ kind: "unchanged" }, { day: 5, task, context: at(119.5 - least) });
    const because = fullEveryDays === undefined
      ? /^the lock of a backup that it would rely on ends on .*object_lock/
      : /full_every/;
    // Where nothing has changed, too: else all of its backups would be without a lock one day.
    await place.expectRun({ kind: "full", because }, { day: 6, task, context: at(120.5 - least) });
    await place.expectRun({ kind: "unchanged" }, { day: 7, task, context: at(121 - least) });
    // A longer lock is wanted than what is there has.
    const longer = { increments: { most: 14, fullEveryDays, lockDays: 300 } };
    await place.expectRun({ kind: "full", because: /object_lock/ }, { day: 8, task: longer, context: at(122 - least) });
  }
  await using place = await Increments.start();
  fill(place.database, 300);
  await place.expectRun({ kind: "full" });
  const task = { increments: { most: 14, lockDays: 120 } };
  await place.expectRun({ kind: "full", because: /stored without a lock/ }, { day: 4, task });
});

Deno.test("an increment goes on from a backup that has listed documents made after the count", async () => {
  for (const first of ["full", "incremental"] as const) {
    for (const later of [0, 3]) {
      await using place = await Increments.start();
      const { database, fake } = place;
      fill(database, 40);
      if (first === "incremental") {
        await place.expectRun({ kind: "full" });
        fill(database, 5, { from: 500 });
      }
      let isMade = false;
      // Between the question for the numbers and the page of the feed.
      fake.onRequest(({ endpoint }) => {
        if (endpoint !== "_changes" || isMade) return;
        isMade = true;
        fill(database, 2, { from: 100 });
      });
      await place.expectRun({ kind: first }, { day: 4 });
      fill(database, later, { from: 200 });
      await place.expectRun({ kind: later === 0 ? "unchanged" : "incremental", documents: later }, { day: 5 });
      await place.expectExact();
    }
  }
});

Deno.test("an increment whose parent has counted too few documents is a full backup in the end, and no failure for ever", async () => {
  await using place = await Increments.start();
  const { database, backups } = place;
  fill(database, 40);
  await place.expectRun({ kind: "full" });
  const [name] = (await filesOf(backups.folder)).filter((name) => name.startsWith("manifest-"));
  const path = `${backups.folder}/${name}`;
  const manifest = partsOf(await Deno.readTextFile(path));
  manifest.feed.expected = 38;
  await Deno.writeFile(path, textWithChecksum(manifest));
  await place.expectRun({ kind: "full", documents: 40, because: /counted fewer documents/ }, { day: 4 });
  await place.expectRun({ kind: "unchanged" }, { day: 5 });
  await place.expectExact();
});

Deno.test("whyOver() has a run of the seventh day make the full backup though it comes some seconds sooner", () => {
  const startedAt = new Date("2026-11-21T18:00:05Z");
  const full = { path: "f", manifest: { started_at: startedAt.toISOString() } };
  const after = (hours: number) =>
    whyOver([full], { most: 14, fullEveryDays: 7 }, new Date(startedAt.getTime() + hours * 3_600_000));
  assertEquals(after(7 * 24 - 1 / 600), "the last full backup is 7 days old (full_every)");
  assertEquals([after(7 * 24 - 2), after(6 * 24)], [undefined, undefined]);
});
