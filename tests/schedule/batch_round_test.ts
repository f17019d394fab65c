/** Databases in batches, as a state machine takes them: each by itself, whatever becomes of the others. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { orAborted } from "../../src/abort.ts";
import { Repository } from "../../src/archive/repository.ts";
import { CouchError, InterruptedError, UsageError } from "../../src/errors.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { backupBatch, type BatchRound, inBatches } from "../../src/schedule/batch_round.ts";
import { planRun, summariseRun } from "../../src/schedule/rounds.ts";
import {
  folderOf,
  LAST_WORDS_TIMEOUT_MS,
  type RoundsContext,
  type RunOfElapse,
} from "../../src/schedule/run_in_rounds.ts";
import { openStore } from "../../src/store/open.ts";
import { createDatabase, idsOf, impatientClient } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import { withFakeTimers } from "../fake_timers.ts";
import { storeThatFails } from "./due_setup.ts";

const NEVER = new AbortController().signal;
const NAMES = ["d0", "d1", "d2", "d3"];

/** Four databases of ten documents each, and a planned run of them. */
class Scene implements AsyncDisposable {
  readonly log: RecordedLog = new RecordedLog();
  readonly fake: FakeCouchDb;
  readonly root: string;
  readonly run: RunOfElapse;
  readonly repository: Repository;

  private constructor(fake: FakeCouchDb, root: string, { run, repository }: Pick<Scene, "run" | "repository">) {
    this.fake = fake;
    this.root = root;
    this.run = run;
    this.repository = repository;
  }

  static async make(part: Parameters<typeof task>[1] = {}): Promise<Scene> {
    const fake = await startFakeCouchDb();
    for (const name of NAMES) await createDatabase(fake, name, idsOf(10));
    const root = await Deno.makeTempDir();
    const store = await openStore({ bucket: pathToFileURL(root).href });
    const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
    const all = task("weekly", { databases: ["d[0-9]"], timezone: "UTC", chunk: 2, parallel: 1, ...part });
    const run: RunOfElapse = { task: all, elapse: new Date("2026-01-03T18:00:00Z"), scope: "all" };
    const scene = new Scene(fake, root, { run, repository });
    const { generation } = await planRun(scene.context(), run);
    run.generation = generation;
    return scene;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await Deno.remove(this.root, { recursive: true });
  }

  context(part: Partial<RoundsContext> = {}): RoundsContext {
    const { repository, log } = this;
    const couch = impatientClient(this.fake);
    return {
      couch,
      repository,
      log,
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      signal: NEVER,
      stop: NEVER,
      ...part,
    };
  }

  async step(
    cursor: string | null,
    { broken = 0, why = "", databases = NAMES, ...part }: Partial<RoundsContext> & {
      broken?: number;
      why?: string;
      databases?: readonly string[];
    } = {},
  ): Promise<BatchRound> {
    return await backupBatch(this.context(part), this.run, { databases, cursor, broken, why });
  }

  /** A call whose time ends at its `requests`-th request for documents. */
  async shortStep(cursor: string | null, requests: number): Promise<BatchRound> {
    const stop = new AbortController();
    const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
    this.fake.faults.add({ endpoint: "_bulk_get", skip: requests - 1, fault });
    return await this.step(cursor, { stop: stop.signal });
  }

  async outcomes(): Promise<(string | undefined)[]> {
    const folder = folderOf(this.context(), this.run);
    return await Promise.all(NAMES.map(async (name) => (await folder.readOutcome(name, {}))?.status));
  }

