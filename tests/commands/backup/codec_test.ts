/** Histories in which the compression changes: each restore point is read, checked, gone on from, and expires. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Repository } from "../../../src/archive/repository.ts";
import type { Codec } from "../../../src/codec/compression.ts";
import { expire } from "../../../src/commands/expire/expire.ts";
import { InterruptedError } from "../../../src/errors.ts";
import { DirectoryRemover } from "../../../src/store/directory/remover.ts";
import { openStore } from "../../../src/store/open.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { task } from "../../fakes/task.ts";
import { filesOf, readBackup } from "../../read_archive.ts";
import { Increments } from "./increment_setup.ts";

const ZSTD: Codec = { compression: "zstd" };

/** How often each ending comes among a folder's chunks. */
async function endingsOf(folder: string): Promise<Record<string, number>> {
  const endings: Record<string, number> = {};
  for (const name of await filesOf(folder)) {
    const [ending] = /\.json\.\w+$/.exec(name) ?? [];
    if (ending !== undefined) endings[ending] = (endings[ending] ?? 0) + 1;
  }
  return endings;
}

Deno.test("backup() writes zstd where the task says so, at its level, and the names of chunks say it", async () => {
  await using place = await Increments.start();
  fill(place.database, 250);
  const { backups, fake } = place;
  const sizes: number[] = [];
  for (const [at, codec] of [ZSTD, { ...ZSTD, level: 19 }, undefined].entries()) {
    const report = await backups.run(fake, { task: { codec }, day: 3 + at });
    sizes.push(report.compressed_bytes);
    const folder = backups.folder.replace("/03/", `/0${3 + at}/`);
    assertEquals(await endingsOf(folder), { [codec === undefined ? ".json.gz" : ".json.zst"]: 3 });
    assertEquals((await readBackup(folder)).leafRevisions.size, 250);
  }
  assert(sizes[0] !== sizes[1], `${sizes}`);
  await place.expectExact();
});

Deno.test("A chain whose compression changes comes back exactly at each of its points, and verify() finds it whole", async () => {
  await using place = await Increments.start();
  const ids = fill(place.database, 400);
  const codecs: (Codec | undefined)[] = [undefined, ZSTD, undefined, ZSTD];
  for (const [at, codec] of codecs.entries()) {
    const day = 3 + at;
    edit(place.database, ...ids.slice(at * 20, at * 20 + 10).map((_id) => ({ _id, day })));
    edit(place.database, { _id: ids[399]!, day });
    await place.expectRun({ kind: at === 0 ? "full" : "incremental" }, { day, task: { codec } });
    await place.expectExact();
    const report = await place.verify();
    assertEquals([report.ok, report.problems, report.parents?.length ?? 0], [true, [], at]);
  }
  const folders = codecs.map((_, at) => place.backups.folder.replace("/03/", `/0${3 + at}/`));
  assertEquals(await Promise.all(folders.map(endingsOf)), [{ ".json.gz": 4 }, { ".json.zst": 1 }, { ".json.gz": 1 }, {
    ".json.zst": 1,
  }]);
});

Deno.test("backup() with --resume goes on in zstd behind chunks in gzip", async () => {
  await using place = await Increments.start();
  const { backups, fake } = place;
  fill(place.database, 600);
  const stop = new AbortController();
  const stopping = { kind: "run" as const, run: () => stop.abort(new InterruptedError("stopped")) };
  fake.faults.add({ endpoint: "_bulk_get", skip: 3, fault: stopping });
  const failure = await backups.run(fake, { task: { parallel: 1 }, context: { stop: stop.signal } }).catch((error) =>
    error
  );
  assert(failure instanceof InterruptedError, `${failure}`);
  const begun = await endingsOf(backups.folder);
  assert(begun[".json.gz"]! >= 2, JSON.stringify(begun));
  // What a chunk is compressed with does not make it another number.
  const report = await backups.run(fake, { task: { codec: ZSTD }, resume: true });
  assertEquals([report.status, report.documents], ["resumed", 600]);
  const { manifest } = await backups.read();
  const numbers = manifest.chunks.map(({ name }) => /\d{7}/.exec(name)![0]);
  assertEquals(new Set(numbers).size, numbers.length);
  assertEquals(new Set(manifest.chunks.map(({ name }) => name.slice(name.lastIndexOf(".") + 1))).size, 2);
  await place.expectExact();
  assertEquals((await place.verify()).problems, []);
});

Deno.test("restore() with --salvage takes chunks of both ways from a folder without manifest and checkpoint", async () => {
  await using place = await Increments.start();
  const { backups, fake } = place;
  fill(place.database, 300);
  await backups.run(fake, { task: { codec: ZSTD } });
  const { manifest } = await backups.read();
  for (const name of await filesOf(backups.folder)) {
    if (!/^\d{7}\./.test(name)) await Deno.remove(join(backups.folder, name));
  }
  const path = `2026/01/03/couchdb/db`;
  const found = await place.restore(path, { salvage: true });
  assertEquals([found.report.documents, found.report.verified], [300, false]);
  // One is cut off, of which a decompressor may say nothing.
  const [first] = manifest.chunks;
  const bytes = await Deno.readFile(join(backups.folder, first!.name));
  await Deno.writeFile(join(backups.folder, first!.name), bytes.subarray(0, -1));
  const rest = await place.restore(path, { salvage: true });
  assertEquals([rest.report.documents, rest.report.damaged.length], [200, 1]);
  assert(rest.report.damaged[0]!.problem.includes("ends before its end"), rest.report.damaged[0]!.problem);
});

Deno.test("expire() lets chunks of both ways go, left-over ones too, and keeps what a chain needs", async () => {
  await using place = await Increments.start();
  const { backups } = place;
  const ids = fill(place.database, 300);
  const folderOf = (day: number) => backups.folder.replace("/03/", `/0${day}/`);
  await place.expectRun({ kind: "full" }, { day: 3 });
  await place.expectRun({ kind: "full" }, { day: 4, task: { codec: ZSTD }, full: true });
  edit(place.database, { _id: ids[0]!, changed: true });
  await place.expectRun({ kind: "incremental" }, { day: 5 });
  await Deno.writeTextFile(join(folderOf(4), "0000099.json.zst"), "left over");
  const old = new Date("2026-01-01T00:00:00Z");
  await Deno.utime(join(folderOf(4), "0000099.json.zst"), old, old);
  const store = await openStore({ bucket: pathToFileURL(backups.root).href });
  const report = await expire({
    repository: new Repository(store, { prefix: "", suffix: "couchdb" }),
    remover: new DirectoryRemover(backups.root),
    tasks: [
      task("weekly", {
        timezone: "UTC",
        retention: { keepLast: 1, grace: { years: 0, months: 0, days: 0, hours: 0 } },
      }),
    ],
    log: new RecordedLog(),
    now: () => new Date(Date.now() + 40 * 24 * 3600 * 1000),
    signal: new AbortController().signal,
  }, { confirm: true });
  assertEquals([report.problems, report.expired.length, report.leftovers.objects >= 1], [[], 1, true]);
  const endings = await Promise.all([3, 4, 5].map((day) => endingsOf(folderOf(day))));
  assertEquals(endings, [{}, { ".json.zst": 3 }, { ".json.gz": 1 }]);
  await place.expectExact();
});
