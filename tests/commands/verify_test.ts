import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ArchiveError, EXIT } from "../../src/errors.ts";
import type { Manifest } from "../../src/archive/manifest.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { exitCodeOfVerify, verify } from "../../src/commands/verify.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { makeArchive } from "../make_archive.ts";
import { revision, type Row, writeArchive } from "../write_archive.ts";
import { alterFile, firstHalf, flipByte, gzipText, type RestoreSetup, setUpRestore } from "./restore/setup.ts";

interface ArchiveSetup extends RestoreSetup {
  folder: string;
  manifest: Manifest;
  manifestName: string;
  inFolder(name: string): string;
  /** Changes the manifest. */
  rewrite(alter: (manifest: Manifest) => void): Promise<void>;
}

async function setUpArchive(): Promise<ArchiveSetup> {
  const setup = await setUpRestore();
  const { server, couch, store, root, context: { repository: { prefix, suffix } } } = setup;
  await seedHardDatabase(server, "a/b", { documents: 30 });
  const { folder, manifest, manifestName } = await makeArchive({
    couch,
    store,
    database: "a/b",
    prefix,
    suffix,
    chunk: 10,
  });
  const inFolder = (name: string) => join(root, folder, name);
  return {
    ...setup,
    folder,
    manifest,
    manifestName,
    inFolder,
    async rewrite(alter) {
      const copy = structuredClone(manifest);
      alter(copy);
      for (const name of ["manifest.json", manifestName]) {
        await Deno.writeTextFile(inFolder(name), JSON.stringify(copy));
      }
    },
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
}

Deno.test("verify() reads every chunk and reports a whole backup as such, without asking CouchDB", async () => {
  await using archive = await setUpArchive();
  const { context, manifest, server, store, folder } = archive;
  const before = server.requests.length;
  const steps: { documents: number; bytes: number }[] = [];
  const progress = { ...context.progress, advanced: (step: { documents: number; bytes: number }) => steps.push(step) };
  const { seconds: _seconds, ...report } = await verify({ ...context, progress }, {
    database: "a%2Fb",
    path: "latest",
  });
  const { documents, leaf_revisions, chunks } = manifest.totals;
  const path = store.locate(folder);
  assertEquals(report, {
    ok: true,
    database: "a/b",
    path,
    chunks,
    documents,
    leaf_revisions,
    deleted: 0,
    ids_compared: true,
    unreadable: [],
    problems: [],
    leftovers: [],
  });
  assertEquals(server.requests.length, before);
  assertEquals(steps.reduce((sum, step) => sum + step.documents, 0), documents);
});

Deno.test("verify() names each damaged, missing and left-over object, and counts the whole ones", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder, manifest } = archive;
  await alterFile(inFolder("0000000.json.gz"), flipByte);
  await alterFile(inFolder("0000001.json.gz"), firstHalf);
  await Deno.remove(inFolder("0000002.json.gz"));
  await Deno.copyFile(inFolder("0000003.json.gz"), inFolder("0000077.json.gz"));
  await Deno.writeTextFile(inFolder("notes.txt"), "mine");
  const report = await verify(context, { database: "a/b", path: "latest" });
  const named = new Map(report.problems.map(({ chunk, problem }) => [chunk, problem]));
  assertEquals([...named.keys()].sort(), ["0000000.json.gz", "0000001.json.gz", "0000002.json.gz"]);
  assertStringIncludes(named.get("0000000.json.gz")!, "sha256");
  assertStringIncludes(named.get("0000001.json.gz")!, "bytes");
  assertStringIncludes(named.get("0000002.json.gz")!, "missing");
  assertEquals(report.leftovers.map(({ chunk }) => chunk), ["0000077.json.gz", "notes.txt"]);
  assertEquals([report.ok, exitCodeOfVerify(report)], [false, EXIT.archive]);
  assertEquals(report.chunks, manifest.chunks.length - 3);
});

