import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { sumChunks } from "../../../src/archive/manifest.ts";
import { describeTestRestore } from "../../../src/cli/test_restore.ts";
import { exitCodeOfTestRestore, testRestore } from "../../../src/commands/test_restore/test_restore.ts";
import { ABANDONED_AFTER_MS } from "../../../src/couchdb/scratch.ts";
import { scratchName } from "../../../src/couchdb/scratch_name.ts";
import { ArchiveError, EXIT, InterruptedError } from "../../../src/errors.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { readProofs } from "../../../src/archive/proof.ts";
import { readStatus } from "../../../src/schedule/status.ts";
import { exitCodeOfStatus } from "../../../src/schedule/status.ts";
import { describeStatus } from "../../../src/cli/status.ts";
import type { ProgramSession } from "../../../src/session/session.ts";
import { couchOk } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import { partsOf, textWithChecksum } from "../../edited_manifest.ts";
import type { FaultRule } from "../../fakes/couchdb/faults.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { alterFile, flipByte } from "../restore/setup.ts";
import { type FleetSetup, setUpFleet } from "../restore/fleet_setup.ts";

const SCRATCH = /^couchdb_backup_test_/;

/** The databases that there are beside those of the setup. */
async function scratchOf({ server }: FleetSetup): Promise<string[]> {
  return ((await couchOk(server, "GET /_all_dbs")).json as string[]).filter((name) => SCRATCH.test(name));
}

/** A rule for requests to scratch databases. */
const inScratch = (endpoint: string) => ({
  where: (request: { endpoint: string; database?: string | undefined }) =>
    request.endpoint === endpoint && SCRATCH.test(request.database ?? ""),
});

Deno.test("test-restore brings back every backup as it was saved, says so, and leaves nothing behind", async () => {
  await using setup = await setUpFleet(6);
  const session = await setup.open();
  await seedHardDatabase(setup.server, "hard");
  const security = '{"admins":{"names":["x"],"roles":[]},"members":{"names":[],"roles":["y"]}}';
  await couchOk(setup.server, "PUT /hard/_security", security);
  await session.backup();
  const before = await setup.state([...setup.names, "hard"]);
  const report = await session.testRestore();
  assertEquals([report.ok, report.backups, report.backups_in_all, report.faulty], [true, 7, 7, []]);
  assertEquals(exitCodeOfTestRestore(report), EXIT.ok);
  const documents = [...before.values()].reduce((sum, leaves) => sum + leaves.size, 0);
  assert(report.documents >= documents, "all documents are compared");
  assertStringIncludes(
    describeTestRestore(report),
    "Restored 7 backups for a test, all of them came back as they were saved: ",
  );
  assertEquals(await scratchOf(setup), []);
  assertEquals(setup.differences(before, await setup.state([...setup.names, "hard"])), []);
  // What others could read while it was there, nobody could but admins: it is closed before the first document comes.
  const requests = setup.server.requests.filter(({ database }) => SCRATCH.test(database ?? ""));
  const closing = requests.findIndex(({ endpoint, method }) => endpoint === "_security" && method === "PUT");
  const writing = requests.findIndex(({ endpoint }) => endpoint === "_bulk_docs");
  assert(closing >= 0 && closing < writing, `${closing} ${writing}`);
});

Deno.test("test-restore ends with 12 at a flipped byte in a chunk, and goes on with the others", async () => {
  await using setup = await setUpFleet(4);
  const session = await setup.open();
  const saved = (await session.backup()).tasks[0]!.databases[1]!;
  const folder = decodeURI(new URL(saved.path).pathname);
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  await alterFile(join(folder, names.find((name) => name.endsWith(".gz"))!), flipByte);
  const report = await session.testRestore();
  assertEquals([report.ok, report.backups, exitCodeOfTestRestore(report)], [false, 4, EXIT.archive]);
  assertEquals(report.faulty.map(({ database, exit_code }) => [database, exit_code]), [[saved.database, 12]]);
  assertStringIncludes(describeTestRestore(report), `NOT AS SAVED: ${saved.database}: `);
  assertEquals(await scratchOf(setup), []);
});

