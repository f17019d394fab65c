import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeFleet } from "../../../src/cli/restore_all.ts";
import { exitCodeOfFleet, type FleetReport } from "../../../src/commands/restore/fleet_report.ts";
import type { FleetRequest } from "../../../src/commands/restore/context.ts";
import { ArchiveError, EXIT, UsageError } from "../../../src/errors.ts";
import { runAtOnce } from "../../../src/schedule/rounds.ts";
import { couchOk } from "../../couch_request.ts";
import { loginRefused } from "../../fakes/couchdb/faults.ts";
import { createDatabase, idsOf } from "../../couchdb/impatient_client.ts";
import { setUpFleet } from "./fleet_setup.ts";

const statuses = ({ databases }: FleetReport) =>
  Object.fromEntries(
    ["restored", "already", "incomplete", "failed"].map((status) => [
      status,
      databases.filter((one) => one.status === status).length,
    ]),
  );

Deno.test("restore --all brings back every database of the newest moment, byte for byte", async () => {
  await using setup = await setUpFleet(30);
  const before = await setup.state();
  const session = await setup.open();
  assertEquals((await session.backup()).ok, true);
  await setup.drop();
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, report.moment, statuses(report)], [
    true,
    null,
    { restored: 30, already: 0, incomplete: 0, failed: 0 },
  ]);
  assertEquals(setup.differences(before, await setup.state()), []);
  assertEquals(exitCodeOfFleet(report), 0);
  assertEquals(report.databases.map(({ database }) => database), setup.names);
  assertStringIncludes(describeFleet(report), "Restored 30 of 30 databases: ");
});

Deno.test("restore --all says of a database without a document, too, that an earlier one has restored it", async () => {
  await using setup = await setUpFleet(2);
  await createDatabase(setup.server, "without", []);
  const session = await setup.open();
  assertEquals((await session.backup()).ok, true);
  await setup.drop();
  await couchOk(setup.server, "DELETE /without");
  const request = { path: "latest", match: ["without"] };
  assertEquals(statuses(await session.restoreAll(request)).restored, 1);
  assertEquals(statuses(await session.restoreAll(request)).already, 1);
});

Deno.test("restore --all tries no further database where CouchDB refuses the login midway, and says so of each", async () => {
  await using setup = await setUpFleet(60, { tasks: `{all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}` });
  const session = await setup.open();
  assertEquals((await session.backup()).ok, true);
  await setup.drop();
  setup.server.faults.add(loginRefused({ skip: 40 }));
  const since = setup.server.requests.length;
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, report.databases.length], [false, 60]);
  const failed = report.databases.filter(({ status }) => status === "failed");
  for (const { error = "", exit_code } of failed) {
    assertStringIncludes(error, "401");
    assertEquals(exit_code, EXIT.couchdb);
  }
  const tried = failed.filter(({ error = "" }) => !error.startsWith("Not tried, as it would fail like the one before"));
  // Those that were in hand, with one request each.
  const refused = setup.server.requests.slice(since).filter(({ status }) => status === 401);
  assert(tried.length <= 16 && refused.length <= 16, `${tried.length} were tried, ${refused.length} requests refused`);
});

Deno.test("restore --all says of what an earlier one has restored that it is there, where the login is refused midway", async () => {
  await using setup = await setUpFleet(6);
  const session = await setup.open();
  assertEquals((await session.backup()).ok, true);
  await setup.drop();
  assertEquals((await session.restoreAll({ path: "latest" })).ok, true);
  await setup.drop([setup.names[0]!]);
  setup.server.faults.add({ method: "PUT", times: Infinity, fault: { kind: "answer", status: 401 } });
  const report = await session.restoreAll({ path: "latest", databasesAtOnce: 1 });
  assertEquals(report.databases.map(({ status }) => status), ["failed", ...Array(5).fill("already")]);
});

Deno.test("restore --all goes on after a kill at any moment: what is done is passed over, what was begun is finished", async () => {
  await using setup = await setUpFleet(12);
  const before = await setup.state();
  assertEquals((await (await setup.open()).backup()).ok, true);
  let passedOver = 0;
  for (let round = 0; round < 10; round++) {
    await setup.drop();
    const kill = new AbortController();
    const killed = setup.server.requests.length + 4 + round * 12;
    const watch = setInterval(() => {
      if (setup.server.requests.length >= killed) kill.abort(new Error("killed"));
    }, 1);
    try {
      const session = await setup.open({ signal: kill.signal });
      await session.restoreAll({ path: "latest", databasesAtOnce: 2, parallel: 1 }).catch(() => {});
    } finally {
      clearInterval(watch);
    }
    const report = await (await setup.open()).restoreAll({ path: "latest" });
    assertEquals(report.ok, true, `round ${round}`);
    passedOver += statuses(report).already!;
    assertEquals(setup.differences(before, await setup.state()), [], `round ${round}`);
  }
  assert(passedOver > 10, `${passedOver} were passed over: nothing was begun before the kills`);
});

