import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import { describeDiff } from "../../src/cli/diff.ts";
import { describeFound } from "../../src/cli/find.ts";
import { findDocument } from "../../src/commands/find.ts";
import { encodeDatabase } from "../../src/database_name.ts";
import { ArchiveError, UsageError } from "../../src/errors.ts";
import type { ProgramSession } from "../../src/session/session.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { type FleetSetup, setUpFleet } from "./restore/fleet_setup.ts";

/** What a command writes. */
function recorder() {
  const pieces: Uint8Array[] = [];
  return {
    sink: (bytes: Uint8Array) => {
      pieces.push(bytes.slice());
      return Promise.resolve(true);
    },
    text: async () => await new Blob(pieces as BlobPart[]).text(),
  };
}

async function exported(
  session: ProgramSession,
  database: string,
  request: { winners?: boolean; matchId?: string } = {},
) {
  const { sink, text } = recorder();
  const { revisions } = await session.export({ database, path: "latest", ...request }, sink);
  const lines = (await text()).split("\n");
  assertEquals(lines.pop(), "", "the last line has its end");
  assertEquals(lines.length, revisions);
  return lines;
}

async function shown(
  session: ProgramSession,
  database: string,
  id: string,
  more: { rev?: string; path?: string } = {},
) {
  const { sink, text } = recorder();
  const about = await session.show({ database, path: "latest", id, ...more }, sink);
  return { about, text: await text() };
}

const textsOf = (leaves: LeafRevisions) => [...leaves.values()].flatMap((revisions) => [...revisions.values()]).sort();

Deno.test("export writes every leaf revision of a hard database, a line each, byte for byte", async () => {
  await using setup = await setUpFleet(1);
  await seedHardDatabase(setup.server, "hard", { documents: 40 });
  const session = await setup.open();
  await session.backup();
  const lines = await exported(session, "hard");
  assertEquals(lines.toSorted(), textsOf(await readAllLeafRevisions(setup.server, "hard")));
  const winners = await exported(session, "hard", { winners: true });
  const listed = await couchOk(setup.server, "GET /hard/_all_docs");
  const revs = (listed.json.rows as { id: string; value: { rev: string } }[]).map(({ id, value }) => [id, value.rev]);
  assertEquals(
    new Map(winners.map((line) => [JSON.parse(line)._id, JSON.parse(line)._rev])),
    new Map(revs as [string, string][]),
  );
});

Deno.test("export keeps 9007199254740993 and 1.0, and writes only ids that match", async () => {
  await using setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  await couchOk(setup.server, `PUT /${encodeURIComponent(name)}/exact`, '{"a":9007199254740993,"b":1.0,"2":1,"1":2}');
  const session = await setup.open();
  await session.backup();
  const [line, ...others] = await exported(session, name, { matchId: "^ex" });
  assertEquals(others, []);
  assertStringIncludes(line!, '"a":9007199254740993,"b":1.0,"2":1,"1":2');
  await assertRejects(() => exported(session, name, { matchId: "(" }), UsageError, "--match-id");
  const { sink } = recorder();
  const stopped = await session.export({ database: name, path: "latest" }, (bytes) => sink(bytes).then(() => false));
  assertEquals(stopped.revisions, 0, "nobody reads any more");
});

/** Three backups of one database: a document edited, one deleted, one new. */
async function threeBackups(): Promise<FleetSetup & { name: string }> {
  const setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  const path = `/${encodeURIComponent(name)}`;
  let now = new Date("2026-11-01T10:00:00Z");
  const step = async (change: () => Promise<void>) => {
    await change();
    await (await setup.open({ now: () => now })).backup();
    now = new Date(now.getTime() + 7 * 86_400_000);
  };
  const revOf = async (id: string) => (await couchOk(setup.server, `GET ${path}/${id}`)).json._rev;
  await step(() => Promise.resolve());
  await step(async () => {
    await couchOk(setup.server, `PUT ${path}/d00000`, { _rev: await revOf("d00000"), v: "second" });
    await couchOk(setup.server, `PUT ${path}/new`, { v: 1 });
  });
  await step(async () => {
    await couchOk(setup.server, `PUT ${path}/d00000`, { _rev: await revOf("d00000"), v: "third" });
    await couchOk(setup.server, `DELETE ${path}/d00001?rev=${await revOf("d00001")}`);
  });
  return Object.assign(setup, { name });
}