  /**
   * Goes through a batch as the state machine does, which makes a call that dies three times; each dies as soon as
   * documents of `deadly` are read, and stores nothing from then on.
   */
  async goThrough(deadly: string): Promise<{ last: BatchRound; deaths: number }> {
    let deaths = 0;
    let death = new AbortController();
    const die = () => death.abort(new Error("Runtime exited"));
    this.fake.faults.add({ endpoint: "_bulk_get", database: deadly, times: 1e6, fault: { kind: "run", run: die } });
    const store = storeThatFails(this.repository.store, () => death.signal.aborted ? death.signal.reason : undefined);
    const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
    for (let at = { cursor: null as string | null, broken: 0, why: "" }; at.broken < 3;) {
      let round: BatchRound | undefined;
      for (let attempt = 0; attempt < 3 && round === undefined; attempt++) {
        death = new AbortController();
        round = await this.step(at.cursor, { ...at, repository, signal: death.signal }).catch(() => undefined);
        if (death.signal.aborted) [deaths, round] = [deaths + 1, undefined];
      }
      if (round?.done) return { last: round, deaths };
      if (round === undefined) at = { ...at, broken: at.broken + 1, why: "Runtime exited" };
      else at = { cursor: round.cursor, broken: 0, why: "" };
    }
    throw new Error("The batch is given up");
  }

  break(database: string): void {
    // What is not tried again.
    const fault = { kind: "answer", status: 403, body: { error: "forbidden", reason: "not this one" } } as const;
    this.fake.faults.add({ endpoint: "_bulk_get", database, times: 1e6, fault });
  }
}

Deno.test("inBatches() needs few items for many databases, and leaves none out; few databases are items of their own", () => {
  const names = (count: number) => Array.from({ length: count }, (_, n) => `d${n}`);
  for (
    const [count, concurrency, items] of [[0, 1, 0], [10, 1, 10], [11, 1, 6], [1000, 1, 20], [1000, 16, 143], [
      10_000,
      16,
      200,
    ]]
  ) {
    const batches = inBatches(names(count!), concurrency!);
    assertEquals(batches.length, items, `${count} by ${concurrency}`);
    assertEquals(batches.flat(), names(count!));
    assert(batches.every(({ length }) => length > 0 && length <= 50));
  }
});

Deno.test("backupBatch() backs up a whole batch in one call", async () => {
  await using scene = await Scene.make();
  assertEquals(await scene.step(null), { done: true, cursor: null, status: "complete", error: null, rest: false });
  assertEquals(await scene.outcomes(), NAMES.map(() => "complete"));
  assertEquals((await summariseRun(scene.context(), scene.run)).ok, true);
});

Deno.test("backupBatch() stops when its time is over, within a database or between two, and goes on there", async () => {
  await using scene = await Scene.make();
  // Five requests each: the time is over in the middle of the second.
  const first = await scene.shortStep(null, 8);
  assertEquals([first.done, first.status, first.rest], [false, "unfinished", false]);
  assertEquals(await scene.outcomes(), ["complete", undefined, undefined, undefined]);
  // With the third's last documents, before its manifest; the fourth has not begun.
  const second = await scene.shortStep(first.cursor, 7);
  assertEquals(second.done, false);
  assertEquals(await scene.outcomes(), ["complete", "resumed", undefined, undefined]);
  const third = await scene.step(second.cursor);
  assertEquals([third.done, third.status], [true, "complete"]);
  const asked = scene.fake.requestsTo("_bulk_get").map(({ ids, database }) => ids.map((id) => `${database} ${id}`))
    .flat();
  assertEquals(asked.length, new Set(asked).size, "a document was asked for twice");
  assertEquals(asked.length, 40);
});

Deno.test("backupBatch() does not blame a database for what those before it have left of the time", async () => {
  await using scene = await Scene.make();
  const stop = new AbortController();
  const over = new InterruptedError("The time is over");
  // As soon as the second database is looked at, nothing is left.
  scene.fake.faults.add({ database: "d1", fault: { kind: "run", run: () => stop.abort(over) } });
  const first = await scene.step(null, { stop: stop.signal, signal: stop.signal });
  assertEquals([first.done, first.status], [false, "unfinished"]);
  assertEquals(await scene.outcomes(), ["complete", undefined, undefined, undefined]);
  // With a call of its own it is blamed.
  const none = AbortSignal.abort(over);
  const { cursor } = await scene.step(first.cursor, { stop: none, signal: none });
  assertEquals(await scene.outcomes(), ["complete", "failed", undefined, undefined]);
  const last = await scene.step(cursor);
  assertEquals([last.status, last.done], ["failed", true]);
  assertStringIncludes(last.error!, '1 of 4 databases not saved, "d1": Cannot finish a single chunk');
});