Deno.test("test-restore ends with 3 where CouchDB's answer lacks a document, has other bytes, or another revision", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  const [id] = (await couchOk(setup.server, `GET /${encodeURIComponent(setup.names[0]!)}/_all_docs`)).json.rows.map((
    row: { id: string },
  ) => row.id) as [string];
  const match = [encodeURIComponent(setup.names[0]!).replaceAll("%2B", "\\+")];
  const find = async () => {
    const report = await session.testRestore({ match });
    assertEquals([report.ok, exitCodeOfTestRestore(report), report.faulty.length], [false, EXIT.partial, 1]);
    assertEquals(await scratchOf(setup), []);
    setup.server.faults.clear();
    return report.faulty[0]!.problems;
  };

  setup.server.faults.add({
    ...inScratch("_bulk_get"),
    times: Infinity,
    fault: { kind: "error rows", ids: [id], error: "not_found", reason: "missing" },
  });
  assertEquals(await find(), [`document ${JSON.stringify(id)} is missing in CouchDB's answer`]);

  const alter = async (changes: Record<string, unknown>, newEdits: boolean) => {
    const [scratch] = await scratchOf(setup);
    const found = (await couchOk(setup.server, `GET /${scratch}/${encodeURIComponent(id)}?revs=true`)).json;
    const docs = [{ ...found, ...changes }];
    await couchOk(setup.server, `POST /${scratch}/_bulk_docs`, JSON.stringify({ docs, new_edits: newEdits }));
  };
  const run = () => alter({ n: 1 }, true);
  setup.server.faults.add({ ...inScratch("_bulk_get"), fault: { kind: "run", run } });
  const problems = await find();
  assertEquals(problems.length, 2);
  assertStringIncludes(problems[0]!, `: CouchDB's answer lacks the leaf revision 1-`);
  assertStringIncludes(problems[1]!, `: CouchDB answers a leaf revision that the backup does not have, 2-`);

  // One digit of a number, under the same revision.
  setup.server.faults.add({
    ...inScratch("_bulk_docs"),
    fault: {
      kind: "run",
      run: async () => {
        const [scratch] = await scratchOf(setup);
        const original = (await couchOk(
          setup.server,
          `GET /${encodeURIComponent(setup.names[0]!)}/${encodeURIComponent(id)}?revs=true`,
        )).json;
        const docs = [{ ...original, n: 4 }];
        await couchOk(setup.server, `POST /${scratch}/_bulk_docs`, JSON.stringify({ docs, new_edits: false }));
      },
    },
  });
  const [other] = await find();
  assertStringIncludes(other!, `document ${JSON.stringify(id)}: CouchDB answers other bytes for the leaf revision 1-`);
});

Deno.test("test-restore finds a security object that is not the one that was saved", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const refused = { error: "forbidden", reason: "no" };
  const isSecond = (request: { endpoint: string; method: string; database?: string | undefined }) =>
    request.endpoint === "_security" && request.method === "PUT" && SCRATCH.test(request.database ?? "");
  setup.server.faults.add({
    where: isSecond,
    skip: 1,
    times: Infinity,
    fault: { kind: "answer", status: 403, body: refused },
  });
  const report = await session.testRestore();
  assertEquals([exitCodeOfTestRestore(report), await scratchOf(setup)], [EXIT.partial, []]);
  assertStringIncludes(report.faulty[0]!.problems.join(), "the security object differs from the saved one");
});

/** Refuses the login behind so many requests that write documents into scratch databases, but for what is `spared`. */
function writingRefused({ skip, spared }: { skip: number; spared?: RegExp }): FaultRule {
  const { where: isInScratch } = inScratch("_bulk_docs");
  const where: FaultRule["where"] = (request) => isInScratch(request) && !spared?.test(request.database ?? "");
  return { where, skip, times: Infinity, fault: { kind: "answer", status: 401 } };
}

