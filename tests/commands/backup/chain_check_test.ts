/**
 * With every full backup the chain before is compared with what CouchDB says: what it has lost is named, and nothing
 * else.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { openContent } from "../../../src/archive/sealed.ts";
import { type DatabaseReport, exitCodeOfReport, type RunReport } from "../../../src/archive/report.ts";
import { CouchError, InterruptedError, StoreError } from "../../../src/errors.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { openStore } from "../../../src/store/open.ts";
import type { CouchClient } from "../../../src/couchdb/client.ts";
import { couchOk } from "../../couch_request.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { impatientClient, without } from "../../couchdb/impatient_client.ts";
import { filesOf } from "../../read_archive.ts";
import { Increments } from "./increment_setup.ts";

// Of two thousand states that no backup has seen one passes for seen: a salt says which. Here it is always the same
// one, so that a document that a test has lost is not once in a while such a one. Each file of tests has a world of its
// own.
const SALT = 1;
const anyValues = crypto.getRandomValues.bind(crypto);
crypto.getRandomValues = (array) => array instanceof Uint32Array ? array.fill(SALT) : anyValues(array);

/** The newest manifest of a day. */
async function manifestOf({ backups }: Increments, day: number) {
  const folder = backups.folder.replace("/03/", `/0${day}/`);
  return JSON.parse(await Deno.readTextFile(`${folder}/manifest.json`));
}

Deno.test("backup() in full names the documents that the chain before has lost", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(0, 80).map((_id) => ({ _id, changed: true })));
  const lost = ids.slice(10, 13);
  // Updates alone: no count shows that three of them are missing.
  await place.expectRun({ kind: "incremental", documents: 77 }, { day: 4, context: { couch: without(lost, fake) } });
  // From here on no increment ever sees them.
  edit(database, { _id: ids[99]!, later: true }, { _id: ids[98]!, _deleted: true });
  await place.expectRun({ kind: "incremental", documents: 2 }, { day: 5 });
  await place.expectRun({ kind: "unchanged" }, { day: 6 });
  // What is changed since says nothing, although the full backup lists it in another state.
  edit(database, ...ids.slice(200, 230).map((_id) => ({ _id, since: true })));
  const report = await place.run({ day: 7, full: true, isWhole: true });
  assertEquals([report.status, report.kind, report.chain_lost], ["complete", "full", { documents: 3, ids: lost }]);
  const [warning = ""] = report.warnings ?? [];
  assertMatch(warning, /^The incremental backups up to \S+Z lack 3 documents as CouchDB has had them since before: "d/);
  assertStringIncludes(warning, `"${lost[0]}", "${lost[1]}", "${lost[2]}". This backup has them`);
  const [line] = place.backups.log.lines.filter(({ level }) => level === "error");
  assertEquals([line?.event, line?.fields["ids"]], [
    "earlier backups lack documents that have not changed since",
    lost,
  ]);
  // All is saved: but what was called complete was not, and nobody must miss that.
  const run: RunReport = {
    ok: true,
    run: "r",
    started_at: "",
    finished_at: "",
    tasks: [{ task: "t", date: "", databases: [report] }],
  };
  assertEquals(exitCodeOfReport(run), 3);
  await place.expectExact();
  // The next chain begins anew, and is right.
  const again = await place.run({ day: 8, full: true });
  assertEquals([again.chain_lost, again.warnings], [undefined, undefined]);
});

Deno.test("backup() in full finds nothing lost by a backup that was resumed", async () => {
  await using place = await Increments.start();
  // So many that nothing of the filter of what was seen is folded away.
  fill(place.database, 2000);
  const gone = { kind: "answer", status: 400, body: { error: "bad_request", reason: "not today" } } as const;
  place.fake.faults.add({ endpoint: "_bulk_get", skip: 8, times: 40, fault: gone });
  assertEquals((await place.run()).status, "failed");
  place.fake.faults.clear();
  assertEquals((await place.run({ resume: true })).status, "resumed");
  const { feed } = await manifestOf(place, 3);
  const { object, states } = feed.seen;
  assertEquals([states, object?.bytes], [2000, undefined], "what it has seen stands in the manifest");
  const report = await place.run({ day: 4, full: true });
  assertEquals([report.status, report.chain_lost, report.warnings], ["complete", undefined, undefined]);
});