Deno.test("verify() names a damaged manifest whose copy is whole, by which all else is verified and restored", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder, manifest, manifestName: name, store, folder } = archive;
  await alterFile(inFolder(name), firstHalf);
  for (const [database, path] of [["one", "latest/a%2Fb"], ["two", store.locate(folder)]] as const) {
    const report = await verify(context, { database: "a/b", path });
    assertEquals([report.problems.map(({ chunk }) => chunk), report.chunks], [[name], manifest.chunks.length]);
    assertEquals(exitCodeOfVerify(report), EXIT.archive);
    const restored = await restore(context, { database, path });
    assertEquals([restored.ok, restored.documents], [true, manifest.totals.documents]);
  }
});

Deno.test("verify() finds one letter of a manifest that is another, and restore() takes the copy, or nothing", async () => {
  await using archive = await setUpArchive();
  const { context, server, store, folder, manifestName, inFolder } = archive;
  const alter = (name: string) =>
    alterFile(inFolder(name), (bytes) => {
      const text = new TextDecoder().decode(bytes);
      return new TextEncoder().encode(text.replace("boss", "bess"));
    });
  await alter(manifestName);
  const path = store.locate(folder);
  const { ok, problems } = await verify(context, { database: "a/b", path });
  assertEquals([ok, problems.map(({ chunk }) => chunk)], [false, [manifestName]]);
  assertStringIncludes(problems[0]!.problem, "by its own checksum");
  await restore(context, { database: "copy", path });
  assertEquals(server.databases.get("copy")!.security, server.databases.get("a/b")!.security);
  await alter("manifest.json");
  const before = server.requests.length;
  await assertRejects(() => restore(context, { database: "none", path }), ArchiveError, "own checksum");
  assertEquals(server.requests.length, before);
});

Deno.test("verify() with quick sees sizes and presence, and not what is inside", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder } = archive;
  const quick = { database: "a/b", path: "latest", quick: true };
  await alterFile(inFolder("0000000.json.gz"), flipByte);
  assertEquals((await verify(context, quick)).ok, true);
  await alterFile(inFolder("0000001.json.gz"), firstHalf);
  assertEquals((await verify(context, quick)).problems.map(({ chunk }) => chunk), ["0000001.json.gz"]);
});

Deno.test("verify() takes chunks that are left over for no harm", async () => {
  await using archive = await setUpArchive();
  await Deno.copyFile(archive.inFolder("0000000.json.gz"), archive.inFolder("0000099.json.gz"));
  const report = await verify(archive.context, { database: "a/b", path: "latest" });
  assertEquals([report.ok, report.leftovers.length, exitCodeOfVerify(report)], [true, 1, EXIT.ok]);
});

Deno.test("verify() finds a manifest that its chunks do not bear out, although every checksum holds", async () => {
  await using archive = await setUpArchive();
  const { context, rewrite, manifestName } = archive;
  const cases: [(manifest: Manifest) => void, string, string][] = [
    [({ chunks, totals }) => (chunks[1]!.documents++, totals.documents++), "0000001.json.gz", "10 documents"],
    [
      ({ chunks, totals }) => (chunks[1]!.leaf_revisions++, totals.leaf_revisions++),
      "0000001.json.gz",
      "leaf revisions",
    ],
    [({ chunks, totals }) => (chunks[1]!.bytes++, totals.bytes++), "0000001.json.gz", "decompressed bytes"],
    [({ chunks, totals }) => (chunks[1]!.deleted++, totals.deleted++), "0000001.json.gz", "deleted documents"],
    [(manifest) => manifest.feed = null, manifestName, "positions of the changes feed"],
    [({ totals }) => totals.documents++, manifestName, "totals"],
  ];
  for (const [alter, chunk, problem] of cases) {
    await rewrite(alter);
    const report = await verify(context, { database: "a/b", path: "latest" }).catch((error) => error);
    if (report instanceof Error) {
      // A manifest that contradicts itself is none: there is no complete backup.
      assertEquals([report.constructor, chunk], [ArchiveError, manifestName]);
      continue;
    }
    const found = report.problems.find((one: { chunk: string; problem: string }) =>
      one.chunk === chunk && one.problem.includes(problem)
    );
    assertEquals(found !== undefined, true, `${chunk} ${problem}: ${JSON.stringify(report.problems)}`);
  }
});

Deno.test("verify() finds a chunk of another database in the place of one of this", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder } = archive;
  const foreign = await gzipText('{"results":[{"id":"x","docs":[{"ok":{"_id":"x","_rev":"1-x"}}]}]}');
  await Deno.writeFile(inFolder("0000001.json.gz"), foreign);
  const report = await verify(context, { database: "a/b", path: "latest" });
  assertEquals(report.problems.map(({ chunk }) => chunk), ["0000001.json.gz"]);
});

