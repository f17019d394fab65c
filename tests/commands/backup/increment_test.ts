/** What incremental backups save, when all is saved again, and that a chain of them comes back exactly. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { couchOk } from "../../couch_request.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { compareLeafRevisions, type LeafRevisions } from "../../leaf_revisions.ts";
import { filesOf } from "../../read_archive.ts";
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
    const folder = place.backups.folder.replace("03", `0${day}`);
    const files = await filesOf(folder);
    assertEquals(files.filter((name) => !name.startsWith("manifest")), [], `${files}`);
    const manifest = JSON.parse(await Deno.readTextFile(`${folder}/manifest.json`));
    assertStringIncludes(manifest.parent.path, "2026/01/03/couchdb/db/manifest-");
    assert(JSON.stringify(manifest).length < 10_000, "a small object");
  }
  await place.expectExact();
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
    const [name] = (await filesOf(place.backups.folder.replace("03", `0${day}`))).filter((one) =>
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

/** What makes a chain end, what its next backup says of that, and whether the documents are then those that there are. */
const DOUBTS: {
  what: string;
  because: RegExp;
  happens(place: Increments): void | Promise<void>;
  options?: Parameters<Increments["run"]>[0];
}[] = [
  {
    what: "was deleted and made anew with the same documents",
    because: /deleted and made anew/,
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
    because: /set back|documents, deleted ones too, and had/,
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
    because: /set back/,
    async happens(place) {
      const setBack = place.database.snapshot();
      fill(place.database, 60, { from: 6000 });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      setBack();
      fill(place.database, 60, { from: 7000 });
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
      await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace('"weekly"', '"weakly"'));
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
    await place.expectRun({ kind: "full", because }, { day: 6, ...options });
    await place.expectExact();
    const said = place.backups.log.lines.filter(({ event }) => event === "all of the database is saved");
    assert(because.test(String(said.at(-1)?.fields["reason"])), "in the log, too");
    // And from there on goes the next chain.
    const { full: _, ...again } = { ...options, task: { ...options?.task, increments: { most: 14 } } };
    await place.expectRun({ kind: "unchanged" }, { day: 7, ...again });
  });
}
