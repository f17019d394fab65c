import { assert, assertEquals, assertRejects } from "@std/assert";
import { orAborted, wait } from "../../src/abort.ts";
import { StoreError } from "../../src/errors.ts";
import { claimElapse } from "../../src/schedule/claim.ts";
import { readElapse } from "../../src/schedule/elapse.ts";
import type { Store } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { runReport } from "../fakes/report.ts";
import { QUICK_TIMES, setUpScheduled, STORES, storeThatFails } from "./due_setup.ts";
import { until } from "../until.ts";

const FOLDER = "backup/_runs/couchdb/weekly/20260103T180000Z";

function contextOf(store: Store, times = QUICK_TIMES) {
  return { store, log: new RecordedLog(), now: () => new Date(), times };
}

function holder(run: string) {
  return { run, host: "h", pid: 7, started_at: "2026-01-03T18:00:00.000Z" };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

for (const kind of STORES) {
  Deno.test(`claimElapse() lets one of twenty have an elapse (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, {});
    const { store } = setup;
    assertEquals(await readElapse(store, FOLDER, {}), { kind: "free" });
    const runs = Array.from({ length: 20 }, (_, index) => `r${index}`);
    const claims = await Promise.all(
      runs.map((run) => claimElapse(FOLDER, { holder: holder(run), generation: 1 }, contextOf(store))),
    );
    const winner = claims.findIndex((claim) => claim !== undefined);
    assertEquals(claims.filter((claim) => claim !== undefined).length, 1);
    const state = await readElapse(store, FOLDER, {});
    assertEquals([state.kind, "holder" in state && state.holder], ["running", holder(`r${winner}`)]);
    assertEquals(await setup.json(`${FOLDER}/claim.json`), holder(`r${winner}`));
    await claims[winner]!.finish(runReport([]));
    assertEquals(await readElapse(store, FOLDER, {}), { kind: "finished" });
    assertEquals(await setup.json(`${FOLDER}/report.json`), JSON.parse(JSON.stringify(runReport([]))));
  });

  Deno.test(`Claim shows with every heartbeat that its run lives, and stops when it is released (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, {});
    const { store } = setup;
    const claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(store));
    const signs = new Set<string>();
    await until(async () => {
      const state = await readElapse(store, FOLDER, {});
      if (state.kind === "running") signs.add(state.sign);
      return signs.size === 3;
    }, "three heartbeats");
    await claim!.release();
    assertEquals(await readElapse(store, FOLDER, {}), { kind: "stopped", generation: 1, holder: holder("a") });
  });

  Deno.test(`Claim is lost when another run takes over, and leaves the report to that one (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, {});
    const { store } = setup;
    const first = contextOf(store);
    const dead = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, first);
    const heir = await claimElapse(FOLDER, { holder: holder("b"), generation: 2 }, contextOf(store));
    assertEquals([...heir!.earlierRuns], ["a"]);
    await aborted(dead!.lost);
    await dead!.finish(runReport([]));
    assertEquals((await readElapse(store, FOLDER, {})).kind, "running");
    assertEquals(first.log.events("warn"), ["report is not stored: another run has taken the elapse over"]);
    await heir!.release();
    assertEquals(await readElapse(store, FOLDER, {}), { kind: "stopped", generation: 2, holder: holder("b") });
    assertEquals(await claimElapse(FOLDER, { holder: holder("c"), generation: 2 }, contextOf(store)), undefined);
  });
}

Deno.test("readElapse() does without the holder where a claim is not whole", async () => {
  await using setup = await setUpScheduled("file://", {});
  await setup.store.replace(`${FOLDER}/claim.json`, new Uint8Array());
  const state = await readElapse(setup.store, FOLDER, {});
  assertEquals([state.kind, "holder" in state && state.holder], ["running", undefined]);
});

Deno.test("claimElapse() claims nothing where it cannot find out who had the elapse before", async () => {
  await using setup = await setUpScheduled("file://", {});
  await (await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(setup.store)))!.release();
  const store = storeThatFails(setup.store, (method) => method === "read" ? new Error("no") : undefined);
  const second = { holder: holder("b"), generation: 2 };
  await assertRejects(() => claimElapse(FOLDER, second, contextOf(store)), Error, "no");
  assertEquals((await readElapse(setup.store, FOLDER, {})).kind, "stopped");
});

Deno.test("Claim that nobody has ended is released with the block that holds it", async () => {
  await using setup = await setUpScheduled("file://", {});
  {
    await using _ = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(setup.store));
  }
  assertEquals((await readElapse(setup.store, FOLDER, {})).kind, "stopped");
});

Deno.test("Claim goes on when a heartbeat cannot be stored, and says so", async () => {
  await using setup = await setUpScheduled("file://", {});
  const context = contextOf(setup.store);
  const claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, context);
  const replace = setup.store.replace.bind(setup.store);
  setup.store.replace = (key, body, options) => {
    if (!key.endsWith("heartbeat.json")) return replace(key, body, options);
    return Promise.reject(new Error("no"));
  };
  await until(() => context.log.events("warn").length > 0, "a heartbeat that cannot be stored");
  await claim!.finish(runReport([]));
  assertEquals(new Set(context.log.events("warn")), new Set(["heartbeat could not be stored"]));
  assertEquals(await readElapse(setup.store, FOLDER, {}), { kind: "finished" });
});

Deno.test("Claim takes a heartbeat for stored that was under way while its process was stopped", async () => {
  await using setup = await setUpScheduled("file://", {});
  const context = contextOf(setup.store);
  const replace = setup.store.replace.bind(setup.store);
  const stopped = Promise.withResolvers<void>();
  let beats = 0;
  setup.store.replace = async (key, body, options) => {
    if (key.endsWith("heartbeat.json") && ++beats === 1) {
      // Nothing runs for longer than a heartbeat may take; then all timers that have come meanwhile fire first.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * QUICK_TIMES.heartbeatMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
      stopped.resolve();
    }
    options?.signal?.throwIfAborted();
    await replace(key, body, options);
  };
  const claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, context);
  await stopped.promise;
  await until(() => beats > 1, "the next heartbeat");
  await claim!.finish(runReport([]));
  assertEquals(context.log.events("warn"), []);
});

Deno.test("Claim says last that it is released, also where a heartbeat was under way", async () => {
  await using setup = await setUpScheduled("file://", {});
  const replace = setup.store.replace.bind(setup.store);
  const begun = Promise.withResolvers<void>();
  const stored = Promise.withResolvers<void>();
  let beats = 0;
  setup.store.replace = async (key, body, options) => {
    if (!key.endsWith("heartbeat.json") || ++beats !== 1) return await replace(key, body, options);
    begun.resolve();
    // As a server that has the whole request in hand: that nobody waits for the answer any more does not stop it.
    const late = wait(100).then(() => replace(key, body)).then(() => stored.resolve());
    await orAborted(late, options?.signal);
  };
  const claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(setup.store));
  await begun.promise;
  await claim!.release();
  await stored.promise;
  assertEquals((await readElapse(setup.store, FOLDER, {})).kind, "stopped");
});

Deno.test("claimElapse() on a store that overwrites leaves an elapse to the later claim", async () => {
  await using setup = await setUpScheduled("s3:// that overwrites", {});
  const { store } = setup;
  const [create, read, replace] = [store.create.bind(store), store.read.bind(store), store.replace.bind(store)];
  const [created, replaced] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let [createdAtMs, readAtMs] = [Infinity, Infinity];
  store.create = async (...call) => {
    const key = await create(...call);
    createdAtMs = performance.now();
    created.resolve();
    return key;
  };
  store.read = async (key, options) => {
    if (createdAtMs < Infinity && key === `${FOLDER}/claim.json`) {
      readAtMs = Math.min(readAtMs, performance.now());
      await replaced.promise;
    }
    return await read(key, options);
  };
  const claiming = claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(store));
  await created.promise;
  // A machine that had looked before.
  await replace(`${FOLDER}/claim.json`, new TextEncoder().encode(JSON.stringify(holder("b"))));
  replaced.resolve();
  assertEquals(await claiming, undefined);
  const settledMs = readAtMs - createdAtMs;
  assert(settledMs >= QUICK_TIMES.settleMs - 1, `it has looked after ${settledMs} ms`);
});

Deno.test("Claim on a store that overwrites is lost when another machine was held up before it wrote its own", async () => {
  await using setup = await setUpScheduled("s3:// that overwrites", {});
  const { store } = setup;
  const context = contextOf(store);
  const claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, context);
  await store.replace(`${FOLDER}/claim.json`, new TextEncoder().encode(JSON.stringify(holder("b"))));
  await aborted(claim!.lost);
  await claim!.finish(runReport([]));
  assertEquals(context.log.events("warn"), ["report is not stored: another run has taken the elapse over"]);
  // The heartbeat is the other run's as well.
  await claim!.release();
  assertEquals((await readElapse(store, FOLDER, {})).kind, "running");
});

Deno.test("Claim on a store that overwrites is not lost where the store does not show it", async () => {
  await using setup = await setUpScheduled("s3:// that overwrites", {});
  const { store } = setup;
  const context = contextOf(store);
  await using claim = await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, context);
  const [read, stat] = [store.read.bind(store), store.stat.bind(store)];
  const isHidden = (key: string) => key.endsWith("claim.json");
  const hidden = new StoreError("Not there", { code: "not_found" });
  store.read = (key, options) => isHidden(key) ? Promise.reject(hidden) : read(key, options);
  store.stat = (key, options) => isHidden(key) ? Promise.resolve(undefined) : stat(key, options);
  await until(() => context.log.events("warn").length > 0, "a heartbeat that cannot find the claim");
  assertEquals(context.log.events("warn")[0], "heartbeat could not be stored");
  Object.assign(store, { read, stat });
  await claim!.finish(runReport([]));
  assertEquals([claim!.lost.aborted, (await readElapse(store, FOLDER, {})).kind], [false, "finished"]);
});

Deno.test("readElapse() and claimElapse() do without a claim that is deleted while they look", async () => {
  await using setup = await setUpScheduled("file://", {});
  await (await claimElapse(FOLDER, { holder: holder("a"), generation: 1 }, contextOf(setup.store)))!.release();
  const gone = new StoreError("Not there", { code: "not_found" });
  const store = storeThatFails(setup.store, (method, key) => {
    return method === "read" && key.endsWith("claim.json") ? gone : undefined;
  });
  assertEquals(await readElapse(store, FOLDER, {}), { kind: "stopped", generation: 1, holder: undefined });
  await using heir = await claimElapse(FOLDER, { holder: holder("b"), generation: 2 }, contextOf(store));
  assertEquals([...heir!.earlierRuns], []);
});