Deno.test("backup() in full counts many lost documents apart from those that were changed while it ran", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  const ids = fill(database, 900);
  await place.expectRun({ kind: "full" });
  for (const from of [0, 150]) edit(database, ...ids.slice(from, from + 150).map((_id) => ({ _id, changed: true })));
  const lost = ids.slice(0, 150);
  await place.expectRun({ kind: "incremental", documents: 150 }, { day: 4, context: { couch: without(lost, fake) } });
  // From here on no increment ever sees them.
  edit(database, ...ids.slice(700, 800).map((_id) => ({ _id, later: true })));
  await place.expectRun({ kind: "incremental", documents: 100 }, { day: 5 });
  // Changed behind the look at what has changed since: suspects, too.
  fake.faults.add({
    endpoint: "_bulk_get",
    fault: {
      kind: "run",
      run: () => edit(database, ...ids.slice(300, 500).map((_id) => ({ _id, since: true }))),
    },
  });
  const report = await place.run({ day: 6, full: true });
  assertEquals([report.status, report.chain_lost], ["complete", { documents: 150, ids: lost.slice(0, 20) }]);
});

Deno.test("backup() in full is complete where CouchDB fails when the chain before is looked at, and says so", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(0, 80).map((_id) => ({ _id, changed: true })));
  await place.expectRun({ kind: "incremental" }, { day: 4, context: { couch: without(ids.slice(10, 13), fake) } });
  const client = impatientClient(fake);
  const failing = new Proxy(client, {
    get: (target, name) => {
      const bulkGet: CouchClient["bulkGet"] = async (database, body, options) => {
        // The chain's look alone asks without attachments.
        if (options.attachments) return await client.bulkGet(database, body, options);
        throw new CouchError("Cannot read documents", { status: 500, error: "internal_error", reason: "x" });
      };
      const value: unknown = name === "bulkGet" ? bulkGet : Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const report = await place.run({ day: 5, full: true, context: { couch: failing } });
  assertEquals([report.status, report.kind, report.chain_lost], ["complete", "full", undefined]);
  assertEquals(report.warnings, ["The backups before could not be compared with CouchDB: Cannot read documents"]);
  await place.expectExact();
});

Deno.test("backup() in full names nothing where the chain before is right, whatever was done", async () => {
  for (const [chunk, revisions] of [[7, true], [undefined, true], [100, false]] as const) {
    await using place = await Increments.start();
    const { database, fake } = place;
    const task = { chunk, revisions };
    const ids = fill(database, 120);
    // Tombstones of before are in no chunk.
    edit(database, ...ids.slice(0, 9).map((_id) => ({ _id, _deleted: true })));
    await place.expectRun({ kind: "full" }, { task });
    edit(database, ...ids.slice(5, 12).map((_id) => ({ _id, again: true })));
    edit(database, { _id: ids[20]!, _deleted: true }, { _id: "_design/x", views: {} });
    await couchOk(fake, "POST /db/_bulk_docs", {
      new_edits: false,
      docs: [{ _id: ids[30], _rev: "2-ffffffffffffffffffffffffffffffff" }, { _id: "c", _rev: "1-aa" }, {
        _id: "c",
        _rev: "1-bb",
      }],
    });
    await place.expectRun({ kind: "incremental" }, { day: 4, task });
    edit(database, { _id: ids[20]!, back: true });
    fill(database, 5, { from: 500 });
    await place.expectRun({ kind: "incremental" }, { day: 5, task });
    await place.expectRun({ kind: "unchanged" }, { day: 6, task });
    edit(database, { _id: ids[60]!, since: true }, { _id: ids[61]!, _deleted: true });
    let written = 0;
    fake.faults.add({
      endpoint: "_bulk_get",
      times: 3,
      fault: {
        kind: "run",
        run: () => edit(database, ...ids.slice(70, 80).map((_id) => ({ _id, n: ++written }))),
      },
    });
    const report = await place.run({ day: 7, full: true, task });
    assertEquals([report.status, report.kind, report.chain_lost], ["complete", "full", undefined]);
    assertEquals(place.backups.log.lines.filter(({ event }) => event.includes("not compared")), []);
    assert(written > 0);
  }
});

/** A full backup that is ended in the middle, and what is left of the chain's loss for those behind it. */
async function endInTheMiddle(place: Increments, day: number): Promise<void> {
  const stop = new AbortController();
  let asked = 0;
  place.fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 10) stop.abort(new InterruptedError("enough"));
  });
  const task = { chunk: 20, parallel: 2 };
  await assertRejects(
    () => place.run({ day, full: true, context: { stop: stop.signal }, task }),
    InterruptedError,
    "enough",
  );
}