Deno.test("restore --all writes nothing when a target is not as it must be, and names all of them", async () => {
  await using setup = await setUpFleet(4);
  const session = await setup.open();
  await session.backup();
  await setup.drop(setup.names.slice(0, 2));
  const all = () => session.restoreAll({ path: "latest" });
  const [third, fourth] = setup.names.slice(2);
  const error = await assertRejects(all, UsageError, `"${third}" holds`);
  assertStringIncludes(error.message, `"${fourth}" holds`);
  const databases = await couchOk(setup.server, "GET /_all_dbs");
  assertEquals(databases.json.filter((name: string) => !name.startsWith("_")), [third, fourth]);
  const map = (text: string) => session.restoreAll({ path: "latest", map: [text] });
  await assertRejects(() => map(".*=same"), UsageError, '"same" would get');
  await assertRejects(() => map("(.*)=Copy-$1"), UsageError, "is not a valid database name");
  await assertRejects(() => map("nothing"), UsageError, "is not FROM=TO");
  await assertRejects(() => map("(=x"), UsageError, "regular expression");
  const day = await assertRejects(() => session.restoreAll({ path: "2026-11-25" }), UsageError);
  assertStringIncludes(day.hint ?? "", 'its end is "2026-11-25T23:59:59Z"');
  await assertRejects(() => session.restoreAll({ path: "latest", match: ["none"] }), ArchiveError, '"none" matches');
  assertEquals((await session.restoreAll({ path: "latest", intoExisting: true })).ok, true);
});

Deno.test("restore --all restores what is matched, under the names of --map, and leaves out what is excluded", async () => {
  await using setup = await setUpFleet(9);
  const session = await setup.open();
  await session.backup();
  const report = await session.restoreAll({
    path: "latest",
    match: ["account.*"],
    exclude: ["account%2F000.*"],
    map: ["account%2F(.*)%2Fx=copy%2F$1", "account\\+(.*)=plus-$1"],
  });
  assertEquals(report.databases.map(({ source, database }) => [source, database]), [
    ["account+001", "plus-001"],
    ["account+004", "plus-004"],
    ["account+007", "plus-007"],
    ["account/003/x", "copy/003"],
    ["account/006/x", "copy/006"],
  ]);
  assertEquals(report.ok, true);
  const before = await setup.state(["account/003/x"]);
  const after = await setup.state(["copy/003"]);
  assertEquals([...before.values()], [...after.values()]);
});

Deno.test("restore --all refuses a --match or a --map that meets nothing, beside others that do", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  const all = (request: Partial<FleetRequest>) => () => session.restoreAll({ path: "latest", ...request });
  const match = ["media.*", "acount.*"];
  const error = await assertRejects(all({ match }), ArchiveError, 'a database that "acount.*" matches');
  assertEquals(error.message.includes("media"), false);
  const map = ["media(.*)=copy$1", "acount(.*)=copy-$1"];
  await assertRejects(all({ map }), UsageError, '--map "acount(.*)=copy-$1" matches none of them');
  const databases = await couchOk(setup.server, "GET /_all_dbs");
  assertEquals(databases.json.filter((name: string) => !name.startsWith("_")), []);
  const excluded = await session.restoreAll({ path: "latest", match, exclude: ["acount.*"] });
  assertEquals([excluded.ok, excluded.databases.length], [true, 1]);
});

Deno.test("restore --all says that a database which it had restored has fewer documents now, and ends with 3", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  assertEquals((await session.restoreAll({ path: "latest" })).ok, true);
  assertEquals((await session.restoreAll({ path: "latest" })).ok, true);
  const [emptied] = setup.names as [string];
  const name = encodeURIComponent(emptied);
  const { rows } = (await couchOk(setup.server, `GET /${name}/_all_docs`)).json;
  for (const { id, value } of rows) await couchOk(setup.server, `DELETE /${name}/${id}?rev=${value.rev}`);
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, exitCodeOfFleet(report), statuses(report).already], [false, EXIT.partial, 3]);
  const [one, ...others] = report.databases;
  assertEquals([one!.database, one!.fewer?.restored, one!.fewer?.there], [emptied, rows.length, 0]);
  assertEquals(others.map(({ fewer }) => fewer), [undefined, undefined]);
  assertStringIncludes(describeFleet(report), `NOT RESTORED AGAIN: ${emptied}: it had ${rows.length} documents when `);
});

