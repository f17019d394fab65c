/** What the store lists and does not give out, where it is one of several things that are read. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename } from "node:path";
import { openArchive } from "../../src/archive/archive.ts";
import { Catalog } from "../../src/archive/catalog.ts";
import { findLeftover } from "../../src/archive/leftover.ts";
import { lastSelections } from "../../src/archive/moment.ts";
import { readCheckpoints, readFolder, readManifestOrCopy } from "../../src/archive/read.ts";
import { readProofs, storeProof } from "../../src/archive/proof.ts";
import { Repository } from "../../src/archive/repository.ts";
import { findRestorePoint } from "../../src/archive/restore_point.ts";
import { readScratchRuns, storeScratchRun } from "../../src/archive/scratch_runs.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";
import { withArchived } from "../store/archived.ts";
import { origin } from "./folder_setup.ts";
import { DATABASE, TestRepository } from "./repository_setup.ts";

const HINT = "restore it there";

/** The repository, in which the store does not give out what is meant. */
function without(setup: TestRepository, isArchived: (url: string) => boolean): Repository {
  return new Repository(withArchived(setup.store, isArchived), setup.repository);
}

const named = (beginning: string) => (url: string) => basename(url).startsWith(beginning);

Deno.test("findLeftover() does without a manifest or checkpoint that is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T18:05:00Z", chunks: [0] });
  await setup.putUnfinished({ day: "2026-01-03", finishedAt: "2026-01-03T18:07:00Z", chunks: [1] });
  const { store } = without(setup, (url) => named("manifest")(url) || named("checkpoint")(url));
  const state = await readFolder(store, folder, {});
  const options = { state, wanted: { ...origin("new"), database: DATABASE }, log: setup.log, runs: undefined };
  assertEquals((await findLeftover(store, folder, options)).kind, "nothing");
  const told = setup.log.lines.map(({ event, fields }) => [event, String(fields["error"]).includes(HINT)]);
  assertEquals(told, [
    ["manifest is not used: it is damaged", true],
    ["checkpoint is not used: it is damaged", true],
  ]);
});

Deno.test("readCheckpoints() leaves out what is gone, and ends where the store refuses", async () => {
  await using setup = await TestRepository.open();
  const { folder, name } = await setup.putUnfinished({ day: "2026-01-03", finishedAt: "2026-01-03T18:07:00Z" });
  assertEquals(await readCheckpoints(setup.store, folder, { names: ["checkpoint-00000000.json"] }), []);
  const refuse = () => Promise.reject(new StoreError("No", { code: "AccessDenied", status: 403 }));
  const closed = new Proxy(setup.store, { get: (store, key) => key === "read" ? refuse : Reflect.get(store, key) });
  await assertRejects(() => readCheckpoints(closed, folder, { names: [name] }), StoreError, "No");
});

Deno.test("openArchive() opens a backup beside one whose manifest is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const day = "2026-01-03";
  const other = await setup.put({ day, finishedAt: "2026-01-03T18:05:00Z", chunks: [0], isPrefixed: true });
  const { folder, name } = await setup.put({ day, finishedAt: "2026-01-03T19:05:00Z", chunks: [0], isPrefixed: true });
  const { store } = without(setup, named(other.name));
  const archive = await openArchive({ store, folder, manifest: name }, {});
  assertEquals([archive.kind, archive.problems, archive.chunks.length], ["complete", [], 1]);
  const [manifest] = archive.leftovers;
  assertEquals(manifest?.chunk, other.name);
  assertStringIncludes(manifest!.problem, HINT);
});

Deno.test("openArchive() finds the backup that a chunk is of beside one whose manifest is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const day = "2026-01-03";
  const other = await setup.put({ day, finishedAt: "2026-01-03T18:05:00Z", chunks: [0], isPrefixed: true });
  const { folder, manifest } = await setup.put({
    day,
    finishedAt: "2026-01-03T19:05:00Z",
    chunks: [0],
    isPrefixed: true,
  });
  const { store } = without(setup, named(other.name));
  const object = manifest.chunks[0]!.name;
  const archive = await openArchive({ store, folder, object }, {});
  assertEquals([archive.origin?.run, archive.problems], [manifest.run, []]);
});