Deno.test("test-restore tells what it has found where CouchDB refuses the login midway, and tries no further one", async () => {
  await using setup = await setUpFleet(12);
  const session = await setup.open();
  const saved = await session.backup();
  const folder = decodeURI(new URL(saved.tasks[0]!.databases[0]!.path).pathname);
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  await alterFile(join(folder, names.find((name) => name.endsWith(".gz"))!), flipByte);
  // The damaged one is restored first, and beside others: it is never at a refusal before it is at its damage.
  setup.server.faults.add(writingRefused({ skip: 6, spared: /_0$/ }));
  const report = await session.testRestore();
  assertEquals([report.ok, report.faulty.length, exitCodeOfTestRestore(report)], [false, 1, EXIT.archive]);
  assertEquals(report.backups + report.undecided.length, 12);
  const tried = report.undecided.filter((one) => one.tried);
  assert(tried.length >= 1 && tried.length <= 2, `${tried.length} were tried`);
  assertEquals(new Set(report.undecided.map(({ exit_code }) => exit_code)), new Set([EXIT.couchdb]));
  assertEquals(exitCodeOfTestRestore({ ...report, faulty: [] }), EXIT.couchdb);
  const text = describeTestRestore(report);
  assertStringIncludes(text, `1 did NOT come back as they were saved, ${report.undecided.length} others NOT KNOWN: `);
  assertStringIncludes(text, `NOT KNOWN: ${report.undecided.length - tried.length} backups not tried, as they would`);
  assertEquals(await scratchOf(setup), []);
});

Deno.test("a test-restore that could not look at all backups did not go well, and status says why", async () => {
  await using setup = await setUpFleet(6);
  const session = await setup.open();
  await session.backup();
  setup.server.faults.add(writingRefused({ skip: 4 }));
  const { faulty, undecided, backups } = await session.testRestore();
  assertEquals([faulty, backups + undecided.length], [[], 6]);
  const { test_restore: proof } = await readProofs(session.repository, { signal: new AbortController().signal });
  assertEquals([proof?.ok, proof?.faulty, proof?.undecided], [false, 0, undecided.length]);
  const text = describeStatus({ ok: false, tasks: [], proofs: { verify: null, test_restore: proof } });
  assertStringIncludes(text, `, ${undecided.length} could not be looked at, no earlier one succeeded`);
});

/** The same as the session's, of which nothing is kept, by a client that waits a few milliseconds. */
async function testQuickly({ server }: FleetSetup, session: ProgramSession) {
  return await testRestore({ ...await session.restoreContext(), couch: impatientClient(server) }, {});
}

const FAILURES: [string, FaultRule["fault"]][] = [
  ["503", { kind: "answer", status: 503 }],
  ["500", { kind: "answer", status: 500 }],
  ["rows that say that it failed", { kind: "error rows", error: "internal_server_error", reason: "no" }],
  ["a connection that breaks", { kind: "drop" }],
];
for (const [name, fault] of FAILURES) {
  Deno.test(`test-restore blames no backup for a CouchDB that answers what is written with ${name}`, async () => {
    await using setup = await setUpFleet(1);
    const session = await setup.open();
    await session.backup();
    setup.server.faults.add({ ...inScratch("_bulk_docs"), times: Infinity, fault });
    const report = await testQuickly(setup, session);
    assertEquals([report.faulty, report.backups, report.undecided.length], [[], 0, 1]);
    assertEquals([report.ok, exitCodeOfTestRestore(report), report.undecided[0]!.tried], [false, EXIT.couchdb, true]);
    assertStringIncludes(describeTestRestore(report), "NOT KNOWN: ");
    assertEquals(await scratchOf(setup), []);
  });
}

