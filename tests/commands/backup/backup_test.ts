import { testParallel } from "../../test_parallel.ts";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { Repository } from "../../../src/archive/repository.ts";
import { backup } from "../../../src/commands/backup/backup.ts";
import { ChunkWriter } from "../../../src/commands/backup/chunks.ts";
import type { BackupOptions, Run, RunContext } from "../../../src/commands/backup/context.ts";
import type { Task } from "../../../src/task/task.ts";
import { shortRun } from "../../../src/archive/layout.ts";
import { InterruptedError, StoreError } from "../../../src/errors.ts";
import type { CouchClient } from "../../../src/couchdb/client.ts";
import { encodeDatabase } from "../../../src/database_name.ts";
import { sumChunks } from "../../../src/archive/manifest.ts";
import { IdBatch } from "../../../src/couchdb/batch.ts";
import { parseCheckpoint, parseManifest } from "../../../src/archive/manifest_json.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { type DatabaseReport, exitCodeOfReport, type RunReport } from "../../../src/archive/report.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Store } from "../../../src/store/store.ts";
import { selectTasks, type TaskSelection } from "../../../src/task/selection.ts";
import { couchOk } from "../../couch_request.ts";
import { createDatabase, idsOf, impatientClient } from "../../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { seedHardDatabase } from "../../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { filesOf, leafRevisionsOf, manifestOf, readBackup } from "../../read_archive.ts";
import { until } from "../../until.ts";
import { gunzipSync } from "node:zlib";
import { Rest } from "../../../src/commands/backup/rest.ts";
import { PROGRAM_NAME, VERSION } from "../../../src/version.ts";

const NEVER = new AbortController().signal;

/** A double of CouchDB and an empty folder to back it up into. */
class Place implements AsyncDisposable {
  readonly log = new RecordedLog();
  #runs = 0;

  readonly fake: FakeCouchDb;
  readonly root: string;
  readonly store: Store;

  private constructor(fake: FakeCouchDb, root: string, store: Store) {
    this.fake = fake;
    this.root = root;
    this.store = store;
  }

