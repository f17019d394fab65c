/** One object that the store does not give out says nothing of the others: whoever looks at many names it and goes on. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { describeFound } from "../../src/cli/find.ts";
import { backup } from "../../src/commands/backup/backup.ts";
import { findDocument } from "../../src/commands/find.ts";
import { expire } from "../../src/commands/expire/expire.ts";
import { listBackups } from "../../src/commands/list.ts";
import { findFleet } from "../../src/commands/restore/fleet_selection.ts";
import { exitCodeOfRestore } from "../../src/commands/restore/report.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { testRestore } from "../../src/commands/test_restore/test_restore.ts";
import { exitCodeOfVerify, verify } from "../../src/commands/verify.ts";
import { verifyAll } from "../../src/commands/verify_all.ts";
import { EXIT, StoreError } from "../../src/errors.ts";
import { DirectoryRemover } from "../../src/store/directory/remover.ts";
import type { Store } from "../../src/store/store.ts";
import { selectTasks } from "../../src/task/selection.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { couchOk } from "../couch_request.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { task } from "../fakes/task.ts";
import { withArchived } from "../store/archived.ts";
import { type RestoreSetup, setUpRestore } from "./restore/setup.ts";

const HINT = "restore it there";

type Backups = RestoreSetup & {
  /** The context, in which the store does not give out what is meant. */
  without: (isArchived: (key: string) => boolean) => RestoreSetup["context"];
};

/** Two databases, "a" of two backups and "b" of one, each of some chunks. */
async function twoDatabases(): Promise<Backups> {
  const setup = await setUpRestore();
  const { server, context } = setup;
  for (const database of ["a", "b"]) await createDatabase(server, database, idsOf(4), '"v":1');
  const save = async (database: string, day: string) => {
    const one = task(database, { databases: [database], chunk: 2, timezone: "UTC" });
    const selections = selectTasks([database], [one], { startedAt: new Date(day) });
    const now = () => new Date(day);
    const report = await backup({ ...context, now, run: crypto.randomUUID(), stop: context.signal }, selections, {});
    assert(report.ok, JSON.stringify(report));
  };
  await save("a", "2026-01-03T02:00:00Z");
  await save("b", "2026-01-03T02:00:00Z");
  await couchOk(server, "PUT /a/later", {});
  await save("a", "2026-02-03T02:00:00Z");
  const { store, prefix, suffix } = context.repository;
  return Object.assign(setup, {
    without: (isArchived: (key: string) => boolean) => ({
      ...context,
      openStore: async (bucket: string) => withArchived(await context.openStore(bucket), isArchived),
      repository: new Repository(withArchived(store, isArchived), { prefix, suffix }),
    }),
  });
}

const isManifest = (key: string) => basename(key).startsWith("manifest");
const isOfJanuary = (key: string) => key.includes("2026/01/03");

Deno.test("find names a backup that is in an archive tier, and looks into the others", async () => {
  await using setup = await twoDatabases();
  for (const isMeant of [isManifest, (key: string) => !isManifest(key)]) {
    const context = setup.without((key) => isOfJanuary(key) && isMeant(key));
    const found = await findDocument(context, { database: "a", id: "d00000" });
    assertEquals(found.states.map(({ backups }) => backups), [1]);
    const [problem, ...others] = found.problems;
    assertEquals([problem?.finished_at?.slice(0, 10), others], ["2026-01-03", []]);
    assertStringIncludes(problem!.problem, HINT);
  }
});

Deno.test("find names a backup that only its folder knows, and whose manifest is damaged", async () => {
  await using setup = await twoDatabases();
  await Deno.remove(`${setup.root}/backup/ippbx/_catalog`, { recursive: true });
  const context = setup.without((key) => isOfJanuary(key) && isManifest(key));
  const found = await findDocument(context, { database: "a", id: "d00000" });
  assertEquals([found.states.length, found.problems.map(({ finished_at: at }) => at?.slice(0, 10))], [1, [
    "2026-01-03",
  ]]);
  const nobodyKnowsWhen = { ...found, problems: [{ finished_at: null, problem: "It is damaged" }] };
  assertStringIncludes(describeFound(nobodyKnowsWhen), "problem: It is damaged");
  const nothing = describeFound({ ...nobodyKnowsWhen, states: [] });
  assertStringIncludes(nothing, 'No backup of "a" that can be read has the document "d00000"');
});