Deno.test("verify() reads an archive without a manifest to its end, and says that nobody knows whether it is whole", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder, folder, manifest, manifestName } = archive;
  for (const name of ["manifest.json", manifestName]) await Deno.remove(inFolder(name));
  await alterFile(inFolder("0000001.json.gz"), firstHalf);
  const report = await verify(context, { database: "a/b", path: folder });
  assertEquals(report.problems.map(({ chunk }) => chunk), ["manifest.json", "0000001.json.gz"]);
  assertEquals([report.ok, report.chunks], [false, manifest.chunks.length - 1]);
});

Deno.test("verify() of a file of another program names what CouchDB could not read, and lines that are broken", async () => {
  await using setup = await setUpRestore();
  const row = '{"id":"b","docs":[{"error":{"id":"b","rev":"undefined","error":"internal_error","reason":"x"}}]}';
  const whole = '{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-a"}}]}';
  await Deno.writeTextFile(join(setup.root, "rows.json"), `{"results":[${whole},${row}]}`);
  const report = await verify(setup.context, { database: "a", path: "rows.json" });
  assertEquals([report.documents, report.unreadable], [1, [{ id: "b", error: "internal_error", reason: "x" }]]);
  assertEquals(exitCodeOfVerify(report), EXIT.partial);
  await Deno.writeTextFile(join(setup.root, "lines.json"), '{"_id":"a"}\n{"_id":\n{"_id":"c"}\n');
  const { problems } = await verify(setup.context, { database: "a", path: "lines.json" });
  assertEquals([problems.length, problems[0]?.problem.includes("Line 2 cannot be read")], [1, true]);
});

Deno.test("verify() checks a single chunk against the manifest beside it", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder, folder } = archive;
  const path = `${folder}/0000001.json.gz`;
  assertEquals((await verify(context, { database: "a/b", path })).ok, true);
  await alterFile(inFolder("0000001.json.gz"), flipByte);
  assertEquals((await verify(context, { database: "a/b", path })).problems.length, 1);
});

Deno.test("verify() of a folder without anything like a backup throws", async () => {
  await using archive = await setUpArchive();
  await Deno.mkdir(join(archive.root, "empty/a%2Fb"), { recursive: true });
  await Deno.writeTextFile(join(archive.root, "empty/a%2Fb/notes.txt"), "mine");
  const run = () => verify(archive.context, { database: "a/b", path: "empty" });
  await assertRejects(run, ArchiveError, "There is no backup");
});

Deno.test("verify() ends with the reason of the signal that stops it, and leaves no progress on the screen", async () => {
  await using archive = await setUpArchive();
  const { context } = archive;
  const told: string[] = [];
  const stop = new AbortController();
  const progress = {
    ...context.progress,
    advanced: () => stop.abort(new Error("enough")),
    databaseFinished: ({ ok }: { ok: boolean }) => told.push(`finished ${ok}`),
    runFinished: () => told.push("run finished"),
  };
  const run = () => verify({ ...context, progress, stop: stop.signal }, { database: "a/b", path: "latest" });
  await assertRejects(run, Error, "enough");
  assertEquals(told, ["finished false", "run finished"]);
});

Deno.test("verify() holds the ids of format 1 against the ranges that its manifest names", async () => {
  const fixture = new URL("../fixtures/format1/repository/backup/2026/01/03/couchdb/a%252Fb/", import.meta.url);
  await using setup = await setUpRestore();
  const folder = join(setup.root, "a%2Fb");
  await Deno.mkdir(folder);
  for await (const { name } of Deno.readDir(fixture)) await Deno.copyFile(new URL(name, fixture), join(folder, name));
  const whole: Manifest = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
  const cases: [(manifest: Manifest) => void, string, string][] = [
    [({ chunks }) => chunks[1]!.after_id = chunks[1]!.last_id!, "0000001.json.gz", "not of the range"],
    [({ chunks }) => chunks[1]!.last_id = chunks[1]!.after_id!, "0000001.json.gz", "not of the range"],
    [({ chunks }) => chunks[1]!.after_id = `${chunks[1]!.after_id}!`, "manifest.json", "No chunk covers"],
    [({ chunks }) => chunks[0]!.after_id = "!", "manifest.json", 'No chunk covers the ids up to "!"'],
  ];
  for (const [alter, chunk, problem] of cases) {
    const copy = structuredClone(whole);
    alter(copy);
    await Deno.writeTextFile(join(folder, "manifest.json"), JSON.stringify(copy));
    const { ok, ids_compared, problems } = await verify(setup.context, { database: "a/b", path: folder });
    const found = problems.find((one) => one.chunk === chunk && one.problem.includes(problem));
    assertEquals([ok, ids_compared, found !== undefined], [false, false, true], JSON.stringify(problems));
  }
});