  static async make(): Promise<Place> {
    const root = await Deno.makeTempDir({ prefix: "couchdb-backup run-" });
    return new Place(await startFakeCouchDb(), root, await openStore({ bucket: pathToFileURL(root).href }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await Deno.remove(this.root, { recursive: true });
  }

  /** The folder of a database's backup of the day of these tests. */
  folder(database: string): string {
    return `${this.root}/backup/2026/01/03/couchdb/${encodeDatabase(database)}`;
  }

  context(part: Partial<RunContext> = {}): RunContext {
    return {
      couch: impatientClient(this.fake, { bulkTimeoutMs: 2000, stallTimeoutMs: 2000 }),
      repository: repositoryOf(this.store),
      log: this.log,
      progress: SILENT_PROGRESS,
      run: `run ${++this.#runs}`,
      now: () => new Date(),
      signal: NEVER,
      stop: NEVER,
      ...part,
    };
  }

  /** One run of tasks over the databases that there are. */
  async run(
    tasks: Partial<Task>[],
    { context, ...options }: BackupOptions & { context?: Partial<RunContext> } = {},
  ): Promise<RunReport> {
    const names = [...this.fake.databases.keys()].sort();
    return await backup(this.context(context), select(names, tasks), options);
  }

  /** As `run()` with one task over one database. */
  async runOne(
    database: string,
    { task = {}, ...options }: BackupOptions & { task?: Partial<Task>; context?: Partial<RunContext> } = {},
  ): Promise<DatabaseReport> {
    const report = await this.run([{ databases: [encodeDatabase(database).replaceAll("+", "\\+")], ...task }], options);
    return report.tasks[0]!.databases[0]!;
  }

  /** Checks that the backup of a database is complete and holds every leaf revision byte by byte. */
  async expectExact(database: string) {
    const archived = await readBackup(this.folder(database));
    const expected = await readAllLeafRevisions(this.fake, database, { by: "_bulk_get" });
    assertEquals(compareLeafRevisions(expected, archived.leafRevisions), [], database);
    return archived;
  }

  /** The ids of all `_bulk_get` requests since request `since`. */
  idsAsked(since = 0): string[] {
    return this.fake.requestsTo("_bulk_get").filter(({ number }) => number > since).flatMap(({ ids }) => ids);
  }
}

function select(names: string[], tasks: Partial<Task>[]): TaskSelection[] {
  const full = tasks.map((task, index): Task => ({
    tombstones: false,
    name: `task ${index + 1}`,
    databases: ["[a-z].*"],
    exclude: [],
    delaySeconds: 0,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    parallel: testParallel(4),
    allowEmpty: false,
    timezone: "UTC",
    ...task,
  }));
  return selectTasks(names, full, { startedAt: new Date("2026-01-03T18:00:00Z") });
}

function withoutMoment(name: string): string {
  return name.replace(/\d{8}T\d{6}Z/, "…");
}

function repositoryOf(store: Store): Repository {
  return new Repository(store, { prefix: "backup", suffix: "couchdb" });
}

/** A client, and how many of its answers with documents were being read at the same time. */
function countingReads(fake: FakeCouchDb): { couch: CouchClient; mostReads: () => number } {
  const couch = impatientClient(fake);
  const { bulkGet } = couch;
  let inFlight = 0, most = 0;
  couch.bulkGet = async (...call) => {
    most = Math.max(most, ++inFlight);
    const end = () => inFlight--;
    const answer = await bulkGet.apply(couch, call).catch((error) => (end(), Promise.reject(error)));
    return (async function* () {
      try {
        yield* answer;
      } finally {
        end();
      }
    })();
  };
  return { couch, mostReads: () => most };
}

/** The store of a place, with some operations replaced. */
function placeStore({ store }: Place, replaced: Partial<Store>): Store {
  return new Proxy(store, {
    get(_, name: keyof Store) {
      const member = replaced[name] ?? store[name];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
}

/** The store of a place that takes its time for chunks, and how many it was storing at the same time. */
function slowStore(place: Place, rest: () => Promise<void>): { store: Store; mostStoring: () => number } {
  let storing = 0, most = 0;
  const store = placeStore(place, {
    async create(...call) {
      const stored = await place.store.create(...call);
      if (call[2]?.kind !== "chunk") return stored;
      most = Math.max(most, ++storing);
      await rest();
      storing--;
      return stored;
    },
  });
  return { store, mostStoring: () => most };
}

Deno.test("backup() makes four requests for a small database of one copy, and one for the properties of many", async () => {
  await using place = await Place.make();
  const names = Array.from({ length: 9 }, (_, n) => `small${n}`);
  for (const name of names) await seedHardDatabase(place.fake, name, { documents: 10 });
  const since = place.fake.requests.length;
  const report = await place.run([{ chunk: 1000, parallel: 4 }], { context: { freshMs: 60_000 } });
  assertEquals(report.ok, true);
  const made = place.fake.requests.slice(since).filter(({ endpoint }) => endpoint !== "/" && endpoint !== "_all_dbs");
  for (const name of names) {
    const ofOne = made.filter(({ database }) => database === name).map(({ endpoint }) => endpoint).sort();
    assertEquals(ofOne, ["_bulk_get", "_changes", "_revs_limit", "_security"], name);
    await place.expectExact(name);
  }
  const together = made.filter(({ endpoint }) => endpoint === "_dbs_info").map(({ ids }) => ids.length);
  assertEquals(together.reduce((sum, count) => sum + count, 0), names.length);
  assert(together.length <= 3, `${together.length} requests`);
});

for (const status of [429, 503]) {
  Deno.test(`backup() makes fewer requests at a time where CouchDB answers ${status} to more than three, and saves all`, async () => {
    await using place = await Place.make();
    const { fake } = place;
    await seedHardDatabase(fake, "a", { documents: 300 });
    const isTooMany = ({ inFlight }: { inFlight: number }) => inFlight > 3;
    const fault = { kind: "answer", status } as const;
    fake.faults.add({ endpoint: "_bulk_get", times: Infinity, where: isTooMany, fault });
    // Each takes some time, so that as many are in flight as are asked for.
    fake.onRequest(async ({ endpoint }) => {
      if (endpoint === "_bulk_get") await new Promise((resolve) => setTimeout(resolve, 10));
    });
    const since = fake.requests.length;
    assertEquals((await place.runOne("a", { task: { chunk: 3, parallel: 16 } })).status, "complete");
    await place.expectExact("a");
    const asked = fake.requestsTo("_bulk_get").filter(({ number }) => number > since);
    const refused = asked.filter((request) => request.status === status).length;
    assert(refused > 0, "it begins with four");
    assert(refused < asked.length / 10, `${refused} of ${asked.length} were refused`);
  });
}

Deno.test("backup() asks for the next documents while chunks are being stored, and never for more at a time than allowed", async () => {
  for (const parallel of [1, 2, 4]) {
    await using place = await Place.make();
    const { fake } = place;
    await seedHardDatabase(fake, "a", { documents: 60 });
    const { couch, mostReads } = countingReads(fake);
    // As long as a disk, or a store far away, takes its time, the next ones are asked for: else this never ends.
    const { store, mostStoring } = slowStore(
      place,
      () => until(() => mostStoring() > parallel, "more chunks that are stored than requests"),
    );
    await place.run([{ chunk: 3, parallel }], { context: { couch, repository: repositoryOf(store) } });
    await place.expectExact("a");
    assert(mostReads() <= parallel, `${mostReads()} requests at a time`);
  }
});

Deno.test("backup() stores what it has read though another request fails, and does not ask for it again", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(40));
  fake.faults.add({ endpoint: "_bulk_get", skip: 1, times: Infinity, fault: { kind: "answer", status: 403 } });
  const isRefused = () => fake.requestsTo("_bulk_get").some(({ status }) => status === 403);
  const store = placeStore(place, {
    async create(keys, body, options) {
      if (options?.kind !== "chunk") return await place.store.create(keys, body, options);
      const pieces: Uint8Array[] = [];
      for await (const piece of body) pieces.push(piece.slice());
      await until(isRefused, "the next request is refused while this chunk is being stored");
      return await place.store.create(keys, ReadableStream.from(pieces), options);
    },
  });
  const task = { chunk: 10, parallel: 1 };
  const context = { repository: repositoryOf(store) };
  assertEquals((await place.runOne("a", { task, context })).status, "failed");
  fake.faults.clear();
  const since = fake.requests.length;
  const report = await place.runOne("a", { resume: true, task });
  assertEquals([report.status, report.chunks, place.idsAsked(since).length], ["resumed", 4, 30]);
  await place.expectExact("a");
});

/** A store that says of the first object that its key was taken meanwhile. */
function takenOnce(place: Place): Store {
  let created = 0;
  return placeStore(place, {
    async create(keys, body, options) {
      const stored = await place.store.create(keys, body, options);
      if (created++ === 0) throw new StoreError("The key is taken", { code: "exists", key: stored.key });
      return stored;
    },
  });
}

for (const text of ["small", "x".repeat(1 << 20)]) {
  Deno.test(`ChunkWriter says once that documents of ${text.length} bytes are read, also where a chunk is produced again`, async () => {
    await using place = await Place.make();
    const { fake } = place;
    await createDatabase(fake, "a", []);
    for (const id of idsOf(5)) await couchOk(fake, `PUT /a/${id}`, { text });
    const store = takenOnce(place);
    const [{ task } = {}] = select(["a"], [{ chunk: 5, chunkBytes: 3 << 20 }]);
    const writer = new ChunkWriter({ ...place.context({ repository: repositoryOf(store) }) } as Run, {
      database: "a",
      task: task!,
      folder: "backup/a",
      prefix: undefined,
      nextNumber: 0,
    });
    const batch = IdBatch.of(idsOf(5).map((id) => ({ id, revs: [] })));
    const read: { documents: number; bytes: number }[] = [];
    const onRead = ({ documents, bytes }: typeof read[number]) => void read.push({ documents, bytes });
    const stored = await writer.store({ batch, index: 0, again: false, settled() {} }, { signal: NEVER, onRead });
    const { documents, bytes } = sumChunks(stored.map(({ entry }) => entry));
    assertEquals([read, documents], [[{ documents, bytes }], 5]);
    assertEquals(stored.length, text.length > 100 ? 3 : 1);
  });
}

Deno.test("ChunkWriter waits for leave to ask before it reads documents again, after a break and a name that was taken", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", ["x"], `"text":"${"x".repeat(1_500_000)}"`);
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "cut off", afterBytes: 1_200_000 } });
  const store = takenOnce(place);
  const [{ task } = {}] = select(["a"], [{ chunk: 5 }]);
  const writer = new ChunkWriter({ ...place.context({ repository: repositoryOf(store) }) } as Run, {
    database: "a",
    task: task!,
    folder: "backup/a",
    prefix: undefined,
    nextNumber: 0,
  });
  const batch = IdBatch.of([{ id: "x", revs: [] }]);
  const asked: number[] = [];
  const beforeAgain = () => Promise.resolve(void asked.push(fake.requestsTo("_bulk_get").length));
  const options = { signal: NEVER, onRead: () => {}, beforeAgain };
  const stored = await writer.store({ batch, index: 0, again: false, settled() {} }, options);
  assertEquals(sumChunks(stored.map(({ entry }) => entry)).documents, 1);
  // It was tried alone behind the break, then read twice.
  assertEquals(asked, [2, 3]);
});

