import { assertEquals } from "@std/assert";
import { CheckpointWriter } from "../../src/archive/checkpoint.ts";
import { parseCheckpoint } from "../../src/archive/manifest.ts";
import type { Store } from "../../src/store/store.ts";
import { chunk, FOLDER, inStore, origin } from "./folder_setup.ts";

Deno.test("CheckpointWriter stores once a second at most, and the rest when it is asked to", async () => {
  await inStore(async (store) => {
    let timeMs = Date.parse("2026-01-03T18:00:00Z");
    const writer = new CheckpointWriter(store, FOLDER, {
      origin: origin("one"),
      startSeq: "1-x",
      chunks: [],
      now: () => new Date(timeMs),
    });
    const saved = async () => {
      const found = await store.stat(`${FOLDER}/checkpoint.json`);
      if (found === undefined) return undefined;
      const bytes = await new Response(await store.read(`${FOLDER}/checkpoint.json`)).arrayBuffer();
      return parseCheckpoint(new Uint8Array(bytes), "checkpoint.json").chunks.length;
    };
    const steps: [afterMs: number, saved: number | undefined][] = [[0, undefined], [999, undefined], [1, 3], [999, 3]];
    for (const [index, [afterMs, expected]] of steps.entries()) {
      timeMs += afterMs;
      await writer.add(chunk(index), {});
      assertEquals(await saved(), expected, `after chunk ${index}`);
    }
    await writer.saveRest({});
    assertEquals(await saved(), 4);
    await Deno.remove(new URL(store.locate(`${FOLDER}/checkpoint.json`)));
    await writer.saveRest({});
    assertEquals(await saved(), undefined, "nothing new, nothing stored");
  });
});

Deno.test("CheckpointWriter never stores an older state behind a newer one", async () => {
  const written: number[] = [];
  const waiting: (() => void)[] = [];
  const store = {
    replace: async (_: string, body: Uint8Array) => {
      const { chunks } = parseCheckpoint(body, "checkpoint.json");
      await new Promise<void>((resolve) => waiting.push(resolve));
      written.push(chunks.length);
    },
  } as unknown as Store;
  let timeMs = 0;
  const state = { origin: origin("one"), startSeq: "1-x", chunks: [], now: () => new Date(timeMs += 2000) };
  const writer = new CheckpointWriter(store, FOLDER, state);
  const adding = [writer.add(chunk(0), {}), writer.add(chunk(1), {}), writer.add(chunk(2), {}), writer.saveRest({})];
  const more = writer.save({});
  // Requests that are in flight at the same time end in any order: the latest first.
  for (let round = 0; round < 20; round++) {
    waiting.pop()?.();
    await new Promise((resolve) => setTimeout(resolve));
  }
  await Promise.all([...adding, more]);
  assertEquals(written, written.toSorted((a, b) => a - b));
  assertEquals(written.at(-1), 3);
});