Deno.test("backupBatch() saves what is beside a database that fails, and names that one in its answer and the report", async () => {
  await using scene = await Scene.make();
  scene.break("d1");
  const { done, status, error } = await scene.step(null);
  assertEquals([done, status], [true, "failed"]);
  assertStringIncludes(error!, '1 of 4 databases not saved, "d1": ');
  assertEquals(await scene.outcomes(), ["complete", "failed", "complete", "complete"]);
  const report = await summariseRun(scene.context(), scene.run);
  assertEquals([report.ok, report.tasks[0]!.databases.map((one) => one.status)], [
    false,
    ["complete", "failed", "complete", "complete"],
  ]);
});

Deno.test("backupBatch() does not hide a failure behind the calls that follow it", async () => {
  await using scene = await Scene.make();
  scene.break("d0");
  const first = await scene.shortStep(null, 3);
  assertEquals(first.done, false);
  const last = await scene.step(first.cursor);
  assertEquals([last.done, last.status], [true, "failed"]);
  assertStringIncludes(last.error!, '"d0"');
});

Deno.test("backupBatch() throws what may heal only where nothing is done, so that nothing is done twice", async () => {
  await using scene = await Scene.make();
  const away = { kind: "status", status: 503 } as const;
  // CouchDB goes away while the second is read: the third cannot even begin.
  const go = () => void scene.fake.faults.add({ endpoint: "/", times: 1e6, fault: away });
  scene.fake.faults.add({ endpoint: "_bulk_get", database: "d1", fault: { kind: "run", run: go } });
  const first = await scene.step(null);
  assertEquals([first.done, await scene.outcomes()], [false, ["complete", "complete", undefined, undefined]]);
  await assertRejects(() => scene.step(first.cursor), CouchError);
  scene.fake.faults.clear();
  assertEquals((await scene.step(first.cursor)).status, "complete");
});

Deno.test("backupBatch() takes a database alone after a call has died, then gives it up, and goes on with the others", async () => {
  await using scene = await Scene.make();
  const alone = await scene.step(null, { broken: 1, why: "Runtime exited" });
  assertEquals([alone.done, await scene.outcomes()], [false, ["complete", undefined, undefined, undefined]]);
  const before = scene.fake.requests.length;
  const given = await scene.step(alone.cursor, { broken: 2, why: "Runtime exited" });
  assertEquals(scene.fake.requests.length, before, "what the calls died of is not tried again");
  assertEquals(await scene.outcomes(), ["complete", "failed", undefined, undefined]);
  const last = await scene.step(given.cursor);
  assertEquals(last.error, '1 of 4 databases not saved, "d1": Runtime exited');
  assertEquals(await scene.outcomes(), ["complete", "failed", "complete", "complete"]);
});

Deno.test("backupBatch() dies of a database three times with the others and three times alone, wherever in the batch it stands", async () => {
  for (const deadly of NAMES) {
    await using scene = await Scene.make();
    const { last, deaths } = await scene.goThrough(deadly);
    assertEquals(deaths, 6, deadly);
    assertEquals(last.error, `1 of 4 databases not saved, "${deadly}": Runtime exited`);
    assertEquals(await scene.outcomes(), NAMES.map((name) => name === deadly ? "failed" : "complete"));
  }
});