Deno.test("backup() asks for nothing more while chunks that are large are being stored, as they may be in memory", async () => {
  await using place = await Place.make();
  const { fake } = place;
  const text = "x".repeat(800_000);
  for (const name of ["a", "b"]) {
    await createDatabase(fake, name, []);
    for (let n = 0; n < 21; n++) await couchOk(fake, `PUT /${name}/${n}`, { text });
  }
  const { store, mostStoring } = slowStore(place, () => new Promise((resolve) => setTimeout(resolve, 300)));
  // Seven chunks each: the last three of one database leave room for another one.
  await place.run([{ chunk: 3, parallel: 4 }], { context: { repository: repositoryOf(store) } });
  assert(mostStoring() <= 4, `${mostStoring()} at a time`);
  for (const name of ["a", "b"]) await place.expectExact(name);
});

Deno.test("backup() stores every leaf revision byte by byte, in chunks of any size and in one request", async () => {
  for (const chunk of [1, 7, 1000, undefined]) {
    await using place = await Place.make();
    const { fake } = place;
    const names = ["a", "a/b", "a+b"];
    const seeded = new Map<string, Awaited<ReturnType<typeof seedHardDatabase>>>();
    for (const name of names) seeded.set(name, await seedHardDatabase(fake, name, { documents: 40 }));
    const report = await place.run([{ chunk }]);
    assertEquals(exitCodeOfReport(report), 0);
    assertEquals([report.ok, report.run, report.tasks.length], [true, "run 1", 1]);
    assertEquals(report.tasks[0]?.date, "2026-01-03");
    assertEquals(report.tasks[0]?.databases.map(({ database }) => database), names.toSorted());
    for (const one of report.tasks[0]!.databases) {
      const { manifest, files } = await place.expectExact(one.database);
      const { liveIds, leafRevisions } = seeded.get(one.database)!;
      const count = chunk === undefined ? 1 : Math.ceil(liveIds.length / chunk);
      const { status, path, documents, leaf_revisions, deleted, absent, chunks, bytes, compressed_bytes } = one;
      assertEquals({ documents, leaf_revisions, deleted, absent, chunks, bytes, compressed_bytes }, manifest.totals);
      assertEquals([status, documents, leaf_revisions, chunks], ["complete", liveIds.length, leafRevisions, count]);
      assertEquals(path, pathToFileURL(place.folder(one.database)).href);
      assertEquals(files.map(withoutMoment), [
        ...Array.from({ length: count }, (_, number) => `${String(number).padStart(7, "0")}.json.gz`),
        `manifest-…-${shortRun("run 1")}.json`,
        "manifest.json",
      ]);
    }
  }
});

