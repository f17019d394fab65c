/**
 * Backups that are sealed: whatever a run has met before, each object of a chunk is an age file, and each history is
 * read back, checked, gone on from, and expires; without an identity where that can be.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Repository } from "../../../src/archive/repository.ts";
import { sealContent } from "../../../src/archive/sealed.ts";
import type { Codec } from "../../../src/codec/compression.ts";
import type { Run } from "../../../src/commands/backup/context.ts";
import { Outcome } from "../../../src/commands/backup/outcome.ts";
import { findUnreadable } from "../../../src/commands/backup/sealed_ids.ts";
import { expire } from "../../../src/commands/expire/expire.ts";
import { ArchiveError, InterruptedError, UsageError } from "../../../src/errors.ts";
import { DirectoryRemover } from "../../../src/store/directory/remover.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Conditions } from "../../../src/store/store.ts";
import { couchOk } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import { partsOf, textWithChecksum } from "../../edited_manifest.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { unreadable } from "../../fakes/couchdb/faults.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { task } from "../../fakes/task.ts";
import { filesOf } from "../../read_archive.ts";
import { Increments } from "./increment_setup.ts";

const [ours, theirs] = await Promise.all([generateIdentity(), generateIdentity()]);
const [to, toOthers] = await Promise.all([ours, theirs].map(identityToRecipient)) as [string, string];
const SEALED: Codec = { compression: "gzip", recipients: [to] };
const SEALED_ZSTD: Codec = { compression: "zstd", recipients: [to] };

const MAGIC = "age-encryption.org/v1\n";

/** A folder as a store, which keeps how each object of a chunk begins. */
class WatchedStore extends DirectoryStore {
  readonly chunks: { key: string; beginning: string }[] = [];

  override async create(...[keys, body, options]: Parameters<DirectoryStore["create"]>) {
    if (options?.kind !== "chunk") return await super.create(keys, body, options);
    let beginning = "";
    const watched = (async function* () {
      for await (const bytes of body) {
        if (beginning.length < MAGIC.length) beginning += new TextDecoder("latin1").decode(bytes.subarray(0, 22));
        yield bytes;
      }
    })();
    const stored = await super.create(keys, watched, options);
    this.chunks.push({ key: stored.key, beginning: beginning.slice(0, MAGIC.length) });
    return stored;
  }
}

/** Stops a run at its `at`th request for documents. */
function stopAt(place: Increments, at: number): AbortSignal {
  const stop = new AbortController();
  let asked = 0;
  place.fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === at) stop.abort(new InterruptedError("stopped"));
  });
  return stop.signal;
}

async function stopped(run: Promise<unknown>): Promise<void> {
  assert(await run.catch((error) => error) instanceof InterruptedError);
}

for (const compression of ["gzip", "zstd"] as const) {
  for (const conditions of ["held", "ignored"] as Conditions[]) {
    Deno.test(`backup() with recipients puts no object of a chunk that is not an age file (${compression}, conditions ${conditions})`, async () => {
      await using place = await Increments.start();
      const { backups, database } = place;
      const ids = fill(database, 600);
      const store = new WatchedStore(backups.root);
      const context = { repository: new Repository(store, { prefix: "", suffix: "couchdb" }) };
      const request = { task: { codec: { compression, recipients: [to, toOthers] }, parallel: 1 }, context };
      store.conditions = conditions;
      // The first run of the day, killed and resumed; a second one of the day; one behind that; all again; large
      // documents.
      await stopped(place.run({ ...request, context: { ...context, stop: stopAt(place, 3) } }));
      await place.expectRun({ kind: "full" }, { ...request, resume: true });
      edit(database, { _id: ids[0]!, changed: 1 });
      await place.expectRun({ kind: "incremental" }, request);
      edit(database, { _id: ids[1]!, changed: 2 }, { _id: ids[2]!, _deleted: true });
      await place.expectRun({ kind: "incremental" }, { ...request, day: 4 });
      edit(database, { _id: "large", text: "x".repeat(300_000) });
      await place.expectRun({ kind: "full" }, { ...request, day: 5, full: true });
      assert(store.chunks.length >= 15, `${store.chunks.length}`);
      assertEquals(store.chunks.filter(({ beginning }) => beginning !== MAGIC), []);
      const ending = { gzip: /\.json\.gz\.age$/, zstd: /\.json\.zst\.age$/ }[compression];
      for (const { key } of store.chunks) assertMatch(key, ending);
      for (const identity of [ours, theirs]) {
        place.identities = [identity];
        await place.expectExact();
      }
    });
  }
}