/** Verifies an archive that is put together by hand. */
async function verifyWritten(request: Parameters<typeof writeArchive>[1]) {
  await using setup = await setUpRestore();
  await writeArchive(join(setup.root, "orders"), request);
  return await verify(setup.context, { database: "orders", path: "orders" });
}

const row = (id: string, rev = "1-a"): Row => [id, revision(id, rev)];

Deno.test("verify() takes an id for none of its business where a chunk says that its state is the later one", async () => {
  const report = await verifyWritten({
    chunks: [
      { rows: [row("a"), row("b"), row("c")] },
      { rows: [row("a", "2-b"), ["b", revision("b", "2-b", { deleted: true })]], again: true },
      { rows: [row("d")] },
      { rows: [row("a", "3-c")], again: true },
    ],
  });
  assertEquals([report.ok, report.ids_compared, report.problems], [true, true, []]);
  assertEquals([report.documents, report.deleted], [7, 1]);
});

Deno.test("verify() names a document of two chunks where nothing says which state is the later one", async () => {
  const report = await verifyWritten({
    chunks: [
      { rows: [row("a"), row("b"), row("c"), row("d")] },
      { rows: [row("e", "2-b")], again: true },
      { rows: [row("x"), row("c"), row("y"), row("d"), row("e")] },
      { rows: [row("z"), row("z")] },
    ],
  });
  assertEquals(report.problems.map(({ chunk }) => chunk), ["0000002.json.gz", "0000003.json.gz"]);
  assertStringIncludes(report.problems[0]!.problem, 'document "c" (and 2 more)');
  assertStringIncludes(report.problems[1]!.problem, 'document "z", ');
  assertEquals([report.ok, report.chunks, exitCodeOfVerify(report)], [false, 2, EXIT.archive]);
});

Deno.test("verify() finds chunks of one number, of which nobody knows which is the later one", async () => {
  const report = await verifyWritten({
    chunks: [{ rows: [row("a")] }, { rows: [row("a", "2-b")], again: true, name: "0b5a8fd2-0000000.json.gz" }],
  });
  assertEquals(report.problems.length, 1);
  assertStringIncludes(report.problems[0]!.problem, "same number");
});

Deno.test("verify() says which documents CouchDB could not read, and ends with 3, or with 12 where more is wrong", async () => {
  const unreadable = [{ id: "b", error: "internal_error", reason: "badmatch" }];
  const chunks = [{ rows: [row("a")] }];
  const report = await verifyWritten({ chunks, manifest: { unreadable } });
  assertEquals([report.ok, report.unreadable, report.problems], [false, unreadable, []]);
  assertEquals(exitCodeOfVerify(report), EXIT.partial);
  const worse = await verifyWritten({ chunks, manifest: { unreadable, feed: null } });
  assertEquals([worse.unreadable, exitCodeOfVerify(worse)], [unreadable, EXIT.archive]);
});

Deno.test("verify() tells what is not there from what is damaged by a field, whatever the text says", async () => {
  await using archive = await setUpArchive();
  const { context, inFolder } = archive;
  await Deno.remove(inFolder("0000001.json.gz"));
  await alterFile(inFolder("0000000.json.gz"), flipByte);
  const { problems } = await verify(context, { database: "a%2Fb", path: "latest" });
  assertEquals(problems.map(({ chunk, is_missing }) => [chunk, is_missing]), [
    ["0000001.json.gz", true],
    ["0000000.json.gz", undefined],
  ]);
});