Deno.test("backup() writes a manifest that says all of the database that its documents do not", async () => {
  await using place = await Place.make();
  const { fake } = place;
  const { liveIds, deletedIds } = await seedHardDatabase(fake, "a/b", { documents: 20, partitioned: true });
  const times = ["18:00:00", "18:00:01"].map((time) => new Date(`2026-01-03T${time}Z`));
  let asked = 0;
  const now = () => times[Math.min(asked++, 1)]!;
  await place.runOne("a/b", { task: { name: "weekly", chunk: 30 }, context: { now } });
  const text = await Deno.readFile(`${place.folder("a/b")}/manifest.json`);
  const info = (await couchOk(fake, "GET /a%2Fb")).json;
  const { chunks, totals: _, update_seq, started_at, finished_at, ...rest } = parseManifest(text, "manifest.json");
  // The position behind the last document: `_security` and `_revs_limit` move `update_seq` without a row in the feed.
  const last = (await couchOk(fake, "GET /a%2Fb/_changes?limit=4999&since=0")).json.last_seq;
  assertEquals(rest, {
    format: 2,
    program: { name: PROGRAM_NAME, version: VERSION },
    run: "run 1",
    task: "weekly",
    database: "a/b",
    couchdb: { url: fake.url, version: "3.5.0" },
    options: { attachments: true, revisions: true, chunk: 30, tombstones: false },
    properties: {
      doc_count: liveIds.length,
      doc_del_count: deletedIds.length,
      q: 2,
      n: 1,
      partitioned: true,
      revs_limit: 500,
      security: fake.databases.get("a/b")!.security,
      instance_start_time: info.instance_start_time,
      purge_seq: info.purge_seq,
    },
    kind: "full",
    parent: null,
    stored_at: "2026-01-03T18:00:01.000Z",
    feed: { since: "0", until: last },
    unreadable: [],
  });
  assert(started_at <= finished_at && finished_at === "2026-01-03T18:00:01.000Z", `${started_at} ${finished_at}`);
  assertEquals(update_seq, { start: fake.databases.get("a/b")!.updateSeq, end: fake.databases.get("a/b")!.updateSeq });
  assertStringIncludes(rest.properties.security ?? "", '"10":1,"2":1.0');
  assertEquals(chunks.flatMap(Object.keys).filter((name) => /_id$/.test(name)), [], "ranges of ids are format 1's");
});

Deno.test("backup() makes a backup of an empty database, too", async () => {
  for (const chunk of [10, undefined]) {
    await using place = await Place.make();
    await createDatabase(place.fake, "empty", []);
    const report = await place.runOne("empty", { task: { chunk } });
    assertEquals([report.status, report.documents, report.chunks], ["complete", 0, 0]);
    assertEquals((await place.expectExact("empty")).files.at(-1), "manifest.json");
  }
});

Deno.test("backup() writes a manifest that can be read when the database is emptied between listing and reading", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(5));
  const run = async () => {
    for (const id of idsOf(5)) {
      const { json } = await couchOk(fake, `GET /a/${id}`);
      await couchOk(fake, "POST /a/_purge", { [id]: [json._rev] });
    }
  };
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "run", run } });
  assertEquals((await place.runOne("a")).status, "complete");
  const { manifest } = await place.expectExact("a");
  const again = parseManifest(await Deno.readFile(`${place.folder("a")}/manifest.json`), "manifest.json");
  assertEquals(again.chunks, manifest.chunks);
  assertEquals(again.totals.documents, 0);
});

Deno.test("backup() counts documents that vanish before they are read, and says so", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(20));
  const run = async () => {
    for (const id of ["d00003", "d00017"]) {
      const { json } = await couchOk(fake, `GET /a/${id}`);
      await couchOk(fake, "POST /a/_purge", { [id]: [json._rev] });
    }
  };
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "run", run } });
  const report = await place.runOne("a", { task: { chunk: 5, parallel: 1 } });
  assertEquals([report.status, report.documents, report.absent], ["complete", 18, 2]);
  const { manifest } = await place.expectExact("a");
  assertEquals(manifest.chunks.map(({ documents, absent }) => documents + absent), [5, 5, 5, 5]);
  assert(manifest.update_seq.start !== manifest.update_seq.end);
});

Deno.test("backup() leaves an earlier backup of the day complete until the manifest of a later one replaces it", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await seedHardDatabase(fake, "a", { documents: 20 });
  await place.runOne("a", { task: { chunk: 30 } });
  const first = await place.expectExact("a");
  await createDatabase(fake, "b", []);
  await couchOk(fake, "PUT /a/zz-new", "{}");

  let looked = 0;
  const run = async () => {
    const { manifest, leafRevisions } = await readBackup(place.folder("a"));
    assertEquals(manifest.run, "run 1");
    assertEquals(compareLeafRevisions(first.leafRevisions, leafRevisions), []);
    // Killed from here on, the second run must not be taken for the first, complete one.
    if (fake.requests.at(-1)?.endpoint === "_bulk_get") {
      const name = `checkpoint-${shortRun("run 2")}.json`;
      const { run } = JSON.parse(await Deno.readTextFile(`${place.folder("a")}/${name}`));
      assertEquals(run, "run 2");
    }
    looked++;
  };
  // From the first page of ids to the last look at the update sequence.
  fake.faults.add({ database: "a", times: Infinity, where: () => true, fault: { kind: "run", run } });
  await place.runOne("a", { task: { chunk: 30 } });
  assert(looked > 5);
  fake.faults.clear();

  const second = await place.expectExact("a");
  assertEquals([second.manifest.run, second.leafRevisions.has("zz-new")], ["run 2", true]);
  const firstNames = first.manifest.chunks.map(({ name }) => name);
  const secondNames = second.manifest.chunks.map(({ name }) => name);
  assertEquals(secondNames[0], `${shortRun("run 2")}-0000000.json.gz`);
  assertEquals(second.files.filter((name) => name.endsWith(".gz")).sort(), [...firstNames, ...secondNames].sort());
  assertEquals(second.files.filter((name) => name.startsWith("manifest-")).length, 2, "both are restore points");
});