Deno.test("A history in clear, then sealed, to others, and in zstd comes back exactly at each of its points, and verify() finds it whole", async () => {
  await using place = await Increments.start();
  const { database, backups } = place;
  const ids = fill(database, 300);
  const runs: [codec: Codec | undefined, kind: "full" | "incremental", because?: RegExp][] = [
    [undefined, "full"],
    [{ compression: "zstd" }, "incremental"],
    [SEALED, "full", /the last backup is not sealed/],
    [SEALED_ZSTD, "incremental"],
    [{ ...SEALED, recipients: [toOthers, to] }, "full", /the last backup is sealed to others/],
    [{ ...SEALED, recipients: [to, toOthers] }, "incremental"],
    [undefined, "full", /the last backup is sealed, and this one is not/],
  ];
  place.identities = [ours];
  for (const [at, [codec, kind, because]] of runs.entries()) {
    edit(database, { _id: ids[at]!, day: at });
    await place.expectRun({ kind, ...because === undefined ? {} : { because } }, { day: 3 + at, task: { codec } });
    await place.expectExact();
    for (const identities of [[ours], []]) {
      place.identities = identities;
      const report = await place.verify();
      assertEquals([report.ok, report.problems], [true, []], `${at}`);
      const isSealed = codec?.recipients !== undefined;
      assertEquals(report.contents_read, isSealed ? identities.length > 0 : undefined);
    }
    place.identities = [ours];
  }
  for (const [at] of runs.entries()) {
    const { report } = await place.restore(`2026/01/0${3 + at}/couchdb/db`);
    assertEquals([report.ok, report.documents], [true, 300], `${at}`);
  }
  const { manifest } = await backups.read();
  assertEquals([manifest.recipients, manifest.sealed], [undefined, undefined]);
});

/** The name of the manifest in a folder of which something holds. */
async function findName(folder: string, holds: (name: string) => Promise<boolean>): Promise<string> {
  for (const name of await filesOf(folder)) if (name.startsWith("manifest-") && await holds(name)) return name;
  throw new Error(`There is no such manifest in ${folder}`);
}

Deno.test("A backup whose parent was swapped for one that is not sealed as it is, is refused: nothing in clear comes from below what is sealed", async () => {
  const cases: [child: Codec | undefined, parent: Codec | undefined, problem: string][] = [
    [SEALED, undefined, "It is not encrypted, but the backup that builds on it is sealed"],
    [
      SEALED,
      { ...SEALED, recipients: [toOthers] },
      "It is sealed to others, and the backup that builds on it is not",
    ],
    [undefined, SEALED, "It is sealed to somebody, and the backup that builds on it is not encrypted"],
  ];
  for (const [child, parent, problem] of cases) {
    await using place = await Increments.start();
    const { database, backups, fake } = place;
    const ids = fill(database, 300);
    place.identities = [ours, theirs];
    await place.expectRun({ kind: "full" }, { task: { codec: child } });
    edit(database, { _id: ids[0]!, changed: 1 });
    await place.expectRun({ kind: "incremental" }, { day: 4, task: { codec: child } });
    // Who writes the bucket has a full backup of the database's name, with what he likes in it, and names it as the
    // parent.
    edit(database, { _id: ids[1]!, forged: true });
    await place.expectRun({ kind: "full" }, { task: { codec: parent }, full: true });
    const ofDay = (day: number) => backups.folder.replace("/03/", `/0${day}/`);
    const run = "run 3";
    const isForged = async (name: string) => JSON.parse(await Deno.readTextFile(join(ofDay(3), name))).run === run;
    const name = await findName(ofDay(3), isForged);
    const bytes = await Deno.readFile(join(ofDay(3), name));
    for (const own of (await filesOf(ofDay(4))).filter((one) => one.startsWith("manifest"))) {
      const manifest = partsOf(await Deno.readTextFile(join(ofDay(4), own)));
      manifest.parent = {
        path: `2026/01/03/couchdb/db/${name}`,
        run,
        sha256: createHash("sha256").update(bytes).digest("hex"),
      };
      await Deno.writeFile(join(ofDay(4), own), textWithChecksum(manifest));
    }
    const written = fake.requestsTo("_bulk_docs").length;
    const error = await assertRejects(() => place.restore("2026/01/04/couchdb/db"), ArchiveError);
    assert(`${error.message} ${error.hint}`.includes(problem), `${error.message} ${error.hint}`);
    assertEquals(fake.requestsTo("_bulk_docs").length, written, "nothing was written");
    const report = await place.verify("2026/01/04/couchdb/db");
    assertEquals(report.ok, false);
    assertMatch(report.problems.map(({ problem }) => problem).join(), new RegExp(problem));
    // What is whole is what the sealed backup itself has.
    const { report: salvaged } = await place.restore("2026/01/04/couchdb/db", { salvage: true });
    assertEquals([salvaged.ok, salvaged.documents], [false, 1]);
  }
});