Deno.test("test-restore blames no backup for a CouchDB that fails to set the revisions limit", async () => {
  await using setup = await setUpFleet(1);
  await couchOk(setup.server, `PUT /${encodeURIComponent(setup.names[0]!)}/_revs_limit`, "7");
  const session = await setup.open();
  await session.backup();
  const fault = { kind: "answer", status: 500, body: { error: "badmatch", reason: "{error,timeout}" } } as const;
  setup.server.faults.add({ ...inScratch("_revs_limit"), method: "PUT", times: Infinity, fault });
  const report = await testQuickly(setup, session);
  assertEquals([report.faulty, report.backups, report.undecided.length], [[], 0, 1]);
  assertStringIncludes(report.undecided[0]!.error, "Cannot write the revisions limit");
  assertEquals([exitCodeOfTestRestore(report), await scratchOf(setup)], [EXIT.couchdb, []]);
});

Deno.test("a test-restore with a CouchDB that failed is kept as one that knows nothing, and finds no fault", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  setup.server.faults.add({ ...inScratch("_bulk_docs"), times: Infinity, fault: { kind: "answer", status: 500 } });
  const report = await session.testRestore();
  const { test_restore: proof } = await readProofs(session.repository, { signal: new AbortController().signal });
  assertEquals([report.ok, proof?.ok, proof?.faulty, proof?.undecided], [false, false, 0, 1]);
});

Deno.test("test-restore blames no backup for a document that CouchDB has taken and fails to read", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const fault = { kind: "error rows", ids: ["d00001"], error: "internal_server_error", reason: "no" } as const;
  setup.server.faults.add({ ...inScratch("_bulk_get"), times: Infinity, fault });
  const report = await testQuickly(setup, session);
  assertEquals([report.faulty, report.undecided.length, exitCodeOfTestRestore(report)], [[], 1, EXIT.couchdb]);
  assertStringIncludes(report.undecided[0]!.error, "Cannot read 1 document of database ");
});

Deno.test("test-restore goes on to the last backup though CouchDB fails at a document of each", async () => {
  await using setup = await setUpFleet(20);
  const session = await setup.open();
  await session.backup();
  const fault = { kind: "error rows", ids: ["d00001"], error: "internal_server_error", reason: "no" } as const;
  setup.server.faults.add({ ...inScratch("_bulk_docs"), times: Infinity, fault });
  const { faulty, undecided } = await testQuickly(setup, session);
  assertEquals([faulty.length, undecided.length, undecided.filter(({ tried }) => !tried).length], [0, 20, 0]);
});

Deno.test("test-restore calls a backup faulty whose documents CouchDB refuses, whatever it has failed at beside them", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const write = async (...faults: FaultRule["fault"][]) => {
    setup.server.faults.clear();
    for (const fault of faults) {
      const id = fault.kind === "error rows" ? fault.ids?.[0] : undefined;
      setup.server.faults.add({
        ...inScratch("_bulk_docs"),
        ...id === undefined ? {} : { id },
        times: Infinity,
        fault,
      });
    }
    const { faulty, undecided } = await testQuickly(setup, session);
    return [faulty.length, undecided.length, faulty[0]?.exit_code];
  };
  const rows = (error: string, id: string) => ({ kind: "error rows", ids: [id], error, reason: "no" }) as const;
  assertEquals(await write(rows("forbidden", "d00001")), [1, 0, EXIT.partial]);
  const both = [rows("internal_server_error", "d00002"), rows("forbidden", "d00001")];
  assertEquals(await write(...both), [1, 0, EXIT.partial]);
  assertEquals(await write({ kind: "answer", status: 413 }), [1, 0, EXIT.partial]);
  assertEquals(await write({ kind: "answer", status: 400 }), [1, 0, EXIT.partial]);
  assertEquals(await write(rows("internal_server_error", "d00001")), [0, 1, undefined]);
});