Deno.test("backup() in full that is resumed names the documents that the chain before has lost, and nothing else", async () => {
  for (const isRight of [false, true]) {
    await using place = await Increments.start();
    const { database, fake } = place;
    const ids = fill(database, 1000);
    await place.expectRun({ kind: "full" });
    for (const [from, to] of [[0, 20], [20, 200]]) {
      edit(database, ...ids.slice(from, to).map((_id) => ({ _id, changed: true })));
    }
    const lost = isRight ? [] : ids.slice(10, 13);
    await place.expectRun({ kind: "incremental", documents: 200 - lost.length }, {
      day: 4,
      context: { couch: without(lost, fake) },
    });
    // From here on no increment ever sees them.
    edit(database, ...ids.slice(850, 950).map((_id) => ({ _id, later: true })));
    await place.expectRun({ kind: "incremental", documents: 100 }, { day: 5 });
    // So that the feed shows what is lost among the first rows, which the run below stores before it ends.
    edit(database, ...ids.slice(200, 700).map((_id) => ({ _id, since: true })));
    await endInTheMiddle(place, 6);
    const resumed = { day: 6, resume: true, task: { chunk: 20, parallel: 2 } };
    // What is changed between the two says nothing, either.
    edit(database, ...ids.slice(700, 720).map((_id) => ({ _id, between: true })));
    const report = await place.run(resumed);
    assertEquals(
      [report.status, report.kind, report.chain_lost],
      ["resumed", "full", isRight ? undefined : { documents: 3, ids: lost }],
    );
    assertEquals(place.backups.log.lines.filter(({ event }) => event.includes("not compared")), []);
    const { chain_lost: kept } = await manifestOf(place, 6);
    assertEquals(kept?.ids, isRight ? undefined : lost);
    await place.expectExact();
  }
});