Deno.test("readManifestOrCopy() says what is wrong with the manifest where its copy is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const { folder, name } = await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T18:05:00Z" });
  await setup.write(folder, name, "{");
  const { store } = without(setup, named("manifest.json"));
  const error = await assertRejects(() => readManifestOrCopy(store, folder, { name }), ArchiveError);
  assertEquals(error.facts.key, `${folder}/${name}`);
});

Deno.test("findRestorePoint() says which is the oldest, whatever is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T18:05:00Z", isCopied: false });
  await setup.put({ day: "2026-02-03", finishedAt: "2026-02-03T18:05:00Z", isCopied: false });
  const repository = without(setup, (url) => url.includes("2026/01/03"));
  const search = { notAfter: new Date("2025-12-01T00:00:00Z"), log: setup.log, signal: setup.signal };
  await assertRejects(
    () => findRestorePoint(repository, DATABASE, search),
    ArchiveError,
    "the oldest was complete at 2026-02-03T18:05:00Z",
  );
});

Deno.test("Catalog.entries() has the beginning of a long task's name where the entry is in an archive tier", async () => {
  await using setup = await TestRepository.open();
  const task = "weekly ".repeat(60);
  await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T18:05:00Z", task });
  const [whole] = await Array.fromAsync(new Catalog(setup.repository).entries(DATABASE, {}));
  assertEquals(whole?.task, task);
  const repository = without(setup, (url) => url.includes("/_catalog/"));
  const [entry] = await Array.fromAsync(new Catalog(repository).entries(DATABASE, {}));
  assertEquals([task.startsWith(entry!.task), entry!.task.length < task.length], [true, true]);
});

Deno.test("lastSelections() takes the run before one whose report is in an archive tier or damaged, and says so", async () => {
  await using setup = await TestRepository.open();
  const report = (database: string) =>
    JSON.stringify({
      ok: true,
      run: "0b5a8fd2",
      started_at: "2026-01-03T18:00:00Z",
      finished_at: "2026-01-03T18:01:00Z",
      tasks: [{
        task: "weekly",
        date: "2026-01-03",
        databases: [{ database, status: "complete", path: "x", seconds: 1, ...NO_TOTALS }],
      }],
    });
  const folder = setup.repository.taskFolder("weekly");
  await setup.write(`${folder}/20260103T180000Z`, "report.json", report("a"));
  await setup.write(`${folder}/20260203T180000Z`, "report.json", report("b"));
  const log = new RecordedLog();
  const selected = async (repository: Repository) =>
    (await lastSelections(repository, { log })).map(({ databases }) => [...databases.keys()]);
  assertEquals(await selected(setup.repository), [["b"]]);
  assertEquals(log.events("warn"), []);
  assertEquals(await selected(without(setup, (url) => url.includes("20260203T"))), [["a"]]);
  assertEquals(log.events("warn"), [
    "report of a run cannot be used: an earlier one, if there is one, says which databases there were",
  ]);
  await setup.write(`${folder}/20260303T180000Z`, "report.json", report("c").slice(0, 100));
  assertEquals(await selected(setup.repository), [["b"]]);
  assertEquals(log.lines.at(-1)?.fields, {
    task: "weekly",
    at: "2026-03-03T18:00:00.000Z",
    problem: "it is damaged, or of a later version",
    key: `${folder}/20260303T180000Z/report.json`,
  });
});

const NO_TOTALS = {
  documents: 0,
  leaf_revisions: 0,
  deleted: 0,
  absent: 0,
  chunks: 0,
  bytes: 0,
  compressed_bytes: 0,
};

Deno.test("proofs and scratch runs in an archive tier count for none, and are written over", async () => {
  await using setup = await TestRepository.open();
  const archived = without(setup, () => true);
  const proof = { at: "2026-01-03T18:05:00Z", ok: true, backups: 1, backups_in_all: 1, faulty: 0 };
  const outcome = { ...proof, documents: 1, seconds: 1 };
  await storeProof(setup.repository, "verify", outcome, {});
  assertEquals(await readProofs(archived, {}), { verify: null, test_restore: null });
  await storeProof(archived, "verify", { ...outcome, ok: false }, {});
  assertEquals((await readProofs(setup.repository, {})).verify?.ok, false);
  const run = { run: "0123abcd", at: new Date("2026-01-03T18:05:00Z") };
  await storeScratchRun(setup.repository, { ...run, known: new Map() }, {});
  assertEquals((await readScratchRuns(setup.repository, {})).size, 1);
  assertEquals((await readScratchRuns(archived, {})).size, 0);
});