Deno.test("show writes a document as it was, and names what is there where it is not", async () => {
  await using setup = await threeBackups();
  const session = await setup.open();
  assertStringIncludes((await shown(session, setup.name, "d00000")).text, '"v":"third"');
  const second = await shown(session, setup.name, "d00000", { path: "2026-11-09T00:00Z" });
  assertStringIncludes(second.text, '"v":"second"');
  assertEquals(second.about.leaves, [{ rev: second.about.rev, deleted: false }]);
  assertStringIncludes((await shown(session, setup.name, "d00001", { path: "2026-11-09T00:00Z" })).text, '"in":');
  const gone = await assertRejects(() => shown(session, setup.name, "nobody"), ArchiveError, 'document "nobody"');
  assertStringIncludes(gone.hint ?? "", "find shows");
  await assertRejects(
    () => shown(session, setup.name, "d00000", { rev: "1-x" }),
    ArchiveError,
    "revision 1-x of document",
  );
});

Deno.test("show takes the winner among conflicts, and another leaf by its revision", async () => {
  await using setup = await setUpFleet(1);
  const [name] = setup.names as [string];
  const docs = [["2-b", "low"], ["3-a", "high"], ["3-0", "other"]].map(([rev, v]) => ({ _id: "c", _rev: rev, v }));
  await couchOk(setup.server, `POST /${encodeURIComponent(name)}/_bulk_docs`, { new_edits: false, docs });
  const session = await setup.open();
  await session.backup();
  const { about, text } = await shown(session, name, "c");
  assertEquals([about.rev, about.leaves.length], ["3-a", 3]);
  assertStringIncludes(text, '"v":"high"');
  assertStringIncludes((await shown(session, name, "c", { rev: "2-b" })).text, '"v":"low"');
});

Deno.test("a mark of a deletion that is too large to be held is one to show, find, diff, export and restore", async () => {
  await using setup = await setUpFleet(1, { tasks: "{all: {databases: [media], tombstones: true, timezone: UTC}}" });
  const { server } = setup;
  await couchOk(server, "PUT /media");
  // What compresses well would come in one piece.
  const words = Array.from({ length: 700_000 }, (_, index) => (Math.imul(index, 2654435761) >>> 0).toString(36));
  const large = { _deleted: true, text: words.join(" ") };
  const docs = [
    { _id: "both", _rev: "2-a", v: "live" },
    { _id: "both", _rev: "3-b", ...large },
    { _id: "gone", _rev: "2-c", ...large },
  ];
  for (const document of docs) await couchOk(server, "POST /media/_bulk_docs", { new_edits: false, docs: [document] });
  const session = await setup.open();
  await session.backup();

  assertEquals((await exported(session, "media", { winners: true })).map((line) => JSON.parse(line).v), ["live"]);
  const { rev, leaves } = (await shown(session, "media", "both")).about;
  assertEquals([rev, new Set(leaves)], [
    "2-a",
    new Set([{ rev: "2-a", deleted: false }, { rev: "3-b", deleted: true }]),
  ]);
  const [state] = (await session.find({ database: "media", id: "gone" })).states;
  assertEquals([state?.rev, state?.deleted], ["2-c", true]);
  assertEquals((await session.diff({ database: "media", from: "latest", to: "live" })).equal, true);
  const { written_as_new, deleted } = await session.restore({
    database: "copy",
    path: "latest/media",
    ids: ["both", "gone"],
    asNewRevision: true,
  });
  assertEquals([written_as_new?.map(({ id, from }) => [id, from]), deleted], [[["both", "2-a"]], 0]);
  const part = { database: "other", path: "latest/media", ids: ["both", "gone"], dryRun: true };
  assertEquals((await session.restore(part)).deleted, 1);
});

Deno.test("what cannot read a backup names a command that lists those of its database, whatever that is called", async () => {
  await using setup = await setUpFleet(0, { tasks: "{all: {databases: ['a.*'], timezone: UTC}}" });
  await couchOk(setup.server, `PUT /${encodeURIComponent("a$(b)/c")}`);
  await couchOk(setup.server, `PUT /${encodeURIComponent("a$(b)/c")}/x`, { v: 1 });
  const session = await setup.open();
  await session.backup();
  const { path, date } = (await session.list()).backups[0]!;
  const hint = `"couchdb-backup list --database 'a$(b)%2Fc'" shows the backups there are`;
  const chunk = { database: "copy", path: `${date.replaceAll("-", "/")}/a$(b)%2Fc/0000000.json.gz`, kept: true };
  assertEquals((await assertRejects(() => session.keep(chunk), ArchiveError)).hint, hint);
  await Deno.remove(join(fileURLToPath(path), "0000000.json.gz"));
  for (const [database, path] of [["a$(b)/c", "latest"], ["copy", "latest/a$(b)%2Fc"]] as const) {
    const error = await assertRejects(() => shown(session, database, "x", { path }), ArchiveError, "It is missing");
    assertEquals(error.hint, hint);
  }
});