Deno.test("backup() in full that is killed behind its manifest has not lost what it has found of the chain before", async () => {
  for (const how of ["resumed", "never resumed", "said"] as const) {
    await using place = await Increments.start();
    const { database, backups, fake } = place;
    const ids = fill(database, 300);
    await place.expectRun({ kind: "full" });
    edit(database, ...ids.slice(0, 80).map((_id) => ({ _id, changed: true })));
    const lost = ids.slice(10, 13);
    await place.expectRun({ kind: "incremental", documents: 77 }, { day: 4, context: { couch: without(lost, fake) } });
    edit(database, { _id: ids[99]!, later: true });
    await place.expectRun({ kind: "incremental", documents: 1 }, { day: 5 });
    const store = await openStore({ bucket: `file://${backups.root}` });
    const death = new AbortController();
    const repository = new Repository(
      new Proxy(store, {
        get: (target, name) => {
          const create: typeof store.create = async (keys, body, options) => {
            const created = await target.create(keys, body, options);
            if (options?.kind === "manifest") {
              death.abort(new InterruptedError("killed"));
              throw death.signal.reason;
            }
            return created;
          };
          const value: unknown = name === "create" && how !== "said" ? create : Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      }),
      { prefix: "", suffix: "couchdb" },
    );
    const context = { repository, signal: death.signal, run: "the run" };
    const expected: DatabaseReport["chain_lost"] = { documents: 3, ids: lost };
    if (how === "said") {
      assertEquals((await place.run({ day: 6, full: true, isWhole: true, context })).chain_lost, expected);
    } else await assertRejects(() => place.run({ day: 6, full: true, context }), InterruptedError, "killed");
    const next = how === "resumed" ? { day: 6, resume: true, isWhole: true } : { day: 7 };
    const report = await place.run({ ...next, context: { run: "the next" } });
    assertEquals(report.chain_lost, how === "said" ? undefined : { ...expected, found_by: "the run" });
    assertEquals([report.unchanged === true, report.kind], how === "resumed" ? [false, "full"] : [true, "incremental"]);
    if (how !== "said") assertMatch((report.warnings ?? []).join("\n"), new RegExp(`lack 3 documents .*"${lost[0]}"`));
    // Once is enough.
    assertEquals((await place.run({ day: 8 })).chain_lost, undefined, how);
  }
});

Deno.test("backup() is made, and says once more what a chain has lost, where nobody can read what the last run said", async () => {
  await using place = await Increments.start();
  const { database, backups, fake } = place;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(0, 80).map((_id) => ({ _id, changed: true })));
  const lost = ids.slice(10, 13);
  await place.expectRun({ kind: "incremental" }, { day: 4, context: { couch: without(lost, fake) } });
  edit(database, { _id: ids[99]!, later: true });
  await place.expectRun({ kind: "incremental" }, { day: 5 });
  const expected = { documents: 3, ids: lost };
  assertEquals((await place.run({ day: 6, full: true, isWhole: true })).chain_lost, expected);
  await Deno.truncate(`${backups.root}/_runs/couchdb/weekly/last.json`, 17 << 20);
  const report = await place.run({ day: 7 });
  const untold = { ...expected, found_by: "run 4" };
  assertEquals([report.error, report.unchanged, report.chain_lost], [undefined, true, untold]);
});

Deno.test("backup() that is sealed keeps what a chain has lost for who has an identity", async () => {
  await using place = await Increments.start();
  const { database, backups, fake } = place;
  const identity = await generateIdentity();
  const recipient = await identityToRecipient(identity);
  const task = { codec: { compression: "gzip", recipients: [recipient] } } as const;
  const ids = fill(database, 300);
  await place.expectRun({ kind: "full" }, { task });
  edit(database, ...ids.slice(0, 80).map((_id) => ({ _id, changed: true })));
  const lost = ids.slice(10, 13);
  await place.expectRun({ kind: "incremental" }, { day: 4, task, context: { couch: without(lost, fake) } });
  edit(database, { _id: ids[99]!, later: true });
  await place.expectRun({ kind: "incremental" }, { day: 5, task });
  const named = async (report: DatabaseReport) => {
    const { found_by: _, ...found } = report.chain_lost!;
    assertEquals(found, { documents: 3, ids: [] });
    assert(!JSON.stringify(report).includes(lost[0]!), JSON.stringify(report));
    const part = { age: report.sealed!, salt: "", unreadable: [] };
    const content = await openContent(part, { identities: [identity], recipients: [recipient], key: "report" });
    assertEquals(content.lost, lost);
  };
  await named(await place.run({ day: 6, full: true, task }));
  const manifest = await manifestOf(place, 6);
  assertEquals(manifest.chain_lost.ids, []);
  assert(!JSON.stringify(manifest).includes(lost[0]!));
  // Of a run over a part of a task nobody knows whether it has said so.
  await named(await place.run({ day: 7, task }));
  await named(await place.run({ day: 6, resume: true, task }));
  assert(!JSON.stringify(backups.log.lines).includes(`"${lost[0]}"`), "the log names none");
});