Deno.test("backup() leaves an earlier backup of the day complete when a later one fails, and can resume that", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(40));
  await place.runOne("a", { task: { chunk: 10 } });
  fake.faults.add({ endpoint: "_bulk_get", skip: 2, times: Infinity, fault: { kind: "answer", status: 403 } });
  assertEquals((await place.runOne("a", { task: { chunk: 10, parallel: 1 } })).status, "failed");
  fake.faults.clear();
  assertEquals((await place.expectExact("a")).manifest.run, "run 1");

  const since = fake.requests.length;
  const report = await place.runOne("a", { resume: true, task: { chunk: 10 } });
  assertEquals([report.status, report.documents, report.chunks], ["resumed", 40, 4]);
  assertEquals(place.idsAsked(since).length, 20);
  const { manifest } = await place.expectExact("a");
  assertEquals(manifest.run, "run 3");
});

Deno.test("backup() runs twice at once: both are whole, with chunks of their own, and the manifest is one's", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await seedHardDatabase(fake, "a", { documents: 60 });
  const reports = await Promise.all([1, 2].map(() => place.runOne("a", { task: { chunk: 9 } })));
  assertEquals(reports.map(({ status }) => status), ["complete", "complete"]);
  const { manifest, files } = await place.expectExact("a");
  assert(/^run [12]$/.test(manifest.run));
  const mine = new Set(manifest.chunks.map(({ name }) => name));
  const others = files.filter((name) => name.endsWith(".gz") && !mine.has(name));
  assertEquals(others.length, mine.size);
  const otherRevisions = others.flatMap((name) => {
    const text = gunzipSync(Deno.readFileSync(`${place.folder("a")}/${name}`)).toString();
    return [...leafRevisionsOf(text)];
  });
  const expected = await readAllLeafRevisions(fake, "a", { by: "_bulk_get" });
  assertEquals(otherRevisions.length, expected.size);
  assertEquals(compareLeafRevisions(expected, new Map(otherRevisions)), []);
});

Deno.test("backup() stops at the next chunk when it is asked to, and resumes with what is missing alone", async () => {
  for (const chunk of [10, 7]) {
    await using place = await Place.make();
    const { fake } = place;
    await createDatabase(fake, "a", idsOf(100));
    const stop = new AbortController();
    const reason = new InterruptedError("Interrupted by SIGTERM");
    fake.faults.add({ endpoint: "_bulk_get", skip: 4, fault: { kind: "run", run: () => stop.abort(reason) } });
    const task = { chunk, parallel: 2 };
    const run = place.runOne("a", { task, context: { stop: stop.signal } });
    assertStrictEquals(await assertRejects(() => run), reason);
    const asked = place.idsAsked();
    assert(asked.length >= 4 * chunk && asked.length <= 7 * chunk, `${asked.length} documents`);
    assertEquals(await manifestOf(place.folder("a")), undefined);
    const checkpoint = `${place.folder("a")}/checkpoint-${shortRun("run 1")}.json`;
    const saved = parseCheckpoint(await Deno.readFile(checkpoint), checkpoint);
    const stored = saved.chunks.reduce((sum, { documents }) => sum + documents, 0);

    await couchOk(fake, "PUT /a/zz-new", "{}");
    const since = fake.requests.length;
    // Another size of chunks fits what is missing as well.
    const report = await place.runOne("a", { resume: true, task: { chunk: chunk + 1, parallel: 2 } });
    assertEquals([report.status, report.documents], ["resumed", 101]);
    const again = place.idsAsked(since);
    assert(stored > 0 && again.length >= 101 - stored && again.length <= 101 - stored + chunk, `${again.length} ids`);
    const { manifest } = await place.expectExact("a");
    assertEquals([manifest.run, manifest.update_seq.start], ["run 2", saved.update_seq.start]);
    assertEquals(manifest.started_at, saved.started_at);
  }
});

Deno.test("backup() resumes one request for all documents behind what is stored", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(30));
  fake.faults.add({ endpoint: "_bulk_get", skip: 1, times: Infinity, fault: { kind: "answer", status: 403 } });
  await place.runOne("a", { task: { chunk: 10, parallel: 1 } });
  fake.faults.clear();
  const since = fake.requests.length;
  const report = await place.runOne("a", { resume: true });
  assertEquals([report.status, report.chunks], ["resumed", 2]);
  assertEquals(place.idsAsked(since).length, 20);
  await place.expectExact("a");
});

Deno.test("backup() has nothing to do when it resumes what is complete, and begins where nothing is left", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(10));
  assertEquals((await place.runOne("a", { resume: true })).status, "complete");
  const since = fake.requests.length;
  const report = await place.runOne("a", { resume: true });
  assertEquals([report.status, report.documents, place.idsAsked(since)], ["complete", 10, []]);
  assertEquals((await place.expectExact("a")).manifest.run, "run 1");
});