Deno.test("test-restore finds what is wrong with a backup beside a document that CouchDB fails to write", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const fails = { kind: "error rows", ids: ["d00001"], error: "internal_server_error", reason: "no" } as const;
  setup.server.faults.add({ ...inScratch("_bulk_docs"), times: Infinity, fault: fails });
  const lacks = { kind: "error rows", ids: ["d00002"], error: "not_found", reason: "missing" } as const;
  setup.server.faults.add({ ...inScratch("_bulk_get"), times: Infinity, fault: lacks });
  const report = await testQuickly(setup, session);
  assertEquals([report.faulty.length, report.undecided], [1, []]);
  assertStringIncludes(report.faulty[0]!.problems.join(), 'document "d00002"');
  assert(!report.faulty[0]!.problems.join().includes('document "d00001"'), "what CouchDB failed at is no difference");
});

Deno.test("the next test-restore drops what a killed one has left, and no other database", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const note = (name: string, at: Date) => ({
    made_by: "couchdb-backup test-restore",
    name,
    source: "x",
    at: at.toISOString(),
  });
  const old = new Date(Date.now() - ABANDONED_AFTER_MS - 1000);
  const young = new Date(Date.now() - ABANDONED_AFTER_MS + 60_000);
  const make = async (name: string, body?: unknown) => {
    await couchOk(setup.server, `PUT /${encodeURIComponent(name)}`);
    if (body === undefined) return;
    await couchOk(
      setup.server,
      `PUT /${encodeURIComponent(name)}/_local/couchdb-backup-scratch`,
      JSON.stringify(body),
    );
  };
  const [abandoned, alive, noted, foreign, nobody, stranger] = [1, 2, 3, 4, 5, 6].map((n) =>
    scratchName("0badcafe", n)
  );
  await make(abandoned!, note(abandoned!, old));
  await make(alive!, note(alive!, young));
  await make(noted!, note(abandoned!, old));
  await make(foreign!, { made_by: "somebody", name: foreign!, at: old.toISOString() });
  await make(nobody!);
  await make(stranger!, { ...note(stranger!, old), at: "yesterday" });
  const named = "couchdb_backup_test_orders";
  await make(named, note(named, old));
  await make("mine", note("mine", old));
  const report = await session.testRestore();
  assertEquals([report.ok, report.dropped], [true, [abandoned]]);
  assertStringIncludes(describeTestRestore(report), `dropped: ${abandoned}, which a run that was killed had left`);
  const until = new Date(young.getTime() + ABANDONED_AFTER_MS).toISOString();
  assertEquals(report.kept, [{ database: alive!, until }]);
  assertStringIncludes(describeTestRestore(report), `stays: ${alive}, of another run that may be alive; from 20`);
  assertEquals(await scratchOf(setup), [alive, noted, foreign, nobody, stranger, named].map(String).sort());
  assertEquals(((await couchOk(setup.server, "GET /_all_dbs")).json as string[]).includes("mine"), true);
  const deleted = setup.server.requests.filter(({ method }) => method === "DELETE").map(({ database }) => database);
  assertEquals(deleted.every((name) => name === abandoned || !name!.includes("0badcafe")), true, `${deleted}`);
});

Deno.test("test-restore drops an empty database without a note where its name is that of a run that is known", async () => {
  await using setup = await setUpFleet(1);
  const first = (await setup.open()).with({ run: "0badcafe-0000-4000-8000-000000000000" });
  await first.backup();
  assertEquals((await first.testRestore()).ok, true);
  const [empty, filled, unknown] = [scratchName("0badcafe", 7), scratchName("0badcafe", 8), scratchName("0badcaff", 7)];
  for (const name of [empty, filled, unknown]) await couchOk(setup.server, `PUT /${name}`);
  await couchOk(setup.server, `PUT /${filled}/a`, "{}");
  const soon = await (await setup.open()).testRestore();
  assertEquals([soon.dropped, soon.kept.map(({ database }) => database)], [[], [empty]]);
  const later = new Date(Date.now() + ABANDONED_AFTER_MS + 60_000);
  assertEquals((await (await setup.open({ now: () => later })).testRestore()).dropped, [empty]);
  assertEquals(await scratchOf(setup), [filled, unknown]);
});

