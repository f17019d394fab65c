import { assertEquals } from "@std/assert";
import { findLeftover } from "../../src/archive/leftover.ts";
import { encodeJson } from "../../src/archive/manifest.ts";
import { readFolder } from "../../src/archive/read.ts";
import type { Store } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { checkpoint, chunk, FOLDER, inStore, manifest, OPTIONS } from "./folder_setup.ts";

async function leftover(store: Store, log = new RecordedLog()) {
  const state = await readFolder(store, FOLDER, {});
  return await findLeftover(store, FOLDER, { state, wanted: OPTIONS, log });
}

Deno.test("findLeftover() tells a complete backup from an unfinished one and from nothing", async () => {
  const cases: [what: string, files: Record<string, string>, kind: string, chunks?: string[]][] = [
    ["an empty folder", {}, "nothing"],
    ["chunks alone", { "0000000.json.gz": "12345" }, "nothing"],
    ["a manifest", { "manifest.json": JSON.stringify(manifest("one")) }, "complete"],
    ["a manifest and the checkpoint of its run", {
      "manifest.json": JSON.stringify(manifest("one")),
      "checkpoint.json": checkpoint("one", []),
    }, "complete"],
    [
      "a manifest and the checkpoint of a later run",
      {
        "manifest.json": JSON.stringify(manifest("one")),
        "checkpoint.json": checkpoint("two", [chunk(1)]),
        "0000001.json.gz": "12345",
      },
      "unfinished",
      ["0000001.json.gz"],
    ],
    ["a manifest and the checkpoint of a run that it has outlived", {
      "manifest.json": JSON.stringify(manifest("one", "2026-01-03T18:06:00.001Z")),
      "checkpoint.json": checkpoint("two", [chunk(1)]),
      "0000001.json.gz": "12345",
    }, "complete"],
    [
      "a checkpoint",
      {
        "checkpoint.json": checkpoint("one", [chunk(0), chunk(1)]),
        "0000000.json.gz": "12345",
        "0000001.json.gz": "12345",
      },
      "unfinished",
      ["0000000.json.gz", "0000001.json.gz"],
    ],
    [
      "a checkpoint of which a chunk is gone and another has another size",
      {
        "checkpoint.json": checkpoint("one", [chunk(0), chunk(1), chunk(2)]),
        "0000001.json.gz": "12345",
        "0000002.json.gz": "123456",
      },
      "unfinished",
      ["0000001.json.gz"],
    ],
    ["a checkpoint that was cut off", { "checkpoint.json": checkpoint("one", [chunk(0)]).slice(0, 50) }, "nothing"],
    ["a checkpoint without histories", {
      "checkpoint.json": checkpoint("one", [chunk(0)], { options: { ...OPTIONS, revisions: false } }),
    }, "nothing"],
    [
      "a checkpoint with other sizes of chunks",
      {
        "checkpoint.json": checkpoint("one", [chunk(0)], { options: { ...OPTIONS, chunk: null } }),
        "0000000.json.gz": "12345",
      },
      "unfinished",
      ["0000000.json.gz"],
    ],
  ];
  for (const [what, files, kind, chunks] of cases) {
    await inStore(async (store, put) => {
      for (const [name, text] of Object.entries(files)) await put(name, text);
      const found = await leftover(store);
      assertEquals(found.kind, kind, what);
      if (found.kind === "unfinished") assertEquals(found.checkpoint.chunks.map(({ name }) => name), chunks, what);
    });
  }
});

Deno.test("findLeftover() says why it does not use a checkpoint, or not all of it", async () => {
  const cases: [checkpoint: string, event: string][] = [
    ["{", "checkpoint is not used: it is damaged"],
    [checkpoint("one", [], { format: 99 }), "checkpoint is not used: it is damaged"],
    [
      checkpoint("one", [], { options: { ...OPTIONS, attachments: false } }),
      "checkpoint is not used: it was made with other options",
    ],
    [checkpoint("one", [chunk(0)]), "chunks of the checkpoint are gone and are read again"],
  ];
  for (const [text, event] of cases) {
    await inStore(async (store, put) => {
      await put("checkpoint.json", text);
      const log = new RecordedLog();
      await leftover(store, log);
      assertEquals(log.events("warn"), [event]);
    });
  }
});

Deno.test("findLeftover() does not count a manifest that is damaged, and says so", async () => {
  await inStore(async (store, put) => {
    await put("manifest.json", encodeJson(manifest("one")).subarray(0, 100));
    const log = new RecordedLog();
    assertEquals((await leftover(store, log)).kind, "nothing");
    assertEquals(log.events("warn"), ["manifest is not used: it is damaged"]);
  });
});