Deno.test("backup() ends at once when it is told to, and leaves a checkpoint of what is stored", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(40));
  const controller = new AbortController();
  const reason = new InterruptedError("Interrupted by SIGTERM");
  fake.faults.add({ endpoint: "_bulk_get", skip: 2, times: Infinity, fault: { kind: "stall" } });
  let stored = 0;
  const store = placeStore(place, {
    create: async (...call) => {
      const created = await place.store.create(...call);
      stored++;
      return created;
    },
  });
  const context = { signal: controller.signal, stop: controller.signal, repository: repositoryOf(store) };
  const run = place.runOne("a", { task: { chunk: 10, parallel: 1 }, context });
  const isStalled = () => stored === 2 && fake.requestsTo("_bulk_get").length === 3;
  await until(isStalled, "two chunks that are stored, and a request that stalls");
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => run), reason);
  fake.faults.clear();
  const since = fake.requests.length;
  const report = await place.runOne("a", { resume: true, task: { chunk: 10 } });
  assertEquals([report.status, place.idsAsked(since).length], ["resumed", 20]);
  assertEquals((await place.expectExact("a")).files.filter((name) => name.endsWith(".tmp")), []);
});

Deno.test("backup() reports a database that fails, in report and log, and saves the others", async () => {
  const cases: [what: string, prepare: (fake: FakeCouchDb) => void, error: string, hint: RegExp][] = [
    [
      "500 for ever",
      (fake) => fake.faults.add({ database: "b", times: Infinity, fault: { kind: "answer", status: 500 } }),
      'of database "b": CouchDB answered 500 planned',
      /its log says why/,
    ],
    [
      "500 for ever for its documents",
      (fake) =>
        fake.faults.add({
          database: "b",
          endpoint: "_bulk_get",
          times: Infinity,
          fault: { kind: "answer", status: 500 },
        }),
      'Cannot read documents of database "b": CouchDB answered 500 planned',
      /its log says why/,
    ],
    [
      "forbidden",
      (fake) => fake.faults.add({ database: "b", times: Infinity, fault: { kind: "answer", status: 403 } }),
      'of database "b": CouchDB answered 403 planned',
      /admin or member of database "b"/,
    ],
  ];
  for (const [what, prepare, error, hint] of cases) {
    await using place = await Place.make();
    const { fake } = place;
    await createDatabase(fake, "a", idsOf(3));
    await createDatabase(fake, "b", idsOf(30));
    await createDatabase(fake, "c", idsOf(3));
    prepare(fake);
    const report = await place.run([{ chunk: 5, parallel: 2 }]);
    assertEquals([report.ok, exitCodeOfReport(report)], [false, 3], what);
    const [a, b, c] = report.tasks[0]!.databases;
    assertEquals([a?.status, b?.status, c?.status], ["complete", "failed", "complete"], what);
    assertStringIncludes(b?.error ?? "", error, what);
    assertEquals(b?.exit_code, 10);
    assert(hint.test(b?.hint ?? ""), `${what}: ${b?.hint}`);
    const line = place.log.lines.find(({ level }) => level === "error");
    assertEquals([line?.event, line?.fields.database, line?.fields.error], [
      "database is not backed up",
      "b",
      b?.error,
    ]);
    fake.faults.clear();
    for (const name of ["a", "c"]) await place.expectExact(name);
    assertEquals(await manifestOf(place.folder("b")), undefined);
  }
});

Deno.test("backup() asks for nothing more of a database that has failed", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(3));
  fake.faults.add({ endpoint: "database", fault: { kind: "answer", status: 403 } });
  fake.faults.add({ endpoint: "_security", times: Infinity, fault: { kind: "answer", status: 500 } });
  fake.faults.add({ endpoint: "_revs_limit", times: Infinity, fault: { kind: "stall" } });
  const couch = impatientClient(fake, { retry: { attempts: 9, firstWaitMs: 20, longestWaitMs: 20 } });
  assertEquals((await place.runOne("a", { context: { couch } })).status, "failed");
  const asked = fake.requests.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(fake.requests.length, asked);
});

Deno.test("backup() tries a login that is refused once, whatever there is to do", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(3));
  const couch = impatientClient({ url: fake.url, login: "admin", password: "wrong" });
  const before = fake.requests.length;
  await assertRejects(() => place.run([{}, {}], { context: { couch } }), Error, "401 unauthorized");
  assertEquals(fake.requests.length - before, 1);
});

Deno.test("backup() stops asking, in all tasks, when CouchDB refuses the login midway", async () => {
  await using place = await Place.make();
  const { fake } = place;
  for (const name of ["a", "b", "c"]) await createDatabase(fake, name, idsOf(3));
  fake.faults.add({ database: "b", times: Infinity, fault: { kind: "answer", status: 401 } });
  const before = fake.requests.length;
  const report = await place.run([{}, {}]);
  const all = report.tasks.flatMap(({ databases }) => databases.map(({ database, status }) => `${database} ${status}`));
  assertEquals(all, ["a complete", "b failed", "c failed", "a failed", "b failed", "c failed"]);
  const [, tried, untried] = report.tasks[0]!.databases.map(({ error = "" }) => error);
  assertEquals(untried, `Not tried, as it would fail like the one before: ${tried}`);
  const refused = fake.requests.slice(before).filter(({ status }) => status === 401);
  // CouchDB locks a login out after five failed logins.
  assert(refused.length <= 4, `${refused.length} refused requests`);
  // The one before it, which was in hand, is still completed.
  const later = fake.requests.slice(before).filter(({ number }) => number > refused.at(-1)!.number);
  assertEquals(later.filter(({ database }) => database !== "a"), [], "no other database was asked for afterwards");
});