Deno.test("find and list end where the store refuses all of it", async () => {
  await using setup = await twoDatabases();
  await Deno.remove(`${setup.root}/backup/ippbx/_catalog`, { recursive: true });
  const { store, prefix, suffix } = setup.context.repository;
  const refuse = () => Promise.reject(new StoreError("Cannot read", { code: "AccessDenied", status: 403 }));
  const closed = new Proxy(store, {
    get: (_, name: keyof Store) => {
      const member = name === "read" ? refuse : store[name];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
  const context = { ...setup.context, repository: new Repository(closed, { prefix, suffix }) };
  await assertRejects(() => findDocument(context, { database: "a", id: "d00000" }), StoreError, "Cannot read");
  await assertRejects(() => listBackups(context), StoreError, "Cannot read");
});

Deno.test("list and verify --all name a backup whose manifest is in an archive tier, beside all others", async () => {
  await using setup = await twoDatabases();
  await Deno.remove(`${setup.root}/backup/ippbx/_catalog`, { recursive: true });
  const context = setup.without((key) => isOfJanuary(key) && isManifest(key));
  const { backups } = await listBackups(context);
  assertEquals(backups.map(({ database, complete, problem }) => [database, complete, problem?.includes(HINT)]), [
    ["a", true, undefined],
    ["a", false, true],
    ["b", false, true],
  ]);
  const all = await verifyAll(context, {});
  assertEquals([all.backups, all.faulty.map(({ database }) => database).sort()], [1, ["a", "b"]]);
});

Deno.test("list names an unfinished backup whose checkpoint is in an archive tier, and counts a pin that is for a pin", async () => {
  await using setup = await TestRepository.open();
  const { folder, manifest } = await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T02:00:00Z", chunks: [0] });
  await setup.putUnfinished({ day: "2026-01-04", finishedAt: "2026-01-04T02:00:00Z", chunks: [0] });
  await setup.write(folder, `keep-${manifest.run.slice(0, 8)}.json`, '{"kept":false,"at":"","reason":null}');
  const isSmall = (key: string) => /^(keep|checkpoint)/.test(basename(key));
  const repository = new Repository(withArchived(setup.store, isSmall), setup.repository);
  const { backups } = await listBackups({ repository, log: setup.log, signal: setup.signal });
  assertEquals(backups.map(({ date, kept, problem }) => [date, kept, problem?.includes(HINT)]), [
    ["2026-01-04", false, true],
    ["2026-01-03", true, undefined],
  ]);
});

Deno.test("list passes over a checkpoint that is gone when it is read", async () => {
  await using setup = await TestRepository.open();
  const { name } = await setup.putUnfinished({ day: "2026-01-04", finishedAt: "2026-01-04T02:00:00Z", chunks: [0] });
  const repository = new Repository(setup.expiring(name), setup.repository);
  const { backups } = await listBackups({ repository, log: setup.log, signal: setup.signal });
  assertEquals(backups.map(({ problem }) => problem), ["It has no manifest"]);
});

Deno.test("verify names a chunk that is in an archive tier, and reads the others", async () => {
  await using setup = await twoDatabases();
  const context = setup.without((key) => isOfJanuary(key) && basename(key).startsWith("0000001"));
  const report = await verify(context, { database: "b", path: "latest" });
  assertEquals([report.ok, exitCodeOfVerify(report), report.chunks, report.problems.length], [
    false,
    EXIT.archive,
    1,
    1,
  ]);
  assertStringIncludes(report.problems[0]!.problem, HINT);
});

Deno.test("expire leaves a database alone of which a manifest is in an archive tier, and goes on with the others", async () => {
  await using setup = await TestRepository.open();
  for (const database of ["a", "b"]) {
    for (const day of ["2026-01-03", "2026-02-03", "2026-03-03"]) {
      await setup.put({ day, finishedAt: `${day}T02:00:00Z`, chunks: [0], database });
    }
  }
  const isArchived = (key: string) => isManifest(key) && key.includes("2026/02/03") && key.includes("/a/");
  const retention = { keepLast: 1, grace: { years: 0, months: 0, days: 0, hours: 0 } };
  const report = await expire({
    repository: new Repository(withArchived(setup.store, isArchived), setup.repository),
    remover: new DirectoryRemover(setup.root),
    tasks: [task("weekly", { timezone: "UTC", retention })],
    log: setup.log,
    now: () => new Date("2027-06-15T12:00:00Z"),
    signal: setup.signal,
  }, {});
  assertEquals(report.expired.map(({ database, finished_at: at }) => [database, at.slice(0, 10)]).sort(), [
    ["b", "2026-01-03"],
    ["b", "2026-02-03"],
  ]);
  assertEquals([report.kept_by.damaged, report.problems.map(({ database }) => database)], [2, ["a"]]);
});

Deno.test("restore --all names a database whose newest backup is in an archive tier, and takes no older one for it", async () => {
  await using setup = await twoDatabases();
  const request = { path: "latest", match: ["a", "b"] };
  const context = setup.without((key) => isManifest(key) && key.includes("2026/02/03"));
  const totals = { documents: 0, leaf_revisions: 0, deleted: 0, absent: 0, chunks: 0, bytes: 0, compressed_bytes: 0 };
  const outcome = { database: "a", status: "complete", path: "x", seconds: 1, ...totals };
  const report = {
    ok: true,
    run: "r",
    started_at: "2026-02-03T02:00:00Z",
    finished_at: "2026-02-03T02:00:00Z",
    tasks: [{ task: "a", date: "2026-02-03", databases: [outcome] }],
  };
  const runKey = `${setup.context.repository.taskFolder("a")}/20260203T020000Z/report.json`;
  await setup.store.replace(runKey, new TextEncoder().encode(JSON.stringify(report)));
  const { kept, leftOut } = await findFleet(context, request, { notAfter: undefined });
  assertEquals(kept.map(({ database }) => database), ["b"]);
  assertEquals(leftOut.map(({ database, is_missing }) => [database, is_missing]), [["a", true]]);
  assertStringIncludes(leftOut[0]!.reason, HINT);
  const none = setup.without(isManifest);
  const error = await assertRejects(() => findFleet(none, request, { notAfter: undefined }), StoreError);
  assertStringIncludes(error.hint ?? "", HINT);
  // Whether the catalog knows the backup, or its folder alone.
  for (const _ of ["catalogued", "not"]) {
    await assertRejects(
      () => restore(context, { database: "new", path: "latest/a" }),
      StoreError,
      "InvalidObjectState",
    );
    await Deno.remove(`${setup.root}/backup/ippbx/_catalog`, { recursive: true }).catch(() => {});
  }
});

Deno.test("test-restore names a backup that is in an archive tier, and proves the others", async () => {
  await using setup = await twoDatabases();
  const context = {
    ...setup.without((key) => isManifest(key) && key.includes("2026/02/03")),
    run: crypto.randomUUID(),
  };
  const report = await testRestore(context, {});
  assertEquals([report.ok, report.backups, report.backups_in_all], [false, 1, 2]);
  assertEquals(report.faulty.map(({ database, exit_code }) => [database, exit_code]), [["a", EXIT.store]]);
});

Deno.test("restore --salvage leaves out a chunk that is in an archive tier, and a dry run that reads it says the same", async () => {
  await using setup = await twoDatabases();
  const context = setup.without((key) => isOfJanuary(key) && basename(key).startsWith("0000001"));
  const request = { database: "new", path: "latest/b", noViews: true };
  await assertRejects(() => restore(context, request), StoreError, "InvalidObjectState");
  const [line] = setup.log.lines.filter(({ event }) => event.includes("restore ends early"));
  assertStringIncludes(String(line?.fields["hint"]), "--salvage");
  const report = await restore(context, { ...request, intoExisting: true, salvage: true });
  assertEquals([exitCodeOfRestore(report), report.documents, report.damaged.length], [EXIT.archive, 2, 1]);
  assertStringIncludes(report.damaged[0]!.problem, HINT);
  // Without a manifest nothing but the chunks says what they hold.
  const folder = `${setup.root}/backup/ippbx/2026/01/03/couchdb/b`;
  for await (const { name } of Deno.readDir(folder)) if (isManifest(name)) await Deno.remove(`${folder}/${name}`);
  const dry = await restore(context, { ...request, path: folder, intoExisting: true, salvage: true, dryRun: true });
  const [damaged] = dry.damaged.filter(({ chunk }) => chunk.startsWith("0000001"));
  assertEquals([dry.documents, damaged?.problem.includes(HINT)], [2, true]);
});