Deno.test("test-restore does not drop a database that was there under the name of its own", async () => {
  await using setup = await setUpFleet(1);
  const session = (await setup.open()).with({ run: "0badcafe-0000-4000-8000-000000000000" });
  await session.backup();
  await couchOk(setup.server, `PUT /${scratchName("0badcafe", 0)}`);
  const report = await session.testRestore();
  assertEquals([report.ok, exitCodeOfTestRestore(report)], [false, EXIT.couchdb]);
  assertStringIncludes(report.faulty[0]!.problems[0]!, "there is a database of that name");
  assertEquals(await scratchOf(setup), [scratchName("0badcafe", 0)]);
});

Deno.test("test-restore that is interrupted drops its scratch databases", async () => {
  await using setup = await setUpFleet(2);
  await (await setup.open()).backup();
  const stop = new AbortController();
  const session = (await setup.open()).with({ stop: stop.signal });
  const reason = new InterruptedError("Interrupted by SIGTERM");
  const run = () => stop.abort(reason);
  setup.server.faults.add({ ...inScratch("_bulk_docs"), fault: { kind: "run", run } });
  await assertRejects(() => session.testRestore(), InterruptedError);
  assertEquals(await scratchOf(setup), []);
});

Deno.test("test-restore names a scratch database that it cannot drop, and ends with 10", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  await session.backup();
  const body = { error: "forbidden", reason: "no" };
  setup.server.faults.add({ method: "DELETE", times: Infinity, fault: { kind: "answer", status: 403, body } });
  const report = await session.testRestore();
  assertEquals([report.ok, report.faulty, exitCodeOfTestRestore(report)], [false, [], EXIT.couchdb]);
  assertEquals(report.left_behind.map(({ database }) => database), await scratchOf(setup));
  assertStringIncludes(describeTestRestore(report), "LEFT BEHIND: couchdb_backup_test_");
});

Deno.test("test-restore with a sample takes others each day, until all have had their turn", async () => {
  await using setup = await setUpFleet(7);
  let now = new Date("2026-11-25T12:00:00Z");
  const session = await setup.open({ now: () => now });
  await session.backup();
  const seen = new Set<string>();
  for (let day = 0; day < 4; day++) {
    setup.log.lines.length = 0;
    const report = await session.testRestore({ sample: 2 });
    assertEquals([report.ok, report.backups, report.backups_in_all], [true, 2, 7]);
    for (const { event, fields } of setup.log.lines) {
      if (event === "backup was restored for a test") seen.add(String(fields?.database));
    }
    now = new Date(now.getTime() + 86_400_000);
  }
  assertEquals([...seen].sort(), setup.names);
});

Deno.test("test-restore without a backup is an error with 12", async () => {
  await using setup = await setUpFleet(1);
  const session = await setup.open();
  const error = await assertRejects(() => session.testRestore({ match: ["nothing"] }), ArchiveError);
  assertStringIncludes(error.message, 'There is no complete backup of a database that "nothing" matches');
  assertEquals(error.hint, 'Check the patterns, prefix and suffix; "couchdb-backup list" shows the backups there are');
});