Deno.test("backup() stops storing when the store refuses every further database, and says why for each", async () => {
  await using place = await Place.make();
  const { fake } = place;
  for (const name of ["a", "b"]) await createDatabase(fake, name, idsOf(3));
  let created = 0;
  const store = placeStore(place, {
    create: () => {
      created++;
      const message = 'Cannot store "x": S3 answered NoSuchBucket';
      return Promise.reject(new StoreError(message, { code: "NoSuchBucket" }, { hint: "Create it" }));
    },
  });
  // With more requests at a time both databases are in hand when the first one meets it.
  const report = await place.run([{ parallel: 1 }], { context: { repository: repositoryOf(store) } });
  assertEquals(exitCodeOfReport(report), 11);
  assertEquals(created, 1);
  for (const one of report.tasks[0]!.databases) {
    assertEquals([one.status, one.hint], ["failed", "Create it"]);
    assertStringIncludes(one.error ?? "", "NoSuchBucket");
  }
});

Deno.test("backup() restarts a chunk when what went out of it is of no use, and leaves nothing behind", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await seedHardDatabase(fake, "a", { documents: 20, attachmentBytes: 3_000_000 });
  fake.faults.add({ endpoint: "_bulk_get", times: 2, fault: { kind: "cut off", afterBytes: 2_500_000 } });
  const report = await place.runOne("a");
  assertEquals([report.status, report.chunks], ["complete", 1]);
  const { files } = await place.expectExact("a");
  assertEquals([files.length, files[0], files.at(-1)], [3, "0000000.json.gz", "manifest.json"]);
  assert(place.log.events("warn").includes("chunk is restarted"));
});

Deno.test("backup() gives up a chunk that is of no use time and again, though each document can be read alone", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await seedHardDatabase(fake, "a", { documents: 3, attachmentBytes: 3_000_000 });
  let asked = 0;
  const where = ({ endpoint, ids }: { endpoint: string; ids: string[] }) =>
    endpoint === "_bulk_get" && ids.includes("attachments") && ++asked % 2 === 1;
  fake.faults.add({ where, times: Infinity, fault: { kind: "cut off", afterBytes: 2_500_000, rows: ["attachments"] } });
  const report = await place.runOne("a", { task: { chunk: 10 } });
  assertEquals([report.status, report.exit_code, report.unreadable], ["failed", 10, undefined]);
  assertStringIncludes(report.error ?? "", "the connection broke");
  assertEquals((await filesOf(place.folder("a"))).filter((name) => name.endsWith(".tmp")), []);
});

Deno.test("backup() gives its chunks names of their own where it finds others, whoever left them", async () => {
  await using place = await Place.make();
  await createDatabase(place.fake, "a", idsOf(20));
  for (const number of [1, 5]) {
    await place.store.replace(`backup/2026/01/03/couchdb/a/000000${number}.json.gz`, new Uint8Array([number]));
  }
  await place.runOne("a", { task: { chunk: 10 } });
  const { manifest } = await place.expectExact("a");
  const run = shortRun("run 1");
  assertEquals(manifest.chunks.map(({ name }) => name), [`${run}-0000000.json.gz`, `${run}-0000001.json.gz`]);
});

Deno.test("backup() takes other numbers when those it wanted are taken meanwhile", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(30));
  const run = async () => {
    for (const number of [0, 2]) {
      await place.store.replace(`backup/2026/01/03/couchdb/a/000000${number}.json.gz`, new Uint8Array([number]));
    }
  };
  fake.faults.add({ endpoint: "_bulk_get", fault: { kind: "run", run } });
  assertEquals((await place.runOne("a", { task: { chunk: 10, parallel: 1 } })).status, "complete");
  const { manifest } = await place.expectExact("a");
  assertEquals(manifest.chunks.map(({ name }) => Number(name.slice(0, 7))), [1, 3, 4]);
});

Deno.test("backup() produces a chunk again when the store took its body and then found the key taken", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(5));
  let refused = 0;
  const store = placeStore(place, {
    create: async (keys: Iterable<string>, body: AsyncIterable<Uint8Array>) => {
      if (refused++ > 0) return await place.store.create(keys, body);
      for await (const _ of body);
      throw new StoreError("Cannot store: the key is taken", { code: "exists" });
    },
  });
  const report = await place.runOne("a", { context: { repository: repositoryOf(store) } });
  assertEquals([report.status, report.documents], ["complete", 5]);
  await place.expectExact("a");
});

Deno.test("backup() reads as many chunks at a time as the task says, and no more", async () => {
  for (const parallel of [1, 3]) {
    await using place = await Place.make();
    const { fake } = place;
    await createDatabase(fake, "a", idsOf(60));
    fake.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "drip", bytes: 500, everyMs: 2 } });
    const { couch, mostReads } = countingReads(fake);
    await place.runOne("a", { task: { chunk: 5, parallel }, context: { couch } });
    assertEquals(mostReads(), parallel);
  }
});