Deno.test("backup() with --resume begins again where what was left is in clear, or sealed to others", async () => {
  await using place = await Increments.start();
  const { backups, database } = place;
  fill(database, 600);
  place.identities = [ours];
  const left: (Codec | undefined)[] = [undefined, { ...SEALED, recipients: [toOthers] }];
  for (const [at, codec] of left.entries()) {
    const day = 3 + at;
    const increments = undefined;
    await stopped(place.run({ day, task: { increments, codec, parallel: 1 }, context: { stop: stopAt(place, 3) } }));
    const report = await place.run({ day, task: { increments, codec: SEALED }, resume: true });
    assertEquals([report.status, report.documents, report.error], ["complete", 600, undefined]);
    assert(backups.log.events("warn").includes("checkpoint is not used: it was made with other options"));
    await place.expectExact();
  }
});

Deno.test("backup() with --resume does not take a backup of the day that is in clear for what is wanted", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  await place.run({ task: { increments: undefined } });
  const report = await place.run({ task: { increments: undefined, codec: SEALED }, resume: true });
  const names = await filesOf(place.backups.folder);
  assertEquals([report.status, names.filter((name) => name.endsWith(".age")).length], ["complete", 1]);
  const again = await place.run({ task: { increments: undefined, codec: SEALED }, resume: true });
  assertEquals([again.status, (await filesOf(place.backups.folder)).length], ["complete", names.length]);
});

Deno.test("backup() whose increment is killed is resumed without an identity, and is exact", async () => {
  await using place = await Increments.start();
  const { database } = place;
  place.identities = [ours];
  const ids = fill(database, 2000);
  await place.expectRun({ kind: "full" }, { task: { codec: SEALED } });
  edit(database, ...ids.slice(0, 500).map((_id) => ({ _id, changed: true })));
  const request = { day: 4, task: { codec: SEALED, chunk: 20, parallel: 1 } };
  await stopped(place.run({ ...request, context: { stop: stopAt(place, 10) } }));
  const report = await place.run({ ...request, resume: true });
  assertEquals([report.status, report.kind, report.error], ["resumed", "incremental", undefined]);
  await place.expectExact();
  assertEquals((await place.verify()).problems, []);
});

Deno.test("backup() without an identity tries the documents again whose ids it has sealed, and names none of them", async () => {
  await using place = await Increments.start();
  const { fake, database, backups } = place;
  const [bad = "", worse = "", ...others] = fill(database, 100, { prefix: "somebody-" });
  const codec = SEALED;
  fake.faults.add(unreadable("db", [bad, worse], "error row"));
  const first = await place.expectRun({ kind: "full", documents: 98 }, { task: { codec } });
  assertEquals(first.unreadable?.map(({ error }) => error), ["sealed", "sealed"]);
  assertEquals(new Set(first.unreadable?.map(({ id }) => id)).size, 2);
  await place.expectRun({ kind: "unchanged" }, { day: 4, task: { codec } });
  edit(database, { _id: others[0]!, changed: 1 });
  const third = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 5, task: { codec } });
  assertEquals(third.unreadable?.length, 2);
  const full = await place.expectRun({ kind: "full", documents: 98 }, { day: 6, task: { codec }, full: true });
  assertEquals(full.unreadable?.length, 2);
  fake.faults.clear();
  fake.faults.add(unreadable("db", [worse], "error row"));
  const fourth = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 7, task: { codec } });
  assertEquals(fourth.unreadable?.length, 1);
  // Without an identity nobody knows which; with one it is named.
  const locked = await place.verify();
  assertEquals([locked.problems, locked.unreadable.map(({ error }) => error)], [[], ["sealed"]]);
  place.identities = [ours];
  assertEquals((await place.verify()).unreadable.map(({ id }) => id), [worse]);
  fake.faults.clear();
  const fifth = await place.expectRun({ kind: "incremental", documents: 1 }, { day: 8, task: { codec } });
  assertEquals(fifth.unreadable, undefined);
  await place.expectExact();
  const told = JSON.stringify([backups.log.lines, first, third, full, fourth]);
  for (const id of [bad, worse]) assert(!told.includes(id), told.slice(told.indexOf(id) - 300, told.indexOf(id) + 50));
});