Deno.test("restore --all believes a note that all is done only where the database agrees with it", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  assertEquals((await session.restoreAll({ path: "latest" })).ok, true);
  const [name] = setup.names as [string];
  const path = `/${encodeURIComponent(name)}`;
  const notePath = `${path}/_local/couchdb-backup-restore`;
  const { _rev: _, ...noted } = (await couchOk(setup.server, `GET ${notePath}`)).json;
  const refused = async (note: Record<string, unknown>, documents: number) => {
    await setup.drop([name]);
    await createDatabase(setup.server, name, idsOf(documents), '"of":"others"');
    const { instance_start_time: created, update_seq: position } = (await couchOk(setup.server, `GET ${path}`)).json;
    const witness = { created, position, ...note["witness"] as Record<string, unknown> };
    await couchOk(setup.server, `PUT ${notePath}`, {
      ...noted,
      ...note,
      ...note["witness"] === null ? {} : { witness },
    });
    const written = setup.server.requestsTo("_bulk_docs").length;
    const error = await assertRejects(() => session.restoreAll({ path: "latest" }), UsageError);
    assertStringIncludes(error.message, `"${name}" holds ${documents} document`);
    assertStringIncludes(error.message, "and a note of a restore that does not fit them");
    assertStringIncludes(error.hint ?? "", "--into-existing");
    assertEquals(setup.server.requestsTo("_bulk_docs").length, written);
  };
  // One of an earlier version, or by hand; one that came along with another database's files; one whose documents are
  // not there.
  await refused({ documents: 0, witness: null }, 1);
  await refused({ documents: 0, witness: { created: "17" } }, 9);
  await refused({ documents: 0, witness: {} }, 1);
  assertEquals((await session.restoreAll({ path: "latest", intoExisting: true })).ok, true);
});

Deno.test("restore --all leaves a database alone that it had restored and that was written to since, and says so", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  await session.restoreAll({ path: "latest" });
  const [name] = setup.names as [string];
  await couchOk(setup.server, `PUT /${encodeURIComponent(name)}/new`, '{"a":1}');
  const written = setup.server.requestsTo("_bulk_docs").length;
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, statuses(report).already], [true, 3]);
  assertEquals(report.databases.map(({ written_since }) => written_since !== undefined), [true, false, false]);
  assertEquals(setup.server.requestsTo("_bulk_docs").length, written);
  const text = describeFleet(report);
  assertStringIncludes(text, `left as it is: ${name}: it was restored at `);
  assertEquals(text.match(/written to since/g)?.length, 1);
});

Deno.test("restore --all takes the newest backups of a moment, and leaves out what the run before it did not have any more", async () => {
  await using setup = await setUpFleet(5);
  const [gone, changed] = setup.names as [string, string];
  let now = new Date("2026-11-01T10:00:00Z");
  const session = await setup.open({ now: () => now });
  const first = await setup.state();
  await session.backup();
  now = new Date("2026-11-08T10:00:00Z");
  await setup.drop([gone]);
  await couchOk(setup.server, `PUT /${encodeURIComponent(changed)}/new`, '{"a":1}');
  const second = await setup.state(setup.names.slice(1));
  await session.backup();
  await setup.drop(setup.names.slice(1));

  now = new Date("2026-11-09T10:00:00Z");
  const latest = await session.restoreAll({ path: "latest" });
  assertEquals(latest.ok, true);
  assertEquals(latest.left_out.map(({ database, is_missing }) => [database, is_missing]), [[gone, false]]);
  assertStringIncludes(latest.left_out[0]!.reason, "of 2026-11-08T10:00:00Z no longer had it");
  assertEquals(setup.differences(second, await setup.state(setup.names.slice(1))), []);

  await setup.drop(setup.names.slice(1));
  const earlier = await session.restoreAll({ path: "2026-11-02T00:00Z" });
  assertEquals([earlier.ok, earlier.left_out, earlier.moment], [true, [], "2026-11-02T00:00:00.000Z"]);
  assertEquals(setup.differences(first, await setup.state()), []);

  await setup.drop();
  const all = await session.restoreAll({ path: "latest", gone: true });
  assertEquals([all.databases.length, all.left_out], [5, []]);
});