Deno.test("verify --all and test-restore are kept, and status shows them", async () => {
  await using setup = await setUpFleet(2);
  let now = new Date("2026-11-25T12:00:00Z");
  const session = await setup.open({ now: () => now });
  const { repository } = session;
  const signal = new AbortController().signal;
  const saved = (await session.backup()).tasks[0]!.databases[0]!;
  const status = async () => {
    const found = await readStatus({ repository, now: () => now, signal }, session.config.tasks);
    return { ...found, code: exitCodeOfStatus(found), text: describeStatus(found).split("\n").slice(1, -1) };
  };
  const none = await status();
  assertEquals([none.proofs, none.code, none.text], [{ verify: null, test_restore: null }, 0, []]);
  // A part that was chosen proves nothing of the rest.
  await session.verifyAll({ match: ["account.*"] });
  await session.verifyAll({ quick: true });
  await session.testRestore({ match: [".*"] });
  assertEquals(await readProofs(repository, { signal }), { verify: null, test_restore: null });

  await session.verifyAll();
  await session.testRestore({ sample: 1 });
  const well = await status();
  assertEquals([well.code, well.text], [0, [
    "verify --all  2 backups proved 2026-11-25T12:00:00Z",
    "test-restore  1 of 2 backups proved 2026-11-25T12:00:00Z",
  ]]);

  const folder = decodeURI(new URL(saved.path).pathname);
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  await alterFile(join(folder, names.find((name) => name.endsWith(".gz"))!), flipByte);
  now = new Date("2026-11-26T12:00:00Z");
  await session.verifyAll();
  await session.testRestore();
  const ill = await status();
  assertEquals([ill.ok, ill.code, ill.proofs.verify?.ok, ill.proofs.test_restore?.faulty], [false, 3, false, 1]);
  assertEquals(ill.text, [
    "verify --all  FAILED: 2 backups looked at 2026-11-26T12:00:00Z, 1 NOT as they must be, the last success was at 2026-11-25T12:00:00Z",
    "test-restore  FAILED: 2 backups looked at 2026-11-26T12:00:00Z, 1 NOT as they must be, the last success was at 2026-11-25T12:00:00Z",
  ]);
});

/** Takes documents out of the newest backup of a folder, whose manifest then says the same: nothing looks damaged. */
async function takeOut(folder: string, ids: readonly string[]): Promise<void> {
  const files = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  const manifests = files.filter((name) => name.startsWith("manifest"));
  const manifest = partsOf(await Deno.readTextFile(join(folder, manifests[0]!)));
  for (const chunk of manifest.chunks) {
    const { results } = JSON.parse(gunzipSync(await Deno.readFile(join(folder, chunk.name))).toString());
    const text = JSON.stringify({ results: results.filter(({ id }: { id: string }) => !ids.includes(id)) });
    const bytes = gzipSync(text);
    await Deno.writeFile(join(folder, chunk.name), bytes);
    const kept = JSON.parse(text).results as { docs: { ok: { _deleted?: boolean } }[] }[];
    Object.assign(chunk, {
      documents: kept.length,
      leaf_revisions: kept.flatMap(({ docs }) => docs).length,
      deleted: kept.filter(({ docs }) => docs.every(({ ok }) => ok._deleted)).length,
      bytes: text.length,
      compressed_bytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    });
  }
  manifest.totals = sumChunks(manifest.chunks);
  for (const name of manifests) await Deno.writeFile(join(folder, name), textWithChecksum(manifest));
}

/** At once, as a progress cannot wait. */
function changeNow({ from, to, removed }: { from: string; to: string; removed: string[] }): void {
  Deno.renameSync(from, to);
  for (const path of removed) Deno.removeSync(path, { recursive: true });
}