Deno.test("backup() that is sealed names no document whose row breaks in log and report", async () => {
  await using place = await Increments.start();
  const { fake, database, backups } = place;
  const [bad = ""] = fill(database, 50, { prefix: "somebody-" });
  edit(database, { _id: bad, text: "x".repeat(1_500_000) });
  fake.faults.add(unreadable("db", [bad], "breaks within"));
  const report = await place.expectRun({ kind: "full", documents: 49 }, { task: { codec: SEALED } });
  assertEquals(report.unreadable?.map(({ error }) => error), ["sealed"]);
  assert(backups.log.events("warn").includes("document cannot be read and is left out"));
  assert(!JSON.stringify([backups.log.lines, report]).includes(bad));
  place.identities = [ours];
  assertEquals((await place.verify()).unreadable.map(({ id }) => id), [bad]);
});

Deno.test("findUnreadable() looks for the revisions of a large document again where its row breaks once", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const [large = ""] = fill(database, 5);
  edit(database, { _id: large, text: "x".repeat(1_500_000) });
  fake.faults.add({ ...unreadable("db", [large], "breaks within"), times: 1 });
  const named = [{ id: large, rev: "1-x", error: "missing_revision", reason: "" }];
  const sealed = await sealContent({ security: null, unreadable: named }, [to]);
  const never = new AbortController().signal;
  const run = { couch: impatientClient(fake), log: new RecordedLog(), signal: never, stop: never } as unknown as Run;
  const options = { attachments: true, revisions: true, chunk: null, tombstones: false };
  const found = await findUnreadable(run, "db", { unreadable: named, sealed, options });
  assertEquals(found.map(({ id, error }) => [id, error]), [[large, "sealed"]]);
  assertEquals(fake.requestsTo("_bulk_get").length, 3);
});

Deno.test("backup() that is resumed finds the documents again whose ids its checkpoint has sealed", async () => {
  await using place = await Increments.start();
  const { fake, database } = place;
  const ids = fill(database, 600);
  fake.faults.add(unreadable("db", [ids[5]!], "error row"));
  const request = { task: { increments: undefined, codec: SEALED, parallel: 1, chunk: 20 } };
  await stopped(place.run({ ...request, context: { stop: stopAt(place, 20) } }));
  const report = await place.run({ ...request, resume: true });
  assertEquals([report.status, report.documents, report.unreadable?.length], ["resumed", 599, 1], report.error);
  place.identities = [ours];
  assertEquals((await place.verify()).unreadable.map(({ id }) => id), [ids[5]]);
});

Deno.test("restore() without an identity names the recipients, with another one is refused, and writes nothing either way", async () => {
  await using place = await Increments.start();
  const { fake } = place;
  fill(place.database, 50);
  await place.run({ task: { codec: SEALED } });
  const databases = [...fake.databases.keys()];
  const error = await assertRejects(() => place.restore(), UsageError);
  assertEquals([error.exitCode, error.message.includes(to)], [2, true], error.message);
  place.identities = [theirs];
  const other = await assertRejects(() => place.restore(), Error, "None of the identities opens it");
  assertEquals([(other as UsageError).exitCode, other.message.includes(to)], [12, true]);
  assertEquals([...fake.databases.keys()], databases);
});

/** Where the blocks of an age file begin, and the size of each, sealed. */
const BLOCK = 64 * 1024 + 16;
function payloadAt(sealed: Uint8Array): number {
  const bytes = Buffer.from(sealed);
  return bytes.indexOf("\n", bytes.indexOf("\n---") + 1) + 17;
}