Deno.test("restore --all leaves out what a run did not have any more whose elapse came while the run before it was at work", async () => {
  await using setup = await setUpFleet(2);
  const [gone] = setup.names as [string];
  let now = new Date("2026-11-08T10:20:00Z");
  const session = await setup.open({ now: () => now });
  const [task] = session.config.tasks;
  const run = async (elapse: string) =>
    void await runAtOnce(await session.context(), { task: task!, elapse: new Date(elapse), scope: "all" });
  await run("2026-11-08T09:00:00Z");
  await setup.drop([gone]);
  now = new Date("2026-11-08T10:30:00Z");
  await run("2026-11-08T10:00:00Z");
  await setup.drop(setup.names.slice(1));
  const { left_out } = await session.restoreAll({ path: "latest" });
  assertEquals(left_out.map(({ database, is_missing }) => [database, is_missing]), [[gone, false]]);
  await setup.drop(setup.names.slice(1));
  // Of the moment between, when nobody had looked yet, it is there.
  const between = await session.restoreAll({ path: "2026-11-08T10:25Z" });
  assertEquals([between.databases.map(({ database }) => database), between.left_out], [setup.names, []]);
});

Deno.test("restore --all has the databases of all months where backup_only_previous saves one month in a run", async () => {
  const tasks = `{monthly: {databases: [".*-[0-9]{6}"], chunk: 2, backup_only_previous: true, timezone: UTC}}`;
  await using setup = await setUpFleet(0, { tasks });
  const names = ["a/b-202609", "a/b-202610", "a/c-202609", "a/c-202610"];
  for (const name of names) await createDatabase(setup.server, name, idsOf(3), `"in":${JSON.stringify(name)}`);
  let now = new Date("2026-10-03T18:00:00Z");
  const session = await setup.open({ now: () => now });
  await session.backup();
  now = new Date("2026-11-07T18:00:00Z");
  await session.backup();
  const before = await setup.state(names);
  await setup.drop(names);

  now = new Date("2026-11-09T10:00:00Z");
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, report.left_out], [true, []]);
  assertEquals(setup.differences(before, await setup.state(names)), []);
  await session.restore({ database: "copy", path: "latest/a%2Fb-202609" });
  assertEquals(setup.log.events("warn").filter((event) => event.includes("older")), []);
});

Deno.test("restore --all names a database that was to be saved and has no backup, and ends with 3", async () => {
  await using setup = await setUpFleet(3);
  const [broken] = setup.names as [string];
  setup.server.faults.add({
    endpoint: "_bulk_get",
    database: broken,
    times: 1000,
    fault: { kind: "status", status: 403 },
  });
  const session = await setup.open();
  assertEquals((await session.backup()).ok, false);
  await setup.drop();
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([report.ok, exitCodeOfFleet(report), statuses(report).restored], [false, EXIT.partial, 2]);
  assertEquals(report.left_out, [{
    database: broken,
    reason: 'task "all" should have saved it, but there is no complete backup',
    is_missing: true,
  }]);
  assertStringIncludes(describeFleet(report), `left out: ${broken}: task "all" should have saved it`);
});

Deno.test("restore --all names a database of which the last run reported a newer backup than is found, and ends with 3", async () => {
  await using setup = await setUpFleet(2);
  const [changed] = setup.names as [string, string];
  let now = new Date("2026-11-01T10:00:00Z");
  const session = await setup.open({ now: () => now });
  await session.backup();
  now = new Date("2026-11-01T18:00:00Z");
  await couchOk(setup.server, `PUT /${encodeURIComponent(changed)}/new`, '{"a":1}');
  await session.backup();
  const second = await setup.state();
  // As in a copy of the bucket whose index has not arrived as a whole: the entry of the later one, which sorts first.
  const entries = join(setup.folder, "bucket", "_catalog", encodeURIComponent(changed));
  const [newest] = (await Array.fromAsync(Deno.readDir(entries))).map(({ name }) => name).sort();
  await Deno.remove(join(entries, newest!));
  const restored = async (path: string) => {
    await setup.drop();
    return await session.restoreAll({ path });
  };
  now = new Date("2026-11-02T10:00:00Z");
  const report = await restored("latest");
  assertEquals([report.ok, exitCodeOfFleet(report), statuses(report).restored], [false, EXIT.partial, 2]);
  const [lacking, ...others] = report.left_out;
  assertEquals([lacking?.database, lacking?.is_missing, others], [changed, true, []]);
  assertStringIncludes(lacking!.reason, "a backup of 2026-11-01T18:00:00Z that is damaged or not found, so that of ");
  assertEquals((await restored("2026-11-01T12:00Z")).left_out, []);
  await session.list({ rebuild: true });
  const mended = await restored("latest");
  assertEquals([mended.ok, mended.left_out], [true, []]);
  assertEquals(setup.differences(second, await setup.state()), []);
});