Deno.test("backupBatch() passes over what has failed before its calls died, names it, and takes it again in the next run", async () => {
  await using scene = await Scene.make({ cron: "Sat 18:00 UTC" });
  for (const generation of [1, 2]) {
    assertEquals(scene.run.generation, generation);
    scene.fake.faults.clear();
    scene.break("d1");
    const before = scene.fake.requestsTo("_bulk_get", "d1").length;
    const { last, deaths } = await scene.goThrough("d3");
    assertEquals(deaths, 6);
    assertStringIncludes(last.error!, '2 of 4 databases not saved, "d1", "d3": ');
    assert(scene.fake.requestsTo("_bulk_get", "d1").length > before);
    assertEquals(await scene.outcomes(), ["complete", "failed", "complete", "failed"]);
    await summariseRun(scene.context({ now: () => scene.run.elapse }), scene.run);
    scene.run.generation = (await planRun(scene.context(), { ...scene.run, generation: undefined })).generation;
  }
});

Deno.test("backupBatch() has the delay waited for behind a database that was read by a call that died", async () => {
  await using scene = await Scene.make({ delaySeconds: 600 });
  // The call has stored how it came out, and no answer of it has come.
  const { cursor } = await scene.step(null);
  const again = await scene.step(null, { broken: 1, why: "Runtime exited" });
  assertEquals([again.rest, again.cursor], [true, cursor]);
  assertEquals(await scene.outcomes(), ["complete", undefined, undefined, undefined]);
});

Deno.test("backupBatch() has the delay waited for behind each database that it had to read, and behind no other", async () => {
  await using scene = await Scene.make({ delaySeconds: 600, increments: { most: 14 } });
  let round = await scene.step(null);
  for (let done = 1; done < 4; done++) {
    assertEquals([round.rest, round.done], [true, false]);
    assertEquals((await scene.outcomes()).filter((one) => one !== undefined).length, done);
    round = await scene.step(round.cursor);
  }
  assertEquals(round, { done: true, cursor: null, status: "complete", error: null, rest: true });
  // A week later nothing has changed: one call, no rest.
  scene.run.elapse = new Date("2026-01-10T18:00:00Z");
  scene.run.generation = (await planRun(scene.context(), { ...scene.run, generation: undefined })).generation;
  assertEquals(await scene.step(null), { done: true, cursor: null, status: "complete", error: null, rest: false });
});

Deno.test("backupBatch() fails a database that the task does not select any more, and refuses a cursor that it has not made", async () => {
  await using scene = await Scene.make();
  const { status, error } = await scene.step(null, { databases: ["other", "d0"] });
  assertEquals(status, "failed");
  assertStringIncludes(
    error!,
    '1 of 2 databases not saved, "other": Task "weekly" does not select the database "other"',
  );
  assertEquals((await scene.outcomes())[0], "complete");
  for (const cursor of ["x", "3", "{}", '{"at":9,"chunks":null,"failed":{"count":0,"names":[],"first":""}}']) {
    await assertRejects(() => scene.step(cursor), UsageError, "Cannot continue the batch");
  }
});

Deno.test("backupBatch() waits for a busy store as long as the call has time, and shortly after it, also before its first request", async () => {
  await using scene = await Scene.make();
  const call = new AbortController();
  const over = new InterruptedError("The time is nearly over");
  await withFakeTimers(async (pass) => {
    const asked = Promise.withResolvers<AbortSignal>();
    // A store that never answers.
    const store = new Proxy(scene.repository.store, {
      get: (target, name) =>
        typeof Reflect.get(target, name, target) !== "function" || name === "locate"
          ? Reflect.get(target, name, target)
          : async (_key: string, { signal }: { signal: AbortSignal }) => {
            asked.resolve(signal);
            return await orAborted(new Promise<never>(() => {}), signal);
          },
    });
    const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
    const round = assertRejects(() => scene.step(null, { repository, signal: call.signal }), InterruptedError);
    const signal = await asked.promise;
    pass(60_000);
    assert(!signal.aborted);
    call.abort(over);
    pass(LAST_WORDS_TIMEOUT_MS - 1);
    assert(!signal.aborted);
    for (let piece = 0; piece < 10; piece++) pass(LAST_WORDS_TIMEOUT_MS / 10);
    assertEquals(await round, over);
  });
});