Deno.test("restore() writes nothing of sealed chunks that were changed, cut off at a block, or swapped: exit code 12", async () => {
  await using place = await Increments.start();
  const { fake, backups } = place;
  place.identities = [ours];
  await couchOk(fake, "PUT /other");
  for (const name of ["db", "other"]) {
    const noise = () => Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("base64");
    edit(fake.databases.get(name)!, ...Array.from({ length: 6 }, (_, at) => ({ _id: `${name}${at}`, noise: noise() })));
  }
  const [report] = await place.runAll(["db", "other"], { task: { codec: SEALED } });
  assertEquals(report?.chunks, 1);
  const [path = "", other = ""] = ["db", "other"].map((name) => join(backups.folderOf(name), "0000000.json.gz.age"));
  const whole = await Deno.readFile(path);
  const from = payloadAt(whole);
  assert(whole.length > from + 4 * BLOCK, `${whole.length}`);
  const block = (at: number) => whole.subarray(from + at * BLOCK, from + (at + 1) * BLOCK);
  const changed = (at: number) => whole.map((byte, index) => index === at ? byte ^ 1 : byte);
  const cases: Record<string, Uint8Array> = {
    "a flipped bit": changed(from + 2 * BLOCK + 5),
    "a flipped bit of the header": changed(30),
    "cut off at a block": whole.subarray(0, from + 3 * BLOCK),
    "swapped blocks": Buffer.concat([whole.subarray(0, from), block(1), block(0), whole.subarray(from + 2 * BLOCK)]),
    "swapped with another database": await Deno.readFile(other),
  };
  const manifestPaths = (await filesOf(backups.folder)).filter((name) => name.startsWith("manifest"));
  const manifestText = await Deno.readTextFile(join(backups.folder, manifestPaths[0]!));
  for (const [what, bytes] of Object.entries(cases)) {
    await Deno.writeFile(path, bytes);
    const since = fake.requests.length;
    const error = await assertRejects(() => place.restore(), ArchiveError, undefined, what);
    assertMatch(error.message, /sha256|bytes/, "the checksum or the size tells it, before anything is opened");
    const { problems } = await place.verify();
    assertEquals(problems.length, 1, what);
    // Whoever has made the manifest fit is found out by the seal itself, but for a chunk that was sealed as a whole.
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const manifest = partsOf(manifestText);
    manifest.chunks[0].sha256 = sha256;
    manifest.chunks[0].compressed_bytes = manifest.totals.compressed_bytes = bytes.length;
    for (const name of manifestPaths) {
      await Deno.writeFile(join(backups.folder, name), textWithChecksum(manifest));
    }
    if (what !== "swapped with another database") {
      const message = /not as it was|was changed|none of the identities/;
      assertMatch((await assertRejects(() => place.restore(), ArchiveError, undefined, what)).message, message);
    }
    for (const name of manifestPaths) await Deno.writeTextFile(join(backups.folder, name), manifestText);
    assertEquals(fake.requests.slice(since).filter(({ endpoint }) => endpoint === "_bulk_docs").length, 0, what);
  }
});

Deno.test("expire() lets sealed chunks go, and keeps what a chain needs, without an identity", async () => {
  await using place = await Increments.start();
  const { backups } = place;
  const ids = fill(place.database, 300);
  const folderOf = (day: number) => backups.folder.replace("/03/", `/0${day}/`);
  await place.expectRun({ kind: "full" }, { day: 3, task: { codec: SEALED } });
  await place.expectRun({ kind: "full" }, { day: 4, task: { codec: SEALED_ZSTD }, full: true });
  edit(place.database, { _id: ids[0]!, changed: true });
  await place.expectRun({ kind: "incremental" }, { day: 5, task: { codec: SEALED } });
  await Deno.writeTextFile(join(folderOf(4), "0000099.json.zst.age"), "left over");
  const old = new Date("2026-01-01T00:00:00Z");
  await Deno.utime(join(folderOf(4), "0000099.json.zst.age"), old, old);
  const report = await expire({
    repository: new Repository(await openStore({ bucket: pathToFileURL(backups.root).href }), {
      prefix: "",
      suffix: "couchdb",
    }),
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
  const chunks = async (day: number) => (await filesOf(folderOf(day))).filter((name) => /\.json\./.test(name)).length;
  assertEquals(await Promise.all([3, 4, 5].map(chunks)), [0, 3, 1]);
  place.identities = [ours];
  await place.expectExact();
});

Deno.test("a report of what was not tried any more names no document that is sealed", async () => {
  const repository = new Repository(new DirectoryStore("/nowhere"), { prefix: "", suffix: "couchdb" });
  const context = { repository, log: new RecordedLog(), now: () => new Date() } as unknown as Run;
  const outcome = new Outcome(context, {
    task: task("weekly", { codec: SEALED }),
    database: "a",
    folder: "2026/01/03/couchdb/a",
    startedAt: new Date(),
  });
  outcome.stored = { chunks: [], unreadable: [{ id: "a secret name", error: "badmatch", reason: "a reason" }] };
  const report = await outcome.notTried(new Error("401 unauthorized"));
  assertMatch(report.error ?? "", /^Not tried, as it would fail like the one before: /);
  assertEquals([report.unreadable?.length, report.sealed === undefined], [1, false]);
  assert(!JSON.stringify(report).includes("secret"), JSON.stringify(report));
});