Deno.test("find tells the states of a document over all backups", async () => {
  await using setup = await threeBackups();
  const session = await setup.open();
  const edited = await session.find({ database: encodeURIComponent(setup.name), id: "d00000" });
  assertEquals(edited.states.map(({ rev, backups, since }) => [rev?.slice(0, 2), backups, since]), [
    ["3-", 1, "2026-11-15T10:00:00.000Z"],
    ["2-", 1, "2026-11-08T10:00:00.000Z"],
    ["1-", 1, "2026-11-01T10:00:00.000Z"],
  ]);
  const deleted = await session.find({ database: setup.name, id: "d00001" });
  assertEquals(deleted.states.map(({ rev, backups }) => [rev?.slice(0, 2) ?? null, backups]), [[null, 1], ["1-", 2]]);
  const lines = describeFound(deleted).split("\n");
  assertStringIncludes(lines[0]!, "2026-11-15T10:00:00Z .. 2026-11-15T10:00:00Z     1 backup   not there");
  assertStringIncludes(describeFound(await session.find({ database: setup.name, id: "x" })), 'has the document "x"');
  await assertRejects(() => session.find({ database: "none", id: "x" }), ArchiveError, "no complete backup");
  const typo = { database: `${setup.name}x`, id: "x" };
  const meant = await assertRejects(() => session.find(typo), ArchiveError, "no complete backup");
  assertStringIncludes(meant.hint!, `Did you mean "${encodeDatabase(setup.name)}"?`);
});

Deno.test("find names no problem with a backup that expire deletes meanwhile, and one with a backup that loses its manifest", async () => {
  for (const [left, problems] of [["", 0], ["manifest.json", 1]] as const) {
    await using setup = await threeBackups();
    const bucket = join(setup.folder, "bucket");
    const store = await openStore({ bucket: pathToFileURL(bucket).href });
    const encoded = encodeDatabase(setup.name);
    let isThere = true;
    const racing = new Proxy(store, {
      get(_, name: keyof Store) {
        if (name !== "list") return typeof store[name] === "function" ? store[name].bind(store) : store[name];
        return async function* (...call: Parameters<Store["list"]>) {
          // What it lists is in the catalog, and is read later.
          yield* store.list(...call);
          if (!isThere || !call[0].startsWith("2026/11/01/")) return;
          isThere = false;
          const folder = join(bucket, call[0]);
          for await (const { name } of Deno.readDir(folder)) if (name !== left) await Deno.remove(join(folder, name));
          const catalog = join(bucket, "_catalog", encoded);
          const entries = (await Array.fromAsync(Deno.readDir(catalog), ({ name }) => name)).sort();
          if (left === "") await Deno.remove(join(catalog, entries.at(-1)!));
        };
      },
    });
    const { log } = setup;
    const signal = new AbortController().signal;
    const repository = new Repository(racing, { prefix: "", suffix: "" });
    const open = (bucket: string) => openStore({ bucket });
    const context = { repository, openStore: open, log, signal, lookAgainMs: 0 };
    const found = await findDocument(context, { database: setup.name, id: "d00000" });
    assertEquals(isThere, false);
    assertEquals(found.states.map(({ rev }) => rev?.slice(0, 2)), ["3-", "2-"], left);
    assertEquals(
      found.problems.map(({ finished_at }) => finished_at),
      Array(problems).fill("2026-11-01T10:00:00.000Z"),
    );
  }
});

Deno.test("diff names what was added, changed and deleted between two backups, and since one", async () => {
  await using setup = await threeBackups();
  const session = await setup.open();
  const [first, third] = ["2026-11-02T00:00Z", "latest"];
  const ids = async (from: string, to: string) => {
    const { added, changed, deleted, equal } = await session.diff({ database: setup.name, from, to });
    return [added.ids, changed.ids, deleted.ids, equal];
  };
  assertEquals(await ids(first, third), [["new"], ["d00000"], ["d00001"], false]);
  assertEquals(await ids(third, first), [["d00001"], ["d00000"], ["new"], false]);
  assertEquals(await ids(third, third), [[], [], [], true]);
  assertEquals(await ids(third, "live"), [[], [], [], true], "right after the backup there is nothing");
  const path = `/${encodeURIComponent(setup.name)}`;
  await couchOk(setup.server, `PUT ${path}/later`, { v: 1 });
  const { _rev } = (await couchOk(setup.server, `GET ${path}/new`)).json;
  await couchOk(setup.server, `DELETE ${path}/new?rev=${_rev}`);
  assertEquals(await ids(third, "live"), [["later"], [], ["new"], false]);
  const text = describeDiff(await session.diff({ database: setup.name, from: third, to: "live" }));
  assertStringIncludes(text, "+ later\n- new\n1 added, 0 changed, 1 deleted from ");
  // Backups of one day lie in one folder.
  const { from, from_finished_at, to_finished_at } = await session.diff({
    database: setup.name,
    from: third,
    to: "live",
  });
  assertStringIncludes(text, ` from ${from} as of ${from_finished_at?.slice(0, 19)}Z to `);
  assertEquals(to_finished_at, null);
});
