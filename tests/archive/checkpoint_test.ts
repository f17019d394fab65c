import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { CheckpointWriter, sha256 } from "../../src/archive/checkpoint.ts";
import { checkpointName, filterName, isFilterName, shortRun } from "../../src/archive/layout.ts";
import type { Checkpoint } from "../../src/archive/manifest.ts";
import { parseCheckpoint } from "../../src/archive/manifest_json.ts";
import type { UnreadableDocument } from "../../src/couchdb/couchdb.ts";
import { StoreError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { chunk, FOLDER, origin } from "./folder_setup.ts";

const RUN = shortRun("one");
const CHECKPOINT = `${FOLDER}/${checkpointName(RUN)}`;
const unreadable = (id: string): UnreadableDocument => ({ id, error: "internal_error", reason: "eof" });
const isFilter = (key: string) => isFilterName(key.slice(FOLDER.length + 1));

/** A database's checkpoint, with a clock and a listing that the test moves. */
class Scene {
  timeMs: number = Date.parse("2026-01-03T18:00:00Z");
  /** Each object by its key, as it was stored last. */
  readonly objects: Map<string, Uint8Array> = new Map();
  /** How often a checkpoint was stored. */
  saves = 0;
  /** Is awaited before an object is stored. */
  beforeStoring: (key: string) => void | Promise<void> = () => {};
  /** Is awaited when it is stored. */
  afterStoring: (key: string) => void | Promise<void> = () => {};
  filter: Uint8Array = new Uint8Array(4);
  /** Whether the listing has no filter of all its ids. */
  isForgetful = false;
  /** How often `hold` was called and not ended. */
  holds = 0;
  readonly writer: CheckpointWriter;
  #settled = 0;
  /** What is settled as soon as nobody holds it. */
  #coming = 0;

  constructor(part: { keptFilter?: string; keptUnreadable?: UnreadableDocument[]; kept?: number[] } = {}) {
    const store = {
      replace: async (key: string, body: Uint8Array) => {
        await this.beforeStoring(key);
        if (key === CHECKPOINT) this.saves++;
        this.objects.set(key, body.slice());
        await this.afterStoring(key);
      },
      read: (key: string) => {
        const body = this.objects.get(key);
        if (body === undefined) return Promise.reject(new StoreError("It is missing", { code: "not_found", key }));
        return Promise.resolve(ReadableStream.from([body]));
      },
    } as unknown as Store;
    this.writer = new CheckpointWriter(store, FOLDER, {
      ...part,
      origin: origin("one"),
      startSeq: "1-x",
      kept: (part.kept ?? []).map(chunk),
      now: () => new Date(this.timeMs),
      settled: () => ({
        position: `${this.#settled}-x`,
        ids: 10 * this.#settled,
        throughBatch: this.#settled - 1,
        filter: () => this.isForgetful ? undefined : { bytes: this.filter, salt: 7, hashes: 10 },
      }),
      hold: () => {
        this.holds++;
        return () => {
          this.holds--;
          this.settle(this.#coming);
        };
      },
      expected: () => 100,
    });
  }

  /** So many batches are stored and belong to what is listed. */
  settle(batches: number): void {
    this.#coming = batches;
    if (this.holds > 0 || batches === this.#settled) return;
    this.#settled = batches;
    // A filter of the same size, with ids that were not in it.
    this.filter[0]!++;
  }

  get checkpoint(): Checkpoint | undefined {
    const bytes = this.objects.get(CHECKPOINT);
    return bytes === undefined ? undefined : parseCheckpoint(bytes, CHECKPOINT);
  }

  /** How many chunks the stored checkpoint names. */
  get saved(): number | undefined {
    return this.checkpoint?.chunks.length;
  }

  /** How long it takes from one checkpoint to the next one, in steps of a tenth of a second. */
  async measureInterval(): Promise<number> {
    const before = this.saves;
    const startMs = this.timeMs;
    for (let batches = this.#settled + 1; this.saves === before; batches++) {
      this.timeMs += 100;
      this.settle(batches);
      await this.writer.saveWhenDue({});
    }
    return this.timeMs - startMs;
  }
}

Deno.test("CheckpointWriter stores a small one once a second at most, and the rest when it is asked to", async () => {
  const scene = new Scene();
  const { writer } = scene;
  const steps: [afterMs: number, saved: number | undefined][] = [[0, undefined], [999, undefined], [1, 3], [999, 3]];
  for (const [index, [afterMs, expected]] of steps.entries()) {
    scene.timeMs += afterMs;
    writer.add(index, chunk(index));
    scene.settle(index + 1);
    await writer.saveWhenDue({});
    assertEquals(scene.saved, expected, `after chunk ${index}`);
  }
  await writer.saveRest({});
  assertEquals([scene.saved, scene.saves], [4, 2]);
  await writer.saveRest({});
  scene.timeMs += 60_000;
  await writer.saveWhenDue({});
  assertEquals(scene.saves, 2, "nothing new, nothing stored");
});

Deno.test("CheckpointWriter stores a large one less often, and at least once a minute", async () => {
  const cases: [what: string, filterBytes: number, storingMs: number, intervalMs: number][] = [
    ["a small one", 1000, 0, 1000],
    ["a megabyte", 1_000_000, 0, 5100],
    ["32 megabytes", 32_000_000, 0, 60_000],
    ["a store that takes half a second for each object", 1000, 500, 20_000],
    ["a store that takes a minute", 1000, 60_000, 60_000],
  ];
  for (const [what, filterBytes, storingMs, intervalMs] of cases) {
    const scene = new Scene();
    scene.filter = new Uint8Array(filterBytes);
    scene.beforeStoring = () => void (scene.timeMs += storingMs);
    await scene.writer.save({});
    scene.beforeStoring = () => {};
    assertEquals(await scene.measureInterval(), intervalMs, what);
  }
});

Deno.test("CheckpointWriter names what is settled: a position, its ids, its filter, and the chunks up to there", async () => {
  const scene = new Scene({ kept: [7] });
  const { writer } = scene;
  // The second batch is not stored yet, so the third does not count.
  for (const batch of [0, 2]) writer.add(batch, chunk(batch));
  scene.settle(1);
  await writer.save({});
  const { listing, chunks, update_seq, saved_at } = scene.checkpoint!;
  assertEquals(chunks.map(({ name }) => name), ["0000007.json.gz", "0000000.json.gz"]);
  assertEquals(writer.chunks.length, 3);
  assertEquals([update_seq, saved_at], [{ start: "1-x" }, "2026-01-03T18:00:00.000Z"]);
  const { filter, ...rest } = listing!;
  assertEquals(rest, { position: "1-x", ids: 10, expected: 100 });
  assertEquals([filter?.salt, filter?.hashes], [7, 10]);
});

Deno.test("CheckpointWriter stores no filter where nobody knows all of the ids", async () => {
  const scene = new Scene({ kept: [7] });
  scene.isForgetful = true;
  scene.settle(1);
  await scene.writer.save({});
  assertEquals(scene.checkpoint!.listing, { position: "1-x", ids: 10, expected: 100, filter: null });
  assertEquals([...scene.objects.keys()], [CHECKPOINT]);
});

Deno.test("CheckpointWriter lets two filters take turns, so that the stored checkpoint always names a whole one", async () => {
  const scene = new Scene();
  const names = new Set<string>();
  const expectWhole = () => {
    const { filter } = scene.checkpoint!.listing!;
    names.add(filter!.name);
    assertEquals(sha256(scene.objects.get(`${FOLDER}/${filter!.name}`)!), filter!.sha256);
  };
  scene.beforeStoring = () => void (scene.checkpoint === undefined || expectWhole());
  for (let batches = 1; batches <= 4; batches++) {
    scene.settle(batches);
    await scene.writer.save({});
    expectWhole();
  }
  assertEquals([...names], [filterName(RUN, 0), filterName(RUN, 1)]);
  assertEquals([...scene.objects.keys()].filter(isFilter).length, 2);
});

Deno.test("CheckpointWriter leaves the stored checkpoint's filter whole after a save that failed half way", async () => {
  const cases: [what: string, fails: (key: string) => boolean, isStored: boolean][] = [
    ["the filter is not stored", isFilter, false],
    ["the checkpoint is not stored", (key) => key === CHECKPOINT, false],
    ["the checkpoint is stored, and the answer is lost", (key) => key === CHECKPOINT, true],
  ];
  for (const [what, fails, isStored] of cases) {
    const scene = new Scene();
    scene.settle(1);
    await scene.writer.save({});
    scene.settle(2);
    scene.beforeStoring = (key) => {
      if (fails(key) && !isStored) throw new Error("away");
    };
    scene.afterStoring = (key) => {
      if (fails(key) && isStored) throw new Error("away");
    };
    await assertRejects(() => scene.writer.save({}), Error, "away", what);
    // Whoever stores the next filter may be killed before it has stored the checkpoint.
    scene.afterStoring = () => {};
    scene.beforeStoring = (key) => {
      if (key === CHECKPOINT) throw new Error("killed");
    };
    scene.settle(3);
    await assertRejects(() => scene.writer.saveRest({}), Error, "killed", what);
    const { filter, ids } = scene.checkpoint!.listing!;
    assertEquals(ids, isStored ? 20 : 10, what);
    assertEquals(sha256(scene.objects.get(`${FOLDER}/${filter!.name}`)!), filter!.sha256, what);
    scene.beforeStoring = () => {};
    await scene.writer.saveRest({});
    assertEquals(scene.checkpoint!.listing!.ids, 30, what);
  }
});

Deno.test("CheckpointWriter stores the filter of its moment without a copy, though more is settled meanwhile", async () => {
  const scene = new Scene();
  scene.settle(1);
  scene.beforeStoring = (key) => {
    if (isFilter(key)) scene.settle(2);
  };
  await scene.writer.save({});
  const { filter, ids } = scene.checkpoint!.listing!;
  assertEquals(ids, 10);
  assertEquals(sha256(scene.objects.get(`${FOLDER}/${filter!.name}`)!), filter!.sha256);
  scene.beforeStoring = () => {
    throw new Error("The store is away");
  };
  await assertRejects(() => scene.writer.save({}), Error, "away");
  scene.beforeStoring = () => {};
  await scene.writer.save({});
  assertEquals([scene.holds, scene.checkpoint!.listing!.ids], [0, 20], "a failure ends it as well");
});

Deno.test("CheckpointWriter of a run that goes on leaves the filter alone that the stored checkpoint names", async () => {
  for (const [kept, first] of [[0, 1], [1, 0], [undefined, 0]] as const) {
    const scene = new Scene(kept === undefined ? {} : { keptFilter: filterName(RUN, kept) });
    await scene.writer.save({});
    assertEquals(scene.checkpoint?.listing?.filter?.name, filterName(RUN, first));
  }
});

Deno.test("CheckpointWriter never stores an older state behind a newer one", async () => {
  const scene = new Scene();
  const { writer } = scene;
  const written: number[] = [];
  const waiting: (() => void)[] = [];
  scene.beforeStoring = async (key) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    if (key === CHECKPOINT) written.push(writer.chunks.length);
  };
  const saving: Promise<void>[] = [];
  for (let batch = 0; batch < 3; batch++) {
    scene.timeMs += 2000;
    writer.add(batch, chunk(batch));
    scene.settle(batch + 1);
    saving.push(writer.saveWhenDue({}));
  }
  saving.push(writer.saveRest({}), writer.save({}), writer.save({}));
  let most = 0;
  // Requests that are in flight at the same time end in any order: the latest first.
  for (let round = 0; round < 40; round++) {
    most = Math.max(most, waiting.length);
    waiting.pop()?.();
    await new Promise((resolve) => setTimeout(resolve));
  }
  await Promise.all(saving);
  assertEquals(most, 1, "one after the other");
  assertGreater(scene.saves, 1);
  assertEquals(written, written.toSorted((a, b) => a - b));
  assertEquals(scene.saved, 3);
});

Deno.test("CheckpointWriter stores again what a failure has kept it from storing", async () => {
  const scene = new Scene();
  scene.settle(1);
  scene.beforeStoring = () => Promise.reject(new Error("away"));
  const failed = await scene.writer.save({}).catch((error) => error.message);
  scene.beforeStoring = () => {};
  await scene.writer.saveRest({});
  assertEquals([failed, scene.saves], ["away", 1]);
});

Deno.test("CheckpointWriter keeps each revision that could not be read before, and each once", () => {
  const revision = (id: string, rev: string): UnreadableDocument => ({ ...unreadable(id), rev });
  const keptUnreadable = [
    ...["1-a", "1-b", "1-a"].map((rev) => revision("parts", rev)),
    unreadable("whole"),
    revision("whole", "1-a"),
  ];
  const { writer } = new Scene({ keptUnreadable });
  assertEquals(writer.unreadable.map(({ id, rev }) => [id, rev]), [
    ["parts", "1-a"],
    ["parts", "1-b"],
    ["whole", undefined],
  ]);
  writer.add(0, chunk(0), { ids: ["parts"] });
  assertEquals(writer.unreadable.map(({ id }) => id), ["whole"]);
});

Deno.test("CheckpointWriter names each document that could not be read once, and none that was read since", async () => {
  const scene = new Scene({ keptUnreadable: ["kept", "kept", "healed"].map(unreadable) });
  const { writer } = scene;
  writer.add(0, chunk(0), { ids: ["a", "b", "c"], unreadable: [unreadable("b"), unreadable("c")] });
  writer.add(1, chunk(1), {
    ids: ["d", "healed"],
    unreadable: [{ ...unreadable("d"), rev: "1-a" }, { ...unreadable("d"), rev: "1-b" }],
  });
  writer.add(2, chunk(2), { ids: ["b", "c"], unreadable: [unreadable("c")] });
  assertEquals(writer.unreadable.map(({ id, rev }) => [id, rev]), [
    ["kept", undefined],
    ["d", "1-a"],
    ["d", "1-b"],
    ["c", undefined],
  ]);
  scene.settle(2);
  await writer.save({});
  const named = scene.checkpoint!.unreadable.map(({ id }) => id);
  assertEquals(named, ["kept", "d", "d"], "a resumed run asks for the third batch again");
});