Deno.test("backup() reads the next database while the last one is written, but not where a task waits between them", async () => {
  for (const [delaySeconds, overlaps] of [[0, true], [0.01, false]] as const) {
    await using place = await Place.make();
    const { fake } = place;
    for (const name of ["a", "b"]) await createDatabase(fake, name, idsOf(3));
    const isRead = () => fake.requests.some(({ database, endpoint }) => database === "b" && endpoint === "_bulk_get");
    let wasRead: boolean | undefined;
    const store = placeStore(place, {
      create: async (keys, body, options) => {
        if (Array.isArray(keys) && keys[0].includes("/a/manifest-")) {
          if (overlaps) await until(isRead, "the next database is read");
          else await new Promise((resolve) => setTimeout(resolve, 100));
          wasRead = isRead();
        }
        return await place.store.create(keys, body, options);
      },
    });
    const report = await place.run([{ delaySeconds, parallel: 1 }], { context: { repository: repositoryOf(store) } });
    assertEquals([report.ok, wasRead], [true, overlaps]);
    assertEquals(report.tasks[0]!.databases.map(({ database }) => database), ["a", "b"]);
    await place.expectExact("a");
    await place.expectExact("b");
  }
});

Deno.test("backup() waits between databases, not before the first or after the last, and can be stopped then", async () => {
  await using place = await Place.make();
  const { fake } = place;
  for (const name of ["a", "b"]) await createDatabase(fake, name, idsOf(3));
  const told: { what: string; atMs: number }[] = [];
  const rest = new class extends Rest {
    override isOwed(delaySeconds: number): void {
      told.push({ what: `owed ${delaySeconds}`, atMs: performance.now() });
      super.isOwed(delaySeconds);
    }
    override async taken(signals: Parameters<Rest["taken"]>[0]): Promise<void> {
      await super.taken(signals);
      told.push({ what: "taken", atMs: performance.now() });
    }
  }();
  await place.run([{ delaySeconds: 0.2 }], { context: { rest } });
  assertEquals(told.map(({ what }) => what), ["taken", "owed 0.2", "taken", "owed 0.2"]);
  const waitedMs = told[2]!.atMs - told[1]!.atMs;
  assert(waitedMs >= 199, `${waitedMs} ms`);

  const reason = new InterruptedError("Interrupted by SIGINT");
  const stop = new AbortController();
  const since = fake.requests.length;
  const run = place.run([{ delaySeconds: 3600 }], { context: { stop: stop.signal } });
  await until(async () => (await manifestOf(place.folder("a")))?.run === "run 2", "the first database is saved");
  stop.abort(reason);
  assertStrictEquals(await assertRejects(() => run), reason);
  assertEquals((await place.expectExact("a")).manifest.run, "run 2");
  assertEquals(fake.requests.slice(since).some(({ database }) => database === "b"), false);
});

Deno.test("backup() reports a task that selects nothing, unless the config allows it", async () => {
  await using place = await Place.make();
  await createDatabase(place.fake, "a", idsOf(3));
  const report = await place.run([{}, { databases: ["b"] }, { databases: ["c"], allowEmpty: true }]);
  assertEquals([report.ok, exitCodeOfReport(report)], [false, 3]);
  assertEquals(report.tasks.map(({ error }) => error), [undefined, 'Task "task 2" selects no database', undefined]);
  await place.expectExact("a");
});

Deno.test("backup() says when the last checkpoint could not be stored, and why the run failed all the same", async () => {
  await using place = await Place.make();
  const { fake } = place;
  await createDatabase(fake, "a", idsOf(20));
  fake.faults.add({ endpoint: "_bulk_get", skip: 1, times: Infinity, fault: { kind: "answer", status: 403 } });
  const store = placeStore(place, {
    replace: () => Promise.reject(new StoreError("Cannot store the checkpoint", { code: "ENOSPC" })),
  });
  const report = await place.runOne("a", {
    task: { chunk: 10, parallel: 1 },
    context: { repository: repositoryOf(store) },
  });
  assertStringIncludes(report.error ?? "", "CouchDB answered 403");
  assert(place.log.events("warn").includes("checkpoint could not be stored"));
});

Deno.test("backup() leaves out histories and attachments where the task does not want them", async () => {
  await using place = await Place.make();
  await seedHardDatabase(place.fake, "a", { documents: 20 });
  await place.runOne("a", { task: { attachments: false, revisions: false } });
  const { manifest, leafRevisions } = await readBackup(place.folder("a"));
  assertEquals(manifest.options, { attachments: false, revisions: false, chunk: null, tombstones: false });
  const texts = [...leafRevisions.values()].flatMap((revisions) => [...revisions.values()]);
  assertEquals(texts.filter((text) => text.includes('"_revisions"') || text.includes('"data":"')), []);
  assert(texts.some((text) => text.includes('"stub":true')));
});

Deno.test("backup() looks once for what there was before, whether it finds something or nothing", async () => {
  await using place = await Place.make();
  await createDatabase(place.fake, "a", idsOf(20));
  for (const state of ["new", "backed up"]) {
    const listed: string[] = [];
    const store = placeStore(place, {
      list(folder, options) {
        listed.push(folder);
        return place.store.list(folder, options);
      },
    });
    await place.runOne("a", { context: { repository: repositoryOf(store) } });
    const looks = listed.filter((folder) => folder.includes("_catalog")).length;
    assertEquals(looks, 1, `${state}: ${listed.join(", ")}`);
  }
});