Deno.test("backup() of an increment that is resumed knows what it has seen, before and after", async () => {
  await using place = await Increments.start();
  const { database, fake } = place;
  const ids = fill(database, 2000);
  await place.expectRun({ kind: "full" });
  edit(database, ...ids.slice(0, 400).map((_id) => ({ _id, changed: true })));
  const task = { chunk: 20, parallel: 2 };
  const stop = new AbortController();
  let asked = 0;
  fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 10) stop.abort(new InterruptedError("enough"));
  });
  const context = { stop: stop.signal };
  await assertRejects(() => place.run({ day: 4, context, task }), InterruptedError, "enough");
  const report = await place.run({ day: 4, resume: true, task });
  assertEquals([report.status, report.kind], ["resumed", "incremental"]);
  const { feed } = await manifestOf(place, 4);
  assert(feed.seen.states >= 400, JSON.stringify(feed.seen));
  const full = await place.run({ day: 5, full: true });
  assertEquals(full.chain_lost, undefined);
  assertEquals(place.backups.log.lines.filter(({ event }) => event.includes("not compared")), []);
});

Deno.test("backup() keeps the filter of a large database beside its chunks; one that is damaged is no harm", async () => {
  await using place = await Increments.start();
  const { database } = place;
  const ids = fill(database, 5000);
  await place.expectRun({ kind: "full" }, { task: { chunk: 5000 } });
  const [name] = (await filesOf(place.backups.folder)).filter((one) => one.startsWith("seen-"));
  const { feed: { seen } } = await manifestOf(place, 3);
  assertEquals([seen.bits, seen.object.name], [null, name]);
  assert(seen.object.bytes <= 5000 * 4, "four bytes a document at the most");
  assertEquals((await place.verify()).ok, true);
  edit(database, { _id: ids[0]!, changed: true });
  const full = await place.run({ day: 4, full: true, task: { chunk: 5000 } });
  assertEquals([full.chain_lost, full.warnings], [undefined, undefined]);

  const folder = place.backups.folder.replace("/03/", "/04/");
  const [next] = (await filesOf(folder)).filter((one) => one.startsWith("seen-"));
  await Deno.truncate(`${folder}/${next}`, 64);
  const last = await place.run({ day: 5, full: true, task: { chunk: 5000 } });
  assertEquals([last.status, last.chain_lost], ["complete", undefined]);
  const [line] = place.backups.log.lines.filter(({ event }) => event.includes("cannot be used"));
  assertStringIncludes(String(line?.fields["error"]), "it is damaged");
});

Deno.test("backup() does without what the store has of a chain and does not give out", async () => {
  const task = { chunk: 5000 };
  // What a lifecycle rule has moved to an archive tier, and what somebody has written there that never ends.
  for (const code of ["InvalidObjectState", "huge"] as const) {
    for (const what of ["filter", "parent", "newest"] as const) {
      await using place = await Increments.start();
      const { database, backups } = place;
      fill(database, 5000);
      await place.expectRun({ kind: "full" }, { task });
      fill(database, 3, { from: 9000 });
      await place.expectRun({ kind: "incremental" }, { day: 4, task });
      const folder = what === "newest" ? backups.folder.replace("/03/", "/04/") : backups.folder;
      const isMeant = (name: string) => name.startsWith(what === "filter" ? "seen-" : "manifest-");
      const [name = ""] = (await filesOf(folder)).filter(isMeant);
      assert(name !== "", what);
      const store = await openStore({ bucket: `file://${backups.root}` });
      const key = `${folder.slice(backups.root.length + 1)}/${name}`;
      const read: typeof store.read = async (asked, options) => {
        if (code === "InvalidObjectState" && asked === key) {
          throw new StoreError(`Cannot read "${key}": 403`, { code, key });
        }
        return await store.read(asked, options);
      };
      if (code === "huge") await Deno.truncate(`${folder}/${name}`, 129 << 20);
      const odd = new Proxy(store, {
        get: (target, name) => {
          const value: unknown = name === "read" ? read : Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      const context = { repository: new Repository(odd, { prefix: "", suffix: "couchdb" }) };
      const report = await place.run({ day: 5, full: what === "filter", task, context });
      assertEquals([report.error, report.kind, report.chain_lost], [undefined, "full", undefined], `${code} ${what}`);
      if (what !== "filter") assertMatch(report.full_because ?? "", /cannot be read|is not whole/);
      else assert(backups.log.lines.some(({ event }) => event.includes("cannot be used")));
    }
  }
});