Deno.test("restore --all goes on with the others when one fails, names it, and ends with 3", async () => {
  await using setup = await setUpFleet(4);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  const [broken] = setup.names as [string];
  setup.server.faults.add({
    endpoint: "_bulk_docs",
    database: broken,
    times: 1000,
    fault: { kind: "status", status: 403 },
  });
  const report = await session.restoreAll({ path: "latest" });
  assertEquals([statuses(report).restored, statuses(report).failed], [3, 1]);
  assertEquals([exitCodeOfFleet(report), report.databases.find(({ status }) => status === "failed")?.database], [
    EXIT.partial,
    broken,
  ]);
  assertStringIncludes(describeFleet(report), `FAILED: ${broken}: `);
  // The same command goes on with it: one that restores this database alone would be another way.
  const early = setup.log.lines.filter(({ event }) => event.startsWith("restore ends early"));
  assertEquals(early.map(({ fields }) => [fields["database"], fields["hint"]]), [[broken, undefined]]);
});

Deno.test("restore --all leaves CouchDB's own databases alone unless they are named", async () => {
  await using setup = await setUpFleet(2, { tasks: `{all: {databases: [".*"], timezone: UTC}}` });
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  const all = await session.restoreAll({ path: "latest", match: [".*"] });
  assertEquals(all.databases.map(({ database }) => database), setup.names);
  assertEquals(all.left_out, []);
  // Nobody has said which ones: without logins that are not there an application says only that they are wrong.
  await setup.drop();
  const unnamed = await session.restoreAll({ path: "latest" });
  assertEquals([unnamed.ok, unnamed.left_out], [
    true,
    ["_replicator", "_users"].map((database) => ({
      database,
      reason: `CouchDB's system databases are restored only if named (--match ${database})`,
      is_missing: false,
    })),
  ]);
  assertStringIncludes(describeFleet(unnamed), "left out: _users: CouchDB's system databases");
  assertEquals((await session.restoreAll({ path: "latest", exclude: ["_.*"] })).left_out, []);
  const named = await session.restoreAll({ path: "latest", match: ["_users"], map: ["_users=users_copy"] });
  assertEquals(named.databases.map(({ source, database }) => [source, database]), [["_users", "users_copy"]]);
});

Deno.test("restore --all with --dry-run looks at everything and writes nothing", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  const report = await session.restoreAll({ path: "latest", dryRun: true });
  assertEquals([report.ok, report.dry_run, statuses(report).restored], [true, true, 3]);
  const databases = await couchOk(setup.server, "GET /_all_dbs");
  assertEquals(databases.json.filter((name: string) => !name.startsWith("_")), []);
  assertStringIncludes(describeFleet(report), "Would restore 3 of 3 databases");
  assertEquals(setup.log.events("info").filter((event) => event.includes(" restored")), [
    ...report.databases.map(() => "database could be restored"),
    "all databases could be restored",
  ]);
});

Deno.test("restore --all does not take a database of others for one that it has begun", async () => {
  await using setup = await setUpFleet(2);
  const session = await setup.open();
  await session.backup();
  const [first] = setup.names as [string];
  await setup.drop();
  await session.restoreAll({ path: "latest" });
  // A later backup is another one than what the note in the database speaks of.
  await (await setup.open()).backup({ date: { year: 2027, month: 1, day: 1 } });
  const match = [encodeURIComponent(first)];
  await assertRejects(() => session.restoreAll({ path: "latest", match }), UsageError, "holds");
});

Deno.test("restore --all says what to do about a folder whose name is none of a database", async () => {
  await using setup = await setUpFleet(3);
  const session = await setup.open();
  await session.backup();
  await setup.drop();
  // As when somebody has put a copy aside.
  const { backups } = await session.list({ database: "media002" });
  const media = fileURLToPath(backups[0]!.path);
  await Deno.mkdir(`${media}.old`);
  for await (const { name } of Deno.readDir(media)) await Deno.copyFile(join(media, name), `${media}.old/${name}`);
  await session.list({ rebuild: true });
  const all = (request: Partial<FleetRequest> = {}) => session.restoreAll({ path: "latest", ...request });
  const error = await assertRejects(() => all(), UsageError, '"media002.old" is not a valid database name');
  assertEquals(error.hint, "Nothing was written: leave it out by --exclude, or give it another name by --map");
  const report = await all({ exclude: [".*[.]old"] });
  assertEquals([report.ok, report.databases.length], [true, 3]);
});