Deno.test("test-restore does not count a backup that expire deletes behind a newer one, and calls nothing faulty", async () => {
  await using setup = await setUpFleet(2);
  const [bucket, later] = [join(setup.folder, "bucket"), join(setup.folder, "later")];
  const first = await setup.open({ now: () => new Date("2026-11-01T10:00:00Z") });
  const [old] = (await first.backup()).tasks[0]!.databases;
  const folder = fileURLToPath(old!.path);
  const catalog = join(bucket, "_catalog", basename(folder));
  const [entry] = await Array.fromAsync(Deno.readDir(catalog), ({ name }) => name);
  const second = await setup.open({ now: () => new Date("2026-11-08T10:00:00Z") });
  await second.backup();
  // The newer ones come when the older ones have been chosen.
  await Deno.rename(join(bucket, "2026/11/08"), later);
  const progress = {
    ...SILENT_PROGRESS,
    runStarted() {
      changeNow({ from: later, to: join(bucket, "2026/11/08"), removed: [folder, join(catalog, entry!)] });
    },
  };
  setup.log.lines.length = 0;
  const report = await (await setup.open({ progress })).testRestore();
  assertEquals([report.ok, report.backups, report.backups_in_all, report.faulty], [true, 1, 1, []]);
  assertEquals(exitCodeOfTestRestore(report), EXIT.ok);
  assert(setup.log.events("info").includes("backup has expired meanwhile: it is not counted"));
  assertEquals(await scratchOf(setup), []);
});

Deno.test("test-restore names what a chain has lost although its manifests are whole, by the feed of the database", async () => {
  const tasks = `{all: {databases: ["media.*"], chunk: 100, timezone: UTC, incremental: true}}`;
  await using setup = await setUpFleet(3, { tasks });
  const session = await setup.open();
  const name = setup.names.find((one) => one.startsWith("media"))!;
  const put = async (docs: Record<string, unknown>[]) =>
    (await couchOk(setup.server, `POST /${name}/_bulk_docs`, { docs })).json as { id: string; rev: string }[];
  const rows = await put(Array.from({ length: 300 }, (_, n) => ({ _id: `d${n}` })));
  const gone = await put([{ _id: "long gone" }]);
  await put([{ _id: "long gone", _rev: gone[0]!.rev, _deleted: true }]);
  await session.backup();
  const of = (id: string) => ({ _id: id, _rev: rows.find((row) => row.id === id)!.rev });
  await put([{ ...of("d7"), changed: true }, { ...of("d8"), changed: true }, { ...of("d9"), _deleted: true }, {
    _id: "new",
  }]);
  const saved = (await session.backup()).tasks[0]!.databases[0]!;
  assertEquals([saved.kind, saved.documents], ["incremental", 4]);
  const right = await session.testRestore();
  assertEquals([right.ok, right.faulty], [true, []]);

  const folder = decodeURI(new URL(saved.path).pathname);
  const increment = join(folder, "increment");
  await Deno.mkdir(increment);
  const files = (await Array.fromAsync(Deno.readDir(folder))).map((entry) => entry.name);
  const read = async (file: string) => JSON.parse(await Deno.readTextFile(join(folder, file)));
  let newest = "";
  for (const file of files.filter((one) => /^manifest-/.test(one))) {
    if ((await read(file)).kind === "incremental") newest = file;
  }
  const { chunks } = await read(newest);
  for (const file of [newest, ...chunks.map((chunk: { name: string }) => chunk.name)]) {
    await Deno.rename(join(folder, file), join(increment, file));
  }
  await takeOut(increment, ["d8", "d9", "new"]);
  for await (const { name: file } of Deno.readDir(increment)) {
    await Deno.rename(join(increment, file), join(folder, file));
  }
  await Deno.remove(increment);

  // Changed since: it says nothing about the backup.
  await put([{ ...of("d20"), since: true }, { _id: "later" }]);
  const report = await session.testRestore();
  assertEquals([report.ok, exitCodeOfTestRestore(report)], [false, EXIT.partial]);
  assertEquals(report.faulty[0]!.problems, [
    'it lacks 3 documents as CouchDB has had them since before it was made: "d8", "d9", "new"',
  ]);
  // Of a database that was made anew under the name its feed says nothing.
  await setup.drop([name]);
  assertEquals((await session.testRestore()).ok, true);
  await couchOk(setup.server, `PUT /${name}`);
  setup.server.databases.get(name)!.properties.createdAt += 7;
  assertEquals((await session.testRestore()).ok, true);
});
